"""Figures of a run; names and pictures that fail lose no finished training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread
from scipy.io import loadmat

from hyperpeft.errors import ConfigError
from hyperpeft.records import Scene
from hyperpeft.runs import figures
from hyperpeft.runs.evaluate import evaluate, reopen
from hyperpeft.runs.experiment import Progress, run
from hyperpeft.runs.load import load_run
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import open_scene
from tests.helpers.small import config, options, planted

CLASSES = {2: "Corn", 3: "Woods", 9: "Never there"}
COLOURS = {2: (255, 0, 0), 3: (0, 0, 200), 9: (0, 255, 0)}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def make_scene(cube, rgb=(0, 1, 2), valid=None):
    valid = np.ones(cube.shape[1:], bool) if valid is None else valid
    return Scene("made", xr.DataArray(cube, dims=("band", "y", "x")), valid, rgb=rgb)


def pixels_of(path):
    """Counter of the (r, g, b) in a PNG."""
    image = np.round(255 * imread(path)[..., :3]).astype(int)
    return Counter(map(tuple, image.reshape(-1, 3).tolist()))


def legend_of(monkeypatch):
    """The legend labels of the figures saved from now on, in order."""
    labels = []
    real = figures._save

    def spy(figure, path, **options):
        for legend in figure.legends:
            labels.extend(text.get_text() for text in legend.get_texts())
        real(figure, path, **options)

    monkeypatch.setattr(figures, "_save", spy)
    return labels


def test_false_colour_stretches_each_band():
    ramp = np.arange(10_000, dtype=np.int16).reshape(100, 100)
    cube = np.stack([ramp, 3 * ramp[::-1] - 500, np.zeros_like(ramp), ramp.T])
    picture = figures.false_colour(make_scene(cube, rgb=(3, 0, 1)))
    assert picture.dtype == np.uint8
    assert picture.shape == (100, 100, 3)
    expected = np.clip((ramp - 199.98) / (9799.02 - 199.98), 0, 1) * 255
    np.testing.assert_array_equal(picture[..., 1], np.round(expected))
    np.testing.assert_array_equal(picture[..., 0], picture[..., 1].T)
    np.testing.assert_array_equal(picture[..., 2], picture[::-1, :, 1])


def test_false_colour_ignores_invalid_pixels():
    cube = np.random.default_rng(0).normal(size=(3, 40, 30)).astype(np.float32)
    valid = np.ones((40, 30), bool)
    valid[:10] = False
    expected = figures.false_colour(make_scene(cube[:, 10:]))
    for poison in (np.nan, -9999):
        picture = figures.false_colour(make_scene(np.where(valid, cube, poison), valid=valid))
        assert (picture[:10] == figures.INVALID).all()
        np.testing.assert_array_equal(picture[10:], expected)


def test_false_colour_of_constant_sparse_and_empty_scenes():
    assert (figures.false_colour(make_scene(np.full((3, 5, 5), 7))) == 128).all()
    sparse = np.zeros((3, 20, 20))
    sparse[:, 3, 4] = 1
    picture = figures.false_colour(make_scene(sparse))
    assert (picture[3, 4] == 255).all()
    assert (np.delete(picture.reshape(-1, 3), 64, axis=0) == 128).all()
    nothing = make_scene(np.zeros((3, 4, 4)), valid=np.zeros((4, 4), bool))
    assert (figures.false_colour(nothing) == figures.INVALID).all()


@pytest.mark.parametrize("shape", [(145, 145), (80, 60), (610, 340), (1476, 256), (349, 1905)])
def test_map_of_any_shape_shows_all_panels(tmp_path, shape):
    predicted = np.full(shape, 2)
    truth = np.full(shape, 3)
    picture = np.full((*shape, 3), (10, 200, 30), np.uint8)
    path = tmp_path / "map.png"
    figures.save_map(path, predicted, CLASSES, COLOURS, picture=picture, truth=truth, title="T")
    found = pixels_of(path)
    areas = [found[colour] for colour in ((10, 200, 30), (0, 0, 200), (255, 0, 0))]
    assert min(areas) > 40_000
    assert max(areas) < 1.15 * min(areas)  # panels of one size; legend patches add a little
    high, wide = imread(path).shape[:2]
    assert max(high, wide) < 3500
    assert (3 * min(areas) / (high * wide)) > 0.4  # the page is mostly panels
    assert names_in(tmp_path) == ["map.png"]


def test_panels_keep_the_proportions(tmp_path):
    path = tmp_path / "map.png"
    figures.save_map(path, np.full((120, 200), 2), {2: ""}, {2: (255, 0, 0)})
    red = np.all(np.round(255 * imread(path)[..., :3]) == (255, 0, 0), axis=2)
    rows, columns = red.sum(axis=0).max(), red.sum(axis=1).max()
    assert rows / columns == pytest.approx(120 / 200, abs=0.05)


def test_legend_names_classes_present_in_order_of_id(tmp_path, monkeypatch):
    labels = legend_of(monkeypatch)
    predicted, truth = np.full((40, 40), 3), np.full((40, 40), 2)
    figures.save_map(tmp_path / "a.png", predicted, CLASSES, COLOURS, truth=truth)
    assert labels == ["Corn", "Woods"]
    labels.clear()
    predicted[:20], truth[:30] = 0, 0
    figures.save_map(tmp_path / "b.png", predicted, CLASSES, COLOURS, truth=truth)
    assert labels == ["Corn", "Woods", "Unlabelled", "No data"]
    labels.clear()
    figures.save_map(tmp_path / "c.png", predicted, CLASSES, COLOURS)
    assert labels == ["Woods", "No data"]
    found = pixels_of(tmp_path / "b.png")
    assert found[figures.UNLABELLED_COLOUR] > 40_000
    assert found[figures.NO_DATA_STRIPES[1]] > 5_000  # dark stripes, of no class's colour


def test_no_data_is_hatched_in_every_panel(tmp_path, monkeypatch):
    """But labels on it are shown, and what is not labelled is not without data."""
    predicted, truth = np.full((40, 40), 3), np.full((40, 40), 2)
    predicted[:20], truth[10:30] = 0, 0
    picture = np.full((40, 40, 3), (10, 200, 30), np.uint8)
    given = picture.copy()
    shown = {}
    real = figures._save

    def spy(figure, path, **options):
        shown.update({ax.get_title(): ax.images[0].get_array() for ax in figure.axes})
        real(figure, path, **options)

    monkeypatch.setattr(figures, "_save", spy)
    figures.save_map(tmp_path / "a.png", predicted, CLASSES, COLOURS, picture=picture, truth=truth)
    stripes = shown["Class map"][:20]
    colours = set(map(tuple, stripes.reshape(-1, 3).tolist()))
    assert colours == set(figures.NO_DATA_STRIPES)
    np.testing.assert_array_equal(shown["False colour"][:20], stripes)
    assert (shown["False colour"][20:] == (10, 200, 30)).all()
    np.testing.assert_array_equal(shown["Ground truth"][10:20], stripes[10:])
    assert (shown["Ground truth"][20:30] == figures.UNLABELLED_COLOUR).all()
    assert (shown["Ground truth"][:10] == COLOURS[2]).all()
    assert (shown["Ground truth"][30:] == COLOURS[2]).all()
    np.testing.assert_array_equal(picture, given)  # the caller's own picture stays as it is


@pytest.mark.parametrize("name", ["cost $x^$ y", r"a$\frac$b", "$", "50 $ and 60 $"])
def test_names_are_no_formulas(tmp_path, monkeypatch, name):
    labels = legend_of(monkeypatch)
    classes = {2: name, 3: "Woods"}
    figures.save_map(tmp_path / "a.png", np.full((9, 9), 2), classes, COLOURS, title=name)
    assert labels == [name]
    figures.save_confusion(tmp_path / "b.png", np.eye(2, dtype=int), [name, "Woods"])
    assert names_in(tmp_path) == ["a.png", "b.png"]


@pytest.mark.parametrize("file", ["Botswana_gt.mat", "paviaU_gt.mat"])
def test_real_label_maps(tmp_path, data, monkeypatch, file):
    contents = loadmat(data / "ground-truth" / file)
    (key,) = (name for name in contents if not name.startswith("_"))
    truth = contents[key].astype(int)
    ids = [i for i in np.unique(truth).tolist() if i]
    colours = {i: (10 * i, 255 - 10 * i, 100 + i) for i in ids}
    labels = legend_of(monkeypatch)
    path = tmp_path / "map.png"
    figures.save_map(path, truth, {i: f"class {i}" for i in ids}, colours, truth=truth)
    assert labels == [f"class {i}" for i in ids] + ["No data"]
    found = pixels_of(path)
    # A pixel of the scene is at least a dot, so every class shows in proportion to its size.
    for i in ids:
        assert found[colours[i]] >= 2 * np.count_nonzero(truth == i) * 0.8


def test_wrong_maps_are_refused(tmp_path):
    ids = np.full((5, 6), 2)
    with pytest.raises(ConfigError, match=r"truth of the map: expected \(5, 6\), got \(6, 5\)"):
        figures.save_map(tmp_path / "a.png", ids, CLASSES, COLOURS, truth=ids.T)
    picture = np.zeros((3, 3, 3), np.uint8)
    with pytest.raises(ConfigError, match="picture of the map"):
        figures.save_map(tmp_path / "a.png", ids, CLASSES, COLOURS, picture=picture)
    with pytest.raises(ConfigError, match=r"classes \[2\] of the map have no colour"):
        figures.save_map(tmp_path / "a.png", ids, CLASSES, {})
    for name in ("a.docx", "a"):
        with pytest.raises(ConfigError, match=r"name it \.png"):
            figures.save_map(tmp_path / name, ids, CLASSES, COLOURS)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        figures.save_map(tmp_path / "file" / "a.png", ids, CLASSES, COLOURS)
    assert names_in(tmp_path) == ["file"]


def cell_texts(monkeypatch, confusion, names, path):
    texts = {}
    real = figures._save

    def spy(figure, path, **options):
        for text in figure.axes[0].texts:
            column, row = text.get_position()
            texts[row, column] = text.get_text()
        texts["rows"] = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        real(figure, path, **options)

    monkeypatch.setattr(figures, "_save", spy)
    figures.save_confusion(path, confusion, names)
    return texts


def test_confusion_numbers_are_percent_of_the_true_class(tmp_path, monkeypatch):
    confusion = np.array(
        [[1990, 9, 1, 0, 0], [1, 1, 2, 0, 0], [0] * 5, [0, 0, 0, 1234, 0], [0, 0, 10, 0, 1990]]
    )
    path = tmp_path / "confusion.png"
    texts = cell_texts(monkeypatch, confusion, list("abcde"), path)
    assert texts.pop("rows") == ["a (2,000)", "b (4)", "c (0)", "d (1,234)", "e (2,000)"]
    assert texts == {
        (0, 0): ">99", (0, 1): "<1", (0, 2): "<1",
        (1, 0): "25", (1, 1): "25", (1, 2): "50", (3, 3): "100",
        (4, 2): "<1", (4, 4): ">99",
    }  # fmt: skip
    found = pixels_of(path)
    assert found[(8, 48, 107)] > 1000  # 100 % in the darkest blue
    assert found[(217, 217, 217)] > 3000  # the row without test pixels


@pytest.mark.parametrize(("k", "numbered"), [(1, True), (20, True), (21, False), (40, False)])
def test_confusion_of_any_size(tmp_path, monkeypatch, k, numbered):
    confusion = np.eye(k, dtype=int) * 5
    names = [f"class {i}" for i in range(k)]
    texts = cell_texts(monkeypatch, confusion, names, tmp_path / "c.png")
    assert len(texts) - 1 == (k if numbered else 0)
    assert max(imread(tmp_path / "c.png").shape) < 2200


def test_confusion_needs_one_name_per_class(tmp_path):
    with pytest.raises(ConfigError, match=r"expected \(3, 3\), got \(2, 2\)"):
        figures.save_confusion(tmp_path / "c.png", np.eye(2), ["a", "b", "c"])


def test_no_pyplot_and_no_matplotlib_before_it_is_needed(tmp_path):
    code = f"""
