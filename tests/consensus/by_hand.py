"""Messages and certificates made by hand, under any member's key: what a faulty delegate or a test's script says."""

from collections.abc import Sequence

from consilium.consensus.core.forming import form_batch
from consilium.consensus.core.messages import (
    Checkpoint,
    NewView,
    NewViewStatement,
    PrePrepare,
    SignedViewChange,
    StoredCertificate,
    StoredStatement,
)
from consilium.consensus.core.proposals import Parent, make_header
from consilium.consensus.core.view_change import plan_new_view
from consilium.kernel.certificates import (
    Committee,
    Phase,
    PreparedCertificate,
    QuorumSignature,
    Result,
    ResultCertificate,
    SignedVote,
    ViewChange,
    Vote,
    call_of,
)
from consilium.kernel.chain import Outlook
from consilium.kernel.encoding import Encodable, encode
from consilium.kernel.hashing import domain_hash, sha256
from consilium.kernel.opening import OpenedBatch, open_batch
from tests.consensus.cluster import CHAIN_ID, GENESIS_MS, make_record, signer

GENESIS = Parent(0, CHAIN_ID, GENESIS_MS)
"""What block 1 stands on."""
ANY_SIGNATURE = bytes(64)
"""Sixty-four bytes that no key has signed anything with."""


def sign_vote(name: str, phase: Phase, view: int, height: int, digest: bytes, epoch: int = 0) -> SignedVote:
    """A vote under a member's key."""
    vote = Vote(phase, epoch, view, height, digest)
    return SignedVote(vote, signer(name).sign(encode(vote, CHAIN_ID)))


def quorum_signatures(committee: Committee, value: Encodable, indexes: Sequence[int]) -> tuple[QuorumSignature, ...]:
    """The delegates at these places, each over the same value."""
    message = encode(value, CHAIN_ID)
    return tuple(QuorumSignature(i, signer(committee.delegates[i].member_id).sign(message)) for i in indexes)


def make_batch(member: str, *numbers: int) -> OpenedBatch:
    """A member's batch of one record for each number."""
    data = form_batch(member, signer(member), [make_record(member, number) for number in numbers], CHAIN_ID)
    return open_batch(data, CHAIN_ID)


def make_header_bytes(
    outlook: Outlook, parent: Parent, batches: Sequence[OpenedBatch] = (), now_ms: int = GENESIS_MS + 2
) -> bytes:
    """The header an honest primary would make."""
    return encode(make_header(outlook, parent, batches, now_ms, 0, CHAIN_ID), CHAIN_ID)


def make_pre_prepare(
    outlook: Outlook,
    parent: Parent,
    view: int = 0,
    batches: Sequence[OpenedBatch] = (),
    stored: Sequence[StoredCertificate] = (),
    now_ms: int = GENESIS_MS + 2,
    *,
    inline: bool = True,
) -> PrePrepare:
    """A proposal on this parent as the view's primary would sign it."""
    header = make_header_bytes(outlook, parent, batches, now_ms)
    primary = outlook.committee.primary(view)
    signed = sign_vote(primary, Phase.PRE_PREPARE, view, parent.height + 1, sha256(header), outlook.epoch)
    return PrePrepare(signed, header, tuple(each.data for each in batches) if inline else (), tuple(stored))


def child_of(proposal: PrePrepare, now_ms: int = GENESIS_MS + 2) -> Parent:
    """The block of a proposal as the parent of the next."""
    return Parent(proposal.signed.vote.height, proposal.signed.vote.digest, now_ms)


def prepared(committee: Committee, view: int, height: int, header: bytes, epoch: int = 0) -> PreparedCertificate:
    """The certificate that 2f backups and the primary of a view make together."""
    place = view % len(committee.delegates)
    backups = [i for i in range(len(committee.delegates)) if i != place][: 2 * committee.faults_max]
    proposal = sign_vote(committee.primary(view), Phase.PRE_PREPARE, view, height, sha256(header), epoch)
    prepare = Vote(Phase.PREPARE, epoch, view, height, sha256(header))
    return PreparedCertificate(view, header, proposal.signature, quorum_signatures(committee, prepare, backups))


def make_result(height: int, block_hash: bytes, epoch: int = 0, salt: str = "result") -> Result:
    """What executing a block could have given."""
    roots = [domain_hash(salt, bytes([kind]), block_hash) for kind in range(3)]
    return Result(epoch, height, block_hash, height, roots[0], roots[1], roots[2])


def certify(committee: Committee, result: Result) -> ResultCertificate:
    """The result certificate that a quorum makes."""
    return ResultCertificate(result, quorum_signatures(committee, result, range(committee.quorum)))


def make_checkpoint(name: str, result: Result) -> Checkpoint:
    """One member's word on a result."""
    return Checkpoint(result, signer(name).sign(encode(result, CHAIN_ID)))


def make_call(
    committee: Committee,
    index: int,
    view: int,
    stable: ResultCertificate | None = None,
    proofs: Sequence[PreparedCertificate] = (),
) -> SignedViewChange:
    """A delegate's call for a view."""
    change = ViewChange(committee.epoch, view, stable, tuple(proofs))
    return SignedViewChange(change, index, signer(committee.delegates[index].member_id).sign(call_of(change, CHAIN_ID)))


def make_new_view(outlook: Outlook, view: int, calls: Sequence[SignedViewChange]) -> NewView:
    """The new view that follows from these calls, as its primary would announce it."""
    primary = outlook.committee.primary(view)
    plan = plan_new_view(calls, outlook.epoch_start, CHAIN_ID)
    proposals = tuple(
        sign_vote(primary, Phase.PRE_PREPARE, view, each.header.height, each.digest, outlook.epoch)
        for each in plan.reproposals
    )
    return sign_new_view(primary, outlook.epoch, view, calls, proposals)


def sign_new_view(
    name: str, epoch: int, view: int, calls: Sequence[SignedViewChange], proposals: Sequence[SignedVote]
) -> NewView:
    """A new view of any content under a member's key."""
    statement = NewViewStatement(epoch, view, tuple(calls), tuple(proposals))
    signature = signer(name).sign(encode(statement, CHAIN_ID))
    return NewView(epoch, view, tuple(calls), tuple(proposals), signature)


def make_stored(committee: Committee, digest: bytes, indexes: Sequence[int] | None = None) -> StoredCertificate:
    """A quorum's word, or these delegates', that a batch lies on their disks."""
    statement = StoredStatement(committee.epoch, digest)
    places = range(committee.quorum) if indexes is None else indexes
    return StoredCertificate(digest, quorum_signatures(committee, statement, places))
