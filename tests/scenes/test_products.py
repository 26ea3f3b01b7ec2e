"""Products of the missions and copies of them: planted values, bands, places, what is not used."""

from __future__ import annotations

import shutil
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.crs import CRS

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.scenes import files_of, open_scene, read_cube, read_labels
from tests.helpers.scene_files import (
    BANDS,
    HEIGHT,
    ORIGIN,
    WIDTH,
    cube,
    emit,
    enmap,
    envi,
    geotiff,
    ground,
    integers,
    labelled_dataset,
    mat5,
    mat73,
    prisma,
    scaled,
    tanager,
)
from tests.helpers.scene_files import NM as EVEN_NM

NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])
PLACE = (30.0, 0.0, 364_000.0, 0.0, -30.0, 5_810_000.0)


def windows_agree(scene):
    """Any window is the same part of the whole."""
    whole = scene.cube.values
    bands, height, width = whole.shape
    for y in (slice(0, 1), slice(height // 2, height), slice(1, height - 1)):
        for x in (slice(width - 1, width), slice(1, width // 2 + 1)):
            part = scene.cube.isel(y=y, x=x).values
            np.testing.assert_array_equal(part, whole[:, y, x])
    np.testing.assert_array_equal(scene.cube.isel(band=bands - 1).values, whole[-1])
    np.testing.assert_array_equal(scene.cube.isel(band=[1, 0], y=2).values, whole[[1, 0], 2])
    np.testing.assert_array_equal(scene.cube.isel(x=slice(None, None, -2)), whole[:, :, ::-2])
    np.testing.assert_array_equal(scene.cube.isel(y=[3, 1, 1]), whole[:, [3, 1, 1]])
    assert scene.cube.isel(y=slice(2, 2)).values.shape == (bands, 0, width)


# EnMAP


def enmap_array():
    array = cube() * 7
    array[0, 0] = -32768  # outside the scene
    array[..., 4] = -32768  # no signal at 1380 nm
    array[5, 3, 2] = -32768
    return array


@pytest.mark.parametrize("how", ["folder", "metadata", "image"])
def test_enmap(tmp_path, how):
    array = enmap_array()
    clouds = np.zeros((7, 5), bool)
    clouds[6, 1:3] = True
    metadata = enmap(tmp_path / "product", array, centres=NM, clouds=clouds)
    image = metadata.with_name(metadata.name.replace("METADATA.XML", "SPECTRAL_IMAGE.TIF"))
    scene = open_scene({"folder": metadata.parent, "metadata": metadata, "image": image}[how])
    keep = [0, 1, 2, 3, 5]
    assert scene.cube.dtype == np.float32
    np.testing.assert_array_equal(scene.cube, scaled(array[..., keep].transpose(2, 0, 1), 1e-4))
    np.testing.assert_array_equal(scene.wavelengths, NM[keep])
    np.testing.assert_array_equal(scene.fwhm, (7.5 + np.arange(6))[keep])
    assert np.argwhere(~scene.valid).tolist() == [[0, 0], [5, 3], [6, 1], [6, 2]]
    assert scene.transform == PLACE
    assert "UTM zone 33N" in scene.crs
    assert scene.rgb == (2, 1, 0)
    assert scene.notes == (
        "values are the stored ones times 0.0001, as the file says",
        "1 of 6 bands hold no valid value and are dropped",
        "4 of 35 pixels are masked (NaN 0, infinite 0, nodata 2, cloud 2)",
    )
    windows_agree(scene)


_LEVELS = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
GROWING = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "0123456789">{_LEVELS}]>'


def noted(scene, *words):
    return any(all(word in note for word in words) for note in scene.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:300], ("cannot be read as XML",)),
        (lambda text: "<level_X></level_X>", ("describes no bands of EnMAP",)),
        (lambda text: f"{GROWING}<level_X>&e11;</level_X>", ("cannot be read as XML",)),
        (lambda text: text.replace('<bandID number="6"', '<b number="6"', 1).replace(
            "</bandID></bandCharacterisation>", "</b></bandCharacterisation>"),
         ("describes 5 bands, the image has 6",)),
        (lambda text: text.replace("<GainOfBand>0.0001", "<GainOfBand>n/a"), ("is incomplete",)),
        (lambda text: text.replace('bandID number="3"', 'bandID number="c"'), ("is incomplete",)),
    ],
)  # fmt: skip
def test_enmap_whose_metadata_do_not_fit_is_a_plain_raster(tmp_path, change, words):
    array = enmap_array()
    path = enmap(tmp_path / "product", array, centres=NM)
    path.write_text(change(path.read_text()))
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, array[..., [0, 1, 2, 3, 5]].transpose(2, 0, 1))
    assert scene.wavelengths is None
    assert scene.transform == PLACE
    assert noted(scene, path.name, *words, "not used")
    assert noted(scene, "values are those of the image")


def test_enmap_of_another_level_says_so(tmp_path):
    scene = open_scene(enmap(tmp_path / "l1c", enmap_array(), centres=NM, level="L1C").parent)
    assert scene.cube.dtype == np.float32
    assert noted(scene, "the product is L1C, not L2A")


def test_enmap_with_clouds_of_another_size(tmp_path):
    clouds = np.ones((3, 3), bool)
    scene = open_scene(enmap(tmp_path / "p", enmap_array(), centres=NM, clouds=clouds))
    assert noted(scene, "QL_QUALITY_CLOUD.TIF has (3, 3) pixels instead of (7, 5): not used")
    assert scene.valid.sum() == 33


def test_enmap_without_its_image(tmp_path):
    path = enmap(tmp_path / "product", enmap_array(), centres=NM)
    path.with_name(path.name.replace("METADATA.XML", "SPECTRAL_IMAGE.TIF")).unlink()
    with pytest.raises(SceneError, match=r"no spectral image beside it: expected ENMAP01.*TIF"):
        open_scene(path)


# PRISMA

VNIR_NM = np.array([970.0, 660.0, 560.0, 460.0, 0.0])  # falling, the last one absent
SWIR_NM = np.array([0.0, 2200.0, 1600.0, 950.0])


def prisma_cubes():
    rng = np.random.default_rng(0)
    vnir = rng.integers(1, 65535, (8, 6, 5)).astype(np.uint16)
    swir = rng.integers(1, 65535, (8, 6, 4)).astype(np.uint16)
    vnir[..., 4] = swir[..., 0] = 0
    vnir[0, :2] = swir[0, :2] = 0  # outside the strip
    vnir[3, 3, 2] = 0  # dark, and valid
    return vnir, swir


