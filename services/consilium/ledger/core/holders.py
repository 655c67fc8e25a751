"""Who may hold the key fragments of a grant: the collusion budget (rule S4, promise 4).

h = 2 f_h + 1 holders and a threshold of f_h + 1: two of three below seven active members, else three of five. Holders belong
to different owner groups, never to the recipient's, and not all to one stratum where another has somebody to offer. An owner
may sign for less, by name (`weaker_budget`); the recipient's own group stays out even then.
"""

from consilium.kernel.codes import Code
from consilium.kernel.consent import holder_budget
from consilium.kernel.election import stratum_of
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import GrantTerms
from consilium.ledger.core.state import LedgerState


def judge_holders(state: LedgerState, terms: GrantTerms, height: int) -> Code:
    """APPLIED, or why these holders will not do (S4). The recipient is known to be an active member."""
    recipient = state.member(terms.recipient_member)
    assert recipient is not None
    holders = [state.member(name) for name in terms.holders]
    known = [each for each in holders if each is not None and each.is_active]
    if not _is_in_form(terms, len(known)):
        return Code.BAD_HOLDERS
    if any(_group(each) == _group(recipient) for each in known):
        return Code.HOLDER_OF_RECIPIENT
    if terms.weaker_budget:
        return Code.APPLIED
    if (len(known), terms.threshold) != holder_budget(len(state.active_members())):
        return Code.WRONG_BUDGET
    if not _is_spread(state, known, _group(recipient), height):
        return Code.HOLDERS_NOT_SPREAD
    return Code.APPLIED


def _is_in_form(terms: GrantTerms, known: int) -> bool:
    """Different active members, a commitment each, and a threshold they can reach."""
    count = len(terms.holders)
    return count == known == len(set(terms.holders)) == len(terms.kfrag_commitments) and 1 <= terms.threshold <= count


def _is_spread(state: LedgerState, holders: list[MemberState], recipient_group: str, height: int) -> bool:
    """One holder an owner group; more than one stratum, unless all who are eligible belong to the same."""
    if len({_group(each) for each in holders}) != len(holders):
        return False
    eligible = [each for each in state.active_members() if _group(each) != recipient_group]
    return _strata(holders, height) > 1 or _strata(eligible, height) == 1


def _strata(members: list[MemberState], height: int) -> int:
    """How many strata these members belong to."""
    return len({stratum_of(each.grade_at(height)) for each in members})


def _group(member: MemberState) -> str:
    return member.profile.owner_group
