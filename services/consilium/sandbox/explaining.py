"""One election, made again from the genesis file and the blocks, line by line (C6, promise 8).

The blocks are verified and executed with the ledger's own rules up to the draw; what the chain says then (the snapshot of
the term's start, the reveals, the parameters) goes into the kernel's draw, and every step of it is shown. At the end stands
whether the header names the committee that came out: an auditor needs to believe nobody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import RenderableType

from consilium.client.commands.telling import DONE, UNTRUE, Told, facts_table, styled, table
from consilium.kernel.apportionment import faults_of, owner_cap_of, stratum_cap_of
from consilium.kernel.certificates import Committee
from consilium.kernel.chain import CertifiedBlock, Genesis, Header, Outlook
from consilium.kernel.codes import Code
from consilium.kernel.election import Candidate, Election, bars, draw_committee, stratum_of, weights
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, FailedPrecondition, NotFound
from consilium.kernel.founding import FIRST_MIX
from consilium.kernel.hashing import domain_hash
from consilium.kernel.opening import open_block
from consilium.kernel.recovery import RecoveryCertificate
from consilium.kernel.signing import Verifier
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import RevealBody
from consilium.ledger.core.chain import Chain


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The chain as an epoch began: who was a member, who a candidate, who sat, the mix before any reveal."""

    height: int
    members: tuple[MemberState, ...]
    candidates: tuple[Candidate, ...]
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Draw:
    """What an election was made from.

    `reveals` are authors and preimages in their order, folded into the mix `before`. `named` is the height and the committee
    hash of the header that names the committee; None for the founders', which the genesis alone decides.
    """

    epoch: int
    snapshot: Snapshot
    before: bytes
    reveals: tuple[tuple[str, bytes], ...]
    named: tuple[int, bytes] | None

    @property
    def mix(self) -> bytes:
        """The sealed mix."""
        mix = self.before
        for _, preimage in self.reveals:
            mix = domain_hash("consilium.mix", mix, preimage)
        return mix


def explain(genesis: Genesis, blocks: Iterable[CertifiedBlock], epoch: int, verifier: Verifier) -> Told:
    """Tell how the committee of an epoch came about; exit code 1 where the header names another.

    Raises NotFound NOT_DRAWN where the blocks end before the draw, and what the ledger core raises for blocks that break a
    rule.
    """
    draw = find_draw(genesis, blocks, epoch, verifier)
    return _Story(draw, genesis.chain_id).told()


def find_draw(genesis: Genesis, blocks: Iterable[CertifiedBlock], epoch: int, verifier: Verifier) -> Draw:
    """Replay the blocks up to the one whose header names the committee of an epoch.

    Raises NotFound: NOT_DRAWN; what `Chain` raises.
    """
    chain = Chain(genesis, verifier, NothingStored())
    start = _snapshot(chain)
    if epoch == 0:
        return Draw(0, start, FIRST_MIX, (), None)
    drawn, reveals = None, list[tuple[str, bytes]]()
    for block in blocks:
        header, recovery = decode(Header, block.header, chain.chain_id), block.recovery
        if recovery is not None and recovery.statement.epoch == epoch - 1:
            return _recovered(start, recovery, header)
        if drawn is not None and header.epoch == epoch:
            break
        if drawn is None and chain.tip.outlook.epoch == epoch - 1 and chain.tip.outlook.next_committee is not None:
            named = (header.height, header.next_committee_hash)
            left = replace(start, candidates=chain.candidates)
            drawn = Draw(epoch, left, start.outlook.election_mix, tuple(reveals), named)
        if drawn is not None:  # nothing more has to be executed; but a recovery may still come and put another in its place
            continue
        outcome = _appended(chain, block)
        if chain.tip.outlook.epoch != start.outlook.epoch:
            start, reveals = _snapshot(chain), []
        if chain.tip.outlook.epoch == header.epoch:
            reveals += _reveals(chain, block, outcome)
    if drawn is None:
        told = f"The blocks end at {chain.height}, before the committee of epoch {epoch} is named."
        raise NotFound("NOT_DRAWN", told, "C6")
    return drawn


def _recovered(start: Snapshot, recovery: RecoveryCertificate, header: Header) -> Draw:
    """The draw of an epoch that a recovery opened: without the lost, with a mix settled when the last epoch began (C10)."""
    left = tuple([each for each in start.candidates if each.member_id not in recovery.statement.lost])
    before = domain_hash("consilium.recovery-mix", start.outlook.election_mix)
    return Draw(header.epoch, replace(start, candidates=left), before, (), (header.height, header.committee_hash))


