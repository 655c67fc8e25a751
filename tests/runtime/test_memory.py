"""Freed memory of a chunk's size is there for the next chunk, without the kernel's help."""

from __future__ import annotations

import subprocess
import sys

FRAMES = 100
FAULTS = """
import resource, sys
from consilium.api.storage.v1 import storage_pb2
from consilium.runtime.memory import keep_freed_memory
keep_freed_memory()
request = storage_pb2.PutObjectRequest()
request.chunk.data = bytes(262_144)
for _ in range(3):
    request.SerializeToString()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(int(sys.argv[1])):
    request.SerializeToString()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def frames_fault() -> int:
    """How many pages a process fetches to encode the frames."""
    command = [sys.executable, "-c", FAULTS, str(FRAMES)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 (this interpreter)


def test_frames_are_encoded_in_memory_that_is_there() -> None:
    """A chunk has 64 pages; a C library that is not told fetches more than that for every frame."""
    assert frames_fault() < FRAMES
