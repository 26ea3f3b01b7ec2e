"""Where a scene lies, in every way a file says it, and rows that run north."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.warp import transform

from hyperpeft.errors import LabelsError
from hyperpeft.scenes import open_scene
from hyperpeft.scenes.readers.place import parse_map_info
from tests.helpers.scene_files import (
    HEIGHT,
    NM,
    ORIGIN,
    UTM,
    WIDTH,
    centres,
    class_of,
    geotiff,
    ground,
    integers,
    reflectance,
)

PLACE = tuple(ORIGIN)[:6]


def noted(scene, *words):
    return any(all(word in note for word in words) for note in scene.notes)


def control_points(path, grid, scatter=0.0, corners=((0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, 9))):
    noise = np.random.default_rng(0).normal(0, scatter, (len(corners), 2))
    points = [
        GroundControlPoint(row=r, col=c, x=(grid @ (c, r))[0] + dx, y=(grid @ (c, r))[1] + dy)
        for (c, r), (dx, dy) in zip(corners, noise, strict=True)
    ]
    geotiff(path, integers(), crs=None)
    with rasterio.open(path, "r+") as file:
        file.gcps = (points, CRS.from_string(UTM))
    return path


class TestControlPoints:
    def test_are_fitted(self, tmp_path):
        scene = open_scene(control_points(tmp_path / "s.tif", ORIGIN))
        np.testing.assert_allclose(scene.transform, PLACE)
        assert CRS.from_wkt(scene.crs) == CRS.from_string(UTM)
        assert noted(scene, "4 ground control points", "pixels from it")

    def test_of_a_rotated_image(self, tmp_path):
        grid = ORIGIN @ Affine.rotation(20)
        scene = open_scene(control_points(tmp_path / "s.tif", grid))
        np.testing.assert_allclose(scene.transform, tuple(grid)[:6], atol=1e-6)

    def test_that_make_no_grid_are_not_used(self, tmp_path):
        scene = open_scene(control_points(tmp_path / "s.tif", ORIGIN, scatter=300))
        assert scene.transform is None
        assert noted(scene, "4 ground control points do not make a grid", "are not used")

    def test_in_a_line_are_not_used(self, tmp_path):
        path = control_points(tmp_path / "s.tif", ORIGIN, corners=((0, 0), (5, 5), (9, 9)))
        assert noted(open_scene(path), "3 ground control points do not make a grid")


def dataset(x=None, y=None, grid_mapping=None, **more):
    easting, northing = centres()
    data = xr.Dataset(
        {"reflectance": (("y", "x", "wavelength"), reflectance())},
        coords={"wavelength": ("wavelength", NM, {"units": "nm"})},
    )
    if x is not False:
        data = data.assign_coords(x=easting if x is None else x, y=northing if y is None else y)
    if grid_mapping:
        data["crs"] = ((), 0, grid_mapping)
        data["reflectance"].attrs["grid_mapping"] = "crs"
    return data.assign_coords(more)


def opened(tmp_path, data):
    data.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    return open_scene(tmp_path / "s.nc")


WGS84 = {"semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563}


class TestWords:
    def test_utm(self, tmp_path):
        words = {
            "grid_mapping_name": "transverse_mercator", "longitude_of_central_meridian": 15.0,
            "latitude_of_projection_origin": 0.0, "scale_factor_at_central_meridian": 0.9996,
            "false_easting": 500000.0, "false_northing": 0.0, **WGS84,
        }  # fmt: skip
        scene = opened(tmp_path, dataset(grid_mapping=words))
        assert CRS.from_wkt(scene.crs).to_epsg() == 32633
        assert scene.transform == PLACE

    def test_lambert(self, tmp_path):
        words = {
            "grid_mapping_name": "lambert_azimuthal_equal_area",
            "longitude_of_projection_origin": 10.0, "latitude_of_projection_origin": 52.0,
            "false_easting": 4321000.0, "false_northing": 3210000.0, **WGS84,
        }  # fmt: skip
        scene = opened(tmp_path, dataset(grid_mapping=words))
        place = transform(CRS.from_wkt(scene.crs), CRS.from_epsg(3035), [4.4e6], [3.3e6])
        np.testing.assert_allclose(np.ravel(place), (4.4e6, 3.3e6), atol=1)

    def test_that_nobody_knows(self, tmp_path):
        scene = opened(tmp_path, dataset(grid_mapping={"grid_mapping_name": "by_hand"}))
        assert scene.crs is None
        assert noted(scene, "grid mapping by_hand cannot be understood")


class TestCoordinates:
    def test_of_two_dimensions(self, tmp_path):
        lat, lon = np.meshgrid(52.4 - 3e-4 * np.arange(HEIGHT), 13 + 4e-4 * np.arange(WIDTH),
                               indexing="ij")  # fmt: skip
        scene = opened(tmp_path, dataset(x=False, lat=(("y", "x"), lat), lon=(("y", "x"), lon)))
        np.testing.assert_allclose(
            scene.transform, (4e-4, 0, 13 - 2e-4, 0, -3e-4, 52.4 + 1.5e-4), atol=1e-12
        )
        assert CRS.from_wkt(scene.crs).to_epsg() == 4326
        assert noted(scene, "WGS 84", "fitted")

    def test_of_a_bent_swath_are_not_used(self, tmp_path):
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        lat, lon = 52 - 3e-4 * rows + 1e-4 * columns**2, 13 + 4e-4 * columns + 1e-5 * rows**2
        scene = opened(tmp_path, dataset(x=False, lat=(("y", "x"), lat), lon=(("y", "x"), lon)))
        assert scene.transform is None
        assert noted(scene, "do not make a grid", "no georeference")

    @pytest.mark.parametrize("pixel", [1.0, 2.0])
    def test_in_single_precision(self, tmp_path, pixel):
        x = (364_000.3 + pixel * np.arange(WIDTH)).astype(np.float32)
        y = (5_810_000.2 - pixel * np.arange(HEIGHT)).astype(np.float32)  # half a metre apart
        scene = opened(tmp_path, dataset(x=x, y=y))
        expected = (pixel, 0, x[0] - pixel / 2, 0, -pixel, y[0] + pixel / 2)
        np.testing.assert_allclose(scene.transform, expected, atol=0.6)
        assert scene.transform[0] == pytest.approx(pixel, rel=0.02)

    @pytest.mark.parametrize(
        ("units", "code", "step"),
        [
            ("km", 32633, 30.0),
            ("kilometers", None, 30.0),
            ("m", 32633, 0.03),
            ("us-ft", 2227, 0.03),  # a grid in feet
            ("m", 2227, 0.03 * 3937 / 1200),
            ("degrees", 4326, 0.03),
            ("rad", 4326, np.degrees(0.03)),
        ],
    )
    def test_are_converted_to_the_unit_of_the_crs(self, tmp_path, units, code, step):
        crs = None if code is None else {"crs_wkt": CRS.from_epsg(code).to_wkt()}
        data = dataset(1 + 0.03 * np.arange(WIDTH), 2 - 0.03 * np.arange(HEIGHT), crs)
        for axis in "xy":
            data[axis].attrs["units"] = units
        scene = opened(tmp_path, data)
        factor = step / 0.03
        expected = (step, 0, factor - step / 2, 0, -step, 2 * factor + step / 2)
        np.testing.assert_allclose(scene.transform, expected, rtol=1e-9, atol=1e-9)
        assert noted(scene, f"converted from {units} to") == (factor != 1)

    @pytest.mark.parametrize(
        ("units", "code", "words"),
        [
            ("rad", 32633, "rad, which WGS 84 / UTM zone 33N has not"),
            ("rad", None, "rad, without a CRS"),
            ("m", 4326, "m, which WGS 84 has not"),
        ],
    )
    def test_in_a_unit_of_another_kind_are_not_used(self, tmp_path, units, code, words):
        crs = None if code is None else {"crs_wkt": CRS.from_epsg(code).to_wkt()}
        data = dataset(0.03 * np.arange(WIDTH), -0.03 * np.arange(HEIGHT), crs)
        for axis in "xy":
            data[axis].attrs["units"] = units
        scene = opened(tmp_path, data)
        assert scene.transform is None
        assert noted(scene, f"x and y are in {words}: no georeference")

    def test_in_a_unit_that_nobody_knows_are_noted(self, tmp_path):
        data = dataset()
        data["x"].attrs["units"] = "paces"
        scene = opened(tmp_path, data)
        assert scene.transform == PLACE
        assert noted(scene, "x and y are in paces, an unknown unit")

    @pytest.mark.parametrize("suffix", [".nc", ".zarr"])
    def test_that_number_rows_and_columns_are_no_place(self, tmp_path, suffix):
        data = dataset(np.arange(WIDTH), np.arange(HEIGHT))
        path = tmp_path / f"s{suffix}"
        if suffix == ".nc":
            data.to_netcdf(path, engine="h5netcdf")
        else:
            pytest.importorskip("zarr")
            data.to_zarr(path)
        scene = open_scene(path)
        assert scene.transform is None
        assert noted(scene, "no georeference that is used")
        np.testing.assert_array_equal(scene.cube.values, reflectance().transpose(2, 0, 1))

    def test_of_rows_and_columns_with_a_unit_or_a_crs_are_a_place(self, tmp_path):
        data = dataset(np.arange(WIDTH), np.arange(HEIGHT))
        data["x"].attrs["units"] = data["y"].attrs["units"] = "m"
        assert opened(tmp_path, data).flipped
        wkt = {"crs_wkt": CRS.from_string(UTM).to_wkt()}
        assert opened(tmp_path, dataset(np.arange(WIDTH), np.arange(HEIGHT), wkt)).flipped

    def test_that_are_missing_are_noted(self, tmp_path):
        assert noted(opened(tmp_path, dataset(x=False)), "no georeference")
        assert noted(open_scene(geotiff(tmp_path / "s.tif", integers(), crs=None)),
                     "no georeference")  # fmt: skip

    def test_without_a_crs_are_noted(self, tmp_path):
        assert noted(opened(tmp_path, dataset()), "names no CRS")


def neon(path, map_info=f"UTM, 1.000, 1.000, {ORIGIN.c}, {ORIGIN.f}, 30.0, 30.0, 33, North, "
         "WGS-84, units=Meters, 0", code="32633"):  # fmt: skip
    array = integers()
    array[3, 4] = -9999
    with h5py.File(path, "w") as file:
        group = file.create_group("HARV/Reflectance")
        data = group.create_dataset("Reflectance_Data", data=array)
        data.attrs["Scale_Factor"], data.attrs["Data_Ignore_Value"] = 10000.0, -9999.0
        group["Metadata/Spectral_Data/Wavelength"] = NM
        group["Metadata/Spectral_Data/FWHM"] = np.full(len(NM), 5.0)
        group["Metadata/Coordinate_System/Map_Info"] = map_info
        if code:
            group["Metadata/Coordinate_System/EPSG Code"] = code
        group["Metadata/to-sensor_Zenith_Angle"] = np.zeros(array.shape[:2])
    return path


@pytest.mark.parametrize("code", ["32633", None])
def test_neon(tmp_path, code):
    scene = open_scene(neon(tmp_path / "n.h5", code=code))
    assert scene.transform == PLACE
    assert CRS.from_wkt(scene.crs).to_epsg() == 32633
    np.testing.assert_allclose(scene.wavelengths, NM)
    np.testing.assert_allclose(scene.fwhm, 5)
    assert np.argwhere(~scene.valid).tolist() == [[3, 4]]
    assert float(scene.cube.max()) < 1


@pytest.mark.parametrize("name", ["map info", "Map_Info"])
def test_map_info_of_any_hdf5(tmp_path, name):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = integers()
        file["cube"].attrs[name] = (
            f"{{UTM, 1, 1, {ORIGIN.c}, {ORIGIN.f}, 30, 30, 33, North, WGS-84}}"
        )
    scene = open_scene(tmp_path / "a.h5")
    assert scene.transform == PLACE
    assert CRS.from_wkt(scene.crs).to_epsg() == 32633


@pytest.mark.parametrize("rotation", [0, 12.5, -30])
def test_map_info_is_read_as_gdal_reads_it(tmp_path, rotation):
    text = f"{{UTM, 2, 3, 364000, 5810000, 5, 5, 33, South, WGS-84, rotation={rotation}}}"
    (tmp_path / "a.img").write_bytes(b"\1" * 12)
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 4\nlines = 3\nbands = 1\ndata type = 1\ninterleave = bsq\n"
        f"header offset = 0\nbyte order = 0\nmap info = {text}\n"
    )
    crs, place = parse_map_info(text)
    with rasterio.open(tmp_path / "a.img") as file:
        np.testing.assert_allclose(place, tuple(file.transform)[:6], atol=1e-6)
    assert CRS.from_wkt(crs).to_epsg() == 32733


class TestEquivalentSystems:
    @pytest.mark.parametrize("crs", ["EPSG:32633+5773", "EPSG:25833", "ESRI"])
    def test_labels_in_a_system_that_is_called_otherwise(self, tmp_path, crs):
        if crs == "ESRI":
            crs = CRS.from_string(UTM).to_wkt(morph_to_esri_dialect=True).replace("33N", "33_N")
        labels = geotiff(tmp_path / "l.tif", ground(), crs=crs)
        scene = open_scene(geotiff(tmp_path / "s.tif", integers()), labels)
        np.testing.assert_array_equal(scene.labels.ids, ground())

    def test_labels_in_another_zone_are_refused(self, tmp_path):
        labels = geotiff(tmp_path / "l.tif", ground(), crs="EPSG:32632")
        with pytest.raises(LabelsError, match="have another CRS"):
            open_scene(geotiff(tmp_path / "s.tif", integers()), labels)


SOUTH_UP = Affine(30, 0, ORIGIN.c, 0, 30, ORIGIN.f - 30 * HEIGHT)


def northwards_dataset(northwards: bool, dims: tuple[str, str] = ("y", "x")) -> xr.Dataset:
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
    cube = northwards_dataset(True, dims)[["reflectance"]]
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
    stored = northwards_dataset(northwards)
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
