"""Every RPC over real mTLS: what it does for those it is for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.identity.__main__ import identity_of
from consilium.kernel.attestations import BoundAuthority, verify_authority
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Conflict, NotFound, PermissionDenied, Unavailable
from consilium.kernel.light_client import StateProof, TrustedHistory
from consilium.kernel.membership import read_revocation_list
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import MemberState, ProposalState
from consilium.kernel.transactions import Grade, GradeAct, MemberAct, MemberAction, ProposalBody
from consilium.runtime.background import background
from tests.alliance import MemberKeys, id_of, seed_of
from tests.identity.hospital import AWAY, DEADLINE_S, HOME, Hospital, Person, hospitals, play, refusal
from tests.identity.papers import ballot, ballots, evidence_of, payload, proposal

if TYPE_CHECKING:
    from pathlib import Path

STAFF, PATIENT, APPLICATION = pb.CREDENTIAL_KIND_STAFF, pb.CREDENTIAL_KIND_PATIENT, pb.CREDENTIAL_KIND_APPLICATION
T = DEADLINE_S
BODY = ProposalBody(GradeAct(HOME, Grade.SPECIAL3, 900), seed_of("evidence"), 50)


def test_issue_credential_accepted_at_every_member(tmp_path: Path) -> None:
    """One credential, accepted at every member; nothing of the request but its key counts."""

    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served, away.serving() as other:
            doctor = Person("Dr Wang")
            credential, channel = await served.enrolled(doctor, STAFF)
            assert (credential.kind, credential.role, credential.state) == (STAFF, "physician", pb.CREDENTIAL_STATE_ACTIVE)
            assert credential.signing_key == doctor.signer.public_key
            assert len(credential.pseudonym) == 32
            async with channel:
                asked = pb.GetCredentialRequest(credential_id=credential.credential_id)
                assert (await IdentityServiceStub(channel).GetCredential(asked)).credential == credential
            async with other.channel(served.tls(doctor, credential)) as abroad:
                assert (await IdentityServiceStub(abroad).GetAuthority(pb.GetAuthorityRequest())).authorities
                error = await refusal(IdentityServiceStub(abroad).ListCredentials(pb.ListCredentialsRequest()))
                assert (type(error), error.reason) == (PermissionDenied, "WRONG_ROLE")

    play(scene)


def test_issue_credential_once_a_request(tmp_path: Path) -> None:
    """L6: a repeated call returns the first answer; another request under a used id is refused."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served, served.administrator() as channel:
            stub, doctor = IdentityServiceStub(channel), Person("Dr Wang")
            request = doctor.request(STAFF, home.alliance.chain_id)
            first = await stub.IssueCredential(request, timeout=T)
            assert await stub.IssueCredential(request, timeout=T) == first
            request.role = "nurse"
            error = await refusal(stub.IssueCredential(request, timeout=T))
            assert (type(error), error.reason) == (Conflict, "REQUEST_ID_USED")
            renewed = doctor.request(
                STAFF, home.alliance.chain_id, request_id=id_of("again"), pseudonym=first.credential.pseudonym
            )
            second = await stub.IssueCredential(renewed, timeout=T)
            assert second.credential.pseudonym == first.credential.pseudonym
            assert second.credential.credential_id != first.credential.credential_id

    play(scene)


