"""Governance from a member's own side: draw a proposal up, have it signed, see what is open, say yes or no (rules G1 to G5).

The member's identity service signs with the member key; what it signs is put together here, byte for byte, and that very
payload must be the one the ledger proves. What is open is read under proof from the ledger, member by member, so nobody can
keep a proposal from anybody.
"""

import json
import secrets
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.client.numbers import whole_number
from consilium.client.remote import Alliance
from consilium.client.session import REQUEST_ID_BYTES, Session, require
from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Conflict, InvalidArgument, NotFound
from consilium.kernel.founding import verify_parameters
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import SEED_BYTES
from consilium.kernel.state_values import AllianceState, ProposalState, ProposalStatus
from consilium.kernel.transactions import (
    Act,
    BallotBody,
    Grade,
    GradeAct,
    KeysAct,
    MemberAct,
    MemberAction,
    MemberProfile,
    NewKeys,
    ParametersAct,
    Payload,
    ProposalBody,
    UpgradeAct,
)
from consilium.runtime.authorities import AUTHORITY_BYTES_MAX, verify_bound
from consilium.runtime.channels import typed
from consilium.runtime.clock import wall_ms

PREFIX_MIN = 8
"""How many hexadecimal digits of a proposal's id are the least to name it by."""
KEY_FIELDS = ("member_key", "consensus_key", "reveal_anchor")
PROFILE_FIELDS = ("owner_group", *KEY_FIELDS)


class Change(StrEnum):
    """What a proposal does."""

    ADMIT = "admit"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"
    EXPEL = "expel"
    GRADE = "grade"
    KEYS = "keys"
    PARAMETERS = "parameters"
    UPGRADE = "upgrade"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a proposal will ask for; which of these it takes depends on the change.

    `request` is the profile that a coming member asks with; `numbers` are `name=value`, a name of
    `kernel.parameters.Parameters`; `within` how many blocks it may take to decide.
    """

    change: Change
    member_id: str | None = None
    grade: str | None = None
    until_height: int | None = None
    profile: Path | None = None
    request: MemberProfile | None = None
    keys: Path | None = None
    numbers: tuple[str, ...] = ()
    version: int | None = None
    height: int | None = None
    evidence: Path | None = None
    within: int | None = None


@dataclass(frozen=True, slots=True)
class Motion:
    """A proposal as the ledger proves it at a height, and how many members active then count, and have said yes or no."""

    proposal_id: bytes
    state: ProposalState
    height: int
    active: int
    yes: int
    no: int

    @property
    def yes_needed(self) -> int:
        """The least number that is more than two thirds of the active members."""
        return 2 * self.active // 3 + 1


async def draw_up(session: Session, draft: Draft) -> ProposalBody:
    """What will stand on the ledger.

    Raises InvalidArgument: BAD_PROPOSAL, BAD_PARAMETERS; NotFound: UNKNOWN_MEMBER; may raise OSError.
    """
    digest = ZERO_DIGEST if draft.evidence is None else sha256(draft.evidence.read_bytes())
    alliance = await session.alliance()
    act = await _act(session, draft, alliance)
    last = session.height + (alliance.parameters.proposal_blocks_max if draft.within is None else draft.within)
    if isinstance(act, GradeAct) and draft.evidence is None:
        raise InvalidArgument("BAD_PROPOSAL", "A grade needs --evidence FILE: the document that it rests on.", "C6")
    if isinstance(act, UpgradeAct):
        last = min(last, act.height - alliance.parameters.window_blocks - 1)
    return ProposalBody(act, digest, last)


async def hand_on(alliance: Alliance, body: ProposalBody, data: bytes) -> None:
    """Have the own member hand on the authority of a member whose keys are to change, bound under the new key (ADR 22).

    So the others reach its services when only the new key counts. Raises InvalidArgument: BAD_PROPOSAL; Malformed; and as
    `verify_bound`.
    """
    if not isinstance(body.act, KeysAct):
        raise InvalidArgument("BAD_PROPOSAL", "--authority goes with `keys`.", "G3")
    session, key = alliance.session, body.act.keys.member_key
    bound = decode(BoundAuthority, data, session.chain_id, AUTHORITY_BYTES_MAX)
    verify_bound(bound, key, alliance.settings.alliance, session.chain_id, wall_ms(), session.verifier)
    with typed():
        await alliance.identity.AddAuthority(pb.AddAuthorityRequest(authority=data))


async def propose(alliance: Alliance, body: ProposalBody) -> Motion:
    """Open a proposal, signed by the own member's identity service, with the member's yes; once it is final.

    Raises what identity and the ledger refuse; DeadlineExceeded: NOT_FINAL_YET.
    """
    payload, session = await _payload(alliance.session, body), alliance.session
    encoded = encode(payload, session.chain_id)
    with typed():
        proposal_id = (await alliance.identity.ProposeChange(pb.ProposeChangeRequest(payload=encoded))).proposal_id
    await _settled(session, proposal_id, payload)
    return await read_motion(session, proposal_id)


async def cast(alliance: Alliance, proposal_id: bytes, *, yes: bool) -> Motion:
    """Say yes or no to a proposal in the member's name, once it is final; raises as `propose`."""
    payload, session = await _payload(alliance.session, BallotBody(proposal_id, yes)), alliance.session
    encoded = encode(payload, session.chain_id)
    with typed():
        name = (await alliance.identity.CastBallot(pb.CastBallotRequest(payload=encoded))).transaction_hash
    await _settled(session, name, payload)
    return await read_motion(session, proposal_id)


