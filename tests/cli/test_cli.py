"""The command line: help, JSON, messages and exit statuses; runs that are cut off and resume."""

from __future__ import annotations

import importlib
import inspect
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
import torch
from safetensors.torch import load_file

import hyperpeft
from hyperpeft import cli
from hyperpeft.cli import COMMANDS
from hyperpeft.errors import Interrupted
from hyperpeft.runs.config_files import with_given
from hyperpeft.runs.experiment import RunConfig, run
from tests.helpers.runs import make_record
from tests.helpers.small import (
    PROGRAM,
    config,
    options,
    planted,
    strict_json,
    write_scene,
    yaml_file,
)


@pytest.fixture
def call(monkeypatch, capsys):
    """(status, stdout, stderr) of the command line with these arguments."""

    def program(*arguments):
        monkeypatch.setattr(sys, "argv", ["hyperpeft", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return program


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    options(folder, folder)
    return folder


def arguments(folder, out, **changes):
    """`train` with the options of `small.options`, from a file and the command line."""
    values = options(folder, out, epochs=2, map=False)
    file = yaml_file(folder / "run.yaml", {"num_heads": values["num_heads"]})
    given = {
        k: v for k, v in {**values, **changes}.items() if k not in ("scene", "num_heads", "map")
    }
    words = [("--" + k.replace("_", "-"), v) for k, v in given.items() if v is not None]
    flat = [str(word) for pair in words for word in pair]
    return ["train", changes.get("scene", values["scene"]), "--config", file, "--no-map", *flat]


@pytest.fixture(scope="module")
def finished(folder):
    """A run folder made by the command line in its own process."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments(folder, folder / "finished"))],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return folder / "finished", done


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(call, command):
    status, out, err = call(*command.split(), "--help")
    assert status == 0
    assert err == ""
    assert "Usage:" in out
    if command:
        assert re.search(rf"Example: .*hyperpeft {command}", out)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_says_what_the_command_does(command):
    target, summary = COMMANDS[command]
    module, function = target.split(":")
    found = getattr(importlib.import_module(f"hyperpeft.cli.{module}"), function)
    assert inspect.getdoc(found).splitlines()[0] == summary


@pytest.mark.parametrize("group", [[], ["scenes"], ["backbones"], ["adapters"]])
def test_no_arguments_show_the_help(call, group):
    status, out, err = call(*group)
    assert status == 2
    assert "Usage:" in out + err
    assert "error:" not in out + err


def test_version(call):
    assert call("--version") == (0, f"hyperpeft {hyperpeft.__version__}\n", "")


def test_a_run_says_what_matters(finished):
    out, done = finished
    assert re.search(r"^OA \d+\.\d\d  AA \d+\.\d\d  kappa x 100 -?\d+\.\d\d$", done.stdout, re.M)
    assert "class 1" in done.stdout
    assert f"everything is in {out}" in done.stdout
    assert "Training" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr  # no colours in a pipe


def test_json_is_the_record(call, folder, tmp_path):
    status, out, err = call(*arguments(folder, tmp_path / "r"), "--json")
    assert (status, err) == (0, "")
    assert strict_json(out) == strict_json((tmp_path / "r" / "run.json").read_text())


def test_quiet_says_nothing(call, folder, tmp_path):
    assert call(*arguments(folder, tmp_path / "r", epochs=1), "--quiet") == (0, "", "")


def test_evaluate(call, finished):
    out, done = finished
    status, text, err = call("evaluate", out, "--json")
    record = strict_json((out / "run.json").read_text())
    assert (status, err) == (0, "")
    nothing = {"trained": 0, "unknown": 0}
    assert strict_json(text) == {
        "pixels": record["split"]["test"], "left_out": nothing, **record["metrics"],
    }  # fmt: skip
    status, text, _ = call("evaluate", out)
    assert status == 0
    assert text.splitlines()[-1] in done.stdout  # the line of OA, AA and kappa
    assert call("evaluate", out, "--quiet") == (0, "", "")


def test_evaluate_another_scene(call, finished, tmp_path):
    cube, labels = write_scene(tmp_path, planted(seed=3))
    status, text, _ = call("evaluate", finished[0], cube, "--labels", labels, "--json")
    assert status == 0
    assert strict_json(text)["pixels"] == 24 * 24


def test_map(call, finished, tmp_path):
    out = tmp_path / "m.tif"
    status, text, err = call("map", finished[0], "--out", out, "--json", "--probabilities")
    assert (status, err) == (0, "")
    values = strict_json(text)
    assert values["files"] == [str(out), str(tmp_path / "m_probabilities.tif")]
    assert values["pixels"] == 24 * 24
    with rasterio.open(out) as file:
        assert np.isin(file.read(1), [1, 2]).all()
    with rasterio.open(values["files"][1]) as file:
        assert file.count == 2
    status, text, _ = call("map", finished[0], "--out", out)
    assert text.splitlines()[-1].startswith("576 pixels classified with torch ")
    assert text.splitlines()[-1].endswith(f": {out}")
    assert "hectares" in text


def test_a_map_replaces_maps_alone(call, finished, tmp_path):
    """Not a raster of labels, a picture or somebody's polygons; maps of before are told of."""
    run_, out = finished[0], tmp_path / "m.tif"
    words = ["map", run_, "--out", out, "--polygons", tmp_path / "m.gpkg"]
    assert call(*words, "--confidence", "--applicability", "--quiet") == (0, "", "")
    assert call(*words, "--confidence", "--quiet") == (0, "", "")
    before = (tmp_path / "m_confidence.tif").read_bytes()
    status, _, err = call("map", run_, "--out", out)
    assert status == 0
    names = "m_confidence.tif, m_applicability.tif, m.gpkg"
    assert f"note: {names} are of an earlier map" in " ".join(err.split())
    assert (tmp_path / "m_confidence.tif").read_bytes() == before
    assert call("map", run_, "--out", run_ / "again.tif", "--quiet") == (0, "", "")

    foreign = tmp_path / "lab2.tif"
    with rasterio.open(
        foreign, "w", driver="GTiff", width=24, height=24, count=1, dtype="uint8"
    ) as file:
        file.write(np.ones((1, 24, 24), np.uint8))
    mine = tmp_path / "mine.gpkg"
    square = shapely.to_wkb(np.array([shapely.box(0, 0, 9, 9)]))
    pyogrio.raw.write(
        mine, square, [np.array(["roof"], object)], ["name"], layer="classes",
        geometry_type="Polygon", crs="EPSG:32633",
    )  # fmt: skip
    (tmp_path / "new_confidence.tif").write_bytes(foreign.read_bytes())
    kept = {path: path.read_bytes() for path in (foreign, mine)}
    told = r"error: .*lab2\.tif exists and is not a map that hyperpeft wrote; choose another --out"
    refused(call("map", run_, "--out", foreign, "--quiet"), told)
    new = ["map", run_, "--out", tmp_path / "new.tif", "--quiet"]
    refused(call(*new, "--confidence"), r"error: .*new_confidence\.tif exists and is not a map")
    refused(call(*new, "--polygons", mine), r"error: .*mine\.gpkg exists and does not hold")
    assert {path: path.read_bytes() for path in kept} == kept
    assert not (tmp_path / "new.tif").exists()


@pytest.mark.parametrize("command", ["scenes list", "backbones list", "scenes info samson"])
def test_lists(call, command):
    status, out, err = call(*command.split(), "--json")
    assert (status, err) == (0, "")
    assert strict_json(out)
    status, out, err = call(*command.split())
    assert (status, err) == (0, "")
    assert "\x1b" not in out


def test_tables_are_not_cut_in_a_pipe(call, monkeypatch, tmp_path):
    monkeypatch.delenv("HYPERPEFT_DATA", raising=False)
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = call("backbones", "list")
    assert "https://zenodo.org/records/8412455/files/SpectralGPT+.pth" in out
    assert len(out.splitlines()) == 8
    assert all(len(line) < 200 for line in out.splitlines())


def test_names_are_not_markup(capsys):
    """A class called "corn [red]" keeps its brackets."""
    from hyperpeft.cli.console import print_scores

    scores = {
        "class_ids": [1, 2], "per_class": {"1": 50.0, "2": None}, "confusion": [[1, 1], [0, 0]],
        "oa": 50.0, "aa": 50.0, "kappa": None,
    }  # fmt: skip
    print_scores(scores, {1: "corn [red]", 2: "oats :smile:"})
    out = capsys.readouterr().out
    assert "corn [red]" in out
    assert "oats :smile:" in out
    assert "none" in out
    assert "kappa" not in out


def refused(result, message):
    status, out, err = result
    assert status == 2
    assert out == ""
    last = err.splitlines()[-1]
    assert re.match(message, last), last
    assert "Traceback" not in err
    assert sum(line.startswith("error:") for line in err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], r"error: Missing argument 'scene'"),
        (["train", "demo", "--bogus", "1"], r"error: No such option: --bogus"),
        (["trane"], r"error: No such command 'trane'"),
        (["train", "demo", "--epochs", "many"], r"error: Invalid value for '--epochs': "),
        (["train", "salinas-b"], r"error: there is no scene 'salinas-b'.*give a path, or one of"),
        (["train", "demo", "--patch-size", "8"], r"error: patch size: expected an odd number from"),
        (
            ["train", "demo", "--patch-size", "65"],
            r"error: patch size: expected an odd number from",
        ),
        (["train", "demo", "--method", "lorra"], r"error: .*lorra"),
        (["train", "demo", "--backbone", "tyni"], r"error: backbone 'tyni': expected one of tiny"),
        (["train", "demo", "--epochs", "0"], r"error: option epochs: .*got 0"),
        (
            ["train", "demo", "--per-class", "3", "--fraction", "0.1"],
            r"error: per_class and fraction",
        ),
        (["train", "demo", "--normalise", "no"], r"error: normalise: expected one of"),
        (["train", "demo", "--split", "official"], r"error: .*no official training and test"),
        (["train", "demo", "--config", "nowhere.yaml"], r"error: configuration nowhere.yaml does"),
        (["train", "demo", "--resume"], r"error: --resume: run holds no checkpoint"),
        (["evaluate", "nowhere"], r"error: nowhere is not a run folder: it has no run.json"),
        (["map", "nowhere"], r"error: nowhere is not a run folder"),
        (
            ["map", "nowhere", "--out", "map.png"],
            r"error: --out map.png: expected a name that ends",
        ),
        (
            ["train", "demo", "--labels", "a.gpkg", "--labels=b.gpkg"],
            r"error: --labels: expected one value, got 2; label files have to be joined first",
        ),
        (["map", "run", "--tile", "9", "--tile", "8"], r"error: --tile: expected one value, got 2"),
        (
            ["train", "demo", "--per-class", "5", "--split", "polygon"],
            r"error: there is no split file polygon: expected random, disjoint, polygons, offi.*"
            r"; did you mean polygons\?$",
        ),
        (
            ["train", "demo", "--method", "lda", "--option", "folds=3"],
            r"error: .* has no options",
        ),
        (["map", "nowhere", "--out", "map"], r"error: --out map: .* in \.tif, got map$"),
        (["scenes", "info", "salinas-b"], r"error: .*salinas-b"),
        (["backbones", "convert", "nowhere.pth"], r"error: checkpoint nowhere.pth does not exist"),
        (
            ["backbones", "convert", "a.safetensors"],
            r"error: checkpoint a.safetensors does not exist",
        ),
        (
            ["backbones", "convert", "a.pth", "--out", "b.bin"],
            r"error: --out b.bin: expected a name",
        ),
    ],
)
def test_mistakes_are_one_line_and_status_2(call, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(call(*words), message)
    assert not list(tmp_path.iterdir())  # and nothing is left behind


def test_a_scene_without_labels(call, folder, tmp_path):
    words = arguments(folder, tmp_path / "r", labels=None)
    refused(call(*words), r"error: scene .*scene.tif has no labels; give them with --labels")


def test_a_scene_as_its_own_labels(call, folder, tmp_path):
    words = arguments(folder, tmp_path / "r", labels=folder / "scene.tif")
    refused(call(*words), r"error: scene and labels are the same file, .*scene\.tif; give the file")


def test_a_scene_in_the_place_of_a_run(call, folder):
    told = r"error: .*scene\.tif: expected a run folder, or a \.onnx file of `hyperpeft export`"
    refused(call("map", folder / "scene.tif"), told)


def test_the_generated_scene_is_listed(call):
    assert "demo is a generated scene" in call("scenes", "list")[1]
    status, out, err = call("scenes", "info", "demo", "--json")
    assert (status, err) == (0, "")
    assert strict_json(out)["rows"] == 96


def test_labels_that_are_missing(call, folder, tmp_path):
    words = arguments(folder, tmp_path / "r", labels=tmp_path / "no.tif")
    refused(call(*words), r"error: .*no\.tif")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3\n", r"error: unknown option epoch: expected one of scene, labels"),
        ("epochs: [3]\n", r"error: option epochs: .*got \[3\]"),
        ("epochs: soon\n", r"error: option epochs: .*got 'soon'"),
        ("a: [1\n", r"error: configuration .* is not YAML"),
    ],
)
def test_wrong_configuration_files(call, tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    refused(call("train", "demo", "--config", tmp_path / "run.yaml"), message)


def test_the_command_line_wins_over_the_file(call, folder, tmp_path):
    values = options(folder, tmp_path / "file", map=False, epochs=5, per_class=4, seed=7)
    file = yaml_file(tmp_path / "run.yaml", {k: v for k, v in values.items() if k != "scene"})
    words = ["train", values["scene"], "--config", file, "--epochs", 1, "--fraction", 0.05]
    status, out, err = call(*words, "--out", tmp_path / "line", "--json")
    assert (status, err) == (0, "")
    used = strict_json(out)["config"]
    assert (used["epochs"], used["seed"], used["map"]) == (1, 7, False)
    assert (used["fraction"], used["per_class"]) == (0.05, None)
    assert used["out"] == str(tmp_path / "line")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("file", "words", "expected"),
    [
        ({"split": "disjoint", "per_class": 4}, {"per_class": 5}, ("disjoint", 5, None)),
        ({"split": "disjoint", "per_class": 4}, {"fraction": 0.05}, ("disjoint", None, 0.05)),
        ({"per_class": 4}, {"split": "disjoint"}, ("disjoint", 4, None)),
        ({"per_class": 4}, {"split": "official"}, ("official", None, None)),
        ({"split": "disjoint", "per_class": 4}, {"seed": 1}, ("disjoint", 4, None)),
    ],
)
def test_a_size_on_the_command_line_keeps_the_split_of_the_file(file, words, expected):
    config = RunConfig(scene="demo", **with_given(file, words))
    assert (config.split, config.per_class, config.fraction) == expected


