"""`scenes info FILE`: what a file says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from hyperpeft import cli
from hyperpeft.scenes import describe_file
from tests.helpers.small import CRS, TRANSFORM, strict_json


def info(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["hyperpeft", "scenes", "info", *map(str, words)])
    cli.main()
    return capsys.readouterr().out


@pytest.fixture
def geotiff(tmp_path):
    path = tmp_path / "cube.tif"
    values = np.random.default_rng(0).integers(1, 5000, (6, 40, 50)).astype(np.int16)
    values[:, :3] = -9999
    with rasterio.open(path, "w", driver="GTiff", count=6, height=40, width=50, dtype="int16",
                       crs=CRS, transform=TRANSFORM, nodata=-9999) as file:  # fmt: skip
        file.write(values)
        for band in range(1, 7):
            file.update_tags(band, wavelength=str(400 + 100 * band), wavelength_units="nm")
    return path, values


def test_a_geotiff(geotiff):
    path, values = geotiff
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


def test_the_command_line(geotiff, monkeypatch, capsys):
    path, _ = geotiff
    said = info(monkeypatch, capsys, path)
    for words in ("40 x 50 pixels, 6 bands", "500 to 1000 nm", "-9999", "EPSG:32633", "0.09 ha"):
        assert words in said
    values = strict_json(info(monkeypatch, capsys, path, "--json"))
    assert values["bands"] == 6
    assert values["nodata"] == [-9999.0]
    card = info(monkeypatch, capsys, "salinas-a")
    assert "Lettuce" in card


def test_generated_and_tiled_scenes(geotiff, monkeypatch, capsys):
    path, _ = geotiff
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
