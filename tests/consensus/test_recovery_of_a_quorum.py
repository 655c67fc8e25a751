"""A lost quorum is recovered by signature, and nothing that was committed is undone (rule C10, ADR 14)."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from consilium.consensus.core.events import RecoverySigned, StopAsked, Timer
from consilium.consensus.core.messages import (
    AllianceVote,
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    SignedViewChange,
)
from consilium.consensus.core.recovering import report
from consilium.kernel.certificates import Committee, MemberSignature
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, Conflict, ConsiliumError, FailedPrecondition
from consilium.kernel.hashing import sha256
from consilium.kernel.recovery import RecoveryCertificate, RecoveryStatement, committed_tip, verify_recovery
from consilium.kernel.recovery_reports import Foundation, SignedReport, compose, sign_report
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, VERIFIER, Cluster, Seat, delegates, make_record, signer
from tests.consensus.promises import check_fixed_first, check_said_once

NAMES = [f"member-{index}" for index in range(7)]
OLD, LOST = NAMES[:4], NAMES[2:4]
SURVIVORS = [*NAMES[:2], *NAMES[4:]]
NEXT = SURVIVORS[1:]
"""The committee that follows: one delegate of the old, three that were none."""
MIX = sha256(b"recovery mix")
SMALL = replace(PARAMETERS, term_blocks=1_000)


def alliance() -> Cluster:
    """Seven members, four of them delegates, two of which will be lost."""
    return Cluster(7, voters=4, parameters=SMALL)


def stop(cluster: Cluster, names: Sequence[str] = SURVIVORS) -> list[SignedReport]:
    """Have these members' replicas stop in the present epoch, and report."""
    for name in names:
        seat = cluster.seats[name]
        cluster.obey(seat, seat.replica.step(StopAsked(cluster.now_ms, seat.state.outlook.epoch)))
        assert seat.refusal == ""
    cluster.run()
    return [sign_report(report(cluster.seats[name].state), signer(name), CHAIN_ID) for name in names]


def founded(cluster: Cluster, reports: Sequence[SignedReport]) -> Foundation:
    """What the reports come to."""
    return compose(cluster.outlook, reports, CHAIN_ID, VERIFIER)


def certificate(cluster: Cluster, foundation: Foundation, names: Sequence[str] = SURVIVORS) -> RecoveryCertificate:
    """The recovery that follows from the reports, signed by these members."""
    height, block_hash = committed_tip(foundation.commit, cluster.outlook.epoch_start)
    prepared = tuple(sha256(each.header) for each in foundation.prepared)
    committee = Committee(1, delegates(NEXT))
    statement = RecoveryStatement(0, height, block_hash, prepared, tuple(LOST), committee, MIX)
    message = encode(statement, CHAIN_ID)
    signatures = tuple(MemberSignature(name, signer(name).sign(message)) for name in sorted(names))
    return RecoveryCertificate(statement, foundation.commit, foundation.prepared, signatures)


def apply(cluster: Cluster, recovery: RecoveryCertificate, names: Sequence[str] = SURVIVORS) -> None:
    """Hand the certificate to these members' replicas, as their identity services do."""
    verify_recovery(cluster.outlook.committee, cluster.outlook.electorate, 1, recovery, CHAIN_ID, VERIFIER)
    for name in names:
        seat = cluster.seats[name]
        cluster.obey(seat, seat.replica.step(RecoverySigned(cluster.now_ms, recovery)))
    cluster.run()


def recover(cluster: Cluster) -> RecoveryCertificate:
    """Stop, sign, apply."""
    recovery = certificate(cluster, founded(cluster, stop(cluster)))
    apply(cluster, recovery)
    return recovery


def voted(seat: Seat, start: int = 0) -> list[Message]:
    """What a replica said as a delegate or elector, from its so-many-th message on."""
    kinds = PrePrepare | Prepare | Commit | Checkpoint | AllianceVote | SignedViewChange | NewView
    return [message for _, message in seat.sent[start:] if isinstance(message, kinds)]


def hide_a_prepared_block(cluster: Cluster, holder: str) -> bytes:
    """Block 4 is committed by delegates of which only one will survive, and heard of by none that will; its hash."""
    others = [name for name in OLD if name != holder and name not in LOST]

    def arrives(_sender: str, to: str, message: Message) -> bool:
        return to not in others and not (to == holder and isinstance(message, Commit))

    cluster.arrives = arrives
    cluster.submit(holder, make_record(holder, 77))
    committed = [cluster.seats[name].blocks[3].header for name in LOST if cluster.seats[name].height == 4]
    assert committed, "a lost delegate has executed it, so its clients may have been told"
    return sha256(committed[0])


