"""`hyperpeft adapters list | export | merge`, in Python and on the command line."""

import json
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from hyperpeft import adapters
from hyperpeft.cli import main
from hyperpeft.errors import AdapterError, BundleError, ConfigError
from hyperpeft.export import peft_folders
from hyperpeft.models import load_backbone
from hyperpeft.runs.experiment import run as train
from hyperpeft.runs.load import load_run
from tests.helpers.runs import make_run
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


@pytest.mark.parametrize("method", ["krona+", "lora", "lokr", "full"])
def test_merged_weights_are_a_backbone(method, tmp_path):
    run = make_run(tmp_path / "run", method)
    result = peft_folders.merge(run, tmp_path / "merged.safetensors")
    plain = load_backbone(tmp_path / "merged.safetensors")
    x = images()
    assert torch.equal(plain(x), load_run(run).model.encoder.cpu()(x))
    assert list(plain.state_dict()) == list(load_backbone("tiny").state_dict())
    assert result["num_heads"] == 3
    assert result["bytes"] == (tmp_path / "merged.safetensors").stat().st_size


def test_wrong_merges(run, tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        peft_folders.merge(run, tmp_path / "merged.pth")
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
