"""Places that cannot be written to, memory that does not suffice, samples that cannot be made."""

from __future__ import annotations

import errno
import json

import numpy as np
import pyogrio.raw
import shapely

from tests.corpus.cases import World, cube, heading
from tests.corpus.options import grid
from tests.helpers.scene_files import mat5
from tests.helpers.small import CRS, TRANSFORM, truth_and_map, write_map

output_case = heading("outputs")


@output_case("a run below a file", "cannot be written", "choose a folder you can write to")
def _(w: World):
    return w.train(out=w.file("notes", "mine") / "run")


@output_case("a run in the place of a file", "exists and is not a run folder")
def _(w: World):
    return w.train(out=w.file("out", "mine"))


@output_case("a run in a folder of someone else", "exists and is not a run folder")
def _(w: World):
    (w / "out").mkdir()
    w.file("out/thesis.tex", "chapter 1")
    return w.train(out=w / "out")


@output_case("a run onto another run", "holds another run", "add --overwrite")
def _(w: World):
    return w.train(out=w.copy("run"), seed=5)


@output_case("a run onto a damaged record", "run.json cannot be read")
def _(w: World):
    w.cut(w.copy("run") / "run.json")
    return w.train(out=w / "run")


@output_case("mistaken options with --overwrite leave the earlier run", "targets", "zz")
def _(w: World):
    return [*w.train(out=w.copy("run"), targets="zz"), "--overwrite"]


@output_case("a checkpoint of another run", "belongs to another configuration", "--overwrite")
def _(w: World):
    import torch

    (w / "out/checkpoint").mkdir(parents=True)
    content = {"identity": "0", "state": {}, "weights": {}, "optimizer": None, "schedule": {}}
    torch.save(content, w / "out/checkpoint/state.pt")
    return w.train()


@output_case("a checkpoint cut short", "is not a checkpoint", "remove it to start again")
def _(w: World):
    (w / "out/checkpoint").mkdir(parents=True)
    (w / "out/checkpoint/state.pt").write_bytes(b"PK\x03\x04")
    return w.train()


@output_case("a checkpoint that runs code", "is not a checkpoint")
def _(w: World):
    import torch

    from tests.corpus.checkpoints import Opens

    (w / "out/checkpoint").mkdir(parents=True)
    torch.save({"identity": Opens(w / "made")}, w / "out/checkpoint/state.pt")
    return w.train()


@output_case("a name that is too long", "xxx", "File name too long")
def _(w: World):
    return w.train(out=w / ("x" * 300))


@output_case("a map over its scene", "scene.tif would replace the scene", "choose another --out")
def _(w: World):
    scene = w.copy("scene.tif")
    return ["map", w.home / "run", scene, "--out", scene]


@output_case("a map over a link to the scene of its run", "m.tif would replace the scene")
def _(w: World):
    (w / "m.tif").symlink_to(w.home / "scene.tif")
    return ["map", w.home / "run", "--out", w / "m.tif"]


@output_case("a map over the labels of its run", "labels.tif would replace the labels")
def _(w: World):
    labels = w.copy("scene_labels.tif", "labels.tif")
    w.record(config={"labels": str(labels)})
    return ["map", w / "run", "--out", labels]


@output_case("probabilities over the scene", "m_probabilities.tif would replace the scene")
def _(w: World):
    scene = w.copy("scene.tif", "m_probabilities.tif")
    return ["map", w.home / "run", scene, "--probabilities", "--out", w / "m.tif"]


@output_case("a map over a file of its run", "m.tif would replace the run's", "split.npz")
def _(w: World):
    w.copy("run")
    (w / "m.tif").hardlink_to(w / "run/split.npz")
    return ["map", w / "run", "--out", w / "m.tif"]


@output_case("a map whose name is not text", "expected a name in UTF-8")
def _(w: World):
    return ["map", w.home / "run", "--out", w / "m\udcff.tif"]


@output_case("a run whose name is not text", "expected a name in UTF-8")
def _(w: World):
    return w.train(out=w / "o\udcffut")


@output_case("merged weights over their base", "e.safetensors would replace the backbone")
def _(w: World):
    base = w.copy("e.safetensors")
    return ["adapters", "merge", w.home / "run", "--backbone", base, "--out", base]


@output_case("merged weights over a head", "head.safetensors would replace the run's")
def _(w: World):
    return ["adapters", "merge", w.home / "run", "--out", w.copy("run") / "head.safetensors"]


@output_case("a run over its base", "backbone.safetensors would replace the backbone")
def _(w: World):
    base = w.copy("run") / "backbone.safetensors"
    w.copy("e.safetensors", "run/backbone.safetensors")
    return [*w.train(out=w / "run", backbone=base, method="full"), "--overwrite"]


@output_case("a run over its split", "split.npz would replace the split")
def _(w: World):
    w.copy("run")
    return [*w.train(out=w / "run", split=w / "run/split.npz"), "--overwrite"]


