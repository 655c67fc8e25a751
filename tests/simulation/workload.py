"""What hospitals, patients and clinicians hand in: every kind of transaction, some of them twice, late or in vain.

Clients see the chain as the first honest member executes it. They draw from a stream of their own, so a seed's requests
stay the same kind of mixture whatever the network does.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from consilium.kernel.authoring import sign_payload
from consilium.kernel.codes import is_refusal
from consilium.kernel.consent import holder_budget, owner_commitment
from consilium.kernel.encoding import encode
from consilium.kernel.transactions import (
    BallotBody,
    Grade,
    GradeAct,
    GrantBody,
    GrantTerms,
    MemberAct,
    MemberAction,
    Payload,
    Points,
    ProposalBody,
    Purpose,
    ReceiptBody,
    ReceiptKind,
    RecordBody,
    RequestBody,
    RevealBody,
    RevokeBody,
    UpgradeAct,
    VoteBody,
)
from tests.ledger.recomputed_governance import Assembly
from tests.simulation.alliance import GENESIS_MS, founders
from tests.simulation.builds import NEWER
from tests.simulation.patients import KEY_EPOCHS, Patient, patients, receiving_pk, recipient_signer
from tests.simulation.schedule import UPGRADE, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consilium.kernel.certificates import Committee
    from consilium.kernel.opening import OpenedTransaction
    from consilium.kernel.signing import Signer
    from consilium.kernel.transactions import Act, Body
    from tests.simulation.alliance import Founder
    from tests.simulation.observed import Execution, Released
    from tests.simulation.schedule import Options

    Submit = Callable[[str, tuple[bytes, ...]], None]

EXPIRY_MAX = 50
"""The furthest expiry a client asks for, in blocks."""
REVEAL_EVERY = 6
"""After how many blocks a delegate says again what the chain has not taken yet."""
REVEALS_MAX = 3
"""How often a delegate tries in an epoch."""
UPGRADE_HEIGHTS = 21, 36
"""Where an upgrade may begin, while faults still happen in most seeds."""
AHEAD = 17
"""How many blocks before its height an upgrade is decided at the latest: a window and one (G5)."""


class Registered(NamedTuple):
    """A record a hospital registers, and the salt that opens it."""

    record_id: bytes
    salt: bytes
    delegating_pk: bytes


class Workload:
    """The clients of one alliance. `submit` hands transactions in at one member."""

    def __init__(self, options: Options, chain_id: bytes, submit: Submit) -> None:
        self._chance = stream(options.seed, "workload")
        self._chain_id = chain_id
        self._submit = submit
        self._founders = founders(options.members)
        self._patients = patients()
        self._height, self._time_ms, self._epoch = 0, GENESIS_MS, 0
        self._revealed: Counter[str] = Counter()
        self._spoken: Counter[tuple[str, int]] = Counter()
        self._sent: list[tuple[str, bytes]] = []
        self._salts: dict[bytes, Registered] = {}
        self._records: list[Registered] = []
        self._grants: dict[bytes, GrantTerms] = {}
        self._owners: dict[bytes, Patient] = {}
        self._suspended: Founder | None = None
        self._governing_until = 0
        self._upgrade_height = stream(options.seed, UPGRADE).randrange(*UPGRADE_HEIGHTS) if UPGRADE in options.faults else 0
        self._assembly = Assembly.of(each.member_id for each in self._founders)
        self._acts = self._menu(options)

    def _menu(self, options: Options) -> list[Callable[[], None]]:
        """The acts, each as often as it is likely."""
        acts = [self._register] * 6 + [self._grant] * 3 + [self._request] * 9 + [self._revoke] + [self._repeat] * 3
        acts.append(self._give_points)
        return acts + [self._govern] * (2 if options.governance else 0)

    def act(self) -> None:
        """One client does one thing; the first one proposes the upgrade, if there is to be one."""
        if self._upgrade_height:
            self._propose_upgrade()
            self._upgrade_height = 0
        self._chance.choice(self._acts)()

    def reveal(self, committee: Committee) -> None:
        """Delegates say their next preimage of the epoch; a few times, in case nobody heard (C6)."""
        for delegate in committee.delegates:
            founder, spoken = self._founder(delegate.member_id), (delegate.member_id, committee.epoch)
            self._spoken[spoken] += 1
            place = self._revealed[delegate.member_id]
            if self._spoken[spoken] <= REVEALS_MAX and place < len(founder.reveals):
                preimage = founder.reveals[place]
                self._hand_in(RevealBody(committee.epoch, preimage), founder.member_signer, founder.member_id)

    def register_at(self, names: Sequence[str]) -> dict[bytes, str]:
        """One record at each of these members, by the record's id."""
        made = {}
        for name in names:
            transaction = self._record(self._founder(name))
            made[list(self._salts)[-1]] = name
            self._submit(name, (transaction,))
        return made

    # --- what clients see ---

    def first_executed(self, execution: Execution) -> None:
        """Take note of what the chain says by now."""
        self._height, self._time_ms = execution.height, execution.opened.header.time_ms
        for member_id, transaction, code in execution.outcomes():
            if not is_refusal(code):
                self._note(member_id, transaction.payload.body)
                self._note_governance(transaction)
        self._note_decisions()
        if execution.committee.epoch != self._epoch or execution.height % REVEAL_EVERY == 0:
            self._epoch = execution.committee.epoch
            self.reveal(execution.committee)

    def _note(self, carrier: str, body: Body) -> None:
        match body:
            case RecordBody(record_id=record_id):
                self._records.append(self._salts[record_id])
            case GrantBody(terms=terms):
                self._grants[terms.grant_id] = terms
            case RevokeBody(grant_id=grant_id):
                self._note_revocation(self._grants[grant_id], body)
            case RevealBody():
                self._revealed[carrier] += 1
                self._spoken[carrier, self._epoch] = REVEALS_MAX
            case _:
                pass

    def _note_governance(self, transaction: OpenedTransaction) -> None:
        """A proposal is on the table, or a member has said something to it."""
        body, names = transaction.payload.body, {each.profile.member_key: each.member_id for each in self._founders}
        if isinstance(body, ProposalBody):
            self._assembly.open(transaction.leaf, names[transaction.payload.author], body)
            if isinstance(body.act, UpgradeAct):
                self._agree(transaction.leaf)
            else:
                self._vote(transaction.leaf)
        elif isinstance(body, BallotBody):
            self._assembly.say(body.proposal_id, names[transaction.payload.author], yes=body.yes)

    def _note_decisions(self) -> None:
        """What the block decided; then something else may be proposed."""
        for _, how, body in self._assembly.end_of_block(self._height):
            if isinstance(body.act, UpgradeAct):
                continue
            self._governing_until = 0
            if how == "adopted" and isinstance(body.act, MemberAct):
                named = self._founder(body.act.profile.member_id)
                self._suspended = named if body.act.action is MemberAction.SUSPEND else None

    def _note_revocation(self, terms: GrantTerms, body: RevokeBody) -> None:
        """Holders delete and say so; the owner's scope moves on to the successor key (S6)."""
        owner = self._owners[terms.delegating_pk]
        if body.successor_pk is not None and terms.delegating_pk == owner.delegating_key.public_key:
            owner.key_epoch += 1
        for holder in terms.holders:
            receipt = ReceiptBody(ReceiptKind.DELETION, holder, terms.grant_id, bytes(32), self._height)
            self._hand_in(receipt, self._founder(holder).member_signer, holder)

    def released(self, released: Released) -> None:
        """A proxy signs for what it released (S5)."""
        receipt = ReceiptBody(
            ReceiptKind.RELEASE, released.holder, released.grant_id, released.request_hash, released.released_height
        )
        self._hand_in(receipt, self._founder(released.holder).member_signer, released.holder)

    # --- the acts ---

    def _register(self) -> None:
        """A hospital registers a few records, vouched for by its batch; now and then one is signed by itself."""
        founder = self._chance.choice(self._founders)
        made = tuple(self._record(founder) for _ in range(self._chance.choice((1, 1, 2, 5))))
        self._submit(founder.member_id, made)
        self._sent.extend((founder.member_id, each) for each in made)

    def _record(self, founder: Founder) -> bytes:
        owner = self._chance.choice(self._patients)
        record = Registered(self._bytes(16), self._bytes(32), owner.delegating_key.public_key)
        self._salts[record.record_id] = record
        commitment = owner_commitment(record.salt, record.delegating_pk)
        body = RecordBody(record.record_id, founder.member_id, commitment, self._bytes(32), self._bytes(32), 3)
        return encode(self._payload(body, founder.member_signer), self._chain_id)

    def _grant(self) -> None:
        """A patient permits a member; most often one that asks for no more than it may."""
        owner = self._chance.choice(self._patients)
        if owner.key_epoch >= KEY_EPOCHS:
            return
        recipient = self._chance.choice(self._founders).member_id
        terms = self._terms(owner, recipient)
        self._owners[terms.delegating_pk] = owner
        self._hand_in(owner.sign_grant(terms, self._chain_id), owner.signer, *self._some_members())

    def _terms(self, owner: Patient, recipient: str) -> GrantTerms:
        eligible = [each.member_id for each in self._founders if each.member_id != recipient]
        shares, threshold = holder_budget(len(self._founders) - (self._suspended is not None))
        holders = tuple(self._chance.sample(eligible, shares))
        return GrantTerms(
            grant_id=self._bytes(16),
            delegating_pk=owner.delegating_key.public_key,
            verifying_pk=owner.verifying_pk,
            recipient_member=recipient,
            recipient_key=recipient_signer(recipient).public_key,
            receiving_pk=receiving_pk(recipient),
            purpose=Purpose.TREATMENT,
            actor=self._bytes(32),
            not_before_ms=self._time_ms - 60_000,
            not_after_ms=self._time_ms + self._chance.choice((4_000, 3_600_000)),
            holders=holders,
            threshold=threshold,
            kfrag_commitments=tuple(self._bytes(32) for _ in holders),
            weaker_budget=False,
        )

    def _request(self) -> None:
        """A recipient asks for a record; sometimes with another patient's salt, or under a grant long revoked."""
        if not self._grants or not self._records:
            return
        terms = self._chance.choice(list(self._grants.values())[-6:])
        fitting = [each for each in self._records[-30:] if each.delegating_pk == terms.delegating_pk]
        record = self._chance.choice(fitting if fitting and self._chance.random() < 0.9 else self._records)
        purpose = Purpose.TREATMENT if self._chance.random() < 0.95 else Purpose.RESEARCH
        body = RequestBody(terms.grant_id, record.record_id, record.salt, purpose, self._bytes(32))
        self._hand_in(body, recipient_signer(terms.recipient_member), *self._some_members())

    def _revoke(self) -> None:
        """A patient ends a grant, sometimes with a successor key, and asks for it at several members."""
        if not self._grants:
            return
        terms = self._chance.choice(list(self._grants.values())[-4:])
        owner = self._owners[terms.delegating_pk]
        closes = self._chance.random() < 0.3 and terms.delegating_pk == owner.delegating_key.public_key
        successor = owner.next_pk() if closes else None
        self._hand_in(RevokeBody(terms.grant_id, successor, ()), owner.signer, *self._some_members())

    def _repeat(self) -> None:
        """A client that heard nothing hands its request in again: there, or elsewhere."""
        if not self._sent:
            return
        member_id, transaction = self._chance.choice(self._sent[-40:])
        self._submit(member_id, (transaction,))

    def _give_points(self) -> None:
        """A member gives one point each to two others, of two strata or in vain (C6)."""
        voter, *others = self._chance.sample(self._founders, 3)
        points = tuple(Points(each.member_id, 1) for each in others)
        self._hand_in(VoteBody(points), voter.member_signer, voter.member_id)

    def _govern(self) -> None:
        """A member proposes to grade one of them anew, to suspend it, or to take it back; one proposal at a time (G1)."""
        if self._height <= self._governing_until:
            return
        if self._suspended is not None:
            act: Act = MemberAct(MemberAction.REINSTATE, self._suspended.profile)
        elif self._chance.random() < 0.3:
            act = MemberAct(MemberAction.SUSPEND, self._chance.choice(self._founders).profile)
        else:
            named = self._chance.choice(self._founders)
            until = self._height + self._chance.randrange(80, 160)
            act = GradeAct(named.member_id, self._chance.choice(list(Grade)), until)
        self._governing_until = self._height + EXPIRY_MAX + 10
        author = self._chance.choice(self._founders)
        body = ProposalBody(act, self._bytes(32), self._governing_until)
        self._hand_in(body, author.member_signer, *self._some_members())

    def _propose_upgrade(self) -> None:
        """A member asks for the next version at a height (G5)."""
        author, height = self._chance.choice(self._founders), self._upgrade_height
        body = ProposalBody(UpgradeAct(NEWER, height), self._bytes(32), height - AHEAD)
        self._hand_in(body, author.member_signer, *self._names())

    def _agree(self, proposal_id: bytes) -> None:
        """Everybody says yes."""
        for founder in self._founders:
            self._hand_in(BallotBody(proposal_id, yes=True), founder.member_signer, *self._names())

    def _vote(self, proposal_id: bytes) -> None:
        """The others say yes or no, some of them twice, or not at all."""
        for founder in self._founders:
            ballot = BallotBody(proposal_id, yes=self._chance.random() < 0.85)
            for _ in range(self._chance.choice((0, 1, 1, 1, 1, 2))):
                self._hand_in(ballot, founder.member_signer, *self._some_members())

    # --- what the acts share ---

    def _hand_in(self, body: Body, signer: Signer, *members: str) -> None:
        transaction = sign_payload(self._payload(body, signer), signer, self._chain_id)
        for member_id in members:
            self._submit(member_id, (transaction,))
            self._sent.append((member_id, transaction))

    def _payload(self, body: Body, signer: Signer) -> Payload:
        wait = 2 if self._chance.random() < 0.05 else self._chance.randrange(15, EXPIRY_MAX)
        return Payload(signer.public_key, self._bytes(16), self._height + wait, body)

    def _some_members(self) -> tuple[str, ...]:
        """The members a client talks to: one, some, or all at once."""
        names = self._names()
        return tuple(self._chance.sample(names, self._chance.choice((1, 1, 2, 3, len(names)))))

    def _names(self) -> list[str]:
        return [each.member_id for each in self._founders]

    def _founder(self, member_id: str) -> Founder:
        return next(each for each in self._founders if each.member_id == member_id)

    def _bytes(self, length: int) -> bytes:
        return self._chance.randbytes(length)
