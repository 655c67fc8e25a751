"""A delegate that lies: it says what an honest one would say, and now and then, to one member, something else.

The changes are small and well formed, as in ByzzFuzz (Winter and others, OOPSLA 2023): another digest, an older time, a view
change without what it had prepared, a new view with other proposals. What its own keys can sign it signs anew; what would
need another's key is forged, and must be refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from consilium.consensus.core.message_log import MessageLog
from consilium.consensus.core.messages import (
    BatchOffer,
    BatchReady,
    Checkpoint,
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    ResultProof,
    SignedViewChange,
    StatusReply,
)
from consilium.kernel.certificates import CommitCertificate, SignedVote, call_of
from consilium.kernel.chain import Batch, Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.hashing import sha256
from tests.simulation.schedule import stream
from tests.simulation.twin import Dropper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilium.consensus.core.identity import Identity
    from consilium.consensus.core.messages import Message
    from consilium.consensus.core.state import State
    from consilium.kernel.certificates import ViewChange, Vote
    from consilium.ledger.core.sync import SentBlock
    from tests.simulation.schedule import Options

LIES, LIES_BETWEEN_VIEWS = 0.2, 0.7
"""How likely a message to one member is a lie; between views there are few of them, and most to gain."""
FORGED = bytes(64)
"""A signature that fits nothing."""


class Liar(Dropper):
    """Keeps nothing to itself. `alter` gives a message as one member gets it, the very same one when told the truth.

    Some lies are told to everybody alike: a quorum of honest ones may then believe it.
    """

    def __init__(self, options: Options, member_id: str, others: Sequence[str]) -> None:
        super().__init__(options, member_id, others)
        self._lies = stream(options.seed, f"liar {member_id}")
        self._truth: Message | None = None
        self._told: Message | None = None

    def drops(self, target: str, message: Message) -> bool:
        return False

    def alter(self, me: Identity, message: Message) -> Message:
        """What this member says instead, or the message itself."""
        likely = LIES_BETWEEN_VIEWS if isinstance(message, SignedViewChange | NewView) else LIES
        if message is not self._truth:
            self._truth = message
            self._told = self._odd(me, message) if self._lies.random() < likely / 2 else None
        if self._told is None and self._lies.random() < likely / 2:
            return self._odd(me, message)
        return self._told or message

    def delay_ms(self, message: Message) -> int:
        return 0

    def alter_height(self, height: int) -> int:
        """The height it claims to its peers' block sync: more than there is, or less."""
        return max(0, height + self._lies.randrange(-5, 6)) if self._lies.random() < LIES else height

    def alter_blocks(self, blocks: tuple[SentBlock, ...]) -> tuple[SentBlock, ...]:
        """What it answers block sync with: nothing, blocks out of place, a bit that is another, no certificates (R7)."""
        if not blocks or self._lies.random() >= LIES:
            return blocks
        first = blocks[0]
        place = self._lies.randrange(len(first.block))
        flipped = first.block[:place] + bytes([first.block[place] ^ 1]) + first.block[place + 1 :]
        bare = tuple(replace(each, certificate=None) for each in blocks)
        return self._lies.choice(((), blocks[1:], blocks[::-1], (replace(first, block=flipped), *blocks[1:]), bare))

    def stand_by(self, told: Message, state: State) -> None:
        """Act on a new view that proposes nothing again: what follows are other blocks at heights that were decided."""
        if isinstance(told, NewView) and not told.proposals and told.view == state.view:
            state.log = MessageLog(state.committee)

    def _odd(self, me: Identity, message: Message) -> Message:
        match message:
            case Prepare() | Commit():
                return replace(message, signed=self._vote(me, message.signed))
            case PrePrepare():
                return self._proposal(me, message)
            case SignedViewChange():
                return self._call(me, message)
            case NewView():
                return self._new_view(me, message)
            case _:
                return self._other(me, message)

    def _other(self, me: Identity, message: Message) -> Message:
        match message:
            case Checkpoint(result=result):
                other = replace(result, state_root=self._digest())
                return Checkpoint(other, me.consensus_signer.sign(encode(other, me.chain_id)))
            case ResultProof(certificate=certificate):
                return ResultProof(replace(certificate, result=replace(certificate.result, state_root=self._digest())))
            case StatusReply(epoch=epoch, tip=CommitCertificate() as tip):
                return StatusReply(epoch, self._lies.choice((None, replace(tip, height=tip.height + 9))))
            case BatchReady(certificate=certificate):
                return BatchReady(replace(certificate, signatures=certificate.signatures[:1]))
            case BatchOffer(batch=data):
                forged = replace(decode(Batch, data, me.chain_id), signature=FORGED)
                return BatchOffer(encode(forged, me.chain_id))
            case _:
                return message

    def _vote(self, me: Identity, signed: SignedVote) -> SignedVote:
        """Another digest or another view under its own key, or the same vote under a forged signature."""
        vote = signed.vote
        others = (replace(vote, digest=self._digest()), replace(vote, view=vote.view + 1))
        forged = SignedVote(vote, FORGED)
        return self._lies.choice((*(self._signed(me, each) for each in others), forged))

    def _proposal(self, me: Identity, message: PrePrepare) -> PrePrepare:
        """Another block for the same slot: one that could be, or one that could not."""
        header = decode(Header, message.header, me.chain_id)
        odd = self._lies.choice(
            (
                replace(header, time_ms=header.time_ms + 1),
                replace(header, time_ms=header.time_ms - 900),
                replace(header, parent_hash=self._digest()),
                replace(header, committee_hash=self._digest()),
                replace(header, election_mix=self._digest()),
                replace(header, transaction_root=self._digest()),
            )
        )
        data = encode(odd, me.chain_id)
        return replace(message, signed=self._signed(me, replace(message.signed.vote, digest=sha256(data))), header=data)

    def _call(self, me: Identity, message: SignedViewChange) -> SignedViewChange:
        """A view change that hides what it has prepared, or its checkpoint."""
        change = message.view_change
        hidden = replace(change, prepared=change.prepared[: self._lies.randrange(2)])
        odd = self._lies.choice((hidden, replace(change, stable=None, prepared=()), *self._inventions(me, change)))
        return replace(message, view_change=odd, signature=me.consensus_signer.sign(call_of(odd, me.chain_id)))

    def _inventions(self, me: Identity, change: ViewChange) -> list[ViewChange]:
        """View changes that show a checkpoint, or a prepared block, that never was."""
        made = []
        if change.stable is not None:
            result = replace(change.stable.result, height=change.stable.result.height + 3)
            made.append(replace(change, stable=replace(change.stable, result=result), prepared=()))
        if change.prepared:
            *others, last = change.prepared
            header = decode(Header, last.header, me.chain_id)
            odd = encode(replace(header, time_ms=header.time_ms + 1), me.chain_id)
            made.append(replace(change, prepared=(*others, replace(last, view=change.view - 1, header=odd))))
        return made

    def _new_view(self, me: Identity, message: NewView) -> NewView:
        """A new view that proposes nothing again, or something else, or stands on calls that nobody made or on too few."""
        blank = tuple(replace(each, view_change=replace(each.view_change, prepared=())) for each in message.view_changes)
        other = tuple(self._signed(me, replace(each.vote, digest=self._digest())) for each in message.proposals)
        odd = self._lies.choice(
            (
                replace(message, proposals=()),
                replace(message, proposals=other),
                replace(message, view_changes=blank, proposals=()),
                replace(message, view_changes=message.view_changes[:-1]),
            )
        )
        return replace(odd, signature=me.consensus_signer.sign(encode(odd.statement, me.chain_id)))

    def _signed(self, me: Identity, vote: Vote) -> SignedVote:
        return SignedVote(vote, me.consensus_signer.sign(encode(vote, me.chain_id)))

    def _digest(self) -> bytes:
        return self._lies.randbytes(32)
