"""`consilium doctor`: each thing is broken once, and found, with what to do next."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.client.doctor.asking import judge_clock, judge_headers, judge_heights, judge_quorum, judge_versions
from consilium.client.doctor.certificates import judge_certificate, judge_shown
from consilium.client.doctor.cluster import examine_release, judge_conditions
from consilium.client.doctor.examining import Examination
from consilium.client.doctor.findings import Finding, State
from consilium.client.doctor.local import MIB, judge_free, judge_room
from consilium.client.doctor.volumes import FREE, SIZE, MetricsPages, judge_volumes
from consilium.client.remote import Alliance
from consilium.client.settings import ClientSettings, client_settings
from consilium.identity.authority import draw_tls_key, open_authority, to_pem
from consilium.identity.core.credentials import CredentialKind, CredentialTerms
from consilium.kernel.chain import Header
from consilium.kernel.encoding import encode
from consilium.kernel.founding import first_committee
from consilium.kernel.membership import SERVICES
from consilium.kernel.parameters import Parameters
from consilium.runtime.clock import wall_ms
from consilium.runtime.cluster import Lease, Pod
from consilium.runtime.metrics import VolumeRoom
from consilium.runtime.names import Role as TlsRole
from consilium.sandbox.founders import ALLIANCE
from consilium.sandbox.local import SandboxAlliance, sandbox
from tests.client.terminal import Terminal
from tests.client.test_outage import watching
from tests.identity.api_server import ApiServer, serving_api
from tests.runtime import authority
from tests.runtime.authority import DAY, Authority, Issued
from tests.runtime.loopback import Loopback, Scripted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def tip(height: int, known: int = 1, upgrade: tuple[int, int] | None = None) -> ledger_pb2.GetTipResponse:
    found = ledger_pb2.GetTipResponse(executed_height=height, known_version=known)
    if upgrade is not None:
        found.upgrade_version, found.upgrade_height = upgrade
    return found


def states(findings: list[Finding]) -> list[tuple[str, State]]:
    return [(each.subject, each.state) for each in findings]


# --- what is judged, without an alliance ---


def test_versions() -> None:
    """G5: the own build has to be replaced; another's operators have to be told."""
    assert states(judge_versions({"1A": tip(1), "2A": tip(1)}, "1A", "0.1.0")) == [("2 members", State.OK)]
    found = judge_versions({"1A": tip(1, 1, (2, 500)), "2A": tip(1, 1), "3A": tip(1, 2)}, "1A", "0.1.0")
    assert states(found) == [("1A", State.FAILED), ("2A", State.WARNING)]
    assert "from height 500 on" in found[0].sentence
    assert found[0].advice.startswith("Install a newer release")


def test_heights() -> None:
    assert states(judge_heights({"1A": tip(100), "2A": tip(97)})) == [("2 members", State.OK)]
    assert states(judge_heights({"1A": tip(100), "2A": tip(90)})) == [("2A", State.WARNING)]


def test_a_clock_cannot_be_told_from_an_old_block() -> None:
    found = judge_clock({"1A": (ledger_pb2.GetTipResponse(), 0)}, bytes(32), Parameters())
    assert (found.state, "consilium status" in found.advice) == (State.WARNING, True)


def test_a_member_that_is_long_in_answering_makes_no_clock_wrong() -> None:
    """L7: what the others told was right when it came, however long the last of them was waited for."""
    long_ms, digest = 5_000, bytes(32)
    header = encode(Header(0, 1, digest, (), digest, 100_000, digest, digest, 0, digest), digest)
    prompt, late = (ledger_pb2.GetTipResponse(header=header, age_ms=age_ms) for age_ms in (0, long_ms))
    heard = {"1A": (prompt, 100_000), "2A": (prompt, 100_000), "3A": (late, 100_000 + long_ms)}
    assert judge_clock(heard, digest, Parameters()).state is State.OK


