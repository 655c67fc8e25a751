"""The rule that versions change under: whoever does not know the one in force does nothing (G5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.consensus.core.messages import Commit, Prepare, PrePrepare
from tests.simulation.builds import OLDER
from tests.simulation.checkers import Checker
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.member import Member
    from tests.simulation.observed import Execution, Speech


class Upgrades(Checker):
    """G5: from the height on, no build that does not know the version executes, proposes or votes."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members
        self._height: int | None = None

    def first_executed(self, execution: Execution) -> None:
        """Learn of the height from the block that adopts it."""
        if execution.outlook.upgrade is not None:
            self._height = execution.outlook.upgrade.height

    def executed(self, execution: Execution) -> None:
        """Nobody executes by rules it does not know."""
        if self._is_beyond(execution.endpoint, execution.height):
            raise Violation("G5 upgrade", f"{execution.endpoint} executed {execution.height} by an older version.")

    def sent(self, speech: Speech) -> None:
        """Nobody proposes or votes where it could not execute."""
        match speech.message:
            case PrePrepare(signed=signed) | Prepare(signed=signed) | Commit(signed=signed) if speech.honest:
                if self._is_beyond(speech.endpoint, signed.vote.height):
                    raise Violation("G5 upgrade", f"{speech.endpoint} votes on {signed.vote.height} by an older version.")
            case _:
                pass

    def _is_beyond(self, endpoint: str, height: int) -> bool:
        return self._height is not None and height >= self._height and self._members[endpoint].build == OLDER
