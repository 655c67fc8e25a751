"""The ledger crosses an epoch that ended by a recovery, and a light client with it (rules C10, L3, L5, L8)."""

from dataclasses import dataclass, replace

import pytest

from consilium.kernel.certificates import MemberSignature, Phase, PreparedCertificate, Vote
from consilium.kernel.chain import CertifiedBlock, Header, recovered
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Conflict, DataLoss, FailedPrecondition
from consilium.kernel.hashing import sha256
from consilium.kernel.light_client import Hop, TrustedHistory, decode_hop
from consilium.kernel.recovery import RecoveryCertificate, RecoveryStatement
from consilium.kernel.recovery_reports import RecoveryReport, SignedReport, sign_report
from consilium.kernel.transactions import Grade, MemberAct, MemberAction, UpgradeAct
from consilium.ledger.core.acceptance import Tip
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.sync import Append, Appended, Blocks, BlockSync, PeerTip, SentBlock
from tests.alliance import PARAMETERS, Alliance, Scribe, make_header

SEVEN = dict(zip(["anshan", "benxi", "chaoyang", "dalian", "fushun", "jinzhou", "panjin"], list(Grade)[3:10], strict=True))


@dataclass
class World:
    """A chain of three blocks, a fourth that is only prepared, and what members would sign over it."""

    scribe: Scribe
    lost: tuple[str, ...]
    prepared: CertifiedBlock

    @property
    def chain(self) -> Chain:
        return self.scribe.chain

    @property
    def chain_id(self) -> bytes:
        return self.chain.chain_id

    def statement(self) -> RecoveryStatement:
        """Ends the epoch with the prepared block."""
        tip = self.chain.tip
        committee, mix = self.chain.draw_recovery(self.lost)
        return RecoveryStatement(0, tip.height, tip.block_hash, (sha256(self.prepared.header),), self.lost, committee, mix)

    def certificate(self, statement: RecoveryStatement | None = None, signers: int = 5) -> RecoveryCertificate:
        """The statement with its proofs, signed by so many electors."""
        statement = statement or self.statement()
        names = [each.member_id for each in self.chain.tip.outlook.electorate.electors][:signers]
        message = encode(statement, self.chain_id)
        keys = self.scribe.alliance.keys
        signatures = tuple(MemberSignature(name, keys[name].member.sign(message)) for name in names)
        return RecoveryCertificate(statement, self.chain.block(statement.height).commit, (self.proof(),), signatures)

    def proof(self) -> PreparedCertificate:
        """The prepared certificate of the fourth block: 2f prepares, and the primary's word."""
        committee, alliance = self.chain.committee_of(0), self.scribe.alliance
        header = decode(Header, self.prepared.header, self.chain_id)
        votes = [
            Vote(phase, 0, 0, header.height, sha256(self.prepared.header)) for phase in (Phase.PRE_PREPARE, Phase.PREPARE)
        ]
        first, prepares = (
            alliance.consensus_signatures(committee, encode(vote, self.chain_id), places)
            for vote, places in zip(votes, ((0,), (1, 2)), strict=True)
        )
        return PreparedCertificate(0, self.prepared.header, first[0].signature, prepares)

    def named(self, recovery: RecoveryCertificate) -> CertifiedBlock:
        """The fourth block as it stands by the recovery: nobody's commits are known."""
        return replace(self.prepared, commit=replace(self.prepared.commit, signatures=()), recovery=recovery)

    def opening(self, recovery: RecoveryCertificate) -> CertifiedBlock:
        """The first block of the next epoch, by its committee."""
        tip = self.chain.tip
        tip = replace(tip, outlook=recovered(tip.outlook, recovery.statement))
        return self.block(tip, recovery)

    def block(self, tip: Tip, recovery: RecoveryCertificate | None) -> CertifiedBlock:
        alliance = self.scribe.alliance
        header = make_header(alliance, tip, [])
        commit = alliance.commit(tip.outlook.committee, header)
        return CertifiedBlock(encode(header, self.chain_id), (), commit, recovery)

    def cross(self) -> RecoveryCertificate:
        """Append both."""
        recovery = self.certificate()
        self.chain.append_block(self.named(recovery))
        self.chain.append_block(self.opening(recovery))
        return recovery


@pytest.fixture
def world() -> World:
    """Seven members, four of them delegates; two of these are lost."""
    scribe = Scribe(Alliance.founded(SEVEN, replace(PARAMETERS, committee_target=4)))
    scribe.write_until(3)
    lost = tuple(sorted(each.member_id for each in scribe.chain.tip.outlook.committee.delegates[2:]))
    prepared = scribe.block(scribe.alliance.batch("anshan", [scribe.record("hidden")]))
    return World(scribe, lost, prepared)


