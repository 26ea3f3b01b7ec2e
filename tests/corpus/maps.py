"""Maps of another scene and what is written beside a map; runs that cannot be shared."""

from __future__ import annotations

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import cube, geotiff

case = heading("maps and sharing")


def mapped(w: World, *words: object):
    return ["map", w.home / "run", "--out", w / "map.tif", *words]


@case("polygons that are no GeoPackage", "--polygons", "a name that ends in .gpkg")
def _(w: World):
    return mapped(w, "--polygons", w / "map.shp")


@case("polygons over the run", "would replace")
def _(w: World):
    link = w / "map.gpkg"
    link.symlink_to(w.home / "run" / "head.safetensors")
    return mapped(w, "--polygons", link)


@case("polygons of less than a pixel", "--smallest-polygon")
def _(w: World):
    return mapped(w, "--polygons", w / "map.gpkg", "--smallest-polygon", 0)


@case("a scale of 0", "scale", "a number above 0")
def _(w: World):
    return mapped(w, "--scale", 0)


@case("a scene of another scale", "values of another scale", "give --scale")
def _(w: World):
    values = cube(24, 24, 20, "float32") + 5000
    return ["map", w.home / "run", geotiff(w / "b.tif", values), "--out", w / "map.tif"]


@case("applicability of a run without its split", "split.npz", "where it was trained is not known")
def _(w: World):
    run = w.copy("run")
    (run / "split.npz").unlink()
    return ["map", run, "--out", w / "map.tif", "--applicability"]


@case("to push: no run", "is not a run folder")
def _(w: World):
    return ["hub", "push", w / "nothing", "me/planted"]


@case("to push: a run without its head", "cannot be shared", "no head.safetensors")
def _(w: World):
    (w.copy("run") / "head.safetensors").unlink()
    return ["hub", "push", w / "run", "me/planted"]


@case("to push: a name that is none", "NAME/REPOSITORY")
def _(w: World):
    return ["hub", "push", w.home / "run", "a b/c d/e"]


@case("to pull: a folder that holds something", "exists", "--to")
def _(w: World):
    w.file("note.txt", "mine")
    return ["hub", "pull", "me/planted", "--to", w.folder]
