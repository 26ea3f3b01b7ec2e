"""Same seed, same machine, same result; and how far apart results of other threads may be.

Each run is a process of its own, with another seed of Python's hashes, so that no order of a set
can hide in a result.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from safetensors.numpy import load_file

from hyperpeft.runs.record import RunRecord
from tests.helpers.small import options, planted, write_scene, yaml_file

TRAIN_AND_MAP = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[2]))
from hyperpeft.runs.load import load_run
from hyperpeft.runs.config import make_config
from hyperpeft.runs.config_files import read_config
from hyperpeft.runs.experiment import run
from hyperpeft.scenes import open_scene

folder, out = Path(sys.argv[1]), Path(sys.argv[3])
run(make_config({**read_config(folder / "run.yaml"), "out": out}))
bundle = load_run(out)
scene = open_scene(folder / "large.tif")
bundle.map(scene, out / "large.tif", probabilities=out / "p.tif", tile=32)
bundle.map(scene, out / "adaptive.tif", adaptive=True)
"""


class Results:
    """What a process has written."""

    def __init__(self, folder):
        adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
        self.weights = {**adapter, **load_file(folder / "head.safetensors")}
        self.record = RunRecord.from_file(folder / "run.json")
        self.maps = {}
        for name in ("map.tif", "large.tif", "adaptive.tif", "p.tif"):
            with rasterio.open(folder / name) as file:
                self.maps[name] = file.read()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two processes of one thread each, and one of two threads."""
    folder = tmp_path_factory.mktemp("runs")
    how = {"epochs": 6, "validation": 0.25, "image_size": 8, "patience": 3}
    given = options(folder, "unused", **how)
    del given["out"]
    yaml_file(folder / "run.yaml", given)
    write_scene(folder, planted(height=44, width=40, seed=3), name="large")
    found = {}
    for name, threads in (("first", 1), ("second", 1), ("two threads", 2)):
        environment = {**os.environ, "PYTHONHASHSEED": str(len(found) + 1)}
        words = [str(folder), str(threads), str(folder / name)]
        subprocess.run(
            [sys.executable, "-c", TRAIN_AND_MAP, *words], env=environment, check=True, timeout=300
        )
        found[name] = Results(folder / name)
    return found


def test_one_seed_is_one_result(results):
    """Weights, scores and every pixel, to the bit."""
    first, second = results["first"], results["second"]
    assert first.weights.keys() == second.weights.keys()
    for name, tensor in first.weights.items():
        np.testing.assert_array_equal(tensor, second.weights[name], err_msg=name)
    assert first.record.metrics == second.record.metrics
    assert first.record.split == second.record.split
    for name, pixels in first.maps.items():
        np.testing.assert_array_equal(pixels, second.maps[name], err_msg=name)
    assert len(np.unique(first.maps["large.tif"])) == 2


def test_other_threads_add_in_another_order(results):
    """The last bits of sums differ, and training carries them on: nearly equal, not equal."""
    one, two = results["first"], results["two threads"]
    assert one.record.split == two.record.split
    for name, tensor in one.weights.items():
        np.testing.assert_allclose(tensor, two.weights[name], rtol=0, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(one.maps["p.tif"], two.maps["p.tif"], atol=5e-3)
    for name in ("map.tif", "large.tif"):
        assert (one.maps[name] == two.maps[name]).mean() > 0.999
