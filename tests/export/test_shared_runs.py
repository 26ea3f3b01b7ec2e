"""Runs for others: `hyperpeft adapters list | export | merge`, and a stand-in of the hub."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hyperpeft
from hyperpeft import adapters
from hyperpeft.cli import main
from hyperpeft.errors import AdapterError, BundleError, ConfigError
from hyperpeft.export import peft_folders
from hyperpeft.export.hub import model_card
from hyperpeft.export.table import export_run
from hyperpeft.models import image_size_of, load_backbone, weights_sha256
from hyperpeft.runs.experiment import run as train
from hyperpeft.runs.load import load_run
from hyperpeft.runs.record import RunRecord
from tests.helpers.runs import make_run
from tests.helpers.servers import hub_server
from tests.helpers.small import PROGRAM, planted
from tests.helpers.small import config as small_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "sa")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(monkeypatch, capsys):
    """The command line, in this process: loading torch anew takes longer than all the rest."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hyperpeft", "adapters", *map(str, words)])
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        return Done(status, *capsys.readouterr())

    return call


def images():
    return torch.randn(2, 12, 32, 32, generator=torch.Generator().manual_seed(0))


def test_list(run, tmp_path):
    (row,) = peft_folders.list_runs([run])
    assert (row.method, row.backbone, row.scene, row.oa) == ("krona+", "tiny", "scene 0", 91.25)
    assert row.parameters == 6 * 2 * (12 * 12 + 16 * 16) + 1000
    assert 0.01 < row.megabytes < 0.1
    assert peft_folders.list_runs([run.parent]) == [row]
    with pytest.raises(BundleError, match="not a run folder"):
        peft_folders.list_runs([tmp_path])


def test_list_on_the_command_line(run, command):
    shown = command("list", run)
    assert shown.returncode == 0, shown.stderr
    assert "krona+" in shown.stdout
    assert "91.25" in shown.stdout
    (row,) = json.loads(command("list", run, "--json").stdout)
    assert row["run"] == str(run)
    assert row["oa"] == 91.25


def test_listing_does_not_load_torch(run):
    code = f"""
import sys
from pathlib import Path
from hyperpeft.export.peft_folders import list_runs
list_runs([Path({str(run)!r})])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_export_is_a_folder_of_adapter_head_and_card(run, tmp_path):
    to = tmp_path / "new"
    files = peft_folders.export(run, to)
    names = ["README.md", "adapter_config.json", "adapter_model.safetensors", "head.safetensors",
             "reducer.safetensors", "run.json"]  # fmt: skip
    assert sorted(path.name for path in files) == names
    assert sorted(path.name for path in to.iterdir()) == names
    config = json.loads((to / "adapter_config.json").read_text())
    assert config["peft_type"] == "LOKR"
    assert config["base_model_name_or_path"] == "tiny"
    card = (to / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    assert "91.25 %" in card
    assert "id and name of the class: 1 class 1, 2 class 2, 3 class 3, 4 class 4\n" in card
    assert "a linear layer on the LayerNorm of the mean of the tokens (192 inputs)." in card
    assert "hyperpeft map FOLDER SCENE.tif" in card
    assert "PCA" not in card
    x = images()
    expected = adapters.load(load_backbone("tiny"), run / "adapter")(x)
    assert torch.equal(adapters.load(load_backbone("tiny"), to)(x), expected)
    assert load_file(to / "head.safetensors").keys() == load_file(run / "head.safetensors").keys()


@pytest.mark.parametrize(
    ("method", "windows"), [("krona+", 5), ("krona+", "1,5"), ("lora", 5), ("auto", 5)]
)
def test_an_export_maps(tmp_path, method, windows, monkeypatch):
    """What is exported is all that it takes: the map is the run's, to the byte."""
    place = tmp_path / "private"
    options = {"method": method, "patch_size": windows, "epochs": 1, "map": False}
    if windows != 5:  # of a ridge head only windows that help are kept
        options["head"] = "random"
    train(small_config(place, place / "run", **options))
    peft_folders.export(place / "run", tmp_path / "new")
    assert ("1 x 1, 5 x 5 pixels" in (tmp_path / "new/README.md").read_text()) == (windows != 5)
    texts = [p.read_text() for p in (tmp_path / "new").rglob("*.json")]
    assert texts
    assert not any(str(place) in text for text in texts)  # where files are stays with the user
    backbone = place / "e.safetensors"
    for folder, out in ((place / "run", "a.tif"), (tmp_path / "new", "b.tif")):
        words = ["map", folder, place / "scene.tif", "--out", tmp_path / out, "--quiet"]
        words += ["--backbone", backbone]
        monkeypatch.setattr(sys, "argv", ["hyperpeft", *map(str, words)])
        main()
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_the_card_of_a_head_that_sees_the_centre(tmp_path):
    """As the default has it; and classes in the order of the head's outputs, by their ids."""
    folder = tmp_path / "run"
    config = small_config(tmp_path, folder, epochs=1, map=False)
    assert config.centre
    train(config)
    record = json.loads((folder / "run.json").read_text())
    record["scene"].update(class_ids=[2, 1, 7], classes=["b", "a", "never trained"])
    record["scene"]["colours"] = [[0, 0, 0]] * 3
    (folder / "run.json").write_text(json.dumps(record))
    peft_folders.export(folder, tmp_path / "new")
    card = (tmp_path / "new/README.md").read_text()
    assert "class: 1 a, 2 b\n" in card
    assert "a linear layer on 48 + 12 inputs" in card
    assert "4 times the 12 components of the window's centre pixel" in card
    weight = load_file(tmp_path / "new/head.safetensors")["head.weight"]
    assert weight.shape == (2, 48 + 12)


