"""RUN.yaml files that are no configuration."""

from __future__ import annotations

from tests.corpus.table import heading
from tests.corpus.world import World

case = heading("YAML")


def yaml(w: World, text: bytes | str):
    return w.train(config=w.file("run.yaml", text))


@case("there is no such file", "run.yaml does not exist")
def _(w: World):
    return w.train(config=w / "run.yaml")


@case("a folder", "run.yaml is not YAML", "directory")
def _(w: World):
    (w / "run.yaml").mkdir()
    return w.train(config=w / "run.yaml")


@case("an empty file", "expected options as `name: value`")
def _(w: World):
    return yaml(w, "")


@case("a list", "expected options as `name: value`", "got list")
def _(w: World):
    return yaml(w, "- epochs\n- 5\n")


@case("a sentence", "expected options as `name: value`", "got str")
def _(w: World):
    return yaml(w, "train for five epochs, please")


@case("a bracket that is not closed", "run.yaml is not YAML")
def _(w: World):
    return yaml(w, "targets: [q, v\nepochs: 3\n")


@case("a tab for indentation", "run.yaml is not YAML")
def _(w: World):
    return yaml(w, "options:\n\trank: 4\n")


@case("a Python tag", "run.yaml is not YAML", "could not determine a constructor")
def _(w: World):
    return yaml(w, f"seed: !!python/object/apply:os.mkdir ['{w / 'made'}']\n")


@case("bytes that are no text", "run.yaml is not YAML")
def _(w: World):
    return yaml(w, b"\x89PNG\r\n\x1a\n\x00\xff")


@case("aliases that grow without bound", "run.yaml", "alias")
def _(w: World):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return yaml(w, "\n".join(lines) + "\n")


@case("nested without end", "run.yaml", "nested")
def _(w: World):
    return yaml(w, "options: " + "[" * 20_000)


@case("a file of 40 MB", "run.yaml", "expected at most")
def _(w: World):
    path = w / "run.yaml"
    with path.open("wb") as file:
        file.write(b"seed: 1\n#")
        file.truncate(40 * 2**20)
    return w.train(config=path)


@case("an option of another name", "unknown option epoch", "expected one of scene, labels")
def _(w: World):
    return yaml(w, "epoch: 3\n")


@case("an option twice", "lam is given twice")
def _(w: World):
    return yaml(w, "lambda: 3\nlam: 4\n")


@case("text for a number", "option epochs", "got 'soon'")
def _(w: World):
    return yaml(w, "epochs: soon\n")


@case("a list for a number", "option epochs", "got [3]")
def _(w: World):
    return yaml(w, "epochs: [3]\n")


@case("a fraction for a whole number", "option epochs", "got 2.5")
def _(w: World):
    return yaml(w, "epochs: 2.5\n")


@case("NaN", "option lr", "got nan")
def _(w: World):
    return yaml(w, "lr: .nan\n")


@case("an infinite rate", "option lr", "got inf")
def _(w: World):
    return yaml(w, "lr: .inf\n")


@case("a negative rate", "option lr", "got -0.1")
def _(w: World):
    return yaml(w, "lr: -0.1\n")


@case("a number with a thousand digits", "run.yaml")
def _(w: World):
    return yaml(w, f"seed: {'9' * 5000}\n")


@case("a number as an option's name", "expected options as `name: value`")
def _(w: World):
    return yaml(w, "1: 2\n")


@case("options of a method as text", "option options")
def _(w: World):
    return yaml(w, "options: rank=4\n")


@case("a switch as text", "option map", "got 'perhaps'")
def _(w: World):
    return yaml(w, "map: perhaps\n")


@case("a path for a switch", "option augment")
def _(w: World):
    return yaml(w, "augment: [yes, no]\n")
