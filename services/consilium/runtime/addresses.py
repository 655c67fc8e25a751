"""Where services answer, as settings write it: host:port, an IPv6 address in brackets (design section 8, RFC 3986).

Brackets are asked for because without them the last group of an address is read as a port.
"""

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address

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
    return _is_host(host) and port.isdecimal() and 0 < int(port) < 1 << 16


def _is_host(text: str) -> bool:
    if not text.startswith("["):
        return bool(text) and ":" not in text
    try:
        IPv6Address(text.removeprefix("[").removesuffix("]"))
    except AddressValueError:
        return False
    return text.endswith("]")


def join_address(host: str, port: int) -> str:
    """host:port, with brackets where they belong."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Host, without brackets, and port of what `is_address` takes."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
