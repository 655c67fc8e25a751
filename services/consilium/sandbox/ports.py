"""This machine's own address, and ports on it that a sandbox keeps for as long as its folder stands."""

import errno
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

from consilium.kernel.errors import ResourceExhausted

PORT_MIN, PORT_MAX = 10_000, 32_767
"""Ports are taken below those that the kernel gives to outgoing connections."""
ATTEMPTS_MAX = 100
"""How often ports are drawn before giving up."""


class PortTaken(Exception):
    """Somebody has this port."""


@cache
def loopback() -> str:
    """This machine as its own services reach it: 127.0.0.1, or ::1 where it has no IPv4."""
    try:
        _bound("127.0.0.1", 0).close()
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        return "::1"
    return "127.0.0.1"


@contextmanager
def drawn_ports(count: int) -> Iterator[int]:
    """The first of so many ports in a row that are nobody's; within they are kept, as by `kept_ports`.

    Raises ResourceExhausted: NO_PORTS.
    """
    for _ in range(ATTEMPTS_MAX):
        first = PORT_MIN + secrets.randbelow(PORT_MAX - PORT_MIN - count)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(_drawn(port))
            except PortTaken:
                continue
            yield first
            return
    raise ResourceExhausted(
        "NO_PORTS", f"No {count} free ports in a row between {PORT_MIN} and {PORT_MAX} on {loopback()}; end other sandboxes."
    )


@contextmanager
def kept_ports(first: int, count: int) -> Iterator[None]:
    """Ports in a row that nobody draws within, also while the services that listen there are down.

    Each is bound and never listened on, which a service that listens with SO_REUSEADDR does not mind (Linux, socket(7)); nor
    does a stranger that wants this very number. Those that somebody listens on already are left to them.
    """
    with ExitStack() as stack:
        for port in range(first, first + count):
            with suppress(PortTaken):
                stack.enter_context(_shared(port))
        yield


def is_free(port: int) -> bool:
    """Whether a service can listen on it now."""
    try:
        _shared(port).close()
    except PortTaken:
        return False
    return True


def _drawn(port: int) -> socket.socket:
    """Bound only where nobody is, listening or not; others may share it from then on. Raises PortTaken."""
    bound = _bound(loopback(), port)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return bound


def _shared(port: int) -> socket.socket:
    """Bound as the services are: what a connection of before left behind does not count. Raises PortTaken."""
    return _bound(loopback(), port, shared=True)


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shared)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(port) from error
        raise
    return bound
