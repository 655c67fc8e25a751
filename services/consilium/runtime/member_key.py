"""The member key that a service signs under: of the one in its file and the next one, whichever the ledger names (rule G3).

A member goes over to new keys with an epoch, and its services start anew only afterwards. Until then those that sign under
the member key hold both, the next one in the folder `next` beside the first: what is signed under the other one is nobody's
word, and a home could take no record in. Where the ledger names neither, the first is taken, and refused by whoever judges.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_values import MemberState

NEXT = "next"
"""The folder beside the keys in force that holds those the member goes over to."""


def member_keys_at(path: Path) -> list[Path]:
    """The file with the member key, and that with the next one where there is one."""
    following = path.parent / NEXT / path.name
    return [path, following] if following.exists() else [path]


class OwnSigner:
    """Signs under the key that the ledger names now."""

    __slots__ = ("_own", "_signers")

    def __init__(self, signers: Sequence[Ed25519Signer], own: Callable[[], MemberState | None]) -> None:
        """`own` tells what the ledger says of this member, None for one unheard of; what it raises, signing raises."""
        self._signers, self._own = {each.public_key: each for each in signers}, own

    @property
    def public_key(self) -> bytes:
        """The one in force, of those held here. Raises as `own`."""
        return self._in_force().public_key

    def sign(self, message: bytes) -> bytes:
        """The signature under it. Raises as `own`."""
        return self._in_force().sign(message)

    def _in_force(self) -> Ed25519Signer:
        state, first = self._own(), next(iter(self._signers.values()))
        return first if state is None else self._signers.get(state.profile.member_key, first)
