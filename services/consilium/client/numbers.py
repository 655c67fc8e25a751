"""Whole numbers that people type: what no chain could hold is refused before Python is asked to read it."""

DIGITS_MAX = 18
"""The most digits of a number that fits into 64 bits, whatever the digits are."""


def whole_number(text: str) -> int | None:
    """The number, None for anything but 1 to 18 decimal digits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX else None
