"""Pure functions that all members of an alliance call with the same arguments, worked out once in a process.

A member of a real alliance does all this work itself; five members in one process would do it five times. Nothing else
changes: `test_simulation` compares whole traces with and without.
"""

from __future__ import annotations

import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from consilium.kernel import election, encoding, opening
from consilium.kernel.certificates import AllianceStatement, Committee, Result, Vote
from consilium.kernel.chain import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consilium.kernel.chain import Parameters
    from consilium.kernel.election import Candidate, Election
    from consilium.kernel.encoding import Encodable, Value

SHARED = (Vote, Result, Committee, AllianceStatement)
"""What every member encodes for itself, to sign it or to check a signature."""
KEPT = 8_192
"""How many answers of one function are kept."""

_encode, _decode, _draw_committee = encoding.encode, encoding.decode, election.draw_committee
_encode_shared, _decode_header = lru_cache(KEPT)(_encode), lru_cache(KEPT)(_decode)


@cache
def share() -> None:
    """Put the remembering functions in the place of the plain ones, wherever they have been imported."""
    for plain, remembering in (
        (_encode, _encode_once),
        (_decode, _decode_once),
        (opening.open_batch, lru_cache(KEPT)(opening.open_batch)),
        (_draw_committee, _draw_committee_once),
    ):
        _replace(plain, remembering)


def _replace(plain: Callable[..., object], remembering: Callable[..., object]) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("consilium.") and getattr(module, plain.__name__, None) is plain:
            setattr(module, plain.__name__, remembering)


def _encode_once(value: Encodable, chain_id: bytes) -> bytes:
    return _encode_shared(value, chain_id) if isinstance(value, SHARED) else _encode(value, chain_id)


def _decode_once(kind: type[Value], data: bytes, chain_id: bytes, bytes_max: int = encoding.ENCODED_BYTES_MAX) -> Value:
    read = _decode_header if kind is Header else _decode
    value: Value = read(kind, data, chain_id, bytes_max)
    return value


def _draw_committee_once(
    candidates: Sequence[Candidate], parameters: Parameters, chain_id: bytes, epoch: int, mix: bytes
) -> Election:
    return _draw(tuple(candidates), parameters, chain_id, epoch, mix)


@lru_cache(KEPT)
def _draw(candidates: tuple[Candidate, ...], parameters: Parameters, chain_id: bytes, epoch: int, mix: bytes) -> Election:
    return _draw_committee(candidates, parameters, chain_id, epoch, mix)
