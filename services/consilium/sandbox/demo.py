"""`consilium demo`: found an alliance of five in one process and let the story run (issue item 8)."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from consilium.kernel.errors import Conflict
from consilium.sandbox.acts_refusing import delete_fragments, refuse_stranger, revoke
from consilium.sandbox.acts_report import report
from consilium.sandbox.acts_sharing import enrol, grant, open_elsewhere, store
from consilium.sandbox.acts_trouble import change_epoch, heal_damage, stop_delegate
from consilium.sandbox.alliance import DEMO_PARAMETERS, Alliance
from consilium.sandbox.founders import found
from consilium.sandbox.replicas import wall_clock_ms
from consilium.sandbox.stage import HOME, Stage
from consilium.sandbox.teller import Act, StoryFailed, Teller

ACTS: tuple[tuple[str, Callable[[Stage, Act], Awaitable[None]]], ...] = (
    ("Five hospitals found an alliance, a patient enrols", enrol),
    ("Her hospital stores three files, encrypted", store),
    ("She lets another hospital in", grant),
    ("The other hospital opens the files", open_elsewhere),
    ("A third hospital is refused", refuse_stranger),
    ("A bit flips on a disk", heal_damage),
    ("A delegate is stopped", stop_delegate),
    ("An epoch ends, another committee takes over", change_epoch),
    ("She revokes, with a new key", revoke),
    ("The holders destroy their fragments", delete_fragments),
    ("She asks who read what", report),
)
"""The story, in order."""


def play(console: Console, keep: Path | None) -> None:
    """Play the whole story; its files go to `keep`, or to a temporary folder that is removed.

    Raises StoryFailed with a sentence when anything does not hold, Conflict NOT_EMPTY when `keep` holds
    something.
    """
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise Conflict("NOT_EMPTY", f"{keep} is not empty; name a folder that is, or does not exist.")
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        asyncio.run(tell(console, keep))
        console.print(f"Everything the story left is in {keep}; `consilium verify {keep}` replays it.")
        return
    with tempfile.TemporaryDirectory(prefix="consilium-demo-") as folder:
        asyncio.run(tell(console, Path(folder)))


async def tell(console: Console, folder: Path) -> Stage:
    """Found an alliance in `folder`, which is empty, and play the story; the stage as it ended."""
    genesis = found(folder, DEMO_PARAMETERS, wall_clock_ms())
    alliance = Alliance(folder, genesis)
    await alliance.start()
    stage = Stage(folder, alliance)
    teller = Teller(console, lambda: _chain_line(stage))
    try:
        await _unless_a_member_fails(alliance, _play_acts(stage, teller))
        figures = _figures(stage)
    finally:
        await alliance.stop()
    teller.timings([*stage.facts, *figures, ("left on disk, by all members", _mebibytes(_bytes_in(folder)))])
    console.print(f"[green]All {teller.checks} checks held, in {sum(teller.seconds.values()):.1f} seconds.[/]")
    return stage


async def _play_acts(stage: Stage, teller: Teller) -> None:
    for title, play_act in ACTS:
        with teller.act(title) as act:
            await play_act(stage, act)


async def _unless_a_member_fails(alliance: Alliance, story: Awaitable[None]) -> None:
    """Play, but stop as soon as a member ends by an error of its own, and raise StoryFailed with it."""
    playing, watching = asyncio.ensure_future(story), asyncio.ensure_future(alliance.watch())
    await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
    for each in (playing, watching):
        if not each.done():
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
    if alliance.failure is not None:
        member_id, error = alliance.failure
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise StoryFailed(f"Member {member_id} ended by an error: {error!r}") from error
    playing.result()


def _chain_line(stage: Stage) -> str:
    chain = stage.ledger.chain
    up = " ".join(each.member_id for each in stage.alliance.up)
    return f"up: {up} | height {chain.height}, epoch {chain.tip.outlook.epoch}"


def _figures(stage: Stage) -> list[tuple[str, str]]:
    """What was counted along the way, at the patient's hospital unless it says otherwise."""
    chain, counts, home = stage.ledger.chain, stage.alliance.board.counts, stage.alliance.member(HOME)
    return [
        ("blocks final", f"{chain.certified_height:,}"),
        ("transactions in them", f"{chain.outcome(chain.certified_height).result.log_size:,}"),
        ("messages between members", f"{counts['carried']:,}"),
        ("bytes in them", f"{counts['bytes']:,}"),
        (f"syncs of {HOME}'s vote log", f"{home.replica.log_syncs:,}"),
    ]


def _bytes_in(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def _mebibytes(count: int) -> str:
    return f"{count / 1024 / 1024:,.0f} MiB"