def test_a_size_on_the_command_line_and_a_split_of_the_file_without_one(call, tmp_path):
    file = yaml_file(tmp_path / "run.yaml", {"split": "official"})
    message = "error: .*per_class and split 'official' exclude each other"
    refused(call("train", "demo", "--config", file, "--per-class", 5), message)


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--labels", "labels.tif"),
        ("evaluate", "--class-field", "crop"),
        ("evaluate", "--all-touched"),
        ("evaluate", "--layout", "h w b"),
        ("map", "--layout", "h w b"),
    ],
)
def test_options_of_a_scene_that_is_not_named(call, tmp_path, words):
    message = rf"error: {words[1]}: expected a scene that it is of, got none; name the scene"
    refused(call(words[0], tmp_path, *words[1:]), message)


def test_the_command_line_replaces_what_it_excludes_alone(call, tmp_path, monkeypatch):
    """A spatial split of the file stays with another budget, a budget with another split."""
    used = []

    def train(config, **_):
        used.append(config)
        raise Interrupted("seen")

    monkeypatch.setattr("hyperpeft.cli.runs._train", train)
    words = ["train", "demo", "--config", tmp_path / "run.yaml"]
    values = {"split": "disjoint", "per_class": 4, "options": {"rank": 4}}
    yaml_file(tmp_path / "run.yaml", values)
    assert call(*words, "--per-class", 5)[0] == 130
    assert call(*words, "--fraction", 0.1, "--option", "alpha=8")[0] == 130
    assert call(*words, "--split", "random")[0] == 130
    assert call(*words, "--split", "official")[0] == 130
    found = [(c.split, c.per_class, c.fraction, c.options) for c in used]
    assert found == [
        ("disjoint", 5, None, {"rank": 4}), ("disjoint", None, 0.1, {"rank": 4, "alpha": 8}),
        ("random", 4, None, {"rank": 4}), ("official", None, None, {"rank": 4}),
    ]  # fmt: skip
    twice = ["--option", "rank=4", "--option", "rank=8"]
    refused(call(*words, *twice), r"error: option rank: expected one value, got .*rank=4.*rank=8")


