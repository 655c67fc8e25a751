"""The serial numbers that the member has revoked, read again when identity has written them (design section 8)."""

import logging
from pathlib import Path

from consilium.kernel.errors import Malformed
from consilium.kernel.membership import read_revocation_list
from consilium.runtime.logs import Log

REVOKED = "revoked"
"""The file beside a service's TLS files."""

_log = Log("consilium.runtime.revocations")


class Revocations:
    """The list as it stands now; looked at on every call, which costs one stat."""

    def __init__(self, tls_directory: Path) -> None:
        """Read the list; none was written yet where there is no file. Raises Malformed: BAD_REVOCATION_LIST."""
        self._path = tls_directory / REVOKED
        self._seen = self._stamp()
        self._serials = self._read()

    def __contains__(self, serial: object) -> bool:
        """Whether the serial number was revoked; a damaged file changes nothing until it is whole again."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._serials = self._read()
            except Malformed as error:
                _log.write(logging.ERROR, "revocations_unreadable", error)
        return serial in self._serials

    def _read(self) -> frozenset[int]:
        try:
            return frozenset(read_revocation_list(self._path.read_bytes()))
        except FileNotFoundError:
            return frozenset()

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0, 0
        return found.st_ino, found.st_size, found.st_mtime_ns
