"""`consilium doctor`: everything that may be wrong with a member, looked at in one go, each finding with what to do next."""

from pathlib import Path
from typing import Annotated

import typer

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_home
from consilium.client.commands.telling import DONE, UNTRUE, Told, styled, table
from consilium.client.doctor.examining import Examination
from consilium.client.doctor.findings import Finding, State, count

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}


def doctor(
    *,
    state: Annotated[
        list[Path] | None, typer.Option(help="A folder of state on this machine whose volume to look at; may be repeated.")
    ] = None,
    release: Annotated[
        str,
        typer.Option(
            help="In Kubernetes: the release, as its Secrets are named; pods, volumes, Lease, conditions are looked at."
        ),
    ] = "",
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Look at clock, names, ports, certificates, quorum, disk and versions, and say for each fault what to do next.

    Exit code 1 when something is wrong; warnings alone end with 0. Needs the credential of one who works for the member.
    """

    async def work(desk: Desk) -> Told:
        examination = Examination(desk.settings, desk.alliance, tuple(state or ()), release)
        return _told(desk.settings.member_id, await examination.findings())

    at_home(Options(settings, as_json), work)


def _told(member_id: str, found: list[Finding]) -> Told:
    failed, warnings = count(found, State.FAILED), count(found, State.WARNING)
    listed = [
        {"check": each.check, "subject": each.subject, "state": each.state.value, "sentence": each.sentence}
        | {"advice": each.advice}
        for each in found
    ]
    facts = {"member": member_id, "failed": failed, "warnings": warnings, "findings": listed}
    shown = table(f"Seen from {member_id}", "", "=check", "of", "finding")
    for each in sorted(found, key=lambda one: list(_STYLES).index(one.state), reverse=True):
        words = f"{each.sentence} {each.advice}".strip()
        shown.add_row(styled(each.state.value, _STYLES[each.state]), each.check, each.subject, words)
    summary = f"{failed} wrong, {warnings} to look after, {len(found) - failed - warnings} well."
    return Told(facts, (shown, summary), UNTRUE if failed else DONE)
