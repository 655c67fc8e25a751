"""Authorities go from ledger to ledger, judged by the member keys that each one's own chain names (ADR 22)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.identity.authority import create_authority
from consilium.kernel.attestations import BoundAuthority, bind_authority
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Malformed, ResourceExhausted
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import Grade, KeysAct, MemberAct, MemberAction, NewKeys
from consilium.ledger.authorities import ANSWER_MAX, MEMBER_MAX, PUT_MAX, Authorities
from consilium.runtime.clock import wall_ms
from tests.alliance import Alliance, MemberKeys, Scribe, seed_of
from tests.ledger_service.serving import HOME, OTHER, Ledgers, refusal
from tests.runtime.authority import ALLIANCE

if TYPE_CHECKING:
    from pathlib import Path

DAY_MS = 86_400_000
WAIT_S = 60


class Papers:
    """Members' authorities, made as identity makes them."""

    def __init__(self, folder: Path, scribe: Scribe) -> None:
        self._folder, self._scribe, self._made = folder, scribe, 0

    def of(self, name: str, days: int = 200, signer: Ed25519Signer | None = None, alliance: str = ALLIANCE) -> bytes:
        """A fresh authority of a member, bound by its member key."""
        return encode(self.bound(name, days, signer, alliance), self._scribe.chain.chain_id)

    def bound(self, name: str, days: int, signer: Ed25519Signer | None, alliance: str = ALLIANCE) -> BoundAuthority:
        self._made += 1
        by = signer or Ed25519Signer.from_seed(seed_of(f"{name} member"))
        folder, chain_id = self._folder / str(self._made), self._scribe.chain.chain_id
        return create_authority(folder, alliance, name, by, chain_id, wall_ms(), days * DAY_MS).bound


def told(scribe: Scribe) -> Authorities:
    return Authorities(scribe.chain, ALLIANCE, scribe.verifier)


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


@pytest.fixture
def papers(tmp_path: Path, scribe: Scribe) -> Papers:
    return Papers(tmp_path / "papers", scribe)


def test_what_a_member_key_stands_behind_is_handed_on(scribe: Scribe, papers: Papers) -> None:
    one, other = papers.of(HOME), papers.of(OTHER)
    here = told(scribe)
    here.put([one])
    assert (here.hear([other]), here.hear([other, one])) == (1, 0)
    assert sorted(here.told([])) == sorted([one, other])
    assert here.told(here.known()) == []
    assert here.told([sha256(one)]) == [other]


def test_what_nobody_stands_behind_is_not(scribe: Scribe, papers: Papers) -> None:
    """Another member's signature, a member that is none, another alliance's certificate, one that has ended."""
    thief = Ed25519Signer.from_seed(seed_of(f"{OTHER} member"))
    over = bind_authority(
        HOME,
        papers.bound(HOME, 200, None).certificate,
        1,
        Ed25519Signer.from_seed(seed_of(f"{HOME} member")),
        scribe.chain.chain_id,
    )
    bad = [
        papers.of(HOME, signer=thief),
        papers.of("nobody"),
        papers.of(HOME, alliance="elsewhere"),
        encode(over, scribe.chain.chain_id),
    ]
    here = told(scribe)
    here.put(bad)
    assert (here.hear(bad), here.told([])) == (0, [])


def test_what_is_no_authority_is_refused_whole(scribe: Scribe, papers: Papers) -> None:
    here, good = told(scribe), papers.of(HOME)
    foreign = encode(papers.bound(HOME, 200, None), bytes(32))
    for each in (b"", b"\x80", bytes(9_000), foreign):
        with pytest.raises(Malformed):
            here.hear([good, each])
        with pytest.raises(Malformed):
            here.put([each])
    with pytest.raises(ResourceExhausted, match="TOO_MANY_AUTHORITIES"):
        here.put([good] * (PUT_MAX + 1))
    assert here.told([]) == []


def test_a_strange_certificate_under_a_good_signature_ends_nobody(scribe: Scribe, papers: Papers) -> None:
    """One member could otherwise end every other's ledger: the exchange is a task of the service."""
    good = papers.bound(HOME, 200, None)
    strange = good.certificate.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"))
    assert strange != good.certificate
    signer, chain_id = Ed25519Signer.from_seed(seed_of(f"{HOME} member")), scribe.chain.chain_id
    odd = encode(bind_authority(HOME, strange, good.binding.not_after_ms, signer, chain_id), chain_id)
    here, fine = told(scribe), encode(good, chain_id)
    assert (here.hear([odd, fine]), here.told([])) == (1, [fine])
    here.put([odd])
    assert here.told([]) == [fine]


