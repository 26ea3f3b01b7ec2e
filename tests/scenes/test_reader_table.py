"""The table of readers: a file is looked at once, readers are added, docs/formats.md follows."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import xarray as xr

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.scenes import Reader, open_scene, register_reader
from hyperpeft.scenes.cubes.cube import Cube, from_array
from hyperpeft.scenes.readers import table
from hyperpeft.scenes.readers.detect import HEAD, Probe, is_html
from tests.helpers import scene_files as files
from tests.helpers.formats_page import PAGE, page

NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


@pytest.fixture
def looks(monkeypatch):
    """The paths whose head is read, in order."""
    seen = []
    read = Probe.of.__func__
    monkeypatch.setattr(
        Probe, "of", classmethod(lambda cls, path: seen.append(path) or read(cls, path))
    )
    return seen


def make_zarr(path):
    files.labelled_dataset(files.cube(), NM).to_zarr(path, zarr_format=2)
    return path


def make_netcdf(path):
    files.labelled_dataset(files.cube(), NM).to_netcdf(path, engine="h5netcdf")
    return path


def make_prisma(path):
    half = files.cube(bands=3, dtype="uint16")
    return files.prisma(path, half, half, vnir_nm=NM[2::-1], swir_nm=NM[:2:-1])


def make_emit(path):
    x, y = np.meshgrid(np.arange(1, 6), np.arange(1, 8))
    return files.emit(path, files.cube().astype(np.float32), x, y, centres=NM)


def make_npy(path):
    np.save(path, files.cube())
    return path


MAKERS = {
    "s.mat": ("arrays", lambda path: files.mat5(path, data=files.cube())),
    "s73.mat": ("arrays", lambda path: files.mat73(path, data=files.cube())),
    "s.npy": ("arrays", make_npy),
    "s.tif": ("raster", lambda path: files.geotiff(path, files.cube())),
    "s.bsq": ("raster", lambda path: files.envi(path, files.cube())),
    "s.zarr": ("zarr", make_zarr),
    "s.nc": ("netcdf", make_netcdf),
    "s.he5": ("prisma", make_prisma),
    "emit.nc": ("emit", make_emit),
    "product": ("enmap", lambda path: files.enmap(path, files.cube(), centres=NM).parent),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_head_of_a_file_is_read_once(tmp_path, looks, name):
    kind, make = MAKERS[name]
    path = make(tmp_path / name)
    scene = open_scene(path)
    assert scene.shape[:2] == (7, 5)
    assert table.identify(Probe.of(path)).kind == kind
    again = looks.pop()  # of the line above
    given = [seen for seen in looks if seen == again and seen.is_file()]
    assert len(given) == (1 if path.is_file() else 0)
    assert len(looks) == len(set(looks))  # nor is another file of the product read twice


def test_labels_are_looked_at_once(tmp_path, looks):
    labels = files.geotiff(tmp_path / "l.tif", np.ones((7, 5), np.uint8))
    scene = open_scene(files.geotiff(tmp_path / "s.tif", files.cube()), labels=labels)
    assert scene.labels.counts() == {1: 35}
    assert [path.name for path in looks] == ["s.tif", "l.tif"]


def test_a_probe_says_what_the_head_holds(tmp_path):
    path = files.mat73(tmp_path / "A.MAT", data=files.cube())
    probe = Probe.of(path)
    assert probe.head == path.read_bytes()[:HEAD]
    assert (probe.is_hdf5, probe.is_folder, probe.suffix, probe.kind) == (True, False, ".mat", "")
    assert {"data", "#refs#", "#refs#/a"} == probe.members
    assert probe.has("data")
    assert not probe.has("data", "wavelengths")
    with pytest.raises(AttributeError):
        probe.kind = "arrays"
    (tmp_path / "damaged.h5").write_bytes(path.read_bytes()[512:700])
    assert Probe.of(tmp_path / "damaged.h5").members == frozenset()
    assert Probe.of(tmp_path).is_folder


@pytest.fixture
def readers(monkeypatch):
    """A copy of the table for one test."""
    monkeypatch.setattr(table, "READERS", list(table.READERS))


def read_toy(probe: Probe, key=None, layout=None) -> Cube:
    """A toy format: TOY, rows, columns, bands, then bytes band by band."""
    height, width, bands = probe.head[3:6]
    values = np.frombuffer(probe.path.read_bytes()[6:], np.uint8)
    return from_array(probe.path, values.reshape(bands, height, width), notes=(f"key {key}",))


def toy(**options) -> Reader:
    return Reader(
        "toy",
        "a toy file",
        lambda probe: probe.head.startswith(b"TOY"),
        f"{__name__}:read_toy",
        **options,
    )


def test_a_reader_is_added_from_outside(tmp_path, readers, looks):
    values = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    path = tmp_path / "scene.tif"  # the content decides
    path.write_bytes(b"TOY" + bytes((3, 2, 4)) + values.tobytes())
    with pytest.raises(SceneError, match="cannot be opened as a raster"):
        open_scene(path)
    register_reader(toy(takes_key=True))
    looks.clear()
    scene = open_scene(f"{path}:blue")
    assert (scene.cube.values == values).all()
    assert scene.notes == ("key blue",)
    assert looks == [path]
    with pytest.raises(ConfigError, match="is a toy file and knows its own axes"):
        open_scene(path, layout="b h w")
    register_reader(toy())
    assert [row.kind for row in table.READERS].count("toy") == 1
    path.write_bytes(b"TOY\x03")
    with pytest.raises(SceneError, match="cannot be read as a toy file"):
        open_scene(path)


def test_every_row_has_a_home(tmp_path):
    kinds = [row.kind for row in table.READERS]
    assert len(set(kinds)) == len(kinds)
    assert kinds[-1] == "raster"
    for row in table.READERS:
        module, _, function = row.home.partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_web_pages_are_told_from_xml():
    assert is_html(b"\n<!DOCTYPE html><html>")
    assert is_html(b"\xef\xbb\xbf<html lang='de'>")
    assert is_html(b'<?xml version="1.0"?>\n<!-- x --><!DOCTYPE html PUBLIC "-//W3C">')
    assert not is_html(b'<?xml version="1.0"?><kml/>')
    assert not is_html(b"<VRTDataset/>")
    assert not is_html(b"<!DOCTYPE qgis>")


def test_the_error_of_a_server_is_no_data(tmp_path):
    path = tmp_path / "s.tif"
    path.write_bytes(b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>')
    with pytest.raises(SceneError, match="error message of a server"):
        open_scene(path)


def test_zarr_under_any_name(tmp_path):
    shutil.move(make_zarr(tmp_path / "s.zarr"), tmp_path / "plain")
    assert open_scene(tmp_path / "plain").shape == (7, 5, 6)
    assert isinstance(xr.open_zarr(tmp_path / "plain"), xr.Dataset)


def test_the_page_is_that_of_the_tables():
    """`python -m tests.helpers.formats_page` writes it again."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_row_says_what_is_used():
    from hyperpeft.scenes.labels.table import LABEL_READERS
    from hyperpeft.scenes.readers.table import READERS

    for row in (*READERS, *LABEL_READERS):
        assert row.files, row.kind
        assert row.used, row.kind
