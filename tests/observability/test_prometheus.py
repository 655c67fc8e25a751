"""A real Prometheus on a running alliance: every query of a dashboard and every rule finds what it asks for."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from consilium.kernel.errors import FailedPrecondition, PermissionDenied
from consilium.kernel.founding import first_committee
from consilium.kernel.membership import SERVICES
from consilium.sandbox import founders
from consilium.sandbox.figures import fetch_pages
from consilium.sandbox.local import sandbox
from observability.boards import ALLIANCE, BOARDS
from tests.client.terminal import Terminal
from tests.e2e.test_share_record import REASON, cast
from tests.observability.pictures import draw
from tests.observability.prometheus import WINDOW, Prometheus, namespace_of, watching
from tests.observability.rules import ALL, ALLIANCE_RULES, MEMBER_RULES, Rule, rules_of
from tests.observability.test_rules import promtool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from consilium.client.recipient import OpenedRecord
    from consilium.client.sharing import PreparedGrant, RecordReference
    from consilium.sandbox.local import SandboxAlliance
    from observability.panels import Board
    from tests.e2e.test_share_record import Cast

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first test waits for the alliance and for all its work

EMPTY_HERE = {
    "consilium_election_grade_expiry_height": "the sandbox's founders have grades without an end",
    "consilium_storage_database_certificate_expiry_timestamp_seconds": "the sandbox keeps objects without a database",
    "consilium_consensus_accused_total": "nobody misbehaves",
    "consilium_consensus_refused_total": "a message is refused when somebody misbehaves or was late, which may not happen",
    "consilium_rpc_refused_total": "a reason shows when a call was refused for it, and some services refuse nobody here",
}
"""Metrics that a healthy sandbox may have no sample of, and why: a rule or panel on one of them may find nothing here."""
NOISE_S = 20
"""How long the alliance is watched after its work, so that rates have something to be taken from."""
ONCE = {"dead": "1", "last_deleted": "1"}
"""One grant has died, and the last of its fragments was deleted, as its owner's ledger counts them."""


@dataclass(frozen=True)
class Watched:
    """An alliance that has worked, and the Prometheus that saw it."""

    alliance: SandboxAlliance
    prometheus: Prometheus
    since_s: float


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    since_s = time.time()
    with sandbox(tmp_path_factory.mktemp("alliance")) as alliance:
        asyncio.run(alliance.until_final(2))
        with watching(alliance, tmp_path_factory.mktemp("prometheus")) as prometheus:
            prometheus.until(lambda: len(prometheus.query("up == 1")) == 5 * len(SERVICES), "all targets")
            asyncio.run(work(alliance, tmp_path_factory.mktemp("people")))
            ended = time.time()
            prometheus.until(lambda: time.time() > ended + NOISE_S, "some time to pass")
            yield Watched(alliance, prometheus, since_s)


async def work(alliance: SandboxAlliance, folder: Path) -> None:
    """Store, share, open, be refused, revoke, and wait for the deletions: something for every panel."""
    async with cast(alliance, folder) as people:
        for number in range(3):
            reference = await people.owner.write(bytes([number]) * 100_000)
        grant = await people.share()
        await people.read(await opened(people, grant, reference))
        with pytest.raises(PermissionDenied):
            await people.stranger.client.open(grant.terms.grant_id, reference, REASON)
        await people.owner.close(grant)
        await people.until_deleted(grant)


async def opened(people: Cast, grant: PreparedGrant, reference: RecordReference) -> OpenedRecord:
    """Open a record, again while holders' ledgers are only late, as they may be on a busy machine."""
    while True:
        try:
            return await people.hospital.client.open(grant.terms.grant_id, reference, REASON)
        except FailedPrecondition as error:
            if not re.search("STALE_TIP|NOT_FINAL", error.sentence):
                raise


def asked(expression: str) -> str:
    """A dashboard's query with Grafana's choices made: the alliance, all namespaces, a minute for rates."""
    return expression.replace("$alliance", founders.ALLIANCE).replace("$namespace", ".+").replace("$__rate_interval", WINDOW)


KNOWN = {
    name
    for text in [each.expression for each in ALL]
    for name in re.findall(r"\b(?:(?:consilium|grpc_server|process)_[a-z_]+|up|[a-z_]+:[a-z_]+:[a-z0-9_]+)\b", text)
}
"""Every series that some rule asks for."""


def test_every_service_is_read_with_the_certificate_made_for_it(watched: Watched) -> None:
    """Design section 8: monitoring reads metrics, over mutual TLS."""
    wanted = {(member, service) for member in watched.alliance.members for service in SERVICES}

    def of(found: list[Any]) -> set[tuple[str, str]]:
        return {(each["metric"]["member"], each["metric"]["component"]) for each in found}

    watched.prometheus.shown("up == 1", lambda found: of(found) == wanted)
    assert of(watched.prometheus.query("present_over_time(up[1h])")) == wanted, "and nothing else is read"


