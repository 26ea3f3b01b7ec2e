"""Options in YAML and on the command line."""

from __future__ import annotations

import numpy as np

from tests.corpus.table import heading
from tests.corpus.world import World, cube
from tests.helpers.scene_files import geotiff

case = heading("options")


def options(name: str, *says: str, **given):
    """A case of `train` with these options."""
    case(name, *says)(lambda w: w.train(**given))


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
options("a discriminant of one pixel a class", "more than the", "svm", method="lda", per_class=1)
options("an option of baselines", "trees", method="rf", option="leaves=3")
options("a fit on nothing", "option fit_on", "got 'test'", fit_on="test")


@case("a window wider than the scene, with a split by space", "gap", "window")
def _(w: World):
    return w.train(split="disjoint", patch_size=9, split_window=3)


@case(
    "weights that burst in the only step", "values that are not finite", "lower the learning rate"
)
def _(w: World):
    return w.train(method="full", lr=1e30)


@case("a loss that is not finite", "the loss became", "lower the learning rate")
def _(w: World):
    return w.train(method="full", lr=1e30, epochs=3)


@case("a loss of a baseline that is not finite", "the loss became", "lower the learning rate")
def _(w: World):
    file = w.file("run.yaml", "epochs: 2\nmap: false\nper_class: 4\npatch_size: 9\n")
    return w.train(method="ssftt", config=file, backbone=None, lr=1e30)


@case("fewer bands than a baseline groups", "group", "3 bands")
def _(w: World):
    path = geotiff(w / "cube.tif", cube(bands=3), crs=None)
    file = w.file("run.yaml", "epochs: 1\nmap: false\nper_class: 4\n")
    return w.train(path, method="spectralformer", config=file, option="group=7")


@case("two bands that are equal everywhere", "cube: all 576 fitted pixels are equal")
def _(w: World):
    return w.train(geotiff(w / "cube.tif", np.ones((24, 24, 2), "float32"), crs=None))


@case("nothing to continue", "--resume", "holds no checkpoint", "run without --resume")
def _(w: World):
    return [*w.train(), "--resume"]


@case("continue and replace", "--resume and --overwrite exclude each other")
def _(w: World):
    return [*w.train(), "--resume", "--overwrite"]


@case("no scene", "Missing argument 'scene'")
def _(w: World):
    return ["train"]


@case("an unknown command", "No such command 'trane'")
def _(w: World):
    return ["trane"]


@case("an unknown option", "No such option: --bogus")
def _(w: World):
    return [*w.train(), "--bogus", 1]


@case("text for a number", "Invalid value for '--epochs'")
def _(w: World):
    return w.train(epochs="many")


@case("a card's name with a slip", "there is no scene 'salinas-b'", "salinas-a")
def _(w: World):
    return w.train("salinas-b")


@case("a card whose data are not here", "the cube of salinas-a is not here", "scenes fetch")
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
