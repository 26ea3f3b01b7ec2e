"""Maps by tile and in memory: exact whatever the tile, resumed, locked, on a cluster, adaptive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import distributed
import numpy as np
import pytest
import rasterio
import torch
from scipy.stats import binom

from hyperpeft import spectral
from hyperpeft.errors import ConfigError
from hyperpeft.mapping import (
    EncoderPredictor,
    Mapper,
    Outputs,
    classify,
    map_to_files,
    plan,
    tiles_here,
)
from hyperpeft.mapping.adaptive import Kriging, describe, fill, margins, upper_bound
from hyperpeft.mapping.dask_cluster import tiles_on
from hyperpeft.mapping.mapper import Layers
from hyperpeft.mapping.tiled import identify
from hyperpeft.mapping.tiles import SceneWindow, Tile, by_cell
from hyperpeft.mapping.work_folder import halved, opened
from hyperpeft.models.patch_geometry import mirrored
from hyperpeft.models.windows import Windows, resize
from hyperpeft.runs.experiment import run
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import open_scene, planted_scene
from hyperpeft.system.output_folder import InUse
from hyperpeft.training.classifier import Classifier
from tests.helpers.small import (
    CLASSES,
    COLOURS,
    CRS,
    IDS,
    TRANSFORM,
    config,
    encoder,
    holed,
    in_memory,
    mapper_for,
    planted,
    write_scene,
)


def stitched(mapper: Mapper, scene, size: int):
    ids = np.zeros(scene.valid.shape, np.int32)
    chances = np.full((2, *ids.shape), np.nan, np.float32)
    for tile, result in tiles_here(mapper, scene, plan(ids.shape, size, mapper.predictor.cell)):
        ids[tile.inside], chances[:, *tile.inside] = result.ids, result.probabilities
    return ids, chances


class TestExactness:
    """The untiled result to the bit, probabilities included."""

    @pytest.mark.parametrize("size", [8, 20, 64])
    @pytest.mark.parametrize("patch_size", [1, 5, 21])
    def test_tiled_is_untiled(self, size, patch_size):
        scene = holed(43, 61)
        mapper = mapper_for(scene, patch_size, layers=Layers(probabilities=True))
        whole = in_memory(mapper, scene)
        ids, chances = stitched(mapper, scene, size)
        np.testing.assert_array_equal(ids, whole.ids)
        np.testing.assert_array_equal(chances, whole.probabilities)
        assert (ids[~scene.valid] == 0).all()
        assert len(np.unique(ids[scene.valid])) == 2

    @pytest.mark.parametrize("name", ["salinas-a", "enmap-potsdam"])
    def test_real_scenes(self, data, monkeypatch, name):
        monkeypatch.setenv("HYPERPEFT_DATA", str(data))
        scene = open_scene(name)
        mapper = mapper_for(scene, 5)
        whole = in_memory(mapper, scene).ids
        assert min(np.unique(whole[scene.valid], return_counts=True)[1]) > 1000
        for size in (64, 200, 512):
            for tile, result in tiles_here(mapper, scene, plan(whole.shape, size, 8)):
                np.testing.assert_array_equal(result.ids, whole[tile.inside])

    def test_a_window_larger_than_the_scene(self):
        scene = holed(6, 9)
        mapper = mapper_for(scene, 31, layers=Layers(probabilities=True))
        _, chances = stitched(mapper, scene, 8)
        np.testing.assert_array_equal(chances, in_memory(mapper, scene).probabilities)

    def test_a_tile_is_the_piece_of_the_padded_scene(self):
        scene = holed(30, 40)
        reducer, half = spectral.fit(scene), 4
        padded = np.pad(reducer.reduce(scene), ((0, 0), (half, half), (half, half)), mode="reflect")
        for tile in plan((30, 40), 16, 8):
            expected = padded[:, tile.top : tile.bottom + 8, tile.left : tile.right + 8]
            window = SceneWindow.read(scene, tile, half, scene.valid)
            np.testing.assert_array_equal(window.reduced(reducer, half), expected)

    def test_a_pixel_is_reduced_the_same_in_every_block(self):
        scene = planted(height=50, width=70)
        reducer = spectral.fit(scene)
        flat = np.array(scene.cube.values).reshape(20, -1)
        whole = reducer.transform(flat)
        rng = np.random.default_rng(0)
        for _ in range(50):
            start = int(rng.integers(0, 3000))
            stop = start + int(rng.integers(1, 1500))
            np.testing.assert_array_equal(
                reducer.transform(flat[:, start:stop]), whole[:, start:stop]
            )

    def test_only_the_window_is_read(self):
        scene = planted(height=64, width=64)
        asked = []

        class Spy:
            dims, shape = scene.cube.dims, scene.cube.shape

            def isel(self, **where):
                asked.append((where["y"], where["x"]))
                return scene.cube.isel(**where)

        spied = object.__new__(type(scene))
        spied.__dict__.update(vars(scene) | {"cube": Spy()})
        SceneWindow.read(spied, Tile(16, 32, 32, 48), 2, scene.valid)
        assert asked == [(slice(14, 34), slice(30, 50))]


def test_rounding_to_16_bits_keeps_the_best_class():
    chances = np.array([[[0.5, 0.5001, 0.2, np.nan]], [[0.5001, 0.4999, 0.8, np.nan]]], np.float32)
    half = halved(chances)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half[:, 0, :3].argmax(0), [1, 0, 1])
    np.testing.assert_allclose(half, chances, rtol=2e-3)


def test_cells_are_the_scenes():
    positions = np.argwhere(np.random.default_rng(0).random((30, 30)) < 0.6)
    whole = {tuple(cell[0] // 8): cell for cell in by_cell(positions, 8)}
    assert sum(map(len, whole.values())) == len(positions)
    inside = positions[((positions >= (8, 16)) & (positions < (24, 30))).all(1)]
    for cell in by_cell(inside, 8):
        np.testing.assert_array_equal(cell, whole[tuple(cell[0] // 8)])


@pytest.mark.parametrize(("size", "half"), [(1, 3), (2, 5), (7, 2), (7, 20)])
def test_mirrored_is_numpys_reflect(size, half):
    expected = np.pad(np.arange(size), half, mode="reflect")
    np.testing.assert_array_equal(mirrored(-half, size + half, size), expected)


@pytest.mark.parametrize(("p", "size"), [(3, 32), (9, 32), (9, 16), (5, 24), (33, 32), (63, 16)])
def test_resize_is_torchs_bicubic(p, size):
    windows = torch.randn(4, 12, p, p, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        windows, size=(size, size), mode="bicubic", align_corners=False
    )
    torch.testing.assert_close(resize(windows, size), expected, rtol=0, atol=5e-6)


def test_resize_keeps_its_digits_under_autocast():
    windows = torch.randn(2, 12, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize(windows, 16), resize(windows.clone(), 16))
        assert resize(windows, 16).dtype == torch.float32


def outputs(folder: Path) -> Outputs:
    return Outputs(folder / "m.tif", folder / "m_p.tif", folder / "m_c.tif")


class TestFiles:
    """What is written, and what is left behind."""

    def test_files_hold_the_map(self, tmp_path):
        scene = replace(
            holed(300, 40),
            crs=rasterio.CRS.from_string(CRS).to_wkt(),
            transform=tuple(TRANSFORM)[:6],
        )
        mapper = mapper_for(scene, 3, layers=Layers(True, True))
        told = []
        result = map_to_files(
            mapper, scene, outputs(tmp_path), CLASSES, COLOURS, size=24,
            watch=lambda *step: told.append(step),
        )  # fmt: skip
        whole = in_memory(mapper, scene)
        with rasterio.open(tmp_path / "m.tif") as file:
            np.testing.assert_array_equal(file.read(1), whole.ids)
            assert (file.crs, file.transform, file.nodata) == (CRS, TRANSFORM, 0)
            assert file.colormap(1)[2] == (0, 0, 255, 255)
            assert file.tags()["CLASS_2"] == "two"
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        with rasterio.open(tmp_path / "m_p.tif") as file:
            chances = file.read()
            np.testing.assert_allclose(chances, whole.probabilities, rtol=1e-3, atol=1e-6)
            best = chances[:, scene.valid].argmax(0)
            np.testing.assert_array_equal(IDS[best], whole.ids[scene.valid])
            assert file.descriptions == ("one", "two")
            assert file.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "16"
        with rasterio.open(tmp_path / "m_c.tif") as file:
            margin, entropy, encoded = file.read()[:, scene.valid]
            assert file.descriptions == ("margin", "entropy", "encoded")
        p = whole.probabilities[:, scene.valid].astype(np.float64)
        np.testing.assert_allclose(margin, abs(p[0] - p[1]), rtol=0, atol=1e-3)
        np.testing.assert_allclose(entropy, -(p * np.log(p)).sum(0), rtol=0, atol=1e-3)
        assert (encoded == 1).all()
        assert told[-1] == (result.pixels, result.pixels)
        assert result.pixels == result.encoded == scene.valid.sum()
        assert {p.name for p in tmp_path.iterdir()} == {
            "m.tif", "m.tif.aux.xml", "m.qml", "m_p.tif", "m_c.tif", "m_c.qml",
        }  # fmt: skip

    def test_a_cut_off_map_goes_on(self, tmp_path):
        scene = holed(40, 40)
        mapper = mapper_for(scene, 3)
        target = Outputs(tmp_path / "m.tif")

        class Stop(Exception):
            pass

        def stop(done, total):
            if done > total / 2:
                raise Stop

        with pytest.raises(Stop):
            map_to_files(mapper, scene, target, CLASSES, COLOURS, size=16, watch=stop)
        work = tmp_path / "m.tif.work"
        left = len(list(work.glob("tile-*")))
        assert 0 < left < 9
        assert not target.map.exists()
        damaged = min(work.glob("tile-*"))
        damaged.write_bytes(damaged.read_bytes()[:-40])
        result = map_to_files(mapper, scene, target, CLASSES, COLOURS, size=16)
        assert (result.tiles, result.resumed) == (9, left - 1)
        with rasterio.open(target.map) as file:
            np.testing.assert_array_equal(file.read(1), in_memory(mapper, scene).ids)
        assert not work.exists()

    def test_tiles_of_another_run_are_not_used(self, tmp_path):
        scene = holed(24, 24)
        mapper = mapper_for(scene, 3)
        model = Classifier(encoder(1, image_size=8), 2).eval()
        other = replace(mapper, predictor=replace(mapper.predictor, model=model))
        changed = replace(scene, sha256="other")
        names = {
            identify(mapper, scene, 16), identify(other, scene, 16), identify(mapper, changed, 16),
            identify(mapper, scene, 24), identify(replace(mapper, adaptive=True), scene, 16),
            identify(replace(mapper, layers=Layers(True)), scene, 16),
            identify(mapper, replace(scene, part="another array"), 16),
            identify(mapper, replace(scene, valid=~scene.valid), 16),
        }  # fmt: skip
        assert len(names) == 8
        with opened(tmp_path / "m.tif", "old") as work:
            tile = plan((24, 24), 16, 8)[0]
            work.save(tile, next(tiles_here(mapper, scene, [tile]))[1])
            assert work.holds(tile)
        with opened(tmp_path / "m.tif", "new") as work:
            assert not work.holds(tile)

    def test_a_second_process_is_refused(self, tmp_path):
        scene = holed(24, 24)
        mapper = mapper_for(scene, 3)
        with (
            opened(tmp_path / "m.tif", "x"),
            pytest.raises(InUse, match=r"map .*m\.tif is in use by process \d+ on "),
        ):
            map_to_files(mapper, scene, Outputs(tmp_path / "m.tif"), CLASSES, COLOURS)
        map_to_files(mapper, scene, Outputs(tmp_path / "m.tif"), CLASSES, COLOURS)

    def test_a_foreign_folder_is_left_alone(self, tmp_path):
        (tmp_path / "m.tif.work").mkdir()
        (tmp_path / "m.tif.work" / "mine").write_text("x")
        with pytest.raises(ConfigError, match="not a work folder"), opened(tmp_path / "m.tif", "x"):
            pass
        assert (tmp_path / "m.tif.work" / "mine").read_text() == "x"

    @pytest.mark.parametrize("size", [0, 20_000])
    def test_sizes_that_make_no_sense(self, size):
        with pytest.raises(ConfigError, match="tile: expected 1 to 16384 pixels"):
            plan((10, 10), size, 8)


# Loads once and forks for each attempt: starting Python anew would take longer than the mapping.
KILLER = """
import json, os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import open_scene

