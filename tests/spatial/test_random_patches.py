"""Random patches: the paper's steps by other means, and the same maps for a part of the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, signal

from hyperpeft import spectral
from hyperpeft.mapping import PixelFeatures, RandomPatchFeatures, features_at
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.mapping.tiles import Tile, plan
from hyperpeft.spatial import RandomPatches
from tests.helpers.tiles import holed


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(1)
    cube = ndimage.gaussian_filter(rng.normal(size=(4, 60, 52)), (0, 1, 1)).astype(np.float32)
    valid = rng.random((60, 52)) > 0.03
    cube = np.where(valid, 5 * cube, 0).astype(np.float32)
    return cube, valid, RandomPatches.fit(cube, valid, 3, layers=3, patches=6, size=5)


def test_kernels_are_patches_of_each_layers_input(scene):
    cube, _, network = scene
    padded = np.pad(cube[:3], ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 5, 5))[0].reshape(-1, 3, 5, 5)
    for kernel in network.kernels[0]:
        assert (np.abs(windows - kernel).max(axis=(1, 2, 3)) == 0).any()


def test_maps_are_correlations_of_whitened_maps(scene):
    cube, valid, network = scene
    image, expected = cube[:3].astype(float), []
    for layer in range(3):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="symmetric")
        maps = np.stack([signal.correlate(padded, k, "valid")[0] for k in network.kernels[layer]])
        expected.append(maps)
        values = maps[:, valid]
        left, singular, right = np.linalg.svd(
            values - values.mean(axis=1, keepdims=True), full_matrices=False
        )
        image = np.zeros((3, 60, 52))
        image[:, valid] = right[:3] * np.sqrt(valid.sum())  # principal components of variance 1
        if layer < 2:
            signs = np.sign((left[:, :3] * (network.axes[layer].T * singular[:3])).sum(axis=0))
            image *= signs[:, None, None]
    values = np.concatenate(expected)[:, valid]
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    found = network.maps(cube, valid)
    np.testing.assert_allclose(found[:, valid], values, rtol=0, atol=2e-3)
    assert not found[:, ~valid].any()


def test_a_part_of_the_scene_has_its_maps(scene):
    cube, valid, network = scene
    whole, far = network.maps(cube, valid), network.reach
    assert far == 6
    inner = network.maps(cube[:, 10:50, 8:40], valid[10:50, 8:40], ((False,) * 2,) * 2)
    np.testing.assert_allclose(inner, whole[:, 16:44, 14:34], rtol=0, atol=1e-5)
    corner = network.maps(cube[:, :40, 8:], valid[:40, 8:], ((True, False), (False, True)))
    np.testing.assert_allclose(corner, whole[:, :34, 14:], rtol=0, atol=1e-5)


def test_a_pixel_beyond_the_reach_changes_nothing(scene):
    cube, valid, network = scene
    before = network.maps(cube, valid)[:, 30, 25]
    for distance, same in ((7, True), (6, False)):
        other = cube.copy()
        other[:, 30 - distance, 25 - distance] += 50
        after = network.maps(other, valid)[:, 30, 25]
        assert np.allclose(after, before, rtol=0, atol=1e-4) == same, distance


@pytest.fixture(scope="module")
def features():
    made = holed(300, 170)
    reducer = spectral.fit(made)
    network = RandomPatches.fit(reducer.reduce(made), made.valid, 0, layers=2, patches=5, size=9)
    return made, RandomPatchFeatures(reducer, network)


def prepared(features: PixelFeatures, scene, tile: Tile) -> np.ndarray:
    return features.prepare(SceneWindow.read(scene, tile, features.reach, scene.valid))


def test_tiles_of_whole_cells_have_the_values_of_the_scene(features):
    """To the bit; they are those of the network on the whole scene, to rounding."""
    scene, seen = features
    whole = prepared(seen, scene, Tile(0, 0, 300, 170))
    for size in (seen.cell, 2 * seen.cell):
        for tile in plan((300, 170), size, seen.cell):
            np.testing.assert_array_equal(prepared(seen, scene, tile), whole[:, *tile.inside])
    cube = seen.reducer.reduce(scene)
    np.testing.assert_array_equal(whole[:12], cube)
    np.testing.assert_allclose(whole[12:], seen.network.maps(cube, scene.valid), atol=1e-4)
    positions = np.argwhere(scene.valid)[::997]
    np.testing.assert_array_equal(features_at(scene, seen, positions), whole[:, *positions.T].T)


def test_a_file_keeps_every_number(features, tmp_path):
    scene, seen = features
    seen.to_file(tmp_path / "f.safetensors")
    again = PixelFeatures.from_file(tmp_path / "f.safetensors")
    tile = Tile(128, 128, 256, 170)
    np.testing.assert_array_equal(prepared(again, scene, tile), prepared(seen, scene, tile))
    smaller = replace(seen, network=replace(seen.network, spread=seen.network.spread * 0))
    smaller.to_file(tmp_path / "g.safetensors")
    with pytest.raises(Exception, match="cannot be applied"):
        PixelFeatures.from_file(tmp_path / "g.safetensors")