@pytest.mark.parametrize("corner", ["centre", "edge"])
def test_prisma(tmp_path, corner):
    vnir, swir = prisma_cubes()
    path = prisma(tmp_path / "p.he5", vnir, swir, vnir_nm=VNIR_NM, swir_nm=SWIR_NM, corner=corner)
    scene = open_scene(path)
    np.testing.assert_allclose(scene.wavelengths, [460, 560, 660, 950, 970, 1600, 2200])
    np.testing.assert_allclose(scene.fwhm, 10 + scene.wavelengths / 1000, rtol=1e-6)
    assert scene.shape == (8, 6, 7)
    low, high = -0.1, 0.9
    stored = np.concatenate([vnir[..., [3, 2, 1, 0]], swir[..., [3, 2, 1]]], axis=2)
    expected = stored / 65535
    for band in (3, 5, 6):  # SWIR
        which = {3: 3, 5: 2, 6: 1}[band]
        expected[..., band] = low + swir[..., which] / 65535 * (high - low)
    expected[..., 4] = vnir[..., 0] / 65535
    np.testing.assert_allclose(scene.cube, expected.transpose(2, 0, 1), atol=1e-6)
    assert np.argwhere(~scene.valid).tolist() == [[0, 0], [0, 1]]
    assert scene.transform == PLACE
    assert "UTM zone 33N" in scene.crs
    assert scene.notes[1:] == (
        "layers of the file that the cube does not use: SWIR_PIXEL_L2_ERR_MATRIX, "
        "VNIR_PIXEL_L2_ERR_MATRIX",
        "2 bands have no wavelength in the product and are dropped",
        "2 of 48 pixels are masked (NaN 0, infinite 0, nodata 2)",
    )
    windows_agree(scene)
    cube_ = f"{path}:HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_Cube"
    assert open_scene(cube_, layout="h b w").shape == (8, 6, 5)  # as it is stored


def test_prisma_whose_first_axis_is_easting(tmp_path):
    """The specification's order of the axes: the corners tell it from the other one."""
    vnir, swir = prisma_cubes()
    one = prisma(tmp_path / "one.he5", vnir, swir, vnir_nm=VNIR_NM, swir_nm=SWIR_NM)
    two = tmp_path / "two.he5"
    two.write_bytes(one.read_bytes())
    with h5py.File(two, "r+") as file:
        fields = file["HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"]
        for name in ("VNIR_Cube", "SWIR_Cube"):
            values = fields[name][()]
            del fields[name]
            fields[name] = values.transpose(2, 1, 0)
    first, second = open_scene(one), open_scene(two)
    assert second.transform == first.transform
    np.testing.assert_array_equal(second.cube, first.cube)


def changed_prisma(path, change, **how):
    vnir, swir = prisma_cubes()
    prisma(path, vnir, swir, vnir_nm=VNIR_NM, swir_nm=SWIR_NM, **how)
    with h5py.File(path, "r+") as file:
        change(file)
    return open_scene(path)


@pytest.mark.parametrize("name", ["List_Cw_Vnir", "List_Cw_Swir", "List_Fwhm_Vnir"])
def test_prisma_without_wavelengths(tmp_path, name):
    scene = changed_prisma(tmp_path / "p.he5", lambda file: file.attrs.__delitem__(name))
    assert scene.wavelengths is None
    assert scene.shape == (8, 6, 9)
    assert noted(scene, f"{name} is missing or holds no numbers: not used")


@pytest.mark.parametrize("name", ["L2ScaleVnirMin", "L2ScaleSwirMax"])
def test_prisma_without_a_scale_is_as_stored(tmp_path, name):
    scene = changed_prisma(tmp_path / "p.he5", lambda file: file.attrs.__delitem__(name))
    assert scene.cube.dtype == np.uint16
    np.testing.assert_array_equal(scene.cube[0], prisma_cubes()[0][..., 3])
    assert noted(scene, f"{name} is missing")
    assert noted(scene, "values are as stored")


@pytest.mark.parametrize("wrong", [{"Epsg_Code": np.uint32(1)}, {"Product_LRcorner_easting": 1.0}])
def test_prisma_whose_place_does_not_fit(tmp_path, wrong):
    ((name, value),) = wrong.items()
    scene = changed_prisma(tmp_path / "p.he5", lambda file: file.attrs.__setitem__(name, value))
    assert scene.crs is None
    assert (scene.transform is None) == ("corner" in name)
    assert noted(scene, "Epsg_Code 1 is unknown" if "Epsg" in name else "corners are", "not used")
    assert len(scene.wavelengths) == 7


@pytest.mark.parametrize("level", ["L2C", "L2B", "L1"])
def test_prisma_as_it_was_seen(tmp_path, level):
    """Of lower levels: VNIR and SWIR together, with the place that the degrees give."""

    def change(file):
        fields = f"HDFEOS/SWATHS/PRS_{level}_HCO/Geolocation Fields"
        ending = "_VNIR" if level == "L1" else ""
        y, x = np.mgrid[:8, :6] * 3e-4
        file[f"{fields}/Latitude{ending}"] = 52 - y + x / 4
        file[f"{fields}/Longitude{ending}"] = 13 + x + y / 4
        if level == "L1":
            for name in ("Vnir", "Swir"):
                file.attrs[f"ScaleFactor_{name}"], file.attrs[f"Offset_{name}"] = 100.0, 2.0

    scene = changed_prisma(tmp_path / "p.he5", change, level=level)
    first = prisma_cubes()[0][..., 3].astype(float)
    expected = first / 100 - 2 if level == "L1" else first / 65535
    np.testing.assert_allclose(scene.cube[0], expected, rtol=1e-5)
    assert noted(scene, f"the product is {level}, not L2D")
    assert scene.crs.startswith("GEOGCS")
    steps = np.array(scene.transform)[[0, 1, 3, 4]]
    np.testing.assert_allclose(steps, [3e-4, 7.5e-5, 7.5e-5, -3e-4], rtol=1e-6)


def test_prisma_that_is_wrong(tmp_path):
    vnir, swir = prisma_cubes()
    names = {"vnir_nm": VNIR_NM, "swir_nm": SWIR_NM}
    path = prisma(tmp_path / "l3.he5", vnir, swir, level="L3", **names)
    with pytest.raises(SceneError, match=r"expected a PRISMA cube of.*got L3; order the scene"):
        open_scene(path)
    path = prisma(tmp_path / "p.he5", vnir, swir, **names)
    with pytest.raises(ConfigError, match=r"is a PRISMA product and knows its own axes"):
        open_scene(path, layout="h w b")
    prisma(path, vnir, swir[:7], **names)
    with pytest.raises(SceneError, match=r"VNIR.*SWIR.*same rows and columns"):
        open_scene(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SceneError, match="get it again"):
        open_scene(path)


# EMIT


def emit_swath(height=40, width=30, bands=6):
    """A strip whose every value says where it was seen, and its table: turned by 30 degrees."""
    rows, columns = np.indices((height, width))
    swath = (rows * 100 + columns)[..., None] + np.arange(bands) * 10_000.0
    size = 52
    y, x = np.indices((size, size)) - size / 2
    turn = np.deg2rad(30)
    column = np.round(np.cos(turn) * x + np.sin(turn) * y + width / 2).astype(int)
    row = np.round(-np.sin(turn) * x + np.cos(turn) * y + height / 2).astype(int)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return swath, np.where(inside, column + 1, 0), np.where(inside, row + 1, 0)


