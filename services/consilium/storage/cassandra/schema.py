"""The tables of a member's keyspace, how they come to be, and what a service demands before it starts (design section 7).

`python -m consilium.storage migrate` makes the keyspace and brings its tables to this release's version, and nothing else
ever does: a service that finds none, an older or a newer version refuses to start, and so does a migration that finds a
newer one. The version stands beside the chain and the member it belongs to, so no service writes into another's.

Chunks are immutable rows named by their hash, in partitions of at most 8 MiB; manifests lie apart, and a manifest is what
makes an object. `drafts` names the records whose chunks may be there without one. Ciphertext is not compressed.
"""

import re
from contextlib import suppress

from cassandra.metadata import protect_name

from consilium.kernel.errors import FailedPrecondition, InvalidArgument, Unavailable
from consilium.storage.cassandra.session import Database, Row
from consilium.storage.settings import StorageSettings

BUCKET_CHUNKS = 32
"""How many chunks of 256 KiB share a partition: 8 MiB."""
_UNCOMPRESSED = "compression = {'enabled': 'false'}"
MIGRATIONS = (
    (
        f"""
        CREATE TABLE IF NOT EXISTS objects (record_id blob PRIMARY KEY, manifest blob, digest blob, buckets int)
        WITH {_UNCOMPRESSED}
        """,
        f"""
        CREATE TABLE IF NOT EXISTS chunks (
            record_id blob, bucket int, chunk_index int, chunk_hash blob, chunk blob,
            PRIMARY KEY ((record_id, bucket), chunk_index, chunk_hash)
        ) WITH {_UNCOMPRESSED}
        """,
        # A draft that comes back from the dead is only dropped again, so its tombstone may go early.
        "CREATE TABLE IF NOT EXISTS drafts (record_id blob PRIMARY KEY, buckets int) WITH gc_grace_seconds = 86400",
        "CREATE TABLE IF NOT EXISTS clock (name text PRIMARY KEY, reserved bigint)",
        "INSERT INTO clock (name, reserved) VALUES ('store', 0) IF NOT EXISTS",
    ),
)
"""What makes version 1, 2 and so on of the one before; all of it may run twice."""
VERSION = len(MIGRATIONS)
_VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_version (name text PRIMARY KEY, version int, chain_id blob, member_id text)
"""
_BEGIN = "INSERT INTO schema_version (name, version, chain_id, member_id) VALUES ('store', 0, ?, ?) IF NOT EXISTS"
_STEP = "UPDATE schema_version SET version = ? WHERE name = 'store' IF version = ?"
_DURABLE = ("batch", "group")
_KEYSPACE = re.compile(r"[a-z][a-z0-9_]{0,47}")


def migrate(database: Database, settings: StorageSettings, chain_id: bytes) -> int:
    """Bring the keyspace to this release's version, and let the service's role into it; how many steps that took.

    Raises FailedPrecondition: SCHEMA_NEWER, OTHER_KEYSPACE or REPLICATION_DIFFERS; InvalidArgument: BAD_SETTING; and as
    `Pending.rows`.
    """
    keyspace = keyspace_of(settings)
    datacenter = settings.cassandra_datacenter.replace("'", "''")
    factor = f"{{'class': 'NetworkTopologyStrategy', '{datacenter}': {settings.cassandra_replication}}}"
    # An instance that has not heard of a keyspace or table makes another one, whatever IF NOT EXISTS says.
    if not _replication(database, keyspace):
        database.say(f"CREATE KEYSPACE IF NOT EXISTS {protect_name(keyspace)} WITH replication = {factor}")
    _check_replication(database, settings)
    database.enter(keyspace)
    if not _has_versions(database, keyspace):
        database.say(_VERSIONS)
    database.run(database.prepare(_BEGIN), chain_id, settings.member_id)
    found = _version(database, settings, chain_id)
    for version in range(found, VERSION):
        for statement in MIGRATIONS[version]:
            database.say(statement)
        database.run(database.prepare(_STEP), version + 1, version)
    if settings.cassandra_grant_to:
        _let_in(database, keyspace, settings.cassandra_grant_to)
    return VERSION - found


def _let_in(database: Database, keyspace: str, role: str) -> None:
    """What a service may, and no more; whoever made a keyspace may let others in."""
    database.say(f"GRANT SELECT ON KEYSPACE {protect_name(keyspace)} TO {protect_name(role)}")
    database.say(f"GRANT MODIFY ON KEYSPACE {protect_name(keyspace)} TO {protect_name(role)}")


def check(database: Database, settings: StorageSettings, chain_id: bytes) -> None:
    """Enter the keyspace, if a service may start on it.

    Raises FailedPrecondition: SCHEMA_MISSING, SCHEMA_OLDER, SCHEMA_NEWER, OTHER_KEYSPACE, REPLICATION_DIFFERS or
    NOT_DURABLE; InvalidArgument: BAD_SETTING; and as `Pending.rows`.
    """
    _check_replication(database, settings)
    database.enter(keyspace_of(settings))
    version = _version(database, settings, chain_id)
    if version < VERSION:
        raise _not_migrated("SCHEMA_OLDER", f"Keyspace {settings.cassandra_keyspace} has schema version {version}")
    for each in database.instances():
        # One that went down just now is not asked: a ring goes on without it, and so does its service.
        with suppress(Unavailable):
            _check_durable(database, each)


def keyspace_of(settings: StorageSettings) -> str:
    """The keyspace's name. Raises InvalidArgument: BAD_SETTING."""
    name = settings.cassandra_keyspace
    if not _KEYSPACE.fullmatch(name):
        allowed = "small letters, digits and _, a letter first, 48 at most"
        raise InvalidArgument("BAD_SETTING", f"cassandra_keyspace is {name!r}; allowed: {allowed}.")
    return name


