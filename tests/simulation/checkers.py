"""The promises about order and agreement, each watched by one small class (reference: reliability.md section 4).

The checkers keep their own books and ask no replica. Every one raises `Violation` the moment its promise breaks.
Consent has its own file, `consent.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from consilium.consensus.core.messages import (
    AllianceVote,
    Checkpoint,
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    SignedViewChange,
)
from consilium.kernel.certificates import Phase
from consilium.kernel.chain import Header
from consilium.kernel.codes import Code, is_refusal
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature
from consilium.kernel.opening import verify_batch, verify_copy
from consilium.kernel.transactions import BallotBody, ProposalBody, RecordBody
from tests.ledger.recomputed_governance import Assembly
from tests.simulation.observed import Execution, Released, Speech, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilium.consensus.core.events import Received, Record
    from consilium.kernel.certificates import Committee, Result, ResultCertificate, Vote
    from consilium.kernel.chain import Genesis
    from consilium.kernel.opening import OpenedBatch, OpenedTransaction
    from consilium.kernel.signing import Verifier
    from tests.simulation.member import Member
    from tests.simulation.observed import Reading


class Checker:
    """What can be seen; a checker overrides what it wants to see."""

    def sent(self, speech: Speech) -> None:
        """An endpoint, honest or not, is about to send a message."""

    def executed(self, execution: Execution) -> None:
        """An honest endpoint executed a block."""

    def first_executed(self, execution: Execution) -> None:
        """The first honest endpoint executed this height."""

    def certified(self, endpoint: str, certificate: ResultCertificate) -> None:
        """An honest endpoint holds a result certificate: its clients may be told."""

    def restarted(self, endpoint: str, height: int, block_hash: bytes, result: Result | None) -> None:
        """An honest endpoint came back with this tip, or with more: what nobody was told of follows as executed."""

    def received(self, member: Member, received: Received) -> None:
        """An endpoint, honest or not, is about to act on a proposal, a prepare or a commit whose signature holds."""

    def persisted(self, member: Member, records: Sequence[Record], replace: bool) -> None:  # noqa: FBT001  the effect's field
        """An endpoint has made records durable, with `replace` in the place of all others."""

    def forgot(self, member_id: str) -> None:
        """A member lost its vote log, and knows it."""

    def wiped(self, endpoint: str) -> None:
        """An endpoint lost its ledger, or went back to an old one."""

    def read(self, reading: Reading) -> None:
        """A client was shown what a grant is by an honest endpoint."""

    def released(self, released: Released) -> None:
        """An honest proxy released a fragment."""

    def leaked(self, holder: str, grant_id: bytes, record_id: bytes) -> None:
        """A faulty holder gave a good fragment away, whatever the ledger says."""


class Agreement(Checker):
    """S1: no two honest members hold different blocks at a height."""

    def __init__(self) -> None:
        self._hashes: dict[int, bytes] = {}

    def executed(self, execution: Execution) -> None:
        known = self._hashes.setdefault(execution.height, execution.opened.block_hash)
        if known != execution.opened.block_hash:
            raise Violation("S1 agreement", f"{execution.endpoint} holds another block {execution.height}.")


class Order(Checker):
    """S2: at each member heights follow one another, each block names its parent, and time rises with them (L7)."""

    def __init__(self, chain_id: bytes) -> None:
        self._genesis = (0, chain_id)
        self._times: dict[int, int] = {}
        self._tips: dict[str, tuple[int, bytes]] = {}

    def executed(self, execution: Execution) -> None:
        height, parent = self._tips.get(execution.endpoint, self._genesis)
        header = execution.opened.header
        if header.height != height + 1 or header.parent_hash != parent:
            raise Violation("S2 order", f"{execution.endpoint} put block {header.height} on {height}.")
        if header.time_ms <= self._times.get(height, 0):
            raise Violation("S2 order", f"Block {header.height} is no later than its parent.")
        self._times[header.height] = header.time_ms
        self._tips[execution.endpoint] = (header.height, execution.opened.block_hash)

    def restarted(self, endpoint: str, height: int, block_hash: bytes, result: Result | None) -> None:
        self._tips[endpoint] = (height, block_hash if height else self._genesis[1])


class Validity(Checker):
    """S3: what took effect was carried by a member valid at that height, and its author signed it."""

    def __init__(self, genesis: Genesis, verifier: Verifier) -> None:
        self._verifier = verifier
        self._keys = {each.member_id: each.member_key for each in genesis.members}
        self._assembly = Assembly.of(each.member_id for each in genesis.members)

    def first_executed(self, execution: Execution) -> None:
        for batch in execution.opened.batches:
            if batch.batch.member_id not in self._keys:
                raise Violation("S3 validity", f"{batch.batch.member_id}, which orders batches, is no member.")
            self._verify(execution.height, batch, synced=execution.synced)
        for member_id, transaction, code in execution.outcomes():
            body = transaction.payload.body
            if type(body) is BallotBody:
                self._judge_ballot(execution.height, body, code)
            if is_refusal(code):
                continue
            if type(body) is RecordBody and not self._may_register(transaction.payload.author):
                raise Violation("S3 validity", f"{member_id}'s record took effect at {execution.height}.")
            self._note(transaction)
        self._assembly.end_of_block(execution.height)

    def _verify(self, height: int, batch: OpenedBatch, *, synced: bool) -> None:
        """A copy need not carry the batch's own signature where all payloads are signed: a liar takes it off (L2)."""
        try:
            verify_copy(batch, self._verifier)
            if not synced:
                verify_batch(batch, self._keys[batch.batch.member_id], self._verifier)
        except BadSignature as refusal:
            raise Violation("S3 validity", f"Block {height} orders what was not signed: {refusal}") from refusal

    def _may_register(self, author: bytes) -> bool:
        return any(name in self._assembly.active and key == author for name, key in self._keys.items())

    def _judge_ballot(self, height: int, body: BallotBody, code: Code) -> None:
        """A ballot is taken while its proposal is open by this count, and refused as late once it is decided (G1)."""
        question = self._assembly.questions.get(body.proposal_id)
        is_open = question is not None and not question.ended
        if (code is Code.APPLIED and not is_open) or (code is Code.PROPOSAL_CLOSED and is_open):
            raise Violation("S3 validity", f"A ballot at {height} ended with {code.name}; by hand it is the other way.")

    def _note(self, transaction: OpenedTransaction) -> None:
        """Count along who may vote, and what they have said (G1)."""
        body = transaction.payload.body
        names = {key: name for name, key in self._keys.items()}
        if isinstance(body, ProposalBody):
            self._assembly.open(transaction.leaf, names[transaction.payload.author], body)
        elif isinstance(body, BallotBody):
            self._assembly.say(body.proposal_id, names[transaction.payload.author], yes=body.yes)