def test_emit(tmp_path, monkeypatch):
    from hyperpeft.scenes.readers.products import emit as reader

    monkeypatch.setattr(reader, "_TILE", 16)
    swath, glt_x, glt_y = emit_swath()
    swath[3, 4] = -9999
    swath[..., 4] = -0.01  # the band of water vapour
    good = np.array([1, 1, 1, 1, 0, 1])
    glt_x[30, 25] = -glt_x[30, 25]  # negative: taken from a neighbour
    path = emit(tmp_path / "EMIT_L2A_RFL_001.nc", swath, glt_x, glt_y, centres=NM, good=good)
    scene = open_scene(path)
    assert scene.shape == (52, 52, 5)
    np.testing.assert_array_equal(scene.wavelengths, NM[good == 1])
    np.testing.assert_array_equal(scene.fwhm, np.full(5, 8.5))
    inside = glt_x != 0
    expected = np.full((52, 52, 6), -9999.0)
    expected[inside] = swath[glt_y[inside] - 1, np.abs(glt_x[inside]) - 1]
    np.testing.assert_array_equal(scene.cube, expected[..., good == 1].transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.valid, inside & (expected[..., 0] != -9999))
    assert int((inside & ~scene.valid).sum()) >= 1
    pixel = 0.000542232520256367
    assert scene.transform == (pixel, 0.0, -115.9, 0.0, -pixel, 33.4)
    assert scene.crs.startswith("GEOGCS")
    assert "4326" in scene.crs
    windows_agree(scene)
    # a pixel of the map carries the spectrum that its place on the ground was seen with
    row, column = np.argwhere(scene.valid)[700]
    spectrum = scene.cube.isel(y=row, x=column).values
    assert spectrum[0] == (glt_y[row, column] - 1) * 100 + glt_x[row, column] - 1


def test_emit_reads_the_box_it_needs(tmp_path, monkeypatch):
    swath, glt_x, glt_y = emit_swath()
    scene = open_scene(emit(tmp_path / "e.nc", swath, glt_x, glt_y, centres=NM))
    sizes = []
    read = h5py.Dataset.__getitem__

    def spy(self, key):
        values = read(self, key)
        sizes.append(np.size(values))
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    part = scene.cube.isel(y=slice(20, 28), x=slice(20, 28)).values
    assert part.shape == (6, 8, 8)
    assert max(sizes) <= 12 * 12 * 6  # a turned square of 8 fits into 12 x 12


def beyond(file):
    file["location/glt_x"][file["location/glt_x"][()] > 0] += 30


def cut(file):
    del file["location/glt_x"]
    file["location/glt_x"] = np.ones((2, 2), np.int32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (beyond, "the look-up table points outside the cube"),
        (cut, "glt_x and glt_y are not one 2-D grid"),
        (lambda file: file.__delitem__("location/glt_y"), "glt_x and glt_y are not one 2-D grid"),
        (lambda file: file.attrs.__delitem__("geotransform"), "geotransform is missing"),
    ],
)
def test_emit_without_a_sound_table_is_as_it_was_seen(tmp_path, change, words):
    swath, glt_x, glt_y = emit_swath()
    path = emit(tmp_path / "e.nc", swath, glt_x, glt_y, centres=NM)
    with h5py.File(path, "r+") as file:
        y, x = np.mgrid[:40, :30] * 5e-4
        file["location/lat"][:], file["location/lon"][:] = 33 - y, -116 + x
        change(file)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, swath.transpose(2, 0, 1))
    np.testing.assert_allclose(scene.wavelengths, NM)
    assert noted(scene, words, "not used")
    assert noted(scene, "read as it was seen")
    np.testing.assert_allclose(scene.transform, (5e-4, 0, -116 - 25e-5, 0, -5e-4, 33 + 25e-5))


def test_emit_of_other_parts(tmp_path):
    swath, glt_x, glt_y = emit_swath()
    path = emit(tmp_path / "e.nc", swath, glt_x, glt_y, centres=NM[:5])
    scene = open_scene(path)
    assert scene.wavelengths is None
    assert noted(scene, "wavelengths has 5 values instead of 6: not used")
    emit(path, swath, glt_x, glt_y, centres=NM)
    with h5py.File(path, "r+") as file:
        del file.attrs["spatial_ref"]
        file["uncertainty"] = swath * 0
    scene = open_scene(path)
    assert scene.crs is None
    assert scene.transform is not None
    assert noted(scene, "spatial_ref is no CRS")
    assert noted(scene, "layers of the file that the cube does not use: uncertainty")


# Tanager


@pytest.mark.parametrize("name", ["surface_reflectance", "toa_radiance"])
@pytest.mark.parametrize("zone", [33, -33])
def test_tanager_ortho(tmp_path, name, zone):
    array = cube(dtype="float32") / 1000
    array[2, 1] = -9999
    clouds = np.zeros((7, 5), np.uint8)
    clouds[6, 1:3] = 1
    path = tanager(tmp_path / "t.h5", array, centres=NM, name=name, zone=zone, clouds=clouds)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, array.transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.wavelengths, NM)
    np.testing.assert_array_equal(scene.fwhm, np.full(6, 5.5))
    assert np.argwhere(~scene.valid).tolist() == [[2, 1], [6, 1], [6, 2]]
    assert scene.transform == PLACE
    assert f"UTM zone 33{'N' if zone > 0 else 'S'}" in scene.crs
    assert noted(scene, "does not use: sun_zenith")
    windows_agree(scene)


def test_tanager_as_it_was_seen(tmp_path):
    array = cube(dtype="float32") / 1000
    path = tanager(tmp_path / "t.h5", array, centres=NM, kind="SWATHS", good=[1, 1, 0, 1, 1, 1])
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, array[..., [0, 1, 3, 4, 5]].transpose(2, 0, 1))
    np.testing.assert_allclose(scene.transform, (4e-4, 0, 13 - 2e-4, 0, -3e-4, 52 + 1.5e-4))
    assert scene.crs.startswith("GEOGCS")


def test_tanager_of_other_parts(tmp_path):
    path = tanager(tmp_path / "t.h5", cube(dtype="float32"), centres=NM)
    with h5py.File(path, "r+") as file:
        del file["HDFEOS INFORMATION/StructMetadata.0"]
        fields = file["HDFEOS/GRIDS/HYP/Data Fields"]
        del fields["surface_reflectance"].attrs["fwhm"]
        del fields["beta_cloud_mask"]
        fields["beta_cloud_mask"] = np.ones((2, 2), np.uint8)
    scene = open_scene(path)
    assert scene.transform is None
    assert scene.valid.all()
    assert noted(scene, "StructMetadata.0 is missing: not used")
    assert noted(scene, "fwhm is missing")
    assert noted(scene, "beta_cloud_mask has the shape (2, 2) instead of (7, 5)")
    with h5py.File(path, "r+") as file:
        file["HDFEOS/GRIDS/HYP"].attrs["epsg_code"] = 3857
        file["HDFEOS INFORMATION/StructMetadata.0"] = np.bytes_(
            "UpperLeftPointMtrs=(1.0e3,2000.0)\nLowerRightMtrs=(1500.0,1300.0)"
        )
    scene = open_scene(path)
    assert scene.transform == (100.0, 0.0, 1000.0, 0.0, -100.0, 2000.0)
    assert "Pseudo-Mercator" in scene.crs


