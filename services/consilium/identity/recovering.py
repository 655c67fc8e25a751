"""A member's part in the recovery of a lost quorum, kept here because no ledger can order it (rule C10).

The replica is stopped by the own consensus, and what may be signed is worked out by the own ledger. A signature is kept
before anybody sees it: a member signs one recovery an epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consilium.identity.core.recovery import RecoveryPart, sign_recovery
from consilium.identity.driver import Driver
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature
from consilium.kernel.recovery import RECOVERY_BYTES_MAX, RecoveryCertificate
from consilium.kernel.recovery_reports import SignedReport
from consilium.runtime.threads import run_to_end


@dataclass(frozen=True, slots=True)
class Recoveries:
    """What people do to recover, one at a time."""

    driver: Driver

    async def stop(self, epoch: int) -> bytes:
        """Stop the replica in its epoch for good; its encoded report, kept. Raises what consensus refuses."""
        chain_id, store = self.driver.genesis.chain_id, self.driver.enrolment.store
        async with self.driver.writes:
            kept = await run_to_end(store.recovery)
            if kept is not None and kept.epoch == epoch:
                return encode(kept.report, chain_id)
            data = await self.driver.consensus.stop_epoch(epoch)
            report = decode(SignedReport, data, chain_id, RECOVERY_BYTES_MAX)
            await run_to_end(store.put_recovery, RecoveryPart(epoch, report))
        return data

    async def draft(self, lost: Sequence[str], reports: Sequence[bytes]) -> bytes:
        """What the electors may sign after these encoded reports. Raises what the ledger refuses."""
        return await self.driver.ledger.draft_recovery(lost, reports)

    async def sign(self, data: bytes, reports: Sequence[bytes]) -> None:
        """Sign a draft with the member key. Raises BadSignature: OTHER_DRAFT; as `draft` and `sign_recovery` do."""
        chain_id, store = self.driver.genesis.chain_id, self.driver.enrolment.store
        draft = decode(RecoveryCertificate, data, chain_id, RECOVERY_BYTES_MAX)
        if await self.draft(draft.statement.lost, reports) != data:
            raise BadSignature("OTHER_DRAFT", "This member's ledger works out another recovery from these reports.", "C10")
        async with self.driver.writes:
            kept = await run_to_end(store.recovery)
            part = sign_recovery(kept, draft, reports, self.driver.enrolment.generations.signers, chain_id)
            await run_to_end(store.put_recovery, part)

    async def part(self) -> RecoveryPart | None:
        """What this member has done in the recovery of its newest epoch."""
        return await run_to_end(self.driver.enrolment.store.recovery)
