"""What was sent already, sent again: a write gives its first answer, or is refused; nothing happens twice (L6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import pytest

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2, replica_pb2
from consilium.api.identity.v1 import identity_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.reencryption.v1 import reencryption_pb2
from consilium.api.storage.v1 import storage_pb2
from consilium.kernel.certificates import MemberSignature
from consilium.kernel.encoding import decode, encode
from consilium.kernel.executions import GrantHistoryQuery
from consilium.kernel.invitations import Invitation
from consilium.kernel.recovery import RecoveryCertificate
from consilium.kernel.recovery_reports import SignedReport, sign_report
from consilium.kernel.transactions import MemberAct, MemberAction
from tests.alliance import id_of, now_ms, seed_of
from tests.contract.contracts import LIVES_ON, METHODS, Ending, attempt
from tests.contract.expected import REPEATED, WRITES
from tests.contract.refusals import clean
from tests.contract.story import SHRED_SECRET
from tests.identity.hospital import Person
from tests.identity.papers import ballot, evidence_of, proposal, signature
from tests.stores.objects import ONE_CHUNK, make_chunks, make_manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from tests.contract.conftest import Stage
    from tests.contract.world import World

Frames: TypeAlias = "tuple[Message, ...]"


async def called(world: World, name: str, *frames: Message) -> Ending:
    """How a method ends for somebody whom it is for."""
    sent = [each.SerializeToString() for each in frames]
    ending = await attempt(world.welcome(METHODS[name]), METHODS[name], *sent)
    clean(world, ending)
    return ending


async def answer(world: World, name: str, *frames: Message) -> Any:
    """What a method answers."""
    ending = await called(world, name, *frames)
    assert ending.code is grpc.StatusCode.OK, ending
    return METHODS[name].answer(ending.answers[0])


# --- requests that do what they are for, the first time ---


async def enrolment(world: World) -> Frames:
    person = Person("enrolled twice")
    return (person.request(identity_pb2.CREDENTIAL_KIND_STAFF, world.home.alliance.chain_id),)


async def revocation(world: World) -> Frames:
    request = Person("revoked twice").request(identity_pb2.CREDENTIAL_KIND_STAFF, world.home.alliance.chain_id)
    issued = (await answer(world, "IssueCredential", request)).credential
    reason = identity_pb2.REVOCATION_REASON_ROLE_ENDED
    return (identity_pb2.RevokeCredentialRequest(credential_id=issued.credential_id, reason=reason),)


async def evidence(world: World) -> Frames:
    return (identity_pb2.AddRankEvidenceRequest(evidence=evidence_of(world.home, b"a report")),)


async def change(world: World) -> Frames:
    return (proposal(world.home, MemberAct(MemberAction.SUSPEND, world.home.alliance.keys["fushun"].profile)),)


async def voting(world: World) -> Frames:
    return (ballot(world.home, seed_of("a proposal")),)


async def submission(world: World) -> Frames:
    patient = world.story.patient
    body = patient.grant(patient.terms("new"))
    alliance = world.home.alliance
    encoded = alliance.sign(patient.signer, body, id_of("submitted"), world.chain.height + 100)
    return (METHODS["SubmitTransaction"].message(transaction=chain_pb2.Transaction(encoded=encoded)),)


async def registration(world: World) -> Frames:
    carried = [chain_pb2.Transaction(encoded=world.home.scribe.record("another"))]
    return (METHODS["SubmitRegistrations"].message(registrations=carried),)


async def block(world: World) -> Frames:
    return (ledger_pb2.ExecuteBlockRequest(block=encode(world.home.scribe.blocks[0], world.chain.chain_id)),)


async def put(world: World) -> Frames:
    story = world.story
    finish = storage_pb2.PutFinish(manifest=encode(story.manifest, world.chain.chain_id), shred_secret=SHRED_SECRET)
    return (
        storage_pb2.PutObjectRequest.FromString(world.first_frame("PutObject")),
        storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(data=story.chunk)),
        storage_pb2.PutObjectRequest(finish=finish),
    )


async def copy(world: World) -> Frames:
    [chunk] = make_chunks("copied", ONE_CHUNK)
    return (
        storage_pb2.ReplicateObjectRequest.FromString(world.first_frame("ReplicateObject")),
        storage_pb2.ReplicateObjectRequest(chunk=storage_pb2.Chunk(data=chunk)),
        storage_pb2.ReplicateObjectRequest(finish=storage_pb2.ReplicationFinish()),
    )


async def healing(_: World) -> Frames:
    return (storage_pb2.HealStorageRequest(),)


async def backup(_: World) -> Frames:
    return (storage_pb2.NoteBackupRequest(backup=storage_pb2.Backup(taken_ms=1, height=1)),)


async def retention(world: World) -> Frames:
    record_id, hold = world.story.manifest.record_id, storage_pb2.RETENTION_ACT_HOLD
    return (storage_pb2.SignRetentionRequest(record_id=record_id, act=hold, evidence_digest=bytes(32)),)


async def erasure(world: World) -> Frames:
    """Of an object that no record names: another one takes an act on the ledger first (S8)."""
    chunks = make_chunks("unnamed", ONE_CHUNK)
    manifest = make_manifest("unnamed", ONE_CHUNK, chunks)
    finish = storage_pb2.PutFinish(manifest=encode(manifest, world.chain.chain_id), shred_secret=SHRED_SECRET)
    await answer(
        world, "PutObject",
        storage_pb2.PutObjectRequest(start=storage_pb2.PutStart(record_id=manifest.record_id, size_class=ONE_CHUNK)),
        storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(data=chunks[0])),
        storage_pb2.PutObjectRequest(finish=finish),
    )  # fmt: skip
    return (storage_pb2.EraseObjectRequest(record_id=manifest.record_id),)


async def fragment(world: World) -> Frames:
    story = world.story
    return (reencryption_pb2.GrantAccessRequest(grant_id=story.grant_id, key_fragment=story.fragment),)


async def receipt(world: World) -> Frames:
    return (reencryption_pb2.RevokeAccessRequest(grant_id=world.story.revoked_grant_id),)


async def release(world: World) -> Frames:
    await answer(world, "GrantAccess", *await fragment(world))
    await freshen(world)
    capsule = world.story.manifest.sealed.capsule
    return (reencryption_pb2.ReencryptCapsuleRequest(access_request_hash=world.story.request_hash, capsule=capsule),)


async def freshen(world: World) -> None:
    """Give the ledger a tip of now, as a release needs one (S5)."""
    world.home.scribe.write(time_ms=now_ms())
    await world.give_blocks()


async def report(world: World) -> Frames:
    patient = world.story.patient
    query = GrantHistoryQuery(patient.key().public_key, id_of("nonce"), world.chain.height + 50)
    return (
        ledger_pb2.ListGrantHistoryRequest(
            delegating_public_key=query.delegating_pk, nonce=query.nonce, expiry_height=query.expiry_height,
            owner_signature=signature(patient.signer, encode(query, world.chain.chain_id)),
        ),
    )  # fmt: skip


async def stopping(world: World) -> Frames:
    return (identity_pb2.StopEpochRequest(epoch=world.home.scribe.chain.tip.outlook.epoch),)


async def stopping_the_replica(world: World) -> Frames:
    return (consensus_pb2.StopReplicaRequest(epoch=world.home.scribe.chain.tip.outlook.epoch),)


async def asking(_: World) -> Frames:
    return (consensus_pb2.AskLeaveRequest(hold_seconds=60),)


async def leave(_: World) -> Frames:
    return (consensus_pb2.MayLeaveRequest(hold_seconds=60),)


async def recovery(world: World) -> Frames:
    """The home's own report, and such as the other electors would give."""
    chain, keys, chain_id = world.home.scribe.chain, world.home.alliance.keys, world.home.alliance.chain_id
    own = decode(SignedReport, (await answer(world, "StopEpoch", *await stopping(world))).report, chain_id)
    reports = [own]
    for each in chain.tip.outlook.electorate.electors:
        if each.member_id != own.report.member_id:
            told = replace(own.report, member_id=each.member_id, witness=True)
            reports.append(sign_report(told, keys[each.member_id].member, chain_id))
    data = [encode(each, chain_id) for each in reports]
    draft = await answer(world, "GetRecoveryDraft", identity_pb2.GetRecoveryDraftRequest(reports=data))
    return (identity_pb2.SignRecoveryRequest(draft=draft.draft, reports=data),)


