"""What a replica reports of its fellow delegates (C6)."""

from __future__ import annotations

from dataclasses import replace

from consilium.consensus.core.attendance import Attendance
from consilium.consensus.core.checkpoints import Checkpoints
from consilium.consensus.core.message_log import MessageLog
from consilium.consensus.core.messages import Checkpoint
from consilium.consensus.core.proposals import Parent
from consilium.kernel.certificates import Committee, Phase, Result, SignedVote, Vote
from consilium.kernel.chain import Outlook
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import Absence
from tests.consensus.cluster import Cluster

PRESENT = Absence(0, 0)


def outlook() -> Outlook:
    """Four delegates, ten blocks a term, the draw at height 9."""
    cluster = Cluster()
    ahead = next(iter(cluster.seats.values())).state.outlook
    return replace(ahead, parameters=replace(ahead.parameters, term_blocks=10))


def digest(height: int) -> bytes:
    return sha256(bytes([height]))


def vote(height: int, what: bytes | None = None) -> SignedVote:
    return SignedVote(Vote(Phase.COMMIT, 0, 0, height, what or digest(height)), bytes(64))


def result(height: int) -> Result:
    return Result(0, height, digest(height), 0, bytes(32), bytes(32), bytes(32))


def noted(ahead: Outlook, voters: dict[int, list[int]], results: dict[int, list[int]] | None = None) -> Attendance:
    """Who voted on, and signed the result of, these heights in time."""
    committee: Committee = ahead.committee
    log, checkpoints, attendance = MessageLog(committee), Checkpoints(), Attendance()
    for height, indexes in voters.items():
        for index in indexes:
            log.record(index, vote(height))
    for height, indexes in (results or {}).items():
        for index in indexes:
            checkpoints.add(committee, index, Checkpoint(result(height), bytes(64)))
    blocks = {height: Parent(height, digest(height), 0) for height in voters}
    attendance.harvest(log, checkpoints, ahead, blocks, range(min(voters), max(voters) + 1))
    return attendance


def test_absences_are_counted_where_a_quorum_voted() -> None:
    """C6: of height 9 it saw two votes only, of height 10 nothing is asked; bit 0 is the election height."""
    ahead = outlook()
    attendance = noted(ahead, {7: [0, 1, 2], 8: [0, 1, 2, 3], 9: [0, 1], 10: [0, 1, 2]})
    assert attendance.absences(ahead) == (PRESENT, PRESENT, PRESENT, Absence(1, 0b100))


def test_late_votes_on_the_block_count_for_a_while() -> None:
    """C6: a vote on another block does not, nor one on what is forgotten."""
    ahead = outlook()
    attendance = noted(ahead, {7: [0, 1, 2], 8: [0, 1, 2], 9: [0, 1, 2]})
    attendance.note_vote(3, vote(8).vote)
    attendance.note_vote(3, vote(9, bytes(32)).vote)
    attendance.forget(7)
    attendance.note_vote(3, vote(7).vote)
    assert attendance.absences(ahead)[3] == Absence(2, 0b101)


def test_who_follows_is_not_gone() -> None:
    """C6: a result signed, in time or late, keeps a delegate out of jail; its score still lacks the votes."""
    ahead = outlook()
    attendance = noted(ahead, {7: [0, 1, 2], 8: [0, 1, 2], 9: [0, 1, 2]}, {7: [3]})
    attendance.note_result(3, result(8))
    attendance.note_result(3, replace(result(9), block_hash=bytes(32)))
    assert attendance.absences(ahead)[3] == Absence(3, 0b001)


def test_nothing_is_noted_above_the_election_height() -> None:
    """C6: a committee that is never relieved would note for ever what it will never report."""
    ahead = outlook()
    attendance = noted(ahead, {9: [0, 1, 2], 10: [0, 1, 2], 11: [0, 1, 2]})
    longer = replace(ahead, parameters=replace(ahead.parameters, term_blocks=100))
    assert attendance.absences(longer)[3].count == 1


def test_a_restarted_replica_has_missed_nobody() -> None:
    """C6: what it did not watch it says nothing of."""
    ahead = outlook()
    assert Attendance().absences(ahead) == (PRESENT,) * 4
