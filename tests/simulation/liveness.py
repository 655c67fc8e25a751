"""L1 to L7: what must happen, and within which bounds, once links deliver and at most f delegates are faulty.

The clock starts when the nemesis is called off. L4, a slow primary's rate, is judged by a scenario of its own (R3).
"""

from __future__ import annotations

from collections import deque
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from consilium.consensus.core.batching import QUEUED_BATCHES_MAX
from consilium.consensus.core.messages import NewView
from consilium.consensus.core.pace import BLOCKS
from consilium.kernel.certificates import Phase
from consilium.kernel.chain import BATCH_TRANSACTIONS_MAX, BATCHES_MAX
from consilium.kernel.transactions import RecordBody
from consilium.ledger.core.terms import LEFT_VIEWS_MAX
from tests.simulation.checkers import Checker
from tests.simulation.observed import Violation
from tests.simulation.twin import member_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consilium.consensus.core.state import State
    from consilium.kernel.chain import Outlook
    from tests.simulation.member import Member
    from tests.simulation.observed import Execution, Speech
    from tests.simulation.world import World

TIMEOUTS = 4
"""Within how many time-outs a request is ordered; a time-out may have backed off to its cap when the faults end (L1)."""
RESTART_MS = 30_000
"""Within how long the first block stands after everybody was off (L6)."""
LOOK_EVERY = 8
"""At every so many blocks the queues are measured (L7)."""
PARTS = ("", "log", "pool", "calls", "turnover", "checkpoints", "attendance", "pace", "silence")
"""Where a replica keeps things: its state, and what that consists of."""
GROWS = (dict, list, deque)
"""What things can be kept in."""
EMPTIED = ("effects", "refusals")
"""What every step empties."""
_fields: dict[type, tuple[str, ...]] = {}
"""The names of each dataclass's fields, none for another class: asking for them is slow."""


class Liveness(Checker):
    """L1, L2, L3, L6 and L7; L5 is convergence, which ends the run."""

    def __init__(self, world: World, members: Mapping[str, Member]) -> None:
        self._world = world
        self._members = members
        self._waiting: dict[bytes, str] = {}
        self._calm_at: int | None = None
        self._restarted_at: int | None = None
        self._begins: dict[int, int] = {}
        self._steady: list[int] = []
        self._called: dict[int, int] = {}
        self._views: dict[int, dict[int, None]] = {}

    def calm(self, requests: Mapping[bytes, str], *, was_off: bool) -> None:
        """The faults are over; these records were handed in at honest electors just now."""
        self._calm_at = self._world.clock.now_ms
        self._waiting = dict(requests)
        self._restarted_at = self._calm_at if was_off else None
        states = [each.replica.state for each in self._members.values()]
        for state in states:
            known = self._called.get(state.outlook.epoch, 0)
            self._called[state.outlook.epoch] = max(known, state.view)

    def sent(self, speech: Speech) -> None:
        """L2, L3: views that come to be after the faults, and that nobody had called for before."""
        if self._calm_at is None or not isinstance(speech.message, NewView) or not speech.honest:
            return
        epoch, view = speech.message.epoch, speech.message.view
        if view <= self._called.get(epoch, 0):
            return
        views = self._views.setdefault(epoch, {})
        views[view] = None
        faults_max = self._world.options.faults_max
        silent = any(each.is_silent for each in self._members.values())
        if epoch in self._steady and not self._world.faulty and not silent:
            raise Violation("L3 storm", f"View {view} of epoch {epoch}, and nobody is faulty or silent.")
        if len(views) > faults_max + 1:
            raise Violation("L2 view changes", f"{len(views)} new views in epoch {epoch} after the faults have ended.")

    def first_executed(self, execution: Execution) -> None:
        now_ms = self._world.clock.now_ms
        if self._restarted_at is not None:
            if now_ms - self._restarted_at > RESTART_MS:
                raise Violation("L6 restart", f"The first block came {now_ms - self._restarted_at} ms after all were back.")
            self._restarted_at = None
        for _, transaction, _ in execution.outcomes():
            body = transaction.payload.body
            if type(body) is RecordBody:
                self._waiting.pop(body.record_id, None)
        self._let_go(execution.outlook)
        if execution.height % LOOK_EVERY == 0:
            self.measure()

    def _let_go(self, outlook: Outlook) -> None:
        """Wait for nothing that was handed in at a member that has lost its place since: nobody takes its batches (L2)."""
        electors = [each.member_id for each in outlook.electorate.electors]
        for record_id, name in list(self._waiting.items()):
            if name not in electors:
                del self._waiting[record_id]

    def executed(self, execution: Execution) -> None:
        """An epoch that begins with everybody at hand, its first primary in good time, needs no view change (L3)."""
        outlook, now_ms = execution.outlook, self._world.clock.now_ms
        if outlook.epoch_start != execution.height + 1:
            return
        begun_at = self._begins.setdefault(outlook.epoch, now_ms)
        is_calm = self._calm_at is not None and begun_at >= self._calm_at
        if not is_calm or outlook.committee.primary(0) != member_of(execution.endpoint):
            return
        heights = [each.ledger.chain.height for each in self._members.values() if each.honest]
        in_time = now_ms - begun_at <= outlook.parameters.view_timeout_ms // 2
        if in_time and min(heights) >= execution.height - 1:
            self._steady.append(outlook.epoch)

    def overdue(self) -> None:
        """L1: raise Violation when a request that was handed in after the faults still waits."""
        if self._calm_at is None or not self._waiting:
            return
        waited_ms = self._world.clock.now_ms - self._calm_at
        if waited_ms > TIMEOUTS * self._world.genesis.parameters.view_timeout_max_ms:
            names = ", ".join(dict.fromkeys(self._waiting.values()))
            raise Violation("L1 commit", f"What was handed in at {names} still waits after {waited_ms} ms.")

    def measure(self) -> None:
        """L7: every queue of every honest replica stays within its bound."""
        for member in self._members.values():
            if member.honest and member.up:
                for name, size, bound in queues(member.replica.state):
                    if size > bound:
                        raise Violation("L7 bounds", f"{member.endpoint} holds {size} {name}, and may hold {bound}.")


