"""A table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from typing import Any

from hyperpeft.report.statistics import Interval, Summary
from hyperpeft.report.table import Table, text_of

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def to_markdown(table: Table) -> str:
    """GitHub's tables; the highest means are bold."""

    def clean(text: str) -> str:
        return " ".join(text.split()).replace("|", r"\|")

    lines = [f"### {clean(table.title)}", ""]
    lines.append("| " + " | ".join(clean(c.head) for c in table.columns) + " |")
    lines.append(
        "|" + "|".join("---" if i == 0 else "---:" for i in range(len(table.columns))) + "|"
    )
    for i, row in enumerate(table.rows):
        cells = [clean(text_of(v, c.decimals)) for v, c in zip(row, table.columns, strict=True)]
        cells = [f"**{t}**" if i in table.best.get(j, ()) else t for j, t in enumerate(cells)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", table.note] if table.note else []
    lines += ["", f"Records: `{table.records}`"] if table.records else []
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Plain numbers: a mean, its deviation and its number of runs are columns of their own."""
    kinds: list[type | None] = []
    for j in range(len(table.columns)):
        found = {type(row[j]) for row in table.rows}
        kinds.append(Summary if Summary in found else Interval if Interval in found else None)
    heads: list[str] = []
    for column, kind in zip(table.columns, kinds, strict=True):
        extra = {Summary: (" std", " n"), Interval: (" low", " high")}.get(kind, ())  # type: ignore[arg-type]
        heads += [column.head, *(column.head + part for part in extra)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for row in table.rows:
        cells: list[Any] = []
        for value, kind in zip(row, kinds, strict=True):
            if kind is None:
                cells.append("" if value in (None, "-") else value)
            elif isinstance(value, Summary | Interval):
                cells += ["" if part is None else part for part in value]
            else:
                cells += ["" if value is None else value, "", ""]
        writer.writerow(cells)
    return out.getvalue()


def to_latex(table: Table) -> str:
    """A table float for the booktabs package; the highest means are bold."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.title)}. {latex(table.note)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        " & ".join(latex(c.head) for c in table.columns) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(table.rows):
        cells = [latex(text_of(v, c.decimals)) for v, c in zip(row, table.columns, strict=True)]
        cells = [
            rf"\textbf{{{t}}}" if i in table.best.get(j, ()) else t for j, t in enumerate(cells)
        ]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return f"% Records: {table.records}\n" + "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Text with LaTeX's own characters escaped."""
    return "".join(_LATEX.get(c, c) for c in text)
