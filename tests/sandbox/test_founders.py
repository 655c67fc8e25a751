from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from consilium.ceremony.keys import FILES, SECRETS, draw_keys, read_keys
from consilium.consensus.keys import read_keys as replica_keys
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import Parameters
from consilium.runtime.genesis_file import read_genesis
from consilium.sandbox.founders import FIVE, found

if TYPE_CHECKING:
    from pathlib import Path


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Folders 0700, files 0600 (issue item 8; design section 7)."""
    found(tmp_path, Parameters(), 1)
    for founder in FIVE:
        folder = tmp_path / founder.member_id
        assert stat.filemode(folder.stat().st_mode) == "drwx------"
        assert stat.filemode((folder / "keys").stat().st_mode) == "drwx------"
        modes = [stat.filemode((folder / "keys" / name).stat().st_mode) for name in FILES]
        assert modes == ["-rw-------"] * len(FILES)


def test_the_genesis_file_names_the_chain(tmp_path: Path) -> None:
    """L5: what is read back has the same chain id, and the five founders in order."""
    genesis = found(tmp_path, Parameters(), 1)
    assert read_genesis(tmp_path / "genesis").chain_id == genesis.chain_id
    assert [each.member_id for each in genesis.members] == ["1A", "2A", "2B", "3A", "3B"]


def test_another_file_is_no_genesis(tmp_path: Path) -> None:
    (tmp_path / "genesis").write_bytes(b"\x80")
    with pytest.raises(InvalidArgument, match="BAD_GENESIS"):
        read_genesis(tmp_path / "genesis")


def test_reveals_walk_the_chain_backwards(tmp_path: Path) -> None:
    """C6: consensus reads what founding drew; each preimage hashes to the anchor before it, which genesis publishes."""
    anchor, keys = draw_keys(tmp_path / "keys").reveal_anchor, replica_keys(tmp_path / "keys")
    first = keys.preimage_of(anchor)
    second = keys.preimage_of(first)
    assert (sha256(first), sha256(second)) == (anchor, first)


def test_a_used_up_chain_of_reveals_is_said(tmp_path: Path) -> None:
    draw_keys(tmp_path / "keys")
    keys = replica_keys(tmp_path / "keys")
    with pytest.raises(FailedPrecondition, match="NO_REVEAL"):
        keys.preimage_of(keys.reveals)


def test_keys_show_no_secret(tmp_path: Path) -> None:
    draw_keys(tmp_path / "keys")
    keys = read_keys(tmp_path / "keys")
    shown = repr(keys)
    for name in SECRETS:
        assert (tmp_path / "keys" / name).read_bytes().hex() not in shown
        assert str((tmp_path / "keys" / name).read_bytes()) not in shown
