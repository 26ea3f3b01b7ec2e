"""Damaged files that the fuzzer has found: refused in a sentence, whatever a library raises."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.io import loadmat, savemat

from hyperpeft import spectral, splits
from hyperpeft.benchmark.grid import make_bench
from hyperpeft.errors import (
    BundleError,
    ConfigError,
    HyperpeftError,
    LabelsError,
    SceneError,
    SplitError,
    WeightsError,
)
from hyperpeft.models import image_size_of, load_backbone
from hyperpeft.report import write_report
from hyperpeft.runs.config_files import read_config
from hyperpeft.runs.experiment import Progress, run
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import open_scene, read_cube, read_labels
from hyperpeft.scenes.readers import hdf5_checks
from hyperpeft.system import safe_yaml
from tests.helpers.scene_files import (
    ORIGIN,
    UTM,
    cube,
    emit,
    envi,
    geotiff,
    labelled_dataset,
    mat73,
    prisma,
)
from tests.helpers.small import config, encoder, yaml_file

NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


class TestMatlab:
    """Tags that scipy believes: a type beyond its table ends the process."""

    @pytest.fixture(params=[False, True], ids=["plain", "compressed"])
    def path(self, tmp_path, request):
        savemat(tmp_path / "a.mat", {"x": cube()}, do_compression=request.param)
        assert read_cube(tmp_path / "a.mat").cube.shape == (6, 7, 5)
        return tmp_path / "a.mat"

    def damage(self, path: Path, old: bytes, new: bytes) -> None:
        """Replace bytes of the array's element, which may be compressed."""
        import zlib

        data = path.read_bytes()
        kind, size = struct.unpack("<II", data[128:136])
        element = data[136 : 136 + size]
        element = zlib.decompress(element) if kind == 15 else element
        assert element.count(old) == 1
        element = element.replace(old, new)
        element = zlib.compress(element) if kind == 15 else element
        path.write_bytes(data[:128] + struct.pack("<II", kind, len(element)) + element)

    @pytest.mark.parametrize(
        ("kind", "size"), [(0, 420), (8, 420), (255, 420), (2**16 - 1, 420), (3, 418), (3, 2**31)]
    )
    def test_a_type_or_a_size_that_cannot_be(self, path, kind, size):
        self.damage(path, struct.pack("<II", 3, 420), struct.pack("<II", kind, size))
        with pytest.raises(SceneError, match="cannot be read as a MATLAB or HDF5 file"):
            read_cube(path)

    def test_dimensions_of_another_size(self, path):
        self.damage(path, struct.pack("<iii", 7, 5, 6), struct.pack("<iii", 7, 5, 2**20))
        with pytest.raises(SceneError, match="7 x 5 x 1048576 numbers has 420 bytes of type 3"):
            read_cube(path)

    @pytest.mark.parametrize("value", [{"a": np.ones((4, 4, 5))}, "text", np.array([[1, "a"]])])
    def test_what_is_no_array_is_not_read(self, tmp_path, value):
        savemat(tmp_path / "a.mat", {"x": value})
        with pytest.raises(SceneError, match=r"a\.mat:x: expected real numbers, got"):
            read_cube(f"{tmp_path / 'a.mat'}:x")

    def test_the_first_tag_has_one_place(self, path):
        """scipy reads past it, whatever it says: names and types behind it would be others."""
        self.damage(path, struct.pack("<II", 6, 8), struct.pack("<HHI", 6, 4, 8))
        with pytest.raises(SceneError, match="an array begins with a part of type 6"):
            read_cube(path)

    def test_what_has_no_name_is_no_variable(self, tmp_path):
        """scipy gives it one, under which its tags would go unread."""
        savemat(tmp_path / "a.mat", {"x": np.ones((4, 4), np.uint8)})
        data = (tmp_path / "a.mat").read_bytes()
        (tmp_path / "a.mat").write_bytes(data.replace(b"\1\0\1\0x\0\0\0", struct.pack("<II", 1, 0)))
        for spec in ("a.mat", "a.mat:__function_workspace__"):
            with pytest.raises(LabelsError, match="nothing"):
                read_labels(tmp_path / spec)

    def test_an_object_beside_a_cube(self, tmp_path):
        """MATLAB's tables and strings are objects; they have no dimensions."""
        savemat(tmp_path / "a.mat", {"x": cube()})
        text = b"".join(struct.pack("<HH4s", 1, len(t), t) for t in (b"t", b"MCOS", b"tab"))
        inner = struct.pack("<IIIIIIiiIIIII", 6, 8, 13, 0, 5, 8, 1, 1, 1, 0, 6 | 4 << 16, 7, 0)
        inner = struct.pack("<II", 14, len(inner)) + inner
        parts = struct.pack("<IIII", 6, 8, 17, 0) + text + inner
        with (tmp_path / "a.mat").open("ab") as file:
            file.write(struct.pack("<II", 14, len(parts)) + parts)
        assert loadmat(tmp_path / "a.mat")["None"][0].item()[:3] == (b"t", b"MCOS", b"tab")
        assert read_cube(tmp_path / "a.mat").cube.shape == (6, 7, 5)


