from __future__ import annotations

import pickle

import pytest

from consilium.kernel import errors
from consilium.kernel.errors import BadSignature, ConsiliumError, InvalidArgument, Malformed

KINDS = [each for each in vars(errors).values() if isinstance(each, type) and each.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_keeps_its_three_parts(kind: type[ConsiliumError]) -> None:
    error = kind("SOME_REASON", "It was refused.", "L1")
    assert isinstance(error, ConsiliumError)
    assert (error.reason, error.sentence, error.rule) == ("SOME_REASON", "It was refused.", "L1")
    assert str(error) == "It was refused. [SOME_REASON, rule L1]"
    assert str(kind("SOME_REASON", "It was refused.")) == "It was refused. [SOME_REASON]"


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_crosses_a_process_border(kind: type[ConsiliumError]) -> None:
    """Re-encryption scales by process: an error must arrive whole."""
    error = pickle.loads(pickle.dumps(kind("SOME_REASON", "It was refused.", "L1")))  # noqa: S301
    assert type(error) is kind
    assert (error.reason, error.sentence, error.rule) == ("SOME_REASON", "It was refused.", "L1")


def test_what_a_peer_sends_wrong_is_an_invalid_argument() -> None:
    """One catch in the shell is enough for everything a peer's bytes can cause."""
    assert issubclass(Malformed, InvalidArgument)
    assert issubclass(BadSignature, InvalidArgument)
