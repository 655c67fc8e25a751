"""Whole numbers that people type."""

from __future__ import annotations

import pytest

from consilium.client.numbers import whole_number


@pytest.mark.parametrize("text", ["", "-1", "1.0", " 1", "1_000", "\u0661", "\u00b2", "9" * 19, "9" * 5_000])
def test_what_no_chain_could_hold_is_no_number(text: str) -> None:
    """Digits of other scripts, and so many that Python refuses to read them, included."""
    assert whole_number(text) is None


def test_a_number_is_read() -> None:
    """Up to eighteen digits, zeros in front included."""
    assert (whole_number("007"), whole_number("9" * 18)) == (7, 10**18 - 1)