class TestHeaps:
    """Texts of HDF5, through which its library would walk for ever."""

    @pytest.fixture
    def path(self, tmp_path):
        labelled_dataset(cube(), NM).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
        with h5py.File(tmp_path / "c.nc", "a") as file:
            file.attrs["looks"] = "GCOL\x01" + "\1" * 40  # like a heap, inside one
        assert (tmp_path / "c.nc").read_bytes().count(b"GCOL\1\0\0\0") >= 1
        assert read_cube(tmp_path / "c.nc").cube.shape == (6, 7, 5)
        return tmp_path / "c.nc"

    @pytest.mark.parametrize("size", [0, 2**13, 2**64 - 8])
    def test_an_object_that_leads_nowhere(self, path, size):
        data = bytearray(path.read_bytes())
        at = data.index(b"GCOL\1\0\0\0") + 16
        data[at : at + 16] = struct.pack("<HHIQ", 0, 0, 0, size)
        path.write_bytes(data)
        for read, error in ((read_cube, SceneError), (read_labels, LabelsError)):
            with pytest.raises(error, match=rf"its heap at byte {at - 16} is broken"):
                read(path)

    def test_a_text_whose_kind_is_damaged(self, tmp_path):
        """The library crashes on reading it."""
        path = tmp_path / "c.h5"
        with h5py.File(path, "w") as file:
            file["x"] = cube()
            file.attrs["said"] = "x"
        assert read_cube(path).shape
        data = bytearray(path.read_bytes())
        at = data.index(b"\x19\x01", data.index(b"said\0"))  # class 9 (any length), kind 1 (text)
        data[at + 1] = 5
        path.write_bytes(data)
        with pytest.raises(SceneError, match="the type of its attribute said is broken"):
            read_cube(path)

    def test_an_array_beyond_the_end_of_the_file(self):
        assert list(hdf5_checks._gaps([(10, 20), (2**70, 2**71)], 100)) == [(0, 10), (20, 100)]

    @pytest.mark.parametrize("chunks", [None, (6, 7, 5), (1, 2, 3)])
    def test_an_array_that_looks_like_a_heap(self, tmp_path, monkeypatch, chunks):
        values = np.frombuffer(b"GCOL\1\0\0\0\0\1\0\0\0\0\0\0" * 105, np.uint64)
        with h5py.File(tmp_path / "c.h5", "w", userblock_size=512) as file:
            file.create_dataset("x", data=values.reshape(6, 7, 5), chunks=chunks)
        assert sorted(read_cube(tmp_path / "c.h5").cube.shape) == [5, 6, 7]
        monkeypatch.setattr(hdf5_checks, "_walk", lambda path: (8, [], [], []))
        with pytest.raises(SceneError, match="its heap at byte"):
            read_cube(tmp_path / "c.h5")