run, cube, out, kills = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
bundle, scene = load_run(run), open_scene(cube)
random.seed(0)
named, started, duration = 0, 0, 1.0
while kills:
    child = os.fork()
    if child == 0:
        bundle.map(scene, out, tile=16)
        os._exit(0)
    started += 1
    begun = time.monotonic()
    if started == 1:  # undisturbed, to learn how long it takes
        os.waitpid(child, 0)
        duration = time.monotonic() - begun
        os.rename(out, out + ".whole")
        continue
    time.sleep(random.uniform(0, 0.5 * duration))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.path.exists(out):  # it was faster: what has the name must be whole
        named += 1
        os.rename(out, f"{out}.{named}")
    kills -= os.WIFSIGNALED(status)
bundle.map(scene, out, tile=16)
print(json.dumps({"started": started, "named": named, "seconds": duration}))
"""


class TestKilled:
    """A trained run, mapped, killed from outside and mapped again."""

    @pytest.fixture(scope="class")
    def world(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("world")
        run(config(folder, folder / "run", epochs=1, map=False, image_size=8))
        cube, _ = write_scene(folder, planted(height=90, width=100, seed=3), name="large")
        return folder, cube

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_killed_ten_times(self, world, tmp_path):
        """SIGKILL at ten random moments; whatever gets the name has the exact pixels."""
        folder, cube = world
        out = tmp_path / "m.tif"
        done = subprocess.run(
            [sys.executable, "-c", KILLER, folder / "run", cube, out, "10"],
            capture_output=True,
            text=True,
            check=True,
        )
        whole = next(tmp_path.glob("*.whole"))
        with rasterio.open(whole) as file:
            expected = file.read(1)
        assert len(np.unique(expected)) == 2
        finished = [out, *tmp_path.glob("m.tif.[0-9]*")]
        assert len(finished) == 1 + json.loads(done.stdout)["named"]
        for path in finished:
            with rasterio.open(path) as file:
                assert file.read(1).tobytes() == expected.tobytes()
                assert (file.crs, file.transform) == (CRS, TRANSFORM)
        assert not (tmp_path / "m.tif.work").exists()

    def test_from_the_command_line(self, world, tmp_path, capsys, monkeypatch):
        from hyperpeft import cli

        folder, cube = world
        arguments = ["map", folder / "run", cube, "--out", tmp_path / "m.tif", "--tile", "48",
                     "--probabilities", "--confidence", "--json"]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["hyperpeft", *map(str, arguments)])
        cli.main()
        said = json.loads(capsys.readouterr().out)
        assert said["tiles"] == 6
        assert said["pixels"] == said["encoded"] == 9000
        assert [Path(p).name for p in said["files"]] == [
            "m.tif", "m_probabilities.tif", "m_confidence.tif",
        ]  # fmt: skip
        with rasterio.open(tmp_path / "m.tif") as file:
            expected = load_run(folder / "run").predict(open_scene(cube))
            np.testing.assert_array_equal(file.read(1), expected)


CASE_IDS = np.array([3, 7, 200], np.int32)


@pytest.fixture(scope="module")
def small_case():
    scene = planted(height=11, width=9)
    model = Classifier(encoder(), 3).eval()
    return scene, EncoderPredictor(model, spectral.fit(scene), CASE_IDS, (5,))


def test_only_the_chosen_pixels_get_a_class(small_case):
    scene, predictor = small_case
    where = np.random.default_rng(0).random((11, 9)) < 0.7
    told = []
    result = classify(predictor, scene, where, watch=lambda *step: told.append(step))
    assert result.ids.dtype == np.int32
    assert (result.ids[~where] == 0).all()
    assert np.isin(result.ids[where], CASE_IDS).all()
    assert result.pixels == where.sum() == told[-1][0] == told[-1][1]
    assert result.probabilities is None


def test_every_pixel_has_its_own_answer(small_case):
    """The map is what the model says of each window by itself."""
    scene, predictor = small_case
    model, windows = predictor.model, Windows(predictor.reducer.reduce(scene), 5)
    result = classify(predictor, scene, probabilities=True)
    for row, column in [(0, 0), (0, 8), (10, 0), (10, 8), (5, 4), (7, 1)]:
        with torch.no_grad():
            logits = model(windows.at(torch.tensor([[row, column]])))[0]
        assert result.ids[row, column] == CASE_IDS[logits.argmax()]
        np.testing.assert_allclose(
            result.probabilities[:, row, column], logits.softmax(0), rtol=0, atol=1e-5
        )


def test_probabilities(small_case):
    scene, predictor = small_case
    where = np.ones((11, 9), bool)
    where[2:4, 3] = False
    result = classify(predictor, scene, where, probabilities=True)
    assert result.probabilities.shape == (3, 11, 9)
    assert np.isnan(result.probabilities[:, ~where]).all()
    np.testing.assert_allclose(result.probabilities[:, where].sum(0), 1, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(
        CASE_IDS[result.probabilities[:, where].argmax(0)], result.ids[where]
    )


def test_a_scene_without_valid_pixels(small_case):
    scene, predictor = small_case
    result = classify(predictor, scene, np.zeros((11, 9), bool), probabilities=True)
    assert result.pixels == 0
    assert not result.ids.any()


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


@pytest.fixture(scope="module")
def pieces():
    scene = planted(height=120, width=130)
    mapper = mapper_for(scene, 5)
    return scene, mapper, in_memory(mapper, scene).ids


def test_two_workers_and_one_killed(cluster, pieces, tmp_path):
    scene, mapper, expected = pieces
    address = cluster.scheduler_address
    target = Outputs(tmp_path / "m.tif")
    map_to_files(mapper, scene, target, CLASSES, COLOURS, size=32, scheduler=address)
    with rasterio.open(target.map) as file:
        np.testing.assert_array_equal(file.read(1), expected)

    with distributed.Client(address, set_as_default=False) as client:
        processes = client.run(os.getpid)
    assert len(set(processes.values())) == 2
    killed = []

    def kill(done: int, total: int) -> None:
        if done > total / 4 and not killed:
            killed.append(next(iter(processes.values())))
            os.kill(killed[0], signal.SIGKILL)

    again = Outputs(tmp_path / "again.tif")
    result = map_to_files(
        mapper, scene, again, CLASSES, COLOURS, size=16, scheduler=address, watch=kill
    )
    assert killed
    assert result.pixels == expected.size
    with rasterio.open(again.map) as file:
        np.testing.assert_array_equal(file.read(1), expected)


def test_a_map_that_stops_leaves_nothing_on_the_workers(cluster, pieces):
    scene, mapper, _ = pieces
    tiles = tiles_on(cluster.scheduler_address, mapper, scene, plan(scene.valid.shape, 16, 16))
    next(tiles)
    held = [name for name in cluster.scheduler.worker_plugins if name.startswith("hyperpeft")]
    assert len(held) == 1
    tiles.close()
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        left = client.run(lambda dask_worker: list(dask_worker.plugins))
    assert not any(set(held) & set(names) for names in left.values())
    assert held[0] not in cluster.scheduler.worker_plugins


def test_no_scheduler(pieces, tmp_path):
    scene, mapper, _ = pieces
    with pytest.raises(
        ConfigError, match=r"--scheduler tcp://127\.0\.0\.1:9: no scheduler answers"
    ):
        map_to_files(
            mapper, scene, Outputs(tmp_path / "m.tif"), CLASSES, COLOURS,
            scheduler="tcp://127.0.0.1:9",
        )  # fmt: skip


def landscape(noise: float, side: int = 90, seed: int = 0):
    """Descriptions, places and logits of four classes in large fields."""
    rng = np.random.default_rng(seed)
    places = np.argwhere(np.ones((side, side), bool))
    centres = rng.uniform(0, side, (14, 2))
    field = ((places[:, None] - centres) ** 2).sum(2).argmin(1) % 4
    described = np.eye(4, dtype=np.float32)[field] + rng.normal(0, 0.2, (side**2, 4))
    logits = 6 * np.eye(4)[field] + rng.normal(0, noise, (side**2, 4))
    return described.astype(np.float32), places, logits.astype(np.float32)


class Encoder:
    """Gives known logits and counts the questions."""

    def __init__(self, logits):
        self.logits, self.asked = logits, []

    def __call__(self, which):
        self.asked.append(which)
        return self.logits[which]


def test_an_easy_scene_is_filled():
    described, places, logits = landscape(0.3)
    encoder = Encoder(logits)
    filled = fill(described, places, encoder, seed=(0,))
    asked = np.concatenate(encoder.asked)
    assert len(np.unique(asked)) == len(asked) == filled.encoded.sum()
    assert filled.encoded.mean() < 0.25
    same = filled.logits.argmax(1) == logits.argmax(1)
    assert same.mean() >= 0.995
    assert filled.audit.bound <= 0.01
    assert 1 - same.mean() <= filled.audit.bound
    np.testing.assert_array_equal(filled.logits[filled.encoded], logits[filled.encoded])


def test_a_scene_that_does_not_allow_it_stays_exact():
    """Logits that nothing explains: everything is encoded, and soon."""
    described, places, logits = landscape(6.0)
    encoder = Encoder(logits)
    filled = fill(described, places, encoder, seed=(0,))
    assert filled.encoded.all()
    assert filled.audit is None
    np.testing.assert_array_equal(filled.logits, logits)
    assert len(encoder.asked) == 3


def test_a_rare_class_that_looks_like_another_is_found_by_the_audit():
    """3 % of the pixels, at random, answer otherwise: no margin shows it, only the audit can."""
    described, places, logits = landscape(0.3)
    odd = np.random.default_rng(1).random(len(logits)) < 0.03
    logits[odd] = logits[odd][:, [1, 0, 3, 2]]
    for seed in range(3):
        filled = fill(described, places, Encoder(logits), seed=(seed,))
        wrong = (filled.logits.argmax(1) != logits.argmax(1)).mean()
        assert wrong <= 0.01


def test_small_tiles_are_exact():
    described, places, logits = landscape(0.3, side=30)
    assert fill(described, places, Encoder(logits), seed=(0,)).encoded.all()


@pytest.mark.parametrize(("wrong", "pixels"), [(0, 600), (3, 600), (40, 500)])
def test_the_bound_is_clopper_and_pearsons(wrong, pixels):
    bound = upper_bound(wrong, pixels)
    assert binom.cdf(wrong, pixels, bound) == pytest.approx(0.05)
    assert upper_bound(pixels, pixels) == 1.0


def test_kriging_returns_what_it_knows_and_doubts_what_it_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    logits = np.stack([4 * np.sin(x[:, 0]), 4 * x[:, 1], np.zeros(200)], 1).astype(np.float32)
    kriging = Kriging(x, logits)
    assert np.abs(kriging.guess(x) - logits).mean() < 0.2
    far = kriging.guess(np.full((1, 3), 100, np.float32))
    np.testing.assert_allclose(far[0], logits.mean(0), atol=1e-3)
    assert margins(far)[0] < np.median(margins(logits))


def test_descriptions_are_statistics_of_the_window():
    padded = np.random.default_rng(0).normal(size=(2, 12, 13)).astype(np.float32)
    described = describe(padded, 2)
    assert described.shape == (8, 9, 8)
    window = padded[0, 3:8, 4:9]
    expected = [window[2, 2], window[1:4, 1:4].mean(), window.mean(), window.std()]
    np.testing.assert_allclose(described[3, 4, :4], expected, rtol=1e-4, atol=1e-5)


def test_a_map_on_disk_says_what_was_encoded(tmp_path):
    scene = planted_scene(height=104, width=96, block=24, bands=16, informative_band=5)
    scene = replace(scene, valid=np.random.default_rng(0).random((104, 96)) > 0.02)
    mapper = mapper_for(scene, 3)
    expected = in_memory(mapper, scene).ids
    told = []
    target = Outputs(tmp_path / "m.tif", confidence=tmp_path / "c.tif")
    result = map_to_files(
        replace(mapper, adaptive=True, layers=Layers(confidence=True)), scene, target, CLASSES,
        COLOURS, watch=lambda *step: told.append(step),
    )  # fmt: skip
    with rasterio.open(target.map) as file:
        wrong = (file.read(1) != expected).sum() / result.pixels
    with rasterio.open(target.confidence) as file:
        assert np.nansum(file.read(3)) == result.encoded
    assert wrong <= max(result.bound, 0.0)
    assert told[-1] == (result.pixels, result.pixels)
