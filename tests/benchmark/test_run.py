"""Benchmarks that are run, cut, killed and resumed: every cell once, none lost; their table."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import distributed
import numpy as np
import psutil
import pytest
from PIL import Image
from rich.console import Console

from hyperpeft import cli
from hyperpeft.benchmark import run as bench_run
from hyperpeft.benchmark.cells import Outcome, resolved
from hyperpeft.benchmark.grid import expand, make_bench
from hyperpeft.benchmark.run import Watch, default_workers, run_bench
from hyperpeft.cli.console import BenchConsole, _duration
from hyperpeft.errors import ConfigError, Interrupted
from hyperpeft.runs.file_names import FAILED
from hyperpeft.system.output_folder import InUse, locked
from tests.helpers.small import HEADS, options, planted, write_scene

PROGRAM = [sys.executable, "-c", "from hyperpeft.cli import main; main()"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a small scene, its labels and a small encoder."""
    folder = tmp_path_factory.mktemp("world")
    options(folder, folder / "unused")
    return folder


@pytest.fixture(autouse=True)
def _data(world, monkeypatch):
    monkeypatch.setenv("HYPERPEFT_DATA", str(world))


def plan(**changes):
    """Two methods, two splits, one seed: paths are below HYPERPEFT_DATA."""
    values = {
        "name": "small",
        "common": {
            "backbone": "e.safetensors", "num_heads": HEADS, "epochs": 2, "patch_size": 5,
        },
        "scenes": {"a": {"scene": "scene.tif", "labels": "scene_labels.tif"}},
        "methods": ["krona+", "probe"],
        "budgets": [{"per_class": 8}],
        "threads": 1,
        **changes,
    }  # fmt: skip
    return make_bench(values)


def start(bench, folder, **how):
    return run_bench(bench, expand(bench), folder, **how)


def files_of(folder: Path) -> dict[str, int]:
    """Inode and time of every record: a cell that is computed again has others."""
    paths = sorted((folder / "cells").rglob("run.json"))
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}


def metrics_of(folder: Path) -> dict[str, object]:
    paths = sorted((folder / "cells").rglob("run.json"))
    return {str(p.relative_to(folder)): json.loads(p.read_text())["metrics"] for p in paths}


class Heard(Watch):
    def __init__(self):
        self.began, self.done = [], []

    def started(self, path, where):
        self.began.append(path)

    def ended(self, outcome):
        self.done.append(outcome)


@pytest.fixture(scope="module")
def serial(world, tmp_path_factory):
    """The records of `plan` with two splits, one cell after the other."""
    folder = tmp_path_factory.mktemp("serial") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERPEFT_DATA", str(world))
        outcomes = start(plan(splits=["random", "disjoint"]), folder)
    return folder, outcomes


def test_records_are_small_and_know_no_machine(serial, world):
    folder, outcomes = serial
    assert [o.state for o in outcomes] == ["done"] * 4
    assert {p.name for p in folder.iterdir()} == {"bench.json", "cells"}
    for outcome in outcomes:
        place = folder / outcome.path
        assert {p.name for p in place.iterdir()} == {"run.json", "classes.png"}
        assert sum(p.stat().st_size for p in place.iterdir()) < 12_000
        text = (place / "run.json").read_text()
        assert str(world) not in text
        assert str(folder) not in text
        record = json.loads(text)
        assert record["config"]["out"] == outcome.path
        assert record["config"]["scene"] == "scene.tif"
        assert record["backbone"]["name"] == "e.safetensors"
        assert record["metrics"]["oa"] == outcome.oa
        assert record["environment"]["threads"] == 1
        with Image.open(place / "classes.png") as image:
            assert image.mode == "P"
            codes = np.array(image)
            colours = image.getpalette()[3:9]
        assert codes.shape == tuple(record["scene"]["shape"][:2])
        assert set(np.unique(codes)) <= {1, 2}
        assert colours == [v for colour in record["scene"]["colours"] for v in colour]


