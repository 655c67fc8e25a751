"""Proposals about members from a member's own side: draw one up, open it, see what waits, sign (rules L2, C6).

What is signed is read here out of the payload's own bytes, not out of what a service says about them: a member answers for
its signature. The member key is a file of 32 bytes, as identity keeps it, and is held for one command only.
"""

import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from consilium.api.chain.v1 import chain_pb2
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.client.private_files import read_private
from consilium.client.remote import Alliance
from consilium.client.session import REQUEST_ID_BYTES, Session
from consilium.kernel.authoring import sign_payload
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, InvalidArgument, Malformed, NotFound
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import SEED_BYTES, Ed25519Signer
from consilium.kernel.transactions import (
    PAYLOAD_BYTES_MAX,
    Grade,
    GradeBody,
    MemberAction,
    MemberBody,
    MemberProfile,
    Payload,
)
from consilium.runtime.channels import typed

PREFIX_MIN = 8
"""How many hexadecimal digits of a proposal's id are the least to name it by."""
PROFILE_FIELDS = ("owner_group", "grade", "member_key", "consensus_key", "reveal_anchor")


class Change(StrEnum):
    """What a proposal does to a member."""

    ADMIT = "admit"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"
    EXPEL = "expel"
    GRADE = "grade"


@dataclass(frozen=True, slots=True)
class Motion:
    """A proposal as it stands at the member `at`; what it `says`, `profile` and `evidence` are read out of what is signed.

    `profile` is None for a grade; `evidence` is the SHA-256 of the document behind the proposal in hexadecimal, or "".
    """

    proposal_hash: bytes
    at: str
    payload: bytes
    says: str
    profile: MemberProfile | None
    evidence: str
    state: str
    signatures: int
    signatures_needed: int
    expiry_height: int
    code: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a proposal will ask for: for `grade` the grade and its last height, for `admit` the new member's profile."""

    change: Change
    member_id: str
    grade: str | None = None
    until_height: int | None = None
    profile: Path | None = None
    evidence: Path | None = None


def read_member_key(path: Path) -> Ed25519Signer:
    """The member's key. Raises InvalidArgument: BAD_MEMBER_KEY, FailedPrecondition: OPEN_TO_OTHERS; may raise OSError."""
    seed = read_private(path, SEED_BYTES)
    if len(seed) != SEED_BYTES:
        raise InvalidArgument("BAD_MEMBER_KEY", f"{path} holds no member key: that is {SEED_BYTES} random bytes.")
    return Ed25519Signer.from_seed(seed)


async def draw_up(session: Session, draft: Draft) -> MemberBody | GradeBody:
    """What will stand on the ledger. Raises InvalidArgument: BAD_PROPOSAL; NotFound: UNKNOWN_MEMBER; may raise OSError."""
    digest = ZERO_DIGEST if draft.evidence is None else sha256(draft.evidence.read_bytes())
    if draft.change is Change.GRADE:
        grade, names = Grade.__members__.get(draft.grade or ""), ", ".join(Grade.__members__)
        if grade is None or draft.until_height is None:
            raise InvalidArgument("BAD_PROPOSAL", f"A grade needs --until HEIGHT and --grade, one of {names}.")
        return GradeBody(draft.member_id, grade, digest, draft.until_height)
    if draft.change is not Change.ADMIT:
        profile = (await session.member(draft.member_id)).profile
    elif draft.profile is None:
        raise InvalidArgument("BAD_PROPOSAL", "To admit a member takes --profile FILE with its owner, grade and keys.")
    else:
        profile = _profile(draft.member_id, draft.profile)
    return MemberBody(MemberAction[draft.change.name], profile, digest)


async def propose(alliance: Alliance, body: MemberBody | GradeBody, signer: Ed25519Signer) -> Motion:
    """Open a proposal at the own member, signed with its key. Raises what identity refuses."""
    session = alliance.session
    await session.member(session.home_id)  # where the chain is now
    expiry = session.height + alliance.genesis.parameters.expiry_blocks_max
    payload = Payload(signer.public_key, secrets.token_bytes(REQUEST_ID_BYTES), expiry, body)
    carried = chain_pb2.Transaction(encoded=sign_payload(payload, signer, session.chain_id))
    stub = IdentityServiceStub(alliance.channel(session.home_id, "identity"))
    with typed():
        if isinstance(body, GradeBody):
            opened = (await stub.ProposeGrade(pb.ProposeGradeRequest(transaction=carried))).proposal
        else:
            opened = (await stub.ProposeMember(pb.ProposeMemberRequest(transaction=carried))).proposal
    return _motion(opened, session.home_id, session.chain_id)


