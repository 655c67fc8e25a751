"""The first acts: enrol, store, grant, open elsewhere (rules S1 to S5).

Every act does the real thing through the real clients and checks what came of it; `Act.check` ends the
story with a sentence when something does not hold.
"""

import asyncio
import hashlib
import stat
import time
from collections.abc import Callable, Iterator

from rich.table import Table

from consilium.api.identity.v1 import identity_pb2
from consilium.api.ledger.v1.ledger_pb2 import GetTipRequest
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client.session import ask_all
from consilium.client.sharing import Permission, PreparedGrant
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import Purpose
from consilium.runtime.channels import typed
from consilium.runtime.clock import wall_ms
from consilium.sandbox.medical import dicom_study, fhir_bundle, large_object, read_bundle, read_study
from consilium.sandbox.stage import HOME, REASON, RECIPIENT, SCOPE, STRANGER, Institution, Stage, StoredFile
from consilium.sandbox.teller import Act

HOUR_MS = 3_600_000
MEBIBYTE = 1024 * 1024


async def found(stage: Stage, act: Act) -> None:
    """Five hospitals run an alliance, each its own five services; a client proves it from the genesis file (L5)."""
    await stage.wait(stage.chain.until_final(1), "the first final block")
    genesis, session = stage.alliance.genesis, stage.administrators[HOME].session
    proven = [await session.member(each.member_id) for each in genesis.members]
    committee = await stage.chain.committee()
    table = Table(show_edge=False, pad_edge=True)
    for heading in ("hospital", "owner", "grade", "this epoch", "its services on loopback"):
        table.add_column(heading)
    for profile in [each.profile for each in proven]:
        role = "follows, without a vote" if committee.index_of(profile.member_id) is None else "delegate"
        ports = ", ".join(str(each.port) for each in stage.alliance.services(profile.member_id))
        table.add_row(profile.member_id, profile.owner_group, profile.grade.name, role, ports)
    act.show(table)
    act.say(f"The chain is named by its genesis file: [bold]{genesis.chain_id.hex()[:32]}[/]...")
    act.check(
        [each.profile for each in proven] == list(genesis.members),
        f"all {len(proven)} members and their keys are proven by the state of block {session.height},"
        " to a client that holds the genesis file alone",
    )


async def enrol(stage: Stage, act: Act) -> None:
    """A patient and two physicians get their credentials, each from her own hospital; the patient draws her keys (S1)."""
    stage.device = await stage.wait(stage.enrol(HOME, identity_pb2.CREDENTIAL_KIND_PATIENT), "the patient's credential")
    for name in (RECIPIENT, STRANGER):
        person = await stage.wait(
            stage.enrol(name, identity_pb2.CREDENTIAL_KIND_STAFF, "physician"), "a physician's credential"
        )
        institution = Institution(person)
        if name == RECIPIENT:
            stage.recipient = institution
        else:
            stage.stranger = institution
    act.say(f"{HOME} certifies the patient's device, {RECIPIENT} and {STRANGER} a physician each; no name stands in it.")
    with typed():
        tip = await LedgerServiceStub(stage.device.channel(RECIPIENT, "ledger")).GetTip(GetTipRequest())
    act.check(
        tip.executed_height > 0,
        f"one credential is accepted at every member: {RECIPIENT}'s ledger answers a device that only {HOME} knows",
    )
    path = stage.enrol_patient()
    act.check(
        stat.filemode(path.stat().st_mode) == "-rw-------",
        f"the patient's seed is drawn on her own device and locked into a {path.name} (Argon2id, mode 0600)",
    )


async def store(stage: Stage, act: Act) -> None:
    """Three files are encrypted, stored at home, copied to another member and registered (S2, S3)."""
    bundle, study, large = fhir_bundle(), dicom_study(), large_object()
    await _store_file(stage, act, "FHIR R4 bundle", bundle, _describe_bundle)
    await _store_file(stage, act, "DICOM study", study, _describe_study)
    seconds = await _store_file(stage, act, "64 MiB object", large, _describe_large)
    stage.facts.append(("64 MiB encrypted, stored, copied, registered", f"{seconds:.2f} s"))
    stage.facts.append(("that is, MiB a second", f"{len(large) / MEBIBYTE / seconds:.0f}"))


