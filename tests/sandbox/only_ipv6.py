"""Run a command on a machine that has IPv6 alone: `python -m tests.sandbox.only_ipv6 COMMAND...` in a network of its own.

For `unshare --net`, in which there is a loopback device and nothing else: it is brought up, and its IPv4 address taken away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys

LOOPBACK = b"lo"
SET_FLAGS, SET_ADDRESS, IS_UP = 0x8914, 0x8916, 1
"""SIOCSIFFLAGS, SIOCSIFADDR and IFF_UP of Linux; an address of zeros is none."""


def main(command: list[str]) -> None:
    """Have ::1 and no other address, and become the command."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, SET_FLAGS, struct.pack("16sH22x", LOOPBACK, IS_UP))
        fcntl.ioctl(device, SET_ADDRESS, struct.pack("16sH22x", LOOPBACK, socket.AF_INET))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 1)) == errno.ENETUNREACH
    os.execvp(command[0], command)  # noqa: S606  what the test names


if __name__ == "__main__":
    main(sys.argv[1:])
