"""S2: an object sealed by its client opens for its own record, key and shred secret, and for nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from consilium.client.keys import RecipientKeys
from consilium.client.records import (
    ENTROPY_BYTES,
    OpenKey,
    RecordPlace,
    RecordReader,
    RecordWriter,
    WrittenRecord,
    verify_open_key,
)
from consilium.client.sharing import combine_releases
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Conflict, ConsiliumError, DataLoss, FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.light_client import VerifiedState
from consilium.kernel.manifest import Manifest, open_shred_secret, seal_shred_secret, verify_manifest
from consilium.kernel.sealing import CHUNK_BYTES, CHUNK_DATA_BYTES
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import closed_entry
from consilium.kernel.umbral import open_original
from tests.client.cases import CHAIN, HOSPITAL, MEMBER_KEYS, PATIENT, REQUEST_HASH, granted, owner, released

FILE = bytes(range(256)) * 1_500 + b"the end"
LONG = bytes(range(251)) * 2_500
KEY = OpenKey(owner().delegating_pk, 7)


def entropy(name: str) -> bytes:
    return (sha256(name.encode()) + sha256(name.encode() + b"2") + sha256(name.encode() + b"3"))[:ENTROPY_BYTES]


def place(name: str) -> RecordPlace:
    record_id = sha256(name.encode())[:16]
    return RecordPlace(record_id, "alder", PATIENT.salt(record_id), media_class=2, version=1)


def write(name: str, data: bytes, key: OpenKey = KEY) -> tuple[WrittenRecord, list[bytes]]:
    writer = RecordWriter(key, place(name), len(data), entropy(name), CHAIN)
    chunks = [*writer.update(data[:100_000]), *writer.update(data[100_000:]), *writer.finish()]
    return writer.written(), chunks


def read(written: WrittenRecord, chunks: list[bytes], opened: bytes | None = None) -> bytes:
    capsule = open_original(PATIENT.delegating("oncology", 0), written.manifest.sealed) if opened is None else opened
    reader = RecordReader(written.body, written.manifest, capsule, written.shred_secret, CHAIN)
    data = b"".join(reader.update(each) for each in chunks)
    reader.finish()
    return data


WRITTEN, CHUNKS = write("scan", FILE)
OTHER, OTHER_CHUNKS = write("letter", FILE)
CAPSULE = open_original(PATIENT.delegating("oncology", 0), WRITTEN.manifest.sealed)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", FILE, LONG, bytes(CHUNK_DATA_BYTES - 8), bytes(CHUNK_DATA_BYTES - 7), bytes(2 * CHUNK_DATA_BYTES - 8)],
    ids=len,
)
def test_what_was_written_is_read_byte_for_byte(data: bytes) -> None:
    written, chunks = write("round trip", data)
    assert read(written, chunks) == data


def test_recipient_reads_what_the_owner_wrote() -> None:
    """S2, S4, S5: the whole way, from the owner's file to the recipient's, through two holders."""
    grant = granted()
    releases = released(grant, WRITTEN.manifest.sealed, "cedar", "damson")
    combined = combine_releases(
        HOSPITAL, grant.terms, REQUEST_HASH, WRITTEN.manifest.sealed, releases, MEMBER_KEYS, CHAIN, Ed25519Verifier()
    )
    assert combined.opened == CAPSULE
    assert read(WRITTEN, CHUNKS, combined.opened) == FILE


def test_ledger_body_says_nothing_of_the_content() -> None:
    """Promise 7: equal files give different roots, capsules and commitments, and sizes are classes."""
    assert WRITTEN.body.ciphertext_root != OTHER.body.ciphertext_root
    assert WRITTEN.body.capsule_digest != OTHER.body.capsule_digest
    assert WRITTEN.body.owner_commitment != OTHER.body.owner_commitment
    longer, _ = write("a byte more", FILE + b"x")
    assert longer.body.size_class == WRITTEN.body.size_class


def test_nothing_stored_shows_the_content() -> None:
    """Promise 3: a run of the plaintext stands in no chunk and no manifest."""
    stored = b"".join(CHUNKS) + encode(WRITTEN.manifest, CHAIN)
    assert FILE[5_000:5_016] not in stored
    assert WRITTEN.shred_secret not in stored
    assert CAPSULE[:32] not in stored
    assert all(len(each) == CHUNK_BYTES for each in CHUNKS[:-1])


def test_without_the_shred_secret_nobody_opens_it() -> None:
    """S2, promise 6: once it is destroyed the object is closed even to the holder of the seed."""
    for guess in (bytes(32), OTHER.shred_secret, WRITTEN.shred_secret[:-1] + b"\0"):
        with pytest.raises(InvalidArgument, match="WRONG_KEY"):
            RecordReader(WRITTEN.body, WRITTEN.manifest, CAPSULE, guess, CHAIN)


def test_secrets_come_from_fresh_randomness_and_from_different_parts_of_it() -> None:
    """S2: were the shred secret the capsule's own, destroying it would destroy nothing."""
    drawn = entropy("scan")
    assert (CAPSULE[:32], WRITTEN.shred_secret, WRITTEN.manifest.header.salt) == (drawn[:32], drawn[32:64], drawn[64:])