@output_case("a run over its labels", "map.tif would replace the labels")
def _(w: World):
    w.copy("run")
    w.copy("scene_labels.tif", "run/map.tif")
    return [*w.train(out=w / "run", labels=w / "run/map.tif"), "--overwrite"]


@output_case("a benchmark over its configuration", "bench.json would replace the configuration")
def _(w: World):
    file = grid(w).rename(w / "bench.json")
    return ["bench", file, "--out", w.folder]


@output_case("a pretraining over its base", "backbone.safetensors would replace the backbone")
def _(w: World):
    base = w.copy("e.safetensors", "backbone.safetensors")
    options = {"backbone": str(base), "num_heads": 3, "stages": [{"steps": 1}]}
    return ["pretrain", w.file("p.yaml", json.dumps(options)), "--out", w.folder]


@output_case(
    "a full disk, for the weights",
    "head.safetensors cannot be written",
    "No space left",
    leaves=("out", "out/checkpoint*", "out/history.csv", "out/parts*"),
)
def _(w: World):
    fill(w, "head.safetensors")
    return w.train()


@output_case(
    "a full disk, for the record",
    "run.json cannot be written",
    "No space left",
    leaves=(
        "out",
        "out/checkpoint*",
        "out/adapter*",
        "out/parts*",
        "out/*.safetensors",
        "out/history.csv",
        "out/split.npz",
        "out/confusion.png",
    ),
)
def _(w: World):
    fill(w, "run.json")
    return w.train()


@output_case(
    "a full disk, for the map", "tile-0000000-0000000.npz cannot be written", "No space left"
)
def _(w: World):
    fill(w, "tile-")
    return ["map", w.home / "run", "--out", w / "map.tif"]


@output_case("a full disk, for merged weights", "w.safetensors cannot be written", "No space left")
def _(w: World):
    fill(w, "w.safetensors")
    return ["adapters", "merge", w.home / "run", "--out", w / "w.safetensors"]


@output_case("a full disk, for a report", "cannot be written", "No space left")
def _(w: World):
    fill(w, "")
    return ["report", w.home / "run", "--out", w / "report"]


def fill(w: World, name: str) -> None:
    """Let the disk be full when a file whose name begins so takes its place."""
    from pathlib import Path

    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name.startswith(name):
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return rename(self, target)

    w.patch.setattr(Path, "replace", replace)


memory = heading("memory")


def free(w: World, size: int) -> None:
    """A machine with so many bytes left."""
    w.patch.setattr("hyperpeft.system.resources.available", lambda: size)


@memory("a scene", "a scene of 24 x 24 pixels needs about", "free here", "cut it into parts")
def _(w: World):
    free(w, 1000)
    return w.train()


@memory("a scene to train on", "training on scene, of 24 x 24 pixels", "map the whole")
def _(w: World):
    free(w, 2**16)
    return w.train()


@memory("a batch", "a batch of 8 windows on", "free here", "smaller --batch-size")
def _(w: World):
    free(w, 2**20)
    return w.train()


@memory("all weights of a backbone", "--method full on", "of 66,864 weights", "use an adapter")
def _(w: World):
    free(w, 2**19)
    return w.train(method="full")


@memory("a tile of a map", "a tile of 24 x 24 pixels, 20 bands needs about", "smaller --tile")
def _(w: World):
    free(w, 2**17)
    return ["map", w.home / "run", "--out", w / "map.tif"]


@memory("a scene of a MATLAB file, which is read whole", "which is read whole", "free here")
def _(w: World):
    path = mat5(w / "cube.mat", cube=cube())
    free(w, 2**15)
    return w.train(path)


@memory("memory that runs out all the same", "there is not enough memory", "use a smaller")
def _(w: World):
    def fit(*_: object, **__: object) -> None:
        np.empty((2**20, 2**20, 2**10))

    w.patch.setattr("hyperpeft.spectral.fit", fit)
    return w.train()


sample_case = heading("samples and assessments")


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


@sample_case("no map", "map", "there is no such file")
def _(w: World):
    return ["sample", w / "none.tif", "--size", 50]


@sample_case("a cube for a map", "is no class map", "one band of whole numbers")
def _(w: World):
    return ["sample", w.home / "scene.tif", "--size", 50]


@sample_case("text for a map", "cannot be opened as a raster")
def _(w: World):
    return ["sample", w.file("map.tif", "no raster"), "--size", 50]


@sample_case("a map cut short", "map.tif cannot be")
def _(w: World):
    return ["sample", w.cut(class_map(w), 0.3), "--size", 50]


@sample_case("a map without a class", "holds no class")
def _(w: World):
    return ["sample", write_map(w / "map.tif", np.zeros((5, 5), np.uint8)), "--size", 5]


@sample_case("neither size nor standard error", "either --size or --standard-error")
def _(w: World):
    return sample(w)


