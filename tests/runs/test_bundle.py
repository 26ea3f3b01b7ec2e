"""Run folders: what a run writes, that this is enough to predict again, and a bank of many."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

import hyperpeft
from hyperpeft import adapters, cli
from hyperpeft.errors import (
    AdapterError,
    BundleError,
    ConfigError,
    Interrupted,
    LabelsError,
    SceneError,
)
from hyperpeft.export.hub import pushed_files
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.models.windows import Windows
from hyperpeft.runs.bank import AdapterBank
from hyperpeft.runs.config import resolve_defaults
from hyperpeft.runs.evaluate import evaluate
from hyperpeft.runs.experiment import Progress, run, split_for
from hyperpeft.runs.inputs import located
from hyperpeft.runs.labelled_scene import labelled_scene
from hyperpeft.runs.load import load_run
from hyperpeft.runs.methods.select import prepare
from hyperpeft.runs.sections import source_state
from hyperpeft.scenes import open_scene
from tests.helpers.runs import make_run, make_scene
from tests.helpers.small import (
    CRS,
    HEADS,
    TRANSFORM,
    checkpoint,
    config,
    planted,
    strict_json,
    write_scene,
)

FILES = {
    "run.json", "adapter", "head.safetensors", "reducer.safetensors", "refinement.safetensors",
    "split.npz", "history.csv",
    "map.tif", "map.tif.aux.xml", "map.qml", "map.png", "confusion.png",
}  # fmt: skip
MAP = {"map.tif", "map.tif.aux.xml", "map.qml", "map.png"}
CONTRACT = {
    "hyperpeft": str,
    "created": str,
    "config": {"scene": str, "method": str, "seed": int},
    "scene": {"name": str, "shape": list, "sha256": str, "classes": list},
    "split": {
        "kind": str, "train": int, "validation": int, "test": int, "per_class": dict,
        "leakage": {"patch_size": int, "test_windows_touching_train": float},
    },
    "backbone": {"name": str, "parameters": int, "weights_sha256": str, "pretrained": bool},
    "adapter": {
        "method": str, "trainable_parameters": int, "trainable_percent": float, "bytes": int,
    },
    "metrics": {"oa": float, "aa": float, "kappa": float, "per_class": dict, "confusion": list},
    "timing": {
        "train_seconds": float, "train_samples_per_second": float,
        "predict_samples_per_second": float, "peak_rss_mb": float,
    },
    "environment": {
        "python": str, "torch": str, "device": str, "precision": str, "commit": (str, type(None)),
        "dirty": (bool, type(None)), "seed": int,
    },
}  # fmt: skip
INVALID = np.zeros((24, 24), bool)
INVALID[3:6, 10:15] = INVALID[23, 23] = True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene with nodata pixels, and an encoder, on disk."""
    folder = tmp_path_factory.mktemp("world")
    write_scene(folder, planted(), INVALID)
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """(record, folder) of a KronA+ run with a map."""
    out = folder / "runs" / "finished"
    return run(config(folder, out, validation=0.25, epochs=8)), out


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(finished[1], tmp_path / "copy")
    return tmp_path / "copy"


def edit(folder, change):
    path = folder / "run.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def read(path):
    with rasterio.open(path) as file:
        return file.read(1), file


