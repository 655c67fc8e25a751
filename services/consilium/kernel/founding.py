"""What the genesis file says before the first block: the first electorate, committee and mix (rules L5, C6, C7).

In the kernel, because ledger, delegates and light clients all start from here.
"""

from consilium.kernel.certificates import Committee, Elector, Electorate
from consilium.kernel.chain import Genesis
from consilium.kernel.election import Candidate, draw_committee
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.transactions import MemberProfile

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


def verify_genesis(genesis: Genesis) -> None:
    """Raise InvalidArgument unless the founders are sorted by id, no key or name stands twice, and the terms make sense."""
    names = [each.member_id for each in genesis.members]
    if names != sorted(set(names)) or "" in names:
        raise InvalidArgument("BAD_FOUNDERS", "The founders are not different members sorted by id.", "L5")
    keys = [key for each in genesis.members for key in (each.member_key, each.consensus_key)]
    if len(set(keys)) != len(keys):
        raise InvalidArgument("BAD_FOUNDERS", "Two founders' keys are the same.", "L5")
    if genesis.parameters.term_blocks < 2:  # noqa: PLR2004  the draw comes before the end
        raise InvalidArgument("BAD_PARAMETERS", "A term has at least two blocks.", "C6")
