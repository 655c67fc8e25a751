"""Where other members' services answer, as settings write it (design section 8)."""

from collections.abc import Sequence

from consilium.kernel.errors import InvalidArgument
from consilium.runtime.channels import Peer


def peers_of(written: Sequence[str], service: str, home: str) -> dict[str, Peer]:
    """The service of each member named as `member=host:port`, by member; the own may stand there and is left out.

    Raises InvalidArgument: BAD_SETTING.
    """
    found: dict[str, Peer] = {}
    for each in written:
        member_id, _, address = each.partition("=")
        if not member_id or not is_address(address) or member_id in found:
            raise InvalidArgument("BAD_SETTING", f"peers holds {each!r}; allowed: member=host:port, each member once.")
        found[member_id] = Peer(member_id, service, address)
    found.pop(home, None)
    return found


def is_address(text: str) -> bool:
    """Whether this is host:port."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16