# NEON radiance


@pytest.mark.parametrize("divisor", [50_000.0, 10_000.0])
def test_neon_radiance(tmp_path, divisor):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 200, (7, 5, 6)).astype(np.int16)
    rest = rng.integers(0, int(min(divisor, 32_000)), (7, 5, 6)).astype(np.int16)
    whole[3, 2] = rest[3, 2] = -9999
    path = tmp_path / "NEON_radiance.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("SERC/Radiance")
        for name, values in (("Integer", whole), ("Decimal", rest)):
            item = group.create_dataset(f"Radiance{name}Part", data=values)
            item.attrs["Data_Ignore_Value"] = -9999.0
        item.attrs["Scale_Factor"] = divisor
        metadata = group.create_group("Metadata")
        metadata["Spectral_Data/Wavelength"] = NM
        metadata["Spectral_Data/FWHM"] = np.full(6, 5.8)
        metadata["Coordinate_System/Map_Info"] = (
            "UTM, 1.000, 1.000, 364000.00, 5810000.0, 30.0, 30.0, 33, North, WGS-84, units=Meters"
        )
        metadata["Ancillary_Imagery/Path_Length"] = np.ones((7, 5))
    scene = open_scene(path)
    expected = (whole + rest / divisor).astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(scene.cube.values[:, scene.valid], expected[:, scene.valid])
    assert np.argwhere(~scene.valid).tolist() == [[3, 2]]
    np.testing.assert_array_equal(scene.wavelengths, NM)
    assert scene.transform == PLACE
    assert noted(scene, "values are radiance")
    assert noted(scene, "does not use: Path_Length")
    windows_agree(scene)
    with h5py.File(path, "r+") as file:
        del file["SERC/Radiance/RadianceDecimalPart"]
    with pytest.raises(SceneError, match="without their decimals"):
        open_scene(path)


# AVIRIS-NG and AVIRIS-3


def test_aviris_ng_is_rotated(tmp_path):
    """BIL, float32, -9999 outside the strip, and a map info whose grid is turned."""
    array = cube(dtype="float32") / 1000
    array[:2, 0] = -9999
    fields = {
        "wavelength_units": "Nanometers",
        "wavelength": "{" + ", ".join(map(str, NM)) + "}",
        "fwhm": "{5.5, 5.5, 5.5, 5.6, 5.6, 5.7}",
        "data_ignore_value": "-9999",
        "map_info": "{ UTM , 1 , 1 , 732000.5 , 4068000.25 , 4.5 , 4.5 , 11 , North , WGS-84 , "
        "units=Meters , rotation=-32.0 }",
    }
    path = envi(tmp_path / "ang20200101t000000_rfl_v2_img", array, interleave="bil", **fields)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, array.transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.wavelengths, NM)
    np.testing.assert_array_equal(scene.fwhm, [5.5, 5.5, 5.5, 5.6, 5.6, 5.7])
    assert np.argwhere(~scene.valid).tolist() == [[0, 0], [1, 0]]
    assert CRS.from_wkt(scene.crs) == CRS.from_epsg(32611)
    a, b, c, d, e, f = scene.transform
    turn = np.deg2rad(32)
    assert (c, f) == (732000.5, 4068000.25)
    np.testing.assert_allclose([a, d], [4.5 * np.cos(turn), -4.5 * np.sin(turn)])
    np.testing.assert_allclose([b, e], [-4.5 * np.sin(turn), -4.5 * np.cos(turn)])
    windows_agree(scene)
    ids = scene.valid.astype(int)
    write_class_map(
        tmp_path / "map.tif",
        ids,
        {1: "A"},
        {1: (1, 2, 3)},
        crs=scene.crs,
        transform=scene.transform,
    )
    with rasterio.open(tmp_path / "map.tif") as file:
        assert tuple(file.transform)[:6] == scene.transform
        assert file.crs == CRS.from_epsg(32611)


def test_aviris_3_netcdf(tmp_path):
    """The cube in a group, coordinates and grid mapping in the root."""
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    array = cube(dtype="float32")
    array[2, 2] = -9999
    whole = labelled_dataset(array, NM, order=("wavelength", "northing", "easting"), fill=-9999)
    group = xr.Dataset({"reflectance": whole["reflectance"].drop_vars(list(whole.coords))})
    group["wavelength"] = ("wavelength", NM, {"units": "nm"})
    group["fwhm"] = ("wavelength", np.full(6, 7.4), {"units": "nm"})
    group["reflectance"].encoding["grid_mapping"] = "transverse_mercator"
    root = xr.Dataset(coords={"northing": whole["northing"], "easting": whole["easting"]})
    root = root.drop_vars([n for n in root.coords if n not in ("northing", "easting")])
    root["transverse_mercator"] = ((), b"", {"spatial_ref": whole.rio.crs.to_wkt()})
    path = tmp_path / "AV320230926t201618_000_L2A_OE_main_RFL_ORT.nc"
    root.to_netcdf(path, engine="h5netcdf")
    group.to_netcdf(path, engine="h5netcdf", group="reflectance", mode="a")
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, array.transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.wavelengths, NM)
    np.testing.assert_array_equal(scene.fwhm, np.full(6, 7.4))
    assert np.argwhere(~scene.valid).tolist() == [[2, 2]]
    assert scene.transform == PLACE
    assert "UTM zone 33N" in scene.crs
    windows_agree(scene)


# ENVI and GeoTIFF that scale


@pytest.mark.parametrize(
    ("fields", "scale", "offset"),
    [
        ({"reflectance_scale_factor": "10000"}, 1e-4, 0.0),
        ({"data_gain_values": "{0.5, 0.5, 0.5, 0.5, 0.5, 0.5}",
          "data_offset_values": "{1, 1, 1, 1, 1, 1}"}, 0.5, 1.0),
    ],
)  # fmt: skip
def test_envi_scale(tmp_path, fields, scale, offset):
    array = cube()
    array[1, 1] = -99
    scene = open_scene(envi(tmp_path / "a.bsq", array, data_ignore_value="-99", **fields))
    np.testing.assert_array_equal(scene.cube, scaled(array.transpose(2, 0, 1), scale, offset))
    assert np.argwhere(~scene.valid).tolist() == [[1, 1]]
    assert scene.notes[0].startswith(f"values are the stored ones times {scale:g}")
    windows_agree(scene)


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"],
)
@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_envi_types_behind_an_offset(tmp_path, dtype, interleave):
    array = (cube(dtype="int64") % 251).astype(dtype)
    path = envi(tmp_path / "a.img", array, interleave=interleave, big_endian=True, offset=37)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, array.transpose(2, 0, 1))
    assert scene.cube.dtype.newbyteorder("=") == array.dtype


