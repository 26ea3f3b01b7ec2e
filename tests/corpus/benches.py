"""Configurations of benchmarks and of pretraining, and reports of nothing."""

from __future__ import annotations

import json

import numpy as np

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.small import HEADS

bench_case, report_case = heading("bench"), heading("report")
case = heading("pretrain")


def grid(w: World, **changes):
    """A benchmark of two cells, spoiled."""
    values = {
        "name": "small",
        "common": {
            "backbone": str(w.home / "e.safetensors"), "num_heads": HEADS, "epochs": 1,
            "patch_size": 5,
        },
        "scenes": {
            "a": {
                "scene": str(w.home / "scene.tif"), "labels": str(w.home / "scene_labels.tif")
            }
        },
        "methods": ["krona+", "probe"],
        "budgets": [{"per_class": 4}],
        "maps": "none",
        **changes,
    }  # fmt: skip
    return w.file("bench.yaml", json.dumps(values))


def bench(name: str, *says: str, words: tuple[object, ...] = (), **changes):
    """A case of `bench` with these changes of the file."""
    bench_case(name, *says)(lambda w: ["bench", grid(w, **changes), "--out", w / "out", *words])


bench("a key of another name", "unknown option scene", scene="a")
bench("no scenes", "scenes", scenes={})
bench("no methods", "methods", methods=[])
bench("an unknown method", "lorra", methods=["lorra"])
bench("an unknown option of a method", "rank", methods={"krona": {"options": {"rank": 3}}})
bench("a label that is a path", "../up", methods={"../up": {"method": "probe"}})
bench("a scene that is not there", "nowhere.tif", scenes={"a": {"scene": "nowhere.tif"}})
bench("a split without a label", "need a label", splits=["split.npz"])
bench("a budget of both kinds", "budget", budgets={"x": {"per_class": 3, "fraction": 0.1}})
bench("a budget of text", "budget", budgets=["ten"])
bench("seeds as text", "seeds", seeds="all")
bench("no seed", "seeds", seeds=[])
bench(
    "an override of nothing", "has no scene 'b'", overrides=[{"scene": "b", "set": {"epochs": 2}}]
)
bench("a scene chosen that is not in the grid", "scene", "'z'", words=("--scene", "z"))
bench("seeds on the command line as text", "--seeds", "got one", words=("--seeds", "one"))
bench("an option of every cell that is none", "epoch", words=("--set", "epoch=3"))
bench("a scheduler's address that is none", "scheduler", words=("--scheduler", "nonsense://x"))


@bench_case("there is no such file", "there is no benchmark", "offline")
def _(w: World):
    return ["bench", w / "bench.yaml", "--out", w / "out"]


@bench_case("the output is a file", "is a file", "choose a folder")
def _(w: World):
    return ["bench", grid(w), "--out", w.file("out", "mine")]


@bench_case("the output holds damaged results", "run.json cannot be read", "remove its folder")
def _(w: World):
    cell = w / "out/cells/a/random/4-per-class/krona+/seed-0"
    cell.mkdir(parents=True)
    (cell / "run.json").write_text('{"config": ')
    return ["bench", grid(w), "--out", w / "out"]


@report_case("there is no folder", "there is no folder")
def _(w: World):
    return ["report", w / "bench"]


@report_case("an empty folder", "holds no record")
def _(w: World):
    (w / "bench").mkdir()
    return ["report", w / "bench"]


@report_case("a damaged record", "run.json cannot be read")
def _(w: World):
    path = w.copy("run") / "run.json"
    w.cut(path)
    return ["report", path.parent]


@report_case("a record without a section", "is not a run record", "lacks metrics")
def _(w: World):
    path = w.copy("run") / "run.json"
    record = json.loads(path.read_text())
    del record["metrics"]
    path.write_text(json.dumps(record))
    return ["report", path.parent]


@report_case("a record with text for a number", "run.json", "oa")
def _(w: World):
    return ["report", w.record(metrics={"oa": "high"}).parent]


@report_case("JSON nested without end", "run.json cannot be read", "nested")
def _(w: World):
    path = w.copy("run") / "run.json"
    path.write_text('{"a":' * 100_000)
    return ["report", path.parent]


@report_case("a file that is no study", "is not a study file", "--pack")
def _(w: World):
    return ["report", w.file("points.geojson", '{"type": "FeatureCollection"}')]


