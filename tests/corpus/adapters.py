"""Adapter folders of run folders that are damaged or tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tests.corpus.table import heading
from tests.corpus.world import World

case = heading("adapter folders")


def adapter(w: World):
    """The adapter folder of a copy of the good run."""
    return w.copy("run") / "adapter"


def config(w: World, change: Callable[[dict[str, Any]], Any]):
    """`evaluate` with adapter_config.json changed."""
    path = adapter(w) / "adapter_config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return ["evaluate", w / "run"]


def tensors(
    w: World,
    change: Callable[[dict[str, Tensor]], Any] = lambda tensors: None,
    metadata: Callable[[dict[str, Any]], Any] = lambda values: None,
):
    """`evaluate` with the tensors changed, or what is said of them."""
    path = adapter(w) / "adapter_model.safetensors"
    with safe_open(path, "pt") as file:
        said = file.metadata()
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    own = json.loads(said["hyperpeft"])
    change(found)
    metadata(own)
    save_file(found, path, {**said, "hyperpeft": json.dumps(own)})
    return ["evaluate", w / "run"]


def first(found: dict[str, Tensor]) -> str:
    return sorted(found)[0]


@case("no configuration", "holds no adapter", "expected adapter_config.json")
def _(w: World):
    (adapter(w) / "adapter_config.json").unlink()
    return ["evaluate", w / "run"]


@case("a configuration cut short", "adapter_config.json cannot be read")
def _(w: World):
    w.cut(adapter(w) / "adapter_config.json")
    return ["evaluate", w / "run"]


@case("a configuration that is a list", "a JSON object with peft_type")
def _(w: World):
    (adapter(w) / "adapter_config.json").write_text("[1, 2]")
    return ["evaluate", w / "run"]


@case("a configuration nested without end", "adapter_config.json cannot be read", "nested")
def _(w: World):
    (adapter(w) / "adapter_config.json").write_text('{"peft_type": ' + "[" * 200_000)
    return ["evaluate", w / "run"]


@case("a configuration of 100 MB", "adapter_config.json", "expected at most")
def _(w: World):
    with (adapter(w) / "adapter_config.json").open("wb") as file:
        file.truncate(100 * 2**20)
    return ["evaluate", w / "run"]


@case("a configuration that says another scale", "alpha in", "take both files from the same save")
def _(w: World):
    return config(w, lambda values: values.update(alpha=99))


@case("no tensors", "holds no adapter", "expected adapter_model.safetensors")
def _(w: World):
    (adapter(w) / "adapter_model.safetensors").unlink()
    return ["evaluate", w / "run"]


@case("a pickle in the place of tensors", "is a pickle, which can run code")
def _(w: World):
    folder = adapter(w)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    return ["evaluate", w / "run"]


@case("tensors cut short", "adapter_model.safetensors cannot be read")
def _(w: World):
    w.cut(adapter(w) / "adapter_model.safetensors")
    return ["evaluate", w / "run"]


@case("a tensor of NaN", "holds other than finite real numbers")
def _(w: World):
    return tensors(w, lambda found: found[first(found)].fill_(float("nan")))


@case("a tensor of another shape", "has shape (3, 3) instead of")
def _(w: World):
    return tensors(w, lambda found: found.update({first(found): torch.ones(3, 3)}))


@case("a tensor is missing", "does not fit this model", "missing base_model.model.blocks.0")
def _(w: World):
    return tensors(w, lambda found: found.pop(first(found)))


@case("a tensor too many", "unexpected base_model.model.head.evil")
def _(w: World):
    return tensors(w, lambda found: found.update({"base_model.model.head.evil": torch.ones(2)}))


@case("text for tensors", "holds other than finite real numbers")
def _(w: World):
    return tensors(w, lambda found: found.update({first(found): found[first(found)].int()}))


@case("a method that is unknown", "lorra")
def _(w: World):
    return tensors(w, metadata=lambda values: values.update(method="lorra"))


@case("layers that are not there", "targets", "zz")
def _(w: World):
    return tensors(w, metadata=lambda values: values.update(targets=["zz"]))


@case("a rank that would fill the machine", "rank", "1000000000")
def _(w: World):
    return tensors(
        w, metadata=lambda values: values.update(method="lora", options={"rank": 1_000_000_000})
    )


@case("terms that would fill the machine", "terms", "1000000000")
def _(w: World):
    return tensors(w, metadata=lambda values: values["options"].update({"terms": 1_000_000_000}))


@case("more said than there is to say", "metadata of")
def _(w: World):
    return tensors(w, metadata=lambda values: values.update(run="rm -rf"))


@case("a link to a file elsewhere", "adapter_model.safetensors", "outside")
def _(w: World):
    path = adapter(w) / "adapter_model.safetensors"
    path.rename(w / "elsewhere.safetensors")
    path.symlink_to(w / "elsewhere.safetensors")
    return ["evaluate", w / "run"]


@case("to export: a head that is a link to a private file", "head.safetensors", "outside")
def _(w: World):
    run = w.copy("run")
    (run / "head.safetensors").unlink()
    (run / "head.safetensors").symlink_to(w.file("id_rsa", "PRIVATE KEY"))
    return ["adapters", "export", run, "--to", w / "out"]


@case("to export: a head that is no head", "head.safetensors")
def _(w: World):
    run = w.copy("run")
    (run / "head.safetensors").write_text("not tensors")
    return ["adapters", "export", run, "--to", w / "out"]


@case("to export: onto files", "expected a new or empty folder")
def _(w: World):
    return ["adapters", "export", w.home / "run", "--to", w.copy("run")]


@case("to export: no run", "is not a run folder")
def _(w: World):
    return ["adapters", "export", w.folder, "--to", w / "out"]


@case("to merge: an output of another kind", "expected a name that ends in .safetensors")
def _(w: World):
    return ["adapters", "merge", w.home / "run", "--out", w / "w.pth"]


@case("to merge: a run of another base", "was trained on another base model", "--backbone")
def _(w: World):
    from tests.helpers.small import checkpoint

    other = checkpoint(w / "other.safetensors", seed=1)
    return ["adapters", "merge", w.home / "run", "--out", w / "w.safetensors", "--backbone", other]


@case("to list: no run", "is not a run folder")
def _(w: World):
    return ["adapters", "list", w / "nowhere"]


@case("to list: a record of text for bytes", "run.json", "bytes")
def _(w: World):
    return ["adapters", "list", w.record(adapter={"bytes": "many"}).parent]
