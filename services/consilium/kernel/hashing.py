"""SHA-256, with a domain for every kind of thing that is hashed (L1).

Encoded values already carry their domain and chain id inside (`kernel.encoding`), so `sha256` of the encoding is their hash.
`domain_hash` is for the few hashes over raw parts; each part is length-prefixed, so that no two part lists collide.
"""

from hashlib import sha256 as _sha256

DIGEST_BYTES = 32
ZERO_DIGEST = bytes(DIGEST_BYTES)


def sha256(data: bytes) -> bytes:
    """SHA-256 (FIPS 180-4) of `data`, 32 bytes."""
    return _sha256(data).digest()


def domain_hash(domain: str, *parts: bytes) -> bytes:
    """SHA-256 of the domain and the parts, each behind its length in four bytes, big-endian."""
    framed: list[bytes] = []
    for part in (domain.encode(), *parts):
        framed += (len(part).to_bytes(4, "big"), part)
    return _sha256(b"".join(framed)).digest()