@sample_case("more points than pixels", "the size of the sample", "at most 1050 pixels")
def _(w: World):
    return sample(w, "--size", 100_000)


@sample_case("fewer points than the minimum needs", "at least 40 pixels need", "--minimum")
def _(w: World):
    return sample(w, "--size", 50, "--minimum", 40)


@sample_case("points that are no GeoPackage", "a name that ends in .gpkg")
def _(w: World):
    return ["sample", class_map(w), "--size", 50, "--out", w / "new.shp"]


@sample_case("points over the map", "would replace the map")
def _(w: World):
    link = w / "map.gpkg"
    link.symlink_to(class_map(w))
    return ["sample", w / "map.tif", "--size", 50, "--out", link]


@sample_case("an accuracy for a class that is none", "user's accuracies", "unknown sea")
def _(w: World):
    return sample(w, "--size", 50, *("--users-accuracy", "sea=0.9"), *("--users-accuracy",
                  "water=0.9"), *("--users-accuracy", "forest=0.9"), *("--users-accuracy",
                  "bare soil=0.8"))  # fmt: skip


@sample_case("text for an accuracy", "--users-accuracy", "a number, or CLASS=NUMBER")
def _(w: World):
    return sample(w, "--size", 50, "--users-accuracy", "high")


@sample_case("a standard error without accuracies", "--standard-error", "--users-accuracy")
def _(w: World):
    return sample(w, "--standard-error", 0.01)


@sample_case("strata of another grid", "strata", "the grid of the map")
def _(w: World):
    strata = write_map(w / "strata.tif", np.ones((10, 10), np.uint8))
    return sample(w, "--size", 50, "--strata", strata)


def assess(w: World, reference: object, *words: object):
    return ["assess", class_map(w), "--reference", reference, *words]


@sample_case("no reference", "reference", "there is no such file")
def _(w: World):
    return assess(w, w / "none.gpkg")


@sample_case("a raster for a reference", "cannot be read as vectors")
def _(w: World):
    return assess(w, w.home / "scene_labels.tif")


@sample_case("a reference without the field", "has no field 'reference'", "seen", "--class-field")
def _(w: World):
    return assess(w, points(w, ["water", "forest"], field="seen"))


@sample_case(
    "a sample that nobody has filled in", "classes in the field reference", "fill in the field"
)
def _(w: World):
    return assess(w, points(w, [None, "", "NA"]))


@sample_case(
    "reference classes of another map", "no class of the field reference is one of the map"
)
def _(w: World):
    return assess(w, points(w, ["Wald", "Wasser"]))


@sample_case("polygons for points", "reference", "expected points")
def _(w: World):
    x, y = TRANSFORM.c + 300, TRANSFORM.f - 300
    pyogrio.raw.write(
        w / "p.gpkg", shapely.to_wkb([shapely.box(x, y, x + 60, y + 60)]),
        [np.array(["water"], dtype=object)], ["reference"], geometry_type="Polygon", crs=CRS,
    )  # fmt: skip
    return assess(w, w / "p.gpkg")


@sample_case("points beside the map", "classes in the field reference", "none to use")
def _(w: World):
    path = points(w, ["water", "water"])
    far = shapely.to_wkb(shapely.points([[0.0, 0.0], [1.0, 1.0]]))
    pyogrio.raw.write(
        path, far, [np.array(["water", "water"], dtype=object)], ["reference"], layer="points",
        geometry_type="Point", crs=CRS, append=False,
    )  # fmt: skip
    return assess(w, path)


@sample_case("an interval of no rule", "interval", "wilson, normal", "exact")
def _(w: World):
    return assess(w, points(w, ["water", "forest"]), "--interval", "exact")


@sample_case("a page over the map", "would replace the map")
def _(w: World):
    return assess(w, points(w, ["water", "forest"]), "--html", w / "map.tif")


def suggest(w: World, *words: object):
    return ["suggest", w.home / "run", "--out", w / "new.gpkg", *words]


@sample_case("suggestions by an unknown measure", "measure", "margin, random", "variance")
def _(w: World):
    return suggest(w, "--measure", "variance")


@sample_case("suggestions of an unknown diversity", "diversity", "core-set", "spread")
def _(w: World):
    return suggest(w, "--diversity", "spread")


@sample_case("suggestions in another format", "--out", "ends in .gpkg", ".shp")
def _(w: World):
    return ["suggest", w.home / "run", "--out", w / "new.shp"]


@sample_case("suggestions over the labels", "would replace")
def _(w: World):
    labels = points(w, ["class 1", "class 2"], "class", "labels.gpkg")
    return ["suggest", w.home / "run", "--labels", labels, "--out", labels]


@sample_case("an explorer of a run without one", "nowhere is not a run folder")
def _(w: World):
    return ["explore", w.home / "scene.tif", "--run", "nowhere", "--no-browser"]
