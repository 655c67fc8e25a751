"""What the acts of the story share: the alliance, the people with their keys, and what they have done so far."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from consilium.client.alliance import MemberGateway
from consilium.client.custody import Custody, Seed, create_keystore
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.session import Session
from consilium.client.sharing import PreparedGrant, Recipient, RecordReference
from consilium.kernel.chain import Genesis
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Verifier
from consilium.sandbox.alliance import Alliance
from consilium.sandbox.founders import read_genesis
from consilium.sandbox.gateway import LocalGateway
from consilium.sandbox.ledgers import RunningLedger
from consilium.sandbox.teller import StoryFailed

HOME, RECIPIENT, STRANGER = "2A", "3A", "3B"
"""The patient's hospital, the one she is referred to, and one that has nothing to do with her."""
SCOPE = "whole record"
"""What the patient's keys of the story are for."""
REASON = sha256(b"the referral letter, which never leaves the hospital")
"""The digest of why the recipient asks (S3)."""
WAIT_S = 30
"""How long the story waits for anything before it fails, in seconds."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the patient's hospital had it, where it is now, and how to tell what it is once it is back."""

    name: str
    data: bytes = field(repr=False)
    describe: Callable[[bytes], str]
    reference: RecordReference


class Institution:
    """A hospital's client: its keys, and its own conversation with its own member."""

    def __init__(self, member_id: str, genesis: Genesis, gateways: dict[str, MemberGateway]) -> None:
        self.member_id = member_id
        self.keys = RecipientKeys(secrets.token_bytes(32))
        self.session = Session(genesis, member_id, gateways, Ed25519Verifier())
        self.client = RecipientClient(self.session, self.keys)

    @property
    def address(self) -> Recipient:
        """What the patient is told to make a grant to it."""
        return Recipient(self.member_id, self.keys.author.public_key, self.keys.receiving.public_key)


class Stage:
    """Everything the acts need; made once the alliance runs."""

    def __init__(self, folder: Path, alliance: Alliance) -> None:
        self.folder = folder
        self.alliance = alliance
        self.genesis = read_genesis(folder / "genesis")
        self.gateways: dict[str, MemberGateway] = {name: LocalGateway(member) for name, member in alliance.members.items()}
        self.recipient = Institution(RECIPIENT, self.genesis, self.gateways)
        self.stranger = Institution(STRANGER, self.genesis, self.gateways)
        self.files: list[StoredFile] = []
        self.opened = 0
        """How often the recipient opened a file."""
        self.facts: list[tuple[str, str]] = []
        """Figures for the table at the end."""
        self.patient_keys: PatientKeys
        self.patient: PatientClient
        self.grant: PreparedGrant

    def enrol_patient(self) -> Path:
        """Draw the patient's seed on a device of her own and lock it into a keystore file, whose path is returned."""
        seed, path = secrets.token_bytes(32), self.folder / "patient.keystore"
        create_keystore(path, secrets.token_urlsafe(16), Custody((Seed("mine", seed),)))
        self.patient_keys = PatientKeys(seed)
        self.patient = PatientClient(self.new_session(), self.patient_keys, SCOPE, 0, None)
        return path

    def new_session(self, gateways: dict[str, MemberGateway] | None = None) -> Session:
        """A client that knows nothing but the genesis file, with the patient's hospital as the member it asks."""
        return Session(self.genesis, HOME, gateways or self.gateways, Ed25519Verifier())

    @property
    def ledger(self) -> RunningLedger:
        """The ledger the story looks at: that of the patient's hospital."""
        return self.alliance.member(HOME).ledger

    def committee(self) -> list[str]:
        """The delegates of the sitting committee, in their order."""
        return [each.member_id for each in self.ledger.chain.tip.outlook.committee.delegates]

    async def wait(self, awaitable: Awaitable[Answer], what: str) -> Answer:
        """Wait for something that must come; raises StoryFailed when it does not."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await awaitable
        except TimeoutError as error:
            raise StoryFailed(f"For {WAIT_S} seconds the story waited in vain for {what}.") from error
