"""S10 to S13 and L1 to L7 fire when their promise is broken; no promise is without a checker and a test that it fires."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest

from consilium.consensus.core.events import BatchRecord, PreparedRecord, Received, StableRecord, ViewRecord
from consilium.consensus.core.forming import form_batch
from consilium.consensus.core.messages import NewView, Prepare
from consilium.consensus.core.silence import Silence
from consilium.kernel.certificates import Phase, PreparedCertificate, ResultCertificate
from consilium.kernel.codes import Code
from tests.house.source import ROOT
from tests.kernel.recomputed_election import GRADES, Person
from tests.simulation.checkers import Checker
from tests.simulation.conflicts import BLOCKS_TO_PROVE, Evidence
from tests.simulation.consent import Consent
from tests.simulation.coverage import Coverage
from tests.simulation.elections import Elections
from tests.simulation.liveness import EMPTIED, PARTS, Liveness, collections, judge_rate, queues
from tests.simulation.observed import Reading, Speech
from tests.simulation.pruning import Pruning
from tests.simulation.reads import LinearReads
from tests.simulation.run import Simulation, checkers
from tests.simulation.schedule import Options
from tests.simulation.test_checkers import (
    CHAIN,
    COMMITTEE,
    FOUNDERS,
    GENESIS,
    GRANT,
    OUTLOOK,
    REVOKE,
    SIGNATURE,
    TERMS,
    block,
    fires,
    record,
    transaction,
    vote,
)

if TYPE_CHECKING:
    from consilium.consensus.core.state import State
    from tests.simulation.member import Member

PROMISES = [f"S{number}" for number in range(1, 14)] + ["P2", "P3"] + [f"L{number}" for number in range(1, 8)]


def started() -> tuple[Simulation, Member]:
    """A run whose members have just come up, and the first delegate of it."""
    simulation = Simulation(Options(seed=0))
    for member in simulation.members.values():
        member.start()
    return simulation, simulation.members[COMMITTEE.delegates[0].member_id]


def reading(height: int, revoked: int | None = None, *, granted: int | None = 1, least: int = 0) -> Reading:
    return Reading("m1", TERMS.grant_id, height, least, granted, revoked)


def test_reads() -> None:
    """R8, S10: an answer behind one that was given before, and one that is not what the chain says at its height."""
    checker = LinearReads()
    checker.first_executed(block(1, GRANT))
    checker.first_executed(block(3, REVOKE))
    checker.read(reading(2))
    checker.read(reading(3, 3))
    checker.read(reading(0, granted=None))
    with fires("S10"):
        checker.read(reading(2, least=3))
    with fires("S10"):
        checker.read(reading(4))
    with fires("S10"):
        checker.read(reading(2, 3))


def test_evidence_is_complete() -> None:
    """S11: one honest delegate hears two votes in one slot after the faults, and no evidence ever comes."""
    simulation, witness = started()
    checker, offender = Evidence(["m9"]), COMMITTEE.delegates[1].member_id
    simulation.world.calm = True
    for digest in (b"a" * 32, b"a" * 32, b"b" * 32):
        heard = Received(0, offender, 1, bytes(16), Prepare(vote(Phase.PREPARE, digest)))
        checker.received(witness, heard)
    checker.first_executed(block(BLOCKS_TO_PROVE))
    with fires("S11"):
        checker.first_executed(block(BLOCKS_TO_PROVE + 1))


def test_election() -> None:
    """S12: a committee in another order, and one drawn from another mix."""
    checker = Elections(GENESIS, {})
    people = [Person(each.member_id, each.owner_group, GRADES[each.grade]) for each in GENESIS.members]
    drawn = replace(OUTLOOK, next_committee=COMMITTEE)
    checker.judge(drawn, people, bytes(32))
    with fires("S12"):
        backwards = replace(COMMITTEE, delegates=COMMITTEE.delegates[::-1])
        checker.judge(replace(drawn, next_committee=backwards), people, bytes(32))
    with fires("S12"):
        checker.judge(drawn, people, b"m" * 32)


def prepared(height: int, view: int) -> PreparedRecord:
    return PreparedRecord(0, height, PreparedCertificate(view, b"", SIGNATURE, ()))


STABLE = StableRecord(ResultCertificate(block(1).result, ()))
BATCH = BatchRecord(form_batch("m0", FOUNDERS[0].member_signer, (transaction(record()),), CHAIN))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (ViewRecord(0, 3, entered=False), ViewRecord(0, 2, entered=True)),
        (prepared(2, 1), prepared(2, 0)),
        (prepared(2, 1), STABLE),
        (BATCH, STABLE),
    ],
    ids=["view", "older certificate", "certificate", "batch"],
)
def test_pruning(
    written: ViewRecord | PreparedRecord | BatchRecord, kept: ViewRecord | PreparedRecord | StableRecord
) -> None:
    """S13: a log that is written anew without its view, what is prepared above the checkpoint, or a batch that waits."""
    _, member = started()
    checker = Pruning(CHAIN)
    checker.persisted(member, (written, prepared(1, 0)), replace=False)
    checker.persisted(member, (written, STABLE), replace=True)
    with fires("S13"):
        checker.persisted(member, (kept,), replace=True)


def test_what_is_ordered_may_be_forgotten() -> None:
    """S13: a batch that a block holds need not wait any more."""
    _, member = started()
    checker = Pruning(CHAIN)
    checker.persisted(member, (BATCH,), replace=False)
    checker.executed(block(1, transaction(record())))
    checker.persisted(member, (STABLE,), replace=True)


def calm(*, was_off: bool = False) -> tuple[Simulation, Liveness]:
    """A run whose faults have just ended, with one record handed in."""
    simulation, _ = started()
    checker = Liveness(simulation.world, simulation.members)
    checker.calm({record().record_id: "m1"}, was_off=was_off)
    return simulation, checker


def test_a_request_that_is_never_ordered() -> None:
    """L1: four time-outs of eight seconds later it still waits; one that is ordered waits no more."""
    simulation, checker = calm()
    simulation.world.clock.now_ms = 32_000
    checker.overdue()
    simulation.world.clock.now_ms += 1
    with fires("L1"):
        checker.overdue()
    checker.first_executed(block(1, transaction(record()), codes=(Code.AUTHOR_NOT_HOLDER,)))
    checker.overdue()


def test_a_request_at_a_member_that_has_lost_its_place() -> None:
    """L1: it was an elector when the faults ended and is none now, so nobody takes its batches any more (L2)."""
    simulation, checker = calm()
    electorate = replace(OUTLOOK.electorate, electors=OUTLOOK.electorate.electors[:1])
    checker.first_executed(replace(block(1), outlook=replace(OUTLOOK, electorate=electorate)))
    simulation.world.clock.now_ms = 32_001
    checker.overdue()


def new_view(epoch: int, view: int) -> Speech:
    name = COMMITTEE.delegates[1].member_id
    return Speech(name, name, honest=True, message=NewView(epoch, view, (), (), SIGNATURE))


def test_views_without_end() -> None:
    """L2: f + 1 new views may come after the faults, not one more; the same one twice is one."""
    _, checker = calm()
    for view in (1, 2, 2):
        checker.sent(new_view(0, view))
    with fires("L2"):
        checker.sent(new_view(0, 3))


def test_a_storm() -> None:
    """L3: an epoch that begins after the faults, all at hand, sees no new view, unless somebody is faulty."""
    simulation, checker = calm()
    checker.sent(new_view(1, 1))
    last = replace(block(1), outlook=replace(OUTLOOK, epoch=1, epoch_start=2))
    checker.executed(last)
    checker.executed(replace(last, endpoint=OUTLOOK.committee.primary(0)))
    simulation.world.faulty.append("m1")
    checker.sent(new_view(1, 2))
    simulation.world.faulty.clear()
    with fires("L3"):
        checker.sent(new_view(1, 2))


def test_an_epoch_whose_first_primary_comes_late_may_change_its_view() -> None:
    """L3: it had no vote in the epoch before, and learned last that it had ended."""
    simulation, checker = calm()
    last = replace(block(1), outlook=replace(OUTLOOK, epoch=1, epoch_start=2))
    checker.executed(replace(last, endpoint=OUTLOOK.committee.primary(1)))
    simulation.world.clock.now_ms += OUTLOOK.parameters.view_timeout_ms // 2 + 1
    checker.executed(replace(last, endpoint=OUTLOOK.committee.primary(0)))
    checker.sent(new_view(1, 1))


def test_a_slow_chain() -> None:
    """L4: half the rate is enough, less is not."""
    judge_rate(50, 1_000, 100, 1_000)
    with fires("L4"):
        judge_rate(49, 1_000, 100, 1_000)


def test_no_convergence() -> None:
    """L5: the healed alliance has a thousandth of a second to come to block 100."""
    assert Simulation(Options(seed=3, safety_ms=1, liveness_ms=1)).run().failure.startswith("L5")


def test_a_start_of_all_that_takes_too_long() -> None:
    """L6: half a minute, and not a millisecond more."""
    simulation, checker = calm(was_off=True)
    simulation.world.clock.now_ms = 30_001
    with fires("L6"):
        checker.first_executed(block(1))


def test_a_queue_without_bound() -> None:
    """L7: one replica has noted more offenders than there are members; every other queue is empty."""
    simulation, checker = calm()
    state = next(iter(simulation.members.values())).replica.state
    checker.measure()
    assert all(size <= bound for _, size, bound in queues(state))
    state.blamed.update({f"nobody {number}": 0 for number in range(9)})
    with fires("L7"):
        checker.measure()


def bare() -> State:
    """A replica's state, of one that is silent, so that nothing it may have is missing."""
    simulation, _ = started()
    state = next(iter(simulation.members.values())).replica.state
    state.silence = Silence(3, 16)
    return state


