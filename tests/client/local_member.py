"""Members that answer within one process, over the production ledger and re-encryption cores: a small real alliance.

All of them look at one chain, which one scribe writes; each keeps its own objects, shred secrets and key fragments in
memory. What a test wants to go wrong it does to those.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from consilium.client.alliance import HistoryPage, StoredManifest
from consilium.kernel.authoring import sign_payload
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import ConsiliumError, FailedPrecondition, NotFound, PermissionDenied
from consilium.kernel.light_client import Finality, TrustedHistory
from consilium.kernel.manifest import Manifest, StorageReceipt, StorageStatement, seal_shred_secret
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import open_block, open_transaction
from consilium.kernel.retention import ErasureStatement, certify_erasure, verify_order
from consilium.kernel.sealing import chunk_count
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_values import RetentionState, retention_entry
from consilium.kernel.transactions import (
    ErasureBody,
    GrantBody,
    KeysAct,
    NewKeys,
    Payload,
    ReceiptBody,
    RequestBody,
    RevokeBody,
)
from consilium.kernel.umbral import Sealed
from consilium.reencryption.core.proxy import grant_access, reencrypt_capsule, release_receipt, revoke_access
from consilium.reencryption.core.release import LedgerView, judge_release
from tests.alliance import Alliance, Scribe, next_seed_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from consilium.client.alliance import OutgoingObject, SignedQuery
    from consilium.kernel.consent import Release
    from consilium.kernel.light_client import Hop, StateProof, TransactionProof
    from consilium.kernel.merkle import ConsistencyProof
    from consilium.kernel.retention import ErasureCertificate, SignedErasureOrder
    from consilium.kernel.state_values import GrantState
    from consilium.kernel.transactions import Body, GrantTerms, RetentionAct
    from consilium.kernel.umbral import VerifiedKeyFrag
    from consilium.ledger.core.chain import Chain
    from consilium.runtime.standing import Standing


@dataclass
class LocalAlliance:
    """The five founders of the demo over one chain."""

    scribe: Scribe = field(default_factory=lambda: Scribe(Alliance.founded()))
    members: dict[str, LocalMember] = field(init=False)

    def __post_init__(self) -> None:
        """Bring all members up; the first heartbeat gives them something to prove."""
        self.scribe.write()
        self.members = {name: LocalMember(self, name) for name in self.scribe.alliance.keys}

    def manifest(self, record_id: bytes) -> Manifest:
        """The manifest of an object, wherever it is."""
        return next(each.manifests[record_id] for each in self.members.values() if record_id in each.manifests)

    def order(self, member_id: str, transaction: bytes) -> None:
        """Write a block with this transaction, crossing into the next epoch when the term is over."""
        chain = self.scribe.chain
        if chain.height == chain.tip.outlook.term_end:
            self.scribe.write(self.scribe.handover())
        self.scribe.write(transaction, member=member_id)

    def adopt_next_key(self, member_id: str) -> bytes:
        """Cross into the epoch from which on the ledger names the member's next key, which is returned (G3)."""
        scribe, signer = self.scribe, Ed25519Signer.from_seed(next_seed_of(member_id))
        alliance = scribe.alliance
        old = alliance.keys[member_id]
        act = KeysAct(old.profile, NewKeys(signer.public_key, old.profile.consensus_key, old.profile.reveal_anchor))
        assert scribe.govern(act) == Code.APPLIED
        scribe.cross_epoch()
        adopted = replace(old, profile=replace(old.profile, member_key=signer.public_key), member=signer)
        scribe.alliance = replace(alliance, keys={**alliance.keys, member_id: adopted})
        return signer.public_key


