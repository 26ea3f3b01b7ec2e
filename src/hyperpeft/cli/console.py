"""What the command line shows. Progress goes to stderr, results to stdout."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from hyperpeft.metrics import class_scores
from hyperpeft.progress import Progress
from hyperpeft.runs.file_names import MAP, PICTURE
from hyperpeft.system.files import printable
from hyperpeft.system.resources import format_bytes
from hyperpeft.system.text import megabytes

if TYPE_CHECKING:  # xarray takes seconds to load
    from hyperpeft.benchmark.cells import Outcome
    from hyperpeft.benchmark.grid import Cell
    from hyperpeft.runs.record import RunRecord

if TYPE_CHECKING:
    from hyperpeft.mapping import Mapped


class Console(Progress):
    """A context that shows the progress of a run; nothing of it when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._rich = RichConsole(stderr=True, quiet=quiet, highlight=False)
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
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
            self._rich.print(printable(text), markup=False)
        self._task = self._bars.add_task(text, total=None, status="")

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._rich.print(f"note: {printable(text)}", markup=False)

    def trained(self, done: int, total: int, loss: float, validation_oa: float | None) -> None:
        """Move the bar, with loss and validation accuracy."""
        status = f"loss {loss:.3f}"
        if validation_oa is not None:
            status += f"  validation OA {validation_oa:.1f} %"
        self._move(done, total, status)

    def pretrained(self, done: int, total: int, figures: dict[str, float]) -> None:
        """Move the bar, with the losses."""
        status = "  ".join(
            f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()
        )
        self._move(done, total, status)

    def mapped(self, done: int, total: int) -> None:
        """Move the bar, with the pixels done."""
        self._move(done, total, f"{done:,} of {total:,} pixels")

    def fetched(self, name: str, done: int, total: int) -> None:
        """Move the bar of a download, in bytes."""
        if self._task is None or self._bars.tasks[self._task].description != name:
            self.stage(name)
        self._move(done, total or None, format_bytes(done))

    def _move(self, done: int, total: int | None, status: str) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total, status=status)


class BenchConsole(Progress):
    """A context that shows a benchmark as a table: methods by scenes, and the time left.

    What is no screen gets a line per cell instead.
    """

    ROWS = 8  # of the latest cells below the table

    def __init__(self, *, quiet: bool) -> None:
        self._rich = RichConsole(stderr=True, quiet=quiet, highlight=False, markup=False)
        self._cells: dict[str, Cell] = {}
        self._ended: dict[str, Outcome] = {}
        self._running: dict[str, tuple[float, str]] = {}  # since, where
        self._status = ""
        self._lock = RLock()  # the table is drawn by a thread, and dask tells news in another
        self._workers = 1
        self._begun = time.monotonic()
        self._shown = self._rich.is_terminal and not quiet
        self._live = Live(
            get_renderable=self._view, console=self._rich, refresh_per_second=2, transient=False
        )

    def __enter__(self) -> BenchConsole:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._live.stop()

    def planned(self, cells: Sequence[Cell], finished: Sequence[Outcome], workers: int) -> None:
        """The grid, and what of it was finished before."""
        self._cells = {cell.path: cell for cell in cells}
        self._ended = {outcome.path: outcome for outcome in finished}
        self._workers, self._begun = workers, time.monotonic()
        status = f"{len(cells)} cells, {len(finished)} finished before"
        if self._shown:
            self._live.start()
        else:
            self._rich.print(status)

    def started(self, path: str, where: str) -> None:
        """A process has taken a cell."""
        with self._lock:
            self._running[path] = (time.monotonic(), where)

    def ended(self, outcome: Outcome) -> None:
        """A cell is finished or has failed."""
        with self._lock:
            self._running.pop(outcome.path, None)
            self._ended[outcome.path] = outcome
            self._status = ""
        if not self._shown:
            left = self._left()
            after = "" if left is None else f", {_duration(left)} left"
            done = f"[{len(self._ended)}/{len(self._cells)}{after}]"
            result = outcome.reason or ("" if outcome.oa is None else f"OA {outcome.oa:.2f}")
            self._rich.print(f"{done} {outcome.path}: {outcome.state}, {result}", soft_wrap=True)

    def stage(self, text: str) -> None:
        """What the one cell that is computed in this process is at."""
        self._status = text

    def trained(self, done: int, total: int, loss: float, validation_oa: float | None) -> None:
        """The training of a cell in this process."""
        self._status = f"Training {100 * done // max(total, 1)} %, loss {loss:.3f}"

    def mapped(self, done: int, total: int) -> None:
        """The pixels of a cell in this process."""
        self._status = f"Classifying {100 * done // max(total, 1)} %"

    def _left(self) -> float | None:
        """Seconds: what cells like those that are left took, over the processes."""
        known = [(self._cells[p], o.seconds) for p, o in self._ended.items() if o.seconds and o.oa]
        if not known:
            return None
        total = 0.0
        for path, cell in self._cells.items():
            if path in self._ended:
                continue
            like = [
                [s for c, s in known if (c.scene, c.method) == (cell.scene, cell.method)],
                [s for c, s in known if c.method == cell.method],
                [s for c, s in known if c.scene == cell.scene],
                [s for _, s in known],
            ]
            seconds = next(found for found in like if found)
            expected = sum(seconds) / len(seconds)
            since = self._running.get(path)
            spent = time.monotonic() - since[0] if since else 0.0
            total += max(expected - spent, 0.0)
        return total / self._workers

    def _view(self) -> Group:
        with self._lock:
            return self._draw()

    def _draw(self) -> Group:
        scenes = list(dict.fromkeys(cell.scene for cell in self._cells.values()))
        methods = list(dict.fromkeys(cell.method for cell in self._cells.values()))
        failed = sum(o.state == "failed" for o in self._ended.values())
        left = self._left()
        head = f"{len(self._ended)} of {len(self._cells)} cells"
        head += f", {failed} failed" if failed else ""
        head += f"; {_duration(time.monotonic() - self._begun)} so far"
        head += f", about {_duration(left)} left" if left is not None else ""
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        for scene in scenes:
            table.add_column(scene, justify="right", overflow="fold")
        for method in methods:
            row = [method]
            for scene in scenes:
                paths = [
                    path
                    for path, c in self._cells.items()
                    if (c.scene, c.method) == (scene, method)
                ]
                done = [self._ended[path] for path in paths if path in self._ended]
                bad = sum(o.state == "failed" for o in done)
                row.append(
                    f"{len(done)}/{len(paths)}"
                    + (f" {bad} failed" if bad else "")
                    + (" *" if any(path in self._running for path in paths) else "")
                )
            table.add_row(*row)
        lines = []
        for path, (since, where) in list(self._running.items())[: self.ROWS]:
            at = self._status or (f"process {where}" if where else "")
            spent = _duration(time.monotonic() - since)
            lines.append(Text(f"* {path.removeprefix('cells/')}  {spent}  {at}", no_wrap=True))
        return Group(Text(head), table, *lines)


