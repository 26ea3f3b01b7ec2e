"""What the table of a running benchmark says."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hyperpeft.benchmark.cells import Outcome
from hyperpeft.benchmark.grid import expand, make_bench
from hyperpeft.cli.console import BenchConsole, _duration

CELLS = expand(
    make_bench(
        {
            "name": "t",
            "scenes": {"a": {"scene": "demo"}, "b": {"scene": "demo"}},
            "methods": ["krona+", "probe"],
            "seeds": [0, 1],
        }
    )
)


def test_the_table_and_the_time_left(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch = BenchConsole(quiet=True)
    watch.planned(CELLS, [Outcome(CELLS[0].path, "done", None, 90.0)], 2)
    for cell in CELLS[1:3]:
        watch.started(cell.path, "1")
    watch.ended(Outcome(CELLS[1].path, "done", 40.0, 91.0))
    watch.ended(Outcome(CELLS[3].path, "failed", 20.0, None, "because"))
    now[0] += 10
    # Left: one cell at work for 10 s, and four others; each as the one that is finished.
    text = io.StringIO()
    Console(file=text, width=100).print(watch._view())
    lines = text.getvalue().splitlines()
    assert lines[0].startswith("3 of 8 cells, 1 failed; 10 s so far, about 1 min 35 s left")
    assert [line.split() for line in lines[1:4]] == [
        ["a", "b"],
        ["krona+", "1/2", "0/2", "*"],
        ["probe", "1/2", "1/2", "1", "failed"],
    ]
    assert lines[4].split() == [
        "*",
        "b/random/10-per-class/krona+/seed-0",
        "10",
        "s",
        "process",
        "1",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (61, "1 min 01 s"), (3 * 3600 + 60, "3 h 01 min")]
)
def test_durations(seconds, words):
    assert _duration(seconds) == words
