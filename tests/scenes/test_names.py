"""Names of files as users have them, and pictures that fail: a finished training is not lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperpeft.runs import figures
from hyperpeft.runs.evaluate import evaluate, reopen
from hyperpeft.runs.experiment import Progress, run
from hyperpeft.runs.load import load_run
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import open_scene
from tests.helpers.small import config, options, planted


def train(folder, scene, **changes):
    """A run of a step on a scene of that name; the folder of the run."""
    values = options(folder, folder / "run")
    Path(values["scene"]).rename(scene)
    run(config(folder, folder / "run", scene=str(scene), epochs=1, per_class=4, **changes))
    return folder / "run"


def files(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    options(tmp_path, tmp_path)
    return tmp_path


def test_a_file_name_is_no_formula(folder):
    found = files(train(folder, folder / "a$x^$b.tif"))
    assert {"run.json", "map.png", "confusion.png"} <= found


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_a_file_name_that_is_not_text(folder):
    """It is shown as text; the file is opened by its own name, now and later."""
    odd = os.fsdecode(os.fsencode(folder) + b"/sc\xffene.npy")
    cube = np.moveaxis(planted().cube.values, 0, 2)
    with Path(odd).open("wb") as file:
        np.save(file, cube)
    assert open_scene(odd).name == "sc?ene"
    out = folder / "run"
    run(config(folder, out, scene=odd, epochs=1, per_class=4))
    assert {"run.json", "map.png", "confusion.png"} <= files(out)
    record = RunRecord.from_file(out / "run.json")
    assert record.scene["name"] == "sc?ene"
    assert reopen(record, out).name == "sc?ene"
    assert evaluate(out).pixels
    assert load_run(out).predict(reopen(record, out)).shape == (24, 24)


def test_a_picture_that_fails_is_a_note(folder, monkeypatch):
    """Weights, split and record are kept, and the user is told."""

    def fails(*_, **__):
        raise RuntimeError("no glyph\nfor this")

    told = []

    class Told(Progress):
        def note(self, text):
            told.append(text)

    monkeypatch.setattr(figures, "save_map", fails)
    monkeypatch.setattr(figures, "save_confusion", fails)
    out = folder / "run"
    given = run(config(folder, out, epochs=1, per_class=4), progress=Told())
    expected = [
        f"{name}.png could not be drawn (no glyph for this)" for name in ("map", "confusion")
    ]
    assert json.loads((out / "run.json").read_text())["notes"][-2:] == expected
    assert given.notes[-2:] == expected
    assert told[-2:] == expected
    assert {"map.tif", "split.npz", "head.safetensors", "adapter"} <= files(out)
    assert not {"map.png", "confusion.png", "checkpoint"} & files(out)
