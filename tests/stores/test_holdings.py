"""The rows of what a member stores, as another release left them (S2)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import FailedPrecondition
from consilium.storage.holdings import Holdings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("table", ["used", "backups"])
def test_holdings_of_an_earlier_release_are_refused_with_what_to_do(tmp_path: Path, table: str) -> None:
    """At the start, and not at the first put; nor is the file held then."""
    path = tmp_path / "holdings.db"
    Holdings.create(path).close()
    Holdings.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TABLE {table}")
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=r"consilium storage heal.*STORE_OLDER"):
            Holdings.open(path)
