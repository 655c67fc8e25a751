"""The keystore file: seeds at rest under a passphrase (rule S1; reference: reliability.md section 8).

A patient's device keeps one seed; a custodian keeps those of patients without a device, which makes it a coalition of one:
`share_plan` says so. The passphrase is stretched by Argon2id with RFC 9106's second recommended parameters (section 4), and
the seeds are sealed by AES-256-GCM. The file is

    magic and version (8 bytes) | salt (16) | nonce (12) | sealed seeds | SHA-256 of all before (32)

The closing hash tells a damaged file from a wrong passphrase; it is no defence, the seal is.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from consilium.client.private_files import read_private
from consilium.kernel.encoding import AtMost, Exactly, decode, encode
from consilium.kernel.errors import Conflict, DataLoss, NotFound, PermissionDenied
from consilium.kernel.hashing import DIGEST_BYTES, ZERO_DIGEST, sha256
from consilium.runtime.whole_files import write_atomically

MAGIC = b"CNSLKEY\x01"
"""What the file begins with; the last byte is the version, which also fixes the stretching parameters."""
SALT_BYTES = 16
NONCE_BYTES = 12
STRETCH_PASSES = 3
STRETCH_LANES = 4
STRETCH_MEMORY_KIB = 64 * 1024
FILE_BYTES_MAX = 5 * 1024 * 1024
"""The largest keystore file that is read: the encoding's own 4 MiB, with room."""


@dataclass(frozen=True, slots=True)
class Seed:
    """One 32-byte seed and the name its keeper knows it by; the name never leaves the sealed file."""

    name: Annotated[str, AtMost(200)]
    seed: Annotated[bytes, Exactly(32)]

    def __repr__(self) -> str:
        """Without the secret, so that no log line shows it."""
        return f"Seed(name={self.name!r})"


@dataclass(frozen=True, slots=True)
class Custody:
    """What a keystore file keeps: seeds in the order they were added."""

    DOMAIN: ClassVar[str] = "consilium.custody"
    seeds: Annotated[tuple[Seed, ...], AtMost(16_384)]

    def seed_of(self, name: str) -> bytes:
        """The seed with this name; raises NotFound."""
        for each in self.seeds:
            if each.name == name:
                return each.seed
        raise NotFound("UNKNOWN_SEED", f"This keystore holds no seed named {name!r}.")


def create_keystore(path: Path, passphrase: str, custody: Custody) -> None:
    """Write a new keystore file, mode 0600, durable on return; raises Conflict where one stands already."""
    if path.exists():
        raise Conflict("KEYSTORE_EXISTS", f"{path} exists; a keystore is never overwritten by a new one.")
    replace_keystore(path, passphrase, custody)


def replace_keystore(path: Path, passphrase: str, custody: Custody) -> None:
    """Put these seeds in the file's place in one step: after a crash there is the old file or the new one, whole."""
    sealed = seal_custody(custody, passphrase, secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES))
    write_atomically(path, sealed)


def open_keystore(path: Path, passphrase: str) -> Custody:
    """The seeds in the file.

    Raises NotFound, FailedPrecondition OPEN_TO_OTHERS (mode wider than 0600), DataLoss DAMAGED_KEYSTORE, or
    PermissionDenied WRONG_PASSPHRASE.
    """
    if not path.exists():
        raise NotFound("NO_KEYSTORE", f"{path} does not exist.")
    return unseal_custody(read_private(path, FILE_BYTES_MAX), passphrase)


def seal_custody(custody: Custody, passphrase: str, salt: bytes, nonce: bytes) -> bytes:
    """The file's bytes; salt (16 bytes) and nonce (12) must be fresh and random each time."""
    head = MAGIC + salt + nonce
    sealed = AESGCM(_stretch(passphrase, salt)).encrypt(nonce, encode(custody, ZERO_DIGEST), head)
    return head + sealed + sha256(head + sealed)


def unseal_custody(data: bytes, passphrase: str) -> Custody:
    """The seeds in a file's bytes; raises DataLoss DAMAGED_KEYSTORE or PermissionDenied WRONG_PASSPHRASE."""
    body, closing = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    head_bytes = len(MAGIC) + SALT_BYTES + NONCE_BYTES
    if len(data) > FILE_BYTES_MAX or len(body) < head_bytes or not body.startswith(MAGIC) or sha256(body) != closing:
        raise DataLoss("DAMAGED_KEYSTORE", "This is no keystore file, or it was cut or changed.")
    head, sealed = body[:head_bytes], body[head_bytes:]
    salt, nonce = head[len(MAGIC) : -NONCE_BYTES], head[-NONCE_BYTES:]
    try:
        plain = AESGCM(_stretch(passphrase, salt)).decrypt(nonce, sealed, head)
    except InvalidTag as error:
        raise PermissionDenied("WRONG_PASSPHRASE", "The passphrase does not open this keystore.") from error
    return decode(Custody, plain, ZERO_DIGEST)


def _stretch(passphrase: str, salt: bytes) -> bytes:
    """A 32-byte key from the passphrase: Argon2id, RFC 9106."""
    stretcher = Argon2id(
        salt=salt, length=32, iterations=STRETCH_PASSES, lanes=STRETCH_LANES, memory_cost=STRETCH_MEMORY_KIB
    )
    return stretcher.derive(passphrase.encode())