def test_an_export_loads_in_stock_peft(run, tmp_path):
    peft = pytest.importorskip("peft")
    peft_folders.export(run, tmp_path / "new")
    x = images()
    loaded = peft.PeftModel.from_pretrained(load_backbone("tiny"), tmp_path / "new").eval()
    expected = adapters.load(load_backbone("tiny"), run / "adapter")(x)
    assert ((loaded(x) - expected).abs().max() / expected.abs().max()).item() < 1e-5


def test_what_has_no_peft_form_is_not_exported(tmp_path):
    rectangular = make_run(tmp_path / "rectangular", "krona", factors=(12, 24))
    with pytest.raises(AdapterError, match="no PEFT form: PEFT derives other sizes"):
        peft_folders.export(rectangular, tmp_path / "new")
    with pytest.raises(AdapterError, match="no PEFT form: PEFT has no sum"):
        peft_folders.export(make_run(tmp_path / "sum", terms=2), tmp_path / "new")
    with pytest.raises(AdapterError, match="trains the head only"):
        peft_folders.export(make_run(tmp_path / "probe", "probe"), tmp_path / "new")
    with pytest.raises(AdapterError, match="trains the whole encoder"):
        peft_folders.export(make_run(tmp_path / "full", "full"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_export_overwrites_nothing(run, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ConfigError, match="new or empty folder"):
        peft_folders.export(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 16, "stride": 4},
        {"image_size": 16, "pretrained": False},
        {"image_size": 8},
    ],
    ids=str,
)
def test_the_card_loads_the_encoder_of_the_run(options, tmp_path, monkeypatch):
    place = tmp_path / "private"
    changes = {"epochs": 1, "map": False, **options}
    if "pretrained" in options or "stride" in options:
        changes |= {"backbone": "tiny", "num_heads": None}
    train(small_config(place, place / "run", **changes))
    peft_folders.export(place / "run", tmp_path / "new")
    (line,) = re.findall("^encoder = .*$", (tmp_path / "new/README.md").read_text(), re.MULTILINE)
    monkeypatch.chdir(place)  # where the backbone is, if it is a file
    names = {"hyperpeft": hyperpeft}
    exec(line, names)
    base = names["encoder"]
    record = json.loads((place / "run/run.json").read_text())
    assert weights_sha256(base.state_dict()) == record["backbone"]["weights_sha256"]
    x = images()
    expected = load_run(place / "run").model.encoder.cpu()
    found = adapters.merge(adapters.load(base, tmp_path / "new"))
    size = options["image_size"]
    assert torch.equal(found(x[..., :size, :size]), expected(x[..., :size, :size]))
    peft_folders.merge(place / "run", tmp_path / "merged.safetensors")
    assert image_size_of(tmp_path / "merged.safetensors") == size


@pytest.mark.parametrize("method", ["krona+", "lora", "lokr", "full"])
def test_merged_weights_are_a_backbone(method, tmp_path):
    run = make_run(tmp_path / "run", method)
    result = peft_folders.merge(run, tmp_path / "merged.safetensors")
    trained_at = json.loads((run / "run.json").read_text())["config"]["image_size"]
    assert image_size_of(tmp_path / "merged.safetensors") == trained_at
    plain = load_backbone(tmp_path / "merged.safetensors", trained_at)
    x = images()
    assert torch.equal(plain(x), load_run(run).model.encoder.cpu()(x))
    assert list(plain.state_dict()) == list(load_backbone("tiny").state_dict())
    assert result["num_heads"] == 3
    assert result["bytes"] == (tmp_path / "merged.safetensors").stat().st_size


def test_merged_weights_say_how_many_heads_they_have(tmp_path):
    run = make_run(tmp_path / "run", "lora")
    values = json.loads((run / "run.json").read_text())
    values["config"]["num_heads"] = 6
    (run / "run.json").write_text(json.dumps(values))
    result = peft_folders.merge(run, tmp_path / "merged.safetensors")
    x = images()
    plain = load_backbone(tmp_path / "merged.safetensors", x.shape[-1])
    torch.testing.assert_close(plain(x), load_run(run).model.encoder.cpu()(x))
    assert result["num_heads"] == plain.num_heads == 6


