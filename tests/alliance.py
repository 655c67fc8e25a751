"""A whole alliance with its keys: the fixture the tests of ledger, consensus, simulator and client share.

Five members as in the demo (3A, 3B, 2A, 2B, 1A; each its own owner group), four of them delegates. Every key comes from
its owner's name, so a test that fails once fails always. `Alliance` signs, `Scribe` writes blocks and certifies them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from consilium.kernel.authoring import sign_payload
from consilium.kernel.certificates import (
    AllianceCertificate,
    AllianceStatement,
    CommitCertificate,
    Committee,
    Electorate,
    MemberSignature,
    Phase,
    QuorumSignature,
    Result,
    ResultCertificate,
    Vote,
)
from consilium.kernel.chain import (
    Batch,
    CertifiedBlock,
    Genesis,
    Header,
    batch_statement,
    recovered,
)
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import OpenedTransaction, open_batch, open_transaction, transaction_root
from consilium.kernel.parameters import Parameters
from consilium.kernel.recovery import RecoveryCertificate, RecoveryStatement
from consilium.kernel.signed_genesis import SignedGenesis, sign_genesis
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from consilium.kernel.transactions import (
    BallotBody,
    Body,
    Grade,
    HandoverBody,
    MemberProfile,
    Payload,
    ProposalBody,
    RecordBody,
    RevealBody,
)
from consilium.ledger.core.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from consilium.kernel.codes import Code
    from consilium.kernel.signing import Signer, Verifier
    from consilium.kernel.state_values import ProposalStatus
    from consilium.kernel.transactions import Act
    from consilium.ledger.core.acceptance import Tip
    from consilium.ledger.core.execution import BlockOutcome
    from consilium.ledger.store import BlockStore

GRADES = {
    "anshan": Grade.A3,
    "benxi": Grade.B3,
    "chaoyang": Grade.A2,
    "dalian": Grade.B2,
    "fushun": Grade.A1,
}
"""The five founders of the demo."""
PARAMETERS = Parameters(term_blocks=10, expiry_blocks_max=300)
"""Short terms, so that a test crosses an epoch in a few blocks."""
EVIDENCE = sha256(b"evidence")
"""The digest of the document behind proposals."""
REVEALS = 64
"""The length of a member's hash chain."""


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970, for blocks that must not look old."""
    return time.time_ns() // 1_000_000


def seed_of(name: str) -> bytes:
    """32 bytes that only depend on a name."""
    return sha256(name.encode())


def next_seed_of(member_id: str) -> bytes:
    """The member key that a member goes over to."""
    return seed_of(f"{member_id} next member")


def id_of(name: str) -> bytes:
    """A 16-byte identifier that only depends on a name."""
    return seed_of(name)[:16]


@dataclass(frozen=True)
class MemberKeys:
    """What one member keeps to itself."""

    profile: MemberProfile
    member: Signer
    consensus: Signer
    preimages: tuple[bytes, ...]

    @classmethod
    def of(
        cls, name: str, grade: Grade, owner_group: str = "", signer: Callable[[bytes], Signer] = Ed25519Signer.from_seed
    ) -> MemberKeys:
        """The keys of the member with this name; its own owner group unless one is named."""
        member, consensus = signer(seed_of(f"{name} member")), signer(seed_of(f"{name} consensus"))
        chain = [seed_of(f"{name} reveals")]
        for _ in range(REVEALS):
            chain.append(sha256(chain[-1]))
        anchor, *preimages = reversed(chain)
        profile = MemberProfile(name, owner_group or name, grade, member.public_key, consensus.public_key, anchor)
        return cls(profile, member, consensus, tuple(preimages))


@dataclass(frozen=True)
class Alliance:
    """The founders' keys and their genesis; signs whatever anybody in it may sign."""

    genesis: Genesis
    keys: Mapping[str, MemberKeys]
    chain_id: bytes

    @property
    def signed_genesis(self) -> SignedGenesis:
        """The genesis as all founders have signed it."""
        return SignedGenesis(
            self.genesis,
            tuple(
                sign_genesis(self.genesis, each.member_id, self.keys[each.member_id].member) for each in self.genesis.members
            ),
        )

    @property
    def genesis_file(self) -> bytes:
        """What the file of it holds."""
        return encode(self.signed_genesis, ZERO_DIGEST)

    @classmethod
    def founded(
        cls,
        grades: Mapping[str, Grade] = GRADES,
        parameters: Parameters = PARAMETERS,
        owner_groups: Mapping[str, str] | None = None,
        signer: Callable[[bytes], Signer] = Ed25519Signer.from_seed,
    ) -> Alliance:
        """An alliance of these members; `signer` makes a key from 32 bytes."""
        groups = owner_groups or {}
        keys = {name: MemberKeys.of(name, grades[name], groups.get(name, ""), signer) for name in sorted(grades)}
        profiles = tuple(each.profile for each in keys.values())
        genesis = Genesis("Liaoning", 1_700_000_000_000, parameters, profiles)
        return cls(genesis, keys, genesis.chain_id)

    def sign(self, signer: Signer, body: Body, request_id: bytes, expiry_height: int) -> bytes:
        """A transaction under its author's own signature (L2)."""
        return sign_payload(Payload(signer.public_key, request_id, expiry_height, body), signer, self.chain_id)

    def registration(self, holder: str, body: RecordBody, request_id: bytes, expiry_height: int) -> bytes:
        """A record as a bare payload, which the holder's batch vouches for (L2)."""
        author = self.keys[holder].profile.member_key
        return encode(Payload(author, request_id, expiry_height, body), self.chain_id)

    def batch(self, member: str, transactions: Sequence[bytes], signed_by: str = "") -> bytes:
        """The transactions under one signature of the member (L2), or of another one if named."""
        statement = batch_statement(member, [leaf_hash(each) for each in transactions], self.chain_id)
        signature = self.keys[signed_by or member].member.sign(statement)
        return encode(Batch(member, tuple(transactions), signature), self.chain_id)

    def consensus_signatures(
        self, committee: Committee, message: bytes, indexes: Sequence[int] | None = None
    ) -> tuple[QuorumSignature, ...]:
        """The delegates' signatures: of the first quorum, unless places are named."""
        places = range(committee.quorum) if indexes is None else indexes
        return tuple(QuorumSignature(i, self.keys[committee.delegates[i].member_id].consensus.sign(message)) for i in places)

    def commit(self, committee: Committee, header: Header, view: int = 0) -> CommitCertificate:
        """A quorum of commits for a header (L3)."""
        digest = sha256(encode(header, self.chain_id))
        vote = Vote(Phase.COMMIT, header.epoch, view, header.height, digest)
        signatures = self.consensus_signatures(committee, encode(vote, self.chain_id))
        return CommitCertificate(header.epoch, view, header.height, digest, signatures)

    def certify(self, committee: Committee, result: Result) -> ResultCertificate:
        """A quorum of equal results (L3)."""
        return ResultCertificate(result, self.consensus_signatures(committee, encode(result, self.chain_id)))

    def alliance_certificate(
        self, electorate: Electorate, result: Result, signers: Sequence[str] | None = None
    ) -> AllianceCertificate:
        """The end of a term, signed by all electors unless some are named (C7)."""
        names = [each.member_id for each in electorate.electors] if signers is None else signers
        message = encode(AllianceStatement(result), self.chain_id)
        signatures = tuple(MemberSignature(name, self.keys[name].member.sign(message)) for name in names)
        return AllianceCertificate(result, signatures)


