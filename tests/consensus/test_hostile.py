"""What a hostile member sends is refused, costs bounded memory, and has its name on it (rules C1, C2, C4, C6; R6).

The same six over real links, with the metric, are in `tests/consensus_service/test_hostile.py`.
"""

from dataclasses import replace

import pytest

from consilium.consensus.core.admission import Directory, admit
from consilium.consensus.core.batching import is_held
from consilium.consensus.core.events import Timer
from consilium.consensus.core.messages import BatchOffer, BatchReady, Commit, Envelope, NewView, Prepare, PrePrepare
from consilium.consensus.core.screening import screen
from consilium.kernel.certificates import Phase
from consilium.kernel.encoding import encode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import OpenedBatch
from tests.consensus.by_hand import (
    ANY_SIGNATURE,
    GENESIS,
    make_batch,
    make_call,
    make_checkpoint,
    make_header_bytes,
    make_new_view,
    make_pre_prepare,
    make_result,
    make_stored,
    sign_vote,
)
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, Cluster, isolated
from tests.simulation.signing import KeyedHashVerifier

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))
WINDOW = PARAMETERS.window_blocks
FLOOD = 2_000
"""Messages of one sender, many times what may be kept of it."""


def last_refusal(cluster: Cluster) -> tuple[str, str]:
    """Whom the backup blamed last, and for what."""
    whose, error = cluster.seats[BACKUP].state.refusals[-1]
    return whose, error.reason


# --- refused ---


def test_a_forged_certificate_is_refused() -> None:
    """C4: 2f+1 answers of which one is not signed."""
    cluster = isolated()
    stored = make_stored(cluster.outlook.committee, make_batch(THIRD, 1).digest)
    forged = replace(stored.signatures[0], signature=ANY_SIGNATURE)
    cluster.deliver_message(THIRD, BACKUP, BatchReady(replace(stored, signatures=(forged, *stored.signatures[1:]))))
    assert [each.reason for each in cluster.refusals] == ["BAD_SIGNATURE"]


def test_what_is_of_a_view_that_is_over_is_refused() -> None:
    """C2: a proposal, a call and a new view alike; the caller is helped once a beat, however often it calls."""
    cluster = Cluster()
    cluster.ring_all(Timer.PROGRESS, [SECOND, THIRD])
    backup, committee = cluster.seats[BACKUP], cluster.outlook.committee
    assert backup.state.view == 1
    cluster.arrives = lambda _sender, _to, _message: False
    cluster.deliver_message(PRIMARY, BACKUP, make_pre_prepare(cluster.outlook, GENESIS))
    assert last_refusal(cluster) == (PRIMARY, "STALE_VIEW")
    backup.sent.clear()
    for _ in range(5):
        cluster.deliver_message(THIRD, BACKUP, make_call(committee, 3, 1))
        assert last_refusal(cluster) == (THIRD, "STALE_VIEW")
    assert [to for to, message in backup.sent if isinstance(message, NewView)] == [THIRD]
    cluster.deliver_message(
        SECOND, BACKUP, make_new_view(cluster.outlook, 1, [make_call(committee, i, 1) for i in (1, 2, 3)])
    )
    assert last_refusal(cluster) == (SECOND, "STALE_VIEW")


@pytest.mark.parametrize(
    ("low", "height", "reason"), [(1, 0, "LATE_VOTE"), (2 * WINDOW + 1, 1, "LATE_VOTE"), (1, 2 + WINDOW, "FUTURE_VOTE")]
)
def test_votes_far_from_the_watermarks_are_refused(low: int, height: int, reason: str) -> None:
    """C1, and the paper's section 4.2: late ones and those of the future, before their signature is looked at."""
    cluster = isolated()
    cluster.seats[BACKUP].state.stable_height = low
    vote = Commit(sign_vote(THIRD, Phase.COMMIT, 0, height, sha256(b"any")))
    cluster.deliver_message(THIRD, BACKUP, vote)
    assert last_refusal(cluster) == (THIRD, reason)
    assert screened(cluster, vote) == reason


@pytest.mark.parametrize(("height", "reason"), [(2 * WINDOW + 1, "FUTURE_RESULT"), (0, "LATE_RESULT")])
def test_results_far_from_the_tip_are_refused(height: int, reason: str) -> None:
    """L3: results are kept for two windows; the slowest delegate's ordinary lateness is nobody's fault."""
    cluster = Cluster()
    cluster.seats[BACKUP].state.stable_height = 2 * WINDOW if height == 0 else 0
    message = make_checkpoint(THIRD, make_result(height, sha256(b"any")))
    cluster.deliver_message(THIRD, BACKUP, message)
    assert last_refusal(cluster) == (THIRD, reason)
    assert screened(cluster, message) == reason


