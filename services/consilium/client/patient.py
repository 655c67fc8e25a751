"""What a patient does, on a device or through a custodian: write, share, revoke, look (rules S1 to S6, S8; promise 8)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consilium.client.alliance import MemberGateway, SignedQuery
from consilium.client.keys import PatientKeys
from consilium.client.outgoing import OutgoingRecord, Progress, ignore, length_of
from consilium.client.placement import CollusionBudget, HolderChoice, choose_holders, share_plan
from consilium.client.records import ENTROPY_BYTES, RecordPlace, RecordWriter, verify_open_key
from consilium.client.report import PatientReport, patient_report
from consilium.client.retention import ErasedRecord, erase_record
from consilium.client.session import Fault, Session, require
from consilium.client.sharing import Owner, Permission, PreparedGrant, Recipient, RecordReference, told_of
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, FailedPrecondition, ResourceExhausted
from consilium.kernel.executions import GrantHistoryQuery
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.manifest import verify_storage_receipt
from consilium.kernel.signing import Signer
from consilium.kernel.state_values import closed_entry
from consilium.kernel.transactions import Endorsement, RevokeBody

ID_BYTES = 16
QUERY_BLOCKS = 50
"""For how many blocks a query for the report counts; a ledger takes at most 100 (L6)."""
PAGES_MAX = 1_000
"""How many pages of a history one member is asked for: fifty thousand transactions, and an end for who never ends."""
Place = tuple[int, int]
"""Where a transaction stands: its height, and its index in the log."""


@dataclass(frozen=True, slots=True)
class History:
    """Transactions in the order of the ledger, and by name the members that were not heard to the end, with why."""

    transactions: list[VerifiedTransaction]
    faults: dict[str, Fault]


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

    async def erase(self, record_id: bytes) -> ErasedRecord:
        """Erase a record of this scope and epoch for ever: on the ledger, then at its home and wherever copies are (S8).

        What a recipient has read stays read. Raises PermissionDenied NOT_THE_OWNER for a record of another key, NOT_THE_HOME
        for one whose home is another member; FailedPrecondition UNDER_HOLD; Conflict ERASED is no fault: it asks again.
        """
        return await erase_record(self._session, record_id, self.owner.erase(record_id), b"")

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
        """Grant this epoch's records to a recipient, and bring each holder its key fragment (S3, S4).

        Raises as `grant` and `deliver`, whose sentence names the grant.
        """
        grant = await self.grant(recipient, permission, allow_weaker=allow_weaker)
        await self.deliver(grant)
        return grant

    async def grant(self, recipient: Recipient, permission: Permission, *, allow_weaker: bool = False) -> PreparedGrant:
        """Grant this epoch's records on the ledger, final on return; nobody can open anything before `deliver` (S3, S4).

        In between there is time to note the grant: it stands whatever becomes of its fragments, which are here alone.
        """
        grant_id = secrets.token_bytes(ID_BYTES)
        choice, _ = await self.plan(recipient.member_id, grant_id, allow_weaker=allow_weaker)
        grant = self.owner.grant(grant_id, recipient, permission, choice)
        require(await self._session.perform(grant.body, self._keys.author(grant.scope, grant.author_epoch)))
        self.grants.append(grant)
        return grant

    async def revoke(self, grant: PreparedGrant) -> None:
        """End one grant and leave the epoch open; then have the holders delete (S6)."""
        await self._revoke(grant, self.owner.revoke(grant.terms.grant_id))

    def advance(self) -> None:
        """Write under the next epoch from now on, and leave this one open for reading; goes with `revoke` (S6).

        Unlike `close` it ends nobody's access to what was written; whoever is to read on needs a grant of the new epoch.
        """
        self.owner = self.owner.successor()

    async def close(
        self, grant: PreparedGrant, others: Sequence[tuple[Recipient, Permission]] = (), *, allow_weaker: bool = False
    ) -> None:
        """End a grant and the epoch with it; others go on under the next epoch, as does this client (S6).

        Raises FailedPrecondition TOO_FEW_HOLDERS before anything has ended, or, once all is final and in `grants`, for those
        of the others whose grants could not be delivered.
        """
        regrants = []
        for recipient, permission in others:
            grant_id = secrets.token_bytes(ID_BYTES)
            choice, _ = await self.plan(recipient.member_id, grant_id, allow_weaker=allow_weaker)
            regrants.append(self.owner.regrant(grant_id, recipient, permission, choice, grant.author_epoch))
        await self._revoke(grant, self.owner.close(grant.terms.grant_id, regrants))
        self.owner = self.owner.successor()
        self.grants += regrants
        short = [sentence for each in regrants if (sentence := await self._delivered(each))]
        if short:
            raise FailedPrecondition("TOO_FEW_HOLDERS", " ".join(short), "S4")

    async def _revoke(self, grant: PreparedGrant, body: RevokeBody) -> None:
        """End it on the ledger, which is what counts; the holders' deletions follow, and may come late."""
        require(await self._session.perform(body, self._keys.author(grant.scope, grant.author_epoch)))
        await self._session.ask(grant.terms.holders, lambda gateway, _: gateway.revoke_access(grant.terms.grant_id))

    async def deliver(self, grant: PreparedGrant) -> None:
        """Bring each holder its own key fragment; may be repeated.

        Raises FailedPrecondition: TOO_FEW_HOLDERS when fewer took theirs than it takes to open, NO_FRAGMENTS for a grant
        that was found on the ledger.
        """
        if short := await self._delivered(grant):
            raise FailedPrecondition("TOO_FEW_HOLDERS", short, "S4")

    async def _delivered(self, grant: PreparedGrant) -> str:
        """Deliver; a sentence about who did not take a fragment when too few did, else nothing."""
        if not grant.kfrags:
            raise FailedPrecondition(
                "NO_FRAGMENTS", "Only the client that made a grant has its fragments: revoke it and grant anew.", "S4"
            )
        grant_id, kfrags = grant.terms.grant_id, dict(zip(grant.terms.holders, grant.kfrags, strict=True))
        answers, faults = await self._session.ask(
            grant.terms.holders, lambda gateway, name: gateway.grant_access(grant_id, kfrags[name])
        )
        if len(answers) >= grant.terms.threshold:
            return ""
        return (
            f"Grant {grant_id.hex()} stands, but only {len(answers)} holders took their key fragment, and"
            f" {grant.terms.threshold} open ({told_of(faults)}). Deliver it again while this client runs, or revoke it and"
            " grant anew."
        )

    # --- looking ---

    async def report(self) -> PatientReport:
        """Who asked for, opened and lost access to records under `grants`, each line with its proof (promise 8).

        A member can leave lines out but not make them up, so all members are asked, and what any of them proves counts.
        A client that has made no grant itself needs those that `finding.find_grants` finds.
        """
        keys = dict.fromkeys((each.terms.delegating_pk, each.scope, each.author_epoch) for each in self.grants)
        found, faults = dict[VerifiedTransaction, Place](), dict[str, Fault]()
        for key in keys:
            faults |= await self._ask_everybody(*key, found)
        in_order = sorted(found, key=found.__getitem__)
        return PatientReport(patient_report([each.terms for each in self.grants], in_order), faults)

    async def history(self, delegating_pk: bytes, scope: str, author_epoch: int) -> History:
        """Every final transaction about a key's grants by this author that any member proves."""
        found: dict[VerifiedTransaction, Place] = {}
        faults = await self._ask_everybody(delegating_pk, scope, author_epoch, found)
        return History(sorted(found, key=found.__getitem__), faults)

    async def _ask_everybody(
        self, delegating_pk: bytes, scope: str, author_epoch: int, found: dict[VerifiedTransaction, Place]
    ) -> dict[str, Fault]:
        """Add what any member proves; the members that were not heard to the end, and why.

        Who says that there is no such grant has answered.
        """
        session, author = self._session, self._keys.author(scope, author_epoch)
        await session.member(session.home_id)  # where the chain is now: a query counts a few blocks only
        names = sorted({*session.members, *session.electors()})
        _, faults = await session.ask(names, lambda gateway, _: self._ask(gateway, delegating_pk, author, found))
        return {name: error for name, error in faults if getattr(error, "reason", "") != "NOT_THE_OWNER"}

    async def _ask(
        self, gateway: MemberGateway, delegating_pk: bytes, author: Signer, found: dict[VerifiedTransaction, Place]
    ) -> None:
        """Add what one member proves, page by page, each asked for under a signature of its own.

        Raises what the member refuses with and what its proofs fail with; Conflict ENDLESS_HISTORY for a page that brings
        nothing new and is not the last, ResourceExhausted TOO_MANY_PAGES.
        """
        token, proven = "", set[VerifiedTransaction]()
        for _ in range(PAGES_MAX):
            expiry_height = self._session.height + QUERY_BLOCKS
            query = GrantHistoryQuery(delegating_pk, secrets.token_bytes(ID_BYTES), expiry_height)
            signature = author.sign(encode(query, self._session.chain_id))
            page = await gateway.grant_history(SignedQuery(query, Endorsement(author.public_key, signature)), token)
            before, token = len(proven), page.next_page_token
            for proof in page.proofs:
                verified = await self._session.verified(proof)
                proven.add(verified)
                found.setdefault(verified, (verified.height, proof.log_proof.leaf_index))
            if not token:
                return
            if len(proven) == before:
                raise Conflict("ENDLESS_HISTORY", "A page of this member's history brought nothing new, and not the end.")
        raise ResourceExhausted("TOO_MANY_PAGES", f"This member's history has more than {PAGES_MAX} pages, the most read.")
