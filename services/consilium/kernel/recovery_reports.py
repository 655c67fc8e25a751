"""What stopped replicas report, and what follows from their reports (rule C10, ADR 14).

Before a member signs a recovery its replica stops for good in the epoch, durably, and reports what it knows: its highest
committed block, and what it has prepared above. A block that was committed anywhere was prepared by f + 1 honest delegates,
so among the reports of f + 1 honest ones somebody has it. `compose` then picks what stands just as a new view does (C2, C3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.certificates import (
    WINDOW_MAX,
    CommitCertificate,
    Committee,
    Electorate,
    PreparedCertificate,
    verify_commit_certificate,
    verify_prepared_certificate,
)
from consilium.kernel.chain import Header, Outlook
from consilium.kernel.encoding import AtMost, MemberId, Signature, decode, encode
from consilium.kernel.errors import BadSignature, FailedPrecondition
from consilium.kernel.prepared_chain import prepared_chain
from consilium.kernel.recovery import committed_tip, elector_key
from consilium.kernel.signing import Signer, Verifier


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What a member's replica knew when it stopped.

    `commit` proves its highest committed block, None where the epoch has none. `witness` is set by a delegate whose vote log
    is whole: only such a one can tell that it prepared nothing else (C5).
    """

    DOMAIN: ClassVar[str] = "consilium.recovery-report"
    epoch: int
    member_id: MemberId
    witness: bool
    commit: CommitCertificate | None
    prepared: Annotated[tuple[PreparedCertificate, ...], AtMost(WINDOW_MAX)]


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report under its member's key."""

    DOMAIN: ClassVar[str] = "consilium.signed-recovery-report"
    report: RecoveryReport
    signature: Signature


@dataclass(frozen=True, slots=True)
class Foundation:
    """What the reports come to: the highest committed block, None for none, and the prepared ones that stand above it."""

    commit: CommitCertificate | None
    prepared: tuple[PreparedCertificate, ...]


def sign_report(report: RecoveryReport, member: Signer, chain_id: bytes) -> SignedReport:
    """The report as its member answers for it."""
    return SignedReport(report, member.sign(encode(report, chain_id)))


def compose(outlook: Outlook, reports: Sequence[SignedReport], chain_id: bytes, verifier: Verifier) -> Foundation:
    """What may have been committed in the epoch that these reports end.

    Above the highest committed block stands the chain that is shown to be prepared (C3). Raises BadSignature for a report
    that does not hold; FailedPrecondition: TOO_FEW_REPORTS up to two thirds of the electors, TOO_FEW_WITNESSES without
    f + 1 delegates that kept their vote logs.
    """
    for each in reports:
        verify_report(outlook.committee, outlook.electorate, each, chain_id, verifier)
    told = [each.report for each in reports]
    check_enough(outlook, told)
    commits = [each.commit for each in told if each.commit is not None]
    commit = max(commits, key=lambda each: each.height, default=None)
    height, _ = committed_tip(commit, outlook.epoch_start)
    prepared = (each for report in told for each in report.prepared)
    chain = prepared_chain(prepared, height, None if commit is None else commit.digest, chain_id)
    return Foundation(commit, tuple([each for _, each in chain]))


def verify_report(
    committee: Committee, electorate: Electorate, signed: SignedReport, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise BadSignature unless an elector reports on this epoch, with proof of all it names."""
    report = signed.report
    if report.epoch != committee.epoch:
        raise BadSignature("OTHER_EPOCH", f"{report.member_id} reports on epoch {report.epoch}.", "C10")
    verifier.verify(elector_key(electorate, report.member_id), encode(report, chain_id), signed.signature)
    if report.commit is not None:
        verify_commit_certificate(committee, report.commit, chain_id, verifier)
    for each in report.prepared:
        header = decode(Header, each.header, chain_id)
        verify_prepared_certificate(committee, report.epoch, header.height, each, chain_id, verifier)


def check_enough(outlook: Outlook, reports: Sequence[RecoveryReport]) -> None:
    """Raise FailedPrecondition unless as many have reported as nothing committed can hide from; reasons as `compose`."""
    names = {each.member_id for each in reports}
    if len(names) < outlook.electorate.quorum or len(names) != len(reports):
        told = f"{len(names)} members have stopped and reported; more than two thirds are {outlook.electorate.quorum}."
        raise FailedPrecondition("TOO_FEW_REPORTS", told, "C10")
    committee = outlook.committee
    witnesses = sum(each.witness and committee.index_of(each.member_id) is not None for each in reports)
    if witnesses <= committee.faults_max:
        raise FailedPrecondition(
            "TOO_FEW_WITNESSES",
            f"Only {witnesses} delegates of the epoch report with a whole vote log; {committee.faults_max + 1} are needed, "
            "or what the lost ones committed could be undone: bring one of those back.",
            "C10",
        )


def check_not_silent(sitting: Committee, following: Committee, reports: Sequence[SignedReport]) -> None:
    """Raise FailedPrecondition (SILENT_COMMITTEE) where more of the next committee have lost their vote log than it bears.

    They say nothing in the epoch that would begin either (C5): it would order no block, and nothing could end it.
    """
    known = [each.report for each in reports]
    lost_logs = {each.member_id for each in known if sitting.index_of(each.member_id) is not None and not each.witness}
    silent = [each.member_id for each in following.delegates if each.member_id in lost_logs]
    if len(silent) > following.faults_max:
        told = f"{', '.join(silent)} have lost their vote logs and would say nothing in the next committee either"
        advice = f"name so many of them as lost that no more than {following.faults_max} sit in it, or bring a vote log back"
        raise FailedPrecondition("SILENT_COMMITTEE", f"{told}: {advice}.", "C10")
