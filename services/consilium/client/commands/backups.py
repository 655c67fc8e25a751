"""`consilium backup` and `consilium restore`: a member's blocks and ciphertext, kept elsewhere and put back (rule S10)."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk, finish
from consilium.client.commands.telling import DONE, UNTRUE, Bar, Told, complain, facts_table
from consilium.kernel.errors import FailedPrecondition

if TYPE_CHECKING:
    from consilium.backup.restoring import Restored
    from consilium.backup.taking import Taken
    from consilium.backup.vault import Vault

Where = Annotated[str, typer.Argument(help="A folder, or s3://host:port/bucket/prefix (s3+http:// without TLS).")]
KeyFile = Annotated[Path, typer.Option("--key-file", help="The file with the backup key: 32 random bytes, mode 0600.")]


def backup(where: Where, *, key: KeyFile, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Back your member up while it runs: its blocks up to now, and all ciphertext it keeps. Again adds what is new.

    Everything is sealed under the backup key before it leaves. What could open or speak is left out: shred secrets, key
    fragments, the vote log, keys. Keep the backup key, and the member's own keys, somewhere else. Exit code 1 when objects
    are damaged here: they are named and left out, `consilium storage heal` mends them.
    """

    async def work(desk: Desk) -> Told:
        from consilium.backup.taking import take

        vault = await asyncio.to_thread(_vault, where, key)
        with Progress(as_json=as_json) as show:
            taken = await take(desk.alliance, vault, show)
        return told_backup(where, taken)

    at_desk(Options(settings, as_json), work)


def told_backup(where: str, taken: "Taken") -> Told:
    """What was backed up, and the records whose objects could not be: with them it is no whole backup, but it is one."""
    facts = {
        "member": taken.snapshot.member_id,
        "where": where,
        "snapshot": taken.name,
        "height": taken.snapshot.height,
        "objects": taken.objects,
        "damaged": [each.hex() for each in taken.damaged],
        "files_added": taken.files_added,
        "bytes_added": taken.bytes_added,
    }
    return Told(facts, (facts_table("Backed up", _shown(facts)),), UNTRUE if taken.damaged else DONE)


def restore(
    where: Where,
    *,
    key: KeyFile,
    member_settings: Annotated[Path, typer.Option(help="The TOML file with the settings of the member's services.")],
    snapshot: Annotated[str, typer.Option(help="Which snapshot; the newest without.")] = "",
    drill: Annotated[
        bool, typer.Option("--drill", help="Restore into a scratch folder, tell how it went, and remove it again.")
    ] = False,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Too few other members are left to confirm the chain; believe the backup, and those."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a member back from a backup, its services being down, and prove it against the other members.

    Every block is verified and executed again from the genesis file, then what the alliance has ordered since is
    fetched from the others; so what was erased meanwhile is not put back. Afterwards start the services and run
    `consilium storage heal`: it brings the shred secrets and what is younger than the backup. The replica stays silent
    until an epoch begins above all it could have signed. A restore that broke off goes on when it is started again. A
    drill says what would be lost, in blocks (rpo), and how long it takes, in seconds (rto). Exit code 1 when the backup
    did not hold every object as it was (damaged): the others were put back.
    """

    def work() -> Told:
        from consilium.backup.restoring import Member
        from consilium.backup.restoring import restore as put_back

        member = Member.of(member_settings)
        with ExitStack() as stack:
            if drill:
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="consilium-drill-"))
                member = member.within(Path(scratch))
            show = stack.enter_context(Progress(as_json=as_json))
            found = asyncio.run(put_back(_vault(where, key), snapshot, member, show, alone=alone))
        return told_restore(member.ledger.member_id, found, drill=drill)

    finish(Options(None, as_json), work)


def told_restore(member_id: str, found: "Restored", *, drill: bool) -> Told:
    """What was put back, or would be; a backup with damage in it has to be seen by whatever runs the drills."""
    facts = {"member": member_id, "drill": drill, **_facts(found)}
    title = "Would be restored" if drill else "Restored; start the services, then: consilium storage heal"
    return Told(facts, (facts_table(title, _shown(facts)),), UNTRUE if found.damaged else DONE)


def _shown(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in facts.items()}


def _facts(found: "Restored") -> dict[str, Any]:
    return {
        "snapshot_height": found.snapshot_height,
        "height": found.height,
        "state_root": found.state_root.hex(),
        "confirmed_by": list(found.confirmed_by),
        "blocks_fetched": found.blocks_fetched,
        "objects": found.objects,
        "bytes": found.bytes,
        "erased": found.erased,
        "unregistered": found.unregistered,
        "damaged": found.damaged,
        "to_heal": found.to_heal,
        "rpo_blocks": found.rpo_blocks,
        "rto_seconds": round(found.seconds, 3),
    }


def _vault(where: str, key: Path) -> "Vault":
    """Raises as `open_place` and `read_backup_key`; FailedPrecondition: NOT_INSTALLED without the servers' libraries."""
    try:
        from consilium.backup.places import open_place
        from consilium.backup.vault import Vault, read_backup_key
    except ModuleNotFoundError as missing:
        sentence = f"This needs {missing.name}, which is not installed: install consilium[services]."
        raise FailedPrecondition("NOT_INSTALLED", sentence) from missing
    return Vault(open_place(where), read_backup_key(key))


class Progress(AbstractContextManager[Callable[[str, int, int], None]]):
    """A bar for one thing after another; called with what, how many are done, and how many there are."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json, self._what = as_json, ""
        self._bar: Bar | None = None
        self._show: Callable[..., None] = complain

    def __enter__(self) -> Callable[[str, int, int], None]:
        """Nothing is shown before there is something to show."""
        return self._told

    def __exit__(self, *_: object) -> None:
        """Take the last bar away."""
        if self._bar is not None:
            self._bar.__exit__()

    def _told(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.__exit__()
            self._bar, self._what = Bar(what.capitalize(), total, self._as_json, counted=True), what
            self._show = self._bar.__enter__()
        self._show(done, total)
