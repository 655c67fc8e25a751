"""What crosses the border: requests into checked values, once, and values into answers."""

from consilium.api.reencryption.v1 import reencryption_pb2 as pb
from consilium.kernel.errors import InvalidArgument, Malformed
from consilium.kernel.hashing import DIGEST_BYTES
from consilium.kernel.transactions import ReceiptKind
from consilium.kernel.umbral import CAPSULE_BYTES, KFRAG_BYTES
from consilium.reencryption.receipts import KeptReceipt

GRANT_ID_BYTES = 16
PAGE_SIZE, PAGE_SIZE_MAX = 50, 200
"""How many receipts a page holds when the caller does not say, and at most."""
NUMBER_DIGITS_MAX = 18


def grant_id(data: bytes) -> bytes:
    """The id of a grant. Raises Malformed: BAD_FIELD."""
    return _exactly(data, GRANT_ID_BYTES, "A grant_id")


def request_hash(data: bytes) -> bytes:
    """The hash of an access request. Raises Malformed: BAD_FIELD."""
    return _exactly(data, DIGEST_BYTES, "An access_request_hash")


def key_fragment(data: bytes) -> bytes:
    """A key fragment, not verified. Raises Malformed: BAD_FIELD."""
    return _exactly(data, KFRAG_BYTES, "A key_fragment")


def capsule(data: bytes) -> bytes:
    """A capsule, not verified. Raises Malformed: BAD_FIELD."""
    return _exactly(data, CAPSULE_BYTES, "A capsule")


def kind(number: int) -> ReceiptKind | None:
    """A filter: None for all. Raises InvalidArgument: BAD_CHOICE."""
    if number and number not in ReceiptKind.__members__.values():
        raise InvalidArgument("BAD_CHOICE", f"kind is {number}; allowed: {', '.join(each.name for each in ReceiptKind)}.")
    return ReceiptKind(number) if number else None


def page(size: int, token: str) -> tuple[int, int]:
    """After which number a list goes on, and how far. Raises InvalidArgument: BAD_PAGE_SIZE or BAD_PAGE_TOKEN (AIP-158)."""
    if size < 0:
        raise InvalidArgument("BAD_PAGE_SIZE", "A page_size is not negative.")
    if token and not (token.isascii() and token.isdecimal() and len(token) <= NUMBER_DIGITS_MAX):
        raise InvalidArgument("BAD_PAGE_TOKEN", "The page_token is not one that this service gave.")
    return int(token or "0"), min(size or PAGE_SIZE, PAGE_SIZE_MAX)


def receipt_message(kept: KeptReceipt) -> pb.Receipt:
    """A receipt."""
    return pb.Receipt(kind=kept.kind, encoded=kept.carried)  # type: ignore[arg-type]  # the contract's numbers


def _exactly(data: bytes, length: int, what: str) -> bytes:
    if len(data) != length:
        raise Malformed("BAD_FIELD", f"{what} has {length} bytes, not {len(data)}.", "L1")
    return data
