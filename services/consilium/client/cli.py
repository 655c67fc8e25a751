"""The command line, `consilium`: what a person starts by hand.

Exit codes: 0 it holds; 1 the story or a check failed; 2 refused, with one sentence, or wrong use.
"""

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from consilium.kernel.errors import ConsiliumError

app = typer.Typer(
    name="consilium",
    help="A medical-records alliance: one ledger kept by hospitals, data encrypted at home, opened by consent.",
    epilog="Exit codes: 0 it holds, 1 a check failed, 2 refused or wrong use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command(epilog="Examples: `consilium demo`, `consilium demo --keep /tmp/alliance`, `NO_COLOR=1 consilium demo`")
def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Leave everything the story makes in this folder, to look at or verify.")
    ] = None,
) -> None:
    """Found an alliance of five in one process and share one record across it, told as it happens.

    Takes under a minute and about 150 MiB of disk. Everything shown is really done: real files, real keys,
    real blocks; a check that fails ends the story with exit code 1.
    """
    try:
        from consilium.sandbox.demo import play
        from consilium.sandbox.teller import StoryFailed
    except ModuleNotFoundError as missing:
        _fail(f"The demo reads medical files and needs {missing.name}: install consilium[fhir,dicom].", 2)

    try:
        play(Console(), keep)
    except StoryFailed as failure:
        _fail(str(failure), 1)


@app.command(epilog="Example: `consilium demo --keep /tmp/alliance && consilium verify /tmp/alliance`")
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that `consilium demo --keep` left.")],
) -> None:
    """Replay every member's chain from the genesis file, with every rule, signature and election, offline.

    Nothing the members computed is believed: headers, batches, signatures, certificates, draws, codes and
    roots are all made again from genesis and compared.
    """
    from consilium.sandbox.audit import audit

    console = Console()
    for line in audit(folder):
        console.print(line, soft_wrap=True, highlight=False)


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"consilium {importlib.metadata.version('consilium')}\n")


def main() -> None:
    """Run the command line; a refusal becomes one sentence on standard error and exit code 2."""
    try:
        app()
    except ConsiliumError as refusal:
        _fail(str(refusal), 2)


def _fail(sentence: str, code: int) -> NoReturn:
    """Say one sentence on standard error and end."""
    sys.stderr.write(f"consilium: {sentence}\n")
    raise SystemExit(code)
