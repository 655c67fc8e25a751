"""Pure functions that all members of an alliance call with the same arguments, worked out once in a process.

A member of a real alliance does all this work itself; five members in one process would do it five times. Nothing else
changes: `test_simulation` compares whole traces with and without, in processes of their own.
"""

from __future__ import annotations

import gc
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from consilium.consensus.core.messages import Envelope
from consilium.kernel import election, encoding, opening, umbral
from consilium.kernel.opening import OpenedBlock
from consilium.kernel.state_map import StateMap
from tests.simulation import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consilium.kernel.chain import CertifiedBlock
    from consilium.kernel.election import Candidate, Election
    from consilium.kernel.encoding import Value
    from consilium.kernel.parameters import Parameters

KEPT = 8_192
"""How many answers of one function are kept."""

_decode, _draw_committee = encoding.decode, election.draw_committee
_decode_value = lru_cache(KEPT)(_decode)
_open_block, _updated = opening.open_block, StateMap.updated
_opened: dict[tuple[bytes, tuple[bytes, ...], bytes], OpenedBlock] = {}
_maps: dict[tuple[bytes, tuple[tuple[bytes, bytes | None], ...]], StateMap] = {}
_open_batch, _verify_ownership = lru_cache(KEPT)(opening.open_batch.__wrapped__), lru_cache(KEPT)(umbral.verify_ownership)
_written_batch = lru_cache(KEPT)(disk.written_batch)


@cache
def share() -> None:
    """Put the remembering functions in the place of the plain ones, wherever they have been imported.

    What lives in this process by now stays for good: the collector need not look at it after every seed.
    """
    for plain, remembering in (
        (_decode, _decode_once),
        (opening.open_batch, _open_batch),
        (_open_block, _open_block_once),
        (umbral.verify_ownership, _verify_ownership),
        (_draw_committee, _draw_committee_once),
    ):
        _replace(plain, remembering)
    StateMap.updated = _updated_once  # type: ignore[method-assign, assignment]
    disk.written_batch = _written_batch
    gc.freeze()


def forget() -> None:
    """Let go of one run's answers; another run asks for others."""
    for each in (_decode_value, _open_batch, _verify_ownership, _written_batch, _draw):
        each.cache_clear()
    _opened.clear()
    _maps.clear()


def _replace(plain: Callable[..., object], remembering: Callable[..., object]) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("consilium.") and getattr(module, plain.__name__, None) is plain:
            setattr(module, plain.__name__, remembering)


def _decode_once(kind: type[Value], data: bytes, chain_id: bytes, bytes_max: int = encoding.ENCODED_BYTES_MAX) -> Value:
    read = _decode if kind is Envelope else _decode_value  # each envelope is decoded once anyway
    value: Value = read(kind, data, chain_id, bytes_max)
    return value


def _open_block_once(block: CertifiedBlock, chain_id: bytes) -> OpenedBlock:
    """Members may hold a block under different commits."""
    key = block.header, block.batches, chain_id
    known = _opened.get(key)
    if known is None:
        known = _open_block(block, chain_id)
        _keep(_opened, key, known)
    return OpenedBlock(block, known.header, known.block_hash, known.batches)


def _updated_once(before: StateMap, changes: Mapping[bytes, bytes | None]) -> StateMap:
    """A map's root stands for all it holds."""
    key = before.root, tuple(changes.items())
    known = _maps.get(key)
    if known is None:
        known = _updated(before, changes)
        _keep(_maps, key, known)
    return known


def _keep(answers: dict[Any, Any], key: object, answer: object) -> None:
    """Remember an answer; all of them go when there are too many."""
    if len(answers) == KEPT:
        answers.clear()
    answers[key] = answer


def _draw_committee_once(
    candidates: Sequence[Candidate], parameters: Parameters, chain_id: bytes, epoch: int, mix: bytes
) -> Election:
    return _draw(tuple(candidates), parameters, chain_id, epoch, mix)


@lru_cache(KEPT)
def _draw(candidates: tuple[Candidate, ...], parameters: Parameters, chain_id: bytes, epoch: int, mix: bytes) -> Election:
    return _draw_committee(candidates, parameters, chain_id, epoch, mix)