def test_blocks_go_on_under_the_committee_that_was_drawn() -> None:
    """C10: the epoch ends where the reports end it; the next one has the named committee, and what comes is final."""
    cluster = alliance()
    cluster.order(3)
    cluster.stop(*LOST)
    cluster.submit(NAMES[1], make_record(NAMES[1], 50))
    cluster.heal(10_000)
    assert {cluster.seats[name].height for name in SURVIVORS} == {3}, "two of four make no quorum"
    recover(cluster)
    cluster.heal(20_000)
    for name in SURVIVORS:
        state = cluster.seats[name].state
        assert state.outlook.epoch == 1
        assert [each.member_id for each in state.committee.delegates] == NEXT
    for name in NEXT:
        assert cluster.seats[name].state.stable_height >= 4
    assert cluster.seats[NEXT[0]].blocks[3].recovery is not None
    check_said_once(cluster.spoken)
    for name in SURVIVORS:
        check_fixed_first(cluster.seats[name].effects)


def test_a_prepared_block_hidden_at_one_survivor_stands() -> None:
    """C10: a block that lost delegates had committed is prepared at one survivor only; it is not undone."""
    cluster = alliance()
    cluster.order(3)
    hidden = hide_a_prepared_block(cluster, NAMES[0])
    cluster.stop(*LOST)
    cluster.arrives = lambda _sender, _to, _message: True
    recovery = recover(cluster)
    assert recovery.statement.prepared == (hidden,)
    cluster.heal(20_000)
    for name in SURVIVORS:
        assert sha256(cluster.seats[name].blocks[3].header) == hidden
        assert cluster.seats[name].blocks[4].recovery is not None


def test_the_lost_come_back_without_a_vote_and_follow() -> None:
    """C10: a lost delegate that comes back has executed nothing else; it crosses into the new epoch with the blocks."""
    cluster = alliance()
    cluster.order(3)
    hide_a_prepared_block(cluster, NAMES[0])
    cluster.stop(*LOST)
    cluster.arrives = lambda _sender, _to, _message: True
    recover(cluster)
    cluster.heal(10_000)
    for name in LOST:
        cluster.restart(name)
    cluster.heal(10_000)
    assert len({tuple(each.block_hash for each in seat.ledger.results) for seat in cluster.seats.values()}) == 1
    for name in LOST:
        assert cluster.seats[name].state.outlook.epoch == 1
        assert cluster.seats[name].state.index is None


def test_the_new_committee_certifies_what_was_left_open() -> None:
    """C10, L3: results that the lost quorum has not certified become final under the new committee's signatures."""
    cluster = alliance()
    cluster.order(3)
    hide_a_prepared_block(cluster, NAMES[0])
    cluster.stop(*LOST)
    cluster.arrives = lambda _sender, _to, _message: True
    recover(cluster)
    cluster.heal(10_000)
    for name in NEXT:
        finals = {(each.result.epoch, each.result.height) for each in cluster.seats[name].certificates}
        assert (1, 4) in finals


def test_a_stopped_replica_says_nothing_more_in_its_epoch() -> None:
    """C10: neither votes nor calls, not after a restart either; so its report stays true."""
    cluster = alliance()
    cluster.order(3)
    stop(cluster, [NAMES[1]])
    start = len(cluster.seats[NAMES[1]].sent)
    cluster.order(2, first=10)
    assert voted(cluster.seats[NAMES[1]], start) == []
    again = cluster.restart(NAMES[1])
    cluster.order(2, first=20)
    cluster.heal(20_000)
    assert voted(again) == []
    assert cluster.seats[NAMES[0]].height >= 7, "the three others are a quorum"


def test_a_stopped_replica_repeats_no_result() -> None:
    """C10: a result that it said before it stopped it does not say again, by the beat or after a restart."""
    cluster = alliance()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Checkpoint)
    cluster.order(3)
    stop(cluster, [NAMES[1]])
    start = len(cluster.seats[NAMES[1]].sent)
    cluster.let_pass(5_000)
    assert voted(cluster.seats[NAMES[1]], start) == []
    again = cluster.restart(NAMES[1])
    cluster.let_pass(5_000)
    assert voted(again) == []


def test_a_stopped_replica_does_not_sign_the_end_of_the_term() -> None:
    """C7, C10: else its epoch could end by a handover and by a recovery."""
    cluster = Cluster(7, voters=4, parameters=replace(PARAMETERS, term_blocks=6))
    cluster.order(3)
    stop(cluster, [NAMES[1]])
    start = len(cluster.seats[NAMES[1]].sent)
    cluster.order(3, first=10)
    cluster.heal(1_000)
    said = cluster.seats[NAMES[1]].sent[start:]
    assert cluster.seats[NAMES[1]].height >= 6
    assert not [message for _, message in said if isinstance(message, AllianceVote) and message.result.epoch == 0]


def test_once_f_plus_1_have_stopped_the_old_committee_commits_nothing() -> None:
    """C10: any quorum has f + 1 honest delegates; so a recovery signed while the lost ones are alive cannot fork."""
    cluster = alliance()
    cluster.order(3)
    stop(cluster, SURVIVORS)
    cluster.order(1, NAMES[2], first=30)
    cluster.heal(60_000)
    assert {cluster.seats[name].height for name in OLD} == {3}


