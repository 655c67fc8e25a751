"""What a place holds: sealed files under an operator's key, content-addressed, and snapshots that name them (rule S10).

    chunks/<2 hex>/<name>      one chunk of ciphertext, named by a keyed hash of its leaf hash
    blobs/<2 hex>/<name>       blocks, manifests, pages of objects, named by a keyed hash of their bytes
    snapshots/<time>-<height>  what was there at a height

What has been kept once is never kept again, so a later backup is incremental. A name says nothing without the key. Each
file has a key of its own, derived from its name: the same bytes are sealed the same way, and a file in another's place does
not open.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Annotated, ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consilium.backup.places import Place, damaged
from consilium.client.private_files import read_private
from consilium.kernel.encoding import AtMost, Digest, Identifier, MemberId, decode, encode
from consilium.kernel.errors import InvalidArgument, NotFound
from consilium.kernel.hashing import ZERO_DIGEST, sha256

KEY_BYTES = 32
PAGE_OBJECTS = 1_000
"""How many objects one page names."""
_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class KeptObject:
    """One object: its record, whose it is, who else keeps it, and the blob of its manifest."""

    record_id: Identifier
    home: MemberId
    keepers: Annotated[tuple[MemberId, ...], AtMost(16)]
    manifest: Digest


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a snapshot's objects."""

    DOMAIN: ClassVar[str] = "consilium.backup-page"
    objects: Annotated[tuple[KeptObject, ...], AtMost(PAGE_OBJECTS)]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of blocks in one blob."""

    first_height: int
    last_height: int
    blob: Digest


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A member at a height: its blocks up to there, the certificate of that height's result, and the objects it kept.

    `taken_ms` in milliseconds since 1970-01-01 UTC, when it was begun.
    """

    DOMAIN: ClassVar[str] = "consilium.backup-snapshot"
    member_id: MemberId
    chain: Digest
    taken_ms: int
    height: int
    result_certificate: Annotated[bytes, AtMost(65_536)]
    segments: Annotated[tuple[Segment, ...], AtMost(65_536)]
    pages: Annotated[tuple[Digest, ...], AtMost(65_536)]

    @property
    def name(self) -> str:
        """What it is kept under; names sort by time."""
        return f"{self.taken_ms:015d}-{self.height}"


class Vault:
    """A place, read and written under a key."""

    def __init__(self, place: Place, key: bytes) -> None:
        """Raises InvalidArgument: BAD_BACKUP_KEY."""
        if len(key) != KEY_BYTES:
            raise InvalidArgument("BAD_BACKUP_KEY", f"A backup key has {KEY_BYTES} bytes, not {len(key)}.", "S10")
        self.place = place
        self._naming, self._sealing = _derived(key, b"names"), _derived(key, b"files")
        self.bytes_put = self.files_put = 0

    # --- blobs and chunks ---

    def put_blob(self, data: bytes) -> bytes:
        """Keep bytes; what they are named by. Kept before is no fault, and costs nothing."""
        name = self._name(b"blob", sha256(data))
        self._put(f"blobs/{_path(name)}", data)
        return name

    def has_blob(self, data: bytes) -> bool:
        """Whether these bytes are kept."""
        return self.place.has(f"blobs/{_path(self._name(b'blob', sha256(data)))}")

    def get_blob(self, name: bytes) -> bytes:
        """The bytes. Raises NotFound: NOT_IN_BACKUP; DataLoss: BACKUP_DAMAGED."""
        data = self._get(f"blobs/{_path(name)}")
        if self._name(b"blob", sha256(data)) != name:
            raise damaged(name.hex())
        return data

    def has_chunk(self, leaf: bytes) -> bool:
        """Whether the chunk of this leaf hash is kept."""
        return self.place.has(self._chunk(leaf))

    def put_chunk(self, leaf: bytes, data: bytes) -> None:
        """Keep a chunk."""
        self._put(self._chunk(leaf), data)

    def get_chunk(self, leaf: bytes) -> bytes:
        """A chunk; whoever uses it verifies it. Raises NotFound: NOT_IN_BACKUP; DataLoss: BACKUP_DAMAGED."""
        return self._get(self._chunk(leaf))

    # --- snapshots ---

    def put_snapshot(self, snapshot: Snapshot) -> str:
        """Keep a snapshot, once all it names is kept; its name."""
        self._put(f"snapshots/{snapshot.name}", encode(snapshot, ZERO_DIGEST))
        return snapshot.name

    def snapshots(self) -> list[str]:
        """The names, the oldest first."""
        return [each.removeprefix("snapshots/") for each in self.place.names("snapshots/")]

    def snapshot(self, name: str = "") -> Snapshot:
        """A snapshot, the newest without a name. Raises NotFound: NO_SNAPSHOT; and as `get_blob`."""
        names = self.snapshots()
        chosen = name or (names[-1] if names else "")
        if chosen not in names:
            raise NotFound(
                "NO_SNAPSHOT", f"The backup has no snapshot {name!r}; it has {', '.join(names) or 'none'}.", "S10"
            )
        return decode(Snapshot, self._get(f"snapshots/{chosen}"), ZERO_DIGEST)

    def page(self, name: bytes) -> Page:
        """A page of objects."""
        return decode(Page, self.get_blob(name), ZERO_DIGEST)

    # --- sealing ---

    def _put(self, name: str, data: bytes) -> None:
        if self.place.has(name):
            return
        sealed = self._cipher(name).encrypt(_NONCE, data, None)
        self.place.put(name, sealed)
        self.bytes_put += len(sealed)
        self.files_put += 1

    def _get(self, name: str) -> bytes:
        try:
            return self._cipher(name).decrypt(_NONCE, self.place.get(name), None)
        except InvalidTag as error:
            raise damaged(name) from error

    def _cipher(self, name: str) -> AESGCM:
        return AESGCM(_derived(self._sealing, name.encode()))

    def _chunk(self, leaf: bytes) -> str:
        return f"chunks/{_path(self._name(b'chunk', leaf))}"

    def _name(self, kind: bytes, digest: bytes) -> bytes:
        return hmac.new(self._naming, kind + digest, new_sha256).digest()


def read_backup_key(path: Path) -> bytes:
    """The operator's key. Raises FailedPrecondition: OPEN_TO_OTHERS; InvalidArgument: BAD_BACKUP_KEY; may raise OSError."""
    key = read_private(path, KEY_BYTES)
    if len(key) != KEY_BYTES:
        sentence = (
            f"{path} holds no backup key of {KEY_BYTES} bytes: head -c {KEY_BYTES} /dev/urandom > FILE; chmod 600 FILE."
        )
        raise InvalidArgument("BAD_BACKUP_KEY", sentence, "S10")
    return key


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"consilium.backup " + info).derive(key)


def _path(name: bytes) -> str:
    return f"{name.hex()[:2]}/{name.hex()}"
