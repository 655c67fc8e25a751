"""The member's secrets as its files hold them: two signing keys and the chain of reveals (rules L2, C6)."""

from dataclasses import dataclass
from pathlib import Path

from consilium.kernel.errors import ConsiliumError, DataLoss, FailedPrecondition
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import SEED_BYTES, Ed25519Signer
from consilium.runtime.member_key import NEXT

REVEALS_MAX = 1_024
"""How many epochs a member can serve before its chain of reveals is used up (C6)."""


@dataclass(frozen=True, slots=True)
class ReplicaKeys:
    """What a replica signs with, and the secret its reveals come from; `following` are the member's next ones (G3)."""

    member: Ed25519Signer
    consensus: Ed25519Signer
    reveals: bytes
    following: "ReplicaKeys | None" = None

    def __repr__(self) -> str:
        """Without the secrets, so that no log line shows them."""
        return f"ReplicaKeys({self.member!r}, {self.consensus!r})"

    def preimage_of(self, anchor: bytes) -> bytes:
        """The next reveal, given the last one on the ledger. Raises FailedPrecondition: NO_REVEAL."""
        for value in (self.reveals, *([] if self.following is None else [self.following.reveals])):
            preimage = _before(value, anchor)
            if preimage is not None:
                return preimage
        raise FailedPrecondition("NO_REVEAL", "The chain of reveals is used up, or it is another member's.", "C6")

    def reveals_left(self, anchor: bytes) -> int:
        """For how many epochs the chain still has reveals below the last one on the ledger; 0 for a foreign one."""
        value = self.reveals
        for left in range(REVEALS_MAX):
            value = sha256(value)
            if value == anchor:
                return left + 1
        return 0


def _before(value: bytes, anchor: bytes) -> bytes | None:
    """What hashes to the anchor in the chain that begins with a secret."""
    for _ in range(REVEALS_MAX):
        following = sha256(value)
        if following == anchor:
            return value
        value = following
    return None


def read_keys(folder: Path) -> ReplicaKeys:
    """The keys in a folder, and those below `next` where there is one. Raises DataLoss: BAD_KEYS."""
    try:
        member, consensus, reveals = [(folder / name).read_bytes() for name in ("member", "consensus", "reveals")]
        signers = [Ed25519Signer.from_seed(each) for each in (member, consensus)]
    except (OSError, ConsiliumError) as error:
        raise DataLoss("BAD_KEYS", f"The keys in {folder} cannot be read: {error}") from error
    if len(reveals) != SEED_BYTES:
        raise DataLoss("BAD_KEYS", f"reveals in {folder} does not hold {SEED_BYTES} bytes.")
    following = read_keys(folder / NEXT) if (folder / NEXT).is_dir() else None
    return ReplicaKeys(signers[0], signers[1], reveals, following)
