"""A behaviour of the model, replayed through the production `Replica.step` (rules C1 to C3, C7).

Every step of an honest replica is brought about by giving its production twin just the messages the model's step stands on,
and nothing else; then the twin must have said what the model says, and must have refused nothing. What a faulty replica
says, and which certificates it shows, is made by hand with the production encoding (`shown.py`).

`Rejected` means that `step` does not do what the model does. `Cut` means that the model has more freedom than the code,
in one of a few named ways; such a behaviour counts only up to there.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from consilium.consensus.core.events import NewViewRecord, Persist, Timer
from consilium.consensus.core.messages import (
    BatchOffer,
    Checkpoint,
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    SignedViewChange,
)
from consilium.kernel.certificates import Phase, SignedVote
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import make_checkpoint, make_new_view
from tests.consensus.cluster import CHAIN_ID
from tests.consensus.promises import check_said_once
from tests.model.behaviours import Block, State
from tests.model.room import MEMBERS, OF_AUTHOR, Room
from tests.model.shown import Shown


class Rejected(Exception):
    """The production replica does not do what the model does."""


class Cut(Exception):
    """The model does what the code never chooses to."""


class Replaying:
    """One behaviour under way; `now` is the model's state before the step that is being replayed."""

    def __init__(self, behaviour: list[State], bad: frozenset[str]) -> None:
        self.room = Room(bad)
        self.shown = Shown(self.room)
        self.behaviour = behaviour
        self.now = behaviour[0]
        self.steps = 0
        self._called: defaultdict[tuple[str, int, int], set[str]] = defaultdict(set)

    def play(self) -> None:
        """Replay all of it.

        Raises Rejected, Cut.
        """
        for before, after in pairwise(self.behaviour):
            self.now = before
            for epoch, names in enumerate(after.votes):
                for name in names:
                    self._step(after, epoch, name)
            for name, block in after.boundary.items():
                if block != self.now.boundary[name]:
                    self._execute(0, name, block)
            self._check_no_refusal()
            self.steps += 1
        self.now = self.behaviour[-1]
        self._deliver_all()
        check_said_once(self.room.cluster.spoken)

    def _check_no_refusal(self) -> None:
        if self.room.cluster.refusals:
            raise Rejected(f"step {self.steps} is refused: {self.room.cluster.refusals[0]}")

    def _step(self, after: State, epoch: int, name: str) -> None:
        """What the model lets one replica do in one step."""
        votes, commits, calls, plans = (
            sorted(getattr(after, each)[epoch][name] - getattr(self.now, each)[epoch][name])
            for each in ("votes", "commits", "calls", "plans")
        )
        primary = self.room.primary
        for view, block in plans:
            (self._open if primary(epoch, view) == name else self._enter)(epoch, name, view, block)
        for view, block in () if plans else votes:
            (self._propose if primary(epoch, view) == name else self._prepare)(epoch, name, view, block)
        for view, block in commits:
            self._commit(epoch, name, view, block)
        for view in calls:
            self._call(epoch, name, view)

    # --- the three phases ---

    def _propose(self, epoch: int, name: str, view: int, block: Block) -> None:
        """`_propose`: an honest primary gets a batch, and proposes it on the parent."""
        room, place = self.room, (epoch, view, self.room.height(block))
        self._stand_on(epoch, name, view, block[:-1])
        if room.seat(name).height >= room.height(block):
            raise Cut("nothing is voted on beside an executed block")
        if self._proposal(name, place) is None:
            room.tell(name, OF_AUTHOR, BatchOffer(room.batch(block).data), block)
        if epoch:
            self._found(name, place)
        made = self._proposal(name, place)
        if made is None:
            raise Rejected(f"step {self.steps}: {name} proposes nothing at {place}")
        header = decode(Header, made.header, CHAIN_ID)
        if header.batch_digests != (room.batch(block).digest,):
            raise Cut("a primary proposes at once what waits")
        if header.parent_hash != room.parent(block[:-1]).hash:
            raise Rejected(f"step {self.steps}: {name} proposes on another parent")
        if room.headers.setdefault(block, made.header) != made.header:
            raise Cut("the same contents in two headers")

    def _proposal(self, name: str, place: tuple[int, int, int]) -> PrePrepare | None:
        return self.room.said(name, PrePrepare, lambda each: _place(each.signed) == place)

    def _prepare(self, epoch: int, name: str, view: int, block: Block) -> None:
        """`_fits` and `_advance_slot`: a backup gets the proposal, or the batch of one that the new view made again."""
        room, primary = self.room, self.room.primary(epoch, view)
        self._stand_on(epoch, name, view, block[:-1])
        planned = max(len(plan) for at, plan in self._plans(epoch, name) if at == view)
        if len(block) <= planned:
            room.tell(name, OF_AUTHOR, BatchOffer(room.batch(block).data), block)
        elif primary in room.bad:
            room.tell(name, primary, room.proposal(epoch, view, block), block)
        else:
            proposal = self._proposal(primary, (epoch, view, room.height(block)))
            assert proposal is not None, "the model's primary has proposed it"
            room.tell(name, primary, proposal, block)
        for chain in (block, *[plan for at, plan in self._plans(epoch, name) if at == view]):
            if self._contradicts(name, chain):
                raise Cut("nothing is voted on beside an executed block")
        self._expect(name, Prepare, (epoch, view, block))

    def _contradicts(self, name: str, chain: Block) -> bool:
        """Whether a replica has executed another block in the place of one of these."""
        results, root = self.room.seat(name).ledger.results, self.room.height(())
        places = range(1, min(len(chain), len(results) - root) + 1)
        return any(results[root + place - 1].block_hash != self.room.digest(chain[:place]) for place in places)

    def _plans(self, epoch: int, name: str) -> list[tuple[int, Block]]:
        """The views this replica has entered, with the end of what each proposes again; view 0 begins on the root."""
        return [(0, self.now.boundary[name] if epoch else ()), *self.now.plans[epoch][name]]

    def _commit(self, epoch: int, name: str, view: int, block: Block) -> None:
        """`_commit_if_prepared`: the prepares arrive."""
        self._stand_on(epoch, name, view, block[:-1])
        count = int(self.room.primary(epoch, view) != name)
        for sender, signed in self.shown.votes(self.now, Phase.PREPARE, epoch, view, block):
            if count < self.shown.quorum(epoch) - 1 and self._has_voted(name, Commit, (epoch, view, block)):
                raise Rejected(f"step {self.steps}: {name} commits {block} on {count} prepares")
            if sender != name:
                self.room.tell(name, sender, Prepare(signed))
                count += 1
        self._expect(name, Commit, (epoch, view, block))

    def _expect(self, name: str, kind: type[Prepare | Commit], vote: tuple[int, int, Block]) -> None:
        """Raise Rejected unless the replica has voted so."""
        if not self._has_voted(name, kind, vote):
            refused = self.room.cluster.refusals[-1:] or "nothing"
            raise Rejected(f"step {self.steps}: no {kind.__name__} of {name} for {vote}; refused: {refused}")

    def _has_voted(self, name: str, kind: type[Prepare | Commit], vote: tuple[int, int, Block]) -> bool:
        epoch, view, block = vote
        wanted = (epoch, view, self.room.height(block)), self.room.digest(block)
        return self.room.said(name, kind, lambda each: (_place(each.signed), each.signed.vote.digest) == wanted) is not None

    def _stand_on(self, epoch: int, name: str, view: int, parent: Block) -> None:
        """Bring a replica to where a vote on the parent's child is due: it has prepared the parent, or executed it."""
        if parent and (view, parent) not in self.now.commits[epoch][name] and parent != self.now.boundary[name]:
            proposed = (view, parent) in self.now.votes[epoch][name] and self.room.primary(epoch, view) == name
            if not proposed or self.shown.committed_view(self.now, epoch, parent) is not None:
                self._execute(epoch, name, parent)

    # --- views ---

    def _call(self, epoch: int, name: str, view: int) -> None:
        """`call_for_view`: f + 1 others have left, or the alarm rings."""
        if view - 1 not in [at for at, _ in self._plans(epoch, name)]:
            for sender, said in self.shown.calls_from(self.now, epoch, view - 1, name):
                self._tell_call(name, sender, said)
        if self.shown.call_of(name, epoch, view) is None:
            if Timer.PROGRESS not in self.room.seat(name).alarms:
                raise Cut("a view that is awaited is left only once 2f+1 have called for it")
            self.room.cluster.ring(MEMBERS[name], Timer.PROGRESS)
        call = self.shown.call_of(name, epoch, view)
        if call is None:
            raise Rejected(f"step {self.steps}: {name} does not call for view {view}")
        if {(each.view, sha256(each.header)) for each in call.view_change.prepared} != self._content(epoch, name, view):
            raise Rejected(f"step {self.steps}: {name}'s call for view {view} shows something else than it has prepared")

    def _content(self, epoch: int, name: str, view: int) -> set[tuple[int, bytes]]:
        """`Content`: what an honest call must show, of every height the certificate of the highest view."""
        highest = {len(block): (at, block) for at, block in sorted(self.now.commits[epoch][name]) if at < view}
        return {(at, self.room.digest(block)) for at, block in highest.values()}

    def _open(self, epoch: int, name: str, view: int, block: Block) -> None:
        """`_announce`: an honest primary has the calls of two others, and announces what follows from them."""
        calls = self.shown.calls_for(self.now, epoch, view, block, caller=name)
        if calls is None:
            raise Cut("a primary opens its view with its own call among the others")
        if not self._has_announced(name, epoch, view):
            self._bring(name, calls)
        elif self._announced(epoch, name, view, block) is None:
            raise Cut("a primary opens its view as soon as it can")
        if self._announced(epoch, name, view, block) is None:
            raise Rejected(f"step {self.steps}: {name} does not open view {view} with {block}")
        for length in range(1, len(block) + 1):
            self.room.tell(name, OF_AUTHOR, BatchOffer(self.room.batch(block[:length]).data))

    def _bring(self, name: str, calls: Sequence[SignedViewChange]) -> None:
        """Let a quorum of calls arrive at the primary, whose own is one of them; the last one opens the view."""
        epoch, view = calls[0].view_change.epoch, calls[0].view_change.view
        for call in calls:
            if len(self._called[name, epoch, view]) + 1 < self.shown.quorum(epoch) and self._has_announced(
                name, epoch, view
            ):
                raise Rejected(f"step {self.steps}: {name} opens view {view} on too few calls")
            sender = self.room.order(epoch)[call.index]
            if sender != name:
                self._tell_call(name, sender, call)

    def _tell_call(self, name: str, sender: str, call: SignedViewChange) -> None:
        """Let a call arrive; one for a view that its receiver works in by now is late, and counts for nothing (C2)."""
        state, view = self.room.seat(name).state, call.view_change.view
        self._called[name, call.view_change.epoch, view].add(sender)
        is_late = state.entered and view <= state.view
        self.room.tell(name, sender, call)
        if is_late and self._last_refusal() == "STALE_VIEW":
            self.room.cluster.refusals.pop()

    def _last_refusal(self) -> str:
        return next((each.reason for each in self.room.cluster.refusals[-1:]), "")

    def _has_announced(self, name: str, epoch: int, view: int) -> bool:
        return self.room.said(name, NewView, lambda each: (each.epoch, each.view) == (epoch, view)) is not None

    def _announced(self, epoch: int, name: str, view: int, block: Block) -> NewView | None:
        """The new view of an honest primary, if it proposes the model's block again, and nothing above."""
        root = self.now.boundary[name] if epoch else ()
        ends = [self.room.digest(block[:length]) for length in range(len(root) + 1, len(block) + 1)]
        made = self.room.said(name, NewView, lambda each: (each.epoch, each.view) == (epoch, view))
        return made if made is not None and [each.vote.digest for each in made.proposals] == ends else None

    def _enter(self, epoch: int, name: str, view: int, block: Block) -> None:
        """`on_new_view`: a backup gets the announcement, and its log says so."""
        room, primary = self.room, self.room.primary(epoch, view)
        if primary in room.bad:
            calls = self.shown.calls_for(self.now, epoch, view, block)
            if calls is None:
                raise Rejected(f"step {self.steps}: no calls for view {view} from which {block} follows")
            announced = make_new_view(room.outlook(epoch), view, calls)
        else:
            found = self._announced(epoch, primary, view, block)
            assert found is not None, "the model's primary has announced it"
            announced = found
        room.tell(name, primary, announced)
        persisted = [each.records for each in room.seat(name).effects if isinstance(each, Persist)]
        if NewViewRecord(announced) not in [record for records in persisted for record in records]:
            raise Rejected(f"step {self.steps}: {name} does not enter view {view}; refused: {room.cluster.refusals[-1:]}")

    # --- committed blocks ---

    def _execute(self, epoch: int, name: str, block: Block) -> None:
        """What block sync does: the blocks up to this one, each with a commit certificate, are executed in order."""
        seat = self.room.seat(name)
        for length in range(seat.height - self.room.height(()) + 1, len(block) + 1):
            part = block[:length]
            certified = self.shown.certified(self.now, 0 if epoch and part == self.now.boundary[name] else epoch, part)
            if certified is None:
                raise Rejected(f"step {self.steps}: the model knows no commit certificate of {part}")
            self.room.cluster.execute(seat, certified)

    def _found(self, name: str, place: tuple[int, int, int]) -> None:
        """`founded`: the next committee's primary gets the result votes on the block that ended the epoch (C7)."""
        room, boundary = self.room, self.now.boundary[name]
        if self._proposal(name, place) is not None:
            raise Rejected(f"step {self.steps}: {name} proposes before the end of the last epoch is certified")
        result = room.seat(name).ledger.results[room.height(boundary) - 1]
        for other in room.order(0):
            said = room.said(other, Checkpoint, lambda each: each.result == result)
            made = make_checkpoint(MEMBERS[other], result) if other in room.bad else said
            if made is not None and other != name:
                room.tell(name, other, made)

    def _deliver_all(self) -> None:
        """In the end the commits arrive: what the model holds for committed, `step` delivers."""
        for epoch, names in enumerate(self.now.commits):
            for name in names:
                marks = [mark for mark in self.now.votes[epoch][name] if mark[0] == self.now.view[epoch][name]]
                for view, block in sorted(marks, key=lambda mark: len(mark[1])):
                    if epoch == self.room.seat(name).state.outlook.epoch:
                        self._deliver(epoch, name, view, block)
        self._check_no_refusal()

    def _deliver(self, epoch: int, name: str, view: int, block: Block) -> None:
        seat, height = self.room.seat(name), self.room.height(block)
        if seat.height != height - 1 or not self.shown.is_committed(self.now, epoch, view, block):
            return
        count = int((view, block) in self.now.commits[epoch][name])
        for sender, signed in self.shown.votes(self.now, Phase.COMMIT, epoch, view, block):
            if count < self.shown.quorum(epoch) and seat.height >= height:
                raise Rejected(f"{name} delivers {block} on {count} commits")
            if sender != name:
                self.room.tell(name, sender, Commit(signed))
                count += 1
        if seat.height < height or seat.ledger.results[height - 1].block_hash != self.room.digest(block):
            raise Rejected(f"{name} does not deliver the committed {block} in view {view}")


def _place(signed: SignedVote) -> tuple[int, int, int]:
    return signed.vote.epoch, signed.vote.view, signed.vote.height
