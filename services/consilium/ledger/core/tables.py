"""The ledger's tables outside the authenticated map: request ids, records, disclosures (rules L4, L6, S3).

Each table is committed by hash chains over its entries in the order of the chain; a block's entries are folded in together
when it is sealed, so an entry costs no hash of its own. Records and disclosures only grow; records, which are many, lie in
rows of bytes. Request ids lie in buckets by their expiry height; a bucket is dropped whole once all its heights have passed.
"""

import struct
from dataclasses import dataclass, replace
from typing import NamedTuple

from consilium.kernel.hashing import DIGEST_BYTES, ZERO_DIGEST, domain_hash, sha256
from consilium.kernel.transactions import RecordBody
from consilium.ledger.core.compact_index import CompactIndex

BUCKET_BLOCKS = 100
"""How many expiry heights share a bucket of request ids."""
_ROW = struct.Struct(">16s32s32s32s32sQQI")
_ID_BYTES = 16


class RequestIds:
    """Which (author, request id) have been used and may not be used again before their expiry (L6).

    `used` holds them as author + request id, 48 bytes; only `use` and `drop_expired` change it.
    """

    __slots__ = ("_buckets", "_chains", "_fresh", "used")

    def __init__(self) -> None:
        self.used: set[bytes] = set()
        self._buckets: dict[int, list[bytes]] = {}
        self._chains: dict[int, bytes] = {}
        self._fresh: dict[int, list[bytes]] = {}

    def use(self, name: bytes, expiry_height: int) -> None:
        """Note one as used until its expiry height."""
        self.used.add(name)
        bucket = expiry_height // BUCKET_BLOCKS
        fresh = self._fresh.get(bucket)
        if fresh is None:
            fresh = self._fresh[bucket] = []
        fresh.append(name)

    def drop_expired(self, height: int) -> None:
        """Forget the buckets whose last height lies below `height`."""
        for bucket in sorted(self._buckets):
            if (bucket + 1) * BUCKET_BLOCKS > height:
                return
            self.used.difference_update(self._buckets.pop(bucket))
            del self._chains[bucket]

    def seal(self) -> bytes:
        """Fold in what was used since the last seal; the table's root: all buckets' chains in order."""
        for bucket, names in sorted(self._fresh.items()):
            self._buckets.setdefault(bucket, []).extend(names)
            chain = self._chains.get(bucket, ZERO_DIGEST)
            self._chains[bucket] = domain_hash("consilium.request-ids", chain, *_joined(names))
        self._fresh.clear()
        return sha256(b"".join(bucket.to_bytes(8, "big") + self._chains[bucket] for bucket in sorted(self._chains)))


class RecordEntry(NamedTuple):
    """A registered record: what was registered, by which transaction, at which height."""

    body: RecordBody
    transaction_hash: bytes
    height: int


class Records:
    """The registered records, and the capsules they name: one record a capsule (S3)."""

    __slots__ = ("_by_capsule", "_by_id", "_chain", "_fresh", "_holders", "_rows")

    def __init__(self) -> None:
        self._rows = bytearray()
        self._holders: dict[str, int] = {}
        self._by_id, self._by_capsule = CompactIndex(self._id_at), CompactIndex(self._capsule_at)
        self._fresh: list[bytes] = []
        self._chain = ZERO_DIGEST

    def get(self, record_id: bytes) -> RecordEntry | None:
        """The record with this id, or None."""
        number = self._by_id.get(record_id)
        return None if number is None else self._entry(number, list(self._holders))

    def all(self) -> list[RecordEntry]:
        """All of them, in the order of the chain."""
        holders = list(self._holders)
        return [self._entry(number, holders) for number in range(len(self._rows) // _ROW.size)]

    def has(self, record_id: bytes) -> bool:
        """Whether there is a record with this id."""
        return self._by_id.get(record_id) is not None

    def has_capsule(self, capsule_digest: bytes) -> bool:
        """Whether a record already names this capsule."""
        return self._by_capsule.get(capsule_digest) is not None

    def add(self, body: RecordBody, transaction_hash: bytes, height: int) -> None:
        """Register a record whose id and capsule are new."""
        record_id, capsule, number = body.record_id, body.capsule_digest, len(self._rows) // _ROW.size
        holder = self._holders.setdefault(body.holder, len(self._holders))
        names = body.owner_commitment, body.ciphertext_root, transaction_hash
        self._rows += _ROW.pack(record_id, capsule, *names, height, body.size_class, holder)
        self._by_id.put(record_id, number)
        self._by_capsule.put(capsule, number)
        self._fresh.append(transaction_hash)

    def _entry(self, number: int, holders: list[str]) -> RecordEntry:
        names = _ROW.unpack_from(self._rows, number * _ROW.size)
        record_id, capsule, owner, root, transaction_hash, height, size_class, holder = names
        return RecordEntry(
            RecordBody(record_id, holders[holder], owner, root, capsule, size_class), transaction_hash, height
        )

    def _id_at(self, number: int) -> bytes:
        start = number * _ROW.size
        return bytes(self._rows[start : start + _ID_BYTES])

    def _capsule_at(self, number: int) -> bytes:
        start = number * _ROW.size + _ID_BYTES
        return bytes(self._rows[start : start + DIGEST_BYTES])

    def seal(self) -> bytes:
        """Fold in the new records; the table's chain. A transaction's hash binds everything it registered."""
        if self._fresh:
            self._chain = domain_hash("consilium.records", self._chain, *_joined(self._fresh))
            self._fresh.clear()
        return self._chain


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A request that was granted, and the holders that have signed a release receipt for it so far (S3, S5)."""

    request_hash: bytes
    grant_id: bytes
    record_id: bytes
    height: int
    released_by: tuple[str, ...] = ()


class Disclosures:
    """Every granted request: the audit entries without which no fragment is released (promise 2)."""

    __slots__ = ("_by_request", "_chain", "_fresh")

    def __init__(self) -> None:
        self._by_request: dict[bytes, Disclosure] = {}
        self._fresh: list[bytes] = []
        self._chain = ZERO_DIGEST

    def get(self, request_hash: bytes) -> Disclosure | None:
        """The granted request whose transaction has this hash, or None."""
        return self._by_request.get(request_hash)

    def add(self, disclosure: Disclosure) -> None:
        """Note a request that was just granted."""
        self._by_request[disclosure.request_hash] = disclosure
        self._fresh.append(disclosure.request_hash)

    def add_receipt(self, request_hash: bytes, holder: str, receipt_hash: bytes) -> None:
        """Note a holder's release receipt for a granted request."""
        known = self._by_request[request_hash]
        self._by_request[request_hash] = replace(known, released_by=(*known.released_by, holder))
        self._fresh.append(receipt_hash)

    def seal(self) -> bytes:
        """Fold in the new requests and receipts; the table's chain."""
        if self._fresh:
            self._chain = domain_hash("consilium.disclosures", self._chain, *_joined(self._fresh))
            self._fresh.clear()
        return self._chain


def _joined(entries: list[bytes]) -> tuple[bytes, bytes]:
    """The entries of one block as one part, behind their number."""
    return len(entries).to_bytes(4, "big"), b"".join(entries)
