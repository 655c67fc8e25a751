"""The hunt over a running alliance of processes: what they keep, say, count and hold in memory (promises 3 and 7).

A patient at 2A writes a FHIR bundle and a DICOM study and grants them to 3A, which opens them, all with keys that stay in
this test. Then every file, every log, every page of metrics and the memory of every process is searched: for words of
the files and people, and for every secret there is. `allowed` is the table of where a secret may lie.
"""

from __future__ import annotations

import asyncio
import http.client
import secrets
import ssl
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from consilium.client.custody import Custody, Seed, create_keystore
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.remote import open_alliance
from consilium.client.settings import ClientSettings
from consilium.client.sharing import Permission, Recipient
from consilium.kernel.hashing import sha256
from consilium.kernel.manifest import open_shred_secret
from consilium.kernel.membership import SERVICES
from consilium.kernel.sealing import KEY_BYTES, data_key
from consilium.kernel.transactions import Purpose
from consilium.kernel.umbral import open_original
from consilium.runtime.settings import FILE_VARIABLE, load
from consilium.runtime.tls import CERTIFICATE, KEY
from consilium.sandbox.local import sandbox
from consilium.sandbox.medical import dicom_study, fhir_bundle, names_in_bundle, read_study
from tests.e2e.hunt import hunt
from tests.e2e.memory import family, search

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from consilium.client.remote import Alliance
    from consilium.client.sharing import PreparedGrant
    from consilium.sandbox.local import SandboxAlliance
    from consilium.sandbox.processes import SandboxService

HOME, OTHER = "2A", "3A"
DAY_MS = 86_400_000
REASON = "PLANTED-REASON: sent to the cardiologist after the second faint"
PASSPHRASE = "PLANTED-PASSPHRASE correct horse battery"
ACTOR = "PLANTED-ACTOR: Dr Wei, ward seven"
STUDY = read_study(dicom_study())
WORDS = (
    *names_in_bundle(fhir_bundle()),
    STUDY.patient_name,
    STUDY.patient_id,
    STUDY.description,
    "Philips Medical Systems",
    '"resourceType":"Bundle"',
    REASON,
    PASSPHRASE,
    ACTOR,
)
SEARCHES = 2
"""How many processes are searched at a time."""


@dataclass(frozen=True)
class Secret:
    """A secret, and where it may lie: patterns of files, and services (`2A/storage`) that may hold it in memory.

    `lies` says that it does lie in each of these services, so that a hunt which finds nothing anywhere is noticed.
    """

    name: str
    data: bytes = field(repr=False)
    files: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    lies: bool = False


@dataclass
class Story:
    """The people's keys, and what came of them."""

    patient: PatientKeys
    seed: bytes
    recipient: RecipientKeys
    recipient_seed: bytes
    grant: PreparedGrant | None = None
    object_secrets: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)

    @classmethod
    def begun(cls) -> Story:
        """With fresh keys."""
        seed, other = secrets.token_bytes(32), secrets.token_bytes(32)
        return cls(PatientKeys(seed), seed, RecipientKeys(other), other)


async def play(alliance: SandboxAlliance) -> Story:
    """Write two files, grant them, and open both at the other member."""
    story, now_ms = Story.begun(), alliance.genesis.time_ms
    permission = Permission(Purpose.TREATMENT, sha256(ACTOR.encode()), now_ms - DAY_MS, now_ms + DAY_MS)
    address = Recipient(OTHER, story.recipient.author.public_key, story.recipient.receiving.public_key)
    async with open_alliance(settings(alliance, HOME)) as home, open_alliance(settings(alliance, OTHER)) as other:
        patient = home.patient(story.patient, "all")
        references = [await patient.write(each) for each in (fhir_bundle(), dicom_study())]
        story.grant = await patient.share(address, permission)
        clinician = other.recipient(story.recipient)
        for reference, data in zip(references, (fhir_bundle(), dicom_study()), strict=True):
            opened = await clinician.open(story.grant.terms.grant_id, reference, sha256(REASON.encode()))
            assert b"".join([piece async for piece in clinician.read(opened)]) == data
            story.object_secrets.append(await learn(story, other, opened.request.transaction_hash, reference.record_id))
    return story


