"""The demo's medical files: a FHIR R4 bundle, a DICOM study and one large object, and the checks of what comes back.

The platform never parses what it stores; only the people at both ends do, and here the demo does it in
their place. `data/README.md` says where the files come from. Nothing is fetched.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread
from pydicom.data import get_testdata_file

from consilium.kernel.errors import DataLoss, NotFound

BUNDLE = "kathern391_stiedemann542.json"
"""The bundle of the patient the story is about; the other one in `data` is for the tests."""
STUDY_FOLDER = "98892003"
STUDY_IMAGES = (
    "MR1/5641",
    "MR2/6273",
    "MR2/6605",
    "MR2/6935",
    "MR700/4467",
    "MR700/4528",
    "MR700/4558",
    "MR700/4588",
    "MR700/4618",
    "MR700/4648",
    "MR700/4678",
)
"""One study of three series, "Brain-MRA", de-identified and reduced to 16 x 16 pixels by its makers."""
LARGE_BYTES = 64 * 1024 * 1024
MARKER = b"PLANTED-MARKER: whoever reads this sentence in a file has found plaintext. "
"""What the large object is salted with, so that a plaintext hunt knows what to look for."""


@dataclass(frozen=True, slots=True)
class Bundled:
    """What a parsed FHIR bundle holds: resources of any kind, and the one patient's family name."""

    resources: int
    family_name: str


@dataclass(frozen=True, slots=True)
class Study:
    """What a parsed DICOM study holds: images, series, its description and its patient's name and id."""

    images: int
    series: int
    description: str
    patient_name: str
    patient_id: str


def fhir_bundle(name: str = BUNDLE) -> bytes:
    """A FHIR R4 bundle of a person who never lived, made by Synthea 3.3.0 and committed beside this module."""
    return (resources.files("consilium.sandbox") / "data" / name).read_bytes()


def dicom_study() -> bytes:
    """The images of one study that ship inside pydicom, in one ZIP file as DICOM PS3.12 annex V has it.

    Uncompressed and with fixed times, so that it is the same bytes each time. Raises NotFound when pydicom
    came without them.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as study:
        for name in STUDY_IMAGES:
            path = get_testdata_file(f"{STUDY_FOLDER}/{name}", download=False)
            if not isinstance(path, str):
                raise NotFound("NO_STUDY", f"This pydicom has no test file {STUDY_FOLDER}/{name}.")
            with open(path, "rb") as image:  # noqa: PTH123  pydicom hands out text, not a Path
                study.writestr(zipfile.ZipInfo(name), image.read())
    return archive.getvalue()


def large_object(size: int = LARGE_BYTES) -> bytes:
    """`size` bytes, the same each time: SHAKE-128 output, which nothing compresses, with the marker planted thrice."""
    data = bytearray(hashlib.shake_128(b"consilium demo").digest(size))
    for start in (0, size // 2, size - len(MARKER)):
        data[start : start + len(MARKER)] = MARKER
    return bytes(data)


def read_bundle(data: bytes) -> Bundled:
    """Parse every resource with the published R4 models; raises DataLoss when they refuse."""
    try:
        bundle = Bundle.model_validate_json(data)
    except ValueError as error:
        raise DataLoss("NOT_FHIR", f"This is no FHIR R4 bundle: {error}.") from error
    return Bundled(len(bundle.entry or ()), str(_patient(data)["name"][0]["family"]))


def read_study(data: bytes) -> Study:
    """Parse every image with its pixels; raises DataLoss unless all belong to one study."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        images = [dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    if len({each.StudyInstanceUID for each in images}) != 1 or any(not each.PixelData for each in images):
        raise DataLoss("NOT_A_STUDY", "These images are not of one study, or lack their pixels.")
    first = images[0]
    return Study(
        len(images),
        len({each.SeriesInstanceUID for each in images}),
        str(first.StudyDescription),
        str(first.PatientName),
        str(first.PatientID),
    )


def names_in_bundle(data: bytes) -> list[str]:
    """Names, addresses and identifiers of the bundle's patient: what must be found in no file the demo leaves."""
    patient = _patient(data)
    names = [part for name in patient["name"] for part in (name["family"], *name["given"])]
    addresses = [line for address in patient["address"] for line in address["line"]]
    identifiers = [each["value"] for each in patient["identifier"]]
    return [*names, *addresses, *identifiers]


def _patient(data: bytes) -> dict[str, Any]:
    """The bundle's one Patient resource, as JSON has it."""
    entries: list[dict[str, dict[str, Any]]] = json.loads(data)["entry"]
    return next(each["resource"] for each in entries if each["resource"]["resourceType"] == "Patient")
