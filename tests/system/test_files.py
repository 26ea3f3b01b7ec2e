"""Files written whole or not at all, also on a full disk; files found by name.

A disk is full as far as a process can tell: no file may grow beyond a limit. The system's own
refusal, in every library that writes; the same command resumes once there is space.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys

import pytest

from hyperpeft import cli
from hyperpeft.errors import ConfigError
from hyperpeft.models import load_backbone
from hyperpeft.runs.experiment import run
from hyperpeft.system.files import cache_folder, data_folders, find_file, replacing, sha256_of
from tests.helpers.small import config, yaml_file


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == path.parent
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_follow_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"), replacing(tmp_path / "file" / "a"):
        pass


def test_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "d"))
    assert data_folders() == [tmp_path / "d", tmp_path / "c"]
    monkeypatch.delenv("HYPERPEFT_DATA")
    assert data_folders() == [tmp_path / "c"]
    monkeypatch.setenv("HYPERPEFT_DATA", "~nobody-of-this-name/x")
    with pytest.raises(
        ConfigError, match="HYPERPEFT_DATA=~nobody-of-this-name/x: expected a folder"
    ):
        find_file(["a"])
    monkeypatch.delenv("HYPERPEFT_DATA")
    monkeypatch.setenv("HYPERPEFT_CACHE", "~nobody-of-this-name")
    with pytest.raises(
        ConfigError, match="HYPERPEFT_CACHE=~nobody-of-this-name: expected a folder"
    ):
        cache_folder()
    monkeypatch.delenv("HYPERPEFT_CACHE")
    pooch = pytest.importorskip("pooch")
    assert cache_folder() == pooch.os_cache("hyperpeft")


def test_search(tmp_path, monkeypatch):
    data, cache = tmp_path / "d", tmp_path / "c"
    monkeypatch.setenv("HYPERPEFT_DATA", str(data))
    monkeypatch.setenv("HYPERPEFT_CACHE", str(cache))
    for path in (
        data / "x" / "deep" / "A.mat",
        data / "y" / "a.MAT",
        cache / "a.mat",
        cache / "b.mat",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (data / ".hidden").mkdir()
    (data / ".hidden" / "c.mat").touch()
    assert find_file(["a.mat"]) == data / "y" / "a.MAT"  # data first, nearest to the top, any case
    assert find_file(["b.mat", "a.mat"]) == data / "y" / "a.MAT"
    assert find_file(["B.MAT"]) == cache / "b.mat"
    assert find_file(["c.mat"]) is None


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
    pytest.importorskip("resource")  # not on Windows
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


KEPT = """
import resource, sys, threading
import torch
from hyperpeft.system.resources import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
def work():
    for number in range(60):
        if number == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.empty(size).fill_(1.0) for size in [2**20] * 6]
        del tensors
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)  # maps are made in one
thread.start()
thread.join()
"""


def test_freed_memory_is_kept_where_the_allocator_can():
    def run_with(word, **more):
        done = subprocess.run(
            [sys.executable, "-c", KEPT, word], capture_output=True, text=True, check=True,
            env={**os.environ, **more},
        )  # fmt: skip
        kept, faults = done.stdout.split()
        return kept, int(faults)

    kept, faults = run_with("keep")
    if kept == "False":
        pytest.skip("the allocator is not glibc's")
    assert faults < 5000  # 50 rounds of 6,144 pages
    chosen, faults = run_with("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert chosen == "False"  # the user's value stands, and costs what it costs
    assert faults > 100_000
    kept, faults = run_with("keep", MALLOC_TRIM_THRESHOLD_="65536")
    assert kept == "True"  # dask's, of every worker
    assert faults < 5000
