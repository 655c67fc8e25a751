"""`consilium demo`: found an alliance of five, each with its five services as processes, and let the story run on it."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from rich.console import Console

from consilium.kernel.errors import Conflict
from consilium.kernel.parameters import Parameters
from consilium.sandbox.acts_refusing import delete_fragments, refuse_stranger, revoke
from consilium.sandbox.acts_report import report
from consilium.sandbox.acts_sharing import enrol, found, grant, open_elsewhere, store
from consilium.sandbox.acts_trouble import change_epoch, heal_damage, kill_primary
from consilium.sandbox.figures import fetch_pages, figures
from consilium.sandbox.founders import FIVE
from consilium.sandbox.local import SandboxAlliance, opened
from consilium.sandbox.stage import Stage, set_stage
from consilium.sandbox.teller import Act, StoryFailed, Teller

PARAMETERS = Parameters(
    term_blocks=12, heartbeat_ms=250, view_timeout_ms=1_000, view_timeout_max_ms=8_000, tip_age_max_ms=5_000
)
"""Terms of 12 blocks and a heartbeat of a quarter of a second, so that a demo crosses epochs while one watches."""
SETTINGS = {"storage": {"scrub_interval_s": 3, "scrub_chunks_per_s": 1_000}}
"""A scrub every few seconds, where a hospital would do with one a day."""
ACTS: tuple[tuple[str, Callable[[Stage, Act], Awaitable[None]]], ...] = (
    ("Five hospitals keep one ledger", found),
    ("Hospitals enrol their people, a patient draws her keys", enrol),
    ("Her hospital stores three files, encrypted", store),
    ("She lets another hospital in", grant),
    ("The other hospital opens the files", open_elsewhere),
    ("A third hospital is refused", refuse_stranger),
    ("A bit flips on a disk", heal_damage),
    ("The primary is killed", kill_primary),
    ("An epoch ends, another committee takes over", change_epoch),
    ("She revokes, with a new key", revoke),
    ("The holders destroy their fragments", delete_fragments),
    ("She asks who read what", report),
)
"""The story, in order."""
LOOK_S = 0.5
"""How often the story looks whether all services are there that should be."""


def play(console: Console, keep: Path | None) -> None:
    """Play the whole story; its files go to `keep`, or to a temporary folder that is removed.

    Raises StoryFailed with a sentence when anything does not hold, Conflict NOT_EMPTY when `keep` holds
    something.
    """
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise Conflict("NOT_EMPTY", f"{keep} is not empty; name a folder that is, or does not exist.")
        asyncio.run(tell(console, keep))
        console.print(f"Everything the story left is in {keep}; `consilium verify {keep}` replays it.")
        return
    with tempfile.TemporaryDirectory(prefix="consilium-demo-") as folder:
        asyncio.run(tell(console, Path(folder)))


async def tell(console: Console, folder: Path) -> None:
    """Found an alliance in `folder`, which is empty or new, and play the story. Raises as `play`."""
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        alliance = stack.enter_context(opened(folder, FIVE, PARAMETERS, SETTINGS))
        teller = Teller(console)
        with teller.act("Twenty-five services start") as act:
            await _start(alliance, act)
        stack.push_async_callback(alliance.stop)
        stage = await set_stage(alliance, folder / "people", stack)
        teller.chain_line = lambda: _chain_line(stage)
        await unless_a_service_ends(alliance, stage.follow(), _play_acts(stage, teller))
        rows = figures(stage, await fetch_pages(alliance))
    teller.timings([*stage.facts, *rows])
    console.print(f"[green]All {teller.checks} checks held, in {time.monotonic() - started:.1f} seconds.[/]")


async def _start(alliance: SandboxAlliance, act: Act) -> None:
    """Each hospital's identity, consensus, ledger, storage and re-encryption, as processes of their own."""
    services, ready = alliance.services(), 0
    with act.bar("services", len(services), "ready") as done:

        def count(_: object) -> None:
            nonlocal ready
            ready += 1
            done(ready)

        await alliance.start(on_ready=count)
    act.check(
        all(each.is_up for each in services),
        f"{len(services)} processes answer that they are serving, mutual TLS on every port but that for health",
    )


async def _play_acts(stage: Stage, teller: Teller) -> None:
    for title, play_act in ACTS:
        with teller.act(title) as act:
            await play_act(stage, act)


async def unless_a_service_ends(alliance: SandboxAlliance, watching: Awaitable[None], story: Awaitable[None]) -> None:
    """Play, beside the watch, but stop and raise StoryFailed as soon as a service ends that nobody killed.

    Raises what the story raises, or the watch.
    """
    tasks = [asyncio.ensure_future(each) for each in (_until_one_ends(alliance), story, watching)]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for each in others:
        each.cancel()
        with suppress(asyncio.CancelledError):
            await each
    for each in tasks:
        if each in done:
            each.result()


async def _until_one_ends(alliance: SandboxAlliance) -> None:
    """Watch the processes; raises StoryFailed for the first that ends by itself."""
    while True:
        for each in alliance.ended():
            raise StoryFailed(f"The {each.name} service of {each.member_id} ended by itself: {each.last_line()}")
        await asyncio.sleep(LOOK_S)


def _chain_line(stage: Stage) -> str:
    up = " ".join(name for name in stage.alliance.members if all(each.is_up for each in stage.alliance.services(name)))
    return f"up: {up} | height {stage.chain.height}, epoch {stage.chain.epoch}"