def judge_rate(blocks: int, span_ms: int, fair_blocks: int, fair_ms: int) -> None:
    """L4: raise Violation where a chain with a slow primary makes less than half the blocks of one without (R3)."""
    if 2 * blocks * fair_ms < fair_blocks * span_ms:
        rates = f"{1_000 * blocks / span_ms:.2f} blocks a second, {1_000 * fair_blocks / fair_ms:.2f} without"
        raise Violation("L4 rate", f"A slow primary is let be: {rates}.")


def queues(state: State) -> list[tuple[str, int, int]]:
    """What a replica may collect: name, size now, and bound."""
    bounds = _bounds(state)
    kept = [(name, size, bounds[name]) for name, size in collections(state).items()]
    return [*kept, ("queued bytes", state.pending_bytes, (QUEUED_BATCHES_MAX + 1) * state.parameters.batch_bytes_max)]


def collections(state: State) -> dict[str, int]:
    """How many things lie in everything that grows in a replica: found by looking, so that none is forgotten."""
    found = {}
    for part in PARTS:
        owner = getattr(state, part) if part else state
        for name, value in _attributes(owner):
            if isinstance(value, GROWS) and name not in EMPTIED:
                found[f"{part}.{name}".lstrip(".")] = _size(value)
    return found


def _attributes(owner: object) -> list[tuple[str, object]]:
    """What an object of the state holds; one that is not there (a silence) nothing."""
    kind = type(owner)
    if kind not in _fields:
        _fields[kind] = tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()
    return [(name, getattr(owner, name)) for name in _fields[kind] or getattr(owner, "__dict__", {})]


def _size(value: dict[Any, Any] | list[Any] | deque[Any]) -> int:
    """How many, those in a dictionary of dictionaries each counted."""
    if not value or not isinstance(value, dict):
        return len(value)
    inner = value.values()
    return sum(map(len, inner)) if all(isinstance(each, dict) for each in inner) else len(value)


def _bounds(state: State) -> dict[str, int]:
    """The most of each."""
    parameters, size = state.parameters, len(state.committee.delegates)
    window, electors = parameters.window_blocks, len(state.outlook.electorate.electors)
    waiting = (electors + 1) * (parameters.ingress_batches_max + window)
    return {
        "blocks": 3 * window,
        "results": 3 * window,
        "uncertified": 3 * window,
        "pending": QUEUED_BATCHES_MAX * BATCH_TRANSACTIONS_MAX,
        "helped": size + electors,
        "blamed": electors,
        "log._votes": window * len(Phase) * size,
        "log.slots": window,
        "log.prepared": window,
        "pool._entries": waiting + 3 * window * BATCHES_MAX,
        "pool._waiting": waiting,
        "pool._ordered": 3 * window * BATCHES_MAX,
        "pool._load": 2 * electors,
        "calls._latest": size,
        "turnover._votes": electors,
        "checkpoints._votes": 4 * window * size,
        "attendance.left_views": LEFT_VIEWS_MAX,
        "attendance._voted": parameters.term_blocks,
        "attendance._followed": parameters.term_blocks,
        "attendance._hashes": 3 * window,
        "pace.complaints": size,
        "pace._idle_ms": BLOCKS,
        "pace._ordering_ms": BLOCKS,
        "silence._tips": electors,
    }
