"""How executing a transaction ended: one code for every transaction of a block, under the results root (L4, L8).

The numbers never change. A refused transaction stays in its block with its code; `RULES` names the rule that refused it,
so that a client, a report and a test can say "refused by S3". Codes up to GRANTED took effect, all above did not.
"""

from collections.abc import Sequence
from enum import IntEnum, unique
from hashlib import sha256

from consilium.kernel.merkle import leaf_hash

OUTCOME_PREFIX = b"consilium.outcome"
"""Stands before every outcome, so that an outcome leaf is never a transaction leaf."""
CODE_BYTES = 2
"""The length of a code in an outcome, big-endian."""


@unique
class Code(IntEnum):
    """The outcome of one transaction; `RULES` has the rule behind each refusal."""

    APPLIED = 0
    GRANTED = 1

    # Refused before its merits were looked at; the request id stays free (L6).
    EXPIRED = 16
    EXPIRES_TOO_LATE = 17
    DUPLICATE = 18
    FOREIGN_VOUCHER = 19
    TERM_EXHAUSTED = 20

    # Governance and evidence.
    NOT_A_MEMBER = 32
    MEMBER_UNKNOWN = 33
    MEMBER_EXISTS = 34
    MEMBER_STATUS = 35
    MEMBER_KEYS = 36
    MEMBERS_FULL = 37
    OFFENDER_KNOWN = 38
    BAD_EVIDENCE = 39
    TOO_FEW_LEFT = 40
    PROPOSAL_UNKNOWN = 41
    PROPOSAL_CLOSED = 42
    BALLOT_REPEATED = 43
    TOO_MANY_PROPOSALS = 44
    BAD_DEADLINE = 45
    BAD_PARAMETERS = 46
    BAD_UPGRADE = 47

    # Election and handover.
    NOT_A_DELEGATE = 48
    WRONG_EPOCH = 49
    REVEAL_REPEATED = 50
    REVEAL_LATE = 51
    REVEAL_FOREIGN = 52
    HANDOVER_NOT_DUE = 53
    HANDOVER_OTHER_RESULT = 54
    HANDOVER_SHORT = 55
    CANDIDATE_UNKNOWN = 57
    OWN_CANDIDATE = 58
    TOO_MANY_POINTS = 59
    ONE_STRATUM = 60
    ATTENDANCE_EARLY = 61
    ATTENDANCE_REPEATED = 62
    BAD_ATTENDANCE = 63

    # Records.
    AUTHOR_NOT_HOLDER = 64
    RECORD_EXISTS = 65
    CAPSULE_EXISTS = 66
    RECORD_ERASED = 67
    RECORD_HELD = 68
    RECORD_NOT_HELD = 69

    # Grants and revocations.
    GRANT_EXISTS = 80
    KEY_CLOSED = 81
    KEY_FULL = 82
    NOT_THE_OWNER = 83
    RECIPIENT_UNKNOWN = 84
    BAD_PERIOD = 85
    BAD_HOLDERS = 86
    HOLDER_OF_RECIPIENT = 87
    HOLDERS_NOT_SPREAD = 88
    WRONG_BUDGET = 89
    NOT_THE_GRANTOR = 90
    ALREADY_REVOKED = 91
    BAD_SUCCESSOR = 92
    BAD_REGRANT = 93

    # Verdicts on requests: deny wins.
    RECORD_UNKNOWN = 96
    GRANT_UNKNOWN = 97
    FOREIGN_SALT = 98
    NOT_THE_RECIPIENT = 99
    OTHER_PURPOSE = 100
    OUTSIDE_PERIOD = 101
    GRANT_REVOKED = 102

    # Receipts.
    NOT_A_HOLDER = 112
    REQUEST_UNKNOWN = 113
    RECEIPT_REPEATED = 114
    NOT_REVOKED = 115
    BAD_HEIGHT = 116

    # Views left.
    VIEW_COUNTED = 120
    BAD_DEPARTURES = 121