def test_geotiff_scale_mask_and_names(tmp_path):
    array = cube(dtype="uint16")
    path = geotiff(tmp_path / "a.tif", array)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [0.01] * 6, [0.5] * 6
        file.descriptions = [f"band {i} ({nm / 1000:.4f} Micrometers)" for i, nm in enumerate(NM)]
        mask = np.full((7, 5), 255, np.uint8)
        mask[4, 4] = 0
        file.write_mask(mask)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, scaled(array.transpose(2, 0, 1), 0.01, 0.5))
    np.testing.assert_allclose(scene.wavelengths, NM)
    assert np.argwhere(~scene.valid).tolist() == [[4, 4]]
    assert scene.notes == (
        "values are the stored ones times 0.01 plus 0.5, as the file says",
        "1 of 35 pixels are masked (NaN 0, infinite 0, nodata 0, mask band 1)",
    )


def test_geotiff_whose_tags_are_lists(tmp_path):
    text = ", ".join(map(str, NM / 1000))
    tags = {"wavelength": f"{{{text}}}", "wavelength_units": "um", "bbl": "{1,1,1,1,0,1}"}
    scene = read_cube(geotiff(tmp_path / "a.tif", cube(), tags=tags))
    np.testing.assert_allclose(scene.wavelengths, NM[[0, 1, 2, 3, 5]])


# Zarr and NetCDF


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("southwards", [True, False])
@pytest.mark.parametrize("order", [("band", "y", "x"), ("wavelength", "lat", "lon")])
def test_zarr(tmp_path, version, southwards, order):
    pytest.importorskip("zarr")
    array = cube()
    array[6, 0, 3] = -1
    dataset = labelled_dataset(
        array, NM / 1000, order=order, fill=-1, scale=0.5, units="um", southwards=southwards
    )
    axes = ("y", "x", "band")
    names = dict(zip(("band", "y", "x"), order, strict=True))
    dataset = dataset.transpose(*(names[axis] for axis in axes))
    dataset.to_zarr(
        tmp_path / "a.zarr", zarr_format=version, encoding={"reflectance": {"chunks": (4, 4, 3)}}
    )
    scene = open_scene(tmp_path / "a.zarr")
    np.testing.assert_array_equal(scene.cube, scaled(array.transpose(2, 0, 1), 0.5))
    np.testing.assert_allclose(scene.wavelengths, NM)
    np.testing.assert_allclose(scene.fwhm, np.full(6, 9.0))
    assert np.argwhere(~scene.valid).tolist() == [[6, 0]]
    assert scene.transform == PLACE
    assert "UTM zone 33N" in scene.crs
    assert len(scene.sha256) == 64
    windows_agree(scene)


def test_zarr_without_names_is_read_by_layout(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    array = group.create_array("data", shape=(6, 7, 5), dtype="int16", chunks=(6, 4, 4))
    array[:] = cube().transpose(2, 0, 1)
    scene = open_scene(tmp_path / "a.zarr", layout="b h w")
    np.testing.assert_array_equal(scene.cube, cube().transpose(2, 0, 1))
    assert scene.crs is None
    windows_agree(scene)
    zarr.save_array(tmp_path / "b.zarr", cube())
    np.testing.assert_array_equal(open_scene(tmp_path / "b.zarr").cube, cube().transpose(2, 0, 1))


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_without_names_leaves_the_others_their_own(tmp_path, version):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    labelled_dataset(cube(), NM, fill=4, scale=0.5).to_zarr(path, zarr_format=version)
    alone = open_scene(path)
    beside = zarr.open_group(path, mode="a").create_array("other", shape=(3, 4, 9), dtype="int16")
    beside[:] = 1
    for spec in (path, f"{path}:reflectance"):
        scene = open_scene(spec)
        np.testing.assert_array_equal(scene.cube, alone.cube)
        np.testing.assert_array_equal(scene.valid, alone.valid)
        np.testing.assert_array_equal(scene.wavelengths, alone.wavelengths)
        assert scene.transform == PLACE
    assert open_scene(f"{path}:other").shape == (3, 4, 9)
    np.testing.assert_array_equal(  # opened by itself: its names tell the axes
        open_scene(path / "reflectance").cube, cube().transpose(2, 0, 1)
    )


@pytest.mark.parametrize("version", [2, 3])
def test_consolidated_metadata_that_are_older_than_their_store(tmp_path, version):
    pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    dataset = labelled_dataset(cube(), NM)
    dataset[["wavelength"]].to_zarr(path, zarr_format=version, consolidated=True)
    dataset.to_zarr(path, group="late", mode="a", zarr_format=version, consolidated=False)
    np.testing.assert_array_equal(open_scene(path).cube, dataset["reflectance"])
    dataset.to_zarr(path, mode="w", zarr_format=version, consolidated=False)
    dataset.to_zarr(path, group="gone", mode="a", zarr_format=version, consolidated=False)
    pytest.importorskip("zarr").consolidate_metadata(path)
    shutil.rmtree(path / "gone")
    np.testing.assert_array_equal(open_scene(path).cube, dataset["reflectance"])


def test_netcdf(tmp_path):
    pytest.importorskip("h5netcdf")
    dataset = labelled_dataset(cube(dtype="float32"), NM, southwards=False)
    dataset["second"] = dataset["reflectance"] + 1
    path = tmp_path / "a.nc"
    dataset.to_netcdf(path, engine="h5netcdf")
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, cube().transpose(2, 0, 1))
    assert scene.transform == PLACE
    np.testing.assert_array_equal(open_scene(f"{path}:second").cube, scene.cube + 1)
    dataset = dataset.rename(reflectance="first").drop_vars("second")
    dataset["second"] = dataset["first"] + 1
    dataset.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(SceneError, match=r"ambiguous.*b.nc:first .6, 7, 5., .*b.nc:second"):
        open_scene(tmp_path / "b.nc")
    dataset = dataset[["first"]].rename(x="u")
    dataset.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    with pytest.raises(SceneError, match=r"c.nc:first has dimensions band, y, u: expected one of"):
        open_scene(tmp_path / "c.nc")
    content = path.read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(SceneError, match=r"cannot be read as an HDF5 file .* get it again"):
        open_scene(tmp_path / "cut.nc")


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5"])
def test_netcdf_that_is_called_hdf5(tmp_path, name):
    pytest.importorskip("h5netcdf")
    array = cube(6, 8, 10)
    array[5, 0, 3] = -1
    dataset = labelled_dataset(array, np.linspace(400, 900, 10), fill=-1, scale=0.5)
    dataset = dataset.transpose("band", "y", "x")
    dataset.to_netcdf(tmp_path / name, engine="h5netcdf")
    scene = open_scene(tmp_path / name)
    np.testing.assert_array_equal(scene.cube, scaled(array.transpose(2, 0, 1), 0.5))
    np.testing.assert_allclose(scene.wavelengths, np.linspace(400, 900, 10))
    assert scene.transform == PLACE
    assert np.argwhere(~scene.valid).tolist() == [[5, 0]]
    np.testing.assert_array_equal(open_scene(f"{tmp_path / name}:reflectance").cube, scene.cube)
    by_layout = open_scene(f"{tmp_path / name}:reflectance", layout="b h w")
    np.testing.assert_array_equal(by_layout.cube, scene.cube)
    np.testing.assert_array_equal(by_layout.valid, scene.valid)


