"""A start executes everything and believes a store no more than it must (L3, L8, C10)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, ConsiliumError
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier, Verifier
from consilium.kernel.transactions import Grade, GradeAct
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.replay import Replay, replay_all
from consilium.ledger.keeper import Keeper
from consilium.ledger.starting import Starting
from consilium.ledger.store import MemoryBlockStore
from tests.alliance import GRADES, Alliance, MemberKeys, Scribe, seed_of

NOBODY = Ed25519Signer.from_seed(seed_of("nobody"))


class Trusting:
    """Holds whatever it is for good."""

    def verify(self, *_: bytes) -> None:
        """Say nothing."""


@dataclass
class Counting:
    """A verifier that counts."""

    count: int = 0
    verifier: Verifier = field(default_factory=Ed25519Verifier)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """As the verifier within."""
        self.count += 1
        self.verifier.verify(public_key, message, signature)


@pytest.fixture
def scribe() -> Scribe:
    """Two epochs and a bit of a third, with transactions that have signatures of their own."""
    scribe = Scribe(Alliance.founded())
    scribe.govern(GradeAct("fushun", Grade.A3, 500))
    scribe.cross_epoch()
    scribe.write(*[scribe.reveal(name) for name in scribe.alliance.keys])
    scribe.cross_epoch()
    scribe.write(scribe.record("r"))
    scribe.write_until(scribe.chain.height + 4)
    return scribe


def stored(scribe: Scribe, *, without: tuple[int, ...] = ()) -> MemoryBlockStore:
    """What a ledger has kept of it, but for the certificates of some heights."""
    store = MemoryBlockStore()
    scribe.keep_in(store, without=without)
    return store


def replayed(scribe: Scribe, store: MemoryBlockStore, verifier: Verifier | None = None) -> Chain:
    """The chain after a start with this store."""
    verifier = verifier or Ed25519Verifier()
    chain = Chain(scribe.alliance.genesis, verifier, store)
    replay, certified = Replay(chain, store, verifier), list[int]()
    for height in range(1, store.height + 1):
        chain.append_verified(replay.read(height))
        certified += replay.executed(height)
    certified += replay.finish()
    assert [each for each in range(1, chain.height + 1) if chain.result_certificate(each)] == sorted(certified)
    return chain


def forged(certificate: ResultCertificate) -> ResultCertificate:
    """The same under other signatures."""
    return replace(certificate, signatures=tuple(replace(each, signature=bytes(64)) for each in certificate.signatures))


def uncommitted(block: CertifiedBlock) -> CertifiedBlock:
    """The same, committed by nobody."""
    commit = replace(block.commit, signatures=tuple(replace(e, signature=bytes(64)) for e in block.commit.signatures))
    return replace(block, commit=commit)


def with_block(scribe: Scribe, height: int, block: CertifiedBlock) -> Scribe:
    """The scribe with another block in its books."""
    scribe.blocks[height - 1] = block
    return scribe


def certificate_of(scribe: Scribe, height: int) -> ResultCertificate:
    found = scribe.chain.result_certificate(height)
    assert found is not None
    return found


def test_a_start_gives_the_same_chain(scribe: Scribe) -> None:
    """L8: with certificates missing as well, at an epoch's end and at the tip."""
    chain = scribe.chain
    boundary, tip = chain.last_height_of(0), chain.height
    assert boundary is not None
    for without in ((), (boundary,), (tip,), (tip - 2, tip - 1, tip), tuple(range(1, tip + 1))):
        again = replayed(scribe, stored(scribe, without=without))
        for height in range(1, tip + 1):
            assert again.outcome(height) == chain.outcome(height)
            assert again.result_certificate(height) == (None if height in without else certificate_of(scribe, height))


def test_few_signatures_are_verified(scribe: Scribe) -> None:
    """What it is for: a quorum at each epoch's end and at the tip; besides, what executing itself looks at."""
    quorum, handovers = scribe.chain.tip.outlook.committee.quorum, 2 * len(scribe.alliance.keys)
    verifier = Counting()
    replayed(scribe, stored(scribe), verifier)
    assert verifier.count == 3 * quorum + handovers
    verifier = Counting()
    replayed(scribe, stored(scribe, without=(scribe.chain.height,)), verifier)
    assert verifier.count == 4 * quorum + handovers


def test_what_vouches_for_the_rest_is_verified(scribe: Scribe) -> None:
    """L3: the newest certificate of each epoch."""
    boundary, tip = scribe.chain.last_height_of(0), scribe.chain.height
    assert boundary is not None
    for height in (boundary, tip):
        store = stored(scribe, without=(height,))
        store.add_certificate(height, encode(forged(certificate_of(scribe, height)), scribe.chain.chain_id))
        with pytest.raises(BadSignature):
            replayed(scribe, store)


