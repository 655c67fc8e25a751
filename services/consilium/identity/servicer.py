"""The contract's methods: decode, one core call, store or submit, encode; who may call is judged before (`admission`)."""

from collections.abc import Callable
from typing import TypeVar

import grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceServicer
from consilium.identity import wire
from consilium.identity.authority import read_certification_request
from consilium.identity.core.credentials import (
    Credential,
    CredentialKind,
    judge_enrolment,
    judge_governance,
    verify_possession,
)
from consilium.identity.core.evidence import add_rank_evidence
from consilium.identity.core.proposals import cast_ballot, propose_change, sign_invitation
from consilium.identity.driver import Driver
from consilium.identity.recovering import Recoveries
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import NotFound, PermissionDenied
from consilium.kernel.membership import CallerRole, role_of
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import (
    MemberState,
    ProposalList,
    ProposalState,
    ProposalStatus,
    member_entry,
    proposal_entry,
    proposals_entry,
)
from consilium.runtime import calls
from consilium.runtime.clock import wall_ms
from consilium.runtime.threads import run_to_end

Context = grpc.aio.ServicerContext[object, object]
Numbered = TypeVar("Numbered")
LOOKED_AT_MAX = 1_000
"""How many rows a filtered page looks at; it may then hold fewer than asked for, and a token (AIP-158)."""


