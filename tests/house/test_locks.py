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


@pytest.mark.parametrize("name", ["demo.txt", "dev.txt"])
def test_no_index_is_named(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"://|-index|find-links|trusted-host", text)


def test_the_demo_needs_nothing_that_development_lacks() -> None:
    demo, dev = locked("demo.txt"), locked("dev.txt")
    assert demo.items() <= dev.items()
    assert {"umbral-pre", "fhir-resources", "pydicom", "hatchling"} <= demo.keys()


def test_the_demo_needs_no_stubs() -> None:
    """`make demo` runs before anything is generated."""
    assert not {"grpcio-tools", "mypy-protobuf", "pytest"} & locked("demo.txt").keys()
