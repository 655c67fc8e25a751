"""What can be shown in the model's state, as real messages: votes, calls, certificates.

Honest replicas' parts are the very messages their production twins have sent; a faulty one's are made by hand. Which calls
open a view is looked for: the model says that some do.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations

from consilium.consensus.core.messages import Commit, Prepare, SignedViewChange
from consilium.consensus.core.view_change import plan_new_view
from consilium.kernel.certificates import (
    CommitCertificate,
    Phase,
    PreparedCertificate,
    QuorumSignature,
    SignedVote,
)
from consilium.kernel.chain import CertifiedBlock
from tests.consensus.by_hand import make_call, sign_vote
from tests.consensus.cluster import CHAIN_ID
from tests.model.behaviours import Block, Mark, State
from tests.model.room import MEMBERS, Room

VIEWS_MAX = 3
"""The most views that the model looks at."""


class Shown:
    """The certificates of one room."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._certified: dict[Block, CertifiedBlock] = {}

    # --- votes ---

    def votes(self, now: State, phase: Phase, epoch: int, view: int, block: Block) -> Iterator[tuple[str, SignedVote]]:
        """Whose prepares or commits for a block of a view there are, with each; a primary sends no prepare."""
        kind, marks = (Prepare, now.votes) if phase is Phase.PREPARE else (Commit, now.commits)
        room = self.room
        for name in room.order(epoch):
            if phase is Phase.PREPARE and name == room.primary(epoch, view):
                continue
            if name in room.bad:
                yield name, sign_vote(MEMBERS[name], phase, view, room.height(block), room.digest(block), epoch)
            elif (view, block) in marks[epoch][name]:
                signed = self._said(name, kind, epoch, view, block)
                if signed is not None:
                    yield name, signed

    def _said(self, name: str, kind: type[Prepare | Commit], epoch: int, view: int, block: Block) -> SignedVote | None:
        wanted = epoch, view, self.room.height(block), self.room.digest(block)
        found = self.room.said(name, kind, lambda each: _fills(each.signed) == wanted)
        return None if found is None else found.signed

    def is_committed(self, now: State, epoch: int, view: int, block: Block) -> bool:
        """`Committed`: whether a commit certificate exists."""
        return sum(1 for _ in self.votes(now, Phase.COMMIT, epoch, view, block)) >= self.quorum(epoch)

    def committed_view(self, now: State, epoch: int, block: Block) -> int | None:
        """A view in which a block is committed."""
        if block not in self.room.headers:
            return None
        return next((view for view in range(VIEWS_MAX) if self.is_committed(now, epoch, view, block)), None)

    def quorum(self, epoch: int) -> int:
        """2f + 1 of an epoch's delegates."""
        return self.room.outlook(epoch).committee.quorum

    def certified(self, now: State, epoch: int, block: Block) -> CertifiedBlock | None:
        """A committed block with its certificate, the same for everybody."""
        view = None if block in self._certified else self.committed_view(now, epoch, block)
        if view is not None:
            signatures = self._signatures(self.votes(now, Phase.COMMIT, epoch, view, block), epoch, self.quorum(epoch))
            height, digest = self.room.height(block), self.room.digest(block)
            commit = CommitCertificate(epoch, view, height, digest, signatures)
            self._certified[block] = CertifiedBlock(self.room.headers[block], (self.room.batch(block).data,), commit)
        return self._certified.get(block)

    def _signatures(self, votes: Iterator[tuple[str, SignedVote]], epoch: int, count: int) -> tuple[QuorumSignature, ...]:
        order = self.room.order(epoch)
        made = [QuorumSignature(order.index(name), signed.signature) for name, signed in votes]
        return tuple(sorted(made[:count], key=lambda each: each.index))

    # --- views ---

    def call_of(self, name: str, epoch: int, view: int) -> SignedViewChange | None:
        """An honest replica's call for a view."""
        return self.room.said(
            name, SignedViewChange, lambda each: (each.view_change.epoch, each.view_change.view) == (epoch, view)
        )

    def calls_from(self, now: State, epoch: int, view: int, name: str) -> Iterator[tuple[str, SignedViewChange]]:
        """The others' calls for this view and later ones: what lets a replica give up waiting for it."""
        order = self.room.order(epoch)
        for other in order:
            if other in self.room.bad:
                yield other, self._lie(now, epoch, view, order.index(other), ())
            elif other != name:
                calls = [self.call_of(other, epoch, each) for each in sorted(now.calls[epoch][other]) if each >= view]
                yield from ((other, call) for call in calls if call is not None)

    def calls_for(
        self, now: State, epoch: int, view: int, block: Block, caller: str | None = None
    ) -> list[SignedViewChange] | None:
        """A quorum of calls from which just this block follows; with the caller's own among them, if one is named."""
        honest = [self.call_of(each, epoch, view) for each in self.room.good(epoch) if view in now.calls[epoch][each]]
        calls = [each for each in honest if each is not None]
        liars = [self.room.order(epoch).index(each) for each in self.room.order(epoch) if each in self.room.bad]
        lies = [self._lie(now, epoch, view, index, shown) for index in liars for shown in self._parts(now, epoch, view)]
        place = None if caller is None else self.room.order(epoch).index(caller)
        for chosen in self._quorums(epoch, calls, lies):
            if place in (None, *[each.index for each in chosen]) and self._follows(epoch, chosen, block):
                return chosen
        return None

    def _quorums(
        self, epoch: int, calls: Sequence[SignedViewChange], lies: Sequence[SignedViewChange]
    ) -> Iterator[list[SignedViewChange]]:
        quorum = self.quorum(epoch)
        for some in combinations(calls, quorum):
            yield list(some)
        for some in combinations(calls, quorum - 1):
            for lie in lies:
                yield sorted([*some, lie], key=lambda each: each.index)

    def _follows(self, epoch: int, calls: Sequence[SignedViewChange], block: Block) -> bool:
        outlook = self.room.outlook(epoch)
        plan = plan_new_view(calls, outlook.epoch_start, CHAIN_ID)
        first = outlook.epoch_start - self.room.height(())
        wanted = [self.room.digest(block[:length]) for length in range(max(1, first), len(block) + 1)]
        return [each.digest for each in plan.reproposals] == wanted

    def _parts(self, now: State, epoch: int, view: int) -> Iterator[tuple[Mark, ...]]:
        """`Shown`: whatever a faulty caller may show of the certificates below a view, one a height."""
        exist = sorted(mark for mark in self._voted(now, epoch) if mark[0] < view and self._is_prepared(now, epoch, *mark))
        for part in chain.from_iterable(combinations(exist, size) for size in range(len(exist) + 1)):
            if len({len(block) for _, block in part}) == len(part):
                yield part

    def _voted(self, now: State, epoch: int) -> set[Mark]:
        return {mark for name in self.room.good(epoch) for mark in now.votes[epoch][name]}

    def _is_prepared(self, now: State, epoch: int, view: int, block: Block) -> bool:
        primary = self.room.primary(epoch, view)
        proposed = primary in self.room.bad or (view, block) in now.votes[epoch][primary]
        return proposed and sum(1 for _ in self.votes(now, Phase.PREPARE, epoch, view, block)) >= self.quorum(epoch) - 1

    def _lie(self, now: State, epoch: int, view: int, index: int, part: Sequence[Mark]) -> SignedViewChange:
        committee = self.room.outlook(epoch).committee
        proofs = sorted(part, key=lambda mark: len(mark[1]))
        return make_call(committee, index, view, None, [self._prepared(now, epoch, *mark) for mark in proofs])

    def _prepared(self, now: State, epoch: int, view: int, block: Block) -> PreparedCertificate:
        room, primary = self.room, self.room.primary(epoch, view)
        place = room.height(block), room.digest(block)
        signed = sign_vote(MEMBERS[primary], Phase.PRE_PREPARE, view, *place, epoch)
        votes = self.votes(now, Phase.PREPARE, epoch, view, block)
        signatures = self._signatures(votes, epoch, self.quorum(epoch) - 1)
        return PreparedCertificate(view, room.headers[block], signed.signature, signatures)


def _fills(signed: SignedVote) -> tuple[int, int, int, bytes]:
    return signed.vote.epoch, signed.vote.view, signed.vote.height, signed.vote.digest
