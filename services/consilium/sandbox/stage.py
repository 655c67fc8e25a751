"""What the acts of the story share: the alliance, the people with their keys, and what they have done so far."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from consilium.api.identity.v1 import identity_pb2
from consilium.client.alliance import MemberGateway
from consilium.client.custody import Custody, Seed, create_keystore
from consilium.client.enrolment import draft, issue, write_credential
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.remote import Alliance, open_alliance
from consilium.client.settings import ClientSettings
from consilium.client.sharing import PreparedGrant, Recipient, RecordReference
from consilium.kernel.hashing import sha256
from consilium.runtime.channels import Limits
from consilium.runtime.settings import FILE_VARIABLE, load
from consilium.sandbox.chain_watch import ChainWatch
from consilium.sandbox.local import SandboxAlliance
from consilium.sandbox.teller import StoryFailed

HOME, RECIPIENT, STRANGER = "2A", "3A", "3B"
"""The patient's hospital, the one she is referred to, and one that has nothing to do with her."""
SCOPE = "whole record"
"""What the patient's keys of the story are for."""
REASON = sha256(b"the referral letter, which never leaves the hospital")
"""The digest of why the recipient asks (S3)."""
WAIT_S = 60
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
    """A physician's client at a hospital: her credential, the hospital's keys, and their own conversation with it."""

    def __init__(self, alliance: Alliance) -> None:
        self.member_id = alliance.settings.member_id
        self.keys = RecipientKeys(secrets.token_bytes(32))
        self.alliance = alliance
        self.session = alliance.session
        self.client: RecipientClient = alliance.recipient(self.keys)

    @property
    def address(self) -> Recipient:
        """What the patient is told to make a grant to it."""
        return Recipient(self.member_id, self.keys.author.public_key, self.keys.receiving.public_key)


class Stage:
    """Everything the acts need; made by `set_stage` once the alliance runs."""

    def __init__(
        self, alliance: SandboxAlliance, people: Path, administrators: dict[str, Alliance], opened: AsyncExitStack
    ) -> None:
        self.alliance, self.administrators, self._people = alliance, administrators, people
        self.chain = ChainWatch(alliance.genesis, administrators[HOME].session.home)
        self.files: list[StoredFile] = []
        self.opened = 0
        """How often the recipient opened a file."""
        self.facts: list[tuple[str, str]] = []
        """Figures for the table at the end."""
        self.recipient: Institution
        self.stranger: Institution
        self.device: Alliance
        """The patient's device: the alliance through her own credential."""
        self.patient_keys: PatientKeys
        self.patient: PatientClient
        self.grant: PreparedGrant
        self._opened = opened

    async def follow(self) -> None:
        """Watch the chain through the ledger of the patient's hospital, until cancelled."""
        async with self.alliance.member(HOME).channel("ledger", Limits(stream_s=None)) as channel:
            await self.chain.follow(channel)

    def gateway(self, member_id: str) -> MemberGateway:
        """The way to a member, as an administrator of the patient's hospital."""
        return self.administrators[HOME].session.gateway(member_id)

    # --- enrolling ---

    async def enrol(self, member_id: str, kind: identity_pb2.CredentialKind.ValueType, role: str = "") -> Alliance:
        """Have a member's identity certify a new person's keys; the alliance, through that credential."""
        administrator, folder = self.administrators[member_id], self.folder_of(member_id, role or "patient")
        chain_id = self.alliance.genesis.chain_id
        asked = draft(member_id, kind, chain_id, role=role)
        write_credential(folder, asked, await issue(administrator.identity, asked), chain_id)
        return await self._opened.enter_async_context(open_alliance(settings_of(self.alliance, member_id, folder)))

    def folder_of(self, member_id: str, name: str) -> Path:
        """Where a person's credential lies: on a device of her own, so outside the member's folder."""
        return self._people / f"{member_id}-{name}"

    def enrol_patient(self) -> Path:
        """Draw the patient's seed on a device of her own and lock it into a keystore file, whose path is returned."""
        seed, path = secrets.token_bytes(32), self.folder_of(HOME, "patient") / "keystore"
        create_keystore(path, secrets.token_urlsafe(16), Custody((Seed("mine", seed),)))
        self.patient_keys = PatientKeys(seed)
        self.patient = self.device.patient(self.patient_keys, SCOPE)
        return path

    # --- looking ---

    def file_of(self, member_id: str, record_id: bytes) -> Path:
        """The file in which a member's storage would keep a record's object."""
        return self.alliance.service(member_id, "storage").state_folder / "chunks" / record_id.hex()

    def keepers(self, record_id: bytes) -> list[str]:
        """The members on whose disks a record's object lies."""
        return [each for each in self.alliance.members if self.file_of(each, record_id).exists()]

    async def wait(self, awaitable: Awaitable[Answer], what: str) -> Answer:
        """Wait for something that must come; raises StoryFailed when it does not."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await awaitable
        except TimeoutError as error:
            raise StoryFailed(f"For {WAIT_S} seconds the story waited in vain for {what}.") from error


def settings_of(alliance: SandboxAlliance, member_id: str, credential: Path) -> ClientSettings:
    """What a client of a member needs, with another credential than the administrator's."""
    path = alliance.member(member_id).client_settings
    return load(ClientSettings, {FILE_VARIABLE: str(path), "CONSILIUM_CLIENT_CREDENTIAL": str(credential)})


async def set_stage(alliance: SandboxAlliance, people: Path, opened: AsyncExitStack) -> Stage:
    """The stage over a running alliance; credentials will lie below `people`, connections end with `opened`."""
    administrators = {}
    for name, member in alliance.members.items():
        settings = settings_of(alliance, name, member.administrator)
        administrators[name] = await opened.enter_async_context(open_alliance(settings))
    return Stage(alliance, people, administrators, opened)
