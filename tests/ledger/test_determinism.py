"""The same blocks give the same roots in any process (L8; habit 7)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode, encode
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Grade, GradeAct, ReceiptKind
from consilium.ledger.core.chain import Chain
from tests.alliance import Alliance, Scribe, opened
from tests.ledger.patient import Patient, grant, receipt, request, revoke

ROOT = Path(__file__).resolve().parents[2]
BLOCK_BYTES_MAX = 2**24


def story() -> Scribe:
    """Two epochs in which every table, every kind of consent and the election are used."""
    scribe = Scribe(Alliance.founded())
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    scribe.write(scribe.record("r", "anshan", patient.commitment()), grant(scribe, patient), grant(scribe, patient, "h"))
    asked = request(scribe, patient)
    scribe.write(asked, *[scribe.reveal(name) for name in scribe.alliance.keys])
    name = opened(scribe.alliance, asked).leaf
    scribe.write(receipt(scribe, "dalian", ReceiptKind.RELEASE, "g", name, 2))
    scribe.write(revoke(scribe, patient, "g", patient.grant(patient.terms("i", 1), 1), epoch=1))
    scribe.write(receipt(scribe, "dalian"), receipt(scribe, "anshan"), request(scribe, patient))
    scribe.govern(GradeAct("fushun", Grade.A3, 500))
    scribe.cross_epoch()
    scribe.cross_epoch()
    return scribe


def replay(path: Path) -> str:
    """The last result of the blocks in a file, as its hash of hashes would be printed."""
    chain = Chain(Alliance.founded().genesis, Ed25519Verifier())
    for line in path.read_text().split():
        block = decode(CertifiedBlock, bytes.fromhex(line), chain.chain_id, BLOCK_BYTES_MAX)
        chain.append_block(block)
    return encode(chain.outcome(chain.height).result, chain.chain_id).hex()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_roots_do_not_depend_on_the_process(tmp_path: Path, hash_seed: str) -> None:
    """L8: Python salts the hashes of text and bytes per process; no root may show it."""
    scribe = story()
    path = tmp_path / "blocks"
    path.write_text("\n".join(encode(block, scribe.alliance.chain_id).hex() for block in scribe.blocks))
    code = f"from pathlib import Path; from tests.ledger.test_determinism import replay; print(replay(Path({str(path)!r})))"
    done = subprocess.run(  # noqa: S603  our own interpreter and our own words
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    last = scribe.chain.outcome(scribe.chain.height).result
    assert done.stdout.strip() == encode(last, scribe.alliance.chain_id).hex()


def test_the_story_leaves_nothing_out() -> None:
    """The replay above is worth what it covers."""
    scribe = story()
    codes = [code.name for height in range(1, scribe.chain.height + 1) for code in scribe.chain.outcome(height).codes]
    assert {"APPLIED", "GRANTED", "GRANT_REVOKED"} <= set(codes)
    assert scribe.chain.tip.outlook.epoch == 2
