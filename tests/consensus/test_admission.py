"""Bytes of other members: what is false is refused with a typed error, never with a traceback (rules C1, C4, C5, C7, L1)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilium.consensus.core.admission import Directory, admit
from consilium.consensus.core.events import Received
from consilium.consensus.core.messages import (
    AllianceVote,
    BatchOffer,
    BatchReady,
    Checkpoint,
    Commit,
    Complaint,
    Envelope,
    FetchBatches,
    FetchNewView,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ResultProof,
    SignedViewChange,
    StatusReply,
    StatusRequest,
    Stored,
)
from consilium.kernel.certificates import (
    AllianceStatement,
    CommitCertificate,
    Committee,
    MemberSignature,
    Phase,
    Vote,
)
from consilium.kernel.encoding import ENCODED_BYTES_MAX, decode, encode
from consilium.kernel.errors import BadSignature, ConsiliumError, FailedPrecondition, InvalidArgument, Malformed
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import (
    ANY_SIGNATURE,
    GENESIS,
    certify,
    make_batch,
    make_call,
    make_checkpoint,
    make_header_bytes,
    make_new_view,
    make_pre_prepare,
    make_result,
    make_stored,
    prepared,
    quorum_signatures,
    sign_new_view,
    sign_vote,
)
from tests.consensus.cluster import CHAIN_ID, VERIFIER, Cluster, delegates, make_outlook, signer

OUTLOOK = make_outlook(5, voters=4)
COMMITTEE = OUTLOOK.committee
STRANGER = "member-9"
FOLLOWER = "member-4"
NOW = GENESIS.time_ms + 2
HEADER = make_header_bytes(OUTLOOK, GENESIS)
DIGEST = sha256(HEADER)
RESULT = make_result(1, DIGEST)
BATCH = make_batch("member-2", 1, 2)
CALLS = [
    make_call(COMMITTEE, 0, 1),
    make_call(COMMITTEE, 2, 1, proofs=[prepared(COMMITTEE, 0, 1, HEADER)]),
    make_call(COMMITTEE, 3, 1),
]
COMMIT_VOTE = Vote(Phase.COMMIT, 0, 0, 1, DIGEST)
TIP = CommitCertificate(0, 0, 1, DIGEST, quorum_signatures(COMMITTEE, COMMIT_VOTE, range(3)))


def alliance_vote(name: str = FOLLOWER) -> AllianceVote:
    """An elector's word on a term's end."""
    signature = signer(name).sign(encode(AllianceStatement(RESULT), CHAIN_ID))
    return AllianceVote(RESULT, MemberSignature(name, signature))


SAMPLES: dict[type[Message], tuple[str, Message]] = {
    type(message): (sender, message)
    for sender, message in (
        ("member-0", make_pre_prepare(OUTLOOK, GENESIS, 0, [BATCH], [make_stored(COMMITTEE, sha256(b"large"))])),
        ("member-1", Prepare(sign_vote("member-1", Phase.PREPARE, 0, 1, DIGEST))),
        ("member-1", Commit(sign_vote("member-1", Phase.COMMIT, 0, 1, DIGEST))),
        ("member-1", make_checkpoint("member-1", RESULT)),
        ("member-2", CALLS[1]),
        ("member-1", make_new_view(OUTLOOK, 1, CALLS)),
        ("member-2", BatchOffer(BATCH.data)),
        ("member-1", Stored(DIGEST, make_stored(COMMITTEE, DIGEST, [1]).signatures[0])),
        ("member-1", BatchReady(make_stored(COMMITTEE, DIGEST))),
        ("member-1", FetchBatches((DIGEST,))),
        ("member-1", StatusRequest(0)),
        ("member-1", StatusReply(0, TIP)),
        (FOLLOWER, alliance_vote()),
        ("member-1", ResultProof(certify(COMMITTEE, RESULT))),
        ("member-1", FetchNewView(0)),
        ("member-1", Complaint(0, 0)),
    )
}
"""A good message of every kind, and who sends it."""
KINDS = list(SAMPLES)
UNSIGNED = (FetchBatches, StatusRequest, FetchNewView, Complaint)
"""Requests; the link alone says who asks."""


def bytes_of(kind: type[Message]) -> bytes:
    """A good message as it travels."""
    sender, message = SAMPLES[kind]
    return encode(Envelope(sender, 1, bytes(16), message), CHAIN_ID)


def take(data: bytes) -> Received:
    """What the shell does with bytes from a link."""
    return admit(decode(Envelope, data, CHAIN_ID), Directory(OUTLOOK, None), CHAIN_ID, VERIFIER, NOW)


def refused(sender: str, message: Message, outlook_epoch: int = 0) -> ConsiliumError:
    """The refusal of a message; fails when it is admitted."""
    committee = Committee(outlook_epoch, COMMITTEE.delegates)
    directory = Directory(replace(OUTLOOK, epoch=outlook_epoch, committee=committee), None)
    data = encode(Envelope(sender, 1, bytes(16), message), CHAIN_ID)
    with pytest.raises(ConsiliumError) as refusal:
        admit(decode(Envelope, data, CHAIN_ID), directory, CHAIN_ID, VERIFIER, NOW)
    return refusal.value


def test_there_is_a_sample_of_every_kind() -> None:
    """A message kind that is added later must be added here, too."""
    assert set(KINDS) == set(get_args(Message))
    assert len({kind.KIND for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_good_messages_are_admitted(kind: type[Message]) -> None:
    """C1: decoded, verified and handed over with all that the envelope says."""
    sender, message = SAMPLES[kind]
    received = take(bytes_of(kind))
    assert (received.sender, received.incarnation, received.session) == (sender, 1, bytes(16))
    assert (received.message, received.now_ms) == (message, NOW)
    assert [each.digest for each in received.batches] == ([BATCH.digest] if kind in (PrePrepare, BatchOffer) else [])


# --- signatures and signers ---


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (*UNSIGNED, BatchOffer)])
def test_every_signature_is_looked_at(kind: type[Message]) -> None:
    """C1, C4, C7: each signature in turn is replaced by bytes that nobody signed with; none slips through.

    (Those inside batches are looked at by `kernel.opening`, see `test_batches`.)
    """
    tree = cbor2.loads(bytes_of(kind))
    places = [path for path, leaf in leaves(tree) if isinstance(leaf, bytes) and len(leaf) == 64]
    assert places != []
    for path in places:
        with pytest.raises(BadSignature):
            take(cbor2.dumps(changed(tree, path, ANY_SIGNATURE)))


def leaves(tree: Any, path: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], Any]]:
    """All values in a tree of lists, and where they stand."""
    if not isinstance(tree, list | tuple):
        return [(path, tree)]
    return [found for index, each in enumerate(tree) for found in leaves(each, (*path, index))]


def changed(tree: Any, path: tuple[int, ...], leaf: Any) -> Any:
    """The tree with another value at one place."""
    if not path:
        return leaf
    return [changed(each, path[1:], leaf) if index == path[0] else each for index, each in enumerate(tree)]


def resigned(kind: type[Message], name: str) -> Message:
    """A message of this kind, soundly signed by this member."""
    made: dict[type[Message], Callable[[], Message]] = {
        Prepare: lambda: Prepare(sign_vote(name, Phase.PREPARE, 0, 1, DIGEST)),
        Commit: lambda: Commit(sign_vote(name, Phase.COMMIT, 0, 1, DIGEST)),
        Checkpoint: lambda: make_checkpoint(name, RESULT),
        PrePrepare: lambda: PrePrepare(sign_vote(name, Phase.PRE_PREPARE, 0, 1, DIGEST), HEADER, (), ()),
        NewView: lambda: sign_new_view(name, 0, 1, CALLS, ()),
    }
    return made[kind]()


@pytest.mark.parametrize("kind", [Prepare, Commit, Checkpoint])
def test_votes_count_only_from_their_own_delegate(kind: type[Message]) -> None:
    """C1: a follower and a stranger have no vote; nobody sends another's."""
    for name in (FOLLOWER, STRANGER):
        assert refused(name, resigned(kind, name)).reason == "NOT_A_DELEGATE"
    assert refused("member-2", resigned(kind, "member-1")).reason == "BAD_SIGNATURE"


