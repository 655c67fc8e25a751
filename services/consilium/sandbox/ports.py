"""This machine's own address, and ports on it that a sandbox keeps for as long as its folder stands."""

import secrets
import socket
from functools import cache

from consilium.kernel.errors import ResourceExhausted

PORT_MIN, PORT_MAX = 10_000, 32_767
"""Ports are taken below those that the kernel gives to outgoing connections, which could take the port of a service that is
down for a moment."""
ATTEMPTS_MAX = 100
"""How often ports are drawn before giving up."""


@cache
def loopback() -> str:
    """This machine as its own services reach it: 127.0.0.1, or ::1 where it has no IPv4."""
    return "127.0.0.1" if _is_bound("127.0.0.1", 0) else "::1"


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on. Raises ResourceExhausted: NO_PORTS."""
    for _ in range(ATTEMPTS_MAX):
        first = PORT_MIN + secrets.randbelow(PORT_MAX - PORT_MIN - count)
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise ResourceExhausted(
        "NO_PORTS", f"No {count} free ports in a row between {PORT_MIN} and {PORT_MAX} on {loopback()}; end other sandboxes."
    )


def is_free(port: int) -> bool:
    """Whether a service can listen on it now."""
    return _is_bound(loopback(), port)


def _is_bound(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As the services listen: what a connection of before left behind does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
