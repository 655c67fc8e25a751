"""View changes, collected, and what a new view must propose (paper, sections 4.4 and 4.5.2; rules C2, C3).

What has to be proposed again is the chain above the highest stable checkpoint that is shown to be prepared
(`kernel.prepared_chain`). It has no gaps, so no empty filler blocks are needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consilium.consensus.core.messages import SignedViewChange
from consilium.kernel.certificates import Committee, ResultCertificate
from consilium.kernel.chain import Header
from consilium.kernel.hashing import sha256
from consilium.kernel.prepared_chain import prepared_chain


@dataclass(frozen=True, slots=True)
class Reproposal:
    """A header that a new view proposes again."""

    header: Header
    header_bytes: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class NewViewPlan:
    """What follows from a quorum of view changes: the highest stable checkpoint, and the headers above it."""

    stable: ResultCertificate | None
    reproposals: tuple[Reproposal, ...]


def plan_new_view(changes: Sequence[SignedViewChange], epoch_start: int, chain_id: bytes) -> NewViewPlan:
    """Work out what a new view starts with.

    Without a stable checkpoint in this epoch the first header's parent is not looked at: 2f+1 have prepared it, so it fits.
    After a recovery this committee has certified earlier heights as well; they say nothing about this epoch (C10).
    """
    shown = [each.view_change.stable for each in changes if each.view_change.stable is not None]
    stables = [each for each in shown if each.result.height >= epoch_start]
    stable = max(stables, key=lambda each: each.result.height, default=None)
    height = stable.result.height if stable else epoch_start - 1
    tail = stable.result.block_hash if stable else None
    prepared = (each for change in changes for each in change.view_change.prepared)
    chain = prepared_chain(prepared, height, tail, chain_id)
    return NewViewPlan(stable, tuple([Reproposal(header, each.header, sha256(each.header)) for header, each in chain]))


class ViewChanges:
    """The latest call of every delegate for a later view."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._latest: dict[int, SignedViewChange] = {}

    def add(self, message: SignedViewChange) -> None:
        """Keep a call when it is for a higher view than the delegate's last one."""
        known = self._latest.get(message.index)
        if known is None or known.view_change.view < message.view_change.view:
            self._latest[message.index] = message

    @property
    def count(self) -> int:
        """How many calls are kept."""
        return len(self._latest)

    def quorum_for(self, view: int) -> tuple[SignedViewChange, ...] | None:
        """The calls for exactly this view, by rising index, once 2f+1 are here."""
        calls = [self._latest[index] for index in sorted(self._latest)]
        calls = [each for each in calls if each.view_change.view == view]
        return tuple(calls[: self._committee.quorum]) if len(calls) >= self._committee.quorum else None

    def has_left_below(self, view: int) -> bool:
        """Whether 2f+1 delegates have called for this view or a later one: none of them takes part below it any more."""
        gone = sum(each.view_change.view >= view for each in self._latest.values())
        return gone >= self._committee.quorum

    def view_to_join(self, view: int) -> int | None:
        """The smallest later view that f+1 delegates have left this one for: one of them is honest (paper, 4.5.2)."""
        later = sorted(each.view_change.view for each in self._latest.values() if each.view_change.view > view)
        return later[0] if len(later) > self._committee.faults_max else None