def test_labels_of_netcdf_that_is_called_hdf5(tmp_path):
    pytest.importorskip("h5netcdf")
    dataset = labelled_dataset(cube(), NM, southwards=False)
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    ids = np.arange(35, dtype=np.int16).reshape(7, 5) % 3
    dataset["classes"] = (("y", "x"), ids[::-1])  # rows that run north
    dataset[["classes"]].transpose("x", "y").to_netcdf(tmp_path / "l.h5", engine="h5netcdf")
    scene = open_scene(tmp_path / "a.nc", labels=tmp_path / "l.h5")
    np.testing.assert_array_equal(scene.labels.ids, ids)


def test_uneven_coordinates_are_no_georeference(tmp_path):
    pytest.importorskip("h5netcdf")
    dataset = labelled_dataset(cube(dtype="float32"), NM)
    x = dataset["x"].values.copy()
    x[2] += 5
    dataset = dataset.assign_coords(x=x)
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    scene = open_scene(tmp_path / "a.nc")
    assert scene.transform is None
    uneven, unplaced = scene.notes
    assert uneven == "x and y are not evenly spaced: the scene has no georeference"
    assert unplaced.startswith("the scene has a CRS and no transform")


def test_place_is_the_corner_of_the_first_pixel():
    assert (ORIGIN.c, ORIGIN.f) == (PLACE[2], PLACE[5])


STEM = "DESIS-HSI-L2A-DT0000000001_001-20230101T100000-V0215"


def desis(folder, bands=BANDS, gain="0.0001", level="L2A"):
    folder.mkdir()
    table = "".join(
        f"<band><bandNumber>{i + 1}</bandNumber><wavelengthCenterOfBand>{EVEN_NM[i % BANDS]}"
        f"</wavelengthCenterOfBand><wavelengthWidthOfBand>3.5</wavelengthWidthOfBand>"
        f"<gainOfBand>{gain}</gainOfBand><offsetOfBand>0.01</offsetOfBand></band>"
        for i in range(bands)
    )
    (folder / f"{STEM}-METADATA.xml").write_text(
        f'<?xml version="1.0"?><hsi_doc><base><level>{level}</level></base><specific>'
        f"<bandCharacterisation>{table}</bandCharacterisation></specific></hsi_doc>"
    )
    return geotiff(folder / f"{STEM}-SPECTRAL_IMAGE.tif", integers(), nodata=-32768)


class TestDesis:
    @pytest.mark.parametrize("give", ["image", "folder", "metadata"])
    def test_by_any_of_its_files(self, tmp_path, give):
        image = desis(tmp_path / "d")
        path = {"image": image, "folder": image.parent,
                "metadata": image.parent / f"{STEM}-METADATA.xml"}[give]  # fmt: skip
        scene = open_scene(path)
        np.testing.assert_allclose(scene.wavelengths, EVEN_NM)
        np.testing.assert_allclose(scene.fwhm, 3.5)
        expected = integers().transpose(2, 0, 1) * 1e-4 + 0.01
        np.testing.assert_allclose(scene.cube.values, expected, rtol=1e-5)
        assert image in files_of(path)

    @pytest.mark.parametrize("wrong", [{"bands": 5}, {"gain": "n/a"}])
    def test_whose_metadata_do_not_fit_is_a_plain_raster(self, tmp_path, wrong):
        scene = open_scene(desis(tmp_path / "d", **wrong))
        np.testing.assert_array_equal(scene.cube.values, integers().transpose(2, 0, 1))
        assert noted(scene, f"{STEM}-METADATA.xml", "not used")

    def test_under_another_name_is_a_plain_raster(self, tmp_path):
        shutil.copy(desis(tmp_path / "d"), tmp_path / "other.tif")
        assert open_scene(tmp_path / "other.tif").wavelengths is None


class TestEnmap:
    @pytest.mark.parametrize("ending", ["-METADATA.XML.XML", "-METADATA (1).XML", "-METADATA.xml"])
    @pytest.mark.parametrize("give", ["folder", "image"])
    def test_metadata_of_an_odd_name(self, tmp_path, ending, give):
        metadata = enmap(tmp_path / "e", integers(), centres=EVEN_NM)
        metadata.rename(metadata.with_name(metadata.name.replace("-METADATA.XML", ending)))
        image = next((tmp_path / "e").glob("*SPECTRAL*"))
        scene = open_scene(tmp_path / "e" if give == "folder" else image)
        np.testing.assert_allclose(scene.wavelengths, EVEN_NM)
        assert float(scene.cube.max()) < 1
        assert noted(scene, "is taken for the product's METADATA.XML") == (
            ending.upper() != ending[:9] + ".XML"
        )

    def test_an_image_alone_says_what_is_missing(self, tmp_path):
        metadata = enmap(tmp_path / "e", integers(), centres=EVEN_NM)
        metadata.unlink()
        image = next((tmp_path / "e").glob("*SPECTRAL*"))
        for path in (image, tmp_path / "e"):
            assert noted(open_scene(path), "without its METADATA.XML", "as stored")


@pytest.mark.parametrize("kind", ["zip", "ZIP", "tar", "tar.gz"])
def test_archives_are_to_be_unpacked(tmp_path, kind):
    folder = enmap(tmp_path / "e", integers(), centres=EVEN_NM).parent
    path = tmp_path / f"product.{kind}"
    if kind.lower() == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"p/{file.name}")
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as archive:
            archive.add(folder, "p")
    with pytest.raises(SceneError, match=r"is an archive.*; unpack it"):
        open_scene(path)


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("name", ["s.nc", "s.dat"])
def test_netcdf_3(tmp_path, kind, name):
    stored = xr.Dataset(
        {"reflectance": (("y", "x", "wavelength"), integers(), {"scale_factor": 1e-4}),
         "labels": (("y", "x"), ground().astype("int16"))},
        coords={"wavelength": ("wavelength", EVEN_NM, {"units": "nm"})},
    )  # fmt: skip
    stored.to_netcdf(tmp_path / name, engine="scipy", format=kind)
    path = tmp_path / name
    scene = open_scene(f"{path}:reflectance", f"{path}:labels")
    np.testing.assert_allclose(
        scene.cube.values, integers().transpose(2, 0, 1) * np.float32(1e-4), rtol=1e-6
    )
    np.testing.assert_array_equal(scene.labels.ids, ground())


def test_netcdf_of_64_bit_data(tmp_path, monkeypatch):
    """CDF-5, with whole numbers that only it has."""
    pytest.importorskip("netCDF4")
    stored = xr.Dataset(
        {"reflectance": (("y", "x", "wavelength"), integers(dtype="uint16"))},
        coords={"wavelength": ("wavelength", EVEN_NM, {"units": "nm"})},
    )
    path = tmp_path / "s.nc"
    stored.to_netcdf(path, engine="netcdf4", format="NETCDF3_64BIT_DATA")
    assert path.read_bytes()[:4] == b"CDF\x05"
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, integers().transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.cube[2, 3:5, 4], integers()[3:5, 4, 2])
    np.testing.assert_allclose(scene.wavelengths, EVEN_NM)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SceneError, match=r"CDF-5.*pip install netCDF4.*nccopy"):
        open_scene(path)


