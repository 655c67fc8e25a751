"""One member's copy of the chain: what it appends, what it calls final, and what it can prove (rules L3 to L5, L8).

Blocks are appended in the order of their heights, each verified (`acceptance`) and executed (`execution`). A result
certificate makes a height final. When a quorum certifies another result than this ledger computed, something here is damaged
or wrong: the chain says so and must not be used any further.

Left out: keeping blocks on disk (the store, from which old blocks are read again), and getting them from peers (`sync`).
"""

from collections.abc import Sequence
from dataclasses import replace

from consilium.kernel.certificates import Committee, Result, ResultCertificate, verify_result_certificate
from consilium.kernel.chain import CertifiedBlock, Genesis
from consilium.kernel.codes import Code
from consilium.kernel.election import Candidate
from consilium.kernel.errors import BadSignature, Conflict, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.founding import verify_genesis
from consilium.kernel.hashing import sha256
from consilium.kernel.light_client import Finality, Hop, StateProof, TransactionProof
from consilium.kernel.merkle import ConsistencyProof, MerkleLog
from consilium.kernel.recovery import RecoveryCertificate, RecoveryStatement, committed_tip
from consilium.kernel.recovery_reports import SignedReport, check_not_silent, compose
from consilium.kernel.signing import Verifier
from consilium.kernel.state_values import AllianceState, GrantState, MemberState, ProposalState
from consilium.ledger.core.acceptance import Tip, VerifiedBlock, genesis_tip, verify_block
from consilium.ledger.core.archive import Archive, Link, SealedState, StoredBlocks
from consilium.ledger.core.elections import cross_recovery
from consilium.ledger.core.execution import BlockOutcome, execute_block
from consilium.ledger.core.proofs import epoch_hop, state_proof, transaction_proofs
from consilium.ledger.core.state import LedgerState
from consilium.ledger.core.tables import RecordEntry
from consilium.ledger.core.terms import draw_recovery


