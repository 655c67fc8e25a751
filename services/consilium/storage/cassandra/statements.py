"""Everything that is ever said to a member's keyspace once its tables are there, prepared (rule S2).

Each may be sent twice: rows are immutable, or carry the timestamp they were first sent with. `schema` has the tables.
"""

from consilium.storage.cassandra.session import Database


class Statements:
    """Everything that is ever said to the keyspace."""

    def __init__(self, database: Database) -> None:
        said = database.prepare
        self.find = said("SELECT manifest, digest, buckets FROM objects WHERE record_id = ?")
        self.save = said("INSERT INTO objects (record_id, manifest, digest, buckets) VALUES (?, ?, ?, ?) USING TIMESTAMP ?")
        self.forget = said("DELETE FROM objects USING TIMESTAMP ? WHERE record_id = ?")
        self.record_ids = said("SELECT DISTINCT record_id FROM objects")
        self.put = said(
            "INSERT INTO chunks (record_id, bucket, chunk_index, chunk_hash, chunk) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
        )
        self.read = said(
            "SELECT chunk FROM chunks WHERE record_id = ? AND bucket = ? AND chunk_index = ? AND chunk_hash = ?"
        )
        self.digests = said(
            "SELECT chunk_index, chunk_hash, mask_hash(chunk, 'SHA-256') AS digest FROM chunks"
            " WHERE record_id = ? AND bucket = ? AND (chunk_index, chunk_hash) IN ?",
            of_one=True,
        )
        self.hashes = said("SELECT chunk_index, chunk_hash FROM chunks WHERE record_id = ? AND bucket = ?")
        self.drop = said(
            "DELETE FROM chunks USING TIMESTAMP ? WHERE record_id = ? AND bucket = ? AND chunk_index = ? AND chunk_hash = ?"
        )
        self.drop_bucket = said("DELETE FROM chunks USING TIMESTAMP ? WHERE record_id = ? AND bucket = ?")
        self.draft = said("SELECT buckets FROM drafts WHERE record_id = ?")
        self.save_draft = said("INSERT INTO drafts (record_id, buckets) VALUES (?, ?) USING TIMESTAMP ?")
        self.forget_draft = said("DELETE FROM drafts USING TIMESTAMP ? WHERE record_id = ?")
        self.drafts = said("SELECT DISTINCT record_id FROM drafts")