@pytest.mark.parametrize("kind", [PrePrepare, NewView])
def test_what_the_primary_says_is_signed_by_the_primary(kind: type[Message]) -> None:
    """C2: whoever hands it on."""
    for name in ("member-2", "member-3", FOLLOWER, STRANGER):
        assert isinstance(refused(name, resigned(kind, name)), BadSignature)


def test_a_vote_is_no_vote_of_another_phase() -> None:
    """C1: a commit cannot travel as a prepare, nor a prepare as a commit or a proposal."""
    prepare, commit = (sign_vote("member-1", phase, 0, 1, DIGEST) for phase in (Phase.PREPARE, Phase.COMMIT))
    assert refused("member-1", Prepare(commit)).reason == "WRONG_PHASE"
    assert refused("member-1", Commit(prepare)).reason == "WRONG_PHASE"
    assert refused("member-1", PrePrepare(prepare, HEADER, (), ())).reason == "WRONG_PHASE"


def test_answers_are_given_in_ones_own_name() -> None:
    """C4: a "stored" by another delegate's index, of no delegate, or of a follower is refused."""
    other = make_stored(COMMITTEE, DIGEST, [2]).signatures[0]
    assert refused("member-1", Stored(DIGEST, other)).reason == "WRONG_SIGNER"
    assert refused(FOLLOWER, Stored(DIGEST, other)).reason == "NOT_A_DELEGATE"
    assert refused("member-1", Stored(DIGEST, replace(other, index=1))).reason == "BAD_SIGNATURE"


