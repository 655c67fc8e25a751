"""Where the contract's fields become values, and values fields; refusals name the field (rule L1)."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from consilium.api.chain.v1 import chain_pb2
from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.executions import GrantHistoryQuery
from consilium.kernel.light_client import MAP_KEY_BYTES_MAX, Finality, TransactionProof
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.transactions import Kind, RequestBody
from consilium.ledger.core.sync import SentBlock

DIGEST_BYTES, IDENTIFIER_BYTES, UMBRAL_KEY_BYTES = 32, 16, 33
HEIGHT_MAX = (1 << 63) - 1
PAGE_SIZE_MAX = 100
"""The most transactions on a page, and how many there are where nothing is asked for."""
_CURSOR = struct.Struct(">QI")


class Cursor(NamedTuple):
    """A transaction's height and place in its block, from 0; place -1 stands before the first."""

    height: int
    place: int


START = Cursor(1, -1)


def cursor(data: bytes) -> Cursor:
    """Where to resume. Raises InvalidArgument: BAD_CURSOR."""
    if not data:
        return START
    if len(data) != _CURSOR.size:
        raise InvalidArgument("BAD_CURSOR", "The cursor is not one that this service has sent.")
    height, place = _CURSOR.unpack(data)
    if height == 0:
        raise InvalidArgument("BAD_CURSOR", "The cursor is not one that this service has sent.")
    return Cursor(height, place)


def cursor_bytes(position: Cursor) -> bytes:
    """The cursor as it is sent."""
    return _CURSOR.pack(*position)


def kinds(names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds asked for, all where none is named. Raises InvalidArgument: UNKNOWN_KIND."""
    for name in names:
        if name not in Kind.__members__:
            known = ", ".join(Kind.__members__)
            raise InvalidArgument("UNKNOWN_KIND", f"{name[:40]!r} is no kind of transaction; there are {known}.")
    return tuple([Kind[name] for name in names]) or tuple(Kind)


def height(given: int, field: str) -> int:
    """A height of a block. Raises InvalidArgument: BAD_HEIGHT."""
    if not 1 <= given <= HEIGHT_MAX:
        raise InvalidArgument("BAD_HEIGHT", f"{field} is {given}; the first block has height 1.")
    return given


def span(first: int, last: int | None) -> tuple[int, int | None]:
    """First and last height of a stream. Raises InvalidArgument: BAD_HEIGHT."""
    if last is not None and last < first:
        raise InvalidArgument("BAD_HEIGHT", f"last_height is {last}, below first_height {first}.")
    return height(first, "first_height"), last


def fixed(given: bytes, length: int, field: str) -> bytes:
    """Bytes of one length. Raises InvalidArgument: BAD_LENGTH."""
    if len(given) != length:
        raise InvalidArgument("BAD_LENGTH", f"{field} has {len(given)} bytes; it has {length}.")
    return given


def state_key(given: bytes) -> bytes:
    """A key of the authenticated map. Raises InvalidArgument: BAD_LENGTH."""
    if not 1 <= len(given) <= MAP_KEY_BYTES_MAX:
        raise InvalidArgument("BAD_LENGTH", f"key has {len(given)} bytes; it has from 1 to {MAP_KEY_BYTES_MAX}.")
    return given


def state_heights(request: pb.GetStateProofRequest) -> tuple[int | None, int]:
    """The height asked for, None for the newest, and the least that one may be. Raises InvalidArgument: BAD_HEIGHT."""
    if not request.HasField("height"):
        return None, height(request.least_height or 1, "least_height")
    if request.least_height:
        raise InvalidArgument("BAD_HEIGHT", "least_height goes with the newest height; leave height out, or it.")
    return height(request.height, "height"), 0


def finality(given: int) -> Finality:
    """How final something has to be. Raises InvalidArgument: BAD_FINALITY."""
    if given == chain_pb2.FINALITY_UNSPECIFIED:
        return Finality.COMMITTEE
    if given not in list(Finality):
        raise InvalidArgument("BAD_FINALITY", f"finality is {given}; there are 1, by the committee, and 2, by the alliance.")
    return Finality(given)


def finality_message(known: Finality | None) -> chain_pb2.Finality.ValueType:
    """How final something is."""
    return chain_pb2.FINALITY_UNSPECIFIED if known is None else chain_pb2.Finality.ValueType(known)


def page(size: int, token: str) -> tuple[int, bytes]:
    """How many lines, after the one of which hash (b"" for the first). Raises InvalidArgument: BAD_PAGE."""
    try:
        after = bytes.fromhex(token)
    except ValueError:
        after = b"?"
    if size < 0 or len(after) not in (0, DIGEST_BYTES):
        raise InvalidArgument("BAD_PAGE", "page_size is negative, or page_token is not one that this service has sent.")
    return min(size, PAGE_SIZE_MAX) or PAGE_SIZE_MAX, after


def grant_history_query(request: pb.ListGrantHistoryRequest) -> GrantHistoryQuery:
    """What the owner signed. Raises InvalidArgument: BAD_LENGTH or BAD_HEIGHT."""
    return GrantHistoryQuery(
        fixed(request.delegating_public_key, UMBRAL_KEY_BYTES, "delegating_public_key"),
        fixed(request.nonce, IDENTIFIER_BYTES, "nonce"),
        height(request.expiry_height, "expiry_height"),
    )


def block_message(sent: SentBlock) -> chain_pb2.CertifiedBlock:
    """A block with its certificate, if there is one."""
    return chain_pb2.CertifiedBlock(encoded=sent.block, result_certificate=sent.certificate or b"")


def proof_message(proof: TransactionProof, chain_id: bytes) -> chain_pb2.TransactionProof:
    """A transaction's proof."""
    return chain_pb2.TransactionProof(encoded=encode(proof, chain_id))


def verdict_message(opened: OpenedTransaction, proof: TransactionProof) -> chain_pb2.Verdict | None:
    """The answer to an access request; None for everything else."""
    if not isinstance(opened.payload.body, RequestBody):
        return None
    granted = proof.code is Code.GRANTED
    return chain_pb2.Verdict(
        request_hash=opened.leaf,
        height=proof.certificate.result.height,
        outcome=chain_pb2.VERDICT_OUTCOME_GRANTED if granted else chain_pb2.VERDICT_OUTCOME_DENIED,
        reason="" if granted else proof.code.name,
    )
