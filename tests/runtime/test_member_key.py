"""A service signs under the member key that the ledger names, of those that lie in its files (rule G3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import InvalidArgument, Unavailable
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from consilium.runtime.member_key import OwnSigner, read_seeds
from tests.kernel.test_membership import MEMBER

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.kernel.state_values import MemberState

SEEDS = [bytes([each]) * 32 for each in (1, 2)]
FIRST, NEXT, OTHER = map(Ed25519Signer.from_seed, [*SEEDS, bytes([3]) * 32])


def named(signer: Ed25519Signer) -> MemberState:
    """What the ledger says while it names this key."""
    return replace(MEMBER, profile=replace(MEMBER.profile, member_key=signer.public_key))


@pytest.mark.parametrize(
    ("state", "wanted"),
    [(named(FIRST), FIRST), (named(NEXT), NEXT), (named(OTHER), FIRST), (None, FIRST)],
    ids=["the first", "the next", "neither", "unheard of"],
)
def test_g3_what_is_signed_is_under_the_key_that_the_ledger_names(state: MemberState | None, wanted: Ed25519Signer) -> None:
    signer = OwnSigner(SEEDS, lambda: state)
    assert signer.public_key == wanted.public_key
    Ed25519Verifier().verify(wanted.public_key, b"said", signer.sign(b"said"))


def test_g3_it_goes_over_when_the_ledger_does() -> None:
    states = [named(FIRST)]
    signer = OwnSigner(SEEDS, lambda: states[-1])
    before = signer.public_key
    states.append(named(NEXT))
    assert (before, signer.public_key) == (FIRST.public_key, NEXT.public_key)


def test_nothing_is_signed_before_the_ledger_was_read() -> None:
    def unread() -> MemberState | None:
        raise Unavailable("STANDING_UNKNOWN", "The ledger has not been read; call again.")

    with pytest.raises(Unavailable, match="STANDING_UNKNOWN"):
        OwnSigner(SEEDS, unread).sign(b"said")


def test_the_next_key_lies_below_the_first(tmp_path: Path) -> None:
    path, following = tmp_path / "member", tmp_path / "next" / "member"
    refuses(tmp_path, f"There is no member key at {path}.")
    path.write_bytes(b"1" * 32)
    assert read_seeds(path) == [b"1" * 32]
    following.parent.mkdir()
    assert read_seeds(path) == [b"1" * 32]
    following.write_bytes(b"2" * 32)
    assert read_seeds(path) == [b"1" * 32, b"2" * 32]


@pytest.mark.parametrize("bad", ["member", "next/member"])
def test_the_file_that_is_no_member_key_is_named(tmp_path: Path, bad: str) -> None:
    (tmp_path / "next").mkdir()
    for each in ("member", "next/member"):
        (tmp_path / each).write_bytes(bytes(31 if each == bad else 32))
    refuses(tmp_path, f"{tmp_path / bad} holds no member key")


def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path: Path) -> None:
    """There may be a next key in it: to go on without would make the member's word nobody's (G3)."""
    (tmp_path / "member").write_bytes(bytes(32))
    (tmp_path / "next").symlink_to("next")  # no rights keep an administrator out, but this does
    refuses(tmp_path, f"member in {tmp_path / 'next'} cannot be read")


def refuses(folder: Path, sentence: str) -> None:
    """The member key in this folder is refused with this."""
    with pytest.raises(InvalidArgument) as found:
        read_seeds(folder / "member")
    assert found.value.reason == "BAD_MEMBER_KEY"
    assert sentence in str(found.value)
