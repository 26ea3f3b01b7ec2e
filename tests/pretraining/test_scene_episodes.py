"""Scenes and episodes drawn on the device: what they hold, and that steps repeat."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from sklearn.metrics import homogeneity_score

from hyperpeft import spectral
from hyperpeft.errors import (
    BundleError,
    ConfigError,
    InputError,
    Interrupted,
    SceneError,
    TrainingError,
)
from hyperpeft.models import image_size_of
from hyperpeft.models.windows import Windows
from hyperpeft.pretraining.config import PretrainConfig
from hyperpeft.pretraining.run import pretrain
from hyperpeft.pretraining.scene_episodes import draw_scene_episodes, open_library, ridge_scores
from hyperpeft.pretraining.sources import RealCubes, components_of
from hyperpeft.records import Scene
from hyperpeft.scenes import CARDS, planted_scene
from hyperpeft.scenes.synthetic.ground import Draws
from hyperpeft.scenes.synthetic.library import GRID_NM, SpectralLibrary, read_library
from hyperpeft.scenes.synthetic.realistic import SceneGenerator, SceneRules
from hyperpeft.training.ridge import ridge
from tests.helpers.small import HEADS, checkpoint
from tools.accelerator.prepare import JUDGES, LEFT_OUT

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
RULES = SceneRules(size=32, bands=24, classes=6, curves=0.5)


def library(count: int = 40) -> SpectralLibrary:
    """Smooth spectra; every third has the red edge of a plant."""
    rng = np.random.default_rng(0)
    spectra = rng.uniform(0.1, 0.5, (count, 1)) + 0.1 * np.sin(
        GRID_NM / rng.uniform(150, 600, (count, 1))
    )
    spectra[::3] += 0.4 * (GRID_NM > 700) - 0.05
    names = tuple(f"spectrum {i}" for i in range(count))
    return SpectralLibrary(spectra.clip(0.01).astype(np.float32), names, ("made",) * count)


def test_a_seed_gives_the_same_scenes_and_every_class_lies_somewhere():
    generator = SceneGenerator(library(), RULES, CPU)
    first, again, other = (generator.draw(seed, 8) for seed in (1, 1, 2))
    assert torch.equal(first.cubes, again.cubes)
    assert torch.equal(first.classes, again.classes)
    assert not torch.equal(first.cubes, other.cubes)
    assert first.cubes.shape == (8, 24, 32, 32)
    assert first.cubes.isfinite().all()
    counts = [len(np.unique(classes)) for classes in first.classes]
    assert min(counts) >= 1
    assert max(counts) >= 4
    assert int(first.classes.max()) < RULES.classes


def test_classes_of_generated_scenes_can_be_told_apart_by_their_spectra():
    """Not by luck: nearest class means on raw spectra against the share of the largest class."""
    batch = SceneGenerator(library(), RULES, CPU).draw(3, 24)
    gains = []
    for cube, classes in zip(batch.cubes.flatten(2), batch.classes.flatten(1), strict=True):
        known = classes.unique()
        means = torch.stack([cube[:, classes == k].mean(1) for k in known])
        nearest = known[torch.cdist(cube.T[None], means[None])[0].argmin(1)]
        largest = (classes[:, None] == known).float().mean(0).max()
        gains.append(((nearest == classes).float().mean() - largest).item())
    assert np.median(gains) > 0.0
    assert np.quantile(gains, 0.9) > 0.25


def test_components_are_those_of_the_reducer():
    """Subspace iteration against the exact decomposition; signs mean nothing."""
    scene = planted_scene(height=32, width=32, bands=20, block=6)
    exact = spectral.fit(scene, normalise="sqrt").reduce(scene)
    cube = torch.from_numpy(np.asarray(scene.cube.values, np.float32))
    found = components_of(torch.stack([cube, 7 * cube + 3]))  # scale and offset mean nothing
    for components in found.numpy():
        for mine, theirs in zip(components[:6], exact[:6], strict=True):
            correlation = np.corrcoef(mine.ravel(), theirs.ravel())[0, 1]
            assert abs(correlation) > 0.999 or abs(mine.std() / theirs.std() - 1) < 0.05
        np.testing.assert_allclose(
            components.std(axis=(1, 2)), exact.std(axis=(1, 2)), rtol=0.02, atol=1e-3
        )
    for value in (1.0, torch.nan):
        nothing = components_of(torch.full((1, 20, 16, 16), value))
        assert torch.equal(nothing, torch.zeros_like(nothing))


def test_scores_are_those_of_the_ridge_head():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 20, 16, generator=generator)
    asked = torch.randn(3, 7, 16, generator=generator)
    targets = torch.arange(4).repeat_interleave(5).expand(3, -1)
    known = torch.ones(3, 20, dtype=torch.bool)
    known[2, 15:] = False  # the last class of the last scene has too few pixels
    scores = ridge_scores(features, targets, known, 4, asked, torch.tensor(0.1))
    for scene in range(3):
        picked = known[scene]
        head = ridge(features[scene, picked].double(), targets[scene, picked], 4, 0.1)
        expected = asked[scene].double() @ head.weight.T + head.bias
        np.testing.assert_allclose(scores[scene], expected, rtol=1e-4, atol=1e-4)


def test_pixels_are_of_their_class_and_distant_ones_are_distant():
    draws = Draws(5, CPU)
    classes = (torch.arange(40)[:, None] // 10 * 4 + torch.arange(40) // 10).expand(8, -1, -1) % 5
    components = draws.normal(8, 12, 40, 40)
    found = draw_scene_episodes(
        draws, components, classes, ways=4, shots=5, queries=6, apart=3, patch_size=5, image_size=16
    )
    flat = classes.flatten(1)
    for scene in range(8):
        labelled = flat[scene, found.labelled[scene]].view(4, 5)
        assert (labelled == labelled[:, :1]).all()  # one class each
        assert len(labelled[:, 0].unique()) == 4
        queried = flat[scene, found.queried[scene]].view(4, 6)
        asked = found.asked[scene].view(4, 6)
        assert (queried == labelled[:, :1])[asked].all()
        assert not set(found.queried[scene][found.asked[scene]].tolist()) & set(
            found.labelled[scene].tolist()
        )
        rows, columns = (
            torch.stack([i // 40, i % 40]) for i in (found.labelled[scene], found.queried[scene])
        )
        distance = (rows[:, :, None] - columns[:, None]).abs().amax(0).amin(0)
        if scene % 4 >= 2:
            assert distance[found.asked[scene]].min() > 3
    windows = found.windows().unflatten(0, (8, -1))
    positions = torch.stack([found.labelled[0] // 40, found.labelled[0] % 40], 1)
    expected = Windows(components[0].numpy(), 5).at(positions)
    assert torch.equal(windows[0, :20], expected)
    assert torch.equal(found.centres().unflatten(0, (8, -1))[0, :20], expected[:, :, 2, 2])
    clump, spread = (
        positions.float().view(4, 5, 2).std(1).mean()
        for positions in (
            torch.stack([found.labelled[k] // 40, found.labelled[k] % 40], 1) for k in (1, 0)
        )
    )
    assert clump < spread


def test_clusters_of_a_real_cube_follow_what_lies_in_it():
    """Four quarters of other spectra: every cluster lies in one of them, however it is turned."""
    rng = np.random.default_rng(0)
    quarters = np.kron(np.array([[0, 1], [2, 3]]), np.ones((20, 20), int))
    cube = rng.random((4, 30))[quarters].transpose(2, 0, 1) + 0.05 * rng.random((30, 40, 40))
    cubes = RealCubes({"quarters": cube, "small": np.zeros((5, 8, 8))}, CPU, size=40, bands=20)
    assert cubes.names == ("quarters",)
    components, clusters = cubes.draw(0, 6)
    again = cubes.draw(0, 6)
    assert torch.equal(components, again[0])
    assert torch.equal(clusters, again[1])
    assert components.shape == (6, 12, 40, 40)
    for numbers in clusters.numpy():
        assert homogeneity_score(quarters.ravel(), numbers.ravel()) > 0.6
    with pytest.raises(SceneError, match="40 pixels"):
        RealCubes({"small": np.zeros((5, 8, 8))}, CPU, size=40)


def options(tmp_path: Path, **changes) -> dict:
    library().save(tmp_path / "library.npz")
    cube = planted_scene(height=40, width=40, bands=20).cube.values
    np.savez(tmp_path / "cubes.npz", planted=cube)
    scenes = {
        "library": [str(tmp_path / "library.npz")],
        "cubes": [str(tmp_path / "cubes.npz")],
        "size": 32,
        "bands": 24,
        "classes": 6,
        "centre": 0.5,
        "image_sizes": {16: 0.5, 32: 0.5},
    }
    return {
        "backbone": str(checkpoint(tmp_path / "start.safetensors")),
        "num_heads": HEADS,
        "stages": [{"steps": 12, "image_size": 16}],
        "scenes": scenes,
        "episodes": {"scenes": 4, "ways": [2, 4], "shots": [3], "queries": 3},
        "masked": {"weight": 0.1, "windows": 16, "decoder_dim": 24, "normalise_targets": False},
        "precision": "fp32",
        **changes,
    }


def test_a_run_that_is_stopped_goes_on_to_the_same_weights(tmp_path):
    config = PretrainConfig(**options(tmp_path))
    whole = pretrain(config, tmp_path / "whole")
    assert set(whole["last_100_steps"]) <= {"episode_loss", "episode_accuracy", "masked_loss"}

    def stop(done: int, total: int, figures: dict[str, float]) -> None:
        if done == 5:
            os.kill(os.getpid(), 2)

    with pytest.raises(Interrupted):
        pretrain(config, tmp_path / "stopped", watch=stop)
    again = pretrain(config, tmp_path / "stopped")
    assert again["backbone"]["weights_sha256"] == whole["backbone"]["weights_sha256"]
    assert again["windows"] == whole["windows"]


def test_the_files_that_scenes_come_from_are_part_of_the_run(tmp_path):
    values = options(tmp_path, stages=[{"steps": 2, "image_size": 8}])
    values["scenes"] |= {"real": 1.0, "image_sizes": {16: 1.0}}
    config = PretrainConfig(**values)

    def stop(done: int, total: int, figures: dict[str, float]) -> None:
        if done == 1:
            os.kill(os.getpid(), 2)

    with pytest.raises(Interrupted):
        pretrain(config, tmp_path / "out", watch=stop)
    cubes = (tmp_path / "cubes.npz").read_bytes()
    np.savez(tmp_path / "cubes.npz", planted=np.zeros((20, 40, 40), np.float32))
    with pytest.raises(BundleError, match="other sources"):
        pretrain(config, tmp_path / "out")
    (tmp_path / "cubes.npz").write_bytes(cubes)
    record = pretrain(config, tmp_path / "out")
    files = {file["name"]: file["sha256"] for file in record["scene_files"]}
    assert set(files) == {"library.npz", "cubes.npz"}
    assert files["cubes.npz"] == hashlib.sha256(cubes).hexdigest()
    # The size that was drawn, and not that of the stage.
    assert record["backbone"]["image_size"] == 16
    assert image_size_of(tmp_path / "out" / "backbone.safetensors") == 16


def test_a_folder_that_scenes_come_from_is_not_written_over(tmp_path):
    values = options(tmp_path)
    values["scenes"]["library"] = [str(tmp_path / "out" / "history.csv")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "history.csv").write_text("mine")
    with pytest.raises(InputError, match=r"history\.csv"):
        pretrain(PretrainConfig(**values), tmp_path / "out")
    assert (tmp_path / "out" / "history.csv").read_text() == "mine"


def test_more_masked_windows_than_an_episode_has(tmp_path):
    values = options(tmp_path, stages=[{"steps": 1, "image_size": 8}])
    values["masked"]["windows"] = 256
    record = pretrain(PretrainConfig(**values), tmp_path / "out")
    assert 0 < record["windows"] < 256


def test_steps_without_a_finite_gradient_end_the_run_before_the_weights_are_lost(tmp_path):
    values = options(tmp_path, stages=[{"steps": 40, "image_size": 16}], lr=1e30, clip=1e30)
    with pytest.raises(TrainingError, match="not finite"):
        pretrain(PretrainConfig(**values), tmp_path / "out")


def test_a_spectral_library_that_gdal_wrote_is_read(tmp_path):
    made = library(5)
    profile = {"driver": "ENVI", "width": len(GRID_NM), "height": 5, "count": 1, "dtype": "float32"}
    with rasterio.open(tmp_path / "made.sli", "w", **profile) as file:
        file.write(made.reflectance, 1)
    with (tmp_path / "made.hdr").open("a") as header:
        header.write(f"wavelength = {{{', '.join(str(w / 1000) for w in GRID_NM)}}}\n")
        header.write(f"spectra names = {{{', '.join(made.names)}}}\n")
    read = read_library([tmp_path / "made.hdr"])
    np.testing.assert_allclose(read.reflectance, made.reflectance, atol=1e-6)
    assert read.names == made.names
    (tmp_path / "made.sli").unlink()
    with pytest.raises(SceneError, match="library"):
        read_library([tmp_path / "made.hdr"])


def test_a_prepared_library_stands_alone(tmp_path):
    """The spectra of a second file would have been left out in silence."""
    for name in ("a.npz", "b.npz"):
        library(5).save(tmp_path / name)
    one, other = str(tmp_path / "a.npz"), str(tmp_path / "b.npz")
    assert len(open_library([one]).names) == 5
    for names in ([one, other], ["c.hdr", other]):
        with pytest.raises(ConfigError, match=r"one prepared \.npz, or ENVI headers, got"):
            open_library(names)


def test_no_scene_that_judges_is_trained_on(data):
    """By name, and by what is in them: no pixel of a judge's scene is in a training cube."""
    folder = data / "pretraining" / "hyperspectral"
    trained = {path.stem for path in folder.iterdir()} - set(LEFT_OUT)
    named = {name.replace("-", "") for name in (*CARDS, *JUDGES)}
    assert not {name.replace("-", "").replace("_", "").lower() for name in trained} & named
    assert "abu-beach-4" not in trained  # Pavia, whose scenes are benchmarks


