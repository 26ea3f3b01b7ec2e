"""Files given as --backbone that are no weights of an encoder."""

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
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.corpus.arrays import bomb
from tests.corpus.table import heading
from tests.corpus.world import World

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
