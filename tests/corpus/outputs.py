"""Places that cannot be written to or hold something already; memory that does not suffice."""

from __future__ import annotations

import errno
import json

from tests.corpus.benches import grid
from tests.corpus.table import heading
from tests.corpus.world import World

case = heading("outputs")


@case("a run below a file", "cannot be written", "choose a folder you can write to")
def _(w: World):
    return w.train(out=w.file("notes", "mine") / "run")


@case("a run in the place of a file", "exists and is not a run folder")
def _(w: World):
    return w.train(out=w.file("out", "mine"))


@case("a run in a folder of someone else", "exists and is not a run folder")
def _(w: World):
    (w / "out").mkdir()
    w.file("out/thesis.tex", "chapter 1")
    return w.train(out=w / "out")


@case("a run onto another run", "holds another run", "add --overwrite")
def _(w: World):
    return w.train(out=w.copy("run"), seed=5)


@case("a run onto a damaged record", "run.json cannot be read")
def _(w: World):
    w.cut(w.copy("run") / "run.json")
    return w.train(out=w / "run")


@case("mistaken options with --overwrite leave the earlier run", "targets", "zz")
def _(w: World):
    return [*w.train(out=w.copy("run"), targets="zz"), "--overwrite"]


@case("a checkpoint of another run", "belongs to another configuration", "--overwrite")
def _(w: World):
    import torch

    (w / "out/checkpoint").mkdir(parents=True)
    content = {"identity": "0", "state": {}, "weights": {}, "optimizer": None, "schedule": {}}
    torch.save(content, w / "out/checkpoint/state.pt")
    return w.train()


@case("a checkpoint cut short", "is not a checkpoint", "remove it to start again")
def _(w: World):
    (w / "out/checkpoint").mkdir(parents=True)
    (w / "out/checkpoint/state.pt").write_bytes(b"PK\x03\x04")
    return w.train()


@case("a checkpoint that runs code", "is not a checkpoint")
def _(w: World):
    import torch

    from tests.corpus.checkpoints import Opens

    (w / "out/checkpoint").mkdir(parents=True)
    torch.save({"identity": Opens(w / "made")}, w / "out/checkpoint/state.pt")
    return w.train()


@case("a name that is too long", "xxx", "File name too long")
def _(w: World):
    return w.train(out=w / ("x" * 300))


@case("a map over its scene", "scene.tif would replace the scene", "choose another --out")
def _(w: World):
    scene = w.copy("scene.tif")
    return ["map", w.home / "run", scene, "--out", scene]


@case("a map over a link to the scene of its run", "m.tif would replace the scene")
def _(w: World):
    (w / "m.tif").symlink_to(w.home / "scene.tif")
    return ["map", w.home / "run", "--out", w / "m.tif"]


@case("a map over the labels of its run", "labels.tif would replace the labels")
def _(w: World):
    labels = w.copy("scene_labels.tif", "labels.tif")
    w.record(config={"labels": str(labels)})
    return ["map", w / "run", "--out", labels]


@case("probabilities over the scene", "m_probabilities.tif would replace the scene")
def _(w: World):
    scene = w.copy("scene.tif", "m_probabilities.tif")
    return ["map", w.home / "run", scene, "--probabilities", "--out", w / "m.tif"]


@case("a map over a file of its run", "m.tif would replace the run's", "split.npz")
def _(w: World):
    w.copy("run")
    (w / "m.tif").hardlink_to(w / "run/split.npz")
    return ["map", w / "run", "--out", w / "m.tif"]


@case("a map whose name is not text", "expected a name in UTF-8")
def _(w: World):
    return ["map", w.home / "run", "--out", w / "m\udcff.tif"]


@case("a run whose name is not text", "expected a name in UTF-8")
def _(w: World):
    return w.train(out=w / "o\udcffut")


@case("merged weights over their base", "e.safetensors would replace the backbone")
def _(w: World):
    base = w.copy("e.safetensors")
    return ["adapters", "merge", w.home / "run", "--backbone", base, "--out", base]


@case("merged weights over a head", "head.safetensors would replace the run's")
def _(w: World):
    return ["adapters", "merge", w.home / "run", "--out", w.copy("run") / "head.safetensors"]


@case("a run over its base", "backbone.safetensors would replace the backbone")
def _(w: World):
    base = w.copy("run") / "backbone.safetensors"
    w.copy("e.safetensors", "run/backbone.safetensors")
    return [*w.train(out=w / "run", backbone=base, method="full"), "--overwrite"]


@case("a run over its split", "split.npz would replace the split")
def _(w: World):
    w.copy("run")
    return [*w.train(out=w / "run", split=w / "run/split.npz"), "--overwrite"]


@case("a run over its labels", "map.tif would replace the labels")
def _(w: World):
    w.copy("run")
    w.copy("scene_labels.tif", "run/map.tif")
    return [*w.train(out=w / "run", labels=w / "run/map.tif"), "--overwrite"]


@case("a benchmark over its configuration", "bench.json would replace the configuration")
def _(w: World):
    file = grid(w).rename(w / "bench.json")
    return ["bench", file, "--out", w.folder]


@case("a pretraining over its base", "backbone.safetensors would replace the backbone")
def _(w: World):
    base = w.copy("e.safetensors", "backbone.safetensors")
    options = {"backbone": str(base), "num_heads": 3, "stages": [{"steps": 1}]}
    return ["pretrain", w.file("p.yaml", json.dumps(options)), "--out", w.folder]


@case(
    "a full disk, for the weights",
    "head.safetensors cannot be written",
    "No space left",
    leaves=("out", "out/checkpoint*", "out/history.csv", "out/parts*"),
)
def _(w: World):
    fill(w, "head.safetensors")
    return w.train()


@case(
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


@case("a full disk, for the map", "tile-0000000-0000000.npz cannot be written", "No space left")
def _(w: World):
    fill(w, "tile-")
    return ["map", w.home / "run", "--out", w / "map.tif"]


@case("a full disk, for merged weights", "w.safetensors cannot be written", "No space left")
def _(w: World):
    fill(w, "w.safetensors")
    return ["adapters", "merge", w.home / "run", "--out", w / "w.safetensors"]


@case("a full disk, for a report", "cannot be written", "No space left")
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
    from tests.corpus.world import cube
    from tests.helpers.scene_files import mat5

    path = mat5(w / "cube.mat", cube=cube())
    free(w, 2**15)
    return w.train(path)


@memory("memory that runs out all the same", "there is not enough memory", "use a smaller")
def _(w: World):
    import numpy as np

    def fit(*_: object, **__: object) -> None:
        np.empty((2**20, 2**20, 2**10))

    w.patch.setattr("hyperpeft.spectral.fit", fit)
    return w.train()
