"""Checkpoints and adapter folders that are damaged, of another model, or meant to harm."""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.corpus.arrays import bomb
from tests.corpus.cases import World, heading

case = heading("checkpoints")


def changed(w: World, change: Callable[[dict[str, Tensor]], Any], name: str = "w.safetensors"):
    """`train` on the good encoder with its tensors changed."""
    tensors = load_file(w.home / "e.safetensors")
    change(tensors)
    if name.endswith(".safetensors"):
        save_file(tensors, w / name)
    else:
        torch.save({"model": tensors}, w / name)
    return w.train(backbone=w / name)


class Opens:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@case("a pickle that runs code", "is not a PyTorch file of tensors alone", "can run code")
def _(w: World):
    torch.save({"model": {"a": torch.ones(1)}, "args": Opens(w / "made")}, w / "w.pth")
    return w.train(backbone=w / "w.pth")


@case("an old pickle that runs code", "is not a PyTorch file of tensors alone", "can run code")
def _(w: World):
    torch.save({"args": Opens(w / "made")}, w / "w.pth", _use_new_zipfile_serialization=False)
    return ["backbones", "convert", w / "w.pth"]


@case("a whole model instead of its tensors", "is not a PyTorch file of tensors alone")
def _(w: World):
    torch.save(torch.nn.Linear(2, 2), w / "w.pth")
    return w.train(backbone=w / "w.pth")


@case("an empty file", "w.pth is not a PyTorch file of tensors alone")
def _(w: World):
    return w.train(backbone=w.file("w.pth", ""))


@case("a web page", "w.pth is not a PyTorch file of tensors alone")
def _(w: World):
    return w.train(backbone=w.file("w.pth", "<!DOCTYPE html><html>Zenodo</html>"))


@case("a PyTorch file cut short", "w.pth is not a PyTorch file of tensors alone")
def _(w: World):
    words = changed(w, lambda tensors: None, "w.pth")
    w.cut(w / "w.pth")
    return words


@case("a dictionary of nothing", "expected a state dictionary")
def _(w: World):
    torch.save({"model": {}}, w / "w.pth")
    return w.train(backbone=w / "w.pth")


@case("numbers beside tensors", "expected tensors only", "epoch")
def _(w: World):
    torch.save({"model": {"a": torch.ones(1), "epoch": 3}}, w / "w.pth")
    return w.train(backbone=w / "w.pth")


@case("arguments only", "expected")
def _(w: World):
    torch.save(argparse.Namespace(lr=1), w / "w.pth")
    return w.train(backbone=w / "w.pth")


@case("a PyTorch file that is a bomb", "w.pth", "unpacks to")
def _(w: World):
    return w.train(backbone=bomb(w / "w.pth", "archive/data/{}"))


@case("weights of another model", "does not hold a SpectralGPT encoder")
def _(w: World):
    save_file({"conv1.weight": torch.ones(3, 3)}, w / "w.safetensors")
    return w.train(backbone=w / "w.safetensors")


@case("a tensor is missing", "missing blocks.1.attn.q.weight")
def _(w: World):
    return changed(w, lambda tensors: tensors.pop("blocks.1.attn.q.weight"))


@case("a tensor too many", "unexpected blocks.0.gamma")
def _(w: World):
    return changed(w, lambda tensors: tensors.update({"blocks.0.gamma": torch.ones(4)}))


@case("a tensor of another shape", "norm.weight has shape (7,) instead of (48,)")
def _(w: World):
    return changed(w, lambda tensors: tensors.update({"norm.weight": torch.ones(7)}))


@case("a block with the number of a million", "depth 3: missing blocks.2.norm1.weight")
def _(w: World):
    return changed(
        w, lambda tensors: tensors.update({"blocks.1000000.norm1.weight": torch.ones(48)})
    )


@case("a width whose model would fill the machine", "does not hold a SpectralGPT encoder", "norm1")
def _(w: World):
    wide = torch.zeros(399_999, 1, 3, 8, 8, dtype=torch.float8_e4m3fn)[:, :, :1, :1, :1]
    return changed(
        w, lambda tensors: tensors.update({"patch_embed.proj.weight": wide.contiguous()})
    )


