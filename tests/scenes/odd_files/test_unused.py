"""What is there and not used is named in a note."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr

from hyperpeft.scenes import open_scene
from tests.helpers.odd_scene import BANDS, HEIGHT, NM, WIDTH, integers
from tests.helpers.scene_files import cube, envi, geotiff, labelled_dataset, mat5, mat73


def noted(path, *words):
    notes = open_scene(path).notes
    return any(all(word in note for word in words) for note in notes)


@pytest.mark.parametrize("field", ["wavelength", "fwhm"])
@pytest.mark.parametrize("count", [BANDS - 1, BANDS + 1])
def test_lists_of_another_length(tmp_path, field, count):
    values = ", ".join(str(400 + 9 * i) for i in range(count))
    path = envi(tmp_path / "a.img", integers(), **{field: f"{{{values}}}"})
    assert noted(path, f"{field} has {count} values for {BANDS} bands and is not used")
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
    assert noted(path, units, "cannot be understood")


def test_tags_that_nobody_knows(tmp_path):
    path = geotiff(
        tmp_path / "a.tif", integers(), tags={"ATMOSPHERE": "6S", "TIFFTAG_ARTIST": "me"}
    )
    assert noted(path, "tags that are not used: atmosphere")
    assert not noted(path, "artist")
    header = envi(tmp_path / "a.img", integers(), sensor_type="X", solar_irradiance="{1, 2}")
    assert noted(header, "tags that are not used: solar_irradiance")
    assert not noted(header, "sensor_type")


def test_layers_of_netcdf(tmp_path):
    dataset = labelled_dataset(cube(), np.arange(6) + 500.0)
    dataset["uncertainty"] = dataset["reflectance"] * 0
    dataset["elevation"] = dataset["reflectance"].isel(band=0, drop=True)
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert noted(
        tmp_path / "a.nc", "layers of the file that the cube does not use: elevation, uncertainty"
    )


def test_layers_of_zarr(tmp_path):
    dataset = labelled_dataset(cube(), np.arange(6) + 500.0)
    dataset["mask"] = xr.zeros_like(dataset["reflectance"].isel(band=0, drop=True))
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert noted(tmp_path / "a.zarr", "does not use: mask")


def test_layers_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = integers()
        file["quality/flags"] = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert noted(tmp_path / "a.h5", "layers of the file that the cube does not use: quality/flags")


@pytest.mark.parametrize("kind", ["mat5", "mat73", "npz"])
def test_layers_beside_the_cube(tmp_path, kind):
    """Maps are named; vectors, numbers and what is used are not."""
    arrays = {"cube": integers(), "truth": np.ones((HEIGHT, WIDTH), "u1"), "wavelength": NM}
    path = tmp_path / f"a.{'npz' if kind == 'npz' else 'mat'}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        {"mat5": mat5, "mat73": mat73}[kind](path, **arrays)
    assert noted(path, "layers of the file that the cube does not use: truth")
    assert not noted(path, "does not use", "wavelength")
