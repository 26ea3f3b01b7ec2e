"""Samples and assessments that cannot be made."""

from __future__ import annotations

import numpy as np
import pyogrio.raw
import shapely

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.known_maps import CRS, TRANSFORM, truth_and_map, write_map

case = heading("samples and assessments")


def class_map(w: World):
    """A good map of 30 x 40 pixels."""
    return write_map(w / "map.tif", truth_and_map(shape=(30, 40))[1])


def points(w: World, values: list[object], field: str = "reference", name: str = "p.gpkg"):
    """Points in the map with these texts."""
    x = TRANSFORM.c + 30 * (np.arange(len(values)) + 8.5)
    y = np.full(len(values), TRANSFORM.f - 200.0)
    pyogrio.raw.write(
        w / name, shapely.to_wkb(shapely.points(x, y)), [np.array(values, dtype=object)], [field],
        geometry_type="Point", crs=CRS, layer="points",
    )  # fmt: skip
    return w / name


def sample(w: World, *words: object):
    return ["sample", class_map(w), "--out", w / "new.gpkg", *words]


@case("no map", "map", "there is no such file")
def _(w: World):
    return ["sample", w / "none.tif", "--size", 50]


@case("a cube for a map", "is no class map", "one band of whole numbers")
def _(w: World):
    return ["sample", w.home / "scene.tif", "--size", 50]


@case("text for a map", "cannot be opened as a raster")
def _(w: World):
    return ["sample", w.file("map.tif", "no raster"), "--size", 50]


@case("a map cut short", "map.tif cannot be")
def _(w: World):
    return ["sample", w.cut(class_map(w), 0.3), "--size", 50]


@case("a map without a class", "holds no class")
def _(w: World):
    return ["sample", write_map(w / "map.tif", np.zeros((5, 5), np.uint8)), "--size", 5]


@case("neither size nor standard error", "either --size or --standard-error")
def _(w: World):
    return sample(w)


@case("more points than pixels", "the size of the sample", "at most 1050 pixels")
def _(w: World):
    return sample(w, "--size", 100_000)


@case("fewer points than the minimum needs", "at least 40 pixels need", "--minimum")
def _(w: World):
    return sample(w, "--size", 50, "--minimum", 40)


@case("points that are no GeoPackage", "a name that ends in .gpkg")
def _(w: World):
    return [*sample(w, "--size", 50), "--out", w / "new.shp"]


@case("points over the map", "would replace the map")
def _(w: World):
    link = w / "map.gpkg"
    link.symlink_to(class_map(w))
    return ["sample", w / "map.tif", "--size", 50, "--out", link]


@case("an accuracy for a class that is none", "user's accuracies", "unknown sea")
def _(w: World):
    return sample(w, "--size", 50, *("--users-accuracy", "sea=0.9"), *("--users-accuracy",
                  "water=0.9"), *("--users-accuracy", "forest=0.9"), *("--users-accuracy",
                  "bare soil=0.8"))  # fmt: skip


@case("text for an accuracy", "--users-accuracy", "a number, or CLASS=NUMBER")
def _(w: World):
    return sample(w, "--size", 50, "--users-accuracy", "high")


@case("a standard error without accuracies", "--standard-error", "--users-accuracy")
def _(w: World):
    return sample(w, "--standard-error", 0.01)


@case("strata of another grid", "strata", "the grid of the map")
def _(w: World):
    strata = write_map(w / "strata.tif", np.ones((10, 10), np.uint8))
    return sample(w, "--size", 50, "--strata", strata)


def assess(w: World, reference: object, *words: object):
    return ["assess", class_map(w), "--reference", reference, *words]


@case("no reference", "reference", "there is no such file")
def _(w: World):
    return assess(w, w / "none.gpkg")


@case("a raster for a reference", "cannot be read as vectors")
def _(w: World):
    return assess(w, w.home / "scene_labels.tif")


@case("a reference without the field", "has no field 'reference'", "seen", "--class-field")
def _(w: World):
    return assess(w, points(w, ["water", "forest"], field="seen"))


@case("a sample that nobody has filled in", "classes in the field reference", "fill in the field")
def _(w: World):
    return assess(w, points(w, [None, "", "NA"]))


@case("reference classes of another map", "no class of the field reference is one of the map")
def _(w: World):
    return assess(w, points(w, ["Wald", "Wasser"]))


@case("polygons for points", "reference", "expected points")
def _(w: World):
    x, y = TRANSFORM.c + 300, TRANSFORM.f - 300
    pyogrio.raw.write(
        w / "p.gpkg", shapely.to_wkb([shapely.box(x, y, x + 60, y + 60)]),
        [np.array(["water"], dtype=object)], ["reference"], geometry_type="Polygon", crs=CRS,
    )  # fmt: skip
    return assess(w, w / "p.gpkg")


@case("points beside the map", "classes in the field reference", "none to use")
def _(w: World):
    path = points(w, ["water", "water"])
    far = shapely.to_wkb(shapely.points([[0.0, 0.0], [1.0, 1.0]]))
    pyogrio.raw.write(
        path, far, [np.array(["water", "water"], dtype=object)], ["reference"], layer="points",
        geometry_type="Point", crs=CRS, append=False,
    )  # fmt: skip
    return assess(w, path)


@case("an interval of no rule", "interval", "wilson, normal", "exact")
def _(w: World):
    return assess(w, points(w, ["water", "forest"]), "--interval", "exact")


@case("a page over the map", "would replace the map")
def _(w: World):
    return assess(w, points(w, ["water", "forest"]), "--html", w / "map.tif")


def suggest(w: World, *words: object):
    return ["suggest", w.home / "run", "--out", w / "new.gpkg", *words]


@case("suggestions by an unknown measure", "measure", "margin, random", "variance")
def _(w: World):
    return suggest(w, "--measure", "variance")


@case("suggestions of an unknown diversity", "diversity", "core-set", "spread")
def _(w: World):
    return suggest(w, "--diversity", "spread")


@case("suggestions in another format", "--out", "ends in .gpkg", ".shp")
def _(w: World):
    return ["suggest", w.home / "run", "--out", w / "new.shp"]


@case("suggestions over the labels", "would replace")
def _(w: World):
    labels = points(w, ["class 1", "class 2"], "class", "labels.gpkg")
    return ["suggest", w.home / "run", "--labels", labels, "--out", labels]


@case("an explorer of a run without one", "nowhere is not a run folder")
def _(w: World):
    return ["explore", w.home / "scene.tif", "--run", "nowhere", "--no-browser"]