def _appended(chain: Chain, block: CertifiedBlock) -> Sequence[Code]:
    """Execute a block. A header that names another committee is what this is about, and refused with its height."""
    try:
        return chain.append_block(block).codes
    except Conflict as error:
        raise Conflict(error.reason, f"Block {chain.height + 1}: {error.sentence}", error.rule) from error


class NothingStored:
    """In place of a block store: a draw is made from the state, and no block is asked for again; so none is kept."""

    def read_block(self, height: int) -> bytes:
        """Raises NotFound: NO_SUCH_HEIGHT."""
        raise NotFound("NO_SUCH_HEIGHT", f"Block {height} was executed and is not kept.")

    def read_certificate(self, height: int) -> bytes:
        """Raises NotFound: NO_CERTIFICATE."""
        raise NotFound("NO_CERTIFICATE", f"No certificate of block {height} is kept.")


def _snapshot(chain: Chain) -> Snapshot:
    return Snapshot(chain.height, tuple(chain.members()), chain.candidates, chain.tip.outlook)


def _reveals(chain: Chain, block: CertifiedBlock, codes: Sequence[Code]) -> list[tuple[str, bytes]]:
    """The preimages that a block folded into the mix, with their authors."""
    batches = open_block(block, chain.chain_id).batches
    payloads = [each.payload for batch in batches for each in batch.transactions]
    names = {each.profile.member_key: each.profile.member_id for each in chain.members()}
    return [
        (names[payload.author], payload.body.preimage)
        for payload, code in zip(payloads, codes, strict=True)
        if isinstance(payload.body, RevealBody) and code is Code.APPLIED
    ]


class _Story:
    """The draw made again, as facts and as lines."""

    def __init__(self, draw: Draw, chain_id: bytes) -> None:
        self._draw, self._start = draw, draw.snapshot
        self._parameters = draw.snapshot.outlook.parameters
        self._election = self._drawn(chain_id)
        serving_on = Committee(draw.epoch, self._start.outlook.committee.delegates)
        self._committee = serving_on if self._election is None else self._election.committee
        self._hash = self._committee.hash(chain_id)

    def _drawn(self, chain_id: bytes) -> Election | None:
        """The draw; None where too few are eligible, and the sitting committee serves on."""
        try:
            return draw_committee(self._start.candidates, self._parameters, chain_id, self._draw.epoch, self._draw.mix)
        except FailedPrecondition:
            return None

    def told(self) -> Told:
        """Everything, and whether it agrees with the header."""
        named = self._draw.named
        agrees = named is None or named[1] == self._hash
        facts = {
            "epoch": self._draw.epoch,
            "snapshot_height": self._start.height,
            "members": [self._member(each) for each in self._start.members],
            **self._shared_out(),
            "reveals": [{"member": name, "preimage": preimage.hex()} for name, preimage in self._draw.reveals],
            "mix": self._draw.mix.hex(),
            **self._falls(),
            "committee": [each.member_id for each in self._committee.delegates],
            "committee_hash": self._hash.hex(),
            "header": None if named is None else {"height": named[0], "next_committee_hash": named[1].hex()},
            "agrees": agrees,
        }
        return Told(facts, _shown(facts), DONE if agrees else UNTRUE)

    def _member(self, member: MemberState) -> dict[str, Any]:
        """One line of the snapshot: what counts of a member, and what keeps it out."""
        name = member.profile.member_id
        found = next((each for each in self._start.candidates if each.member_id == name), None)
        reasons = _kept_out(member) if found is None else bars(found, self._draw.epoch)
        grade = member.grade_at(self._start.height)
        return {
            "member": name,
            "owner_group": member.profile.owner_group,
            "grade": grade.name,
            "grade_expired": grade is not member.profile.grade,
            "stratum": stratum_of(grade),
            "score": member.score,
            "votes": 0 if found is None else found.votes,
            "terms_running": member.conduct.terms_running,
            "eligible": not reasons,
            "reasons": list(reasons),
            "weight": self._weight(name),
        }

    def _weight(self, name: str) -> int:
        """The weight of an eligible member among those of its stratum; 0 for others."""
        names = () if self._election is None else next((each for each in self._election.strata if name in each), ())
        pool = [each for each in self._start.candidates if each.member_id in names]
        return next((w for each, w in zip(pool, weights(pool), strict=True) if each.member_id == name), 0)

    def _shared_out(self) -> dict[str, Any]:
        """Size, caps and every seat's award."""
        if self._election is None:
            return {"size": 0, "seats": [], "awards": [], "relaxed": []}
        size, shares = len(self._committee.delegates), self._parameters.seat_shares
        seats, awards = [0] * len(shares), []
        for award in self._election.apportionment.awards:
            quotients = {s + 1: f"{shares[s]}/{2 * seats[s] + 1}" for s in award.contenders}
            awards.append({"stratum": award.stratum + 1, "quotients": quotients, "stratum_cap": award.cap})
            seats[award.stratum] += 1
        return {
            "size": size,
            "f": faults_of(size),
            "shares": list(shares),
            "stratum_cap": stratum_cap_of(size),
            "owner_cap": owner_cap_of(size),
            "seats": seats,
            "awards": awards,
            "relaxed": [each.sentence for each in self._election.relaxations],
        }

    def _falls(self) -> dict[str, Any]:
        """The seed, and every lot in its order."""
        if self._election is None:
            return {"seed": "", "lots": []}
        lots = [
            {
                "stratum": each.stratum,
                "lot": each.number,
                "value": each.value,
                "of": each.weight_sum,
                "member": each.member_id,
                "seated": each.is_seated,
            }
            for each in self._election.lots
        ]
        return {"seed": self._election.seed.hex(), "lots": lots}


