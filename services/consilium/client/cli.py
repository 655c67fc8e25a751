"""The command line, `consilium`: what a person starts by hand, or a script.

The verbs over a running alliance are in `commands`, a module each; here are the ones that bring their own. How a command
ends, and with which exit code, is decided in `commands.telling`.
"""

import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from consilium.client.commands import (
    credentials,
    elections,
    foundings,
    invites,
    joins,
    keyrings,
    members,
    patients,
    recipients,
    records,
    recoveries,
    shares,
    stores,
)
from consilium.client.commands.audits import audit
from consilium.client.commands.backups import backup, restore
from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_home, finish
from consilium.client.commands.draining import drain
from consilium.client.commands.examinations import doctor
from consilium.client.commands.plan import PlanCommand, plan
from consilium.client.commands.status import status
from consilium.client.commands.telling import EXIT_CODES, REFUSED, UNTRUE, Told, complain, examples, refusals
from consilium.client.commands.verifying import FinalityName, verify_transaction
from consilium.kernel.errors import InvalidArgument
from consilium.runtime.genesis_file import read_signed_genesis
from consilium.runtime.memory import keep_freed_memory

app = typer.Typer(
    name="consilium",
    help="A medical-records alliance: one ledger kept by hospitals, data encrypted at home, opened by consent.",
    epilog="Every command has --help with examples; those over a running alliance also --json. They find it by the "
    f"variables CONSILIUM_CLIENT_*, or the table [client] of the file that --settings or CONSILIUM_SETTINGS "
    f"names.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (
    credentials,
    elections,
    foundings,
    invites,
    joins,
    keyrings,
    members,
    patients,
    recipients,
    records,
    recoveries,
    shares,
    stores,
):
    app.add_typer(group.app)
app.command(epilog=examples("consilium audit", "consilium audit --json", "consilium audit --member"))(audit)
app.command(
    epilog=examples(
        "consilium backup /mnt/backup --key-file backup.key",
        "consilium backup s3://store:9000/bucket/3A --key-file backup.key --json",
    )
)(backup)
app.command(
    epilog=examples(
        "consilium restore /mnt/backup --key-file backup.key --member-settings settings.toml",
        "consilium restore /mnt/backup --key-file backup.key --member-settings settings.toml --drill --json",
    )
)(restore)
app.command(
    epilog=examples(
        "consilium doctor", "consilium doctor --state /var/lib/consilium --json", "consilium doctor --release consilium"
    )
)(doctor)
app.command(epilog=examples("consilium drain", "consilium drain --wait 240 --hold 120", "consilium drain --stay"))(drain)
app.command(epilog=examples("consilium status", "consilium status --watch", "consilium status --json"))(status)

app.command(
    cls=PlanCommand,
    epilog=examples(
        "consilium plan scenarios/ten-hospitals.yaml --target .99",
        "consilium plan scenarios/china-2019.yaml --committee 13 --simulate 2000 --plot odds.svg",
    ),
)(plan)


@app.command(epilog=examples("consilium demo", "consilium demo --keep /tmp/alliance"))
def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Leave everything the story makes in this folder, to look at or verify.")
    ] = None,
) -> None:
    """Found an alliance of five, each with its five services, and share one record across it, told as it happens.

    Takes about a minute and 150 MiB of disk. Everything shown is really done: real files, real keys, real blocks, real
    processes killed; a check that fails ends the story with exit code 1.
    """
    with _extras("fhir,dicom,services"):
        from consilium.sandbox.demo import play
        from consilium.sandbox.teller import StoryFailed

    try:
        play(Console(), keep)
    except StoryFailed as failure:
        complain(str(failure))
        raise SystemExit(UNTRUE) from failure


@app.command(epilog=examples("consilium sandbox", "consilium sandbox --folder /tmp/alliance --members 7"))
def sandbox(
    folder: Annotated[
        Path | None,
        typer.Option(help="Where everything is kept; started there again, the alliance goes on. Else it is temporary."),
    ] = None,
    members: Annotated[int | None, typer.Option(help="How many found it, 4 to 10; five when left out.")] = None,
) -> None:
    """Keep a whole alliance running on this machine until Ctrl-C: five services a member, over mutual TLS on loopback.

    Shows every member's ports, where the settings and credentials of its clients lie, and a first command to try. A service
    that ends, or that you kill, is started again. Five members take about 1 GiB of memory.
    """
    with _extras("services"):
        from consilium.sandbox.keeping import keep

    keep(Console(), folder, members)