def test_a_header_that_is_none_is_a_finding() -> None:
    """Another member's ledger says what it likes; whoever looks for a fault is told which one it is."""
    tips = {"1A": ledger_pb2.GetTipResponse(), "2A": ledger_pb2.GetTipResponse(header=b"\x80")}
    assert judge_clock({name: (each, 0) for name, each in tips.items()}, bytes(32), Parameters()).state is State.WARNING
    assert states(judge_headers(tips, bytes(32))) == [("2A", State.WARNING)]


def test_a_delegate_that_is_silent_by_rule_is_named() -> None:
    """C5, C10: it is connected and answers, and does not vote."""
    names = ("1A", "2A", "3A", "3B")
    peers = [consensus_pb2.PeerState(member_id=name, connected=True, silent_ms=0) for name in names[1:]]
    own = consensus_pb2.GetReplicaStateResponse(peers=peers)
    committee = consensus_pb2.GetCommitteeResponse(
        delegates=[consensus_pb2.Delegate(member_id=name) for name in names], quorum=3
    )
    silent = consensus_pb2.GetReplicaStateResponse(state=consensus_pb2.REPLICA_STATE_SILENT, peers=peers)
    for replicas, who in (({"1A": own, "3A": silent}, "3A"), ({"1A": silent}, "1A")):
        found = judge_quorum("1A", replicas, committee, Parameters(), NOW)
        assert states(found) == [("the committee", State.WARNING), (who, State.WARNING)]
        assert "3 of 4 delegates are heard" in found[0].sentence
        assert "(C5)" in found[1].sentence
    assert states(judge_quorum("1A", {"3A": own}, committee, Parameters(), NOW)) == [("1A", State.FAILED)]


def test_room(tmp_path: Path) -> None:
    assert judge_free("v", 100 * MIB, 90 * MIB).state is State.FAILED, "little is left, whatever the part"
    assert judge_free("v", 100_000 * MIB, 4_000 * MIB).state is State.FAILED
    assert judge_free("v", 100_000 * MIB, 14_000 * MIB).state is State.WARNING
    assert judge_free("v", 100_000 * MIB, 50_000 * MIB).state is State.OK
    assert judge_room(tmp_path / "nothing").state is State.FAILED
    assert judge_room(tmp_path).check == "disk"


HOME, AWAY, FOREIGN = Authority("1A"), Authority("2A"), Authority("1A", alliance="elsewhere")
LEDGER = "alliance", "1A", "ledger"


@pytest.mark.parametrize(
    ("issued", "authorities", "days", "state", "says"),
    [
        (HOME.service(), (HOME,), 0, State.OK, "Right name and authority; valid until"),
        (HOME.service(), (AWAY, HOME), 0, State.OK, "Right name and authority"),
        (HOME.service(), (), 0, State.OK, "Right name"),
        (HOME.service(), (AWAY,), 0, State.FAILED, "was not issued by an authority"),
        (AWAY.service(member_id="1A"), (HOME,), 0, State.FAILED, "was not issued by an authority"),
        (HOME.service(ends_in=DAY), (HOME,), 2, State.FAILED, "The certificate ended at"),
        (HOME.service(ends_in=DAY / 2), (HOME,), 0, State.WARNING, "has not been renewed yet"),
        (HOME.service(), (HOME,), -3, State.FAILED, "begins only at"),
        (HOME.service("storage"), (HOME,), 0, State.FAILED, "is of 1A/storage in the alliance alliance"),
        (AWAY.service(), (HOME,), 0, State.FAILED, "is of 2A/ledger"),
        (FOREIGN.service(), (HOME,), 0, State.FAILED, "in the alliance elsewhere"),
        (HOME.person(TlsRole.STAFF, "ledger"), (HOME,), 0, State.FAILED, "is of 1A/ledger"),
        (HOME.issue([], DAY), (HOME,), 0, State.FAILED, "names nobody of the alliance"),
    ],
)
def test_certificates(issued: Issued, authorities: tuple[Authority, ...], days: int, state: State, says: str) -> None:
    """Its names before its authority before its end: the first that is wrong is said."""
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    now_ms = wall_ms() + days * DAY_MS
    (found,) = judge_certificate(certificate, "1A/ledger", LEDGER, [each.certificate for each in authorities], now_ms)
    assert (found.state, says in found.sentence, bool(found.advice)) == (state, True, state is not State.OK), found


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("a003020102", "a003020105"),  # a version that there is not
        ("0603551d11", "0603551d13"),  # an extension twice
        ("30", "31"),  # no certificate at all
    ],
)
def test_a_strange_certificate_is_a_finding(was: str, becomes: str) -> None:
    """Whatever listens at an address may show whatever it likes."""
    der = x509.load_pem_x509_certificate(HOME.service().certificate).public_bytes(Encoding.DER)
    strange = der.replace(bytes.fromhex(was), bytes.fromhex(becomes), 1)
    assert strange != der
    (found,) = judge_shown(strange, "1A/ledger", LEDGER, [HOME.certificate], wall_ms())
    assert (found.state, "cannot be read" in found.sentence, bool(found.advice)) == (State.FAILED, True, True)