def test_no_test_window_holds_a_training_pixel_on_disjoint_splits(serial):
    folder, outcomes = serial
    hashes = set()
    for outcome in outcomes:
        record = json.loads((folder / outcome.path / "run.json").read_text())
        leak = record["split"]["leakage"]["test_windows_touching_train"]
        assert (leak == 0) == ("/disjoint/" in outcome.path)
        hashes.add((outcome.path.split("/")[2], record["split"]["sha256"]))
    assert len(hashes) == 2  # both methods of a split have the very same pixels


def test_a_finished_benchmark_is_left_alone(serial):
    folder, _ = serial
    before, heard = files_of(folder), Heard()
    outcomes = start(plan(splits=["random", "disjoint"]), folder, watch=heard)
    assert files_of(folder) == before
    assert (heard.began, heard.done) == ([], [])
    assert [o.seconds for o in outcomes] == [None] * 4


def test_what_the_labels_have_chosen_does_not_make_other_options(tmp_path):
    """With many labels a run takes another recipe; the same command finds its cell finished."""
    bench = plan(
        methods=["krona+"], splits=["random"], budgets=[{"fraction": 0.95}], common={
            "backbone": "e.safetensors", "num_heads": HEADS, "epochs": 1, "patch_size": 5,
        },
    )  # fmt: skip
    (first,) = start(bench, tmp_path / "out")
    record = json.loads((tmp_path / "out" / first.path / "run.json").read_text())
    assert record["config"]["batch_size"] == 48  # 16 where labels are few
    assert record["config"]["options"] == {"terms": 4}
    before = files_of(tmp_path / "out")
    start(bench, tmp_path / "out")
    assert files_of(tmp_path / "out") == before
    given = plan(
        methods=["krona+"], splits=["random"], budgets=[{"fraction": 0.95}], common={
            "backbone": "e.safetensors", "num_heads": HEADS, "epochs": 1, "patch_size": 5,
            "batch_size": 8,
        },
    )  # fmt: skip
    with pytest.raises(ConfigError, match="batch_size 48 is 8 now"):
        start(given, tmp_path / "out")


def test_another_configuration_is_refused(serial):
    folder, _ = serial
    before = files_of(folder)
    with pytest.raises(ConfigError, match=r"other options \(epochs 2 is 3 now\); choose another"):
        start(plan(common={**plan().common, "epochs": 3}), folder)
    assert files_of(folder) == before


def test_an_option_that_is_left_open_later_is_refused(tmp_path, world):
    folder, common = tmp_path / "out", plan(methods=["krona+"], splits=["random"]).common
    with_rate = plan(methods=["krona+"], splits=["random"], common={**common, "lr": 0.01})
    start(with_rate, folder)
    before = files_of(folder)
    start(with_rate, folder)
    assert files_of(folder) == before
    with pytest.raises(ConfigError, match=r"other options \(lr 0.01 is None now\)"):
        start(plan(methods=["krona+"], splits=["random"], common=common), folder)
    assert files_of(folder) == before


@pytest.mark.parametrize("method", ["krona+", "lda", "auto"])
def test_an_option_that_is_given_later_is_refused(method, tmp_path):
    """Left open, the labels may have chosen it; given, they cannot, though it be the default."""
    before, given = (
        plan(methods=[method], splits=["random"], common={"patch_size": 5, **common})
        for common in ({}, {"epochs": 20})
    )
    (cell,) = expand(before)
    (tmp_path / cell.path).mkdir(parents=True)
    record = json.dumps({"config": cell.config.model_dump(mode="json")})
    (tmp_path / cell.path / "run.json").write_text(record)
    bench_run._write_bench(before, [cell], tmp_path)
    bench_run.check_records(tmp_path, [cell])
    if method != "krona+":  # one without epochs, and one whose epochs the labels do not choose
        bench_run.check_records(tmp_path, expand(given))
        return
    with pytest.raises(ConfigError, match=r"\(epochs left open is 20 now\)"):
        bench_run.check_records(tmp_path, expand(given))