async def read_motion(session: Session, proposal_id: bytes) -> Motion:
    """A proposal as the ledger proves it. Raises NotFound: NO_SUCH_PROPOSAL."""
    return await _counted(session, proposal_id, await _active(session))


async def motions(session: Session, *, closed: bool = False) -> list[Motion]:
    """The open proposals, and the closed ones that the ledger's state still holds if asked for; oldest first."""
    active = await _active(session)
    found = [await _counted(session, each, active) for each in await session.proposal_ids()]
    wanted = [each for each in found if closed or each.state.status is ProposalStatus.OPEN]
    return sorted(wanted, key=lambda each: (each.state.opened_height, each.proposal_id))


async def named(session: Session, name: str) -> bytes:
    """The proposal whose id is or begins with `name`. Raises NotFound: NO_SUCH_PROPOSAL, InvalidArgument: AMBIGUOUS."""
    ids = await session.proposal_ids() if len(name) >= PREFIX_MIN else []
    found = [each for each in ids if each.hex().startswith(name.lower())]
    if not found:
        raise NotFound("NO_SUCH_PROPOSAL", f"No proposal begins with {name!r}; `consilium member proposals` lists them.")
    if len(found) > 1:
        raise InvalidArgument("AMBIGUOUS", f"{len(found)} proposals begin with {name!r}; give more of the id.")
    return found[0]


async def _active(session: Session) -> list[str]:
    return [each.profile.member_id for each in await session.all_members() if each.is_active]


async def _counted(session: Session, proposal_id: bytes, active: list[str]) -> Motion:
    """A proposal, with what the members active now have said."""
    state = await session.proposal(proposal_id)
    said = {each.member_id: each.yes for each in state.ballots}
    words = [said.get(name) for name in active]
    return Motion(proposal_id, state, session.height, len(active), words.count(True), words.count(False))


async def _payload(session: Session, body: ProposalBody | BallotBody) -> Payload:
    """What the own member is to sign, under the key in force (L6)."""
    author = (await session.member(session.home_id)).profile.member_key
    return Payload(author, secrets.token_bytes(REQUEST_ID_BYTES), await session.expiry_height(), body)


async def _settled(session: Session, transaction_hash: bytes, payload: Payload) -> None:
    """Wait until it is final and took effect. Raises Conflict: OTHER_PROPOSAL; FailedPrecondition by the ledger's code."""
    verified = await session.final(transaction_hash, payload.expiry_height)
    if verified.payload != payload:
        raise Conflict("OTHER_PROPOSAL", "The member had something else ordered than what it was asked to sign.", "G1")
    require(verified)


