"""`hyperpeft export RUN --to model.onnx`, and maps without torch."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import rasterio
import torch
from onnx import numpy_helper

from hyperpeft.errors import BundleError, ConfigError, HyperpeftError
from hyperpeft.export import export_run, onnx_file
from hyperpeft.export.hub import pushed_files
from hyperpeft.export.onnx_file import numbers_of
from hyperpeft.mapping import GraphPredictor, classify, plan
from hyperpeft.mapping.predictor import PooledPredictor, window_part_of
from hyperpeft.mapping.tiles import SceneWindow, Tile
from hyperpeft.models.graphs.frame import check_arrays
from hyperpeft.runs.experiment import run as train
from hyperpeft.runs.inputs import without_folders
from hyperpeft.runs.labelled_scene import labelled_scene
from hyperpeft.runs.load import load_run
from tests.helpers.small import config

# Every kind of model that there is: options, and which of its parts are in the graph.
KINDS = {
    "auto": {"method": "auto", "patch_size": "auto", "reduce": "mnf", "refine": "guided"},
    "krona+": {"method": "krona+", "patch_size": 5},
    "windows": {"method": "probe", "patch_size": [5, 9, 1], "image_size": 16, "stride": 4,
                "centre": True},
    "full": {"method": "full", "patch_size": 7, "image_size": 32, "refine": "graph"},
    "svm": {"method": "svm-pca"},
    "trees": {"method": "trees"},
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Trained runs and what was exported from them, made when they are first asked for."""
    folder, made = tmp_path_factory.mktemp("onnx"), {}

    def get(kind):
        if kind not in made:
            out, options = folder / kind, dict(KINDS[kind])
            options = config(folder, out, epochs=2, precision="fp32", **options)
            train(options)
            path = folder / f"{kind}.onnx"
            export_run(out, path)
            made[kind] = out, path, labelled_scene(options)
        return made[kind]

    return get


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_that_of_torch(world, kind):
    out, path, scene = world(kind)
    expected = load_run(out, runtime="torch").classify(scene, probabilities=True)
    exported = load_run(path)
    found = exported.classify(scene, probabilities=True)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert exported.runtime.startswith(f"onnxruntime {onnxruntime.__version__} CPU")
    assert exported.classes == load_run(out).classes
    assert len(np.unique(expected.ids)) > 1