def test_a_folder_with_the_name_of_a_shipped_benchmark_is_no_input(tmp_path, monkeypatch):
    """`bench offline --out offline` resumes: the configuration is the shipped file."""
    (tmp_path / "offline").mkdir()
    monkeypatch.chdir(tmp_path)
    seen = {}
    monkeypatch.setattr(bench_run, "run_bench", lambda *_, **given: seen.update(given) or [])
    monkeypatch.setattr("sys.argv", ["hyperpeft", "bench", "offline", "--out", "offline", "-q"])
    cli.main()
    ((_, path),) = seen["inputs"]
    assert path.is_file()


def test_cells_of_another_scene_file_are_not_mixed(serial, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    shutil.copytree(serial[0], folder)
    before = files_of(folder)
    write_scene(tmp_path / "data", planted(seed=9))
    options(tmp_path / "data", "unused")
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "data"))
    bench = plan(methods=["krona+", "probe", "lora"], splits=["random", "disjoint"])
    with pytest.raises(ConfigError, match="was computed on another file of scene a: expected sha"):
        start(bench, folder)
    assert files_of(folder) == before


def test_a_cell_that_fails_is_recorded_and_the_rest_goes_on(tmp_path, world):
    bench = plan(methods={"bad": {"method": "full", "lr": 1e30}, "probe": {}})
    outcomes = start(bench, tmp_path / "out")
    assert [o.state for o in outcomes] == ["failed", "done"]
    record = json.loads((tmp_path / "out" / outcomes[0].path / FAILED).read_text())
    assert "the loss became" in record["reason"]
    assert record["error"] == "TrainingError"
    assert str(world) not in json.dumps(record)
    heard = Heard()
    assert start(bench, tmp_path / "out", watch=heard)[0].state == "failed"
    assert heard.began == []  # not tried again, unless asked for
    start(bench, tmp_path / "out", retry_failed=True, watch=heard)
    assert heard.began == [outcomes[0].path]
    mended = plan(methods={"bad": {"method": "full", "lr": 1e-4}, "probe": {}})
    outcomes = start(mended, tmp_path / "out", retry_failed=True)
    assert [o.state for o in outcomes] == ["done", "done"]
    assert not (tmp_path / "out" / outcomes[0].path / FAILED).exists()


def test_a_defect_in_a_cell_does_not_stop_the_rest(tmp_path, monkeypatch):
    from hyperpeft.runs import experiment

    true_run = experiment.run

    def broken(config, **how):
        if config.method == "krona+":
            raise ZeroDivisionError("a defect")
        return true_run(config, **how)

    monkeypatch.setattr(experiment, "run", broken)
    outcomes = start(plan(), tmp_path / "out")
    assert [o.state for o in outcomes] == ["failed", "done"]
    assert outcomes[0].reason.startswith("ZeroDivisionError in test_run.py:")


def test_everything_wrong_is_said_before_any_work(tmp_path):
    bench = plan(
        scenes={"x": {"scene": "no.tif"}, "y": {"scene": "salinas-b"}, "a": plan().scenes["a"]},
        methods={"krona+": {}, "odd": {"method": "lorra"}, "rank": {"method": "lora",
                 "options": {"ranks": 3}}},
    )  # fmt: skip
    with pytest.raises(ConfigError) as refused:
        start(bench, tmp_path / "out")
    for name in ("no.tif", "salinas-b", "lorra", "ranks"):
        assert name in str(refused.value)
    assert not (tmp_path / "out" / "cells").exists()


def test_two_benchmarks_on_one_folder_refuse_each_other(tmp_path):
    with (
        locked(tmp_path / "out" / "work" / "lock"),
        pytest.raises(InUse, match=rf"is in use by process {os.getpid()} on "),
    ):
        start(plan(), tmp_path / "out")


def write(path: Path, bench) -> Path:
    path.write_text(json.dumps(bench.model_dump(mode="json")))
    return path


