"""Where bytes from other members become verified messages (rules C1, C4, C5, C7).

The shell calls `admit` on every envelope, in a thread if it likes, before the replica sees it; inner code then never asks
whether a signature was checked. What only the replica can judge (views, heights, parents, windows) is left to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consilium.consensus.core.events import Received
from consilium.consensus.core.messages import (
    AllianceVote,
    BatchOffer,
    BatchReady,
    Checkpoint,
    Commit,
    Envelope,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ResultProof,
    SignedViewChange,
    StatusReply,
    Stored,
    StoredCertificate,
    StoredStatement,
)
from consilium.kernel.certificates import (
    AllianceStatement,
    Committee,
    Phase,
    QuorumSignature,
    SignedVote,
    ViewChange,
    call_of,
    verify_commit_certificate,
    verify_prepared_certificate,
    verify_quorum,
    verify_result_certificate,
    verify_vote,
)
from consilium.kernel.chain import Header, Outlook
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, FailedPrecondition, InvalidArgument
from consilium.kernel.opening import OpenedBatch, open_batch, verify_batch
from consilium.kernel.signing import Verifier


@dataclass(frozen=True, slots=True)
class Directory:
    """Whose keys count now: the epoch's committee and electors, and the committee before it."""

    outlook: Outlook
    previous_committee: Committee | None

    def committee_of(self, epoch: int) -> Committee:
        """The committee of this epoch or the one before; raises FailedPrecondition for any other."""
        for committee in (self.outlook.committee, self.previous_committee):
            if committee is not None and committee.epoch == epoch:
                return committee
        raise FailedPrecondition("OTHER_EPOCH", f"Epoch {epoch} is not the one being decided here.", "C7")

    def member_key(self, member_id: str) -> bytes:
        """An elector's member key; raises BadSignature for anybody else."""
        for elector in self.outlook.electorate.electors:
            if elector.member_id == member_id:
                return elector.member_key
        raise BadSignature("UNKNOWN_MEMBER", f"{member_id} is not an elector of this term.", "L2")


def _unknown(_: OpenedBatch) -> bool:
    return False


def admit(
    envelope: Envelope,
    directory: Directory,
    chain_id: bytes,
    verifier: Verifier,
    now_ms: int,
    is_held: Callable[[OpenedBatch], bool] = _unknown,
) -> Received:
    """The envelope as an input for the replica, every signature in it verified.

    `is_held` tells of a batch that was verified before, bit for bit; it may raise where the batch would be refused anyway.
    Raises BadSignature, Malformed or InvalidArgument for what is false, FailedPrecondition for what is of another epoch.
    """
    judge = _Judge(directory, chain_id, verifier, is_held)
    batches = judge.message(envelope.sender, envelope.message)
    return Received(now_ms, envelope.sender, envelope.incarnation, envelope.session, envelope.message, batches)


