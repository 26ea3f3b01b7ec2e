"""Class maps and band stacks read back as they were written, as valid COGs."""

import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from hyperpeft.errors import ConfigError
from hyperpeft.mapping.outputs.geotiff import bands_writer, write_class_map

UTM = rasterio.CRS.from_epsg(32633).to_wkt()
PLACE = (30.0, 0.0, 368000.0, 0.0, -30.0, 5806000.0)
CLASSES = {1: "roof & <wall>", 2: "Straße", 7: 'low "vegetation"'}
COLOURS = {1: (230, 0, 10), 2: (0, 0, 0), 7: (20, 255, 30)}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def random_ids(shape=(90, 70), ids=(0, *CLASSES), seed=0):
    return np.random.default_rng(seed).choice(np.array(ids), shape)


def opened(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


def category_names(path):
    tree = ElementTree.parse(path.with_name(f"{path.name}.aux.xml"))
    band = tree.getroot().find("PAMRasterBand[@band='1']")
    return [element.text or "" for element in band.find("CategoryNames")]


def check_cog(dataset, tile):
    """The layout tag of GDAL's COG driver, square tiles, DEFLATE."""
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    assert structure["LAYOUT"] == "COG"
    assert structure["COMPRESSION"] == "DEFLATE"
    assert dataset.block_shapes == [(tile, tile)] * dataset.count


def test_class_map_reads_back(tmp_path):
    path = tmp_path / "map.tif"
    ids = random_ids()
    write_class_map(
        path, ids, CLASSES, COLOURS, crs=UTM, transform=PLACE, extra_tags={"SCENE": "potsdam"}
    )
    with rasterio.open(path) as dataset:
        check_cog(dataset, 256)
        assert dataset.dtypes == ("uint8",)
        assert dataset.nodata == 0
        assert dataset.crs.to_epsg() == 32633
        assert tuple(dataset.transform)[:6] == PLACE
        np.testing.assert_array_equal(dataset.read(1), ids)
        colormap = dataset.colormap(1)
        assert {i: colormap[i] for i in COLOURS} == {i: (*c, 255) for i, c in COLOURS.items()}
        assert colormap[0][3] == 0
        tags = dataset.tags()
        assert {i: tags[f"CLASS_{i}"] for i in CLASSES} == CLASSES
        assert tags["SCENE"] == "potsdam"
    expected = ["no data", CLASSES[1], CLASSES[2], "", "", "", "", CLASSES[7]]
    assert category_names(path) == expected
    assert names_in(tmp_path) == ["map.qml", "map.tif", "map.tif.aux.xml"]


def test_overviews_hold_ids_of_the_map_only(tmp_path):
    path = tmp_path / "map.tif"
    ids = random_ids((1100, 1300), (1, 7))
    write_class_map(path, ids, CLASSES, COLOURS, crs=UTM, transform=PLACE)
    with rasterio.open(path) as dataset:
        check_cog(dataset, 512)
        assert dataset.overviews(1) == [2, 4]
        np.testing.assert_array_equal(dataset.read(1), ids)
    with rasterio.open(path, overview_level=0) as overview:
        found = overview.read(1)
    # Nearest: the same pixel of every 2 x 2, whichever that is; nothing is averaged.
    corners = [ids[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    assert any(np.array_equal(found, corner) for corner in corners)


def test_large_ids_become_uint16_without_colour_table(tmp_path):
    path = tmp_path / "map.tif"
    classes, colours = {3: "a", 523: "b"}, {3: (1, 2, 3), 523: (4, 5, 6)}
    ids = random_ids(ids=(0, 3, 523)).astype(np.int64)
    write_class_map(path, ids, classes, colours, crs=UTM, transform=PLACE)
    with rasterio.open(path) as dataset:
        check_cog(dataset, 256)
        assert dataset.dtypes == ("uint16",)
        assert dataset.nodata == 0
        np.testing.assert_array_equal(dataset.read(1), ids)
        with pytest.raises(ValueError, match="NULL color table"):
            dataset.colormap(1)
        assert dataset.tags()["CLASS_523"] == "b"
    names = category_names(path)
    assert (len(names), names[3], names[523]) == (524, "a", "b")


@pytest.mark.parametrize(("largest", "dtype"), [(255, "uint8"), (256, "uint16")])
def test_type_at_the_border(tmp_path, largest, dtype):
    path = tmp_path / "map.tif"
    write_class_map(path, np.full((5, 4), largest), {largest: "a"}, {largest: (9, 8, 7)})
    with opened(path) as dataset:
        assert dataset.dtypes == (dtype,)
        assert (dataset.read(1) == largest).all()


@pytest.mark.parametrize("write", ["class map", "bands"])
def test_without_georeference_no_warning(tmp_path, write):
    path = tmp_path / "map.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if write == "class map":
            write_class_map(path, random_ids(), CLASSES, COLOURS)
        else:
            with bands_writer(path, (20, 30), ["roof"]) as write_piece:
                write_piece(np.zeros((1, 20, 30)), 0, 0)
    with opened(path) as dataset:
        check_cog(dataset, 256)
        assert dataset.crs is None
        assert dataset.transform.is_identity


def test_existing_map_is_replaced(tmp_path):
    path = tmp_path / "map.tif"
    write_class_map(path, random_ids(seed=0), CLASSES, COLOURS)
    ids = random_ids((30, 40), (0, 1), seed=1)
    write_class_map(path, ids, {1: "only"}, COLOURS)
    with opened(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), ids)
        assert [tag for tag in dataset.tags() if tag.startswith("CLASS_")] == ["CLASS_1"]
    assert category_names(path) == ["no data", "only"]


@pytest.mark.parametrize("half", [False, True])
def test_bands_read_back(tmp_path, half):
    path = tmp_path / "probabilities.tif"
    bands = np.random.default_rng(0).random((3, 60, 50))
    bands[:, :5] = np.nan
    names = ["roof", "Straße", "tree"]
    options = {"crs": UTM, "transform": PLACE, "half": half, "extra_tags": {"A": "b"}}
    with bands_writer(path, (60, 50), names, **options) as write:
        write(bands[:, :40], 0, 0)
        write(bands[:, 40:], 40, 0)
    with rasterio.open(path) as dataset:
        check_cog(dataset, 256)
        assert dataset.dtypes == ("float32",) * 3
        assert dataset.descriptions == tuple(names)
        assert np.isnan(dataset.nodata)
        assert dataset.crs.to_epsg() == 32633
        assert tuple(dataset.transform)[:6] == PLACE
        assert dataset.tags()["A"] == "b"
        stored = np.float16 if half else np.float32
        np.testing.assert_array_equal(dataset.read(), bands.astype(stored).astype(np.float32))
    assert names_in(tmp_path) == ["probabilities.tif"]


@pytest.mark.parametrize(
    ("ids", "classes", "colours", "message"),
    [
        (np.ones((2, 2)), {1: "a"}, {1: (0, 0, 0)}, "integers"),
        (np.ones(4, int), {1: "a"}, {1: (0, 0, 0)}, "integers"),
        (np.full((2, 2), -1), {-1: "a"}, {-1: (0, 0, 0)}, "0 to 65535"),
        (np.full((2, 2), 65536), {65536: "a"}, {65536: (0, 0, 0)}, "0 to 65535"),
        (np.full((2, 2), 4), {1: "a"}, {4: (0, 0, 0)}, r"\[4\] of the map have no name"),
        (np.full((2, 2), 4), {4: "a"}, {1: (0, 0, 0)}, r"\[4\] of the map have no colour"),
    ],
)
def test_unwritable_maps_are_refused(tmp_path, ids, classes, colours, message):
    with pytest.raises(ConfigError, match=message):
        write_class_map(tmp_path / "map.tif", ids, classes, colours)
    assert names_in(tmp_path) == []


def test_unwritable_path_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_class_map(tmp_path / "file" / "map.tif", random_ids(), CLASSES, COLOURS)
    (tmp_path / "map.tif").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_class_map(tmp_path / "map.tif", random_ids(), CLASSES, COLOURS)
    assert names_in(tmp_path) == ["file", "map.tif"]


def test_failed_copy_leaves_the_old_map(tmp_path, monkeypatch):
    path = tmp_path / "map.tif"
    write_class_map(path, random_ids(), CLASSES, COLOURS)
    before = path.read_bytes()

    def fail(source, destination, **options):
        destination.write_bytes(b"half")
        raise rasterio.errors.RasterioIOError("disk full")

    monkeypatch.setattr("hyperpeft.mapping.outputs.geotiff.copy", fail)
    with pytest.raises(ConfigError, match="disk full"):
        write_class_map(path, random_ids(seed=1), CLASSES, COLOURS)
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["map.qml", "map.tif", "map.tif.aux.xml"]
