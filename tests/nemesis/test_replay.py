"""The judge over made-up histories: quiet when every promise is kept, and each broken promise is noticed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from consilium.consensus.core.messages import Commit, Envelope, Prepare
from consilium.kernel.certificates import Phase, SignedVote, Vote
from consilium.kernel.codes import Code
from consilium.kernel.consent import Release, ReleaseStatement
from consilium.kernel.encoding import encode
from consilium.kernel.transactions import Equivocation, EvidenceBody
from consilium.kernel.umbral import CFRAG_BYTES
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import OsDisk
from tests.alliance import Alliance, Scribe, id_of, opened, seed_of
from tests.nemesis.book import Book, Fragment, Place, Read
from tests.nemesis.kills import kept_height
from tests.nemesis.linearizable import Standing
from tests.nemesis.recorded import words_in
from tests.nemesis.recording import LENGTH
from tests.nemesis.replay import (
    certificates_of,
    checkers,
    executions_of,
    judge_book,
    judge_commits,
    judge_executions,
    judge_reads,
    judge_receipts,
    judge_words,
)
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.kernel.certificates import ResultCertificate
    from tests.simulation.checkers import Checker
    from tests.simulation.observed import Execution

SIGNATURE = bytes(64)


@dataclass
class History:
    """Three blocks at two members, a record in the second, and what the delegates said for them."""

    scribe: Scribe = field(default_factory=lambda: Scribe(Alliance.founded()))
    executions: dict[str, list[Execution]] = field(default_factory=dict)
    certificates: dict[str, list[ResultCertificate]] = field(default_factory=dict)
    words: dict[str, list[Envelope]] = field(default_factory=dict)
    book: Book = field(default_factory=Book)

    def __post_init__(self) -> None:
        scribe = self.scribe
        record = scribe.record("a letter")
        for transactions in ((), (record,), ()):
            scribe.write(*transactions)
        self.book.final[opened(scribe.alliance, record).leaf] = Place(2, Code.APPLIED)
        for name in ("anshan", "benxi"):
            self.executions[name] = executions_of(name, scribe.chain)
            self.certificates[name] = certificates_of(scribe.chain)
        for each in self.executions["anshan"]:
            commit = each.opened.block.commit
            vote = Vote(Phase.COMMIT, commit.epoch, commit.view, commit.height, commit.digest)
            for signed in commit.signatures:
                self.say(each.committee.delegates[signed.index].member_id, Commit(SignedVote(vote, signed.signature)))

    def say(self, member_id: str, message: Commit | Prepare, incarnation: int = 1) -> None:
        """Have a member say something."""
        envelope = Envelope(member_id, incarnation, id_of(f"session {incarnation}"), message)
        self.words.setdefault(member_id, []).append(envelope)

    def judge(self) -> None:
        """As `replay.judge` does with what it has read."""
        watching = self.watching()
        judge_executions(self.executions, self.certificates, watching)
        judge_words(self.words, watching)
        judge_commits(self.executions, self.words)
        judge_book(self.book, self.executions, self.certificates)
        judge_receipts(self.book, self.executions["anshan"], watching)
        judge_reads(self.book, self.executions["anshan"])

    def watching(self) -> list[Checker]:
        return checkers(self.scribe.alliance.genesis, self.scribe.verifier)


@pytest.fixture
def history() -> History:
    return History()


def test_a_history_that_keeps_every_promise(history: History) -> None:
    history.judge()


def test_a_member_that_lost_a_block(history: History) -> None:
    del history.executions["benxi"][1:], history.certificates["benxi"][1:]
    with pytest.raises(Violation, match=r"durability: benxi has .* at None"):
        history.judge()


def test_a_member_where_it_is_not_final(history: History) -> None:
    del history.certificates["benxi"][1:]
    with pytest.raises(Violation, match=r"durability: benxi has .* at None"):
        history.judge()


def test_a_transaction_that_ended_otherwise(history: History) -> None:
    history.book.final = dict.fromkeys(history.book.final, Place(2, Code.EXPIRED))
    with pytest.raises(Violation, match="durability: anshan has"):
        history.judge()


@pytest.mark.parametrize("standing", list(Standing))
def test_a_read_of_a_grant_that_never_was(history: History, standing: Standing) -> None:
    history.book.reads.add(Read(id_of("a grant"), 2, standing))
    if standing is Standing.ABSENT:
        history.judge()
        return
    with pytest.raises(Violation, match=f"reads: Grant .* is absent at 2, proven {standing.value}"):
        history.judge()


def test_a_member_with_another_result(history: History) -> None:
    one = history.executions["benxi"][1]
    history.executions["benxi"][1] = replace(one, result=replace(one.result, state_root=seed_of("another")))
    with pytest.raises(Violation, match="S8 determinism"):
        history.judge()


def test_another_chain(history: History) -> None:
    other = Scribe(history.scribe.alliance)
    for _ in range(3):
        other.write()
    history.executions["benxi"] = executions_of("benxi", other.chain)
    with pytest.raises(Violation, match="S1 agreement"):
        history.judge()


def test_a_second_word_in_one_slot_after_a_restart(history: History) -> None:
    """C5."""
    for incarnation in (1, 2):
        vote = Vote(Phase.PREPARE, 0, 0, 4, seed_of(f"block of {incarnation}"))
        history.say("anshan", Prepare(SignedVote(vote, SIGNATURE)), incarnation)
    with pytest.raises(Violation, match="S6 no amnesia"):
        history.judge()


def test_a_commit_nobody_recorded(history: History) -> None:
    history.words[next(iter(history.words))].pop()
    with pytest.raises(Violation, match=r"recordings: .* committed height 3"):
        history.judge()


def test_a_release_without_a_receipt(history: History) -> None:
    """Promise 2."""
    statement = ReleaseStatement("benxi", id_of("grant"), seed_of("request"), seed_of("c"), seed_of("f"), 2, 3)
    history.book.releases.append(Release(bytes(CFRAG_BYTES), statement, SIGNATURE))
    with pytest.raises(Violation, match="no receipt, no key: The ledger has no receipt RELEASE of benxi"):
        history.judge()


def test_a_deletion_without_a_receipt(history: History) -> None:
    """S6."""
    history.book.deleted.add(Fragment(id_of("grant"), "benxi"))
    with pytest.raises(Violation, match="no receipt, no key: The ledger has no receipt DELETION of benxi"):
        history.judge()


def test_evidence_against_anybody(history: History) -> None:
    """C8: refused or not, somebody thought it had seen two words in one slot."""
    scribe = history.scribe
    votes = [Vote(Phase.COMMIT, 0, 0, 2, seed_of(name)) for name in ("one block", "another")]
    key = scribe.alliance.keys["benxi"].consensus
    signed = [SignedVote(each, key.sign(encode(each, scribe.chain.chain_id))) for each in votes]
    scribe.write(scribe.signed(scribe.alliance.keys["anshan"].member, EvidenceBody(Equivocation("benxi", *signed))))
    blocks = {"anshan": executions_of("anshan", scribe.chain)}
    with pytest.raises(Violation, match="S11 evidence"):
        judge_executions(blocks, {"anshan": []}, history.watching())


# --- what is read ---


def test_words_are_read_back_but_for_a_torn_end(tmp_path: Path, history: History) -> None:
    said = next(iter(history.words.values()))
    write_words(tmp_path / "1", history, said[:2], torn=said[2])
    write_words(tmp_path / "12", history, [replace(said[2], incarnation=2)])
    assert words_in(tmp_path, history.scribe.chain.chain_id) == [*said[:2], replace(said[2], incarnation=2)]


def test_an_incarnation_that_does_not_rise(tmp_path: Path, history: History) -> None:
    """C5."""
    for name in ("1", "2"):
        write_words(tmp_path / name, history, next(iter(history.words.values())))
    with pytest.raises(Violation, match="C5 incarnation"):
        words_in(tmp_path, history.scribe.chain.chain_id)


def write_words(path: Path, history: History, said: list[Envelope], torn: Envelope | None = None) -> None:
    """A file of one start, as `recording` writes it."""
    encoded = [encode(each, history.scribe.chain.chain_id) for each in (*said, *([torn] if torn else []))]
    data = b"".join(LENGTH.pack(len(each)) + each for each in encoded)
    path.write_bytes(data[:-1] if torn else data)


def test_the_height_a_journal_holds_certified(tmp_path: Path) -> None:
    blocks = tmp_path / "blocks"
    store = JournalBlockStore.create(OsDisk(), blocks)
    try:
        assert kept_height(blocks) == 0
        for height in (1, 2, 3):
            store.append_block(height, b"a block")
        store.add_certificate(2, b"a certificate")
        store.sync()
        assert kept_height(blocks) == 2
    finally:
        store.close()