@pytest.mark.parametrize("kind", ["auto", "windows", "svm"])
def test_any_runtime_computes_the_probabilities_from_values(world, kind):
    """The whole graph, with windows cut by hand from a mirrored scene."""
    _, path, scene = world(kind)
    bundle = load_run(path)
    cube = np.asarray(scene.cube.values, np.float32)
    session = onnxruntime.InferenceSession(path)
    shapes = {given.name: given.shape for given in session.get_inputs()}
    positions = np.array([[0, 0], [3, 20], [12, 12], [23, 23], [7, 1]])
    inputs = {}
    if "values" in shapes:
        side = shapes["values"][-1]
        half = side // 2
        padded = np.pad(cube, ((0, 0), (half, half), (half, half)), mode="reflect")
        inputs["values"] = np.stack([padded[:, r : r + side, c : c + side] for r, c in positions])
        inputs["valid"] = np.ones((len(positions), 1, side, side), np.float32)
    parts = getattr(bundle.predictor, "parts", (bundle.predictor,))
    features = iter(part.features for part in parts if hasattr(part, "features"))
    for name in shapes:
        if name.endswith(".features"):
            inputs[name] = onnx_file.features_at(scene, next(features), positions)
    (found,) = session.run(["probabilities"], inputs)
    expected = classify(bundle.predictor, scene, probabilities=True).probabilities
    np.testing.assert_allclose(found, expected[:, *positions.T].T, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_pixels_that_are_not_valid_count_as_zero(world):
    out, path, scene = world("krona+")
    valid = np.random.default_rng(0).random(scene.valid.shape) < 0.8
    cube = scene.cube.copy(deep=True)
    cube.values[:, ~valid] = 1e9
    holed = replace(scene, cube=cube, valid=valid)
    bundle = load_run(out, runtime="torch")
    found = onnx_file.check_parity(bundle, path, holed)
    assert found.pixels == found.equal == 256
    assert found.difference < 1e-5


def test_metadata_says_what_the_file_is(world):
    out, path, scene = world("krona+")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(texts["classes"]) == {str(i): n for i, n in scene.labels.classes.items()}
    assert json.loads(texts["class_ids"]) == [1, 2]
    assert int(texts["bands"]) == 20
    assert float(texts["level"]) == pytest.approx(np.abs(scene.cube.values).mean(), rel=0.5)
    assert texts["hyperpeft"]
    record = json.loads(texts["record"])
    assert record["adapter"]["method"] == "krona+"
    assert str(out.parent) not in texts["record"]  # where a user keeps files
    again = path.with_name("again.onnx")
    export_run(out, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_run_folder_maps_with_its_exported_model(world, tmp_path):
    out, _, scene = world("auto")
    run = tmp_path / "run"
    shutil.copytree(out, run)
    assert load_run(run).runtime.startswith("torch")
    with pytest.raises(BundleError, match=r"has no model.onnx.*hyperpeft export"):
        load_run(run, runtime="onnx")
    export_run(run, run / "model.onnx")
    assert load_run(run).runtime.startswith("onnxruntime")
    assert load_run(run, runtime="torch").runtime.startswith("torch")
    mapped = load_run(run).map(scene, tmp_path / "map.tif")
    assert mapped.runtime == load_run(run).runtime
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags()["RUNTIME"] == mapped.runtime
        np.testing.assert_array_equal(file.read(1), load_run(run).predict(scene))
    values = json.loads((run / "run.json").read_text())  # trained again, and not exported
    values["created"] = "2026-01-01T00:00:00+00:00"
    (run / "run.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="exported from another training"):
        load_run(run)
    with pytest.raises(BundleError, match="exported model"):
        _ = load_run(out.with_name("auto.onnx")).model


def test_an_exported_run_is_shared_with_its_model(world, tmp_path):
    """What the hub gets is a run whose paths are cut to names; its exported model still fits it."""
    out, path, scene = world("krona+")
    run = tmp_path / "run"
    shutil.copytree(out, run)
    shutil.copy(path, run / "model.onnx")
    assert "model.onnx" in pushed_files(run)
    text = (run / "run.json").read_text()
    assert str(out.parent) in text
    (run / "run.json").write_text(without_folders(text, json.loads(text)))
    found = load_run(run, runtime="onnx").predict(scene)
    np.testing.assert_array_equal(found, load_run(path).predict(scene))


@pytest.mark.parametrize("kind", ["krona+", "windows"])
def test_tiles_and_threads_change_no_bit(world, kind, monkeypatch):
    _, path, scene = world(kind)
    predictor = load_run(path).predictor
    assert isinstance(predictor, GraphPredictor)

    def logits(tile):
        window = SceneWindow.read(scene, tile, predictor.reach, scene.valid)
        corner = np.array([tile.top, tile.left])
        positions = np.argwhere(scene.valid[tile.inside]) + corner
        found = np.zeros((*tile.shape, 2), np.float32)
        prepared = predictor.prepare(window)
        found[scene.valid[tile.inside]] = predictor.logits(prepared, positions)
        return found

    whole = logits(Tile(0, 0, *scene.valid.shape))
    for threads in (1, 3):
        monkeypatch.setattr("hyperpeft.mapping.predictor.thread_count", lambda n=threads: n)
        for tile in plan(scene.valid.shape, 8, 8):
            np.testing.assert_array_equal(logits(tile), whole[tile.inside])


def test_it_can_be_sent_to_a_worker(world):
    _, path, scene = world("auto")
    bundle = load_run(path)
    again = pickle.loads(pickle.dumps(bundle.predictor))
    np.testing.assert_array_equal(replace(bundle, predictor=again).predict(scene),
                                  bundle.predict(scene))  # fmt: skip
    assert isinstance(again, PooledPredictor)
    assert isinstance(window_part_of(again), GraphPredictor)


def test_what_differs_from_torch_is_not_written(world, tmp_path, monkeypatch):
    out, _, _ = world("krona+")

    def wrong(predictor):
        arrays, architecture = numbers_of(predictor)
        return {**arrays, "head.bias": arrays["head.bias"] + [3.0, 0.0]}, architecture

    monkeypatch.setattr(onnx_file, "numbers_of", lambda p: (
        {k: v.astype(np.float32) for k, v in wrong(p)[0].items()}, wrong(p)[1]))  # fmt: skip
    with pytest.raises(HyperpeftError, match="was not written: checked against torch"):
        export_run(out, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_kind_is_not_exported(world):
    out, _, _ = world("krona+")
    predictor = window_part_of(load_run(out, runtime="torch").predictor)
    predictor.model.encoder.register_buffer("added", torch.zeros(3))
    with pytest.raises(BundleError, match=r"holds encoder.added: this kind cannot be exported"):
        numbers_of(predictor)


def damaged(model: onnx.ModelProto, what: str) -> None:
    """Change one thing that a file must not be able to do."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    texts = {entry.key: entry for entry in model.metadata_props}
    name = next(n for n in tensors if n.endswith("block0.fc1.weight"))
    array = numpy_helper.to_array(tensors[name])
    if what == "not finite":
        tensors[name].CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), name))
    elif what == "another shape":
        tensors[name].CopyFrom(numpy_helper.from_array(array[:-1], name))
    elif what == "a file elsewhere":
        tensors[name].data_location = onnx.TensorProto.EXTERNAL
        entry = tensors[name].external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    elif what == "lost numbers":
        model.graph.initializer.remove(tensors[name])
    elif what == "another operator":
        model.graph.node[3].op_type = "Loop"
    elif what == "an architecture that is too large":
        values = {**json.loads(texts["architecture"].value), "depth": 10**9}
        texts["architecture"].value = json.dumps(values)
    elif what == "a part outside":
        record = json.loads(texts["record"].value)
        record["adapter"]["parts"][1]["name"] = "../../outside"
        texts["record"].value = json.dumps(record)
    elif what == "the reduction of another run":
        name = "backbone/reducer.matrix"
        array = numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array(array[::-1].copy(), name))
    elif what == "other text":
        texts["reducer.safetensors"].value = "%%%"
    elif what == "no record":
        texts["record"].value = "[]"
    else:
        texts["format"].value = "hyperpeft map model 99"


@pytest.mark.parametrize(
    "what",
    [
        "not finite", "another shape", "a file elsewhere", "lost numbers", "another operator",
        "an architecture that is too large", "a part outside", "the reduction of another run",
        "other text", "no record", "another version",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(world, tmp_path, what):
    _, path, _ = world("auto")
    model = onnx.load(path)
    damaged(model, what)
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError):
        load_run(tmp_path / "bad.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.onnx"]


def test_a_file_that_is_none_is_refused(tmp_path, world):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"PK\x03\x04 nothing of the kind")
    with pytest.raises(BundleError, match=r"a run folder, or a \.onnx file of `hyperpeft export`"):
        load_run(path)
    with pytest.raises(ConfigError, match="which ONNX Runtime executes"):
        load_run(world("svm")[1], runtime="torch")
    with pytest.raises(ConfigError, match="one of auto, torch, onnx"):
        load_run(path, runtime="tensorflow")


def test_the_numbers_are_checked_by_name(world):
    out, _, _ = world("windows")
    arrays, architecture = numbers_of(window_part_of(load_run(out, runtime="torch").predictor))
    check_arrays(arrays, architecture)
    for name in ("positions", "head.weight", "norm.bias", "reducer.shift"):
        with pytest.raises((ValueError, KeyError)):
            check_arrays({k: v for k, v in arrays.items() if k != name}, architecture)
    with pytest.raises(ValueError, match="float32"):
        check_arrays({**arrays, "norm.bias": arrays["norm.bias"].astype(np.float64)}, architecture)


# A program in which some libraries are not installed.
WITHOUT = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "torch", "accelerate", "sklearn", "peft", "matplotlib", "pyogrio", "huggingface_hub"
        }:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from hyperpeft.cli import main
main()
loaded = {m.partition(".")[0] for m in sys.modules}
print(json.dumps([len(sys.modules), sorted(loaded & {"distributed"})]))
"""
MOST_MODULES = 1950  # that a map loads, of which xarray and pandas are a good half


def without_torch(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, words)],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["auto", "windows", "svm"])
def test_a_map_without_torch(world, tmp_path, kind):
    out, path, scene = world(kind)
    done = without_torch(tmp_path, "map", path, out.parent / "scene.tif", "--out", "map.tif")
    assert done.returncode == 0, done.stderr
    modules, heavy = json.loads(done.stdout.splitlines()[-1])
    assert modules < MOST_MODULES
    assert heavy == []
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), load_run(path).predict(scene))


