"""Reading a window touches that window, also of several tiles; invalid pixels in bounded memory."""

from __future__ import annotations

import logging
import pickle
import threading
import warnings

import h5py
import numpy as np
import pytest
from affine import Affine
from shapely import Point, to_wkb

from hyperpeft.errors import SceneError
from hyperpeft.records import cover
from hyperpeft.scenes import list_layers, open_raster, open_scene, write_layer
from hyperpeft.scenes.cubes import scan, valid_pixels
from hyperpeft.scenes.cubes.cube import Cube, from_array
from hyperpeft.scenes.cubes.valid_pixels import check_pixels
from tests.helpers.scene_files import ORIGIN, UTM, cube, enmap, geotiff, large_by_pixel, mat73


def test_threads_that_read_leave_the_settings_of_the_process(tmp_path):
    """The first one to open a file is the first to close it."""
    path, labels = geotiff(tmp_path / "a.tif", cube()), tmp_path / "l.gpkg"
    points = to_wkb([Point(ORIGIN.c + 15, ORIGIN.f - 15)])
    write_layer(labels, "roi", {"id": np.array([1])}, points, UTM, "Point")
    loggers = [logging.getLogger(name) for name in ("rasterio", "pyogrio")]
    before = [*warnings.filters], [logger.level for logger in loggers]
    first_is_open, both_are_open = threading.Event(), threading.Event()

    def read_first():
        with open_raster(path):
            first_is_open.set()
            both_are_open.wait(60)

    thread = threading.Thread(target=read_first)
    thread.start()
    first_is_open.wait(60)
    with open_raster(path):
        both_are_open.set()
        thread.join()
        assert list_layers(labels) == {"roi": "Point"}
        assert [logger.level for logger in loggers] == [logging.CRITICAL] * 2
    assert ([*warnings.filters], [logger.level for logger in loggers]) == before


def spy_on_hdf5(monkeypatch):
    sizes = []
    read = h5py.Dataset.__getitem__

    def spy(self, key):
        values = read(self, key)
        sizes.append(np.size(values))
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    return sizes


def test_a_window_of_matlab_73_is_a_window_of_the_file(tmp_path, monkeypatch):
    array = cube(30, 20, 6)
    scene = open_scene(mat73(tmp_path / "a.mat", x=array))
    sizes = spy_on_hdf5(monkeypatch)
    part = scene.cube.isel(y=slice(3, 9), x=slice(5, 7)).values
    np.testing.assert_array_equal(part, array[3:9, 5:7].transpose(2, 0, 1))
    assert max(sizes) == 6 * 2 * 6


def test_a_window_of_a_geotiff_by_columns(tmp_path, monkeypatch):
    import rasterio

    array = cube(64, 96, 4, "int32")
    path = geotiff(tmp_path / "a.tif", array, tiled=True, blockxsize=16, blockysize=16)
    scene = open_scene(path)
    assert scene.cube.encoding["preferred_chunks"] == {"y": 16, "x": 16}
    sizes = []
    read = rasterio.DatasetReader.read

    class Spy(rasterio.DatasetReader):
        def read(self, *args, **kwargs):
            values = read(self, *args, **kwargs)
            sizes.append(values.size)
            return values

    monkeypatch.setattr(rasterio, "DatasetReader", Spy)
    scene = open_scene(path)
    sizes.clear()
    part = scene.cube.isel(y=slice(3, 9), x=slice(50, 70)).values
    np.testing.assert_array_equal(part, array[3:9, 50:70].transpose(2, 0, 1))
    assert sizes == [4 * 6 * 20]