def test_every_format_takes_a_backbone(run, tmp_path):
    """`hyperpeft export RUN --to ... --backbone FILE`; a base model that has moved is needed."""
    base = tmp_path / "base.safetensors"
    save_file(load_backbone("tiny").state_dict(), base)
    values = json.loads((run / "run.json").read_text())
    values["backbone"]["name"], values["config"]["num_heads"] = "moved.safetensors", 3
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    (moved / "run.json").write_text(json.dumps(values))
    assert export_run(moved, tmp_path / "peft", backbone=str(base))[0].is_file()
    [merged] = export_run(moved, tmp_path / "merged.safetensors", backbone=str(base))
    [plain] = export_run(run, tmp_path / "plain.safetensors")
    theirs, ours = load_file(plain), load_file(merged)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(values, ours[name]) for name, values in theirs.items())


def test_wrong_merges(run, tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        peft_folders.merge(run, tmp_path / "merged.pth")
    train(small_config(tmp_path, tmp_path / "lda", method="lda", map=False))
    with pytest.raises(BundleError, match="baseline lda, which has no backbone"):
        peft_folders.merge(tmp_path / "lda", tmp_path / "merged.safetensors")
    with pytest.raises(AdapterError, match="nothing to merge"):
        peft_folders.merge(make_run(tmp_path / "probe", "probe"), tmp_path / "merged.safetensors")
    assert not (tmp_path / "merged.safetensors").exists()


def test_export_and_merge_on_the_command_line(run, tmp_path, command):
    done = command("export", run, "--to", tmp_path / "new", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["files"]) == 6
    again = command("export", run, "--to", tmp_path / "new")
    assert again.returncode == 2
    assert again.stderr.startswith("error: --to")
    assert "Traceback" not in again.stderr
    done = command("merge", run, "--out", tmp_path / "merged.safetensors", "--quiet")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "merged.safetensors").is_file()


@pytest.mark.parametrize("name", ["list", "export", "merge"])
def test_help_has_an_example(name, command):
    shown = command(name, "--help")
    assert shown.returncode == 0
    assert f"Example: hyperpeft adapters {name}" in shown.stdout


def test_a_record_that_was_tampered_with(run, tmp_path):
    folder = make_run(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    record["metrics"] = []
    (folder / "run.json").write_text(json.dumps(record))
    for hint in (
        lambda: peft_folders.list_runs([folder]),
        lambda: peft_folders.export(folder, tmp_path / "n"),
    ):
        with pytest.raises(BundleError, match="not a run record"):
            hint()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("hub")
    train(small_config(place, place / "run", epochs=2))
    return place


@pytest.fixture(scope="module")
def hub():
    with hub_server() as server:
        yield server


def hub_command(hub, home, *words, token="hf_test"):
    env = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": token,
           "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
    env.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [*PROGRAM, "hub", *map(str, words)], capture_output=True, text=True, env=env, timeout=300,
        check=False,
    )  # fmt: skip


def test_round_trip(folder, hub, tmp_path):
    done = hub_command(hub, tmp_path / "home", "push", folder / "run", "me/planted")
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

    done = hub_command(hub, tmp_path / "home", "pull", "me/planted", "--to", tmp_path / "pulled")
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
    train(small_config(tmp_path, tmp_path / "run", method=method, epochs=1))
    done = hub_command(hub, tmp_path / "home", "push", tmp_path / "run", f"me/{method}")
    assert done.returncode == 0, done.stderr
    names = set(hub.files[f"me/{method}"])
    assert {"run.json", "README.md", "features.safetensors"} < names
    assert any(name.startswith(model) for name in names)
    assert all(name.endswith((".json", ".md", ".safetensors", ".onnx")) for name in names)
    card = hub.files[f"me/{method}"]["README.md"].decode()
    assert "A baseline that classifies" in card
    assert "base weights" not in card
    done = hub_command(hub, tmp_path / "home", "pull", f"me/{method}", "--to", tmp_path / "pulled")
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        load_run(tmp_path / name).predict(planted(seed=1)) for name in ("run", "pulled")
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_baseline_without_its_model_is_not_shared(hub, tmp_path):
    train(small_config(tmp_path, tmp_path / "run", method="svm"))
    (tmp_path / "run" / "model.onnx").unlink()
    done = hub_command(hub, tmp_path / "home", "push", tmp_path / "run", "me/broken")
    assert done.returncode == 2
    assert "expected model.onnx or network.safetensors" in done.stderr
    hub.files["me/part"] = {"run.json": (tmp_path / "run" / "run.json").read_bytes()}
    done = hub_command(hub, tmp_path / "home", "pull", "me/part", "--to", tmp_path / "x")
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
    done = hub_command(hub, tmp_path / "home", "pull", "me/planted", "--to", tmp_path / "mine")
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
    done = hub_command(hub, tmp_path / "home", *words)
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
    done = hub_command(hub, tmp_path / "home", "pull", "me/damaged", "--to", tmp_path / "x")
    assert done.returncode == 2
    assert "is not a run record" in done.stderr
    assert list(tmp_path.glob("*x*")) == []


def test_a_server_that_is_not_there(tmp_path, folder):
    class Nowhere:
        address = "http://127.0.0.1:9"

    done = hub_command(Nowhere, tmp_path / "home", "push", folder / "run", "me/planted")
    assert done.returncode == 2
    assert "me/planted on the hub" in done.stderr
