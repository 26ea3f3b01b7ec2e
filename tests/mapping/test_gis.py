"""What a GIS makes of a map: QGIS itself where it is installed, and GDAL's view of the polygons."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.features import rasterize
from rasterio.transform import from_origin

from hyperpeft.mapping.outputs.class_areas import ClassAreas
from hyperpeft.mapping.outputs.geotiff import bands_writer, write_class_map
from hyperpeft.mapping.outputs.polygons import write_polygons
from hyperpeft.mapping.outputs.qgis_style import band_style
from hyperpeft.records import palette

PYTHON = Path("/usr/bin/python3")  # Debian's, for which python3-qgis is built
NAMES = {1: "water", 2: "forest & park", 4: 'bare "soil"', 9: "never seen"}
COLOURS = palette(NAMES, NAMES)
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
    write_class_map(folder / "map.tif", ids(), NAMES, COLOURS, **place)
    names = ("margin", "entropy", "encoded")
    with bands_writer(
        folder / "sure.tif", (40, 60), names, style=band_style(0, 1, "margin"), **place
    ) as write:
        write(np.random.default_rng(0).random((3, 40, 60)), 0, 0)
    write_polygons(folder / "map.tif", folder / "map.gpkg", NAMES, COLOURS)
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
    assert write_polygons(files / "map.tif", tmp_path / "p.gpkg", NAMES, COLOURS, smallest=1) == 4


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
    shown = [[NAMES[i], "#{:02x}{:02x}{:02x}".format(*COLOURS[i])] for i in (1, 2, 4)]
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
        assert tuple(drawn[y, x]) == COLOURS[i]
    y, x = top + int(37.5 * width / 60), int(5.5 * width / 60)
    assert tuple(drawn[y, x]) == (255, 255, 255)  # no data is transparent


def test_a_map_of_many_classes(tmp_path):
    many = np.arange(1, 301, dtype=np.int32).reshape(15, 20)
    names = {i: f"class {i}" for i in range(1, 301)}
    write_class_map(tmp_path / "m.tif", many, names, palette(names))
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.dtypes[0] == "uint16"
    assert (tmp_path / "m.qml").read_text().count("<paletteEntry") == 300
