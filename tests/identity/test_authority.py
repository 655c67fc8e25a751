"""The member's authority, its generations, whom the others trust, and the files that services read (design section 8)."""

from __future__ import annotations

import datetime as dt
import shutil
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.identity import founding, keeping
from consilium.identity.__main__ import identity_of
from consilium.identity.authority import create_authority, open_authority, read_certification_request
from consilium.identity.core.credentials import CredentialKind, CredentialTerms, RevocationReason
from consilium.identity.generations import ANNOUNCED_MS, Generations
from consilium.identity.keeping import MEMBER_FILES_MAX
from consilium.identity.trust import TrustedAuthorities, bundle
from consilium.kernel.attestations import BoundAuthority, bind_authority
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Conflict, DataLoss, InvalidArgument, Malformed, ResourceExhausted
from consilium.kernel.hashing import sha256
from consilium.kernel.membership import MONITORING, SERVICES
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from consilium.runtime.authorities import verify_bound
from consilium.runtime.clock import wall_ms
from consilium.runtime.names import authority_uri
from consilium.runtime.tls import Tls
from tests.identity.hospital import ALLIANCE, AWAY, HOME, Person, hospitals, play

if TYPE_CHECKING:
    from pathlib import Path

CHAIN_ID = sha256(b"chain")
MEMBER, OTHER = Ed25519Signer.from_seed(b"m" * 32), Ed25519Signer.from_seed(b"o" * 32)
NOW_MS = wall_ms()
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS


def made(folder: Path, member_id: str = HOME, now_ms: int = NOW_MS) -> Any:
    """An authority of a year."""
    return create_authority(folder, ALLIANCE, member_id, MEMBER, CHAIN_ID, now_ms, YEAR_MS)


def issued(authority: Any, kind: CredentialKind, name: str) -> x509.Certificate:
    """A certificate that the authority issued for a day."""
    terms = CredentialTerms(b"\x07" * 16, kind, name, "", None, NOW_MS - 1_000, NOW_MS + DAY_MS)
    return x509.load_der_x509_certificate(authority.issue(terms, read_certification_request(Person("x").csr())))


def names_of(certificate: x509.Certificate) -> list[str]:
    """What the certificate names."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in names]


def test_an_independent_library_verifies_the_chain(tmp_path: Path) -> None:
    """RFC 5280 path validation by the x509 verifier, name constraints included."""
    authority = made(tmp_path)
    store = Store([authority.certificate])
    service = issued(authority, CredentialKind.SERVICE, "ledger")
    policy = PolicyBuilder().store(store)
    policy.build_server_verifier(x509.DNSName(f"ledger.{HOME}.{ALLIANCE}")).verify(service, [])
    policy.build_client_verifier().verify(service, [])
    person = issued(authority, CredentialKind.STAFF, "ab")
    policy.build_client_verifier().verify(person, [])
    for name in (f"storage.{HOME}.{ALLIANCE}", f"ledger.{AWAY}.{ALLIANCE}"):
        with pytest.raises(VerificationError):
            policy.build_server_verifier(x509.DNSName(name)).verify(service, [])
    overstepping = replace(authority, member_id=AWAY)
    with pytest.raises(VerificationError, match="permitted name constraint"):
        policy.build_client_verifier().verify(issued(overstepping, CredentialKind.SERVICE, "ledger"), [])


def test_what_a_certificate_says(tmp_path: Path) -> None:
    """The credential's id is the serial number; a person's certificate names no server and serves nothing."""
    authority = made(tmp_path)
    person = issued(authority, CredentialKind.PATIENT, "ab")
    assert person.serial_number == int.from_bytes(b"\x07" * 16)
    assert (names_of(person), list(person.subject)) == ([f"spiffe://{ALLIANCE}/member/{HOME}/patient/ab"], [])
    uses = person.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    service = issued(authority, CredentialKind.SERVICE, "ledger")
    assert names_of(service) == [f"spiffe://{ALLIANCE}/member/{HOME}/service/ledger", f"ledger.{HOME}.{ALLIANCE}"]


def test_an_authority_is_read_again_or_not_at_all(tmp_path: Path) -> None:
    authority = made(tmp_path / "a")
    again = open_authority(tmp_path / "a", ALLIANCE, HOME, CHAIN_ID)
    assert (again.certificate, again.bound) == (authority.certificate, authority.bound)
    made(tmp_path / "b")
    for name in ("ca.key", "ca.crt", "ca.bound"):
        kept = (tmp_path / "a" / name).read_bytes()
        for wrong in ((tmp_path / "b" / name).read_bytes(), b"", kept[:-9]):
            (tmp_path / "a" / name).write_bytes(wrong)
            with pytest.raises(DataLoss, match="BAD_AUTHORITY"):
                open_authority(tmp_path / "a", ALLIANCE, HOME, CHAIN_ID)
        (tmp_path / "a" / name).write_bytes(kept)
    with pytest.raises(DataLoss, match="BAD_AUTHORITY"):
        open_authority(tmp_path / "a", ALLIANCE, AWAY, CHAIN_ID)


def request(key: Any, algorithm: Any = None) -> bytes:
    """A certification request."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    data: bytes = builder.sign(key, algorithm).public_bytes(Encoding.DER)
    return data