def test_what_nothing_vouches_for_is_verified(scribe: Scribe) -> None:
    """L2, L3: the commits behind the newest certificate of an epoch, and every signature in those blocks."""
    boundary, tip = scribe.chain.last_height_of(1), scribe.chain.height
    assert boundary is not None
    for height in (boundary, tip):
        block = scribe.blocks[height - 1]
        store = stored(with_block(scribe, height, uncommitted(block)), without=(height,))
        with_block(scribe, height, block)
        with pytest.raises(BadSignature):
            replayed(scribe, store)
    for key in ("anshan", "nobody"):
        scribe = Scribe(Alliance.founded(), Trusting())
        signer = scribe.alliance.keys["anshan"].member if key == "anshan" else NOBODY
        record = scribe.record("r")
        scribe.append(scribe.block(scribe.alliance.batch("anshan", [record])))
        bad = replace(scribe.alliance.keys["anshan"], member=signer)
        scribe.alliance = replace(scribe.alliance, keys={**scribe.alliance.keys, "anshan": bad})
        scribe.append(scribe.block(scribe.alliance.batch("anshan", [scribe.record("s")])))
        if key == "anshan":
            replayed(scribe, stored(scribe, without=(2,)))
        else:
            with pytest.raises(BadSignature):
                replayed(scribe, stored(scribe, without=(2,)))


@pytest.mark.parametrize("uncertified", [False, True])
def test_a_chain_made_up_without_keys_is_refused(*, uncertified: bool) -> None:
    """L3, C7: the true genesis, and epochs, committees and certificates by somebody who has no member's key."""
    alliance = Alliance.founded()
    keys = {name: MemberKeys(each.profile, NOBODY, NOBODY, each.preimages) for name, each in alliance.keys.items()}
    liar = Scribe(replace(alliance, keys=keys), Trusting())
    liar.govern(GradeAct("fushun", Grade.A3, 500))
    liar.cross_epoch()
    liar.write()
    boundary = liar.chain.last_height_of(0)
    assert boundary is not None
    with pytest.raises(ConsiliumError):
        replayed(Scribe(alliance), stored(liar, without=tuple(range(1, boundary + 1)) if uncertified else ()))
    with pytest.raises(ConsiliumError):
        Keeper(alliance.genesis, stored(liar), Ed25519Verifier())


def test_what_the_committee_after_a_recovery_certified_is_there_again() -> None:
    """C10: its certificates of the epoch before name a committee that a later block opens."""
    scribe = Scribe(Alliance.founded({**GRADES, "jinzhou": Grade.A3, "yingkou": Grade.B2}))
    scribe.write_until(4)
    recovery = scribe.recover()
    scribe.write()
    result = replace(scribe.chain.outcome(4).result, epoch=1)
    late = scribe.alliance.certify(recovery.statement.next_committee, result)
    store = stored(scribe, without=(4,))
    store.add_certificate(4, encode(late, scribe.chain.chain_id))
    keeper = Keeper(scribe.alliance.genesis, store, scribe.verifier)
    assert keeper.chain.result_certificate(4) == late
    assert list(keeper.unproven) == [5]
    audited = Chain(scribe.alliance.genesis, scribe.verifier, store)
    replay_all(audited, store, store.height)
    assert audited.result_certificate(4) == late
    store = stored(scribe, without=(4,))
    store.add_certificate(4, encode(forged(late), scribe.chain.chain_id))
    with pytest.raises(BadSignature):
        Keeper(scribe.alliance.genesis, store, scribe.verifier)
    with pytest.raises(BadSignature):
        replay_all(Chain(scribe.alliance.genesis, scribe.verifier, store), store, store.height)


def test_an_epoch_that_was_recovered_vouches_for_nothing() -> None:
    """C10, L3: what the lost committee left uncertified is verified before the recovery is crossed."""
    scribe = Scribe(Alliance.founded({**GRADES, "jinzhou": Grade.A3, "yingkou": Grade.B2}))
    scribe.write_until(4)
    scribe.recover()
    scribe.write()
    replayed(scribe, stored(scribe, without=(3, 4)))
    with_block(scribe, 4, uncommitted(scribe.blocks[3]))
    replayed(scribe, stored(scribe, without=(3,)))
    with pytest.raises(BadSignature):
        replayed(scribe, stored(scribe, without=(3, 4)))


def test_an_audit_verifies_every_signature(scribe: Scribe) -> None:
    """Promise 8: a certificate or a commit in the middle that a start passes over is found."""
    store = stored(scribe, without=(4,))
    store.add_certificate(4, encode(forged(certificate_of(scribe, 4)), scribe.chain.chain_id))
    replayed(scribe, store)
    with pytest.raises(BadSignature):
        replay_all(Chain(scribe.alliance.genesis, scribe.verifier, store), store, store.height)
    store = stored(with_block(scribe, 4, uncommitted(scribe.blocks[3])))
    replayed(scribe, store)
    with pytest.raises(BadSignature):
        replay_all(Chain(scribe.alliance.genesis, scribe.verifier, store), store, store.height)


def test_a_start_says_how_far_it_is(scribe: Scribe) -> None:
    starting, store = Starting(), stored(scribe)
    Keeper(scribe.alliance.genesis, store, scribe.verifier, show=starting.note)
    told = {each.name: each.samples[0].value for each in starting.collect()}
    assert told == {"consilium_ledger_replayed_height": store.height, "consilium_ledger_stored_height": store.height}