@case("weights that are NaN", "norm.weight holds other than finite real numbers")
def _(w: World):
    return changed(w, lambda tensors: tensors["norm.weight"].fill_(float("nan")))


@case("whole numbers for weights", "norm.weight holds other than finite real numbers")
def _(w: World):
    return changed(
        w, lambda tensors: tensors.update({"norm.weight": torch.ones(48, dtype=torch.int64)})
    )


@case("safetensors cut short", "is not a readable safetensors file")
def _(w: World):
    words = changed(w, lambda tensors: None)
    w.cut(w / "w.safetensors")
    return words


@case("safetensors with a header of a terabyte", "is not a readable safetensors file")
def _(w: World):
    return w.train(backbone=w.file("w.safetensors", struct.pack("<Q", 2**40) + b"{}"))


@case("safetensors whose offsets lie behind its end", "is not a readable safetensors file")
def _(w: World):
    head = json.dumps({"a": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}})
    content = struct.pack("<Q", len(head)) + head.encode()
    return w.train(backbone=w.file("w.safetensors", content))


@case("an empty safetensors file", "is not a readable safetensors file")
def _(w: World):
    return w.train(backbone=w.file("w.safetensors", ""))


@case("heads that do not divide the width", "expected num_heads, a divisor of 48")
def _(w: World):
    file = w.file("run.yaml", "num_heads: 5\n")
    return w.train(config=file)


@case("heads that no file stores", "attention heads of a width of 48 is not stored")
def _(w: World):
    return w.train(config=None)


@case("a folder", "no such name or file")
def _(w: World):
    return w.train(backbone=w.folder)


@case("a file that is not there", "no such name or file")
def _(w: World):
    return w.train(backbone=w / "w.pth")


@case("a built-in size's trained weights from scratch", "cannot start from scratch")
def _(w: World):
    return [*w.train(), "--no-pretrained"]


@case("to convert: a file that is not there", "checkpoint", "does not exist")
def _(w: World):
    return ["backbones", "convert", w / "w.pth"]


@case("to convert: its own output", "e.safetensors would replace the checkpoint")
def _(w: World):
    return ["backbones", "convert", w.copy("e.safetensors")]


@case("to convert: an output of another kind", "expected a name that ends in .safetensors")
def _(w: World):
    return ["backbones", "convert", w / "w.pth", "--out", w / "w.bin"]


@case("to convert: a text", "is not a PyTorch file of tensors alone")
def _(w: World):
    return ["backbones", "convert", w.file("w.pth", "weights")]


@case("to convert: an archive of something else", "is not a PyTorch file of tensors alone")
def _(w: World):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../evil.txt", "hello")
    return ["backbones", "convert", w.file("w.pth", buffer.getvalue())]


folder_case = heading("adapter folders")


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


@folder_case("no configuration", "holds no adapter", "expected adapter_config.json")
def _(w: World):
    (adapter(w) / "adapter_config.json").unlink()
    return ["evaluate", w / "run"]


@folder_case("a configuration cut short", "adapter_config.json cannot be read")
def _(w: World):
    w.cut(adapter(w) / "adapter_config.json")
    return ["evaluate", w / "run"]


@folder_case("a configuration that is a list", "a JSON object with peft_type")
def _(w: World):
    (adapter(w) / "adapter_config.json").write_text("[1, 2]")
    return ["evaluate", w / "run"]


@folder_case("a configuration nested without end", "adapter_config.json cannot be read", "nested")
def _(w: World):
    (adapter(w) / "adapter_config.json").write_text('{"peft_type": ' + "[" * 200_000)
    return ["evaluate", w / "run"]


@folder_case("a configuration of 100 MB", "adapter_config.json", "expected at most")
def _(w: World):
    with (adapter(w) / "adapter_config.json").open("wb") as file:
        file.truncate(100 * 2**20)
    return ["evaluate", w / "run"]


@folder_case(
    "a configuration that says another scale", "alpha in", "take both files from the same save"
)
def _(w: World):
    return config(w, lambda values: values.update(alpha=99))


@folder_case("no tensors", "holds no adapter", "expected adapter_model.safetensors")
def _(w: World):
    (adapter(w) / "adapter_model.safetensors").unlink()
    return ["evaluate", w / "run"]


