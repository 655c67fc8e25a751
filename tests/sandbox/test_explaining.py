"""An election explained from an exported chain (C6, promise 8)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.client import cli
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import NotFound
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Grade, GradeAct, Points, VoteBody
from consilium.sandbox.explaining import explain
from consilium.sandbox.exporting import new_export
from tests.alliance import GRADES, PARAMETERS, Alliance, Scribe
from tests.kernel import recomputed_election as text

if TYPE_CHECKING:
    from pathlib import Path

EIGHT = {**GRADES, "jinzhou": Grade.B1, "panjin": Grade.C2, "yingkou": Grade.SPECIAL3}


@pytest.fixture(scope="module")
def scribe() -> Scribe:
    """Two epochs behind it: a vote, a grade that has expired, a member that keeps silent, reveals."""
    scribe = Scribe(Alliance.founded(EIGHT))
    vote = VoteBody((Points("benxi", 4), Points("chaoyang", 5)))
    scribe.write(scribe.signed(scribe.alliance.keys["anshan"].member, vote))
    scribe.govern(GradeAct("dalian", Grade.A3, 5), within=2)
    loud = [name for name in EIGHT if name != "panjin"]
    for _ in range(2):
        names = [each.member_id for each in scribe.chain.tip.outlook.committee.delegates]
        scribe.write(*[scribe.reveal(name) for name in names if name != "panjin"])
        scribe.write_until(scribe.chain.tip.outlook.term_end)
        scribe.write(scribe.handover(loud))
    return scribe


def test_every_epochs_election_is_the_one_in_the_headers(scribe: Scribe) -> None:
    """C6: recomputed from genesis and blocks, and again by the independent recomputation."""
    for epoch in range(3):
        told = explain(scribe.alliance.genesis, scribe.blocks, epoch, Ed25519Verifier())
        facts = told.facts
        assert told.code == 0
        assert facts["agrees"]
        people = [
            text.Person(
                each["member"],
                each["owner_group"],
                text.GRADES[Grade[each["grade"]]],
                each["score"],
                each["votes"],
                0,
                each["terms_running"],
                "no sign of life in the last term" in each["reasons"],
            )
            for each in facts["members"]
        ]
        chain_id, mix = scribe.alliance.chain_id, bytes.fromhex(facts["mix"])
        outcome = text.recompute(people, 13, (39, 13, 36, 12), chain_id, epoch, mix)
        assert outcome is not None
        assert (facts["committee"], facts["seats"]) == (outcome.order, outcome.seats)
        assert sum(lot["seated"] for lot in facts["lots"]) == facts["size"] == len(facts["awards"])
    committees = [scribe.chain.committee_of(epoch).hash(scribe.alliance.chain_id).hex() for epoch in range(3)]
    assert facts["committee_hash"] == committees[2]


def test_reasons_stand_beside_who_is_out(scribe: Scribe) -> None:
    """C6: votes, an expired grade and a silence are named."""
    facts = explain(scribe.alliance.genesis, scribe.blocks, 2, Ed25519Verifier()).facts
    members = {each["member"]: each for each in facts["members"]}
    assert members["benxi"]["votes"] == 4
    assert members["dalian"]["grade_expired"]
    assert members["dalian"]["stratum"] == 4
    assert members["panjin"]["reasons"] == ["no sign of life in the last term"]
    assert (members["panjin"]["eligible"], members["panjin"]["weight"]) == (False, 0)
    assert len(facts["reveals"]) > 0


def test_a_header_with_another_committee_is_named(scribe: Scribe) -> None:
    """C6: exit code 1, whoever signed it."""
    blocks = list(scribe.blocks)
    chain_id = scribe.alliance.chain_id
    header = decode(Header, blocks[9].header, chain_id)
    blocks[9] = replace(blocks[9], header=encode(replace(header, next_committee_hash=bytes(32)), chain_id))
    told = explain(scribe.alliance.genesis, blocks, 1, Ed25519Verifier())
    assert (told.code, told.facts["agrees"], told.facts["header"]["height"]) == (1, False, 10)


def test_an_election_that_is_not_drawn_yet(scribe: Scribe) -> None:
    with pytest.raises(NotFound) as caught:
        explain(scribe.alliance.genesis, scribe.blocks, 3, Ed25519Verifier())
    assert caught.value.reason == "NOT_DRAWN"


@pytest.mark.parametrize("height", [4, 9, 10, 12], ids=["before-the-draw", "at-the-draw", "at-the-terms-end", "overdue"])
def test_a_recovery_takes_the_place_of_the_draw(height: int) -> None:
    """C6, C10: the committee told is the one that sits, and so is that of the epoch after it."""
    scribe = Scribe(Alliance.founded(EIGHT, replace(PARAMETERS, committee_target=4)))
    scribe.write_until(height)
    scribe.recover()
    outlook = scribe.chain.tip.outlook
    told = explain(scribe.alliance.genesis, scribe.blocks, 1, Ed25519Verifier())
    assert (told.code, told.facts["agrees"]) == (0, True)
    assert told.facts["committee"] == [each.member_id for each in outlook.committee.delegates]
    scribe.write(*[scribe.reveal(each.member_id) for each in outlook.committee.delegates])
    scribe.write_until(outlook.term_end)
    told = explain(scribe.alliance.genesis, scribe.blocks, 2, Ed25519Verifier())
    following = scribe.chain.tip.outlook.next_committee
    assert following is not None
    assert (told.code, told.facts["committee"]) == (0, [each.member_id for each in following.delegates])


def test_explain_reads_an_export(scribe: Scribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Promise 8: the command needs the folder and nothing else; `verify` reads the same."""
    store = new_export(tmp_path / "chain", scribe.alliance.signed_genesis)
    for height, block in enumerate(scribe.blocks, 1):
        store.append_block(height, encode(block, scribe.alliance.chain_id))
    store.sync()
    store.close()
    cli.app(["election", "explain", "--epoch", "2", str(tmp_path / "chain"), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["agrees"]
    cli.app(["election", "explain", "--epoch", "1", str(tmp_path / "chain")], standalone_mode=False)
    assert "names this committee" in capsys.readouterr().out
    cli.app(["verify", str(tmp_path / "chain")], standalone_mode=False)
    assert f"{scribe.chain.height} blocks replayed" in " ".join(capsys.readouterr().out.split())
