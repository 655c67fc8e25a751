"""Encryption of an object by its client, before anything leaves it (rule S2).

The scheme is C2SP chunked-encryption (c2sp.org/chunked-encryption): one HKDF-Expand gives key, base nonce and a
commitment to the key from the data key, a salt and a context; chunk i is sealed with AES-256-GCM under the base nonce
XOR i; the last chunk is shorter than all others, so a cut object cannot pass for a whole one. It departs in four ways:

1. A chunk holds 262,128 bytes, not 16,384: sealed it has 256 KiB, and is exactly what storage keeps, hashes and moves.
2. Hence the label in the key derivation is our own: neither scheme can be mistaken for the other.
3. Salt and commitment travel in the manifest (`SealHeader`), not in front of the first chunk.
4. The object is padded to its size class, and its exact length stands sealed in the first eight bytes. No class is a
   whole number of chunks, so the last chunk is always short and never empty.

A size class is a power of two in eight steps, from 4 KiB: the padding is at most an eighth of it, and an observer
learns one of eight sizes an octave, fewer than eight bits in all. Every chunk's length follows from the class alone.

The data key needs two secrets: the one in the capsule, and the shred secret at the home member. Destroying either ends
the object for everybody. The salt comes from the caller, as the kernel draws no randomness.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hmac import compare_digest
from typing import Annotated, ClassVar, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from consilium.kernel.encoding import Digest, Exactly, Identifier, MemberId, encode
from consilium.kernel.errors import DataLoss, FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import DIGEST_BYTES, sha256

CHUNK_BYTES = 262_144
"""The length of every stored chunk but the last, which is shorter."""
TAG_BYTES = 16
"""The length of a chunk's authentication tag (AES-GCM)."""
CHUNK_DATA_BYTES = CHUNK_BYTES - TAG_BYTES
"""What a full chunk holds."""
KEY_BYTES = 32
"""The length of a data key and of each secret it is made from."""
SALT_BYTES = 24
"""The length of a salt, which must never repeat under one data key."""
LENGTH_BYTES = 8
"""The sealed object begins with its exact length in so many bytes, big-endian."""
SIZE_CLASS_MAX = 224
"""The largest size class: 1 TiB with its padding."""

_LABEL = b"consilium/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_STEPS = 8
_CLASS_0_SHIFT = 9
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class RecordContext:
    """What a sealed object belongs to; a chunk, a capsule or a manifest of another record will not open (S2).

    The owner commitment stands for patient, scope and epoch: it is the salted hash of their delegating key.
    """

    DOMAIN: ClassVar[str] = "consilium.record-context"
    record_id: Identifier
    version: int
    owner_commitment: Digest
    holder: MemberId
    media_class: int
    size_class: int

    def digest(self, chain_id: bytes) -> bytes:
        """What the capsule carries beside its secret, and every key derivation takes in."""
        return sha256(encode(self, chain_id))


@dataclass(frozen=True, slots=True)
class SealHeader:
    """What opening needs beside the key, public: the salt, and the commitment that tells the right key from others."""

    DOMAIN: ClassVar[str] = "consilium.seal-header"
    salt: Annotated[bytes, Exactly(SALT_BYTES)]
    commitment: Digest


def size_class_of(length: int) -> int:
    """The smallest class an object of `length` bytes fits in.

    Raises InvalidArgument: OBJECT_TOO_LARGE.
    """
    assert length >= 0
    padded = max(length + LENGTH_BYTES, _STEPS << _CLASS_0_SHIFT)
    shift = padded.bit_length() - _STEPS.bit_length()
    steps = -(-padded >> shift)
    size_class = (shift - _CLASS_0_SHIFT) * _STEPS + steps - _STEPS
    if size_class > SIZE_CLASS_MAX:
        raise InvalidArgument("OBJECT_TOO_LARGE", f"{length} bytes are more than one object may have.", "S2")
    return size_class


def padded_bytes(size_class: int) -> int:
    """How many bytes an object of this class has with its length and padding, before it is sealed.

    Raises InvalidArgument: BAD_SIZE_CLASS.
    """
    if not 0 <= size_class <= SIZE_CLASS_MAX:
        raise InvalidArgument("BAD_SIZE_CLASS", f"{size_class} is not a size class.", "S2")
    octave, step = divmod(size_class, _STEPS)
    return (_STEPS + step) << (_CLASS_0_SHIFT + octave)


def chunk_count(size_class: int) -> int:
    """How many chunks every object of this class has.

    Raises InvalidArgument: BAD_SIZE_CLASS.
    """
    return padded_bytes(size_class) // CHUNK_DATA_BYTES + 1


