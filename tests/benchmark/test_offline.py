"""The offline benchmark on its real scenes: every split that it draws, and nothing leaks."""

from __future__ import annotations

import pytest

from hyperpeft import splits
from hyperpeft.benchmark.cells import resolved
from hyperpeft.benchmark.grid import complete, expand, read_bench
from hyperpeft.runs import experiment

BENCH = read_bench("offline")


@pytest.mark.parametrize("scene", list(BENCH.scenes))
def test_no_test_window_of_any_method_holds_a_training_pixel(scene, data, tmp_path, monkeypatch):
    """For every window size used; and all methods of a seed have the very same pixels."""
    monkeypatch.setenv("HYPERPEFT_DATA", str(data))
    cells = [c for c in expand(BENCH, scenes=[scene]) if c.split == "disjoint"]
    assert {c.method for c in cells} == set(BENCH.methods)
    opened = experiment.labelled_scene(complete(resolved(cells[0].values, tmp_path)))
    shape, windows = opened.valid.shape, {c.config.largest_window for c in cells}
    for seed in BENCH.seeds:
        same = {}
        for cell in cells:
            options = cell.config.model_dump(include={"split_window", "split_gap", "per_class"})
            if cell.seed == seed:
                same[tuple(sorted(options.items()))] = cell.config
        assert len(same) == 1
        split = experiment.select_split(next(iter(same.values())), opened)
        assert {splits.leakage(split, shape, window) for window in windows} == {0.0}
        assert len(split.train) >= 2 * len(set(split.train_ids.tolist()))
        assert set(split.test_ids.tolist()) <= set(split.train_ids.tolist())
        assert len(set(split.train_ids.tolist())) >= 3
