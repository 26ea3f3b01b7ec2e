"""Output folders: one process at a time, the order of the checks, no input replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from rasterio.shutil import copy

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.runs.experiment import run
from hyperpeft.runs.inputs import inputs_of
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import open_scene
from hyperpeft.scenes.sources import files_of
from hyperpeft.system.output_folder import LOCK, InUse, locked, output_folder, refuse_inputs
from tests.helpers.scene_files import envi, geotiff
from tests.helpers.small import HEADS, PROGRAM, config, options, yaml_file

HOLD = (
    "import sys, time; from pathlib import Path\n"
    "from hyperpeft.system.output_folder import locked\n"
    "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)
# The child outlives its parent by far, as one that prepares data does by seconds.
HOLD_AND_FORK = (
    "import os, sys, time; from pathlib import Path\n"
    "from hyperpeft.system.output_folder import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    if os.fork() == 0: print(os.getpid(), flush=True)\n"  # once it is all there
    "    time.sleep(60)"
)


def start(code: str, path: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    with start(HOLD, path) as process:
        assert process.stdout.readline() == "held\n"
        expected = f"^it is in use by process {process.pid} on .*; wait"
        with pytest.raises(InUse, match=expected), locked(path, "it"):
            pass
        process.kill()
    assert path.exists()
    with locked(path, "it"):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_hold_what_its_parent_held(tmp_path):
    path = tmp_path / "lock"
    with start(HOLD_AND_FORK, path) as process:
        child = int(process.stdout.readline())
        with pytest.raises(InUse), locked(path):
            pass
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        with locked(path):
            pass
        os.kill(child, 9)


def test_nothing_is_left_of_a_lock_that_was_of_no_use(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a" / "b" / "lock"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "lock"):
        (tmp_path / "a" / "b").mkdir()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


def test_a_lock_that_has_gone_with_its_folder_takes_no_other_with_it(tmp_path):
    path = tmp_path / "a" / "lock"
    with locked(path):
        path.unlink()
        with locked(path):  # another process, in a folder that is new
            path.rename(tmp_path / "kept")
            path.write_text("of a third")
    assert path.read_text() == "of a third"


def test_waiting(tmp_path):
    with start(HOLD.replace("60", "1"), tmp_path / "lock") as process:
        process.stdout.readline()
        with locked(tmp_path / "lock", wait=True):
            assert process.wait() == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whoever may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        for path in (tmp_path / "lock", tmp_path / "a" / "lock"):
            with pytest.raises(ConfigError, match="cannot be written"), locked(path):
                pass
    finally:
        tmp_path.chmod(0o700)


class TestCommands:
    """Every command that writes refuses an output on which another process is at work."""

    @pytest.fixture(scope="class")
    def world(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("world")
        run(config(folder, folder / "run", epochs=1, map=False, image_size=8))
        given = {k: v for k, v in options(folder, "unused").items() if k != "out"}
        yaml_file(folder / "run.yaml", given)
        stages = [{"steps": 2, "image_size": 16}]
        weights = {"backbone": str(folder / "e.safetensors"), "num_heads": HEADS}
        (folder / "pretrain.yaml").write_text(yaml.safe_dump({**weights, "stages": stages}))
        scenes = {"a": {"scene": given["scene"], "labels": given["labels"]}}
        bench = {"name": "b", "common": weights, "scenes": scenes, "methods": ["probe"],
                 "budgets": [{"per_class": 8}]}  # fmt: skip
        (folder / "bench.yaml").write_text(json.dumps(bench))
        return folder

    @pytest.mark.parametrize(
        ("words", "lock"),
        [
            ("train {0}/scene.tif --config {0}/run.yaml --out {1}/o", f"o/{LOCK}"),
            ("demo --out {1}/o", f"o/{LOCK}"),
            ("pretrain {0}/pretrain.yaml --out {1}/o", f"o/{LOCK}"),
            ("bench {0}/bench.yaml --out {1}/o", "o/work/lock"),
            ("map {0}/run --out {1}/m.tif", "m.tif.work/lock"),
            ("report {0}/run --out {1}/o", f"o/{LOCK}"),
        ],
        ids=lambda words: words.split()[0],
    )
    def test_are_refused_while_another_process_is_at_work(
        self, world, tmp_path, monkeypatch, capsys, words, lock
    ):
        from hyperpeft import cli

        arguments = words.format(world, tmp_path).split()
        monkeypatch.setattr(sys, "argv", ["hyperpeft", *arguments, "--quiet"])
        with locked(tmp_path / lock), pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert f"is in use by process {os.getpid()} on " in said
        assert said.startswith("error: ")
        assert len(said.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    def test_two_at_once(self, world, tmp_path):
        """Of two that are started together one trains, and the other one says why it does not."""
        words = ["train", f"{world}/scene.tif", "--config", f"{world}/run.yaml", "--epochs", "60",
                 "--out", f"{tmp_path}/o", "--quiet"]  # fmt: skip
        both = [
            subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        said = [process.communicate(timeout=300)[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 2]
        refused, trained = (both.index(p) for p in sorted(both, key=lambda p: -p.returncode))
        assert f"is in use by process {both[trained].pid} on " in said[refused]
        assert (tmp_path / "o" / "run.json").is_file()
        assert not (tmp_path / "o" / LOCK).exists()


class TestRunFolder:
    """What a killed run leaves is gone on with; what is someone else's is left alone."""

    def test_killed_before_its_first_checkpoint(self, tmp_path):
        """The folder holds a lock of a process that is gone, and half a checkpoint."""
        how = config(tmp_path, tmp_path / "run", epochs=1, map=False)
        (tmp_path / "run" / "checkpoint").mkdir(parents=True)
        (tmp_path / "run" / LOCK).write_text("process 1 on elsewhere\n")
        (tmp_path / "run" / "checkpoint" / ".state.part-abcdefgh.pt").write_bytes(b"half")
        (tmp_path / "run" / ".map.part-abcdefgh.tif").write_bytes(b"half")
        assert run(how).metrics["oa"] is not None
        assert not [p for p in (tmp_path / "run").rglob("*") if p.name.startswith(".")]

    def test_a_wrong_scene_leaves_no_folder(self, tmp_path):
        how = config(tmp_path, tmp_path / "runs" / "run")
        with pytest.raises(SceneError):
            run(how.model_copy(update={"scene": str(tmp_path / "no.tif")}))
        assert not (tmp_path / "runs").exists()


