"""Run folders that are not what they say; map, scenes, demo and hub with invalid arguments."""

from __future__ import annotations

import json
from typing import Any

import onnx
import torch
from safetensors.torch import load_file, save_file

from hyperpeft.baselines import classical
from hyperpeft.export import export_run
from hyperpeft.runs.experiment import run
from tests.corpus.cases import World, heading
from tests.helpers.scene_files import cube, geotiff
from tests.helpers.small import checkpoint, config, planted, write_scene

run_case = heading("run folders")


def record(w: World, *words: object, **sections: Any):
    """A command, `evaluate` by default, on the good run with its record changed."""
    w.record(**sections)
    return [*(words or ("evaluate",)), w / "run"]


def said(name: str, *says: str, **sections: Any):
    """A case of a record with these changes."""
    run_case(name, *says)(lambda w: record(w, **sections))


@run_case("there is none", "is not a run folder: it has no run.json")
def _(w: World):
    return ["evaluate", w / "run"]


@run_case("run.json cut short", "run.json cannot be read")
def _(w: World):
    w.cut(w.copy("run") / "run.json")
    return ["evaluate", w / "run"]


@run_case("run.json of another program", "is not a run record", "adapter")
def _(w: World):
    (w.copy("run") / "run.json").write_text('{"run": 1}')
    return ["map", w / "run"]


@run_case("run.json nested without end", "run.json cannot be read", "nested")
def _(w: World):
    (w.copy("run") / "run.json").write_text('{"hyperpeft": ' + "[" * 200_000)
    return ["evaluate", w / "run"]


@run_case("run.json of 100 MB", "run.json", "expected at most")
def _(w: World):
    with (w.copy("run") / "run.json").open("r+b") as file:
        file.truncate(100 * 2**20)
    return ["evaluate", w / "run"]


said("text for the image size", "config.image_size", config={"image_size": "large"})
said("an image size that would fill the machine", "config.image_size", config={"image_size": 10**6})
said("text for the window", "config.patch_size", config={"patch_size": "nine"})
said("a window of a million pixels", "patch_size", config={"patch_size": 1_000_001})
said("an unknown precision", "config.precision", config={"precision": "fp7"})
said("a stride of 0", "config.stride", config={"stride": 0})
said("half a head", "config.num_heads", config={"num_heads": 1.5})
said("more classes than the scene", "adapter.class_ids holds [3]", adapter={"class_ids": [1, 2, 3]})
said("fewer classes than the head has", "head.safetensors does not fit", adapter={"class_ids": [1]})
said("a class without a name", "scene", scene={"classes": ["class 1"]})
said("text for class ids", "class_ids", adapter={"class_ids": ["a", "b"]})
said("a billion classes", "class_ids", adapter={"class_ids": 10**9})
said("colours that are none", "scene.colours", scene={"colours": ["red", "blue"]})
said("an unknown method", "method", "'lorra'", adapter={"method": "lorra"})
said("no hash of the base weights", "another base model", backbone={"weights_sha256": None})
said(
    "a wrong hash of the base weights", "another base model", backbone={"weights_sha256": "0" * 64}
)
said("a base model that has gone", "no such name or file", backbone={"name": "/nowhere/w.pth"})
said("a list for a section", "adapter", adapter=[1, 2])
said(
    "a scene that has gone",
    "there is no scene '/nowhere/cube.tif'",
    config={"scene": "/nowhere/cube.tif"},
)
said("a scene that is a device", "/dev/zero", config={"scene": "/dev/zero"})


@run_case("a base model of other weights", "was trained on another base model", "--backbone")
def _(w: World):
    other = checkpoint(w / "other.safetensors", seed=1)
    return ["evaluate", w.home / "run", "--backbone", other]


@run_case("a scene that has changed since", "is not the file the run was trained on")
def _(w: World):
    path, _ = write_scene(w.folder, planted(seed=3))
    return record(w, config={"scene": str(path)})