def test_certification_requests_that_are_none() -> None:
    """GRPC refuses Ed25519 certificates of callers, so no other key than P-256 is certified."""
    good = request(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    for data in (b"", b"\x30\x00", good[:-1], good + b"\0", bytes(5_000)):
        with pytest.raises(Malformed, match="BAD_CERTIFICATION_REQUEST"):
            read_certification_request(data)
    for key, algorithm in (
        (ed25519.Ed25519PrivateKey.generate(), None),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()),
    ):
        with pytest.raises(Malformed, match="BAD_CERTIFICATION_REQUEST"):
            read_certification_request(request(key, algorithm))
    with pytest.raises(BadSignature, match="NO_POSSESSION"):
        read_certification_request(good[:-1] + bytes([good[-1] ^ 1]))


def generations(folder: Path) -> Generations:
    """The member's authorities as they lie in a folder."""
    return Generations(folder, ALLIANCE, HOME, [MEMBER], CHAIN_ID)


def test_an_authority_is_followed_before_it_ends(tmp_path: Path) -> None:
    """A new one is announced for a week before it issues; both are trusted while certificates of both live."""
    found = generations(tmp_path)
    with pytest.raises(DataLoss, match="NO_AUTHORITY"):
        found.issuing(NOW_MS)
    for now_ms in (NOW_MS, NOW_MS + YEAR_MS * 6 // 10):
        found.renew(now_ms, YEAR_MS)
        assert len(found.valid(now_ms)) == 1
    first = found.issuing(NOW_MS)
    due_ms = NOW_MS + YEAR_MS * 7 // 10
    found.renew(due_ms, YEAR_MS)
    found.renew(due_ms, YEAR_MS)
    again = generations(tmp_path)
    assert [each.certificate for each in again.valid(due_ms)] == [each.certificate for each in found.valid(due_ms)]
    assert len(again.valid(due_ms)) == 2
    assert again.issuing(due_ms).certificate == first.certificate
    assert again.issuing(due_ms + ANNOUNCED_MS).certificate == again.valid(due_ms)[1].certificate
    assert len(again.valid(NOW_MS + YEAR_MS + 1_000)) == 1


def test_a_half_made_authority_is_made_again(tmp_path: Path) -> None:
    found = generations(tmp_path)
    found.renew(NOW_MS, YEAR_MS)
    (tmp_path / "1" / "ca.bound").unlink()
    again = generations(tmp_path)
    assert again.valid(NOW_MS) == []
    again.renew(NOW_MS, YEAR_MS)
    assert len(generations(tmp_path).valid(NOW_MS)) == 1


def judged(*bounds: BoundAuthority, key: bytes = MEMBER.public_key, now_ms: int = NOW_MS) -> list[str]:
    """The members whose authorities are trusted."""
    trust = TrustedAuthorities(ALLIANCE, CHAIN_ID, Ed25519Verifier())
    return list(trust.judge(bounds, {HOME: key}, now_ms))


def test_only_what_the_ledgers_key_stands_behind_is_trusted(tmp_path: Path) -> None:
    authority = made(tmp_path / "home")
    bound = authority.bound
    assert judged(bound) == [HOME]
    assert judged(bound, key=OTHER.public_key) == []
    assert judged(bound, now_ms=NOW_MS + YEAR_MS + 1_000) == []
    assert judged(replace(bound, certificate=made(tmp_path / "other").bound.certificate)) == []
    assert judged(made(tmp_path / "away", AWAY).bound) == []


def no_authority() -> bytes:
    """A certificate with the name of the member's authority, which may certify nobody."""
    key, begins = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([])).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(begins).not_valid_after(begins + dt.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(authority_uri(ALLIANCE, HOME))])
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_binding_about_anything_but_an_authority_of_that_member_is_not_trusted(tmp_path: Path) -> None:
    """The member key may sign what it likes; what is no authority's certificate of this member never gets into a bundle."""
    authority, away = made(tmp_path / "home"), made(tmp_path / "away", AWAY)
    leaf = issued(authority, CredentialKind.SERVICE, "ledger").public_bytes(Encoding.DER)
    for certificate in (leaf, away.bound.certificate, no_authority(), b"no certificate"):
        bound = bind_authority(HOME, certificate, NOW_MS + DAY_MS, MEMBER, CHAIN_ID)
        assert judged(bound) == []
        with pytest.raises(InvalidArgument, match="BAD_AUTHORITY"):
            verify_bound(bound, MEMBER.public_key, ALLIANCE, CHAIN_ID, NOW_MS, Ed25519Verifier())


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("a003020102", "a003020105"),  # a version that there is not
        ("0603551d0e", "0603551d13"),  # an extension twice
        ("2a8648ce3d030107", "2a8648ce3d030177"),  # a curve that nobody knows
        ("861f", "a31f"),  # a name of a kind that nobody uses
    ],
)
def test_no_certificate_is_too_strange_to_be_judged(tmp_path: Path, was: str, becomes: str) -> None:
    """A member may sign whatever it likes: whoever reads that goes on (ledgers hand bindings on, ADR 22)."""
    der, old = made(tmp_path).bound.certificate, bytes.fromhex(was)
    assert old in der
    strange = der.replace(old, bytes.fromhex(becomes))
    bound = bind_authority(HOME, strange, NOW_MS + DAY_MS, MEMBER, CHAIN_ID)
    assert judged(bound) == []
    with pytest.raises(InvalidArgument, match="BAD_AUTHORITY"):
        verify_bound(bound, MEMBER.public_key, ALLIANCE, CHAIN_ID, NOW_MS, Ed25519Verifier())


