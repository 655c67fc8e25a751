"""What proves that a delegate broke its word (rule C8): two votes in one slot, or a forgotten prepared certificate."""

from consilium.consensus.core.message_log import MessageLog
from consilium.consensus.core.messages import SignedViewChange
from consilium.kernel.certificates import Committee, Phase, SignedVote
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.transactions import Amnesia, Equivocation


def find_equivocation(log: MessageLog, committee: Committee, index: int, signed: SignedVote) -> Equivocation | None:
    """Keep the vote; proof of misbehaviour when the delegate has filled this slot differently before."""
    other = log.record(index, signed)
    return Equivocation(committee.delegates[index].member_id, other, signed) if other is not None else None


def find_amnesia(log: MessageLog, committee: Committee, message: SignedViewChange, chain_id: bytes) -> Amnesia | None:
    """Proof that a delegate committed in an earlier view what its view change no longer shows as prepared."""
    change = message.view_change
    stable_height = change.stable.result.height if change.stable else 0
    shown = {decode(Header, each.header, chain_id).height: each.view for each in change.prepared}
    for height in sorted(log.slots):
        commit = log.vote_of(message.index, height, Phase.COMMIT)
        if commit is None or height <= stable_height or commit.vote.view >= change.view:
            continue
        if shown.get(height, -1) < commit.vote.view:
            member_id = committee.delegates[message.index].member_id
            return Amnesia(member_id, commit, change, message.signature)
    return None
