"""`consilium sandbox`: an alliance kept running on this machine until somebody ends it, as a platform would keep it.

A service that ends is started again after a moment, so one may kill what one likes and watch; one that cannot start says why
and stays down. A whole member is away for as long as its folder holds a file `down`, so that the pages on losses can be
played. What there is to know for calling it stands in one table, with a command to begin with.
"""

import asyncio
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from consilium.kernel.errors import Conflict, FailedPrecondition
from consilium.kernel.membership import SERVICES
from consilium.runtime.background import background, until_stopped
from consilium.sandbox.founders import FIVE, founders_of
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, opened
from consilium.sandbox.processes import SandboxService

PAUSE_S = 2
"""How long a service that has ended stays down, so that one sees it, and one that always fails does no harm."""
DOWN = "down"
"""The file in a member's folder that keeps its services down."""
LOOK_S = 0.5
"""How often it is looked for."""


def keep(console: Console, folder: Path | None, members: int | None) -> None:
    """Keep the alliance of a folder running until SIGINT or SIGTERM; a temporary one without a folder.

    Raises Conflict: NOT_EMPTY or OTHER_MEMBERS, and as `local.opened` and `SandboxAlliance.start`.
    """
    with opened(folder, FIVE if members is None else founders_of(members), SANDBOX_PARAMETERS, NOTHING) as alliance:
        there = len(alliance.members)
        if members not in (None, there):
            raise Conflict("OTHER_MEMBERS", f"The alliance in {alliance.folder} has {there} members; leave --members out.")
        asyncio.run(_run(console, alliance))
    kept = "It goes on when you start it there again." if folder is not None else "Its folder is removed."
    console.print(f"The alliance has stopped. {kept}", highlight=False)


async def _run(console: Console, alliance: SandboxAlliance) -> None:
    async with background(_serve(console, alliance)) as ended:
        await until_stopped(ended)
    await alliance.stop()


async def _serve(console: Console, alliance: SandboxAlliance) -> None:
    await _start(console, alliance)
    console.print(_table(alliance))
    console.print(_words(alliance), soft_wrap=True, highlight=False)
    async with asyncio.TaskGroup() as tasks:
        for each in alliance.services():
            tasks.create_task(_look_after(console, each))
        for name in alliance.members:
            tasks.create_task(_take_down(console, alliance, name))


async def _start(console: Console, alliance: SandboxAlliance) -> None:
    """Start all members but those that are to be away, and wait for a block."""
    wanted = [name for name, each in alliance.members.items() if not _down(each.folder).exists()]
    columns = TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        services = progress.add_task("services ready", total=len(wanted) * len(SERVICES))
        block = progress.add_task("first block final", total=1)
        starts = [alliance.start(name, on_ready=lambda _: progress.advance(services)) for name in wanted]
        await asyncio.gather(*starts)
        await alliance.until_final(1)
        progress.advance(block)


async def _look_after(console: Console, service: SandboxService) -> None:
    """Start a service again whenever it has ended and its member is not to be away."""
    name, down = f"The {service.name} service of {service.member_id}", _down(service.layout.member(service.member_id))
    while True:
        await service.until_ended()
        if not down.exists():
            console.print(f"{name} has ended; it starts again.", highlight=False)
            await asyncio.sleep(PAUSE_S)
        await _until(down, is_there=False)
        try:
            service.spawn()
            await service.until_ready()
        except FailedPrecondition as refusal:
            told = f"{refusal} It stays down, until {down} has come and gone."
            console.print(told, soft_wrap=True, highlight=False, markup=False)
            await _until(down, is_there=True)
        else:
            console.print(f"{name} is ready again.", highlight=False)


async def _take_down(console: Console, alliance: SandboxAlliance, member_id: str) -> None:
    """Stop a member's services whenever it is to be away."""
    down = _down(alliance.members[member_id].folder)
    while True:
        await _until(down, is_there=True)
        await alliance.stop(member_id)
        console.print(f"{member_id} is down; it starts again once {down} is removed.", soft_wrap=True, highlight=False)
        await _until(down, is_there=False)


def _down(folder: Path) -> Path:
    return folder / DOWN


async def _until(path: Path, *, is_there: bool) -> None:
    """Wait for a file to come, or to go; nobody tells."""
    while path.exists() is not is_there:  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(LOOK_S)


def _table(alliance: SandboxAlliance) -> Table:
    table = Table(
        title=f"{len(alliance.members)} members on loopback: ports for calls over mutual TLS", title_justify="left"
    )
    table.add_column("member")
    table.add_column("owner")
    for service in SERVICES:
        table.add_column(service, justify="right")
    for profile, member in zip(alliance.genesis.members, alliance.members.values(), strict=True):
        table.add_row(member.member_id, profile.owner_group, *(str(member.services[each].port) for each in SERVICES))
    return table


def _words(alliance: SandboxAlliance) -> str:
    folder, first = alliance.folder, next(iter(alliance.members.values()))
    return (
        "Beside each port: health (grpc.health.v1, plaintext) one higher, metrics (mutual TLS) two higher.\n"
        f"Genesis: {alliance.layout.genesis_path}\n"
        f"Each member: {folder}/MEMBER with settings.toml, client.toml, keys, logs, and its administrator's credential in "
        "identity/administrator.\n\n"
        f"Try: [bold]CONSILIUM_SETTINGS={first.client_settings} consilium status[/]\n"
        "End it with Ctrl-C."
    )