def test_evaluation_and_adaptive_maps_without_torch(world, tmp_path):
    out, path, _ = world("auto")
    run = tmp_path / "run"
    shutil.copytree(out, run)
    shutil.copy(path, run / "model.onnx")
    words = ("evaluate", run, "--json")
    done = without_torch(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[0])
    assert found["oa"] == pytest.approx(load_run(run).record.metrics["oa"], abs=0.5)
    done = without_torch(tmp_path, "map", run, "--adaptive", "--confidence", "--out", "a.tif")
    assert done.returncode == 0, done.stderr


def test_what_needs_more_libraries_says_so(world, tmp_path):
    out, path, _ = world("krona+")
    scene = out.parent / "scene.tif"
    for extra, *words in (
        ("train", "map", out, "--out", "m.tif"),
        ("train", "train", scene),
        ("train", "export", out, "--to", "m.onnx"),
        ("vectors", "map", path, scene, "--out", "m.tif", "--polygons", "m.gpkg"),
        ("hub", "hub", "push", out, "me/run"),
    ):
        done = without_torch(tmp_path, *words)
        assert done.returncode == 2
        assert f"hyperpeft[{extra}]" in done.stderr
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_salinas_a_without_torch(data, tmp_path):
    """A real scene: trained, exported, and mapped where torch cannot be loaded."""
    from tests.helpers.small import checkpoint

    options = {
        "scene": "salinas-a", "method": "krona+", "per_class": 5, "split": "random", "epochs": 1,
        "backbone": str(checkpoint(tmp_path / "e.safetensors")), "num_heads": 3,
        "patch_size": 5, "image_size": 8, "map": True, "precision": "fp32",
        "out": tmp_path / "run",
    }  # fmt: skip
    from hyperpeft.runs.config import make_config

    train(make_config(options))
    export_run(tmp_path / "run", tmp_path / "sa.onnx")
    done = without_torch(tmp_path, "map", "sa.onnx", "salinas-a", "--out", "map.tif")
    assert done.returncode == 0, done.stderr
    with (
        rasterio.open(tmp_path / "map.tif") as file,
        rasterio.open(tmp_path / "run" / "map.tif") as other,
    ):
        np.testing.assert_array_equal(file.read(1), other.read(1))
