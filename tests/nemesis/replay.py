"""Judging what a run left, offline: the members' chains, what their replicas said, and what was acknowledged.

The simulator's checkers do it, over real files: each keeps its own books and asks no replica. They see every block of
every member as that member's chain, replayed from genesis, executes it (agreement, order, validity, exactly once,
equal results, consent), and every envelope that left a consensus service (no second word in one slot, over all
restarts; nothing committed hidden from a view change; no two quorums at a height). Commit and result certificates are
held against the envelopes too, so a word that was not recorded would be noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from consilium.consensus.core.messages import Commit
from consilium.kernel.certificates import Phase, Vote
from consilium.kernel.codes import is_refusal
from consilium.kernel.founding import first_committee
from consilium.kernel.opening import open_block
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import EvidenceBody, GrantBody, ReceiptBody, ReceiptKind, RevokeBody
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.replay import replay_all
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import OsDisk
from tests.nemesis.book import Place
from tests.nemesis.linearizable import Standing, check_linearizable
from tests.simulation.checkers import (
    Agreement,
    Ballots,
    Checker,
    Determinism,
    ExactlyOnce,
    NoAmnesia,
    Order,
    Validity,
)
from tests.simulation.clock import Clock
from tests.simulation.consent import Consent
from tests.simulation.observed import Execution, Released, Speech, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from consilium.consensus.core.messages import Envelope
    from consilium.kernel.certificates import CommitCertificate, Committee, ResultCertificate
    from consilium.kernel.chain import Genesis
    from consilium.kernel.signing import Verifier
    from tests.nemesis.book import Book, Receipt
    from tests.nemesis.recorded import Recorded


class Sum(NamedTuple):
    """What was looked at."""

    heights: int
    transactions: int
    envelopes: int


class RememberingVerifier:
    """Judges each signature once: five members hold the same ones."""

    def __init__(self) -> None:
        self._inner, self._good = Ed25519Verifier(), set[tuple[bytes, bytes, bytes]]()

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raise BadSignature unless the signature is the key's over the message."""
        asked = public_key, message, signature
        if asked not in self._good:
            self._inner.verify(public_key, message, signature)
            self._good.add(asked)


def judge(run: Recorded, book: Book) -> Sum:
    """Replay all members' chains and judge everything; raises Violation. No member may be up."""
    genesis, verifier = run.alliance.genesis, RememberingVerifier()
    chains = {
        name: replayed(member.services["ledger"].state_folder / "blocks", genesis, verifier)
        for name, member in run.alliance.members.items()
    }
    envelopes = {name: run.envelopes(name) for name in run.alliance.members}
    executions = {name: executions_of(name, chain) for name, chain in chains.items()}
    certificates = {name: certificates_of(chain) for name, chain in chains.items()}
    watching = checkers(genesis, verifier)
    judge_executions(executions, certificates, watching)
    judge_words(envelopes, watching)
    judge_commits(executions, envelopes)
    longest = max(executions.values(), key=len)
    judge_book(book, executions, certificates)
    judge_receipts(book, longest, watching)
    judge_reads(book, longest)
    check_linearizable(book.calls)
    return Sum(len(longest), sum(len(each.codes) for each in longest), sum(map(len, envelopes.values())))


# --- what is judged ---


def replayed(path: Path, genesis: Genesis, verifier: Verifier) -> Chain:
    """A member's chain, verified and executed from genesis on; raises what `Chain` raises."""
    chain, store = Chain(genesis, verifier), JournalBlockStore.open(OsDisk(), path)
    try:
        replay_all(chain, store, store.height)
    finally:
        store.close()
    return chain


def executions_of(name: str, chain: Chain) -> list[Execution]:
    """Every block of a chain as its member executed it."""
    found = []
    for height in range(1, chain.height + 1):
        outcome, opened = chain.outcome(height), open_block(chain.block(height), chain.chain_id)
        found.append(Execution(name, opened, outcome.codes, outcome.result, outcome.outlook))
    return found


def certificates_of(chain: Chain) -> list[ResultCertificate]:
    """The result certificates of a chain; a height may be without one as long as a later one has one."""
    found = (chain.result_certificate(height) for height in range(1, chain.height + 1))
    return [each for each in found if each is not None]


def checkers(genesis: Genesis, verifier: Verifier) -> list[Checker]:
    """The simulator's, but for those that watch it run."""
    chain_id = genesis.chain_id
    return [
        Agreement(),
        Order(chain_id),
        Validity(genesis, verifier),
        Ballots(first_committee(genesis)),
        NoAmnesia(chain_id),
        ExactlyOnce(),
        Determinism(),
        Consent(genesis.parameters, Clock()),
    ]


# --- judging ---


def judge_executions(
    executions: Mapping[str, Sequence[Execution]],
    certificates: Mapping[str, Sequence[ResultCertificate]],
    watching: Sequence[Checker],
) -> None:
    """One chain at all members, by the rules, its results certified as they were computed, and nobody blamed."""
    seen = 0
    for member, blocks in executions.items():
        for each in blocks:
            if each.height > seen:
                seen = each.height
                _first(each, watching)
            for checker in watching:
                checker.executed(each)
        for certificate in certificates[member]:
            for checker in watching:
                checker.certified(member, certificate)


