"""The first acts: enrol, store, grant, open elsewhere (rules S1 to S5).

Every act does the real thing through the real clients and checks what came of it; `Act.check` ends the
story with a sentence when something does not hold.
"""

import asyncio
import hashlib
import stat
import time
from collections.abc import Callable

from rich.table import Table

from consilium.client.patient import PatientClient
from consilium.client.sharing import Permission
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import Purpose
from consilium.sandbox.gateway import LocalGateway
from consilium.sandbox.medical import dicom_study, fhir_bundle, large_object, read_bundle, read_study
from consilium.sandbox.member import Member
from consilium.sandbox.replicas import wall_clock_ms
from consilium.sandbox.stage import HOME, REASON, RECIPIENT, SCOPE, Stage, StoredFile
from consilium.sandbox.teller import Act

HOUR_MS = 3_600_000
MEBIBYTE = 1024 * 1024


async def enrol(stage: Stage, act: Act) -> None:
    """Five hospitals found an alliance; a patient gets her keys (S1)."""
    chain = stage.ledger.chain
    await stage.wait(stage.ledger.until(lambda each: each.certified_height >= 1), "the first final block")
    table = Table(show_edge=False, pad_edge=True)
    for heading in ("hospital", "owner", "grade", "this epoch"):
        table.add_column(heading)
    for member in chain.active_members():
        profile = member.profile
        role = "delegate" if profile.member_id in stage.committee() else "follows, without a vote"
        table.add_row(profile.member_id, profile.owner_group, profile.grade.name, role)
    act.show(table)
    act.say(f"The chain is named by its genesis file: [bold]{chain.chain_id.hex()[:32]}[/]...")
    session = stage.new_session()
    proven = [await session.member(each.member_id) for each in stage.genesis.members]
    act.check(
        [each.profile for each in proven] == list(stage.genesis.members),
        f"all {len(proven)} members and their keys are proven by the state of block {session.height},"
        " to a client that holds the genesis file alone",
    )
    path = stage.enrol_patient()
    act.check(
        stat.filemode(path.stat().st_mode) == "-rw-------",
        f"the patient's seed is drawn on her own device and locked into {path.name} (Argon2id, mode 0600)",
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
        gateways = {**stage.gateways, HOME: _WatchedGateway(stage.alliance.member(HOME), len(data), done)}
        writer = PatientClient(stage.new_session(gateways), stage.patient_keys, SCOPE, 0, None)
        reference = await stage.wait(writer.write(data, HOME), f"the {name} to be final")
        done(len(data))
    seconds = time.monotonic() - started
    stage.files.append(StoredFile(name, data, describe, reference))
    keepers = [each.member_id for each in stage.alliance.up if reference.record_id in await each.storage.record_ids()]
    act.check(
        HOME in keepers and len(keepers) == 2,  # noqa: PLR2004  home and one copy
        f"{name}: at home in {HOME}, a copy in {', '.join(each for each in keepers if each != HOME)};"
        f" registered and final after {seconds:.2f} s",
    )
    return seconds


class _WatchedGateway(LocalGateway):
    """The way to a member, with an eye on how many bytes of one object have gone over it."""

    def __init__(self, member: Member, total: int, done: Callable[[int], None]) -> None:
        super().__init__(member)
        self._total, self._done, self._sent = total, done, 0

    async def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Pass the chunk on, then count it; padding is not counted as the object's."""
        await super().put_chunk(record_id, index, chunk)
        self._sent += len(chunk)
        self._done(min(self._sent, self._total))


async def grant(stage: Stage, act: Act) -> None:
    """The patient lets one hospital in, for one purpose and a day (S3, S4)."""
    now_ms = wall_clock_ms()
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
    held = [name for name in terms.holders if terms.grant_id in stage.alliance.member(name).holder.grant_ids]
    act.check(len(held) == len(terms.holders), f"{', '.join(held)} each checked and sealed their fragment")


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
        async for piece in client.read(opened, file.reference.holder):
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