ONLY_THERE = """
import importlib.abc, runpy, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"rasterio", "rioxarray", "geopandas", "h5py", "pyproj"}:
            raise ImportError(f"{name} is not on that machine")
sys.meta_path.insert(0, Absent())
sys.argv = ["run", *sys.argv[1:]]
runpy.run_module("tools.accelerator.run", run_name="__main__")
"""


def test_the_accelerators_command_runs_without_gdal(tmp_path):
    """Dry run on the processor: compare two variants, pretrain one, go on after it is finished."""
    common = options(tmp_path)
    np.savez(tmp_path / "judge.npz", **_judge(tmp_path))
    variants = {"start": {"stages": [], "pretrained": False, "image_size": 16}, "both": None}
    (tmp_path / "compare.yaml").write_text(
        yaml.safe_dump(
            {"common": {**common, "backbone": "tiny", "num_heads": None}, "variants": variants},
            sort_keys=False,
        )
    )
    tiny = {**common, "backbone": "tiny", "num_heads": None}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny))
    for task, config in (("compare", "compare.yaml"), ("pretrain", "run.yaml")):
        command = [
            sys.executable, "-c", ONLY_THERE, task, str(tmp_path / config),
            "--prepared", str(tmp_path), "--out", str(tmp_path / task), "--seconds", "0.5",
            "--trial-steps", "6",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    rows = [
        json.loads(x) for x in (tmp_path / "compare" / "compare.jsonl").read_text().splitlines()
    ]
    assert [row["name"] for row in rows] == ["start", "both"]
    assert not any("failed" in row for row in rows)
    record = json.loads((tmp_path / "pretrain" / "accelerator.json").read_text())
    assert record["judged"]["random"] > 50
    assert record["windows"] > 0
    assert (tmp_path / "pretrain" / "run" / "backbone.safetensors").is_file()


def _judge(tmp_path: Path) -> dict[str, np.ndarray]:
    """A planted scene of two classes with ten labels each, as `prepare` writes it."""
    scene: Scene = planted_scene(height=24, width=24, block=6, bands=20, informative_band=7)
    assert scene.labels is not None
    ids = scene.labels.ids
    arrays = {"planted/cube": spectral.fit(scene, normalise="sqrt").reduce(scene)}
    rng = np.random.default_rng(0)
    for kind in ("random", "disjoint"):
        pixels = rng.permutation(np.argwhere(ids > 0))[:60]
        for part, chosen in (("train", pixels[:20]), ("test", pixels[20:])):
            arrays[f"planted/{kind}/0/{part}"] = chosen
            arrays[f"planted/{kind}/0/{part}_classes"] = (ids[tuple(chosen.T)] - 1).astype(np.int64)
    return arrays
