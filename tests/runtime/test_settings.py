"""Settings: where they come from, what wins, and sentences for what is refused (the issue: "a sentence that names it")."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from consilium.kernel.errors import InvalidArgument
from consilium.runtime.server import ServerSettings
from consilium.runtime.settings import FILE_VARIABLE, describe, load, setting

PLACE = Path("/var/lib/consilium")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One field of each kind."""

    SECTION: ClassVar[str] = "ledger"
    port: int = setting(7_003, "The port.", least=0, most=65_535)
    directory: Path = setting(PLACE, "Where blocks lie.")
    level: str = setting("info", "How much is told.", choices=("info", "debug"))
    sync: bool = setting(default=True, says="Whether blocks are synced.")
    peers: tuple[str, ...] = setting((), "The other members' addresses.")


def file_with(tmp_path: Path, text: str) -> dict[str, str]:
    """An environment that names a settings file."""
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return {FILE_VARIABLE: str(path)}


def refused(environment: dict[str, str]) -> InvalidArgument:
    """The refusal."""
    with pytest.raises(InvalidArgument) as caught:
        load(Example, environment)
    return caught.value


def test_defaults_hold_where_nothing_is_said() -> None:
    assert load(Example, {}) == Example()


def test_the_environment_fills_every_kind() -> None:
    assert load(
        Example,
        {
            "CONSILIUM_LEDGER_PORT": "80",
            "CONSILIUM_LEDGER_DIRECTORY": "/data",
            "CONSILIUM_LEDGER_LEVEL": "debug",
            "CONSILIUM_LEDGER_SYNC": "False",
            "CONSILIUM_LEDGER_PEERS": "a:1, b:2",
            "CONSILIUM_STORAGE_PORT": "of another service",
            "PATH": "of others",
        },
    ) == Example(port=80, directory=Path("/data"), level="debug", sync=False, peers=("a:1", "b:2"))


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    text = '[ledger]\nport = 1\ndirectory = "/file"\nsync = false\npeers = ["a:1"]\n\n[storage]\nport = "theirs"\n'
    environment = file_with(tmp_path, text) | {"CONSILIUM_LEDGER_PORT": "2"}
    assert load(Example, environment) == Example(port=2, directory=Path("/file"), sync=False, peers=("a:1",))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "many", "whole number from 0 to 65535"),
        ("PORT", "65536", "whole number from 0 to 65535"),
        ("PORT", "-1", "whole number from 0 to 65535"),
        ("PORT", "", "whole number from 0 to 65535"),
        ("PORT", "²", "whole number from 0 to 65535"),
        ("LEVEL", "loud", "info, debug"),
        ("SYNC", "maybe", "true, false"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_itself_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    error = refused({f"CONSILIUM_LEDGER_{name}": value})
    assert error.reason == "BAD_SETTING"
    assert error.sentence == f"CONSILIUM_LEDGER_{name} is {value!r}; allowed: {allowed}."


@pytest.mark.parametrize(
    "line", ["port = true", 'port = "80"', "port = 1.5", "sync = 1", "directory = 3", 'peers = "a"', "peers = [1]"]
)
def test_a_bad_value_in_the_file_is_refused(tmp_path: Path, line: str) -> None:
    error = refused(file_with(tmp_path, f"[ledger]\n{line}\n"))
    assert error.reason == "BAD_SETTING"
    assert error.sentence.startswith(f"{line.partition(' ')[0]} in [ledger] of {tmp_path}")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CONSILIUM_LEDGER_PROT", "CONSILIUM_LEDGER_PORT"),
        ("CONSILIUM_LEGDER_PORT", "CONSILIUM_LEDGER_PORT"),
        ("CONSILIUM_SETTING", "CONSILIUM_SETTINGS"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(name: str, near: str) -> None:
    error = refused({name: "1"})
    assert (error.reason, error.sentence) == ("UNKNOWN_SETTING", f"{name} is no setting; the nearest is {near}.")


@pytest.mark.parametrize(
    ("text", "near"), [("[ledger]\nprot = 1\n", "port"), ("[leger]\n", "[ledger]"), ("ledger = 1\n", "[ledger]")]
)
def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(tmp_path: Path, text: str, near: str) -> None:
    error = refused(file_with(tmp_path, text))
    assert error.reason == "UNKNOWN_SETTING"
    assert error.sentence.endswith(f"the nearest is {near}.")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refused({FILE_VARIABLE: str(tmp_path / "none")}).reason == "BAD_SETTINGS_FILE"
    assert refused(file_with(tmp_path, "not toml")).reason == "BAD_SETTINGS_FILE"


def test_what_kubernetes_writes_for_a_service_is_explained() -> None:
    assert "enableServiceLinks" in refused({"CONSILIUM_LEDGER_PORT": "tcp://10.0.0.1:7003"}).sentence


def test_the_table_names_every_setting() -> None:
    lines = describe(Example).splitlines()
    assert len(lines) == 6
    assert " ".join(lines[1].split()) == "CONSILIUM_LEDGER_PORT 7003 whole number from 0 to 65535 The port."
    assert len({line.index(word) for line, word in zip(lines[1:3], ("whole", "path"), strict=True)}) == 1


def test_every_server_setting_has_a_sentence_and_a_default_that_is_allowed() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Ledger(ServerSettings):
        SECTION: ClassVar[str] = "ledger"

    written = {line.split()[0]: line.split()[1] for line in describe(Ledger).splitlines()[1:] if line.split()[1] != '""'}
    assert load(Ledger, written) == Ledger()