@pytest.mark.parametrize("name", [each for each in collections(bare()) if not each.startswith("pace._")])
def test_whatever_grows_in_a_replica_has_a_bound(name: str) -> None:
    """L7: one thing too many in any of them is noticed; the two that are left out forget by themselves."""
    simulation, checker = calm()
    state = next(iter(simulation.members.values())).replica.state
    state.silence = Silence(3, 16)
    part, _, attribute = name.rpartition(".")
    grown = getattr(getattr(state, part) if part else state, attribute)
    room = next(most - size for each, size, most in queues(state) if each == name)
    if isinstance(grown, list):
        grown.extend([None] * room)
    else:
        grown.update({f"more {number}": {0: None} for number in range(room)})
    checker.measure()
    grown.append(None) if isinstance(grown, list) else grown.update(last={0: None})
    with fires("L7"):
        checker.measure()


def test_every_part_of_a_replica_is_looked_at() -> None:
    """L7: an object of the state that keeps something is among the parts, or is not the replica's to fill."""
    state = bare()
    kept = {each.name for each in fields(state) if hasattr(getattr(state, each.name), "__dict__")}
    assert kept - set(PARTS) == {"measures"}
    assert set(EMPTIED) <= {each.name for each in fields(state)}


def test_a_suspended_members_record_is_marked() -> None:
    """L2: it comes in a batch that nobody vouches for any more; no other record is refused so."""
    coverage = Coverage(GENESIS, {})
    coverage.first_executed(block(1, transaction(record()), codes=(Code.APPLIED,)))
    assert coverage.marks["a suspended member's record"] == 0
    coverage.first_executed(block(2, transaction(record()), codes=(Code.FOREIGN_VOUCHER,)))
    assert coverage.marks["a suspended member's record"] == 1


def test_too_few_kinds_of_faults() -> None:
    """A seed that was promised five kinds and met none says so."""
    assert Simulation(Options(seed=3, kinds_least=5)).run().failure.startswith("menu")


def test_each_event_has_somebody_who_looks() -> None:
    simulation, _ = started()
    watching = [type(each) for each in checkers(simulation.world, simulation.members)] + [Liveness, Consent, Coverage]
    events = [name for name in vars(Checker) if not name.startswith("_")]
    assert all(any(name in vars(each) for each in watching) for name in events)


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_has_a_checker_and_a_test_that_it_fires(promise: str) -> None:
    """None is forgotten: somebody raises it by name, and some test sees it fire."""
    sources = {path: path.read_text() for path in sorted((ROOT / "tests/simulation").rglob("*.py"))}
    raised = re.compile(rf'(Violation\(\s*"{promise} )|(RULE = "{promise} )')
    fired = re.compile(rf'(fires\("{promise}"\))|(startswith\("{promise}"\))|("{promise} .*" in )')
    assert any(raised.search(text) for path, text in sources.items() if not path.name.startswith("test_"))
    assert any(fired.search(text) for path, text in sources.items() if path.name.startswith("test_"))