def test_chips_of_real_sensors(data):
    chips = data / "chips"
    if not chips.is_dir():
        pytest.skip("no chips here")
    radiance = open_scene(chips / "avirisng-chips" / "ang20160910t185702_2rdn_img")
    assert radiance.shape == (25, 30, 425)
    emit = open_scene(chips / "emit-chip" / "emit20250324t221005_jpl_unmix_ex.hdr")
    assert emit.shape == (10, 10, 244)
    assert noted(emit, "no georeference") or emit.transform is not None


def says(path, *words):
    notes = open_scene(path).notes
    return any(all(word in note for word in words) for note in notes)


@pytest.mark.parametrize("field", ["wavelength", "fwhm"])
@pytest.mark.parametrize("count", [BANDS - 1, BANDS + 1])
def test_lists_of_another_length(tmp_path, field, count):
    values = ", ".join(str(400 + 9 * i) for i in range(count))
    path = envi(tmp_path / "a.img", integers(), **{field: f"{{{values}}}"})
    assert says(path, f"{field} has {count} values for {BANDS} bands and is not used")
    assert open_scene(path).wavelengths is None


@pytest.mark.parametrize("units", ["GHz", "Index", "1/cm"])
@pytest.mark.parametrize("kind", ["tif", "img", "nc"])
def test_units_of_wavelengths(tmp_path, units, kind):
    path = tmp_path / f"a.{kind}"
    waves = ", ".join(f"{nm}" for nm in EVEN_NM)
    if kind == "tif":
        tags = [{"wavelength": f"{nm}", "wavelength_units": units} for nm in EVEN_NM]
        geotiff(path, integers(), band_tags=tags)
    elif kind == "img":
        envi(path, integers(), wavelength=f"{{{waves}}}", wavelength_units=units)
    else:
        labelled_dataset(integers(), EVEN_NM, units=units).to_netcdf(path, engine="h5netcdf")
    assert open_scene(path).wavelengths is None
    assert says(path, units, "cannot be understood")


NAMED = [  # names of bands, and what they mean in nm
    (["B0 (450,5 nm)", "B1 (451,5 nm)", "B2 (452,25 nm)"], [450.5, 451.5, 452.25]),
    (["a 400,500 nm", "b 410,250 nm", "c 999,125 nm"], [400.5, 410.25, 999.125]),
    (["x 0,460 Micrometers", "x 1,350 µm", "x 12,500 \u03bcm"], [460, 1350, 12500]),
    (["Band: 950 nm", "Band: 1,050 nm", "Band: 1,350.5 nm"], [950, 1050, 1350.5]),
    (["400-410 nm", "410 \u2013 420 nm", "420 to 431 nm"], [405, 415, 425.5]),
    (["400 nm - 410 nm", "(0.41-0.42 um)", "420,5-421,5nm"], [405, 415, 421]),
    (["B8-842 nm", "B11 - 1610nm", "B12-2190 nm"], [842, 1610, 2190]),
    (["Band 1-450 nm", "Band 2-550 nm", "Band 3-5 um"], [450, 550, 5000]),
    (["Band 1, 450 nm", "Band 2, 550 nm", "Band 3, .65 um"], [450, 550, 650]),
]
DOUBTFUL = [
    ["Band 1,400 nm", "Band 2,410 nm", "Band 3,420 nm"],  # the band's number, or 1400
    ["950,250 nm", "960,250 nm", "1,050 nm"],  # decimals, thousands
    ["1.350 nm", "1.360 nm", "1.370 nm"],
    ["450±10 nm", "460±10 nm", "470 +/- 10 nm"],
    ["450/10 nm", "460/10 nm", "470/10 nm"],
    ["400-410 nm", "8-842 nm", "9-945 nm"],  # a range, numbers of bands
    ["410-400 nm", "420-410 nm", "430-420 nm"],
    ["400,5,6 nm", "410,5,6 nm", "420,5,6 nm"],
    ["1-2 um", "2-3 um", "3-4 um"],
]


def with_names(path, names):
    geotiff(path, cube(bands=3))
    with rasterio.open(path, "r+") as file:
        file.descriptions = names
    return path


@pytest.mark.parametrize(("names", "nm"), NAMED)
def test_wavelengths_in_names_of_bands(tmp_path, names, nm):
    scene = open_scene(with_names(tmp_path / "a.tif", names))
    np.testing.assert_allclose(scene.wavelengths, nm)
    assert scene.notes == ()


@pytest.mark.parametrize("names", DOUBTFUL)
def test_doubtful_wavelengths_in_names_of_bands(tmp_path, names):
    path = with_names(tmp_path / "a.tif", names)
    assert open_scene(path).wavelengths is None
    assert says(path, "wavelengths in names of bands are not used", "is not clear")


@pytest.mark.parametrize(
    ("texts", "unit", "nm"),
    [
        (["400 nm", "410.5 nm", "420nm"], None, [400, 410.5, 420]),
        (["400,5", "410,5", "1020,25"], None, [400.5, 410.5, 1020.25]),
        (["0,4005", "0,41", "1,02"], "Micrometers", [400.5, 410, 1020]),
        (["0,400", "0,410", "1,020"], "um", [400, 410, 1020]),
        (["950", "1,050", "1,060"], "nm", [950, 1050, 1060]),
        (["0.4 um", "0.41 um", "0.42 µm"], None, [400, 410, 420]),
        (["950", "1,050", "1,060"], None, "'1,050' is no clear number"),
        (["400 nm", "0.41 um", "0.42 um"], None, "'400 nm' is no clear number"),
        (["blue", "green", "red"], "nm", "'blue' is no clear number"),
    ],
)
def test_tags_of_bands_that_are_no_plain_numbers(tmp_path, texts, unit, nm):
    tags = [{"wavelength": text, **({"wavelength_units": unit} if unit else {})} for text in texts]
    path = geotiff(tmp_path / "a.tif", cube(bands=3), band_tags=tags)
    if isinstance(nm, str):
        assert open_scene(path).wavelengths is None
        assert says(path, "wavelength of the bands is not used", nm)
    else:
        np.testing.assert_allclose(open_scene(path).wavelengths, nm)


def test_widths_with_units_and_commas(tmp_path):
    tags = [{"wavelength": f"0,{nm:.0f} um", "fwhm": "0,009"} for nm in NM[:4]]
    scene = open_scene(geotiff(tmp_path / "a.tif", cube(bands=4), band_tags=tags))
    np.testing.assert_allclose(scene.wavelengths, NM[:4])
    np.testing.assert_allclose(scene.fwhm, 9)
    tags = [{"wavelength": f"{nm:g}", "fwhm": "9,5 nm"} for nm in NM]
    scene = open_scene(geotiff(tmp_path / "b.tif", cube(), band_tags=tags))
    np.testing.assert_allclose(scene.fwhm, 9.5)