def sealed_chunk_bytes(size_class: int, index: int) -> int:
    """The length of chunk `index` as it is stored, for every object of this class."""
    if index < chunk_count(size_class) - 1:
        return CHUNK_BYTES
    return padded_bytes(size_class) % CHUNK_DATA_BYTES + TAG_BYTES


def chunk_of_byte(offset: int) -> int:
    """The index of the chunk that holds an object's byte: its length stands before the first."""
    return (offset + LENGTH_BYTES) // CHUNK_DATA_BYTES


def first_byte(index: int) -> int:
    """The offset of the first byte of the object in a chunk."""
    return max(index * CHUNK_DATA_BYTES - LENGTH_BYTES, 0)


def bind_secret(capsule_secret: bytes, context_digest: bytes) -> bytes:
    """What is sealed in the capsule: the secret and what it is for, 64 bytes (S2)."""
    assert len(capsule_secret) == KEY_BYTES
    assert len(context_digest) == DIGEST_BYTES
    return capsule_secret + context_digest


def unbind_secret(opened: bytes, context_digest: bytes) -> bytes:
    """The secret from an opened capsule, once it is known to be this record's.

    Raises InvalidArgument: FOREIGN_CAPSULE.
    """
    if not compare_digest(opened[KEY_BYTES:], context_digest):
        raise InvalidArgument("FOREIGN_CAPSULE", "The capsule was sealed for another record or version.", "S2")
    return opened[:KEY_BYTES]


def data_key(capsule_secret: bytes, shred_secret: bytes, context_digest: bytes) -> bytes:
    """The object's key, 32 bytes: HKDF-SHA256 of both secrets (RFC 5869). Without either it is as good as random (S2).

    Raises InvalidArgument: BAD_SECRET.
    """
    if len(capsule_secret) != KEY_BYTES or len(shred_secret) != KEY_BYTES:
        raise InvalidArgument("BAD_SECRET", f"Both secrets have {KEY_BYTES} bytes.", "S2")
    info = b"consilium.data-key" + context_digest
    return HKDF(SHA256(), KEY_BYTES, salt=shred_secret, info=info).derive(capsule_secret)


def seal_header(key: bytes, salt: bytes, context_digest: bytes) -> SealHeader:
    """The header of the object sealed with this data key, salt (24 bytes) and context."""
    return SealHeader(salt, _derive(key, salt, context_digest).commitment)


class _Keys(NamedTuple):
    cipher: AESGCM
    base_nonce: int
    commitment: bytes

    def nonce(self, index: int) -> bytes:
        return (self.base_nonce ^ index).to_bytes(_NONCE_BYTES, "big")


def _derive(key: bytes, salt: bytes, context_digest: bytes) -> _Keys:
    assert len(key) == KEY_BYTES
    assert len(salt) == SALT_BYTES
    assert len(context_digest) == DIGEST_BYTES
    length = KEY_BYTES + _NONCE_BYTES + DIGEST_BYTES
    derived = HKDFExpand(SHA256(), length, info=_LABEL + salt + context_digest).derive(key)
    nonce_end = KEY_BYTES + _NONCE_BYTES
    return _Keys(AESGCM(derived[:KEY_BYTES]), int.from_bytes(derived[KEY_BYTES:nonce_end], "big"), derived[nonce_end:])


class ObjectSealer:
    """Seals one object of a known length as it streams by; holds one chunk at a time."""

    __slots__ = ("_buffer", "_count", "_keys", "_missing", "_padding", "header", "size_class")

    def __init__(self, key: bytes, salt: bytes, context_digest: bytes, length: int) -> None:
        """Begin an object of `length` bytes; a (key, salt) pair must never be used for two.

        Raises InvalidArgument: OBJECT_TOO_LARGE.
        """
        self.size_class = size_class_of(length)
        self._keys = _derive(key, salt, context_digest)
        self.header = SealHeader(salt, self._keys.commitment)
        self._missing = length
        self._padding = padded_bytes(self.size_class) - LENGTH_BYTES - length
        self._buffer = bytearray(length.to_bytes(LENGTH_BYTES, "big"))
        self._count = 0

    def update(self, data: bytes) -> list[bytes]:
        """Take in the next bytes; the chunks they complete.

        Raises InvalidArgument: OTHER_LENGTH, when they are more than was announced.
        """
        if len(data) > self._missing:
            raise InvalidArgument("OTHER_LENGTH", f"{len(data) - self._missing} bytes more than announced.", "S2")
        self._missing -= len(data)
        self._buffer += data
        chunks = []
        while len(self._buffer) >= CHUNK_DATA_BYTES:
            chunks.append(self._seal(self._buffer[:CHUNK_DATA_BYTES]))
            del self._buffer[:CHUNK_DATA_BYTES]
        return chunks

    def finish(self) -> Iterator[bytes]:
        """The remaining chunks, with the padding, one at a time.

        Raises InvalidArgument: OTHER_LENGTH, when bytes are still missing.
        """
        if self._missing:
            raise InvalidArgument("OTHER_LENGTH", f"{self._missing} bytes fewer than announced.", "S2")
        return self._pad()

    def _pad(self) -> Iterator[bytes]:
        while self._buffer or self._padding:
            zeros = min(self._padding, CHUNK_DATA_BYTES - len(self._buffer))
            self._padding -= zeros
            chunk = self._seal(self._buffer + bytes(zeros))
            self._buffer.clear()
            yield chunk

    def _seal(self, data: bytearray) -> bytes:
        sealed = self._keys.cipher.encrypt(self._keys.nonce(self._count), data, None)
        self._count += 1
        return sealed