def test_another_committee_hash_is_refused_in_the_primarys_name() -> None:
    """C6: whoever passes the proposal on, the primary signed it."""
    cluster = isolated()
    committee = cluster.outlook.committee
    other = replace(cluster.outlook, committee=replace(committee, delegates=committee.delegates[::-1]))
    header = make_header_bytes(other, GENESIS)
    signed = sign_vote(PRIMARY, Phase.PRE_PREPARE, 0, 1, sha256(header))
    cluster.deliver_message(THIRD, BACKUP, PrePrepare(signed, header, (), ()))
    assert last_refusal(cluster) == (PRIMARY, "WRONG_COMMITTEE")
    assert cluster.seats[BACKUP].state.log.slots == {}
    assert cluster.seats[BACKUP].said(Prepare) == []


def test_a_batch_no_member_may_make_is_refused_unread() -> None:
    """C4: over the largest batch with its largest transaction; but not where a proposal names what is missing here."""
    cluster = isolated()
    offer = BatchOffer(bytes(PARAMETERS.batch_bytes_max + 200_000))
    assert screened(cluster, offer) == "BATCH_TOO_LARGE"
    batch = make_batch(THIRD, 1)
    stored = make_stored(cluster.outlook.committee, batch.digest)
    proposal = make_pre_prepare(cluster.outlook, GENESIS, batches=[batch], stored=[stored], inline=False)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    assert screened(cluster, offer) == ""


def screened(cluster: Cluster, message: object) -> str:
    """What the backup would refuse a message for without looking at its signature, or ""."""
    try:
        screen(cluster.seats[BACKUP].state, message)  # type: ignore[arg-type]  # any message
    except ConsiliumError as error:
        return error.reason
    return ""


# --- bounded ---


def test_a_flood_of_votes_is_kept_within_the_watermarks_only() -> None:
    """R6: of one sender one vote for each height and phase is kept, the one of the highest view."""
    cluster = isolated()
    log = cluster.seats[BACKUP].state.log
    for number in range(FLOOD):
        vote = sign_vote(THIRD, Phase.COMMIT, number // 50, 1 + number % (4 * WINDOW), sha256(b"any"))
        cluster.deliver_message(THIRD, BACKUP, Commit(vote))
    kept = [height for height in range(FLOOD) if log.vote_of(3, height, Phase.COMMIT) is not None]
    assert kept == list(range(1, WINDOW + 1))
    assert log.count == WINDOW


def test_a_flood_of_results_and_calls_is_kept_once_a_place() -> None:
    """R6: two windows of results, and one call, of each delegate."""
    cluster = isolated()
    state, committee = cluster.seats[BACKUP].state, cluster.outlook.committee
    for number in range(FLOOD // 10):
        for salt in ("one", "other"):
            result = make_result(1 + number, sha256(b"any"), salt=salt)
            cluster.deliver_message(THIRD, BACKUP, make_checkpoint(THIRD, result))
        cluster.deliver_message(THIRD, BACKUP, make_call(committee, 3, 1 + number))
    assert state.checkpoints.count == 2 * WINDOW
    assert state.calls.count == 1
    assert state.view == 0, "one delegate's calls move nobody (paper, 4.5.2)"


def test_the_quota_is_asked_before_the_signatures() -> None:
    """C4: a full member's next batch costs no verification, and a batch that waits here already is verified once."""
    cluster = Cluster(parameters=replace(PARAMETERS, ingress_batches_max=1))
    cluster.arrives = lambda _sender, _to, _message: False
    state = cluster.seats[BACKUP].state
    first, next_one = make_batch(THIRD, 1), make_batch(THIRD, 2)
    cluster.deliver_message(THIRD, BACKUP, BatchOffer(first.data))
    asked = Counted()
    judged(cluster, asked, first)
    assert asked.count == 0
    with pytest.raises(ConsiliumError) as refusal:
        judged(cluster, asked, next_one)
    assert (refusal.value.reason, asked.count) == ("INGRESS_QUOTA", 0)
    other_signature = open_again(first)
    with pytest.raises(ConsiliumError) as forged:
        judged(cluster, asked, other_signature)
    assert (forged.value.reason, asked.count) == ("BAD_SIGNATURE", 1)
    assert len(list(state.pool.waiting())) == 1


class Counted(KeyedHashVerifier):
    """A verifier that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        self.count += 1
        super().verify(public_key, message, signature)


def judged(cluster: Cluster, verifier: Counted, batch: OpenedBatch) -> None:
    """Admit an offer as the driver does."""
    seat = cluster.seats[BACKUP]
    envelope = Envelope(SECOND, 1, bytes(16), BatchOffer(batch.data))
    directory = Directory(seat.ledger.outlook, None)
    admit(envelope, directory, CHAIN_ID, verifier, cluster.now_ms, lambda opened: is_held(seat.state, opened))


def open_again(batch: OpenedBatch) -> OpenedBatch:
    """The same batch under a signature that is none: its digest is the same."""
    return replace(batch, data=encode(replace(batch.batch, signature=ANY_SIGNATURE), CHAIN_ID))
