"""What it costs to grant and to open, whatever the size of the record; and how fast a record goes in and comes out.

Through the SDK, as an application would: the home's administrator for the patient's device, another member's for the
recipient. Bytes are those of the values that travel: they are encoded here once more and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bench.rig.running import Running, own_cpu_us
from consilium.client import Permission, Purpose, Recipient, RecipientKeys, open_alliance
from consilium.client.keys import PatientKeys
from consilium.client.settings import client_settings
from consilium.client.sharing import request_record
from consilium.kernel.authoring import sign_payload
from consilium.kernel.encoding import encode
from consilium.kernel.transactions import GrantBody, Payload, RequestBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from consilium.client.patient import PatientClient
    from consilium.client.recipient import OpenedRecord, RecipientClient
    from consilium.client.remote import Alliance
    from consilium.client.sharing import PreparedGrant, RecordReference

MIB = 1_048_576
EVIDENCE = bytes(32)
DAY_MS = 86_400_000

Made = TypeVar("Made")


class Sharing(NamedTuple):
    """A grant and an opening: milliseconds of CPU in the client, and the bytes that travel."""

    grant_ms: float
    open_ms: float
    grant_bytes: int
    open_bytes: int
    manifest_bytes: int


class Speed(NamedTuple):
    """MiB a second by the clock, and milliseconds of CPU a MiB: of the client, and of all storage services."""

    mib_s: float
    client_ms: float
    storage_ms: float


@dataclass(frozen=True, slots=True)
class Parties:
    """The patient's client at its home, and the recipient's at another member."""

    running: Running
    home: Alliance
    patient: PatientClient
    away: Alliance
    recipient: RecipientClient
    keys: RecipientKeys

    async def grant(self) -> PreparedGrant:
        """Share all records of the scope for a day."""
        now_ms = time.time_ns() // 1_000_000
        whom = Recipient(self.away.settings.member_id, self.keys.author.public_key, self.keys.receiving.public_key)
        permission = Permission(Purpose.TREATMENT, EVIDENCE, now_ms - DAY_MS, now_ms + DAY_MS)
        grant = await self.patient.share(whom, permission)
        # The recipient's own ledger may be a moment behind the patient's, and tells the newest that is final there.
        await self.running.alliance.until_final(self.home.session.height, self.away.settings.member_id)
        return grant

    async def share(self, reference: RecordReference, rounds: int) -> Sharing:
        """Grant and open a record, several times; medians."""
        grants, opens = [], []
        for _ in range(rounds):
            begun = own_cpu_us()
            grant = await self.grant()
            granted = own_cpu_us()
            opened = await self.recipient.open(grant.terms.grant_id, reference, EVIDENCE)
            grants.append((granted - begun) / 1_000)
            opens.append((own_cpu_us() - granted) / 1_000)
        given, asked = await self._bytes(grant, reference, opened)
        manifest = len(encode(opened.manifest, self.home.genesis.chain_id))
        return Sharing(statistics.median(grants), statistics.median(opens), given, asked, manifest)

    async def _bytes(self, grant: PreparedGrant, reference: RecordReference, opened: OpenedRecord) -> tuple[int, int]:
        """The grant with its fragments, and the request with the releases of all holders."""
        given = self._signed_bytes(grant.body) + sum(map(len, grant.kfrags))
        asked = self._signed_bytes(request_record(grant.terms, reference, EVIDENCE))
        for name in grant.terms.holders:
            gateway = self.away.session.gateway(name)
            release = await gateway.reencrypt_capsule(opened.request.transaction_hash, opened.manifest.sealed.capsule)
            asked += len(encode(release, self.home.genesis.chain_id))
        return given, asked

    def _signed_bytes(self, body: GrantBody | RequestBody) -> int:
        """How large an act is as a transaction."""
        author = self.keys.author
        payload = Payload(author.public_key, bytes(16), self.home.session.height, body)
        return len(sign_payload(payload, author, self.home.genesis.chain_id))

    async def transfer(self, source: Path, size: int, rounds: int) -> tuple[Speed, Speed]:
        """Write a file as a record and read it back at the other member, several times; the median put and get."""
        puts, gets, grant = [], [], await self.grant()

        async def read(opened: OpenedRecord) -> int:
            return sum([len(piece) async for piece in self.recipient.read(opened)])

        for _ in range(rounds):
            put, reference = await self._timed(size, self.patient.write(source))
            opened = await self.recipient.open(grant.terms.grant_id, reference, EVIDENCE)
            get, came_back = await self._timed(size, read(opened))
            assert came_back == size, "every byte came back"
            puts.append(put)
            gets.append(get)
        return sorted(puts)[rounds // 2], sorted(gets)[rounds // 2]

    async def _timed(self, size: int, work: Awaitable[Made]) -> tuple[Speed, Made]:
        """How fast so many bytes were, and what came of it."""
        started, own, storage = time.perf_counter(), own_cpu_us(), self.running.cpu_us("storage")
        made = await work
        took_s, mib = time.perf_counter() - started, size / MIB
        own, storage = own_cpu_us() - own, self.running.cpu_us("storage") - storage
        return Speed(mib / took_s, own / mib / 1_000, storage / mib / 1_000), made


@contextlib.asynccontextmanager
async def parties(running: Running) -> AsyncIterator[Parties]:
    """A patient of the first member, and a recipient at the last."""
    first, last = running.members[0], running.members[-1]
    keys = RecipientKeys(secrets.token_bytes(32))
    async with (
        open_alliance(client_settings(first.client_settings)) as home,
        open_alliance(client_settings(last.client_settings)) as away,
    ):
        patient = home.patient(PatientKeys(secrets.token_bytes(32)), "bench")
        yield Parties(running, home, patient, away, away.recipient(keys), keys)


async def write_noise(path: Path, size: int) -> Path:
    """A file of so many random bytes."""

    def write() -> None:
        with path.open("wb") as file:
            for first in range(0, size, MIB):
                file.write(secrets.token_bytes(min(MIB, size - first)))

    await asyncio.to_thread(write)
    return path
