"""Splits that cannot be drawn, and split files that are none."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.corpus.arrays import bomb
from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import geotiff

case = heading("splits")


def given(w: World, **parts: Any):
    """`train` with a split file of these parts."""
    rows = np.argwhere(np.ones((24, 24), bool))
    values = {"train": rows[:40], "test": rows[40:], **parts}
    np.savez(w / "split.npz", **{k: v for k, v in values.items() if v is not None})
    return w.train(split=w / "split.npz")


@case("there is no such file", "there is no split file", "split.npz")
def _(w: World):
    return w.train(split=w / "split.npz")


@case("an empty file", "split.npz is not a split file")
def _(w: World):
    return w.train(split=w.file("split.npz", ""))


@case("some other file", "is not a split file", "expected .npz")
def _(w: World):
    return w.train(split=w.home / "scene.tif")


@case("a file cut short", "split.npz is not a split file")
def _(w: World):
    given(w)
    return w.train(split=w.cut(w / "split.npz"))


@case("no training part", "expected train and test", "got ['test']")
def _(w: World):
    return given(w, train=None)


@case("a training part without pixels", "has no training pixel")
def _(w: World):
    return given(w, train=np.empty((0, 2), int))


@case("pixels outside the scene", "expected pixels within (24, 24)", "got [24, 0]")
def _(w: World):
    return given(w, test=np.array([[24, 0]]))


@case("negative pixels", "expected pixels within (24, 24)", "got [-1, 0]")
def _(w: World):
    return given(w, test=np.array([[-1, 0]]))


@case("pixels as fractions", "expected integers (n, 2)", "float64")
def _(w: World):
    return given(w, train=np.array([[0.5, 1.0]]))


@case("pixels as one long list", "expected integers (n, 2)", "(4,)")
def _(w: World):
    return given(w, train=np.arange(4))


@case("pixels in both parts", "repeat or are in two parts")
def _(w: World):
    return given(w, test=np.array([[0, 0]]))


@case("classes of another number of pixels", "train_ids of split file")
def _(w: World):
    return given(w, train_ids=np.ones(3, int))


@case("a mask instead of positions", "expected integers (n, 2)", "bool")
def _(w: World):
    return given(w, train=np.ones((24, 24), bool))


@case("pickled objects", "split.npz is not a split file")
def _(w: World):
    return given(w, train=np.array([{}], object))


@case("an archive that is a bomb", "split.npz", "unpacks to")
def _(w: World):
    return w.train(split=bomb(w / "split.npz", "train{}.npy"))


@case("a scene without official rasters", "no official training and test rasters", "--per-class")
def _(w: World):
    return w.train(split="official")


@case("masks of another size", "another grid", "(12, 24)")
def _(w: World):
    mask = geotiff(w / "train.tif", np.ones((12, 24), "uint8"))
    return w.train(split=f"{mask},{w.home / 'scene_labels.tif'}", labels=None)


@case("one mask and nothing", "no file")
def _(w: World):
    return w.train(split=f"{w.home / 'scene_labels.tif'},{w / 'test.tif'}", labels=None)


@case("the same mask twice", "the test raster leaves no pixel to test")
def _(w: World):
    labels = w.home / "scene_labels.tif"
    return w.train(split=f"{labels},{labels}", labels=None)


@case("two ways at once", "per_class and fraction exclude each other")
def _(w: World):
    return [*w.train(per_class=3), "--fraction", "0.1"]


@case("no pixel of a class", "option per_class", "greater than or equal to 1")
def _(w: World):
    return w.train(per_class=0)


@case("all pixels", "option fraction", "less than 1")
def _(w: World):
    return w.train(fraction=1)


@case("percent instead of a share", "option fraction", "less than 1")
def _(w: World):
    return w.train(fraction=10)


@case("a share of no pixel", "fraction")
def _(w: World):
    return w.train(fraction=1e-9, labels=three(w))


def three(w: World):
    """Two classes of a pixel each."""
    ids = np.zeros((24, 24), "uint8")
    ids[0, 0], ids[9, 9] = 1, 2
    return geotiff(w / "labels.tif", ids, crs=None)


@case("validation with every pixel", "option validation", "less than 1")
def _(w: World):
    return w.train(validation=1)


@case("a window that leaves no space between parts", "disjoint")
def _(w: World):
    return w.train(split="disjoint", patch_size=63)


@case("a split window smaller than the window", "split_window")
def _(w: World):
    return w.train(split="disjoint", split_window=1)
