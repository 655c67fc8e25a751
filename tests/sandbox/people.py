"""A patient and two institutions with their clients, over a running sandbox alliance."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.session import Session
from consilium.client.sharing import Permission, Recipient
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Purpose
from consilium.sandbox.gateway import LocalGateway
from consilium.sandbox.replicas import wall_clock_ms

if TYPE_CHECKING:
    from consilium.client.alliance import MemberGateway
    from consilium.sandbox.alliance import Alliance

DAY_MS = 86_400_000
REASON = sha256(b"a test's referral")


def session(alliance: Alliance, home: str) -> Session:
    """A client that starts from the genesis alone."""
    gateways: dict[str, MemberGateway] = {name: LocalGateway(member) for name, member in alliance.members.items()}
    return Session(alliance.genesis, home, gateways, Ed25519Verifier())


def patient(alliance: Alliance, home: str = "2A") -> PatientClient:
    """A new patient with a device of her own."""
    return PatientClient(session(alliance, home), PatientKeys(secrets.token_bytes(32)), "all", 0, None)


def institution(alliance: Alliance, home: str) -> tuple[RecipientClient, RecipientKeys, Recipient]:
    """A hospital's client, its keys, and its address for grants."""
    keys = RecipientKeys(secrets.token_bytes(32))
    address = Recipient(home, keys.author.public_key, keys.receiving.public_key)
    return RecipientClient(session(alliance, home), keys), keys, address


def for_a_day() -> Permission:
    """Treatment, from a moment ago until tomorrow."""
    now_ms = wall_clock_ms()
    return Permission(Purpose.TREATMENT, sha256(b"a ward"), now_ms - DAY_MS, now_ms + DAY_MS)