def test_shred_secret_is_served_to_one_recipient_for_one_request() -> None:
    """S2: a request's hash stands on the ledger for all to see; what is served opens for its recipient alone."""
    served = seal_shred_secret(HOSPITAL.receiving.public_key, REQUEST_HASH, WRITTEN.shred_secret)
    assert open_shred_secret(HOSPITAL.receiving, REQUEST_HASH, served) == WRITTEN.shred_secret
    with pytest.raises(InvalidArgument, match="OTHER_REQUEST"):
        open_shred_secret(HOSPITAL.receiving, sha256(b"another request"), served)
    with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
        open_shred_secret(RecipientKeys(sha256(b"someone else")).receiving, REQUEST_HASH, served)


def test_without_the_capsule_secret_nobody_opens_it() -> None:
    """S2: storage and its member hold the shred secret; alone it opens nothing."""
    guess = bytes(32) + CAPSULE[32:]
    with pytest.raises(InvalidArgument, match="WRONG_KEY"):
        RecordReader(WRITTEN.body, WRITTEN.manifest, guess, WRITTEN.shred_secret, CHAIN)


def test_capsule_of_another_record_is_refused_by_its_context() -> None:
    """S2: `secret || SHA-256(context)`: an honest secret in the wrong place does not pass."""
    foreign = open_original(PATIENT.delegating("oncology", 0), OTHER.manifest.sealed)
    with pytest.raises(InvalidArgument, match="FOREIGN_CAPSULE"):
        RecordReader(WRITTEN.body, WRITTEN.manifest, foreign, WRITTEN.shred_secret, CHAIN)


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_capsule_of_another_form_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgument, match="FOREIGN_CAPSULE"):
        RecordReader(WRITTEN.body, WRITTEN.manifest, bytes(length), WRITTEN.shred_secret, CHAIN)


@pytest.mark.parametrize("name", ["version", "media_class"])
def test_context_binds_what_the_ledger_does_not_name(name: str) -> None:
    """S2: a rolled-back version or a file passed off as another kind is refused."""
    changed = dataclasses.replace(WRITTEN.manifest, **{name: getattr(WRITTEN.manifest, name) + 1})
    with pytest.raises(InvalidArgument, match="FOREIGN_CAPSULE"):
        RecordReader(WRITTEN.body, changed, CAPSULE, WRITTEN.shred_secret, CHAIN)


@pytest.mark.parametrize("name", ["record_id", "holder", "owner_commitment"])
def test_context_binds_record_holder_and_owner(name: str) -> None:
    """S2: the same object under another record's name is refused, whoever registered it."""
    value = getattr(WRITTEN.body, name)
    other: Any = value + "x" if isinstance(value, str) else value[::-1]
    body = dataclasses.replace(WRITTEN.body, **{name: other})
    manifest = dataclasses.replace(WRITTEN.manifest, record_id=body.record_id)
    with pytest.raises(InvalidArgument, match="FOREIGN_CAPSULE"):
        RecordReader(body, manifest, CAPSULE, WRITTEN.shred_secret, CHAIN)