async def recovered(world: World) -> Frames:
    return (identity_pb2.ApplyRecoveryRequest(certificate=await certificate(world)),)


async def recovered_at_the_replica(world: World) -> Frames:
    return (consensus_pb2.EndEpochRequest(certificate=await certificate(world)),)


async def certificate(world: World) -> bytes:
    """The recovery under all electors' signatures."""
    keys, chain_id = world.home.alliance.keys, world.home.alliance.chain_id
    asked: Any = (await recovery(world))[0]
    draft = decode(RecoveryCertificate, asked.draft, chain_id)
    message = encode(draft.statement, chain_id)
    electors = world.home.scribe.chain.tip.outlook.electorate.electors
    signed = [MemberSignature(each.member_id, keys[each.member_id].member.sign(message)) for each in electors]
    return encode(replace(draft, signatures=tuple(signed)), chain_id)


async def authority(world: World) -> Frames:
    return (identity_pb2.AddAuthorityRequest(authority=await own_authority(world)),)


async def invitation(world: World) -> Frames:
    profile = world.home.alliance.keys[world.home.member_id].profile
    made = Invitation(profile.member_id, profile.member_key, "yingkou", "yingkou", now_ms(), now_ms() + 60_000, bytes(32))
    return (identity_pb2.SignInvitationRequest(invitation=encode(made, world.home.alliance.chain_id)),)


