"""The load: wards that enrol devices, write records, grant them to another hospital, which opens them, and revoke again.

A ward goes on whatever is killed: an act that fails was not acknowledged, is counted with its reason, and the ward
tries another. At the end, with everybody up, everything acknowledged is asked for again.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.client.enrolment import draft, issue
from consilium.client.enrolment import revoke as end_credential
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.remote import open_alliance
from consilium.client.settings import ClientSettings
from consilium.client.sharing import Permission, Recipient
from consilium.kernel.errors import ConsiliumError, DeadlineExceeded, PermissionDenied, Unavailable
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import Purpose
from consilium.runtime.settings import FILE_VARIABLE, load
from tests.nemesis.book import Fragment, NotingSession, Place
from tests.nemesis.kills import LIVENESS_S
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable

    from consilium.client.recipient import OpenedRecord
    from consilium.client.remote import Alliance
    from consilium.client.session import Session
    from consilium.client.sharing import PreparedGrant, RecordReference
    from consilium.sandbox.local import SandboxAlliance
    from tests.nemesis.book import Book

DAY_MS = 86_400_000
EVIDENCE = sha256(b"a referral")
RECORD_BYTES_MAX = 200_000
"""The largest record: a few chunks, so that a put is often under way when something is killed."""
PAUSE_S = 0.3
"""The pause after an act that failed, so that what is down is not asked without end."""
CALL_S, WAIT_S = 10, 20
"""How long clients wait for an answer, and for finality: longer than a view change, shorter than a run."""
AT_ONCE = 8


@asynccontextmanager
async def clients(alliance: SandboxAlliance) -> AsyncIterator[dict[str, Alliance]]:
    """A client of every member, with its administrator's credential."""
    async with AsyncExitStack() as stack:
        found = {}
        for name, member in alliance.members.items():
            file = {FILE_VARIABLE: str(member.client_settings)}
            limits = {"CONSILIUM_CLIENT_WAIT_S": str(WAIT_S), "CONSILIUM_CLIENT_CALL_S": str(CALL_S)}
            found[name] = await stack.enter_async_context(open_alliance(load(ClientSettings, {**file, **limits})))
        yield found


def session(client: Alliance, book: Book) -> NotingSession:
    """A conversation that starts from the genesis alone and writes down what is acknowledged."""
    inner = client.new_session()
    return NotingSession(client.genesis, inner.home_id, inner.members, inner.verifier, book)


@dataclass(slots=True)
class Written:
    """A record as it was handed in, once its registration was final."""

    reference: RecordReference
    digest: bytes