@pytest.mark.parametrize("indexes", [[0, 1], [0, 0, 1], [1, 0, 2], [0, 1, 1, 2]])
def test_certificates_hold_a_quorum_of_different_delegates_in_order(indexes: list[int]) -> None:
    """L3, C4: two forms of one certificate, or one signer twice, do not exist."""
    stored = replace(make_stored(COMMITTEE, DIGEST), signatures=make_stored(COMMITTEE, DIGEST, indexes).signatures)
    proof = replace(certify(COMMITTEE, RESULT), signatures=quorum_signatures(COMMITTEE, RESULT, indexes))
    tip = replace(TIP, signatures=quorum_signatures(COMMITTEE, COMMIT_VOTE, indexes))
    for message in (BatchReady(stored), ResultProof(proof), StatusReply(0, tip)):
        assert refused("member-1", message).reason in ("SHORT_QUORUM", "BAD_SIGNERS")


def test_indexes_beyond_the_committee_are_refused() -> None:
    """L3: a signer that does not exist is no way out of the list's end."""
    signature = certify(COMMITTEE, RESULT).signatures[0]
    beyond = (*certify(COMMITTEE, RESULT).signatures[:2], replace(signature, index=2**62))
    for message in (
        ResultProof(replace(certify(COMMITTEE, RESULT), signatures=beyond)),
        BatchReady(replace(make_stored(COMMITTEE, DIGEST), signatures=beyond)),
        replace(CALLS[0], index=4),
        replace(CALLS[0], index=2**62),
    ):
        assert isinstance(refused("member-1", message), BadSignature)


def test_only_electors_sign_a_terms_end() -> None:
    """C7: a member that was not active when the term began has no say in its end."""
    assert refused(STRANGER, alliance_vote(STRANGER)).reason == "UNKNOWN_MEMBER"
    stolen = replace(alliance_vote(), signed=replace(alliance_vote().signed, member_id="member-3"))
    assert refused("member-3", stolen).reason == "BAD_SIGNATURE"


def test_only_members_form_batches() -> None:
    """L2: a batch names its member, which must be an elector of this term."""
    assert refused("member-1", BatchOffer(make_batch(STRANGER, 1).data)).reason == "UNKNOWN_MEMBER"


# --- epochs ---


@pytest.mark.parametrize(
    "kind", [PrePrepare, Prepare, Commit, Checkpoint, SignedViewChange, NewView, StatusReply, ResultProof]
)
def test_messages_of_other_epochs_are_refused_as_such(kind: type[Message]) -> None:
    """C7: not false, but not of what is decided here: a failed precondition, so that nobody is blamed for lagging."""
    error = refused(*SAMPLES[kind], outlook_epoch=7)
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "OTHER_EPOCH"


@pytest.mark.parametrize("kind", [Stored, BatchReady])
def test_answers_of_another_epoch_prove_nothing(kind: type[Message]) -> None:
    """C4: "stored" names the epoch; what the old committee answered does not verify under the new one."""
    assert isinstance(refused(*SAMPLES[kind], outlook_epoch=1), BadSignature)


def test_the_epoch_before_is_still_known() -> None:
    """C7, L3: results of the last epoch's end arrive after it; its own committee vouches for them."""
    following = Committee(1, delegates(["member-4", "member-3", "member-2", "member-1"]))
    directory = Directory(replace(OUTLOOK, epoch=1, committee=following), COMMITTEE)
    for kind in (Checkpoint, ResultProof, StatusReply):
        sender, message = SAMPLES[kind]
        admit(Envelope(sender, 1, bytes(16), message), directory, CHAIN_ID, VERIFIER, NOW)