def wait_for(condition, process, seconds=400.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("it took too long")


def at_work(folder: Path) -> bool:
    """Whether a cell is being computed: its folder below `work` has something in it."""
    return any(folder.glob("work/cells/*/*/*/*/seed-?/*"))


def test_killed_twice_and_gone_on(tmp_path, world):
    """SIGKILL in the middle of a cell, twice: finished records stay as they are, none is lost."""
    bench = plan(methods=["probe", "krona+"], seeds=[0, 1], common={**plan().common, "epochs": 12})
    file, out = write(tmp_path / "b.yaml", bench), tmp_path / "out"
    seen: dict[str, int] = {}
    for wanted in (1, 2):
        process = subprocess.Popen(
            [*PROGRAM, "bench", str(file), "--out", str(out), "--workers", "0", "--quiet"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(lambda n=wanted: len(files_of(out)) >= n and at_work(out), process)
        process.kill()
        process.wait()
        process.stderr.close()
        now = files_of(out)
        assert seen.items() <= now.items()
        assert len(now) < 4
        for path in (out / "cells").rglob("seed-*"):  # nothing stands there half-written
            assert json.loads((path / "run.json").read_text())["metrics"]["oa"] is not None
        seen = now
    heard = Heard()
    outcomes = start(bench, out, watch=heard)
    assert [o.state for o in outcomes] == ["done"] * 4
    assert seen.items() <= files_of(out).items()
    assert len(heard.began) == 4 - len(seen)
    assert {p.name for p in out.iterdir()} == {"bench.json", "cells"}
    start(bench, tmp_path / "whole")  # the cells that were cut give what an uncut one gives
    assert metrics_of(out) == metrics_of(tmp_path / "whole")


def cut_behind_the_run(bench, out, monkeypatch):
    """Ctrl-C when a run is over and its cell has no name yet."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hyperpeft.benchmark.cells.publish", interrupt)
        with pytest.raises(Interrupted, match="0 of 1 cells are finished; the same command"):
            start(bench, out)


def test_a_run_that_was_cut_before_it_got_its_name_is_not_computed_again(tmp_path, monkeypatch):
    from hyperpeft.benchmark import cells

    bench = plan(methods=["probe"])
    cut_behind_the_run(bench, tmp_path / "out", monkeypatch)
    monkeypatch.setattr(cells, "_run", lambda *_: pytest.fail("it was computed again"))
    assert [o.state for o in start(bench, tmp_path / "out")] == ["done"]


def test_what_other_options_have_left_half_done_is_not_taken_up(tmp_path, monkeypatch):
    cut_behind_the_run(plan(methods=["probe"]), tmp_path / "out", monkeypatch)
    other = plan(methods=["probe"], common={**plan().common, "epochs": 1})
    assert [o.state for o in start(other, tmp_path / "out")] == ["done"]
    record = next((tmp_path / "out").rglob("run.json")).read_text()
    assert json.loads(record)["config"]["epochs"] == 1


def holders(folder: Path) -> list[int]:
    """Processes that are computing a cell."""
    found = []
    for path in folder.glob("work/cells/*/*/*/*/seed-*.lock"):
        with suppress(FileNotFoundError):  # the cell has been finished
            words = path.read_text().split()
            found += [int(words[1])] if len(words) > 1 else []
    return found


def test_two_workers_one_of_them_killed_give_the_same_records(tmp_path, serial, world):
    """Two processes and one killed at work: every cell is there, with the metrics of `serial`."""
    folder, _ = serial
    bench, out = plan(splits=["random", "disjoint"]), tmp_path / "out"
    file = write(tmp_path / "b.yaml", bench)
    process = subprocess.Popen(
        [*PROGRAM, "bench", str(file), "--out", str(out), "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pids: list[int] = []
    wait_for(lambda: pids.extend(holders(out)) or pids, process)
    pid = pids[0]
    assert pid != process.pid
    assert process.pid in {parent.pid for parent in psutil.Process(pid).parents()}
    os.kill(pid, signal.SIGKILL)
    out_text, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert "4 cells finished" in out_text
    assert metrics_of(out) == metrics_of(folder)
    assert not list((out / "cells").rglob(FAILED))
    assert "Traceback" not in err


@pytest.fixture
def call(monkeypatch, capsys):
    def program(*arguments):
        monkeypatch.setattr(sys, "argv", ["hyperpeft", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return program


def shares(dask_scheduler):
    """How many cells each worker holds, and how many wait at the scheduler."""
    held = [len(worker.processing) for worker in dask_scheduler.workers.values()]
    return held, len(dask_scheduler.queued)


class Asking(Watch):
    """Asks the scheduler once, when the first cell is done."""

    def __init__(self):
        self.found = None

    def ended(self, outcome):
        if self.found is None:
            self.found = distributed.default_client().run_on_scheduler(shares)


def test_no_worker_reserves_cells_that_another_could_compute(tmp_path):
    bench = plan(methods=["lda"], splits=["random"], seeds=list(range(12)))
    watch = Asking()
    outcomes = start(bench, tmp_path / "out", workers=2, watch=watch)
    assert [o.state for o in outcomes] == ["done"] * 12
    held, waiting = watch.found
    assert max(held) <= 2  # the one that has just ended may still count
    assert waiting >= 6


def test_workers_by_default(monkeypatch):
    """One a processor, as far as cells and memory go; none beside the first on a GPU."""
    monkeypatch.setattr(bench_run, "processor_count", lambda: 8)
    monkeypatch.setattr(bench_run, "available", lambda: 100 * 2**30)
    monkeypatch.setattr(bench_run, "has_gpu", lambda: False)
    assert [default_workers(cells) for cells in (0, 1, 2, 5, 30)] == [0, 0, 2, 5, 8]
    monkeypatch.setattr(bench_run, "available", lambda: 5 * 2**30)
    assert default_workers(30) == 2
    monkeypatch.setattr(bench_run, "available", lambda: 3 * 2**30)
    assert default_workers(30) == 0
    monkeypatch.setattr(bench_run, "available", lambda: 100 * 2**30)
    monkeypatch.setattr(bench_run, "has_gpu", lambda: True)
    assert default_workers(30) == 0


def test_the_command(call, tmp_path):
    file = write(tmp_path / "b.yaml", plan(methods=["probe"]))
    out = tmp_path / "out"
    status, text, _ = call("bench", file, "--out", out, "--dry-run")
    assert status == 0
    assert "1 cells in" in text
    assert "0 finished, 0 failed, 1 to compute" in text
    assert not out.exists()
    status, text, err = call("bench", file, "--out", out)
    assert status == 0
    assert f"hyperpeft report {out}" in text
    assert "[1/1" in err
    status, text, _ = call("bench", file, "--out", out, "--json")
    assert json.loads(text)["cells"][0]["state"] == "done"
    status, text, _ = call("bench", file, "--out", out, "--dry-run", "--seeds", "0,1")
    assert "1 finished, 0 failed, 1 to compute" in text
    assert "h in one process" in text
    status, text, _ = call("report", out)
    assert status == 0
    assert "index.html" in text
    status, _, err = call("bench", file, "--out", tmp_path / "bad", "--set", "lr=1e30", "--method",
                          "probe", "--set", "head_lr=1e30")  # fmt: skip
    assert status == 1
    assert "1 of 1 cells failed" in err.splitlines()[-1]
    for words, message in (
        (["bench", "nothing"], "there is no benchmark 'nothing'"),
        (["bench", file, "--seeds", "x"], "--seeds: expected numbers"),
        (["bench", file, "--method", "svm"], "no method 'svm'"),
        (["report", tmp_path / "no"], "there is no folder"),
    ):
        status, _, err = call(*words)
        assert status == 2
        assert message in err


def test_paths_are_found_from_here_and_in_the_data(tmp_path, world):
    values = {"scene": "scene.tif:x", "labels": "scene_labels.tif", "backbone": "tiny",
              "split": "scene.tif,other.tif"}  # fmt: skip
    found = resolved(values, tmp_path)
    assert found["scene"] == f"{world / 'scene.tif'}:x"
    assert found["backbone"] == "tiny"
    assert found["split"] == f"{world / 'scene.tif'},other.tif"
    (tmp_path / "scene_labels.tif").touch()
    assert resolved(values, tmp_path)["labels"] == str(tmp_path / "scene_labels.tif")
    keyed = resolved({"scene": "scene.tif:x:y"}, tmp_path)
    assert keyed["scene"] == f"{world / 'scene.tif'}:x:y"


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
