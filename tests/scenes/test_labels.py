"""Labels of every kind, their values and their names."""

from __future__ import annotations

import h5py
import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
import xarray as xr
from rasterio.transform import from_origin

from hyperpeft.errors import LabelsError
from hyperpeft.records import palette
from hyperpeft.scenes import open_scene, read_labels
from tests.helpers.scene_files import (
    HEIGHT,
    ORIGIN,
    UTM,
    WIDTH,
    cube,
    envi,
    geotiff,
    ground,
    integers,
    mat5,
    mat73,
)

IDS = np.zeros((7, 5), np.uint8)
IDS[1:3, 1:4] = 2
IDS[5, :] = 7


def test_formats(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    np.savez(tmp_path / "a.npz", one=IDS, two=np.ones((7, 5)))
    specs = [
        mat5(tmp_path / "a.mat", gt=IDS.astype(float), n=np.array([[3.0]])),
        mat73(tmp_path / "b.mat", gt=IDS.astype(float)),
        tmp_path / "a.npy",
        f"{tmp_path / 'a.npz'}:one",
        geotiff(tmp_path / "a.tif", IDS),
    ]
    for spec in specs:
        labels = read_labels(spec)
        np.testing.assert_array_equal(labels.ids, IDS)
        assert labels.ids.dtype == np.int32
        assert labels.classes == {2: "class 2", 7: "class 7"}
        assert labels.colours == palette([2, 7])
    with pytest.raises(LabelsError, match=r"ambiguous.*a.npz:one \(7, 5\).*a.npz:two \(7, 5\)"):
        read_labels(tmp_path / "a.npz")


def test_raster_names_colours_and_nodata(tmp_path):
    path = geotiff(
        tmp_path / "a.tif",
        np.where(IDS == 0, 255, IDS).astype(np.uint8),
        nodata=255,
        tags={"CLASS_2": "Water", "class_7": "Roof"},
        colours={2: (1, 2, 3), 7: (4, 5, 6)},
    )
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.ids, IDS)
    assert labels.classes == {2: "Water", 7: "Roof"}
    assert labels.colours == {2: (1, 2, 3), 7: (4, 5, 6)}


def test_abundances(tmp_path):
    a = np.zeros((2, 2, 3))
    a[0, 0] = (0.71, 0.29, 0)
    a[0, 1] = (0.3, 0.7, 0)  # exactly the threshold: mixed
    a[1, 0] = (0, 0.1, 0.9)
    a[1, 1] = (0.4, 0.3, 0.3)
    path = mat5(tmp_path / "a.mat", S=a)
    labels = read_labels(f"{path}:S", rule="abundances", classes={1: "Soil", 2: "Tree", 3: "Water"})
    assert labels.ids.tolist() == [[1, 0], [3, 0]]
    assert labels.classes == {1: "Soil", 2: "Tree", 3: "Water"}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IDS.astype(int) - 1, "negative ids.*got -1.*declare them as nodata"),
        (IDS + 0.5, "expected whole numbers, got 0.5"),
        (np.where(IDS, np.nan, 0), "expected whole numbers, got nan"),
        (np.zeros((7, 5)), "hold no class"),
        (IDS.astype(np.int64) * 100_000, "expected ids up to 65535, got 700000"),
        (np.ones((2, 3, 4)), "expected one 2-D numeric variable"),
    ],
)
def test_maps_that_are_refused(tmp_path, array, message):
    with pytest.raises(LabelsError, match=message):
        read_labels(mat5(tmp_path / "a.mat", gt=array))