RULES: dict[Code, str] = {
    Code.APPLIED: "L8",
    Code.GRANTED: "S3",
    Code.EXPIRED: "L6",
    Code.EXPIRES_TOO_LATE: "L6",
    Code.DUPLICATE: "L6",
    Code.FOREIGN_VOUCHER: "L2",
    Code.TERM_EXHAUSTED: "C7",
    Code.NOT_A_MEMBER: "G2",
    Code.MEMBER_UNKNOWN: "G2",
    Code.MEMBER_EXISTS: "G2",
    Code.MEMBER_STATUS: "G2",
    Code.MEMBER_KEYS: "G3",
    Code.MEMBERS_FULL: "G2",
    Code.OFFENDER_KNOWN: "C8",
    Code.BAD_EVIDENCE: "C8",
    Code.TOO_FEW_LEFT: "G2",
    Code.PROPOSAL_UNKNOWN: "G1",
    Code.PROPOSAL_CLOSED: "G1",
    Code.BALLOT_REPEATED: "G1",
    Code.TOO_MANY_PROPOSALS: "G1",
    Code.BAD_DEADLINE: "G1",
    Code.BAD_PARAMETERS: "G4",
    Code.BAD_UPGRADE: "G5",
    Code.NOT_A_DELEGATE: "C6",
    Code.WRONG_EPOCH: "C6",
    Code.REVEAL_REPEATED: "C6",
    Code.REVEAL_LATE: "C6",
    Code.REVEAL_FOREIGN: "C6",
    Code.HANDOVER_NOT_DUE: "C7",
    Code.HANDOVER_OTHER_RESULT: "C7",
    Code.HANDOVER_SHORT: "C7",
    Code.CANDIDATE_UNKNOWN: "C6",
    Code.OWN_CANDIDATE: "C6",
    Code.TOO_MANY_POINTS: "C6",
    Code.ONE_STRATUM: "C6",
    Code.ATTENDANCE_EARLY: "C6",
    Code.ATTENDANCE_REPEATED: "C6",
    Code.BAD_ATTENDANCE: "C6",
    Code.AUTHOR_NOT_HOLDER: "S3",
    Code.RECORD_EXISTS: "S3",
    Code.CAPSULE_EXISTS: "S3",
    Code.RECORD_ERASED: "S8",
    Code.RECORD_HELD: "S8",
    Code.RECORD_NOT_HELD: "S8",
    Code.GRANT_EXISTS: "S3",
    Code.KEY_CLOSED: "S6",
    Code.KEY_FULL: "S3",
    Code.NOT_THE_OWNER: "S3",
    Code.RECIPIENT_UNKNOWN: "S3",
    Code.BAD_PERIOD: "L7",
    Code.BAD_HOLDERS: "S4",
    Code.HOLDER_OF_RECIPIENT: "S4",
    Code.HOLDERS_NOT_SPREAD: "S4",
    Code.WRONG_BUDGET: "S4",
    Code.NOT_THE_GRANTOR: "S6",
    Code.ALREADY_REVOKED: "S6",
    Code.BAD_SUCCESSOR: "S6",
    Code.BAD_REGRANT: "S6",
    Code.RECORD_UNKNOWN: "S3",
    Code.GRANT_UNKNOWN: "S3",
    Code.FOREIGN_SALT: "S3",
    Code.NOT_THE_RECIPIENT: "S3",
    Code.OTHER_PURPOSE: "S3",
    Code.OUTSIDE_PERIOD: "L7",
    Code.GRANT_REVOKED: "S6",
    Code.NOT_A_HOLDER: "S5",
    Code.REQUEST_UNKNOWN: "S5",
    Code.RECEIPT_REPEATED: "S5",
    Code.NOT_REVOKED: "S6",
    Code.BAD_HEIGHT: "S5",
    Code.VIEW_COUNTED: "C6",
    Code.BAD_DEPARTURES: "C6",
}
"""The rule behind every code, as docs/protocol.md numbers them."""

_LEAF_PREFIX = b"\x00" + OUTCOME_PREFIX
# By number: looking a code up as a dictionary's key would cost more than hashing the leaf.
_SUFFIXES = [number.to_bytes(CODE_BYTES, "big") for number in range(max(Code) + 1)]


def outcome_leaf(transaction_hash: bytes, code: Code) -> bytes:
    """The leaf hash of an outcome in its block's results tree: the transaction's own leaf hash and its code (L4)."""
    return leaf_hash(OUTCOME_PREFIX + transaction_hash + _SUFFIXES[code])


def outcome_leaves(transaction_hashes: Sequence[bytes], codes: Sequence[Code]) -> list[bytes]:
    """The outcome leaves of a whole block, in its order (L4).

    `outcome_leaf` spelled out: this runs once for every transaction of the chain.
    """
    pairs = zip(transaction_hashes, codes, strict=True)
    return [sha256(_LEAF_PREFIX + leaf + _SUFFIXES[code]).digest() for leaf, code in pairs]


def is_refusal(code: Code) -> bool:
    """Whether the transaction had no effect on consent, members, records or terms (L8)."""
    return code > Code.GRANTED
