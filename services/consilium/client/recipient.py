"""What the requesting institution's client does: ask, collect fragments, open (rules S2 to S5)."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from consilium.client.keys import RecipientKeys
from consilium.client.records import RecordReader
from consilium.client.session import Fault, Session, require
from consilium.client.sharing import (
    RecordReference,
    are_all_out_of_reach,
    bad_fragments,
    combine_releases,
    request_record,
    told_of,
)
from consilium.kernel.codes import Code
from consilium.kernel.consent import Release
from consilium.kernel.errors import ConsiliumError, DataLoss, InvalidArgument, NotFound, Unavailable
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.manifest import Manifest, open_shred_secret, verify_manifest
from consilium.kernel.sealing import chunk_of_byte, first_byte
from consilium.kernel.transactions import BadFragment, EvidenceBody, GrantTerms, RecordBody


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """A record that is open: the request on the ledger that opened it, and which holders failed and how."""

    request: VerifiedTransaction
    record: RecordBody
    manifest: Manifest
    reader: RecordReader = field(repr=False)
    faults: tuple[tuple[str, Fault], ...]


class RecipientClient:
    """One institution's client, with its own keys (S1)."""

    def __init__(self, session: Session, keys: RecipientKeys) -> None:
        self._session = session
        self._keys = keys

    async def request(self, grant_id: bytes, reference: RecordReference, evidence: bytes) -> VerifiedTransaction:
        """Ask for a record on the ledger; `evidence` is the digest of why (S3).

        Raises PermissionDenied with the ledger's code when it is refused.
        """
        terms = (await self._session.awaited_grant(grant_id)).terms
        asked = await self._session.perform(request_record(terms, reference, evidence), self._keys.author)
        return require(asked)

    async def open(self, grant_id: bytes, reference: RecordReference, evidence: bytes) -> OpenedRecord:
        """Ask, and open what is granted; `read` then gives the bytes (S2 to S5).

        Raises PermissionDenied when refused, FailedPrecondition TOO_FEW_FRAGMENTS (Unavailable where the holders that are
        missing were only out of reach), and Conflict or InvalidArgument when storage or holders handed out what does not
        belong together.
        """
        session = self._session
        request = await self.request(grant_id, reference, evidence)
        assert request.code is Code.GRANTED
        terms, record = (await session.grant(grant_id)).terms, await session.record(reference.record_id)
        name = request.transaction_hash
        stored = await session.gateway(record.holder).get_manifest(record.record_id, name)
        manifest = stored.manifest
        verify_manifest(manifest, record)
        opened, faults = await self._open_capsule(terms, name, manifest)
        if stored.sealed_shred_secret is None:
            raise NotFound("NO_SHRED_SECRET", f"{record.holder} has handed out no shred secret of this record.", "S2")
        shred_secret = open_shred_secret(self._keys.receiving, name, stored.sealed_shred_secret)
        reader = RecordReader(record, manifest, opened, shred_secret, session.chain_id)
        return OpenedRecord(request, record, manifest, reader, faults)

    async def read(self, opened: OpenedRecord) -> AsyncGenerator[bytes, None]:
        """The record's bytes, piece by piece, once; where its home fails or a chunk is damaged, from a copy on (S2).

        Raises DataLoss NO_GOOD_COPY when no member has a good copy of a chunk, Unavailable NO_GOOD_COPY when all are out of
        reach.
        """
        reader, last = opened.reader, len(opened.manifest.chunk_hashes) - 1
        async with aclosing(self._chunks(opened, reader.next_index, last, lambda _, chunk: reader.update(chunk))) as pieces:
            async for _, piece in pieces:
                yield piece
        reader.finish()

    async def read_range(self, opened: OpenedRecord, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """The record's bytes from `offset` on, at most `length`, verified; no more is fetched than holds them (S2).

        May be asked for again and again, beside `read`. Raises InvalidArgument BAD_RANGE when it begins past the end, and as
        `read`.
        """
        reader = opened.reader
        async with aclosing(self._chunks(opened, 0, 0, reader.open_at)) as first:
            async for _, _piece in first:  # chunk 0 tells the length
                continue
        end = min(offset + length, reader.length)
        if not 0 <= offset < end:
            raise InvalidArgument("BAD_RANGE", f"The record has {reader.length} bytes, and no {length} at {offset}.", "S2")
        first_chunk, last_chunk = chunk_of_byte(offset), chunk_of_byte(end - 1)
        async with aclosing(self._chunks(opened, first_chunk, last_chunk, reader.open_at)) as pieces:
            async for index, piece in pieces:
                begins = first_byte(index)
                yield piece[max(offset - begins, 0) : end - begins]

    async def _chunks(
        self, opened: OpenedRecord, index: int, last: int, unseal: Callable[[int, bytes], bytes]
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """What the chunks hold, with their indexes; from the home, and where that fails from the next member on."""
        names = [opened.record.holder, *(each for each in self._session.members if each != opened.record.holder)]
        faults: dict[str, Fault] = {}
        record_id, request_hash = opened.record.record_id, opened.request.transaction_hash
        while index <= last:
            name = next((each for each in names if each not in faults), None)
            if name is None:
                raise _no_good_copy(index, list(faults.items()))
            try:
                wanted = self._session.gateway(name).get_object(record_id, request_hash, index, last - index + 1)
                async with aclosing(wanted) as chunks:
                    async for chunk in chunks:
                        piece = await asyncio.to_thread(unseal, index, chunk)
                        faults.clear()
                        index += 1
                        yield index - 1, piece
                faults[name] = DataLoss("CUT_SHORT", "Its answer ended before the object did.", "S2")
            except (ConsiliumError, OSError) as error:  # damaged, missing or out of reach: the next member may have it
                faults[name] = error

    async def _open_capsule(
        self, terms: GrantTerms, request_hash: bytes, manifest: Manifest
    ) -> tuple[bytes, tuple[tuple[str, Fault], ...]]:
        """What the capsule holds, with the help of all holders that do their part."""
        session, sealed = self._session, manifest.sealed
        answers, silent = await session.ask(
            terms.holders, lambda gateway, _: gateway.reencrypt_capsule(request_hash, sealed.capsule)
        )
        releases: list[Release] = [release for _, release in answers]
        keys = {name: (await session.member(name)).profile.member_key for name in terms.holders}
        for proof in bad_fragments(terms, sealed, releases, keys, session.chain_id, session.verifier):
            await self._blame(proof)
        combined = combine_releases(
            self._keys, terms, request_hash, sealed, releases, keys, session.chain_id, session.verifier, silent=silent
        )
        return combined.opened, combined.faults

    async def _blame(self, proof: BadFragment) -> None:
        """Have a holder's bad fragment ordered as evidence; that it cannot be now keeps nobody from reading (C6)."""
        with contextlib.suppress(ConsiliumError, OSError):
            await self._session.perform(EvidenceBody(proof), self._keys.author)


def _no_good_copy(index: int, faults: Sequence[tuple[str, Fault]]) -> ConsiliumError:
    kind = Unavailable if are_all_out_of_reach(faults) else DataLoss
    return kind("NO_GOOD_COPY", f"No member has given a good copy of chunk {index} ({told_of(faults)}).", "S2")