def test_issue_credential_by_a_registrar_for_patients_alone(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            _, channel = await served.enrolled(Person("enrolment desk"), APPLICATION, role="registrar")
            async with channel:
                stub, patient = IdentityServiceStub(channel), Person("patient")
                issued = await stub.IssueCredential(patient.request(PATIENT, home.alliance.chain_id), timeout=T)
                assert issued.credential.kind == PATIENT
                error = await refusal(stub.IssueCredential(Person("x").request(STAFF, home.alliance.chain_id), timeout=T))
                assert (type(error), error.reason) == (PermissionDenied, "WRONG_ROLE")
                ended = await stub.RevokeCredential(
                    pb.RevokeCredentialRequest(
                        credential_id=issued.credential.credential_id, reason=pb.REVOCATION_REASON_ROLE_ENDED
                    ),
                    timeout=T,
                )
                assert ended.credential.state == pb.CREDENTIAL_STATE_REVOKED

    play(scene)


def test_get_credential_of_others_is_not_for_patients(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            doctor, doctors = await served.enrolled(Person("doctor"), STAFF)
            patient, patients = await served.enrolled(Person("patient"), PATIENT)
            async with doctors, patients:
                stub = IdentityServiceStub(patients)
                own = await stub.GetCredential(pb.GetCredentialRequest(credential_id=patient.credential_id))
                assert own.credential == patient
                error = await refusal(stub.GetCredential(pb.GetCredentialRequest(credential_id=doctor.credential_id)))
                assert (type(error), error.reason) == (PermissionDenied, "WRONG_ROLE")
                error = await refusal(
                    IdentityServiceStub(doctors).GetCredential(pb.GetCredentialRequest(credential_id=bytes(16)))
                )
                assert (type(error), error.reason) == (NotFound, "NO_SUCH_CREDENTIAL")

    play(scene)


def test_list_credentials_in_pages(tmp_path: Path) -> None:
    """AIP-158: pages join without a gap or a double, oldest first, and can be of one kind."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served, served.administrator() as channel:
            stub = IdentityServiceStub(channel)
            patients = [(await served.enrolled(Person(f"patient {i}"), PATIENT))[0].credential_id for i in range(5)]
            found: list[bytes] = []
            token = ""
            while token or not found:
                page = await stub.ListCredentials(pb.ListCredentialsRequest(page_size=2, page_token=token, kind=PATIENT))
                found += [each.credential_id for each in page.credentials]
                token = page.next_page_token
            assert found == patients
            everything = await stub.ListCredentials(pb.ListCredentialsRequest())
            kinds = [each.kind for each in everything.credentials]
            assert kinds == [STAFF, *[pb.CREDENTIAL_KIND_SERVICE] * 6, *[PATIENT] * 5]

    play(scene)


def test_revoke_credential_is_felt_by_the_next_call_of_an_open_connection(tmp_path: Path) -> None:
    """Design section 8: an open connection outlives its certificate; the other services read the list from their folders."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served, served.administrator() as administrator:
            credential, channel = await served.enrolled(Person("doctor"), STAFF)
            async with channel:
                stub = IdentityServiceStub(channel)
                await stub.GetAuthority(pb.GetAuthorityRequest())
                request = pb.RevokeCredentialRequest(
                    credential_id=credential.credential_id, reason=pb.REVOCATION_REASON_KEY_COMPROMISE
                )
                ended = await IdentityServiceStub(administrator).RevokeCredential(request, timeout=T)
                assert ended.credential.state == pb.CREDENTIAL_STATE_REVOKED
                error = await refusal(stub.GetAuthority(pb.GetAuthorityRequest()))
                assert (type(error), error.reason) == (PermissionDenied, "REVOKED")
            request.reason = pb.REVOCATION_REASON_ROLE_ENDED
            again = await IdentityServiceStub(administrator).RevokeCredential(request, timeout=T)
            assert again.credential.revocation_reason == pb.REVOCATION_REASON_KEY_COMPROMISE
            for service in ("ledger", "storage"):
                listed = read_revocation_list((home.home / "tls" / service / "revoked").read_bytes())
                assert listed == (int.from_bytes(credential.credential_id),)
        async with home.serving() as served:
            assert list(served.driver.enrolment.revoked) == [int.from_bytes(credential.credential_id)]

    play(scene)


def test_revoke_credential_by_its_holder(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            credential, channel = await served.enrolled(Person("patient"), PATIENT)
            other, _ = await served.enrolled(Person("other"), PATIENT)
            async with channel:
                stub = IdentityServiceStub(channel)

                def ask(credential_id: bytes) -> Any:
                    reason = pb.REVOCATION_REASON_KEY_COMPROMISE
                    request = pb.RevokeCredentialRequest(credential_id=credential_id, reason=reason)
                    return stub.RevokeCredential(request, timeout=T)

                assert (await refusal(ask(other.credential_id))).reason == "WRONG_ROLE"
                assert (await ask(credential.credential_id)).credential.state == pb.CREDENTIAL_STATE_REVOKED
                assert (await refusal(ask(credential.credential_id))).reason == "REVOKED"

    play(scene)


def test_get_authority_can_be_checked_against_the_ledger(tmp_path: Path) -> None:
    async def scene() -> None:
        home, _ = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served, served.administrator() as channel:
            stub = IdentityServiceStub(channel)
            for member_id in (HOME, AWAY):
                (encoded,) = (await stub.GetAuthority(pb.GetAuthorityRequest(member_id=member_id))).authorities
                bound = decode(BoundAuthority, encoded, home.alliance.chain_id)
                key = home.alliance.keys[member_id].profile.member_key
                verify_authority(bound, key, home.alliance.chain_id, 0, Ed25519Verifier())
            error = await refusal(stub.GetAuthority(pb.GetAuthorityRequest(member_id="nowhere")))
            assert (type(error), error.reason) == (NotFound, "NO_SUCH_AUTHORITY")

    play(scene)


def test_get_authority_after_a_restart(tmp_path: Path) -> None:
    """The own authority is known at once; the others' as soon as the ledger was read, and not an interval later."""

    async def scene() -> None:
        home, _ = hospitals(tmp_path, HOME, AWAY)
        home.scribe.write()
        async with home.serving():
            pass
        async with home.own_services(), identity_of(home.settings()) as (driver, _):
            assert list(driver.keeper.authorities) == [HOME]
            assert driver.keeper.authorities[HOME]
            async with background(driver.tend(3_600), driver.members.follow()), asyncio.timeout(T):
                while list(driver.keeper.authorities) != [HOME, AWAY]:  # noqa: ASYNC110  it is told by nobody
                    await asyncio.sleep(0)

    play(scene)


def test_get_member_carries_its_proof(tmp_path: Path) -> None:
    """Promise 8: checked with the genesis alone, across an epoch too (L5)."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        home.scribe.cross_epoch()
        home.scribe.write()
        async with home.serving() as served, served.administrator() as channel:
            response = await IdentityServiceStub(channel).GetMember(pb.GetMemberRequest(member_id=AWAY))
            assert (response.member.grade, response.member.stratum, response.member.state) == (
                "B3",
                2,
                pb.MEMBER_STATE_ACTIVE,
            )
            history = TrustedHistory(home.alliance.genesis)
            history.hop(home.scribe.chain.epoch_hop(0), Ed25519Verifier())
            proof = decode(StateProof, response.proof.encoded, home.alliance.chain_id)
            state = history.verify_state(proof, Ed25519Verifier())
            assert decode(MemberState, state.value or b"", home.alliance.chain_id).profile.member_id == AWAY
            error = await refusal(IdentityServiceStub(channel).GetMember(pb.GetMemberRequest(member_id="nowhere")))
            assert (type(error), error.reason) == (NotFound, "NO_SUCH_MEMBER")

    play(scene)


def test_get_member_does_not_pass_on_what_its_ledger_cannot_prove(tmp_path: Path) -> None:
    """L4: even the own ledger is believed under a proof alone."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        home.scribe.write()
        async with home.serving() as served, served.administrator() as channel:
            other = home.scribe.chain.prove_state(b"member/benxi")
            home.ledger.lie = encode(other, home.alliance.chain_id)
            error = await refusal(IdentityServiceStub(channel).GetMember(pb.GetMemberRequest(member_id=HOME)))
            assert error.reason == "LEDGER_CONTRADICTS"

    play(scene)


def test_list_members_at_one_height(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        home.scribe.write()
        async with home.serving() as served, served.administrator() as channel:
            stub = IdentityServiceStub(channel)
            first = await stub.ListMembers(pb.ListMembersRequest(page_size=3))
            home.ledger.write()
            rest = await stub.ListMembers(pb.ListMembersRequest(page_size=3, page_token=first.next_page_token))
            found = [each.member_id for page in (first, rest) for each in page.members]
            assert found == sorted(home.alliance.keys)
            assert (first.height, rest.height, rest.next_page_token) == (1, 1, "")

    play(scene)


def test_add_rank_evidence_and_read_it_at_another_member(tmp_path: Path) -> None:
    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served, served.administrator() as channel:
            stub = IdentityServiceStub(channel)
            for document in (b"beds: 1,800", b"staff: 3,100"):
                added = await stub.AddRankEvidence(
                    pb.AddRankEvidenceRequest(evidence=evidence_of(home, document)), timeout=T
                )
            await stub.AddRankEvidence(pb.AddRankEvidenceRequest(evidence=evidence_of(home, b"beds: 1,800")), timeout=T)
            other = evidence_of(home, b"beds: 1,800", "somebody else")
            error = await refusal(stub.AddRankEvidence(pb.AddRankEvidenceRequest(evidence=other), timeout=T))
            assert (type(error), error.reason) == (Conflict, "DOCUMENT_EXISTS")
            async with served.service("storage", away) as abroad:
                foreign = IdentityServiceStub(abroad)
                listed = await foreign.ListRankEvidence(pb.ListRankEvidenceRequest())
                assert [each.document for each in listed.evidence] == [b"", b""]
                assert listed.evidence[0].document_hash == added.document_hash
                read = await foreign.GetRankEvidence(pb.GetRankEvidenceRequest(document_hash=added.document_hash))
                assert read.evidence == evidence_of(home, b"staff: 3,100")
                error = await refusal(
                    foreign.AddRankEvidence(pb.AddRankEvidenceRequest(evidence=evidence_of(away, b"x")), timeout=T)
                )
                assert error.reason == "WRONG_ROLE"

    play(scene)


def test_propose_change_and_cast_ballot_until_it_is_adopted(tmp_path: Path) -> None:
    """G1, C6: four of five say yes, the last of them through this member; every answer about it carries its proof."""

    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        home.scribe.write()
        async with home.serving() as served, served.administrator() as channel, served.service("identity", away) as abroad:
            stub, foreign = IdentityServiceStub(channel), IdentityServiceStub(abroad)
            act = GradeAct(HOME, Grade.SPECIAL3, 900)
            request = proposal(home, act)
            own = (await stub.ProposeChange(request, timeout=T)).proposal_id
            assert (await stub.ProposeChange(request, timeout=T)).proposal_id == own
            theirs = home.scribe.signed(home.alliance.keys[AWAY].member, ProposalBody(act, seed_of("evidence"), 80))
            home.ledger.write(theirs)
            home.ledger.write(*ballots(home, leaf_hash(theirs), "chaoyang", "dalian"), *ballots(home, own, AWAY))
            asked = pb.GetProposalRequest(proposal_id=leaf_hash(theirs))
            assert (await foreign.GetProposal(asked)).proposal.state == pb.PROPOSAL_STATE_OPEN
            await stub.CastBallot(ballot(home, leaf_hash(theirs)), timeout=T)
            answer = await foreign.GetProposal(asked)
            said = [(each.member_id, each.yes) for each in answer.proposal.ballots]
            assert said == [(AWAY, True), ("chaoyang", True), ("dalian", True), (HOME, True)]
            found = answer.proposal
            assert (found.state, found.outcome, found.act) == (pb.PROPOSAL_STATE_ADOPTED, "APPLIED", pb.PROPOSAL_ACT_GRADE)
            assert found.says == "grade anshan SPECIAL3 until height 900"
            proof = decode(StateProof, answer.proof.encoded, home.alliance.chain_id)
            value = TrustedHistory(home.alliance.genesis).verify_state(proof, Ed25519Verifier()).value or b""
            assert decode(ProposalState, value, home.alliance.chain_id).closed_height == home.scribe.chain.height
            graded = (await stub.GetMember(pb.GetMemberRequest(member_id=HOME))).member
            assert (graded.grade, graded.grade_expires_height) == ("SPECIAL3", 900)

    play(scene)


def test_propose_change_signs_for_this_member_alone(tmp_path: Path) -> None:
    """G1: what the ledger could only refuse is refused here; what consensus does not take can be asked for again."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        home.scribe.write()
        async with home.serving() as served, served.administrator() as channel:
            stub, act = IdentityServiceStub(channel), GradeAct(HOME, Grade.SPECIAL3, 900)
            wrong = {
                "OTHER_AUTHOR": proposal(home, act, by=AWAY),
                "WRONG_KIND": pb.ProposeChangeRequest(payload=ballot(home, bytes(32)).payload),
                "EXPIRED": pb.ProposeChangeRequest(payload=payload(home, BODY, "late", HOME, 0)),
                "EXPIRES_TOO_LATE": pb.ProposeChangeRequest(payload=payload(home, BODY, "early", HOME, 301)),
            }
            for reason, request in wrong.items():
                assert (await refusal(stub.ProposeChange(request, timeout=T))).reason == reason
            both = pb.CastBallotRequest(payload=proposal(home, act).payload)
            assert (await refusal(stub.CastBallot(both, timeout=T))).reason == "WRONG_KIND"
            home.consensus.refusal = Unavailable("AWAY", "Restarting.")
            assert (await refusal(stub.ProposeChange(proposal(home, act), timeout=T))).reason == "AWAY"
            home.consensus.refusal = None
            assert (await stub.ProposeChange(proposal(home, act), timeout=T)).proposal_id

    play(scene)


def test_list_proposals_of_all_authors_at_one_height(tmp_path: Path) -> None:
    """All pages are of one height; those of one author stay together."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        home.scribe.write()
        async with home.serving() as served, served.administrator() as channel:
            stub = IdentityServiceStub(channel)
            for author in ("chaoyang", HOME, AWAY, HOME):
                home.ledger.write(home.scribe.signed(home.alliance.keys[author].member, replace(BODY, decide_by=80)))
            first = await stub.ListProposals(pb.ListProposalsRequest(page_size=1))
            home.ledger.write(home.scribe.signed(home.alliance.keys["dalian"].member, replace(BODY, decide_by=80)))
            token = first.next_page_token
            rest = await stub.ListProposals(pb.ListProposalsRequest(page_size=9, page_token=token))
            authors = [each.author_member_id for each in (*first.proposals, *rest.proposals)]
            assert (authors, rest.height) == ([HOME, HOME, AWAY, "chaoyang"], first.height)
            adopted = await stub.ListProposals(pb.ListProposalsRequest(state=pb.PROPOSAL_STATE_ADOPTED))
            assert list(adopted.proposals) == []

    play(scene)


def test_suspended_members_people_are_refused_on_an_open_connection(tmp_path: Path) -> None:
    """G2: a suspended member may read the chain and no more, from the next call of an open connection on."""

    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        home.scribe.write()
        async with home.serving() as served, served.service("ledger", away) as abroad:
            foreign = IdentityServiceStub(abroad)
            await foreign.ListRankEvidence(pb.ListRankEvidenceRequest())
            home.ledger.behind = 1
            home.ledger.write(*home.scribe.motion(MemberAct(MemberAction.SUSPEND, home.alliance.keys[AWAY].profile)))
            async with asyncio.timeout(T):
                await served.driver.members.changed.wait()
            error = await refusal(foreign.ListRankEvidence(pb.ListRankEvidenceRequest()))
            assert (type(error), error.reason) == (PermissionDenied, "SUSPENDED")
            assert (await foreign.GetMember(pb.GetMemberRequest(member_id=AWAY))).member.state == pb.MEMBER_STATE_SUSPENDED

    play(scene)


def test_a_joiner_is_admitted_whose_people_are_then_let_in(tmp_path: Path) -> None:
    """Its authority is bound by the member key that the ledger names from its admission on."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        home.scribe.write()
        joiner = MemberKeys.of("yingkou", Grade.UNGRADED)
        newcomer = Hospital(tmp_path, "yingkou", home.alliance, home.scribe)
        newcomer.alliance = type(home.alliance)(
            home.alliance.genesis, {**home.alliance.keys, "yingkou": joiner}, home.alliance.chain_id
        )
        newcomer.found()
        async with home.serving() as served:
            await served.driver.keep_files()
            assert sorted(served.driver.keeper.authorities) == [HOME]
            home.ledger.write(*home.scribe.motion(MemberAct(MemberAction.ADMIT, joiner.profile)))
            async with asyncio.timeout(T):
                await served.driver.members.changed.wait()
            await served.driver.keep_files()
            assert sorted(served.driver.keeper.authorities) == [HOME, "yingkou"]
            registry = served.running.metrics.registry
            assert registry.get_sample_value("consilium_identity_members", {"state": "active"}) == 6
            assert registry.get_sample_value("consilium_identity_trusted_members") == 2
            served.running.tls.refresh()
            folder = newcomer.home / "tls" / "ledger" / "authorities.pem"
            folder.write_bytes(folder.read_bytes() + (home.home / "tls" / "ledger" / "authorities.pem").read_bytes())
            async with served.service("ledger", newcomer) as abroad:
                listed = await IdentityServiceStub(abroad).ListMembers(pb.ListMembersRequest())
            assert "yingkou" in [each.member_id for each in listed.members]

    play(scene)