class Ballots(Checker):
    """S4 and S5, from the votes themselves.

    S4: no two blocks of one height get a quorum of commits, whether anybody collects the certificate or not.
    S5: what a quorum committed in a view, no honest replica prepares otherwise in a later view of that height.
    """

    def __init__(self, committee: Committee) -> None:
        self._committees = {committee.epoch: committee}
        self._commits: dict[Vote, dict[str, None]] = {}
        self._certified: dict[int, bytes] = {}
        self._locks: dict[tuple[int, int], Vote] = {}
        self._prepares: dict[tuple[int, int], dict[tuple[int, bytes], str]] = {}

    def executed(self, execution: Execution) -> None:
        self._committees.setdefault(execution.committee.epoch, execution.committee)
        self._one_certificate(execution.height, execution.opened.block.commit.digest)

    def sent(self, speech: Speech) -> None:
        match speech.message:
            case Commit(signed=signed):
                self._committed(speech.member_id, signed.vote)
            case Prepare(signed=signed) | PrePrepare(signed=signed) if speech.honest:
                self._prepared(speech.endpoint, signed.vote)
            case NewView(proposals=proposals) if speech.honest:
                for signed in proposals:
                    self._prepared(speech.endpoint, signed.vote)

    def _committed(self, member_id: str, vote: Vote) -> None:
        committee = self._committees.get(vote.epoch)
        if committee is None or committee.index_of(member_id) is None:
            return
        voters = self._commits.setdefault(vote, {})
        voters[member_id] = None
        if len(voters) == committee.quorum:
            self._one_certificate(vote.height, vote.digest)
            self._lock(vote)

    def _one_certificate(self, height: int, digest: bytes) -> None:
        if self._certified.setdefault(height, digest) != digest:
            raise Violation("S4 one certificate", f"Two blocks of height {height} have a quorum of commits.")

    def _lock(self, vote: Vote) -> None:
        self._locks.setdefault((vote.epoch, vote.height), vote)
        for (view, digest), endpoint in self._prepares.get((vote.epoch, vote.height), {}).items():
            self._judge(endpoint, vote, view, digest)

    def _prepared(self, endpoint: str, vote: Vote) -> None:
        place = vote.epoch, vote.height
        self._prepares.setdefault(place, {})[vote.view, vote.digest] = endpoint
        if place in self._locks:
            self._judge(endpoint, self._locks[place], vote.view, vote.digest)

    def _judge(self, endpoint: str, lock: Vote, view: int, digest: bytes) -> None:
        if view > lock.view and digest != lock.digest:
            raise Violation("S5 lock", f"{endpoint} prepares another block {lock.height} in view {view}.")


