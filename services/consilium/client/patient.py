"""What a patient does, on a device or through a custodian: write, share, revoke, look (rules S1 to S6; promise 8)."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from consilium.client.alliance import MemberGateway, SignedQuery
from consilium.client.keys import PatientKeys
from consilium.client.outgoing import OutgoingRecord, Progress, ignore, length_of
from consilium.client.placement import CollusionBudget, HolderChoice, choose_holders, share_plan
from consilium.client.records import ENTROPY_BYTES, RecordPlace, RecordWriter, verify_open_key
from consilium.client.report import ReportLine, patient_report
from consilium.client.session import Session, ask_all, require
from consilium.client.sharing import Owner, Permission, PreparedGrant, Recipient, RecordReference
from consilium.kernel.encoding import encode
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.executions import GrantHistoryQuery
from consilium.kernel.light_client import TransactionProof, VerifiedTransaction
from consilium.kernel.manifest import verify_storage_receipt
from consilium.kernel.signing import Signer
from consilium.kernel.state_values import closed_entry
from consilium.kernel.transactions import Endorsement, RevokeBody

ID_BYTES = 16
QUERY_BLOCKS = 50
"""For how many blocks a query for the report counts; a ledger takes at most 100 (L6)."""


class PatientClient:
    """One patient in one scope; `custodian` is the member that keeps the seed, None for the patient's own device (S1)."""

    def __init__(self, session: Session, keys: PatientKeys, scope: str, epoch: int, custodian: str | None) -> None:
        self._session = session
        self._keys = keys
        self._custodian = custodian
        self.owner = Owner(keys, scope, epoch, session.chain_id)
        self.grants: list[PreparedGrant] = []

    # --- writing ---

    async def write(self, source: bytes | Path, media_class: int = 0, progress: Progress = ignore) -> RecordReference:
        """Encrypt a file, store it at this client's home member, register it there; final on return (S2, S3).

        `progress` is told how many bytes are on their way. Raises FailedPrecondition KEY_CLOSED when this epoch has been
        closed (S6), InvalidArgument for a source that cannot be an object, OSError for one that cannot be read.
        """
        session, delegating_pk, holder = self._session, self.owner.delegating_pk, self._session.home_id
        key = verify_open_key(delegating_pk, await session.state(closed_entry(delegating_pk)))
        record_id = secrets.token_bytes(ID_BYTES)
        place = RecordPlace(record_id, holder, self._keys.salt(record_id), media_class)
        writer = RecordWriter(key, place, length_of(source), secrets.token_bytes(ENTROPY_BYTES), session.chain_id)
        receipt = await session.home.put_object(OutgoingRecord(source, writer, progress))
        written, home = writer.written(), (await session.member(holder)).profile
        verify_storage_receipt(receipt, written.manifest, home, session.chain_id, session.verifier)
        require(await session.register(written.body, receipt))
        return RecordReference(record_id, holder, place.salt)

    # --- sharing ---

    async def plan(
        self, recipient_member: str, grant_id: bytes, *, allow_weaker: bool = False
    ) -> tuple[HolderChoice, CollusionBudget]:
        """The holders a grant with this id would have, and what it would take to collude (S4)."""
        members = await self._session.all_members()
        choice = choose_holders(members, recipient_member, grant_id, self._session.height, allow_weaker=allow_weaker)
        owner = self.owner
        return choice, share_plan(choice, recipient_member, owner.scope, owner.epoch, self._custodian)

    async def share(self, recipient: Recipient, permission: Permission, *, allow_weaker: bool = False) -> PreparedGrant:
        """Grant this epoch's records to a recipient, and bring each holder its key fragment (S3, S4)."""
        grant_id = secrets.token_bytes(ID_BYTES)
        choice, _ = await self.plan(recipient.member_id, grant_id, allow_weaker=allow_weaker)
        grant = self.owner.grant(grant_id, recipient, permission, choice)
        require(await self._session.perform(grant.body, self._keys.author(grant.scope, grant.author_epoch)))
        self.grants.append(grant)
        await self.deliver(grant)
        return grant

    async def revoke(self, grant: PreparedGrant) -> None:
        """End one grant and leave the epoch open; then have the holders delete (S6)."""
        await self._revoke(grant, self.owner.revoke(grant.terms.grant_id))

    def advance(self) -> None:
        """Write under the next epoch from now on, and leave this one open for reading; goes with `revoke` (S6).

        Unlike `close` it ends nobody's access to what was written; whoever is to read on needs a grant of the new epoch.
        """
        self.owner = self.owner.successor()

    async def close(self, grant: PreparedGrant, others: Sequence[tuple[Recipient, Permission]] = ()) -> None:
        """End a grant and the epoch with it; others go on under the next epoch, as does this client (S6)."""
        regrants = []
        for recipient, permission in others:
            grant_id = secrets.token_bytes(ID_BYTES)
            choice, _ = await self.plan(recipient.member_id, grant_id)
            regrants.append(self.owner.regrant(grant_id, recipient, permission, choice, grant.author_epoch))
        await self._revoke(grant, self.owner.close(grant.terms.grant_id, regrants))
        self.owner = self.owner.successor()
        self.grants += regrants
        for each in regrants:
            await self.deliver(each)

    async def _revoke(self, grant: PreparedGrant, body: RevokeBody) -> None:
        """End it on the ledger, which is what counts; the holders' deletions follow, and may come late."""
        require(await self._session.perform(body, self._keys.author(grant.scope, grant.author_epoch)))
        names = grant.terms.holders
        await ask_all(names, [self._session.gateway(name).revoke_access(grant.terms.grant_id) for name in names])

    async def deliver(self, grant: PreparedGrant) -> None:
        """Bring each holder its own key fragment; may be repeated.

        Raises FailedPrecondition TOO_FEW_HOLDERS when fewer took theirs than it takes to open.
        """
        pairs = list(zip(grant.terms.holders, grant.kfrags, strict=True))
        asked = [self._session.gateway(name).grant_access(grant.terms.grant_id, kfrag) for name, kfrag in pairs]
        answers, faults = await ask_all([name for name, _ in pairs], asked)
        if len(answers) < grant.terms.threshold:
            failed = ", ".join(f"{name}: {error}" for name, error in faults)
            raise FailedPrecondition(
                "TOO_FEW_HOLDERS", f"Only {len(answers)} holders took their key fragment ({failed}).", "S4"
            )

    # --- looking ---

    async def report(self) -> list[ReportLine]:
        """Who asked for, opened and lost access to this patient's records, each line with its proof (promise 8).

        A member can leave lines out but not make them up, so all members are asked, and what any of them proves counts.
        """
        keys = dict.fromkeys((each.terms.delegating_pk, each.scope, each.author_epoch) for each in self.grants)
        found: dict[bytes, tuple[int, VerifiedTransaction]] = {}
        for key in keys:
            found |= await self._proven(*key)
        in_order = sorted(found.values(), key=lambda each: each[0])
        return patient_report([each.terms for each in self.grants], [verified for _, verified in in_order])

    async def history(self, delegating_pk: bytes, scope: str, author_epoch: int) -> list[VerifiedTransaction]:
        """Every final transaction about a key's grants by this author that any member proves, in the order of the ledger."""
        found = await self._proven(delegating_pk, scope, author_epoch)
        return [verified for _, verified in sorted(found.values(), key=lambda each: each[0])]

    async def _proven(
        self, delegating_pk: bytes, scope: str, author_epoch: int
    ) -> dict[bytes, tuple[int, VerifiedTransaction]]:
        """The transactions by their hashes, with their places in the log."""
        await self._session.member(self._session.home_id)  # where the chain is now: a query counts a few blocks only
        author, found = self._keys.author(scope, author_epoch), dict[bytes, tuple[int, VerifiedTransaction]]()
        asked = [self._history(each, delegating_pk, author) for each in self._session.members.values()]
        answers, _ = await ask_all(list(self._session.members), asked)
        for proof in [proof for _, history in answers for proof in history]:
            verified = await self._session.verified(proof)
            found[verified.transaction_hash] = (proof.log_proof.leaf_index, verified)
        return found

    async def _history(self, gateway: MemberGateway, delegating_pk: bytes, author: Signer) -> list[TransactionProof]:
        """What one member says happened under a key's grants, page by page, each asked for under a signature of its own."""
        proofs: list[TransactionProof] = []
        token: str | None = ""
        while token is not None:
            expiry_height = self._session.height + QUERY_BLOCKS
            query = GrantHistoryQuery(delegating_pk, secrets.token_bytes(ID_BYTES), expiry_height)
            signature = author.sign(encode(query, self._session.chain_id))
            page = await gateway.grant_history(SignedQuery(query, Endorsement(author.public_key, signature)), token)
            proofs += page.proofs
            token = page.next_page_token or None
        return proofs
