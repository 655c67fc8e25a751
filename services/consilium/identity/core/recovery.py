"""What a member keeps of the recovery of a lost quorum: its report, and the one statement of the epoch it signed (rule C10).

A member that signs two statements of one epoch could help two recoveries to their signatures. So the first is kept before it
is handed out, and another one is refused, whoever asks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.certificates import MEMBERS_MAX
from consilium.kernel.encoding import AtMost, Signature, encode
from consilium.kernel.errors import Conflict, FailedPrecondition
from consilium.kernel.recovery import RECOVERY_BYTES_MAX, RecoveryCertificate
from consilium.kernel.recovery_reports import SignedReport
from consilium.kernel.signing import Signer


@dataclass(frozen=True, slots=True)
class RecoveryPart:
    """A member's part in the recovery of one epoch; `draft` is what it has signed, with the reports that it follows from."""

    DOMAIN: ClassVar[str] = "consilium.recovery-part"
    epoch: int
    report: SignedReport
    draft: RecoveryCertificate | None = None
    reports: Annotated[tuple[Annotated[bytes, AtMost(RECOVERY_BYTES_MAX)], ...], AtMost(MEMBERS_MAX)] = ()
    signature: Signature | None = None


def sign_recovery(
    part: RecoveryPart | None,
    draft: RecoveryCertificate,
    reports: Sequence[bytes],
    signers: Sequence[Signer],
    chain_id: bytes,
) -> RecoveryPart:
    """The part with the member's signature on a draft that its own ledger has worked out; the same again changes nothing.

    Signed is with the key that the report is signed with, which is the one that counts in the epoch. Raises
    FailedPrecondition: NOT_STOPPED before the replica has stopped in the epoch, OTHER_KEY where that key is not here;
    Conflict (SIGNED_ANOTHER) for a second statement of it.
    """
    if part is None or part.epoch != draft.statement.epoch:
        raise FailedPrecondition("NOT_STOPPED", "Stop this member's replica first: `consilium recovery stop`.", "C10")
    if part.draft is not None and part.draft.statement != draft.statement:
        raise Conflict("SIGNED_ANOTHER", f"Another recovery of epoch {part.epoch} has been signed here.", "C10")
    reported = encode(part.report.report, chain_id)
    signer = next((each for each in signers if each.sign(reported) == part.report.signature), None)
    if signer is None:
        raise FailedPrecondition("OTHER_KEY", "The member's report is signed with a key that is not here.", "C10")
    return RecoveryPart(part.epoch, part.report, draft, tuple(reports), signer.sign(encode(draft.statement, chain_id)))
