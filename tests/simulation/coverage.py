"""What a run went through: messages by kind, and views that came to be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from consilium.consensus.core.messages import NewView
from tests.simulation.checkers import Checker

if TYPE_CHECKING:
    from tests.simulation.observed import Speech


class Coverage(Checker):
    """Counts; it never complains."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self._views: dict[tuple[int, int], None] = {}

    def sent(self, speech: Speech) -> None:
        message = speech.message
        self.messages[type(message).__name__] += 1
        if type(message) is NewView:
            self._views[message.epoch, message.view] = None

    @property
    def view_changes(self) -> int:
        """How many views above 0 were announced."""
        return len(self._views)
