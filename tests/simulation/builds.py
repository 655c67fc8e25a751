"""Builds of two versions in one alliance (G5).

A process is a build that knows versions up to its own: here the production's, and one that knows one more and is otherwise
the same. `running` lets the cores be that build while an endpoint acts. Versions are told in no handshake: the alliance
adopts one for a height, and each build looks at its own chain. So builds of both kinds work together below the height, a
member may go back to the older one there, and the older one stands still from the height on until it is replaced. Behind
the height there is no way back, in production or here: the older build cannot even read such a ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.kernel import chain, parameters

if TYPE_CHECKING:
    from consilium.kernel.chain import Outlook

OLDER, NEWER = parameters.PROTOCOL_VERSION, parameters.PROTOCOL_VERSION + 1
"""What the two builds know."""


class running:  # noqa: N801  read as a phrase, and entered for every event: a generator would take thrice as long
    """Let the cores know versions up to this one."""

    __slots__ = ("_before", "_build")

    def __init__(self, build: int) -> None:
        self._build = build

    def __enter__(self) -> None:
        self._before = chain.PROTOCOL_VERSION  # type: ignore[attr-defined]  # where the core reads it
        chain.PROTOCOL_VERSION = self._build  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        chain.PROTOCOL_VERSION = self._before  # type: ignore[attr-defined]


def may_go_back(height: int, outlook: Outlook) -> bool:
    """Whether a ledger at this height can be left to the older build: below the height that was adopted."""
    return outlook.upgrade is not None and height + 1 < outlook.upgrade.height


def stands_still(height: int, outlook: Outlook) -> bool:
    """Whether the older build has come to where it stops."""
    return outlook.upgrade is not None and height + 1 >= outlook.upgrade.height