@folder_case("a pickle in the place of tensors", "is a pickle, which can run code")
def _(w: World):
    folder = adapter(w)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    return ["evaluate", w / "run"]


@folder_case("tensors cut short", "adapter_model.safetensors cannot be read")
def _(w: World):
    w.cut(adapter(w) / "adapter_model.safetensors")
    return ["evaluate", w / "run"]


@folder_case("a tensor of NaN", "holds other than finite real numbers")
def _(w: World):
    return tensors(w, lambda found: found[first(found)].fill_(float("nan")))


@folder_case("a tensor of another shape", "has shape (3, 3) instead of")
def _(w: World):
    return tensors(w, lambda found: found.update({first(found): torch.ones(3, 3)}))


@folder_case("a tensor is missing", "does not fit this model", "missing base_model.model.blocks.0")
def _(w: World):
    return tensors(w, lambda found: found.pop(first(found)))


@folder_case("a tensor too many", "unexpected base_model.model.head.evil")
def _(w: World):
    return tensors(w, lambda found: found.update({"base_model.model.head.evil": torch.ones(2)}))


@folder_case("text for tensors", "holds other than finite real numbers")
def _(w: World):
    return tensors(w, lambda found: found.update({first(found): found[first(found)].int()}))


@folder_case("a method that is unknown", "lorra")
def _(w: World):
    return tensors(w, metadata=lambda values: values.update(method="lorra"))


@folder_case("layers that are not there", "targets", "zz")
def _(w: World):
    return tensors(w, metadata=lambda values: values.update(targets=["zz"]))


@folder_case("a rank that would fill the machine", "rank", "1000000000")
def _(w: World):
    return tensors(
        w, metadata=lambda values: values.update(method="lora", options={"rank": 1_000_000_000})
    )


@folder_case("terms that would fill the machine", "terms", "1000000000")
def _(w: World):
    return tensors(w, metadata=lambda values: values["options"].update({"terms": 1_000_000_000}))


@folder_case("more said than there is to say", "metadata of")
def _(w: World):
    return tensors(w, metadata=lambda values: values.update(run="rm -rf"))


@folder_case("a link to a file elsewhere", "adapter_model.safetensors", "outside")
def _(w: World):
    path = adapter(w) / "adapter_model.safetensors"
    path.rename(w / "elsewhere.safetensors")
    path.symlink_to(w / "elsewhere.safetensors")
    return ["evaluate", w / "run"]


@folder_case("to export: a head that is a link to a private file", "head.safetensors", "outside")
def _(w: World):
    run = w.copy("run")
    (run / "head.safetensors").unlink()
    (run / "head.safetensors").symlink_to(w.file("id_rsa", "PRIVATE KEY"))
    return ["adapters", "export", run, "--to", w / "out"]


@folder_case("to export: a head that is no head", "head.safetensors")
def _(w: World):
    run = w.copy("run")
    (run / "head.safetensors").write_text("not tensors")
    return ["adapters", "export", run, "--to", w / "out"]


@folder_case("to export: onto files", "expected a new or empty folder")
def _(w: World):
    return ["adapters", "export", w.home / "run", "--to", w.copy("run")]


@folder_case("to export: no run", "is not a run folder")
def _(w: World):
    return ["adapters", "export", w.folder, "--to", w / "out"]


@folder_case("to merge: an output of another kind", "expected a name that ends in .safetensors")
def _(w: World):
    return ["adapters", "merge", w.home / "run", "--out", w / "w.pth"]


@folder_case("to merge: a run of another base", "was trained on another base model", "--backbone")
def _(w: World):
    from tests.helpers.small import checkpoint

    other = checkpoint(w / "other.safetensors", seed=1)
    return ["adapters", "merge", w.home / "run", "--out", w / "w.safetensors", "--backbone", other]


@folder_case("to list: no run", "is not a run folder")
def _(w: World):
    return ["adapters", "list", w / "nowhere"]


@folder_case("to list: a record of text for bytes", "run.json", "bytes")
def _(w: World):
    return ["adapters", "list", w.record(adapter={"bytes": "many"}).parent]
