"""The whole story over the production ledger and re-encryption cores: write, share, open, refuse, revoke, report.

Every check a client makes is made here against real proofs; what members do wrong, they do with real data.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.report import Event
from consilium.client.session import Session
from consilium.client.sharing import Permission, Recipient
from consilium.kernel.consent import Release, fragment_digest
from consilium.kernel.encoding import encode
from consilium.kernel.errors import (
    BadSignature,
    Conflict,
    ConsiliumError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from consilium.kernel.hashing import sha256
from consilium.kernel.light_client import Finality, VerifiedTransaction
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import grant_entry
from consilium.kernel.transactions import Purpose, RequestBody
from tests.client.local_member import LocalAlliance, LocalMember

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from consilium.client.sharing import PreparedGrant, RecordReference
    from consilium.kernel.light_client import StateProof, TransactionProof
    from consilium.kernel.manifest import Manifest, StorageReceipt

SCAN = b"a computed tomography, as bytes" * 10_000
LETTER = b"a letter"
WHY = sha256(b"why")
PERMISSION = Permission(Purpose.TREATMENT, sha256(b"a doctor"), 0, 4_000_000_000_000)


class World:
    """Five members, a patient at anshan (its custodian), a recipient at benxi, a stranger at chaoyang."""

    def __init__(self) -> None:
        self.alliance = LocalAlliance()
        self.members = self.alliance.members
        self.patient = PatientClient(self.session("anshan"), PatientKeys(sha256(b"patient")), "imaging", 0, "anshan")
        self.benxi, self.benxi_keys = self.recipient("benxi")
        self.chaoyang, self.chaoyang_keys = self.recipient("chaoyang")

    def session(self, home: str) -> Session:
        """A client of this home member that trusts the genesis file alone."""
        return Session(self.alliance.scribe.alliance.genesis, home, self.members, Ed25519Verifier())

    def recipient(self, home: str) -> tuple[RecipientClient, RecipientKeys]:
        """An institution's client and its keys."""
        keys = RecipientKeys(sha256(home.encode()))
        return RecipientClient(self.session(home), keys), keys

    async def shared(self, data: bytes = SCAN) -> tuple[RecordReference, PreparedGrant]:
        """A record at anshan, and a grant to benxi."""
        reference = await self.patient.write(data, media_class=2)
        return reference, await self.patient.share(self.address("benxi", self.benxi_keys), PERMISSION)

    def address(self, member_id: str, keys: RecipientKeys) -> Recipient:
        """The recipient a grant names."""
        return Recipient(member_id, keys.author.public_key, keys.receiving.public_key)

    async def read(self, reference: RecordReference, grant: PreparedGrant) -> bytes:
        """What benxi gets."""
        opened = await self.benxi.open(grant.terms.grant_id, reference, WHY)
        return b"".join([piece async for piece in self.benxi.read(opened)])


@pytest.fixture
def world() -> World:
    return World()


