"""A small real ledger, for order and epochs alone: it executes a block by hashing it, so that results can be compared.

It knows what the replica asks of a ledger about elections: the next committee is drawn at the election height, and the block
with a valid handover is its epoch's last. The real ledger runs under the same replicas in the simulator.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from consilium.consensus.core.identity import Tip
from consilium.kernel.certificates import (
    Committee,
    Delegate,
    Electorate,
    Result,
    ResultCertificate,
    verify_alliance_certificate,
)
from consilium.kernel.chain import CertifiedBlock, Header, Outlook, recovered
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.hashing import domain_hash, sha256
from consilium.kernel.opening import open_batch
from consilium.kernel.transactions import HandoverBody
from tests.simulation.signing import KeyedHashVerifier

RECENT_HEADERS = 64
"""How many headers a replica is told of when it starts, at most."""


@dataclass
class ToyLedger:
    """One member's chain. `successors` are the delegates of the epochs to come; the last of them serve on.

    Who is `leaving` is an elector no more once the sitting epoch ends.
    """

    chain_id: bytes
    outlook: Outlook
    successors: Sequence[tuple[Delegate, ...]] = ()
    blocks: list[CertifiedBlock] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    certificates: list[ResultCertificate] = field(default_factory=list)
    previous_committee: Committee | None = None
    leaving: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """The height of the last executed block."""
        return len(self.blocks)

    def execute(self, block: CertifiedBlock) -> Result:
        """Take the next block."""
        header = decode(Header, block.header, self.chain_id)
        assert header.height == self.height + 1, "blocks are delivered in height order"
        block_hash = sha256(block.header)
        if block.recovery is not None and header.height > block.recovery.statement.last_height:
            self.previous_committee = self.outlook.committee
            self.outlook = recovered(self.outlook, block.recovery.statement)
        assert header.epoch == self.outlook.epoch
        roots = [domain_hash("toy", bytes([kind]), block_hash) for kind in range(3)]
        result = Result(self.outlook.epoch, header.height, block_hash, header.height, roots[0], roots[1], roots[2])
        self.blocks.append(block)
        self.headers.append(header)
        self.results.append(result)
        if header.height == self.outlook.election_height:
            self._draw(block_hash)
        if any(self._ends_epoch(data) for data in block.batches):
            self._cross()
        return result

    def _draw(self, block_hash: bytes) -> None:
        epoch = self.outlook.epoch + 1
        names = self.successors[min(epoch, len(self.successors)) - 1] if self.successors else None
        following = Committee(epoch, names or self.outlook.committee.delegates)
        self.outlook = replace(self.outlook, next_committee=following, election_mix=domain_hash("mix", block_hash))

    def _ends_epoch(self, data: bytes) -> bool:
        """Whether a batch holds a handover that applies: the alliance's word on this very term end."""
        for transaction in open_batch(data, self.chain_id).transactions:
            body = transaction.payload.body
            if isinstance(body, HandoverBody) and body.certificate.result in self.results:
                try:
                    verify_alliance_certificate(
                        self.outlook.electorate, body.certificate, self.chain_id, KeyedHashVerifier()
                    )
                except ConsiliumError:
                    continue
                return True
        return False

    def _cross(self) -> None:
        old = self.outlook
        assert old.next_committee is not None, "the draw comes before the term's end"
        self.previous_committee = old.committee
        staying = tuple(each for each in old.electorate.electors if each.member_id not in self.leaving)
        electorate = Electorate(old.epoch + 1, staying)
        self.outlook = Outlook(
            old.epoch + 1, self.height + 1, old.next_committee, None, old.election_mix, electorate, old.parameters
        )

    def tip(self, genesis_ms: int) -> Tip:
        """What a replica is told when it starts."""
        if not self.blocks:
            return Tip(genesis_ms)
        term_end = self.outlook.term_end
        return Tip(
            genesis_ms,
            self.headers[-1],
            self.results[-1],
            self.blocks[-1].commit,
            max(self.certificates, key=lambda each: each.result.height, default=None),
            self.results[term_end - 1] if term_end <= self.height else None,
            self.previous_committee,
            tuple(self.headers[-RECENT_HEADERS:]),
        )
