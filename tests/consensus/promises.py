"""Two promises of a replica, checked over everything it asked for (rule C5).

`check_said_once`: nobody fills one slot with two different words, whatever crashes lay between.
`check_fixed_first`: before a word leaves, the record that fixes it is durable.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from consilium.consensus.core.events import (
    BatchRecord,
    Broadcast,
    Effect,
    NewViewRecord,
    Persist,
    PreparedRecord,
    ProposalRecord,
    Record,
    Send,
    ViewRecord,
)
from consilium.consensus.core.messages import (
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    SignedViewChange,
    Stored,
)
from consilium.kernel.certificates import SignedVote
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import open_batch
from tests.consensus.cluster import CHAIN_ID


def votes_in(message: Message) -> tuple[SignedVote, ...]:
    """The votes a message says in its sender's name."""
    match message:
        case PrePrepare(signed=signed) | Prepare(signed=signed) | Commit(signed=signed):
            return (signed,)
        case _:
            return ()


def check_said_once(spoken: Iterable[tuple[str, Message]]) -> None:
    """Fail when one member has filled one slot twice differently, votes and results alike."""
    words: dict[tuple[object, ...], bytes] = {}
    for name, message in spoken:
        said: list[tuple[tuple[object, ...], bytes]] = [
            ((name, signed.vote.phase, signed.vote.epoch, signed.vote.view, signed.vote.height), signed.vote.digest)
            for signed in votes_in(message)
        ]
        if isinstance(message, NewView):
            said += [
                (("primary", signed.vote.phase, signed.vote.epoch, signed.vote.view, signed.vote.height), signed.vote.digest)
                for signed in message.proposals
            ]
        if isinstance(message, Checkpoint):
            said.append(((name, "result", message.result.height), message.result.state_root))
        for slot, word in said:
            assert words.setdefault(slot, word) == word, f"a second, different word in {slot}"


@dataclass
class _Fixed:
    """What the vote log fixes at a moment."""

    proposals: dict[tuple[int, int, int], bytes] = field(default_factory=dict)
    prepared: dict[tuple[int, int, int], bytes] = field(default_factory=dict)
    left: dict[tuple[int, int], None] = field(default_factory=dict)
    entered: dict[tuple[int, int], None] = field(default_factory=dict)
    batches: dict[bytes, None] = field(default_factory=dict)
    named: dict[tuple[int, int, int], tuple[bytes, ...]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take one record in."""
        match record:
            case ProposalRecord(epoch=epoch, view=view, header=header):
                named = decode(Header, header, CHAIN_ID)
                self.proposals[epoch, view, named.height] = sha256(header)
                self.named[epoch, view, named.height] = named.batch_digests
            case PreparedRecord(epoch=epoch, height=height, certificate=certificate):
                self.prepared[epoch, certificate.view, height] = sha256(certificate.header)
            case ViewRecord(epoch=epoch, view=view):
                self.left[epoch, view] = None
            case NewViewRecord(new_view=new_view):
                self.entered[new_view.epoch, new_view.view] = None
            case BatchRecord(batch=batch):
                self.batches[open_batch(batch, CHAIN_ID).digest] = None
            case _:
                pass

    def covers(self, message: Message) -> bool:
        """Whether the log fixes what the message says."""
        match message:
            case PrePrepare(signed=signed) | Prepare(signed=signed):
                vote = signed.vote
                slot = vote.epoch, vote.view, vote.height
                return self.proposals.get(slot) == vote.digest and all(each in self.batches for each in self.named[slot])
            case Commit(signed=signed):
                vote = signed.vote
                return self.prepared.get((vote.epoch, vote.view, vote.height)) == vote.digest
            case SignedViewChange(view_change=change):
                shown = [(each.view, decode(Header, each.header, CHAIN_ID).height) for each in change.prepared]
                known = all((change.epoch, view, height) in self.prepared for view, height in shown)
                return known and (change.epoch, change.view) in self.left
            case NewView(epoch=epoch, view=view):
                return (epoch, view) in self.entered
            case Stored(digest=digest):
                return digest in self.batches
            case _:
                return True


def check_fixed_first(effects: Iterable[Effect]) -> int:
    """Fail when a word leaves before the record that fixes it; how many words were looked at."""
    fixed, looked_at = _Fixed(), 0
    written: tuple[Record, ...] = ()
    for effect in effects:
        match effect:
            case Persist(records=records, at_leisure=True):
                written += records
            case Persist(records=records, replace=replace):
                fixed, known = _Fixed() if replace else fixed, () if replace else written
                for record in (*known, *records):
                    fixed.add(record)
                written = ()
            case Send(message=message) | Broadcast(message=message):
                assert fixed.covers(message), f"said before it is durable: {type(message).__name__}"
                looked_at += 1
            case _:
                pass
    return looked_at
