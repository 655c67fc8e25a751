"""The two papers that people hand one another, off the ledger: a recipient's address, and a reference to records (rule S3).

Both are small JSON files. An address is public, and worth nothing unless it comes from the recipient: the two read its
fingerprint to one another. A reference holds the salts that tie records to their owner's key: for the recipient alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilium.client.notebook import begins
from consilium.client.sharing import Recipient, RecordReference
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, Malformed, NotFound
from consilium.kernel.hashing import domain_hash
from consilium.runtime.whole_files import write_atomically

ADDRESS, REFERENCE = "consilium recipient address 1", "consilium record reference 1"
"""What a paper says it is; the number is the version."""
PAPER_BYTES_MAX = 4 * 1024 * 1024
ID_DIGITS, KEY_DIGITS, RECEIVING_DIGITS = 32, 64, 66
"""How many hexadecimal digits an id, an Ed25519 key or salt, and an Umbral key have."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a recipient needs to ask: the grant, and for each record its id, holder, salt and the owner's name for it."""

    grant_id: bytes
    records: tuple[tuple[str, RecordReference], ...]

    def record_named(self, name: str | None) -> tuple[str, RecordReference]:
        """The record of this name or beginning of its id, four digits at least; with None the only one.

        Raises NotFound: NOT_NOTED; InvalidArgument: AMBIGUOUS.
        """
        named = [each for each in self.records if name is None or name == each[0]]
        found = named or [each for each in self.records if begins(each[1].record_id, name or "")]
        names = ", ".join(f"{label} ({each.record_id.hex()[:8]})" for label, each in self.records)
        if not found:
            raise NotFound("NOT_NOTED", f"The reference names no record {name!r}; it names {names or 'none'}.")
        if len(found) > 1:
            raise InvalidArgument("AMBIGUOUS", f"Say which record: {names}.")
        return found[0]


def fingerprint(recipient: Recipient) -> str:
    """What owner and recipient read to one another, so that no grant goes to somebody else's keys."""
    member = recipient.member_id.encode()
    digits = domain_hash("consilium.recipient-address", member, recipient.author_key, recipient.receiving_pk).hex()[:24]
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def address_facts(recipient: Recipient) -> dict[str, str]:
    """An address as its file and `--json` show it."""
    return {
        "paper": ADDRESS,
        "member": recipient.member_id,
        "author_key": recipient.author_key.hex(),
        "receiving_key": recipient.receiving_pk.hex(),
    }


def read_address(path: Path) -> Recipient:
    """A recipient out of its file. Raises Malformed: BAD_PAPER; may raise OSError."""
    facts = _read(path, ADDRESS, "member", "author_key", "receiving_key")
    keys = _bytes(path, facts["author_key"], KEY_DIGITS), _bytes(path, facts["receiving_key"], RECEIVING_DIGITS)
    return Recipient(str(facts["member"]), *keys)


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference file. Raises FailedPrecondition: FILE_EXISTS; may raise OSError."""
    records = [
        {"name": name, "record": each.record_id.hex(), "holder": each.holder, "salt": each.salt.hex()}
        for name, each in reference.records
    ]
    write_paper(path, {"paper": REFERENCE, "grant": reference.grant_id.hex(), "records": records})


def read_reference(path: Path) -> Reference:
    """A reference out of its file. Raises Malformed: BAD_PAPER; may raise OSError."""
    facts = _read(path, REFERENCE, "grant", "records")
    if not isinstance(facts["records"], list):
        raise _bad(path)
    return Reference(_bytes(path, facts["grant"], ID_DIGITS), tuple(_record(path, each) for each in facts["records"]))


def write_paper(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a file for others to read, readable by its owner alone. Raises FailedPrecondition: FILE_EXISTS."""
    if path.exists():
        raise FailedPrecondition("FILE_EXISTS", f"{path} exists; name another file, or move it away.")
    write_atomically(path, json.dumps(facts, ensure_ascii=False, indent=2).encode() + b"\n")


def _record(path: Path, each: object) -> tuple[str, RecordReference]:
    if not isinstance(each, dict) or not {"name", "record", "holder", "salt"} <= each.keys():
        raise _bad(path)
    salt = _bytes(path, each["salt"], KEY_DIGITS)
    return str(each["name"]), RecordReference(_bytes(path, each["record"], ID_DIGITS), str(each["holder"]), salt)


def _read(path: Path, kind: str, *names: str) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(PAPER_BYTES_MAX + 1)
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad(path) from error
    if not isinstance(facts, dict) or facts.get("paper") != kind or not facts.keys() >= set(names):
        raise Malformed("BAD_PAPER", f"{path} is no {kind.rpartition(' ')[0]} that this version reads.")
    return facts


def _bytes(path: Path, text: object, digits: int) -> bytes:
    try:
        value = bytes.fromhex(text if isinstance(text, str) else "")
    except ValueError as error:
        raise _bad(path) from error
    if 2 * len(value) != digits:
        raise _bad(path)
    return value


def _bad(path: Path) -> Malformed:
    return Malformed("BAD_PAPER", f"{path} was cut or changed; ask for it again.")