def _first(execution: Execution, watching: Sequence[Checker]) -> None:
    if any(type(transaction.payload.body) is EvidenceBody for _, transaction, _ in execution.outcomes()):
        raise Violation("S11 evidence", f"Somebody is blamed at {execution.height}, and all kept their word.")
    for checker in watching:
        checker.first_executed(execution)


def judge_words(envelopes: Mapping[str, Sequence[Envelope]], watching: Sequence[Checker]) -> None:
    """No second word in one slot, whatever crashes lay between (C5)."""
    for member, said in envelopes.items():
        for each in said:
            speech = Speech(member, each.sender, honest=True, message=each.message)
            for checker in watching:
                checker.sent(speech)


def judge_commits(executions: Mapping[str, Sequence[Execution]], envelopes: Mapping[str, Sequence[Envelope]]) -> None:
    """Every commit in a certificate was recorded when it was said; so the recordings are whole."""
    said = {
        (member, each.message.signed.vote)
        for member, words in envelopes.items()
        for each in words
        if isinstance(each.message, Commit)
    }
    for blocks in executions.values():
        committees = {each.committee.epoch: each.committee for each in blocks}
        for each in blocks:
            for who, vote in commits_of(each.opened.block.commit, committees):
                if (who, vote) not in said:
                    raise Violation("recordings", f"{who} committed height {vote.height}, and no recording says so.")


def commits_of(commit: CommitCertificate, committees: Mapping[int, Committee]) -> Iterator[tuple[str, Vote]]:
    """Who signed what."""
    vote = Vote(Phase.COMMIT, commit.epoch, commit.view, commit.height, commit.digest)
    for each in commit.signatures:
        yield committees[commit.epoch].delegates[each.index].member_id, vote


def judge_book(
    book: Book, executions: Mapping[str, Sequence[Execution]], certificates: Mapping[str, Sequence[ResultCertificate]]
) -> None:
    """Every transaction that was proven final stands where it stood, final, at every member (promise 5)."""
    for member, blocks in executions.items():
        final = max((each.result.height for each in certificates[member]), default=0)
        places: dict[bytes, Place] = {}
        for each in blocks[:final]:
            for _, transaction, code in each.outcomes():
                # The first place counts: ordered again, it is a duplicate without effect (L6).
                places.setdefault(transaction.leaf, Place(each.height, code))
        for name, place in book.final.items():
            if places.get(name) != place:
                raise Violation("durability", f"{member} has {name.hex()} at {places.get(name)}, proven at {place}.")


def judge_reads(book: Book, blocks: Sequence[Execution]) -> None:
    """What was proven of a grant at a height is what the chain made of it up to there (promise 8)."""
    granted, ended = spans_of(blocks)
    for each in book.reads:
        is_there = granted.get(each.grant_id, each.height + 1) <= each.height
        is_over = ended.get(each.grant_id, each.height + 1) <= each.height
        stands = Standing.REVOKED if is_over else Standing.ACTIVE if is_there else Standing.ABSENT
        if stands is not each.standing:
            sentence = f"Grant {each.grant_id.hex()} is {stands.value} at {each.height}, proven {each.standing.value}."
            raise Violation("reads", sentence)


def spans_of(blocks: Sequence[Execution]) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """At which height each grant took effect, and at which it was revoked."""
    granted, ended = dict[bytes, int](), dict[bytes, int]()
    for block in blocks:
        for _, transaction, code in block.outcomes():
            body = transaction.payload.body
            if is_refusal(code):
                continue
            if isinstance(body, GrantBody):
                granted[body.terms.grant_id] = block.height
            elif isinstance(body, RevokeBody):
                ended[body.grant_id] = block.height
    return granted, ended


def judge_receipts(book: Book, blocks: Sequence[Execution], watching: Sequence[Checker]) -> None:
    """Every release and every deletion a holder has answered for is on the ledger, and consent allowed it (promise 2)."""
    there = {receipt_of(each) for each in receipts_in(blocks)}
    for kind, holder, about in book.receipts_owed():
        if (kind, holder, about) not in there:
            raise Violation("no receipt, no key", f"The ledger has no receipt {kind.name} of {holder} about {about.hex()}.")
    for release in book.releases:
        it = release.statement
        for checker in watching:
            checker.released(
                Released(it.holder, it.grant_id, it.request_hash, it.request_height, it.released_height, now_ms=0)
            )


def receipt_of(body: ReceiptBody) -> Receipt:
    """The kind, the holder, and what it is about."""
    return body.receipt, body.holder, body.request_hash if body.receipt is ReceiptKind.RELEASE else body.grant_id


def receipts_in(blocks: Iterable[Execution]) -> list[ReceiptBody]:
    """The receipts that took effect."""
    bodies = (each.payload.body for block in blocks for _, each, code in block.outcomes() if not is_refusal(code))
    return [each for each in bodies if isinstance(each, ReceiptBody)]
