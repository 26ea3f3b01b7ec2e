"""Baselines in the harness: the splits, records and folders of every method; honest results."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyperpeft.baselines import BASELINES, Task, classical
from hyperpeft.errors import BundleError, ConfigError, SceneError, TrainingError
from hyperpeft.estimator import SceneClassifier
from hyperpeft.export import peft_folders
from hyperpeft.mapping import SpectraFeatures, classify
from hyperpeft.progress import Progress
from hyperpeft.records import Scene
from hyperpeft.runs import bank
from hyperpeft.runs.config import make_config, resolve_defaults
from hyperpeft.runs.evaluate import evaluate, reopen
from hyperpeft.runs.experiment import run, split_for
from hyperpeft.runs.file_names import FEATURES
from hyperpeft.runs.load import load_run
from hyperpeft.runs.methods import prepare
from hyperpeft.runs.record import RunRecord
from hyperpeft.spatial.random_patches import SIZE
from hyperpeft.splits import per_class
from tests.helpers.small import PROGRAM, config, options, planted, strict_json, write_scene

NETWORKS = ("hybridsn", "spectralformer", "ssftt")
QUICK = {  # sizes at which a test takes a second, and still learns
    "rf": {"options": {"trees": 60}},
    "rf-pca": {"options": {"trees": 60}, "patch_size": 3},
    "svm-pca": {"patch_size": 3},
    "trees": {"options": {"trees": 60}},
    "emp": {"options": {"trees": 60}},
    "rpnet": {"options": {"layers": 2, "patches": 8}},
    "hybridsn": {
        "patch_size": 9, "options": {"components": 13}, "epochs": 12, "batch_size": 16,
        "per_class": 120,
    },
    "spectralformer": {"patch_size": 3, "epochs": 60, "batch_size": 16, "lr": 2e-3},
    "ssftt": {
        "patch_size": 5, "options": {"components": 12}, "epochs": 15, "batch_size": 16,
        "per_class": 120,
    },
}  # fmt: skip
FILES = {
    "run.json", "split.npz", "map.tif", "map.tif.aux.xml", "map.qml", "map.png", "confusion.png",
}  # fmt: skip
MODEL = ("features", "model", "network")
WINDOWS = {
    "svm": 1,
    "rf": 1,
    "lda": 1,
    "trees": 33,
    "emp": 49,
    "rpnet": 41,
}  # whatever the patch size
INVALID = np.zeros((24, 24), bool)
INVALID[3:6, 10:15] = True


@pytest.fixture(scope="module", autouse=True)
def quick_tuning():
    """Fewer trees and deals rank the same grid in a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classical, "TUNED_TREES", 8)
        patch.setattr(classical, "SVM_REPEATS", 1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene with nodata pixels on disk, two classes in four blocks, six deviations apart."""
    folder = tmp_path_factory.mktemp("world")
    write_scene(folder, planted(block=12), INVALID)
    return folder


def quick(folder, method, out, **changes):
    """A run of a second; the small encoder of `options` is of no use to a baseline."""
    given = {"per_class": 30, "refine": "none", **QUICK.get(method, {}), **changes}
    values = options(folder, out, **{"method": method, **given})
    for name in ("backbone", "num_heads", "patch_size", "epochs"):
        if name not in given:
            values.pop(name)
    return make_config(values)


@pytest.fixture(scope="module", params=list(BASELINES))
def finished(request, folder):
    """(method, record, folder) of a run of each baseline."""
    out = folder / "runs" / request.param
    return request.param, run(quick(folder, request.param, out)), out


def test_a_planted_scene_is_recovered(finished):
    method, record, out = finished
    assert record.metrics["oa"] > 92, method
    with rasterio.open(out / "map.tif") as file:
        ids = file.read(1)
        assert file.crs.to_epsg() == 32633
    np.testing.assert_array_equal(ids == 0, INVALID)


@pytest.mark.parametrize("method", list(BASELINES))
def test_shuffled_labels_are_at_chance(method, tmp_path):
    write_scene(tmp_path, planted(shuffled=True))
    record = run(quick(tmp_path, method, tmp_path / "r", map=False))
    # At least 336 test pixels of two classes: one deviation is at most 2.7 %.
    assert record.metrics["oa"] == pytest.approx(50, abs=9)


def test_the_folder_holds_the_model(finished):
    method, record, out = finished
    model = {"network.safetensors", "history.csv"} if method in NETWORKS else {"model.onnx"}
    files = FILES | model | {"features.safetensors"}
    assert {path.name for path in out.iterdir()} == files
    sizes = [(out / n).stat().st_size for n in files if n.split(".")[0] in MODEL]
    assert record.adapter["bytes"] == sum(sizes)


def test_a_run_from_its_folder_is_the_run(finished, folder):
    """Classes, probabilities and scores, to the bit."""
    method, record, out = finished
    bundle = load_run(out)
    scene = reopen(record, out)
    mapped = bundle.classify(scene, probabilities=True)
    with rasterio.open(out / "map.tif") as file:
        np.testing.assert_array_equal(mapped.ids, file.read(1))
    given = resolve_defaults(quick(folder, method, out))
    prepared = prepare(given, scene, split_for(given, scene))
    fitted = prepared.fit(Progress()).predict(scene, probabilities=True)
    np.testing.assert_array_equal(mapped.probabilities, fitted.probabilities)
    sums = fitted.probabilities[:, scene.valid].sum(axis=0)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert evaluate(out).scores == record.metrics


def test_a_refined_run_from_its_folder_is_the_run(folder, tmp_path):
    out = tmp_path / "r"
    record = run(quick(folder, "svm", out, refine="guided"))
    plain = run(quick(folder, "svm", tmp_path / "plain"))
    with (
        rasterio.open(out / "map.tif") as file,
        rasterio.open(tmp_path / "plain" / "map.tif") as other,
    ):
        ids = file.read(1)
        assert (ids != other.read(1)).any()
    np.testing.assert_array_equal(load_run(out).predict(reopen(record, out)), ids)
    assert record.metrics["oa"] >= plain.metrics["oa"]
    assert evaluate(out).scores == record.metrics


def test_maps_of_a_reloaded_run_are_the_same_for_every_tile(finished, tmp_path):
    _, record, out = finished
    bundle = load_run(out)
    scene = reopen(record, out)
    maps = []
    for tile in (8, 16, 512):
        path = tmp_path / f"{tile}.tif"
        bundle.map(scene, path, probabilities=tmp_path / f"{tile}_p.tif", tile=tile)
        with rasterio.open(path) as file, rasterio.open(tmp_path / f"{tile}_p.tif") as chances:
            maps.append((file.read(1), chances.read()))
    for other in maps[1:]:
        np.testing.assert_array_equal(other[0], maps[0][0])
        np.testing.assert_array_equal(other[1], maps[0][1])


def test_another_scene_of_the_same_bands_is_mapped(finished, tmp_path):
    """What is learned on one planted scene holds on another that is larger and laid out anew."""
    method, _, out = finished
    other = planted(height=30, width=36, block=6, seed=1)
    ids = load_run(out).predict(other)
    assert (ids == other.labels.ids).mean() > (0.6 if method == "rpnet" else 0.85)


def test_the_record_has_every_section_and_null_for_what_does_not_apply(finished):
    method, record, out = finished
    values = strict_json((out / "run.json").read_text())
    assert values == strict_json(record.to_json())
    assert RunRecord.from_file(out / "run.json") == record
    assert set(values["backbone"].values()) == {None}
    adapter = values["adapter"]
    assert adapter["method"] == values["config"]["method"] == method
    assert adapter["class_ids"] == [1, 2]
    assert (adapter["trainable_parameters"] is None) == (method not in NETWORKS)
    window = WINDOWS.get(method, QUICK.get(method, {}).get("patch_size"))
    assert values["split"]["leakage"]["patch_size"] == window
    leak = values["split"]["leakage"]["test_windows_touching_train"]
    assert leak == 0 if window == 1 else leak > 0
    trained = 2 * QUICK.get(method, {}).get("per_class", 30)
    assert values["split"]["test"] == 24 * 24 - INVALID.sum() - trained
    baseline = values["baseline"]
    assert baseline["source"] == BASELINES[method].source
    if method.startswith("svm") or method == "rpnet":
        assert {"C", "gamma", "support_vectors"} <= baseline.keys()
    if method.startswith("rf") or method in ("trees", "emp"):
        assert {"trees", "max_features", "min_samples_leaf"} <= baseline.keys()
    if method == "lda":
        assert baseline["shrinkage"] == "auto"
    elif method not in NETWORKS:
        assert baseline["tuning"]["folds"] == 5
        assert baseline["tuning"]["pixels"] == 60
        assert baseline["tuning"]["accuracy"] > 90
    else:
        assert baseline["parameters"] == adapter["trainable_parameters"]
        assert baseline["epochs"] == QUICK[method]["epochs"]
    assert values["timing"]["train_seconds"] > 0
    assert values["environment"]["precision"] == ("fp32" if method in NETWORKS else "fp64")


@pytest.mark.parametrize("method", ["svm-pca", "rf", "ssftt", "spectralformer"])
def test_the_same_run_gives_the_same_numbers(method, folder, tmp_path):
    first, again = (run(quick(folder, method, tmp_path / name, map=False)) for name in ("a", "b"))
    assert first.metrics == again.metrics
    assert first.baseline == again.baseline
    assert run(quick(folder, method, tmp_path / "a", map=False)).metrics == first.metrics


@pytest.mark.parametrize("how", [{"per_class": 6}, {"split": "disjoint", "per_class": 6}])
def test_the_split_is_that_of_every_method(how, folder, tmp_path):
    splits = []
    for method in ("krona+", "svm", "rf-pca"):
        values = options(folder, tmp_path / method, method=method, map=False, epochs=1, **how)
        run(make_config(values))
        with np.load(tmp_path / method / "split.npz", allow_pickle=False) as file:
            splits.append({name: file[name].tolist() for name in file.files})
    assert splits[0] == splits[1] == splits[2]


def test_a_disjoint_split_for_the_largest_window_of_all(folder, tmp_path):
    """--split-window makes methods of different windows share one split."""
    how = {"split": "disjoint", "per_class": 6, "split_window": 7, "map": False}
    splits = []
    for method, size in (("krona+", 5), ("svm", 5), ("ssftt", 7)):
        more = {"epochs": 1, "patch_size": size, **how}
        record = run(make_config(options(folder, tmp_path / method, method=method, **more)))
        assert record.split["leakage"]["test_windows_touching_train"] == 0
        with np.load(tmp_path / method / "split.npz", allow_pickle=False) as file:
            splits.append(file["train"].tolist())
    assert splits[0] == splits[1] == splits[2]


def test_classes_of_two_to_five_training_pixels(folder, tmp_path):
    for count in (2, 3, 5):
        for method in ("svm", "rf-pca"):
            out = tmp_path / f"{method}-{count}"
            record = run(quick(folder, method, out, per_class=count, map=False))
            assert record.baseline["tuning"]["folds"] == count
    record = run(quick(folder, "svm", tmp_path / "one", per_class=1, map=False))
    assert record.baseline["tuning"] == {"folds": 0, "pixels": 2, "accuracy": None}


def test_test_pixels_are_not_looked_at():
    """Other values at the test pixels: the same machine, forest and network are fitted."""
    scene = planted()
    split = per_class(scene.labels, 30, seed=0, validation=0.0, valid=scene.valid)
    changed = scene.cube.copy(deep=True)
    changed.values[:, split.test[:, 0], split.test[:, 1]] += 3
    where = np.zeros_like(scene.valid)
    where[tuple(split.train.T)] = True
    for method in ("svm", "svm-pca", "rf", "spectralformer"):
        baseline = BASELINES[method]
        fitted = []
        for cube in (scene.cube, changed):
            task = Task(
                type(scene)("made", cube, scene.valid, labels=scene.labels), split,
                patch_size=1, fit_on="train", seed=0,
                options=baseline.complete(QUICK.get(method, {}).get("options", {})),
                epochs=2, batch_size=16, lr=1e-3,
            )  # fmt: skip
            fitted.append(baseline.fit(task))
        assert fitted[0].about == fitted[1].about
        assert fitted[0].history is not None
        ids = [classify(f.predictor, scene, where).ids for f in fitted]
        np.testing.assert_array_equal(*ids)
        losses = [[row["loss"] for row in f.history] for f in fitted]
        assert losses[0] == losses[1]


def test_lda_of_a_class_of_one_pixel(recwarn):
    """It adds nothing to the covariance and is still a class; nothing warns of it."""
    scene, lda = planted(), BASELINES["lda"]
    split = per_class(scene.labels, 10, seed=0, validation=0.0, valid=scene.valid)
    kept = np.cumsum(split.train_ids == 1) * (split.train_ids == 1) < 2
    split = replace(split, train=split.train[kept], train_ids=split.train_ids[kept])
    assert np.count_nonzero(split.train_ids == 1) == 1
    task = Task(
        scene, split, patch_size=1, fit_on="scene", seed=0, options=lda.complete({}),
        epochs=1, batch_size=1, lr=1e-3,
    )  # fmt: skip
    fitted = lda.fit(task)
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]
    assert set(classify(fitted.predictor, scene).ids[tuple(split.test.T)]) == {1, 2}


def test_validation_keeps_the_best_epoch(folder, tmp_path):
    config = quick(folder, "ssftt", tmp_path / "r", per_class=30, validation=0.5, epochs=6)
    record = run(config)
    rows = (tmp_path / "r" / "history.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,validation_oa,lr,seconds"
    assert len(rows) == 7
    best = max(float(row.split(",")[2]) for row in rows[1:])
    with (
        np.load(tmp_path / "r" / "split.npz") as split,
        rasterio.open(tmp_path / "r" / "map.tif") as file,
    ):
        found = file.read(1)[tuple(split["validation"].T)]
        accuracy = 100 * (found == split["validation_ids"]).mean()
    assert accuracy == pytest.approx(best)
    assert record.split["validation"] == 30


def test_patience_ends_the_training_of_a_network(folder, tmp_path):
    given = {"per_class": 30, "validation": 0.5, "epochs": 9, "lr": 1e-12, "map": False}
    run(quick(folder, "ssftt", tmp_path / "r", patience=2, **given))
    assert len((tmp_path / "r" / "history.csv").read_text().splitlines()) == 1 + 3


def test_options_that_change_nothing_are_noted(folder, tmp_path):
    given = {"reduce": "mnf", "normalise": "minmax", "weight_decay": 0.05, "patience": 3}
    record = run(quick(folder, "trees", tmp_path / "r", map=False, **given))
    assert "trees does not use reduce, normalise, patience" in record.notes
    assert not any(
        "does not use" in note for note in run(quick(folder, "svm", tmp_path / "s")).notes
    )


def test_the_rate_of_spectralformer_falls_after_each_tenth(folder, tmp_path):
    run(quick(folder, "spectralformer", tmp_path / "r", epochs=20, lr=1e-3, map=False))
    rows = (tmp_path / "r" / "history.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[3]) for row in rows]
    assert rates == pytest.approx([1e-3 * 0.9 ** (epoch // 2) for epoch in range(20)])


# --- options ---------------------------------------------------------------------------------


def test_a_baselines_own_defaults_and_what_replaces_them():
    own = resolve_defaults(make_config({"scene": "demo", "method": "hybridsn"}))
    assert (own.patch_size, own.epochs, own.batch_size, own.lr) == (25, 100, 256, 1e-3)
    assert (own.weight_decay, own.label_smoothing, own.augment) == (0, 0, False)
    assert own.options == {"components": 30}
    given = {"epochs": 7, "patch_size": 11, "augment": True, "options": {"components": 15}}
    mine = resolve_defaults(make_config({"scene": "demo", "method": "hybridsn", **given}))
    assert {name: getattr(mine, name) for name in given} == given
    assert mine.lr == 1e-3
    svm = resolve_defaults(make_config({"scene": "demo", "method": "svm"}))
    assert svm.patch_size == 9


def test_a_window_that_is_left_open_is_the_baselines_own():
    given = {"scene": "demo", "patch_size": "auto"}
    sizes = {
        m: resolve_defaults(make_config({**given, "method": m})).patch_size
        for m in ("svm", "ssftt")
    }
    assert sizes == {"svm": 9, "ssftt": 13}
    assert resolve_defaults(make_config(given)).patch_size == "auto"  # an adapter's is chosen


@pytest.mark.parametrize("method", [*BASELINES, "krona+"])
def test_settling_twice_changes_nothing(method):
    once = resolve_defaults(make_config({"scene": "demo", "method": method}))
    assert resolve_defaults(once) == once
    dumped = once.model_dump(mode="json")
    assert resolve_defaults(make_config(dumped)).model_dump(mode="json") == dumped


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "svn"}, "method: expected one of .*krona.*svm.*ssftt, got 'svn'"),
        ({"method": "svm-pca", "patch_size": "3,7"}, "of svm-pca: expected one window, got 3,7"),
        ({"options": {"rank": 4}}, "option of svm: expected one of folds, got rank"),
        ({"method": "lda", "options": {"folds": 3}}, "option folds: lda has no options"),
        ({"options": {"folds": 0}}, "option folds of svm: expected a whole number from 1, got 0"),
        ({"options": {"folds": 2.5}}, "option folds of svm: .*got 2.5"),
        ({"options": {"folds": True}}, "option folds of svm: .*got True"),
        ({"method": "rf", "options": {"trees": "many"}}, "option trees of rf: .*got many"),
        ({"method": "hybridsn", "patch_size": 7}, "patch size of hybridsn: expected at least 9"),
        ({"method": "ssftt", "options": {"components": 2}}, "components of ssftt: .*3, got 2"),
        ({"method": "spectralformer", "options": {"group": 4}}, "group of spectralformer: .*got 4"),
    ],
)
def test_wrong_options_are_refused(changes, says, folder, tmp_path):
    with pytest.raises(ConfigError, match=says):
        run(config(folder, tmp_path / "r", **{"method": "svm", **changes}))
    assert not (tmp_path / "r").exists()


def test_a_loss_that_explodes_is_said(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf).*lower the learning rate"):
        run(quick(folder, "hybridsn", tmp_path / "r", lr=1e18))


# --- what a run of a baseline is no use for -----------------------------------------------------


def test_a_baseline_has_no_adapter(folder, tmp_path):
    out = tmp_path / "svm"
    run(quick(folder, "svm", out))
    says = "is a run of the baseline svm, which has no backbone and no adapter"
    with pytest.raises(BundleError, match=says):
        peft_folders.export(out, tmp_path / "to")
    with pytest.raises(BundleError, match=r"no adapted backbone|no backbone"):
        peft_folders.merge(out, tmp_path / "m.safetensors")
    with pytest.raises(BundleError, match=says):
        bank.AdapterBank.for_run(out)
    with pytest.raises(BundleError, match="a run of svm has no adapted backbone"):
        _ = load_run(out).model
    row = peft_folders.list_runs([out])[0]
    assert (row.method, row.parameters, row.backbone) == ("svm", None, None)


def test_folders_that_lack_something_or_do_not_fit(folder, tmp_path):
    out = tmp_path / "trees"
    run(quick(folder, "trees", out, map=False))
    features, model = out / "features.safetensors", out / "model.onnx"
    other = tmp_path / "svm"
    run(quick(folder, "svm", other, map=False))
    kept = model.read_bytes()
    model.write_bytes((other / "model.onnx").read_bytes())
    with pytest.raises(BundleError, match="does not fit its run: expected 60 features, 2 classes"):
        load_run(out)
    values = features.read_bytes()
    model.write_bytes(kept)
    features.write_bytes(values[:-16] + bytes([values[-16] ^ 1]) + values[-15:])
    with pytest.raises(BundleError, match=r"features.safetensors is not the file that was written"):
        load_run(out)
    features.write_bytes(values)
    model.write_bytes(kept[:1000])
    with pytest.raises(BundleError, match="is not a classifier of pixels"):
        load_run(out)
    model.unlink()
    with pytest.raises(BundleError, match=r"model.onnx cannot be read"):
        load_run(out)
    model.symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match="outside its folder"):
        load_run(out)
    model.unlink()
    features.unlink()
    with pytest.raises(BundleError, match=r"baseline trees without its model; use the map\.tif"):
        load_run(out)


@pytest.mark.parametrize("method", NETWORKS)
def test_a_network_that_does_not_fit_is_refused(method, folder, tmp_path):
    out = tmp_path / method
    run(quick(folder, method, out, per_class=20, epochs=1, map=False))
    path = out / "network.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors, sizes = load_file(path), json.loads(metadata["sizes"])
    name = max(tensors)

    def refused(tensors, says, **changes):
        save_file(tensors, path, {**metadata, **changes})
        with pytest.raises(BundleError, match=says):
            load_run(out)

    refused(tensors, "is no network", kind="resnet")
    refused(tensors, "is no network", sizes=json.dumps({**sizes, "inputs": 10**9}))
    refused(tensors, "is no network", sizes="[1]")
    refused(tensors, "expected 2 classes", sizes=json.dumps({**sizes, "classes": 3}))
    refused(tensors, "no network of|does not fit", sizes=json.dumps({**sizes, "window": 1}))
    refused({k: v for k, v in tensors.items() if k != name}, "does not fit the network")
    refused({**tensors, name: torch.full_like(tensors[name], torch.nan)}, "does not fit")
    refused({**tensors, name: tensors[name][..., None]}, "does not fit")
    path.write_bytes(b"x")
    with pytest.raises(BundleError, match="cannot be read"):
        load_run(out)


@pytest.mark.parametrize("method", ["lda", "spectralformer"])
def test_another_scale_is_refused(method, tmp_path):
    """Also from a folder; a network of an earlier version, which knows no level, maps anything."""
    scene = planted(height=12, width=12, bands=10)
    cube = 5 + np.moveaxis(np.asarray(scene.cube.values), 0, 2)
    clf = SceneClassifier(method, per_class=4, patch_size=1, epochs=1, map=False)
    clf.fit(1000 * cube, scene.labels.ids).save(tmp_path / "r")
    with pytest.raises(SceneError, match="scale"):
        clf.predict(cube)
    other = Scene.from_array(cube)
    with pytest.raises(SceneError, match="scale"):
        load_run(tmp_path / "r").map(other, tmp_path / "m.tif")
    if method == "spectralformer":
        path = tmp_path / "r" / FEATURES
        replace(SpectraFeatures.from_file(path), level=None).to_file(path)
        record = json.loads((tmp_path / "r" / "run.json").read_text())
        (tmp_path / "r" / "run.json").write_text(json.dumps({**record, "files": None}))
        load_run(tmp_path / "r").map(other, tmp_path / "m.tif")
        assert (tmp_path / "m.tif").is_file()


def test_a_last_batch_of_one_pixel():
    """It has no variance to normalise by."""
    clf = SceneClassifier("ssftt", patch_size=5, epochs=1, batch_size=7, per_class=4, map=False)
    clf.set_params(options={"components": 5}).fit(planted())
    assert clf.classes_.tolist() == [1, 2]


def test_probabilities_of_the_estimator_and_another_array():
    scene = planted(block=12)
    cube = np.moveaxis(np.asarray(scene.cube.values), 0, 2)
    clf = SceneClassifier("trees", per_class=20, options={"trees": 30}).fit(cube, scene.labels.ids)
    chances = clf.predict_proba(cube[:12, 3:])
    assert chances.shape == (12, 21, 2)
    np.testing.assert_array_equal(clf.classes_[chances.argmax(axis=2)], clf.predict(cube[:12, 3:]))


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True)


def test_the_command_line(folder, tmp_path):
    out = tmp_path / "svm"
    done = command(
        "train", folder / "scene.tif", "--labels", folder / "scene_labels.tif", "--method", "svm",
        "--option", "folds=3", "--per-class", 30, "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "svm: features 20, C " in done.stdout
    assert "leakage: 0 % of the test pixels have a training pixel within 1 x 1" in done.stdout
    listed = command("adapters", "list", out)
    assert "svm" in listed.stdout
    assert "None" not in listed.stdout
    mapped = command("map", out, "--out", tmp_path / "m.tif", "--probabilities")
    assert mapped.returncode == 0, mapped.stderr
    with rasterio.open(tmp_path / "m.tif") as file, rasterio.open(out / "map.tif") as own:
        np.testing.assert_array_equal(file.read(1), own.read(1))
    tested = command("evaluate", out, "--json")
    assert tested.returncode == 0, tested.stderr
    assert json.loads(tested.stdout)["oa"] == RunRecord.from_file(out / "run.json").metrics["oa"]


def test_how_far_a_baseline_looks_is_what_its_row_says(finished):
    """The row is read where nothing is fitted yet: for the split."""
    method, _, out = finished
    row = BASELINES[method]
    predictor = load_run(out).predictor
    if method == "rpnet":
        full = row.options["layers"] * (SIZE // 2)
        assert row.reach == full
    elif row.reach is not None:
        assert row.reach == predictor.reach
    else:
        assert row.window(QUICK[method]["patch_size"]) == 2 * predictor.reach + 1