@pytest.mark.parametrize("suffix", ["npy", "mat", "tif"])
def test_a_scene_travels_to_another_process(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    writers = {"npy": lambda: np.save(path, cube()), "mat": lambda: mat73(path, x=cube())}
    writers.get(suffix, lambda: geotiff(path, cube()))()
    scene = pickle.loads(pickle.dumps(open_scene(path)))
    np.testing.assert_array_equal(scene.cube, cube().transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("block", "limit"), [((1, 2**31), 600), ((16, 16), 4000), ((16, 16), 40_000), ((1, 1), 7)]
)
def test_windows_cover_the_scene_once_and_keep_to_the_limit(block, limit):
    seen = np.zeros((37, 53), int)
    for rows, columns in cover((5, 37, 53), block, limit):
        seen[rows, columns] += 1
        assert rows.start % min(block[0], 37) == columns.start % min(block[1], 53) == 0
        values = 5 * (rows.stop - rows.start) * (columns.stop - columns.start)
        assert values <= max(limit, 5 * min(block[0], 37) * min(block[1], 53))
    assert (seen == 1).all()


def test_a_file_in_one_piece_is_read_in_parts():
    sizes = [
        5 * (rows.stop - rows.start) * (columns.stop - columns.start)
        for rows, columns in cover((5, 37, 53), (37, 53), 500, max_block=1000)
    ]
    assert max(sizes) <= 1000
    assert sum(sizes) == 5 * 37 * 53


def test_pieces_read_each_tile_once(tmp_path, monkeypatch):
    import rasterio

    array = cube(40, 50, 4, "int32")
    path = geotiff(tmp_path / "a.tif", array, tiled=True, blockxsize=16, blockysize=16)
    shapes = []
    read = rasterio.DatasetReader.read

    class Spy(rasterio.DatasetReader):
        def read(self, *args, **kwargs):
            values = read(self, *args, **kwargs)
            shapes.append(values.shape[1:])
            return values

    monkeypatch.setattr(rasterio, "DatasetReader", Spy)
    scene = open_scene(path)
    shapes.clear()
    seen = np.zeros_like(array.transpose(2, 0, 1), dtype=np.float32)
    for (rows, columns), values in scene.pieces(300):
        assert values.size <= 300
        assert values.dtype == np.float32
        seen[:, rows, columns] += values
    np.testing.assert_array_equal(seen, array.transpose(2, 0, 1))
    assert sorted(set(shapes)) == [(8, 2), (8, 16), (16, 2), (16, 16)]
    assert len(shapes) == 12
    shapes.clear()
    wanted = np.zeros((40, 50), bool)
    wanted[20, 3] = wanted[21, 9] = True
    assert [place for place, _ in scene.pieces(2000, wanted)] == [(slice(16, 32), slice(0, 16))]
    assert shapes == [(16, 16)]


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("limit", [1, 100, 10**6])
def test_bands_that_are_empty_everywhere_or_in_one_block(tmp_path, monkeypatch, dtype, limit):
    """The same mask for every size of block, and as a plain look at the whole array gives."""
    monkeypatch.setattr(valid_pixels, "_MAX_VALUES", limit)
    rng = np.random.default_rng(3)
    array = rng.integers(1, 99, (6, 20, 11)).astype(dtype)
    bad = np.nan if dtype == "float32" else -5
    array[2] = bad  # everywhere
    array[4, :5] = bad  # in the first rows alone
    array[:, 7, :4] = bad
    array[5, 12, 3] = bad
    nodata = (None if dtype == "float32" else -5.0,) * 6
    found, valid = check_pixels(Cube(tmp_path, from_array(tmp_path, array).data, nodata=nodata))
    masked = np.isnan(array) if dtype == "float32" else array == -5
    expected = ~np.delete(masked, 2, axis=0).any(axis=0)
    np.testing.assert_array_equal(valid, expected)
    assert found.data.shape[0] == 5
    assert found.notes[0] == "1 of 6 bands hold no valid value and are dropped"
    assert found.notes[1].startswith(f"{int((~expected).sum())} of 220 pixels are masked")


def test_a_large_file_is_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(valid_pixels, "_LARGE", 100)
    array = cube()
    array[2, 3, 1] = -1
    array[..., 4] = -1
    path = geotiff(tmp_path / "a.tif", array, nodata=-1)
    first = open_scene(path)
    reads = []
    look = valid_pixels._scan
    monkeypatch.setattr(valid_pixels, "_scan", lambda cube: reads.append(1) or look(cube))
    second = open_scene(path)
    assert reads == []
    assert second.notes == first.notes
    np.testing.assert_array_equal(second.valid, first.valid)
    np.testing.assert_array_equal(second.cube, first.cube)
    array[5, 0, 2] = -1
    geotiff(path, array, nodata=-1)  # the file has changed
    third = open_scene(path)
    assert reads == [1]
    assert np.argwhere(~third.valid).tolist() == [[2, 3], [5, 0]]
    for entry in (tmp_path / "cache").rglob("*.npz"):
        entry.write_bytes(b"damaged")
    np.testing.assert_array_equal(open_scene(path).valid, third.valid)
    assert scan.load_scan(tmp_path / "no such file", {}) is None


def test_whole_numbers_without_nodata_are_probed(tmp_path, monkeypatch):
    """In a large file, two bands tell whether a block needs a look; the mask is the same."""
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "cache"))
    array = cube(40, 8, 6)
    array[33, 2] = -9999
    array[20, 3, 0] = -9999  # in the first band alone: a value like any other
    path = geotiff(tmp_path / "a.tif", array, blockysize=1)
    expected = open_scene(path)
    monkeypatch.setattr(valid_pixels, "_LARGE", 100)
    monkeypatch.setattr(valid_pixels, "_MAX_VALUES", 8 * 6 * 10)
    checked = []
    check = valid_pixels._check
    monkeypatch.setattr(valid_pixels, "_check", lambda *a: checked.append(a[1][0]) or check(*a))
    scene = open_scene(path)
    assert [rows.start for rows in checked] == [20, 30]
    np.testing.assert_array_equal(scene.valid, expected.valid)
    assert np.argwhere(~scene.valid).tolist() == [[33, 2]]


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