@run_case("no head", "head.safetensors cannot be read")
def _(w: World):
    (w.copy("run") / "head.safetensors").unlink()
    return ["evaluate", w / "run"]


@run_case("a head that is NaN", "head.safetensors", "finite")
def _(w: World):
    path = w.copy("run") / "head.safetensors"
    values = {name: torch.full_like(v, float("nan")) for name, v in load_file(path).items()}
    save_file(values, path)
    return ["evaluate", w / "run"]


@run_case("no reducer", "reducer", "cannot be read")
def _(w: World):
    (w.copy("run") / "reducer.safetensors").unlink()
    return ["evaluate", w / "run"]


@run_case("a reducer that is no reducer", "is not a reducer")
def _(w: World):
    run = w.copy("run")
    (run / "reducer.safetensors").write_bytes((run / "head.safetensors").read_bytes())
    return ["evaluate", w / "run"]


@run_case("no split", "there is no split file")
def _(w: World):
    (w.copy("run") / "split.npz").unlink()
    return ["evaluate", w / "run"]


@run_case("a split cut short", "split.npz is not a split file")
def _(w: World):
    w.cut(w.copy("run") / "split.npz")
    return ["evaluate", w / "run"]


@run_case("links to files elsewhere", "reducer.safetensors", "outside")
def _(w: World):
    path = w.copy("run") / "reducer.safetensors"
    path.rename(w / "elsewhere")
    path.symlink_to("../elsewhere")
    return ["evaluate", w / "run"]


@run_case("the run of a baseline without its model", "baseline svm without its model")
def _(w: World):
    return record(w, adapter={"method": "svm"})


def forest(w: World):
    """A run of a small forest."""
    w.patch.setattr(classical, "TUNED_TREES", 2)
    given = {"method": "rf", "options": {"trees": 3, "folds": 2}, "map": False}
    out = w / "forest"
    run(config(w.home, out, **given))
    return out


@run_case("a forest's model that is a web page", "is not a classifier of pixels")
def _(w: World):
    out = forest(w)
    (out / "model.onnx").write_text("<html>not found</html>")
    return ["map", out]


@run_case("a forest's model with another operator", "expected a graph of", "Evil")
def _(w: World):
    out = forest(w)
    model = onnx.load(out / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("Evil", ["scores"], ["x"], domain="com.evil"))
    onnx.save(model, out / "model.onnx")
    return ["map", out]


@run_case("a forest whose branches lead back", "is not a classifier of pixels", "lead back")
def _(w: World):
    out = forest(w)
    model = onnx.load(out / "model.onnx")
    lists = {a.name: a for a in model.graph.node[0].attribute}
    lists["nodes_falsenodeids"].ints[0] = 0
    onnx.save(model, out / "model.onnx")
    return ["map", out]


@run_case("a forest's features cut short", "features", "cannot be read")
def _(w: World):
    out = forest(w)
    w.cut(out / "features.safetensors")
    return ["evaluate", out]


@run_case("another scene without labels", "has no labels to test on", "--labels")
def _(w: World):
    return ["evaluate", w.home / "run", geotiff(w / "b.tif", cube(24, 24, 20))]


@run_case("another scene of other bands", "bands", "20", "6")
def _(w: World):
    return ["evaluate", w.home / "run", geotiff(w / "b.tif", cube()), "--labels",
            geotiff(w / "l.tif", cube()[..., 0].clip(1, 2).astype("uint8"))]  # fmt: skip


@run_case("another scene of classes that the run does not know", "no labelled pixel of the classes")
def _(w: World):
    path, labels = write_scene(w.folder, planted(seed=3))
    import rasterio

    with rasterio.open(labels, "r+") as file:
        file.write(file.read() + 10)
    return ["evaluate", w.home / "run", path, "--labels", labels]


def exported(w: World):
    """The good run as one ONNX file."""
    path = w / "model.onnx"
    export_run(w.copy("run"), path)
    return path