def test_a_binding_lasts_no_longer_than_its_certificate(tmp_path: Path) -> None:
    """Its end says which of too many are kept: nobody may say for ever."""
    good = made(tmp_path).bound
    for_ever = bind_authority(HOME, good.certificate, good.binding.not_after_ms + 1, MEMBER, CHAIN_ID)
    assert (judged(good), judged(for_ever)) == ([HOME], [])


def test_anything_may_lie_in_the_exchange_folder(tmp_path: Path) -> None:
    found = generations(tmp_path / "own")
    found.renew(NOW_MS, YEAR_MS)
    folder = tmp_path / "exchange"
    found.announce(folder, NOW_MS)
    (folder / "broken.authority").write_bytes(b"broken")
    (folder / "large.authority").write_bytes(bytes(100_000))
    (folder / "copy.authority").write_bytes(next(folder.glob(f"{HOME}-*")).read_bytes())
    (folder / "folder.authority").mkdir()
    trust = TrustedAuthorities(ALLIANCE, CHAIN_ID, Ed25519Verifier())
    trusted = trust.judge(trust.read(folder), {HOME: MEMBER.public_key}, NOW_MS)
    assert bundle(trusted) == found.valid(NOW_MS)[0].pem


def test_authorities_come_by_the_own_ledger(tmp_path: Path) -> None:
    """ADR 22: another member's fresh authority is trusted without anybody's hand, and the own is handed over."""

    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        folder = tmp_path / "alone"
        async with home.serving(authorities_directory=folder) as served:
            await served.driver.keep_files()
            trusted = Tls(home.home / "tls" / "ledger", ALLIANCE)
            assert sorted(trusted.material.authorities) == [HOME]
            fresh = next((away.home / "identity" / "authority").glob("1/ca.bound")).read_bytes()
            home.ledger.authorities.hear([fresh])
            await served.driver.exchange()
            await served.driver.keep_files()
            trusted.refresh()
            assert sorted(trusted.material.authorities) == [HOME, AWAY]
            await served.driver.exchange()
            assert len(list(folder.iterdir())) == 2
            told = [decode(BoundAuthority, each, home.alliance.chain_id) for each in home.ledger.authorities.told([])]
            assert sorted(each.binding.member_id for each in told) == [HOME, AWAY]

    play(scene)


