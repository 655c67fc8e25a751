"""The translator of errors: what is sent is what arrives, and what others send becomes something sensible (AIP-193)."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import pytest

from consilium.kernel import errors
from consilium.kernel.errors import ConsiliumError
from consilium.runtime.statuses import DETAILS_KEY, SENTENCE_MAX, code_of, details_of, sentence_of, to_error

NEVER_SENT = {grpc.StatusCode.OK}


@dataclass(frozen=True)
class Failed:
    """A failed call as a client sees it."""

    status: grpc.StatusCode
    sentence: str | None
    trailing: tuple[tuple[str, str | bytes], ...] = ()

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str | None:
        return self.sentence

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self.trailing


def sent(error: ConsiliumError, code: grpc.StatusCode | None = None) -> Failed:
    """An error on its way, under its own code or another."""
    return Failed(code or code_of(error), sentence_of(error), ((DETAILS_KEY, details_of(error)),))


def test_a_class_that_contradicts_its_code_is_not_believed() -> None:
    """What retries and proxies acted on is the code: NotFound under UNAVAILABLE is unavailable."""
    error = to_error(sent(errors.NotFound("GONE", "Gone.", "S3"), grpc.StatusCode.UNAVAILABLE))
    assert (type(error), error.reason, error.rule) == (errors.Unavailable, "GONE", "S3")


@pytest.mark.parametrize("code", [each for each in grpc.StatusCode if each not in NEVER_SENT])
def test_a_status_without_our_info_has_a_class_of_the_tree(code: grpc.StatusCode) -> None:
    error = to_error(Failed(code, None))
    assert type(error) is not ConsiliumError
    assert error.reason == code.name
    assert code.name in error.sentence


@pytest.mark.parametrize("details", [b"\xff", b"", b"\x1a\x00"])
def test_details_that_are_no_status_of_ours_are_passed_over(details: bytes) -> None:
    error = to_error(Failed(grpc.StatusCode.NOT_FOUND, "Gone.", ((DETAILS_KEY, details),)))
    assert (type(error), error.reason) == (errors.NotFound, "NOT_FOUND")


def test_a_class_nobody_knows_is_that_of_its_code() -> None:
    class Newer(errors.NotFound):
        """A class of a later version."""

    error = to_error(sent(Newer("GONE", "Gone.")))
    assert (type(error), error.reason) == (errors.NotFound, "GONE")


def test_a_long_sentence_is_cut_to_what_a_header_holds() -> None:
    assert to_error(sent(errors.NotFound("GONE", "x" * 10_000))).sentence == "x" * SENTENCE_MAX