def test_a_credential_is_anybodys_of_the_member() -> None:
    certificate = x509.load_pem_x509_certificate(HOME.person(TlsRole.STAFF, "somebody").certificate)
    (found,) = judge_certificate(certificate, "credential", ("alliance", "1A", ""), [HOME.certificate], wall_ms())
    assert found.state is State.OK


# --- in Kubernetes ---


@pytest.fixture
def api() -> Iterator[ApiServer]:
    yield from serving_api()


def test_a_release(api: ApiServer) -> None:
    for each in SERVICES:
        api.put_pod(f"consilium-{each}-0", each, uid=each, podIP="10.0.0.1")
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 9}
    with closing(api.cluster()) as cluster:
        cluster.put_lease("consilium-consensus", Lease("consensus", wall_ms() + DAY_MS, 0), wall_ms())
        conditions = [{"type": "InCommittee", "status": "False", "lastTransitionTime": "t", "message": "m"}]
        cluster.put_config_map("consilium-status", {"conditions.json": json.dumps(conditions)})
        assert {each.state for each in examine_release(cluster, "consilium", wall_ms(), roomy)} == {State.OK}
        whole = {"name": "ledger", "image": "", "imageID": "", "ready": False}
        api.put_pod("consilium-ledger-0", "ledger", conditions=[], containerStatuses=[whole | waiting])
        del api.objects["pods", "consilium-storage-0"]
        api.put_pod("consilium-consensus-0", "consensus", uid="another")
        found = {each.subject: each for each in examine_release(cluster, "consilium", wall_ms(), roomy)}
        assert found["pod storage"].state is found["pod ledger"].state is State.FAILED
        assert "(CrashLoopBackOff)" in found["pod ledger"].sentence
        about = cluster.about("Pod", "consilium-ledger-0")
        cluster.tell(about, "FailedMount", 'secret "consilium-tls-ledger" not found', is_warning=True)
        (told,) = [each for each in examine_release(cluster, "consilium", wall_ms(), roomy) if each.subject == "pod ledger"]
        assert 'secret "consilium-tls-ledger" not found' in told.sentence
        assert found["lease"].state is State.WARNING
        api.forbidden.add(("list", "pods"))
        (pods, *_) = examine_release(cluster, "consilium", wall_ms(), roomy)
        assert (pods.state, "may not list Pods" in pods.sentence) == (State.WARNING, True)
    bad = [{"type": "UpgradeNeeded", "status": "True", "lastTransitionTime": "t", "message": "Install a newer one."}]
    (upgrade,) = judge_conditions({"conditions.json": json.dumps(bad)}, "consilium")
    assert (upgrade.state, upgrade.advice) == (State.WARNING, "Install a newer one.")
    assert judge_conditions(None, "consilium")[0].sentence == "There is no ConfigMap consilium-status."