@dataclass(frozen=True, slots=True)
class _Judge:
    """The signature checks of every kind of message."""

    directory: Directory
    chain_id: bytes
    verifier: Verifier
    is_held: Callable[[OpenedBatch], bool]

    def message(self, sender: str, message: Message) -> tuple[OpenedBatch, ...]:
        """Verify one message; the batches it carries come back opened."""
        match message:
            case PrePrepare():
                return self.pre_prepare(message)
            case Prepare() | Commit():
                self.phase_vote(sender, message)
            case Checkpoint():
                self.checkpoint(sender, message)
            case SignedViewChange():
                self.view_change(message)
            case NewView():
                self.new_view(message)
            case BatchOffer():
                return (self.batch(message.batch),)
            case Stored():
                self.stored(sender, message)
            case BatchReady():
                self.stored_certificate(message.certificate)
            case _:
                self.proof(message)
        return ()

    def proof(self, message: Message) -> None:
        """The messages that carry a certificate of something past, or nothing signed at all."""
        match message:
            case StatusReply(tip=tip) if tip is not None:
                committee = self.directory.committee_of(tip.epoch)
                verify_commit_certificate(committee, tip, self.chain_id, self.verifier)
            case AllianceVote():
                self.alliance_vote(message)
            case ResultProof(certificate=certificate):
                committee = self.directory.committee_of(certificate.result.epoch)
                verify_result_certificate(committee, certificate, self.chain_id, self.verifier)
            case _:
                pass

    def signer(self, sender: str, epoch: int) -> int:
        """The sender's place in the epoch's committee; raises BadSignature when it has none."""
        index = self.directory.committee_of(epoch).index_of(sender)
        if index is None:
            raise BadSignature("NOT_A_DELEGATE", f"{sender} has no vote in epoch {epoch}.", "C1")
        return index

    def vote(self, sender: str, signed: SignedVote, phase: Phase) -> None:
        """One vote by the member that sent it."""
        if signed.vote.phase is not phase:
            raise InvalidArgument("WRONG_PHASE", f"A {signed.vote.phase.name} came as a {phase.name}.", "C1")
        epoch = signed.vote.epoch
        committee = self.directory.committee_of(epoch)
        verify_vote(committee, self.signer(sender, epoch), signed, self.chain_id, self.verifier)

    def phase_vote(self, sender: str, message: Prepare | Commit) -> None:
        """A prepare or a commit."""
        self.vote(sender, message.signed, Phase.PREPARE if isinstance(message, Prepare) else Phase.COMMIT)

    def pre_prepare(self, message: PrePrepare) -> tuple[OpenedBatch, ...]:
        """A proposal: the view's primary signed it, whoever passes it on, and all that travels along is sound."""
        vote = message.signed.vote
        committee = self.directory.committee_of(vote.epoch)
        self.vote(committee.primary(vote.view), message.signed, Phase.PRE_PREPARE)
        for certificate in message.stored:
            self.stored_certificate(certificate)
        return tuple(self.batch(data) for data in message.inline)

    def batch(self, data: bytes) -> OpenedBatch:
        """A batch with its member's signature and every author's in it (L2), each looked at once."""
        opened = open_batch(data, self.chain_id)
        key = self.directory.member_key(opened.batch.member_id)
        if not self.is_held(opened):
            verify_batch(opened, key, self.verifier)
        return opened

    def checkpoint(self, sender: str, message: Checkpoint) -> None:
        """One delegate's result."""
        index = self.signer(sender, message.result.epoch)
        key = self.directory.committee_of(message.result.epoch).delegates[index].consensus_key
        self.verifier.verify(key, encode(message.result, self.chain_id), message.signature)

    def stored(self, sender: str, message: Stored) -> None:
        """One delegate's "stored"."""
        epoch = self.directory.outlook.epoch
        if message.stored.index != self.signer(sender, epoch):
            raise BadSignature("WRONG_SIGNER", f"{sender} answered in another delegate's name.", "C4")
        self.stored_quorum(message.digest, (message.stored,), 1)

    def stored_certificate(self, certificate: StoredCertificate) -> None:
        """2f+1 of them."""
        self.stored_quorum(certificate.digest, certificate.signatures, self.directory.outlook.committee.quorum)

    def stored_quorum(self, digest: bytes, signatures: Sequence[QuorumSignature], needed: int) -> None:
        """So many delegates of this epoch hold the batch."""
        committee = self.directory.outlook.committee
        statement = encode(StoredStatement(committee.epoch, digest), self.chain_id)
        verify_quorum(committee, statement, signatures, needed, self.verifier)

    def view_change(self, message: SignedViewChange) -> None:
        """A view change: its caller's signature, and every certificate it shows."""
        change = message.view_change
        committee = self.directory.committee_of(change.epoch)
        if not 0 <= message.index < len(committee.delegates):
            raise BadSignature("UNKNOWN_SIGNER", f"The committee has no place {message.index}.", "C1")
        key = committee.delegates[message.index].consensus_key
        self.verifier.verify(key, call_of(change, self.chain_id), message.signature)
        self.view_change_proofs(change, committee)

    def view_change_proofs(self, change: ViewChange, committee: Committee) -> None:
        """The stable checkpoint and the prepared certificates above it, in rising order, from lower views."""
        if change.stable is not None:
            verify_result_certificate(committee, change.stable, self.chain_id, self.verifier)
        height = change.stable.result.height if change.stable else 0
        for prepared in change.prepared:
            header = decode(Header, prepared.header, self.chain_id)
            if header.height <= height or header.epoch != change.epoch or prepared.view >= change.view:
                raise InvalidArgument("BAD_VIEW_CHANGE", "A prepared certificate is out of place.", "C2")
            height = header.height
            verify_prepared_certificate(committee, change.epoch, height, prepared, self.chain_id, self.verifier)

    def new_view(self, message: NewView) -> None:
        """A new view: a quorum of view changes for it by different delegates, its primary's proposals and signature."""
        committee = self.directory.committee_of(message.epoch)
        indexes = [each.index for each in message.view_changes]
        if indexes != sorted(set(indexes)) or len(indexes) < committee.quorum:
            raise BadSignature("SHORT_QUORUM", "A new view needs view changes of 2f+1 different delegates.", "C2")
        for each in message.view_changes:
            if each.view_change.view != message.view or each.view_change.epoch != message.epoch:
                raise InvalidArgument("BAD_NEW_VIEW", "A view change in it is for another view.", "C2")
            self.view_change(each)
        primary = committee.primary(message.view)
        for signed in message.proposals:
            if signed.vote.view != message.view or signed.vote.epoch != message.epoch:
                raise InvalidArgument("BAD_NEW_VIEW", "A proposal in it is for another view.", "C2")
            self.vote(primary, signed, Phase.PRE_PREPARE)
        key = committee.delegates[self.signer(primary, message.epoch)].consensus_key
        self.verifier.verify(key, encode(message.statement, self.chain_id), message.signature)

    def alliance_vote(self, message: AllianceVote) -> None:
        """One elector's signature on the end of a term."""
        key = self.directory.member_key(message.signed.member_id)
        statement = encode(AllianceStatement(message.result), self.chain_id)
        self.verifier.verify(key, statement, message.signed.signature)
