from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from consilium.sandbox.medical import MARKER, dicom_study, fhir_bundle, names_in_bundle, read_study
from tests.e2e.hunt import WORD_MIN, hunt

CONSILIUM = Path(sys.executable).with_name("consilium")
STUDY = read_study(dicom_study())
WORDS = [
    MARKER.decode().strip(),
    *names_in_bundle(fhir_bundle()),
    STUDY.patient_name,
    STUDY.patient_id,
    STUDY.description,
    "Philips Medical Systems",
    '"resourceType":"Bundle"',
    "a letter under the old key",
    "a letter under the new key",
    "the referral letter, which never leaves the hospital",
    "cardiology",
]
"""What the story's files and people hold, and nothing of the alliance may: the words of FHIR and DICOM among them."""


STORES = {
    "votes", "blocks", "objects.db", "holdings.db", "shred-secrets.db", "fragments.db", "receipts.db", "identity.db"
}  # fmt: skip
"""Where the services of a member keep what they know."""


def consilium(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, with a file left open counting as a fault."""
    command = [sys.executable, "-W", "error::ResourceWarning", str(CONSILIUM), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own


@pytest.mark.slow
@pytest.mark.timeout(900)  # the demo, every chain read again, every file searched
def test_the_demo_holds_and_leaves_no_plaintext(tmp_path: Path) -> None:
    """Promises 3, 7 and 8: nothing of the patient in stores, journals, logs or metrics; all chains replay to one.

    A delegate was killed and restarted in the story: none revealed twice in an epoch (C6).
    """
    folder = tmp_path / "left"
    told = consilium("demo", "--keep", str(folder))
    assert told.returncode == 0, told.stdout + told.stderr
    assert "All 40 checks held" in told.stdout
    assert "\x1b[" not in told.stdout
    assert told.stderr == ""
    left = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in left} >= STORES
    assert [len(list(folder.glob(each))) for each in ("*/logs/*.log", "metrics/*")] == [25, 25]
    assert sum(path.stat().st_size for path in left) > 128 * 1024 * 1024
    assert hunt(folder, WORDS) == []

    verified = consilium("verify", str(folder))
    assert verified.returncode == 0, verified.stderr
    assert "all 5 members hold one chain" in verified.stdout
    assert "GRANT_REVOKED" in verified.stdout
    assert "REVEAL_REPEATED" not in verified.stdout


@pytest.mark.parametrize(
    "dressed",
    [
        b"Stiedemann542",
        "Stiedemann542".encode("utf-16-le"),
        "Stiedemann542".encode("utf-16-be"),
        b"Stiedemann542".hex().encode(),
        b"Stiedemann542".hex().upper().encode(),
        base64.b64encode(b"Stiedemann542"),
        base64.b64encode(b"." + b"Stiedemann542" + b"."),
        base64.b64encode(b".." + b"Stiedemann542" + b"."),
    ],
)
def test_the_hunt_finds_what_is_planted(tmp_path: Path, dressed: bytes) -> None:
    """In the middle of bytes that mean nothing, in every dress."""
    (tmp_path / "deep").mkdir()
    noise = bytes(range(256)) * 20
    (tmp_path / "deep" / "journal").write_bytes(noise + dressed + noise)
    found = hunt(tmp_path, WORDS)
    assert {each.word for each in found} == {"Stiedemann542"}
    assert {each.path for each in found} == {"deep/journal"}


def test_the_hunt_looks_at_names_too(tmp_path: Path) -> None:
    (tmp_path / "Stiedemann542.json").write_bytes(b"")
    assert [each.word for each in hunt(tmp_path, WORDS)] == ["Stiedemann542"]


def test_every_word_is_long_enough_to_be_hunted() -> None:
    assert min(map(len, WORDS)) >= WORD_MIN
