"""What the command line shows. Progress goes to stderr, results to stdout."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from hyperpeft.records import RunRecord

if TYPE_CHECKING:
    from hyperpeft.mapping import Mapped


class Console:
    """A context that shows the progress of a run; nothing of it when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._rich = RichConsole(stderr=True, quiet=quiet, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
            console=self._rich,
            disable=quiet or not self._rich.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Console:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def stage(self, text: str) -> None:
        """A new bar."""
        if not self._rich.is_terminal:
            self._rich.print(text, markup=False)
        self._task = self._bars.add_task(text, total=None, said="")

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._rich.print(f"note: {text}", markup=False)

    def trained(self, done: int, total: int, loss: float, validation_oa: float | None) -> None:
        """Move the bar, with loss and validation accuracy."""
        said = f"loss {loss:.3f}"
        if validation_oa is not None:
            said += f"  validation OA {validation_oa:.1f} %"
        self._move(done, total, said)

    def pretrained(self, done: int, total: int, figures: dict[str, float]) -> None:
        """Move the bar, with the losses."""
        said = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
        self._move(done, total, said)

    def mapped(self, done: int, total: int) -> None:
        """Move the bar, with the pixels done."""
        self._move(done, total, f"{done:,} of {total:,} pixels")

    def fetched(self, name: str, done: int, total: int) -> None:
        """Move the bar of a download, in bytes."""
        if self._task is None or self._bars.tasks[self._task].description != name:
            self.stage(name)
        self._move(done, total or None, f"{done / 2**20:.1f} MiB")

    def _move(self, done: int, total: int | None, said: str) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total, said=said)


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    """A plain table on stdout; columns of numbers are right-aligned."""
    table = Table(box=None, pad_edge=False)
    for column, head in enumerate(heads):
        numeric = all(row[column].replace(",", "").replace(".", "").isdigit() for row in rows)
        table.add_column(head, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*row)
    # Names are data, not markup; a pipe is no screen whose edge could cut them.
    console = RichConsole(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(table)


def print_scores(scores: dict[str, Any], classes: dict[int, str]) -> None:
    """OA, AA, kappa and the accuracy of each class."""
    confusion = scores["confusion"]
    pixels = {str(i): sum(row) for i, row in zip(scores["class_ids"], confusion, strict=True)}
    rows = [
        [classes.get(int(i), i), f"{pixels[i]:,}", "none" if value is None else f"{value:.1f}"]
        for i, value in scores["per_class"].items()
    ]
    print_table(["class", "test pixels", "accuracy %"], rows)
    parts = (("OA", "oa"), ("AA", "aa"), ("kappa x 100", "kappa"))
    print("  ".join(f"{n} {scores[k]:.2f}" for n, k in parts if scores[k] is not None))


def print_record(record: RunRecord, out: Path) -> None:
    """What a run gave, and where it is."""
    names = dict(zip(record.scene["class_ids"], record.scene["classes"], strict=True))
    print_scores(record.metrics, names)
    adapter, timing, leak = record.adapter, record.timing, record.split["leakage"]
    if record.baseline is not None:
        print(_baseline_line(adapter, record.baseline))
    else:
        trained = "pretrained" if record.backbone["pretrained"] else "not pretrained"
        print(
            f"{adapter['method']} on {record.backbone['name']} ({trained}): "
            f"{adapter['trainable_parameters']:,} trainable parameters "
            f"({adapter['trainable_percent']:.3f} %), {adapter['bytes'] / 1e6:.2f} MB"
        )
    touched = leak["test_windows_touching_train"]
    if touched is not None:
        size = leak["patch_size"]
        print(f"{100 * touched:.0f} % of the {size} x {size} test windows hold a training pixel")
    print(f"training {timing['train_seconds']:.1f} s; everything is in {out}")
    if record.config["map"]:
        print(f"map: {out / 'map.png'} and {out / 'map.tif'}")


def _baseline_line(adapter: dict[str, Any], baseline: dict[str, Any]) -> str:
    """A baseline in a line: what was chosen, and how many numbers were trained."""
    count = adapter["trainable_parameters"]
    said = [] if count is None else [f"{count:,} trainable parameters"]
    for name, value in baseline.items():
        if name not in ("source", "library") and isinstance(value, int | float | str):
            said.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return f"{adapter['method']}: {', '.join(said)}"


def print_mapped(result: Mapped, *, adaptive: bool) -> None:
    """What was mapped, and what the audit of an adaptive map says."""
    files = " and ".join(map(str, result.files))
    print(f"{result.pixels} pixels classified: {files}")
    if result.encoded < result.pixels:
        print(
            f"the encoder saw {result.encoded} of them "
            f"({100 * result.encoded / result.pixels:.1f} %); of {result.audited} audited pixels "
            f"{result.wrong} were filled otherwise: with 95 % confidence at most "
            f"{100 * result.bound:.2f} % differ from the exact map"
        )
    elif adaptive:
        print("the audit found that this map cannot be filled: the encoder saw every pixel")
