"""The generated scenes: the planted truth is there, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import SVC

from hyperpeft.errors import ConfigError
from hyperpeft.scenes import open_scene
from hyperpeft.scenes.synthetic.demo import demo_scene, planted_scene


def accuracy(scene, bands=slice(None), per_class=10, seed=0):
    rng = np.random.default_rng(seed)
    x = scene.cube.values[bands].reshape(-1, scene.labels.ids.size).T.astype(float)
    x = (x - x.mean(0)) / x.std(0)
    y = scene.labels.ids.ravel()
    train = np.concatenate(
        [rng.choice(np.flatnonzero(y == i), per_class, replace=False) for i in scene.labels.classes]
    )
    test = np.setdiff1d(np.flatnonzero(y), train)
    return float((SVC(C=100).fit(x[train], y[train]).predict(x[test]) == y[test]).mean())


def test_demo_is_what_it_says():
    scene = open_scene("demo")
    assert scene.shape == (96, 96, 120)
    assert scene.name == "demo (generated)"
    assert "generated" in scene.notes[0]
    assert len(scene.labels.counts()) == 8
    assert min(scene.labels.counts().values()) >= 100
    nm = scene.wavelengths
    assert nm[0] == 400
    assert 2400 < nm[-1] <= 2450
    assert not (((nm > 1350) & (nm < 1450)) | ((nm > 1800) & (nm < 1950))).any()
    assert scene.transform[0] == 4.0
    assert "32633" in scene.crs
    assert demo_scene().sha256 == scene.sha256 != demo_scene(seed=1).sha256
    with pytest.raises(ConfigError, match="at least 48 x 48 x 12"):
        demo_scene(height=10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_demo_is_neither_trivial_nor_hopeless(seed):
    assert 0.75 < accuracy(demo_scene(seed)) < 0.92


def test_vegetation_has_a_red_edge_and_water_has_none():
    scene = demo_scene()
    red, infrared = (int(np.abs(scene.wavelengths - w).argmin()) for w in (670, 850))
    ratio = {
        name: scene.cube.values[infrared][scene.labels.ids == i].mean()
        / scene.cube.values[red][scene.labels.ids == i].mean()
        for i, name in scene.labels.classes.items()
    }
    assert min(ratio["Meadow"], ratio["Maize"], ratio["Trees"]) > 3
    assert max(ratio["Bare soil"], ratio["Asphalt"], ratio["Water"]) < 2.2


def test_planted_truth_is_in_one_band():
    scene = planted_scene(3, bands=20, informative_band=7, classes=3)
    others = [i for i in range(20) if i != 7]
    assert accuracy(scene, [7]) > 0.98
    assert accuracy(scene, others) < 0.45
    shuffled = planted_scene(3, bands=20, informative_band=7, classes=3, shuffled=True)
    assert accuracy(shuffled) < 0.45
    assert shuffled.labels.counts() == scene.labels.counts()
    assert (scene.labels.ids[:8, :8] == scene.labels.ids[0, 0]).all()
    assert scene.labels.ids[0, 8] != scene.labels.ids[0, 0]
    with pytest.raises(ConfigError, match="expected 0 to 39"):
        planted_scene(informative_band=40)