class NoAmnesia(Checker):
    """S6: an honest member never signs two different messages in one slot, nor hides in a view change what it committed.

    And once it has called for a view it takes no part in a lower one (paper, 4.4), whatever it forgot: who has lost its vote
    log says nothing more in that epoch (C5).
    """

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._words: dict[tuple[object, ...], bytes] = {}
        self._commits: dict[tuple[str, int], dict[int, int]] = {}
        self._called: dict[tuple[str, int], int] = {}

    def sent(self, speech: Speech) -> None:
        if not speech.honest:
            return
        who = speech.member_id
        match speech.message:
            case PrePrepare(signed=signed) | Prepare(signed=signed) | Commit(signed=signed):
                self._voted(who, signed.vote)
            case NewView(proposals=proposals):
                for signed in proposals:
                    self._voted(who, signed.vote)
            case Checkpoint(result=result):
                self._say((who, "result", result.epoch, result.height), encode(result, self._chain_id))
            case AllianceVote(result=result, signed=signed) if signed.member_id == who:
                self._say((who, "term end", result.epoch), encode(result, self._chain_id))
            case SignedViewChange():
                self._left(who, speech.message)

    def _voted(self, who: str, vote: Vote) -> None:
        if vote.view < self._called.get((who, vote.epoch), 0):
            raise Violation("S6 no amnesia", f"{who} votes at {vote.height} in view {vote.view}, which it has left.")
        self._say((who, vote.phase, vote.epoch, vote.view, vote.height), vote.digest)
        if vote.phase is Phase.COMMIT:
            heights = self._commits.setdefault((who, vote.epoch), {})
            heights[vote.height] = max(vote.view, heights.get(vote.height, 0))

    def _say(self, slot: tuple[object, ...], word: bytes) -> None:
        if self._words.setdefault(slot, word) != word:
            raise Violation("S6 no amnesia", f"A second, different message in the slot {slot}.")

    def _left(self, who: str, message: SignedViewChange) -> None:
        """Whatever was committed in lower views is shown, or lies under the stable checkpoint."""
        change = message.view_change
        self._called[who, change.epoch] = max(change.view, self._called.get((who, change.epoch), 0))
        stable = change.stable.result.height if change.stable else 0
        shown = {decode(Header, each.header, self._chain_id).height: each.view for each in change.prepared}
        for height, view in self._commits.get((who, change.epoch), {}).items():
            if height > stable and view < change.view and shown.get(height, -1) < view:
                raise Violation("S6 no amnesia", f"{who} hides its commit at {height} from view {change.view}.")


class ExactlyOnce(Checker):
    """S7: an author's request id takes effect at most once."""

    def __init__(self) -> None:
        self._effects: dict[tuple[bytes, bytes], int] = {}

    def first_executed(self, execution: Execution) -> None:
        for _, transaction, code in execution.outcomes():
            if is_refusal(code):
                continue
            request = transaction.payload.author, transaction.payload.request_id
            if request in self._effects:
                earlier = self._effects[request]
                raise Violation("S7 exactly once", f"A request of {earlier} took effect again at {execution.height}.")
            if transaction.payload.expiry_height < execution.height:
                raise Violation("S7 exactly once", f"An expired request took effect at {execution.height}.")
            self._effects[request] = execution.height


class Determinism(Checker):
    """S8: equal height, equal result."""

    def __init__(self) -> None:
        self._results: dict[int, tuple[Result, list[int]]] = {}

    def executed(self, execution: Execution) -> None:
        mine = (execution.result, [int(code) for code in execution.codes])
        known = self._results.setdefault(execution.height, mine)
        if known != mine:
            raise Violation("S8 determinism", f"{execution.endpoint} got another result at {execution.height}.")

    def restarted(self, endpoint: str, height: int, block_hash: bytes, result: Result | None) -> None:
        if height in self._results and self._results[height][0] != result:
            raise Violation("S8 determinism", f"{endpoint} came back with another result at {height}.")

    def certified(self, endpoint: str, certificate: ResultCertificate) -> None:
        known = self._results.get(certificate.result.height)
        # After a recovery the next committee signs, under its own epoch, what the lost quorum left open (C10).
        result = certificate.result
        if known is not None and result != known[0] and replace(result, epoch=known[0].epoch) != known[0]:
            raise Violation("S8 determinism", f"A result certificate at {endpoint} contradicts the honest results.")


class Durability(Checker):
    """S9: what an endpoint executed and told about is still there after any crash, and stays in the chain."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._final: dict[int, bytes] = {}

    def executed(self, execution: Execution) -> None:
        self._told[execution.endpoint] = execution.height
        final = self._final.get(execution.height)
        if final is not None and final != execution.opened.block_hash:
            raise Violation("S9 durability", f"{execution.endpoint} replaced the final block {execution.height}.")

    def certified(self, endpoint: str, certificate: ResultCertificate) -> None:
        self._final.setdefault(certificate.result.height, certificate.result.block_hash)

    def wiped(self, endpoint: str) -> None:
        """What one disk lost, the others have: nothing final may go, and this endpoint must come to it again."""
        self._told.pop(endpoint, None)

    def restarted(self, endpoint: str, height: int, block_hash: bytes, result: Result | None) -> None:
        if height < self._told.get(endpoint, 0):
            raise Violation("S9 durability", f"{endpoint} came back at {height}, had told of {self._told[endpoint]}.")
        if self._final.get(height, block_hash) != block_hash:
            raise Violation("S9 durability", f"{endpoint} came back with another block {height}.")