@report_case("a study with a path out of it", "line 2: path", "below the study")
def _(w: World):
    lines = ['{"hyperpeft_study": 1}', '{"path": "../run", "run.json": {}}']
    return ["report", w.file("study.jsonl", "\n".join(lines))]


@report_case("a study over one of its records", "--pack", "would replace the record")
def _(w: World):
    run = w.copy("run")
    return ["report", run, "--out", w / "report", "--pack", run / "run.json"]


@report_case("an unknown reference", "--reference svm", "expected one of krona+")
def _(w: World):
    return ["report", w.home / "run", "--reference", "svm", "--out", w / "report"]


@report_case("the output is a file", "report", "is a file", "choose a folder")
def _(w: World):
    return ["report", w.home / "run", "--out", w.file("report", "mine")]


def plan(w: World, **changes):
    """`pretrain` of two steps, spoiled."""
    values = {
        "backbone": str(w.home / "e.safetensors"),
        "num_heads": HEADS,
        "stages": [{"steps": 2, "image_size": 16}],
        "episodes": {"scenes": 1, "ways": [2, 3], "shots": [3], "queries": 3},
        "warmup": 1,
        **changes,
    }
    return ["pretrain", w.file("pretrain.yaml", json.dumps(values)), "--out", w / "out"]


def masked(**values):
    return {"masked": {"weight": 1.0, "windows": 8, "decoder_dim": 24, **values}}


def pretrain(name: str, *says: str, **changes):
    """A case of `pretrain` with these changes of the file."""
    case(name, *says)(lambda w: plan(w, **changes))


pretrain("no steps", "stages", stages=[])
pretrain("a stage of no steps", "stages.0.steps", stages=[{"steps": 0}])
pretrain("an unknown option", "unknown option stage", stage=1)
pretrain("neither loss", "neither episodes nor masked has a weight", episodes={"weight": 0})
pretrain("masked windows of nothing", "has no data", "masked.sources", **masked())
pretrain(
    "sources that are not there", "source 'nowhere-*.tif'", **masked(sources=["nowhere-*.tif"])
)
pretrain("a ratio of 1", "masked.ratio", **masked(ratio=1, generated=1))
pretrain(
    "heads that do not divide the decoder", "decoder", "5", **masked(decoder_heads=5, generated=1)
)
pretrain("an even window", "patch size", "got 4", patch_sizes={"4": 1})
pretrain("shares of nothing", "shares of patch sizes", patch_sizes={"3": 0})
pretrain("an unknown normaliser", "expected one or more of", normalise=["mean"])
pretrain("ways that fall", "at least 2 and rising", episodes={"ways": [5, 2]})
pretrain(
    "an image that is no multiple of the patch",
    "image",
    "20",
    stages=[{"steps": 2, "image_size": 20}],
)
pretrain(
    "a rate that bursts",
    "loss or gradient is not finite",
    lr=1e30,
    stages=[{"steps": 30, "image_size": 16}],
    warmup=0,
)


@case("chips without names of bands", "chips.npz cannot be read as chips", "bands")
def _(w: World):
    np.savez(w / "chips.npz", x=np.ones((2, 12, 16, 16)))
    return plan(w, **masked(sources=[str(w / "chips.npz")]))


@case("chips of unknown bands", "chips.npz: chips", "B04")
def _(w: World):
    np.savez(w / "chips.npz", x=np.ones((2, 3, 16, 16)), bands=["red", "green", "blue"])
    return plan(w, **masked(sources=[str(w / "chips.npz")]))


@case("chips cut short", "chips.npz cannot be read as chips")
def _(w: World):
    np.savez(w / "chips.npz", x=np.ones((2, 3, 16, 16)), bands=["B02", "B03", "B04"])
    w.cut(w / "chips.npz")
    return plan(w, **masked(sources=[str(w / "chips.npz")]))


@case("the output holds another run", "holds another pretraining run", "choose another --out")
def _(w: World):
    (w / "out").mkdir()
    (w / "out/pretrain.json").write_text('{"config": {}}')
    return plan(w)


@case("the output holds a damaged record", "pretrain.json cannot be read")
def _(w: World):
    (w / "out").mkdir()
    (w / "out/pretrain.json").write_text('{"config": ')
    return plan(w)


@case("the output holds a damaged checkpoint", "is not a checkpoint", "remove it to start again")
def _(w: World):
    (w / "out/checkpoint").mkdir(parents=True)
    (w / "out/checkpoint/state.pt").write_bytes(b"PK\x03\x04 and nothing else")
    return plan(w)
