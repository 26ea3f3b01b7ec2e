"""One process at a time on one output, and a lock that ends with its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.runs.experiment import run
from hyperpeft.system.locks import LOCK, InUse, locked
from tests.helpers.small import HEADS, PROGRAM, config, options, yaml_file

HOLD = (
    "import sys, time; from pathlib import Path; from hyperpeft.system.locks import locked\n"
    "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)
# The child outlives its parent by far, as one that prepares data does by seconds.
HOLD_AND_FORK = (
    "import os, sys, time; from pathlib import Path; from hyperpeft.system.locks import locked\n"
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