async def open_motions(alliance: Alliance, at: str) -> list[Motion]:
    """What waits for signatures at a member, newest first."""
    stub, found, token = IdentityServiceStub(alliance.channel(at, "identity")), [], ""
    while True:
        asked = pb.ListProposalsRequest(page_token=token, state=pb.PROPOSAL_STATE_OPEN)
        with typed():
            page = await stub.ListProposals(asked)
        found += [_motion(each, at, alliance.session.chain_id) for each in page.proposals]
        token = page.next_page_token
        if not token:
            return found


async def sign(alliance: Alliance, motions: list[Motion], name: str, signer: Ed25519Signer) -> Motion:
    """Put a signature to the motion whose id is or begins with `name`.

    Raises NotFound: NO_SUCH_PROPOSAL, InvalidArgument: AMBIGUOUS, and what identity refuses.
    """
    motion = _named(motions, name)
    stub = IdentityServiceStub(alliance.channel(motion.at, "identity"))
    signature = chain_pb2.Signature(public_key=signer.public_key, signature=signer.sign(motion.payload))
    with typed():
        answer = await stub.SignProposal(pb.SignProposalRequest(proposal_hash=motion.proposal_hash, signature=signature))
    return _motion(answer.proposal, motion.at, alliance.session.chain_id)


def _named(motions: list[Motion], name: str) -> Motion:
    found = [each for each in motions if len(name) >= PREFIX_MIN and each.proposal_hash.hex().startswith(name.lower())]
    if not found:
        raise NotFound("NO_SUCH_PROPOSAL", f"No open proposal begins with {name!r}; `consilium member sign` lists them.")
    if len(found) > 1:
        raise InvalidArgument("AMBIGUOUS", f"{len(found)} proposals begin with {name!r}; give more of the id.")
    return found[0]


def _motion(proposal: pb.Proposal, at: str, chain_id: bytes) -> Motion:
    """The proposal, once its id is the hash of what would be signed. Raises Conflict: OTHER_PROPOSAL; Malformed."""
    payload = open_transaction(proposal.transaction.encoded, chain_id).payload_bytes
    if sha256(payload) != proposal.proposal_hash:
        raise Conflict("OTHER_PROPOSAL", f"{at} shows another proposal than the one it names.", "L2")
    body = _body(decode(Payload, payload, chain_id, PAYLOAD_BYTES_MAX))
    return Motion(
        proposal.proposal_hash,
        at,
        payload,
        _says(body),
        body.profile if isinstance(body, MemberBody) else None,
        "" if body.evidence_digest == ZERO_DIGEST else body.evidence_digest.hex(),
        pb.ProposalState.Name(proposal.state).removeprefix("PROPOSAL_STATE_"),
        proposal.signatures,
        proposal.signatures_needed,
        proposal.expiry_height,
        proposal.code,
    )


def _body(payload: Payload) -> MemberBody | GradeBody:
    """What a proposal does. Raises Malformed: NO_PROPOSAL for a transaction of another kind."""
    if isinstance(payload.body, MemberBody | GradeBody):
        return payload.body
    raise Malformed("NO_PROPOSAL", "The transaction that is to be signed is no proposal.", "L2")


def _says(body: MemberBody | GradeBody) -> str:
    """A proposal in words."""
    if isinstance(body, GradeBody):
        return f"grade {body.member_id} {body.grade.name} until height {body.expires_height}"
    return f"{body.action.name.lower()} {body.profile.member_id}"


def _profile(member_id: str, path: Path) -> MemberProfile:
    """A new member's profile out of its JSON file. Raises InvalidArgument: BAD_PROPOSAL; may raise OSError."""
    try:
        facts = json.loads(path.read_bytes())
        keys = [bytes.fromhex(facts[name]) for name in PROFILE_FIELDS[2:]]
        profile = MemberProfile(member_id, str(facts["owner_group"]), Grade[facts["grade"]], *keys)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        wanted = ", ".join(PROFILE_FIELDS)
        raise InvalidArgument("BAD_PROPOSAL", f"{path} is no profile: JSON with {wanted}, keys in hexadecimal.") from error
    if any(len(each) != SEED_BYTES for each in keys):
        raise InvalidArgument("BAD_PROPOSAL", f"{path} is no profile: keys and anchor have 64 hexadecimal digits.")
    return profile
