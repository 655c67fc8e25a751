"""Ports on loopback that a sandbox keeps for as long as its folder stands."""

import secrets
import socket

from consilium.kernel.errors import ResourceExhausted
from consilium.sandbox.layout import HOST

PORT_MIN, PORT_MAX = 10_000, 32_767
"""Ports are taken below those that the kernel gives to outgoing connections, which could take the port of a service that is
down for a moment."""
ATTEMPTS_MAX = 100
"""How often ports are drawn before giving up."""


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on. Raises ResourceExhausted: NO_PORTS."""
    for _ in range(ATTEMPTS_MAX):
        first = PORT_MIN + secrets.randbelow(PORT_MAX - PORT_MIN - count)
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise ResourceExhausted(
        "NO_PORTS", f"No {count} free ports in a row between {PORT_MIN} and {PORT_MAX} on {HOST}; end other sandboxes."
    )


def is_free(port: int) -> bool:
    """Whether a service can listen on it now."""
    with socket.socket() as probe:
        # As the services listen: what a connection of before left behind does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