def test_all_names_are_as_prometheus_wants_them(watched: Watched) -> None:
    """`promtool check metrics` on every page of a member."""
    pages = asyncio.run(fetch_pages(watched.alliance))
    for (member_id, service), page in pages.items():
        if member_id == next(iter(watched.alliance.members)):
            found = promtool("check", "metrics", given=page)
            assert (found.returncode, found.stderr) == (0, ""), (service, found.stdout + found.stderr)
            names = re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE)
            assert all(re.match(r"(consilium|grpc_server|process|python)_[a-z_]+$", name) for name in names)
            helps = dict(re.findall(r"^# HELP (\S+) (.*)$", page, re.MULTILINE))
            assert all(helps[name] for name in names)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_query_of_a_dashboard_returns_data_and_is_drawn(watched: Watched, board: Board) -> None:
    lines = {}
    for row in board.rows:
        for panel in row.panels:
            for query in panel.queries:
                expression = asked(query.expression)
                may_be_empty = any(name in expression for name in EMPTY_HERE)
                assert may_be_empty or watched.prometheus.shown(expression)
                lines[row.title + panel.title, query.text] = watched.prometheus.lines(expression, watched.since_s)
    assert draw(board, lines).stat().st_size > 10_000


def test_panels_show_what_happened(watched: Watched) -> None:
    """One grant was opened, revoked and deleted by three holders, of five who made blocks all the while."""
    shown = watched.prometheus.shown
    shown("sum(consilium_reencryption_deleted_total) == 3")
    shown("sum(consilium_reencryption_released_total) >= 2")
    ends = 'sum by (until) (consilium_ledger_revocation_seconds_count{member="2A"})'
    shown(ends, lambda found: {each["metric"]["until"]: each["value"][1] for each in found} == ONCE)
    shown("consilium_ledger_revocations_open", lambda found: {each["value"][1] for each in found} == {"0"})
    shown("min(consilium_consensus_height) > 5")
    phases = "consilium_consensus_phase_seconds_count > 3"
    shown(phases, lambda found: {each["metric"]["phase"] for each in found} >= {"prepare", "commit"})


@pytest.mark.parametrize("rule", [*rules_of(MEMBER_RULES), *rules_of(ALLIANCE_RULES)], ids=lambda rule: rule.name)
def test_every_series_a_rule_asks_for_is_there(watched: Watched, rule: Rule) -> None:
    """Recording rules find data; what an alert compares is there, though in health the comparison holds for none."""
    names = {name for name in KNOWN if re.search(rf"(?<![a-z_:]){re.escape(name)}(?![a-z0-9_:])", rule.expression)}
    assert names, "a rule asks for something"
    for name in names - set(EMPTY_HERE):
        assert watched.prometheus.shown(f"count({name})"), f"{rule.name} asks for {name}, which nobody shows"
    expression = rule.expression.replace("hospital-1a", namespace_of("1A"))
    if rule.is_alert:
        watched.prometheus.query(expression)
    else:
        watched.prometheus.shown(expression)


def test_rules_are_in_health_and_nothing_rings(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert {each["name"] for each in rules} == {each.name for each in ALL}
    assert {(each["name"], each.get("lastError", "")) for each in rules if each["health"] == "err"} == set()
    assert [each["labels"] for each in watched.prometheus.alerts() if each["state"] == "firing"] == []


def test_one_look_names_the_delegate_that_is_cut_off(watched: Watched, tmp_path: Path) -> None:
    """Who, since when, what to do: the same in the alert, on the dashboard and in `consilium status`."""
    home, gone = (each.member_id for each in first_committee(watched.alliance.genesis).delegates[:2])
    prometheus, own = watched.prometheus, f'member="{home}"'
    terminal = Terminal(tmp_path / "home", watched.alliance.member(home).client_settings)
    watched.alliance.kill(gone, "consensus")
    before_s = time.time()
    try:
        [alert] = prometheus.until(lambda: ringing(prometheus, home, gone), "the alert")
        for panel in ALLIANCE.rows[1].panels[:2]:  # which add up what all members tell, each when it is next asked
            prometheus.until(partial(highest_is, gone, prometheus, panel.queries[0].expression), panel.title)
        since = prometheus.shown(f'consilium_consensus_delegate_heard_timestamp_seconds{{{own},peer="{gone}"}}')
        facts = terminal.until(lambda said: said.facts.get("missing") == [gone], "status", "--json").facts
    finally:
        asyncio.run(watched.alliance.start(gone, "consensus"))
    says = " ".join(alert["annotations"]["description"].split())
    assert says.startswith(f"{gone} has not been heard of by {home} since 20")
    assert "Ask its operators" in says
    assert abs(float(since[0]["value"][1]) - before_s) < 60
    assert facts["advice"][0].startswith(f"{gone} has not been heard of since 20")


def highest_is(peer: str, prometheus: Prometheus, expression: str) -> bool:
    """Whether a peer's line stands above all others."""
    shown = {each["metric"]["peer"]: float(each["value"][1]) for each in prometheus.query(asked(expression))}
    return all(shown.get(peer, 0.0) > height for name, height in shown.items() if name != peer)


def ringing(prometheus: Prometheus, member_id: str, gone: str) -> list[dict[str, dict[str, str]]]:
    """The alert of one member about another, whether its time is over or not."""
    about = {"alertname": "ConsiliumDelegateMissing", "member": member_id, "peer": gone}
    return [each for each in prometheus.alerts() if about.items() <= each["labels"].items()]
