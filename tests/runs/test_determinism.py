"""The same seed, the same result, also of `auto` and on real scenes; how far threads may differ.

Each run is a process of its own, with another seed of Python's hashes, so that no order of a set
can hide in a result.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from safetensors.numpy import load_file
from scipy.special import softmax

from hyperpeft.errors import BundleError
from hyperpeft.mapping.predictor import PooledPredictor
from hyperpeft.mapping.tiles import SceneWindow, Tile
from hyperpeft.progress import Progress
from hyperpeft.runs.config import make_config, resolve_defaults
from hyperpeft.runs.experiment import run, split_for
from hyperpeft.runs.labelled_scene import labelled_scene
from hyperpeft.runs.load import load_run
from hyperpeft.runs.methods import prepare
from hyperpeft.runs.methods.contract import identity_of
from hyperpeft.runs.record import RunRecord
from tests.helpers.small import (
    HEADS,
    checkpoint,
    config,
    options,
    planted,
    strict_json,
    write_scene,
    yaml_file,
)

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    options = config(
        folder, folder / "run", method="auto", epochs=2, patch_size="auto", reduce="mnf"
    )  # another reduction than that of runs without a backbone
    return options, run(options)


def test_the_record_says_what_each_part_counts(finished):
    _, record = finished
    parts = {part["name"]: part for part in record.adapter["parts"]}
    assert set(parts) == {"backbone", "profile-trees", "spectra-lda", "spectra-svm"}
    assert record.adapter["pool"] == "logarithmic"
    assert 0.1 < sum(part["weight"] for part in parts.values()) < 10
    assert all(0 <= part["accuracy"] <= 100 and part["factor"] > 0 for part in parts.values())
    assert any("pool of" in note and "best alone" in note for note in record.notes)
    assert record.adapter["method"] == "auto"


def test_no_other_method_resumes_from_a_checkpoint_of_auto(tmp_path):
    identities = set()
    for method in ("auto", "krona+"):
        values = resolve_defaults(config(tmp_path, tmp_path / "r", method=method))
        scene = labelled_scene(values)
        identities.add(prepare(values, scene, split_for(values, scene)).identity)
    assert len(identities) == 2


def test_the_page_of_the_run_folder_has_what_a_run_writes(finished):
    options, record = finished
    text = (Path(__file__).parents[2] / "docs" / "reference" / "run-folder.md").read_text("utf-8")
    files, keys = (set(re.findall(r"`([\w./]+?)/?`", part)) for part in text.split("## run.json"))
    assert {path.name for path in options.out.iterdir()} <= {name.split("/")[0] for name in files}
    inner = {path.name for path in (options.out / "parts").rglob("*.*")}
    assert inner <= files
    assert set(record.adapter) <= keys
    assert set(record.adapter["parts"][0]) <= keys


def test_a_run_comes_back_to_the_bit(finished):
    options, record = finished
    import rasterio

    bundle = load_run(options.out)
    assert isinstance(bundle.predictor, PooledPredictor)
    with rasterio.open(options.out / "map.tif") as file:
        np.testing.assert_array_equal(bundle.predict(labelled_scene(options)), file.read(1))
    assert bundle.model is not None  # the backbone part's
    assert record.split["leakage"]["patch_size"] >= 2 * bundle.predictor.reach + 1


def test_tiles_are_equal(finished):
    options, _ = finished
    from hyperpeft.mapping import Layers, Mapper, plan, tiles_here

    bundle, scene = load_run(options.out), labelled_scene(options)
    whole = bundle.classify(scene, probabilities=True)
    mapper = Mapper(bundle.predictor, Layers(probabilities=True), refinement=bundle.refinement)
    for tile, result in tiles_here(mapper, scene, plan(scene.valid.shape, 16, 8)):
        np.testing.assert_array_equal(result.ids, whole.ids[tile.inside])


def logits_of(predictor, scene):
    """Logits (n, K) of the valid pixels."""
    height, width = scene.valid.shape
    tile = Tile(0, 0, height, width)
    window = SceneWindow.read(scene, tile, predictor.reach, scene.valid)
    return predictor.logits(predictor.prepare(window), np.argwhere(scene.valid))


@pytest.mark.parametrize("pool", ["logarithmic", "linear"])
def test_a_pool_is_the_weighted_mean_of_its_parts(finished, pool):
    options, _ = finished
    bundle, scene = load_run(options.out), labelled_scene(options)
    pooled = replace(bundle.predictor, pool=pool)
    total = 0.0
    for part, factor, weight in zip(pooled.parts, pooled.factors, pooled.weights, strict=True):
        p = softmax(factor * logits_of(part, scene).astype(np.float64), axis=1)
        total = total + weight * (p if pool == "linear" else np.log(p))
    expected = total if pool == "linear" else np.exp(total)
    found = softmax(logits_of(pooled, scene), axis=1)
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_run_of_an_earlier_version_pools_as_it_did(finished, tmp_path):
    """Its record says nothing of the pool, and its weights sum to 1."""
    options, _ = finished
    folder = tmp_path / "old"
    shutil.copytree(options.out, folder)
    values = json.loads((folder / "run.json").read_text())
    del values["adapter"]["pool"]
    (folder / "run.json").write_text(json.dumps(values))
    assert load_run(folder).predictor.pool == "linear"
    assert load_run(options.out).predictor.pool == "logarithmic"


def test_a_lost_or_damaged_part_is_refused(finished, tmp_path):
    options, record = finished
    used = next(
        p["name"] for p in record.adapter["parts"] if p["weight"] and p["name"] != "backbone"
    )
    for damage in ("model.onnx", "features.safetensors"):
        folder = tmp_path / damage
        shutil.copytree(options.out, folder)
        (folder / "parts" / used / damage).write_bytes(b"not a model")
        with pytest.raises(BundleError, match=damage):
            load_run(folder)


def test_training_pixels_are_hidden_from_test_pixels_of_a_spatial_split(tmp_path):
    options = config(
        tmp_path, tmp_path / "run", method="auto", epochs=1, split="disjoint", per_class=5,
        patch_size=3, map=False,
    )  # fmt: skip
    leakage = run(options).split["leakage"]
    assert leakage["test_windows_touching_train"] == 0
    assert leakage["training_hidden"] is True


@pytest.mark.parametrize("labels", [1, 2])
def test_auto_of_hardly_a_label(tmp_path, labels):
    """A discriminant cannot be fitted to one pixel of each class, also not in a fold."""
    options = config(
        tmp_path, tmp_path / "run", method="auto", epochs=1, per_class=labels, patch_size=3
    )
    record = run(options)
    parts = {part["name"]: part["weight"] for part in record.adapter["parts"]}
    assert ("spectra-lda" in parts) == (labels > 1)
    assert sum(weight > 0 for weight in parts.values()) > 1
    alone = "equal shares, since no training pixel can be left out"
    assert (alone in " ".join(record.notes)) == (labels == 1)
    with rasterio.open(options.out / "map.tif") as file:
        np.testing.assert_array_equal(
            load_run(options.out).predict(labelled_scene(options)), file.read(1)
        )


@pytest.mark.parametrize("method", ["auto", "lda"])
def test_what_is_fitted_on_training_pixels_sees_no_others(tmp_path, method):
    """The classic parts' standardisation and that of the refinement."""
    chosen = config(
        tmp_path, "", method=method, epochs=1, per_class=4, fit_on="train", refine="guided"
    )
    chosen = resolve_defaults(chosen)
    scene = labelled_scene(chosen)
    split = split_for(chosen, scene)
    prepared = prepare(chosen, scene, split, Progress())
    spectra = scene.cube.values[:, *split.train.T]  # (B, n)
    trained = prepared.fit(Progress())
    guide = trained.refinement
    reduced = guide.reducer.transform(spectra)
    np.testing.assert_allclose(guide.standardiser.mean, reduced.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(guide.standardiser.spread, reduced.std(axis=1), rtol=1e-4)
    if method == "auto":
        seen = prepared.features["spectra-svm"]
        np.testing.assert_allclose(seen.mean, spectra.mean(axis=1), rtol=1e-5)
        assert prepared.features["profile-trees"].standardiser is guide.standardiser


def test_enmap_potsdam_by_path(data, tmp_path):
    """The map has the input's CRS and transform, and nodata outside the tiles."""
    place = data / "enmap-potsdam"
    cube, labels = place / "enmap_potsdam.tif", place / "enmap_potsdam_labels.tif"
    weights, out = checkpoint(tmp_path / "e.safetensors"), tmp_path / "run"
    values = {"scene": str(cube), "labels": str(labels), "backbone": str(weights), "out": out}
    run(make_config({**values, "num_heads": HEADS, "epochs": 2, "patch_size": 5}))
    record = strict_json((out / "run.json").read_text())
    with rasterio.open(cube) as file:
        crs, transform, nodata = file.crs, file.transform, file.nodata
        # Six bands are bad and nodata everywhere: a pixel has none where every band has none.
        nothing = (file.read() == nodata).all(axis=0)
    with rasterio.open(labels) as file:
        known = np.setdiff1d(file.read(1), [0])
    with rasterio.open(out / "map.tif") as file:
        ids = file.read(1)
        assert file.crs == crs
        assert file.transform == transform
        assert file.nodata == 0
    assert crs.to_epsg() == 32633
    assert 0 < nothing.sum() < nothing.size  # the scene has both
    np.testing.assert_array_equal(ids == 0, nothing)  # a class everywhere else
    assert np.isin(ids[~nothing], known).all()
    assert record["scene"]["masked_pixels"] == nothing.sum()
    assert record["scene"]["shape"] == [192, 160, 218]


def test_what_is_given_is_part_of_the_work_that_is_resumed(tmp_path):
    """`--head ridge` switches a trial off, though ridge is the default: it is another run."""
    values = options(tmp_path, tmp_path / "r")
    found = []
    for given in ({}, {"head": "ridge"}, {}):
        asked = resolve_defaults(make_config({**values, **given}))
        scene = labelled_scene(asked)
        found.append(identity_of(asked, scene, split_for(asked, scene)))
    assert found[0] == found[2] != found[1]
