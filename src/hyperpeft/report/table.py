"""Tables: their cells, Markdown, CSV and LaTeX, and the tables that go into the classes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hyperpeft.report import statistics
from hyperpeft.report.collect import Entry, Results, Setting
from hyperpeft.report.statistics import Interval, Summary
from hyperpeft.system.files import file_names, printable

LEAKAGE = "Leakage %"
LEAKAGE_NOTE = (
    "Leakage is the share of test windows that hold a training pixel, for the window of each method"
)


class Column(NamedTuple):
    """A column: its head, and the decimals of its numbers. `bar`: drawn as a bar, percent."""

    head: str
    decimals: int = 2
    bar: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    name : str
        Of its files.
    title, note : str
    columns : list of Column
        The first one heads the rows.
    rows : list of list
        str, int, float, None, Summary or Interval.
    records : str
        The records it was made of, as a pattern of paths.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Any]]
    note: str = ""
    records: str = ""
    best: dict[int, list[int]] = field(default_factory=dict)  # column -> rows of the highest mean


def text_of(value: Any, decimals: int) -> str:
    """A value as it is printed; what is missing is a dash."""
    match value:
        case None:
            return "-"
        case Summary(mean, std, _):
            spread = "" if std is None else f" ± {std:.{decimals}f}"
            return f"{mean:.{decimals}f}{spread}"
        case Interval(mean, None, _) | Interval(mean, _, None):
            return f"{mean:+.{decimals}f}"
        case Interval(mean, low, high):
            return f"{mean:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}]"
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.{decimals}f}"
    return str(value)


def values(entries: Iterable[Entry], read: Callable[[Entry], float | None]) -> list[float]:
    """What is known of these runs."""
    return [value for value in map(read, entries) if value is not None]


def over_seeds(entries: Iterable[Entry], read: Callable[[Entry], float | None]) -> Summary | None:
    """Mean and standard deviation; None where nothing is known."""
    known = values(entries, read)
    return statistics.summary(known) if known else None


def oa(entry: Entry) -> float | None:
    """Overall accuracy in percent."""
    return entry.metric("oa")


def metric(name: str) -> Callable[[Entry], float | None]:
    """What reads a metric of a run."""
    return lambda entry: entry.metric(name)


def leakage(entries: Iterable[Entry]) -> float | None:
    """Mean leakage of runs, in percent."""
    known = values(entries, lambda entry: entry.leakage)
    return 100 * sum(known) / len(known) if known else None


def leakage_range(entries: Iterable[Entry]) -> str:
    """Smallest and largest leakage, in percent."""
    known = [100 * value for value in values(entries, lambda entry: entry.leakage)]
    if not known:
        return "-"
    low, high = f"{min(known):.0f}", f"{max(known):.0f}"
    return low if low == high else f"{low} to {high}"


def parameters(entries: Iterable[Entry]) -> int | None:
    """Trainable parameters with the head, the mean over scenes with other numbers of classes."""
    known = values(entries, lambda entry: entry.number("adapter", "trainable_parameters"))
    return round(sum(known) / len(known)) if known else None


def pattern(entries: Sequence[Entry]) -> str:
    """Paths of runs in one line: what differs is in braces, or a star for many."""
    parts = [entry.path.split("/") for entry in entries]
    if not parts:
        return ""
    depth = {len(p) for p in parts}
    if len(depth) > 1:
        return ", ".join(entry.path for entry in entries)
    out = []
    for column in zip(*parts, strict=True):
        names = list(dict.fromkeys(column))
        heads = {name.rpartition("-")[0] for name in names}
        head = f"{heads.pop()}-" if len(heads) == 1 and "-" in names[0] else ""  # seed-{0,1,2}
        many = "*" if len(names) > 5 else f"{head}{{{','.join(n[len(head) :] for n in names)}}}"
        out.append(names[0] if len(names) == 1 else many)
    return "/".join(out) + f"/run.json ({len(entries)} records)"


def mark_best(table: Table, numbers: Iterable[int]) -> Table:
    """Note the rows with the highest mean of each of these columns."""
    for column in numbers:
        means = {
            i: row[column].mean if isinstance(row[column], Summary) else row[column]
            for i, row in enumerate(table.rows)
            if isinstance(row[column], Summary | float)
        }
        if len(means) > 1:
            top = max(means.values())
            table.best[column] = [i for i, mean in means.items() if mean == top]
    return table


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def to_markdown(table: Table) -> str:
    """GitHub's tables; the highest means are bold."""
    lines = [f"### {clean(table.title)}", ""]
    lines.append("| " + " | ".join(clean(c.head) for c in table.columns) + " |")
    lines.append(
        "|" + "|".join("---" if i == 0 else "---:" for i in range(len(table.columns))) + "|"
    )
    for i, row in enumerate(table.rows):
        cells = [clean(text_of(v, c.decimals)) for v, c in zip(row, table.columns, strict=True)]
        cells = [f"**{t}**" if i in table.best.get(j, ()) else t for j, t in enumerate(cells)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", clean(table.note)] if table.note else []
    records = printable(table.records).replace("`", "'")
    lines += ["", f"Records: `{records}`"] if records else []
    return "\n".join(lines) + "\n"


def clean(text: str) -> str:
    """A text as one line of Markdown in which nothing is HTML, for cells of a table as well."""
    line = printable(" ".join(text.split()))
    for mark, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", r"\|")):
        line = line.replace(mark, escaped)
    return line


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
        rf"\label{{tab:{file_names([table.name])[0]}}}",
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
    return f"% Records: {printable(table.records).replace('^', '?')}\n" + "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Text on one line, with LaTeX's own characters escaped."""
    return "".join(_LATEX.get(c, c) for c in printable(" ".join(text.split())))


def class_table(results: Results, scene: str, setting: Setting) -> Table:
    """Accuracy of each class under every method, as bars."""
    entries = results.select(scene=scene, setting=setting)
    methods = [m for m in results.methods if any(e.method == m for e in entries)]
    # By name: runs on other labels of the scene may have numbered the classes in another way.
    ids: dict[str, dict[str, str]] = {}  # name -> path of a run -> its id
    for e in entries:
        known = class_names(e)
        for i in e.accuracies:
            ids.setdefault(known.get(i, i), {})[e.path] = i
    rows: list[list[Any]] = []
    for name, own in ids.items():
        having = [e for e in entries if e.path in own]
        sizes = [(e.record["split"].get("per_class") or {}).get(own[e.path], {}) for e in having]
        train = sorted({int(size["train"]) for size in sizes if "train" in size})
        test = sorted({int(size["test"]) for size in sizes if "test" in size})
        by_method = [
            over_seeds(
                [e for e in having if e.method == method],
                lambda e, own=own: e.accuracies[own[e.path]],  # type: ignore[misc]
            )
            for method in methods
        ]
        rows.append([name, _span(train), _span(test), *by_method])
    leaks = [leakage([e for e in entries if e.method == m]) for m in methods]
    rows.append([LEAKAGE, "", "", *("-" if leak is None else f"{leak:.1f}" for leak in leaks)])
    columns = [Column("Class"), Column("Training pixels"), Column("Test pixels")]
    columns += [Column(method, 1, bar=True) for method in methods]
    note = f"Percent of each class's test pixels, mean ± standard deviation. {LEAKAGE_NOTE}."
    return Table(
        f"classes-{scene}-{setting.slug}", f"Classes of {scene}: {setting.words}", columns, rows,
        note, pattern(entries),
    )  # fmt: skip


def figures_table(results: Results, scene: str, setting: Setting) -> Table | None:
    """Recall, precision and F1 of each class under the reference method."""
    own = results.select(scene=scene, setting=setting)
    shown = results.reference if any(e.method == results.reference for e in own) else own[0].method
    entries = [e for e in own if e.method == shown]
    by_entry = {e.path: e.class_scores for e in entries}
    ids = list(dict.fromkeys(i for found in by_entry.values() for i in found))
    if not ids:
        return None
    names = class_names(entries[0])
    rows: list[list[Any]] = [
        [
            names.get(i, i),
            *(
                over_seeds(entries, lambda e, i=i, n=name: by_entry[e.path].get(i, {}).get(n))  # type: ignore[misc]
                for name in ("recall", "precision", "f1")
            ),
        ]
        for i in ids
    ]
    columns = [Column("Class"), *(Column(name, 1) for name in ("Recall", "Precision", "F1"))]
    note = "Percent, mean ± standard deviation. Recall is the producer's accuracy, precision the "
    note += f"user's; a figure without pixels is left out of its mean. {LEAKAGE_NOTE}."
    leak = leakage(entries)
    rows.append([LEAKAGE, "-" if leak is None else f"{leak:.1f}", "", ""])
    return Table(
        f"figures-{scene}-{setting.slug}", f"{shown} on {scene}: {setting.words}", columns, rows,
        note, pattern(entries),
    )  # fmt: skip


def _span(numbers: Sequence[int]) -> str:
    if not numbers:
        return "-"
    low, high = f"{numbers[0]:,}", f"{numbers[-1]:,}"
    return low if low == high else f"{low} to {high}"


def class_names(entry: Entry) -> dict[str, str]:
    """Names by id, as in the record; with the id where classes have one name."""
    scene = entry.record["scene"]
    names = {
        str(i): str(name)
        for i, name in zip(scene.get("class_ids", []), scene.get("classes", []), strict=False)
    }
    common = Counter(names.values())
    return {i: name if common[name] == 1 else f"{name} ({i})" for i, name in names.items()}
