"""Maps, band stacks, polygons, styles and applicability as GDAL and QGIS read them."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize
from rasterio.transform import from_origin

from hyperpeft import cli
from hyperpeft.errors import ConfigError, InputError
from hyperpeft.mapping.applicability import features_at, fit_applicability
from hyperpeft.mapping.outputs.class_areas import ClassAreas
from hyperpeft.mapping.outputs.geotiff import bands_writer, write_class_map
from hyperpeft.mapping.outputs.polygons import write_polygons
from hyperpeft.mapping.outputs.qgis_style import band_style
from hyperpeft.records import palette
from hyperpeft.runs.experiment import run
from hyperpeft.scenes import open_scene
from hyperpeft.spectral import fit
from tests.helpers.small import config, planted, write_scene

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


PYTHON = Path("/usr/bin/python3")  # Debian's, for which python3-qgis is built
NAMES = {1: "water", 2: "forest & park", 4: 'bare "soil"', 9: "never seen"}
PALETTE = palette(NAMES, NAMES)
CRS, TRANSFORM = "EPSG:32633", from_origin(364_000, 5_810_000, 30, 30)


def ids() -> np.ndarray:
    found = np.full((40, 60), 2, np.uint8)
    found[:12, :20] = 1
    found[20:, 30:] = 4
    found[30, 40] = 1  # a speck
    found[35:, :10] = 0
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gis")
    place = {"crs": CRS, "transform": tuple(TRANSFORM)[:6]}
    write_class_map(folder / "map.tif", ids(), NAMES, PALETTE, **place)
    names = ("margin", "entropy", "encoded")
    with bands_writer(
        folder / "sure.tif", (40, 60), names, style=band_style(0, 1, "margin"), **place
    ) as write:
        write(np.random.default_rng(0).random((3, 40, 60)), 0, 0)
    write_polygons(folder / "map.tif", folder / "map.gpkg", NAMES, PALETTE)
    return folder


def test_polygons_are_the_map_without_specks(files):
    meta, _, wkb, columns = pyogrio.raw.read(files / "map.gpkg", layer="classes")
    table = dict(zip(meta["fields"], columns, strict=True))
    assert list(table) == ["class", "name", "area_ha", "pixels"]
    shapes = shapely.from_wkb(wkb)
    assert shapely.is_valid(shapes).all()
    back = rasterize(zip(shapes, table["class"], strict=True), (40, 60), transform=TRANSFORM)
    expected = ids()
    expected[30, 40] = 4
    np.testing.assert_array_equal(back, expected)
    assert len(shapes) == 3
    np.testing.assert_allclose(table["area_ha"], shapely.area(shapes) / 1e4)
    assert table["pixels"].sum() == np.count_nonzero(expected)
    assert dict(zip(table["class"], table["name"], strict=True)) == {i: NAMES[i] for i in (1, 2, 4)}


def test_every_patch_is_kept_where_asked(files, tmp_path):
    assert write_polygons(files / "map.tif", tmp_path / "p.gpkg", NAMES, PALETTE, smallest=1) == 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 3)])
def test_a_map_of_fewer_pixels_than_the_smallest_polygon(tmp_path, shape):
    place = {"crs": CRS, "transform": tuple(TRANSFORM)[:6]}
    write_class_map(tmp_path / "m.tif", np.full(shape, 2, np.uint8), NAMES, PALETTE, **place)
    assert write_polygons(tmp_path / "m.tif", tmp_path / "p.gpkg", NAMES, PALETTE, smallest=4) == 1


def test_areas_of_polygons_are_those_of_the_classes_where_pixels_differ(tmp_path):
    """From 60 N to the equator, a class that surrounds another."""
    mapped = np.ones((600, 12), np.uint8)
    mapped[50:590, 2:9] = 2
    place = {"crs": rasterio.CRS.from_epsg(4326).to_wkt(), "transform": (0.1, 0, 10, 0, -0.1, 60)}
    write_class_map(tmp_path / "m.tif", mapped, NAMES, PALETTE, **place)
    write_polygons(tmp_path / "m.tif", tmp_path / "p.gpkg", NAMES, PALETTE)
    _, _, _, (ids, _, area, _) = pyogrio.raw.read(tmp_path / "p.gpkg", layer="classes")
    counted = ClassAreas(mapped.shape, place["crs"], place["transform"])
    counted.add(mapped)
    expected = {int(i): c["hectares"] for i, c in counted.section(NAMES)["classes"].items()}
    assert dict(zip(ids.tolist(), area.tolist(), strict=True)) == pytest.approx(expected, rel=1e-9)


def test_areas_of_classes():
    counted = ClassAreas((40, 60), CRS, tuple(TRANSFORM)[:6])
    for top in (0, 13, 26):
        counted.add(ids()[top : top + 13 if top < 26 else 40], top)
    section = counted.section(NAMES)["classes"]
    for i, values in section.items():
        assert values["pixels"] == np.count_nonzero(ids() == int(i))
        assert values["hectares"] == pytest.approx(values["pixels"] * 0.09)
    assert set(section) == {"1", "2", "4"}
    assert ClassAreas((4, 5), None, None).section({})["areas_are"].startswith("no areas")


def test_qgis_shows_the_classes_that_occur(files, tmp_path):
    if not PYTHON.exists() or subprocess.run(
        [PYTHON, "-c", "import qgis.core"], capture_output=True, check=False
    ).returncode:  # fmt: skip
        pytest.skip("QGIS is not installed here: apt-get install python3-qgis")
    picture = tmp_path / "map.png"
    probe = Path(__file__).with_name("qgis_probe.py")
    arguments = [files / "map.tif", files / "sure.tif", files / "map.gpkg", picture]
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [PYTHON, probe, *arguments], capture_output=True, text=True, check=True, env=clean,
        timeout=300,
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    shown = [[NAMES[i], "#{:02x}{:02x}{:02x}".format(*PALETTE[i])] for i in (1, 2, 4)]
    assert said["valid"] == [True, True, True]
    assert said["map"] == "paletted"
    assert said["legend"][-3:] == shown
    assert [text for text, _ in said["legend"]][:-3] in ([], ["Band 1"], ["Band 1 (Palette)"])
    assert said["confidence"] == "singlebandpseudocolor"
    assert said["polygons"] == "categorizedSymbol"
    assert said["categories"] == [[i, *entry] for i, entry in zip((1, 2, 4), shown, strict=True)]
    assert said["crs"] == [CRS, CRS]
    drawn = np.asarray(Image.open(picture).convert("RGB"))
    height, width = drawn.shape[:2]
    top = (height - width * 40 // 60) // 2  # the extent is centred
    for (row, column), i in (((5, 5), 1), ((5, 50), 2), ((35, 50), 4)):
        y, x = top + int((row + 0.5) * width / 60), int((column + 0.5) * width / 60)
        assert tuple(drawn[y, x]) == PALETTE[i]
    y, x = top + int(37.5 * width / 60), int(5.5 * width / 60)
    assert tuple(drawn[y, x]) == (255, 255, 255)  # no data is transparent


def test_a_map_of_many_classes(tmp_path):
    many = np.arange(1, 301, dtype=np.int32).reshape(15, 20)
    names = {i: f"class {i}" for i in range(1, 301)}
    write_class_map(tmp_path / "m.tif", many, names, palette(names))
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.dtypes[0] == "uint16"
    assert (tmp_path / "m.qml").read_text().count("<paletteEntry") == 300


def training(seed=0, n=200):
    random = np.random.default_rng(seed)
    classes = random.integers(1, 3, n)
    features = random.normal(size=(n, 4))
    features[:, 0] += 3 * classes  # the one feature that tells the classes apart
    return features, classes, random.integers(0, 100, (n, 2))


def test_the_index_is_the_formula():
    features, classes, positions = training()
    known = fit_applicability(features, classes, positions)
    spread, centre = features.std(0), features.mean(0)
    share = sum(
        (classes == i).mean() * (features[classes == i].mean(0) - centre) ** 2 for i in (1, 2)
    )
    points = (features - centre) / spread * (share / spread**2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    mean = distances[np.triu_indices(len(points), 1)].mean()
    new = np.random.default_rng(1).normal(size=(30, 4))
    moved = (new - centre) / spread * (share / spread**2)
    expected = np.linalg.norm(moved[:, None] - points[None], axis=2).min(1) / mean
    np.testing.assert_allclose(known.index(new), expected, rtol=1e-9)
    np.testing.assert_allclose(known.index(features), 0, atol=1e-12)


def test_like_pixels_are_inside_and_others_are_not():
    known = fit_applicability(*training())
    like, _, _ = training(seed=1)
    assert (known.index(like) <= known.threshold).mean() > 0.8
    far = like + np.array([20, 0, 0, 0])
    assert (known.index(far) > known.threshold).all()
    noise = like + np.array([0, 3, 0, 0])  # in a feature that no class depends on
    assert (known.index(noise) <= known.threshold).mean() > 0.7


def test_spatial_folds_widen_the_threshold():
    """Neighbours that are alike say nothing of the distance to a new place."""
    features, classes, _ = training(n=100)
    near = np.repeat(features, 2, axis=0) + 1e-6  # every pixel has a twin beside it
    places = np.repeat(np.argwhere(np.ones((10, 10))) * 20, 2, axis=0) + [[0, 0], [0, 1]] * 100
    together = fit_applicability(near, np.repeat(classes, 2), places)
    apart = np.random.default_rng(0).permutation(places)
    assert together.threshold > 3 * fit_applicability(near, np.repeat(classes, 2), apart).threshold


def test_too_few_or_equal_pixels_are_refused():
    with pytest.raises(InputError, match="at least 4"):
        fit_applicability(np.ones((3, 2)), np.ones(3), np.ones((3, 2)))
    with pytest.raises(InputError, match="all alike"):
        fit_applicability(np.ones((9, 2)), np.arange(9) % 2, np.ones((9, 2)))


def test_features_are_those_of_the_reduced_scene():
    scene = planted()
    reducer = fit(scene)
    whole = reducer.reduce(scene)
    positions = np.array([[20, 3], [0, 0], [7, 19], [7, 2]])
    np.testing.assert_array_equal(
        features_at(reducer, scene, positions), whole[:, positions[:, 0], positions[:, 1]].T
    )


@pytest.mark.parametrize(
    "how",
    [
        {"method": "krona+"},
        {"method": "svm", "refine": "none"},
        {"method": "trees", "refine": "guided"},
        {"method": "ssftt", "refine": "none"},
    ],
    ids=lambda how: how["method"],
)
def test_a_map_through_the_command_line(tmp_path, monkeypatch, capsys, how):
    """Whatever the method: with its own reduction, its refinement's, or that of its scene."""
    run(config(tmp_path, tmp_path / "run", epochs=1, **how))
    scene = planted(seed=2)
    cube = np.array(scene.cube.values)
    cube[:, :6, :6] = cube[::-1, :6, :6] * 3  # a material that was never seen
    other = scene.__class__("other", scene.cube.copy(data=cube), scene.valid, labels=scene.labels)
    path, _ = write_scene(tmp_path / "other", other)
    words = ["map", tmp_path / "run", path, "--out", tmp_path / "m.tif"]
    words += ["--applicability", "--json"]
    monkeypatch.setattr("sys.argv", ["hyperpeft", *map(str, words)])
    cli.main()
    said = json.loads(capsys.readouterr().out)["applicability"]
    with rasterio.open(tmp_path / "m_applicability.tif") as file:
        index, mask = file.read()
        assert file.descriptions == ("dissimilarity", "applicable")
        assert float(file.tags()["THRESHOLD"]) == pytest.approx(said["threshold"], rel=1e-5)
    assert said["pixels"] == open_scene(path).valid.sum()
    assert said["inside"] == np.nansum(mask)
    np.testing.assert_array_equal(mask == 1, index <= said["threshold"])
    assert mask[:6, :6].mean() < 0.2
    assert mask[6:, 6:].mean() > 0.7
    assert (tmp_path / "m_applicability.qml").is_file()