def pod_of(service: str, address: str) -> Pod:
    """One that runs."""
    state = {"phase": "Running", "is_ready": True, "is_leaving": False, "restarts": 0, "reason": ""}
    return Pod(name=f"c-{service}-0", uid=service, component=service, address=address, **state)  # type: ignore[arg-type]


def page(free: int, size: int) -> str:
    """What a service's metrics say of its volume."""
    kinds = "".join(f"# TYPE {name} gauge\n" for name in (FREE, SIZE))
    return f"{kinds}{FREE} {float(free * MIB)!r}\n{SIZE} {float(size * MIB)!r}\n"


def roomy(pod: Pod) -> str:
    """A service whose volume has room."""
    assert pod.address
    return page(90_000, 100_000)


def test_volumes_of_the_services_are_looked_at() -> None:
    """Each as its own service tells it; one that does not is a warning, and one without an address is told by its pod."""
    pods = [pod_of(each, "10.0.0.1") for each in SERVICES]
    pods += [dataclasses.replace(pods[0], component="desk"), dataclasses.replace(pods[0], address="")]

    def read(pod: Pod) -> str:
        if pod.component == "identity":
            raise ConnectionRefusedError(111, "Connection refused")
        return {"ledger": page(200, 100_000), "storage": page(9_000, 100_000), "consensus": "up 1\n"}.get(
            pod.component, roomy(pod)
        )

    found = {each.subject: each for each in judge_volumes(pods, read)}
    assert {name: each.state for name, each in found.items()} == {
        "volume identity": State.WARNING,
        "volume consensus": State.WARNING,
        "volume ledger": State.FAILED,
        "volume storage": State.WARNING,
        "volume reencryption": State.OK,
    }
    assert "200 MiB of 100000 are free" in found["volume ledger"].sentence
    assert "Connection refused" in found["volume identity"].sentence
    assert f"no {SIZE}" in found["volume consensus"].sentence
    assert all(each.advice for each in found.values() if each.state is not State.OK)


def test_a_services_metrics_are_read_under_the_members_credential(tmp_path: Path) -> None:
    """From the service that is meant, or not at all: another one's certificate is refused."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        own = loopback.home.person(TlsRole.STAFF, "ann").write(tmp_path / "ann", loopback.home)
        async with loopback.serve(Scripted()) as running:
            running.metrics.registry.register(VolumeRoom(tmp_path))
            pages = MetricsPages(authority.ALLIANCE, "1A", own, loopback.home.pem, running.metrics_port)
            pod = pod_of("ledger", "127.0.0.1")
            (found,) = await asyncio.to_thread(judge_volumes, [pod], pages.read)
            assert "MiB of" in found.sentence, found
            another = dataclasses.replace(pod, component="storage")
            (refused,) = await asyncio.to_thread(judge_volumes, [another], pages.read)
            assert (refused.state, "CERTIFICATE_VERIFY_FAILED" in refused.sentence) == (State.WARNING, True), refused

    asyncio.run(scene())


def _misses(gone: set[str], look: Any) -> bool:
    return set(look["missing"]) == gone


def off(ms: int) -> int:
    """A clock that is off."""
    return wall_ms() + ms


# --- on a running alliance, one thing broken at a time ---


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    with sandbox(tmp_path_factory.mktemp("alliance")) as running:
        asyncio.run(running.until_final(2))
        yield running


def examined(settings: ClientSettings, now_ms: Callable[[], int] = wall_ms) -> dict[tuple[str, str], Finding]:
    """The findings by check and subject."""

    async def look() -> list[Finding]:
        async with AsyncExitStack() as stack:
            return await Examination(settings, Alliance(settings, stack, 0), now_ms=now_ms).findings()

    return {(each.check, each.subject): each for each in asyncio.run(look())}


def examined_until(
    settings: ClientSettings, key: tuple[str, str], state: State, now_ms: Callable[[], int] = wall_ms
) -> dict[tuple[str, str], Finding]:
    """The findings once one of them is as wanted: on a busy machine a block may come late; pytest's limit ends it."""
    while (found := examined(settings, now_ms))[key].state is not state:
        pass
    return found


