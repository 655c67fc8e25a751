"""Links in the liveness phase: what they held comes, and what follows keeps to the delay that time-outs are meant for."""

from __future__ import annotations

import pytest

from tests.simulation.clock import Clock
from tests.simulation.network import CALM_DELAY_MS, CLOG_MS_MAX, Network
from tests.simulation.schedule import Options


@pytest.mark.parametrize("reorder", [False, True])
def test_what_a_clogged_link_holds_comes_when_the_faults_end(*, reorder: bool) -> None:
    """L2: a link that keeps its order would else hold up all that is said in the liveness phase (seed 158)."""
    clock, heard = Clock(), list[tuple[int, object]]()
    network = Network(clock, Options(seed=1, reorder=reorder))
    network.receivers["b"] = lambda _, parcel: heard.append((clock.now_ms, parcel))
    network.hold("a", "b", CLOG_MS_MAX)
    network.send("a", "b", b"held")
    network.quieten()
    network.send("a", "b", b"after")
    while clock.step():
        pass
    assert [parcel for _, parcel in heard] == [b"held", b"after"]
    assert heard[-1][0] <= CALM_DELAY_MS
