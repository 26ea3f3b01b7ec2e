"""Vectors of every format that OGR has here, whatever stands before their root element."""

from __future__ import annotations

import zipfile

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import rasterio.shutil
import shapely
from rasterio.warp import transform

from hyperpeft.errors import LabelsError, SceneError
from hyperpeft.scenes import open_scene
from tests.helpers.scene_files import ORIGIN, UTM, geotiff, integers

NAMES = np.array(["soil", "grass", "tree"], object)
BOXES = [shapely.box(ORIGIN.c + 150 * i, ORIGIN.f - 60 * (i + 2), ORIGIN.c + 150 * i + 90, ORIGIN.f)
         for i in range(3)]  # fmt: skip
COUNTS = {"soil": 12, "grass": 18, "tree": 24}  # pixels of 30 m


@pytest.fixture
def scene(tmp_path):
    return geotiff(tmp_path / "s.tif", integers())


def in_degrees(shapes):
    return [
        shapely.transform(s, lambda xy: np.stack(transform(UTM, "EPSG:4326", *xy.T), axis=1))
        for s in shapes
    ]


def write(path, driver, shapes=BOXES, crs=UTM, field="crop", names=NAMES, **options):
    wkb = np.array([shapely.to_wkb(s) for s in shapes], object)
    pyogrio.raw.write(
        str(path), wkb, [names], [field], geometry_type=shapes[0].geom_type, crs=crs, driver=driver,
        **options,
    )  # fmt: skip
    return path


def counted(scene, labels, field):
    found = open_scene(scene, labels, class_field=field).labels
    return {found.classes[i]: n for i, n in found.counts().items()}


@pytest.mark.parametrize(
    ("name", "driver", "field"),
    [
        ("v.sqlite", "SQLite", "crop"),
        ("v.db", "SQLite", "crop"),
        ("v.tab", "MapInfo File", "crop"),
        ("v.mif", "MapInfo File", "crop"),
        ("v.gml", "GML", "crop"),
        ("v.fgb", "FlatGeobuf", "crop"),
        ("v.jml", "JML", "crop"),
    ],
)
def test_formats_of_ogr(tmp_path, scene, name, driver, field):
    assert counted(scene, write(tmp_path / name, driver), field) == COUNTS


@pytest.mark.parametrize("name", ["v.geojsonl", "v.geojsons", "v.kml", "v.geojson", "v.txt"])
def test_formats_in_degrees(tmp_path, scene, name):
    driver = {"v.kml": "KML", "v.geojson": "GeoJSON", "v.txt": "GeoJSON"}.get(name, "GeoJSONSeq")
    field = "Name" if driver == "KML" else "crop"
    write(tmp_path / name, driver, in_degrees(BOXES), "EPSG:4326", field)
    assert counted(scene, tmp_path / name, field) == COUNTS


@pytest.mark.parametrize(
    "start", ['<?xml version="1.0" encoding="utf-8"?>\n', "", "\n<!-- x -->\n"]
)
@pytest.mark.parametrize(("name", "driver"), [("v.kml", "KML"), ("v.gml", "GML")])
def test_whatever_stands_before_the_root(tmp_path, scene, name, driver, start):
    shapes, crs = (in_degrees(BOXES), "EPSG:4326") if driver == "KML" else (BOXES, UTM)
    if driver == "GML" and "<!--" in start:
        pytest.skip("OGR does not read it either")
    path = write(tmp_path / name, driver, shapes, crs, "Name")
    text = path.read_text()
    path.write_text(start + text[text.index("?>") + 2 :].lstrip())
    assert counted(scene, path, "Name") == COUNTS


def test_kmz(tmp_path, scene):
    kml = write(tmp_path / "doc.kml", "KML", in_degrees(BOXES), "EPSG:4326", "Name")
    with zipfile.ZipFile(tmp_path / "v.kmz", "w") as archive:
        archive.write(kml, "doc.kml")
    assert counted(scene, tmp_path / "v.kmz", "Name") == COUNTS


def test_gpx(tmp_path, scene):
    points = in_degrees([shapely.Point(ORIGIN.c + 45 + 60 * i, ORIGIN.f - 75) for i in range(4)])
    words = ["grass", "soil", "grass", "soil"]
    text = "".join(
        f'<wpt lat="{p.y}" lon="{p.x}"><name>{i}</name><desc>{word}</desc></wpt>'
        for i, (p, word) in enumerate(zip(points, words, strict=True))
    )
    (tmp_path / "w.gpx").write_text(
        '<?xml version="1.0"?><gpx version="1.1" creator="x" '
        f'xmlns="http://www.topografix.com/GPX/1/1">{text}</gpx>'
    )
    assert counted(scene, tmp_path / "w.gpx", "desc") == {"soil": 2, "grass": 2}


def test_a_vrt_with_a_declaration(tmp_path, scene):
    rasterio.shutil.copy(scene, tmp_path / "s.vrt", driver="VRT")
    path = tmp_path / "t.vrt"
    path.write_text('<?xml version="1.0"?>\n' + (tmp_path / "s.vrt").read_text())
    np.testing.assert_array_equal(open_scene(path).cube.values, integers().transpose(2, 0, 1))


