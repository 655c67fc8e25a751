"""Checking a ledger's answers with the genesis file alone (promise 8; rules L3, L4, L5, C7).

A `TransactionProof` shows that a transaction stands in the log and how it ended, a `StateProof` what the authenticated map
holds under a key, or that it holds nothing there. Both stand under a result certificate, which only the committee of its
epoch can make. A `TrustedHistory` starts from genesis and learns the following committees hop by hop, each signed by more
than two thirds of the members it already knows: at a handover, or as a recovery.

Bytes become values with `encoding.decode`; here is no network and no store.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from consilium.kernel.certificates import (
    HEADER_BYTES_MAX,
    AllianceCertificate,
    Committee,
    Electorate,
    MemberSignature,
    Result,
    ResultCertificate,
    verify_alliance_certificate,
    verify_result_certificate,
)
from consilium.kernel.chain import TRANSACTION_BYTES_MAX, Genesis, Header
from consilium.kernel.codes import Code, outcome_leaf
from consilium.kernel.encoding import AtMost, Digest, decode
from consilium.kernel.errors import BadSignature, Conflict, InvalidArgument, Malformed, NotFound
from consilium.kernel.founding import first_committee, first_electorate, verify_genesis
from consilium.kernel.hashing import sha256
from consilium.kernel.merkle import ConsistencyProof, InclusionProof, verify_consistency, verify_inclusion
from consilium.kernel.opening import open_transaction
from consilium.kernel.recovery import RECOVERY_BYTES_MAX, RecoveryCertificate, verify_recovery
from consilium.kernel.signing import Verifier
from consilium.kernel.state_map import MapProof, verify_absence, verify_presence
from consilium.kernel.state_values import electorate_entry, state_root
from consilium.kernel.transactions import Payload

MAP_KEY_BYTES_MAX = 128
"""The most bytes a key of the authenticated map may have."""
MAP_VALUE_BYTES_MAX = 65_536
"""The most bytes a value of the authenticated map may have; the largest is an electorate of 512."""


class Finality(IntEnum):
    """Who stands behind a height: its committee; or the alliance as well, which signed the end of a term above it (C7)."""

    COMMITTEE = 1
    ALLIANCE = 2


@dataclass(frozen=True, slots=True)
class TransactionProof:
    """That a transaction was ordered, and how it ended: two paths under one result certificate (L3, L4)."""

    DOMAIN: ClassVar[str] = "consilium.transaction-proof"
    transaction: Annotated[bytes, AtMost(TRANSACTION_BYTES_MAX)]
    code: Code
    log_proof: InclusionProof
    outcome_proof: InclusionProof
    certificate: ResultCertificate


@dataclass(frozen=True, slots=True)
class VerifiedTransaction:
    """A transaction that was executed at `height` and ended with `code`. Only `verify_transaction` makes one."""

    height: int
    transaction_hash: bytes
    author: bytes
    payload: Payload
    code: Code


@dataclass(frozen=True, slots=True)
class StateProof:
    """What the authenticated map holds under a key at the certificate's height; value None for nothing (L4)."""

    DOMAIN: ClassVar[str] = "consilium.state-proof"
    map_root: Digest
    tables_root: Digest
    key: Annotated[bytes, AtMost(MAP_KEY_BYTES_MAX)]
    value: Annotated[bytes, AtMost(MAP_VALUE_BYTES_MAX)] | None
    map_proof: MapProof
    certificate: ResultCertificate


@dataclass(frozen=True, slots=True)
class VerifiedState:
    """What stood under `key` at `height`; None for nothing. Only `verify_state` makes one."""

    height: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class EpochHop:
    """What proves the step from one epoch into the next (L5, C7).

    The alliance signed the term's end; that block's header names the next committee. `electorate` proves, at the epoch's
    last block, who may sign the next term's end.
    """

    DOMAIN: ClassVar[str] = "consilium.epoch-hop"
    alliance: AllianceCertificate
    term_end_header: Annotated[bytes, AtMost(HEADER_BYTES_MAX)]
    next_committee: Committee
    electorate: StateProof

    @property
    def signatures(self) -> tuple[MemberSignature, ...]:
        """The members' signatures it stands on."""
        return self.alliance.signatures


