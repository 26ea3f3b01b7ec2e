"""Copies of products are told by their content; what of a file is not used is named."""

from __future__ import annotations

import shutil
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import xarray as xr

from hyperpeft.errors import SceneError
from hyperpeft.scenes import files_of, open_scene
from tests.helpers.scene_files import (
    BANDS,
    HEIGHT,
    NM,
    WIDTH,
    cube,
    enmap,
    envi,
    geotiff,
    ground,
    integers,
    labelled_dataset,
    mat5,
    mat73,
)

STEM = "DESIS-HSI-L2A-DT0000000001_001-20230101T100000-V0215"


def noted(scene, *words):
    return any(all(word in note for word in words) for note in scene.notes)


def desis(folder, bands=BANDS, gain="0.0001", level="L2A"):
    folder.mkdir()
    table = "".join(
        f"<band><bandNumber>{i + 1}</bandNumber><wavelengthCenterOfBand>{NM[i % BANDS]}"
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
        np.testing.assert_allclose(scene.wavelengths, NM)
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
        metadata = enmap(tmp_path / "e", integers(), centres=NM)
        metadata.rename(metadata.with_name(metadata.name.replace("-METADATA.XML", ending)))
        image = next((tmp_path / "e").glob("*SPECTRAL*"))
        scene = open_scene(tmp_path / "e" if give == "folder" else image)
        np.testing.assert_allclose(scene.wavelengths, NM)
        assert float(scene.cube.max()) < 1
        assert noted(scene, "is taken for the product's METADATA.XML") == (
            ending.upper() != ending[:9] + ".XML"
        )

    def test_an_image_alone_says_what_is_missing(self, tmp_path):
        metadata = enmap(tmp_path / "e", integers(), centres=NM)
        metadata.unlink()
        image = next((tmp_path / "e").glob("*SPECTRAL*"))
        for path in (image, tmp_path / "e"):
            assert noted(open_scene(path), "without its METADATA.XML", "as stored")


@pytest.mark.parametrize("kind", ["zip", "ZIP", "tar", "tar.gz"])
def test_archives_are_to_be_unpacked(tmp_path, kind):
    folder = enmap(tmp_path / "e", integers(), centres=NM).parent
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
        coords={"wavelength": ("wavelength", NM, {"units": "nm"})},
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
        coords={"wavelength": ("wavelength", NM, {"units": "nm"})},
    )
    path = tmp_path / "s.nc"
    stored.to_netcdf(path, engine="netcdf4", format="NETCDF3_64BIT_DATA")
    assert path.read_bytes()[:4] == b"CDF\x05"
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, integers().transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.cube[2, 3:5, 4], integers()[3:5, 4, 2])
    np.testing.assert_allclose(scene.wavelengths, NM)
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
    waves = ", ".join(f"{nm}" for nm in NM)
    if kind == "tif":
        tags = [{"wavelength": f"{nm}", "wavelength_units": units} for nm in NM]
        geotiff(path, integers(), band_tags=tags)
    elif kind == "img":
        envi(path, integers(), wavelength=f"{{{waves}}}", wavelength_units=units)
    else:
        labelled_dataset(integers(), NM, units=units).to_netcdf(path, engine="h5netcdf")
    assert open_scene(path).wavelengths is None
    assert says(path, units, "cannot be understood")


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
    arrays = {"cube": integers(), "truth": np.ones((HEIGHT, WIDTH), "u1"), "wavelength": NM}
    path = tmp_path / f"a.{'npz' if kind == 'npz' else 'mat'}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        {"mat5": mat5, "mat73": mat73}[kind](path, **arrays)
    assert says(path, "layers of the file that the cube does not use: truth")
    assert not says(path, "does not use", "wavelength")
