"""Conduct under faults, with the production cores: who is honest keeps its seat, who does not serve loses it (C6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.simulation.run import Simulation
from tests.simulation.schedule import Options, stream

if TYPE_CHECKING:
    from consilium.kernel.state_values import MemberState
    from tests.simulation.parcels import Parcel

pytestmark = pytest.mark.slow
BLOCKS = 260
"""Some four terms of sixty blocks: more duties in each than are kept."""
REPEATED_MS = 200, 600
"""When TCP has brought what was lost after all; ten blocks are made meanwhile."""


def served(options: Options, lossy: str = "", permille: int = 0) -> dict[str, MemberState]:
    """Run an alliance to the end, in which one member's links lose so many of a thousand packets; how all have served."""
    simulation, chance = Simulation(options), stream(options.seed, "one lossy member")
    clock, network = simulation.world.clock, simulation.world.network
    send = network.send

    def lose(source: str, target: str, parcel: Parcel) -> None:
        if lossy in (source, target) and chance.randrange(1_000) < permille:
            clock.after(chance.randrange(*REPEATED_MS), partial(send, source, target, parcel))
        else:
            send(source, target, parcel)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "send", lose)
        report = simulation.run()
    assert report.failure == ""
    assert report.epochs >= 2
    chain = next(each for each in simulation.members.values() if each.honest).ledger.chain
    return {each.profile.member_id: each for each in chain.members()}


@pytest.mark.parametrize("seed", range(1, 7))
def test_an_honest_delegate_that_loses_a_tenth_is_not_jailed(seed: int) -> None:
    """C6, election.md section 6: late votes and results count; nobody is jailed, and nobody's score bars it."""
    conduct = served(Options(seed=seed, term_blocks=60, blocks_least=BLOCKS), "m0", 100)
    assert [each.conduct.jailed_until for each in conduct.values()] == [0] * len(conduct)
    assert min(each.score for each in conduct.values()) > 400


def test_a_silent_delegate_is_jailed() -> None:
    """C6: one that votes on nothing for a term is reported absent by the others, and by nobody else's word."""
    conduct = served(Options(seed=4, term_blocks=60, blocks_least=BLOCKS, silent=1))
    jailed = [each for each in conduct.values() if each.conduct.jailed_until]
    assert len(jailed) == 1
    assert jailed[0].score < min(each.score for each in conduct.values() if each not in jailed)