def faults(found: dict[tuple[str, str], Finding]) -> set[tuple[str, str]]:
    return {key for key, each in found.items() if each.state is not State.OK}


def settings_of(alliance: SandboxAlliance, member_id: str, **moved: str) -> ClientSettings:
    """A client's settings, some of its addresses (`1A_ledger`) changed."""
    settings = client_settings(alliance.member(member_id).client_settings)
    ways = dict(each.split("=") for each in settings.services)
    ways |= {name.replace("_", "/").removeprefix("m"): address for name, address in moved.items()}
    return dataclasses.replace(settings, services=tuple(f"{name}={address}" for name, address in ways.items()))


@contextmanager
def shown(folder: Path, certificate: bytes, key: bytes) -> Iterator[None]:
    """A service's TLS files changed for a while; it takes them up by itself."""
    before = {name: (folder / name).read_bytes() for name in ("tls.key", "tls.crt")}
    try:
        (folder / "tls.key").write_bytes(key)
        (folder / "tls.crt").write_bytes(to_pem(certificate))
        yield
    finally:
        for name, data in before.items():
            (folder / name).write_bytes(data)


@pytest.mark.slow
def test_all_is_well_and_told_as_json(alliance: SandboxAlliance, tmp_path: Path) -> None:
    home = alliance.layout.member_ids[0]
    terminal = Terminal(tmp_path / "home", alliance.member(home).client_settings)
    # A block that comes late is a stall, and told.
    said = terminal.until(lambda said: said.code == 0, "doctor", "--state", str(tmp_path), "--json")
    bad = [each for each in said.facts["findings"] if each["state"] == "failed"]
    assert (said.code, bad, said.facts["failed"]) == (0, [], 0)
    checks = {each["check"] for each in said.facts["findings"]}
    assert checks == {"certificate", "disk", "dns", "clock", "version", "ledger", "quorum"}
    services = [each for each in said.facts["findings"] if each["check"] == "certificate" and "/" in each["subject"]]
    assert len(services) >= 5 * len(alliance.members)


@pytest.mark.slow
def test_an_expired_certificate_an_ending_one_and_a_foreign_one(alliance: SandboxAlliance) -> None:
    home, away = alliance.layout.member_ids[:2]
    folder, key = alliance.member(away).folder, draw_tls_key()
    issuer = open_authority(folder / "identity" / "authority" / "1", ALLIANCE, away, alliance.genesis.chain_id)
    asyncio.run(alliance.stop(away, "identity"))
    try:
        now_ms = wall_ms()
        for begins, ends, state, says in (
            (now_ms - 2 * DAY_MS, now_ms - DAY_MS, State.FAILED, "The certificate ended at"),
            (now_ms - 10 * DAY_MS, now_ms + DAY_MS, State.WARNING, "has not been renewed yet"),
            (now_ms + HOUR_MS, now_ms + DAY_MS, State.FAILED, "begins only at"),
        ):
            terms = CredentialTerms(bytes(15) + b"\1", CredentialKind.SERVICE, "storage", "", None, begins, ends)
            with shown(folder / "tls" / "storage", issuer.issue(terms, key[1]), key[0]):
                found = examined(settings_of(alliance, home))
                assert ("certificate", f"{away}/storage") in faults(found)
                finding = found["certificate", f"{away}/storage"]
                assert (finding.state, says in finding.sentence) == (state, True), finding
                assert finding.advice
        own = alliance.member(home).folder
        other = open_authority(own / "identity" / "authority" / "1", ALLIANCE, home, alliance.genesis.chain_id)
        terms = CredentialTerms(bytes(15) + b"\1", CredentialKind.SERVICE, "storage", "", None, now_ms, now_ms + DAY_MS)
        impostor = dataclasses.replace(other, member_id=away).issue(terms, key[1])
        with shown(folder / "tls" / "storage", impostor, key[0]):
            finding = examined(settings_of(alliance, home))["certificate", f"{away}/storage"]
            assert (finding.state, "was not issued by an authority" in finding.sentence) == (State.FAILED, True), finding
    finally:
        asyncio.run(alliance.start(away, "identity"))