def _duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    """A plain table on stdout; columns of numbers are right-aligned."""
    table = Table(box=None, pad_edge=False)
    for column, head in enumerate(heads):
        numeric = all(row[column].replace(",", "").replace(".", "").isdigit() for row in rows)
        table.add_column(head, justify="right" if numeric else "left")
    for row in rows:
        # A name in an untrusted file may hold control characters that move the cursor.
        table.add_row(*map(printable, row))
    # Names are data, not markup; a pipe is no screen whose edge could cut them.
    console = RichConsole(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(table)


def print_scores(scores: dict[str, Any], classes: dict[int, str]) -> None:
    """OA, AA, kappa, and recall, precision and F1 of each class."""
    confusion = scores["confusion"]
    figures = class_scores(confusion)
    rows = [
        [
            classes.get(int(i), str(i)),
            f"{sum(counts):,}",
            *("none" if value is None else f"{value:.1f}" for value in of_class.values()),
        ]
        for i, counts, of_class in zip(scores["class_ids"], confusion, figures, strict=True)
    ]
    print_table(["class", "test pixels", "recall %", "precision %", "F1 %"], rows)
    parts = (("OA", "oa"), ("AA", "aa"), ("kappa x 100", "kappa"))
    print("  ".join(f"{n} {scores[k]:.2f}" for n, k in parts if scores[k] is not None))


def print_record(record: RunRecord, out: Path) -> None:
    """What a run gave, and where it is."""
    print_scores(record.metrics, record.class_names)
    adapter, timing, leak = record.adapter, record.timing, record.split["leakage"]
    if record.baseline is not None:
        print(_baseline_line(adapter, record.baseline))
    else:
        trained = "pretrained" if record.backbone["pretrained"] else "not pretrained"
        print(
            f"{adapter['method']} on {record.backbone['name']} ({trained}): "
            f"{adapter['trainable_parameters']:,} trainable parameters "
            f"({adapter['trainable_percent']:.3f} %), {megabytes(adapter['bytes']):.2f} MB"
        )
    touched = leak["test_windows_touching_train"]
    if touched is not None:
        size = leak["patch_size"]
        what = "window, context and refinement" if size > 1 else "the pixel alone"
        print(
            f"leakage: {100 * touched:.0f} % of the test pixels have a training pixel within "
            f"{size} x {size} pixels ({what})"
        )
    if record.map is not None:
        print_areas(record.map)
    print(f"training {timing['train_seconds']:.1f} s; everything is in {out}")
    if record.config["map"]:
        files = (out / name for name in (PICTURE, MAP))
        print(f"map: {' and '.join(str(path) for path in files if path.is_file())}")


def _baseline_line(adapter: dict[str, Any], baseline: dict[str, Any]) -> str:
    """A baseline in a line: what was chosen, and how many numbers were trained."""
    count = adapter["trainable_parameters"]
    parts = [] if count is None else [f"{count:,} trainable parameters"]
    for name, value in baseline.items():
        if name not in ("source", "library") and isinstance(value, int | float | str):
            parts.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return f"{adapter['method']}: {', '.join(parts)}"


def print_areas(areas: dict[str, Any]) -> None:
    """Pixels and hectares of the classes of a map."""
    classes = areas["classes"].values()
    known = all(c["hectares"] is not None for c in classes)
    rows = [[c["name"], f"{c['pixels']:,}"] for c in classes]
    if known:
        rows = [[*row, f"{c['hectares']:,.2f}"] for row, c in zip(rows, classes, strict=True)]
    print_table(["class", "pixels", *(["hectares"] if known else [])], rows)
    print(f"areas {areas['areas_are']}" if known else areas["areas_are"])


def print_mapped(result: Mapped, *, adaptive: bool) -> None:
    """What was mapped, and what the audit of an adaptive map says."""
    print_areas(result.areas)
    files = " and ".join(map(str, result.files))
    print(f"{result.pixels} pixels classified with {result.runtime}: {files}")
    if result.encoded < result.pixels:
        print(
            f"the encoder saw {result.encoded} of them "
            f"({100 * result.encoded / result.pixels:.1f} %); of {result.audited} audited pixels "
            f"{result.wrong} were filled otherwise: with 95 % confidence at most "
            f"{100 * result.bound:.2f} % differ from the exact map, before refinement"
        )
    elif adaptive:
        print("the audit found that this map cannot be filled: the encoder saw every pixel")
