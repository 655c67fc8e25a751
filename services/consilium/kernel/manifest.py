"""What a stored object consists of, and what opens it beside its keys (rule S2; design section 7).

The writer's client makes the manifest, storage keeps it, the reader's client checks it, so it lies in the kernel. A chunk is
named by its RFC 9162 leaf hash, and the ciphertext root is the tree over those: any chunk can be verified alone. Nothing in
a manifest opens anything: the capsule is sealed, the header is public, the shred secret stands elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.encoding import AtMost, Digest, Identifier, MemberId, Signature, encode
from consilium.kernel.errors import Conflict, DataLoss, InvalidArgument
from consilium.kernel.hashing import DIGEST_BYTES
from consilium.kernel.merkle import leaf_hash, merkle_root
from consilium.kernel.sealing import KEY_BYTES, SealHeader, chunk_count
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import MemberProfile, RecordBody
from consilium.kernel.umbral import ReceivingKey, Sealed, open_original, seal

CHUNKS_MAX = 65_536
"""The most chunks one object may have: 16 GiB; larger things are stored as several records."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of one record as it is stored; `media_class` is the writer's own number for the kind of file."""

    DOMAIN: ClassVar[str] = "consilium.manifest"
    record_id: Identifier
    version: int
    media_class: int
    size_class: int
    header: SealHeader
    sealed: Sealed
    chunk_hashes: Annotated[tuple[Digest, ...], AtMost(CHUNKS_MAX)]

    @property
    def ciphertext_root(self) -> bytes:
        """What the record on the ledger names the ciphertext by."""
        return merkle_root(self.chunk_hashes)


def verify_manifest(manifest: Manifest, record: RecordBody) -> None:
    """Raise Conflict (OTHER_RECORD) unless the manifest is of exactly what the record registered (S2, S3)."""
    named = (record.record_id, record.size_class, record.capsule_digest, record.ciphertext_root)
    found = (manifest.record_id, manifest.size_class, manifest.sealed.digest, manifest.ciphertext_root)
    if found != named or len(manifest.chunk_hashes) != chunk_count(manifest.size_class):
        raise Conflict("OTHER_RECORD", "The manifest is not of the object the record registered.", "S3")


def verify_chunk(chunk_hashes: Sequence[bytes], index: int, chunk: bytes) -> None:
    """Raise DataLoss (BAD_CHUNK) unless these are the bytes of chunk `index`; true of ciphertext, without any key (S2)."""
    if not 0 <= index < len(chunk_hashes) or leaf_hash(chunk) != chunk_hashes[index]:
        raise DataLoss("BAD_CHUNK", f"Chunk {index} is not what was stored.", "S2")


@dataclass(frozen=True, slots=True)
class StorageStatement:
    """A member's word that it holds the whole object durably, read back after writing: at home, or as a copy (S2)."""

    DOMAIN: ClassVar[str] = "consilium.storage-statement"
    member_id: MemberId
    record_id: Identifier
    ciphertext_root: Digest
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class StorageReceipt:
    """The statement under the member key; only after the home's is a record registered (S2)."""

    DOMAIN: ClassVar[str] = "consilium.storage-receipt"
    statement: StorageStatement
    signature: Signature


def verify_storage_receipt(
    receipt: StorageReceipt,
    manifest: Manifest,
    member: MemberProfile,
    chain_id: bytes,
    verifier: Verifier,
    *,
    is_copy: bool = False,
) -> None:
    """Raise unless this member signed (BadSignature) that it holds this manifest's object (Conflict OTHER_OBJECT).

    As its home, or as one that keeps a copy: a copy's receipt is no home's, and registers nothing.
    """
    expected = StorageStatement(member.member_id, manifest.record_id, manifest.ciphertext_root, is_copy)
    if receipt.statement != expected:
        raise Conflict("OTHER_OBJECT", f"{member.member_id} signed for another object than the one written.", "S2")
    verifier.verify(member.member_key, encode(receipt.statement, chain_id), receipt.signature)


def verify_receipt_of_record(
    receipt: StorageReceipt, record: RecordBody, member_key: bytes, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise unless the record's home signed (BadSignature) that it holds the object registered (Conflict OTHER_OBJECT).

    For those who have no manifest: the member that is to vouch for a registration (L2).
    """
    expected = StorageStatement(record.holder, record.record_id, record.ciphertext_root)
    if receipt.statement != expected:
        raise Conflict("OTHER_OBJECT", f"The receipt is for another object than {record.holder}'s that is registered.", "S2")
    verifier.verify(member_key, encode(receipt.statement, chain_id), receipt.signature)


def seal_shred_secret(receiving_pk: bytes, request_hash: bytes, shred_secret: bytes) -> Sealed:
    """The shred secret as the home member serves it: addressed to the grant's recipient, for one granted request (S2).

    The request's hash stands on the ledger for all to see, so asking by it proves nothing; opening this does.
    """
    return seal(receiving_pk, shred_secret + request_hash)


def open_shred_secret(receiving_key: ReceivingKey, request_hash: bytes, sealed: Sealed) -> bytes:
    """The shred secret (32 bytes) for the recipient it was served to.

    Raises InvalidArgument: CANNOT_OPEN for another's, OTHER_REQUEST for one served to another request.
    """
    opened = open_original(receiving_key, sealed)
    if len(opened) != KEY_BYTES + DIGEST_BYTES or opened[KEY_BYTES:] != request_hash:
        raise InvalidArgument("OTHER_REQUEST", "This shred secret was served to another request.", "S2")
    return opened[:KEY_BYTES]
