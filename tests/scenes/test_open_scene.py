"""Names, paths and the published tables; what a file says of itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import rasterio

from hyperpeft import cli
from hyperpeft.errors import ConfigError, LabelsError, SceneError
from hyperpeft.scenes import (
    CARDS,
    Card,
    File,
    describe_file,
    get_card,
    list_scenes,
    open_scene,
    read_cube,
    read_labels,
)
from hyperpeft.scenes.open import card_labels
from tests.helpers.scene_files import cube, geotiff, mat5
from tests.helpers.small import CRS, TRANSFORM, strict_json

HERE = (
    "salinas-a",
    "indian-pines",
    "jasper-ridge",
    "samson",
    "indian-pines-10band",
    "enmap-potsdam",
)
TOTALS = {
    "indian-pines": 10249,
    "pavia-university": 42776,
    "pavia-centre": 148152,
    "salinas": 54129,
    "salinas-a": 5348,
    "houston-2013": 15029,
    "whu-hi-longkou": 204542,
    "botswana": 3248,
    "ksc": 5211,
    "jasper-ridge": 6959,
    "samson": 6582,
    "indian-pines-10band": 10249,
    "enmap-potsdam": 5672,
}


@pytest.fixture
def here(data, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERPEFT_DATA", str(data))
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "cache"))
    return data


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_totals_are_the_published_ones():
    assert {name: card.labelled for name, card in CARDS.items()} == TOTALS


@pytest.mark.parametrize("name", CARDS)
def test_card_is_consistent(name):
    card = get_card(name)
    assert card.name == name
    assert all(0 <= band < card.shape[2] for band in card.rgb)
    assert len(set(card.colours.values())) == len(card.classes)
    assert list(card.classes) == sorted(card.classes)
    assert card.file("cube") is not None
    assert not card.train_counts or len(card.train_counts) == len(card.classes)


@pytest.mark.parametrize("name", CARDS)
def test_label_counts_of_every_ground_truth(here, name):
    labels = card_labels(get_card(name))
    assert labels.counts() == {i: n for i, (_, n) in CARDS[name].classes.items()}
    assert labels.classes == CARDS[name].class_names


@pytest.mark.parametrize("name", HERE)
def test_card_opens(here, name):
    card, scene = get_card(name), open_scene(name)
    assert scene.shape == card.shape
    assert scene.labels.counts() == {i: n for i, (_, n) in card.classes.items()}
    assert scene.name == name
    assert len(scene.sha256) == 64
    assert card.note == "" or card.note in scene.notes


def test_enmap_details(here):
    scene = open_scene("enmap-potsdam")
    assert (scene.wavelengths[0], scene.wavelengths[-1]) == (418.24, 2445.53)
    assert scene.fwhm[0] == 6.99561
    assert int(scene.valid.sum()) == 192 * 160 - 12288
    assert scene.labels.counts(where=scene.valid) == scene.labels.counts()


def test_envi_of_the_field(here):
    scene = open_scene(here / "berlin-enmap" / "EnMAP_BerlinUrbanGradient.hdr")
    assert scene.shape == (80, 60, 177)
    assert (scene.wavelengths[0], scene.wavelengths[-1]) == (460.0, 2409.0)
    np.testing.assert_allclose((scene.fwhm[0], scene.fwhm[-1]), (5.8, 9.1))
    assert scene.transform == (30.0, 0.0, 383472.37, 0.0, -30.0, 5818302.35)


def test_column_major_pixels_match_the_abundances(here):
    """Pixels that the abundance map calls water are dark in the infrared; shuffled ones not."""
    scene = open_scene("jasper-ridge")
    infrared = scene.cube.values[60].astype(float)
    means = {i: infrared[scene.labels.ids == i].mean() for i in (1, 2)}
    assert means[2] < 0.2 * means[1]
    with pytest.raises(SceneError, match=r"matrix of bands and pixels .Y, 198 x 10000.*'b .w h.'"):
        open_scene(here / "jasper-ridge" / "Jasper.mat")


def test_indian_pines_is_not_the_ten_band_file(here, monkeypatch):
    monkeypatch.setenv("HYPERPEFT_DATA", str(here / "indian-pines-10band"))
    with pytest.raises(SceneError) as caught:
        open_scene("indian-pines")
    message = str(caught.value)
    assert "hyperpeft scenes fetch indian-pines" in message
    assert "Indian_pines_corrected.mat" in message
    assert str(here / "indian-pines-10band" / "indian-pines") in message


def test_houston_masks(nowhere):
    rng = np.random.default_rng(0)
    card = get_card("houston-2013")
    train, test = (np.zeros(349 * 1905, np.uint8) for _ in range(2))
    place = rng.permutation(train.size)
    at = 0
    for (i, (_, count)), n in zip(card.classes.items(), card.train_counts, strict=True):
        train[place[at : at + n]] = i
        test[place[at + n : at + count]] = i
        at += count
    (nowhere / "data").mkdir()
    mat5(nowhere / "data" / "Houston.mat", Houston=np.ones((349, 1905, 144), np.uint8))
    masks = {"houston_gt_tr": train.reshape(349, 1905), "houston_gt_te": test.reshape(349, 1905)}
    mat5(nowhere / "data" / "houston_GT.mat", **masks)
    scene = open_scene("houston-2013")
    assert [int((m.ids > 0).sum()) for m in scene.masks] == [2832, 12197]
    assert int((scene.labels.ids > 0).sum()) == 15029
    masks["houston_gt_te"][masks["houston_gt_tr"] > 0] = 1
    mat5(nowhere / "data" / "houston_GT.mat", **masks)
    with pytest.raises(LabelsError, match="official masks of houston-2013 overlap"):
        open_scene("houston-2013")


def test_a_card_with_another_file_is_refused(nowhere, monkeypatch):
    (nowhere / "data").mkdir()
    card = Card(
        "tiny",
        "t",
        "s",
        (7, 5, 6),
        1.0,
        "",
        {1: ("A", 3)},
        (0, 1, 2),
        (File("cube", ("t.mat",), ("c",)), File("labels", ("t_gt.mat",), ("g",))),
    )
    monkeypatch.setitem(CARDS, "tiny", card)
    mat5(nowhere / "data" / "T.mat", c=cube(), other=cube())
    ids = np.zeros((7, 5))
    ids[0, :3] = 1
    mat5(nowhere / "data" / "t_gt.mat", g=ids)
    assert open_scene("tiny").labels.counts() == {1: 3}
    ids[0, 3] = 1
    mat5(nowhere / "data" / "t_gt.mat", g=ids)
    with pytest.raises(
        LabelsError, match="other pixel counts: expected class 1: 3, got class 1: 4"
    ):
        open_scene("tiny")
    mat5(nowhere / "data" / "T.mat", c=cube(bands=5))
    with pytest.raises(SceneError, match=r"expected \(7, 5, 6\).*got \(7, 5, 5\)"):
        open_scene("tiny")


def test_names_that_are_nothing(nowhere):
    with pytest.raises(SceneError, match="did you mean salinas"):
        open_scene("salinass")
    with pytest.raises(SceneError, match="neither a card nor a file"):
        open_scene(nowhere / "no.mat")
    with pytest.raises(SceneError, match=r"no scene card named 'pavia-u'.*one of indian-pines, "):
        get_card("pavia-u")
    with pytest.raises(ConfigError, match="knows its own layout"):
        open_scene("ksc", layout="b h w")
    with pytest.raises(SceneError, match=r"rsidea\.whu\.edu\.cn"):
        open_scene("whu-hi-longkou")


def test_list_is_quick_and_lazy(here):
    rows = {row.name: row for row in list_scenes()}
    assert {name for name, row in rows.items() if row.path} == set(HERE)
    assert rows["salinas-a"].path == here / "salinas-a" / "SalinasA_corrected.mat"
    code = (
        "import sys, hyperpeft.scenes as s; s.list_scenes(); s.get_card('ksc');"
        "print([m for m in ('numpy', 'xarray', 'scipy', 'rasterio', 'pooch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch):
    geotiff(tmp_path / "a.tif", cube())
    monkeypatch.chdir(tmp_path)
    assert open_scene(".").cube.shape == (6, 7, 5)
    for read in (open_scene, read_cube, read_labels, lambda path: open_scene("a.tif", labels=path)):
        with pytest.raises(ConfigError, match="a path is empty; give a file"):
            read("")


def test_gdal_is_kept_offline_before_it_is_loaded():
    """Its variables count when it is loaded, whichever module of the package comes first."""
    code = (
        "import os, hyperpeft.scenes.labels.rasterize; "
        "print('GDAL_SKIP' in os.environ, 'rasterio' in __import__('sys').modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def info(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["hyperpeft", "scenes", "info", *map(str, words)])
    cli.main()
    return capsys.readouterr().out


@pytest.fixture
def described(tmp_path):
    path = tmp_path / "cube.tif"
    values = np.random.default_rng(0).integers(1, 5000, (6, 40, 50)).astype(np.int16)
    values[:, :3] = -9999
    with rasterio.open(path, "w", driver="GTiff", count=6, height=40, width=50, dtype="int16",
                       crs=CRS, transform=TRANSFORM, nodata=-9999) as file:  # fmt: skip
        file.write(values)
        for band in range(1, 7):
            file.update_tags(band, wavelength=str(400 + 100 * band), wavelength_units="nm")
    return path, values


def test_a_geotiff(described):
    path, values = described
    found = describe_file(path)
    assert (found.rows, found.columns, found.bands, found.format) == (40, 50, 6, "raster")
    assert found.wavelengths == [500.0, 600.0, 700.0, 800.0, 900.0, 1000.0]
    assert found.nodata == [-9999.0]
    assert found.epsg == 32633
    assert found.pixel_hectares == pytest.approx(0.09)
    assert found.transform == list(TRANSFORM)[:6]
    assert found.valid_pixels == 37 * 50
    low, _, high = found.levels
    assert values[values > 0].min() <= low < high <= values.max()


def test_bad_bands_of_an_envi_header(tmp_path):
    cube = np.random.default_rng(0).random((5, 8, 9)).astype(np.float32)
    cube.tofile(tmp_path / "c.dat")
    (tmp_path / "c.hdr").write_text(
        "ENVI\nsamples = 9\nlines = 8\nbands = 5\nheader offset = 0\ndata type = 4\n"
        "interleave = bsq\nbyte order = 0\nbbl = {1, 0, 1, 1, 0}\n"
        "wavelength units = Micrometers\nwavelength = {0.5, 0.6, 0.7, 0.8, 0.9}\n"
    )
    found = describe_file(tmp_path / "c.hdr")
    assert found.bad_bands == [2, 5]
    assert (found.bands, found.bands_in_file) == (3, 5)
    assert found.wavelengths == pytest.approx([500, 700, 800])
    assert any("flagged as bad" in note for note in found.notes)
    assert found.crs is None


def test_an_array_with_a_layout(tmp_path):
    np.save(tmp_path / "c.npy", np.ones((5, 8, 9)) + np.arange(9))
    found = describe_file(tmp_path / "c.npy", "b h w")
    assert (found.rows, found.columns, found.bands) == (8, 9, 5)
    assert found.levels == [1, 5, 9]


def test_the_command_line(described, monkeypatch, capsys):
    path, _ = described
    said = info(monkeypatch, capsys, path)
    for words in ("40 x 50 pixels, 6 bands", "500 to 1000 nm", "-9999", "EPSG:32633", "0.09 ha"):
        assert words in said
    values = strict_json(info(monkeypatch, capsys, path, "--json"))
    assert values["bands"] == 6
    assert values["nodata"] == [-9999.0]
    card = info(monkeypatch, capsys, "salinas-a")
    assert "Lettuce" in card


def test_generated_and_tiled_scenes(described, monkeypatch, capsys):
    path, _ = described
    assert describe_file("demo").format is None
    folder = path.parent / "tiles"
    folder.mkdir()
    for k in range(2):
        with rasterio.open(path) as source:
            profile = {**source.profile, "width": 25}
            window = rasterio.windows.Window(25 * k, 0, 25, 40)
            profile["transform"] = source.window_transform(window)
            with rasterio.open(folder / f"{k}.tif", "w", **profile) as target:
                target.write(source.read(window=window))
    found = describe_file(folder)
    assert (found.rows, found.columns, found.format) == (40, 50, None)
