"""map, scenes, demo and hub with invalid arguments."""

from __future__ import annotations

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import cube, geotiff

case, scenes, empty = heading("map"), heading("scenes"), heading("empty arguments")


def mapping(name: str, *says: str, words: tuple[object, ...] = (), out: str = "map.tif"):
    """A case of `map` of the good run."""
    case(name, *says)(lambda w: ["map", w.home / "run", "--out", w / out, *words])


mapping("an output that is no GeoTIFF", "expected a name that ends in .tif", out="map.png")
mapping("tiles of nothing", "tile: expected 1 to 16384 pixels, got 0", words=("--tile", 0))
mapping("tiles of a million pixels", "tile: expected 1 to 16384", words=("--tile", 10**6))
mapping("a scene that is not there", "there is no scene 'nowhere.tif'", words=("nowhere.tif",))
mapping("a scheduler's address that is none", "scheduler", words=("--scheduler", "host"))


@case("a scene of other bands", "bands", "20", "6")
def _(w: World):
    return ["map", w.home / "run", geotiff(w / "b.tif", cube()), "--out", w / "map.tif"]


@case("no run", "is not a run folder")
def _(w: World):
    return ["map", w.folder, "--out", w / "map.tif"]


@case("the output is a folder", "map.tif", "folder")
def _(w: World):
    (w / "map.tif").mkdir()
    return ["map", w.home / "run", "--out", w / "map.tif"]


@case("a folder of someone else in the place of the tiles", "is not a work folder of hyperpeft")
def _(w: World):
    (w / "map.tif.work").mkdir()
    w.file("map.tif.work/thesis.tex", "chapter 1")
    return ["map", w.home / "run", "--out", w / "map.tif"]


@case("the output lies below a file", "cannot be written")
def _(w: World):
    return ["map", w.home / "run", "--out", w.file("notes", "mine") / "map.tif"]


@case("another process maps to the same file", "is in use by process")
def _(w: World):
    from hyperpeft.system.locks import locked

    (w / "map.tif.work").mkdir()
    held = locked(w / "map.tif.work/lock")
    held.__enter__()
    w.patch.setattr("hyperpeft.cli.runs.map_.held", held, raising=False)  # until the case ends
    return ["map", w.home / "run", "--out", w / "map.tif"]


@scenes("a card that is not there", "salinas-b")
def _(w: World):
    return ["scenes", "info", "salinas-b"]


@scenes("to fetch: a card that is not there", "salinas-b")
def _(w: World):
    return ["scenes", "fetch", "salinas-b"]


@scenes("to fetch: no network", "could not be fetched", "no connection", "put ")
def _(w: World):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        w.patch.setenv(name, "http://127.0.0.1:9")
    w.patch.delenv("NO_PROXY", raising=False)
    w.patch.delenv("no_proxy", raising=False)
    return ["scenes", "fetch", "salinas-a"]


@scenes("the demo onto files of someone else", "exists and is not a run folder")
def _(w: World):
    (w / "out").mkdir()
    w.file("out/thesis.tex", "chapter 1")
    return ["demo", "--out", w / "out"]


for words in ("train", "map", "evaluate", "report", "bench", "adapters list"):
    last = words.split()[-1]
    empty(words, f"the argument after '{last}' is empty")(
        lambda w, words=words: [*words.split(), ""]
    )


@empty("an option behind which nothing is", "the argument after '--labels' is empty")
def _(w: World):
    return w.train(labels="")


@empty("an option that equals nothing", "--labels is empty: expected a path or another value")
def _(w: World):
    return [*w.train(labels=None), "--labels="]


share = heading("maps and sharing")


def mapped(w: World, *words: object):
    return ["map", w.home / "run", "--out", w / "map.tif", *words]


@share("polygons that are no GeoPackage", "--polygons", "a name that ends in .gpkg")
def _(w: World):
    return mapped(w, "--polygons", w / "map.shp")


@share("polygons over the run", "would replace")
def _(w: World):
    link = w / "map.gpkg"
    link.symlink_to(w.home / "run" / "head.safetensors")
    return mapped(w, "--polygons", link)


@share("polygons of less than a pixel", "--smallest-polygon")
def _(w: World):
    return mapped(w, "--polygons", w / "map.gpkg", "--smallest-polygon", 0)


@share("a scale of 0", "scale", "a number above 0")
def _(w: World):
    return mapped(w, "--scale", 0)


@share("a scene of another scale", "values of another scale", "give --scale")
def _(w: World):
    values = cube(24, 24, 20, "float32") + 5000
    return ["map", w.home / "run", geotiff(w / "b.tif", values), "--out", w / "map.tif"]


@share("applicability of a run without its split", "split.npz", "where it was trained is not known")
def _(w: World):
    run = w.copy("run")
    (run / "split.npz").unlink()
    return ["map", run, "--out", w / "map.tif", "--applicability"]


@share("to push: no run", "is not a run folder")
def _(w: World):
    return ["hub", "push", w / "nothing", "me/planted"]


@share("to push: a run without its head", "cannot be shared", "expected head.safetensors")
def _(w: World):
    (w.copy("run") / "head.safetensors").unlink()
    return ["hub", "push", w / "run", "me/planted"]


@share("to push: a name that is none", "NAME/REPOSITORY")
def _(w: World):
    return ["hub", "push", w.home / "run", "a b/c d/e"]


@share("to pull: a folder that holds something", "exists", "--to")
def _(w: World):
    w.file("note.txt", "mine")
    return ["hub", "pull", "me/planted", "--to", w.folder]