def test_of_one_member_a_few_authorities_are_kept(tmp_path: Path) -> None:
    """Those that end last; who makes many harms itself alone."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        folder = tmp_path / "alone"
        async with home.serving(authorities_directory=folder) as served, served.administrator() as channel:
            stub, chain_id = IdentityServiceStub(channel), home.alliance.chain_id
            away, now_ms = home.alliance.keys[AWAY].member, wall_ms()
            for days in (10, 2, 3, 4, 5, 6, 7, 8, 9, 1):
                made = create_authority(tmp_path / "made" / str(days), ALLIANCE, AWAY, away, chain_id, now_ms, days * DAY_MS)
                request = pb.AddAuthorityRequest(authority=encode(made.bound, chain_id))
                await stub.AddAuthority(request, timeout=30)
                await stub.AddAuthority(request, timeout=30)
            kept = [decode(BoundAuthority, each.read_bytes(), chain_id) for each in folder.glob(f"{AWAY}-*")]
            days_left = sorted((each.binding.not_after_ms - now_ms + DAY_MS // 2) // DAY_MS for each in kept)
            assert days_left == [3, 4, 5, 6, 7, 8, 9, 10]

    play(scene)


def test_what_a_replaced_key_signed_holds_no_place(tmp_path: Path) -> None:
    """G3: a thief of a member key fills all places up to a far end; the member's word under its new key comes in."""
    folder, (home,) = tmp_path / "alone", hospitals(tmp_path, HOME)
    keys = {AWAY: MEMBER.public_key}

    async def scene() -> None:
        async with home.serving(authorities_directory=folder) as served:
            keeper, chain_id = served.driver.keeper, home.alliance.chain_id
            for at in range(MEMBER_FILES_MAX):
                stolen = create_authority(tmp_path / f"s{at}", ALLIANCE, AWAY, OTHER, chain_id, NOW_MS, 2 * YEAR_MS).bound
                keeper.take_up(stolen, encode(stolen, chain_id), keys)
            fresh = create_authority(tmp_path / "f", ALLIANCE, AWAY, MEMBER, chain_id, NOW_MS, YEAR_MS).bound
            keeper.take_up(fresh, encode(fresh, chain_id), keys)
            kept = [each for each in keeper.held() if each.binding.member_id == AWAY]
            assert (len(kept), fresh in kept) == (MEMBER_FILES_MAX, True)

    play(scene)