import sys
from hyperpeft import spectral, splits
early = {{"matplotlib", "rasterio", "torch"}} & set(sys.modules)
from hyperpeft.runs import figures
import numpy as np
figures.save_confusion({str(tmp_path / "c.png")!r}, np.eye(2, dtype=int), ["a", "b"])
print(sorted(early), "matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def train(folder, scene, **changes):
    """A run of a step on a scene of that name; the folder of the run."""
    values = options(folder, folder / "run")
    Path(values["scene"]).rename(scene)
    run(config(folder, folder / "run", scene=str(scene), epochs=1, per_class=4, **changes))
    return folder / "run"


def files(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    options(tmp_path, tmp_path)
    return tmp_path


def test_a_file_name_is_no_formula(folder):
    found = files(train(folder, folder / "a$x^$b.tif"))
    assert {"run.json", "map.png", "confusion.png"} <= found


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_a_file_name_that_is_not_text(folder):
    """It is shown as text; the file is opened by its own name, now and later."""
    odd = os.fsdecode(os.fsencode(folder) + b"/sc\xffene.npy")
    cube = np.moveaxis(planted().cube.values, 0, 2)
    with Path(odd).open("wb") as file:
        np.save(file, cube)
    assert open_scene(odd).name == "sc?ene"
    out = folder / "run"
    run(config(folder, out, scene=odd, epochs=1, per_class=4))
    assert {"run.json", "map.png", "confusion.png"} <= files(out)
    record = RunRecord.from_file(out / "run.json")
    assert record.scene["name"] == "sc?ene"
    assert reopen(record, out).name == "sc?ene"
    assert evaluate(out).pixels
    assert load_run(out).predict(reopen(record, out)).shape == (24, 24)


def test_a_picture_that_fails_is_a_note(folder, monkeypatch):
    """Weights, split and record are kept, and the user is told."""

    def fails(*_, **__):
        raise RuntimeError("no glyph\nfor this")

    told = []

    class Told(Progress):
        def note(self, text):
            told.append(text)

    monkeypatch.setattr(figures, "save_map", fails)
    monkeypatch.setattr(figures, "save_confusion", fails)
    out = folder / "run"
    given = run(config(folder, out, epochs=1, per_class=4), progress=Told())
    expected = [
        f"{name}.png could not be drawn (no glyph for this)" for name in ("map", "confusion")
    ]
    assert json.loads((out / "run.json").read_text())["notes"][-2:] == expected
    assert given.notes[-2:] == expected
    assert told[-2:] == expected
    assert {"map.tif", "split.npz", "head.safetensors", "adapter"} <= files(out)
    assert not {"map.png", "confusion.png", "checkpoint"} & files(out)


def test_class_names_in_any_script_are_drawn_without_warnings(tmp_path, recwarn):
    names = {2: "玉米", 3: "मक्का", 4: "\U0001f33d"}
    figures.save_map(tmp_path / "a.png", np.full((9, 9), 2), names, COLOURS)
    figures.save_confusion(tmp_path / "b.png", np.eye(3, dtype=int), list(names.values()))
    assert not recwarn
