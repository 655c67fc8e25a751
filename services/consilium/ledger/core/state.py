"""The state all honest members share after each block, and its root (rules L4, L6, L8).

One `LedgerState` belongs to one chain and is changed in place by `execution`; there is no way back, because only committed
blocks are executed. What the authenticated map holds is mirrored here as values, so that judging a transaction decodes
nothing; changes reach the map when the block is sealed.
"""

from collections.abc import Sequence

from consilium.kernel.certificates import Committee
from consilium.kernel.chain import Genesis, Outlook
from consilium.kernel.encoding import encode
from consilium.kernel.founding import founder
from consilium.kernel.hashing import domain_hash
from consilium.kernel.parameters import Parameters
from consilium.kernel.state_map import StateMap
from consilium.kernel.state_values import (
    AllianceState,
    GrantState,
    MemberState,
    ProposalList,
    ProposalState,
    Registry,
    RetentionState,
    alliance_entry,
    closed_entry,
    electorate_entry,
    grant_entry,
    member_entry,
    offence_entry,
    proposal_entry,
    proposals_entry,
    registry_entry,
    retention_entry,
)
from consilium.ledger.core.proposals import Proposals
from consilium.ledger.core.tables import Disclosures, Records, RequestIds
from consilium.ledger.core.terms import Terms, first_alliance, first_terms, outlook