@pytest.mark.slow
def test_wrong_addresses(alliance: SandboxAlliance) -> None:
    """A name that does not exist, a port nobody listens on, another service's address, something that is no service."""
    home, away, third = alliance.layout.member_ids[:3]
    layout = alliance.layout
    moved: dict[str, Any] = {
        f"m{away}_storage": "nowhere.invalid:8443",
        f"m{away}_reencryption": "127.0.0.1:1",
        f"m{third}_storage": layout.address(third, "reencryption"),
        f"m{third}_reencryption": f"127.0.0.1:{layout.port(third, 'reencryption') + 1}",
    }
    found = examined(settings_of(alliance, home, **moved))
    assert "has no address" in found["dns", "nowhere.invalid"].sentence
    assert "takes no connection" in found["reach", f"{away}/reencryption"].sentence
    wrong_service = found["certificate", f"{third}/storage"]
    assert f"is of {third}/reencryption" in wrong_service.sentence
    assert "put it right in the settings" in wrong_service.advice
    assert "No TLS" in found["reach", f"{third}/reencryption"].sentence
    assert all(each.advice for each in found.values() if each.state is State.FAILED)


@pytest.mark.slow
def test_a_skewed_clock(alliance: SandboxAlliance) -> None:
    """L7: told by the time that blocks carry, whichever way it is off."""
    home, key = alliance.layout.member_ids[0], ("clock", "this machine")
    tolerated = alliance.genesis.parameters.clock_skew_max_ms
    for off_ms, state, word in (
        (2 * tolerated, State.FAILED, "ahead of"),
        (-2 * tolerated, State.FAILED, "behind"),
        (tolerated // 2, State.WARNING, "ahead of"),
        (0, State.OK, "agrees"),
    ):
        clock = functools.partial(off, off_ms)
        finding = examined_until(settings_of(alliance, home), key, state, clock)[key]
        assert word in finding.sentence, finding


@pytest.mark.slow
def test_stopped_delegates(alliance: SandboxAlliance) -> None:
    """One is missing: a warning with its name. Two of four: no quorum, and how many have to come back."""
    home, one, two = (each.member_id for each in first_committee(alliance.genesis).delegates[:3])
    try:
        for gone in ([one], [one, two]):
            alliance.kill(gone[-1], "consensus")
            with watching(alliance, home) as until:
                until(functools.partial(_misses, set(gone)))
            state = State.WARNING if len(gone) == 1 else State.FAILED
            found = examined_until(settings_of(alliance, home), ("quorum", "the committee"), state)
            assert {subject for check, subject in faults(found) if check == "quorum"} >= set(gone)
            assert "takes no connection" in found["reach", f"{gone[-1]}/consensus"].sentence
    finally:
        for each in (one, two):
            asyncio.run(alliance.start(each, "consensus"))


@pytest.mark.slow
def test_the_home_members_own_services_are_down(alliance: SandboxAlliance) -> None:
    home = alliance.layout.member_ids[0]
    for each in ("identity", "ledger"):
        alliance.kill(home, each)
    try:
        found = examined(settings_of(alliance, home))
    finally:
        for each in ("ledger", "identity"):
            asyncio.run(alliance.start(home, each))
    assert found["authorities", home].state is State.WARNING
    assert found["reach", f"{home}/ledger"].state is found["reach", f"{home}/identity"].state is State.FAILED
