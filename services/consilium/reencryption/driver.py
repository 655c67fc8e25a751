"""What the re-encryption service does: takes fragments in, releases, gives them up, sees its receipts through (S3 to S6).

What it believes is its own ledger, under proof. It follows the chain by itself: a grant that was revoked costs it its
fragment whether or not anybody asks. A release is handed out only once consensus has taken in its receipt.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from consilium.kernel.authoring import expiry_from, sign_payload
from consilium.kernel.chain import Genesis
from consilium.kernel.consent import Release
from consilium.kernel.encoding import decode
from consilium.kernel.errors import (
    BadSignature,
    Conflict,
    ConsiliumError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Malformed,
    NotFound,
    PermissionDenied,
)
from consilium.kernel.light_client import VerifiedState, VerifiedTransaction
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import open_transaction
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Signer
from consilium.kernel.state_values import (
    AllianceState,
    GrantState,
    RetentionState,
    alliance_entry,
    grant_entry,
    retention_entry,
)
from consilium.kernel.transactions import Kind, Payload, ReceiptBody, ReceiptKind, RequestBody, RevokeBody
from consilium.kernel.umbral import Sealed
from consilium.reencryption.core.proxy import release_receipt, revoke_access
from consilium.reencryption.core.release import LedgerView, judge_release
from consilium.reencryption.receipts import KeptReceipt, Receipts
from consilium.reencryption.store import KeyFragmentStore
from consilium.reencryption.workers import Workers
from consilium.runtime.logs import Log
from consilium.runtime.proven_ledger import LedgerReader
from consilium.runtime.threads import run_to_end

RETRY_S = 0.5
"""How long to wait after the ledger failed, in seconds."""
REQUEST_ID_BYTES = 16
_log = Log("consilium.reencryption.driver")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who this holder is: its member, the member key, and the chain."""

    member_id: str
    signer: Signer
    genesis: Genesis


