"""Whose statement a member signs: one liar that signs first leads nobody (rule C10)."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.client.recovering import Part, Parts, sign
from consilium.client.remote import Alliance
from consilium.kernel.certificates import Committee, Delegate, MemberSignature
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, FailedPrecondition
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.recovery import RecoveryCertificate, RecoveryStatement
from consilium.kernel.recovery_reports import RecoveryReport, SignedReport

CHAIN_ID = bytes(32)
SIGNATURE = bytes(64)


def committee(epoch: int, *names: str) -> Committee:
    """These delegates."""
    return Committee(epoch, tuple(Delegate(each, each.encode() * 32) for each in names))


def draft(*lost: str, height: int = 3) -> RecoveryCertificate:
    """What follows for these lost ones; at height 3 the ledger works it out."""
    following = committee(1, *[each for each in "abcdefg" if each not in lost][:4])
    statement = RecoveryStatement(0, height, ZERO_DIGEST, (), lost, following, ZERO_DIGEST)
    return RecoveryCertificate(statement, None, (), ())


def part(name: str, signed: RecoveryCertificate | None) -> Part:
    """A member's part, with the draft it has signed."""
    report = SignedReport(RecoveryReport(0, name, witness=True, commit=None, prepared=()), SIGNATURE)
    signature = None if signed is None else MemberSignature(name, SIGNATURE)
    return Part(name, 0, name.encode(), report, signed, (name.encode(),), signature)


@dataclass
class OwnIdentity:
    """The home member's identity and ledger: every epoch ends at height 3."""

    signed: list[bytes] = field(default_factory=list)

    async def GetRecoveryDraft(self, request: Any) -> pb.GetRecoveryDraftResponse:
        return pb.GetRecoveryDraftResponse(draft=encode(draft(*sorted(request.lost_member_ids)), CHAIN_ID))

    async def SignRecovery(self, request: Any) -> pb.SignRecoveryResponse:
        self.signed.append(request.draft)
        return pb.SignRecoveryResponse()


def signs(*parts: Part, lost: list[str] | None = None) -> RecoveryStatement:
    """What the home member, one of seven electors, signs."""
    session = SimpleNamespace(electorate=SimpleNamespace(electors=range(7)), committee=committee(0, *"abcd"))
    alliance = SimpleNamespace(identity=OwnIdentity(), genesis=SimpleNamespace(chain_id=CHAIN_ID), session=session)
    return asyncio.run(sign(cast("Alliance", alliance), Parts(0, parts, ()), lost)).statement


def test_a_draft_that_the_own_ledger_does_not_work_out_is_not_joined() -> None:
    """C10: whoever invented it; the next one is."""
    invented, true = part("a", draft("x", height=9)), part("b", draft("x"))
    assert signs(invented, true) == draft("x").statement
    assert signs(invented, part("c", None), lost=["x"]) == draft("x").statement
    with pytest.raises(FailedPrecondition, match="NO_LOST_NAMED"):
        signs(invented)


def test_a_false_list_binds_nobody_until_a_third_have_signed_it() -> None:
    """C10: below that, all who signed it may lie."""
    false = draft("x", "y")
    assert signs(part("a", false), part("b", false), lost=["x"]) == draft("x").statement
    assert signs(part("a", false), part("b", false), part("c", draft("x")), lost=["x"]) == draft("x").statement
    with pytest.raises(Conflict, match="OTHER_LOST"):
        signs(part("a", false), part("b", false), part("c", false), lost=["x"])