def test_names_that_the_output_cannot_show(tmp_path, monkeypatch):
    """Such as those in a pipe of Windows, or of a terminal without UTF-8."""
    np.save(tmp_path / "wäld.npy", np.random.default_rng(0).random((6, 7, 20), np.float32))
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setattr("sys.argv", ["hyperpeft", "scenes", "info", str(tmp_path / "wäld.npy")])
    cli.main()
    shown.flush()
    assert b"w?ld (" in shown.buffer.getvalue()


def test_explore_finds_the_scene_of_a_run_from_elsewhere(tmp_path, monkeypatch):
    """As `map RUN` finds it: from where the run was started, with the axes that it was read by."""
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "cube.npy").write_bytes(b"")
    record = make_record(method="svm")
    record["config"] |= {"num_heads": None, "image_size": 16, "stride": 8, "precision": "fp32"}
    record["config"] |= {"scene": "cube.npy", "out": "runs/r", "layout": "b h w"}
    record["backbone"]["weights_sha256"] = "0" * 64
    (tmp_path / "runs" / "r" / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path / "runs")
    scene_of = importlib.import_module("hyperpeft.cli.scenes")._scene
    assert scene_of(None, Path("r")) == (str(tmp_path / "cube.npy"), "b h w")
    assert scene_of("other.npy", Path("r")) == ("other.npy", None)


