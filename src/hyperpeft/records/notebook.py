"""Small HTML tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

ROWS = 24  # of a table; more are counted in its last row


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def swatch(colour: tuple[int, int, int]) -> Html:
    """A square of a colour."""
    return Html(
        f"<span style='display:inline-block;width:1em;height:1em;background:rgb{colour};"
        "border:1px solid #8888'></span>"
    )


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a caption; cells are escaped."""
    listed = list(rows)
    shown = [
        "<tr>" + "".join(f"<td style='text-align:left'>{_cell(c)}</td>" for c in row) + "</tr>"
        for row in listed[:ROWS]
    ]
    if len(listed) > ROWS:
        more = f"... and {len(listed) - ROWS} more"
        shown.append(f"<tr><td colspan='{len(heads) or 2}'>{more}</td></tr>")
    head = "".join(f"<th style='text-align:left'>{escape(head)}</th>" for head in heads)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    return (
        f"<table><caption style='text-align:left;font-weight:bold'>{escape(caption)}</caption>"
        f"{head}<tbody>{''.join(shown)}</tbody></table>"
    )


def _cell(value: object) -> str:
    return value if isinstance(value, Html) else escape(str(value))