def test_grids_that_do_not_fit(tmp_path):
    scene = geotiff(tmp_path / "s.tif", cube())
    assert open_scene(scene, labels=geotiff(tmp_path / "l.tif", IDS)).labels.counts() == {
        2: 6,
        7: 5,
    }
    with pytest.raises(LabelsError, match=r"expected \(7, 5\) pixels.*got \(6, 5\)"):
        open_scene(scene, labels=mat5(tmp_path / "l.mat", gt=IDS[:6]))
    with pytest.raises(LabelsError, match=r"expected EPSG:32633, got EPSG:32634"):
        open_scene(scene, labels=geotiff(tmp_path / "c.tif", IDS, crs="EPSG:32634"))
    shifted = geotiff(
        tmp_path / "t.tif", IDS, crs=UTM, transform=from_origin(364_030, 5_810_000, 30, 30)
    )
    with pytest.raises(LabelsError, match="another transform than scene s"):
        open_scene(scene, labels=shifted)
    plain = geotiff(tmp_path / "p.tif", IDS, crs=None)
    assert open_scene(scene, labels=plain).labels.counts() == {2: 6, 7: 5}


def test_missing_and_web_pages(tmp_path):
    with pytest.raises(LabelsError, match="there is no file"):
        read_labels(tmp_path / "no.mat")
    (tmp_path / "a.mat").write_bytes(b"<html>")
    with pytest.raises(LabelsError, match="web page"):
        read_labels(tmp_path / "a.mat")
    with pytest.raises(LabelsError, match="expected 1 band, got 6"):
        read_labels(geotiff(tmp_path / "a.tif", cube()))


def test_palette_is_distinct_and_stable():
    many = palette(range(300))
    assert 0 not in many
    assert len(set(many.values())) == 299
    assert palette([5])[5] == many[5]
    assert palette([299, 250]) == palette([250, 299])


def test_envi_regions_of_interest(tmp_path):
    """Written from a raster as ENVI writes it: X and Y from 1, regions one after the other."""
    head = ["; ENVI Output of ROIs (4.8)", "; Number of ROIs: 2", "; File Dimension: 5 x 7", ";"]
    body = [";    ID     X    Y"]
    for name, i in (("water", 2), ("roof", 7)):
        points = np.argwhere(i == IDS)
        head += [f"; ROI name: {name}", f"; ROI npts: {len(points)}", ";"]
        body += [f"{n} {c + 1} {r + 1}" for n, (r, c) in enumerate(points, 1)] + [""]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(head + body))
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.ids, np.select([IDS == 2, IDS == 7], [1, 2]))
    assert labels.classes == {1: "water", 2: "roof"}
    path.write_text("\n".join(head + body[:-3]))
    with pytest.raises(LabelsError, match="expected 11 points, got 9"):
        read_labels(path)
    path.write_text("\n".join([*head, *body[:-2], "9 6 1"]))
    with pytest.raises(LabelsError, match="outside its 7 x 5 pixels"):
        read_labels(path)
    path.write_text(head[0])
    with pytest.raises(LabelsError, match="no complete header"):
        read_labels(path)


def test_a_pixel_in_several_regions_of_interest_stays_unlabelled(tmp_path):
    points = {"water": [(3, 4), (5, 6), (5, 6)], "roof": [(3, 4), (4, 7)], "soil": [(3, 4), (1, 1)]}
    head = ["; ENVI Output of ROIs (4.8)", "; File Dimension: 5 x 7"]
    body = []
    for name, places in points.items():
        head += [f"; ROI name: {name}", f"; ROI npts: {len(places)}"]
        body += [f"{n} {x} {y}" for n, (x, y) in enumerate(places, 1)]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(head + body))
    labels = read_labels(path)
    expected = np.zeros((7, 5), int)
    expected[5, 4], expected[6, 3], expected[0, 0] = 1, 2, 3
    np.testing.assert_array_equal(labels.ids, expected)
    assert "labels a.txt: 1 pixels lie in regions of several classes and stay unlabelled" in (
        labels.notes
    )


