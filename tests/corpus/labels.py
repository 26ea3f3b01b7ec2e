"""Label rasters and label arrays that do not fit or are no labels."""

from __future__ import annotations

import numpy as np
from rasterio.transform import from_origin

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import geotiff, mat5

case = heading("label rasters")
PLACE = from_origin(364_000, 5_810_000, 30, 30)  # of `small.write_scene`


def ids(height: int = 24, width: int = 24, dtype: str = "uint8") -> np.ndarray:
    """Two classes in stripes."""
    found = np.ones((height, width), dtype)
    found[:, ::2] = 2
    return found


def raster(w: World, array: np.ndarray, **how):
    return w.labelled(geotiff(w / "labels.tif", array, **{"transform": PLACE, **how}))


@case("no labels at all", "has no labels", "--labels FILE[:KEY]")
def _(w: World):
    return w.labelled(None)


@case("there is no such file", "there is no file", "labels.tif")
def _(w: World):
    return w.labelled(w / "labels.tif")


@case("an empty file", "labels.tif is empty (0 bytes)")
def _(w: World):
    return w.labelled(w.file("labels.tif", ""))


@case("a web page", "is a web page, not data")
def _(w: World):
    return w.labelled(w.file("labels.tif", "<!doctype html><body>Please log in"))


@case("cut short", "labels.tif")
def _(w: World):
    return w.labelled(w.cut(geotiff(w / "labels.tif", ids(), transform=PLACE)))


@case("another size", "another grid", "(24, 24)", "(12, 24)", "--resample-labels")
def _(w: World):
    return raster(w, ids(12))


@case("another CRS", "another CRS", "EPSG:32633", "EPSG:32634", "--resample-labels")
def _(w: World):
    return raster(w, ids(), crs="EPSG:32634")


@case("moved by half a pixel", "another transform", "--resample-labels")
def _(w: World):
    return raster(w, ids(), transform=from_origin(364_015, 5_810_000, 30, 30))


@case("another size without a georeference", "do not fit scene", "(24, 24)")
def _(w: World):
    return raster(w, ids(12), crs=None)


@case("another size without a georeference, to be resampled", "both need a georeference")
def _(w: World):
    path = geotiff(w / "labels.tif", ids(12), crs=None)
    return [*w.labelled(path), "--resample-labels"]


@case("resampled from another place", "hold no class", "0 (unlabelled) everywhere")
def _(w: World):
    path = geotiff(w / "labels.tif", ids(), transform=from_origin(464_000, 5_810_000, 30, 30))
    return [*w.labelled(path), "--resample-labels"]


@case("negative ids", "negative ids", "got -1")
def _(w: World):
    array = ids(dtype="int16")
    array[0] = -1
    return raster(w, array)


@case("fractions", "expected whole numbers", "got 1.5")
def _(w: World):
    return raster(w, ids(dtype="float32") + np.float32(0.5) * (ids() == 1))


@case("NaN for unlabelled pixels", "expected whole numbers", "got nan")
def _(w: World):
    array = ids(dtype="float32")
    array[0] = np.nan
    return raster(w, array)


@case("complex numbers", "labels.tif")
def _(w: World):
    return raster(w, ids().astype("complex64"))


@case("ids beyond 65535", "ids up to 65535", "got 70000")
def _(w: World):
    return raster(w, ids(dtype="int32") * 35000)


@case("no class", "hold no class", "0 (unlabelled) everywhere")
def _(w: World):
    return raster(w, ids() * 0)


@case("one class", "classes to tell apart", "at least 2", "got 1")
def _(w: World):
    return raster(w, ids() * 0 + 1)


@case("a picture in colours without a legend", "labels.legend.csv", "#010101")
def _(w: World):
    return raster(w, np.dstack([ids()] * 3))


@case("labels only where the scene is not valid", "lab")
def _(w: World):
    from tests.helpers.small import planted, write_scene

    invalid = np.zeros((24, 24), bool)
    invalid[:12] = True
    cube, _ = write_scene(w.folder, planted(), invalid)
    array = ids()
    array[12:] = 0
    return w.train(cube, labels=geotiff(w / "labels.tif", array, transform=PLACE, nodata=0))


@case("a pixel in each class", "class", "1")
def _(w: World):
    array = ids() * 0
    array[0, 0], array[20, 20] = 1, 2
    return raster(w, array)


@case("more classes than can train", "pixel")
def _(w: World):
    return raster(w, np.arange(1, 577, dtype="uint16").reshape(24, 24))


@case("two maps in one file", "labels.mat:a", "labels.mat:b")
def _(w: World):
    return w.labelled(mat5(w / "labels.mat", a=ids(), b=ids()))


@case("a variable that is not there", "labels.mat has no variable 'gt'")
def _(w: World):
    return w.labelled(f"{mat5(w / 'labels.mat', a=ids())}:gt")


@case("an array of another size", "do not fit scene scene", "(24, 24)", "(5, 5)")
def _(w: World):
    return w.labelled(mat5(w / "labels.mat", a=ids(5, 5)))


@case("a cube instead of a map", "labels.mat")
def _(w: World):
    return w.labelled(mat5(w / "labels.mat", a=np.ones((24, 24, 20))))


@case("pickled objects", "holds Python objects", "can run code")
def _(w: World):
    np.save(w / "labels.npy", np.array([[{}, {}]], object), allow_pickle=True)
    return w.labelled(w / "labels.npy")


@case("a class field, though it is a raster", "no field 'class'", "--class-field")
def _(w: World):
    return w.labelled(w.home / "scene_labels.tif", class_field="class")


@case("a class field without labels", "give the labels too")
def _(w: World):
    return w.labelled(None, class_field="class")


@case("regions of interest of a terabyte", "labels.txt", "at most 268,435,456 pixels")
def _(w: World):
    text = "; ENVI Output of ROIs (4.8)\n; File Dimension: 4000000 x 4000000\n"
    text += "; ROI name: a\n; ROI npts: 1\n 1 1 1\n"
    return w.labelled(w.file("labels.txt", text))


@case("regions of interest with points outside", "labels.txt has points outside")
def _(w: World):
    text = "; ENVI Output of ROIs (4.8)\n; File Dimension: 24 x 24\n"
    text += "; ROI name: a\n; ROI npts: 1\n 1 99 1\n"
    return w.labelled(w.file("labels.txt", text))


@case("a picture in JPEG", "labels.jpg", "labels.legend.csv")
def _(w: World):
    from PIL import Image

    Image.fromarray(np.dstack([ids()] * 3)).save(w / "labels.jpg")
    return w.labelled(w / "labels.jpg")


def pictured(w: World, legend: str):
    w.file("labels.legend.csv", legend)
    return raster(w, np.dstack([ids()] * 3))


@case("a legend without all colours", "not in labels.legend.csv", "#020202")
def _(w: World):
    return pictured(w, "colour,class\n#010101,roof\n")


@case("a legend of colours in words", "labels.legend.csv", "#ff0000", "'red'")
def _(w: World):
    return pictured(w, "colour,class\nred,roof\nblue,water\n")


@case("a legend without classes", "labels.legend.csv", "columns colour,class", "got colour, x")
def _(w: World):
    return pictured(w, "colour,x\n#010101,roof\n")
