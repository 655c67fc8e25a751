"""What a patient's client remembers of its own acts: scopes and their epochs, records, grants (rules S1, S6).

The ledger names nobody and no file, so the way from "the letter of March" to a record id is kept here, and nowhere else. One
notebook a seed and chain lies beside the keystore, sealed under a key derived from the seed:

    magic and version (8 bytes) | nonce (12) | sealed notebook | SHA-256 of all before (32)

The closing hash tells a damaged file from a foreign one; it is no defence, the seal is. A notebook that is lost costs labels
and record ids, no access: the seed makes all keys again, and `found` grants come back from the ledger (promise 8). An old
copy put back in its place is not noticed here; the ledger then says what is newer.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consilium.client.keys import notebook_key, notebook_name
from consilium.client.private_files import read_private, turn
from consilium.kernel.encoding import ENCODED_BYTES_MAX, AtMost, Identifier, MemberId, decode, encode
from consilium.kernel.errors import DataLoss, InvalidArgument, Malformed, NotFound
from consilium.kernel.hashing import DIGEST_BYTES, sha256
from consilium.runtime.whole_files import write_atomically

MAGIC = b"CNSLNTB\x01"
"""What the file begins with; the last byte is the version."""
NONCE_BYTES = 12
FILE_BYTES_MAX = ENCODED_BYTES_MAX + 1_024
"""The largest notebook that is read: the encoding's own bound, with room for head, seal and closing hash."""
PREFIX_MIN = 4
"""How many hexadecimal digits of an id are the least to name it by."""

SCOPE_MAX, LABEL_MAX = 200, 400
"""How long the name of a scope, and of a record, may be."""

ScopeName = Annotated[str, AtMost(SCOPE_MAX)]
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class KeptScope:
    """A scope and the epoch that new records go under."""

    scope: ScopeName
    epoch: int


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A record of ours: where it is, under which key, and what its owner calls it; `length` is the file's, in bytes."""

    record_id: Identifier
    holder: MemberId
    scope: ScopeName
    epoch: int
    label: Annotated[str, AtMost(LABEL_MAX)]
    length: int


@dataclass(frozen=True, slots=True)
class KeptGrant:
    """A grant of ours; `author_epoch` names the author key that alone can revoke it (S6)."""

    grant_id: Identifier
    scope: ScopeName
    epoch: int
    author_epoch: int
    recipient: MemberId


@dataclass(frozen=True, slots=True)
class Notebook:
    """The notes about one patient. `in_custody` says that the home institution keeps the seed (S1)."""

    DOMAIN: ClassVar[str] = "consilium.notebook"
    in_custody: bool
    scopes: Annotated[tuple[KeptScope, ...], AtMost(1_024)]
    records: Annotated[tuple[KeptRecord, ...], AtMost(16_384)]
    grants: Annotated[tuple[KeptGrant, ...], AtMost(16_384)]

    def epoch_of(self, scope: str) -> int:
        """The epoch that new records of a scope go under; 0 for a scope that was never used."""
        return next((each.epoch for each in self.scopes if each.scope == scope), 0)

    def at_epoch(self, scope: str, epoch: int) -> "Notebook":
        """With a scope at this epoch or a later one; it never goes back (S6)."""
        others = tuple(each for each in self.scopes if each.scope != scope)
        return replace(self, scopes=(*others, KeptScope(scope, max(epoch, self.epoch_of(scope)))))

    def with_record(self, record: KeptRecord) -> "Notebook":
        """With one record more; its scope is known from then on."""
        return replace(self.at_epoch(record.scope, record.epoch), records=(*self.records, record))

    def with_grants(self, grants: tuple[KeptGrant, ...]) -> "Notebook":
        """With these grants, each once; those that were noted before are left as they are."""
        noted: dict[bytes, KeptGrant] = {}
        for each in (*self.grants, *grants):
            noted.setdefault(each.grant_id, each)
        return replace(self, grants=tuple(noted.values()))

    def record_named(self, name: str) -> KeptRecord:
        """The record with this label, id or beginning of an id. Raises NotFound or InvalidArgument as `_one`."""
        labelled = [each for each in self.records if each.label == name]
        return _one("record", "record", name, labelled or [each for each in self.records if begins(each.record_id, name)])

    def grant_named(self, name: str) -> KeptGrant:
        """The grant with this id or beginning of an id. Raises NotFound or InvalidArgument as `_one`."""
        return _one("grant", "share", name, [each for each in self.grants if begins(each.grant_id, name)])


