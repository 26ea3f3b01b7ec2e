"""Scenes on a server: only the ranges that a window needs are fetched, and only what is named."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling

from hyperpeft.errors import ConfigError, LabelsError, SceneError
from hyperpeft.scenes import describe_file, exists, files_of, open_scene
from hyperpeft.scenes.cubes.lazy import LazyMask
from tests.helpers.scene_files import ORIGIN, UTM, cube, geotiff, labelled_dataset
from tests.helpers.servers import file_server

NM = np.linspace(450, 2200, 6)


@pytest.fixture
def server(tmp_path):
    with file_server(tmp_path) as served:
        yield served


def large(path, side=2048, bands=4, nodata=-1):
    """A tiled GeoTIFF with overviews; random, so that nothing is compressed away."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 10_000, (bands, side, side)).astype("int16")
    array[:, :40, :90] = nodata
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=bands, dtype="int16", crs=UTM,
        transform=ORIGIN, nodata=nodata, tiled=True, blockxsize=256, blockysize=256,
    ) as file:  # fmt: skip
        file.write(array)
        file.build_overviews([2, 4], Resampling.nearest)
    return array


def test_a_window_of_a_cog_reads_its_ranges_alone(server):
    array = large(server.folder / "cube.tif")
    size = (server.folder / "cube.tif").stat().st_size
    scene = open_scene(f"{server.address}/cube.tif")
    opened = server.sent
    assert scene.shape == (2048, 2048, 4)
    assert opened < size / 20
    np.testing.assert_array_equal(scene.window(slice(512, 1024), slice(0, 512)),
                                  array[:, 512:1024, :512])  # fmt: skip
    window = 512 * 512 * 4 * 2
    assert window <= server.sent - opened < 1.3 * window
    assert server.sent < size / 4
    np.testing.assert_array_equal(scene.valid[:512, :512], (array[:, :512, :512] != -1).all(axis=0))
    assert server.sent < size / 3
    assert "valid" not in repr(scene)  # counting would fetch everything
    assert scene._repr_html_()
    assert server.sent < size / 3
    assert any("looked at when they are asked for" in note for note in scene.notes)


def test_a_cog_is_the_file_that_it_is(server):
    """Values, mask, wavelengths, scale, place, bad bands: as of the file on disk."""
    array = cube(40, 30, dtype="int16")
    array[:3, :4] = -1
    tags = [{"wavelength": f"{nm}", "bbl": str(int(i != 4))} for i, nm in enumerate(NM)]
    path = geotiff(server.folder / "cube.tif", array, nodata=-1, band_tags=tags)
    with rasterio.open(path, "r+") as file:
        file.scales = [0.5] * 6
    here, there = open_scene(path), open_scene(f"{server.address}/cube.tif")
    np.testing.assert_array_equal(there.cube, here.cube)
    np.testing.assert_array_equal(np.asarray(there.valid), here.valid)
    np.testing.assert_array_equal(there.wavelengths, here.wavelengths)
    assert (there.transform, there.crs, there.name) == (here.transform, here.crs, "cube")
    assert there.valid.sum() == here.valid.sum()
    np.testing.assert_array_equal(~there.valid & True, ~here.valid)
    again = pickle.loads(pickle.dumps(there.valid))
    np.testing.assert_array_equal(again[5:9], here.valid[5:9])


@pytest.mark.parametrize("how", ["alpha", "mask"])
def test_alpha_and_masks_are_fetched_with_the_window(server, how):
    array = np.random.default_rng(0).integers(1, 99, (4, 64, 64)).astype("uint8")
    path = server.folder / "cube.tif"
    options = {"alpha": "YES"} if how == "alpha" else {}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", height=64, width=64, count=4, dtype="uint8",
            photometric="MINISBLACK", **options,
        ) as file,
    ):  # fmt: skip
        hidden = np.full((64, 64), 255, "uint8")
        hidden[:10] = 0
        if how == "alpha":
            array[3] = hidden
            file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 2, ColorInterp.alpha]
        else:
            file.write_mask(hidden)
        file.write(array)
    scene = open_scene(f"{server.address}/cube.tif")
    assert scene.shape[2] == (3 if how == "alpha" else 4)
    np.testing.assert_array_equal(np.asarray(scene.valid), hidden > 0)


def test_empty_bands_are_told_by_a_sample(server):
    array = cube(40, 30, dtype="int16")
    array[..., 2] = -1
    geotiff(server.folder / "cube.tif", array, nodata=-1)
    scene = open_scene(f"{server.address}/cube.tif")
    assert scene.shape[2] == 5
    assert scene.valid.all()
    assert any("1 of 6 bands hold no valid value in a sample" in note for note in scene.notes)


