"""A person at the command line: types words, reads both outputs and the exit code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from consilium.client.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable

PASSPHRASE = "correct horse"
MANUAL = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
DOCUMENTED = set(re.findall(r"\w+", MANUAL.read_text()))


@dataclass
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """The one JSON object on standard output, every field of which docs/cli.md names."""
        found = json.loads(self.out)
        assert names_in(found) <= DOCUMENTED, names_in(found) - DOCUMENTED
        return found


def names_in(value: Any) -> set[str]:
    """Every field's name, at any depth."""
    if isinstance(value, dict):
        return set(value) | {name for each in value.values() for name in names_in(each)}
    return {name for each in value for name in names_in(each)} if isinstance(value, list) else set()


@dataclass
class Terminal:
    """One machine: a folder, the settings of one member's client, a keystore, a passphrase file."""

    folder: Path
    settings: Path

    def __post_init__(self) -> None:
        """Write the passphrase where only its owner reads it."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "passphrase").write_text(PASSPHRASE + "\n")
        (self.folder / "passphrase").chmod(0o600)

    @property
    def keystore(self) -> Path:
        """Where this machine's seeds lie."""
        return self.folder / "keystore"

    def run(self, *words: str | Path) -> Said:
        """Run a command; what it is told by the environment is this machine's."""
        environment = {
            "CONSILIUM_SETTINGS": str(self.settings),
            "CONSILIUM_CLIENT_KEYSTORE": str(self.keystore),
            "COLUMNS": "200",
        }
        result = CliRunner().invoke(app, [str(each) for each in words], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def until(self, holds: Callable[[Said], bool], *words: str | Path) -> Said:
        """Run a command again and again until what it says is as wanted; pytest's limit ends it."""
        while not holds(said := self.run(*words)):
            pass
        return said

    def asked(self, *words: str | Path) -> Said:
        """The same for a command that opens the keystore, as JSON."""
        return self.run(*words, "--passphrase-file", self.folder / "passphrase", "--json")