class NotebookFile:
    """Where one patient's notebook lies; `keystore` is the file whose seed it belongs to."""

    def __init__(self, keystore: Path, seed: bytes, chain_id: bytes) -> None:
        self.path = keystore.with_name(f"{keystore.name}.{notebook_name(seed, chain_id)}.notes")
        self._seal = AESGCM(notebook_key(seed, chain_id))
        self._chain_id = chain_id

    def read(self) -> Notebook:
        """What is noted; an empty notebook where there is no file.

        Raises FailedPrecondition: OPEN_TO_OTHERS, DataLoss: DAMAGED_NOTEBOOK.
        """
        if not self.path.exists():
            return Notebook(in_custody=False, scopes=(), records=(), grants=())
        return self._opened(read_private(self.path, FILE_BYTES_MAX))

    def change(self, how: Callable[[Notebook], Notebook]) -> Notebook:
        """Write what `how` makes of the notebook as it is now; two commands at once take turns.

        Raises InvalidArgument: CANNOT_BE_NOTED, and as `read`.
        """
        with turn(self.path):
            changed = how(self.read())
            write_atomically(self.path, self._sealed(changed))
        return changed

    def check(self, how: Callable[[Notebook], Notebook]) -> None:
        """Raise what the change would raise, and change nothing: to be called before what cannot be taken back."""
        self._encoded(how(self.read()))

    def _sealed(self, notebook: Notebook) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        data = MAGIC + nonce + self._seal.encrypt(nonce, self._encoded(notebook), MAGIC)
        return data + sha256(data)

    def _encoded(self, notebook: Notebook) -> bytes:
        """The notebook's bytes, once they can be read again."""
        try:
            data = encode(notebook, self._chain_id)
            decode(Notebook, data, self._chain_id)
        except (Malformed, UnicodeEncodeError) as error:
            raise InvalidArgument(
                "CANNOT_BE_NOTED",
                f"A label has at most {LABEL_MAX} characters, a scope {SCOPE_MAX}, both of them Unicode text; a notebook has"
                " at most 16,384 records and as many grants. Give another name, for instance by --label.",
            ) from error
        return data

    def _opened(self, data: bytes) -> Notebook:
        body, closing = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
        nonce, sealed = body[len(MAGIC) :][:NONCE_BYTES], body[len(MAGIC) + NONCE_BYTES :]
        if len(data) > FILE_BYTES_MAX or not body.startswith(MAGIC) or sha256(body) != closing or len(nonce) < NONCE_BYTES:
            raise self._damaged()
        try:
            return decode(Notebook, self._seal.decrypt(nonce, sealed, MAGIC), self._chain_id)
        except (InvalidTag, Malformed) as error:
            raise self._damaged() from error

    def _damaged(self) -> DataLoss:
        return DataLoss(
            "DAMAGED_NOTEBOOK",
            f"{self.path} was cut or changed; put a copy back, or move it away: `audit` finds the grants without it.",
        )


def begins(identifier: bytes, name: str) -> bool:
    """Whether a name of four digits or more is how the id begins."""
    return len(name) >= PREFIX_MIN and identifier.hex().startswith(name.lower())


def _one(what: str, verb: str, name: str, found: list[Kept]) -> Kept:
    """The only one found. Raises NotFound: NOT_NOTED; InvalidArgument: AMBIGUOUS."""
    if not found:
        raise NotFound("NOT_NOTED", f"The notebook knows no {what} {name!r}; `consilium {verb} list` names all.")
    if len(found) > 1:
        raise InvalidArgument("AMBIGUOUS", f"{len(found)} {what}s answer to {name!r}; give more of the id.")
    return found[0]
