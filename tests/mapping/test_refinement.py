"""Refined maps: the same whatever the tiles, from the pixels that decide them and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperpeft import spectral
from hyperpeft.errors import BundleError
from hyperpeft.mapping import Layers, Outputs, Refinement, classify, map_to_files, plan, tiles_here
from hyperpeft.spatial import RefineOptions, refine
from tests.helpers.tiles import CLASSES, COLOURS, holed, mapper_for


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
