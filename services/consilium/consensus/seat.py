"""One member's replica at work: vote log, driver and links put together, and the member's reveals (rules C1, C5, C6)."""

import asyncio
import logging
from collections.abc import Sequence

from consilium.consensus.core.admission import Directory
from consilium.consensus.core.batching import QUEUED_BATCHES_MAX
from consilium.consensus.core.identity import Identity
from consilium.consensus.core.replica import Replica
from consilium.consensus.driver import Driver, Surroundings, recovered
from consilium.consensus.keys import ReplicaKeys
from consilium.consensus.own_ledger import OwnLedger, Start
from consilium.consensus.peers import Transport
from consilium.consensus.revealing import Revealing
from consilium.consensus.store import VoteLog
from consilium.kernel.authoring import sign_payload
from consilium.kernel.certificates import Committee, ResultCertificate
from consilium.kernel.chain import Genesis, Header
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, NotFound, ResourceExhausted
from consilium.kernel.executions import Execution, Standings
from consilium.kernel.opening import OpenedTransaction, verify_author
from consilium.kernel.recovery_reports import SignedReport, sign_report
from consilium.kernel.signing import Signer, Verifier
from consilium.runtime.clock import wall_ms
from consilium.runtime.logs import Log

INLINE_SIGNATURES_MAX = 4
"""How many signatures are checked on the event loop; more are checked in a thread."""

_log = Log("consilium.consensus.seat")


class Seat:
    """Votes where the member is a delegate, forms batches and signs the ends of terms everywhere."""

    def __init__(
        self,
        identity: Identity,
        keys: ReplicaKeys,
        start: Start,
        log: VoteLog,
        around: tuple[OwnLedger, Transport, Verifier],
    ) -> None:
        """Take up the seat where ledger and vote log have left it; raises DataLoss for a log that is damaged (C5)."""
        ledger, transport, self._verifier = around
        self.identity, self.height = identity, start.height
        self.outlook, self._previous = start.outlook, (start.tip.previous_committee, start.previous_start)
        self.revealing = Revealing(identity.member_id, keys)
        self.replica = Replica(identity, start.outlook, start.tip, recovered(log, identity.chain_id))
        directory = Directory(self.replica.state.outlook, self.replica.state.previous_committee)
        surroundings = Surroundings(log, transport, ledger, self._verifier, wall_ms)
        self.driver = Driver(self.replica, identity, directory, surroundings)

    # --- taking in ---

    async def submit(self, transactions: Sequence[tuple[OpenedTransaction, bytes]]) -> None:
        """Hand in transactions taken apart, with their bytes, once their signatures were verified.

        Raises BadSignature; ResourceExhausted while too many wait to be ordered.
        """
        opened = [each for each, _ in transactions]
        if sum(each.signature is not None for each in opened) > INLINE_SIGNATURES_MAX:
            await asyncio.to_thread(self._verify, opened)
        else:
            self._verify(opened)
        # Asked here as well as in the replica, because only here can the caller still be told.
        if self.replica.state.pending_bytes > QUEUED_BATCHES_MAX * self.outlook.parameters.batch_bytes_max:
            raise ResourceExhausted("QUEUE_FULL", "Too many transactions wait to be ordered; send them again later.", "C4")
        self.driver.submit([data for _, data in transactions])

    async def stop(self, epoch: int) -> SignedReport:
        """Have the replica say nothing more in this epoch, and report under the member's key; raises as `Driver.stop`."""
        report = await self.driver.stop(epoch)
        return sign_report(report, self.member_signer, self.identity.chain_id)

    def _verify(self, opened: Sequence[OpenedTransaction]) -> None:
        for each in opened:
            verify_author(each, self._verifier)

    # --- what the own ledger tells (`own_ledger.Listener`) ---

    def executed(self, execution: Execution) -> None:
        """The ledger stands one block higher."""
        header = decode(Header, execution.header, self.identity.chain_id)
        if execution.outlook.epoch != self.outlook.epoch:
            self._previous = (self.outlook.committee, self.outlook.epoch_start)
        self.outlook, self.height = execution.outlook, header.height
        self.driver.executed(execution.result, header, execution.commit, execution.outlook)
        self._reveal()

    def certified(self, certificate: ResultCertificate) -> None:
        """A height became final; block sync may have brought it."""
        self.driver.certified(certificate)

    def told(self, standings: Standings) -> None:
        """The members stand otherwise; perhaps a reveal is due (C6)."""
        self.revealing.told(standings)
        self._reveal()

    def _reveal(self) -> None:
        """Hand in the reveal that is due; if that fails, it is due again later."""
        try:
            payload = self.revealing.due(self.outlook, self.height, self.member_signer)
            if payload is not None:
                self.driver.submit([sign_payload(payload, self.member_signer, self.identity.chain_id)])
        except ConsiliumError as error:
            _log.write(logging.ERROR, "not_revealed", error, epoch=self.outlook.epoch)

    # --- reading ---

    @property
    def member_signer(self) -> Signer:
        """The member key that counts in this epoch (G3)."""
        return self.replica.state.member_signer

    def committee(self, epoch: int | None) -> tuple[Committee, int]:
        """The committee of the present epoch or the one before, and its first height. Raises NotFound: UNKNOWN_EPOCH."""
        previous, previous_start = self._previous
        if epoch in (None, self.outlook.epoch):
            return self.outlook.committee, self.outlook.epoch_start
        if previous is not None and epoch == previous.epoch:
            return previous, previous_start
        raise NotFound("UNKNOWN_EPOCH", f"Epoch {epoch} is neither the present one nor the one before.", "C7")


def identity_of(genesis: Genesis, member_id: str, keys: ReplicaKeys, incarnation: int, session: bytes) -> Identity:
    """Who this replica is."""
    following = keys.following
    others = () if following is None else (following.consensus, following.member)
    return Identity(genesis.chain_id, member_id, keys.consensus, keys.member, incarnation, session, others)
