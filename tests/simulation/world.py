"""What all endpoints of one run share."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from consilium.consensus.core.replica import Replica
from tests.simulation.certificates import Certificates
from tests.simulation.checkers import Checker
from tests.simulation.signing import KeyedHashVerifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consilium.consensus.core.events import Received
    from consilium.kernel.chain import Genesis
    from consilium.kernel.errors import ConsiliumError
    from tests.simulation.clock import Clock
    from tests.simulation.network import Network
    from tests.simulation.schedule import Options
    from tests.simulation.twin import TwinViews

STORY_EVENTS = 60
"""How many of the last events a failure tells."""


class Story:
    """The trace: a running hash over everything that happens, and the last events in words."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hash = blake2b(digest_size=16)
        self._last: deque[tuple[int, str]] = deque(maxlen=STORY_EVENTS)
        self.mix = self._hash.update

    def note(self, endpoint: str, *what: object) -> None:
        """Tell one event and take it into the hash."""
        line = f"{endpoint} {' '.join(map(str, what))}"
        self._hash.update(f"{self._clock.now_ms} {line};".encode())
        self._last.append((self._clock.now_ms, line))

    @property
    def digest(self) -> str:
        """The hash of all that has happened."""
        return self._hash.hexdigest()

    def lines(self) -> list[str]:
        """The last events, one a line."""
        return [f"{at_ms:>8} ms  {line}" for at_ms, line in self._last]


class Watchers:
    """The checkers, and who else wants to hear of first executions; each is told only what it looks at."""

    def __init__(self, checkers: Sequence[Checker]) -> None:
        self.sent = _listeners(checkers, "sent")
        self.received = _listeners(checkers, "received")
        self.persisted = _listeners(checkers, "persisted")
        self.executed = _listeners(checkers, "executed")
        self.first_executed = _listeners(checkers, "first_executed")
        self.certified = _listeners(checkers, "certified")
        self.restarted = _listeners(checkers, "restarted")
        self.forgot = _listeners(checkers, "forgot")
        self.wiped = _listeners(checkers, "wiped")
        self.read = _listeners(checkers, "read")
        self.released = _listeners(checkers, "released")
        self.leaked = _listeners(checkers, "leaked")


def _listeners(checkers: Sequence[Checker], event: str) -> list[Callable[..., None]]:
    """The checkers' own methods for an event, without those that do nothing."""
    deaf = getattr(Checker, event)
    return [getattr(each, event) for each in checkers if getattr(type(each), event) is not deaf]


@dataclass(slots=True)
class World:
    """Clock, links, rules and watchers of one run."""

    options: Options
    genesis: Genesis
    chain_id: bytes
    clock: Clock
    network: Network
    views: TwinViews
    story: Story
    replica_class: Callable[..., Replica] = Replica
    verifier: KeyedHashVerifier = field(default_factory=KeyedHashVerifier)
    hits: Counter[str] = field(default_factory=Counter)
    admitted: dict[tuple[bytes, int], Received | ConsiliumError] = field(default_factory=dict)
    watchers: Watchers = field(default_factory=lambda: Watchers(()))
    faulty: list[str] = field(default_factory=list)
    """Members that may say what no honest one would: Byzantine by the seed, or put back to an old copy of themselves."""
    calm: bool = False
    """Whether the faults are over (the liveness phase)."""
    certificates: Certificates = field(default_factory=Certificates)
    top: int = 0
