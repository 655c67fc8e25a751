from __future__ import annotations

import pytest

from consilium.kernel.errors import DataLoss
from consilium.sandbox.medical import (
    BUNDLE,
    MARKER,
    Study,
    dicom_study,
    fhir_bundle,
    large_object,
    names_in_bundle,
    read_bundle,
    read_study,
)


@pytest.mark.parametrize(("name", "resources"), [(BUNDLE, 57), ("christopher407_kris249.json", 29)])
def test_the_committed_bundles_parse_as_fhir_r4(name: str, resources: int) -> None:
    assert read_bundle(fhir_bundle(name)).resources == resources
    assert len(fhir_bundle(name)) < 300_000


def test_a_broken_bundle_is_data_loss() -> None:
    with pytest.raises(DataLoss, match="NOT_FHIR"):
        read_bundle(fhir_bundle()[:-100])


def test_the_study_is_one_study_and_the_same_bytes_each_time() -> None:
    assert dicom_study() == dicom_study()
    assert read_study(dicom_study()) == Study(11, 3, "Brain-MRA", "Doe^Peter", "98890234")


def test_the_large_object_holds_the_marker_at_both_ends_and_in_the_middle() -> None:
    data = large_object(100_000)
    assert len(data) == 100_000
    assert data == large_object(100_000)
    assert data.count(MARKER) == 3
    assert data.startswith(MARKER)
    assert data.endswith(MARKER)


def test_the_names_to_hunt_for_are_the_patients() -> None:
    assert {"Stiedemann542", "Kathern391", "999-14-7387"} < set(names_in_bundle(fhir_bundle()))