def test_regions_of_interest_of_one_name_are_one_class(tmp_path):
    head = ["; ENVI Output of ROIs (4.8)", "; File Dimension: 5 x 7"]
    body = []
    regions = [("water", [(1, 1), (2, 2)]), ("", [(5, 5)]), ("water ", [(2, 2), (3, 3)])]
    for name, places in [*regions, ("", [(5, 7)])]:
        head += [f"; ROI name: {name}", f"; ROI npts: {len(places)}"]
        body += [f"{n} {x} {y}" for n, (x, y) in enumerate(places, 1)]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(head + body))
    labels = read_labels(path)
    expected = np.diag([1, 1, 1, 0, 2, 0, 0])[:, :5]
    expected[6, 4] = 3
    np.testing.assert_array_equal(labels.ids, expected)
    assert labels.classes == {1: "water", 2: "class 2", 3: "class 3"}


NAMES = {"CLASS_0": "soil", "CLASS_1": "grass", "CLASS_2": "tree"}


@pytest.fixture
def scene(tmp_path):
    return geotiff(tmp_path / "s.tif", integers())


def from_zero(nodata, dtype):
    """Classes 0, 1, 2, and nodata in a corner."""
    ids = ground().astype(dtype) - 1
    ids[:3, :3] = nodata
    return ids


@pytest.mark.parametrize(("nodata", "dtype"), [(255, "uint8"), (-1, "int16"), (-9999.0, "float32")])
def test_a_named_class_0_is_a_class(tmp_path, scene, nodata, dtype):
    path = geotiff(tmp_path / "l.tif", from_zero(nodata, dtype), nodata=nodata, tags=NAMES)
    labels = open_scene(scene, path).labels
    assert labels.classes == {1: "grass", 2: "tree", 3: "soil"}
    expected = np.where(ground() == 1, 3, ground() - 1)
    expected[:3, :3] = 0
    np.testing.assert_array_equal(labels.ids, expected)
    assert any("class 0 (soil) has the id 3 here" in note for note in labels.notes)


def test_a_named_class_0_without_nodata_is_a_class(tmp_path, scene):
    path = geotiff(tmp_path / "l.tif", ground() - 1, tags=NAMES)
    assert open_scene(scene, path).labels.classes == {1: "grass", 2: "tree", 3: "soil"}


@pytest.mark.parametrize(
    "tags",
    [
        {"CLASS_NAMES": "soil,grass,tree"},
        {"class_names": " soil, 'grass' ,tree"},
        {"CLASS_1": "soil", "CLASS_2": "grass", "CLASS_3": "tree"},
        {"CLASS_NAME_1": "soil", "class_name_2": "grass", "CLASS_NAME_3": "tree"},
    ],
)
def test_names_in_tags(tmp_path, scene, tags):
    path = geotiff(tmp_path / "l.tif", ground(), tags=tags)
    assert open_scene(scene, path).labels.classes == {1: "soil", 2: "grass", 3: "tree"}


def test_names_of_envi_from_0(tmp_path, scene):
    array = (ground() - 1)[..., None]
    path = envi(tmp_path / "l.img", array, class_names="{soil, grass, tree}", classes="3")
    assert open_scene(scene, path).labels.classes == {1: "grass", 2: "tree", 3: "soil"}


@pytest.mark.parametrize("name", ["Unclassified", "none", "No_Data", "BACKGROUND"])
def test_a_0_that_is_called_no_class_is_none(tmp_path, scene, name):
    array = (ground() % 3)[..., None]
    path = envi(tmp_path / "l.img", array, class_names=f"{{{name}, grass, tree}}")
    labels = open_scene(scene, path).labels
    assert labels.classes == {1: "grass", 2: "tree"}
    np.testing.assert_array_equal(labels.ids, ground() % 3)


