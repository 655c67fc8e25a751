"""Writing and reading one record's object, chunk by chunk, on the client (rule S2). Pure but for Umbral.

Writing: pad, encrypt under HKDF(capsule secret, shred secret), seal the capsule over `secret || SHA-256(context)`; what is
left over is a manifest for storage and a body for the ledger. Reading: check the manifest against the ledger's record, the
capsule against the context, each chunk against the manifest, and only then decrypt. Left out: moving chunks about.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from consilium.kernel.consent import owner_commitment
from consilium.kernel.errors import Conflict, FailedPrecondition, InvalidArgument
from consilium.kernel.light_client import VerifiedState
from consilium.kernel.manifest import Manifest, verify_chunk, verify_manifest
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import (
    KEY_BYTES,
    SALT_BYTES,
    ObjectOpener,
    ObjectSealer,
    RecordContext,
    bind_secret,
    data_key,
    size_class_of,
    unbind_secret,
)
from consilium.kernel.state_values import closed_entry
from consilium.kernel.transactions import RecordBody
from consilium.kernel.umbral import seal

ENTROPY_BYTES = 2 * KEY_BYTES + SALT_BYTES
"""How much fresh randomness one object takes: capsule secret, shred secret, encryption salt."""


@dataclass(frozen=True, slots=True)
class OpenKey:
    """A delegating key that was open at `height`. Only `verify_open_key` makes one; writing demands one (S6)."""

    delegating_pk: bytes
    height: int


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record belongs: its random id, its home member, its salt (32 bytes), what kind of file, which version."""

    record_id: bytes
    holder: str
    salt: bytes
    media_class: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class WrittenRecord:
    """What a writer hands on: the manifest and the shred secret to storage, the body to the ledger."""

    manifest: Manifest
    body: RecordBody
    shred_secret: bytes = field(repr=False)


def verify_open_key(delegating_pk: bytes, directory: VerifiedState) -> OpenKey:
    """The key, once the key directory shows that it has no successor (S6).

    Raises FailedPrecondition KEY_CLOSED, and Conflict OTHER_ENTRY for a proof about another key.
    """
    if directory.key != closed_entry(delegating_pk):
        raise Conflict("OTHER_ENTRY", "This proof speaks of another delegating key.", "S6")
    if directory.value is not None:
        raise FailedPrecondition(
            "KEY_CLOSED", f"This epoch is closed; new records go under the key {directory.value.hex()}.", "S6"
        )
    return OpenKey(delegating_pk, directory.height)


class RecordWriter:
    """Seals one object of a known length as it streams by; then `written` has what storage and ledger need."""

    def __init__(self, key: OpenKey, place: RecordPlace, length: int, entropy: bytes, chain_id: bytes) -> None:
        """Begin an object of `length` bytes with fresh randomness of ENTROPY_BYTES, never to be used again.

        Raises InvalidArgument OBJECT_TOO_LARGE.
        """
        assert len(entropy) == ENTROPY_BYTES
        capsule_secret, self._shred_secret = entropy[:KEY_BYTES], entropy[KEY_BYTES : 2 * KEY_BYTES]
        self._place = place
        self._commitment = owner_commitment(place.salt, key.delegating_pk)
        context = RecordContext(
            place.record_id, place.version, self._commitment, place.holder, place.media_class, size_class_of(length)
        ).digest(chain_id)
        self._sealed = seal(key.delegating_pk, bind_secret(capsule_secret, context))
        opening_key, salt = data_key(capsule_secret, self._shred_secret, context), entropy[2 * KEY_BYTES :]
        self._begin = partial(ObjectSealer, opening_key, salt, context, length)
        self._sealer = self._begin()
        self._chunk_hashes: list[bytes] = []
        self._earlier: list[bytes] = []

    @property
    def record_id(self) -> bytes:
        """The id of the record being written."""
        return self._place.record_id

    @property
    def size_class(self) -> int:
        """The size class of the object being written."""
        return self._sealer.size_class

    def begin_again(self) -> None:
        """Start from the first byte once more, for a put that broke off: the same bytes give the same chunks."""
        self._sealer = self._begin()
        self._earlier, self._chunk_hashes = max(self._earlier, self._chunk_hashes, key=len), []

    def update(self, data: bytes) -> list[bytes]:
        """Take in the next bytes; the sealed chunks they complete. Raises InvalidArgument OTHER_LENGTH or OTHER_BYTES."""
        return [self._noted(each) for each in self._sealer.update(data)]

    def finish(self) -> Iterator[bytes]:
        """The remaining sealed chunks. Raises InvalidArgument OTHER_LENGTH when bytes are missing, OTHER_BYTES."""
        for chunk in self._sealer.finish():
            yield self._noted(chunk)

    def _noted(self, chunk: bytes) -> bytes:
        """The chunk, once it is the one that was made in its place before: one nonce never seals two things."""
        index, name = len(self._chunk_hashes), leaf_hash(chunk)
        if index < len(self._earlier) and self._earlier[index] != name:
            raise InvalidArgument("OTHER_BYTES", "The file has changed since the put began; write it as a new record.", "S2")
        self._chunk_hashes.append(name)
        return chunk

    def written(self) -> WrittenRecord:
        """What is stored and registered, once all chunks of `finish` have been taken."""
        place, size_class = self._place, self._sealer.size_class
        manifest = Manifest(
            place.record_id,
            place.version,
            place.media_class,
            size_class,
            self._sealer.header,
            self._sealed,
            tuple(self._chunk_hashes),
        )
        body = RecordBody(
            place.record_id, place.holder, self._commitment, manifest.ciphertext_root, self._sealed.digest, size_class
        )
        return WrittenRecord(manifest, body, self._shred_secret)


class RecordReader:
    """Opens one record's object; gives no byte of a chunk before ledger, manifest and key agree on it."""

    def __init__(
        self, record: RecordBody, manifest: Manifest, opened_capsule: bytes, shred_secret: bytes, chain_id: bytes
    ) -> None:
        """Begin with the record as registered, the stored manifest, what the capsule held, and the shred secret.

        Raises Conflict OTHER_RECORD, and InvalidArgument FOREIGN_CAPSULE or WRONG_KEY when the parts are not of one record,
        or the shred secret is not the object's.
        """
        verify_manifest(manifest, record)
        context = RecordContext(
            record.record_id,
            manifest.version,
            record.owner_commitment,
            record.holder,
            manifest.media_class,
            record.size_class,
        ).digest(chain_id)
        key = data_key(unbind_secret(opened_capsule, context), shred_secret, context)
        self._opener = ObjectOpener(key, manifest.header, context, manifest.size_class)
        self._chunk_hashes = manifest.chunk_hashes
        self.next_index = 0
        """The index of the chunk to come."""

    def update(self, chunk: bytes) -> bytes:
        """The object's bytes in the next chunk; after DataLoss BAD_CHUNK another copy may be tried."""
        verify_chunk(self._chunk_hashes, self.next_index, chunk)
        data = self._opener.update(chunk)
        self.next_index += 1
        return data

    @property
    def length(self) -> int:
        """The object's exact length in bytes. Raises FailedPrecondition LENGTH_UNKNOWN before chunk 0 was opened."""
        return self._opener.length

    def open_at(self, index: int, chunk: bytes) -> bytes:
        """The object's bytes in any chunk, once chunk 0 was opened; `update` goes on where it was."""
        verify_chunk(self._chunk_hashes, index, chunk)
        return self._opener.open_chunk(index, chunk)

    def finish(self) -> None:
        """Raise DataLoss TRUNCATED unless every chunk has been opened."""
        self._opener.finish()