def move_out(path: Path, name: str, how: str) -> None:
    """Leave a dataset's name in an HDF5 file and its values in another one."""
    with h5py.File(path, "a") as file:
        values, attributes = file[name][()], dict(file[name].attrs)
        del file[name]
        other = path.with_name("other.bin")
        if how == "external":
            other.write_bytes(values.tobytes())
            places = [(other.name, 0, values.nbytes)]
            item = file.create_dataset(name, values.shape, values.dtype, external=places)
        else:
            with h5py.File(other, "w") as source:
                source["x"] = values
                source["x"].attrs.update(attributes if how == "link" else {})
            if how == "link":
                file[name] = h5py.ExternalLink(other.name, "x")
                return
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(other.name, "x", values.shape)
            item = file.create_virtual_dataset(name, layout)
        item.attrs.update({n: v for n, v in attributes.items() if n != "DIMENSION_LIST"})


class TestOtherFiles:
    """An HDF5 file may name any other file as the place of its values."""

    @pytest.fixture(params=["virtual", "external", "link"])
    def how(self, request):
        return request.param

    def refused(self, path: Path, name: str, how: str, read=read_cube, error=SceneError) -> None:
        whole = path.with_name(f"whole{path.suffix}")  # GDAL keeps what it has read open
        shutil.copyfile(path, whole)
        read(whole)
        move_out(path, name, how)
        says = rf"{path.name}:{name} keeps its values in another file: expected all values in the"
        with pytest.raises(error, match=says):
            read(path)

    def test_matlab(self, tmp_path, how):
        self.refused(mat73(tmp_path / "c.mat", x=cube()), "x", how)

    @pytest.mark.parametrize("name", ["c.h5", "c.img"])
    def test_hdf5_under_any_name(self, tmp_path, how, name):
        with h5py.File(tmp_path / name, "w") as file:
            file["x"] = cube()
        self.refused(tmp_path / name, "x", how)

    def test_what_lies_beside_the_cube(self, tmp_path, how):
        self.refused(mat73(tmp_path / "c.mat", x=cube(), wavelength=NM), "wavelength", how)

    def test_labels(self, tmp_path, how):
        path = mat73(tmp_path / "c.mat", x=np.eye(4, dtype=np.uint8))
        self.refused(path, "x", how, read_labels, LabelsError)

    def test_netcdf(self, tmp_path, how):
        labelled_dataset(cube(), NM).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
        self.refused(tmp_path / "c.nc", "reflectance", how)

    def test_emit(self, tmp_path, how):
        y, x = np.indices((6, 5))
        self.refused(emit(tmp_path / "c.nc", cube(), x + 1, y + 1, centres=NM), "reflectance", how)

    def test_prisma(self, tmp_path, how):
        path = prisma(tmp_path / "c.he5", cube(), cube(), vnir_nm=NM[::-1], swir_nm=NM[::-1] + 9)
        self.refused(path, "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_Cube", how)

    def test_a_tree_that_cannot_be_walked(self, tmp_path):
        """A damaged neighbour does not hide where a cube lies."""
        y, x = np.indices((6, 5))
        path = emit(tmp_path / "c.nc", cube(), x + 1, y + 1, centres=NM)
        with h5py.File(path, "a") as file:
            file.create_group("broken").attrs["mark"] = np.bytes_("mark-of-it")
            at = h5py.h5o.get_info(file["broken"].id).addr
        data = bytearray(path.read_bytes())
        data[at : at + 16] = b"\xff" * 16
        path.write_bytes(data)
        with pytest.raises(SceneError, match="cannot be read as an HDF5 file"):
            read_cube(path)


def damaged_copies(path: Path, step: int, byte: bytes = b"\xff"):
    """One after the other: 16 bytes of one value at every so manieth place."""
    data = path.read_bytes()
    for at in range(0, len(data) - 16, step):
        path.write_bytes(data[:at] + byte * 16 + data[at + 16 :])
        yield at


# GDAL's message may quote the damaged bytes, which rasterio's callback cannot decode or pass on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["emit", "netcdf", "geotiff"])
def test_bytes_that_make_no_sense_anywhere_in_a_file(tmp_path, kind):
    path = tmp_path / ("c.tif" if kind == "geotiff" else "c.nc")
    if kind == "emit":
        y, x = np.indices((6, 5))
        emit(path, cube(), x + 1, y + 1, centres=NM)
    elif kind == "netcdf":
        labelled_dataset(cube(), NM, fill=-9999).to_netcdf(path, engine="h5netcdf")
    else:
        geotiff(path, cube(), nodata=-9999, band_tags=[{"wavelength": str(n)} for n in NM])
    refused = 0
    # In ASCII for GDAL: rasterio's log cannot decode another message, and pytest minds.
    byte = b"\x7f" if kind == "geotiff" else b"\xff"
    for _ in damaged_copies(path, {"netcdf": 797, "emit": 197, "geotiff": 61}[kind], byte):
        try:
            _ = open_scene(path).cube.values
        except HyperpeftError:
            refused += 1
    assert refused > 0