async def handed_on(world: World) -> Frames:
    return (ledger_pb2.PutAuthoritiesRequest(authorities=[await own_authority(world)]),)


async def own_authority(world: World) -> bytes:
    """The home's, bound by its member key."""
    found: Any = await answer(world, "GetAuthority", identity_pb2.GetAuthorityRequest())
    bound: bytes = found.authorities[0]
    return bound


async def greeting(world: World) -> Frames:
    return (replica_pb2.ExchangeRequest(greeting=world.greeting()),)


REQUESTS: dict[str, Callable[[World], Awaitable[Any]]] = {
    "IssueCredential": enrolment,
    "RevokeCredential": revocation,
    "AddAuthority": authority,
    "AddRankEvidence": evidence,
    "SignInvitation": invitation,
    "ProposeChange": change,
    "CastBallot": voting,
    "SubmitTransaction": submission,
    "SubmitRegistrations": registration,
    "ExecuteBlock": block,
    "PutAuthorities": handed_on,
    "PutObject": put,
    "ReplicateObject": copy,
    "HealStorage": healing,
    "SignRetention": retention,
    "EraseObject": erasure,
    "NoteBackup": backup,
    "GrantAccess": fragment,
    "RevokeAccess": receipt,
    "ReencryptCapsule": release,
    "ListGrantHistory": report,
    "Exchange": greeting,
    "StopEpoch": stopping,
    "AskLeave": asking,
    "MayLeave": leave,
    "StopReplica": stopping_the_replica,
    "SignRecovery": recovery,
    "ApplyRecovery": recovered,
    "EndEpoch": recovered_at_the_replica,
}


def test_every_write_is_repeated() -> None:
    """And whatever else carries a number that is used once, or a session."""
    assert REQUESTS.keys() == REPEATED.keys() == WRITES | {"ListGrantHistory", "Exchange"}
    assert {"Exchange"} == {name for name in LIVES_ON if METHODS[name].described.client_streaming}


@pytest.mark.parametrize("name", REQUESTS)
def test_replayed(stage: Stage, name: str) -> None:
    async def scene() -> tuple[Ending, Ending]:
        frames = await REQUESTS[name](stage.world)
        first = await called(stage.world, name, *frames)
        if name == "ReencryptCapsule":
            await freshen(stage.world)
        return first, await called(stage.world, name, *frames)

    first, second = stage.play(scene())
    assert first.code is grpc.StatusCode.OK, first
    if REPEATED[name] == "same":
        assert second == first
    elif REPEATED[name] == "done":
        assert second.code is grpc.StatusCode.OK, second
    else:
        assert second.reason == REPEATED[name]


@pytest.mark.parametrize(("incarnation", "session", "reason"), [(2, "another", "CLONED"), (1, "session", "OLD_INCARNATION")])
def test_a_greeting_of_another_process(stage: Stage, incarnation: int, session: str, reason: str) -> None:
    """C5: a copy of a vote log and a restored one are turned away; the session that was there goes on."""

    async def scene() -> Ending:
        for given in (stage.world.greeting(2, "newest"), stage.world.greeting(incarnation, session)):
            ending = await called(stage.world, "Exchange", replica_pb2.ExchangeRequest(greeting=given))
        return ending

    assert stage.play(scene()).refusal[1:] == (reason, "C5")


def test_a_request_id_that_was_used_for_something_else(stage: Stage) -> None:
    """L6."""

    async def scene() -> Ending:
        [first] = await enrolment(stage.world)
        await called(stage.world, "IssueCredential", first)
        other = Person("somebody else").request(
            identity_pb2.CREDENTIAL_KIND_STAFF, stage.world.home.alliance.chain_id, request_id=id_of("enrolled twice")
        )
        return await called(stage.world, "IssueCredential", other)

    assert stage.play(scene()).refusal == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_USED", "L6")