@run_case("an exported model that is a web page", "expected a run folder, or a .onnx file")
def _(w: World):
    (w / "model.onnx").write_text("<html>not found</html>")
    return ["map", w / "model.onnx"]


@run_case("an exported model of a later version", "is not an exported run", "map model 99")
def _(w: World):
    path = exported(w)
    model = onnx.load(path)
    next(e for e in model.metadata_props if e.key == "format").value = "hyperpeft map model 99"
    onnx.save(model, path)
    return ["map", path]


@run_case("an exported model without one of its weights", "is a damaged export", "fc1.weight")
def _(w: World):
    path = exported(w)
    model = onnx.load(path)
    numbers = model.graph.initializer
    numbers.remove(next(t for t in numbers if t.name.endswith("block0.fc1.weight")))
    onnx.save(model, path)
    return ["map", path]


@run_case("an exported model for --runtime torch", "ONNX Runtime executes")
def _(w: World):
    return ["map", exported(w), "--runtime", "torch"]


@run_case("an exported model to be tested on the scene that trained it", "is an exported model")
def _(w: World):
    return ["evaluate", exported(w)]


@run_case("--runtime onnx of a run that was not exported", "has no model.onnx", "hyperpeft export")
def _(w: World):
    return ["map", w.copy("run"), "--runtime", "onnx"]


@run_case("an unknown runtime", "runtime: expected one of auto, torch, onnx")
def _(w: World):
    return ["map", w.copy("run"), "--runtime", "tensorrt"]


@run_case("an exported model in the folder of another training", "exported from another training")
def _(w: World):
    path, run = exported(w), w / "run"
    values = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**values, "created": "2026-01-01T00:00:00+00:00"}))
    path.rename(run / "model.onnx")
    return ["map", run]


@run_case("an export over a forest's own model", "would replace", "--to")
def _(w: World):
    run = forest(w)
    return ["export", run, "--to", run / "model.onnx"]


map_case, scenes, empty = heading("map"), heading("scenes"), heading("empty arguments")


def mapping(name: str, *says: str, words: tuple[object, ...] = (), out: str = "map.tif"):
    """A case of `map` of the good run."""
    map_case(name, *says)(lambda w: ["map", w.home / "run", "--out", w / out, *words])


mapping("an output that is no GeoTIFF", "expected a name that ends in .tif", out="map.png")
mapping("tiles of nothing", "tile: expected 1 to 16384 pixels, got 0", words=("--tile", 0))
mapping("tiles of a million pixels", "tile: expected 1 to 16384", words=("--tile", 10**6))
mapping("a scene that is not there", "there is no scene 'nowhere.tif'", words=("nowhere.tif",))
mapping("a scheduler's address that is none", "scheduler", words=("--scheduler", "host"))


@map_case("a scene of other bands", "bands", "20", "6")
def _(w: World):
    return ["map", w.home / "run", geotiff(w / "b.tif", cube()), "--out", w / "map.tif"]


@map_case("no run", "is not a run folder")
def _(w: World):
    return ["map", w.folder, "--out", w / "map.tif"]


@map_case("the output is a folder", "map.tif", "folder")
def _(w: World):
    (w / "map.tif").mkdir()
    return ["map", w.home / "run", "--out", w / "map.tif"]


@map_case("a folder of someone else in the place of the tiles", "is not a work folder of hyperpeft")
def _(w: World):
    (w / "map.tif.work").mkdir()
    w.file("map.tif.work/thesis.tex", "chapter 1")
    return ["map", w.home / "run", "--out", w / "map.tif"]


@map_case("the output lies below a file", "cannot be written")
def _(w: World):
    return ["map", w.home / "run", "--out", w.file("notes", "mine") / "map.tif"]


@map_case("another process maps to the same file", "is in use by process")
def _(w: World):
    from hyperpeft.system.output_folder import locked

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
