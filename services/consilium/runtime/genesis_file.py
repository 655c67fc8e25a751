"""The genesis file: what every service of every member starts from (rule L5)."""

from pathlib import Path

from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.signed_genesis import SignedGenesis, verify_signed_genesis
from consilium.kernel.signing import Ed25519Verifier


def read_genesis(path: Path) -> Genesis:
    """The genesis in a file that all its founders have signed. Raises InvalidArgument: BAD_GENESIS."""
    return read_signed_genesis(path).genesis


def read_signed_genesis(path: Path) -> SignedGenesis:
    """The same with the founders' signatures, to be handed on. Raises InvalidArgument: BAD_GENESIS."""
    try:
        signed = decode(SignedGenesis, path.read_bytes(), ZERO_DIGEST)
        verify_signed_genesis(signed, Ed25519Verifier())
    except (OSError, ConsiliumError) as error:
        raise InvalidArgument("BAD_GENESIS", f"{path} is no genesis file: {error}") from error
    return signed