class IdentityServicer(IdentityServiceServicer):
    """The identity service of one member."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._enrolment = driver.enrolment
        self._store = driver.enrolment.store
        self._chain_id = driver.genesis.chain_id
        self._verifier = Ed25519Verifier()
        self._recoveries = Recoveries(driver)

    # --- credentials ---

    async def IssueCredential(self, request: pb.IssueCredentialRequest, _: Context) -> pb.IssueCredentialResponse:
        """Enrol a holder of a key."""
        judge_enrolment(await self._caller(), wire.choice(CredentialKind, request.kind, "kind"))
        tls_key = read_certification_request(request.certification_request)
        asked = wire.credential_request(request, tls_key, self._possessed(request))
        credential = await self._write(lambda: self._enrolment.issue(asked))
        return pb.IssueCredentialResponse(credential=wire.credential_message(credential, wall_ms()))

    async def GetCredential(self, request: pb.GetCredentialRequest, _: Context) -> pb.GetCredentialResponse:
        """Read a credential; a patient its own."""
        credential = await self._credential(request.credential_id)
        if role_of(calls.peer()) is CallerRole.PATIENT:
            self._judge_holder(credential)
        return pb.GetCredentialResponse(credential=wire.credential_message(credential, wall_ms()))

    async def ListCredentials(self, request: pb.ListCredentialsRequest, _: Context) -> pb.ListCredentialsResponse:
        """List credentials, oldest first."""
        kind = wire.wanted(request.kind, CredentialKind, "kind")
        judge_enrolment(await self._caller(), kind or CredentialKind.STAFF)
        start, size = wire.page(request.page_size, request.page_token)
        page = await run_to_end(self._store.credentials, start, LOOKED_AT_MAX)
        found, token = _filtered(page, size, lambda each: kind in (None, each.terms.kind))
        now_ms = wall_ms()
        credentials = [wire.credential_message(each, now_ms) for each in found]
        return pb.ListCredentialsResponse(credentials=credentials, next_page_token=token)

    async def RevokeCredential(self, request: pb.RevokeCredentialRequest, _: Context) -> pb.RevokeCredentialResponse:
        """End a credential: its holder, or whoever may issue one of its kind."""
        reason = wire.revocation_reason(request.reason)
        credential = await self._credential(request.credential_id)
        if not self._is_holder(credential):
            judge_enrolment(await self._caller(), credential.terms.kind)
        ended = await self._write(lambda: self._enrolment.revoke(request.credential_id, reason))
        # Before the answer: the member's other services read it from their folders.
        await self._driver.keep_files()
        return pb.RevokeCredentialResponse(credential=wire.credential_message(ended, wall_ms()))

    # --- members ---

    async def GetAuthority(self, request: pb.GetAuthorityRequest, _: Context) -> pb.GetAuthorityResponse:
        """Read a member's authority."""
        member_id = wire.member_id(request.member_id) if request.member_id else self._driver.member_id
        found = self._driver.keeper.authorities.get(member_id, [])
        if not found:
            self._driver.members.member(member_id)  # of a member there may be one, once the ledger was read
            raise NotFound("NO_SUCH_AUTHORITY", f"No valid authority of {member_id!r} is known here.")
        return pb.GetAuthorityResponse(authorities=[encode(each, self._chain_id) for each in found])

    async def AddAuthority(self, request: pb.AddAuthorityRequest, _: Context) -> pb.AddAuthorityResponse:
        """Take up an authority that somebody brings."""
        judge_governance(await self._caller())
        await self._driver.take_up(request.authority)
        self._driver.members.changed.set()
        return pb.AddAuthorityResponse()

    async def SignInvitation(self, request: pb.SignInvitationRequest, _: Context) -> pb.SignInvitationResponse:
        """Sign an invitation for this member."""
        judge_governance(await self._caller())
        return pb.SignInvitationResponse(signature=sign_invitation(request.invitation, await self._driver.desk(), wall_ms()))

    async def GetMember(self, request: pb.GetMemberRequest, _: Context) -> pb.GetMemberResponse:
        """Read a member with its proof."""
        member_id = wire.member_id(request.member_id)
        state, proof = await self._driver.ledger.prove_state(member_entry(member_id))
        if state.value is None:
            raise NotFound("NO_SUCH_MEMBER", f"There has been no member {member_id!r}.")
        member = decode(MemberState, state.value, self._chain_id)
        return pb.GetMemberResponse(member=wire.member_message(member), proof=chain_pb2.StateProof(encoded=proof))

    async def ListMembers(self, request: pb.ListMembersRequest, _: Context) -> pb.ListMembersResponse:
        """List members, all pages as of one height."""
        height, after, size = wire.members_page(request.page_size, request.page_token)
        self._driver.members.member(self._driver.member_id)
        ids = [each for each in self._driver.members.states() if each > after]
        members = []
        for member_id in ids[:size]:
            state = (await self._driver.ledger.prove_state(member_entry(member_id), height))[0]
            height = state.height
            if state.value is not None:
                members.append(wire.member_message(decode(MemberState, state.value, self._chain_id)))
        token = f"{height}/{ids[size - 1]}" if len(ids) > size else ""
        return pb.ListMembersResponse(members=members, next_page_token=token, height=height or 0)

    # --- evidence ---

    async def AddRankEvidence(self, request: pb.AddRankEvidenceRequest, _: Context) -> pb.AddRankEvidenceResponse:
        """Keep a document behind this member's figures."""
        judge_governance(await self._caller())
        evidence, document = wire.evidence(request.evidence), request.evidence.document
        add_rank_evidence(evidence, document, self._driver.member_id, self._chain_id, self._verifier)
        await self._write(lambda: self._store.put_evidence(evidence, document))
        return pb.AddRankEvidenceResponse(document_hash=evidence.document_hash)

    async def GetRankEvidence(self, request: pb.GetRankEvidenceRequest, _: Context) -> pb.GetRankEvidenceResponse:
        """Read a document."""
        document_hash = wire.digest(request.document_hash, "A document_hash")
        kept, document = await run_to_end(self._store.evidence, document_hash)
        return pb.GetRankEvidenceResponse(evidence=wire.evidence_message(kept, document))

    async def ListRankEvidence(self, request: pb.ListRankEvidenceRequest, _: Context) -> pb.ListRankEvidenceResponse:
        """List documents, newest first."""
        start, size = wire.page(request.page_size, request.page_token)
        page = await run_to_end(self._store.evidence_back, start, size + 1)
        found, token = _filtered(page, size, lambda _: True)
        return pb.ListRankEvidenceResponse(evidence=[wire.evidence_message(each) for each in found], next_page_token=token)

    # --- governance ---

    async def ProposeChange(self, request: pb.ProposeChangeRequest, _: Context) -> pb.ProposeChangeResponse:
        """Sign a proposal with the member key, and hand it in."""
        judge_governance(await self._caller())
        transaction = propose_change(request.payload, await self._driver.desk())
        await self._driver.consensus.submit(transaction)
        return pb.ProposeChangeResponse(proposal_id=leaf_hash(transaction))

    async def CastBallot(self, request: pb.CastBallotRequest, _: Context) -> pb.CastBallotResponse:
        """Sign a ballot with the member key, and hand it in."""
        judge_governance(await self._caller())
        transaction = cast_ballot(request.payload, await self._driver.desk())
        await self._driver.consensus.submit(transaction)
        return pb.CastBallotResponse(transaction_hash=leaf_hash(transaction))

    async def GetProposal(self, request: pb.GetProposalRequest, _: Context) -> pb.GetProposalResponse:
        """Read a proposal with its proof."""
        proposal_id = wire.digest(request.proposal_id, "A proposal_id")
        state, proof = await self._driver.ledger.prove_state(proposal_entry(proposal_id))
        if state.value is None:
            raise NotFound("NO_SUCH_PROPOSAL", "No such proposal is open, or was closed lately.", "G1")
        message = wire.proposal_message(proposal_id, decode(ProposalState, state.value, self._chain_id))
        return pb.GetProposalResponse(proposal=message, proof=chain_pb2.StateProof(encoded=proof))

    async def ListProposals(self, request: pb.ListProposalsRequest, _: Context) -> pb.ListProposalsResponse:
        """List proposals by their authors' ids, all pages as of one height."""
        wire.wanted(request.state, ProposalStatus, "state")
        height, after, size = wire.members_page(request.page_size, request.page_token)
        self._driver.members.member(self._driver.member_id)
        proposals: list[pb.Proposal] = []
        authors = [each for each in self._driver.members.states() if each > after]
        for place, author in enumerate(authors):
            height, found = await self._proposals_of(author, height)
            proposals += [each for each in found if request.state in (0, each.state)]
            if len(proposals) >= size and place + 1 < len(authors):
                return pb.ListProposalsResponse(proposals=proposals, next_page_token=f"{height}/{author}", height=height)
        return pb.ListProposalsResponse(proposals=proposals, height=height or 0)

    async def _proposals_of(self, author: str, height: int | None) -> tuple[int, list[pb.Proposal]]:
        """A member's proposals at a height, the newest certified one without, and that height."""
        ledger, found = self._driver.ledger, list[pb.Proposal]()
        listed = (await ledger.prove_state(proposals_entry(author), height))[0]
        ids = () if listed.value is None else decode(ProposalList, listed.value, self._chain_id).proposal_ids
        for each in ids:
            value = (await ledger.prove_state(proposal_entry(each), listed.height))[0].value
            found.append(wire.proposal_message(each, decode(ProposalState, value or b"", self._chain_id)))
        return listed.height, found

    # --- recovery ---

    async def StopEpoch(self, request: pb.StopEpochRequest, _: Context) -> pb.StopEpochResponse:
        """Stop this member's replica in its epoch for good."""
        judge_governance(await self._caller())
        return pb.StopEpochResponse(report=await self._recoveries.stop(request.epoch))

    async def GetRecoveryDraft(self, request: pb.GetRecoveryDraftRequest, _: Context) -> pb.GetRecoveryDraftResponse:
        """Have the own ledger work out what the electors may sign."""
        judge_governance(await self._caller())
        lost = [wire.member_id(each) for each in request.lost_member_ids]
        return pb.GetRecoveryDraftResponse(draft=await self._recoveries.draft(lost, request.reports))

    async def SignRecovery(self, request: pb.SignRecoveryRequest, _: Context) -> pb.SignRecoveryResponse:
        """Sign a recovery for this member."""
        judge_governance(await self._caller())
        await self._recoveries.sign(request.draft, request.reports)
        return pb.SignRecoveryResponse()

    async def GetRecovery(self, _: pb.GetRecoveryRequest, __: Context) -> pb.GetRecoveryResponse:
        """Read what this member has done in a recovery."""
        return wire.recovery_message(await self._recoveries.part(), self._chain_id)

    async def ApplyRecovery(self, request: pb.ApplyRecoveryRequest, _: Context) -> pb.ApplyRecoveryResponse:
        """Hand a recovery to this member's replica."""
        await self._driver.consensus.apply_recovery(request.certificate)
        return pb.ApplyRecoveryResponse()

    # --- what several methods do ---

    async def _caller(self) -> Credential | None:
        """The credential of the caller, one of this member."""
        return await run_to_end(self._enrolment.holder, calls.peer().serial)

    async def _credential(self, credential_id: bytes) -> Credential:
        return await run_to_end(self._store.credential, wire.identifier(credential_id, "A credential_id"))

    def _is_holder(self, credential: Credential) -> bool:
        """Whether the caller calls under this very credential."""
        peer = calls.peer()
        serial = int.from_bytes(credential.terms.credential_id)
        return peer.member_id == self._driver.member_id and peer.serial == serial

    def _judge_holder(self, credential: Credential) -> None:
        if not self._is_holder(credential):
            raise PermissionDenied("WRONG_ROLE", "A patient reads its own credential only.")

    def _possessed(self, request: pb.IssueCredentialRequest) -> bytes | None:
        """The signing key, once its possession was shown; None when none is given."""
        if not request.HasField("signing_key"):
            return None
        given = wire.signature(request.signing_key, "the signing_key")
        verify_possession(
            self._driver.member_id, given.public_key, request.certification_request, given.signature,
            self._chain_id, self._verifier,
        )  # fmt: skip
        return given.public_key

    async def _write(self, act: Callable[[], Numbered]) -> Numbered:
        """Do what changes the store, one at a time."""
        async with self._driver.writes:
            return await run_to_end(act)


def _filtered(page: list[tuple[int, Numbered]], size: int, fits: Callable[[Numbered], bool]) -> tuple[list[Numbered], str]:
    """The first things of a page that fit, and the token to go on after the last one looked at."""
    found: list[Numbered] = []
    for place, (number, each) in enumerate(page):
        if fits(each):
            found.append(each)
        if len(found) == size or place + 1 == LOOKED_AT_MAX:
            is_last = place + 1 == len(page) and len(page) < LOOKED_AT_MAX
            return found, "" if is_last else str(number)
    return found, ""