def test_a_run_on_a_server_is_the_run_on_the_file(server, tmp_path):
    """Training, mapping and the record; the state of the server stands for the hash."""
    from hyperpeft.runs.config import RunConfig
    from hyperpeft.runs.experiment import run
    from tests.helpers.small import options

    given = options(tmp_path / "s", tmp_path / "here")
    address = f"{server.address}/s/scene.tif"
    here = run(RunConfig(**given))
    there = run(RunConfig(**{**given, "scene": address, "out": str(tmp_path / "there")}))
    assert there.metrics == here.metrics
    assert there.scene["sha256"] != here.scene["sha256"]


def chunks_asked(server):
    names = [r.split(" ", 1)[1] for r in server.requests if "/reflectance/" in r]
    return [name for name in names if "zar" not in name.rsplit("/", 1)[-1]]


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_store(server, version):
    pytest.importorskip("aiohttp")
    array = cube(40, 30)
    dataset = labelled_dataset(array, NM, fill=-1, scale=0.5)
    dataset.to_zarr(
        server.folder / "a.zarr", zarr_format=version, consolidated=True,
        encoding={"reflectance": {"chunks": (6, 10, 10)}},
    )  # fmt: skip
    here = open_scene(server.folder / "a.zarr")
    there = open_scene(f"{server.address}/a.zarr:reflectance")
    asked = len(chunks_asked(server))
    np.testing.assert_array_equal(there.window(slice(0, 10), slice(0, 10)), here.cube[:, :10, :10])
    assert len(chunks_asked(server)) - asked <= 2  # one chunk, asked for its size and its bytes
    np.testing.assert_array_equal(there.cube, here.cube)
    np.testing.assert_array_equal(np.asarray(there.valid), here.valid)
    assert (there.transform, there.crs) == (here.transform, here.crs)
    np.testing.assert_array_equal(there.wavelengths, here.wavelengths)


def test_a_zarr_store_that_cannot_be_listed(server):
    pytest.importorskip("aiohttp")
    labelled_dataset(cube(), NM).to_zarr(
        server.folder / "a.zarr", zarr_format=2, consolidated=False
    )
    with pytest.raises(SceneError, match=r"404|no consolidated metadata"):
        open_scene(f"{server.address}/a.zarr")
    mark = server.folder / "b.zarr" / ".zmetadata"
    mark.parent.mkdir()
    mark.write_text('{"metadata": {"x/.zarray": {"filters": [{"id": "pickle"}]}}}')
    with pytest.raises(SceneError, match="pickle"):
        open_scene(f"{server.address}/b.zarr")