@app.command(
    epilog=examples(
        "consilium demo --keep /tmp/alliance && consilium verify /tmp/alliance", "consilium verify --transaction 5f0c..."
    )
)
def verify(
    folder: Annotated[Path | None, typer.Argument(help="A folder that `consilium demo --keep` left, or an export.")] = None,
    *,
    transaction: Annotated[
        str | None, typer.Option(help="Instead of a folder: the hash of one transaction, to be proven by the home member.")
    ] = None,
    finality: Annotated[
        FinalityName, typer.Option(help="With --transaction: who has to stand behind it; `alliance` waits for a term's end.")
    ] = FinalityName.COMMITTEE,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Replay every member's chain from the genesis file, offline; or verify the proof of one transaction.

    Nothing the members computed is believed: headers, batches, signatures, certificates, draws, codes and roots are all made
    again from genesis and compared. For one transaction it takes the genesis file, the committees' certificates and two
    inclusion proofs.
    """
    options = Options(settings, as_json)
    with refusals(as_json=as_json):
        if (folder is None) == (transaction is None):
            raise InvalidArgument("FOLDER_OR_TRANSACTION", "Name a folder to replay, or one --transaction to verify.")
    if transaction is not None:
        verify_transaction(options, transaction, finality.value_in_proofs)
    elif folder is not None:
        _replay(options, folder)


@elections.app.command(epilog=examples("consilium election export /tmp/chain && consilium verify /tmp/chain"))
def export(
    folder: Annotated[Path, typer.Argument(help="An empty folder, or one to be made.")],
    *,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the genesis and all final blocks of the home member into a folder, for an auditor who replays them offline."""
    with _extras("services"):
        from consilium.sandbox.exporting import export_chain, new_export

    async def work(desk: Desk) -> Told:
        ledger = desk.alliance.channel(desk.settings.member_id, "ledger")
        signed = read_signed_genesis(desk.settings.genesis)
        blocks = await export_chain(ledger, signed.genesis, new_export(folder, signed))
        return Told({"folder": str(folder), "blocks": blocks}, (f"{blocks} blocks in {folder}",))

    at_home(Options(settings, as_json), work)


@elections.app.command(
    epilog=examples(
        "consilium election explain --epoch 3 /tmp/chain", "consilium election explain --epoch 3 /tmp/alliance --json"
    )
)
def explain(
    folder: Annotated[Path, typer.Argument(help="A folder that `election export` wrote, or `demo --keep` left.")],
    *,
    epoch: Annotated[int, typer.Option(help="The epoch whose committee is to be explained.", min=0)],
    as_json: AsJson = False,
) -> None:
    """Recompute an election from an exported chain, offline: snapshot, seats, weights, seed, every lot, the header's hash.

    Exit code 1 where the header names another committee than the one that comes out.
    """
    with _extras("services"):
        from consilium.kernel.signing import Ed25519Verifier
        from consilium.sandbox.audit import kept_blocks, kept_genesis
        from consilium.sandbox.explaining import explain as retell

    def work() -> Told:
        genesis = kept_genesis(folder)
        return retell(genesis, kept_blocks(folder, genesis), epoch, Ed25519Verifier())

    finish(Options(None, as_json), work)


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"consilium {importlib.metadata.version('consilium')}\n")


def main() -> None:
    """Run the command line; a refusal becomes one sentence on standard error and an exit code."""
    keep_freed_memory()
    # What the services' modules log is for their logs; without a handler Python would print the bare word of each event.
    logging.getLogger("consilium").addHandler(logging.NullHandler())
    with refusals(as_json=False):
        app()


@contextmanager
def _extras(names: str) -> Iterator[None]:
    """Around imports of what comes with these extras only; what is missing is said in one sentence, exit code 2."""
    try:
        yield
    except ModuleNotFoundError as missing:
        complain(f"This needs {missing.name}, which is not installed: install consilium[{names}].")
        raise SystemExit(REFUSED) from missing


def _replay(options: Options, folder: Path) -> None:
    from consilium.sandbox.audit import audit as replay

    def work() -> Told:
        lines = list(replay(folder))
        return Told({"folder": str(folder), "lines": lines}, tuple(lines))

    finish(options, work)
