"""The pictures: what they are drawn from, where they go, and what is said without matplotlib."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from consilium.client.planning.forecast import Forecast
from consilium.client.planning.plots import plot
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from tests.client.planning.pools import tiered

TEN = (2, 1, 3, 4)


@pytest.mark.parametrize(("name", "start"), [("odds.png", b"\x89PNG"), ("odds.svg", b"<?xml")])
def test_pictures_are_written(tmp_path: Path, name: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    plot(tmp_path / name, Forecast(tiered("base", TEN), 7), 0.99)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plot(tmp_path / "odds.pdf", Forecast(tiered("base", TEN), 7), 0.99)
    assert caught.value.reason == "BAD_PLOT"


def test_without_matplotlib_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.axes", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FailedPrecondition, match=r"consilium\[plot\]") as caught:
        plot(tmp_path / "odds.png", Forecast(tiered("base", TEN), 7), 0.99)
    assert caught.value.reason == "NO_MATPLOTLIB"
    assert not (tmp_path / "odds.png").exists()
