"""The lock files name versions and hashes, and no place to fetch them from."""

from __future__ import annotations

import re

import pytest

from tests.house.source import ROOT


def locked(name: str) -> dict[str, str]:
    """Returns version by distribution; fails when one of them has no hash."""
    versions = {}
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", "")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            match = re.match(r"(\S+?)==(\S+)", line)
            assert match, line
            assert "--hash=sha256:" in line
            versions[match[1]] = match[2]
    return versions


@pytest.mark.parametrize("name", ["demo.txt", "dev.txt", "image.txt", "model.txt", "services.txt"])
def test_no_index_is_named_and_all_is_hashed(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"://|-index|find-links|trusted-host", text)
    assert locked(name)


def test_the_demo_needs_nothing_that_development_lacks() -> None:
    demo, dev = locked("demo.txt"), locked("dev.txt")
    assert demo.items() <= dev.items()
    assert {"umbral-pre", "fhir-resources", "pydicom", "hatchling"} <= demo.keys()


def test_the_demo_can_generate_stubs_and_run_services_and_no_tests() -> None:
    """`make demo` from a fresh clone: no Go, nothing of development."""
    demo = locked("demo.txt").keys()
    assert {"grpcio", "grpcio-health-checking", "grpcio-tools", "mypy-protobuf", "prometheus-client"} <= demo
    assert not {"pytest", "ruff", "mypy", "uv"} & demo


def test_the_image_holds_what_was_tested_and_no_tools() -> None:
    services = locked("services.txt")
    assert services.items() <= locked("dev.txt").items()
    assert {"grpcio", "cassandra-driver", "umbral-pre", "minio", "uvloop"} <= services.keys()
    assert not {"pip", "pytest", "hatchling", "grpcio-tools", "cyclonedx-bom"} & services.keys()
