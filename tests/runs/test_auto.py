"""`auto`: the mixture of an adapted backbone and classic parts, kept and mapped like any run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperpeft.errors import BundleError
from hyperpeft.mapping import classify
from hyperpeft.mapping.mixture import MixturePredictor
from hyperpeft.runs.experiment import run
from hyperpeft.runs.labelled_scene import labelled_scene
from hyperpeft.runs.load import load_run
from tests.helpers.small import config


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
    assert set(parts) == {
        "backbone", "context-trees", "profile-trees", "profile-svm", "spectra-forest"
    }  # fmt: skip
    assert sum(part["weight"] for part in parts.values()) == pytest.approx(1)
    assert all(0 <= part["accuracy"] <= 100 and part["factor"] > 0 for part in parts.values())
    assert any("mixture of" in note and "best alone" in note for note in record.notes)
    assert record.adapter["method"] == "auto"


def test_a_run_comes_back_to_the_bit(finished):
    options, record = finished
    import rasterio

    bundle = load_run(options.out)
    assert isinstance(bundle.predictor, MixturePredictor)
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


def test_a_mixture_is_the_weighted_mean_of_its_parts(finished):
    options, _ = finished
    bundle, scene = load_run(options.out), labelled_scene(options)
    mixture = bundle.predictor
    expected = 0.0
    for part, factor, weight in zip(mixture.parts, mixture.factors, mixture.weights, strict=True):
        single = replace(mixture, parts=(part,), factors=(factor,), weights=(1.0,))
        expected = expected + weight * classify(single, scene, probabilities=True).probabilities
    found = classify(mixture, scene, probabilities=True).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_lost_or_damaged_part_is_refused(finished, tmp_path):
    import shutil

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