@pytest.mark.parametrize(("nodata", "dtype"), [(255, "uint8"), (-1, "int16")])
def test_an_unnamed_0_beside_another_nodata_is_noted(tmp_path, scene, nodata, dtype):
    path = geotiff(tmp_path / "l.tif", from_zero(nodata, dtype), nodata=nodata)
    notes = open_scene(scene, path).notes
    zeros = np.count_nonzero(from_zero(nodata, dtype) == 0)
    assert any(
        f"{zeros} pixels of 0 are taken as unlabelled" in n and "CLASS_0" in n for n in notes
    )


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("uint16", 65535), ("int32", 9999)])
def test_a_value_for_ignore_is_asked_about(tmp_path, scene, dtype, value):
    ids = ground().astype(dtype)
    ids[9:12] = value
    with pytest.raises(LabelsError, match=f"hold the value {value} beside ids up to 3"):
        open_scene(scene, geotiff(tmp_path / "a.tif", ids))
    with pytest.raises(LabelsError, match=f"hold the value {value} beside ids up to 3"):
        open_scene(scene, mat5(tmp_path / "a.mat", map=ids))
    declared = open_scene(scene, geotiff(tmp_path / "b.tif", ids, nodata=value)).labels
    assert set(declared.classes) == {1, 2, 3}
    named = geotiff(tmp_path / "c.tif", ids, tags={f"CLASS_{value}": "rock"})
    assert open_scene(scene, named).labels.classes[value] == "rock"


def test_large_ids_of_their_own_are_classes(tmp_path, scene):
    ids = np.where(ground() == 1, 255, np.where(ground() == 2, 200, 240)).astype(np.uint8)
    labels = open_scene(scene, geotiff(tmp_path / "l.tif", ids)).labels
    assert set(labels.classes) == {200, 240, 255}


def test_vectors_are_asked_about_too(tmp_path, scene):
    boxes = [shapely.box(ORIGIN.c + 90 * i, ORIGIN.f - 300, ORIGIN.c + 90 * i + 60, ORIGIN.f)
             for i in range(3)]  # fmt: skip
    for name, values in (("a", [1, 2, 255]), ("b", [0, 1, 2])):
        pyogrio.raw.write(
            str(tmp_path / f"{name}.gpkg"), np.array([shapely.to_wkb(b) for b in boxes], object),
            [np.array(values)], ["class"], geometry_type="Polygon", crs=UTM, driver="GPKG",
        )  # fmt: skip
    with pytest.raises(LabelsError, match="hold the value 255 beside ids up to 2"):
        open_scene(scene, tmp_path / "a.gpkg")
    with pytest.raises(LabelsError, match="class numbers from 1"):
        open_scene(scene, tmp_path / "b.gpkg")


COLOURS = np.array([[0, 0, 0, 255], [255, 0, 0, 255], [0, 128, 0, 255], [9, 9, 200, 255]])


def picture(path, count=3):
    """The ground in colours, with a corner of black, which is transparent where there is alpha."""
    values = COLOURS[ground()][..., :count].astype(np.uint8)
    values[:2, :3] = 0
    driver = {".tif": "GTiff", ".png": "PNG"}[path.suffix]
    with rasterio.open(
        path, "w", driver=driver, height=HEIGHT, width=WIDTH, count=count, dtype="uint8"
    ) as file:
        file.write(values.transpose(2, 0, 1))
    return path


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_picture_in_colours_without_a_legend(tmp_path, scene, count, suffix):
    path = picture(tmp_path / f"l.{suffix}", count)
    words = r"a picture in colours.*l.legend.csv beside it.*#0909c8 \(.* pixels\).*write the legend"
    with pytest.raises(LabelsError, match=words):
        open_scene(scene, path)


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.legend.csv", "colour,class\n#FF0000,roof\n008000,tree\n#0909c8,water\n#000000,\n"),
        ("l.SUFFIX.legend.csv", "Red;Green;Blue;Name\n255;0;0;roof\n0;128;0;tree\n9;9;200;water\n"
         "0;0;0;\n1;2;3;never seen\n"),
    ],
)  # fmt: skip
def test_a_picture_in_colours_with_a_legend(tmp_path, scene, suffix, name, text):
    (tmp_path / name.replace("SUFFIX", suffix)).write_text(text)
    labels = open_scene(scene, picture(tmp_path / f"l.{suffix}")).labels
    expected = ground().copy()
    expected[:2, :3] = 0
    np.testing.assert_array_equal(labels.ids, expected)
    assert [labels.classes[i] for i in (1, 2, 3)] == ["roof", "tree", "water"]
    assert labels.colours[3] == (9, 9, 200)