@pytest.mark.parametrize("cut_at", range(1, 12))
def test_a_crash_at_any_effect_of_the_recovery_forgets_nothing(cut_at: int) -> None:
    """C5, C10: the certificate is durable before anything follows from it; a restart goes on where the power failed."""
    cluster = alliance()
    cluster.order(3)
    hide_a_prepared_block(cluster, NAMES[0])
    cluster.stop(*LOST)
    cluster.arrives = lambda _sender, _to, _message: True
    recovery = certificate(cluster, founded(cluster, stop(cluster)))
    cluster.seats[NAMES[0]].fuse = cluster.seats[NEXT[0]].fuse = cut_at
    apply(cluster, recovery)
    cluster.let_pass(100)
    for name in (NAMES[0], NEXT[0]):
        cluster.restart(name)
        seat = cluster.seats[name]
        cluster.obey(seat, seat.replica.step(RecoverySigned(cluster.now_ms, recovery)))
    cluster.heal(20_000)
    assert {cluster.seats[name].state.outlook.epoch for name in SURVIVORS} == {1}
    assert len({tuple(each.block_hash for each in cluster.seats[name].ledger.results) for name in SURVIVORS}) == 1
    check_said_once(cluster.spoken)


def test_a_second_recovery_of_the_epoch_is_refused() -> None:
    """C10: a replica takes one; another would end the epoch elsewhere."""
    cluster = alliance()
    cluster.order(3)
    cluster.stop(*LOST)
    recovery = certificate(cluster, founded(cluster, stop(cluster)))
    seat = cluster.seats[NAMES[4]]
    assert seat.height == 0, "it lags, so it cannot cross at once"
    seat.replica.step(RecoverySigned(cluster.now_ms, recovery))
    assert seat.refusal == ""
    other = replace(recovery, statement=replace(recovery.statement, lost=()))
    seat.replica.step(RecoverySigned(cluster.now_ms, other))
    assert seat.refusal == "OTHER_RECOVERY"


def refusal(cluster: Cluster, reports: Sequence[SignedReport]) -> str:
    """Why these reports found nothing."""
    with pytest.raises(ConsiliumError) as refused:
        founded(cluster, reports)
    return refused.value.reason


def test_what_reports_must_show() -> None:
    """C10: more than two thirds of the electors, f + 1 delegates with whole vote logs, and every proof."""
    cluster = alliance()
    cluster.order(3)
    cluster.stop(*LOST)
    reports = stop(cluster)
    assert refusal(cluster, reports[1:]) == "TOO_FEW_REPORTS"
    assert refusal(cluster, [*reports[1:], reports[1]]) == "TOO_FEW_REPORTS", "nobody counts twice"
    wiped = sign_report(replace(reports[0].report, witness=False), signer(NAMES[0]), CHAIN_ID)
    assert refusal(cluster, [wiped, *reports[1:]]) == "TOO_FEW_WITNESSES"
    boast = sign_report(replace(reports[4].report, witness=True), signer(NAMES[6]), CHAIN_ID)
    assert refusal(cluster, [wiped, *reports[1:4], boast]) == "TOO_FEW_WITNESSES", "no delegate, no witness"
    commit = reports[0].report.commit
    assert commit is not None
    higher = sign_report(replace(reports[0].report, commit=replace(commit, height=9)), signer(NAMES[0]), CHAIN_ID)
    assert refusal(cluster, [higher, *reports[1:]]) == "BAD_SIGNATURE"
    forged = SignedReport(reports[0].report, signer("stranger").sign(b"anything"))
    assert refusal(cluster, [forged, *reports[1:]]) == "BAD_SIGNATURE"


def test_what_a_certificate_must_show() -> None:
    """C10: a short, strange or doubled signature, proofs of other blocks, or a committee of another epoch are refused."""
    cluster = alliance()
    cluster.order(3)
    hide_a_prepared_block(cluster, NAMES[0])
    cluster.stop(*LOST)
    recovery = certificate(cluster, founded(cluster, stop(cluster)))
    short = replace(recovery, signatures=recovery.signatures[1:])
    doubled = replace(recovery, signatures=(recovery.signatures[0], *recovery.signatures))
    bare = replace(recovery, prepared=())
    no_tip = replace(recovery, commit=None)
    for wrong, kind, reason in (
        (short, BadSignature, "SHORT_QUORUM"),
        (doubled, BadSignature, "BAD_SIGNERS"),
        (bare, Conflict, "OTHER_RECOVERY"),
        (no_tip, Conflict, "OTHER_RECOVERY"),
    ):
        with pytest.raises(kind) as refused:
            apply(cluster, wrong)
        assert refused.value.reason == reason


def test_a_replica_stops_only_in_its_own_epoch() -> None:
    """C10: who asks for another epoch is told which one this is."""
    cluster = alliance()
    seat = cluster.seats[NAMES[0]]
    seat.replica.step(StopAsked(cluster.now_ms, 5))
    assert isinstance(seat.replica.refused, FailedPrecondition)
    assert seat.refusal == "OTHER_EPOCH"
    assert seat.state.votes
    cluster.ring(NAMES[0], Timer.RESEND)
