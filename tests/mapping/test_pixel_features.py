"""Features of pixels and the refinement of their classes: by tile as of the whole scene."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import ndimage

from hyperpeft import spectral
from hyperpeft.baselines.pixel_models import extra_trees, vector_machine
from hyperpeft.errors import BundleError, SceneError
from hyperpeft.mapping import (
    ComponentMeans,
    ContextFeatures,
    Layers,
    Mapper,
    Outputs,
    PixelFeatures,
    PixelPredictor,
    Refinement,
    SpectraFeatures,
    classify,
    features_at,
    map_to_files,
    tiles_here,
)
from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.tiles import SceneWindow, Tile, plan
from hyperpeft.spatial import (
    CONTEXT,
    PROFILE,
    RefineOptions,
    Standardiser,
    context_features,
    refine,
)
from tests.helpers.small import CLASSES, COLOURS, holed, mapper_for, planted

KINDS = ("spectra", "component means", "context", "profile")


def made(kind: str, scene) -> PixelFeatures:
    if kind == "spectra":
        return SpectraFeatures.fit(scene)
    if kind == "component means":
        found = spectral.principal_components(scene, 5)
        directions = found.directions / np.sqrt(found.variance)[:, None]
        return ComponentMeans(found.mean, directions, 3, scene.wavelengths)
    reducer = spectral.fit(scene)
    standardiser = Standardiser.fit(reducer.reduce(scene), scene.valid)
    if kind == "context":
        return ContextFeatures(reducer, standardiser, CONTEXT)
    return ContextFeatures(reducer, standardiser, PROFILE, components=8)


def whole(features: PixelFeatures, scene) -> np.ndarray:
    height, width, _ = scene.shape
    tile = Tile(0, 0, height, width)
    return features.prepare(SceneWindow.read(scene, tile, features.reach, scene.valid))


@pytest.fixture(scope="module")
def scene():
    scene = holed(75, 59)
    scene.valid[:9, :6] = False
    scene.valid[40] = False
    return scene


@pytest.fixture(scope="module", params=KINDS)
def features(request, scene):
    return made(request.param, scene)


@pytest.mark.parametrize("size", [16, 33, 64])
@pytest.mark.parametrize("more", [0, 9])
def test_tiles_have_the_values_of_the_whole_scene(features, scene, size, more):
    """Whatever the tile, and where the window was read for something that looks further."""
    expected = whole(features, scene)
    for tile in plan(scene.valid.shape, size, 1):
        window = SceneWindow.read(scene, tile, features.reach + more, scene.valid)
        np.testing.assert_array_equal(features.prepare(window), expected[:, *tile.inside])


def test_counts_and_pixels_that_are_not_valid(features, scene):
    values = whole(features, scene)
    assert values.shape == (features.count, *scene.valid.shape)
    assert values.dtype == np.float32
    assert not values[:, ~scene.valid].any()
    assert values[:, scene.valid].any(axis=1).all()


def test_the_context_is_that_of_the_reduced_cube(scene):
    features = made("context", scene)
    cube = features.standardiser.apply(features.reducer.reduce(scene), scene.valid)
    guide = features.standardiser.guide(cube)
    expected = context_features(cube, guide, scene.valid, CONTEXT)
    np.testing.assert_array_equal(whole(features, scene), expected)


def test_component_means_against_scipy(scene):
    values = whole(made("component means", scene), scene)
    share = ndimage.uniform_filter(scene.valid.astype(float), 7, mode="constant")
    for component, means in zip(values[:5], values[5:], strict=True):
        np.testing.assert_allclose(component[scene.valid].var(ddof=1), 1, rtol=1e-4)
        sums = ndimage.uniform_filter(component.astype(float), 7, mode="constant")
        expected = sums[scene.valid] / share[scene.valid]
        np.testing.assert_allclose(means[scene.valid], expected, rtol=0, atol=1e-5)


def test_features_of_some_pixels(features, scene):
    positions = np.argwhere(scene.valid)[[700, 3, 3000, 41, 2999]]
    found = features_at(scene, features, positions)
    np.testing.assert_array_equal(found, whole(features, scene)[:, *positions.T].T)


def test_only_tiles_that_hold_the_pixels_are_read(monkeypatch):
    scene = planted(height=400, width=300)
    read = []
    original = SceneWindow.read
    monkeypatch.setattr(
        SceneWindow,
        "read",
        classmethod(lambda cls, s, tile, *rest: read.append(tile) or original(s, tile, *rest)),
    )
    positions = np.array([[5, 5], [390, 290], [127, 100]])
    features_at(scene, SpectraFeatures.fit(scene), positions)
    assert read == [Tile(0, 0, 128, 128), Tile(384, 256, 400, 300)]


def test_a_file_keeps_every_number(features, scene, tmp_path):
    path = tmp_path / "features.safetensors"
    features.to_file(path)
    again = PixelFeatures.from_file(path)
    assert type(again) is type(features)
    np.testing.assert_array_equal(whole(again, scene), whole(features, scene))
    hashes = []
    for one in (features, again, replace(features)):
        into = Fingerprint()
        one.fingerprint(into)
        hashes.append(into.hexdigest())
    assert len(set(hashes)) == 1


def test_another_scene_of_other_bands_is_refused(features):
    with pytest.raises(SceneError, match="expected 20 bands"):
        features.check(planted(bands=12))
    features.check(planted(seed=4))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused(kind, scene, tmp_path):
    path = tmp_path / "f.safetensors"
    features = made(kind, scene)
    arrays, values = features.to_tensors()
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def refused(arrays, values, says, **metadata):
        text = {"format": "hyperpeft pixel features 1", "kind": features.kind, **metadata}
        save_file(arrays, path, {**text, "values": json.dumps(values)})
        with pytest.raises(BundleError, match=says):
            PixelFeatures.from_file(path)

    refused(arrays, values, "does not hold features", kind="other")
    refused(arrays, values, "does not hold features", format="reducer")
    name = max(arrays)
    refused({k: v for k, v in arrays.items() if k != "mean"}, values, "damaged|not a reducer")
    refused({**arrays, "more": np.ones(3)}, values, "damaged")
    refused({**arrays, "mean": np.ones((2, 2))}, values, "damaged")
    refused({**arrays, name: np.full_like(arrays[name], np.nan)}, values, "finite")
    for key in values:
        refused(arrays, {**values, key: [1]}, "damaged")
    if "options" in values:
        for option, value in (("guided_radius", 10**6), ("means", [10**6]), ("guided_eps", -1.0)):
            options = {**values["options"], option: value}
            refused(arrays, {**values, "options": options}, "damaged")
    path.write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="cannot be read"):
        PixelFeatures.from_file(path)


@pytest.fixture(scope="module", params=["context", "profile", "spectra", "component means"])
def predictor(request, scene):
    features = made(request.param, scene)
    ids, where = scene.labels.ids, np.argwhere(scene.valid)
    train = where[np.random.default_rng(0).choice(len(where), 60, replace=False)]
    x = features_at(scene, features, train)
    targets = np.searchsorted([1, 2], ids[tuple(train.T)])
    fit = vector_machine(16.0, 0.25) if request.param == "spectra" else extra_trees(0, 30)
    return PixelPredictor(features, fit(x, targets, 2).to_model(), np.array([1, 2], np.int32))


@pytest.mark.parametrize("size", [16, 64])
def test_maps_by_tile_equal_the_whole_map(predictor, scene, size):
    mapped = classify(predictor, scene, probabilities=True)
    mapper = Mapper(predictor, Layers(probabilities=True))
    for tile, result in tiles_here(mapper, scene, plan(scene.valid.shape, size, 1)):
        np.testing.assert_array_equal(result.ids, mapped.ids[tile.inside])
        np.testing.assert_array_equal(result.probabilities, mapped.probabilities[:, *tile.inside])
    some = np.random.default_rng(1).random(scene.valid.shape) < 0.1
    part = classify(predictor, scene, some & scene.valid)
    np.testing.assert_array_equal(part.ids[some], mapped.ids[some])


def test_a_planted_scene_is_recovered(predictor, scene):
    mapped = classify(predictor, scene)
    truth = scene.labels.ids
    assert (mapped.ids == truth)[scene.valid].mean() > 0.9
    assert not mapped.ids[~scene.valid].any()
    assert mapped.pixels == scene.valid.sum()


def test_the_fingerprint_knows_the_model_and_the_features(predictor, scene):
    other = replace(predictor, features=SpectraFeatures.fit(planted(seed=9)))
    ids = replace(predictor, class_ids=np.array([1, 3], np.int32))
    hashes = []
    for one in (predictor, replace(predictor), other, ids):
        into = Fingerprint()
        one.fingerprint(into)
        hashes.append(into.hexdigest())
    assert len(set(hashes)) == 3
    assert hashes[0] == hashes[1]


def refined(kind: str, scene, **changes):
    reducer = spectral.fit(scene)
    refinement = Refinement.fit(RefineOptions(kind, radius=3, steps=6), reducer, scene)
    return mapper_for(scene, 5, refinement=refinement, **changes)


@pytest.mark.parametrize("kind", ["guided", "graph"])
def test_tiles_are_equal_to_the_bit(kind):
    scene = holed(45, 52)
    mapper = refined(kind, scene, layers=Layers(probabilities=True))
    whole = classify(mapper.predictor, scene, probabilities=True, refinement=mapper.refinement)
    plain = classify(mapper.predictor, scene, probabilities=True)
    assert (whole.ids != plain.ids).any()  # it does something
    for size in (16, 24):
        for tile, result in tiles_here(mapper, scene, plan((45, 52), size, 8)):
            np.testing.assert_array_equal(result.ids, whole.ids[tile.inside])
            expected = whole.probabilities[:, *tile.inside]
            np.testing.assert_array_equal(result.probabilities, expected)


def test_a_map_is_the_refinement_of_the_plain_map():
    scene = holed(30, 33)
    mapper = refined("graph", scene)
    plain = classify(mapper.predictor, scene, probabilities=True)
    cube = spectral.fit(scene).reduce(scene)
    guide = mapper.refinement.standardiser.apply(cube, scene.valid)
    chances = np.nan_to_num(plain.probabilities)
    expected = refine(chances, guide, scene.valid, mapper.refinement.options)
    found = classify(mapper.predictor, scene, probabilities=True, refinement=mapper.refinement)
    np.testing.assert_allclose(
        found.probabilities[:, scene.valid], expected[:, scene.valid], atol=1e-5
    )


def test_some_pixels_alone_are_those_of_the_whole_map():
    scene = holed(40, 40)
    mapper = refined("guided", scene)
    whole = classify(mapper.predictor, scene, refinement=mapper.refinement)
    where = np.zeros((40, 40), bool)
    where[3:6, 20:22] = where[30, 30] = True
    where &= scene.valid
    steps = []
    part = classify(
        mapper.predictor, scene, where, refinement=mapper.refinement,
        watch=lambda *step: steps.append(step),
    )  # fmt: skip
    np.testing.assert_array_equal(part.ids, np.where(where, whole.ids, 0))
    assert steps[-1] == (where.sum(), where.sum())


def test_hidden_pixels_decide_nothing():
    """Scores of a spatial split are those of a scene whose training pixels are not valid."""
    scene = holed(40, 40)
    mapper = refined("guided", scene)
    hidden = np.zeros((40, 40), bool)
    hidden[18:22, 18:22] = True
    cube = scene.cube.copy(deep=True)
    cube.values[:, hidden] = 7.0
    ids = []
    for values in (scene.cube, cube):
        masked = replace(scene, cube=values, valid=scene.valid & ~hidden)
        ids.append(classify(mapper.predictor, masked, refinement=mapper.refinement).ids)
    np.testing.assert_array_equal(ids[0], ids[1])


def test_adaptive_maps_are_refined_too(tmp_path):
    scene = holed(100, 100)
    mapper = refined("guided", scene)
    exact = classify(mapper.predictor, scene, refinement=mapper.refinement)
    result = map_to_files(
        replace(mapper, adaptive=True), scene, Outputs(tmp_path / "m.tif"), CLASSES, COLOURS
    )
    import rasterio

    with rasterio.open(tmp_path / "m.tif") as file:
        found = file.read(1)
    assert result.pixels == scene.valid.sum()
    assert np.mean(found[scene.valid] == exact.ids[scene.valid]) > 0.98


def test_numbers_are_kept(tmp_path):
    scene = holed(30, 30)
    mapper = refined("graph", scene)
    refinement = mapper.refinement
    refinement.to_file(tmp_path / "r.safetensors")
    again = Refinement.from_file(tmp_path / "r.safetensors", refinement.options, refinement.reducer)
    np.testing.assert_array_equal(again.standardiser.mean, refinement.standardiser.mean)
    cube = spectral.fit(scene).reduce(scene)[:, scene.valid]
    np.testing.assert_allclose(refinement.standardiser.spread, cube.std(1), rtol=1e-4)
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="cannot be read"):
        Refinement.from_file(tmp_path / "bad.safetensors", refinement.options, refinement.reducer)