def test_a_legend_with_ids_and_several_colours_of_a_class(tmp_path, scene):
    rows = "colour,class,id\n#ff0000,built,7\n#008000,tree,2\n#0909c8,built,7\n"
    (tmp_path / "l.legend.csv").write_text(rows)
    labels = open_scene(scene, picture(tmp_path / "l.png", 4)).labels  # black is transparent
    expected = np.where(ground() == 2, 2, 7)
    expected[:2, :3] = 0
    np.testing.assert_array_equal(labels.ids, expected)
    assert labels.classes == {2: "tree", 7: "built"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour,class\n#ff0000,roof\n", r"not in l.legend.csv: got #.*pixels\).*saved as JPEG"),
        ("colour,class\nred,roof\n", "expected colours such as #ff0000, got 'red'"),
        ("red,green,blue,class\n300,0,0,roof\n", "expected colours of 0 to 255, got 300, 0, 0"),
        ("colour,class\n#ff0000,roof\n#ff0000,tree\n", "colour #ff0000 has two classes"),
        ("colour,class,id\n#ff0000,a,1\n#00ff00,b,1\n", "two classes have the same id"),
        ("colour,class,id\n#ff0000,a,x\n", "id of a: expected one number, got 'x'"),
        ("value,class\n1,roof\n", "expected the columns colour,class"),
        ("colour,class\n", "and a line for each colour"),
    ],
)
def test_a_legend_that_does_not_fit(tmp_path, scene, text, words):
    (tmp_path / "l.legend.csv").write_text(text)
    with pytest.raises(LabelsError, match=words):
        open_scene(scene, picture(tmp_path / "l.png"))


def test_the_alpha_band_of_a_label_map_masks(tmp_path, scene):
    stack = np.stack([ground(), np.full_like(ground(), 255)])
    stack[1, :4] = 0
    with rasterio.open(
        tmp_path / "l.tif", "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=2,
        dtype="uint8", crs=UTM, transform=ORIGIN, photometric="MINISBLACK", alpha="YES",
    ) as file:  # fmt: skip
        file.write(stack)
    labels = open_scene(scene, tmp_path / "l.tif").labels
    assert not labels.ids[:4].any()
    np.testing.assert_array_equal(labels.ids[4:], ground()[4:])


@pytest.mark.parametrize("inside", ["YES", "NO"])
def test_the_mask_band_of_a_label_map_masks(tmp_path, scene, inside):
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:4] = 0
    names = {"CLASS_0": "water"}  # what is masked is no class of 0 either
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
        path = geotiff(tmp_path / "l.tif", ground() - 1, tags=names)
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
    assert (tmp_path / "l.tif.msk").is_file() == (inside == "NO")
    labels = open_scene(scene, path).labels
    assert not labels.ids[:4].any()
    np.testing.assert_array_equal(labels.ids[4:] == 1, ground()[4:] == 2)
    assert "water" in labels.classes.values()


@pytest.mark.parametrize("inside", ["YES", "NO"])
def test_the_mask_band_of_a_picture_masks(tmp_path, scene, inside):
    (tmp_path / "l.legend.csv").write_text("colour,class\n#ff0000,roof\n008000,tree\n#0909c8,sea\n")
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:2, :3] = 0  # black, which is no colour of the legend
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside),
        rasterio.open(picture(tmp_path / "l.tif"), "r+") as file,
    ):
        file.write_mask(mask)
    labels = open_scene(scene, tmp_path / "l.tif").labels
    np.testing.assert_array_equal(labels.ids, np.where(mask, ground(), 0))