def _kept_out(member: MemberState) -> tuple[str, ...]:
    """Why a member is no candidate at all."""
    if not member.is_active:
        return (member.status.name.lower(),)
    return ("tombstoned",) if member.tombstoned else ("dismissed since, or left out by a recovery",)


# --- for people ---


def _shown(facts: dict[str, Any]) -> tuple[RenderableType, ...]:
    seeds = {f"reveal {i}, {each['member']}": each["preimage"] for i, each in enumerate(facts["reveals"], 1)}
    seed = facts_table("Seed", {**seeds, "mix": facts["mix"], "seed": facts["seed"]})
    if facts["size"]:
        drawn = (*_seats_shown(facts), seed, _lots_shown(facts))
    else:
        drawn = (styled("Too few are eligible: the sitting committee serves on.", "yellow"), seed)
    return (_members_shown(facts), *drawn, *_end_shown(facts))


def _members_shown(facts: dict[str, Any]) -> RenderableType:
    columns = ("member", "owner", "grade", ">stratum", ">score", ">votes", ">terms", ">weight", "eligible")
    members = table(f"Snapshot at height {facts['snapshot_height']}", *columns)
    for each in facts["members"]:
        grade = each["grade"] + (" (expired)" if each["grade_expired"] else "")
        cells = [str(each[name]) for name in ("stratum", "score", "votes", "terms_running", "weight")]
        members.add_row(each["member"], each["owner_group"], grade, *cells, "; ".join(each["reasons"]) or "yes")
    return members


def _seats_shown(facts: dict[str, Any]) -> tuple[RenderableType, ...]:
    caps = f"n = {facts['size']}, f = {facts['f']}; a stratum {facts['stratum_cap']}, an owner {facts['owner_cap']} at most"
    seats = table(f"Seats by Sainte-Lague: {caps}", ">seat", "quotients share/(2 seats + 1)", "goes to", ">cap")
    for number, each in enumerate(facts["awards"], 1):
        quotients = ", ".join(f"S{stratum} {value}" for stratum, value in each["quotients"].items())
        seats.add_row(str(number), quotients, f"S{each['stratum']}", str(each["stratum_cap"]))
    return (seats, *(styled(each, "yellow") for each in facts["relaxed"]))


def _lots_shown(facts: dict[str, Any]) -> RenderableType:
    drawn = table("Lots", "stratum", ">lot", ">value", ">of", "falls on", "who")
    for each in facts["lots"]:
        outcome = "takes a seat" if each["seated"] else "is passed over: its owner's cap, or another's last seat"
        numbers = [str(each[name]) for name in ("lot", "value", "of")]
        drawn.add_row(f"S{each['stratum']}", *numbers, each["member"], outcome)
    return drawn


def _end_shown(facts: dict[str, Any]) -> tuple[RenderableType, ...]:
    header = facts["header"]
    end = {
        "order of primaries": ", ".join(facts["committee"]),
        "committee hash": facts["committee_hash"],
        "the header": "none: the genesis decides" if header is None else header["next_committee_hash"],
    }
    if header is None:
        verdict = styled("The founders' committee follows from the genesis.", "green")
    elif facts["agrees"]:
        verdict = styled(f"The header of block {header['height']} names this committee.", "green")
    else:
        verdict = styled(f"The header of block {header['height']} names another committee.", "bold red")
    return (facts_table(f"Committee of epoch {facts['epoch']}", end), verdict)