def test_the_epoch_ends_with_the_prepared_block_and_the_next_has_the_drawn_committee(world: World) -> None:
    """C10: the block nobody can show commits of is executed; the draw left out the lost, from office and electorate."""
    recovery = world.cross()
    outlook = world.chain.tip.outlook
    assert (outlook.epoch, outlook.epoch_start, world.chain.height) == (1, 5, 5)
    assert outlook == recovered(world.chain.outcome(4).outlook, recovery.statement)
    seated = [each.member_id for each in outlook.committee.delegates]
    electors = [each.member_id for each in outlook.electorate.electors]
    assert not set(world.lost) & {*seated, *electors}
    assert len(electors) == 5
    assert world.chain.last_height_of(0) == 4


def test_no_recovery_opens_an_epoch_in_which_too_many_say_nothing(world: World) -> None:
    """C5, C10: it would order nothing, and nothing could end it. One of four is borne; who has no seat has lost no log."""
    tip, chain = world.chain.tip, world.chain
    sitting, following = (
        [each.member_id for each in some.delegates] for some in (tip.outlook.committee, chain.draw_recovery(())[0])
    )
    first, second, *_ = [each for each in following if each in sitting]
    seatless = next(each for each in following if each not in sitting)

    def reports(*lost_logs: str) -> list[SignedReport]:
        commit, keys = chain.block(tip.height).commit, world.scribe.alliance.keys
        told = [RecoveryReport(0, name, name not in lost_logs, commit, ()) for name in SEVEN]
        return [sign_report(each, keys[each.member_id].member, world.chain_id) for each in told]

    with pytest.raises(FailedPrecondition, match="SILENT_COMMITTEE") as refused:
        chain.draft_recovery([], reports(first, second))
    assert all(each in refused.value.sentence for each in (first, second))
    assert chain.draft_recovery([first], reports(first, second)).statement.lost == (first,)
    assert chain.draft_recovery([], reports(first, seatless)).statement.lost == ()


def test_an_adopted_upgrade_outlives_the_recovery(world: World) -> None:
    """C10, G5: the height from which other rules count is not forgotten with the epoch."""
    outlook = replace(world.chain.tip.outlook, upgrade=UpgradeAct(2, 1_000))
    assert recovered(outlook, world.statement()).stops_at == 1_000


def test_the_epoch_that_was_opened_goes_on_and_hands_over(world: World) -> None:
    """C7, C10: the recovered epoch has a draw and an alliance certificate of its own."""
    world.cross()
    scribe = world.scribe
    scribe.write_until(scribe.chain.tip.outlook.term_end)
    electors = [each.member_id for each in scribe.chain.tip.outlook.electorate.electors]
    scribe.write(scribe.handover(electors))
    assert scribe.chain.tip.outlook.epoch == 2
    assert len(scribe.chain.tip.outlook.electorate.electors) == 7, "who came back is an elector again"


def test_the_new_committee_certifies_what_the_old_one_left_open(world: World) -> None:
    """C10, L3: in its own epoch's name, and not before the recovery stands in the chain."""
    recovery = world.certificate()
    outcome = world.chain.append_block(world.named(recovery))
    again = replace(outcome.result, epoch=1)
    proof = world.scribe.alliance.certify(recovery.statement.next_committee, again)
    with pytest.raises(BadSignature):
        world.chain.add_result_certificate(proof)
    world.chain.append_block(world.opening(recovery))
    world.chain.add_result_certificate(proof)
    assert world.chain.result_certificate(4) == proof
    false = world.scribe.alliance.certify(recovery.statement.next_committee, replace(again, log_root=bytes(32)))
    with pytest.raises(DataLoss):
        world.chain.add_result_certificate(false)


def test_a_light_client_crosses_and_checks_a_proof_of_either_side(world: World) -> None:
    """C10, L5: the certificate alone is the hop; what the new committee certified of the old epoch verifies."""
    recovery = world.cross()
    alliance, chain, verifier = world.scribe.alliance, world.chain, world.scribe.verifier
    committee = recovery.statement.next_committee
    chain.add_result_certificate(alliance.certify(committee, replace(chain.outcome(4).result, epoch=1)))
    hop: Hop = decode_hop(encode(chain.epoch_hop(0), chain.chain_id), chain.chain_id)
    history = TrustedHistory(alliance.genesis)
    record = world.scribe.chain.prove_places(4, [0])[0]
    with pytest.raises(Exception, match="UNKNOWN_EPOCH"):
        history.verify_transaction(record, verifier)
    history.hop(hop, verifier)
    assert history.verify_transaction(record, verifier).height == 4
    assert history.epoch == 1
    assert history.committee_of(1) == committee


