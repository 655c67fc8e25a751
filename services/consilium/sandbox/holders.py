"""One member as a holder of key fragments, run: taking them in, releasing, giving them up (rules S4, S5, S6).

What the holder believes is its own ledger, at the height it has a certificate for. It follows the chain by
itself: a grant that was revoked costs it its fragment whether or not anybody asks, and the receipt goes on
the ledger.
"""

import asyncio
import secrets
from pathlib import Path

from consilium.kernel.authoring import sign_payload
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.consent import Release
from consilium.kernel.encoding import decode
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.light_client import VerifiedTransaction, verify_transaction
from consilium.kernel.signing import Verifier
from consilium.kernel.state_values import GrantState, grant_entry
from consilium.kernel.transactions import Payload, ReceiptBody, RequestBody
from consilium.kernel.umbral import verify_kfrag
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.execution import BlockOutcome
from consilium.reencryption.core.proxy import grant_access, reencrypt_capsule, release_receipt, revoke_access
from consilium.reencryption.core.release import LedgerView, judge_release
from consilium.reencryption.store import KeyFragmentStore
from consilium.runtime.shreddable import DatabaseRows
from consilium.runtime.threads import run_to_end
from consilium.sandbox.founders import MemberKeys
from consilium.sandbox.histories import is_final
from consilium.sandbox.ledgers import RunningLedger
from consilium.sandbox.replicas import RunningReplica

EXPIRY_BLOCKS = 100
"""For how many blocks a receipt may wait to be ordered (L6)."""
REQUEST_ID_BYTES = 16


class RunningHolder:
    """The re-encryption service of one member."""

    def __init__(
        self,
        member_id: str,
        keys: MemberKeys,
        ledger: RunningLedger,
        replica: RunningReplica,
        path: Path,
        verifier: Verifier,
    ) -> None:
        """Open the fragments at `path`, or make the store of a member that never had any."""
        self._member_id = member_id
        self._keys = keys
        self._ledger = ledger
        self._replica = replica
        self._verifier = verifier
        self._rows = (DatabaseRows.open if path.exists() else DatabaseRows.create)(path)
        self._fragments = KeyFragmentStore(self._rows, keys.sealing, member_id)
        self._revoked: asyncio.Queue[bytes] = asyncio.Queue()
        self._held: dict[bytes, None] = dict.fromkeys(self._fragments.grant_ids())
        ledger.follow(self)

    def close(self) -> None:
        """Let go of the store."""
        self._rows.close()

    @property
    def grant_ids(self) -> list[bytes]:
        """The grants this member holds fragments of."""
        return list(self._held)

    async def run(self) -> None:
        """Give up the fragments of revoked grants, until cancelled."""
        while True:
            await self._give_up(await self._revoked.get())

    # --- what clients ask for ---

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        """Keep this holder's fragment, once its own ledger holds the grant; raises as `proxy.grant_access`."""
        await self._ledger.until(lambda chain: _certified_grant(chain, grant_id) is not None)
        grant = await self._ledger.read(lambda chain: _certified_grant(chain, grant_id))
        assert grant is not None, "a grant never leaves the state"
        grant_access(self._member_id, kfrag, grant)
        await run_to_end(self._fragments.put, grant_id, kfrag)
        self._held[grant_id] = None

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        """Release a fragment under the rule S5, and put the receipt on the ledger; raises as `judge_release`."""
        await self._ledger.until(lambda chain: is_final(chain, request_hash))
        request, view = await self._ledger.read(lambda chain: self._see(chain, request_hash))
        parameters = self._ledger.chain.genesis.parameters
        permit = judge_release(self._member_id, request, view.capsule_digest, view, parameters)
        terms = permit.terms
        kept = await run_to_end(self._fragments.read, terms.grant_id)
        kfrag = verify_kfrag(kept, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
        chain_id = self._ledger.chain.chain_id
        release = reencrypt_capsule(permit, kfrag, capsule, self._keys.member, chain_id)
        await self._put_on_ledger(release_receipt(release.statement))
        return release

    async def revoke_access(self, grant_id: bytes) -> None:
        """Wait until the fragment of a revoked grant is gone here and the receipt is ordered (S6)."""
        await self._ledger.until(lambda chain: self._has_given_up(chain, grant_id))

    # --- the ledger's news ---

    def executed(self, _block: CertifiedBlock, _header: Header, _outcome: BlockOutcome) -> None:
        """Nothing to do yet: what is not certified may not be believed."""

    def certified(self, _certificate: ResultCertificate) -> None:
        """Look whether a grant was revoked."""
        self._look_for_revoked()

    def _look_for_revoked(self) -> None:
        for grant_id in list(self._held):
            grant = self._ledger.chain.grant(grant_id)
            if grant is not None and grant.revoked_height is not None:
                del self._held[grant_id]
                self._revoked.put_nowait(grant_id)

    async def _give_up(self, grant_id: bytes) -> None:
        """Delete first, then sign for it (S6)."""
        grant = self._ledger.chain.grant(grant_id)
        assert grant is not None, "a grant never leaves the state"
        await run_to_end(self._fragments.delete, grant_id)
        await self._put_on_ledger(revoke_access(self._member_id, grant, self._ledger.chain.certified_height))

    async def _put_on_ledger(self, receipt: ReceiptBody) -> None:
        chain, signer = self._ledger.chain, self._keys.member
        request_id = secrets.token_bytes(REQUEST_ID_BYTES)
        payload = Payload(signer.public_key, request_id, chain.height + EXPIRY_BLOCKS, receipt)
        await self._replica.submit([sign_payload(payload, signer, chain.chain_id)])

    def _has_given_up(self, chain: Chain, grant_id: bytes) -> bool:
        grant = chain.grant(grant_id)
        return grant is not None and self._member_id in grant.deleted_by

    def _see(self, chain: Chain, request_hash: bytes) -> tuple[VerifiedTransaction, LedgerView]:
        """The request and all the rule looks at, at one height."""
        proof = chain.prove_transaction(request_hash)
        committee = chain.committee_of(proof.certificate.result.epoch)
        request = verify_transaction(committee, chain.chain_id, proof, self._verifier)
        body = request.payload.body
        if not isinstance(body, RequestBody):
            raise InvalidArgument("NOT_A_REQUEST", "This transaction asks for no record.", "S5")
        grant, record = _certified_grant(chain, body.grant_id), chain.record(body.record_id)
        if grant is None or record is None:
            raise FailedPrecondition("NOT_FINAL", "This holder knows no such grant or record.", "S5")
        age_ms = self._ledger.certificate_age_ms
        return request, LedgerView(chain.certified_height, age_ms, grant, record.body.capsule_digest)


def _certified_grant(chain: Chain, grant_id: bytes) -> GrantState | None:
    """The grant at the newest certified height, with a revocation that is executed but not certified yet: deny wins."""
    if chain.certified_height == 0:
        return None
    value = chain.prove_state(grant_entry(grant_id)).value
    if value is None:
        return None
    newest = chain.grant(grant_id)
    is_revoked = newest is not None and newest.revoked_height is not None
    return newest if is_revoked else decode(GrantState, value, chain.chain_id)
