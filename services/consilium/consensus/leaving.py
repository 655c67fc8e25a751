"""Leaving by permission: two delegates of a small committee are never told to go at the same time (ADR 23).

Whoever is about to stop a delegate on purpose (a drained machine, an upgrade) asks all other delegates first. Each lets one
member go at a time, for a bounded time that asking again does not stretch without end, and only if it sees a quorum
attending without that one. With the permission of a quorum, its own included, the member may go: two quorums share an
honest delegate, which lets one of them go. The word ends with its time, or once the member is seen to vote from a later
incarnation than the one that asked. All are asked every time, so that all know who waits.

This is courtesy between operators, kept in memory: no block depends on it, a crash asks nobody, and who does not ask is not
held. It holds back restarts that people and schedulers plan.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.consensus.seat import Seat
from consilium.consensus.streams import Links
from consilium.kernel.certificates import Committee
from consilium.kernel.errors import ConsiliumError, InvalidArgument
from consilium.kernel.parameters import Parameters
from consilium.runtime.channels import typed

HOLD_S_MAX = 600
"""For how long, in seconds, a member may be let go at once."""
ASKING_S = 3.0
"""How long another member may take to answer, in seconds."""
TURN_S = 15.0
"""For how long, in seconds, the last one to go lets another pass that was turned away because of it."""
BEHIND_MAX = 8
"""How many heights a delegate's last vote may lie behind the tip while it still attends."""
HEARTBEATS, QUIET_MS_MIN = 3, 10_000
"""For how many heartbeats, and how many milliseconds at least, a delegate may say nothing while it still attends.

One whose process has ended is noticed at once, for its stream is closed.
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The committee as one delegate sees it now: who votes, and the newest incarnation it knows of each member."""

    committee: Committee
    attending: frozenset[str]
    incarnations: Mapping[str, int]

    def missing(self, leaving: str) -> list[str]:
        """The delegates that do not attend, in the order of their seats, without the one that asks."""
        names = [each.member_id for each in self.committee.delegates]
        return [each for each in names if each not in self.attending and each != leaving]

    def spares(self, leaving: str) -> bool:
        """Whether a quorum attends without that member."""
        return len(self.attending - {leaving}) >= self.committee.quorum


@dataclass(frozen=True, slots=True)
class Word:
    """What one delegate says to a member that asks; `holder` is who it lets go at present, for `holder_s` more seconds."""

    granted: bool
    holder: str = ""
    holder_s: int = 0
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class Permission:
    """The one member this delegate lets go at present; times are those of a clock that never goes back, in seconds."""

    _holder: str = ""
    _first_s: float = 0.0
    """When the holder was let go, before it asked for more time."""
    _until_s: float = 0.0
    _incarnation: int = 0
    _last: str = ""
    _waiting: dict[str, float] = field(default_factory=dict)

    def ask(self, member_id: str, hold_s: int, seen: Seen, now_s: float) -> Word:
        """Let a member go, or say why not. Who has no seat holds up nobody, and needs no permission."""
        if seen.committee.index_of(member_id) is None:
            return Word(granted=True)
        if before := self._before(member_id, now_s + hold_s, seen, now_s):
            self._waiting[member_id] = now_s
            return Word(granted=False, holder=before, holder_s=max(0, round(self._until_s - now_s)))
        if not seen.spares(member_id):
            return Word(granted=False, missing=tuple(seen.missing(member_id)))
        self._let_go(member_id, now_s + hold_s, now_s)
        self._incarnation = seen.incarnations.get(member_id, 0)
        return Word(granted=True, holder=member_id, holder_s=round(self._until_s - now_s))

    def give_back(self, member_id: str) -> None:
        """The member stays after all."""
        if self._holder == member_id:
            self._holder = ""

    def holder(self, seen: Seen, now_s: float) -> str:
        """Who may go now; "" for nobody: its time is over, or it has gone, is back and votes."""
        is_back = self._holder in seen.attending and seen.incarnations.get(self._holder, 0) > self._incarnation
        if now_s >= self._until_s or is_back:
            self._holder = ""
        return self._holder

    def _let_go(self, member_id: str, until_s: float, now_s: float) -> None:
        if self._holder != member_id:
            self._first_s = self._until_s = now_s
        self._until_s = max(self._until_s, until_s)
        self._holder = self._last = member_id
        self._waiting.pop(member_id, None)

    def _before(self, member_id: str, until_s: float, seen: Seen, now_s: float) -> str:
        """Who goes before a member that asks, "" for nobody: nobody could keep all others from leaving by asking again.

        That is the holder, or for who has just been and who asks for more time one that was turned away. The holder itself
        stands in its own way once it has been let go for the longest time.
        """
        holder = self.holder(seen, now_s)
        if holder not in ("", member_id):
            return holder
        if holder and until_s <= self._until_s:
            return ""  # it asks for nothing that it does not have
        self._waiting = {name: at_s for name, at_s in self._waiting.items() if now_s - at_s < TURN_S}
        others = [name for name in self._waiting if name != member_id]
        if others and member_id == self._last:
            return others[0]
        return holder if until_s > self._first_s + HOLD_S_MAX else ""


Asked = Callable[[str, int], Awaitable[Word | None]]
"""Asks one delegate, this member too, to let this member go for so many seconds; None when it does not answer."""