async def learn(story: Story, other: Alliance, request_hash: bytes, record_id: bytes) -> tuple[bytes, bytes, bytes]:
    """An object's capsule secret, shred secret and data key, with all keys at hand."""
    stored = await other.session.gateway(HOME).get_manifest(record_id, request_hash)
    assert stored.sealed_shred_secret is not None
    bound = open_original(story.patient.delegating("all", 0), stored.manifest.sealed)
    shred_secret = open_shred_secret(story.recipient.receiving, request_hash, stored.sealed_shred_secret)
    capsule_secret, context = bound[:KEY_BYTES], bound[KEY_BYTES:]
    return capsule_secret, shred_secret, data_key(capsule_secret, shred_secret, context)


def settings(alliance: SandboxAlliance, member_id: str) -> ClientSettings:
    """A client of a member."""
    return load(ClientSettings, {FILE_VARIABLE: str(alliance.member(member_id).client_settings)})


# --- what may lie where ---


def allowed(alliance: SandboxAlliance, story: Story) -> list[Secret]:
    """The table."""
    return [*nowhere(story), *at_home(story), *at_holders(story), *keys_of(alliance, HOME)]


def nowhere(story: Story) -> Iterator[Secret]:
    """What no service may ever see."""
    yield Secret("patient seed", story.seed)
    yield Secret("delegating secret", story.patient.delegating("all", 0).to_secret_bytes())
    yield Secret("fragment signing secret", story.patient.fragment_signing("all", 0).to_secret_bytes())
    yield Secret("patient's author seed", story.patient.author("all", 0).to_secret_bytes())
    yield Secret("recipient's seed", story.recipient_seed)
    yield Secret("recipient's author seed", story.recipient.author.to_secret_bytes())
    yield Secret("receiving secret", story.recipient.receiving.to_secret_bytes())
    for number, (capsule_secret, _, key) in enumerate(story.object_secrets):
        yield Secret(f"capsule secret {number}", capsule_secret)
        yield Secret(f"data key {number}", key)


def at_home(story: Story) -> Iterator[Secret]:
    """The half of the data key that the record's home can destroy (S2)."""
    files = (f"{HOME}/storage/shred-secrets.db*",)
    for number, (_, shred_secret, _) in enumerate(story.object_secrets):
        yield Secret(f"shred secret {number}", shred_secret, files, (f"{HOME}/storage",))


def at_holders(story: Story) -> Iterator[Secret]:
    """Key fragments: sealed on every disk, open in their holder's own processes only (S4)."""
    assert story.grant is not None
    for holder, kfrag in zip(story.grant.terms.holders, story.grant.kfrags, strict=True):
        yield Secret(f"key fragment of {holder}", kfrag, (), (f"{holder}/reencryption",))


def keys_of(alliance: SandboxAlliance, member_id: str) -> Iterator[Secret]:
    """A member's own keys: each in its file, and with the services that use it."""
    folder = alliance.member(member_id).folder
    users = {
        "member": ("identity", "consensus", "storage", "reencryption"),
        "consensus": ("consensus",),
        "reveals": ("consensus",),
        "sealing": ("reencryption",),
    }
    for name, services in users.items():
        data = (folder / "keys" / name).read_bytes()
        at = tuple(f"{member_id}/{each}" for each in services)
        yield Secret(f"{name} key", data, (f"{member_id}/keys/{name}",), at, lies=True)
    for service in SERVICES:
        yield from scalar(f"TLS key of {service}", folder / "tls" / service / KEY, f"{member_id}/{service}")
    for path in (folder / "identity" / "authority").rglob("*.key"):
        yield from scalar("authority key", path, f"{member_id}/identity")


def scalar(name: str, path: Path, service: str) -> Iterator[Secret]:
    """A P-256 key in PEM, as its number stands in memory, in either order of bytes; in the file it is written as text."""
    key = load_pem_private_key(path.read_bytes(), None)
    number = key.private_numbers().private_value  # type: ignore[union-attr]
    for order in ("big", "little"):
        # The identity service makes its own member's TLS keys.
        yield Secret(f"{name}, {order}", number.to_bytes(32, order), (), (service, f"{HOME}/identity"))