Hop = EpochHop | RecoveryCertificate
"""The two ways over an epoch's end: handed over (C7), or recovered (C10)."""


def decode_hop(data: bytes, chain_id: bytes) -> Hop:
    """A hop as the ledger sends it; the kinds are told apart by their domain. Raises Malformed."""
    try:
        return decode(EpochHop, data, chain_id)
    except Malformed as refusal:
        if refusal.reason != "FOREIGN_DOMAIN":
            raise
        return decode(RecoveryCertificate, data, chain_id, RECOVERY_BYTES_MAX)


def verify_transaction(
    committee: Committee, chain_id: bytes, proof: TransactionProof, verifier: Verifier
) -> VerifiedTransaction:
    """The transaction this proof stands for.

    Raises Malformed for bytes that are no transaction of this chain, BadSignature for a certificate short of its quorum,
    InvalidArgument (BAD_PROOF) for a path that leads elsewhere.
    """
    verify_result_certificate(committee, proof.certificate, chain_id, verifier)
    opened, result = open_transaction(proof.transaction, chain_id), proof.certificate.result
    verify_inclusion(opened.leaf, proof.log_proof, result.log_root)
    verify_inclusion(outcome_leaf(opened.leaf, proof.code), proof.outcome_proof, result.results_root)
    return VerifiedTransaction(result.height, opened.leaf, opened.payload.author, opened.payload, proof.code)


def verify_state(committee: Committee, chain_id: bytes, proof: StateProof, verifier: Verifier) -> VerifiedState:
    """What the map held under the proof's key.

    Raises BadSignature for a certificate short of its quorum, Conflict (OTHER_STATE) for roots that are not the certified
    ones, InvalidArgument (BAD_PROOF) for a path that leads elsewhere.
    """
    verify_result_certificate(committee, proof.certificate, chain_id, verifier)
    result = proof.certificate.result
    if state_root(proof.map_root, proof.tables_root) != result.state_root:
        raise Conflict("OTHER_STATE", "These roots are not the ones the committee signed.", "L4")
    if proof.value is None:
        verify_absence(proof.map_root, proof.key, proof.map_proof)
    else:
        verify_presence(proof.map_root, proof.key, proof.value, proof.map_proof)
    return VerifiedState(result.height, proof.key, proof.value)