class ObjectOpener:
    """Opens a sealed object, streaming or at random; no byte of a chunk is released before all of it is verified."""

    __slots__ = ("_keys", "_length", "_next", "size_class")

    def __init__(self, key: bytes, header: SealHeader, context_digest: bytes, size_class: int) -> None:
        """Begin with the key, the manifest's header, the record's context and size class.

        Raises InvalidArgument: WRONG_KEY when header, key and context do not belong together; BAD_SIZE_CLASS.
        """
        padded_bytes(size_class)
        self.size_class = size_class
        self._keys = _derive(key, header.salt, context_digest)
        self._length: int | None = None
        self._next = 0
        if not compare_digest(self._keys.commitment, header.commitment):
            raise InvalidArgument("WRONG_KEY", "The object was sealed under another key, salt or context.", "S2")

    @property
    def length(self) -> int:
        """The object's exact length in bytes.

        Raises FailedPrecondition: LENGTH_UNKNOWN, before the first chunk was opened.
        """
        if self._length is None:
            raise FailedPrecondition("LENGTH_UNKNOWN", "The first chunk tells the length: open it first.", "S2")
        return self._length

    def update(self, chunk: bytes) -> bytes:
        """The object's bytes in the next chunk; a refused chunk may be tried again from another copy.

        Raises DataLoss: BAD_CHUNK, BAD_LENGTH or EXTRA_CHUNK.
        """
        data = self.open_chunk(self._next, chunk)
        self._next += 1
        return data

    def finish(self) -> None:
        """Raise DataLoss (TRUNCATED) unless every chunk of the object has streamed by."""
        missing = chunk_count(self.size_class) - self._next
        if missing:
            raise DataLoss("TRUNCATED", f"The object's last {missing} chunks are missing.", "S2")

    def open_chunk(self, index: int, chunk: bytes) -> bytes:
        """The object's bytes in chunk `index`, none where it holds padding alone; chunk 0 must come first.

        Byte i of the object lies in chunk (i + 8) // 262,128.

        Raises DataLoss (BAD_CHUNK, BAD_LENGTH, EXTRA_CHUNK) and FailedPrecondition (LENGTH_UNKNOWN).
        """
        if not 0 <= index < chunk_count(self.size_class):
            raise DataLoss("EXTRA_CHUNK", f"The object has no chunk {index}.", "S2")
        if index == 0:
            data = self._open(0, chunk)
            self._length = self._sealed_length(data)
            return data[LENGTH_BYTES : LENGTH_BYTES + self._length]
        held = self.length + LENGTH_BYTES - index * CHUNK_DATA_BYTES
        return self._open(index, chunk)[: max(held, 0)]

    def _open(self, index: int, chunk: bytes) -> bytes:
        if len(chunk) != sealed_chunk_bytes(self.size_class, index):
            raise DataLoss("BAD_CHUNK", f"Chunk {index} does not have its length.", "S2")
        try:
            return self._keys.cipher.decrypt(self._keys.nonce(index), chunk, None)
        except InvalidTag as error:
            raise DataLoss("BAD_CHUNK", f"Chunk {index} is not what was sealed.", "S2") from error

    def _sealed_length(self, first: bytes) -> int:
        """The length in the first chunk, which must be one that its class is for: one object, one form."""
        length = int.from_bytes(first[:LENGTH_BYTES], "big")
        if length > padded_bytes(self.size_class) - LENGTH_BYTES or size_class_of(length) != self.size_class:
            raise DataLoss("BAD_LENGTH", "The sealed length does not fit the size class.", "S2")
        return length