def stored_map(path, array, attributes):
    """A map (H, W) with attributes of CF, as NetCDF, Zarr or plain HDF5."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["classes"] = array
            file["classes"].attrs.update(attributes)
        return path
    if path.suffix == ".zarr":
        attributes = {name: np.asarray(value).tolist() for name, value in attributes.items()}
    dataset = xr.Dataset({"classes": (("y", "x"), array, attributes)})
    if path.suffix == ".zarr":
        dataset.to_zarr(path, zarr_format=3)
    else:
        dataset.to_netcdf(path, engine="h5netcdf")
    return path


def blank_in_rows(ids, values):
    """The ids of the tests with these values in the first pixels of row 0, which have no class."""
    ids = ids.astype(np.int64)
    ids[0, : len(values)] = values
    return ids


@pytest.mark.parametrize("suffix", ["nc", "zarr", "h5"])
@pytest.mark.parametrize(
    ("dtype", "values", "attributes"),
    [
        ("uint8", [99, 98], {"missing_value": np.array([99, 98], np.uint8)}),
        ("uint8", [99, 98], {"_FillValue": np.uint8(99), "missing_value": np.uint8(98)}),
        ("uint8", [1, 8], {"valid_range": np.array([2, 7], np.uint8)}),
        ("float32", [-9999], {"missing_value": np.float32(-9999)}),
    ],
)
def test_whatever_marks_nodata_in_a_map_is_unlabelled(tmp_path, suffix, dtype, values, attributes):
    array = blank_in_rows(IDS, values).astype(dtype)
    labels = read_labels(stored_map(tmp_path / f"a.{suffix}", array, attributes))
    np.testing.assert_array_equal(labels.ids, IDS)
    assert set(labels.classes) == {2, 7}


@pytest.mark.parametrize("suffix", ["nc", "zarr", "h5"])
def test_signed_bytes_of_a_map_that_are_meant_unsigned(tmp_path, suffix):
    meant = np.where(IDS == 7, 200, blank_in_rows(IDS, [255])).astype(np.uint8)
    attributes = {
        "_Unsigned": "true",
        "_FillValue": np.int8(-1),
        "flag_values": np.array([2, -56], np.int8),
        "flag_meanings": "grass lake",
    }
    labels = read_labels(stored_map(tmp_path / f"a.{suffix}", meant.view(np.int8), attributes))
    np.testing.assert_array_equal(labels.ids, np.where(IDS == 7, 200, IDS))
    assert labels.classes == {2: "grass", 200: "lake"}


@pytest.mark.parametrize("suffix", ["nc", "zarr", "h5"])
def test_a_map_of_scaled_ids(tmp_path, suffix):
    array = (blank_in_rows(IDS, [20]) * 10).astype(np.uint8)
    array[0, 1] = 2  # a fill, though also the id of a class as scaled
    attributes = {"scale_factor": 0.1, "valid_max": np.uint8(100), "missing_value": np.uint8(2)}
    labels = read_labels(stored_map(tmp_path / f"a.{suffix}", array, attributes))
    np.testing.assert_array_equal(labels.ids, IDS)


def test_attributes_of_a_map_that_are_refused(tmp_path):
    path = stored_map(tmp_path / "a.nc", IDS, {"valid_range": "1 to 9"})
    with pytest.raises(LabelsError, match=r"a.nc:classes: attribute valid_range: expected 2"):
        read_labels(path)


def test_a_map_of_another_order_and_its_nodata(tmp_path):
    """What hides pixels is transposed and turned with them."""
    ids = blank_in_rows(IDS, [9]).astype(np.uint8)
    dataset = xr.Dataset(
        {"classes": (("x", "y"), ids[::-1].T, {"missing_value": np.uint8(9)})},
        {"x": 364_015 + 30.0 * np.arange(5), "y": 5_809_985 - 30.0 * np.arange(7)[::-1]},
    )
    dataset.to_netcdf(tmp_path / "l.nc", engine="h5netcdf")
    scene = open_scene(geotiff(tmp_path / "s.tif", cube()), labels=tmp_path / "l.nc")
    np.testing.assert_array_equal(scene.labels.ids, IDS)