def test_a_refused_folder_is_not_touched(tmp_path):
    def refuse(_):
        raise ConfigError("it holds something else")

    out = tmp_path / "a" / "out"
    with pytest.raises(ConfigError, match="something else"), output_folder(out, "it", check=refuse):
        pass
    scene = tmp_path / "scene.tif"
    scene.write_bytes(b"cube")
    given = {"outputs": [scene], "inputs": [("the scene", scene)]}
    with pytest.raises(ConfigError, match="would replace"), output_folder(out, "it", **given):
        pass
    with pytest.raises(ConfigError, match="is a file"), output_folder(scene, "it"):
        pass
    assert list(tmp_path.iterdir()) == [scene]


def test_the_content_is_checked_again_under_the_lock(tmp_path):
    """Another process may have ended between the check and the lock."""
    seen = []

    def check(cut_off):
        seen.append((cut_off, (tmp_path / LOCK).is_file()))

    with output_folder(tmp_path, "it", check=check):
        with pytest.raises(InUse, match=r"^it is in use by"), output_folder(tmp_path, "it"):
            pass
        assert (tmp_path / LOCK).is_file()
    assert seen == [(False, False), (False, True)]
    (tmp_path / LOCK).write_text("process 1 on elsewhere\n")
    with output_folder(tmp_path, "it", check=check):
        pass
    assert seen[2:] == [(True, True), (True, True)]
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_swept(tmp_path):
    places = [tmp_path, tmp_path / "cells", tmp_path / "work"]
    for place in places:
        place.mkdir(exist_ok=True)
        (place / ".map.part-abcdefgh.tif").write_bytes(b"half")
    with output_folder(tmp_path, "it", lock="work/lock", leftovers=(".", "cells")):
        left = [path.parent.name for path in tmp_path.rglob(".*.part-*")]
    assert left == ["work"]
    with output_folder(tmp_path, "it"):
        assert not list(tmp_path.rglob(".*.part-*"))


def test_other_processes_of_one_task_take_no_lock(tmp_path):
    with (
        locked(tmp_path / LOCK, "it"),
        output_folder(tmp_path, "it", first=False),
    ):
        pass
    assert not (tmp_path / LOCK).exists()


def refused(output, path, what="the scene"):
    with pytest.raises(ConfigError, match="would replace") as error:
        refuse_inputs([output], [(what, path)])
    assert f"{output} would replace " in str(error.value)
    assert str(path) in str(error.value)


def test_the_same_file_by_any_name(tmp_path, monkeypatch):
    scene, other = tmp_path / "scene.tif", tmp_path / "other.tif"
    scene.write_bytes(b"cube")
    other.write_bytes(b"cube")
    (tmp_path / "soft.tif").symlink_to(scene)
    (tmp_path / "hard.tif").hardlink_to(scene)
    (tmp_path / "folder").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("scene.tif", "soft.tif", "hard.tif", "folder/scene.tif"):
        refused(Path(name), scene)
        refused(tmp_path / name, Path("scene.tif"))
    refuse_inputs([other, tmp_path / "new.tif"], [("the scene", scene), ("labels", Path("nix"))])