class Driver:
    """One member as a holder of key fragments."""

    def __init__(
        self, holder: Holder, fragments: KeyFragmentStore, receipts: Receipts, ledger: LedgerReader,
        submit: Callable[[bytes], Awaitable[None]], workers: Workers, wait_s: float,
    ) -> None:  # fmt: skip
        """`submit` hands a transaction to the own consensus (`runtime.own_consensus`)."""
        self.receipts = receipts
        self.counts = Counter[str]()
        """Fragments released and deleted, and wrong ones offered, since the start."""
        self._holder, self._chain_id = holder, holder.genesis.chain_id
        self._fragments, self._ledger, self._submit, self._workers = fragments, ledger, submit, workers
        self._wait_s = wait_s
        self._keys: dict[bytes, bytes | None] = dict.fromkeys(fragments.grant_ids())
        """The delegating keys of the grants held here; None until the ledger was asked."""
        self._giving_up = asyncio.Lock()
        self._cursor = b""

    @property
    def held(self) -> int:
        """How many key fragments are held here."""
        return len(self._keys)

    # --- what clients ask for ---

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        """Keep this holder's fragment, once its own ledger has the grant; raises as `proxy.grant_access`."""
        _, grant = await self._until(grant_id, lambda _: None)
        try:
            await self._workers.verify_fragment(self._holder.member_id, kfrag, grant)
        except (BadSignature, Conflict, Malformed):
            self.counts["wrong"] += 1
            raise
        await run_to_end(self._fragments.put, grant_id, kfrag)
        self._keys[grant_id] = grant.terms.delegating_pk

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes, caller: str) -> Release:
        """Release a fragment under the rule S5 to the recipient's member, once consensus has the receipt.

        Raises as `judge_release` and `proxy.reencrypt_capsule`; PermissionDenied: NOT_THE_RECIPIENT; NotFound: NOT_STORED.
        """
        request = await self._until_final(request_hash)
        body = request.payload.body
        if not isinstance(body, RequestBody):
            raise InvalidArgument("NOT_A_REQUEST", "This transaction asks for no record.", "S5")
        view = await self._look(body)
        if view.grant.terms.recipient_member != caller:
            raise PermissionDenied("NOT_THE_RECIPIENT", "The request was made by another member's recipient.", "S5")
        digest = Sealed(capsule, b"").digest
        permit = judge_release(self._holder.member_id, request, digest, view, await self._parameters())
        kfrag = await run_to_end(self._fragments.read, body.grant_id)
        release = await self._workers.reencrypt(permit, kfrag, capsule, self._holder.signer.public_key, self._chain_id)
        await self._submit_release(release_receipt(release.statement))
        self.counts["released"] += 1
        return release

    async def revoke_access(self, grant_id: bytes) -> KeptReceipt:
        """The receipt for having deleted the fragment of a revoked grant; waits a while for the revocation (S6).

        Raises PermissionDenied: NOT_A_HOLDER; FailedPrecondition: NOT_FINAL while the ledger knows of no such revocation.
        """
        height, grant = await self._until(grant_id, self._judge_revoked)
        return await self._give_up(height, grant)

    # --- following the ledger ---

    async def follow(self) -> None:
        """Give up the fragments of revoked grants, for ever. A stream ends after a while; then all are looked at anew.

        Those too that were deleted without a receipt: the ledger or this process may have failed in between (S6).
        """
        while True:
            try:
                for grant_id in [*self._keys, *await run_to_end(self._unsigned)]:
                    await self._look_after(grant_id, 0)
                async for event in self._ledger.events((Kind.REVOKE,), self._cursor):
                    if isinstance(event.body, RevokeBody):
                        await self._take(event.body, event.height)
                    self._cursor = event.cursor
            except DeadlineExceeded:
                continue
            except ConsiliumError as error:
                _log.write(logging.WARNING, "ledger_not_followed", reason=error.reason)
            await asyncio.sleep(RETRY_S)

    async def _take(self, body: RevokeBody, height: int) -> None:
        """Look after the grant that was revoked, and after those under the same key if that was closed with it."""
        key = self._keys.get(body.grant_id)
        if body.successor_pk is not None and key is None:
            key = (await self._read_grant(body.grant_id))[1].terms.delegating_pk
        is_closed = body.successor_pk is not None
        for each in [
            each for each, its_key in self._keys.items() if each == body.grant_id or (is_closed and its_key == key)
        ]:
            await self._look_after(each, height)

    async def _look_after(self, grant_id: bytes, height: int) -> None:
        """Learn a grant's key, and give its fragment up if it was revoked. Raises FailedPrecondition: NOT_FINAL."""
        seen, grant = await self._read_grant(grant_id, height)
        if grant.revoked_height is None:
            self._keys[grant_id] = grant.terms.delegating_pk
        else:
            await self._give_up(seen, grant)

    async def _give_up(self, height: int, grant: GrantState) -> KeptReceipt:
        """Delete first, then sign for it (S6); what cannot be signed now is by `follow`, or submitted by `settle`."""
        grant_id = grant.terms.grant_id
        body = revoke_access(self._holder.member_id, grant, height)
        async with self._giving_up:
            await run_to_end(self._fragments.delete, grant_id)
            was_held = grant_id in self._keys
            self._keys.pop(grant_id, None)
            kept = await run_to_end(self.receipts.find, ReceiptKind.DELETION, grant_id, body.request_hash)
            # Whoever asks for the receipt and the ledger's event may both come here: it is given up once.
            self.counts["deleted"] += was_held and kept is None
            if kept is None:
                kept = await self._sign(body)
                await run_to_end(self.receipts.put, kept)
                try:
                    await self._submit(kept.carried)
                except ConsiliumError as error:
                    _log.write(logging.WARNING, "receipt_not_submitted", reason=error.reason)
            return kept

    def _unsigned(self) -> list[bytes]:
        """The grants whose fragments were deleted here without a receipt for it."""
        signed = frozenset(self.receipts.grant_ids(ReceiptKind.DELETION))
        return [each for each in self._fragments.deleted() if each not in signed]

    # --- receipts ---

    async def settle(self, interval_s: float) -> None:
        """See to it that every receipt is ordered, for ever."""
        while True:
            try:
                for each in await run_to_end(self.receipts.unsettled):
                    await self._settle(each)
            except (ConsiliumError, OSError) as error:
                _log.write(logging.WARNING, "receipts_not_settled", error)
            await asyncio.sleep(interval_s)

    async def _settle(self, kept: KeptReceipt) -> None:
        """Note that a receipt is final, or submit it again; under a new request id once its time is over (L6)."""
        try:
            found = await self._ledger.read_transaction(leaf_hash(kept.carried))
        except (NotFound, FailedPrecondition):
            pass
        else:
            await run_to_end(self.receipts.put, replace(kept, settled=True))
            if found.code:
                _log.write(logging.WARNING, "receipt_refused", reason=found.code.name, height=found.height)
            return
        if (await self._ledger.read_tip()).certified_height > kept.expiry_height:
            body = open_transaction(kept.carried, self._chain_id).payload.body
            assert isinstance(body, ReceiptBody), "only receipts are kept"
            kept = await self._sign(body)
            await run_to_end(self.receipts.put, kept)
        await self._submit(kept.carried)

    async def _submit_release(self, body: ReceiptBody) -> None:
        """Have consensus take in the receipt of a release, once for each request."""
        if await run_to_end(self.receipts.find, ReceiptKind.RELEASE, body.grant_id, body.request_hash) is None:
            kept = await self._sign(body)
            await self._submit(kept.carried)
            await run_to_end(self.receipts.put, kept)

    async def _sign(self, body: ReceiptBody) -> KeptReceipt:
        signer, parameters = self._holder.signer, await self._parameters()
        expiry = expiry_from((await self._ledger.read_tip()).executed_height, parameters)
        payload = Payload(signer.public_key, secrets.token_bytes(REQUEST_ID_BYTES), expiry, body)
        carried = sign_payload(payload, signer, self._chain_id)
        return KeptReceipt(0, body.receipt, body.grant_id, body.request_hash, carried, expiry)

    # --- reading the ledger ---

    async def _parameters(self) -> Parameters:
        """The alliance's numbers in force (G4). Raises FailedPrecondition: NOT_FINAL while nothing is certified."""
        state = await self._ledger.read_state(alliance_entry())
        return decode(AllianceState, state.value or b"", self._chain_id).parameters

    async def _look(self, body: RequestBody) -> LedgerView:
        """All the rule looks at. The tip is read first, so the age holds for the grant's height or an older one.

        Raises FailedPrecondition: NOT_FINAL.
        """
        tip = await self._ledger.read_tip()
        asked_s = time.monotonic()
        record = await self._ledger.read_record(body.record_id)
        height, grant = await self._read_grant(body.grant_id, tip.executed_height)
        retention = await self._read_retention(body.record_id, height)
        if record is None:
            raise FailedPrecondition("NOT_FINAL", "This holder's ledger knows no such record.", "S5")
        age_ms = tip.age_ms + int((time.monotonic() - asked_s) * 1_000)
        return LedgerView(height, tip.executed_height, age_ms, grant, record.capsule_digest, retention)

    async def _read_grant(self, grant_id: bytes, least_height: int = 0) -> tuple[int, GrantState]:
        """A grant and the certified height it was read at. Raises FailedPrecondition: NOT_FINAL while there is none."""
        state = await self._ledger.read_state(grant_entry(grant_id), least_height)
        return state.height, self._grant(state)

    async def _read_retention(self, record_id: bytes, least_height: int) -> RetentionState | None:
        """A record's erasure or hold at this height or a later one, None for neither (S8). Raises as `_read_grant`."""
        state = await self._ledger.read_state(retention_entry(record_id), least_height)
        return None if state.value is None else decode(RetentionState, state.value, self._chain_id)

    def _grant(self, state: VerifiedState) -> GrantState:
        """Raises FailedPrecondition: NOT_FINAL while there is none."""
        if state.value is None:
            raise FailedPrecondition("NOT_FINAL", "This holder's ledger knows no such grant.", "S3")
        return decode(GrantState, state.value, self._chain_id)

    def _judge_revoked(self, grant: GrantState) -> None:
        """Raise PermissionDenied: NOT_A_HOLDER; FailedPrecondition: NOT_REVOKED."""
        if self._holder.member_id not in grant.terms.holders:
            raise PermissionDenied("NOT_A_HOLDER", "This member holds no key fragment of the grant.", "S6")
        if grant.revoked_height is None:
            raise FailedPrecondition("NOT_REVOKED", "The grant stands as far as this holder's ledger knows.", "S6")

    async def _until_final(self, request_hash: bytes) -> VerifiedTransaction:
        try:
            return await self._ledger.read_transaction(request_hash, self._wait_s)
        except (NotFound, FailedPrecondition) as error:
            raise FailedPrecondition("NOT_FINAL", "This holder's ledger does not know it yet; ask again.", "S5") from error

    async def _until(self, grant_id: bytes, judge: Callable[[GrantState], None]) -> tuple[int, GrantState]:
        """A grant once it is there and passes, looked at again at every height for `wait_s`; raises what it raised last."""
        over_s, key = time.monotonic() + self._wait_s, grant_entry(grant_id)
        state = await self._ledger.read_state(key)
        while True:
            try:
                grant = self._grant(state)
                judge(grant)
            except FailedPrecondition as missing:
                try:
                    state = await self._ledger.read_state(key, state.height + 1, over_s - time.monotonic())
                except FailedPrecondition:
                    raise missing from None
            else:
                return state.height, grant
