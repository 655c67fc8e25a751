"""The papers people hand one another: what was written is read, and nothing else passes for one (S3)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from consilium.client.commands.papers import (
    Reference,
    address_facts,
    fingerprint,
    read_address,
    read_reference,
    write_paper,
    write_reference,
)
from consilium.client.keys import RecipientKeys
from consilium.client.sharing import Recipient, RecordReference
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, Malformed, NotFound

if TYPE_CHECKING:
    from pathlib import Path

KEYS = RecipientKeys(bytes(range(32)))
ADDRESS = Recipient("benxi", KEYS.author.public_key, KEYS.receiving.public_key)
LETTER = ("letter", RecordReference(b"\xab" * 16, "anshan", b"\1" * 32))
SCAN = ("scan", RecordReference(b"\xcd" * 16, "anshan", b"\2" * 32))
REFERENCE = Reference(b"\7" * 16, (LETTER, SCAN))


def test_address_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "address"
    write_paper(path, address_facts(ADDRESS))
    assert read_address(path) == ADDRESS
    assert fingerprint(read_address(path)) == fingerprint(ADDRESS)


def test_fingerprint_covers_every_part() -> None:
    """Whoever swaps any key, or the member, shows another fingerprint."""
    other = RecipientKeys(bytes(32))
    changed = (
        Recipient("chaoyang", ADDRESS.author_key, ADDRESS.receiving_pk),
        Recipient("benxi", other.author.public_key, ADDRESS.receiving_pk),
        Recipient("benxi", ADDRESS.author_key, other.receiving.public_key),
    )
    assert len({fingerprint(each) for each in (ADDRESS, *changed)}) == 4
    assert len(fingerprint(ADDRESS).split()) == 6


def test_reference_comes_back_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "reference"
    write_reference(path, REFERENCE)
    assert read_reference(path) == REFERENCE
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_paper_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "reference"
    path.write_text("precious")
    with pytest.raises(FailedPrecondition, match="FILE_EXISTS"):
        write_reference(path, REFERENCE)
    assert path.read_text() == "precious"


def test_record_is_named_by_label_or_beginning() -> None:
    assert REFERENCE.record_named("scan") == SCAN
    assert REFERENCE.record_named("ABAB") == LETTER
    assert Reference(b"", (("abab", SCAN[1]), LETTER)).record_named("abab") == ("abab", SCAN[1])
    assert Reference(b"", (SCAN,)).record_named(None) == SCAN
    with pytest.raises(InvalidArgument, match="AMBIGUOUS"):
        REFERENCE.record_named(None)
    for name in ("x-ray", "aba", ""):
        with pytest.raises(NotFound, match="NOT_NOTED"):
            REFERENCE.record_named(name)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"paper": "consilium record reference 2", "grant": "", "records": []}',
        json.dumps(address_facts(ADDRESS)).encode(),
        b'{"paper": "consilium record reference 1", "grant": "07", "records": []}',
        b'{"paper": "consilium record reference 1", "grant": 7, "records": []}',
        b'{"paper": "consilium record reference 1", "grant": "%s", "records": {}}' % (b"07" * 16),
        b'{"paper": "consilium record reference 1", "grant": "%s", "records": [{"name": "x"}]}' % (b"07" * 16),
    ],
)
def test_nothing_else_passes_for_a_reference(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "reference"
    path.write_bytes(data)
    with pytest.raises(Malformed, match="BAD_PAPER"):
        read_reference(path)


@pytest.mark.parametrize("name", ["author_key", "receiving_key"])
@pytest.mark.parametrize("value", ["", "zz", "00" * 31, 5, None])
def test_nothing_else_passes_for_an_address(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "address"
    path.write_text(json.dumps({**address_facts(ADDRESS), name: value}))
    with pytest.raises(Malformed, match="BAD_PAPER"):
        read_address(path)
