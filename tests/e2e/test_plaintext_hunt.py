from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from consilium.sandbox.medical import MARKER, dicom_study, fhir_bundle, names_in_bundle, read_study
from tests.e2e.hunt import WORD_MIN, hunt
from tests.sandbox.people import REASON, for_a_day, institution, patient
from tests.sandbox.running import play, running

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


def consilium(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, with a file left open counting as a fault."""
    command = [sys.executable, "-W", "error::ResourceWarning", str(CONSILIUM), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)  # noqa: S603  our own


@pytest.mark.slow
def test_the_demo_holds_and_leaves_no_plaintext(tmp_path: Path) -> None:
    """Promises 3 and 7: nothing of the patient in vote logs, blocks, databases and their write-ahead logs, or objects."""
    folder = tmp_path / "left"
    told = consilium("demo", "--keep", str(folder))
    assert told.returncode == 0, told.stdout + told.stderr
    assert "All 37 checks held" in told.stdout
    assert "\x1b[" not in told.stdout
    assert told.stderr == ""
    left = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {"votes", "blocks", "objects.db", "shred-secrets.db", "fragments.db"} <= {path.name for path in left}
    assert sum(path.stat().st_size for path in left) > 128 * 1024 * 1024
    assert hunt(folder, WORDS) == []

    verified = consilium("verify", str(folder))
    assert verified.returncode == 0, verified.stderr
    assert "all 5 members hold one chain" in verified.stdout


def write_ahead_bytes(folder: Path) -> int:
    """How much stands in the write-ahead logs of all databases below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*-wal"))


def test_nothing_is_there_while_members_run_either(tmp_path: Path) -> None:
    """Promise 3: write-ahead logs and half-written journals hold no more than what is left at the end."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance)
            client, _, address = institution(alliance, "3A")
            reference = await owner.write(fhir_bundle(), "2A")
            grant = await owner.share(address, for_a_day())
            opened = await client.open(grant.terms.grant_id, reference, REASON)
            assert b"".join([piece async for piece in client.read(opened, "2A")]) == fhir_bundle()
            assert write_ahead_bytes(tmp_path) > 0
            assert hunt(tmp_path, WORDS) == []

    play(story())


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