class Chain:
    """The chain from genesis to this member's tip."""

    def __init__(self, genesis: Genesis, verifier: Verifier, stored: StoredBlocks | None = None) -> None:
        """Begin at genesis.

        `stored` has every block and certificate that was handed in here, at the latest before the next block, and stays
        open; without it all blocks stay in memory. Raises InvalidArgument for a genesis that contradicts itself,
        FailedPrecondition below four founders.
        """
        verify_genesis(genesis)
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.certified_height = self.alliance_height = 0
        self._verifier = verifier
        self._state = LedgerState(genesis)
        self._log = MerkleLog()
        self._archive = Archive(self._log, self.chain_id, stored)
        self._tip = genesis_tip(genesis)
        self._hops: dict[int, Hop] = {}
        self._recoveries: dict[int, RecoveryCertificate] = {}
        self._term_ends: dict[int, int] = {}
        self._boundaries: dict[int, int] = {}

    # --- growing ---

    @property
    def tip(self) -> Tip:
        """The last executed block, and what must follow it."""
        return self._tip

    @property
    def height(self) -> int:
        """The height of the tip, 0 at genesis."""
        return self._tip.height

    def append_block(self, block: CertifiedBlock) -> BlockOutcome:
        """Verify the next block and execute it; raises what `acceptance.verify_block` raises, then nothing changed."""
        return self.append_verified(verify_block(block, self._tip, self.chain_id, self._verifier))

    def append_verified(self, verified: VerifiedBlock) -> BlockOutcome:
        """Execute a block that was verified against this very tip.

        Raises Conflict: WRONG_PARENT when the tip has moved since; DataLoss: DIVERGED for a recovery drawn wrongly (C10).
        """
        opened = verified.opened
        header = opened.header
        if header.parent_hash != self._tip.block_hash:
            raise Conflict("WRONG_PARENT", "This block was verified against another tip.", "L3")
        if opened.block.recovery is not None:
            self._recover(opened.block.recovery, header.height)
        outcome = execute_block(self._state, self._log, opened, self._verifier)
        state = SealedState(self._state.map, self._state.tables_root)
        self._archive.add(Link(opened.block, header, outcome, state), opened.batches)
        if header.height == self._tip.outlook.term_end:
            self._term_ends[header.epoch] = header.height
        if outcome.outlook.epoch != header.epoch:
            self._boundaries[header.epoch] = header.height
        self._tip = Tip(header.height, opened.block_hash, header.time_ms, outcome.outlook)
        return outcome

    def _recover(self, recovery: RecoveryCertificate, height: int) -> None:
        """Note that an epoch ends by a recovery, and open the next one with its first block (C10)."""
        statement = recovery.statement
        self._recoveries[statement.epoch] = recovery
        if height > statement.last_height:
            cross_recovery(self._state, statement)
            self._boundaries[statement.epoch], self._hops[statement.epoch] = statement.last_height, recovery

    def add_result_certificate(self, certificate: ResultCertificate) -> None:
        """Take in the proof that a quorum got the same result; the height is final from here on (L3).

        Raises FailedPrecondition (NOT_EXECUTED) above the tip, BadSignature for a certificate that does not hold, DataLoss
        (DIVERGED) when it holds and its result is not this ledger's.
        """
        link = self._certifiable(certificate.result)
        committee = self.committee_of(certificate.result.epoch)
        verify_result_certificate(committee, certificate, self.chain_id, self._verifier)
        self._certify(link, certificate)

    def add_kept_certificate(self, certificate: ResultCertificate) -> None:
        """The same without a look at its signatures, where a later certificate is going to vouch for it (`replay`)."""
        self._certify(self._certifiable(certificate.result), certificate)

    def _certifiable(self, result: Result) -> Link:
        """The block that a result may be of; raises as `add_result_certificate` before a look at signatures."""
        if result.height > self.height:
            raise FailedPrecondition("NOT_EXECUTED", f"Height {result.height} has not been executed here.", "L3")
        link = self._archive.link(result.height)
        if not self._may_certify(result.epoch, link):
            raise BadSignature("WRONG_EPOCH", "The certificate names another epoch than its height's.", "L3")
        return link

    def _certify(self, link: Link, certificate: ResultCertificate) -> None:
        """A height is final with a certificate that holds; raises DataLoss: DIVERGED."""
        result, own = certificate.result, link.outcome.result
        if result != own and replace(result, epoch=link.header.epoch) != own:
            raise DataLoss("DIVERGED", f"A quorum certified another result for height {result.height} than ours.", "L3")
        if link.ends_epoch:
            self._keep_hop(replace(link, certificate=certificate))
        self._archive.certify(certificate)
        self.certified_height = max(self.certified_height, result.height)

    def _may_certify(self, epoch: int, link: Link) -> bool:
        """Whether this epoch's committee may: its own results, and those that a lost quorum before it left open (C10)."""
        own = link.header.epoch
        return epoch == own or (epoch == own + 1 and own in self._recoveries and self._tip.outlook.epoch > own)

    def _keep_hop(self, boundary: Link) -> None:
        """Make the hop over an epoch's last block as soon as it is final; its state is kept until then (L5)."""
        epoch = boundary.header.epoch
        term_end = self._archive.link(self._term_ends[epoch])
        self._hops.setdefault(epoch, epoch_hop(term_end, boundary, self.chain_id))
        self.alliance_height = max(self.alliance_height, term_end.header.height)

    # --- reading ---

    def header(self, height: int) -> bytes:
        """The encoded header of a height. Raises NotFound: NO_SUCH_HEIGHT."""
        return self._archive.header(height)

    def link(self, height: int) -> Link:
        """The block at a height, what it gave and its certificate, read once. Raises NotFound: NO_SUCH_HEIGHT."""
        return self._archive.link(height)

    def block(self, height: int) -> CertifiedBlock:
        """The block at a height. Raises NotFound: NO_SUCH_HEIGHT."""
        return self._archive.link(height).block

    def outcome(self, height: int) -> BlockOutcome:
        """What executing a height gave. Raises NotFound: NO_SUCH_HEIGHT."""
        return self._archive.outcome(height)

    def codes(self, height: int) -> tuple[Code, ...]:
        """The codes of a block's transactions, in order. Raises NotFound: NO_SUCH_HEIGHT."""
        return self._archive.codes(height)

    def is_recent(self, height: int) -> bool:
        """Whether a block is in memory; an older one is read from the store. Raises NotFound: NO_SUCH_HEIGHT."""
        return self._archive.is_recent(height)

    def result_certificate(self, height: int) -> ResultCertificate | None:
        """The certificate of a height, or None while it is not here. Raises NotFound: NO_SUCH_HEIGHT."""
        return self._archive.certificate(height)

    def finality_of(self, height: int) -> Finality | None:
        """How final a height is here; None while no certificate of it is. Raises NotFound: NO_SUCH_HEIGHT."""
        if height <= self.alliance_height:
            return Finality.ALLIANCE
        return None if self._archive.certificate(height) is None else Finality.COMMITTEE

    def committee_of(self, epoch: int) -> Committee:
        """The committee of an epoch. Raises NotFound: UNKNOWN_EPOCH."""
        committee = self._state.committee_of(epoch)
        if committee is None:
            raise NotFound("UNKNOWN_EPOCH", f"Epoch {epoch} has not begun here.", "C7")
        return committee

    def place_of(self, transaction_hash: bytes) -> tuple[int, int]:
        """The height of a transaction and its place in the block, from 0. Raises NotFound: NO_SUCH_TRANSACTION."""
        return self._archive.place_of(transaction_hash)

    def code_of(self, transaction_hash: bytes) -> tuple[int, Code]:
        """The height of a transaction and its code. Raises NotFound: NO_SUCH_TRANSACTION."""
        height, place = self._archive.place_of(transaction_hash)
        return height, self._archive.codes(height)[place]

    def member(self, member_id: str) -> MemberState | None:
        """A member at the tip, or None."""
        return self._state.member(member_id)

    def members(self) -> list[MemberState]:
        """All members there ever were, at the tip, sorted by id."""
        return self._state.members()

    def active_members(self) -> list[MemberState]:
        """The active members at the tip, sorted by id."""
        return self._state.active_members()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The snapshot that the next draw is made from: the candidates as the sitting epoch began (C6)."""
        return self._state.terms.candidates

    def proposal(self, proposal_id: bytes) -> ProposalState | None:
        """A proposal at the tip, or None for one unheard of, or ended long ago."""
        return self._state.proposals.get(proposal_id)

    @property
    def alliance(self) -> AllianceState:
        """What the alliance lives by at the tip."""
        return self._state.alliance

    def record(self, record_id: bytes) -> RecordEntry | None:
        """A registered record, or None."""
        return self._state.records.get(record_id)

    def records(self) -> list[RecordEntry]:
        """All registered records, in the order of the chain."""
        return self._state.records.all()

    def grant(self, grant_id: bytes) -> GrantState | None:
        """A grant at the tip, or None."""
        return self._state.grant(grant_id)

    def grants_beside(self, grant_id: bytes) -> list[GrantState]:
        """All grants under the key of this one, itself included, oldest first; none for one unheard of."""
        grant = self._state.grant(grant_id)
        beside = () if grant is None else self._state.grants_of_key(grant.terms.delegating_pk)
        return [found for each in beside if (found := self._state.grant(each)) is not None]

    def transactions_about(self, grant_id: bytes) -> tuple[bytes, ...]:
        """The hashes of all transactions that name a grant, refused ones too, in the order of the ledger.

        This is what a patient's report is made of (promise 8): grant, requests, receipts, revocation.
        """
        return self._archive.about(grant_id)

    def last_height_of(self, epoch: int) -> int | None:
        """The last height of an epoch, or None while it goes on."""
        return self._boundaries.get(epoch)

    @property
    def recoveries(self) -> int:
        """How many epochs have ended by a recovery (C10)."""
        return len(self._recoveries)

    def recovery_of(self, epoch: int) -> RecoveryCertificate | None:
        """The recovery by which an epoch ended, or None (C10)."""
        return self._recoveries.get(epoch)

    # --- proving ---

    def prove_transaction(self, transaction_hash: bytes) -> TransactionProof:
        """That a transaction was ordered, and how it ended.

        Raises NotFound (NO_SUCH_TRANSACTION), FailedPrecondition (NOT_FINAL).
        """
        height, place = self.place_of(transaction_hash)
        return self.prove_places(height, [place])[0]

    def prove_places(self, height: int, places: Sequence[int]) -> list[TransactionProof]:
        """The same for several places of one block, which is hashed once.

        Raises NotFound (NO_SUCH_HEIGHT), FailedPrecondition (NOT_FINAL).
        """
        return transaction_proofs(self._archive.link(height), self._log, places, self.chain_id)

    def prove_state(self, key: bytes, height: int | None = None) -> StateProof:
        """What the authenticated map holds under a key, at the newest certified height or a recent one.

        Raises NotFound (NO_SUCH_HEIGHT), FailedPrecondition (NOT_FINAL, STATE_GONE).
        """
        return state_proof(self._archive.link(self.certified_height if height is None else height), key)

    def prove_consistency(self, old_height: int, new_height: int) -> ConsistencyProof:
        """That the log at one height continues the log at an earlier one (L4).

        Raises NotFound (NO_SUCH_HEIGHT), InvalidArgument (NO_SUCH_SIZE) when the heights are the wrong way round.
        """
        return self._log.consistency_proof(self._archive.log_size(old_height), self._archive.log_size(new_height))

    def draw_recovery(self, lost: Sequence[str]) -> tuple[Committee, bytes]:
        """Who follows a recovery without these members, and the mix (C10); raises as `terms.draw_recovery`."""
        state = self._state
        return draw_recovery(state.terms, state.first_candidates, state.parameters, self.chain_id, lost)

    def draft_recovery(self, lost: Sequence[str], reports: Sequence[SignedReport]) -> RecoveryCertificate:
        """What the electors may sign after these reports, without signatures (C10).

        Raises InvalidArgument (UNKNOWN_MEMBER) for a lost one that is no elector, FailedPrecondition (TOO_FEW_MEMBERS) where
        no committee is left to draw, and what `recovery_reports.compose` and `check_not_silent` raise.
        """
        outlook = self._tip.outlook
        gone, electors = tuple(sorted(set(lost))), [each.member_id for each in outlook.electorate.electors]
        strangers = [each for each in gone if each not in electors]
        if strangers:
            raise InvalidArgument("UNKNOWN_MEMBER", f"{strangers[0][:40]!r} is no elector of epoch {outlook.epoch}.", "C10")
        found = compose(outlook, reports, self.chain_id, self._verifier)
        committee, mix = self.draw_recovery(gone)
        check_not_silent(outlook.committee, committee, reports)
        height, block_hash = committed_tip(found.commit, outlook.epoch_start)
        prepared = tuple([sha256(each.header) for each in found.prepared])
        statement = RecoveryStatement(outlook.epoch, height, block_hash, prepared, gone, committee, mix)
        return RecoveryCertificate(statement, found.commit, found.prepared, ())

    def epoch_hop(self, epoch: int) -> Hop:
        """What a light client needs to cross from `epoch` into the next (L5).

        Raises NotFound: NO_SUCH_HOP until the epoch's last block is certified here, or a recovery was crossed.
        """
        hop = self._hops.get(epoch)
        if hop is None:
            raise NotFound("NO_SUCH_HOP", f"Epoch {epoch} has not ended in a certified block here.", "L5")
        return hop
