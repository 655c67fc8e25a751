"""Who holds the key fragments of a grant, and what it would take to collude (rules S1, S4; promise 4).

Umbral's threshold guards the delegating key itself: t fragments together with the recipient's key give that key back
(reference: reliability.md section 0, items 1 and 3). So the holders are chosen to make those t unlikely to be one party, and
`share_plan` says aloud whom the choice trusts. Pure: the same members and the same grant id give the same holders.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consilium.kernel.consent import holder_budget
from consilium.kernel.election import stratum_of
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.hashing import domain_hash
from consilium.kernel.state_values import MemberState


@dataclass(frozen=True, slots=True)
class HolderChoice:
    """The holders in the order of their fragments, how many of them open, and whether that is less than S4 asks."""

    holders: tuple[str, ...]
    threshold: int
    weaker_budget: bool


@dataclass(frozen=True, slots=True)
class Coalition:
    """Institutions that together could betray the patient, and what they would get."""

    members: tuple[str, ...]
    gains: str


@dataclass(frozen=True, slots=True)
class CollusionBudget:
    """Every kind of coalition that suffices, the smallest first (S1, S4)."""

    threshold: int
    holders: tuple[str, ...]
    weaker_budget: bool
    coalitions: tuple[Coalition, ...]

    @property
    def smallest(self) -> Coalition:
        """The coalition of fewest institutions; ties go to the one that gets more."""
        return self.coalitions[0]


def choose_holders(
    members: Sequence[MemberState], recipient_member: str, grant_id: bytes, height: int, *, allow_weaker: bool = False
) -> HolderChoice:
    """The holders of a grant to this recipient: one an owner group, spread over strata, never the recipient's owner (S4).

    `height` is what grades are read at. With too few eligible owners it raises FailedPrecondition TOO_FEW_HOLDERS, or, when
    the owner allows a weaker budget, takes them all and asks for a majority of them.
    """
    active = [each for each in members if each.is_active]
    shares, threshold = holder_budget(len(active))
    barred = _owner_group(active, recipient_member)
    eligible = [each for each in active if each.profile.owner_group != barred]
    chosen = _spread(eligible, grant_id, height, shares)
    if len(chosen) == shares:
        return HolderChoice(chosen, threshold, weaker_budget=False)
    if not allow_weaker or not chosen:
        raise FailedPrecondition(
            "TOO_FEW_HOLDERS",
            f"A grant to {recipient_member} needs {shares} holders of different owners; only {len(chosen)} are eligible.",
            "S4",
        )
    return HolderChoice(chosen, len(chosen) // 2 + 1, weaker_budget=True)


def share_plan(
    choice: HolderChoice, recipient_member: str, scope: str, epoch: int, custodian: str | None
) -> CollusionBudget:
    """What a grant trusts whom with: `custodian` is the member that keeps the patient's seed, None for a device (S1)."""
    gains = (
        f"the delegating key of this patient's scope {scope!r}, epoch {epoch}, and of nothing else; an object needs its"
        " shred secret too, which its home member serves only to a granted request"
    )
    threshold_coalition = Coalition((recipient_member, *sorted(choice.holders)[: choice.threshold]), gains)
    alone = () if custodian is None else (Coalition((custodian,), "the patient's seed: every scope and every epoch"),)
    return CollusionBudget(choice.threshold, choice.holders, choice.weaker_budget, (*alone, threshold_coalition))


def _owner_group(active: Sequence[MemberState], member_id: str) -> str:
    for each in active:
        if each.profile.member_id == member_id:
            return each.profile.owner_group
    raise FailedPrecondition("UNKNOWN_RECIPIENT", f"{member_id} is no active member.", "S4")


def _spread(eligible: Sequence[MemberState], grant_id: bytes, height: int, shares: int) -> tuple[str, ...]:
    """Up to `shares` members of different owners, each time one from the stratum used least.

    Among equals the stratum with fewest owners goes first: an owner with members in two strata would else be taken in the
    common one and leave the rare one empty. Then the rendezvous order of the grant id decides.
    """
    left = sorted(eligible, key=lambda each: _lot(grant_id, each))
    owners = Counter(stratum for stratum, _ in {(_stratum(each, height), each.profile.owner_group) for each in left})
    used: Counter[int] = Counter()
    chosen: list[str] = []
    while left and len(chosen) < shares:
        best = min(left, key=lambda each: (used[_stratum(each, height)], owners[_stratum(each, height)]))
        used[_stratum(best, height)] += 1
        chosen.append(best.profile.member_id)
        left = [each for each in left if each.profile.owner_group != best.profile.owner_group]
    return tuple(chosen)


def _lot(grant_id: bytes, member: MemberState) -> bytes:
    return domain_hash("consilium.holder", grant_id, member.profile.member_id.encode())


def _stratum(member: MemberState, height: int) -> int:
    return stratum_of(member.grade_at(height))
