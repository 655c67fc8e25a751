"""A member of a running alliance whose objects lie in Cassandra: written at home, opened elsewhere, byte for byte (S2)."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.client import Permission, Purpose, Recipient, RecipientKeys, open_alliance
from consilium.client.keys import PatientKeys
from consilium.client.settings import client_settings
from consilium.sandbox.founders import founders_of
from consilium.sandbox.layout import to_toml
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, opened
from consilium.storage.cassandra.schema import migrate
from consilium.storage.cassandra.session import Database
from tests.ring.ring import MIGRATOR, SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.sandbox.local import SandboxAlliance, SandboxMember
    from tests.ring.ring import Ring

EVIDENCE = bytes(32)
DAY_MS = 86_400_000
SIZE = 3_000_000


def on_cassandra(alliance: SandboxAlliance, member: str, ring: Ring, keyspace: str) -> None:
    """Have this member's objects lie there: a keyspace that a single instance answers for."""
    settings = replace(ring.settings(keyspace, MIGRATOR), member_id=member, cassandra_replication=1)
    database = Database.open(settings)
    migrate(database, settings, alliance.genesis.chain_id)
    for right in ("SELECT", "MODIFY"):
        database.say(f"GRANT {right} ON KEYSPACE {keyspace} TO {SERVICE}")
    database.close()
    service = replace(ring.settings(keyspace), cassandra_replication=1)
    names = ("objects", "cassandra_hosts", "cassandra_keyspace", "cassandra_replication", "cassandra_tls_directory")
    changed = {name: getattr(service, name) for name in (*names, "cassandra_password_file")}
    path = alliance.layout.settings_path(member)
    added = to_toml({"storage": changed}, "").decode().partition("[storage]\n")[2]
    path.write_text(path.read_text().replace("[storage]\n", f"[storage]\n{added}\n"))


async def shared(home: SandboxMember, away: SandboxMember, source: Path, alliance: SandboxAlliance) -> bytes:
    """What a recipient at another member reads of a record written at home."""
    keys, now_ms = RecipientKeys(secrets.token_bytes(32)), time.time_ns() // 1_000_000
    async with (
        open_alliance(client_settings(home.client_settings)) as ours,
        open_alliance(client_settings(away.client_settings)) as theirs,
    ):
        patient, recipient = ours.patient(PatientKeys(secrets.token_bytes(32)), "lin"), theirs.recipient(keys)
        reference = await patient.write(source)
        whom = Recipient(away.member_id, keys.author.public_key, keys.receiving.public_key)
        grant = await patient.share(whom, Permission(Purpose.TREATMENT, EVIDENCE, now_ms - DAY_MS, now_ms + DAY_MS))
        await alliance.until_final(ours.session.height, away.member_id)
        record = await recipient.open(grant.terms.grant_id, reference, EVIDENCE)
        return b"".join([piece async for piece in recipient.read(record)])


@pytest.mark.slow
def test_s2_a_record_is_shared_from_a_member_on_cassandra(ring: Ring, tmp_path: Path, worker_id: str) -> None:
    source = tmp_path / "scan"
    source.write_bytes(os.urandom(SIZE))

    async def scene(alliance: SandboxAlliance) -> bytes:
        first, *_, last = alliance.members.values()
        on_cassandra(alliance, first.member_id, ring, f"sandbox_{worker_id}")
        await alliance.start()
        try:
            return await shared(first, last, source, alliance)
        finally:
            await alliance.stop()

    with opened(tmp_path / "alliance", founders_of(4), SANDBOX_PARAMETERS, NOTHING) as alliance:
        assert asyncio.run(scene(alliance)) == source.read_bytes()
        member = next(iter(alliance.members))
        assert not list((alliance.layout.member(member) / "storage").glob("chunks/*"))