# --- view changes ---


def test_view_changes_show_certificates_in_order_and_of_lower_views() -> None:
    """C2, paper 4.4: above the checkpoint, in rising order, of this epoch and of earlier views."""
    low, high = prepared(COMMITTEE, 0, 1, HEADER), prepared(COMMITTEE, 0, 2, second_header())
    stable = certify(COMMITTEE, RESULT)
    for call in (
        make_call(COMMITTEE, 2, 1, proofs=[high, low]),
        make_call(COMMITTEE, 2, 1, proofs=[low, low]),
        make_call(COMMITTEE, 2, 1, stable, [low, high]),
        make_call(COMMITTEE, 2, 1, proofs=[prepared(COMMITTEE, 1, 1, HEADER)]),
        make_call(COMMITTEE, 2, 1, proofs=[prepared(COMMITTEE, 3, 1, HEADER)]),
        make_call(COMMITTEE, 2, 1, proofs=[foreign_epoch_proof()]),
    ):
        assert refused("member-2", call).reason == "BAD_VIEW_CHANGE"
    admit(Envelope("m", 1, bytes(16), make_call(COMMITTEE, 2, 1, stable, [high])), *around())


def around() -> tuple[Directory, bytes, Any, int]:
    """What admission stands in."""
    return Directory(OUTLOOK, None), CHAIN_ID, VERIFIER, NOW


def second_header() -> bytes:
    """Block 2 on block 1."""
    return make_header_bytes(OUTLOOK, replace(GENESIS, height=1, hash=DIGEST), now_ms=NOW + 1)


def foreign_epoch_proof() -> Any:
    """A certificate whose header names another epoch."""
    committee = Committee(3, COMMITTEE.delegates)
    header = make_header_bytes(replace(OUTLOOK, epoch=3, committee=committee), GENESIS)
    return prepared(COMMITTEE, 0, 1, header)


def test_the_primarys_prepare_is_no_second_vote() -> None:
    """Paper 4.2: a prepared certificate that counts the primary as a backup has only 2f delegates behind it."""
    proof = prepared(COMMITTEE, 0, 1, HEADER)
    prepare = Vote(Phase.PREPARE, 0, 0, 1, DIGEST)
    padded = replace(proof, signatures=quorum_signatures(COMMITTEE, prepare, [0, 1]))
    assert refused("member-2", make_call(COMMITTEE, 2, 1, proofs=[padded])).reason == "BAD_SIGNERS"


def test_new_views_are_for_one_view_and_its_proposals_too() -> None:
    """C2: a proposal signed for another view would make certificates in this one that nobody accepts."""
    other_view = sign_vote("member-1", Phase.PRE_PREPARE, 5, 1, DIGEST)
    other_epoch = sign_vote("member-1", Phase.PRE_PREPARE, 1, 1, DIGEST, epoch=1)
    mixed = [CALLS[0], CALLS[1], make_call(COMMITTEE, 3, 2)]
    for message in (
        sign_new_view("member-1", 0, 1, CALLS, [other_view]),
        sign_new_view("member-1", 0, 1, CALLS, [other_epoch]),
        sign_new_view("member-1", 0, 1, mixed, []),
    ):
        assert refused("member-1", message).reason == "BAD_NEW_VIEW"
    unsorted = sign_new_view("member-1", 0, 1, [CALLS[1], CALLS[0], CALLS[2]], [])
    assert refused("member-1", unsorted).reason == "SHORT_QUORUM"


# --- bytes ---


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_bytes_are_malformed(kind: type[Message]) -> None:
    """L1: cut anywhere, or followed by anything, it is no message."""
    data = bytes_of(kind)
    for cut in sorted({0, 1, 2, *range(3, len(data), 37), len(data) - 1}):
        with pytest.raises(Malformed):
            take(data[:cut])
    with pytest.raises(Malformed):
        take(data + b"\x00")