def test_no_name_leads_out_of_the_folder_and_no_file_too_many_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (home,) = tmp_path / "alone", hospitals(tmp_path, HOME)

    async def scene() -> None:
        async with home.serving(authorities_directory=folder) as served:
            keeper, chain_id = served.driver.keeper, home.alliance.chain_id
            good = create_authority(tmp_path / "g", ALLIANCE, AWAY, MEMBER, chain_id, NOW_MS, YEAR_MS).bound
            odd = replace(good, binding=replace(good.binding, member_id="../odd"))
            with pytest.raises(InvalidArgument, match="BAD_NAME"):
                keeper.take_up(odd, encode(odd, chain_id), {})
            monkeypatch.setattr(keeping, "FILES_MAX", len(keeper.held()) + 1)
            keeper.take_up(good, encode(good, chain_id), {})
            keeper.take_up(good, encode(good, chain_id), {})
            more = create_authority(tmp_path / "m", ALLIANCE, "other", MEMBER, chain_id, NOW_MS, YEAR_MS).bound
            with pytest.raises(ResourceExhausted, match="TOO_MANY_AUTHORITIES"):
                keeper.take_up(more, encode(more, chain_id), {})

    play(scene)
    assert not list(tmp_path.glob("odd*"))


def test_of_equal_ends_the_newest_is_kept(tmp_path: Path) -> None:
    folder, (home,) = tmp_path / "alone", hospitals(tmp_path, HOME)

    async def scene() -> None:
        async with home.serving(authorities_directory=folder) as served:
            keeper, chain_id = served.driver.keeper, home.alliance.chain_id
            for at in range(2 * MEMBER_FILES_MAX):
                each = create_authority(tmp_path / f"e{at}", ALLIANCE, AWAY, MEMBER, chain_id, NOW_MS, YEAR_MS).bound
                keeper.take_up(each, encode(each, chain_id), {AWAY: MEMBER.public_key})
                assert each in keeper.held()

    play(scene)


def test_found_makes_what_five_services_and_monitoring_read(tmp_path: Path) -> None:
    """Every file that holds a secret is 0600; a second beginning is refused, not made."""
    (home,) = hospitals(tmp_path, HOME)
    for service in (*SERVICES, MONITORING):
        tls = Tls(home.home / "tls" / service, ALLIANCE)
        assert (tls.material.member_id, sorted(tls.material.authorities)) == (HOME, [HOME])
    secret = [*home.home.rglob("*.key"), home.home / "identity" / "identity.db"]
    assert len(secret) == 1 + 6 + 2 + 1
    assert {stat.S_IMODE(each.stat().st_mode) for each in secret if each.suffix == ".key"} == {0o600}
    with pytest.raises(Conflict, match="STORE_EXISTS"):
        founding.found(home.settings())


def test_found_refuses_a_key_that_genesis_does_not_name(tmp_path: Path) -> None:
    (home,) = hospitals(tmp_path, HOME)
    (home.home / "member").write_bytes(bytes(range(32)))
    with pytest.raises(InvalidArgument, match="BAD_SETTING"):
        founding.publish(home.settings())


def test_an_authority_that_was_taken_away_leaves_nothing_behind_that_it_issued(tmp_path: Path) -> None:
    """key-theft.md: its folder removed, certificates are issued anew, and own services trust the fresh one at once."""

    async def scene() -> None:
        home, _ = hospitals(tmp_path, HOME, AWAY)
        async with home.serving():
            pass
        before = Tls(home.home / "tls" / "storage", ALLIANCE).material
        shutil.rmtree(home.home / "identity" / "authority")
        founding.publish(home.settings())
        founding.administer(home.settings())
        for service in (*SERVICES, MONITORING):
            after = Tls(home.home / "tls" / service, ALLIANCE).material
            assert after.authorities[AWAY] == before.authorities[AWAY]
            assert set(after.authorities[HOME]).isdisjoint(before.authorities[HOME])
            x509.load_pem_x509_certificate(after.certificate_chain).verify_directly_issued_by(after.authorities[HOME][0])
        async with home.serving() as served, served.administrator() as channel:
            await IdentityServiceStub(channel).GetAuthority(pb.GetAuthorityRequest())

    play(scene)


