"""What the genesis file says before the first block: the first electorate, committee and mix (rules L5, C6, C7).

In the kernel, because ledger, delegates and light clients all start from here.
"""

from consilium.kernel.apportionment import STRATA
from consilium.kernel.certificates import COMMITTEE_MAX, WINDOW_MAX, Committee, Elector, Electorate
from consilium.kernel.chain import Genesis
from consilium.kernel.election import COMMITTEE_MIN, SCORE_START, Candidate, draw_committee
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.parameters import Parameters
from consilium.kernel.state_values import MemberState, MemberStatus
from consilium.kernel.transactions import MemberProfile

TERM_BLOCKS_MIN = 2
"""The shortest term."""


FIRST_MIX = ZERO_DIGEST
"""The mix epoch 0 is drawn with: the seed holds the chain id, and nothing has been revealed yet."""


def first_electorate(genesis: Genesis) -> Electorate:
    """The founders, who may sign the end of epoch 0 (C7)."""
    return Electorate(0, tuple(Elector(each.member_id, each.member_key) for each in genesis.members))


def first_committee(genesis: Genesis) -> Committee:
    """The committee of epoch 0, drawn from the founders (C6).

    Raises FailedPrecondition TOO_FEW_MEMBERS below four founders.
    """
    return draw_committee(
        [candidate(each) for each in genesis.members], genesis.parameters, genesis.chain_id, 0, FIRST_MIX
    ).committee


def candidate(profile: MemberProfile) -> Candidate:
    """A founder as the draw sees it."""
    return Candidate(profile.member_id, profile.owner_group, profile.grade, profile.consensus_key)


def founder(profile: MemberProfile) -> MemberState:
    """A member as it joins: active, with the score everybody starts with, its grade without end."""
    return MemberState(profile, MemberStatus.ACTIVE, None, profile.reveal_anchor, SCORE_START, 0, tombstoned=False)


def verify_genesis(genesis: Genesis) -> None:
    """Raise InvalidArgument unless the founders are sorted by id, no key or name stands twice, and the terms make sense."""
    names = [each.member_id for each in genesis.members]
    if names != sorted(set(names)) or "" in names:
        raise InvalidArgument("BAD_FOUNDERS", "The founders are not different members sorted by id.", "L5")
    keys = [key for each in genesis.members for key in (each.member_key, each.consensus_key)]
    if len(set(keys)) != len(keys):
        raise InvalidArgument("BAD_FOUNDERS", "Two founders' keys are the same.", "L5")
    _verify_parameters(genesis.parameters)


def _verify_parameters(parameters: Parameters) -> None:
    """Raise InvalidArgument unless an alliance can live by these numbers."""
    shares = parameters.seat_shares
    faults = (
        (parameters.term_blocks >= TERM_BLOCKS_MIN, "A term has at least two blocks: the draw comes before its end.", "C6"),
        (COMMITTEE_MIN <= parameters.committee_target <= COMMITTEE_MAX, "A committee has 4 to 61 delegates.", "C6"),
        (len(shares) == STRATA and sum(shares) > 0, "Seats are shared among four strata.", "C6"),
        (0 < parameters.pipeline_blocks <= parameters.window_blocks <= WINDOW_MAX, "The pipeline fits the window.", "C3"),
        (0 < parameters.view_timeout_ms <= parameters.view_timeout_max_ms, "The view timeout is below its cap.", "C2"),
        (0 < parameters.heartbeat_ms < parameters.tip_age_max_ms, "A tip may be older than a heartbeat.", "L7"),
        (parameters.ingress_batches_max > 0 and parameters.expiry_blocks_max > 0, "Quotas let something through.", "C4"),
    )
    for holds, sentence, rule in faults:
        if not holds:
            raise InvalidArgument("BAD_PARAMETERS", f"The genesis parameters are refused. {sentence}", rule)