def test_coordinates_that_cannot_be_projected(tmp_path):
    scene = open_scene(geotiff(tmp_path / "c.tif", cube()))
    ring = [[0, 0], [1, 0], [1, 2000], [0, 0]]
    features = [
        {"type": "Feature", "properties": {"class": i},
         "geometry": {"type": "Polygon", "coordinates": [ring]}} for i in (1, 2)
    ]  # fmt: skip
    path = tmp_path / "m.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(LabelsError, match=r"cannot be brought to the scene's CRS|outside"):
        open_scene(tmp_path / "c.tif", labels=path)
    assert scene.crs is not None


def test_a_ring_that_a_projection_has_lost(tmp_path):
    """PROJ gives infinity for what it cannot project; such a polygon lies outside."""
    open_scene(geotiff(tmp_path / "c.tif", cube()))
    x, y = ORIGIN.c, ORIGIN.f
    good = [shapely.box(x + 60 * i, y - 60, x + 60 * i + 60, y) for i in (0, 1)]
    lost = shapely.Polygon([(np.inf, y), (x, y), (x, y - 30), (np.inf, y)])
    pyogrio.raw.write(
        tmp_path / "m.gpkg", shapely.to_wkb(np.array([*good, lost], object)),
        [np.array([1, 2, 2])], ["class"], crs=UTM, geometry_type="Polygon",
    )  # fmt: skip
    scene = open_scene(tmp_path / "c.tif", labels=tmp_path / "m.gpkg")
    assert np.bincount(scene.labels.ids.ravel()).tolist() == [27, 4, 4]
    assert any("1 of 3 polygons lie outside" in note for note in scene.labels.notes)


@pytest.mark.parametrize("far", [1e9, 1e20, -1e300])
def test_a_polygon_that_reaches_to_the_end_of_the_world(tmp_path, far):
    """GDAL walks along its edge pixel by pixel when it looks for those that are touched."""
    geotiff(tmp_path / "c.tif", cube())
    x, y = ORIGIN.c, ORIGIN.f
    good = [shapely.box(x + 60 * i, y - 60, x + 60 * i + 60, y) for i in (0, 1)]
    lost = shapely.Polygon([(x, y), (x + 30, y), (x, far)])
    pyogrio.raw.write(
        tmp_path / "m.gpkg", shapely.to_wkb(np.array([*good, lost], object)),
        [np.array([1, 2, 2])], ["class"], crs=UTM, geometry_type="Polygon",
    )  # fmt: skip
    start = time.process_time()
    scene = open_scene(tmp_path / "c.tif", labels=tmp_path / "m.gpkg", all_touched=True)
    assert time.process_time() - start < 5
    assert np.count_nonzero(scene.labels.ids == 1) == 4
    assert any("1 of 3 polygons lie outside" in note for note in scene.labels.notes)


@pytest.mark.parametrize("layout", [None, "b h w"])
def test_chunks_without_a_value(tmp_path, layout):
    labelled_dataset(cube(), NM).to_zarr(tmp_path / "c.zarr", zarr_format=2, consolidated=False)
    path = tmp_path / "c.zarr" / "reflectance" / ".zarray"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "chunks": [6, 7, 0]}))
    with pytest.raises(SceneError, match="chunks: expected 1 or more a side"):
        read_cube(tmp_path / "c.zarr" if layout is None else f"{tmp_path / 'c.zarr'}:reflectance",
                  layout=layout)  # fmt: skip
    path.write_text(json.dumps({**described, "chunks": [6, 2**21, 2**21]}))
    with pytest.raises(SceneError, match=r"a chunk of 6 x 2097152 x 2097152 values needs about"):
        read_cube(tmp_path / "c.zarr" if layout is None else f"{tmp_path / 'c.zarr'}:reflectance",
                  layout=layout)  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "within"])