class LedgerState:
    """Members, consent, terms and tables at one height; see the module for how it changes."""

    def __init__(self, genesis: Genesis) -> None:
        self.chain_id = genesis.chain_id
        self.request_ids = RequestIds()
        self.records = Records()
        self.disclosures = Disclosures()
        self.map = StateMap()
        self._changes: dict[bytes, bytes | None] = {}
        self._members: dict[str, MemberState] = {}
        self._member_by_key: dict[bytes, str] = {}
        self._grants: dict[bytes, GrantState] = {}
        self._grants_by_key: dict[bytes, list[bytes]] = {}
        self._closed: dict[bytes, bytes] = {}
        self._offences: dict[bytes, None] = {}
        self._retentions: dict[bytes, RetentionState] = {}
        self._committees: dict[int, Committee] = {}
        self._terms_root: tuple[Terms, bytes] | None = None
        self._outlook: tuple[Terms, AllianceState, Outlook] | None = None
        self.proposals = Proposals()
        self.put_alliance(first_alliance(genesis))
        self.put_registry(Registry(tuple([each.member_id for each in genesis.members]), ()))
        for profile in genesis.members:
            self.put_member(founder(profile))
        self.terms = first_terms(genesis)
        self.open_epoch(self.terms)
        self.tables_root = self.seal()

    # --- the alliance ---

    @property
    def outlook(self) -> Outlook:
        """Who orders the blocks that follow, worked out anew only when terms or alliance changed."""
        known = self._outlook
        if known is None or known[0] is not self.terms or known[1] is not self.alliance:
            known = self._outlook = self.terms, self.alliance, outlook(self.terms, self.alliance)
        return known[2]

    @property
    def parameters(self) -> Parameters:
        """The numbers in force (G4)."""
        return self.alliance.parameters

    def put_alliance(self, alliance: AllianceState) -> None:
        """Set what the alliance lives by."""
        self.alliance = alliance
        self._changes[alliance_entry()] = encode(alliance, self.chain_id)

    def put_registry(self, registry: Registry) -> None:
        """Set who is listed as a member, and what changed of members."""
        self.registry = registry
        self._changes[registry_entry()] = encode(registry, self.chain_id)

    def put_proposal(self, proposal_id: bytes, proposal: ProposalState) -> None:
        """Set a proposal's state; a new one is listed under its author."""
        if self.proposals.put(proposal_id, proposal):
            self._list_proposals(proposal.author)
        self._changes[proposal_entry(proposal_id)] = encode(proposal, self.chain_id)

    def drop_proposal(self, proposal_id: bytes) -> None:
        """Let a closed proposal go; the log proves for ever what it was and who said what (L4)."""
        author = self.proposals.drop(proposal_id).author
        self._list_proposals(author)
        self._changes[proposal_entry(proposal_id)] = None

    def _list_proposals(self, author: str) -> None:
        ids = self.proposals.of(author)
        self._changes[proposals_entry(author)] = encode(ProposalList(ids), self.chain_id) if ids else None

    # --- members ---

    def member(self, member_id: str) -> MemberState | None:
        """The member with this id, or None."""
        return self._members.get(member_id)

    def member_of_key(self, member_key: bytes) -> MemberState | None:
        """The active member that signs with this member key, or None."""
        name = self._member_by_key.get(member_key)
        member = None if name is None else self._members[name]
        return member if member is not None and member.is_active else None

    def members(self) -> list[MemberState]:
        """All members there ever were, sorted by id."""
        return [self._members[name] for name in sorted(self._members)]

    def active_members(self) -> list[MemberState]:
        """The active members, sorted by id."""
        return [member for member in self.members() if member.is_active]

    def put_member(self, member: MemberState) -> None:
        """Set a member's state; its key, if new, replaces the old one."""
        name = member.profile.member_id
        before = self._members.get(name)
        if before is not None:
            del self._member_by_key[before.profile.member_key]
        self._members[name] = member
        self._member_by_key[member.profile.member_key] = name
        self._changes[member_entry(name)] = encode(member, self.chain_id)

    # --- consent ---

    def grant(self, grant_id: bytes) -> GrantState | None:
        """The grant with this id, or None."""
        return self._grants.get(grant_id)

    def grants_of_key(self, delegating_pk: bytes) -> Sequence[bytes]:
        """The ids of all grants under a delegating key, oldest first."""
        return self._grants_by_key.get(delegating_pk, ())

    def successor_of(self, delegating_pk: bytes) -> bytes | None:
        """The key that followed a closed delegating key, or None while it is open (S6)."""
        return self._closed.get(delegating_pk)

    def put_grant(self, grant: GrantState) -> None:
        """Set a grant's state."""
        grant_id = grant.terms.grant_id
        if grant_id not in self._grants:
            self._grants_by_key.setdefault(grant.terms.delegating_pk, []).append(grant_id)
        self._grants[grant_id] = grant
        self._changes[grant_entry(grant_id)] = encode(grant, self.chain_id)

    def close_key(self, delegating_pk: bytes, successor_pk: bytes) -> None:
        """Close a delegating key for good and name its successor in the key directory (S6)."""
        self._closed[delegating_pk] = successor_pk
        self._changes[closed_entry(delegating_pk)] = successor_pk

    # --- erasures ---

    def retention(self, record_id: bytes) -> RetentionState | None:
        """Whether a record is erased or under a hold, None for neither (S8)."""
        return self._retentions.get(record_id)

    def put_retention(self, record_id: bytes, retention: RetentionState) -> None:
        """Erase a record or place a hold on it."""
        self._retentions[record_id] = retention
        self._changes[retention_entry(record_id)] = encode(retention, self.chain_id)

    def lift_hold(self, record_id: bytes) -> None:
        """Take a hold away; nothing of it is left in the map."""
        del self._retentions[record_id]
        self._changes[retention_entry(record_id)] = None

    # --- offences ---

    def note_offence(self, what: bytes) -> bool:
        """Remember an offence by the digest of what it was; False for one that is known, which counts once (C6)."""
        if what in self._offences:
            return False
        self._offences[what] = None
        self._changes[offence_entry(what)] = b"\x01"
        return True

    # --- terms ---

    def committee_of(self, epoch: int) -> Committee | None:
        """The committee that serves or served in an epoch, or None."""
        return self._committees.get(epoch)

    def open_epoch(self, terms: Terms) -> None:
        """Hand over to a new epoch: its electorate goes into the map."""
        self.terms = terms
        self.first_candidates = terms.candidates
        self._committees[terms.epoch] = terms.committee
        self._changes[electorate_entry(terms.epoch)] = encode(terms.electorate, self.chain_id)

    # --- the root ---

    def seal(self) -> bytes:
        """Bring the map up to date and fold the tables in; the tables' root."""
        self.map = self.map.updated(self._changes)
        self._changes = {}
        self.tables_root = domain_hash(
            "consilium.tables",
            self.request_ids.seal(),
            self.records.seal(),
            self.disclosures.seal(),
            self._sealed_terms(),
        )
        return self.tables_root

    def _sealed_terms(self) -> bytes:
        """The hash of the terms, worked out anew only when they changed."""
        if self._terms_root is None or self._terms_root[0] is not self.terms:
            self._terms_root = (self.terms, domain_hash("consilium.terms", encode(self.terms, self.chain_id)))
        return self._terms_root[1]
