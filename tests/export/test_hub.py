"""A run goes to a stand-in of the hub and comes back, through the command line."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

from hyperpeft import load_run
from hyperpeft.export.hub import model_card
from hyperpeft.runs.experiment import run
from hyperpeft.runs.record import RunRecord
from tests.helpers.servers import hub_server
from tests.helpers.small import PROGRAM, config, planted


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("hub")
    run(config(place, place / "run", epochs=2))
    return place


@pytest.fixture(scope="module")
def hub():
    with hub_server() as server:
        yield server


def command(hub, home, *words, token="hf_test"):
    env = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": token,
           "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
    env.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [*PROGRAM, "hub", *map(str, words)], capture_output=True, text=True, env=env, timeout=300,
        check=False,
    )  # fmt: skip


def test_round_trip(folder, hub, tmp_path):
    done = command(hub, tmp_path / "home", "push", folder / "run", "me/planted")
    assert done.returncode == 0, done.stderr
    names = set(hub.files["me/planted"])
    assert names == {
        "README.md", "run.json", "head.safetensors", "reducer.safetensors",
        "refinement.safetensors",
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors",
    }  # fmt: skip
    for name in names:  # where a user keeps files stays with the user
        assert str(folder).encode() not in hub.files["me/planted"][name], name
    shared = hub.files["me/planted"]["run.json"].decode()
    assert json.loads(shared)["config"]["scene"] == "scene.tif"

    done = command(hub, tmp_path / "home", "pull", "me/planted", "--to", tmp_path / "pulled")
    assert done.returncode == 0, done.stderr
    assert {p.relative_to(tmp_path / "pulled").as_posix()
            for p in (tmp_path / "pulled").rglob("*") if p.is_file()} == names  # fmt: skip
    assert [p.name for p in tmp_path.iterdir() if "part-" in p.name] == []
    backbone = folder / "e.safetensors"
    ours = load_run(folder / "run").predict(planted(seed=1))
    theirs = load_run(tmp_path / "pulled", backbone=backbone).predict(planted(seed=1))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("method", "model"), [("svm", "model.onnx"), ("rf", "model.onnx"), ("ssftt", "network")]
)
def test_a_baseline_travels_and_maps(hub, tmp_path, method, model):
    """Without a backbone: features, and numbers of trees, vectors or a network."""
    run(config(tmp_path, tmp_path / "run", method=method, epochs=1))
    done = command(hub, tmp_path / "home", "push", tmp_path / "run", f"me/{method}")
    assert done.returncode == 0, done.stderr
    names = set(hub.files[f"me/{method}"])
    assert {"run.json", "README.md", "features.safetensors"} < names
    assert any(name.startswith(model) for name in names)
    assert all(name.endswith((".json", ".md", ".safetensors", ".onnx")) for name in names)
    card = hub.files[f"me/{method}"]["README.md"].decode()
    assert "A baseline that classifies" in card
    assert "base weights" not in card
    done = command(hub, tmp_path / "home", "pull", f"me/{method}", "--to", tmp_path / "pulled")
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        load_run(tmp_path / name).predict(planted(seed=1)) for name in ("run", "pulled")
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_baseline_without_its_model_is_not_shared(hub, tmp_path):
    run(config(tmp_path, tmp_path / "run", method="svm"))
    (tmp_path / "run" / "model.onnx").unlink()
    done = command(hub, tmp_path / "home", "push", tmp_path / "run", "me/broken")
    assert done.returncode == 2
    assert "expected model.onnx or network.safetensors" in done.stderr
    hub.files["me/part"] = {"run.json": (tmp_path / "run" / "run.json").read_bytes()}
    done = command(hub, tmp_path / "home", "pull", "me/part", "--to", tmp_path / "x")
    assert done.returncode == 2
    assert "holds a run without features.safetensors and model.onnx" in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_card_has_leakage_beside_accuracy(folder):
    record = RunRecord.from_file(folder / "run" / "run.json")
    card = model_card(record, "me/planted")
    row = next(line for line in card.splitlines() if f"{record.metrics['oa']:.2f}" in line)
    leak = record.split["leakage"]["test_windows_touching_train"]
    assert f"{100 * leak:.0f} % of the test windows" in row
    assert record.split["kind"] in row
    assert "hyperpeft hub pull me/planted" in card


def test_an_existing_folder_is_not_touched(folder, hub, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    done = command(hub, tmp_path / "home", "pull", "me/planted", "--to", tmp_path / "mine")
    assert done.returncode == 2
    assert "exists; choose another --to" in done.stderr
    assert (tmp_path / "mine" / "note.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pull", "me/nothing", "--to", "x"), "me/nothing on the hub"),
        (("pull", "me/empty", "--to", "x"), "me/empty holds no run"),
        (("pull", "not a name", "--to", "x"), "NAME/REPOSITORY"),
        (("push", "nowhere", "me/planted"), "is not a run folder"),
    ],
)
def test_what_cannot_be_shared_ends_with_one_line(hub, tmp_path, words, says):
    hub.files["me/empty"] = {"model.pkl": b"code"}
    words = tuple(str(tmp_path / w) if w == "x" else w for w in words)
    done = command(hub, tmp_path / "home", *words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_damaged_run_is_not_kept(hub, tmp_path):
    hub.files["me/damaged"] = {
        "run.json": b"{}",
        "head.safetensors": b"",
        "reducer.safetensors": b"",
    }
    done = command(hub, tmp_path / "home", "pull", "me/damaged", "--to", tmp_path / "x")
    assert done.returncode == 2
    assert "is not a run record" in done.stderr
    assert list(tmp_path.glob("*x*")) == []


def test_a_server_that_is_not_there(tmp_path, folder):
    class Nowhere:
        address = "http://127.0.0.1:9"

    done = command(Nowhere, tmp_path / "home", "push", folder / "run", "me/planted")
    assert done.returncode == 2
    assert "me/planted on the hub" in done.stderr