def test_a_zarr_store_with_links(tmp_path, kind):
    path = tmp_path / "c.zarr"
    labelled_dataset(cube(), NM).to_zarr(path, zarr_format=3, consolidated=False)
    chunk = path / "reflectance" / "c" / "0" / "0" / "0"
    if kind == "folder":
        (path / "again").symlink_to("..")
    elif kind == "pipe":
        chunk.unlink()
        os.mkfifo(chunk)
    else:
        other = chunk.rename((path if kind == "within" else tmp_path) / "values")
        chunk.symlink_to(other)
    if kind == "within":
        np.testing.assert_array_equal(read_cube(path).cube, cube().transpose(2, 0, 1))
        return
    with pytest.raises(SceneError, match=r"is a link to a folder or out of the store, or no file"):
        read_cube(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_pickling_codec_that_is_written_in_another_way(tmp_path, encoding):
    path = tmp_path / "c.zarr"
    labelled_dataset(cube(), NM).to_zarr(path, zarr_format=2, consolidated=False)
    mark = path / "x" / ".zarray"
    text = json.dumps({**json.loads(mark.read_text()), "filters": [{"id": "pickle"}]})
    mark.write_bytes(text.replace("pickle", "\\u0070ickle").encode(encoding))
    with pytest.raises(SceneError, match=r"holds Python objects \(pickle, in x/.zarray\)"):
        read_cube(path)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("", "hold no class"),
        ("1 9223372036854775808 1", "expected lines of ID, X, Y"),
        ("1 x 1", "expected lines of ID, X, Y"),
        ("1 6 1", "outside its 7 x 5 pixels"),
    ],
)
def test_regions_without_sound_points(tmp_path, points, message):
    count = 1 if points else 0
    (tmp_path / "m.txt").write_text(
        "; ENVI Output of ROIs (4.8)\n; Number of ROIs: 1\n; File Dimension: 5 x 7\n"
        f"; ROI name: a\n; ROI npts: {count}\n{points}\n"
    )
    with pytest.raises(LabelsError, match=message):
        read_labels(tmp_path / "m.txt")


def test_a_number_of_a_thousand_digits(tmp_path):
    """Looked at from its first digit only, not from each."""
    path = geotiff(tmp_path / "c.tif", cube())
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ["0" * 3000] * 6
    start = time.process_time()
    assert read_cube(path).wavelengths is None
    assert time.process_time() - start < 5


def test_a_header_of_empty_lines(tmp_path):
    path = envi(tmp_path / "c.bsq", cube())
    path.with_suffix(".hdr").write_text(
        path.with_suffix(".hdr").read_text().replace("interleave", "\n" * 90_000 + "interleave")
    )
    start = time.process_time()
    assert read_cube(path).cube.shape == (6, 7, 5)
    assert time.process_time() - start < 5


def test_a_ring_that_does_not_close(tmp_path):
    path = tmp_path / "m.geojson"
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}
    feature = {"type": "Feature", "properties": {"class": 1}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature, feature]}))
    geotiff(tmp_path / "c.tif", cube())
    with pytest.raises(LabelsError, match=r"m\.geojson"):
        open_scene(tmp_path / "c.tif", labels=path)


class Stop(Exception):
    pass


class StopAtMapping(Progress):
    def mapped(self, done, total):
        raise Stop