@dataclass
class Scribe:
    """Writes blocks onto one chain, as its committee would, and certifies what they gave."""

    alliance: Alliance
    verifier: Verifier = field(default_factory=Ed25519Verifier)
    chain: Chain = field(init=False)
    blocks: list[CertifiedBlock] = field(default_factory=list)
    _requests: int = 0

    def __post_init__(self) -> None:
        """Begin at genesis."""
        self.chain = Chain(self.alliance.genesis, self.verifier)

    def keep_in(self, store: BlockStore, last: int | None = None, without: Collection[int] = ()) -> None:
        """Have a store hold the blocks up to a height, and their certificates but for those of some heights."""
        for height, block in enumerate(self.blocks[:last], 1):
            store.append_block(height, encode(block, self.chain.chain_id))
            certificate = self.chain.result_certificate(height)
            if certificate is not None and height not in without:
                store.add_certificate(height, encode(certificate, self.chain.chain_id))

    # --- transactions: each with a fresh request id and an expiry well ahead ---

    def fresh(self) -> tuple[bytes, int]:
        """A request id not used before, and an expiry height."""
        self._requests += 1
        return id_of(f"request {self._requests}"), self.chain.height + 100

    def signed(self, signer: Signer, body: Body) -> bytes:
        """A signed transaction that can be executed next."""
        return self.alliance.sign(signer, body, *self.fresh())

    def motion(
        self, act: Act, voters: Sequence[str] | None = None, evidence: bytes = EVIDENCE, within: int = 50
    ) -> tuple[bytes, ...]:
        """A proposal by the first of these members and the yes of the others, all active members unless some are named."""
        names = [each.profile.member_id for each in self.chain.active_members()] if voters is None else voters
        first, *others = [self.alliance.keys[name].member for name in names]
        proposal = self.signed(first, ProposalBody(act, evidence, self.chain.height + within))
        ballot = BallotBody(leaf_hash(proposal), yes=True)
        return proposal, *[self.signed(each, ballot) for each in others]

    def govern(
        self, act: Act, voters: Sequence[str] | None = None, evidence: bytes = EVIDENCE, within: int = 50
    ) -> Code | ProposalStatus:
        """Propose and say yes in one block: what doing it gave, why it was no proposal, or how it stands."""
        proposal, *ballots = self.motion(act, voters, evidence, within)
        codes = self.write(proposal, *ballots).codes
        state = self.chain.proposal(leaf_hash(proposal))
        if state is None:
            return codes[0]
        return state.status if state.outcome is None else state.outcome

    def record(self, name: str, holder: str = "anshan", owner_commitment: bytes = ZERO_DIGEST) -> bytes:
        """A registration whose ids all come from `name`, vouched for by the holder's batch."""
        return self.alliance.registration(holder, record_body(name, holder, owner_commitment), *self.fresh())

    def reveal(self, member: str, preimage: bytes | None = None) -> bytes:
        """A delegate's reveal for the sitting epoch; its next preimage unless one is named (C6)."""
        keys = self.alliance.keys[member]
        state = self.chain.member(member)
        assert state is not None
        following = {sha256(each): each for each in keys.preimages}[state.reveal_anchor]
        return self.signed(keys.member, RevealBody(self.chain.tip.outlook.epoch, preimage or following))

    def handover(self, signers: Sequence[str] | None = None) -> bytes:
        """A handover for the sitting term's end, signed by all electors unless some are named (C7)."""
        outlook = self.chain.tip.outlook
        result = self.chain.outcome(outlook.term_end).result
        certificate = self.alliance.alliance_certificate(outlook.electorate, result, signers)
        return self.signed(self.alliance.keys["anshan"].member, HandoverBody(certificate))

    # --- blocks ---

    def block(self, *batches: bytes, time_ms: int | None = None) -> CertifiedBlock:
        """The next block with these batches, committed by a quorum, not yet appended."""
        return make_block(self.alliance, self.chain.tip, batches, time_ms)

    def write(self, *transactions: bytes, member: str = "anshan", time_ms: int | None = None) -> BlockOutcome:
        """Append a block with one batch of this member (none without transactions), and certify its result."""
        batches = [self.alliance.batch(member, transactions)] if transactions else []
        return self.append(self.block(*batches, time_ms=time_ms))

    def append(self, block: CertifiedBlock) -> BlockOutcome:
        """Append a block and certify its result."""
        committee = self.chain.tip.outlook.committee
        outcome = self.chain.append_block(block)
        self.chain.add_result_certificate(self.alliance.certify(committee, outcome.result))
        self.blocks.append(block)
        return outcome

    def write_until(self, height: int) -> None:
        """Append empty blocks until the tip stands at `height`."""
        while self.chain.height < height:
            self.write()

    def cross_epoch(self) -> None:
        """Go on to the term's end and hand over to the next committee (C7)."""
        self.write_until(self.chain.tip.outlook.term_end)
        self.write(self.handover())

    def recover(self) -> RecoveryCertificate:
        """End the epoch at the tip because two delegates are lost, and append the first block of the next (C10)."""
        chain, tip = self.chain, self.chain.tip
        ahead = tip.outlook
        lost = tuple(sorted(each.member_id for each in ahead.committee.delegates[2:4]))
        is_empty = tip.height < ahead.epoch_start
        ended_by, commit = (ZERO_DIGEST, None) if is_empty else (tip.block_hash, chain.block(tip.height).commit)
        statement = RecoveryStatement(ahead.epoch, tip.height, ended_by, (), lost, *chain.draw_recovery(lost))
        names = sorted(each.member_id for each in ahead.electorate.electors)
        message = encode(statement, chain.chain_id)
        signatures = tuple(MemberSignature(name, self.alliance.keys[name].member.sign(message)) for name in names)
        recovery = RecoveryCertificate(statement, commit, (), signatures)
        following = replace(tip, outlook=recovered(ahead, statement))
        block = replace(make_block(self.alliance, following, []), recovery=recovery)
        chain.append_block(block)
        self.blocks.append(block)
        return recovery