async def _store_file(stage: Stage, act: Act, name: str, data: bytes, describe: Callable[[bytes], str]) -> float:
    started = time.monotonic()
    with act.bar(f"{name:<15}", len(data), "bytes sealed") as done:
        reference = await stage.wait(stage.patient.write(data, progress=done), f"the {name} to be final")
        done(len(data))
    seconds = time.monotonic() - started
    stage.files.append(StoredFile(name, data, describe, reference))
    keepers = stage.keepers(reference.record_id)
    act.check(
        HOME in keepers and len(keepers) == 2,  # noqa: PLR2004  home and one copy
        f"{name}: at home in {HOME}, a copy in {', '.join(each for each in keepers if each != HOME)};"
        f" registered and final after {seconds:.2f} s",
    )
    return seconds


async def grant(stage: Stage, act: Act) -> None:
    """The patient lets one hospital in, for one purpose and a day (S3, S4)."""
    now_ms = wall_ms()
    permission = Permission(Purpose.TREATMENT, sha256(b"cardiology"), now_ms - HOUR_MS, now_ms + 24 * HOUR_MS)
    sharing = stage.patient.share(stage.recipient.address, permission)
    stage.grant = prepared = await stage.wait(sharing, "the grant to be final")
    terms = prepared.terms
    choice, budget = await stage.patient.plan(RECIPIENT, terms.grant_id)
    act.say(
        f"{RECIPIENT} may open this patient's {SCOPE!r}, for treatment, for 24 hours. {len(terms.holders)} hospitals"
        f" hold key fragments: {', '.join(terms.holders)}; any {terms.threshold} of them, with {RECIPIENT}'s own key, open."
    )
    smallest = budget.smallest
    act.say(
        f"Whom that trusts: {', '.join(smallest.members)} together could betray the patient, and would get {smallest.gains}."
    )
    act.check(
        RECIPIENT not in terms.holders and choice.holders == terms.holders,
        "no fragment lies with the recipient's own hospital, and anybody can recompute the choice of holders",
    )
    asked = [stage.device.session.gateway(name).grant_access(terms.grant_id, each) for name, each in _fragments(prepared)]
    _, faults = await stage.wait(ask_all(terms.holders, asked), "the holders")
    await stage.wait(stage.alliance.until_final(stage.device.session.height), "all members to know the grant")
    act.check(not faults, f"{', '.join(terms.holders)} each say that their fragment fits the ledger, is sealed and durable")


def _fragments(prepared: PreparedGrant) -> Iterator[tuple[str, bytes]]:
    """Each holder with its key fragment; bringing it once more changes nothing."""
    return zip(prepared.terms.holders, prepared.kfrags, strict=True)


async def open_elsewhere(stage: Stage, act: Act) -> None:
    """The other hospital asks, opens all three files, and has what the first one had (S5)."""
    for file in stage.files:
        started = time.monotonic()
        data, holders = await open_file(stage, act, file)
        seconds = time.monotonic() - started
        what = await asyncio.to_thread(file.describe, data)
        act.check(data == file.data, f"{file.name}: equal byte for byte, {what} ({seconds:.2f} s)")
        if len(data) >= MEBIBYTE:
            stage.facts.append(("64 MiB requested, fetched, opened", f"{seconds:.2f} s"))
    act.say(f"Fragments came from {', '.join(holders)}; each release is signed, and a receipt stands on the ledger.")


async def open_file(stage: Stage, act: Act, file: StoredFile) -> tuple[bytes, list[str]]:
    """The file's bytes as the recipient gets them, and the holders that released a fragment."""
    opened = await stage.wait(_open(stage, act, file), f"the {file.name} to be open")
    stage.opened += 1
    return opened


async def _open(stage: Stage, act: Act, file: StoredFile) -> tuple[bytes, list[str]]:
    client, pieces = stage.recipient.client, bytearray()
    opened = await client.open(stage.grant.terms.grant_id, file.reference, REASON)
    with act.bar(f"{file.name:<15}", len(file.data), "bytes opened") as done:
        async for piece in client.read(opened):
            pieces += piece
            done(len(pieces))
    silent = [name for name, _ in opened.faults]
    return bytes(pieces), [name for name in stage.grant.terms.holders if name not in silent]


def _describe_bundle(data: bytes) -> str:
    bundle = read_bundle(data)
    return f"{bundle.resources} FHIR R4 resources parsed"


def _describe_study(data: bytes) -> str:
    study = read_study(data)
    return f"{study.images} DICOM images of {study.series} series ({study.description}) parsed"


def _describe_large(data: bytes) -> str:
    return f"SHA-256 {hashlib.sha256(data).hexdigest()[:16]}..."