def test_lost_files_of_trust_begin_with_genesis_again(tmp_path: Path) -> None:
    """backup.md: with a copy of identity's folder alone the other members are found again."""

    async def scene() -> None:
        home, _ = hospitals(tmp_path, HOME, AWAY)
        async with home.serving():
            pass
        shutil.rmtree(home.home / "tls")
        founding.publish(home.settings())
        for service in SERVICES:
            assert sorted(Tls(home.home / "tls" / service, ALLIANCE).material.authorities) == [HOME, AWAY]

    play(scene)


def test_a_lost_store_is_told_with_the_way_on(tmp_path: Path) -> None:
    (home,) = hospitals(tmp_path, HOME)
    (home.home / "identity" / "identity.db").unlink()
    with pytest.raises(DataLoss, match=r"copy.*consilium\.identity found.*STORE_MISSING"):
        founding.publish(home.settings())


def test_administer_for_who_has_lost_the_credential(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        before = (home.home / "identity" / "administrator" / "tls.crt").read_bytes()
        founding.administer(home.settings())
        assert (home.home / "identity" / "administrator" / "tls.crt").read_bytes() != before
        async with home.serving() as served, served.administrator() as channel:
            listed = await IdentityServiceStub(channel).ListCredentials(pb.ListCredentialsRequest())
            assert len(listed.credentials) == 8
            first, second = [each for each in listed.credentials if each.kind == pb.CREDENTIAL_KIND_STAFF]
            assert first.pseudonym == second.pseudonym, "the next one follows the one that lies there"

    play(scene)


def test_certificates_change_without_a_restart(tmp_path: Path) -> None:
    """A service whose certificate is revoked or near its end is given another, and goes on serving under it."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        path = home.home / "tls" / "identity" / "tls.crt"
        async with home.serving() as served:
            before = x509.load_pem_x509_certificate(path.read_bytes())
            await served.driver.keep_files()
            assert x509.load_pem_x509_certificate(path.read_bytes()) == before
            served.driver.enrolment.revoke(before.serial_number.to_bytes(16), RevocationReason.KEY_COMPROMISE)
            await served.driver.keep_files()
            after = x509.load_pem_x509_certificate(path.read_bytes())
            assert after.serial_number != before.serial_number
            async with served.administrator() as channel:
                await IdentityServiceStub(channel).GetAuthority(pb.GetAuthorityRequest())
            assert served.running.tls.material.certificate_chain == path.read_bytes()
            folders = served.driver.keeper.folders
            folders.renew(served.driver.enrolment, wall_ms() + 15 * DAY_MS)
            assert x509.load_pem_x509_certificate(path.read_bytes()) == after
            folders.renew(served.driver.enrolment, wall_ms() + 25 * DAY_MS)
            assert x509.load_pem_x509_certificate(path.read_bytes()) != after

    play(scene)


def test_trust_stays_as_it_was_until_the_ledger_is_read_again(tmp_path: Path) -> None:
    """Genesis names the keys at a member's first start only: later it would bring back who was expelled since."""

    async def scene() -> None:
        home, _ = hospitals(tmp_path, HOME, AWAY)
        bundle_path = home.home / "tls" / "storage" / "authorities.pem"
        async with home.serving() as served:
            assert sorted(served.driver.keeper.authorities) == [HOME, AWAY]
        bundle_path.write_bytes(b"as the ledger said last")
        founding.publish(home.settings())
        assert bundle_path.read_bytes() == b"as the ledger said last"
        async with home.own_services(), identity_of(home.settings()) as (driver, _):
            assert bundle_path.read_bytes() == b"as the ledger said last"
            await driver.keep_files()
            assert bundle_path.read_bytes() == b"as the ledger said last"

    play(scene)