@dataclass(slots=True)
class Departure:
    """This member's own wish to go.

    More than one may ask for it: each of its pods that is stopped, and a person. So one question is answered after the
    other, and what a later one is refused takes nothing from what an earlier one was told.
    """

    own: str
    asked: Asked
    clock: Callable[[], float]
    _until_s: float = 0.0
    """Until when it has been told that it may go."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, committee: Committee, hold_s: int) -> pb.AskLeaveResponse:
        """Ask all delegates; what was granted is given back when it is too little. 0 seconds give everything back."""
        async with self._turn:
            if committee.index_of(self.own) is None:
                own = await self.asked(self.own, hold_s)
                return _told({self.own: own}, 0, granted=own is not None and own.granted)
            until_s = self.clock() + hold_s
            words = await self._words(committee, hold_s)
            letting_go = [name for name, word in words.items() if word is not None and word.granted]
            may_go = self.own in letting_go and len(letting_go) >= committee.quorum
            if may_go:
                self._until_s = max(self._until_s, until_s)
            elif not hold_s:
                self._until_s = until_s
            elif self.clock() >= self._until_s:
                await self._stay(letting_go)
            return _told(words, committee.quorum, granted=may_go)

    async def _words(self, committee: Committee, hold_s: int) -> dict[str, Word | None]:
        """What each delegate says, this member first."""
        names = [self.own, *(each.member_id for each in committee.delegates if each.member_id != self.own)]
        found = await asyncio.gather(*(self.asked(name, hold_s) for name in names))
        return dict(zip(names, found, strict=True))

    async def _stay(self, granted: list[str]) -> None:
        """Give back what too few have granted, so that two who ask at once do not keep each other for long."""
        await asyncio.gather(*(self.asked(name, 0) for name in granted))


class Leaving:
    """This member's part in it: it answers the others, and asks them."""

    def __init__(self, seat: Seat, links: Links, clock: Callable[[], float] = time.monotonic) -> None:
        self._seat, self._links, self._clock = seat, links, clock
        self._permission = Permission()
        self._departure = Departure(self._own, self._asked, clock)

    @property
    def _own(self) -> str:
        return self._seat.identity.member_id

    def answer(self, member_id: str, hold_s: int, incarnation: int) -> Word:
        """What this delegate says to a member; 0 seconds give a permission back. Raises InvalidArgument: BAD_HOLD.

        The incarnation is the asking one: where its greeting has not come yet, that is not its return.
        """
        _check_hold(hold_s)
        if not hold_s:
            self._permission.give_back(member_id)
            return Word(granted=False)
        seen = self._seen()
        newest = max(incarnation, seen.incarnations.get(member_id, 0))
        seen = replace(seen, incarnations={**seen.incarnations, member_id: newest})
        return self._permission.ask(member_id, hold_s, seen, self._clock())

    async def ask(self, hold_s: int) -> pb.AskLeaveResponse:
        """Ask all delegates whether this member may go. Raises InvalidArgument: BAD_HOLD."""
        _check_hold(hold_s)
        return await self._departure.ask(self._seat.outlook.committee, hold_s)

    async def _asked(self, name: str, hold_s: int) -> Word | None:
        """What a delegate says; None from one that cannot be reached."""
        incarnation = self._seat.identity.incarnation
        if name == self._own:
            return self.answer(name, hold_s, incarnation)
        channel = self._links.channel_to(name)
        if channel is None:
            return None
        try:
            with typed():
                asked = pb.MayLeaveRequest(hold_seconds=hold_s, incarnation=incarnation)
                said = await ConsensusServiceStub(channel).MayLeave(asked, timeout=ASKING_S)
        except ConsiliumError:
            return None
        return Word(said.granted, said.holder_member_id, said.holder_seconds, tuple(said.missing_member_ids))

    def _seen(self) -> Seen:
        """The committee as it looks from here."""
        state, committee = self._seat.replica.state, self._seat.outlook.committee
        names = [each.member_id for each in committee.delegates]
        attending = [name for name in names if (state.votes if name == self._own else self._attends(name))]
        return Seen(committee, frozenset(attending), {name: self._links.incarnation_of(name) for name in names})

    def _attends(self, name: str) -> bool:
        """Whether another delegate's votes come in."""
        state, silent_ms = self._seat.replica.state, self._links.silent_ms(name)
        votes = self._seat.driver.last_votes.get(name, -1) >= state.tip.height - BEHIND_MAX
        return (
            votes and self._links.is_connected(name) and silent_ms is not None and silent_ms <= _quiet_ms(state.parameters)
        )


def word_message(word: Word) -> pb.MayLeaveResponse:
    """A word as the contract carries it."""
    return pb.MayLeaveResponse(
        granted=word.granted,
        holder_member_id=word.holder,
        holder_seconds=word.holder_s,
        missing_member_ids=word.missing,
    )


def _told(words: Mapping[str, Word | None], needed: int, *, granted: bool) -> pb.AskLeaveResponse:
    answers = [
        pb.LeaveAnswer(member_id=name, reached=word is not None, word=None if word is None else word_message(word))
        for name, word in words.items()
    ]
    return pb.AskLeaveResponse(granted=granted, needed=needed, answers=answers)


def _check_hold(hold_s: int) -> None:
    if hold_s > HOLD_S_MAX:
        raise InvalidArgument("BAD_HOLD", f"A member is let go for {HOLD_S_MAX} seconds at the most, not {hold_s}.")


def _quiet_ms(parameters: Parameters) -> int:
    """How long a delegate that attends may say nothing."""
    return max(HEARTBEATS * parameters.heartbeat_ms, parameters.view_timeout_ms, QUIET_MS_MIN)