def test_a_light_client_refuses_a_short_one(world: World) -> None:
    """C10, L5: two thirds are not more than two thirds."""
    history = TrustedHistory(world.scribe.alliance.genesis)
    with pytest.raises(BadSignature):
        history.hop(world.certificate(signers=4), world.scribe.verifier)
    assert history.epoch == 0


def test_block_sync_crosses(world: World) -> None:
    """C10, L8: a laggard gets both blocks from a peer, with the new committee's certificates, and bans nobody."""
    recovery = world.cross()
    committee, alliance = recovery.statement.next_committee, world.scribe.alliance
    results = world.chain.outcome(4).result, world.chain.outcome(5).result
    proofs = {each.height: alliance.certify(committee, replace(each, epoch=1)) for each in results}
    chain = Chain(alliance.genesis, world.scribe.verifier)
    sync = BlockSync(chain.tip, chain.chain_id, world.scribe.verifier)

    def sent(height: int) -> SentBlock:
        proof = proofs.get(height)
        return SentBlock(
            encode(world.chain.block(height), chain.chain_id), None if proof is None else encode(proof, chain.chain_id)
        )

    sync.step(PeerTip("benxi", 5))
    effects, certified = sync.step(Blocks("benxi", tuple(map(sent, range(1, 6))))), []
    while effects and isinstance(effects[0], Append):
        chain.append_verified(effects[0].block)
        certified.append(effects[0].certificate is not None)
        effects = sync.step(Appended(chain.tip))
    assert effects == []
    assert chain.tip == world.chain.tip
    assert certified == [False, False, False, False, True]


def test_what_is_refused(world: World) -> None:
    """C10: a recovery with too few signatures, for another block, at another place, or of the old committee's commits."""
    recovery, chain = world.certificate(), world.chain
    with pytest.raises(BadSignature):
        chain.append_block(world.named(world.certificate(signers=4)))
    with pytest.raises(Conflict, match="WRONG_RECOVERY"):
        chain.append_block(replace(world.scribe.block(), recovery=recovery))
    with pytest.raises(Conflict, match="WRONG_RECOVERY"):
        chain.append_block(world.opening(recovery))
    with pytest.raises(BadSignature):
        chain.append_block(replace(world.named(recovery), recovery=None))
    chain.append_block(world.named(recovery))
    with pytest.raises(Conflict, match="WRONG_EPOCH"):
        chain.append_block(world.block(chain.tip, recovery))
    opening, old = world.opening(recovery), chain.tip.outlook.committee
    committed = world.scribe.alliance.commit(old, decode(Header, opening.header, chain.chain_id))
    with pytest.raises(BadSignature):
        chain.append_block(replace(opening, commit=committed))


def test_a_committee_that_was_not_drawn_is_noticed(world: World) -> None:
    """C10: everybody draws again; even two thirds of the members cannot seat whom they like."""
    statement = world.statement()
    rigged = replace(statement.next_committee, delegates=statement.next_committee.delegates[::-1])
    recovery = world.certificate(replace(statement, next_committee=rigged))
    world.chain.append_block(world.named(recovery))
    with pytest.raises(DataLoss, match="DIVERGED"):
        world.chain.append_block(world.opening(recovery))


def test_too_few_that_are_left_draw_no_committee(world: World) -> None:
    """C10: below four there is none."""
    names = [each.member_id for each in world.chain.tip.outlook.electorate.electors]
    with pytest.raises(FailedPrecondition, match="TOO_FEW_MEMBERS"):
        world.chain.draw_recovery(names[:4])


def test_the_draw_hangs_on_nothing_that_moves_within_the_epoch(world: World) -> None:
    """C10: members at different heights draw the same committee, whoever revealed, was dismissed or was drawn since."""
    before = world.chain.draw_recovery(world.lost)
    scribe = world.scribe
    scribe.write(scribe.reveal(world.chain.tip.outlook.committee.delegates[0].member_id))
    dismissed = next(each for each in scribe.alliance.keys if each not in world.lost)
    scribe.govern(MemberAct(MemberAction.SUSPEND, scribe.alliance.keys[dismissed].profile))
    member = world.chain.member(dismissed)
    assert member is not None
    assert not member.is_active
    scribe.write_until(10)
    assert world.chain.tip.outlook.next_committee is not None
    assert world.chain.draw_recovery(world.lost) == before
