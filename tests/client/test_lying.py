"""Promise 8, S4, L4: what one member does wrong, leaves out or cannot do costs its own answer and nobody else's."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from consilium.client import patient
from consilium.client.alliance import HistoryPage
from consilium.client.finding import find_grants
from consilium.client.keys import PatientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.session import Session
from consilium.kernel.errors import (
    Conflict,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Unavailable,
)
from consilium.kernel.hashing import sha256
from consilium.kernel.light_client import EpochHop
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import member_entry
from tests.client.local_member import LocalMember
from tests.client.test_story import LETTER, PERMISSION, SCAN, WHY, Forgetful, World

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from consilium.client.alliance import SignedQuery
    from consilium.kernel.light_client import Hop, TransactionProof

LIAR = "benxi"


@pytest.fixture
def world() -> World:
    return World()


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


# --- the report ---


class Garbler(LocalMember):
    """Proves each transaction with another code than it ended with."""

    def changed(self, proof: TransactionProof) -> TransactionProof:
        return dataclasses.replace(proof, log_proof=dataclasses.replace(proof.log_proof, path=()))

    async def grant_history(self, signed: SignedQuery, page_token: str) -> HistoryPage:
        page = await super().grant_history(signed, page_token)
        return HistoryPage([self.changed(each) for each in page.proofs], page.next_page_token)


class Dreamer(Garbler):
    """Proves from an epoch that nobody has reached."""

    def changed(self, proof: TransactionProof) -> TransactionProof:
        result = dataclasses.replace(proof.certificate.result, epoch=10**6)
        return dataclasses.replace(proof, certificate=dataclasses.replace(proof.certificate, result=result))


class Repeater(LocalMember):
    """Sends the first page again and again, and always promises another."""

    async def grant_history(self, signed: SignedQuery, page_token: str) -> HistoryPage:
        page = await super().grant_history(signed, "")
        return HistoryPage(page.proofs, "1")


@pytest.mark.parametrize(
    ("kind", "reason"), [(Garbler, "BAD_PROOF"), (Dreamer, "NO_SUCH_HOP"), (Repeater, "ENDLESS_HISTORY")]
)
def test_a_lying_member_costs_the_report_nothing(world: World, kind: type[LocalMember], reason: str) -> None:
    """Promise 8: every line of the others is there, and the liar is named."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        await world.read(reference, grant)
        honest = await world.patient.report()
        world.members[LIAR] = kind(world.alliance, LIAR)
        told = await world.patient.report()
        assert told.lines == honest.lines
        assert honest.faults == {}
        assert {name: getattr(error, "reason", "") for name, error in told.faults.items()} == {LIAR: reason}

    run(story())


def test_a_history_has_a_most_of_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 8: nobody is asked for ever; what came before the bound counts."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        await world.read(reference, grant)
        whole = (await world.patient.report()).lines
        monkeypatch.setattr(patient, "PAGES_MAX", 2)
        told = await world.patient.report()
        assert told.lines == whole[:2]
        assert {getattr(error, "reason", "") for error in told.faults.values()} == {"TOO_MANY_PAGES"}

    run(story())


def test_members_that_could_not_be_asked_are_told(world: World) -> None:
    """Promise 8: down, or without a known way; who has no such grant has answered."""

    async def story() -> None:
        await world.shared(LETTER)
        world.members["dalian"].is_down = True
        del world.members["fushun"]
        faults = (await world.patient.report()).faults
        assert {name: type(error).__name__ for name, error in faults.items()} == {
            "dalian": "ConnectionError",
            "fushun": "NotFound",
        }
        anew = PatientClient(world.session("anshan"), PatientKeys(sha256(b"patient")), "imaging", 0, None)
        assert (await anew.report()).lines == []
        found = await find_grants(anew, PatientKeys(sha256(b"patient")))
        assert (found.faults.keys(), [each.grant.terms for each in found.grants]) == (
            faults.keys(),
            [each.terms for each in world.patient.grants],
        )

    run(story())


def test_a_grant_is_found_under_the_key_that_made_it(world: World) -> None:
    """S6: the author key alone can revoke; a member that answers about one author with another's grants changes nothing."""

    async def story() -> None:
        _, grant = await world.shared(LETTER)
        address = world.address("chaoyang", world.chaoyang_keys)
        await world.patient.close(grant, [(address, PERMISSION)])
        later = await world.patient.share(address, PERMISSION)
        found = (await find_grants(world.patient, PatientKeys(sha256(b"patient")))).grants
        assert [(each.epoch, each.grant.author_epoch) for each in found] == [(0, 0), (1, 0), (1, 1)]
        assert found[-1].grant.terms == later.terms
        with pytest.raises(FailedPrecondition, match="NO_FRAGMENTS, rule S4"):
            await world.patient.deliver(found[-1].grant)

    run(story())


@dataclass
class Misleading(LocalMember):
    """Gives the electorate of one hop with another."""

    async def epoch_hop(self, epoch: int) -> Hop:
        hop = await super().epoch_hop(epoch)
        assert isinstance(hop, EpochHop)
        return dataclasses.replace(hop, term_end_header=b"another")


def test_a_false_hop_is_passed_over(world: World) -> None:
    """L5: where the home has no hop yet, any of the others that proves it will do."""

    async def story() -> None:
        class Behind(LocalMember):
            async def epoch_hop(self, epoch: int) -> Hop:
                return await super().epoch_hop(epoch + 100)

        await world.shared(LETTER)
        world.alliance.scribe.cross_epoch()
        world.members["anshan"] = Behind(world.alliance, "anshan")
        world.members["benxi"] = Misleading(world.alliance, "benxi")
        world.alliance.scribe.write()
        session = world.session("anshan")
        assert (await session.member("benxi")).is_active
        assert session._history.epoch == 1  # noqa: SLF001  it has hopped

    run(story())