def test_the_folder_is_the_contracts(finished):
    _, out = finished
    assert {path.name for path in out.iterdir()} == FILES
    assert {path.name for path in (out / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip


def check(values, contract, where="run.json"):
    for key, kind in contract.items():
        assert key in values, f"{where} lacks {key}"
        if isinstance(kind, dict):
            check(values[key], kind, f"{where}.{key}")
        else:
            assert isinstance(values[key], kind), f"{where}.{key} is {values[key]!r}"


def test_the_record_is_the_contracts(finished):
    record, out = finished
    text = (out / "run.json").read_text()
    values = strict_json(text)
    check(values, CONTRACT)
    assert values == strict_json(record.to_json())
    assert values["scene"]["shape"] == [24, 24, 20]
    assert values["scene"]["masked_pixels"] == INVALID.sum() == 16
    assert values["split"]["train"] + values["split"]["validation"] == 16
    assert values["split"]["test"] == 24 * 24 - 16 - 16
    assert np.sum(values["metrics"]["confusion"]) == 544
    assert 0 < values["split"]["leakage"]["test_windows_touching_train"] <= 1
    assert values["config"]["per_class"] == 8
    assert len(text) < 20_000  # with the 230 kB of test_classifier under 0.25 MB


def test_the_split_file(finished):
    with np.load(finished[1] / "split.npz", allow_pickle=False) as split:
        for part in ("train", "validation", "test"):
            assert split[part].shape == (finished[0].split[part], 2)
            assert split[part].dtype.kind == "i"
        every = np.concatenate([split[part] for part in ("train", "validation", "test")])
    assert len(np.unique(every, axis=0)) == 560
    assert not INVALID[tuple(every.T)].any()


def test_missing_is_null(folder, tmp_path):
    """Labels that are all in one class at test time, a map that was not made."""
    record = run(config(folder, tmp_path / "r", map=False, epochs=1))
    values = strict_json((tmp_path / "r" / "run.json").read_text())
    assert values["config"]["layout"] is None
    assert values["config"]["fraction"] is None
    assert record.config["map"] is False


def test_the_map_keeps_georeference_and_nodata(finished):
    ids, file = read(finished[1] / "map.tif")
    assert file.crs == CRS
    assert file.transform == TRANSFORM
    assert file.nodata == 0
    assert (ids[INVALID] == 0).all()
    assert np.isin(ids[~INVALID], [1, 2]).all()  # every valid pixel has a class of the model
    assert len(np.unique(ids[~INVALID])) == 2


def test_metrics_are_those_of_the_map(finished):
    record, out = finished
    ids, _ = read(out / "map.tif")
    with np.load(out / "split.npz") as split:
        test = tuple(split["test"].T)
    truth = planted().labels.ids
    assert record.metrics["oa"] == pytest.approx(100 * (ids[test] == truth[test]).mean())
    assert record.metrics["oa"] > 70  # 6 x 6 blocks under 5 x 5 windows; chance is 50


def test_a_loaded_run_predicts_the_map(finished):
    record, out = finished
    bundle = hyperpeft.load_run(out)
    scene = open_scene(record.config["scene"])
    ids, _ = read(out / "map.tif")
    np.testing.assert_array_equal(bundle.predict(scene), ids)
    assert not any(p.requires_grad for p in bundle.model.parameters())
    assert bundle.classes == {1: "class 1", 2: "class 2"}


def test_maps_with_probabilities(finished, tmp_path):
    record, out = finished
    scene = open_scene(record.config["scene"])
    bundle = load_run(out)
    bundle.map(scene, tmp_path / "m.tif", probabilities=tmp_path / "p.tif")
    ids, file = read(tmp_path / "m.tif")
    np.testing.assert_array_equal(ids, read(out / "map.tif")[0])
    assert (file.crs, file.transform) == (CRS, TRANSFORM)
    with rasterio.open(tmp_path / "p.tif") as probable:
        chances = probable.read()
        assert probable.crs == CRS
        assert probable.descriptions == ("class 1", "class 2")
    assert np.isnan(chances[:, INVALID]).all()
    np.testing.assert_array_equal(chances[:, ~INVALID].argmax(0) + 1, ids[~INVALID])


def test_another_scene_with_the_same_bands(finished, tmp_path):
    other = planted(seed=5, height=30, width=18)
    cube, labels = write_scene(tmp_path, other)
    scene = open_scene(cube, labels=labels)
    ids = load_run(finished[1]).predict(scene)
    assert ids.shape == (30, 18)
    assert (ids == other.labels.ids).mean() > 0.7
    result = evaluate(finished[1], scene)
    assert result.pixels == 30 * 18
    assert result.scores["oa"] == pytest.approx(100 * (ids == other.labels.ids).mean())
    with pytest.raises(LabelsError, match="has no labels to test on"):
        evaluate(finished[1], open_scene(cube))


def test_other_bands_are_refused(finished, tmp_path):
    cube, _ = write_scene(tmp_path, planted(bands=19))
    with pytest.raises(SceneError, match="expected 20 bands, got 19"):
        load_run(finished[1]).predict(open_scene(cube))


@pytest.mark.parametrize("which", [0, 1])
def test_no_map_replaces_the_scene_it_is_of(finished, tmp_path, monkeypatch, which):
    """Another scene than the run's is named by no configuration, but opened from a file."""
    paths = write_scene(tmp_path, planted(seed=5))
    before = paths[which].read_bytes()
    monkeypatch.chdir(tmp_path)
    scene = open_scene(paths[0].name, paths[1].name)
    monkeypatch.chdir("/")
    with pytest.raises(ConfigError, match=f"would replace the {('scene', 'labels')[which]}"):
        load_run(finished[1]).map(scene, paths[which])
    assert paths[which].read_bytes() == before


def test_another_base_is_refused_with_both_hashes(copied, finished, tmp_path):
    own = finished[0].backbone["weights_sha256"]
    edit(copied, lambda values: values["backbone"].update(weights_sha256="0" * 64))
    with pytest.raises(BundleError, match="another base model") as refused:
        load_run(copied)
    assert "0" * 64 in str(refused.value)
    assert own in str(refused.value)
    other = checkpoint(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(BundleError, match=f"another base model than {other}") as refused:
        load_run(finished[1], backbone=other)
    assert own in str(refused.value)


def test_a_base_that_has_moved(finished, copied, tmp_path):
    edit(copied, lambda values: values["backbone"].update(name=str(tmp_path / "gone.safetensors")))
    with pytest.raises(hyperpeft.errors.WeightsError, match=r"gone.safetensors"):
        load_run(copied)
    moved = checkpoint(tmp_path / "moved.safetensors")
    assert load_run(copied, backbone=moved).record.adapter["method"] == "krona+"


@pytest.mark.parametrize("name", ["run.json", "head.safetensors", "reducer.safetensors", "adapter"])
def test_incomplete_folders_are_refused(copied, name):
    path = copied / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(hyperpeft.errors.InputError, match=name.split(".")[0]):
        load_run(copied)


def test_a_stride_that_is_missing_is_that_of_the_tokens(copied, finished):
    path = copied / "run.json"
    record = json.loads(path.read_text())
    record["config"]["stride"] = None
    path.write_text(json.dumps(record))
    assert evaluate(copied).scores == finished[0].metrics


def test_spoilt_heads_are_refused(copied):
    from safetensors.torch import load_file, save_file

    path = copied / "head.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "head.bias": torch.zeros(3)}, path)
    with pytest.raises(BundleError, match=r"head.safetensors does not fit this model.*head\.bias"):
        load_run(copied)
    save_file({k: v for k, v in tensors.items() if k != "norm.bias"}, path)
    with pytest.raises(BundleError, match=r"norm\.bias"):
        load_run(copied)
    path.write_bytes(b"abc")
    with pytest.raises(BundleError, match="cannot be read"):
        load_run(copied)


PARTS = ["head.safetensors", "reducer.safetensors", "adapter/adapter_model.safetensors"]


def test_files_of_another_run_are_refused(folder, copied, finished, tmp_path):
    """Of the same shapes, from another seed; older records do not say, and load."""
    other = tmp_path / "other"
    run(config(folder, other, validation=0.25, epochs=1, seed=1, map=False))
    for name in PARTS:
        shutil.copy(other / name, copied / name)
        with pytest.raises(BundleError, match=r"is not the file that was written with .*run\.json"):
            load_run(copied)
        shutil.copy(finished[1] / name, copied / name)
    assert load_run(copied).record.files == finished[0].files
    shutil.copy(other / PARTS[-1], copied / PARTS[-1])
    bank = AdapterBank.for_run(copied)
    with pytest.raises(BundleError, match=r"adapter_model.safetensors is not the file"):
        bank.add("mixed", copied)
    with pytest.raises(BundleError, match=r"adapter_model.safetensors is not the file"):
        pushed_files(copied)
    edit(copied, lambda values: values.pop("files"))
    assert load_run(copied).record.files is None


@pytest.mark.parametrize("method", ["full", "probe", "krona", "krona+"])
def test_every_method_comes_back(folder, tmp_path, method):
    """What `evaluate` finds is what the run recorded, to the last pixel."""
    out = tmp_path / method
    record = run(config(folder, out, method=method, map=False, epochs=3))
    expected = FILES - {*MAP, "adapter"}
    expected |= {"full": {"backbone.safetensors"}, "probe": set()}.get(method, {"adapter"})
    assert {path.name for path in out.iterdir()} == expected
    result = evaluate(out)
    assert result.scores == record.metrics
    assert result.pixels == record.split["test"]
    head = 2 * (48 + 12 + 1) + 2 * 48  # 12 weights a class for the centre pixel
    encoder_size = record.backbone["parameters"]
    # Q and V of 2 blocks; 48 = 6 x 8: A 6 x 6, B 8 x 8.
    sizes = {"full": encoder_size + head, "probe": head}
    assert record.adapter["trainable_parameters"] == sizes.get(method, head + 4 * (36 + 64))


def test_evaluation_is_the_record(finished):
    record, out = finished
    assert evaluate(out).scores == record.metrics


def test_the_runs_own_scene_is_not_tested_where_it_was_trained(finished, tmp_path):
    record, out = finished
    scene = open_scene(record.config["scene"], record.config["labels"])
    found = evaluate(out, scene)
    assert found.left_out == {"trained": record.split["train"] + record.split["validation"],
                              "unknown": 0}  # fmt: skip
    assert found.pixels == record.split["test"]
    assert found.scores == evaluate(out).scores
    more = scene.labels.ids.copy()
    more[10:12, :4] = 9
    labels = replace(scene.labels, ids=more, classes={**scene.labels.classes, 9: "tar"})
    other = replace(scene, labels=labels, sha256="another")
    assert evaluate(out, other).left_out == {
        "trained": 0, "unknown": np.count_nonzero(scene.valid[10:12, :4]),
    }  # fmt: skip


def test_a_run_finds_its_files_from_another_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_scene(Path(), planted())
    run(config(Path(), Path("runs/a"), method="probe", map=False, epochs=1))
    before = evaluate(Path("runs/a"))
    monkeypatch.chdir(tmp_path)
    assert evaluate(Path("here/runs/a"), backbone="here/e.safetensors").scores == before.scores
    assert evaluate(Path("here/runs/a")).scores == before.scores  # the checkpoint as well
    kept = Path("here/scene.tif").read_bytes()
    words = ["map", "here/runs/a", "--out", "here/scene.tif", "--backbone", "here/e.safetensors"]
    monkeypatch.setattr("sys.argv", ["hyperpeft", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "here/scene.tif would replace the scene" in capsys.readouterr().err
    assert Path("here/scene.tif").read_bytes() == kept
    (tmp_path / "here/runs/a").rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="relative to the folder it was started in"):
        evaluate(Path("elsewhere"), backbone="here/e.safetensors")


def test_tiles_are_found_from_another_folder(tmp_path, monkeypatch):
    start = tmp_path / "here"
    (start / "runs/a").mkdir(parents=True)
    for name in ("a.tif", "b.tif"):
        (start / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    both = f"{start / 'a.tif'},{start / 'b.tif'}"
    cases = {"a.tif, b.tif": both, "*.tif": f"{start / '*.tif'}", "a.tif,c.tif": "a.tif,c.tif"}
    for spec, tiles in cases.items():
        found = located({"scene": spec, "out": "runs/a"}, Path("here/runs/a"))
        assert found["scene"] == tiles


def test_a_scene_that_has_changed_is_refused(tmp_path):
    write_scene(tmp_path, planted())
    run(config(tmp_path, tmp_path / "r", map=False, epochs=1))
    write_scene(tmp_path, planted(seed=1))
    with pytest.raises(
        BundleError, match="is not the file the run was trained on: expected sha256"
    ):
        evaluate(tmp_path / "r")


def test_one_seed_one_result(folder, finished, tmp_path):
    records = [
        run(config(folder, tmp_path / str(n), map=False, epochs=2, seed=seed))
        for n, seed in enumerate((3, 3, 4))
    ]
    assert records[0].metrics == records[1].metrics
    files = [(tmp_path / str(n) / "head.safetensors").read_bytes() for n in range(3)]
    assert files[0] == files[1] != files[2]
    assert records[0].adapter["bytes"] == records[1].adapter["bytes"]


def test_the_callers_random_state_is_untouched(folder, tmp_path):
    torch.manual_seed(9)
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    run(config(folder, tmp_path / "r", map=False, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


class TestFolders:
    """Nothing of another run is lost or mixed with this one."""

    def test_a_foreign_folder_is_refused(self, folder, tmp_path):
        (tmp_path / "adapter").mkdir()
        (tmp_path / "adapter" / "mine").write_text("x")
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match="exists and is not a run folder"):
                run(config(folder, tmp_path), overwrite=overwrite)
        assert (tmp_path / "adapter" / "mine").read_text() == "x"

    def test_a_file_is_refused(self, folder, tmp_path):
        (tmp_path / "f").write_text("x")
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match="exists and is not a run folder"):
                run(config(folder, tmp_path / "f"), overwrite=overwrite)

    def test_an_empty_folder_is_taken(self, folder, tmp_path):
        run(config(folder, tmp_path, map=False, epochs=1))
        assert (tmp_path / "run.json").is_file()

    def test_another_run_is_refused_and_kept(self, folder, copied):
        before = (copied / "run.json").read_bytes()
        with pytest.raises(ConfigError, match="holds another run; choose another --out, or add"):
            run(config(folder, copied, epochs=9))
        assert (copied / "run.json").read_bytes() == before

    def test_the_same_run_goes_again_under_any_name_of_its_folder(
        self, folder, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        first = run(config(folder, "r", map=False, epochs=1))
        again = run(config(folder, tmp_path / "r", map=False, epochs=1))
        assert again.metrics == first.metrics
        assert again.config["out"] == str(tmp_path / "r")

    def test_overwrite_removes_its_own_names_only(self, folder, copied):
        (copied / "notes.txt").write_text("mine")
        run(config(folder, copied, method="probe", map=False, epochs=1), overwrite=True)
        expected = FILES - {*MAP, "adapter"} | {"notes.txt"}
        assert {path.name for path in copied.iterdir()} == expected
        assert (copied / "notes.txt").read_text() == "mine"

    @pytest.mark.parametrize(
        "mistake", [{"scene": "nowhere.tif"}, {"method": "lorra"}, {"targets": ("x",)},
                    {"labels": None}, {"patch_size": 8}, {"backbone": "tyni"}],
    )  # fmt: skip
    def test_a_mistake_does_not_cost_the_earlier_run(self, folder, copied, mistake):
        before = sorted(p.name for p in copied.iterdir())
        with pytest.raises(hyperpeft.errors.InputError):
            run(config(folder, copied, **mistake), overwrite=True)
        assert sorted(p.name for p in copied.iterdir()) == before

    def test_resume_needs_a_checkpoint_and_no_overwrite(self, folder, copied, tmp_path):
        for out in (copied, tmp_path / "new"):
            with pytest.raises(ConfigError, match=r"--resume: .* holds no checkpoint"):
                run(config(folder, out), resume=True)
        with pytest.raises(ConfigError, match="--resume and --overwrite exclude each other"):
            run(config(folder, copied), resume=True, overwrite=True)

    def test_interrupted_while_mapping(self, folder, tmp_path):
        """Ctrl-C after the training loses nothing: the second run trains no step."""
        out = tmp_path / "r"

        class Impatient(Progress):
            steps = 0

            def trained(self, *step):
                self.steps += 1

            def mapped(self, done, total):
                if self.steps:
                    raise KeyboardInterrupt

        with pytest.raises((Interrupted, KeyboardInterrupt)) as stopped:
            run(config(folder, out), progress=Impatient())
        assert stopped.type is Interrupted
        assert stopped.match(r"the state is saved in .* with --resume resumes")
        again = Impatient()
        record = run(config(folder, out), resume=True, progress=again)
        assert again.steps == 0
        whole = run(config(folder, tmp_path / "whole"))
        assert record.metrics == whole.metrics
        assert {path.name for path in out.iterdir()} == FILES

    def test_a_mistyped_option_does_not_take_over_a_checkpoint(self, folder, tmp_path):
        class Impatient(Progress):
            def mapped(self, done, total):
                raise KeyboardInterrupt

        with pytest.raises(Interrupted):
            run(config(folder, tmp_path / "r"), progress=Impatient())
        with pytest.raises(BundleError, match="belongs to another configuration"):
            run(config(folder, tmp_path / "r", epochs=5))
        record = run(config(folder, tmp_path / "r", epochs=5), overwrite=True)
        assert record.config["epochs"] == 5


def test_options_reach_the_model(folder, tmp_path):
    changes = {"stride": 4, "targets": "q", "blocks": 1, "options": {"factors": [4, 4]}}
    out = tmp_path / "r"
    record = run(config(folder, out, map=False, epochs=1, **changes))
    # One layer: A 4 x 4, B 12 x 12; the head as above.
    assert record.adapter["adapter_parameters"] == 16 + 144
    bundle = load_run(out)
    assert bundle.model.encoder.pos_embed_spatial.shape == (1, 49, 48)
    assert evaluate(out).scores == record.metrics
    assert record.config["num_heads"] == HEADS


def test_a_saved_split_is_drawn_again(folder, finished, tmp_path):
    split = finished[1] / "split.npz"
    record = run(
        config(folder, tmp_path / "r", per_class=None, split=str(split), map=False, epochs=1)
    )
    for part in ("train", "validation", "test", "per_class"):
        assert record.split[part] == finished[0].split[part]


def test_two_label_rasters(folder, tmp_path):
    """--split TRAIN,TEST without --labels; `evaluate` finds the same test pixels."""
    ids = planted().labels.ids
    rows = np.indices(ids.shape)[0]
    paths = []
    for name, where in (("train", (rows % 6) == 0), ("test", (rows % 6) == 3)):
        path = tmp_path / f"{name}.npy"
        np.save(path, np.where(where & ~INVALID, ids, 0))
        paths.append(str(path))
    both = ",".join(paths)
    record = run(
        config(folder, tmp_path / "r", labels=None, per_class=None, split=both, map=False, epochs=1)
    )
    assert record.split["train"] == ((rows % 6 == 0) & ~INVALID).sum()
    assert record.split["test"] == ((rows % 6 == 3) & ~INVALID).sum()
    assert evaluate(tmp_path / "r").scores == record.metrics


def test_one_class_is_refused(folder, tmp_path):
    np.save(tmp_path / "l.npy", np.ones((24, 24), np.uint8))
    with pytest.raises(hyperpeft.errors.SplitError, match="at least 2, got 1"):
        run(config(folder, tmp_path / "r", labels=str(tmp_path / "l.npy")))


def test_a_checkout_is_told_by_its_commit():
    root = Path(hyperpeft.__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("the package is not run from a checkout")
    words = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert source_state()[0] == head


# Methods, options and class numbers that share nothing but the backbone.
RUNS = {
    "one": ("krona+", 4, {}),
    "two": ("lora", 7, {"rank": 3, "alpha": 6.0}),
    "three": ("lokr", 3, {"targets": ("q", "fc1")}),
    "four": ("krona", 5, {"factors": (12, 24), "blocks": 2}),
    "five": ("krona+", 4, {"terms": 2, "targets": ("k", "proj")}),
    "six": ("probe", 6, {}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {
        name: make_run(root / name, method, classes=classes, seed=seed, **options)
        for seed, (name, (method, classes, options)) in enumerate(RUNS.items())
    }


@pytest.fixture(scope="module")
def bank(folders):
    made = AdapterBank.for_run(folders["one"])
    for name, folder in folders.items():
        made.add(name, folder)
    return made


@pytest.fixture(scope="module")
def windows():
    return torch.randn(18, 12, 5, 5, generator=torch.Generator().manual_seed(0))


def close(a, b, tolerance=1e-5):
    assert a.shape == b.shape
    assert ((a - b).abs().max() / b.abs().max()).item() < tolerance


def test_each_run_predicts_as_if_loaded_alone(bank, folders, windows):
    assert list(bank) == list(RUNS)
    for name, folder in folders.items():
        alone = load_run(folder)
        with torch.inference_mode():
            expected = alone.model(windows)
        assert bank.switch(name) is bank[name]
        assert bank.active == name
        close(bank.predict(windows), expected)
        scene = make_scene(9)
        assert np.array_equal(bank[name].predict(scene), alone.predict(scene))


def test_a_bundle_predicts_with_its_own_adapter_whichever_is_active(bank, windows):
    bank.switch("one")
    first = bank.predict(windows)
    bank.switch("two")
    with torch.inference_mode():
        assert torch.equal(bank["one"].model(windows), first)
    assert bank.active == "two"
    assert not torch.allclose(bank.predict(windows)[:, :4], first)


def test_a_mixed_batch_equals_separate_predictions(bank, windows):
    order = np.random.default_rng(0).permutation(len(windows))
    names = [list(RUNS)[i % len(RUNS)] for i in order]
    mixed = bank.predict_mixed(windows, names)
    for name in RUNS:
        rows = [row for row, own in enumerate(names) if own == name]
        bank.switch(name)
        close(torch.stack([mixed[row] for row in rows]), bank.predict(windows[rows]))
        close(bank.predict_mixed(windows[rows], [name] * len(rows))[0], mixed[rows[0]])
    assert bank.predict_mixed(windows[:0], []) == []


def test_the_encoder_keeps_its_official_parameters(bank):
    plain = load_backbone("tiny").state_dict()
    own = bank.encoder.state_dict()
    assert list(own) == list(plain)
    assert all(torch.equal(value, plain[key]) for key, value in own.items())
    assert not any(parameter.requires_grad for parameter in bank.encoder.parameters())


def test_a_removed_run_is_gone(folders, windows):
    bank = AdapterBank.for_run(folders["one"])
    with pytest.raises(BundleError, match="no active run"):
        bank.predict(windows)
    for name in ("one", "two"):
        bank.add(name, folders[name])
    assert bank.active == "one"
    size = bank.nbytes
    bank.remove("one")
    assert bank.active is None
    assert "one" not in bank
    assert len(bank) == 1
    assert 0 < bank.nbytes < size
    with pytest.raises(BundleError, match="one of: two, got 'one'"):
        bank.switch("one")


def test_what_does_not_belong_is_refused(bank, folders, tmp_path, windows):
    with pytest.raises(BundleError, match="'one'"):
        bank.add("one", folders["two"])
    with pytest.raises(BundleError, match="another base model"):
        bank.add(
            "new", make_run(tmp_path / "other", encoder=load_backbone("tiny", pretrained=False))
        )
    with pytest.raises(BundleError, match="fine-tuned the whole encoder"):
        bank.add("new", make_run(tmp_path / "full", "full"))
    heads = make_run(tmp_path / "heads")
    record = json.loads((heads / "run.json").read_text())
    record["config"]["num_heads"] = 2
    (heads / "run.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"'num_heads': 3\}, got .*'num_heads': 2\}"):
        bank.add("new", heads)
    record["config"].update(num_heads=None, image_size=16)
    record["backbone"]["weights_sha256"] = weights_sha256(load_backbone("tiny", 16).state_dict())
    (heads / "run.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"set up otherwise than this bank's.*'image_size': 16"):
        bank.add("new", heads)
    with pytest.raises(AdapterError, match="adapters already"):
        AdapterBank(adapters.attach(load_backbone("tiny"), "lora"))
    with pytest.raises(BundleError, match="expected 18, got 1"):
        bank.predict_mixed(windows, ["one"])
    with pytest.raises(BundleError, match="got 'nine'"):
        bank.predict_mixed(windows[:1], ["nine"])
    other = windows[:1, :, :3, :3]
    words = r"windows of 3 x 3 pixels for run 'one': expected windows of 5.*models.windows.resize"
    assert hyperpeft.models.windows.resize is not None
    with pytest.raises(BundleError, match=words):
        bank.predict_mixed(other, ["one"])
    assert len(bank.predict_mixed(other, ["one"], centres=other[:, :, 1, 1])) == 1
    bank.switch("one")
    with pytest.raises(BundleError, match=r"windows of 3 x 3 .* expected windows of 5"):
        bank.predict(other)
    assert list(bank) == list(RUNS)


def test_a_bank_gives_no_part_of_a_prediction(folder, tmp_path):
    """A run of several windows averages their logits, and one batch of windows has one size."""
    out, scene = tmp_path / "r", open_scene(folder / "scene.tif")
    run(config(folder, out, patch_size="1,5", head="random", epochs=1, map=False))
    bank = AdapterBank.for_run(out)
    mine = bank.add("two", out)
    batch = Windows(mine.reducer.reduce(scene), 5).at(torch.tensor([[2, 3], [8, 9]]))
    for predict in (bank.predict, lambda windows: bank.predict_mixed(windows, ["two"] * 2)):
        with pytest.raises(BundleError, match=r"averages several.*bank\['two'\].predict"):
            predict(batch)
    assert np.array_equal(mine.predict(scene), load_run(out).predict(scene))


def test_validation_pixels_of_a_class_that_does_not_train_are_left_out(folder, tmp_path):
    values = config(folder, tmp_path / "r", method="probe", validation=0.5)
    scene = labelled_scene(values)
    split = split_for(values, scene)
    ids = split.validation_ids.copy()
    ids[::2] = 3  # as the rasters of an official split may have it
    prepared = prepare(resolve_defaults(values), scene, replace(split, validation_ids=ids))
    assert prepared.validation.targets.tolist() == (ids[1::2] - 1).tolist()
    assert prepared.validation.positions.tolist() == split.validation[1::2].tolist()
    assert f"{len(ids[::2])} validation pixels are of classes that do not" in prepared.notes[-1]


def test_fifty_runs_on_base(tmp_path):
    """They add under 15 MB, switch in microseconds, and eight of them mix in one batch."""
    psutil = pytest.importorskip("psutil")
    encoder = load_backbone("base")
    base = {"backbone": "base", "encoder": encoder, "sha256": weights_sha256(encoder.state_dict())}
    folders = [make_run(tmp_path / str(i), classes=16, seed=i, **base) for i in range(8)]
    bank = AdapterBank(encoder)
    bank.add("first", folders[0])  # what is loaded once, whatever the number of runs
    gc.collect()
    before = psutil.Process().memory_info().rss
    for i in range(50):
        bank.add(str(i), folders[i % 8])
    gc.collect()
    assert bank.nbytes < 15e6
    assert psutil.Process().memory_info().rss - before < 15e6

    start = time.perf_counter()
    for i in range(50):
        bank.switch(str(i))
    assert (time.perf_counter() - start) / 50 < 100e-6  # 1.3 us on an idle processor

    windows = torch.randn(8, 12, 5, 5, generator=torch.Generator().manual_seed(0))
    mixed = bank.predict_mixed(windows, [str(i) for i in range(8)])
    for i in range(8):
        bank.switch(str(i))
        close(mixed[i], bank.predict(windows[i : i + 1])[0])
