"""Pretraining: runs, resuming, episodes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from hyperpeft.errors import BundleError, ConfigError, SceneError
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.models.spectralgpt import MaskedAutoencoder
from hyperpeft.models.windows import resize
from hyperpeft.pretraining import episodes
from hyperpeft.pretraining.config import PretrainConfig, read_pretrain_config
from hyperpeft.pretraining.episodes import EpisodeHead, EpisodeRules, Steps, draw_episode
from hyperpeft.pretraining.loop import Objectives, Plan, Pretrainer
from hyperpeft.pretraining.run import pretrain, save_losses
from hyperpeft.pretraining.sources import SENTINEL2, draw_windows, find_sources
from hyperpeft.scenes import random_scene
from hyperpeft.spectral import BIGEARTHNET_MEAN, BIGEARTHNET_STD
from tests.helpers.small import HEADS, PROGRAM, checkpoint, encoder, planted, write_scene

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("pretrain-*.yaml"))


def write_chips(path: Path, bands: tuple[str, ...] = SENTINEL2, count: int = 6) -> Path:
    """Sentinel-2 chips of 20 x 24 pixels; band i holds 100 i everywhere."""
    x = np.arange(len(bands))[None, :, None, None] * np.full((count, 1, 20, 24), 100)
    np.savez(path, x=x.astype(np.uint16), bands=np.array(bands))
    return path


def options(tmp_path: Path, **changes) -> dict:
    """A run of a few steps on the small encoder, with both objectives and two stages."""
    weights = tmp_path / "start.safetensors"
    if not weights.exists():
        checkpoint(weights)
        write_chips(tmp_path / "chips.npz")
        write_scene(tmp_path, planted())
    episodes = {"scenes": 1, "ways": [2, 4], "shots": [3], "queries": 3}
    masked = {
        "weight": 0.5,
        "windows": 64,
        "decoder_dim": 24,
        "sources": [str(tmp_path / "chips.npz"), str(tmp_path / "scene.tif")],
    }
    values = {
        "backbone": str(weights),
        "num_heads": HEADS,
        "stages": [{"steps": 22, "image_size": 16}, {"steps": 20, "image_size": 32}],
        "episodes": episodes,
        "masked": masked,
        "warmup": 5,
    }
    return {**values, **changes}


def test_a_run_writes_weights_that_load_and_says_how_they_came(tmp_path):
    out, config = tmp_path / "out", PretrainConfig(**options(tmp_path))
    seen: list[int] = []
    record = pretrain(config, out, watch=lambda done, total, figures: seen.append(done))
    assert seen == list(range(1, 43))
    assert record == json.loads((out / "pretrain.json").read_text())
    model = load_backbone(out / "backbone.safetensors", 32, HEADS)
    assert weights_sha256(model.state_dict()) == record["backbone"]["weights_sha256"]
    start = load_backbone(tmp_path / "start.safetensors", 32, HEADS)
    assert not torch.equal(model.blocks[0].attn.q.weight, start.blocks[0].attn.q.weight)
    full = load_file(out / "autoencoder.safetensors")  # with the decoder, under official names
    assert {"mask_token", "decoder_pred.weight", "blocks.0.attn.q.weight"} <= set(full)
    assert set(record["last_100_steps"]) == {"episode_loss", "episode_accuracy", "masked_loss"}
    assert record["windows"] > 0
    for name in ("losses.png", "reconstructions.png"):
        with Image.open(out / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5
    assert not (out / "checkpoint").exists()
    assert pretrain(config, out) == record  # finished: nothing is done again
    with pytest.raises(ConfigError, match="another pretraining run"):
        pretrain(config.model_copy(update={"lr": 0.5}), out)


def test_killed_and_continued_equals_never_killed(tmp_path):
    """SIGKILL in the middle; the same command resumes to the same losses and weights."""
    stages = [{"steps": 12, "image_size": 16}, {"steps": 10, "image_size": 32}]
    values = options(tmp_path, stages=stages)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(values))
    whole = pretrain(PretrainConfig(**values), tmp_path / "whole")
    code = (
        "import sys; from pathlib import Path; from hyperpeft.pretraining.config import "
        "read_pretrain_config;"
        "from hyperpeft.pretraining.run import pretrain;"
        "pretrain(read_pretrain_config(Path(sys.argv[1])), Path(sys.argv[2]), every=0.0)"
    )
    command = [PROGRAM[0], "-c", code, str(file), str(tmp_path / "killed")]
    kills = 0
    for wanted in (4, 15):  # in the first stage, and in the second
        process = subprocess.Popen(command)
        state = tmp_path / "killed" / "checkpoint" / "state.pt"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if state.is_file() and _steps(state) >= wanted:
                os.kill(process.pid, signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.1)
        process.wait(120)
    assert kills > 0
    assert (
        subprocess.run(
            [*PROGRAM, "pretrain", str(file), "--out", str(tmp_path / "killed"), "-q"]
        ).returncode
        == 0
    )
    again = json.loads((tmp_path / "killed" / "pretrain.json").read_text())
    # The file itself may differ: safetensors does not keep the order of metadata.
    assert again["backbone"]["weights_sha256"] == whole["backbone"]["weights_sha256"]
    first, second = ((tmp_path / n / "history.csv").read_text() for n in ("whole", "killed"))
    assert first == second


def _steps(path: Path) -> int:
    try:
        return torch.load(path, weights_only=True)["state"]["step"]
    except (OSError, RuntimeError, EOFError, KeyError):
        return 0


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    config = PretrainConfig(**options(tmp_path))
    stop = _StopAfter(3)
    with pytest.raises(_Stop):
        pretrain(config, tmp_path / "out", every=0.0, watch=stop)
    with pytest.raises(BundleError, match="another configuration"):
        pretrain(config.model_copy(update={"seed": 1}), tmp_path / "out")


class _Stop(Exception):
    pass


class _StopAfter:
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, done: int, total: int, figures: dict[str, float]) -> None:
        if done == self.steps:
            raise _Stop


def test_chips_are_standardised_band_by_band(tmp_path):
    (source,) = find_sources(str(write_chips(tmp_path / "a.npz")), "sqrt")
    expected = (np.arange(12) * 100 - BIGEARTHNET_MEAN) / BIGEARTHNET_STD
    np.testing.assert_allclose(source.images[0, :, 3, 4], expected, rtol=1e-5)
    assert not source.signs


def test_a_band_that_chips_lack_is_taken_from_its_neighbour(tmp_path):
    bands = tuple(b for b in SENTINEL2 if b not in ("B01", "B09"))
    (source,) = find_sources(str(write_chips(tmp_path / "a.npz", bands)), "sqrt")
    np.testing.assert_array_equal(source.images[:, 0], source.images[:, 1])  # B01 is B02
    assert source.images.shape == (6, 12, 20, 24)


def write_chip(path: Path, names: tuple[str, ...], nodata: int | None = None) -> Path:
    """A GeoTIFF of 20 x 24 pixels; band i holds 100 i everywhere, its first pixel no data."""
    values = np.arange(len(names))[:, None, None] * np.full((1, 20, 24), 100)
    values[:, 0, 0] = 0 if nodata is None else nodata
    profile = {"count": len(names), "height": 20, "width": 24, "dtype": "uint16", "nodata": nodata}
    place = rasterio.transform.from_origin(370000, 5810000, 10, 10)
    with rasterio.open(path, "w", driver="GTiff", transform=place, **profile) as file:
        file.write(values.astype(np.uint16))
        file.descriptions = names
    return path


def test_a_geotiff_of_named_bands_is_a_chip(tmp_path):
    """Bands in any order, under their short names, with the one that sees cirrus."""
    names = ("B8A", "B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12")
    (source,) = find_sources(str(write_chip(tmp_path / "a.tif", names, 65535)), "sqrt")
    stored = np.array([100, 200, 300, 400, 500, 600, 700, 800, 0, 900, 1100, 1200])
    expected = (stored - BIGEARTHNET_MEAN) / BIGEARTHNET_STD
    np.testing.assert_allclose(source.images[0, :, 3, 4], expected, rtol=1e-5)
    assert (source.images[0, :, 0, 0] == 0).all()  # no data is the mean, not an extreme
    assert not source.signs


def test_a_geotiff_of_other_bands_is_a_scene(tmp_path):
    names = tuple(f"band {i}" for i in range(14))
    (source,) = find_sources(str(write_chip(tmp_path / "a.tif", names)), "sqrt")
    assert source.signs  # of principal components


def test_windows_are_those_of_the_source(tmp_path):
    (source,) = find_sources(str(write_chips(tmp_path / "a.npz")), "sqrt")
    windows = draw_windows(np.random.default_rng(0), source, 5, 7)
    assert windows.shape == (7, 12, 5, 5)
    ratio = windows[:, :, 0, 0].numpy() / source.images[0, :, 0, 0]
    assert np.all(np.abs(ratio - 1) < 0.6)  # jitter, and no sign is flipped
    assert (windows == windows[:, :, :1, :1]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": np.zeros((2, 3, 4))}, "bands"),
        ({"x": np.zeros((2, 3, 4)), "bands": np.array(["B02", "B03", "B04"])}, "chips"),
        ({"x": np.zeros((2, 1, 4, 4)), "bands": np.array(["red"])}, "B04"),
        ({"x": np.full((2, 1, 4, 4), 0.3), "bands": np.array(["B04"])}, "x 10,000"),
    ],
)
def test_a_file_that_holds_no_chips_is_refused(tmp_path, content, message):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(SceneError, match=message):
        find_sources(str(tmp_path / "a.npz"), "sqrt")


def test_sources_by_pattern_and_folder(tmp_path):
    for name in ("b.npz", "a.npz"):
        write_chips(tmp_path / name)
    assert [s.name for s in find_sources(str(tmp_path / "*.npz"), "sqrt")] == ["a.npz", "b.npz"]
    assert len(find_sources(str(tmp_path), "sqrt")) == 2
    with pytest.raises(ConfigError, match="nowhere"):
        find_sources(str(tmp_path / "nowhere*"), "sqrt")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configurations_are_read(path):
    assert read_pretrain_config(path).steps > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, "unknown option epochs"),
        ({"stages": []}, "stages"),
        ({"episodes": {"weight": 0}, "masked": {"weight": 0}}, "neither"),
        ({"episodes": {"weight": 0}, "masked": {"weight": 1}}, "no data"),
        ({"patch_sizes": {4: 1.0}}, "patch"),
        ({"normalise": ["whiten"]}, "whiten"),
        ({"episodes": {"ways": [1, 4]}}, "ways"),
        ({"scenes": {}, "masked": {"weight": 1, "sources": ["a.npz"]}}, "no masked.sources"),
        ({"scenes": {}, "masked": {"weight": 1, "generated": 0.5}}, "masked.generated"),
        ({"scenes": {"size": 16}, "patch_sizes": {33: 1.0}}, "16 x 16 pixels for windows of 33"),
        ({"scenes": {"size": 16}, "episodes": {"queries": 300}}, "at most the 256 pixels"),
        ({"episodes": {"queries": 3000}}, "at most the 4096 pixels"),
    ],
)
def test_wrong_options_are_named(tmp_path, changes, message):
    values = {"stages": [{"steps": 5, "image_size": 16}], **changes}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=message):
        read_pretrain_config(file)


def quick(**changes) -> dict:
    """A run of two steps from scratch, on generated scenes."""
    return {
        "stages": [{"steps": 2, "image_size": 8}],
        "episodes": {"scenes": 1, "ways": [2, 2], "shots": [3], "queries": 3},
        **changes,
    }


def test_sources_of_a_loss_that_is_left_out(tmp_path):
    masked = {"weight": 0, "sources": [str(write_chips(tmp_path / "chips.npz"))]}
    record = pretrain(PretrainConfig(**quick(masked=masked)), tmp_path / "out")
    assert record["sources"] == []
    assert record["windows"] > 0


def test_the_start_follows_the_seed(tmp_path):
    """A rate of next to nothing leaves the weights where they started."""
    found = []
    for seed in (0, 1):
        values = quick(seed=seed, lr=1e-30, weight_decay=0.0)
        pretrain(PretrainConfig(**values), tmp_path / str(seed))
        found.append(load_backbone(tmp_path / str(seed) / "backbone.safetensors", 8))
        start = load_backbone("tiny", 8, seed=seed, pretrained=False)
        assert torch.equal(found[-1].blocks[0].attn.q.weight, start.blocks[0].attn.q.weight.half())
    assert not torch.equal(found[0].blocks[0].attn.q.weight, found[1].blocks[0].attn.q.weight)


def test_queries_that_no_scene_has(monkeypatch):
    monkeypatch.setattr(episodes, "MOST_DRAWN", 4)
    with pytest.raises(ConfigError, match="none of 4 generated scenes has 2 classes"):
        draw_episode(np.random.default_rng(0), dataclasses.replace(RULES, queries=600))


def test_skipped_steps_are_no_part_of_the_history(tmp_path):
    """Losses that are not finite: in every second step, then in all of a row."""
    plan = Plan(60, 1e-3, 1, 0.0, 1.0, episodes=1.0, masked=0.0)
    work = Pretrainer(
        Objectives(MaskedAutoencoder(encoder(image_size=8)), 8, plan),
        Steps(0, 0, None, None, []), plan, folder=tmp_path, identity="one", precision="fp32",
    )  # fmt: skip

    def some(step):
        number = work.state.step
        loss = sum(p.sum() for p in work.plain.encoder.parameters())
        bad = number % 2 == 0 if number < 20 else number < 40
        value = torch.tensor(torch.nan if bad else 2.0)
        return loss * 0 + value, {"episode_loss": value}

    work.plain.forward = some
    history = work.run().history
    assert [row["episode_loss"] for row in history] == [2.0, None, 2.0]
    assert [row["step"] for row in history] == [20, 40, 60]
    save_losses(tmp_path / "losses.png", history)
    assert (tmp_path / "losses.png").is_file()
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert rows[2].endswith(",")


RULES = EpisodeRules(1, (2, 6), (3, 5), 4, {1: 0.3, 5: 0.7}, ("sqrt",), (30, 36))


def test_a_seed_gives_the_same_scene_and_another_a_different_one():
    first, again, other = (random_scene(np.random.default_rng(s), 24) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.cube, again.cube)
    np.testing.assert_array_equal(first.labels.ids, again.labels.ids)
    assert first.cube.shape != other.cube.shape or not np.array_equal(first.cube, other.cube)


def test_scenes_span_easy_and_hard():
    """Nearest class means on raw spectra: some scenes are easy, some all but hopeless."""
    rng, accuracies = np.random.default_rng(0), []
    for _ in range(40):
        scene = random_scene(rng, 40)
        spectra, ids = scene.cube.values.reshape(scene.shape[2], -1).T, scene.labels.ids.ravel()
        assert np.isfinite(spectra).all()
        known = np.unique(ids)
        means = np.stack([spectra[ids == i].mean(0) for i in known])
        nearest = known[((spectra[:, None] - means) ** 2).sum(2).argmin(1)]
        accuracies.append((nearest == ids).mean())
    low, high = np.percentile(accuracies, [10, 90])
    assert low < 0.4
    assert high > 0.7


def test_an_episode_holds_what_the_rules_say():
    rng = np.random.default_rng(0)
    for _ in range(10):
        episode = draw_episode(rng, RULES)
        classes = int(episode.labelled.max()) + 1
        assert 2 <= classes <= 6
        shots = torch.bincount(episode.labelled)
        assert len(set(shots.tolist())) == 1
        assert shots[0] in (3, 5)
        assert torch.bincount(episode.queried).tolist() == [4] * classes
        assert len(episode.windows) == len(episode.labelled) + len(episode.queried)
        assert episode.windows.shape[1] == 12
        assert episode.windows.shape[2] in (1, 5)
        flat = episode.windows.flatten(1)
        assert len(torch.unique(flat, dim=0)) == len(flat)  # no pixel is asked that was labelled


def test_the_encoder_learns_from_episodes():
    """Accuracy on episodes never seen rises: a few steps on a small encoder are enough to tell."""
    model, head = encoder(image_size=16).train(), EpisodeHead()
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-3)
    tests = [draw_episode(np.random.default_rng(10_000 + i), RULES) for i in range(30)]

    def loss_on_tests() -> float:
        with torch.no_grad():
            return float(np.mean([head(model(resize(e.windows, 16)), e)[0] for e in tests]))

    before = loss_on_tests()
    for number in range(60):
        episode = draw_episode(np.random.default_rng(number), RULES)
        loss, _ = head(model(resize(episode.windows, 16)), episode)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss_on_tests() < 0.95 * before


@pytest.mark.parametrize("seed", range(3))
def test_the_head_classifies_by_the_labelled_pixels_only(seed):
    """Renaming the classes renames the answers: nothing of a class's number is learned."""
    episode = draw_episode(np.random.default_rng(seed), RULES)
    model, head = encoder(image_size=16), EpisodeHead()
    classes = int(episode.labelled.max()) + 1
    order = torch.randperm(classes)
    renamed = episode._replace(labelled=order[episode.labelled], queried=order[episode.queried])
    with torch.no_grad():
        tokens = model(resize(episode.windows, 16))
        first, second = head(tokens, episode), head(tokens, renamed)
    torch.testing.assert_close(first[0], second[0])
    assert first[1] == second[1]