def run(story: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(story)


def test_record_is_written_shared_opened_revoked_and_reported(world: World) -> None:
    """Promises 2, 3, 8; S1 to S6: one record from the patient to the other hospital, and back into the report."""

    async def story() -> None:
        reference, grant = await world.shared()
        assert await world.read(reference, grant) == SCAN
        await world.patient.close(grant)
        with pytest.raises(PermissionDenied, match="GRANT_REVOKED, rule S6"):
            await world.read(reference, grant)
        lines = (await world.patient.report()).lines
        assert [line.event for line in lines] == [
            Event.GRANTED_ACCESS,
            Event.REQUEST_GRANTED,
            Event.FRAGMENT_RELEASED,
            Event.FRAGMENT_RELEASED,
            Event.OPENED,
            Event.FRAGMENT_RELEASED,
            Event.REVOKED,
            Event.FRAGMENT_DELETED,
            Event.FRAGMENT_DELETED,
            Event.GRANT_DEAD,
            Event.FRAGMENT_DELETED,
            Event.REQUEST_DENIED,
        ]
        released = [line.member for line in lines if line.event is Event.FRAGMENT_RELEASED]
        assert released == list(grant.terms.holders)

    run(story())


def test_every_report_line_is_proven(world: World) -> None:
    """Promise 8: each line carries the transaction it was verified from, in the order of the ledger."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        await world.read(reference, grant)
        lines = (await world.patient.report()).lines
        assert all(isinstance(line.proof, VerifiedTransaction) for line in lines)
        assert [line.height for line in lines] == sorted(line.height for line in lines)

    run(story())


def test_third_hospital_is_refused_and_shown(world: World) -> None:
    """S3: a stranger with the reference and the grant id in hand is refused by the ledger, and the patient sees it."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        with pytest.raises(PermissionDenied, match="NOT_THE_RECIPIENT, rule S3"):
            await world.chaoyang.open(grant.terms.grant_id, reference, WHY)
        last = (await world.patient.report()).lines[-1]
        assert last.event is Event.REQUEST_DENIED
        assert world.chaoyang_keys.author.public_key.hex()[:16] in last.member

    run(story())


def test_foreign_salt_is_refused(world: World) -> None:
    """S3: only the true salt ties a record to a grant."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        with pytest.raises(PermissionDenied, match="FOREIGN_SALT, rule S3"):
            await world.read(dataclasses.replace(reference, salt=bytes(32)), grant)

    run(story())


def test_revoking_one_grant_keeps_the_epoch_open(world: World) -> None:
    """S6: without a successor the patient goes on writing, and another recipient goes on reading."""

    async def story() -> None:
        _, grant = await world.shared(LETTER)
        other = await world.patient.share(world.address("chaoyang", world.chaoyang_keys), PERMISSION)
        await world.patient.revoke(grant)
        reference = await world.patient.write(LETTER)
        with pytest.raises(PermissionDenied, match="GRANT_REVOKED"):
            await world.read(reference, grant)
        opened = await world.chaoyang.open(other.terms.grant_id, reference, WHY)
        assert b"".join([piece async for piece in world.chaoyang.read(opened)]) == LETTER

    run(story())


def test_advancing_keeps_others_reading_and_shuts_the_revoked_out_for_good(world: World) -> None:
    """S1, S6: after a revocation new records go under a key no old fragment opens; others keep the old records."""

    async def story() -> None:
        old, grant = await world.shared(LETTER)
        other = await world.patient.share(world.address("chaoyang", world.chaoyang_keys), PERMISSION)
        await world.patient.revoke(grant)
        world.patient.advance()
        new = await world.patient.write(LETTER)
        opened = await world.chaoyang.open(other.terms.grant_id, old, WHY)
        assert b"".join([piece async for piece in world.chaoyang.read(opened)]) == LETTER
        with pytest.raises(PermissionDenied, match="FOREIGN_SALT"):
            await world.chaoyang.open(other.terms.grant_id, new, WHY)

    run(story())


def test_writing_under_a_closed_epoch_is_refused_and_the_next_is_open(world: World) -> None:
    """S6: the SDK refuses the old key, and goes on under the successor."""

    async def story() -> None:
        _, grant = await world.shared(LETTER)
        stale = PatientClient(world.session("anshan"), PatientKeys(sha256(b"patient")), "imaging", 0, None)
        await world.patient.close(grant)
        with pytest.raises(FailedPrecondition, match="KEY_CLOSED, rule S6"):
            await stale.write(LETTER)
        assert world.patient.owner.epoch == 1
        await world.patient.write(LETTER)

    run(story())


def test_regrant_goes_on_under_the_next_epoch_in_the_same_block(world: World) -> None:
    """S6: the scope's other recipient reads what is written after the closing; the revoked one does not."""

    async def story() -> None:
        _, grant = await world.shared(LETTER)
        await world.patient.close(grant, [(world.address("chaoyang", world.chaoyang_keys), PERMISSION)])
        regrant = world.patient.grants[-1]
        reference = await world.patient.write(LETTER)
        opened = await world.chaoyang.open(regrant.terms.grant_id, reference, WHY)
        assert b"".join([piece async for piece in world.chaoyang.read(opened)]) == LETTER
        with pytest.raises(PermissionDenied, match="FOREIGN_SALT"):
            await world.read(reference, grant)
        again = await world.patient.share(world.address("benxi", world.benxi_keys), PERMISSION)
        await world.patient.close(regrant)
        with pytest.raises(PermissionDenied, match="GRANT_REVOKED"):
            await world.read(reference, again)

    run(story())


def test_destroyed_shred_secret_closes_the_object_for_everyone(world: World) -> None:
    """S2, promise 6: after erasure no granted request opens it, and the seed does not either."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        del world.members["anshan"].shred_secrets[reference.record_id]
        with pytest.raises(NotFound, match="ERASED"):
            await world.read(reference, grant)
        world.members["anshan"].shred_secrets[reference.record_id] = bytes(32)
        with pytest.raises(InvalidArgument, match="WRONG_KEY"):
            await world.read(reference, grant)

    run(story())


def test_damaged_chunk_is_taken_from_a_copy(world: World) -> None:
    """S2: a flipped byte at home is noticed, and another member's copy serves; without a copy it is data loss."""

    async def story() -> None:
        reference, grant = await world.shared()
        home, other = world.members["anshan"], world.members["dalian"]
        place = (reference.record_id, 1)
        good = home.chunks[place]
        home.chunks[place] = good[:-1] + bytes([good[-1] ^ 1])
        with pytest.raises(DataLoss, match="NO_GOOD_COPY"):
            await world.read(reference, grant)
        other.chunks[place] = good
        assert await world.read(reference, grant) == SCAN

    run(story())


def test_swapped_records_at_storage_are_refused(world: World) -> None:
    """S2, S3: storage that serves another record's capsule and chunks under this one's name is caught."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        other = await world.patient.write(LETTER + b"!")
        home = world.members["anshan"]
        posing = dataclasses.replace(home.manifests[other.record_id], record_id=reference.record_id)
        home.manifests[reference.record_id] = posing
        with pytest.raises(Conflict, match="OTHER_RECORD"):
            await world.read(reference, grant)

    run(story())


def test_holder_refuses_another_records_capsule(world: World) -> None:
    """S5: a recipient that asks for one record and hands in another's capsule gets nothing."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        other = await world.patient.write(LETTER + b"!")
        request = await world.benxi.request(grant.terms.grant_id, reference, WHY)
        holder = world.members[grant.terms.holders[0]]
        capsule = world.members["anshan"].manifests[other.record_id].sealed.capsule
        with pytest.raises(PermissionDenied, match="WRONG_CAPSULE, rule S5"):
            await holder.reencrypt_capsule(request.transaction_hash, capsule)

    run(story())


def test_one_silent_holder_does_not_stop_a_release_two_do(world: World) -> None:
    """S4: 2 of 3: service holds with one holder down, and the client names who failed."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        first, second, _ = grant.terms.holders
        asked = world.session("benxi")
        client = RecipientClient(asked, world.benxi_keys)
        world.members[first].tip_age_ms = 10**6
        opened = await client.open(grant.terms.grant_id, reference, WHY)
        assert [(name, getattr(error, "reason", "")) for name, error in opened.faults] == [(first, "STALE_TIP")]
        world.members[second].tip_age_ms = 10**6
        with pytest.raises(FailedPrecondition, match="TOO_FEW_FRAGMENTS"):
            await client.open(grant.terms.grant_id, reference, WHY)

    run(story())


def test_request_is_not_served_past_its_window(world: World) -> None:
    """S5: a granted request grows too old; the recipient must ask again, and the patient sees it again."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        request = await world.benxi.request(grant.terms.grant_id, reference, WHY)
        scribe = world.alliance.scribe
        window = scribe.alliance.genesis.parameters.release_window_blocks
        while scribe.chain.height <= request.height + window:
            if scribe.chain.height == scribe.chain.tip.outlook.term_end:
                scribe.write(scribe.handover())
            else:
                scribe.write()
        holder = world.members[grant.terms.holders[0]]
        capsule = world.members["anshan"].manifests[reference.record_id].sealed.capsule
        with pytest.raises(PermissionDenied, match="WINDOW_PASSED, rule S5"):
            await holder.reencrypt_capsule(request.transaction_hash, capsule)
        assert await world.read(reference, grant) == LETTER

    run(story())


class Careless(LocalMember):
    """A holder that signs for whatever bytes it hands out."""

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        """A fragment that fits nothing, under the holder's word."""
        good, keys = await super().reencrypt_capsule(request_hash, capsule), self.alliance.scribe.alliance.keys
        cfrag = bytes(len(good.cfrag))
        said = replace(good.statement, fragment_digest=fragment_digest(cfrag))
        chain_id = self.alliance.scribe.alliance.chain_id
        return Release(cfrag, said, keys[self.name].member.sign(encode(said, chain_id)))


def test_a_bad_fragment_costs_its_holder_on_the_ledger(world: World) -> None:
    """C6, S5: the record is read with the others; what the holder signed for stands against it."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        careless = next(name for name in grant.terms.holders if name != "anshan")
        asked = world.session("benxi")
        held = world.members[careless].kfrags
        asked.members = {**asked.members, careless: Careless(world.alliance, careless, kfrags=held)}
        client = RecipientClient(asked, world.benxi_keys)
        opened = await client.open(grant.terms.grant_id, reference, WHY)
        assert [name for name, _ in opened.faults] == [careless]
        assert (await asked.member(careless)).score == 600

    run(story())


def test_session_crosses_epochs_by_verified_hops(world: World) -> None:
    """L5: a client that slept through several terms believes the present one through the chain of hops."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        for _ in range(3):
            world.alliance.scribe.cross_epoch()
        assert await world.read(reference, grant) == LETTER
        with pytest.raises(NotFound):
            world.alliance.scribe.chain.epoch_hop(99)

    run(story())


@dataclass
class Forgetful(LocalMember):
    """A member that gives one old answer to every question about state."""

    remembered: StateProof | None = None

    async def prove_state(self, key: bytes, least_height: int = 0) -> StateProof:
        """The same, whatever was asked."""
        del key, least_height
        assert self.remembered is not None
        return self.remembered


def test_member_that_answers_from_the_past_is_refused(world: World) -> None:
    """L3: an old state is honest and certified, and still not an answer to someone who has seen a newer one."""

    async def story() -> None:
        session = world.session("anshan")
        _, grant = await world.shared(LETTER)
        key = grant_entry(grant.terms.grant_id)
        chain = world.alliance.scribe.chain
        old = chain.prove_state(key)
        await world.patient.revoke(grant)
        assert (await session.grant(grant.terms.grant_id)).revoked_height is not None

        session.members = {"anshan": Forgetful(world.alliance, "anshan", remembered=old)}
        with pytest.raises(Conflict, match="STALE_STATE"):
            await session.grant(grant.terms.grant_id)
        with pytest.raises(Conflict, match="OTHER_ENTRY"):
            await session.member("anshan")

    run(story())


class Mistaken(LocalMember):
    """A member that answers about transactions with honest proofs of other ones."""

    async def prove_transaction(self, transaction_hash: bytes, finality: Finality = Finality.COMMITTEE) -> TransactionProof:
        """Of the first record."""
        del transaction_hash, finality
        return await self.prove_record(self.first_record)

    async def prove_record(self, record_id: bytes) -> TransactionProof:
        """Of the first record."""
        del record_id
        return await super().prove_record(self.first_record)

    @property
    def first_record(self) -> bytes:
        """The id of the record that was stored first."""
        return next(iter(self.alliance.members["chaoyang"].manifests))


def test_honest_proof_of_something_else_is_refused(world: World) -> None:
    """L4: what was proven must be what was asked: another's success is not ours, another's record not this one."""

    async def story() -> None:
        other = PatientClient(world.session("chaoyang"), PatientKeys(sha256(b"other")), "imaging", 0, None)
        await other.write(LETTER)
        reference, _ = await world.shared(LETTER)
        session = world.session("dalian")
        session.members = {"dalian": Mistaken(world.alliance, "dalian")}
        with pytest.raises(Conflict, match="OTHER_RECORD"):
            await session.record(reference.record_id)
        asked = RequestBody(bytes(16), reference.record_id, bytes(32), Purpose.TREATMENT, WHY)
        with pytest.raises(Conflict, match="OTHER_TRANSACTION"):
            await session.perform(asked, world.benxi_keys.author)

    run(story())


class Forger(LocalMember):
    """A member that says it stored an object, without being able to sign for it."""

    async def complete_object(self, manifest: Manifest, shred_secret: bytes) -> StorageReceipt:
        """A receipt under no signature."""
        return dataclasses.replace(await super().complete_object(manifest, shred_secret), signature=bytes(64))


class Slacker(LocalMember):
    """A member that signs for another object than the one it was given."""

    async def complete_object(self, manifest: Manifest, shred_secret: bytes) -> StorageReceipt:
        """A good signature over no chunks at all."""
        return await super().complete_object(dataclasses.replace(manifest, chunk_hashes=()), shred_secret)


@pytest.mark.parametrize(("kind", "error"), [(Forger, BadSignature), (Slacker, Conflict)])
def test_record_is_registered_only_after_its_home_signed_for_it(
    world: World, kind: type[LocalMember], error: type[ConsiliumError]
) -> None:
    """S2: storage reads back and signs, then the record transaction; without the signature nothing is registered."""

    async def story() -> None:
        world.members["anshan"] = kind(world.alliance, "anshan")
        height = world.alliance.scribe.chain.height
        with pytest.raises(error):
            await world.patient.write(LETTER)
        assert world.alliance.scribe.chain.height == height

    run(story())


def test_plan_names_custodian_and_smallest_coalition(world: World) -> None:
    """S1, S4: what a grant would trust, said before it is signed."""

    async def story() -> None:
        choice, budget = await world.patient.plan("benxi", b"g" * 16)
        assert len(choice.holders) == 3
        assert "benxi" not in choice.holders
        assert budget.smallest.members == ("anshan",)
        assert budget.coalitions[1].members[0] == "benxi"

    run(story())


def test_grant_that_too_few_holders_took_says_so_and_can_be_delivered_again(world: World) -> None:
    """S4: a grant nobody can serve is not reported as shared."""

    async def story() -> None:
        reference = await world.patient.write(LETTER)
        for name in ("chaoyang", "dalian", "fushun"):
            world.members[name].is_down = True
        with pytest.raises(FailedPrecondition, match="TOO_FEW_HOLDERS, rule S4"):
            await world.patient.share(world.address("benxi", world.benxi_keys), PERMISSION)
        for member in world.members.values():
            member.is_down = False
        [grant] = world.patient.grants
        await world.patient.deliver(grant)
        assert await world.read(reference, grant) == LETTER

    run(story())
