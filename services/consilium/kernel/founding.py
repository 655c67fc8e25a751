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
from consilium.kernel.state_values import PROPOSALS_MAX, MemberState, MemberStatus
from consilium.kernel.transactions import MemberProfile

TERM_BLOCKS_MIN, BLOCKS_MAX, TERMS_EXTENDED_MAX = 2, 10_000_000, 1_000
"""The shortest term: the draw comes before its end. The longest span of blocks, and the most terms beyond the first."""
WAIT_MS_MAX, BATCH_BYTES_MAX, INGRESS_MAX, SHARES_MAX = 3_600_000, 4_000_000, 4_096, 1_000_000
"""Bounds of other numbers, so that no majority can set the alliance beyond what its links and memory carry."""
EXPIRY_BLOCKS_MIN = 50
"""The shortest life of a transaction: members sign for half of it, and must still be able to vote, and to hand over."""

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
    verify_parameters(genesis.parameters)


def verify_parameters(parameters: Parameters) -> None:
    """Raise InvalidArgument unless an alliance can live by these numbers (L5, G4)."""
    shares, lived = parameters.seat_shares, max(EXPIRY_BLOCKS_MIN, 2 * parameters.window_blocks)
    faults = (
        (TERM_BLOCKS_MIN <= parameters.term_blocks <= BLOCKS_MAX, "A term has 2 to 10,000,000 blocks.", "C6"),
        (parameters.terms_extended_max <= TERMS_EXTENDED_MAX, "A committee serves at most 1,000 terms more.", "C7"),
        (COMMITTEE_MIN <= parameters.committee_target <= COMMITTEE_MAX, "A committee has 4 to 61 delegates.", "C6"),
        (len(shares) == STRATA and 0 < sum(shares) <= SHARES_MAX, "Seats are shared among four strata.", "C6"),
        (0 < parameters.pipeline_blocks <= parameters.window_blocks <= WINDOW_MAX, "The pipeline fits the window.", "C3"),
        (0 < parameters.view_timeout_ms <= parameters.view_timeout_max_ms, "The view timeout is below its cap.", "C2"),
        (parameters.view_timeout_max_ms <= WAIT_MS_MAX, "A view is left after an hour at the latest.", "C2"),
        (0 < parameters.heartbeat_ms < parameters.tip_age_max_ms, "A tip may be older than a heartbeat.", "L7"),
        (parameters.tip_age_max_ms <= WAIT_MS_MAX, "A tip is an hour old at the most.", "S5"),
        (0 < parameters.clock_skew_max_ms <= WAIT_MS_MAX, "Clocks differ by an hour at the most.", "L7"),
        (parameters.batch_wait_ms <= parameters.view_timeout_ms, "A batch leaves before the view does.", "C4"),
        (0 < parameters.batch_bytes_max <= BATCH_BYTES_MAX, "A batch has at most 4,000,000 bytes.", "C4"),
        (0 < parameters.inline_bytes_max <= BATCH_BYTES_MAX, "A batch in a proposal is a batch.", "C4"),
        (0 < parameters.ingress_batches_max <= INGRESS_MAX, "A member may have 1 to 4,096 batches waiting.", "C4"),
        (lived <= parameters.expiry_blocks_max <= BLOCKS_MAX, "A transaction lives for 50 blocks and two windows.", "L6"),
        (parameters.release_window_blocks <= BLOCKS_MAX, "A verdict holds for at most 10,000,000 blocks.", "S5"),
        (0 < parameters.proposal_blocks_max <= BLOCKS_MAX, "A proposal is open for 1 to 10,000,000 blocks.", "G1"),
        (0 < parameters.proposals_max <= PROPOSALS_MAX, "A member may have 1 to 64 proposals.", "G1"),
    )
    for holds, sentence, rule in faults:
        if not holds:
            raise InvalidArgument("BAD_PARAMETERS", f"The alliance's parameters are refused. {sentence}", rule)
