"""One seed from genesis to convergence: a safety phase with faults, then a healed liveness phase.

The run fails by `Violation`, with the checker that noticed, or as "liveness" when the healed alliance does not converge.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consilium.consensus.core.replica import Replica
from consilium.kernel.founding import first_committee
from tests.simulation.alliance import founders, genesis_of
from tests.simulation.builds import NEWER, running
from tests.simulation.checkers import (
    Agreement,
    Ballots,
    Determinism,
    Durability,
    ExactlyOnce,
    NoAmnesia,
    Order,
    Validity,
)
from tests.simulation.clock import Clock
from tests.simulation.conflicts import Evidence
from tests.simulation.consent import Consent
from tests.simulation.coverage import Coverage
from tests.simulation.elections import Elections
from tests.simulation.faults import plan
from tests.simulation.liar import Liar
from tests.simulation.liveness import Liveness
from tests.simulation.local_ledger import replay
from tests.simulation.member import Member
from tests.simulation.memory import forget, share
from tests.simulation.mischief import Mischief
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import Network
from tests.simulation.observed import Violation
from tests.simulation.proxies import Proxies
from tests.simulation.pruning import Pruning
from tests.simulation.reads import LinearReads, Readers
from tests.simulation.schedule import CALM_PAUSES, SAFETY_BLOCKS, stream
from tests.simulation.signing import KeyedHashVerifier
from tests.simulation.summary import FAULTS
from tests.simulation.twin import Dropper, TwinViews
from tests.simulation.upgrades import Upgrades
from tests.simulation.workload import Workload
from tests.simulation.world import Story, Watchers, World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consilium.ledger.core.chain import Chain
    from tests.simulation.checkers import Checker
    from tests.simulation.faults import Fault
    from tests.simulation.schedule import Options

STEPS_MAX = 2_000_000
"""A run that takes more steps than this spins."""

REPLAYED = 4
"""Every which seed ends with a replay of a whole chain, beside those at every tenth start and after lost blocks (S8)."""


@dataclass(slots=True)
class Report:
    """What a run came to."""

    seed: int
    members: int
    delegates: int
    failure: str = ""
    blocks: int = 0
    epochs: int = 0
    view_changes: int = 0
    releases: int = 0
    simulated_ms: int = 0
    steps: int = 0
    trace: str = ""
    options: str = ""
    story: list[str] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    processor_s: float = 0.0
    faults: tuple[Fault, ...] = ()

    @property
    def rule(self) -> str:
        """The rule that was broken, "" for none."""
        return self.failure.partition(":")[0]


class Simulation:
    """An alliance, its clients, its faults and its watchers."""

    def __init__(
        self,
        options: Options,
        replica_class: Callable[..., Replica] = Replica,
        faults: Sequence[Fault] | None = None,
    ) -> None:
        self.options = options
        clock, genesis = Clock(), genesis_of(options)
        names = [each.member_id for each in founders(options.members)]
        seated = [each.member_id for each in first_committee(genesis).delegates]
        faulty = stream(options.seed, "faulty").sample(seated, options.twins + options.droppers + options.silent)
        twinned, droppers = faulty[: options.twins], faulty[options.twins :]
        self.members: dict[str, Member] = {}
        self.consent = Consent(genesis.parameters, clock)
        self.coverage = Coverage(genesis, self.members)
        self.world = World(
            options=options,
            genesis=genesis,
            chain_id=genesis.chain_id,
            clock=clock,
            network=Network(clock, options),
            views=TwinViews(options, twinned, names),
            story=Story(clock),
            replica_class=replica_class,
            faulty=faulty,
        )
        self.liveness = Liveness(self.world, self.members)
        watching = [*checkers(self.world, self.members), self.liveness, self.consent, self.coverage]
        self.world.watchers = Watchers(watching)
        for founder in founders(options.members):
            name = founder.member_id
            kind = Liar if options.lies else Dropper
            dropper = kind(options, name, [n for n in names if n != name]) if name in droppers else None
            member = Member(name, founder, self.world, dropper)
            self.members[name] = member
            self.world.network.receivers[name] = member.receive
        self.workload = Workload(options, genesis.chain_id, self._submit)
        self.proxies = Proxies(self.world, self.members, self.workload.released)
        readers = Readers(self.world, self.members)
        self.world.watchers.first_executed += [each.first_executed for each in (self.workload, self.proxies, readers)]
        self.faults = plan(options, names) if faults is None else tuple(faults)
        self.nemesis = Nemesis(self.world, self.members, self.faults)
        self._arrivals = stream(options.seed, "arrivals")
        self._working = True
        self._looked_at_ms = 0

    def run(self) -> Report:
        """Run the seed to its end, good or bad."""
        failure = ""
        try:
            self._run()
        except Violation as violation:
            failure = str(violation)
        except Exception:  # noqa: BLE001  whatever a replica dies of is a finding, with a seed
            failure = f"raised: {traceback.format_exc()}"
        return self._report(failure)

    def _run(self) -> None:
        for member in list(self.members.values()):
            member.start()
        self.workload.reveal(first_committee(self.world.genesis))
        self._work()
        self.nemesis.begin()
        if self.options.floods:
            self._mischief = [Mischief(self.members[name]) for name in self.world.faulty]
        self._safety_phase()
        self._call_off()
        self._liveness_phase()
        self._judge_menu()
        if self.options.seed % REPLAYED == 0:
            self._replay_one()

    def _safety_phase(self) -> None:
        world = self.world
        until = min(SAFETY_BLOCKS, self.options.blocks_least)
        clock, ends_ms = world.clock, self.options.safety_ms
        while clock.now_ms < ends_ms and world.top < until:
            self._step()

    def _call_off(self) -> None:
        """End the faults, in some seeds after everybody was off at once; whoever may order hands something in."""
        if self.options.ends_off:
            for member in self.members.values():
                member.crash()
        self.nemesis.call_off()
        self.world.story.note("nemesis", "is called off")
        electors = [each.member_id for each in self._highest().tip.outlook.electorate.electors]
        names = [name for name, each in self.members.items() if each.honest and name in electors]
        self.liveness.calm(self.workload.register_at(names), was_off=self.options.ends_off)

    def _judge_menu(self) -> None:
        """A drawn seed must have been through enough kinds of faults, or its promises count for little."""
        hits = self.world.hits + self.world.network.counts
        happened = [kind for kind in FAULTS if hits[kind]]
        if len(happened) < self.options.kinds_least:
            raise Violation("menu", f"Only {len(happened)} kinds of faults happened: {', '.join(happened)}.")

    def _liveness_phase(self) -> None:
        """Go on until the chain is long enough, then, without clients, until all have all of it."""
        ends_ms = self.world.clock.now_ms + self.options.liveness_ms
        while self.world.top < self.options.blocks_least:
            self._step_before(ends_ms)
        self._working = False
        while not self._converged():
            self._step_before(ends_ms)

    def _step_before(self, ends_ms: int) -> None:
        """Let the next thing happen; how late it is need be asked once in a millisecond."""
        now_ms = self.world.clock.now_ms
        if now_ms != self._looked_at_ms:
            self._looked_at_ms = now_ms
            if now_ms > ends_ms:
                raise Violation("L5 convergence", f"After {self.options.liveness_ms} ms: heights {self._heights()}")
            self.liveness.overdue()
        self._step()

    def _step(self) -> None:
        clock = self.world.clock
        if not clock.step() or clock.steps > STEPS_MAX:
            raise Violation("L5 convergence", f"Nothing moves, or all spins: heights {self._heights()}")

    def _converged(self) -> bool:
        """Whether all honest members stand at one height that all of them know to be final."""
        top = self.world.top
        for member in self.members.values():
            chain = member.ledger.chain
            if member.honest and not chain.height == top == chain.certified_height:
                return False
        return True

    def _highest(self) -> Chain:
        """The longest chain that anybody has."""
        return max((member.ledger.chain for member in self.members.values()), key=lambda chain: chain.height)

    def _heights(self) -> dict[str, int]:
        return {name: member.ledger.chain.height for name, member in self.members.items()}

    def _replay_one(self) -> None:
        """S8: one member's blocks, replayed from genesis, give the same; nothing is remembered for it."""
        forget()
        member = next(each for each in self.members.values() if each.honest)
        with running(NEWER):
            again = replay(self.world, member.ledger.store)
        if again.outcome(again.height) != member.ledger.chain.outcome(again.height):
            raise Violation("S8 determinism", f"a replay of {member.endpoint}'s blocks gives another result")

    # --- clients ---

    def _work(self) -> None:
        """Clients act again and again."""
        if self._working:
            self.workload.act()
        gap = self.options.submit_gap * (CALM_PAUSES if self.world.calm else 1)
        self.world.clock.after(self._arrivals.randrange(1, 2 * gap), self._work)

    def _submit(self, member_id: str, transactions: tuple[bytes, ...]) -> None:
        self.members[member_id].submit(transactions)

    def _report(self, failure: str) -> Report:
        world, epochs = self.world, self._highest().tip.outlook.epoch
        return Report(
            seed=self.options.seed,
            members=self.options.members,
            delegates=self.options.committee_target,
            failure=failure,
            blocks=world.top,
            epochs=epochs,
            view_changes=self.coverage.view_changes,
            releases=self.consent.releases,
            simulated_ms=world.clock.now_ms,
            steps=world.clock.steps,
            trace=world.story.digest,
            options=str(self.options),
            story=world.story.lines() if failure else [],
            hits=world.hits + world.network.counts + self.coverage.messages,
            marks=+self.coverage.marks,
            faults=self.faults,
        )


def run_options(options: Options, faults: Sequence[Fault] | None = None) -> Report:
    """One seed. The collector would walk a whole alliance again and again; it runs once, at the end."""
    share()
    began_s = time.process_time()
    gc.disable()
    try:
        report = Simulation(options, faults=faults).run()
    finally:
        forget()
        gc.enable()
        gc.collect()
    report.processor_s = time.process_time() - began_s
    return report


def checkers(world: World, members: Mapping[str, Member]) -> list[Checker]:
    """One of each that looks at safety; those of liveness and consent are asked for more."""
    genesis = world.genesis
    return [
        Agreement(),
        Order(genesis.chain_id),
        Validity(genesis, KeyedHashVerifier()),
        Ballots(first_committee(genesis)),
        NoAmnesia(genesis.chain_id),
        ExactlyOnce(),
        Determinism(),
        Durability(),
        LinearReads(),
        Evidence(world.faulty),
        Elections(genesis, members),
        Pruning(genesis.chain_id),
        Upgrades(members),
    ]