def test_a_coming_members_authority_is_handed_on_once_it_is_admitted_and_ends_with_it(
    scribe: Scribe, papers: Papers
) -> None:
    """G2: put before the vote, told from the block on in which the vote is over, and until the member is expelled."""
    fresh, here = papers.of("guanshui"), told(scribe)
    here.put([fresh])
    assert here.told([]) == []
    profile = MemberKeys.of("guanshui", Grade.UNGRADED).profile
    scribe.govern(MemberAct(MemberAction.ADMIT, profile))
    assert here.told([]) == [fresh]
    scribe.govern(MemberAct(MemberAction.EXPEL, profile), voters=sorted(scribe.alliance.keys))
    assert here.told([]) == []


def test_an_authority_under_the_next_key_counts_already(scribe: Scribe, papers: Papers) -> None:
    """G3: a member goes over to new keys without anybody losing the way to it."""
    following = Ed25519Signer.from_seed(seed_of("next member"))
    fresh, here = papers.of(HOME, signer=following), told(scribe)
    here.put([fresh])
    assert here.told([]) == []
    keys = NewKeys(following.public_key, seed_of("next consensus"), seed_of("next anchor"))
    scribe.govern(KeysAct(scribe.chain.member(HOME).profile, keys))  # type: ignore[union-attr]
    assert here.told([]) == [fresh]


def test_one_member_pushes_out_nobody_elses(scribe: Scribe, papers: Papers) -> None:
    """Of those that other ledgers tell the ones that end last are kept, up to a bound for each member."""
    here, other = told(scribe), papers.of(OTHER)
    here.hear([other])
    many = [papers.of(HOME, days) for days in range(200, 200 + 2 * MEMBER_MAX)]
    here.hear(many)
    assert sorted(here.told([])) == sorted([other, *many[-MEMBER_MAX:]])
    here.put(many)
    assert len(here.told([])) == len(many) + 1 <= ANSWER_MAX


def test_what_a_replaced_key_signed_holds_no_place(scribe: Scribe, papers: Papers) -> None:
    """G3: a thief of a member key fills all places up to a far end; the member's word under its new key comes in."""
    here, following = told(scribe), Ed25519Signer.from_seed(seed_of("next member"))
    here.hear([papers.of(HOME, 2_000) for _ in range(MEMBER_MAX)])
    keys = NewKeys(following.public_key, seed_of("next consensus"), seed_of("next anchor"))
    scribe.govern(KeysAct(scribe.chain.member(HOME).profile, keys))  # type: ignore[union-attr]
    while scribe.chain.member(HOME).next_keys is not None:  # type: ignore[union-attr]
        scribe.cross_epoch()
    fresh = papers.of(HOME, 200, following)
    assert (here.hear([fresh]), here.told([])) == (1, [fresh])


def test_of_equal_ends_the_newest_is_kept(scribe: Scribe, papers: Papers) -> None:
    here = told(scribe)
    same = [papers.of(HOME) for _ in range(2 * MEMBER_MAX)]
    assert [here.hear([each]) for each in same] == [1] * len(same)


def test_a_fresh_authority_reaches_a_ledger_that_asks(tmp_path: Path) -> None:
    """Over the wire, between two services: only the own identity puts, every member's services ask."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        papers = Papers(tmp_path / "papers", ledgers.scribe)
        fresh = papers.of(HOME)
        async with ledgers.serve() as home:
            identity = ledgers.authorities[HOME].service("identity")
            async with ledgers.stub(home, identity, "identity") as stub:
                await stub.PutAuthorities(pb.PutAuthoritiesRequest(authorities=[fresh]), timeout=WAIT_S)
            async with ledgers.stub(home, ledgers.authorities[OTHER].service("identity"), "posing") as stub:
                refused = stub.PutAuthorities(pb.PutAuthoritiesRequest(authorities=[fresh]), timeout=WAIT_S)
                assert (await refusal(refused)).reason == "WRONG_ROLE"
                bad = pb.GetAuthoritiesRequest(known_hashes=[b"short"])
                assert (await refusal(stub.GetAuthorities(bad))).reason == "BAD_LENGTH"
                many = pb.GetAuthoritiesRequest(known_hashes=[bytes(32)] * 5_000)
                assert (await refusal(stub.GetAuthorities(many))).reason == "TOO_MANY_HASHES"
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with (
                ledgers.serve(OTHER, peers=peers) as away,
                ledgers.stub(away, ledgers.authorities[OTHER].service("identity"), "own", OTHER) as stub,
                asyncio.timeout(WAIT_S),
            ):
                found: list[bytes] = []
                while not found:  # the service tells nobody who waits
                    found = list((await stub.GetAuthorities(pb.GetAuthoritiesRequest())).authorities)
                    await asyncio.sleep(0)
                assert found == [fresh]

    asyncio.run(scene())
