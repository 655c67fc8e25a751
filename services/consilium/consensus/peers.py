"""The links to the other members, as the driver sees them (rule C1; design section 8).

Envelopes travel as the bytes of the production encoding. A link may lose, delay, repeat or reorder: PBFT
asks no more of it (Castro and Liskov 1999, section 2), so nothing here waits for an answer. The sandbox has
links inside one process.
"""

from typing import Protocol


class Transport(Protocol):
    """The member's links to all others."""

    def post(self, to: str, envelope: bytes) -> None:
        """Hand encoded bytes to the link to member `to`; never waits, drops what the link cannot take."""