def test_a_loss_that_is_not_finite(call, folder, tmp_path):
    words = arguments(folder, tmp_path / "r", method="full", lr=1e30)
    refused(call(*words), r"error: the loss became (nan|inf) in epoch \d+; lower the learning rate")


def test_another_run_is_kept(call, folder, finished):
    words = arguments(folder, finished[0], epochs=1)
    refused(call(*words), r"error: .* holds another run; choose another --out, or add --overwrite")


def test_defects_are_not_hidden(call, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("hyperpeft.cli.runs.make_config", broken)
    with pytest.raises(ZeroDivisionError):  # a traceback, and Python's status 1
        call("demo")


def test_convert(call, reference, tmp_path):
    out = tmp_path / "w.safetensors"
    file = reference / "ref_small_96.pth"
    status, text, _ = call("backbones", "convert", file, "--out", out, "--num-heads", 4)
    assert status == 0
    assert text == (
        f"{out}: width 48, depth 2, 4 heads; 38 tensors of the encoder, 25 of the pretraining "
        "decoder set aside\n"
    )
    from hyperpeft import load_backbone

    assert (load_backbone(out).dim, load_backbone(out).num_heads) == (48, 4)


def test_a_checkpoint_that_does_not_fit_is_not_converted(call, reference, tmp_path):
    out = tmp_path / "w.safetensors"
    result = call("backbones", "convert", reference / "ref_small_96.pth", "--out", out)
    refused(result, r"error: .*the number of attention heads of a width of 48 is not stored")
    assert not list(tmp_path.iterdir())


def listens(process: subprocess.Popen[str]) -> bool:
    """Whether a process catches SIGTERM, as it does while it trains (Linux)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


LONG = {"epochs": 30, "validation": 0.25}


@pytest.fixture(scope="module")
def whole(folder):
    """The run of `test_ctrl_c_and_resume` without the interruption."""
    out = folder / "whole"
    run(config(folder, out, map=False, **LONG))
    return out


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_ctrl_c_and_resume(folder, whole, tmp_path, call, number):
    """A real process: status 130, a checkpoint, and in the end the uninterrupted run's weights."""
    how, cut = LONG, tmp_path / "cut"
    words = [str(word) for word in arguments(folder, cut, **how)]
    process = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True)
    for _ in itertools.takewhile(lambda _: process.poll() is None, range(6000)):
        if listens(process):
            break
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    message = err.splitlines()[-1]
    assert re.match(r"error: interrupted in epoch \d+ of 30; the state is saved in", message)
    assert "Traceback" not in err
    assert {path.name for path in cut.iterdir()} == {"checkpoint"}
    assert {path.name for path in (cut / "checkpoint").iterdir()} == {"state.pt"}

    assert call(*words, "--resume", "--quiet") == (0, "", "")
    for name in ("adapter/adapter_model.safetensors", "head.safetensors"):
        expected = load_file(whole / name)
        for key, value in load_file(cut / name).items():
            assert torch.equal(value, expected[key]), (name, key)
        assert load_file(cut / name).keys() == expected.keys()
    records = [strict_json((place / "run.json").read_text()) for place in (cut, whole)]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert not (cut / "checkpoint").exists()


