"""The five extension points, each used from outside the package by the code of CONTRIBUTING.md."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hyperpeft
from hyperpeft import adapters
from hyperpeft.adapters import METHODS
from hyperpeft.baselines import BASELINES
from hyperpeft.errors import ConfigError
from hyperpeft.export import EXPORTERS, export_run
from hyperpeft.runs.evaluate import evaluate
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import open_scene
from hyperpeft.scenes.readers import READERS
from hyperpeft.splits import SPLIT_KINDS
from tests.helpers.small import config, encoder

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
MODULES = {
    "A reader of a file format": "toy",
    "An adapter": "scaling",
    "A split": "north",
    "A baseline": "trees",
    "An exporter": "card",
}
PRELUDE = """\
import json
from dataclasses import replace
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package of somebody else, with a module for each example of the page."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").write_text("")
    text = PAGE.read_text(encoding="utf-8")
    for heading, name in MODULES.items():
        code = re.search(rf"### {heading}\n\n```python\n(.*?)```", text, re.DOTALL).group(1)
        assert len(code.strip().splitlines()) <= 20, heading
        (folder / "my_package" / f"{name}.py").write_text(PRELUDE + code)
    sys.path.insert(0, str(folder))
    yield "my_package"
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        del sys.modules[name]


@pytest.fixture
def load(package):
    """Import a module of that package; what it registers is taken back afterwards."""
    tables = (METHODS, SPLIT_KINDS, BASELINES, EXPORTERS)
    before, readers = [dict(table) for table in tables], list(READERS)
    yield lambda name: importlib.import_module(f"{package}.{name}")
    READERS[:] = readers
    for table, rows in zip(tables, before, strict=True):
        table.clear()
        table.update(rows)


def test_a_reader(load, tmp_path):
    load("toy")
    values = np.random.default_rng(0).normal(size=(3, 24, 24)).astype("<f4")
    (tmp_path / "scene.toy").write_bytes(b"TOYCUBE1" + values.tobytes())
    scene = open_scene(tmp_path / "scene.toy")
    assert scene.shape == (24, 24, 3)
    np.testing.assert_array_equal(scene.cube.values, values)


def test_an_adapter(load, tmp_path):
    load("scaling")
    model = encoder()
    x = torch.randn(2, 12, 32, 32)
    with torch.no_grad():
        before = model(x)
        adapters.attach(model, "scaling+")
        torch.testing.assert_close(model(x), before)  # the identity at the start
        for adapter in adapters.adapters_of(model).values():
            adapter.b.normal_(0, 0.1)
        changed = model(x)
        assert not torch.allclose(changed, before)
        torch.testing.assert_close(adapters.merge(model)(x), changed, rtol=1e-4, atol=1e-5)
    record = hyperpeft.run(config(tmp_path, tmp_path / "run", method="scaling+"))
    assert record.adapter["adapter_parameters"] == 2 * 2 * 48  # blocks, Q and V, outputs
    assert record.metrics["oa"] > 80
    again = load_run(tmp_path / "run").predict(open_scene(tmp_path / "scene.tif"))
    assert again.shape == (24, 24)


def test_a_split(load, tmp_path):
    load("north")
    made = config(
        tmp_path, tmp_path / "run", split="north-south", per_class=None, method="rf", map=False
    )
    record = hyperpeft.run(made)
    assert record.split["kind"] == "north-south"
    with np.load(tmp_path / "run" / "split.npz") as split:
        assert split["train"][:, 0].max() == 11
        assert split["test"][:, 0].min() == 12


def test_a_baseline(load, tmp_path):
    load("trees")
    given = config(tmp_path, tmp_path / "run", method="few-trees", refine="none")
    record = hyperpeft.run(given)
    assert record.baseline == {"source": "no paper", "classes": 2}
    assert record.split["leakage"]["test_windows_touching_train"] == 0
    assert record.metrics["oa"] > 80  # the two classes differ in one band
    assert evaluate(tmp_path / "run").scores == record.metrics


def test_an_exporter(load, tmp_path):
    load("card")
    record = hyperpeft.run(config(tmp_path, tmp_path / "run", method="probe", epochs=1))
    files = export_run(tmp_path / "run", tmp_path / "card.txt")
    assert files == [tmp_path / "card.txt"]
    assert files[0].read_text() == f"probe: OA {record.metrics['oa']:.1f} %\n"
    with pytest.raises(ConfigError, match="two facts of a run"):
        export_run(tmp_path / "run", tmp_path / "card.docx")