# --- freshness, membership, finality ---


def test_a_height_that_was_kept_holds_for_the_next_session(world: World) -> None:
    """L4: a member cannot answer a client that has started anew from below what it had seen before."""

    async def story() -> None:
        chain, genesis = world.alliance.scribe.chain, world.alliance.scribe.alliance.genesis
        old = chain.prove_state(member_entry("benxi"))
        session = world.session("anshan")
        await world.shared(LETTER)
        await session.member("benxi")
        past = {"anshan": Forgetful(world.alliance, "anshan", remembered=old)}
        anew = Session(genesis, "anshan", past, Ed25519Verifier(), session.height)
        with pytest.raises(Conflict, match="STALE_STATE"):
            await anew.member("benxi")
        assert anew.height == session.height == chain.certified_height

    run(story())


class Slow(LocalMember):
    """Takes transactions in and does not get them ordered."""

    async def submit(self, transaction: bytes) -> None:
        del transaction


def test_what_is_not_final_yet_may_still_take_effect(world: World) -> None:
    """L6: the refusal says that it is open, names the transaction and says until when."""

    async def story() -> None:
        _, grant = await world.shared(LETTER)
        height = world.patient._session.height  # noqa: SLF001  what the sentence is to say
        world.members["anshan"] = Slow(world.alliance, "anshan")
        with pytest.raises(
            DeadlineExceeded, match=rf"Transaction [0-9a-f]{{64}} .* up to height {height + 100} .*NOT_FINAL_YET"
        ):
            await world.patient.revoke(grant)

    run(story())


# --- holders and copies ---


def test_a_holder_without_a_known_way_is_one_that_failed(world: World) -> None:
    """S4: the two others take their fragments, release them and delete them."""

    async def story() -> None:
        reference = await world.patient.write(LETTER)
        missing = "dalian"
        del world.members[missing]
        grant = await world.patient.share(world.address("benxi", world.benxi_keys), PERMISSION)
        while missing not in grant.terms.holders:
            grant = await world.patient.share(world.address("benxi", world.benxi_keys), PERMISSION)
        opened = await RecipientClient(world.session("benxi"), world.benxi_keys).open(grant.terms.grant_id, reference, WHY)
        assert [(name, getattr(error, "reason", "")) for name, error in opened.faults] == [(missing, "NO_WAY_TO_MEMBER")]
        await world.patient.revoke(grant)
        assert len((await world.session("anshan").grant(grant.terms.grant_id)).deleted_by) == 2

    run(story())


def test_too_few_fragments_say_what_the_holders_said(world: World) -> None:
    """S4: each holder's word is in the sentence; when all are out of reach, later may be better."""

    async def story() -> None:
        reference, grant = await world.shared(LETTER)
        first, second, *_ = (world.members[each] for each in grant.terms.holders if each != reference.holder)
        first.is_down, second.tip_age_ms = True, 10**6
        with pytest.raises(FailedPrecondition, match=f"{first.name} is down.*{second.name}: .*STALE_TIP.*TOO_FEW_FRAGMENTS"):
            await world.read(reference, grant)
        second.tip_age_ms, second.is_down = 0, True
        with pytest.raises(Unavailable, match="TOO_FEW_FRAGMENTS, rule S4"):
            await world.read(reference, grant)

    run(story())


def test_no_good_copy_says_what_each_member_said(world: World) -> None:
    """S2: damaged here, missing there; when nobody can be reached nothing is lost yet."""

    async def pieces(opened: Any) -> None:
        async for _ in world.benxi.read(opened):
            pass

    async def story() -> None:
        reference, grant = await world.shared(SCAN)
        opened = await world.benxi.open(grant.terms.grant_id, reference, WHY)
        for each in world.members.values():
            each.is_down = True
        with pytest.raises(Unavailable, match=r"anshan is down.*NO_GOOD_COPY, rule S2"):
            await pieces(opened)
        world.members["anshan"].is_down = False
        world.members["anshan"].chunks[reference.record_id, 0] = b"damaged"
        with pytest.raises(DataLoss, match=r"anshan: .*BAD_CHUNK.*dalian is down.*NO_GOOD_COPY, rule S2"):
            await pieces(opened)

    run(story())


def test_every_regrant_is_delivered_though_one_cannot_be(world: World) -> None:
    """S4, S6: the closing is final; who could not be served is named, and has its grant."""

    async def story() -> None:
        _, grant = await world.shared(LETTER)
        refused: list[bytes] = []

        class Choosy(LocalMember):
            async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
                refused[:] = refused or [grant_id]
                if grant_id in refused:
                    raise Unavailable("UNAVAILABLE", "Out of reach.")
                await super().grant_access(grant_id, kfrag)

        for name in world.members:
            world.members[name] = Choosy(world.alliance, name)
        address = world.address("chaoyang", world.chaoyang_keys)
        with pytest.raises(FailedPrecondition) as caught:
            await world.patient.close(grant, [(address, PERMISSION), (address, PERMISSION)])
        assert (caught.value.reason, refused[0].hex() in caught.value.sentence) == ("TOO_FEW_HOLDERS", True)
        assert world.patient.owner.epoch == 1
        assert _taken(world.members.values(), world.patient.grants[-1].terms.grant_id) == 3

    run(story())


def _taken(members: Sequence[LocalMember] | Any, grant_id: bytes) -> int:
    return sum(grant_id in each.kfrags for each in members)