async def _act(session: Session, draft: Draft, alliance: AllianceState) -> Act:
    match draft.change:
        case Change.GRADE:
            return _grade(draft)
        case Change.KEYS:
            if draft.keys is None:
                raise InvalidArgument("BAD_PROPOSAL", "New keys need --keys FILE with the public keys.", "G3")
            keys = NewKeys(*_keys(_facts(draft.keys, KEY_FIELDS), draft.keys))
            return KeysAct((await session.member(_member(draft))).profile, keys)
        case Change.PARAMETERS:
            return _numbers(draft, alliance.newest_parameters)
        case Change.UPGRADE:
            if draft.version is None or draft.height is None:
                raise InvalidArgument("BAD_PROPOSAL", "An upgrade needs --version and --height.", "G5")
            return UpgradeAct(draft.version, draft.height)
        case Change.ADMIT:
            return MemberAct(MemberAction.ADMIT, draft.request or _profile(draft))
        case _:
            return MemberAct(MemberAction[draft.change.name], (await session.member(_member(draft))).profile)


def _member(draft: Draft) -> str:
    if draft.member_id is None:
        raise InvalidArgument("BAD_PROPOSAL", f"Name the member: `consilium member propose {draft.change} MEMBER`.")
    return draft.member_id


def _grade(draft: Draft) -> GradeAct:
    grade, names = Grade.__members__.get(draft.grade or ""), ", ".join(Grade.__members__)
    if grade is None or draft.until_height is None:
        raise InvalidArgument("BAD_PROPOSAL", f"A grade needs --until HEIGHT and --grade, one of {names}.")
    return GradeAct(_member(draft), grade, draft.until_height)


def _numbers(draft: Draft, before: Parameters) -> ParametersAct:
    """Raises InvalidArgument: BAD_PROPOSAL for what is no parameter, BAD_PARAMETERS for one nobody can live by."""
    names = [each.name for each in fields(Parameters)]
    if not draft.numbers:
        raise InvalidArgument("BAD_PROPOSAL", f"Say what changes by --set NAME=VALUE; names: {', '.join(names)}.", "G4")
    changed: dict[str, int | tuple[int, ...]] = {}
    for each in draft.numbers:
        name, _, text = each.partition("=")
        values = tuple(number for part in text.split(",") if (number := whole_number(part)) is not None)
        is_one = name == "seat_shares" or "," not in text
        if name not in names or not is_one or len(values) != text.count(",") + 1:
            raise InvalidArgument("BAD_PROPOSAL", f"{each[:80]!r} is no NAME=VALUE; names: {', '.join(names)}.", "G4")
        changed[name] = values if name == "seat_shares" else values[0]
    after = replace(before, **changed)  # type: ignore[arg-type]
    verify_parameters(after)
    return ParametersAct(before, after)


def _profile(draft: Draft) -> MemberProfile:
    """A new member's profile out of its JSON file, ungraded: the grade is a proposal of its own, with evidence (C6).

    Raises InvalidArgument: BAD_PROPOSAL; may raise OSError.
    """
    path = draft.profile
    if path is None:
        raise InvalidArgument("BAD_PROPOSAL", "To admit takes --request FILE, its answer; or --profile FILE: owner, keys.")
    facts = _facts(path, PROFILE_FIELDS)
    return MemberProfile(_member(draft), facts["owner_group"], Grade.UNGRADED, *_keys(facts, path))


def _facts(path: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Texts out of a JSON file."""
    try:
        facts = json.loads(path.read_bytes())
        found = {name: facts[name] for name in names}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidArgument("BAD_PROPOSAL", f"{path} is not JSON with {', '.join(names)}.") from error
    if not all(isinstance(each, str) for each in found.values()):
        raise InvalidArgument("BAD_PROPOSAL", f"{path} is not JSON with {', '.join(names)}, all of them texts.")
    return found


def _keys(facts: dict[str, str], path: Path) -> tuple[bytes, bytes, bytes]:
    try:
        member, consensus, anchor = [bytes.fromhex(facts[name]) for name in KEY_FIELDS]
    except ValueError as error:
        raise InvalidArgument("BAD_PROPOSAL", f"{path}: keys and anchor are hexadecimal.") from error
    if any(len(each) != SEED_BYTES for each in (member, consensus, anchor)):
        raise InvalidArgument("BAD_PROPOSAL", f"{path}: keys and anchor have 64 hexadecimal digits.")
    return member, consensus, anchor
