"""One member's replica, run: vote log, driver, and the member's reveals (rules C1, C5, C6)."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from consilium.consensus.core.admission import Directory
from consilium.consensus.core.identity import Identity, Tip
from consilium.consensus.core.replica import Replica
from consilium.consensus.driver import Driver, Surroundings, recovered
from consilium.consensus.store import FileVoteLog
from consilium.kernel.authoring import sign_payload
from consilium.kernel.certificates import Committee, ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import domain_hash
from consilium.kernel.opening import open_block, open_transaction, verify_endorsements
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import Payload, RevealBody
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.execution import BlockOutcome
from consilium.runtime.disk import OsDisk
from consilium.sandbox.founders import MemberKeys
from consilium.sandbox.ledgers import RunningLedger
from consilium.sandbox.transport import Switchboard

SESSION_BYTES = 16


class RunningReplica:
    """Votes where the member is a delegate, forms batches and signs the ends of terms everywhere."""

    def __init__(
        self, member_id: str, keys: MemberKeys, ledger: RunningLedger, path: Path, board: Switchboard, verifier: Verifier
    ) -> None:
        """Open the vote log at `path`, or make the first one; raises DataLoss for one that is damaged (C5)."""
        self._keys = keys
        self._chain = ledger.chain
        self._verifier = verifier
        chain = ledger.chain
        self._revealed_epoch = _epoch_revealed_in(chain, keys.member.public_key)
        self._log = vote_log(path, chain)
        self.identity = Identity(
            chain.chain_id,
            chain.genesis.parameters,
            member_id,
            keys.consensus,
            keys.member,
            self._log.incarnation,
            secrets.token_bytes(SESSION_BYTES),
        )
        outlook = chain.tip.outlook
        self.replica = Replica(self.identity, outlook, replica_tip(chain), recovered(self._log, chain.chain_id))
        self._link = board.attach(member_id, self._receive)
        around = Surroundings(self._log, self._link, ledger, verifier, wall_clock_ms)
        self.driver = Driver(self.replica, self.identity, Directory(outlook, _previous_committee(chain)), around)
        ledger.follow(self)

    async def run(self) -> None:
        """Serve until cancelled; raises what the vote log or the ledger raised."""
        self._reveal()
        await self.driver.run()

    def close(self) -> None:
        """Let go of the vote log; what was not synced may be lost."""
        self._log.close()

    @property
    def log_syncs(self) -> int:
        """How many syncs the vote log has cost since the start."""
        return self._log.syncs

    async def submit(self, transactions: Sequence[bytes]) -> None:
        """Judge the form and signatures of transactions and hand them in; raises what `kernel.opening` raises."""
        await asyncio.to_thread(self._verify, transactions)
        self.driver.submit(transactions)

    def _verify(self, transactions: Sequence[bytes]) -> None:
        for each in transactions:
            verify_endorsements(open_transaction(each, self.identity.chain_id), self._verifier)

    def executed(self, block: CertifiedBlock, header: Header, outcome: BlockOutcome) -> None:
        """Tell the replica, and reveal when a new term of this delegate has begun."""
        self.driver.executed(outcome.result, header, block.commit, outcome.outlook)
        self._reveal()

    def certified(self, certificate: ResultCertificate) -> None:
        """Tell the replica of a certificate that block sync may have brought."""
        self.driver.certified(certificate)

    def _receive(self, sender: str, envelope: bytes) -> None:
        self.driver.receive(sender, envelope)

    def _reveal(self) -> None:
        """As a delegate, hand in the next preimage of the hash chain, once an epoch and before the draw (C6)."""
        outlook = self._chain.tip.outlook
        member = self._chain.member(self.identity.member_id)
        is_delegate = outlook.committee.index_of(self.identity.member_id) is not None
        if member is None or not is_delegate or outlook.next_committee is not None:
            return
        if outlook.epoch == self._revealed_epoch:
            return
        self._revealed_epoch = outlook.epoch
        body = RevealBody(outlook.epoch, self._keys.preimage_of(member.reveal_anchor))
        request_id = domain_hash("consilium.reveal", body.preimage)[:16]
        expiry = self._chain.height + outlook.term_blocks
        payload = Payload(self._keys.member.public_key, request_id, expiry, body)
        self.driver.submit([sign_payload(payload, self._keys.member, self.identity.chain_id)])


def vote_log(path: Path, chain: Chain) -> FileVoteLog:
    """Open the member's vote log, or make its first one; one that is missing beside a chain is lost (C5).

    Its incarnation begins above any that was counted before: at the seconds since 1970. Raises DataLoss for a damaged log.
    """
    if path.exists():
        return FileVoteLog.open(OsDisk(), path)
    if chain.height == 0:
        return FileVoteLog.create(OsDisk(), path)
    return FileVoteLog.begin_again(OsDisk(), path, wall_clock_ms() // 1_000)


def replica_tip(chain: Chain) -> Tip:
    """What a replica has to know of its member's ledger when it starts."""
    genesis_ms = chain.genesis.time_ms
    if chain.height == 0:
        return Tip(genesis_ms)
    block, outlook = chain.block(chain.height), chain.tip.outlook
    certificate = chain.result_certificate(chain.certified_height) if chain.certified_height else None
    term_end = chain.outcome(outlook.term_end).result if outlook.term_end <= chain.height else None
    return Tip(
        genesis_ms,
        decode(Header, block.header, chain.chain_id),
        chain.outcome(chain.height).result,
        block.commit,
        certificate,
        term_end,
        _previous_committee(chain),
        _recent_headers(chain),
    )


def _recent_headers(chain: Chain) -> tuple[Header, ...]:
    """The headers of the last two windows: what they ordered no longer waits in the vote log (C4)."""
    first = max(1, chain.height - 2 * chain.genesis.parameters.window_blocks + 1)
    return tuple(decode(Header, chain.block(each).header, chain.chain_id) for each in range(first, chain.height + 1))


def wall_clock_ms() -> int:
    """Milliseconds since 1970, which headers carry (L7)."""
    return time.time_ns() // 1_000_000


def _epoch_revealed_in(chain: Chain, member_key: bytes) -> int:
    """This epoch, when the member's reveal stands in it already, else -1.

    Without looking, a restarted delegate would reveal the preimage after the one it revealed: next epoch's.
    """
    outlook = chain.tip.outlook
    for height in range(outlook.epoch_start, chain.height + 1):
        for batch in open_block(chain.block(height), chain.chain_id).batches:
            for each in batch.transactions:
                if isinstance(each.payload.body, RevealBody) and each.payload.author == member_key:
                    return outlook.epoch
    return -1


def _previous_committee(chain: Chain) -> Committee | None:
    epoch = chain.tip.outlook.epoch
    return chain.committee_of(epoch - 1) if epoch > 0 else None