def _version(database: Database, settings: StorageSettings, chain_id: bytes) -> int:
    """The keyspace's version, once it is this member's and no newer than this release."""
    keyspace = keyspace_of(settings)
    if not _has_versions(database, keyspace):
        raise _not_migrated("SCHEMA_MISSING", f"Keyspace {keyspace} has no tables")
    rows = database.run(database.prepare("SELECT * FROM schema_version WHERE name = 'store'"))
    if not rows:
        raise _not_migrated("SCHEMA_MISSING", f"Keyspace {keyspace} has no version")
    if (rows[0].chain_id, rows[0].member_id) != (chain_id, settings.member_id):
        sentence = f"Keyspace {keyspace} belongs to {rows[0].member_id}, or to another alliance; every member has its own."
        raise FailedPrecondition("OTHER_KEYSPACE", sentence)
    version = int(rows[0].version)
    if version > VERSION:
        sentence = (
            f"Keyspace {keyspace} has schema version {version}, and this release knows {VERSION}; install a newer one."
        )
        raise FailedPrecondition("SCHEMA_NEWER", sentence)
    return version


def _has_versions(database: Database, keyspace: str) -> bool:
    tables = database.prepare("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?")
    return bool(database.schema(tables, keyspace, "schema_version"))


def _replication(database: Database, keyspace: str) -> list[Row]:
    """The keyspace's row in the schema, where there is one."""
    keyspaces = database.prepare("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?")
    return database.schema(keyspaces, keyspace)


def _not_migrated(reason: str, what: str) -> FailedPrecondition:
    sentence = f"{what}, and this release wants version {VERSION}; run `python -m consilium.storage migrate` once."
    return FailedPrecondition(reason, sentence)


def _check_replication(database: Database, settings: StorageSettings) -> None:
    """Raise FailedPrecondition unless the keyspace has as many copies as the settings say."""
    keyspace = keyspace_of(settings)
    wanted = str(settings.cassandra_replication)
    rows = _replication(database, keyspace)
    if not rows:
        raise _not_migrated("SCHEMA_MISSING", f"There is no keyspace {keyspace}")
    found = rows[0].replication.get(settings.cassandra_datacenter)
    if found != wanted:
        sentence = (
            f"Keyspace {keyspace} has replication {dict(rows[0].replication)}, and the settings say {wanted} in "
            f"{settings.cassandra_datacenter}; alter the one (and repair) or the other."
        )
        raise FailedPrecondition("REPLICATION_DIFFERS", sentence)


def _check_durable(database: Database, instance: object) -> None:
    """Raise FailedPrecondition unless this instance syncs its commit log before it acknowledges (promise 5)."""
    rows = database.ask(instance, "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'")
    found = rows[0].value if rows else "unknown"
    if found not in _DURABLE:
        sentence = (
            f"The instance {instance} has commitlog_sync: {found}, which loses what it acknowledged when the power goes; "
            f"set group or batch in its cassandra.yaml."
        )
        raise FailedPrecondition("NOT_DURABLE", sentence)