@dataclass
class LocalMember:
    """One member; fulfils `client.alliance.MemberGateway`."""

    alliance: LocalAlliance
    name: str
    chunks: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    manifests: dict[bytes, Manifest] = field(default_factory=dict)
    shred_secrets: dict[bytes, bytes] = field(default_factory=dict)
    kfrags: dict[bytes, VerifiedKeyFrag] = field(default_factory=dict)
    tip_age_ms: int = 0
    is_down: bool = False

    # --- consensus and ledger ---

    async def submit(self, transaction: bytes) -> None:
        """Order it at once."""
        self._answer()
        self.alliance.order(self.name, transaction)

    async def prove_transaction(self, transaction_hash: bytes, finality: Finality = Finality.COMMITTEE) -> TransactionProof:
        """From the chain."""
        self._answer()
        del finality
        return self._chain.prove_transaction(transaction_hash)

    async def prove_consistency(self, old_height: int, new_height: int) -> ConsistencyProof:
        """From the chain."""
        self._answer()
        return self._chain.prove_consistency(old_height, new_height)

    async def prove_record(self, record_id: bytes) -> TransactionProof:
        """From the chain."""
        self._answer()
        entry = self._chain.record(record_id)
        if entry is None:
            raise NotFound("UNKNOWN_RECORD", "No such record.", "S3")
        return self._chain.prove_transaction(entry.transaction_hash)

    async def register(self, payload: bytes, receipt: StorageReceipt) -> None:
        """Order it at once, in this member's name."""
        del receipt
        await self.submit(payload)

    async def prove_state(self, key: bytes, least_height: int = 0) -> StateProof:
        """From the chain, which is the same for all, and grows by what is asked alone."""
        self._answer()
        if least_height > self._chain.certified_height:
            raise FailedPrecondition("NOT_FINAL", f"Height {least_height} is not certified.", "L3")
        return self._chain.prove_state(key)

    async def grant_history(self, signed: SignedQuery, page_token: str) -> HistoryPage:
        """From the chain, by looking at every block; one transaction a page."""
        self._answer()
        blocks = [open_block(each, self._chain.chain_id) for each in self.alliance.scribe.blocks]
        transactions = [each for block in blocks for batch in block.batches for each in batch.transactions]
        made = [grant for each in transactions for grant in _grants_made(each.payload.body)]
        own = [each.grant_id for each in made if each.delegating_pk == signed.query.delegating_pk]
        found = [each.leaf for each in transactions if {*own} & {*_grants_named(each.payload.body)}]
        place = int(page_token or "0")
        proofs = [self._chain.prove_transaction(each) for each in found[place : place + 1]]
        return HistoryPage(proofs, str(place + 1) if place + 1 < len(found) else "")

    async def epoch_hop(self, epoch: int) -> Hop:
        """From the chain."""
        self._answer()
        return self._chain.epoch_hop(epoch)

    # --- storage ---

    async def put_object(self, outgoing: OutgoingObject) -> StorageReceipt:
        """Chunk by chunk."""
        index = 0
        async for chunk in outgoing.chunks():
            await self.put_chunk(outgoing.record_id, index, chunk)
            index += 1
        return await self.complete_object(*outgoing.finish())

    async def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Into memory."""
        self._answer()
        self.chunks[record_id, index] = chunk

    async def complete_object(self, manifest: Manifest, shred_secret: bytes) -> StorageReceipt:
        """Read back, sign."""
        self._answer()
        for index, named in enumerate(manifest.chunk_hashes):
            assert leaf_hash(self.chunks[manifest.record_id, index]) == named
        self.manifests[manifest.record_id] = manifest
        self.shred_secrets[manifest.record_id] = shred_secret
        statement = StorageStatement(self.name, manifest.record_id, manifest.ciphertext_root)
        signer = self.alliance.scribe.alliance.keys[self.name].member
        return StorageReceipt(statement, signer.sign(encode(statement, self._chain.chain_id)))

    async def get_manifest(self, record_id: bytes, request_hash: bytes) -> StoredManifest:
        """To a granted request."""
        grant = self._granted(request_hash)
        if record_id not in self.shred_secrets:
            raise NotFound("ERASED", "The shred secret of this record was destroyed.", "S2")
        sealed = seal_shred_secret(grant.terms.receiving_pk, request_hash, self.shred_secrets[record_id])
        return StoredManifest(self.manifests[record_id], sealed)

    async def get_object(
        self, record_id: bytes, request_hash: bytes, first: int, count: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Chunk by chunk."""
        there = chunk_count(self.alliance.manifest(record_id).size_class)
        for index in range(first, min(first + count, there) if count else there):
            yield await self.get_chunk(record_id, index, request_hash)

    async def get_chunk(self, record_id: bytes, index: int, request_hash: bytes) -> bytes:
        """To a granted request."""
        self._granted(request_hash)
        if (record_id, index) not in self.chunks:
            raise NotFound("UNKNOWN_CHUNK", "Not here.", "S2")
        return self.chunks[record_id, index]

    async def sign_retention(
        self, record_id: bytes, act: RetentionAct, order: SignedErasureOrder | None, evidence: bytes
    ) -> bytes:
        """Signed for whoever owns the record."""
        self._answer()
        entry = self._chain.record(record_id)
        assert entry is not None
        if order is not None:
            verify_order(order, entry.body, self._chain.chain_id)
        signer = self.alliance.scribe.alliance.keys[self.name].member
        return self.alliance.scribe.signed(signer, ErasureBody(record_id, act, evidence or bytes(32)))

    async def erase_object(self, record_id: bytes, height: int) -> tuple[ErasureCertificate, list[ErasureCertificate]]:
        """Out of memory."""
        self._answer()
        manifest = self.manifests.pop(record_id)
        del self.shred_secrets[record_id]
        said = ErasureStatement(self.name, record_id, manifest.ciphertext_root, height, True, (), ())  # noqa: FBT003
        signer = self.alliance.scribe.alliance.keys[self.name].member
        return certify_erasure(said, signer, self._chain.chain_id), []

    # --- re-encryption ---

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        """The production rule."""
        self._answer()
        self.kfrags[grant_id] = grant_access(self.name, kfrag, self._grant(grant_id))

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        """The production rule, under this member's own view."""
        self._answer()
        alliance, chain = self.alliance.scribe.alliance, self._chain
        proof = chain.prove_transaction(request_hash)
        request = self._history().verify_transaction(proof, self.alliance.scribe.verifier)
        body = request.payload.body
        assert isinstance(body, RequestBody)
        entry = chain.record(body.record_id)
        assert entry is not None
        grant, retention = self._grant(body.grant_id), self._retention(body.record_id)
        height, capsule_digest = chain.certified_height, entry.body.capsule_digest
        view = LedgerView(height, chain.height, self.tip_age_ms, grant, capsule_digest, retention)
        digest = Sealed(capsule, b"").digest
        permit = judge_release(self.name, request, digest, view, alliance.genesis.parameters)
        signer = alliance.keys[self.name].member
        release = reencrypt_capsule(permit, self.kfrags[body.grant_id], capsule, signer, chain.chain_id)
        self._act(release_receipt(release.statement))
        return release

    async def revoke_access(self, grant_id: bytes) -> None:
        """The production rule: delete, then sign."""
        self._answer()
        receipt = revoke_access(self.name, self._grant(grant_id), self._chain.certified_height)
        self.kfrags.pop(grant_id, None)
        self._act(receipt)

    # --- what the acts share ---

    @property
    def _chain(self) -> Chain:
        return self.alliance.scribe.chain

    def _answer(self) -> None:
        if self.is_down:
            raise ConnectionError(f"{self.name} is down")

    def _grant(self, grant_id: bytes) -> GrantState:
        grant = self._chain.grant(grant_id)
        assert grant is not None
        return grant

    def _retention(self, record_id: bytes) -> RetentionState | None:
        value = self._chain.prove_state(retention_entry(record_id)).value
        return None if value is None else decode(RetentionState, value, self._chain.chain_id)

    def _granted(self, request_hash: bytes) -> GrantState:
        self._answer()
        _, code = self._chain.code_of(request_hash)
        if code is not Code.GRANTED:
            raise PermissionDenied("NOT_GRANTED", "Only a granted request is served.", "S2")
        opened = open_transaction(self._chain.prove_transaction(request_hash).transaction, self._chain.chain_id)
        body = opened.payload.body
        assert isinstance(body, RequestBody)
        return self._grant(body.grant_id)

    def _act(self, body: Body) -> None:
        """An act of this member's own, on the ledger."""
        signer = self.alliance.scribe.alliance.keys[self.name].member
        payload = Payload(signer.public_key, *self.alliance.scribe.fresh(), body)
        self.alliance.order(self.name, sign_payload(payload, signer, self._chain.chain_id))

    def _history(self) -> TrustedHistory:
        """A light client's view that has crossed every epoch so far."""
        history = TrustedHistory(self.alliance.scribe.alliance.genesis)
        while history.epoch < self._chain.tip.outlook.epoch:
            try:
                hop = self._chain.epoch_hop(history.epoch)
            except ConsiliumError:
                break
            history.hop(hop, self.alliance.scribe.verifier)
        return history


def _grants_made(body: Body) -> list[GrantTerms]:
    """The grants a transaction makes."""
    if isinstance(body, GrantBody):
        return [body.terms]
    return [each.terms for each in body.regrants] if isinstance(body, RevokeBody) else []


def _grants_named(body: Body) -> list[bytes]:
    """The grants a transaction concerns."""
    if isinstance(body, GrantBody):
        return [body.terms.grant_id]
    if isinstance(body, RevokeBody):
        return [body.grant_id, *(each.terms.grant_id for each in body.regrants)]
    if isinstance(body, RequestBody | ReceiptBody):
        return [body.grant_id]
    return []


def named_key(standing: Standing, member_id: str) -> bytes:
    """The member key that a service has heard the ledger name."""
    state = standing.member(member_id)
    assert state is not None
    return state.profile.member_key
