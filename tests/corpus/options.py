"""Options in YAML and on the command line, benchmarks, pretraining, and reports of nothing."""

from __future__ import annotations

import json

import numpy as np

from tests.corpus.cases import World, cube, heading
from tests.helpers.scene_files import geotiff
from tests.helpers.small import HEADS

option_case = heading("options")


def options(name: str, *says: str, **given):
    """A case of `train` with these options."""
    option_case(name, *says)(lambda w: w.train(**given))


options("an unknown method", "method: expected one of auto, full, probe", "'lorra'", method="lorra")
options("an unknown backbone", "backbone 'tyni'", "expected one of tiny", backbone="tyni")
options("an even window", "patch size: expected an odd number", "got 8", patch_size=8)
options("a window that is too large", "patch size", "got 65", patch_size=65)
options("a negative window", "patch size", "got -3", patch_size=-3)
options("no epoch", "option epochs", "got 0", epochs=0)
options("a batch of nothing", "option batch_size", "got 0", batch_size=0)
options("a negative seed", "option seed", "got -1", seed=-1)
options("a rate of 0", "option lr", "got 0.0", lr=0)
options("an unknown normaliser", "normalise: expected one of", "got mean", normalise="mean")
options("an unknown reduction", "option reduce", "got 'umap'", reduce="umap")
options("an unknown precision", "option precision", "got 'fp8'", precision="fp8")
options("an unknown recipe", "option recipe", "got 'best'", recipe="best")
options("an image of 7 pixels", "option image_size", "got 7", image_size=7)
options("an image that is no multiple of the patch", "image size", "9", image_size=9)
options("an unknown layer", "targets", "zz", targets="q,zz")
options("no layer", "target", targets=",")
options("more blocks than there are", "blocks", "99", blocks="last 99")
options("no blocks", "option blocks", "got 0", blocks="0")
options("a rank of 0", "rank", "got 0", method="lora", option="rank=0")
options("a rank as text", "rank", "got four", method="lora", option="rank=four")
options("a rank larger than the layer", "rank", method="lora", option="rank=100000")
options("an option that the method lacks", "depth", method="lora", option="depth=4")
options("an option without a value", "expected NAME=VALUE", method="lora", option="rank")
options("factors that do not divide the width", "factor", method="krona", option="factors=[7, 9]")
options("Sentinel-2 without wavelengths", "wavelengths", reduce="sentinel2")
options(
    "a discriminant of one pixel a class",
    "more training pixels than classes",
    "svm",
    method="lda",
    per_class=1,
)
options("an option of baselines", "trees", method="rf", option="leaves=3")
options("a fit on nothing", "option fit_on", "got 'test'", fit_on="test")


@option_case("a window wider than the scene, with a split by space", "gap", "window")
def _(w: World):
    return w.train(split="disjoint", patch_size=9, split_window=3)


@option_case(
    "weights that burst in the only step", "values that are not finite", "lower the learning rate"
)
def _(w: World):
    return w.train(method="full", lr=1e30)


@option_case("a loss that is not finite", "the loss became", "lower the learning rate")
def _(w: World):
    return w.train(method="full", lr=1e30, epochs=3)


@option_case(
    "a loss of a baseline that is not finite", "the loss became", "lower the learning rate"
)
def _(w: World):
    file = w.file("run.yaml", "epochs: 2\nmap: false\nper_class: 4\npatch_size: 9\n")
    return w.train(method="ssftt", config=file, backbone=None, lr=1e30)


@option_case("fewer bands than a baseline groups", "group", "3 bands")
def _(w: World):
    path = geotiff(w / "cube.tif", cube(bands=3), crs=None)
    file = w.file("run.yaml", "epochs: 1\nmap: false\nper_class: 4\n")
    return w.train(path, method="spectralformer", config=file, option="group=7")


@option_case("two bands that are equal everywhere", "cube: all 576 fitted pixels are equal")
def _(w: World):
    return w.train(geotiff(w / "cube.tif", np.ones((24, 24, 2), "float32"), crs=None))


@option_case("nothing to continue", "--resume", "holds no checkpoint", "run without --resume")
def _(w: World):
    return [*w.train(), "--resume"]


@option_case("continue and replace", "--resume and --overwrite exclude each other")
def _(w: World):
    return [*w.train(), "--resume", "--overwrite"]


@option_case("no scene", "Missing argument 'scene'")
def _(w: World):
    return ["train"]


@option_case("an unknown command", "No such command 'trane'")
def _(w: World):
    return ["trane"]


@option_case("an unknown option", "No such option: --bogus")
def _(w: World):
    return [*w.train(), "--bogus", 1]


@option_case("text for a number", "Invalid value for '--epochs'")
def _(w: World):
    return w.train(epochs="many")


@option_case("a card's name with a slip", "there is no scene 'salinas-b'", "salinas-a")
def _(w: World):
    return w.train("salinas-b")


@option_case("a card whose data are not here", "the cube of salinas-a is not here", "scenes fetch")
def _(w: World):
    return w.train("salinas-a", labels=None)


yaml_case = heading("YAML")


def yaml(w: World, text: bytes | str):
    return w.train(config=w.file("run.yaml", text))


@yaml_case("there is no such file", "run.yaml does not exist")
def _(w: World):
    return w.train(config=w / "run.yaml")