def test_folders_stand_for_what_is_in_them(tmp_path):
    store = tmp_path / "run" / "adapter" / "deep"
    store.mkdir(parents=True)
    inner = store / "weights"
    inner.write_bytes(b"w")
    refused(tmp_path / "run/adapter", inner, "the backbone")
    refused(inner, tmp_path / "run/adapter")
    refuse_inputs([store / "new"], [("the scene", store)])
    refuse_inputs([tmp_path / "run/head"], [("the backbone", inner)])


def test_inputs_are_looked_for_only_where_something_could_be_lost(tmp_path):
    def never():
        raise AssertionError
        yield

    refuse_inputs([tmp_path / "new"], never())


def test_files_of_scenes(tmp_path):
    """What belongs to a cube, and what it is made of."""
    values = np.random.default_rng(0).normal(size=(6, 7, 5)).astype(np.float32)
    first, second = (geotiff(tmp_path / name, values) for name in ("a.tif", "b.tif"))
    assert set(files_of(f"{first},{second}")) >= {first, second}
    assert set(files_of(tmp_path / "*.tif")) >= {first, second}
    assert set(files_of(tmp_path)) >= {first, second}
    copy(first, tmp_path / "v.vrt", driver="VRT")
    assert set(files_of(tmp_path / "v.vrt")) >= {tmp_path / "v.vrt", first}
    text = (tmp_path / "v.vrt").read_text()  # GDAL's own copy of a VRT names the source at once
    (tmp_path / "w.vrt").write_text(text.replace("a.tif", "v.vrt"))
    assert set(files_of(tmp_path / "w.vrt")) >= {tmp_path / "w.vrt", tmp_path / "v.vrt", first}
    data = envi(tmp_path / "c.bsq", values)
    for name in ("c.bsq", "c.hdr"):
        assert set(files_of(tmp_path / name)) >= {data, tmp_path / "c.hdr"}
    assert files_of("demo") == files_of(tmp_path / "nix.tif") == []
    assert files_of(f"{tmp_path / 'nix.mat'}:key") == files_of(f"{first},nix.tif") == []


def test_files_of_a_product_and_a_card(tmp_path, monkeypatch):
    folder = tmp_path / "L2A"
    folder.mkdir()
    names = {"E-METADATA.XML", "E-SPECTRAL_IMAGE.TIF", "E-QL_QUALITY_CLOUD.TIF"}
    for name in (*names, "notes.tif"):
        (folder / name).write_bytes(b"x")
    for spec in (folder, folder / "E-SPECTRAL_IMAGE.TIF"):
        found = {p.name for p in files_of(spec)}
        assert names <= found
        assert "notes.tif" not in found
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path))
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "none"))
    cube = tmp_path / "SalinasA_corrected.mat"
    cube.write_bytes(b"x")
    assert files_of("salinas-a") == [cube]


def test_inputs_of_a_configuration(tmp_path):
    for name in ("s.npy", "l.npy", "a.npy", "b.npy", "split.npz", "w.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    place = f"{tmp_path}/"
    given = {
        "scene": f"{place}s.npy", "labels": f"{place}l.npy:ids",
        "backbone": f"{place}w.safetensors", "split": f"{place}a.npy,{place}b.npy",
    }  # fmt: skip
    found = [(what, path.name) for what, path in inputs_of(given)]
    assert found == [
        ("the scene", "s.npy"), ("the labels", "l.npy"), ("the split", "a.npy"),
        ("the split", "b.npy"), ("the backbone", "w.safetensors"),
    ]  # fmt: skip
    assert list(inputs_of({"split": f"{place}split.npz"})) == [
        ("the split", tmp_path / "split.npz")
    ]
    for split in ("disjoint", "official", None):
        assert list(inputs_of({"scene": "demo", "split": split, "labels": None})) == []


def test_a_run_keeps_its_base_and_its_map_may_be_made_again(tmp_path):
    """Nothing of an earlier run is lost before the refusal, either."""
    out = tmp_path / "run"
    run(config(tmp_path, out, method="full", epochs=1, per_class=4))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    second = config(
        tmp_path, out, method="full", backbone=str(out / "backbone.safetensors"), epochs=1
    )
    with pytest.raises(ConfigError, match="would replace the backbone"):
        run(second, overwrite=True)
    loaded = load_run(out)
    for name in ("scene.tif", "scene_labels.tif"):
        kept = (tmp_path / name).read_bytes()
        with pytest.raises(ConfigError, match=f"{name} would replace"):
            loaded.map(open_scene(tmp_path / "scene.tif"), tmp_path / name)
        assert (tmp_path / name).read_bytes() == kept
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    for _ in range(2):
        assert loaded.map(open_scene(tmp_path / "scene.tif"), out / "map.tif").pixels
