"""Recovering a lost quorum from a member's own side: stop, see what others did, sign, apply (rule C10, ADR 14).

Every member's part lies at its identity service; here they are brought together, and one that does not verify counts as
not heard. What is signed is read out of the draft's own bytes, and the own ledger has worked it out. A statement that
somebody has signed already is joined before another is made: each member signs one an epoch, and signatures on different
ones lead nowhere.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.client.remote import Alliance
from consilium.client.session import Fault, ask_all
from consilium.kernel.certificates import MemberSignature
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Conflict, FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.hashing import sha256
from consilium.kernel.recovery import RECOVERY_BYTES_MAX, RecoveryCertificate, RecoveryStatement, elector_key
from consilium.kernel.recovery_reports import SignedReport, verify_report
from consilium.runtime.channels import typed


@dataclass(frozen=True, slots=True)
class Part:
    """What one member has done: its report, and the draft it has signed with the reports that follows from."""

    member_id: str
    epoch: int
    report: bytes
    signed_report: SignedReport
    draft: RecoveryCertificate | None
    reports: tuple[bytes, ...]
    signature: MemberSignature | None

    @property
    def statement(self) -> RecoveryStatement | None:
        """What it has signed."""
        return None if self.draft is None else self.draft.statement


@dataclass(frozen=True, slots=True)
class Parts:
    """The members' parts in one epoch's recovery, and why some could not be heard."""

    epoch: int
    found: tuple[Part, ...]
    faults: tuple[tuple[str, Fault], ...]

    def signers(self, statement: RecoveryStatement) -> tuple[MemberSignature, ...]:
        """Who has signed this statement, sorted by id."""
        signed = [each for each in self.found if each.statement == statement]
        return tuple([each.signature for each in signed if each.signature is not None])

    def leading(self) -> Part | None:
        """A part with the statement that most have signed; None while nobody has signed any."""
        signed = [each for each in self.found if each.statement is not None]
        counts = Counter(digest(each.statement) for each in signed if each.statement is not None)
        return max(signed, key=lambda each: counts[digest(each.statement)] if each.statement else 0, default=None)


def digest(statement: RecoveryStatement) -> str:
    """A name for what is signed, short enough to be read out on the telephone: members compare it before they sign."""
    return sha256(encode(statement, sha256(b"consilium recovery")))[:8].hex()


async def present_epoch(alliance: Alliance) -> int:
    """The epoch of the home member's replica."""
    stub = ConsensusServiceStub(alliance.channel(alliance.session.home_id, "consensus"))
    with typed():
        return (await stub.GetReplicaState(consensus_pb2.GetReplicaStateRequest())).epoch


async def stop(alliance: Alliance, epoch: int) -> SignedReport:
    """Stop the home member's replica in this epoch for good. Raises what it refuses."""
    with typed():
        answer = await alliance.identity.StopEpoch(pb.StopEpochRequest(epoch=epoch))
    return decode(SignedReport, answer.report, alliance.genesis.chain_id, RECOVERY_BYTES_MAX)


async def parts(alliance: Alliance, epoch: int) -> Parts:
    """What every member that can be heard has done to recover from this epoch."""
    names = sorted(alliance.session.members)
    answers, faults = await ask_all(names, [_part(alliance, name) for name in names])
    found = [part for _, part in answers if part is not None and part.epoch == epoch]
    return Parts(epoch, tuple(found), tuple(faults))


async def sign(alliance: Alliance, known: Parts, lost: Sequence[str] | None) -> RecoveryCertificate:
    """Have the home member sign what others have signed, or without that what follows from all reports; the draft signed.

    Only a statement counts that the home member's ledger works out too, so one liar that signs first leads nobody. A list of
    the lost goes before one that fewer than a third of the electors have signed. Raises Conflict: OTHER_LOST when more have
    signed another; FailedPrecondition: NO_LOST_NAMED; what the home member's ledger and identity refuse.
    """
    sound = await _worked_out(alliance, known)
    named = None if lost is None else tuple(sorted(set(lost)))
    joined = next((each for each in sound if each.draft is not None and named in (None, each.draft.statement.lost)), None)
    if joined is not None and joined.draft is not None:
        data, reports = encode(joined.draft, alliance.genesis.chain_id), joined.reports
    elif lost is None:
        told = "Nobody has signed yet: name who is lost by --lost, or give --none-lost."
        raise FailedPrecondition("NO_LOST_NAMED", told, "C10")
    else:
        _refuse_to_split(alliance, known, sound)
        reports = tuple([each.report for each in known.found])
        data = await _draft(alliance, lost, reports)
    draft = decode(RecoveryCertificate, data, alliance.genesis.chain_id, RECOVERY_BYTES_MAX)
    with typed():
        await alliance.identity.SignRecovery(pb.SignRecoveryRequest(draft=data, reports=reports))
    return draft


