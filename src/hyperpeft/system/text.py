"""Numbers, text, and small HTML tables for notebooks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

_ROWS = 24  # of a table; more are counted in its last row
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
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


def xml_text(text: str) -> str:
    r"""A text with a question mark for each character that XML 1.0 cannot hold.

    >>> xml_text("corn\x1b[2J <a>")
    'corn?[2J <a>'
    """
    return _NOT_IN_XML.sub("?", text)


def megabytes(size: float | None) -> float | None:
    """Bytes of a file in MB (10^6), as file managers and model hubs count; None stays None."""
    return None if size is None else size / 1e6


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def swatch(colour: tuple[int, int, int]) -> Html:
    """A square of a colour."""
    return Html(
        f"<span style='display:inline-block;width:1em;height:1em;background:rgb{colour};"
        "border:1px solid #8888'></span>"
    )


def html_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a caption; cells are escaped."""
    listed = list(rows)
    shown = [
        "<tr>" + "".join(f"<td style='text-align:left'>{_cell(c)}</td>" for c in row) + "</tr>"
        for row in listed[:_ROWS]
    ]
    if len(listed) > _ROWS:
        more = f"... and {len(listed) - _ROWS} more"
        shown.append(f"<tr><td colspan='{len(heads) or 2}'>{more}</td></tr>")
    head = "".join(f"<th style='text-align:left'>{escape(head)}</th>" for head in heads)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    return (
        f"<table><caption style='text-align:left;font-weight:bold'>{escape(caption)}</caption>"
        f"{head}<tbody>{''.join(shown)}</tbody></table>"
    )


def _cell(value: object) -> str:
    return value if isinstance(value, Html) else escape(str(value))
