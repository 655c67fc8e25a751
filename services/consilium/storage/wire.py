"""What crosses the border: requests into checked values, once, and values into answers."""

from dataclasses import astuple

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Malformed
from consilium.kernel.hashing import DIGEST_BYTES
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.retention import ERASURE_BYTES_MAX, ErasureCertificate, SignedErasureOrder
from consilium.kernel.sealing import CHUNK_BYTES, KEY_BYTES
from consilium.kernel.transactions import RetentionAct
from consilium.kernel.umbral import CAPSULE_BYTES, CIPHERTEXT_BYTES_MAX, Sealed
from consilium.runtime.clock import wall_ms
from consilium.storage.core.escrow import ESCROW_BYTES
from consilium.storage.holdings import Backup

RECORD_ID_BYTES = 16
NUMBER_MAX = 2**63 - 1
CLOCKS_APART_MS = 60_000
"""How far the clock of whoever takes backups may be ahead of this one, in milliseconds."""


def record_id(data: bytes) -> bytes:
    """The random id of a record. Raises Malformed: BAD_FIELD."""
    return _exactly(data, RECORD_ID_BYTES, "A record_id")


def request_hash(data: bytes) -> bytes:
    """The hash of an access request. Raises Malformed: BAD_FIELD."""
    return _exactly(data, DIGEST_BYTES, "An access_request_hash")


def shred_secret(data: bytes) -> bytes:
    """A shred secret. Raises Malformed: BAD_FIELD."""
    return _exactly(data, KEY_BYTES, "A shred_secret")


def chunk(given: pb.Chunk) -> tuple[int, bytes]:
    """The index and the bytes of a chunk. Raises Malformed: BAD_FIELD."""
    data = given.data  # looked at once: each look at the field makes a copy
    if given.offset % CHUNK_BYTES or not 0 < len(data) <= CHUNK_BYTES:
        raise Malformed("BAD_FIELD", f"A chunk has 1 to {CHUNK_BYTES} bytes, at a multiple of {CHUNK_BYTES}.", "L1")
    return given.offset // CHUNK_BYTES, data


def write_chunk(chunk: pb.Chunk, index: int, data: bytes) -> None:
    """Put a chunk into a frame, in place: one that is made apart and handed over is copied once more, or twice."""
    chunk.offset, chunk.data = index * CHUNK_BYTES, data


def manifest(data: bytes, chain_id: bytes) -> Manifest:
    """A manifest. Raises Malformed."""
    return decode(Manifest, data, chain_id)


def receipt(given: pb.StorageReceipt, chain_id: bytes) -> StorageReceipt:
    """A member's signed word. Raises Malformed."""
    return decode(StorageReceipt, given.encoded, chain_id)


def receipt_message(made: StorageReceipt, chain_id: bytes) -> pb.StorageReceipt:
    """A member's signed word."""
    return pb.StorageReceipt(encoded=encode(made, chain_id))


def sealed_message(sealed: Sealed | None) -> pb.SealedSecret | None:
    """A sealed secret, where there is one."""
    return None if sealed is None else pb.SealedSecret(capsule=sealed.capsule, ciphertext=sealed.ciphertext)


def sealed(given: pb.SealedSecret) -> Sealed:
    """A sealed secret, for clients. Raises Malformed: BAD_FIELD."""
    if len(given.ciphertext) > CIPHERTEXT_BYTES_MAX:
        raise Malformed("BAD_FIELD", f"A sealed secret has at most {CIPHERTEXT_BYTES_MAX} bytes.", "L1")
    return Sealed(_exactly(given.capsule, CAPSULE_BYTES, "A capsule"), given.ciphertext)


def backup(given: pb.Backup) -> Backup:
    """Word of a backup. Raises Malformed: BAD_FIELD."""
    told = Backup(given.taken_ms, given.height, given.bytes_added, given.objects, given.objects_damaged)
    if not 0 < told.taken_ms <= wall_ms() + CLOCKS_APART_MS or not told.height or max(astuple(told)) > NUMBER_MAX:
        raise Malformed("BAD_FIELD", "A backup was taken by now, up to a height above 0, and no number exceeds 2^63.", "L1")
    return told


def backup_message(told: Backup | None) -> pb.Backup | None:
    """Word of a backup, where there was one."""
    if told is None:
        return None
    return pb.Backup(
        taken_ms=told.taken_ms,
        height=told.height,
        bytes_added=told.bytes_added,
        objects=told.objects,
        objects_damaged=told.damaged,
    )


def page_token(token: str) -> bytes:
    """The record after which a page begins. Raises Malformed: BAD_PAGE_TOKEN."""
    try:
        after = bytes.fromhex(token)
    except ValueError:
        after = b"?"
    if len(after) not in (0, RECORD_ID_BYTES):
        raise Malformed("BAD_PAGE_TOKEN", "A page_token is empty, or one that the page before has told.", "L1")
    return after


def escrow(data: bytes) -> bytes:
    """A sealed shred secret, empty for none. Raises Malformed: BAD_FIELD."""
    return _exactly(data, ESCROW_BYTES, "A sealed_shred_secret") if data else b""


def act(given: int) -> RetentionAct:
    """What a record's home is to do. Raises Malformed: BAD_FIELD."""
    try:
        return RetentionAct(given)
    except ValueError as error:
        raise Malformed("BAD_FIELD", f"{given} is no act: 1 erases, 2 places a hold, 3 lifts it.", "L1") from error


def order(data: bytes, chain_id: bytes) -> SignedErasureOrder | None:
    """The owner's order, where there is one. Raises Malformed."""
    return decode(SignedErasureOrder, data, chain_id, ERASURE_BYTES_MAX) if data else None


def erasure(data: bytes, chain_id: bytes) -> ErasureCertificate:
    """A member's certificate. Raises Malformed."""
    return decode(ErasureCertificate, data, chain_id, ERASURE_BYTES_MAX)


def _exactly(data: bytes, length: int, what: str) -> bytes:
    if len(data) != length:
        raise Malformed("BAD_FIELD", f"{what} has {length} bytes, not {len(data)}.", "L1")
    return data
