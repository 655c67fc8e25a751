"""An old block is read again from the store, and nothing about it is lost (L3, L4, L5)."""

from __future__ import annotations

import pytest

from consilium.kernel.encoding import encode
from consilium.kernel.errors import FailedPrecondition, NotFound
from consilium.kernel.transactions import Grade, ReceiptKind
from consilium.ledger.core import archive
from consilium.ledger.core.archive import BLOCKS_KEPT
from consilium.ledger.core.chain import Chain
from consilium.ledger.store import MemoryBlockStore
from tests.alliance import GRADES, Alliance, Scribe, id_of, opened
from tests.ledger.patient import Patient, grant, receipt, request, revoke


def consent_of(scribe: Scribe) -> None:
    """Blocks with every kind of consent, several batches in one."""
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    registration, consent = scribe.record("r", "anshan", patient.commitment()), grant(scribe, patient)
    batches = [scribe.alliance.batch("anshan", [registration]), scribe.alliance.batch("benxi", [consent, consent])]
    scribe.append(scribe.block(*batches))
    asked = request(scribe, patient)
    scribe.write(asked, asked)
    scribe.write(receipt(scribe, "dalian", ReceiptKind.RELEASE, "g", opened(scribe.alliance, asked).leaf, 2))
    scribe.write(asked)
    scribe.write(revoke(scribe, patient, "g", patient.grant(patient.terms("i", 1), 1), epoch=1))


@pytest.fixture
def scribe() -> Scribe:
    """A chain that keeps everything: consent, several epochs, a recovery, and then heartbeats until all that is old."""
    scribe = Scribe(Alliance.founded({**GRADES, "jinzhou": Grade.A3, "yingkou": Grade.B2}))
    consent_of(scribe)
    scribe.cross_epoch()
    scribe.cross_epoch()
    scribe.recover()
    scribe.write_until(scribe.chain.height + BLOCKS_KEPT)
    return scribe


def follower(scribe: Scribe, without: int = 0) -> tuple[Chain, MemoryBlockStore]:
    """The same chain over a store, without the certificate of one height."""
    store = MemoryBlockStore()
    chain = Chain(scribe.alliance.genesis, scribe.verifier, store)
    for height, block in enumerate(scribe.blocks, 1):
        store.append_block(height, encode(block, chain.chain_id))
        chain.append_block(block)
        certificate = scribe.chain.result_certificate(height)
        if certificate is not None and height != without:
            chain.add_result_certificate(certificate)
            store.add_certificate(height, encode(certificate, chain.chain_id))
    return chain, store


def same(chain: Chain, whole: Chain) -> None:
    """All that can be asked about every height, proofs too."""
    for height in range(1, whole.height + 1):
        assert chain.block(height) == whole.block(height)
        assert chain.outcome(height) == whole.outcome(height)
        assert chain.codes(height) == whole.outcome(height).codes
        assert chain.finality_of(height) == whole.finality_of(height)
        assert chain.result_certificate(height) == whole.result_certificate(height)
        assert chain.prove_consistency(height, whole.height) == whole.prove_consistency(height, whole.height)
        if whole.result_certificate(height) is not None:
            places = range(len(chain.codes(height)))
            assert chain.prove_places(height, places) == whole.prove_places(height, places)


def test_what_was_read_again_is_what_was_kept(scribe: Scribe) -> None:
    """L3, L4, L5: the chain over a store answers as the one that keeps all its blocks."""
    chain, _ = follower(scribe)
    assert [chain.is_recent(each) for each in (1, chain.height - BLOCKS_KEPT, chain.height)] == [False, False, True]
    same(chain, scribe.chain)
    assert [chain.epoch_hop(epoch) for epoch in range(3)] == [scribe.chain.epoch_hop(epoch) for epoch in range(3)]
    for grant_id in (id_of("g"), id_of("i"), id_of("nothing")):
        named = chain.transactions_about(grant_id)
        assert named == scribe.chain.transactions_about(grant_id)
        for leaf in named:
            assert chain.place_of(leaf) == scribe.chain.place_of(leaf)
            assert chain.code_of(leaf) == scribe.chain.code_of(leaf)
            assert chain.prove_transaction(leaf) == scribe.chain.prove_transaction(leaf)
    assert len(chain.transactions_about(id_of("g"))) == 4


def test_large_blocks_are_read_again_early(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Habit 8: full blocks are let go by their bytes; the states behind them stay for proofs (L4)."""
    monkeypatch.setattr(archive, "BATCHES_KEPT_BYTES", 1_000)
    for number in range(4):
        scribe.write(*[scribe.record(f"{number} {place}") for place in range(4)])
    chain, _ = follower(scribe)
    assert [chain.is_recent(chain.height - back) for back in (0, 1, 3)] == [True, False, False]
    same(chain, scribe.chain)
    for height in (chain.height, chain.height - 3):
        assert chain.prove_state(b"nothing", height) == scribe.chain.prove_state(b"nothing", height)


def test_an_old_height_may_still_be_certified(scribe: Scribe) -> None:
    """L3, L5: also the last one of an epoch, whose state was kept for the hop over it."""
    boundary = scribe.chain.last_height_of(0)
    assert boundary is not None
    for height in (2, boundary):
        chain, store = follower(scribe, without=height)
        assert chain.result_certificate(height) is None
        with pytest.raises(FailedPrecondition, match="NOT_FINAL"):
            chain.prove_places(height, [0])
        certificate = scribe.chain.result_certificate(height)
        assert certificate is not None
        chain.add_result_certificate(certificate)
        store.add_certificate(height, encode(certificate, chain.chain_id))
        same(chain, scribe.chain)
        assert chain.epoch_hop(0) == scribe.chain.epoch_hop(0)
        with pytest.raises(FailedPrecondition, match="STATE_GONE"):
            chain.prove_state(b"nothing", height)


def test_there_is_nothing_before_and_behind(scribe: Scribe) -> None:
    chain, _ = follower(scribe)
    for height in (-1, 0, chain.height + 1):
        for ask in (chain.block, chain.outcome, chain.codes, chain.is_recent, chain.result_certificate):
            with pytest.raises(NotFound, match="NO_SUCH_HEIGHT"):
                ask(height)