@yaml_case("a folder", "run.yaml is not YAML", "directory")
def _(w: World):
    (w / "run.yaml").mkdir()
    return w.train(config=w / "run.yaml")


@yaml_case("an empty file", "expected options as `name: value`")
def _(w: World):
    return yaml(w, "")


@yaml_case("a list", "expected options as `name: value`", "got list")
def _(w: World):
    return yaml(w, "- epochs\n- 5\n")


@yaml_case("a sentence", "expected options as `name: value`", "got str")
def _(w: World):
    return yaml(w, "train for five epochs, please")


@yaml_case("a bracket that is not closed", "run.yaml is not YAML")
def _(w: World):
    return yaml(w, "targets: [q, v\nepochs: 3\n")


@yaml_case("a tab for indentation", "run.yaml is not YAML")
def _(w: World):
    return yaml(w, "options:\n\trank: 4\n")


@yaml_case("a Python tag", "run.yaml is not YAML", "could not determine a constructor")
def _(w: World):
    return yaml(w, f"seed: !!python/object/apply:os.mkdir ['{w / 'made'}']\n")


@yaml_case("bytes that are no text", "run.yaml is not YAML")
def _(w: World):
    return yaml(w, b"\x89PNG\r\n\x1a\n\x00\xff")


@yaml_case("aliases that grow without bound", "run.yaml", "alias")
def _(w: World):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return yaml(w, "\n".join(lines) + "\n")


@yaml_case("nested without end", "run.yaml", "nested")
def _(w: World):
    return yaml(w, "options: " + "[" * 20_000)


@yaml_case("a file of 40 MB", "run.yaml", "expected at most")
def _(w: World):
    path = w / "run.yaml"
    with path.open("wb") as file:
        file.write(b"seed: 1\n#")
        file.truncate(40 * 2**20)
    return w.train(config=path)


@yaml_case("an option of another name", "unknown option epoch", "expected one of scene, labels")
def _(w: World):
    return yaml(w, "epoch: 3\n")


@yaml_case("an option twice", "lam is given twice")
def _(w: World):
    return yaml(w, "lambda: 3\nlam: 4\n")


@yaml_case("text for a number", "option epochs", "got 'soon'")
def _(w: World):
    return yaml(w, "epochs: soon\n")


@yaml_case("a list for a number", "option epochs", "got [3]")
def _(w: World):
    return yaml(w, "epochs: [3]\n")


@yaml_case("a fraction for a whole number", "option epochs", "got 2.5")
def _(w: World):
    return yaml(w, "epochs: 2.5\n")


@yaml_case("NaN", "option lr", "got nan")
def _(w: World):
    return yaml(w, "lr: .nan\n")


@yaml_case("an infinite rate", "option lr", "got inf")
def _(w: World):
    return yaml(w, "lr: .inf\n")


@yaml_case("a negative rate", "option lr", "got -0.1")
def _(w: World):
    return yaml(w, "lr: -0.1\n")


@yaml_case("a number with a thousand digits", "run.yaml")
def _(w: World):
    return yaml(w, f"seed: {'9' * 5000}\n")


@yaml_case("a number as an option's name", "expected options as `name: value`")
def _(w: World):
    return yaml(w, "1: 2\n")


@yaml_case("options of a method as text", "option options")
def _(w: World):
    return yaml(w, "options: rank=4\n")


@yaml_case("a switch as text", "option map", "got 'perhaps'")
def _(w: World):
    return yaml(w, "map: perhaps\n")


@yaml_case("a path for a switch", "option augment")
def _(w: World):
    return yaml(w, "augment: [yes, no]\n")


bench_case, report_case = heading("bench"), heading("report")
pretrain_case = heading("pretrain")


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
    pretrain_case(name, *says)(lambda w: plan(w, **changes))


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


@pretrain_case("chips without names of bands", "chips.npz cannot be read as chips", "bands")
def _(w: World):
    np.savez(w / "chips.npz", x=np.ones((2, 12, 16, 16)))
    return plan(w, **masked(sources=[str(w / "chips.npz")]))


@pretrain_case("chips of unknown bands", "chips.npz: chips", "B04")
def _(w: World):
    np.savez(w / "chips.npz", x=np.ones((2, 3, 16, 16)), bands=["red", "green", "blue"])
    return plan(w, **masked(sources=[str(w / "chips.npz")]))


@pretrain_case("chips cut short", "chips.npz cannot be read as chips")
def _(w: World):
    np.savez(w / "chips.npz", x=np.ones((2, 3, 16, 16)), bands=["B02", "B03", "B04"])
    w.cut(w / "chips.npz")
    return plan(w, **masked(sources=[str(w / "chips.npz")]))


@pretrain_case(
    "the output holds another run", "holds another pretraining run", "choose another --out"
)
def _(w: World):
    (w / "out").mkdir()
    (w / "out/pretrain.json").write_text('{"config": {}}')
    return plan(w)


@pretrain_case("the output holds a damaged record", "pretrain.json cannot be read")
def _(w: World):
    (w / "out").mkdir()
    (w / "out/pretrain.json").write_text('{"config": ')
    return plan(w)


@pretrain_case(
    "the output holds a damaged checkpoint", "is not a checkpoint", "remove it to start again"
)
def _(w: World):
    (w / "out/checkpoint").mkdir(parents=True)
    (w / "out/checkpoint/state.pt").write_bytes(b"PK\x03\x04 and nothing else")
    return plan(w)