@dataclass(slots=True)
class Ward:
    """A patient at one member and a clinician at another."""

    name: str
    chance: random.Random
    home: Alliance
    patient: PatientClient
    clinician: RecipientClient
    address: Recipient
    book: Book
    genesis_ms: int
    written: list[Written] = field(default_factory=list)
    live: list[PreparedGrant] = field(default_factory=list)
    """Grants that were acknowledged and not revoked, as far as this ward knows."""
    revoked: list[PreparedGrant] = field(default_factory=list)
    """Grants whose end was acknowledged."""
    enrolled: dict[bytes, pb.Credential] = field(default_factory=dict)
    """Credentials as the home member's identity service last acknowledged them, by id."""

    @classmethod
    def between(cls, home: Alliance, other: Alliance, book: Book, seed: str) -> Ward:
        """A ward of one member whose records go to another."""
        chance = random.Random(seed)  # noqa: S311  made-up people and files
        keys = RecipientKeys(chance.randbytes(32))
        patient = PatientClient(session(home, book), PatientKeys(chance.randbytes(32)), "all", 0, None)
        member_id = other.settings.member_id
        address = Recipient(member_id, keys.author.public_key, keys.receiving.public_key)
        clinician = RecipientClient(session(other, book), keys)
        name = f"{home.settings.member_id} to {member_id}"
        return cls(name, chance, home, patient, clinician, address, book, home.genesis.time_ms)

    # --- under load ---

    async def work(self, stopping: asyncio.Event) -> None:
        """Act until told to stop; the act under way is finished."""
        acts: dict[Callable[[], Awaitable[None]], int] = {
            self.write: 5, self.open: 8, self.share: 3, self.revoke: 2, self.enrol: 2,
        }  # fmt: skip
        while not stopping.is_set():
            act = self.chance.choices(list(acts), list(acts.values()))[0]
            try:
                await act()
                self.book.done[act.__name__] += 1
            except (ConsiliumError, OSError) as error:
                self.book.failed[getattr(error, "reason", type(error).__name__)] += 1
                await asyncio.sleep(PAUSE_S)

    async def write(self) -> None:
        """Put and register a record."""
        data = self.chance.randbytes(self.chance.randrange(1, RECORD_BYTES_MAX))
        self.written.append(Written(await self.patient.write(data), sha256(data)))

    async def share(self) -> None:
        """Grant the patient's records; delivered to as many holders as it takes, or this fails."""
        grants = self.patient.grants
        before = len(grants)
        now_ms = self.genesis_ms
        permission = Permission(Purpose.TREATMENT, sha256(b"a ward"), now_ms - DAY_MS, now_ms + DAY_MS)
        try:
            await self.patient.share(self.address, permission)
        finally:
            self.live += grants[before:]

    async def open(self) -> None:
        """Read a record that was written before, at the other member, and compare."""
        if self.live and self.written:
            await self.read(self.chance.choice(self.live), self.chance.choice(self.written))

    async def revoke(self) -> None:
        """End a grant; its holders delete."""
        if len(self.live) > 1:
            grant = self.live[self.chance.randrange(len(self.live))]
            # From here on nobody knows until it is acknowledged.
            self.live.remove(grant)
            await self.patient.revoke(grant)
            self.revoked.append(grant)

    async def enrol(self) -> None:
        """Have a patient's device enrolled; every other time it is lost again."""
        drafted = draft(self.home.settings.member_id, pb.CREDENTIAL_KIND_PATIENT, self.home.genesis.chain_id)
        credential = (await issue(self.home.identity, drafted)).credential
        name = credential.credential_id
        self.enrolled[name] = credential
        if self.chance.randrange(2):
            del self.enrolled[name]  # nobody knows how it stands until this is acknowledged
            self.enrolled[name] = await end_credential(self.home.identity, name, pb.REVOCATION_REASON_KEY_COMPROMISE)

    async def read(self, grant: PreparedGrant, record: Written, *, all_up: bool = False) -> None:
        """Open a record under a grant; raises Violation when other bytes come out, or a holder lost its fragment.

        With everybody up, a holder that took its fragment and does not release it is at fault whatever it says.
        """
        grant_id = grant.terms.grant_id
        opened = await (self.opened_at_last if all_up else self.opened)(grant, record)
        data = b"".join([piece async for piece in self.clinician.read(opened)])
        if sha256(data) != record.digest:
            raise Violation("durability", f"{self.name}: record {record.reference.record_id.hex()} holds other bytes.")
        taken = self.holders(grant)
        lost = [f"{name}: {error}" for name, error in opened.faults if name in taken and (all_up or _lost(error))]
        if lost:
            raise Violation("durability", f"A fragment of {grant_id.hex()} was taken and is not used: {'; '.join(lost)}.")

    async def opened(self, grant: PreparedGrant, record: Written) -> OpenedRecord:
        """Ask for a record under a grant; raises as `RecipientClient.open`."""
        return await self.clinician.open(grant.terms.grant_id, record.reference, EVIDENCE)

    async def opened_at_last(self, grant: PreparedGrant, record: Written) -> OpenedRecord:
        """Open it once no holder is only late, as one may be on a busy machine; raises what the last try ends with."""
        over_s = time.monotonic() + LIVENESS_S
        while True:
            try:
                opened = await self.opened(grant, record)
            except ConsiliumError as error:
                if error.reason != "TOO_FEW_FRAGMENTS" or time.monotonic() > over_s:
                    raise
            else:
                if time.monotonic() > over_s or not any(_late(error) for _, error in opened.faults):
                    return opened

    def holders(self, grant: PreparedGrant) -> list[str]:
        """The holders that took their fragment of a grant."""
        return [each for each in grant.terms.holders if Fragment(grant.terms.grant_id, each) in self.book.taken]

    # --- afterwards ---

    async def check(self) -> None:
        """With everybody up: records open, holders have what they took, what was revoked is refused, credentials stand."""
        await self.share()
        # One whose delivery failed may have too few holders.
        grants = [each for each in self.live if len(self.holders(each)) >= each.terms.threshold]
        count = max(len(grants), len(self.written)) if self.written else 0
        pairs = list(zip(cycle(grants), cycle(self.written), range(count), strict=False))
        await some_at_once(self.read(grant, record, all_up=True) for grant, record, _ in pairs)
        if self.written:
            await some_at_once(self.check_revoked(each) for each in self.revoked)
        await some_at_once(self.check_credential(each) for each in self.enrolled.values())

    async def check_credential(self, credential: pb.Credential) -> None:
        """The identity service knows a credential as it acknowledged it."""
        request = pb.GetCredentialRequest(credential_id=credential.credential_id)
        if (await self.home.identity.GetCredential(request)).credential != credential:
            name = credential.credential_id.hex()
            raise Violation("durability", f"{self.name}: credential {name} is not as it was acknowledged.")

    async def check_revoked(self, grant: PreparedGrant) -> None:
        """A grant whose end was acknowledged opens nothing."""
        try:
            await self.clinician.request(grant.terms.grant_id, self.written[0].reference, EVIDENCE)
        except PermissionDenied:
            return
        raise Violation("revocation", f"Grant {grant.terms.grant_id.hex()} was revoked and is granted.")


def _late(error: Exception) -> bool:
    return isinstance(error, Unavailable | DeadlineExceeded) or getattr(error, "reason", "") in {"NOT_FINAL", "STALE_TIP"}


def _lost(error: Exception) -> bool:
    return getattr(error, "reason", "") == "NOT_STORED"


async def some_at_once(works: Iterable[Coroutine[None, None, None]]) -> None:
    """Do all, so many at a time; raises what the first that fails raises."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def in_turn(work: Coroutine[None, None, None]) -> None:
        async with turn:
            await work

    await asyncio.gather(*map(in_turn, works))


async def check_everywhere(members: dict[str, Alliance], book: Book) -> int:
    """Everything that was final is proven by every member, to a client that trusts the genesis alone; how many proofs."""
    wanted = dict(book.final)
    for client in members.values():
        asking = client.new_session()
        await some_at_once([check_place(asking, each, place) for each, place in wanted.items()])
    return len(wanted) * len(members)


async def check_place(asking: Session, transaction_hash: bytes, place: Place) -> None:
    """A member proves a transaction where it was proven before."""
    found = await asking.verified(await asking.home.prove_transaction(transaction_hash))
    if found.transaction_hash != transaction_hash or Place(found.height, found.code) != place:
        name = transaction_hash.hex()
        raise Violation("durability", f"{asking.home_id} proves {name} at {found.height}: {found.code.name}, not {place}.")
