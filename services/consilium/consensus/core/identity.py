"""What a replica is told once, when it is made (rules C1, C5)."""

from dataclasses import dataclass

from consilium.consensus.core.events import Record
from consilium.kernel.certificates import CommitCertificate, Committee, Result, ResultCertificate
from consilium.kernel.chain import Header
from consilium.kernel.signing import Signer


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this replica is. The incarnation (a count) rises and the session (16 bytes) is drawn at every start.

    `others` are keys the member comes from or goes over to: which of all is used is what committee and electors say (G3).
    """

    chain_id: bytes
    member_id: str
    consensus_signer: Signer
    member_signer: Signer
    incarnation: int
    session: bytes
    others: tuple[Signer, ...] = ()

    def signer_of(self, public_key: bytes) -> Signer | None:
        """The key pair with this public key, None where the member has not put it in place."""
        at_hand = (self.consensus_signer, self.member_signer, *self.others)
        return next((each for each in at_hand if each.public_key == public_key), None)


@dataclass(frozen=True, slots=True)
class Tip:
    """What the ledger knows when the replica starts: its last executed block, and what of the past still matters.

    `genesis_ms` is the genesis time in milliseconds. `certificate` is the newest result certificate, `term_end` this term's
    last result once it is executed, `previous_committee` the delegates of the epoch before. `recent` are the headers of the
    last executed blocks, two windows of them and all since the vote log was last written: what they ordered no longer waits.
    """

    genesis_ms: int
    header: Header | None = None
    result: Result | None = None
    commit: CommitCertificate | None = None
    certificate: ResultCertificate | None = None
    term_end: Result | None = None
    previous_committee: Committee | None = None
    recent: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the vote log held at the start; `lost` when it is gone, restored from elsewhere or cloned (C5)."""

    records: tuple[Record, ...] = ()
    lost: bool = False
