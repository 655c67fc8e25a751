"""SDK and command line: holds secret keys, encrypts before anything leaves, checks every answer, never serves.

What an integrator needs is here under one name; `sync` has the same without asyncio. docs/sdk.md shows it at work.
"""

from consilium.client.finding import FoundGrant, FoundGrants, find_grants
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import OpenedRecord, RecipientClient
from consilium.client.remote import Alliance, open_alliance
from consilium.client.report import Event, PatientReport, ReportLine
from consilium.client.session import Session
from consilium.client.settings import ClientSettings, client_settings
from consilium.client.sharing import Permission, PreparedGrant, Recipient, RecordReference
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.transactions import Purpose

__all__ = [
    "Alliance",
    "ClientSettings",
    "ConsiliumError",
    "Event",
    "FoundGrant",
    "FoundGrants",
    "OpenedRecord",
    "PatientClient",
    "PatientKeys",
    "PatientReport",
    "Permission",
    "PreparedGrant",
    "Purpose",
    "Recipient",
    "RecipientClient",
    "RecipientKeys",
    "RecordReference",
    "ReportLine",
    "Session",
    "client_settings",
    "find_grants",
    "open_alliance",
]
