"""Rivals: several clients at several members who act on one grant at the same time, so that its history can go wrong.

In a round a patient's device grants, while the same patient's other device revokes, the clinician asks at two members, and
nobody waits for anybody. The sessions write down when each act began and ended and how it was answered.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import ID_BYTES, PatientClient
from consilium.client.sharing import Permission, Recipient, request_record
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import Purpose, RevokeBody
from tests.nemesis.work import DAY_MS, EVIDENCE, PAUSE_S, session

if TYPE_CHECKING:
    from consilium.client.remote import Alliance
    from consilium.client.sharing import RecordReference
    from consilium.kernel.signing import Signer
    from consilium.kernel.transactions import Body
    from tests.nemesis.book import Book, NotingSession

SCOPE = "all"
SPREAD_S = 0.8
"""Over how long the acts of a round begin: about as long as two blocks take."""
REVOCATIONS, QUESTIONS = 2, 4
"""How many of each go with one grant."""
ROUNDS_A_KEY = 100
"""How many grants one key gives: fewer than a ledger takes."""


@dataclass(slots=True)
class Rivals:
    """A patient with devices at two members, and a clinician who asks at two."""

    chance: random.Random
    devices: tuple[NotingSession, NotingSession]
    desks: tuple[NotingSession, NotingSession]
    recipient_member: str
    permission: Permission

    @classmethod
    def among(cls, members: list[Alliance], book: Book, seed: str) -> Rivals:
        """Rivals at four members; the last is the recipient's own."""
        one, two, three, four = [session(each, book) for each in members]
        now_ms = members[0].genesis.time_ms
        permission = Permission(Purpose.TREATMENT, sha256(b"rivals"), now_ms - DAY_MS, now_ms + DAY_MS)
        chance = random.Random(seed)  # noqa: S311  pauses, no secret
        return cls(chance, (one, two), (three, four), members[3].settings.member_id, permission)

    async def work(self, stopping: asyncio.Event) -> None:
        """Play rounds until told to stop; what fails was not acknowledged, and the history says so."""
        while not stopping.is_set():
            try:
                await self._with_a_key(stopping)
            except (ConsiliumError, OSError):
                await asyncio.sleep(PAUSE_S)

    async def _with_a_key(self, stopping: asyncio.Event) -> None:
        secret = PatientKeys(secrets.token_bytes(32))
        patient = PatientClient(self.devices[0], secret, SCOPE, 0, None)
        keys = RecipientKeys(secrets.token_bytes(32))
        reference = await patient.write(b"what it is all about")
        for _ in range(ROUNDS_A_KEY):
            if stopping.is_set():
                return
            await self._round(patient, secret.author(SCOPE, 0), keys, reference)

    async def _round(self, patient: PatientClient, author: Signer, keys: RecipientKeys, reference: RecordReference) -> None:
        grant_id = secrets.token_bytes(ID_BYTES)
        choice, _ = await patient.plan(self.recipient_member, grant_id)
        address = Recipient(self.recipient_member, keys.author.public_key, keys.receiving.public_key)
        grant = patient.owner.grant(grant_id, address, self.permission, choice)
        asked = request_record(grant.terms, reference, EVIDENCE)
        revoking = [(self.devices[place % 2], RevokeBody(grant_id, None, ()), author) for place in range(1, 1 + REVOCATIONS)]
        asking = [(self.desks[place % 2], asked, keys.author) for place in range(QUESTIONS)]
        acts: list[tuple[NotingSession, Body, Signer]] = [(self.devices[0], grant.body, author), *revoking, *asking]
        await asyncio.gather(*(self._act(*each) for each in acts))

    async def _act(self, device: NotingSession, body: Body, signer: Signer) -> None:
        """Begin some time into the round; a failure is an end that nobody heard of."""
        await asyncio.sleep(self.chance.uniform(0, SPREAD_S))
        try:
            await device.perform(body, signer)
        except (ConsiliumError, OSError):
            await asyncio.sleep(PAUSE_S)
