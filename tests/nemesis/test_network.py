"""The switch over pairs of sockets in place of interfaces: what it carries, what it does not, and when."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.nemesis.network import CLIENTS, Port, Slow, Switch

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = (CLIENTS, "1A", "2A", "3A")
WAIT_S = 30
"""For what must come; nothing is ever waited for that must not."""


class Cables:
    """The members' ends."""

    def __init__(self, switch: Switch, ends: dict[str, socket.socket]) -> None:
        self.switch, self._ends = switch, ends

    def send(self, source: str, target: str, payload: bytes) -> None:
        """A packet with nothing in its header but where it goes."""
        self._ends[source].send(bytes(16) + _address(target) + payload)

    def receive(self, name: str) -> bytes:
        """The next packet's payload."""
        return self._ends[name].recv(1_000)[20:]


def _address(name: str) -> bytes:
    return bytes((10, 77, 0, NAMES.index(name)))


@contextmanager
def cables() -> Iterator[Cables]:
    pairs = {name: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for name in NAMES}
    ports = [Port(name, _address(name), inner.fileno()) for name, (_, inner) in pairs.items()]
    switch = Switch(ports, random.Random(1))  # noqa: S311  packets to lose
    thread = threading.Thread(target=switch.run)
    thread.start()
    try:
        for outer, _ in pairs.values():
            outer.settimeout(WAIT_S)
        yield Cables(switch, {name: outer for name, (outer, _) in pairs.items()})
    finally:
        switch.end()
        thread.join()
        for pair in pairs.values():
            for each in pair:
                each.close()


def test_packets_go_where_they_are_addressed() -> None:
    with cables() as found:
        found.send("1A", "2A", b"to 2A")
        found.send("1A", CLIENTS, b"to the clients")
        assert (found.receive("2A"), found.receive(CLIENTS)) == (b"to 2A", b"to the clients")


def test_a_cut_goes_one_way_and_ends() -> None:
    with cables() as found:
        found.switch.cut([("1A", "2A")])
        found.send("1A", "2A", b"lost")
        found.send("1A", "3A", b"not cut")
        assert found.receive("3A") == b"not cut"
        found.send("2A", "1A", b"the other way")
        assert found.receive("1A") == b"the other way"
        found.switch.cut(())
        found.send("1A", "2A", b"after")
        assert (found.receive("2A"), found.switch.dropped) == (b"after", 1)


def test_slow_packets_come_after_others_and_clients_are_not_slow() -> None:
    with cables() as found:
        found.switch.slow("1A", Slow(3_000, 0, 0))
        found.send("1A", "2A", b"slow")
        found.send("3A", "2A", b"quick")
        found.send("1A", CLIENTS, b"at once")
        assert [found.receive("2A"), found.receive("2A")] == [b"quick", b"slow"]
        assert (found.receive(CLIENTS), found.switch.late) == (b"at once", 1)
        found.switch.slow("1A", None)
        found.send("1A", "2A", b"quick again")
        assert (found.receive("2A"), found.switch.late) == (b"quick again", 1)


def test_some_packets_are_lost() -> None:
    with cables() as found:
        found.switch.slow("1A", Slow(0, 0, 0.5))
        for number in range(64):
            found.send("1A", "2A", bytes([number]))
        found.send("1A", CLIENTS, b"the end")
        assert found.receive(CLIENTS) == b"the end"
        assert 0 < found.switch.dropped < 64
        came = [found.receive("2A") for _ in range(64 - found.switch.dropped)]
        assert sorted(came) == came


def test_what_nobody_is_addressed_by_is_dropped() -> None:
    with cables() as found:
        found.send("1A", "1A", b"to itself")
        assert found.receive("1A") == b"to itself"
        found._ends["1A"].send(bytes(40))  # noqa: SLF001  the kernel's own chatter
        found.send("1A", "2A", b"goes on")
        assert found.receive("2A") == b"goes on"
