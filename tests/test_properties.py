"""What holds for any cube, mask, window and configuration, on drawn examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from xarray import DataArray

from hyperpeft import spectral
from hyperpeft.errors import SceneError
from hyperpeft.mapping import plan, tiles_here
from hyperpeft.mapping.mapper import Layers
from hyperpeft.metrics import scores
from hyperpeft.models.windows import Windows
from hyperpeft.records import Scene
from hyperpeft.runs.config import RunConfig, make_config, resolve_defaults
from hyperpeft.runs.config_files import read_config
from hyperpeft.scenes import read_cube
from tests.helpers.small import IDS, in_memory, mapper_for

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
SIDES = st.integers(1, 21)


def cube_of(seed: int, shape: tuple[int, int, int], dtype: str) -> np.ndarray:
    """Values over a good part of the type's range, whole numbers in the whole types."""
    rng = np.random.default_rng(seed)
    highest = min(np.iinfo(dtype).max, 30_000) if dtype[0] in "iu" else 1.0
    mixed = rng.random((shape[0], 3)) @ rng.random((3, shape[1] * shape[2])) / 3
    noisy = 0.9 * mixed + 0.1 * rng.random(mixed.shape)
    return (noisy * highest).reshape(shape).astype(dtype)


@st.composite
def scenes(draw) -> Scene:
    """1 to 30 bands, 1 to 21 rows and columns, any type; up to all pixels but one are invalid."""
    shape = draw(st.integers(1, 30)), draw(SIDES), draw(SIDES)
    seed = draw(SEEDS)
    cube = cube_of(seed, shape, draw(DTYPES))
    valid = np.random.default_rng(seed).random(shape[1:]) < draw(st.sampled_from([0.1, 0.9, 1]))
    valid.ravel()[seed % valid.size] = True
    if cube.dtype.kind == "f":
        cube[:, ~valid] = draw(st.sampled_from([np.nan, np.inf, -9999.0]))
    return Scene("drawn", DataArray(cube, dims=("band", "y", "x")), valid)


