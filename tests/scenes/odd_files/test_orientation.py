"""Rows that run north: cube, labels, arrays and points lie on the same ground in every format."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from affine import Affine

from hyperpeft.scenes import open_scene
from tests.helpers.odd_scene import (
    HEIGHT,
    NM,
    WIDTH,
    centres,
    class_of,
    ground,
    reflectance,
)
from tests.helpers.scene_files import ORIGIN, UTM, geotiff

SOUTH_UP = Affine(30, 0, ORIGIN.c, 0, 30, ORIGIN.f - 30 * HEIGHT)


def dataset(northwards: bool, dims: tuple[str, str] = ("y", "x")) -> xr.Dataset:
    """Cube and labels on the same rows."""
    x, y = centres()
    turn = slice(None, None, -1 if northwards else 1)
    rows, columns = dims
    return xr.Dataset(
        {
            "reflectance": ((rows, columns, "wavelength"), reflectance()[turn]),
            "labels": ((rows, columns), ground()[turn]),
        },
        coords={
            rows: y[turn],
            columns: x,
            "wavelength": ("wavelength", NM, {"units": "nm"}),
        },
    )


@pytest.fixture(params=["nc", "zarr", "zarr3", "tif", "lat.nc"])
def scene_file(request, tmp_path):
    """The scene with rows that run north, in one format."""
    path = tmp_path / f"s.{request.param}"
    if request.param == "tif":
        return geotiff(path, reflectance()[::-1], transform=SOUTH_UP)
    dims = ("northing", "easting") if request.param == "lat.nc" else ("y", "x")
    cube = dataset(True, dims)[["reflectance"]]
    if request.param.startswith("zarr"):
        cube.to_zarr(path, zarr_format=3 if request.param == "zarr3" else 2)
        return path
    cube.to_netcdf(path, engine="h5netcdf")
    return path


def labelled_ground(scene) -> float:
    """Share of the labelled pixels whose spectrum is that of their class."""
    ids = scene.labels.ids
    return (class_of(scene.cube.values)[ids > 0] == ids[ids > 0]).mean()


def test_the_first_row_is_the_northernmost(scene_file):
    scene = open_scene(scene_file)
    np.testing.assert_array_equal(scene.cube.values, reflectance().transpose(2, 0, 1))
    assert scene.transform == tuple(ORIGIN)[:6]
    assert any("rows run north in the file and are turned" in note for note in scene.notes)
    np.testing.assert_array_equal(
        scene.window(slice(3, 9), slice(2, 5)), reflectance()[3:9, 2:5].transpose(2, 0, 1)
    )


def test_an_array_follows_the_rows_of_the_file(scene_file, tmp_path):
    np.save(tmp_path / "l.npy", ground()[::-1])
    scene = open_scene(scene_file, tmp_path / "l.npy")
    np.testing.assert_array_equal(scene.labels.ids, ground())
    assert labelled_ground(scene) == 1


def test_a_raster_without_a_georeference_follows_them_too(scene_file, tmp_path):
    labels = geotiff(tmp_path / "l.tif", ground()[::-1], crs=None)
    np.testing.assert_array_equal(open_scene(scene_file, labels).labels.ids, ground())


def test_points_by_row_and_column_follow_them_too(scene_file, tmp_path):
    ids = ground()[::-1]
    rows, columns = (v.ravel()[::7] for v in np.mgrid[:HEIGHT, :WIDTH])
    lines = [f"{r},{c},{ids[r, c]}" for r, c in zip(rows, columns, strict=True)]
    (tmp_path / "p.csv").write_text("\n".join(["row,column,class", *lines]))
    scene = open_scene(scene_file, tmp_path / "p.csv")
    assert np.count_nonzero(scene.labels.ids) == len(rows)
    assert labelled_ground(scene) == 1


@pytest.mark.parametrize("south_up", [True, False])
def test_a_georeferenced_raster_lies_where_it_says(scene_file, tmp_path, south_up):
    labels = geotiff(
        tmp_path / "l.tif",
        ground()[::-1] if south_up else ground(),
        transform=SOUTH_UP if south_up else ORIGIN,
    )
    np.testing.assert_array_equal(open_scene(scene_file, labels).labels.ids, ground())


def test_points_by_place(scene_file, tmp_path):
    x, y = centres()
    lines = [f"{x[c]},{y[r]},{ground()[r, c]}" for r in range(HEIGHT) for c in range(0, WIDTH, 3)]
    (tmp_path / "p.csv").write_text("\n".join(["x,y,class", *lines]))
    assert labelled_ground(open_scene(scene_file, tmp_path / "p.csv")) == 1


@pytest.mark.parametrize("northwards", [True, False])
@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_labels_of_the_same_store_are_on_the_same_grid(tmp_path, kind, northwards):
    path = tmp_path / f"s.{kind}"
    stored = dataset(northwards)
    stored["labels"].attrs.update(
        flag_values=np.array([1, 2, 3], np.uint8), flag_meanings="soil grass tree"
    )
    if kind == "nc":
        stored.to_netcdf(path, engine="h5netcdf")
    else:
        stored.to_zarr(path, zarr_format=2)
    scene = open_scene(f"{path}:reflectance", f"{path}:labels")
    np.testing.assert_array_equal(scene.labels.ids, ground())
    assert scene.labels.classes == {1: "soil", 2: "grass", 3: "tree"}
    assert labelled_ground(scene) == 1


def test_labels_whose_columns_come_first(tmp_path):
    x, y = centres()
    labels = xr.Dataset({"m": (("x", "y"), ground()[::-1].T)}, coords={"x": x, "y": y[::-1]})
    labels.to_netcdf(tmp_path / "l.nc", engine="h5netcdf")
    scene = open_scene(geotiff(tmp_path / "s.tif", reflectance()), tmp_path / "l.nc")
    np.testing.assert_array_equal(scene.labels.ids, ground())


def test_a_map_of_the_scene_lies_on_its_ground(scene_file, tmp_path):
    """The transform of the scene takes every pixel to the ground that it shows."""
    scene = open_scene(scene_file)
    north = geotiff(tmp_path / "north.tif", reflectance(), crs=UTM)
    np.testing.assert_array_equal(scene.cube.values, open_scene(north).cube.values)
    assert scene.flipped
    assert not open_scene(north).flipped