class TrustedHistory:
    """The committees a client trusts, from genesis on; it grows by verified hops only (L5).

    A committee is trusted for the heights of its own epoch alone: its keys say nothing about blocks after its handover.
    """

    def __init__(self, genesis: Genesis) -> None:
        """Trust the founders.

        Raises InvalidArgument for a genesis that contradicts itself, FailedPrecondition for one too small to have a
        committee.
        """
        verify_genesis(genesis)
        self.chain_id = genesis.chain_id
        self._committees = [first_committee(genesis)]
        self._starts = [1]
        self._certifies_from = [1]
        self._electorate = first_electorate(genesis)
        self._alliance: Result | None = None

    @property
    def epoch(self) -> int:
        """The newest epoch whose committee is known."""
        return len(self._committees) - 1

    @property
    def electorate(self) -> Electorate:
        """The members that were active when the newest known epoch began."""
        return self._electorate

    @property
    def alliance_height(self) -> int:
        """The newest end of a term that more than two thirds of the members are known to have signed; 0 before the first."""
        return 0 if self._alliance is None else self._alliance.height

    def verify_covered(self, result: Result, proof: ConsistencyProof) -> None:
        """Raise unless the log of a verified result is part of the log that the alliance has signed (C7).

        Raises NotFound (NOT_ALLIANCE_FINAL) above the newest end of a term known, InvalidArgument (BAD_PROOF).
        """
        signed = self._alliance
        if signed is None or result.height > signed.height:
            raise NotFound("NOT_ALLIANCE_FINAL", f"No end of a term above {result.height} is known to be signed.", "C7")
        if (proof.old_size, proof.new_size) != (result.log_size, signed.log_size):
            raise InvalidArgument("BAD_PROOF", "The consistency proof is between other logs.", "L4")
        verify_consistency(result.log_root, signed.log_root, proof)

    def committee_of(self, epoch: int) -> Committee:
        """The committee of an epoch.

        Raises NotFound: UNKNOWN_EPOCH for one that has not been hopped into yet.
        """
        if not 0 <= epoch <= self.epoch:
            raise NotFound("UNKNOWN_EPOCH", f"Epoch {epoch} is not known here; the newest is {self.epoch}.", "L5")
        return self._committees[epoch]

    def verify_transaction(self, proof: TransactionProof, verifier: Verifier) -> VerifiedTransaction:
        """As the function of this name, with the committee of the proof's own epoch and height."""
        return verify_transaction(self._judge_of(proof.certificate), self.chain_id, proof, verifier)

    def verify_state(self, proof: StateProof, verifier: Verifier) -> VerifiedState:
        """As the function of this name, with the committee of the proof's own epoch and height."""
        return verify_state(self._judge_of(proof.certificate), self.chain_id, proof, verifier)

    def hop(self, hop: Hop, verifier: Verifier) -> None:
        """Learn the committee and electorate of the next epoch (L5, C7, C10).

        Raises BadSignature, Conflict, Malformed or InvalidArgument; then nothing has been learned.
        """
        if isinstance(hop, RecoveryCertificate):
            self._hop_recovered(hop, verifier)
        else:
            self._hop_handed_over(hop, verifier)

    def _hop_recovered(self, hop: RecoveryCertificate, verifier: Verifier) -> None:
        """Those who may have signed who follows. What the old committee left uncertified is the new one's to certify."""
        start, statement = self._starts[-1], hop.statement
        verify_recovery(self._committees[-1], self._electorate, start, hop, self.chain_id, verifier)
        self._begin(statement.next_committee, statement.last_height + 1, start, statement.successors(self._electorate))

    def _hop_handed_over(self, hop: EpochHop, verifier: Verifier) -> None:
        following = self.epoch + 1
        verify_alliance_certificate(self._electorate, hop.alliance, self.chain_id, verifier)
        _verify_successor(hop, self.chain_id)
        # Where the old committee was lost in the epoch's last blocks, the next one certified them (C10).
        certificate = hop.electorate.certificate
        judge = hop.next_committee if certificate.result.epoch == following else self._judge_of(certificate)
        boundary = verify_state(judge, self.chain_id, hop.electorate, verifier)
        if boundary.height <= hop.alliance.result.height or boundary.key != electorate_entry(following):
            raise Conflict("OTHER_BOUNDARY", "The electorate is not proven at the epoch's last block.", "L5")
        electorate = decode(Electorate, boundary.value or b"", self.chain_id)
        self._begin(hop.next_committee, boundary.height + 1, boundary.height + 1, electorate)
        self._alliance = hop.alliance.result

    def _begin(self, committee: Committee, start: int, certifies_from: int, electorate: Electorate) -> None:
        """Take what was verified for the newest epoch."""
        self._committees.append(committee)
        self._starts.append(start)
        self._certifies_from.append(certifies_from)
        self._electorate = electorate

    def _judge_of(self, certificate: ResultCertificate) -> Committee:
        """The committee that may sign this result."""
        epoch, height = certificate.result.epoch, certificate.result.height
        committee = self.committee_of(epoch)
        if height < self._certifies_from[epoch] or (epoch < self.epoch and height >= self._starts[epoch + 1]):
            raise BadSignature("OUTSIDE_EPOCH", f"Height {height} does not belong to epoch {epoch}.", "L5")
        return committee


def _verify_successor(hop: EpochHop, chain_id: bytes) -> None:
    """Raise Conflict unless the term's last header, which the alliance signed, names this committee and epoch (L3, C7)."""
    if sha256(hop.term_end_header) != hop.alliance.result.block_hash:
        raise Conflict("OTHER_HEADER", "The header is not the one the alliance signed.", "C7")
    header = decode(Header, hop.term_end_header, chain_id, HEADER_BYTES_MAX)
    if hop.next_committee.hash(chain_id) != header.next_committee_hash:
        raise Conflict("OTHER_COMMITTEE", "The term's last header names another committee.", "C7")
