"""A disk that is full, as far as a process can tell: no file may grow beyond a limit.

The system's own refusal, in every library that writes; the same command resumes once there is
space.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from hyperpeft import cli
from hyperpeft.models import load_backbone
from hyperpeft.runs.experiment import run
from tests.helpers.small import config, yaml_file

resource = pytest.importorskip("resource")  # not on Windows
SCRIPT = """
import resource, sys
from hyperpeft import cli
import torch, matplotlib.pyplot, rasterio, hyperpeft.runs.experiment  # what they write is bytecode
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
cli.main()
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    run(config(folder, folder / "run", epochs=1, map=False))
    return folder


def call(size: int, *words: object) -> subprocess.CompletedProcess[str]:
    """The command line where no file may have more than `size` bytes."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(size), *map(str, words)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], name: str) -> None:
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert f"{name} cannot be written" in last
    assert "make room, or choose another folder" in last
    assert "Traceback" not in done.stderr


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def goes_on(monkeypatch, *words: object) -> None:
    """The same command where there is space, in this process."""
    monkeypatch.setattr(sys, "argv", ["hyperpeft", *map(str, words)])
    cli.main()


def test_safetensors(world, tmp_path):
    """What was there before is kept."""
    out = tmp_path / "w.safetensors"
    out.write_bytes(b"mine")
    refused(call(50_000, "adapters", "merge", world / "run", "--out", out), "w.safetensors")
    assert out.read_bytes() == b"mine"
    assert files(tmp_path) == ["w.safetensors"]


def test_a_map(world, tmp_path, monkeypatch):
    words = ["map", world / "run", "--out", tmp_path / "m.tif", "--probabilities", "--confidence"]
    refused(call(5_000, *words), "tile-0000000-0000000.npz")
    assert files(tmp_path) == []
    goes_on(monkeypatch, *words)
    assert "m.tif" in files(tmp_path)


def test_training_goes_on_when_there_is_room(world, tmp_path, monkeypatch):
    """The checkpoint is written, the picture of the map is not; then the same command ends."""
    file = yaml_file(tmp_path / "run.yaml", {"num_heads": 3, "patch_size": 5, "epochs": 2})
    words = [
        "train", world / "scene.tif", "--labels", world / "scene_labels.tif", "--per-class", 8,
        "--method", "krona+", "--backbone", world / "e.safetensors", "--config", file,
        "--out", tmp_path / "run",
    ]  # fmt: skip
    refused(call(27_000, *words), "map.png")
    assert "run/checkpoint/state.pt" in files(tmp_path)
    assert "run/run.json" not in files(tmp_path)
    goes_on(monkeypatch, *words)
    assert "run/run.json" in files(tmp_path)
    assert "run/checkpoint/state.pt" not in files(tmp_path)


def test_pytorch(world, tmp_path):
    """A checkpoint of all weights."""
    words = [
        "train", world / "scene.tif", "--labels", world / "scene_labels.tif", "--per-class", 8,
        "--backbone", world / "e.safetensors", "--method", "full", "--out", tmp_path / "run",
        "--config", yaml_file(tmp_path / "run.yaml", {"num_heads": 3, "patch_size": 5,
                                                      "epochs": 1, "map": False}),
    ]  # fmt: skip
    refused(call(50_000, *words), "state.pt")
    assert files(tmp_path) == ["run.yaml"]
    assert load_backbone(world / "e.safetensors", num_heads=3).dim == 48  # nothing of it changed
