"""What a dashboard consists of, before Grafana's JSON is made of it: boards of rows of panels, each with its queries.

A query may hold `{@}`, which is the choice of alliance and namespaces at the top of the board. The tests ask a real
Prometheus for every query, and draw every panel, from these same values.
"""

from dataclasses import dataclass

SELECTED = 'alliance="$alliance", namespace=~"$namespace"'


@dataclass(frozen=True, slots=True)
class Query:
    """What Prometheus is asked, and what a line is called."""

    text: str
    legend: str

    @property
    def expression(self) -> str:
        """The query as Grafana asks it."""
        return self.text.replace("{@", "{" + SELECTED)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture, and in one sentence what it tells; `unit` as Grafana names it. A single number is shown large."""

    title: str
    says: str
    queries: tuple[Query, ...]
    unit: str = "short"
    is_number: bool = False
    alarming: float | None = None
    """From where on a single number is red."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard; `name` is its file and part of its uid."""

    name: str
    title: str
    says: str
    rows: tuple[Row, ...]


def graph(title: str, says: str, *queries: tuple[str, str], unit: str = "short") -> Panel:
    """Lines over time; each query with its legend."""
    return Panel(title, says, tuple([Query(*each) for each in queries]), unit)


def number(title: str, says: str, query: str, legend: str = "", unit: str = "short", alarming: float | None = None) -> Panel:
    """The present value, large."""
    return Panel(title, says, (Query(query, legend),), unit, is_number=True, alarming=alarming)
