"""Tiles that are one scene."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from hyperpeft.errors import SceneError
from hyperpeft.scenes import open_scene
from tests.helpers.scene_files import ORIGIN, UTM, cube, enmap, geotiff

WHOLE = cube(40, 50, 6, "int32")
TAGS = [{"wavelength": str(nm)} for nm in (450, 550, 650, 940, 1380, 2200)]


def tile(path, top, left, height, width, array=WHOLE, **options):
    part = array[top : top + height, left : left + width]
    shift = Affine.translation(left, top)
    options = {"nodata": -1, "band_tags": TAGS, **options}
    return geotiff(path, part, transform=ORIGIN @ shift, **options)


@pytest.fixture
def four(tmp_path):
    """Four tiles that overlap by two pixels."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    for i, top in enumerate((0, 18)):
        for j, left in enumerate((0, 23)):
            tile(folder / f"t{i}{j}.tif", top, left, 22, 27)
    return folder


@pytest.mark.parametrize("how", ["list", "pattern", "folder", "vrt"])
def test_four_tiles_are_one_scene(four, how):
    paths = sorted(four.glob("*.tif"))
    spec = {
        "list": ",".join(map(str, reversed(paths))),
        "pattern": str(four / "t??.tif"),
        "folder": str(four),
        "vrt": str(four / "all.vrt"),
    }[how]
    if how == "vrt":
        (four / "all.vrt").write_text(vrt(paths))
    scene = open_scene(spec)
    np.testing.assert_array_equal(scene.cube, WHOLE.transpose(2, 0, 1))
    assert scene.valid.all()
    assert scene.transform == tuple(ORIGIN)[:6]
    assert "UTM zone 33N" in scene.crs
    np.testing.assert_array_equal(scene.wavelengths, [450, 550, 650, 940, 1380, 2200])
    for y, x in ((slice(10, 30), slice(20, 30)), (slice(0, 40), slice(49, 50))):
        np.testing.assert_array_equal(
            scene.cube.isel(y=y, x=x).values, WHOLE.transpose(2, 0, 1)[:, y, x]
        )


def vrt(paths):
    """As gdalbuildvrt writes it, without what the tiles say of their bands."""
    bands = []
    for band in range(1, 7):
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{p.name}</SourceFilename>'
            f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="27" ySize="22"/>'
            f'<DstRect xOff="{23 * int(p.stem[2])}" yOff="{18 * int(p.stem[1])}" xSize="27" '
            'ySize="22"/></SimpleSource>'
            for p in paths
        )
        bands.append(
            f'<VRTRasterBand dataType="Int32" band="{band}"><NoDataValue>-1</NoDataValue>'
            f"{sources}</VRTRasterBand>"
        )
    place = f"{ORIGIN.c}, 30, 0, {ORIGIN.f}, 0, -30"
    return (
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>{UTM}</SRS>'
        f"<GeoTransform>{place}</GeoTransform>{''.join(bands)}</VRTDataset>"
    )


def test_holes_and_overlaps(tmp_path):
    """The first valid tile wins; where there is none, the scene is not valid."""
    one = WHOLE.copy()
    one[5:8, 20:25] = -1
    two = WHOLE + 1000
    two[6, 22] = -1
    a = tile(tmp_path / "a.tif", 0, 0, 20, 25, one)
    b = tile(tmp_path / "b.tif", 4, 18, 20, 30, two)
    scene = open_scene(f"{a},{b}")
    assert scene.shape == (24, 48, 6)
    expected = np.zeros((24, 48), int)  # 0: none, 1: first, 2: second
    expected[4:24, 18:48] = 2
    expected[:20, :25] = 1
    expected[5:8, 20:25] = 2
    expected[6, 22] = 0
    expected[5:8, 20:25][:, :0] = 0
    np.testing.assert_array_equal(scene.valid, expected > 0)
    values = scene.cube.values.transpose(1, 2, 0)
    np.testing.assert_array_equal(values[expected == 1], WHOLE[:24, :48][expected == 1])
    np.testing.assert_array_equal(values[expected == 2], WHOLE[:24, :48][expected == 2] + 1000)
    assert scene.notes[0].startswith("a mosaic of 2 tiles, ")
    other = open_scene(f"{b},{a}")
    assert int(other.cube[0, 10, 19]) == WHOLE[10, 19, 0] + 1000


def test_a_window_reads_the_tiles_it_touches(four, monkeypatch):
    import rasterio

    scene = open_scene(four)
    sizes = []
    read = rasterio.DatasetReader.read

    class Spy(rasterio.DatasetReader):
        def read(self, *args, **kwargs):
            array = read(self, *args, **kwargs)
            sizes.append(array.shape)
            return array

    monkeypatch.setattr(rasterio, "DatasetReader", Spy)
    scene = open_scene(four)
    sizes.clear()
    scene.cube.isel(y=slice(2, 6), x=slice(30, 33)).load()
    assert sizes == [(6, 4, 3)]


def test_products_are_tiles_and_empty_bands_may_differ(tmp_path):
    nm = np.array([450.0, 550, 650, 940, 1380, 2200, 2210, 2220, 2230, 2240, 2250])
    array = cube(7, 5, 11)
    dark = array.copy()
    dark[..., 4] = -32768
    one = enmap(tmp_path / "one", dark, centres=nm).parent
    two = enmap(tmp_path / "two", array, centres=nm).parent
    scene = open_scene(f"{one},{two}")
    assert scene.shape == (7, 5, 10)
    np.testing.assert_array_equal(scene.wavelengths, np.delete(nm, 4))
    assert "10 bands are in every tile, of up to 11; the rest is dropped" in scene.notes


def test_names_that_look_like_patterns_and_lists(tmp_path):
    for name in ("a[1],b.tif", "c*.tif"):
        assert open_scene(tile(tmp_path / name, 0, 0, 10, 10)).shape == (10, 10, 6)
    only = tmp_path / "only"
    only.mkdir()
    tile(only / "x.tif", 0, 0, 10, 10)
    assert open_scene(only).name == "x"


def test_tiles_that_do_not_fit(tmp_path):
    a = tile(tmp_path / "a.tif", 0, 0, 10, 10)
    b = tmp_path / "b.tif"

    def refused(message):
        with pytest.raises(SceneError, match=message):
            open_scene(f"{a},{b}")

    refused("there is no tile .*b.tif; correct the list")
    tile(b, 0, 10, 10, 10, crs="EPSG:32632")
    refused("tile b has other CRS than a: expected EPSG:32633, got EPSG:32632")
    tile(b, 0, 10, 10, 10, crs=None)
    refused("tile b has other CRS than a: expected one, got none")
    geotiff(b, WHOLE[:10, :10], transform=ORIGIN @ Affine.scale(2), band_tags=TAGS)
    refused("tile b has other pixel size than a")
    geotiff(b, WHOLE[:10, :10], transform=ORIGIN @ Affine.translation(3.4, 2), band_tags=TAGS)
    refused("does not lie on the pixel grid of a: .* got 2.00 rows and 3.40 columns; resample it")
    geotiff(b, WHOLE[:10, :10, :5], transform=ORIGIN)
    refused("tile b has other bands than a: expected 6, got 5")
    tags = [{"wavelength": str(nm)} for nm in (455, 555, 655, 945, 1385, 2205)]
    tile(b, 0, 10, 10, 10, band_tags=tags)
    refused("tile b has other wavelengths than a")
    with pytest.raises(SceneError, match=r"no file fits .*\*.jp2"):
        open_scene(str(tmp_path / "*.jp2"))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SceneError, match="cannot be opened as a raster"):
        open_scene(tmp_path / "nothing")
