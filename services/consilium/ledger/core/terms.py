"""Who orders blocks now and next: the part of the state that elections and handovers move (rules C6, C7).

A `Terms` is replaced, never changed; every step here is a pure function. The candidates and the electorate of an epoch are
those active when it began, so that nobody can change the draw once reveals come in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from consilium.kernel.certificates import COMMITTEE_MAX, MEMBERS_MAX, Committee, Delegate, Electorate, Result
from consilium.kernel.chain import Genesis, Outlook
from consilium.kernel.election import Candidate, draw_committee
from consilium.kernel.encoding import AtMost, Digest, MemberId
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.founding import FIRST_MIX, candidate, first_committee, first_electorate
from consilium.kernel.hashing import domain_hash
from consilium.kernel.parameters import Parameters
from consilium.kernel.recovery import RecoveryStatement
from consilium.kernel.state_values import AllianceState
from consilium.kernel.transactions import Absence

FIRST_VERSION = 1
"""The version of the rules that every chain begins with (G5)."""
LEFT_VIEWS_MAX = 512
"""The most views counted as left in one epoch; a delegate's score is at nothing long before."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one delegate says it missed of all, in the committee's order."""

    member_id: MemberId
    absences: Annotated[tuple[Absence, ...], AtMost(COMMITTEE_MAX)]


@dataclass(frozen=True, slots=True)
class Terms:
    """One epoch's committee and what is known of the next.

    `drawn_mix` is the mix the sitting committee was drawn with; `mix` takes in every reveal until the draw seals it.
    `revealed` are the delegates that have revealed in this epoch. `term_result` is the result at the term's end, which the
    alliance signs; `handed_over` is set by the handover in the epoch's last block. `alive` are the members that have given a
    sign of life in this epoch, `reports` what its delegates missed of one another, `left_views` the views that a quorum left
    the one before for (`conduct`).
    """

    DOMAIN: ClassVar[str] = "consilium.terms"
    epoch: int
    epoch_start: int
    committee: Committee
    next_committee: Committee | None
    drawn_mix: Digest
    mix: Digest
    revealed: Annotated[tuple[MemberId, ...], AtMost(MEMBERS_MAX)]
    candidates: Annotated[tuple[Candidate, ...], AtMost(MEMBERS_MAX)]
    electorate: Electorate
    term_result: Result | None
    handed_over: bool
    alive: Annotated[tuple[MemberId, ...], AtMost(MEMBERS_MAX)] = ()
    reports: Annotated[tuple[Report, ...], AtMost(COMMITTEE_MAX)] = ()
    left_views: Annotated[tuple[int, ...], AtMost(LEFT_VIEWS_MAX)] = ()


def first_terms(genesis: Genesis) -> Terms:
    """Epoch 0, which begins with block 1.

    Raises FailedPrecondition TOO_FEW_MEMBERS below four founders.
    """
    candidates = tuple([candidate(each) for each in genesis.members])
    committee, electorate = first_committee(genesis), first_electorate(genesis)
    return Terms(0, 1, committee, None, FIRST_MIX, FIRST_MIX, (), candidates, electorate, None, handed_over=False)


def first_alliance(genesis: Genesis) -> AllianceState:
    """What the founders live by (L5)."""
    return AllianceState(genesis.parameters, None, FIRST_VERSION, None)


def outlook(terms: Terms, alliance: AllianceState) -> Outlook:
    """What the headers that follow must carry, and who makes them."""
    mix = terms.drawn_mix if terms.next_committee is None else terms.mix
    return Outlook(
        terms.epoch,
        terms.epoch_start,
        terms.committee,
        terms.next_committee,
        mix,
        terms.electorate,
        alliance.parameters,
        alliance.upgrade,
    )


def mixed(terms: Terms, member_id: str, preimage: bytes) -> Terms:
    """The terms after a delegate's reveal (C6)."""
    mix = domain_hash("consilium.mix", terms.mix, preimage)
    return replace(terms, mix=mix, revealed=(*terms.revealed, member_id))


def drawn(terms: Terms, parameters: Parameters, chain_id: bytes, sitting: Sequence[Delegate]) -> Terms:
    """The terms after the draw of the next committee, which seals the mix.

    Where no committee can be drawn the sitting delegates serve on, as the next epoch's committee (C6); `sitting` has them
    under the keys adopted for it.
    """
    epoch = terms.epoch + 1
    try:
        committee = draw_committee(terms.candidates, parameters, chain_id, epoch, terms.mix).committee
    except FailedPrecondition:
        committee = Committee(epoch, tuple(sitting))
    return replace(terms, next_committee=committee)


def next_epoch(terms: Terms, epoch_start: int, candidates: Sequence[Candidate], electorate: Electorate) -> Terms:
    """The terms of the epoch that begins at `epoch_start`, once the handover stands (C7)."""
    assert terms.handed_over
    assert terms.next_committee is not None
    return _opened(terms.next_committee, terms.mix, epoch_start, candidates, electorate)


def draw_recovery(
    terms: Terms, candidates: Sequence[Candidate], parameters: Parameters, chain_id: bytes, lost: Sequence[str]
) -> tuple[Committee, bytes]:
    """The committee that follows when a recovery ends the epoch without these members, and the mix it is drawn with (C10).

    The candidates are those of the epoch's beginning, whoever was dismissed since, so that members at different heights find
    the same. Raises FailedPrecondition: TOO_FEW_MEMBERS below four that are left.
    """
    mix = domain_hash("consilium.recovery-mix", terms.drawn_mix)
    left = [each for each in candidates if each.member_id not in lost]
    return draw_committee(left, parameters, chain_id, terms.epoch + 1, mix).committee, mix


def recovered_epoch(terms: Terms, statement: RecoveryStatement, candidates: Sequence[Candidate]) -> Terms:
    """The terms of the epoch that a recovery opens; who was lost is no candidate until the one after (C10)."""
    left = [each for each in candidates if each.member_id not in statement.lost]
    electorate = statement.successors(terms.electorate)
    return _opened(statement.next_committee, statement.mix, statement.last_height + 1, left, electorate)


def _opened(
    committee: Committee, mix: bytes, epoch_start: int, candidates: Sequence[Candidate], electorate: Electorate
) -> Terms:
    """The terms of an epoch as it begins."""
    return Terms(
        committee.epoch,
        epoch_start,
        committee,
        None,
        mix,
        mix,
        (),
        tuple(candidates),
        electorate,
        None,
        handed_over=False,
    )
