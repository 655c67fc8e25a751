"""What holds for every refusal, whatever was refused: typed, of our domain, and silent about the inside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import grpc

from tests.alliance import seed_of

if TYPE_CHECKING:
    from tests.contract.contracts import Ending
    from tests.contract.world import World

OURS = re.compile(r"[A-Z][A-Z0-9_]{2,62}")
"""A reason (AIP-193: at most 63 characters)."""
RULE = re.compile(r"[CGLS][1-9][0-9]?")
NEVER = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNIMPLEMENTED}
"""Nothing that a caller does may end so."""
INSIDE = re.compile(r"Traceback|File \"|\.py\b|/tmp/|/home/|object at 0x|Error\(|Exception|\bb'|\bb\"|\bNone\b|<class")
"""Traces of the inside: stacks, paths, representations of Python's values."""
SECRETS = tuple(seed_of(each) for each in ("anshan member", "anshan consensus", "anshan reveals", "sealing"))
BY_GRPC = {
    grpc.StatusCode.UNAVAILABLE: ("handshake", "SSL", "failed to connect", "recvmsg", "Socket closed", "Connection reset",
                                  "tls", "Broken pipe", "write", "sendmsg"),
    grpc.StatusCode.DEADLINE_EXCEEDED: ("Deadline",),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("message larger than max", "metadata size"),
}  # fmt: skip
"""What gRPC itself refuses, before anything of ours is asked: a word of its sentence, and no ErrorInfo."""


def clean(world: World, ending: Ending) -> None:
    """Assert what holds for every ending of every call."""
    if ending.code is grpc.StatusCode.OK:
        return
    assert ending.code not in NEVER, ending
    if not ending.domain:
        assert any(each.lower() in ending.sentence.lower() for each in BY_GRPC[ending.code]), ending
        return
    assert ending.domain == "consilium", ending
    assert OURS.fullmatch(ending.reason), ending
    assert RULE.fullmatch(ending.rule or "L1"), ending
    assert re.fullmatch(r"[^\x00-\x1f]{1,1024}", ending.sentence), ending
    assert ending.sentence[-1] in ".?", ending
    assert not INSIDE.search(ending.sentence), ending
    assert str(world.path) not in ending.sentence, ending
    assert not any(each.hex() in ending.sentence or repr(each)[2:-1] in ending.sentence for each in SECRETS), ending