def envi(path, array, interleave, step):
    """A (H, W, B) array as ENVI pair, with the byte order of the machine."""
    centres = ",".join(str(400 + 10 * i) for i in range(array.shape[2]))
    order = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    height, width, bands = array.shape
    path.write_bytes(b"x" * step + np.ascontiguousarray(array.transpose(order)).tobytes())
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {width}\nlines = {height}\nbands = {bands}\nheader offset = {step}\n"
        f"data type = 2\ninterleave = {interleave}\nbyte order = 0\ndata ignore value = -1\n"
        f"wavelength units = nm\nwavelength = {{{centres}}}\n"
        f"bbl = {{{','.join('0' if i == 2 else '1' for i in range(bands))}}}\n"
    )
    return path


def view_of(path, monkeypatch, *, examined):
    from hyperpeft.scenes import scene_view

    monkeypatch.setattr(scene_view, "LARGE", 2**28 if examined else 0)
    return scene_view.open_view(path)


@pytest.mark.parametrize("examined", [True, False])
@pytest.mark.parametrize("kind", ["bsq", "bil", "bip", "tif", "mat"])
def test_a_view_reads_thin_windows_of_any_file(tmp_path, monkeypatch, kind, examined):
    from hyperpeft.records import thinned

    array = cube(41, 53, 7, "int16")
    array[5:9, 10:20] = -1
    if kind == "tif":
        path = geotiff(
            tmp_path / "a.tif", array, nodata=-1, tiled=True, blockxsize=16, blockysize=16
        )
    elif kind == "mat":
        path = mat73(tmp_path / "a.mat", x=array)
    else:
        path = envi(tmp_path / "a.dat", array, kind, 12)
    view = view_of(path, monkeypatch, examined=examined)
    assert view.shape == (41, 53, 7)
    assert (view.scene is not None) is examined
    for step in (1, 2, 3, 5):
        for rows, columns in ((slice(0, 41), slice(0, 53)), (slice(7, 40), slice(13, 31))):
            thin = thinned(rows, step), thinned(columns, step)
            values, shown = view.read([6, 0, 3], *thin)
            wanted = array[thin[0], thin[1]]
            np.testing.assert_array_equal(values, wanted[..., [6, 0, 3]].transpose(2, 0, 1))
            if kind != "mat":  # which declares no nodata
                np.testing.assert_array_equal(shown, wanted[..., 0] != -1)
    values, valid = view.spectrum(20, 30)
    np.testing.assert_array_equal(values, array[20, 30])
    assert valid
    assert not view.spectrum(6, 12)[1]
    if kind in ("bsq", "bil", "bip"):
        np.testing.assert_array_equal(view.good, [True, True, False, True, True, True, True])
        assert view.wavelengths[2] == 420
    sample = view.sample([1, 4])
    assert np.isin(sample[0], array[..., 1]).all()


def test_a_view_of_a_scene_of_many_gigabytes_opens_at_once(tmp_path, monkeypatch):
    """A sparse file of 14 GB: neither opening it nor looking at it reads more than is shown."""
    import resource

    from hyperpeft.records import thinned
    from hyperpeft.scenes import open_view

    path = large_by_pixel(tmp_path / "big.dat")
    before = resource.getrusage(resource.RUSAGE_SELF)
    view = open_view(path)
    assert view.scene is None
    for rows, columns in ((slice(0, 6000), slice(0, 6000)), (slice(900, 1700), slice(50, 1300))):
        step = view.step_for(rows, columns, 1300)
        values, _ = view.read(view.rgb, thinned(rows, step), thinned(columns, step))
        assert values.shape[0] == 3
        assert 400 < max(values.shape[1:]) <= 1300
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 5  # seconds of the processor
    assert after.ru_maxrss - before.ru_maxrss < 2**19  # KB


def test_a_view_follows_scale_and_flips(tmp_path, monkeypatch):
    import rasterio

    array = cube(9, 11, 5, "int16")
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=9, width=11, count=5, dtype="int16",
        crs="EPSG:32633", transform=rasterio.Affine(30, 0, 4e5, 0, 30, 5.8e6),
    ) as file:  # fmt: skip
        file.write(array.transpose(2, 0, 1))
        file.scales = [0.5] * 5
        file.offsets = [3.0] * 5
    view = view_of(path, monkeypatch, examined=False)
    values, _ = view.read([2], slice(1, 9, 3), slice(1, 11, 3))
    np.testing.assert_allclose(values[0], 0.5 * array[::-1][1::3, 1::3, 2] + 3)
    scene = open_scene(path)
    np.testing.assert_allclose(view.spectrum(4, 6)[0], scene.cube.values[:, 4, 6])
    assert view.place_of(0, 0) == (4e5, 5.8e6 + 9 * 30)
