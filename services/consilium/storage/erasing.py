"""Erasure and legal hold at one member's storage: keys first, ciphertext second, and only on the ledger's word (rule S8).

`sign` makes the ledger's transaction out of an owner's order or of the member's own reason; whoever asked submits it.
`erase` waits until it is final, destroys, has the copies destroyed, and certifies. `follow` does the same for every erasure
that becomes final, and at each start for all there ever were, so that a crash, a backup that was put back or a caller that
went away leave nothing behind.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass, replace

from consilium.kernel.authoring import expiry_from, sign_payload
from consilium.kernel.encoding import encode
from consilium.kernel.errors import (
    ConsiliumError,
    DataLoss,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
)
from consilium.kernel.hashing import DIGEST_BYTES, sha256
from consilium.kernel.retention import (
    ErasureCertificate,
    ErasureStatement,
    SignedErasureOrder,
    certify_erasure,
    verify_erasure,
    verify_order,
)
from consilium.kernel.state_values import is_erased
from consilium.kernel.transactions import ErasureBody, Kind, Payload, RetentionAct
from consilium.runtime.logs import Log
from consilium.runtime.names import PeerIdentity, Role
from consilium.storage.core.retention import erased_for_ever, judge_act
from consilium.storage.driver import Driver, named
from consilium.storage.holdings import ERASED_STATES, Holding, HoldingState

REQUEST_ID_BYTES = 16
RETRY_S = 0.5
"""How long to wait after the ledger failed, in seconds."""
_log = Log("consilium.storage.erasing")


@dataclass(frozen=True, slots=True)
class Erased:
    """What this member certifies, and what the members that kept copies do."""

    certificate: ErasureCertificate
    copies: tuple[ErasureCertificate, ...]


class Erasing:
    """One member's erasures; `erased` counts those since the start."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.erased = driver, 0
        self._signer = driver.keys.signer
        self._cursor = b""

    # --- the act ---

    async def sign(
        self, record_id: bytes, act: RetentionAct, order: SignedErasureOrder | None, evidence: bytes, caller: PeerIdentity
    ) -> bytes:
        """The transaction, under the member key, for the caller to submit (S8).

        Raises NotFound: UNKNOWN_RECORD; PermissionDenied: NOT_THE_HOME, NOT_THE_OWNER, NO_ORDER; FailedPrecondition:
        UNDER_HOLD, NOT_HELD; Conflict: ERASED.
        """
        driver = self.driver
        record = await driver.ledger.read_record(record_id)
        if record is None:
            raise NotFound("UNKNOWN_RECORD", "The ledger knows no such record.", "S8")
        if record.holder != driver.member_id:
            raise PermissionDenied("NOT_THE_HOME", f"The record's home is {record.holder}; ask there.", "S8")
        if order is not None and act is RetentionAct.ERASE:
            verify_order(order, record, driver.chain_id)
            evidence = sha256(encode(order, driver.chain_id))
        elif caller.role is Role.PATIENT or len(evidence) != DIGEST_BYTES:
            raise no_order()
        judge_act(await driver.retention(record_id), act)
        # The alliance may have lowered the limit since genesis (G4).
        expiry = expiry_from((await driver.ledger.read_tip()).executed_height, await driver.parameters())
        body = ErasureBody(record_id, act, evidence)
        payload = Payload(self._signer.public_key, secrets.token_bytes(REQUEST_ID_BYTES), expiry, body)
        return sign_payload(payload, self._signer, driver.chain_id)

    # --- what follows from it ---

    async def erase(self, record_id: bytes, least_height: int, caller: PeerIdentity) -> Erased:
        """Destroy what is here, have the copies destroyed, and certify both; again is no fault (promise 6).

        Waits a while for the erasure to be final at this member. Raises NotFound: NO_SUCH_OBJECT; PermissionDenied:
        NOT_THE_HOME, OTHER_WRITER; FailedPrecondition: NOT_ERASED while the ledger says otherwise.
        """
        driver = self.driver
        holding = await driver.work(driver.stores.holdings.read, record_id)
        if caller.member_id != holding.home:
            raise PermissionDenied("NOT_THE_HOME", f"Only {holding.home} may have this object erased.", "S8")
        height = await self._erased_height(record_id, least_height)
        if not height and caller.role is Role.PATIENT and holding.writer != named(caller):
            raise PermissionDenied("OTHER_WRITER", "Somebody else has put this object, and no record names it yet.", "S8")
        await self._destroy(holding)
        copies, left = await self._erase_copies(holding, height)
        is_home = holding.home == driver.member_id
        deleted = tuple(each.statement.member_id for each in copies)
        root = holding.root or bytes(DIGEST_BYTES)
        statement = ErasureStatement(driver.member_id, record_id, root, height, is_home, deleted, left)
        return Erased(certify_erasure(statement, self._signer, driver.chain_id), copies)

    async def follow(self) -> None:
        """Obey every erasure on the ledger, the first time all there are, for ever."""
        while True:
            try:
                async for event in self.driver.ledger.events((Kind.ERASURE,), self._cursor):
                    if isinstance(event.body, ErasureBody) and event.body.act is RetentionAct.ERASE:
                        await self.obey(event.body.record_id, event.height)
                    self._cursor = event.cursor
            except DeadlineExceeded:
                continue
            except (ConsiliumError, OSError) as error:
                _log.write(logging.WARNING, "erasures_not_followed", error)
            await asyncio.sleep(RETRY_S)

    async def obey(self, record_id: bytes, least_height: int = 0) -> bool:
        """Destroy what is here of a record, if the ledger has erased it; whether it has."""
        driver = self.driver
        if not is_erased(await driver.retention(record_id, least_height)):
            return False
        holding = await driver.work(driver.stores.holdings.find_sound, record_id)
        if holding is None:  # a row that came back without its holding, or whose holding is damaged
            await self._destroy_unheld(record_id)
        elif not await self._is_gone(holding):
            await self._destroy(holding)
        return True

    async def tidy(self) -> None:
        """Have the copies destroyed that could not be reached before."""
        driver = self.driver
        for holding in await driver.work(driver.stores.holdings.erased):
            height = await self._erased_height(holding.record_id, 0)
            await self._erase_copies(holding, height)

    async def _destroy(self, holding: Holding) -> None:
        """Keys first, then the row that admits new chunks, then the ciphertext; what was done before is done again."""
        driver, record_id = self.driver, holding.record_id
        await driver.work(driver.stores.secrets.destroy, record_id)
        await driver.work(driver.stores.escrows.destroy, record_id)
        if holding.state not in ERASED_STATES:
            self.erased += 1
            await driver.work(driver.stores.holdings.write, replace(holding, state=HoldingState.ERASED))
        await driver.work(driver.stores.objects.delete, record_id)

    async def _destroy_unheld(self, record_id: bytes) -> None:
        """The same where nothing is noted; nor is it noted of every record of others that no keys of it are here."""
        work, stores = self.driver.work, self.driver.stores
        for keys in (stores.secrets, stores.escrows):
            try:
                await work(keys.read, record_id)
            except NotFound:
                continue
            except DataLoss:
                pass
            await work(keys.destroy, record_id)
        await work(stores.objects.delete, record_id)

    async def _is_gone(self, holding: Holding) -> bool:
        """Whether it was destroyed before, and no row has come back."""
        if holding.state not in ERASED_STATES:
            return False
        try:
            await self.driver.work(self.driver.stores.objects.read_manifest, holding.record_id)
        except NotFound:
            return True
        except DataLoss:
            return False
        return False

    async def _erase_copies(self, holding: Holding, height: int) -> tuple[tuple[ErasureCertificate, ...], tuple[str, ...]]:
        """The certificates of the members that kept copies, and those that are left for the next time."""
        driver, certificates, left = self.driver, list[ErasureCertificate](), list[str]()
        for name in holding.keepers:
            try:
                certificate = await driver.others.erase(name, holding.record_id, height)
                key = driver.profile_of(name).member_key
                verify_erasure(certificate, name, holding.record_id, key, driver.chain_id, driver.verifier)
            except NotFound:  # it has nothing of it, and never will again: it follows the ledger too
                continue
            except ConsiliumError:
                left.append(name)
            else:
                certificates.append(certificate)
        state = HoldingState.ERASED if left else HoldingState.GONE
        await driver.work(driver.stores.holdings.write, replace(holding, state=state))
        return tuple(certificates), tuple(left)

    async def _erased_height(self, record_id: bytes, least_height: int) -> int:
        """The height the ledger erased it at; 0 for an object that no record names.

        Raises FailedPrecondition: NOT_ERASED.
        """
        retention = await self.driver.retention(record_id, least_height)
        if retention is None and await self.driver.ledger.read_record(record_id) is None:
            return 0
        return erased_for_ever(retention)


def no_order() -> PermissionDenied:
    """The refusal for an erasure nobody answers for."""
    return PermissionDenied(
        "NO_ORDER",
        "Erasing takes the owner's signed order; a hold, or an erasure of the member's own, staff and the SHA-256 of why.",
        "S8",
    )