@settings(max_examples=40)
@given(scenes(), st.sampled_from([1, 3, 9, 31]), st.sampled_from([8, 16, 512]))
def test_every_valid_pixel_gets_a_class_of_the_model_whatever_the_tile(scene, patch_size, size):
    try:
        mapper = mapper_for(scene, patch_size, layers=Layers(probabilities=True))
    except SceneError as error:  # one valid pixel, or all alike: nothing to fit
        assert "valid pixel" in str(error) or "differ" in str(error)  # noqa: PT017
        return
    whole = in_memory(mapper, scene)
    assert whole.ids.shape == scene.valid.shape
    assert np.isin(whole.ids[scene.valid], IDS).all()
    assert (whole.ids[~scene.valid] == 0).all()
    chances = whole.probabilities
    assert np.isnan(chances[:, ~scene.valid]).all()
    np.testing.assert_allclose(chances[:, scene.valid].sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(IDS[chances[:, scene.valid].argmax(0)], whole.ids[scene.valid])
    for tile, result in tiles_here(
        mapper, scene, plan(scene.valid.shape, size, mapper.predictor.cell)
    ):
        np.testing.assert_array_equal(result.ids, whole.ids[tile.inside])
        np.testing.assert_array_equal(result.probabilities, chances[:, *tile.inside])


@settings(max_examples=30)
@given(st.integers(2, 40), SEEDS, st.sampled_from(["zscore", "sqrt"]), st.data())
def test_the_order_of_bands_does_not_matter(bands, seed, normalise, data):
    """Components are distinct here: variances fall by 4 from one to the next."""
    order = np.array(data.draw(st.permutations(range(bands))))
    rng = np.random.default_rng(seed)
    k = min(bands, 6)
    axes = np.linalg.qr(rng.standard_normal((bands, bands)))[0][:, :k]
    latent = rng.standard_normal((k, 20 * 15)) * 0.5 ** np.arange(k)[:, None]
    cube = (5 + axes @ latent).reshape(bands, 20, 15)
    scene = Scene("drawn", DataArray(cube, dims=("band", "y", "x")), np.ones((20, 15), bool))
    turned = replace(scene, cube=scene.cube.isel(band=order))
    first, second = (
        spectral.fit(s, normalise=normalise).reduce(s).astype(np.float64) for s in (scene, turned)
    )
    same = np.sign((first * second).sum(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(first, same * second, atol=2e-4)


def mirror(index: int, size: int) -> int:
    """Walk from 0 and turn back at both ends, one pixel at a time."""
    at, step = 0, 1
    for _ in range(abs(index)):
        if size > 1 and not 0 <= at + step < size:
            step = -step
        at += step if size > 1 else 0
    return at


@settings(max_examples=60)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 20), SEEDS)
def test_windows_are_those_of_a_walk(height, width, half, seed):
    rng = np.random.default_rng(seed)
    cube = rng.standard_normal((2, height, width), dtype=np.float32)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    around = range(-half, half + 1)
    rows = [mirror(row + d, height) for d in around]
    columns = [mirror(column + d, width) for d in around]
    window = Windows(cube, 2 * half + 1).at(torch.tensor([[row, column]]))
    np.testing.assert_array_equal(window[0], cube[:, rows][:, :, columns])


@settings(max_examples=30)
@given(st.tuples(SIDES, SIDES, st.integers(1, 30)), DTYPES, SEEDS)
def test_a_cube_in_a_file_is_the_cube(tmp_path_factory, shape, dtype, seed):
    cube = cube_of(seed, shape, dtype)
    bad = np.random.default_rng(seed).random(shape[:2]) < 0.2
    bad.ravel()[0] = False
    if cube.dtype.kind == "f":
        cube[bad, shape[2] // 2] = np.nan
    path = tmp_path_factory.getbasetemp() / "drawn.npy"
    np.save(path, cube)
    scene = read_cube(path)
    np.testing.assert_array_equal(scene.cube.values, cube.transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.valid, ~bad if cube.dtype.kind == "f" else True)


@settings(max_examples=60)
@given(st.integers(2, 9), SEEDS, st.sampled_from([0.0, 0.3, 0.8]))
def test_scores_of_any_confusion_are_scikit_learns(k, seed, empty):
    """Classes that are never true, never predicted, or neither, are among them."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 1000, (k, k))
    confusion[rng.random(k) < empty] = 0
    confusion[:, rng.random(k) < empty] = 0
    confusion[0, 0] += 1
    ids = np.sort(rng.choice(1000, k, replace=False)) + 1
    true, predicted = (np.repeat(ids, k), np.tile(ids, k))
    how = {"sample_weight": confusion.ravel()}
    found = scores(confusion, ids)
    assert found["oa"] == pytest.approx(100 * reference.accuracy_score(true, predicted, **how))
    present = ids[confusion.sum(1) > 0]
    recall = reference.recall_score(
        true, predicted, labels=present, average=None, zero_division=0, **how
    )
    assert found["aa"] == pytest.approx(100 * recall.mean())
    involved = ids[(confusion.sum(1) > 0) | (confusion.sum(0) > 0)]
    if len(involved) == 1:
        assert found["kappa"] is None
    else:
        kappa = reference.cohen_kappa_score(true, predicted, **how)
        assert found["kappa"] == pytest.approx(100 * kappa, abs=1e-9)


OPTIONS = st.fixed_dictionaries(
    {"scene": st.text("abcü:/ ,#'\"{}[]&*!|>%@`\n\t0123~-", min_size=1, max_size=12)},
    optional={
        "labels": st.text("ab/.: #", min_size=1, max_size=8),
        "method": st.sampled_from(["krona+", "lora", "probe", "full", "svm"]),
        "per_class": st.integers(1, 10**6),
        "validation": st.floats(0, 0.9, exclude_max=True),
        "patch_size": st.one_of(st.just("auto"), st.integers(0, 31).map(lambda n: 2 * n + 1)),
        "epochs": st.integers(1, 10**4),
        "batch_size": st.integers(1, 10**4),
        "lr": st.floats(1e-12, 1e3),
        "lam": st.floats(1, 1e6),
        "targets": st.lists(st.sampled_from(["q", "k", "v", "proj"]), min_size=1, unique=True),
        "blocks": st.sampled_from(["all", "last 4"]),
        "options": st.dictionaries(
            st.text("abc_", min_size=1, max_size=5),
            st.one_of(st.integers(-5, 5), st.floats(-1, 1), st.booleans(), st.lists(st.integers())),
            max_size=3,
        ),
        "map": st.booleans(),
        "seed": st.integers(0, 2**31 - 1),
    },
)


@settings(max_examples=60)
@given(OPTIONS)
def test_a_configuration_survives_yaml(tmp_path_factory, values):
    config = make_config(values)
    path = tmp_path_factory.getbasetemp() / "drawn.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    again = make_config(read_config(path))
    assert again == config
    assert isinstance(again, RunConfig)
    if config.method != "svm":  # whose options are checked when they are completed
        assert resolve_defaults(again) == resolve_defaults(config)