def record_body(name: str, holder: str = "anshan", owner_commitment: bytes = ZERO_DIGEST) -> RecordBody:
    """A record whose id, root and capsule all come from `name`."""
    return RecordBody(
        id_of(f"{name} record"), holder, owner_commitment, seed_of(f"{name} root"), seed_of(f"{name} capsule"), 3
    )


def make_header(alliance: Alliance, tip: Tip, batches: Sequence[bytes], time_ms: int | None = None) -> Header:
    """The header that follows a tip with these batches."""
    opened = [open_batch(each, alliance.chain_id) for each in batches]
    ahead = tip.outlook
    following = ahead.next_committee
    return Header(
        ahead.epoch,
        tip.height + 1,
        tip.block_hash,
        tuple(each.digest for each in opened),
        transaction_root(opened),
        tip.time_ms + 1_000 if time_ms is None else time_ms,
        ahead.committee.hash(alliance.chain_id),
        ZERO_DIGEST if following is None else following.hash(alliance.chain_id),
        0,
        ahead.election_mix,
    )


def make_block(alliance: Alliance, tip: Tip, batches: Sequence[bytes], time_ms: int | None = None) -> CertifiedBlock:
    """A block that follows a tip, committed by a quorum of the sitting committee."""
    return certified(alliance, tip, make_header(alliance, tip, batches, time_ms), batches)


def certified(alliance: Alliance, tip: Tip, header: Header, batches: Sequence[bytes]) -> CertifiedBlock:
    """Any header, committed by a quorum of the sitting committee, right or wrong as it may be."""
    commit = alliance.commit(tip.outlook.committee, header)
    return CertifiedBlock(encode(header, alliance.chain_id), tuple(batches), commit)


def opened(alliance: Alliance, transaction: bytes) -> OpenedTransaction:
    """A transaction taken apart."""
    return open_transaction(transaction, alliance.chain_id)
