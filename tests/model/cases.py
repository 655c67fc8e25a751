"""The cases of which behaviours are replayed: one and two heights, up to three views, each place of a liar, a handover."""

import re
from dataclasses import dataclass

from model.check import Alliance


@dataclass(frozen=True, slots=True)
class Simulated:
    """An alliance that TLC takes random walks in."""

    title: str
    alliance: Alliance

    @property
    def bad(self) -> frozenset[str]:
        """The faulty ones, by their names in the model."""
        return frozenset(re.findall(r"\w+", self.alliance.bad))


SIMULATED = (
    Simulated("two heights, faulty first primary", Alliance("Order1", "Views2", 2, "Two1One2", "{r1}")),
    Simulated("three views, faulty second primary", Alliance("Order1", "Views3", 2, "One1Two2", "{r2}")),
    Simulated("three views, faulty first primary", Alliance("Order1", "Views3", 2, "Two1Two2", "{r1}")),
    Simulated("three views, faulty backup", Alliance("Order1", "Views3", 2, "Two1Two2", "{r4}")),
    Simulated("handover, faulty first primaries", Alliance("Order2", "Views21", 2, "Ending", "{r1}")),
    Simulated("handover, faulty second primary, newcomer", Alliance("Order2", "Views21", 2, "Ending", "{r2, r6}")),
)
