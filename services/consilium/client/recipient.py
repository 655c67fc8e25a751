"""What the requesting institution's client does: ask, collect fragments, open (rules S2 to S5)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from consilium.client.keys import RecipientKeys
from consilium.client.records import RecordReader
from consilium.client.session import Session, ask_all, require
from consilium.client.sharing import RecordReference, combine_releases, request_record
from consilium.kernel.codes import Code
from consilium.kernel.consent import Release
from consilium.kernel.errors import ConsiliumError, DataLoss
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.manifest import Manifest, open_shred_secret, verify_manifest
from consilium.kernel.transactions import GrantTerms


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """A record that is open: the request on the ledger that opened it, and which holders failed and how."""

    request: VerifiedTransaction
    manifest: Manifest
    reader: RecordReader = field(repr=False)
    faults: tuple[tuple[str, ConsiliumError | OSError], ...]


class RecipientClient:
    """One institution's client, with its own keys (S1)."""

    def __init__(self, session: Session, keys: RecipientKeys) -> None:
        self._session = session
        self._keys = keys

    async def request(self, grant_id: bytes, reference: RecordReference, evidence: bytes) -> VerifiedTransaction:
        """Ask for a record on the ledger; `evidence` is the digest of why (S3).

        Raises PermissionDenied with the ledger's code when it is refused.
        """
        terms = (await self._session.grant(grant_id)).terms
        asked = await self._session.perform(request_record(terms, reference, evidence), self._keys.author)
        return require(asked)

    async def open(self, grant_id: bytes, reference: RecordReference, evidence: bytes) -> OpenedRecord:
        """Ask, and open what is granted; `read` then gives the bytes (S2 to S5).

        Raises PermissionDenied when refused, FailedPrecondition TOO_FEW_FRAGMENTS, and Conflict or InvalidArgument when
        storage or holders handed out what does not belong together.
        """
        session = self._session
        request = await self.request(grant_id, reference, evidence)
        assert request.code is Code.GRANTED
        terms, record = (await session.grant(grant_id)).terms, await session.record(reference.record_id)
        home, name = session.gateway(record.holder), request.transaction_hash
        manifest = await home.get_manifest(record.record_id, name)
        verify_manifest(manifest, record)
        opened, faults = await self._open_capsule(terms, name, manifest)
        shred_secret = open_shred_secret(self._keys.receiving, name, await home.get_shred_secret(record.record_id, name))
        reader = RecordReader(record, manifest, opened, shred_secret, session.chain_id)
        return OpenedRecord(request, manifest, reader, faults)

    async def read(self, opened: OpenedRecord, holder: str) -> AsyncIterator[bytes]:
        """The record's bytes, piece by piece; a chunk damaged at `holder`, its home, is taken from a copy (S2).

        Raises DataLoss when no member has a good copy of a chunk.
        """
        for index in range(len(opened.manifest.chunk_hashes)):
            yield await self._chunk(opened, holder, index)
        opened.reader.finish()

    async def _open_capsule(
        self, terms: GrantTerms, request_hash: bytes, manifest: Manifest
    ) -> tuple[bytes, tuple[tuple[str, ConsiliumError | OSError], ...]]:
        """What the capsule holds, with the help of all holders that do their part."""
        session, sealed = self._session, manifest.sealed
        asked = [session.gateway(name).reencrypt_capsule(request_hash, sealed.capsule) for name in terms.holders]
        answers, silent = await ask_all(terms.holders, asked)
        releases: list[Release] = [release for _, release in answers]
        keys = {name: (await session.member(name)).profile.member_key for name in terms.holders}
        combined = combine_releases(
            self._keys, terms, request_hash, sealed, releases, keys, session.chain_id, session.verifier
        )
        return combined.opened, (*silent, *combined.faults)

    async def _chunk(self, opened: OpenedRecord, holder: str, index: int) -> bytes:
        """One chunk opened, from the home member or else from any other."""
        session, record_id = self._session, opened.manifest.record_id
        for name in [holder, *(other for other in session.members if other != holder)]:
            try:
                sealed = await session.gateway(name).get_chunk(record_id, index, opened.request.transaction_hash)
                return opened.reader.update(sealed)
            except (ConsiliumError, OSError):  # damaged, missing or out of reach: the next member may have it
                continue
        raise DataLoss("NO_GOOD_COPY", f"No member has a good copy of chunk {index}.", "S2")
