"""A delegate that forgets what it has committed is found out across views, and loses its rank (rule C8)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pytest

from consilium.consensus.core.replica import Replica
from consilium.kernel.codes import Code
from consilium.kernel.transactions import Amnesia, EvidenceBody
from tests.simulation.run import Simulation
from tests.simulation.schedule import Options

if TYPE_CHECKING:
    from consilium.consensus.core.events import Effect, Input
    from tests.simulation.observed import Execution


class Forgetful(Replica):
    """Commits as all do, and shows nothing of it in its view changes."""

    who: ClassVar[str] = ""

    def step(self, event: Input) -> list[Effect]:
        """As the protocol says, with nothing prepared in mind."""
        if self.state.identity.member_id == self.who:
            self.state.log.prepared.clear()
        return super().step(event)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_delegate_that_forgets_across_views_is_blamed_on_the_ledger_and_loses_its_rank(seed: int) -> None:
    """C8: its commit of one view and its call for a later one lie on the ledger; score 0, and never drawn again."""
    faults = ("crash", "isolate", "split", "one way")
    busy = Options(seed=seed, loss=40, delay_max=30, submit_gap=25, faults=faults, fault_gap=800)
    options = replace(busy, droppers=1, habit="victim")
    simulation = Simulation(options, Forgetful)
    (forgetful,) = [each.endpoint for each in simulation.members.values() if not each.honest]
    Forgetful.who = forgetful
    blamed: list[object] = []

    def hear(execution: Execution) -> None:
        blamed.extend(
            transaction.payload.body.proof
            for _, transaction, code in execution.outcomes()
            if isinstance(transaction.payload.body, EvidenceBody) and code is Code.APPLIED
        )

    simulation.world.watchers.first_executed.append(hear)
    report = simulation.run()
    assert report.failure == ""
    (proof,) = blamed
    assert isinstance(proof, Amnesia)
    assert proof.member_id == forgetful
    member = next(each for each in simulation.members.values() if each.honest).ledger.chain.member(forgetful)
    assert member is not None
    assert (member.score, member.tombstoned) == (0, True)
