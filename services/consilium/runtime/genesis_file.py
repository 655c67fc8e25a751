"""The genesis file: what every service of every member starts from (rule L5)."""

from pathlib import Path

from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST


def read_genesis(path: Path) -> Genesis:
    """The genesis in a file. Raises InvalidArgument: BAD_GENESIS."""
    try:
        return decode(Genesis, path.read_bytes(), ZERO_DIGEST)
    except (OSError, ConsiliumError) as error:
        raise InvalidArgument("BAD_GENESIS", f"{path} is no genesis file: {error}") from error
