"""Numbers and text."""

from __future__ import annotations

_NO_VALUE = ("", "na", "n/a", "nan", "null", "none")


def is_no_value(text: str) -> bool:
    """Whether a text is how tables write that there is no value.

    >>> is_no_value("N/A"), is_no_value("0")
    (True, False)
    """
    return text.strip().lower() in _NO_VALUE


def whole_number(text: object) -> int | None:
    """The whole number from 0 that a text is, in ASCII digits and below 10^18, or None.

    `isdigit` is also true of a superscript two, and `int` refuses thousands of digits.

    Examples
    --------
    >>> whole_number(" 12"), whole_number("²"), whole_number("9" * 5000)
    (12, None, None)
    """
    digits = str(text).strip()
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None


def megabytes(size: float | None) -> float | None:
    """Bytes of a file in MB (10^6), as file managers and model hubs count; None stays None."""
    return None if size is None else size / 1e6