async def _worked_out(alliance: Alliance, known: Parts) -> list[Part]:
    """The parts whose draft the home member's ledger works out from the same reports, those that most have signed first."""
    signed = [each for each in known.found if each.statement is not None]
    signed.sort(key=lambda each: -len(known.signers(each.statement)) if each.statement else 0)
    return [each for each in signed if await _follows(alliance, each)]


async def _follows(alliance: Alliance, part: Part) -> bool:
    """Whether the own ledger comes to the same; reports that it refuses lead nowhere."""
    if part.draft is None:
        return False
    try:
        data = await _draft(alliance, part.draft.statement.lost, part.reports)
    except (InvalidArgument, FailedPrecondition, Conflict, NotFound):
        return False
    return data == encode(part.draft, alliance.genesis.chain_id)


def _refuse_to_split(alliance: Alliance, known: Parts, sound: Sequence[Part]) -> None:
    """Raise Conflict OTHER_LOST where a third of the electors have signed another list: one of them at least is honest."""
    statement = sound[0].statement if sound else None
    if statement is not None and 3 * len(known.signers(statement)) >= len(alliance.session.electorate.electors):
        names = ", ".join(statement.lost) or "nobody"
        told = f"{sound[0].member_id} and others have signed that {names} is lost; sign without --lost to join them."
        raise Conflict("OTHER_LOST", told, "C10")


async def apply(alliance: Alliance, known: Parts) -> tuple[RecoveryStatement, list[str], list[tuple[str, Fault]]]:
    """Hand the recovery that most have signed to every member that can be heard: who took it, and who did not.

    Raises FailedPrecondition: NOT_SIGNED while nobody has signed.
    """
    leading = known.leading()
    if leading is None or leading.draft is None:
        raise FailedPrecondition("NOT_SIGNED", f"Nobody has signed a recovery of epoch {known.epoch} yet.", "C10")
    draft = leading.draft
    whole = RecoveryCertificate(draft.statement, draft.commit, draft.prepared, known.signers(draft.statement))
    data = encode(whole, alliance.genesis.chain_id)
    names = sorted(alliance.session.members)
    answers, faults = await ask_all(names, [_apply(alliance, name, data) for name in names])
    return draft.statement, [name for name, _ in answers], faults


async def _part(alliance: Alliance, member_id: str) -> Part | None:
    """What one member has done. Raises BadSignature: OTHER_REPORT for another member's, and for what does not verify."""
    chain_id = alliance.genesis.chain_id
    with typed():
        answer = await IdentityServiceStub(alliance.channel(member_id, "identity")).GetRecovery(pb.GetRecoveryRequest())
    if not answer.report:
        return None
    report = decode(SignedReport, answer.report, chain_id, RECOVERY_BYTES_MAX)
    if report.report.member_id != member_id:
        raise BadSignature("OTHER_REPORT", f"{member_id} shows a report of {report.report.member_id}.", "C10")
    draft = decode(RecoveryCertificate, answer.draft, chain_id, RECOVERY_BYTES_MAX) if answer.draft else None
    signature = MemberSignature(member_id, answer.signature) if answer.draft else None
    part = Part(member_id, report.report.epoch, answer.report, report, draft, tuple(answer.reports), signature)
    _verify(alliance, part)
    return part


def _verify(alliance: Alliance, part: Part) -> None:
    """Raise BadSignature unless the member stands behind its part; of an epoch that is over nothing hangs on it."""
    session = alliance.session
    if part.epoch != session.committee.epoch:
        return
    verify_report(session.committee, session.electorate, part.signed_report, session.chain_id, session.verifier)
    if part.statement is not None and part.signature is not None:
        key = elector_key(session.electorate, part.member_id)
        session.verifier.verify(key, encode(part.statement, session.chain_id), part.signature.signature)


async def _draft(alliance: Alliance, lost: Sequence[str], reports: Sequence[bytes]) -> bytes:
    with typed():
        answer = await alliance.identity.GetRecoveryDraft(pb.GetRecoveryDraftRequest(lost_member_ids=lost, reports=reports))
    return answer.draft


async def _apply(alliance: Alliance, member_id: str, certificate: bytes) -> None:
    with typed():
        stub = IdentityServiceStub(alliance.channel(member_id, "identity"))
        await stub.ApplyRecovery(pb.ApplyRecoveryRequest(certificate=certificate))