@pytest.mark.parametrize(
    "page", ["<!DOCTYPE html><html>", '<?xml version="1.0"?>\n<html xmlns="x">', "<HTML><body>"]
)
def test_html_is_a_web_page(tmp_path, scene, page):
    for name in ("v.kml", "v.geojson", "v.tif", "v.xml"):
        (tmp_path / name).write_text(page)
        with pytest.raises(LabelsError, match="is a web page"):
            open_scene(scene, tmp_path / name)


def region(name, body, system):
    return (
        f'<Region name="{name}" color="255,0,0"><GeometryDef><CoordSysStr>{system}</CoordSysStr>'
        f"{body}</GeometryDef></Region>"
    )


def ring(kind, shape):
    pairs = " ".join(f"{x} {y}" for x, y in shape.exterior.coords)
    return f"<{kind}><LinearRing><Coordinates>{pairs}</Coordinates></LinearRing></{kind}>"


@pytest.mark.parametrize("pixels", [False, True])
def test_regions_of_interest_of_envi_5(tmp_path, scene, pixels):
    wkt = rasterio.crs.CRS.from_string(UTM).to_wkt().replace('"', "&quot;")
    system = "none" if pixels else wkt
    shapes = BOXES
    if pixels:
        shapes = [shapely.transform(b, lambda xy: (xy - (ORIGIN.c, ORIGIN.f)) / (30, -30))
                  for b in BOXES]  # fmt: skip
    hole = shapely.box(*shapes[2].centroid.buffer(0.1).bounds)
    bodies = [ring("Exterior", s) for s in shapes]
    bodies[2] += ring("Interior", hole)
    text = "".join(
        region(n, f"<Polygon>{b}</Polygon>", system) for n, b in zip(NAMES, bodies, strict=True)
    )
    (tmp_path / "r.xml").write_text(
        f'<?xml version="1.0"?>\n<RegionsOfInterest version="1.1">{text}</RegionsOfInterest>'
    )
    assert counted(scene, tmp_path / "r.xml", None) == COUNTS
    (tmp_path / "r.xml").write_text('<?xml version="1.0"?><RegionsOfInterest version="1.1"/>')
    with pytest.raises(LabelsError, match=r"no polygon and no point.*classification image"):
        open_scene(scene, tmp_path / "r.xml")


def test_regions_of_thresholds_beside_polygons_are_named(tmp_path, scene):
    wkt = rasterio.crs.CRS.from_string(UTM).to_wkt().replace('"', "&quot;")
    body = f"<Polygon>{ring('Exterior', BOXES[0])}</Polygon>"
    other = '<Region name="bright" color="0,0,255"><RasterDef/></Region>'
    (tmp_path / "r.xml").write_text(
        f"<RegionsOfInterest>{region('soil', body, wkt)}{other}</RegionsOfInterest>"
    )
    labels = open_scene(scene, tmp_path / "r.xml").labels
    assert list(labels.classes.values()) == ["soil"]
    assert any("without polygons or points: bright" in note for note in labels.notes)


@pytest.mark.parametrize(
    ("name", "data"), [("v.docx", b"PK"), ("v.x", b"\x01\x02"), ("v.pdf", b"%")]
)
def test_advice_for_labels_names_vectors(tmp_path, scene, name, data):
    (tmp_path / name).write_bytes(data * 40)
    with pytest.raises(LabelsError, match="GeoPackage"):
        open_scene(scene, tmp_path / name)


def test_vectors_given_as_the_scene(tmp_path):
    with pytest.raises(SceneError, match="it holds vectors: give it as --labels"):
        open_scene(write(tmp_path / "v.fgb", "FlatGeobuf"))


def test_a_folder_of_a_shapefile(tmp_path, scene):
    (tmp_path / "layer").mkdir()
    write(tmp_path / "layer" / "v.shp", "ESRI Shapefile")
    assert counted(scene, tmp_path / "layer", "crop") == COUNTS


def test_a_part_of_a_mapinfo_layer(tmp_path, scene):
    write(tmp_path / "v.tab", "MapInfo File")
    with pytest.raises(LabelsError, match=r"a part of a MapInfo layer; give .*v.tab"):
        open_scene(scene, tmp_path / "v.dat")


FRENCH = np.array(["forêt", "blé", "Straße"], object)
GREEK = np.array(["δάσος", "σιτάρι", "δρόμος"], object)


class TestTexts:
    @pytest.mark.parametrize(
        ("encoding", "names"), [("UTF-8", FRENCH), ("UTF-8", GREEK), ("ISO-8859-1", FRENCH)]
    )
    def test_shapefiles_without_a_code_page(self, tmp_path, scene, encoding, names):
        write(tmp_path / "v.shp", "ESRI Shapefile", names=names, encoding=encoding)
        (tmp_path / "v.cpg").unlink()
        assert set(counted(scene, tmp_path / "v.shp", "crop")) == set(names)

    def test_one_form_for_one_name(self, tmp_path, scene):
        """The same name, composed and decomposed, is one class."""
        names = np.array(["forêt", "fore\u0302t", "blé"], object)
        write(tmp_path / "v.gpkg", "GPKG", names=names)
        assert set(counted(scene, tmp_path / "v.gpkg", "crop")) == {"forêt", "blé"}

    def test_csv_of_two_encodings(self, tmp_path, scene):
        for encoding in ("utf-8", "latin-1", "utf-8-sig"):
            text = "row,column,class\n1,1,forêt\n2,2,blé\n"
            (tmp_path / "p.csv").write_text(text, encoding=encoding)
            assert set(counted(scene, tmp_path / "p.csv", None)) == {"forêt", "blé"}