class TestArchives:
    """Members of .npz and .pth files that are not what they should be."""

    def rewrite(self, path: Path, **members: bytes) -> None:
        """With other members, whose sums are right."""
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        for name, new in members.items():
            (found,) = (n for n in content if Path(n).stem == name)
            content[found] = new
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)

    def test_a_member_that_is_no_array(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez(path, x=cube(), readme=np.array(1))
        self.rewrite(path, readme=b"not an array")
        assert read_cube(path).cube.shape == (6, 7, 5)
        self.rewrite(path, x=b"not an array")
        with pytest.raises(SceneError, match="no such array"):
            read_cube(path)

    @pytest.mark.parametrize(
        "header", [b"not an array", b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((  "]
    )
    def test_a_split(self, tmp_path, header):
        path = tmp_path / "s.npz"
        np.savez(path, train=np.zeros((1, 2), int), test=np.ones((1, 2), int))
        self.rewrite(path, train=header)
        with pytest.raises(SplitError, match=r"s\.npz"):
            splits.load(path)

    @pytest.mark.parametrize(
        "pickle", [b"\x80\x02)\x81.", b"\x80\x02h\x07.", b"\x80\x020.", b"\x80\x02ctorch._utils\n."]
    )
    def test_a_checkpoint_of_torch(self, tmp_path, monkeypatch, pickle):
        monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "cache"))
        path = tmp_path / "e.pth"
        torch.save(encoder().state_dict(), path)
        self.rewrite(path, data=pickle)
        with pytest.raises(WeightsError, match="not a PyTorch file of tensors alone"):
            load_backbone(path)

    def test_the_checkpoint_of_a_run(self, tmp_path):
        how = config(tmp_path, tmp_path / "run", epochs=1, map=False)
        path = tmp_path / "run" / "checkpoint" / "state.pt"
        with pytest.raises(Stop):
            run(how, progress=StopAtMapping())
        content = torch.load(path, weights_only=True)
        for name, value in {"weights": {"a": torch.ones(1)}, "state": {"x": 1}}.items():
            torch.save({**content, name: value}, path)
            with pytest.raises(BundleError, match=r"not a checkpoint .*; remove it to start again"):
                run(how)
        self.rewrite(path, data=b"\x80\x02)\x81.")
        with pytest.raises(BundleError, match=r"not a checkpoint .*; remove it to start again"):
            run(how)


class TestText:
    """YAML and JSON that take long, or end in an error of their own."""

    @pytest.mark.parametrize(
        "text",
        ["[" * 2000, "a: " + "{b: [" * 40, "- " * 5000 + "1", "a: 2020-99-99", "a: !!int x",
         "a: !!timestamp x", "x" * 2_000_000, "options: &a {x: *a}",
         "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9 if i else '1')}]"
                   for i in range(9))],
        ids=lambda text: text[:12],
    )  # fmt: skip
    def test_yaml(self, tmp_path, text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"run\.yaml (is not YAML|: expected)") as refused:
            read_config(path)
        assert len(str(refused.value)) < 500

    def test_brackets_that_close_are_not_deep(self):
        assert safe_yaml.parse("a: [" + "[1], " * 500 + "]")["a"][499] == [1]

    def test_a_record(self, tmp_path):
        (tmp_path / "run.json").write_text("[" * 100_000)
        with pytest.raises(BundleError, match="cannot be read"):
            RunRecord.from_file(tmp_path / "run.json")

    def test_a_message_quotes_no_whole_file(self, tmp_path):
        (tmp_path / "m.csv").write_text("x,y,class\n" + "a\\nb" * 10_000 + ",1,1\n")
        with pytest.raises(LabelsError) as refused:
            open_scene(geotiff(tmp_path / "c.tif", cube()), labels=tmp_path / "m.csv")
        assert len(str(refused.value)) < 2000
        assert str(HyperpeftError("a\nb", got="c\nd", hint="e")) == "a b: got c d; e"


@pytest.mark.parametrize(
    "change",
    [{"methods": {"krona+": "text"}}, {"methods": {"a": {"method": ["krona+"]}}},
     {"splits": {"random": ["random"]}}, {"scenes": {"a": {"scene": "demo", "splits": {1: 2}}}},
     {"common": {"split_window": "5", "patch_size": 3}, "splits": {"d": "disjoint"}, "seeds": "x"}],
)  # fmt: skip
def test_a_benchmark_of_other_types(change):
    values = {"name": "b", "scenes": {"a": {"scene": "demo"}}, "methods": ["probe"], **change}
    with pytest.raises(ConfigError):
        make_bench(values)


@pytest.mark.parametrize("number", ["9" * 5000, "²"])
class TestWholeNumbers:
    """In text, which Python's `isdigit` and `int` see differently."""

    def test_in_a_reducer(self, tmp_path, number):
        spectral.fit(open_scene(geotiff(tmp_path / "c.tif", cube()))).to_file(tmp_path / "r")
        with safe_open(tmp_path / "r", "numpy") as file:
            texts, names = file.metadata(), list(file.keys())
            arrays = {name: file.get_tensor(name) for name in names}
        save_file(arrays, tmp_path / "r", {**texts, "pixels": number})
        with pytest.raises(BundleError, match="is damaged"):
            spectral.Reducer.from_file(tmp_path / "r")

    def test_in_weights(self, tmp_path, number):
        save_file({"x": np.zeros(1)}, tmp_path / "e.safetensors", {"image_size": number})
        assert image_size_of(tmp_path / "e.safetensors") == 32

    def test_in_the_names_of_classes(self, tmp_path, number):
        ids = np.ones((7, 5), np.uint8)
        geotiff(tmp_path / "m.tif", ids, tags={f"CLASS_{number[:50]}": "a", "CLASS_1": "b"})
        assert read_labels(tmp_path / "m.tif").classes == {1: "b"}


class TestRecords:
    """A record whose values have other types than they should."""

    @pytest.fixture(scope="class")
    def record(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("record")
        run(config(folder, folder / "run", epochs=1, map=False, method="probe"))
        return json.loads((folder / "run" / "run.json").read_text())

    @pytest.mark.parametrize(
        ("section", "name", "value"),
        [
            ("metrics", "confusion", [[1, 2]]), ("metrics", "confusion", [[1, [2]], [3, 4]]),
            ("metrics", "class_ids", ["a", 2]), ("metrics", "per_class", [1, 2]),
            ("metrics", "oa", "98"), ("scene", "colours", [[1, 2], [3, 4, 5]]),
            ("scene", "classes", ["one"]), ("scene", "class_ids", [1.5, 2]),
            ("split", "per_class", {"1": {"train": "x"}}), ("adapter", "class_ids", 3),
            ("adapter", "method", ["krona"]), ("config", "image_size", "16"),
            ("config", "stride", 0), ("timing", "train_seconds", [1]),
            ("metrics", "oa", 10**400), ("adapter", "trainable_parameters", "1e309"),
            ("split", "train", 2**63),
        ],
    )  # fmt: skip
    def test_is_refused_by_name(self, record, tmp_path, section, name, value):
        wrong = {**record, section: {**record[section], name: value}}
        path = yaml_file(tmp_path / "run.json", wrong)
        path.write_text(path.read_text().replace('"1e309"', "1e309"))  # JSON has such numbers
        for use in (RunRecord.from_file, lambda p: write_report(p.parent, tmp_path / "report")):
            with pytest.raises(BundleError, match=rf"{section}\.{name}[\w.]*: "):
                use(path)
        assert not (tmp_path / "report").exists()

    def test_what_is_missing_stays_missing(self, record, tmp_path):
        del record["metrics"]["per_class"], record["metrics"]["confusion"]
        yaml_file(tmp_path / "run.json", record)
        assert RunRecord.from_file(tmp_path / "run.json").metrics["oa"] is not None
        assert write_report(tmp_path, tmp_path / "report")[0].is_file()


@pytest.mark.parametrize(
    ("size", "message"),
    [("5 x 999999999", "at most 268,435,456 pixels"), ("9" * 5000 + " x 7", "no complete header")],
)
def test_regions_of_interest_of_an_endless_image(tmp_path, size, message):
    lines = ["; ENVI Output of ROIs (4.8)", f"; File Dimension: {size}", "; ROI name: a",
             "; ROI npts: 1", "1 2 3"]  # fmt: skip
    (tmp_path / "m.txt").write_text("\n".join(lines))
    with pytest.raises(LabelsError, match=message):
        read_labels(tmp_path / "m.txt")


def test_hdf5_is_told_apart_whatever_its_damage(tmp_path):
    """The names of a product are asked of files that are none."""
    with h5py.File(tmp_path / "c.he5", "w") as file:
        file.create_group("HDFEOS/SWATHS")[b"PRS_L2D_HCO"] = h5py.SoftLink("/nowhere")
        file["x"] = cube()
    with pytest.raises(SceneError):
        read_cube(tmp_path / "c.he5")