def test_demo(tmp_path):
    """No arguments but the place, no network, no data: 15 to 60 s on two cores."""
    environment = {k: v for k, v in os.environ.items() if k != "HYPERPEFT_DATA"}
    environment |= {"HYPERPEFT_CACHE": str(tmp_path / "cache")}
    environment |= {f"{p}_proxy": "http://127.0.0.1:9" for p in ("http", "https")}
    environment |= {"UV_RUN_RECURSION_DEPTH": "1"}  # as `uv run` sets it
    out = tmp_path / "demo"
    done = subprocess.run(
        [*PROGRAM, "demo", "--out", str(out)],
        capture_output=True, text=True, timeout=500, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "this scene is generated" in done.stderr
    assert "starts from pretrained weights" in done.stderr
    assert "not pretrained" not in done.stdout
    assert "uv run hyperpeft train SCENE.tif --labels LABELS.tif" in done.stdout  # to be pasted
    assert "uv run hyperpeft map runs/mine" in done.stdout
    assert {"run.json", "map.png", "map.tif", "confusion.png", "adapter"} <= {
        path.name for path in out.iterdir()
    }
    record = strict_json((out / "run.json").read_text())
    assert record["adapter"]["method"] == "auto"
    assert record["backbone"]["name"] == "tiny"
    assert record["metrics"]["oa"] > 100 / 8 + 3  # far above chance; the figure itself is printed
    with rasterio.open(out / "map.tif") as file:
        assert file.read(1).all()


@pytest.mark.skipif(sys.platform == "win32", reason="closes a file descriptor")
def test_an_error_without_a_place_for_it_is_not_output(tmp_path):
    """With stderr closed (2>&-) stdout stays what it is."""
    words = [*PROGRAM, "adapters", "list", str(tmp_path), "--json"]
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *words]
    done = subprocess.run(closed, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [["scenes", "list"], ["scenes", "list", "--json"]])
def test_output_that_has_no_room(words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "error: the output: No space left on device\n"
