"""A client's conversation with the alliance, in which nothing is believed that was not verified (promise 8; L5).

It starts from the genesis file, crosses epochs by verified hops, and asks one member, its home. What it has once seen final
it will not unsee: a state older than the last thing verified is refused, so a member cannot answer from the past. That holds
for as long as `height` is kept: whoever starts anew at 0 believes any height that a committee once signed, so keep it beside
the keys, a number for each chain, and start there.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from consilium.client.alliance import MemberGateway
from consilium.kernel.authoring import expiry_from, sign_payload
from consilium.kernel.certificates import Committee, Electorate, Result, ResultCertificate
from consilium.kernel.chain import Genesis
from consilium.kernel.codes import RULES, Code, is_refusal
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import (
    Conflict,
    ConsiliumError,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
)
from consilium.kernel.light_client import (
    Finality,
    StateProof,
    TransactionProof,
    TrustedHistory,
    VerifiedState,
    VerifiedTransaction,
)
from consilium.kernel.manifest import StorageReceipt
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.signing import Signer, Verifier
from consilium.kernel.state_values import (
    AllianceState,
    GrantState,
    MemberState,
    ProposalList,
    ProposalState,
    Registry,
    alliance_entry,
    grant_entry,
    member_entry,
    proposal_entry,
    proposals_entry,
    registry_entry,
)
from consilium.kernel.transactions import Body, Kind, Payload, RecordBody

REQUEST_ID_BYTES = 16
LAG_S = 5.0
"""How long what is final elsewhere is looked for at the home member, in seconds."""

Answer = TypeVar("Answer")
Fault = ConsiliumError | OSError
"""Why a member did not do its part: it refused, lied or could not be reached."""


class Session:
    """One client, one home member, one chain. `members` has a gateway for every member, the home among them."""

    def __init__(
        self, genesis: Genesis, home: str, members: Mapping[str, MemberGateway], verifier: Verifier, height: int = 0
    ) -> None:
        """Trust the genesis file alone, and no state below a height that was seen final before on this chain.

        Raises InvalidArgument for a genesis that contradicts itself.
        """
        self.chain_id = genesis.chain_id
        self.verifier = verifier
        self.home_id = home
        self.members = members
        self.height = height
        """The highest height seen final; where the next session on this chain should start."""
        self._history = TrustedHistory(genesis)
        self._hopping = asyncio.Lock()

    @property
    def home(self) -> MemberGateway:
        """The member this client asks."""
        return self.gateway(self.home_id)

    def gateway(self, member_id: str) -> MemberGateway:
        """The way to a member. Raises NotFound NO_WAY_TO_MEMBER."""
        if member_id not in self.members:
            raise NotFound("NO_WAY_TO_MEMBER", f"This client knows no way to {member_id}.")
        return self.members[member_id]

    # --- reading ---

    async def state(self, key: bytes, least_height: int = 0) -> VerifiedState:
        """What the authenticated map holds under a key, not older than anything seen before it was asked for.

        Of a height to come it is waited for, for as long as the gateway waits.

        Raises Conflict (OTHER_ENTRY, STALE_STATE) and what `kernel.light_client` raises.
        """
        return (await self._proven(key, least_height))[0]

    async def checkpoint(self) -> ResultCertificate:
        """The certificate of a height that is final now, proven from genesis on."""
        return (await self._proven(alliance_entry(), 0))[1].certificate

    async def _proven(self, key: bytes, least_height: int) -> tuple[VerifiedState, StateProof]:
        seen = max(self.height, least_height)
        proof: StateProof = await self.home.prove_state(key, seen)
        await self._reach(proof.certificate.result.epoch)
        verified = self._history.verify_state(proof, self.verifier)
        if verified.key != key:
            raise Conflict("OTHER_ENTRY", "The member proved another entry than the one asked for.", "L4")
        if verified.height < seen:
            raise Conflict("STALE_STATE", f"Height {verified.height} is older than {seen}, seen before.", "L4")
        self.height = max(self.height, verified.height)
        return verified, proof

    async def member(self, member_id: str) -> MemberState:
        """A member as the ledger knows it. Raises NotFound UNKNOWN_MEMBER."""
        found = await self.state(member_entry(member_id))
        if found.value is None:
            raise NotFound("UNKNOWN_MEMBER", f"The ledger knows no member {member_id}.")
        return decode(MemberState, found.value, self.chain_id)

    async def all_members(self) -> list[MemberState]:
        """Every member that the ledger's registry lists, each proven: the home member can hide nobody."""
        return [await self.member(name) for name in await self.member_ids()]

    async def member_ids(self) -> tuple[str, ...]:
        """The ids of all members there have been, as the ledger proves them."""
        found = await self.state(registry_entry())
        return decode(Registry, found.value or b"", self.chain_id).member_ids

    async def changed_height(self, member_id: str) -> int | None:
        """The height at which a member's standing or keys last changed; None where that is none of the newest changes."""
        found = await self.state(registry_entry())
        revisions = decode(Registry, found.value or b"", self.chain_id).revisions
        return max((each.height for each in revisions if each.member_id == member_id), default=None)

    async def alliance(self) -> AllianceState:
        """What the alliance lives by: its numbers and version, and what was adopted for later (G4, G5)."""
        found = await self.state(alliance_entry())
        return decode(AllianceState, found.value or b"", self.chain_id)

    async def proposal(self, proposal_id: bytes) -> ProposalState:
        """A proposal and its ballots. Raises NotFound NO_SUCH_PROPOSAL for one unheard of, or ended long ago."""
        found = await self.state(proposal_entry(proposal_id))
        if found.value is None:
            raise NotFound("NO_SUCH_PROPOSAL", "The ledger's state holds no such proposal.", "G1")
        return decode(ProposalState, found.value, self.chain_id)

    async def proposal_ids(self) -> list[bytes]:
        """All proposals that are open or were closed lately, member by member: none can be hidden."""
        found: list[bytes] = []
        for name in await self.member_ids():
            listed = await self.state(proposals_entry(name))
            found += () if listed.value is None else decode(ProposalList, listed.value, self.chain_id).proposal_ids
        return found

    @property
    def epoch(self) -> int:
        """The newest epoch this client has crossed into."""
        return self._history.epoch

    @property
    def committee(self) -> Committee:
        """The delegates of the newest epoch seen, as the members have signed them into office."""
        return self._history.committee_of(self._history.epoch)

    @property
    def electorate(self) -> Electorate:
        """Who may sign the end of that epoch."""
        return self._history.electorate

    def electors(self) -> list[str]:
        """The members that were active when the newest epoch seen began, as the committees have proven."""
        return [each.member_id for each in self._history.electorate.electors]

    async def grant(self, grant_id: bytes) -> GrantState:
        """A grant as the ledger knows it. Raises NotFound UNKNOWN_GRANT."""
        found = await self.state(grant_entry(grant_id))
        if found.value is None:
            raise NotFound("UNKNOWN_GRANT", "The ledger knows no such grant.", "S3")
        return decode(GrantState, found.value, self.chain_id)

    async def awaited_grant(self, grant_id: bytes) -> GrantState:
        """A grant that somebody says is final, though this client's home member may not have got to it yet.

        Looks again after one more block, two more, four more, for a few seconds. Raises NotFound UNKNOWN_GRANT.
        """
        over_s, ahead = time.monotonic() + LAG_S, 1
        while time.monotonic() < over_s:
            with contextlib.suppress(NotFound):
                return await self.grant(grant_id)
            try:
                await self.state(grant_entry(grant_id), self.height + ahead)
            except FailedPrecondition:  # no more blocks have come
                break
            ahead *= 2
        return await self.grant(grant_id)

    async def record(self, record_id: bytes) -> RecordBody:
        """A record as it was registered. Raises NotFound, and Conflict OTHER_RECORD when another was proven."""
        verified = await self.verified(await self.home.prove_record(record_id))
        body = verified.payload.body
        if not isinstance(body, RecordBody) or body.record_id != record_id or verified.code != Code.APPLIED:
            raise Conflict("OTHER_RECORD", "The member proved another registration than the one asked for.", "S3")
        return body

    async def verified(self, proof: TransactionProof) -> VerifiedTransaction:
        """The transaction a proof stands for, whatever epoch it is of. Raises what `kernel.light_client` raises."""
        await self._reach(proof.certificate.result.epoch)
        return self._history.verify_transaction(proof, self.verifier)

    async def finality(self, result: Result) -> Finality:
        """How final a verified result is, proven: by the alliance once its signed log continues the result's (C7).

        The hops there are beyond the result's epoch are crossed on the way.
        """
        async with self._hopping:
            while self._history.alliance_height < result.height:
                try:
                    await self._cross()
                except NotFound:
                    return Finality.COMMITTEE
        proof = await self.home.prove_consistency(result.height, self._history.alliance_height)
        self._history.verify_covered(result, proof)
        return Finality.ALLIANCE

    async def _reach(self, epoch: int) -> None:
        """Learn the committees up to an epoch, hop by verified hop (L5)."""
        async with self._hopping:
            while self._history.epoch < epoch:
                await self._cross()

    async def _cross(self) -> None:
        """Hop out of the newest epoch, by the home or, where it has not the certificate yet, by whoever proves the hop.

        Raises NotFound: NO_SUCH_HOP.
        """
        epoch = self._history.epoch
        try:
            self._history.hop(await self.home.epoch_hop(epoch), self.verifier)
        except NotFound:
            others = [each for each in self.members if each != self.home_id]
            answers, _ = await self.ask(others, lambda gateway, _: gateway.epoch_hop(epoch))
            for _, hop in answers:
                with contextlib.suppress(ConsiliumError):
                    self._history.hop(hop, self.verifier)
                    return
            raise

    async def ask(
        self, names: Sequence[str], question: Callable[[MemberGateway, str], Awaitable[Answer]]
    ) -> tuple[list[tuple[str, Answer]], list[tuple[str, Fault]]]:
        """As `ask_all`; a member that this client knows no way to is one that could not be asked."""

        async def one(name: str) -> Answer:
            return await question(self.gateway(name), name)

        return await ask_all(names, [one(each) for each in names])

    # --- acting ---

    async def perform(self, body: Body, signer: Signer) -> VerifiedTransaction:
        """Sign, hand in through the home member, wait until it is final; the verdict is the caller's to judge.

        Raises DeadlineExceeded NOT_FINAL_YET when it is handed in and not final in the time that the gateway waits.
        """
        payload = await self._payload(body, signer.public_key)
        transaction = sign_payload(payload, signer, self.chain_id)
        await self.home.submit(transaction)
        return await self.final(leaf_hash(transaction), payload.expiry_height)

    async def register(self, body: RecordBody, receipt: StorageReceipt) -> VerifiedTransaction:
        """Have the home member vouch for the registration of a record whose object it has signed for (L2, S2, S3).

        Raises DeadlineExceeded as `perform`.
        """
        payload = await self._payload(body, (await self.member(self.home_id)).profile.member_key)
        transaction = encode(payload, self.chain_id)
        await self.home.register(transaction, receipt)
        return await self.final(leaf_hash(transaction), payload.expiry_height)

    async def hand_in(self, transaction: bytes, expiry_height: int) -> VerifiedTransaction:
        """Hand in what another has signed, and wait until it is final. Raises DeadlineExceeded as `perform`."""
        await self.home.submit(transaction)
        return await self.final(leaf_hash(transaction), expiry_height)

    async def _payload(self, body: Body, author: bytes) -> Payload:
        """The act with a fresh request id, to be done soon or never (L6)."""
        return Payload(author, secrets.token_bytes(REQUEST_ID_BYTES), await self.expiry_height(), body)

    async def expiry_height(self) -> int:
        """Up to which height an act of now may be ordered (L6)."""
        parameters = (await self.alliance()).parameters  # and where the chain is now: what was seen last may be long ago
        return expiry_from(self.height, parameters)

    async def final(self, name: bytes, expiry_height: int) -> VerifiedTransaction:
        """What became of a transaction that was handed in, by its hash.

        Raises DeadlineExceeded NOT_FINAL_YET when it is not final in the time that the gateway waits.
        """
        try:
            proof = await self.home.prove_transaction(name)
        except (NotFound, FailedPrecondition) as error:
            raise DeadlineExceeded(
                "NOT_FINAL_YET",
                f"Transaction {name.hex()} was handed in and is not final yet; it takes effect up to height {expiry_height}"
                " or never. Ask for it by its hash before you do the same again.",
                "L6",
            ) from error
        verified = await self.verified(proof)
        if verified.transaction_hash != name:
            raise Conflict("OTHER_TRANSACTION", "The member proved another transaction than ours.", "L4")
        self.height = max(self.height, verified.height)
        return verified


async def ask_all(
    names: Sequence[str], questions: Sequence[Awaitable[Answer]]
) -> tuple[list[tuple[str, Answer]], list[tuple[str, Fault]]]:
    """Ask several members at once; who answered what, and who refused or could not be reached."""
    answers: list[tuple[str, Answer]] = []
    faults: list[tuple[str, Fault]] = []
    for name, came in zip(names, await asyncio.gather(*questions, return_exceptions=True), strict=True):
        if isinstance(came, ConsiliumError | OSError):
            faults.append((name, came))
        elif isinstance(came, BaseException):
            raise came
        else:
            answers.append((name, came))
    return answers, faults


def require(verified: VerifiedTransaction) -> VerifiedTransaction:
    """The transaction, if it took effect.

    Raises PermissionDenied for a refused request, FailedPrecondition for any other refusal; the reason is the ledger's code
    and the rule is the one behind it.
    """
    if not is_refusal(verified.code):
        return verified
    sentence = f"The ledger refused this at height {verified.height}."
    if verified.payload.body.KIND == Kind.REQUEST:
        raise PermissionDenied(verified.code.name, sentence, RULES[verified.code])
    raise FailedPrecondition(verified.code.name, sentence, RULES[verified.code])