def test_tags_that_nobody_knows(tmp_path):
    path = geotiff(
        tmp_path / "a.tif", integers(), tags={"ATMOSPHERE": "6S", "TIFFTAG_ARTIST": "me"}
    )
    assert says(path, "tags that are not used: atmosphere")
    assert not says(path, "artist")
    header = envi(tmp_path / "a.img", integers(), sensor_type="X", solar_irradiance="{1, 2}")
    assert says(header, "tags that are not used: solar_irradiance")
    assert not says(header, "sensor_type")


def test_layers_of_netcdf(tmp_path):
    dataset = labelled_dataset(cube(), np.arange(6) + 500.0)
    dataset["uncertainty"] = dataset["reflectance"] * 0
    dataset["elevation"] = dataset["reflectance"].isel(band=0, drop=True)
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert says(
        tmp_path / "a.nc", "layers of the file that the cube does not use: elevation, uncertainty"
    )


@pytest.mark.parametrize("kind", ["nc", "zarr2", "zarr3"])
def test_coordinates_that_are_packed(tmp_path, kind):
    """x and y, wavelengths, and latitudes of every pixel, as whole numbers with a scale."""
    dataset = labelled_dataset(cube(), NM)
    path = tmp_path / f"a.{kind}"
    packed = {
        "x": {"dtype": "int16", "scale_factor": 15.0, "add_offset": float(dataset["x"][2])},
        "y": {"dtype": "int16", "scale_factor": 15.0, "add_offset": float(dataset["y"][2])},
        "wavelength": {"dtype": "int16", "scale_factor": 0.1},
        "fwhm": {"dtype": "int16", "scale_factor": 0.5},
    }
    for name, encoding in packed.items():
        dataset[name].encoding = {"_FillValue": None, **encoding}
    if kind == "nc":
        dataset.to_netcdf(path, engine="h5netcdf")
    else:
        dataset.to_zarr(path, zarr_format=int(kind[-1]))
    scene = open_scene(path)
    assert scene.transform == PLACE
    np.testing.assert_allclose(scene.wavelengths, NM, atol=0.1)
    np.testing.assert_allclose(scene.fwhm, 9)
    rows, columns = np.mgrid[:7, :5]
    degrees = xr.Dataset(
        {
            "reflectance": (("band", "y", "x"), cube().transpose(2, 0, 1)),
            "lat": (("y", "x"), 50 - 0.001 * rows),
            "lon": (("y", "x"), 10 + 0.001 * columns),
        }
    )
    for name in ("lat", "lon"):
        degrees[name].encoding = {"dtype": "int32", "scale_factor": 1e-6, "_FillValue": None}
    degrees.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    transform = open_scene(tmp_path / "b.nc").transform
    np.testing.assert_allclose(transform, (0.001, 0, 9.9995, 0, -0.001, 50.0005), atol=1e-9)


@pytest.mark.parametrize("kind", ["nc", "zarr2", "zarr3"])
@pytest.mark.parametrize("axis", [0, 2])
def test_dimensions_of_length_one_are_left_out(tmp_path, kind, axis):
    dataset = labelled_dataset(cube(), NM)
    expected = dataset["reflectance"].values
    cubes = dataset["reflectance"].expand_dims(time=[3.0], axis=axis)
    dataset["reflectance"] = cubes
    dataset["classes"] = dataset["reflectance"].isel(band=0, drop=True) % 3
    dataset["crs_like"] = ("time", [0])
    path = tmp_path / f"a.{kind}"
    encoding = {"reflectance": {"chunks": tuple({"y": 3, "x": 2}.get(d, 1) for d in cubes.dims)}}
    if kind == "nc":
        encoding = {"reflectance": {"chunksizes": encoding["reflectance"]["chunks"]}}
        dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    else:
        dataset.to_zarr(path, zarr_format=int(kind[-1]), encoding=encoding)
    for spec in (path, f"{path}:reflectance"):
        scene = open_scene(spec, labels=f"{path}:classes")
        np.testing.assert_array_equal(scene.cube, expected)
        np.testing.assert_array_equal(scene.cube.isel(y=slice(2, 5), x=3), expected[:, 2:5, 3])
        np.testing.assert_array_equal(scene.labels.ids, expected[0] % 3)
        assert scene.cube.encoding["preferred_chunks"] == {"y": 3, "x": 2}
        assert scene.transform == PLACE
        np.testing.assert_allclose(scene.wavelengths, NM)
    np.testing.assert_array_equal(read_labels(path).ids, expected[0] % 3)


def test_one_band_and_one_row_are_no_such_dimensions(tmp_path):
    dataset = labelled_dataset(cube(1, 5, 6), NM).isel(band=[2]).rename(band="spectrum")
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert open_scene(tmp_path / "a.nc").shape == (1, 5, 1)


def test_a_fourth_dimension_is_named(tmp_path):
    dataset = labelled_dataset(cube(), NM)
    dataset["reflectance"] = dataset["reflectance"].expand_dims(time=[3, 4])
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    words = r"more dimensions than a cube: expected band, y, x, got also time of length 2; choose"
    for spec in (tmp_path / "a.nc", f"{tmp_path / 'a.nc'}:reflectance"):
        with pytest.raises(SceneError, match=words):
            open_scene(spec)


def test_bands_of_several_types(tmp_path):
    """GDAL allows them in a VRT."""
    types = {"a.tif": "uint8", "b.tif": "uint16", "c.tif": "int16"}
    bands = ""
    for i, (name, dtype) in enumerate(types.items(), 1):
        geotiff(tmp_path / name, cube()[..., i].astype(dtype))
        gdal = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16"}[dtype]
        bands += (
            f'<VRTRasterBand dataType="{gdal}" band="{i}"><SimpleSource><SourceFilename '
            f'relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
            "</VRTRasterBand>"
        )
    path = tmp_path / "a.vrt"
    path.write_text(f'<VRTDataset rasterXSize="5" rasterYSize="7">{bands}</VRTDataset>')
    words = "expected one type, got uint8, uint16, int16; convert it, with gdal_translate -ot Int32"
    with pytest.raises(SceneError, match=words):
        open_scene(path)


def test_layers_of_zarr(tmp_path):
    dataset = labelled_dataset(cube(), np.arange(6) + 500.0)
    dataset["mask"] = xr.zeros_like(dataset["reflectance"].isel(band=0, drop=True))
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert says(tmp_path / "a.zarr", "does not use: mask")


def test_layers_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = integers()
        file["quality/flags"] = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert says(tmp_path / "a.h5", "layers of the file that the cube does not use: quality/flags")


@pytest.mark.parametrize("kind", ["mat5", "mat73", "npz"])
def test_layers_beside_the_cube(tmp_path, kind):
    """Maps are named; vectors, numbers and what is used are not."""
    arrays = {"cube": integers(), "truth": np.ones((HEIGHT, WIDTH), "u1"), "wavelength": EVEN_NM}
    path = tmp_path / f"a.{'npz' if kind == 'npz' else 'mat'}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        {"mat5": mat5, "mat73": mat73}[kind](path, **arrays)
    assert says(path, "layers of the file that the cube does not use: truth")
    assert not says(path, "does not use", "wavelength")