# --- hunting ---


def faults_in_files(folder: Path, table: list[Secret]) -> list[str]:
    """Every secret in a file where it may not lie."""
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        data, name = path.read_bytes(), str(path.relative_to(folder))
        for each in table:
            dresses = (each.data, each.data.hex().encode(), each.data.hex().upper().encode())
            if any(dress in data for dress in dresses) and not any(fnmatch(name, form) for form in each.files):
                found.append(f"{each.name} in {name}")
    return found


def found_in_memory(alliance: SandboxAlliance, table: list[Secret]) -> dict[str, set[str]]:
    """What stands in the memory of each service, `2A/storage`, its worker processes with it."""
    wanted = {each.name: each.data for each in table} | {word: word.encode() for word in WORDS}
    owners = {pid: f"{each.member_id}/{each.name}" for each in alliance.services() for pid in processes(each)}
    found: dict[str, set[str]] = {}
    with ProcessPoolExecutor(SEARCHES, get_context("spawn")) as pool:
        for owner, names in zip(owners.values(), pool.map(search, owners, [wanted] * len(owners)), strict=True):
            found.setdefault(owner, set()).update(names)
    return found


def processes(service: SandboxService) -> list[int]:
    """A service's own process and its workers."""
    assert service.pid is not None
    return family(service.pid)


def metrics(alliance: SandboxAlliance, service: SandboxService) -> bytes:
    """A page of metrics, over mutual TLS as its member's own application."""
    files = alliance.member(service.member_id).folder / "tls" / service.name
    context = ssl.create_default_context(cafile=str(files / "authorities.pem"))
    context.load_cert_chain(files / CERTIFICATE, files / KEY)
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", service.metrics_port, context=context, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.slow
def test_a_running_alliance_holds_no_plaintext_and_no_key_that_is_not_its_own(tmp_path: Path) -> None:
    """Promises 3 and 7."""
    folder = tmp_path / "alliance"
    create_keystore(tmp_path / "keystore", PASSPHRASE, Custody((Seed("planted", secrets.token_bytes(32)),)))
    with sandbox(folder) as alliance:
        story = asyncio.run(play(alliance))
        table = allowed(alliance, story)
        for each in alliance.services():
            page = metrics(alliance, each)
            assert b"grpc_server_handled_total" in page
            (each.state_folder / "metrics.txt").write_bytes(page)

        assert hunt(folder, WORDS) == []
        assert faults_in_files(folder, table) == []

        memory = found_in_memory(alliance, table)
        places = {each.name: each.services for each in table}
        faults = [
            f"{name} in {owner}" for owner, names in memory.items() for name in names if owner not in places.get(name, ())
        ]
        assert faults == []
        missed = [
            f"{each.name} in {one}" for each in table if each.lies for one in each.services if each.name not in memory[one]
        ]
        assert missed == []


def test_a_secret_is_found_where_it_may_not_lie(tmp_path: Path) -> None:
    """As bytes and in hexadecimal; where the table allows it, it is passed over."""
    data = bytes(range(200, 232))
    files = {"2A/keys/member": data, "2A/logs/ledger.log": data.hex().encode(), "3A/ledger/blocks": b"..." + data + b"..."}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
    table = [Secret("member key", data, ("2A/keys/member",))]
    assert faults_in_files(tmp_path, table) == ["member key in 2A/logs/ledger.log", "member key in 3A/ledger/blocks"]


def test_memory_is_searched_where_it_is_written() -> None:
    """A word in a child's memory is found, one it never held is not; both are made here out of halves."""
    script = "import sys; word = sys.stdin.readline().strip() + '-made'; print(len(word), flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("PLANTED-IN-MEMORY\n")
        child.stdin.flush()
        assert child.stdout.readline() == "22\n"
        wanted = {"there": b"PLANTED-IN-MEMORY" + b"-made", "not there": b"PLANTED-ELSEWHERE" + b"-made"}
        assert search(child.pid, wanted) == {"there"}
        assert family(child.pid) == [child.pid]