def test_oversized_bytes_are_refused_unread() -> None:
    """L1: above the cap nothing is decoded, whatever it holds; inside a message every list and field has its own bound."""
    with pytest.raises(Malformed, match="OVERSIZE"):
        take(bytes(ENCODED_BYTES_MAX + 1))
    for path, leaf in (((6, 1), [DIGEST] * 1_025), ((6, 1, 0), bytes(33)), ((2,), "m" * 41), ((4,), bytes(17))):
        tree = cbor2.loads(bytes_of(FetchBatches))
        with pytest.raises(Malformed, match="BAD_FIELD"):
            take(cbor2.dumps(changed(tree, path if len(path) == 1 else (5, *path[1:]), leaf)))


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_other_chains_are_refused(kind: type[Message]) -> None:
    """L1: neither the envelope of another chain, nor this chain's envelope around the other's signatures."""
    sender, message = SAMPLES[kind]
    with pytest.raises(Malformed, match="FOREIGN_CHAIN"):
        take(encode(Envelope(sender, 1, bytes(16), message), sha256(b"another chain")))
    if kind not in UNSIGNED:
        other = Directory(OUTLOOK, None)
        with pytest.raises(InvalidArgument):
            admit(Envelope(sender, 1, bytes(16), message), other, sha256(b"another chain"), VERIFIER, NOW)


class Room:
    """A replica that lives on through everything that is thrown at it."""

    def __init__(self) -> None:
        """Three blocks into its life."""
        self.cluster = Cluster(5, voters=4)
        self.cluster.order(3)
        self.cluster.arrives = lambda _sender, _to, _message: False
        self.refusals: list[ConsiliumError] = []

    def throw(self, data: bytes) -> None:
        """Bytes from a link; nothing but a typed refusal may come of it."""
        seat = self.cluster.seats["member-3"]
        try:
            received = take(data)
        except ConsiliumError as error:
            self.refusals.append(error)
            return
        if received.sender in self.cluster.seats:
            # Who speaks is the link's word, not the envelope's.
            identity = self.cluster.seats[received.sender].state.identity
            received = replace(received, incarnation=identity.incarnation, session=identity.session)
        self.cluster.obey(seat, seat.replica.step(received))

    def check(self) -> None:
        """It still works: blocks are ordered with its vote being needed."""
        cluster = self.cluster
        cluster.arrives = lambda _sender, _to, _message: True
        cluster.stop("member-2")
        before = cluster.seats["member-0"].height
        cluster.order(1, "member-0", first=5_000)
        cluster.heal(40_000)
        assert cluster.seats["member-0"].height > before


ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.binary(max_size=70),
    st.text(max_size=45),
    st.floats(allow_nan=True),
    st.lists(st.integers(0, 3), max_size=4),
    st.dictionaries(st.integers(0, 3), st.integers(0, 3), max_size=2),
)


@settings(max_examples=400)
@given(st.sampled_from(KINDS), st.data())
def test_flipped_bits_are_refused_or_harmless(kind: type[Message], data: st.DataObject) -> None:
    """L1, C1: one bit of a good message is flipped: a typed refusal, or a message that says another thing soundly."""
    good = bytearray(bytes_of(kind))
    place = data.draw(st.integers(0, len(good) * 8 - 1))
    good[place // 8] ^= 1 << (place % 8)
    ROOM.throw(bytes(good))


@settings(max_examples=400)
@given(st.sampled_from(KINDS), st.data())
def test_contradictory_fields_are_refused_or_harmless(kind: type[Message], data: st.DataObject) -> None:
    """L1: any field becomes any value, in deterministic form, so that it is the decoder and the judge that decide."""
    tree = cbor2.loads(bytes_of(kind))
    places = [path for path, _ in leaves(tree)]
    for path in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        tree = changed(tree, path, data.draw(ODD_VALUES))
    ROOM.throw(cbor2.dumps(tree))


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    """L1: noise is malformed."""
    with pytest.raises(Malformed):
        take(data)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), min_size=1, max_size=5))
def test_sound_messages_in_any_order_break_nothing(pairs: list[tuple[type[Message], type[Message]]]) -> None:
    """C1: each is true in itself; repeated, out of order, from a sender it does not concern, they still are no traceback."""
    for of_message, of_sender in pairs:
        _, message = SAMPLES[of_message]
        sender, _ = SAMPLES[of_sender]
        ROOM.throw(encode(Envelope(sender, 5, bytes(16), message), CHAIN_ID))


def test_the_replica_still_works_after_all_that() -> None:
    """C1: thrown at by everything above, and by each sample again, it votes as before."""
    for kind in KINDS:
        ROOM.throw(bytes_of(kind))
        ROOM.throw(bytes_of(kind)[:-1])
    ROOM.check()
    assert all(error.reason.isupper() and error.sentence.endswith(".") for error in ROOM.refusals)


ROOM = Room()
