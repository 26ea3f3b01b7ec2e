"""What a table is, and what its cells are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hyperpeft.report import statistics
from hyperpeft.report.collect import Entry
from hyperpeft.report.statistics import Interval, Summary

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
