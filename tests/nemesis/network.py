"""A network of its own for every member, and the switch between them, which cuts, delays and loses by command.

Each member's services run in a network namespace of theirs; the only way out is a TUN interface whose other end this process
holds. So every packet between members passes `Switch`, a thread, and no rule of the kernel has to be set, nor a queueing
discipline that a kernel may lack. This process must be in a namespace of its own already (`unshare --map-root-user --net`):
nothing outside is touched, and everything vanishes with it. Needs Linux with /dev/net/tun, iproute2 and util-linux.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CLIENTS = "clients"
"""The name of this process's own place in the network."""
SUBNET = "10.77.0."
MTU = 16_000
PACKET_BYTES_MAX = 65_536
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
"""From linux/if_tun.h."""
_DESTINATION = slice(16, 20)
"""Where an IPv4 header has it."""


class Slow(NamedTuple):
    """How the way between a member and everybody else is: each packet waits that long, and so many are lost."""

    delay_ms: int
    jitter_ms: int
    loss: float


@dataclass(slots=True)
class Port:
    """One place in the network: the open end of its interface."""

    name: str
    address: bytes
    descriptor: int


@dataclass(slots=True)
class Switch:
    """Carries packets between the places, or does not. Commands come from other threads; each takes effect at once."""

    ports: Sequence[Port]
    chance: random.Random
    _cut: frozenset[tuple[str, str]] = frozenset()
    _slow: dict[str, Slow] = field(default_factory=dict)
    _waiting: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _number: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    dropped: int = 0
    late: int = 0

    # --- commands ---

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Nothing gets from the first to the second of these from now on; all else does. The clients are cut off nobody."""
        self._cut = frozenset(pairs)

    def slow(self, member_id: str, how: Slow | None) -> None:
        """Delay what a member sends to other members and gets from them, or no longer."""
        slow = {**self._slow}
        slow.pop(member_id, None)
        self._slow = slow if how is None else {**slow, member_id: how}

    def end(self) -> None:
        """Carry nothing any more."""
        self._ended.set()

    # --- the thread ---

    def run(self) -> None:
        """Carry until ended."""
        by_address = {each.address: each for each in self.ports}
        with selectors.DefaultSelector() as selector:
            for each in self.ports:
                selector.register(each.descriptor, selectors.EVENT_READ, each)
            while not self._ended.is_set():
                for key, _ in selector.select(self._until_due()):
                    self._take(key.data, by_address)
                self._send_due()

    def _until_due(self) -> float:
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else 0.2

    def _take(self, source: Port, by_address: dict[bytes, Port]) -> None:
        packet = os.read(source.descriptor, PACKET_BYTES_MAX)
        target = by_address.get(packet[_DESTINATION])
        if target is None:  # the kernel's own: router solicitations and the like
            return
        ways = [] if CLIENTS in (source.name, target.name) else [self._slow.get(each.name) for each in (source, target)]
        if (source.name, target.name) in self._cut or any(each and self.chance.random() < each.loss for each in ways):
            self.dropped += 1
            return
        wait_ms = sum(each.delay_ms + self.chance.randrange(each.jitter_ms + 1) for each in ways if each)
        if not wait_ms:
            _write(target.descriptor, packet)
            return
        self._number += 1
        heapq.heappush(self._waiting, (time.monotonic() + wait_ms / 1_000, self._number, target.descriptor, packet))

    def _send_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, descriptor, packet = heapq.heappop(self._waiting)
            self.late += 1
            _write(descriptor, packet)


def _write(descriptor: int, packet: bytes) -> None:
    with contextlib.suppress(OSError):  # the interface's queue is full: a network may lose packets
        os.write(descriptor, packet)


# --- making it ---


@dataclass(frozen=True, slots=True)
class Network:
    """The members' namespaces and the switch between them."""

    switch: Switch
    hosts: dict[str, str]
    """Each member's address."""
    holders: dict[str, int]
    """The process whose namespace is each member's."""

    def command(self, member_id: str, command: Sequence[str]) -> list[str]:
        """The command, run in a member's namespace; the process stays the same one."""
        return ["nsenter", f"--net=/proc/{self.holders[member_id]}/ns/net", "--", *command]


@contextmanager
def network(members: Sequence[str], seed: int) -> Iterator[Network]:
    """Namespaces for these members, joined by a switch that carries while within; raises OSError where it cannot be had."""
    with ExitStack() as stack:
        holders = {each: stack.enter_context(_namespace()).pid for each in members}
        hosts = {name: f"{SUBNET}{number}" for number, name in enumerate((CLIENTS, *members), 1)}
        _run("ip", "link", "set", "lo", "up")
        ports = [_port(stack, name, host, holders.get(name)) for name, host in hosts.items()]
        switch = Switch(ports, random.Random(seed))  # noqa: S311  packets to lose, no secret
        thread = threading.Thread(target=switch.run, name="switch")
        thread.start()
        stack.callback(thread.join)
        stack.callback(switch.end)
        yield Network(switch, hosts, holders)


@contextmanager
def _namespace() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing but hold a namespace, and ends with this one."""
    script = "ip link set lo up && echo && exec sleep inf"
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:  # noqa: S603  our command
        try:
            assert holder.stdout is not None, "it is a pipe"
            if not holder.stdout.read(1):
                raise OSError("a network namespace was refused")
            yield holder
        finally:
            holder.kill()


def _port(stack: ExitStack, name: str, host: str, holder: int | None) -> Port:
    """An interface with this address in the holder's namespace, or in this process's own."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    stack.callback(os.close, descriptor)
    device = f"c-{name}"
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    within = [] if holder is None else ["nsenter", f"--net=/proc/{holder}/ns/net", "--"]
    if holder is not None:
        _run("ip", "link", "set", device, "netns", str(holder))
    _run(*within, "ip", "address", "add", f"{host}/24", "dev", device)
    _run(*within, "ip", "link", "set", device, "mtu", str(MTU), "up")
    return Port(name, bytes(map(int, host.split("."))), descriptor)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ours too
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