def test_a_bucket(server, monkeypatch):
    array = large(server.folder / "cube.tif", 512)
    (server.folder / "bucket").mkdir()
    (server.folder / "cube.tif").rename(server.folder / "bucket" / "cube.tif")
    for name, value in {
        "AWS_S3_ENDPOINT": server.address.removeprefix("http://"), "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES",
        "AWS_ENDPOINT_URL": server.address, "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    scene = open_scene("s3://bucket/cube.tif")
    np.testing.assert_array_equal(scene.window(slice(0, 99), slice(5, 70)), array[:, :99, 5:70])
    with pytest.raises(SceneError, match="cannot be opened as a GeoTIFF"):
        open_scene("s3://bucket/other.tif")
    pytest.importorskip("s3fs")
    labelled_dataset(cube(), NM).to_zarr(server.folder / "bucket" / "a.zarr", zarr_format=2)
    np.testing.assert_array_equal(open_scene("s3://bucket/a.zarr").cube, cube().transpose(2, 0, 1))


class TestWhatIsRefused:
    def test_what_is_not_there(self, server):
        with pytest.raises(SceneError, match=r"the server answers 404 .*; check the address"):
            open_scene(f"{server.address}/gone.tif")
        server.answer(status=403)
        with pytest.raises(SceneError, match="the server answers 403"):
            open_scene(f"{server.address}/gone.tif")

    def test_what_is_no_geotiff(self, server):
        (server.folder / "a.tif").write_text("<!doctype html><body>Please log in")
        (server.folder / "a.vrt").write_text("<VRTDataset/>")
        with pytest.raises(SceneError, match="is a web page"):
            open_scene(f"{server.address}/a.tif")
        with pytest.raises(SceneError, match=r"is no GeoTIFF.*ends in .zarr"):
            open_scene(f"{server.address}/a.vrt")

    def test_a_server_without_ranges(self, server):
        large(server.folder / "cube.tif", 2048)
        server.answer(ranges=0)
        with pytest.raises(SceneError, match="sends whole files and no ranges"):
            open_scene(f"{server.address}/cube.tif")
        assert server.sent < 2**24  # what the sockets hold, of 44 MB

    def test_no_server(self, server, monkeypatch):
        from hyperpeft.scenes.readers.remote import address

        monkeypatch.setattr(address, "READ_SECONDS", 0.3)
        server.answer(delay=1.0)
        geotiff(server.folder / "cube.tif", cube())
        with pytest.raises(SceneError, match="no answer in time"):
            open_scene(f"{server.address}/cube.tif")
        with pytest.raises(SceneError, match="no connection"):
            open_scene("http://127.0.0.1:9/cube.tif")

    def test_a_server_that_goes_away(self, server):
        large(server.folder / "cube.tif", 512)
        scene = open_scene(f"{server.address}/cube.tif")
        server.answer(status=404)
        with pytest.raises(SceneError, match=r"cube\.tif"):
            scene.window(slice(0, 9), slice(300, 400))

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("http://example.org/cube.tif", "is not encrypted"),
            ("https://me:secret@example.org/cube.tif", "holds a user's name or password"),
            ("https://example.org", "with the path of a scene"),
        ],
    )
    def test_addresses(self, address, words):
        with pytest.raises(SceneError, match=words) as caught:
            open_scene(address)
        assert "secret" not in str(caught.value)

    def test_labels_and_layouts(self, server):
        path = geotiff(server.folder / "cube.tif", cube())
        with pytest.raises(LabelsError, match="only scenes are read from a server"):
            open_scene(path, f"{server.address}/cube.tif")
        with pytest.raises(ConfigError, match="knows its own axes"):
            open_scene(f"{server.address}/cube.tif", layout="h w b")

    def test_a_file_still_names_no_server(self, server):
        """Reading from a server that the user names opens nothing for files that name others."""
        large(server.folder / "cube.tif", 512)
        open_scene(f"{server.address}/cube.tif").window(slice(0, 9), slice(0, 9))
        vrt = server.folder / "a.vrt"
        vrt.write_text(
            '<VRTDataset rasterXSize="512" rasterYSize="512"><VRTRasterBand dataType="Int16" '
            f'band="1"><SimpleSource><SourceFilename>/vsicurl/{server.address}/cube.tif'
            "</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
        before = len(server.requests)
        with pytest.raises(SceneError, match="expected a file on this machine"):
            open_scene(vrt)
        assert len(server.requests) == before
        with pytest.raises(rasterio.RasterioIOError):
            rasterio.open(f"/vsicurl/{server.address}/cube.tif?other")


def test_what_is_said_of_an_address(server):
    large(server.folder / "cube.tif")
    address = f"{server.address}/cube.tif"
    size = (server.folder / "cube.tif").stat().st_size
    assert exists(address)
    assert files_of(address) == []
    found = describe_file(address)
    assert (found.rows, found.columns, found.bands) == (2048, 2048, 4)
    assert found.valid_pixels is None
    assert server.sent < size / 2  # nine blocks of it


def test_a_mask_looks_at_the_blocks_that_it_is_asked_for():
    """Any key gives what an array gives."""
    truth = np.random.default_rng(0).random((23, 17)) > 0.3
    looked = []

    def look(rows, columns):
        looked.append((rows.start, columns.start))
        return truth[rows, columns]

    for key in (np.s_[3], np.s_[-1, 4], np.s_[2:9, ::-1], np.s_[:, 3], np.s_[5:5], truth,
                (np.array([1, 22]), np.array([0, 16])), np.s_[::2, 1:4], np.s_[...],
                (slice(None), None), np.s_[[2, -1]]):  # fmt: skip
        mask = LazyMask((23, 17), (8, 5), look)
        np.testing.assert_array_equal(mask[key], truth[key])
    mask = LazyMask((23, 17), (8, 5), look)
    looked.clear()
    assert mask[9:12, 6:8].tolist() == truth[9:12, 6:8].tolist()
    assert looked == [(8, 5)]
    assert mask.sum() == truth.sum()
    assert len(looked) == 3 * 4
    np.testing.assert_array_equal(mask & truth[::-1], truth & truth[::-1])
    np.testing.assert_array_equal(np.argwhere(mask), np.argwhere(truth))
    with pytest.raises(IndexError):
        mask[23]
