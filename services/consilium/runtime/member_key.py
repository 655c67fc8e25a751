"""The member key that a service signs under: of the one in its file and the next one, whichever the ledger names (rule G3).

A member goes over to new keys with an epoch, and its services start anew only afterwards. Until then those that sign under
the member key hold both, the next one in the folder `next` beside the first: what is signed under the other one is nobody's
word, and a home could take no record in. Where the ledger names neither, the first is taken, and refused by whoever judges.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from consilium.kernel.errors import InvalidArgument
from consilium.kernel.signing import SEED_BYTES, Ed25519Signer
from consilium.kernel.state_values import MemberState

NEXT = "next"
"""The folder beside the keys in force that holds those the member goes over to."""


def read_seeds(path: Path) -> list[bytes]:
    """The member key in a file, 32 bytes, and the next one where there is one. Raises InvalidArgument: BAD_MEMBER_KEY."""
    first, following = _read_seed(path), _read_seed(path.parent / NEXT / path.name)
    if first is None:
        raise InvalidArgument("BAD_MEMBER_KEY", f"There is no member key at {path}.", "G3")
    return [first] if following is None else [first, following]


def _read_seed(path: Path) -> bytes | None:
    """None where there is no such file; what cannot be looked at may be there, and is refused by the name of its folder."""
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidArgument("BAD_MEMBER_KEY", f"{path.name} in {path.parent} cannot be read: {error}", "G3") from error
    if len(seed) != SEED_BYTES:
        raise InvalidArgument("BAD_MEMBER_KEY", f"{path} holds no member key of {SEED_BYTES} bytes.", "G3")
    return seed


def signers_of(seeds: Sequence[bytes]) -> dict[bytes, Ed25519Signer]:
    """The keys whose seeds these are, by their public keys and in the same order."""
    return {each.public_key: each for each in map(Ed25519Signer.from_seed, seeds)}


class OwnSigner:
    """Signs under the key that the ledger names now."""

    __slots__ = ("_own", "_signers")

    def __init__(self, seeds: Sequence[bytes], own: Callable[[], MemberState | None]) -> None:
        """`own` tells what the ledger says of this member, None for one unheard of; what it raises, signing raises."""
        self._signers, self._own = signers_of(seeds), own

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