def test_object_of_another_chain_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="FOREIGN_CAPSULE"):
        RecordReader(WRITTEN.body, WRITTEN.manifest, CAPSULE, WRITTEN.shred_secret, bytes(32))


@pytest.mark.parametrize("name", ["sealed", "chunk_hashes", "record_id", "size_class"])
def test_manifest_of_another_record_is_refused(name: str) -> None:
    """S3: storage that swaps capsule or chunks contradicts the ledger."""
    longer, _ = write("longer", LONG)
    changed = dataclasses.replace(WRITTEN.manifest, **{name: getattr(longer.manifest, name)})
    with pytest.raises(Conflict, match="OTHER_RECORD"):
        verify_manifest(changed, WRITTEN.body)


def test_capsule_and_ciphertext_swapped_together_are_refused() -> None:
    """S2, S3: a whole other record under this one's name: its manifest fits itself, but not the ledger."""
    posing = dataclasses.replace(OTHER.manifest, record_id=WRITTEN.manifest.record_id)
    with pytest.raises(Conflict, match="OTHER_RECORD"):
        RecordReader(WRITTEN.body, posing, CAPSULE, WRITTEN.shred_secret, CHAIN)


def test_header_of_another_object_is_refused() -> None:
    """S2: the key commitment tells the right key from any other."""
    changed = dataclasses.replace(WRITTEN.manifest, header=OTHER.manifest.header)
    with pytest.raises(InvalidArgument, match="WRONG_KEY"):
        RecordReader(WRITTEN.body, changed, CAPSULE, WRITTEN.shred_secret, CHAIN)


def test_flipped_byte_is_refused_and_a_good_copy_heals_it() -> None:
    """S2: no byte of a damaged chunk comes out; the reader goes on with another copy."""
    reader = RecordReader(WRITTEN.body, WRITTEN.manifest, CAPSULE, WRITTEN.shred_secret, CHAIN)
    damaged = bytes([CHUNKS[0][0] ^ 1]) + CHUNKS[0][1:]
    with pytest.raises(DataLoss, match=r"is not what was stored.*BAD_CHUNK"):
        reader.update(damaged)
    assert reader.update(CHUNKS[0]) + reader.update(CHUNKS[1]) == FILE


@pytest.mark.parametrize(
    "chunks",
    [CHUNKS[:1], CHUNKS[::-1], [*CHUNKS, CHUNKS[-1]], OTHER_CHUNKS],
    ids=["cut", "turned", "longer", "foreign"],
)
def test_chunks_cut_turned_added_or_foreign_are_refused(chunks: list[bytes]) -> None:
    """S2: the object comes whole and in order, or not at all."""
    with pytest.raises(DataLoss):
        read(WRITTEN, chunks)


def test_manifest_survives_storage_and_refuses_what_is_not_one() -> None:
    data = encode(WRITTEN.manifest, CHAIN)
    assert decode(Manifest, data, CHAIN) == WRITTEN.manifest
    for broken in (data[:-1], data + b"\0", encode(WRITTEN.manifest.header, CHAIN), b""):
        with pytest.raises(ConsiliumError):
            decode(Manifest, broken, CHAIN)


def test_shred_secret_is_never_printed() -> None:
    assert "shred" not in repr(WRITTEN)


# --- writing under a closed epoch (S6) ---


def test_open_key_may_be_written_under() -> None:
    """S6: absence from the key directory is proof that the epoch is open."""
    key = KEY.delegating_pk
    assert verify_open_key(key, VerifiedState(7, closed_entry(key), None)) == KEY


def test_closed_key_is_refused_and_its_successor_named() -> None:
    """S6: writes under a closed epoch are refused by the SDK."""
    key, successor = KEY.delegating_pk, owner(epoch=1).delegating_pk
    with pytest.raises(FailedPrecondition, match=f"{successor.hex()}.*KEY_CLOSED, rule S6"):
        verify_open_key(key, VerifiedState(7, closed_entry(key), successor))


def test_proof_about_another_key_opens_nothing() -> None:
    """S6: an honest absence of something else proves nothing."""
    with pytest.raises(Conflict, match="OTHER_ENTRY"):
        verify_open_key(KEY.delegating_pk, VerifiedState(7, closed_entry(owner(epoch=1).delegating_pk), None))
