"""Points and polygons onto a scene's grid, in every format that OGR has here."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.warp import transform

from hyperpeft.errors import ConfigError, LabelsError, SceneError
from hyperpeft.records import Labels
from hyperpeft.scenes import match_names, open_scene, read_labels
from hyperpeft.scenes.labels import rasterize
from tests.helpers.scene_files import ORIGIN, UTM, cube, geotiff, integers, mat5

H, W = 20, 30


def write(path: Path, shapes, crs: str | None = UTM, **columns) -> Path:
    """Vectors in any format, by pyogrio; coordinates are columns and rows of the scene's grid."""
    geometries = np.array([None if s is None else to_wkb(s) for s in shapes], dtype=object)
    values = [np.array(c, dtype=object if isinstance(c[0], str) else None)
              for c in columns.values()]  # fmt: skip
    kinds = {s.geom_type for s in shapes if s is not None}
    pyogrio.raw.write(
        path, geometries, values, list(columns), crs=crs,
        geometry_type=kinds.pop() if len(kinds) == 1 else "Unknown", append=path.exists(),
        **({"layer": path.stem} if path.suffix == ".gpkg" else {}),
    )  # fmt: skip
    return path


def at(origin: Affine, x, y):
    """Columns and rows to coordinates of a map."""
    a, b, c, d, e, f = tuple(origin)[:6]
    return a * x + b * y + c, d * x + e * y + f


def to_map(shape, origin: Affine = ORIGIN):
    return shapely.transform(shape, lambda xy: np.stack(at(origin, *xy.T), axis=1))


def to_wkb(shape) -> bytes:
    return shapely.to_wkb(to_map(shape))


def polygons(n: int = 12, seed: int = 0):
    """Blobs of several pixels, some of them overlapping, some out of the grid."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        angles = np.arange(7) * 0.9 + rng.uniform(0, 0.5, 7)
        radii = rng.uniform(1, 5, 7)
        centre = rng.uniform([-2, -2], [W + 2, H + 2])
        made.append(
            shapely.Polygon(centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1))
        )
    return made


def by_centres(shapes, ids):
    """Class ids, region numbers and doubly covered pixels, pixel by pixel."""
    x, y = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    out, regions, doubled = np.zeros((H, W), int), np.zeros((H, W), int), np.zeros((H, W), int)
    conflict = np.zeros((H, W), bool)
    for number, (shape, i) in enumerate(zip(shapes, ids, strict=True), start=1):
        inside = shapely.contains_xy(shape, x, y)
        conflict |= inside & (out != 0) & (out != i)
        doubled += inside
        regions[inside & (regions == 0)] = number
        out[inside & (out == 0)] = i
    out[conflict] = regions[conflict] = 0
    return out, regions, conflict, (doubled > 1) & ~conflict


@pytest.fixture
def scene(tmp_path):
    return open_scene(geotiff(tmp_path / "scene.tif", cube(H, W)))


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "fgb"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_polygons_of_every_format(tmp_path, scene, suffix, seed):
    shapes = polygons(seed=seed)
    ids = np.random.default_rng(seed).choice([3, 7, 20], len(shapes))
    path = write(tmp_path / f"roi.{suffix}", shapes, klass=ids.astype(np.int32))
    if suffix == "fgb":  # it sorts its features in space: take the file's own order
        _, _, wkb, (ids,) = pyogrio.raw.read(path)
        shapes = [to_map(shape, ~ORIGIN) for shape in shapely.from_wkb(wkb)]
    labels = read_labels(path, scene=scene, class_field="klass")
    expected, regions, conflict, doubled = by_centres(shapes, ids)
    np.testing.assert_array_equal(labels.ids, expected)
    np.testing.assert_array_equal(labels.regions, regions)
    assert labels.classes == {i: f"class {i}" for i in sorted(set(ids.tolist()))}
    text = "\n".join(labels.notes)
    assert (f"{conflict.sum()} pixels lie in polygons of several classes" in text) == conflict.any()
    assert (f"{doubled.sum()} pixels lie in several polygons of their" in text) == doubled.any()
    assert conflict.any() or doubled.any()


def test_reprojected_from_degrees(tmp_path, scene):
    """GeoJSON as others write it by hand: WGS 84, longitude first."""
    shapes, names = polygons(6, seed=3), ["road", "Tree", "road", "Tree", "water", "road"]
    features = []
    for shape, name in zip(shapes, names, strict=True):
        x, y = np.array(to_map(shape).exterior.coords).T
        ring = np.stack(transform(UTM, "EPSG:4326", x, y), axis=1).tolist()
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {"class": name}, "geometry": geometry})
    path = tmp_path / "roi.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    labels = read_labels(path, scene=scene)
    assert labels.classes == {1: "Tree", 2: "road", 3: "water"}  # sorted, not as they come
    ids = [{"Tree": 1, "road": 2, "water": 3}[name] for name in names]
    np.testing.assert_array_equal(labels.ids, by_centres(shapes, ids)[0])
    assert any("reprojected from EPSG:4326 to EPSG:32633" in note for note in labels.notes)


def test_rotated_grid(tmp_path):
    origin = Affine(2.7, 1.3, 364_000, 1.3, -2.7, 5_810_000)
    scene = open_scene(geotiff(tmp_path / "s.tif", cube(H, W), transform=origin))
    shapes = polygons(5, seed=4)
    wkb = np.array([shapely.to_wkb(to_map(s, origin)) for s in shapes], dtype=object)
    path = tmp_path / "roi.gpkg"
    pyogrio.raw.write(
        path, wkb, [np.array([1, 2, 1, 2, 3])], ["label"], geometry_type="Polygon", crs=UTM
    )
    labels = read_labels(path, scene=scene)
    np.testing.assert_array_equal(labels.ids, by_centres(shapes, [1, 2, 1, 2, 3])[0])


def test_slivers_multiparts_and_all_touched(tmp_path, scene):
    """Two parts of one feature, a sliver between the centres of two columns, one hidden polygon."""
    twice = shapely.MultiPolygon([shapely.box(0, 0, 3, 2), shapely.box(0, 10, 1, 12)])
    sliver = shapely.box(5.6, 0.2, 6.4, 2.8)  # centres are at 5.5 and 6.5
    hidden = shapely.box(1, 0, 2, 1)
    away = shapely.box(100, 100, 110, 110)
    shapes = [twice, sliver, hidden, away, None]
    path = write(tmp_path / "roi.gpkg", shapes, name=["a", "b", "a", "b", "b"])
    centre = read_labels(path, scene=scene)
    expected = np.zeros((H, W), int)
    expected[:2, :3] = expected[10:12, 0] = 1
    np.testing.assert_array_equal(centre.ids, expected)
    assert set(np.unique(centre.regions)) == {0, 1, 2}
    assert (centre.regions[10:12, 0] == 2).all()
    text = "\n".join(centre.notes)
    for words in (
        "field name was taken for the classes",
        "1 features have no geometry",
        "1 of 5 polygons lie outside the scene",
        "8 pixels labelled from 3 polygons by the centre rule",
        "1 pixels lie in several polygons of their class",
        "1 of 4 polygons cover no pixel centre; --all-touched",
        "no pixel of class 2 (b)",
    ):
        assert words in text
    touched = read_labels(path, scene=scene, all_touched=True)
    expected[:3, 5:7] = 2
    np.testing.assert_array_equal(touched.ids, expected)
    assert not any("cover no pixel" in note for note in touched.notes)


def test_all_touched_keeps_what_the_centres_say(tmp_path, scene):
    shapes, ids = polygons(20, seed=5), [1, 2] * 10
    path = write(tmp_path / "roi.gpkg", shapes, id_class=ids)
    centre, touched = (
        read_labels(path, scene=scene, class_field="id_class", all_touched=a) for a in (0, 1)
    )
    labelled = by_centres(shapes, ids)
    known = (labelled[0] > 0) | labelled[2]
    np.testing.assert_array_equal(touched.ids[known], centre.ids[known])
    assert (touched.ids > 0).sum() > (centre.ids > 0).sum()
    x, y = np.meshgrid(np.arange(W), np.arange(H))
    cells = shapely.box(x, y, x + 1, y + 1)
    union = {i: shapely.union_all([s for s, j in zip(shapes, ids, strict=True) if j == i])
             for i in (1, 2)}  # fmt: skip
    reached = {i: shapely.intersects(shape, cells) for i, shape in union.items()}
    added = (touched.ids > 0) & ~known
    for i in (1, 2):
        assert reached[i][added & (touched.ids == i)].all()
        alone = reached[i] & ~reached[3 - i] & ~known
        assert (touched.ids[alone] == i).all()


def test_points_in_one_pixel(tmp_path, scene):
    where = [(3.2, 4.9), (3.8, 4.1), (10.0, 0.0), (29.99, 19.99), (7.5, 7.5), (7.9, 7.2), (-1, 3)]
    path = write(
        tmp_path / "gcp.gpkg",
        [shapely.Point(p) for p in where],
        species=["oak", "oak", "ash", "elm", "oak", "elm", "elm"],
    )
    labels = read_labels(path, scene=scene, class_field="SPECIES")
    found = {(int(r), int(c)): int(labels.ids[r, c]) for r, c in np.argwhere(labels.ids)}
    assert found == {(4, 3): 3, (0, 10): 1, (19, 29): 2}
    assert labels.classes == {1: "ash", 2: "elm", 3: "oak"}
    text = "\n".join(labels.notes)
    assert "1 pixels lie in points of several classes" in text
    assert "1 of 7 points lie outside" in text


def test_what_lies_on_top_of_each_other_is_burnt_into_its_bounds(tmp_path, scene, monkeypatch):
    """Whether hidden ones cover a pixel is counted; a burn of the scene for each took hours."""
    sizes = []

    def spy(*arguments, out_shape, **options):
        sizes.append(tuple(out_shape))
        return burn(*arguments, out_shape=out_shape, **options)

    burn = rasterize.rasterize
    monkeypatch.setattr(rasterize, "rasterize", spy)
    sliver = shapely.box(5.6, 5.6, 5.9, 5.9)  # within a pixel, beside its centre
    shapes = [*[shapely.Point(3.2, 4.9)] * 300, *[shapely.box(12, 2, 16, 5)] * 40, sliver]
    path = write(tmp_path / "a.gpkg", shapes, crop=["maize"] * 340 + ["wheat"])
    labels = read_labels(path, scene=scene)
    text = "\n".join(labels.notes)
    assert "13 pixels labelled from 340 points and polygons" in text
    assert "1 of 341 points and polygons cover no pixel centre" in text
    assert sizes.count(scene.valid.shape) < 6
    others = set(sizes) - {scene.valid.shape}
    assert max(height * width for height, width in others) == 4 * 12  # of box and sliver together


CSV = [
    ("x,y,class", ",", lambda c, r: at(ORIGIN, c + 0.5, r + 0.5)),
    ("class;Easting;Northing", ";", lambda c, r: at(ORIGIN, c + 0.5, r + 0.5)),
    ("lon\tlat\tclass", "\t", None),
    ("row,column,class", ",", lambda c, r: (c, r)),
]


@pytest.mark.parametrize(("header", "separator", "place"), CSV)
def test_tables_of_points(tmp_path, scene, header, separator, place):
    pixels = {(0, 0): "b", (5, 7): "a", (19, 29): "c"}
    lines = [header]
    for (r, c), name in pixels.items():
        if place is None:
            x, y = at(ORIGIN, c + 0.5, r + 0.5)
            (x,), (y,) = transform(UTM, "EPSG:4326", [x], [y])
        else:
            x, y = place(c, r)
        named = {"x": x, "y": y, "easting": x, "northing": y, "lon": x, "lat": y,
                 "row": r, "column": c, "class": name}  # fmt: skip
        lines.append(separator.join(str(named[h.lower()]) for h in header.split(separator)))
    path = tmp_path / "points.csv"
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    labels = read_labels(path, scene=scene)
    found = {(int(r), int(c)): labels.classes[int(labels.ids[r, c])]
             for r, c in np.argwhere(labels.ids)}  # fmt: skip
    assert found == pixels
    if "row" in header:  # also where there is no georeference
        plain = open_scene(mat5(tmp_path / "s.mat", cube=cube(H, W)), labels=path)
        np.testing.assert_array_equal(plain.labels.ids, labels.ids)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,class\n", "a line for each point"),
        ("1,2,a\n3,4,b\n", r"expected a header such as x,y,class .*got 1, 2, a"),
        ("x,y,class\n1,2\n", r"row 1: expected 3 values, got \['1', '2'\]"),
        ("x,y,class\n1,two,a\n", "point 1: y: expected a number, .* got 'two'"),
        ("x,y\n1,2\n", "not clear which field holds the classes: got no field at all"),
        ("x,y,lon,lat,class\n1,2,3,4,a\n", "give every point twice"),
        ("x,y,class\n1,2,a\n", "lie outside scene scene: expected coordinates within x 364000"),
        (
            "x,y,class\n13.1,52.4,a\n",
            r"like degrees: name the columns lon,lat \(or",
        ),
        ("lon,lat,class\n52.4,131,a\n", "lat from -90 to 90, got 131; lon and lat seem"),
        ("lon,lat,class\n{lat},{lon},a\n", "lie outside .*; lon and lat seem to be exchanged"),
        ("row,column,class\n0,0,0\n", "expected class numbers from 1 .*got 0; renumber"),
        ("row,column,class\n0,0,-3\n", "got -3"),
        ("row,column,class\n0,0,70000\n", "ids up to 65535"),
        ("row,column,class\n0,0,\n", "field class is empty in every feature"),
        ("row,column,class\n0,0,NA\n1,1, null\n", "field class is empty in every feature"),
        ("row,column,class\n0,1_1,a\n", "point 1: column: expected a number, .* got '1_1'"),
    ],
)
def test_tables_that_are_refused(tmp_path, scene, text, message):
    path = tmp_path / "points.csv"
    (lon,), (lat,) = transform(UTM, "EPSG:4326", *[[value] for value in at(ORIGIN, 3.5, 4.5)])
    path.write_text(text.replace("{lon}", f"{lon}").replace("{lat}", f"{lat}"))
    with pytest.raises(LabelsError, match=message):
        read_labels(path, scene=scene)


def test_names_that_differ_in_capitals_are_noted(tmp_path, scene):
    path = tmp_path / "points.csv"
    path.write_text("row,column,class\n0,0,roof\n1,1,ROOF\n2,2,soil\n3,3,Roof\n")
    labels = read_labels(path, scene=scene)
    assert len(labels.classes) == 4
    assert "labels points.csv: ROOF and Roof and roof are separate classes" in labels.notes


@pytest.mark.parametrize("word", ["", "NA", "n/a", "NaN", "nan", "null", "NULL", "None", " Na "])
@pytest.mark.parametrize(
    ("names", "expected"), [("ab", ["a", "b"]), ("23", ["class 2", "class 3"])]
)
def test_words_for_no_class(tmp_path, scene, word, names, expected):
    path = tmp_path / "points.csv"
    path.write_text(f"row,column,class\n0,0,{names[0]}\n1,1,{word}\n2,2,{names[1]}\n")
    labels = read_labels(path, scene=scene)
    assert list(labels.classes.values()) == expected
    assert np.argwhere(labels.ids).tolist() == [[0, 0], [2, 2]]
    assert "1 features have no class and are left out" in "\n".join(labels.notes)
    if word:
        vectors = three(tmp_path, klass=[names[0], word, names[1], names[1]])
        labels = read_labels(vectors, scene=scene, class_field="klass")
        assert list(labels.classes.values()) == expected
        assert not labels.ids[:3, 3:6].any()


@pytest.mark.parametrize("name", ["1_1", "1e1", "0x1"])
def test_what_only_python_calls_a_number_is_a_name(tmp_path, scene, name):
    path = tmp_path / "points.csv"
    path.write_text(f"row,column,class\n0,0,{name}\n1,1,2\n", encoding="utf-8")
    assert read_labels(path, scene=scene).classes == {1: name, 2: "2"}
    path.write_text("row,column,class\n0,0,1.0\n1,1,+2\n2,2,03\n")
    assert list(read_labels(path, scene=scene).classes) == [1, 2, 3]


def three(tmp_path, **columns):
    boxes = [shapely.box(3 * i, 0, 3 * i + 3, 3) for i in range(4)]
    path = tmp_path / "roi.gpkg"
    path.unlink(missing_ok=True)
    return write(path, boxes, **columns)


def test_class_field_is_guessed_only_when_one_can_be_meant(tmp_path, scene):
    site, area = ["s", "t", "u", "u"], [1.5, 2.5, 9.0, 4.0]
    for columns, field in (
        ({"id": [1, 2, 3, 4], "crop": ["a", "b", "a", "b"]}, "crop"),
        ({"site": site, "Class": [2, 2, 1, 1], "area": area}, "Class"),
        ({"area": area, "kind": [4, 4, 5, 5]}, "kind"),
    ):
        labels = read_labels(three(tmp_path, **columns), scene=scene)
        assert labels.source == f"roi.gpkg field {field}"
        assert any(f"field {field} was taken for the classes" in note for note in labels.notes)
    unclear = three(tmp_path, site=site, crop=["a", "b", "a", "b"])
    with pytest.raises(LabelsError, match=r"site \(s, t, u\); crop \(a, b\); name it with --class"):
        read_labels(unclear, scene=scene)
    with pytest.raises(LabelsError, match=r"no field 'corp': expected one of site .*crop"):
        read_labels(unclear, scene=scene, class_field="corp")
    with pytest.raises(LabelsError, match="not clear which field"):
        read_labels(three(tmp_path, area=area), scene=scene)
    with pytest.raises(LabelsError, match=r"expected whole numbers or text as classes, got 1.5"):
        read_labels(three(tmp_path, area=area), scene=scene, class_field="area")


def test_numbers_keep_their_ids_and_find_their_names(tmp_path, scene):
    codes, names = [30, 10, 10, 2], ["corn", "oat", "oat", "rye"]
    labels = read_labels(
        three(tmp_path, code=codes, name=names, note=list("abcd")), scene=scene, class_field="code"
    )
    assert labels.classes == {2: "rye", 10: "oat", 30: "corn"}
    assert labels.counts() == {2: 9, 10: 18, 30: 9}
    mixed = ["corn", "oat", "oats", "rye"]  # two names for 10: none is taken
    labels = read_labels(three(tmp_path, code=codes, name=mixed), scene=scene, class_field="code")
    assert labels.classes == {2: "class 2", 10: "class 10", 30: "class 30"}
    text = read_labels(three(tmp_path, code=["30", "10", "10", "2"]), scene=scene)
    assert text.counts() == {2: 9, 10: 18, 30: 9}  # numbers as text are numbers
    sparse = read_labels(three(tmp_path, crop=["b", "", " b ", "a"]), scene=scene)
    assert sparse.classes == {1: "a", 2: "b"}
    assert any("1 features have no class" in note for note in sparse.notes)


def test_classes_are_the_same_by_name():
    ids = np.array([[0, 1, 2], [3, 1, 3]], np.int32)
    colours = {1: (1, 1, 1), 2: (2, 2, 2), 3: (3, 3, 3)}
    regions = np.where(ids > 0, 5, 0)
    labels = Labels(ids, {1: "ash", 2: "elm", 3: "oak"}, colours, regions=regions)
    matched = match_names(labels, {1: "beech", 2: "ash", 4: "oak"})
    assert matched.ids.tolist() == [[0, 2, 5], [4, 2, 4]]  # elm is new, and 2 is taken
    assert matched.classes == {2: "ash", 4: "oak", 5: "elm"}
    assert matched.colours == {2: (1, 1, 1), 4: (3, 3, 3), 5: (2, 2, 2)}
    assert matched.ids.dtype == np.int32
    np.testing.assert_array_equal(matched.regions, regions)
    assert match_names(labels, {7: "class 7"}) is labels
    with pytest.raises(LabelsError, match="no class in common: expected some of palm, got ash"):
        match_names(labels, {7: "palm"})
    assert match_names(labels, {1: "ash"}) is labels


def test_layers_lines_and_missing_crs(tmp_path, scene):
    two = three(tmp_path, crop=["a", "b", "a", "b"])
    line = np.array([shapely.to_wkb(to_map(shapely.LineString([(0, 0), (9, 9)])))], dtype=object)
    pyogrio.raw.write(
        two, line, [np.array(["a"], object)], ["crop"], layer="roads", crs=UTM,
        geometry_type="LineString", append=True,
    )  # fmt: skip
    with pytest.raises(LabelsError, match=r"expected one layer, got .*roi.gpkg:roi.*gpkg:roads"):
        read_labels(two, scene=scene)
    with pytest.raises(LabelsError, match="no layer 'rods'"):
        read_labels(f"{two}:rods", scene=scene)
    assert read_labels(f"{two}:roi", scene=scene).counts() == {1: 18, 2: 18}
    with pytest.raises(
        LabelsError, match=r"expected points or polygons with a class, got.*1 lines"
    ):
        read_labels(f"{two}:roads", scene=scene, class_field="crop")
    plain = write(tmp_path / "plain.shp", [shapely.box(0, 0, 2, 2)], crs=None, crop=["a"])
    labels = read_labels(plain, scene=scene, class_field="crop")
    assert labels.counts() == {1: 4}
    assert any("name no CRS; taken to be the scene's" in note for note in labels.notes)


def test_a_layer_with_a_colon_in_its_name(tmp_path, scene):
    path = tmp_path / "a.gpkg"
    for layer, names in {"x:y": ["a", "b"], "y": ["c", "d"]}.items():
        shapes = np.array([to_wkb(shape) for shape in polygons(2)], dtype=object)
        pyogrio.raw.write(
            path, shapes, [np.array(names, dtype=object)], ["crop"], layer=layer, driver="GPKG",
            geometry_type="Polygon", crs=UTM, append=path.exists(),
        )  # fmt: skip
    labels = read_labels(f"{path}:x:y", scene=scene)
    assert set(labels.classes.values()) <= {"a", "b"}
    assert set(read_labels(f"{path}:y", scene=scene).classes.values()) <= {"c", "d"}


def test_files_that_are_refused(tmp_path, scene):
    path = three(tmp_path, crop=["a", "b", "a", "b"])
    with pytest.raises(LabelsError, match="are vectors: expected a scene"):
        read_labels(path)
    plain = open_scene(mat5(tmp_path / "s.mat", cube=cube(H, W)))
    with pytest.raises(LabelsError, match=r"has no georeference; .*row, column and class"):
        read_labels(path, scene=plain)
    (tmp_path / "bad.geojson").write_text('{"type": "Feature')
    with pytest.raises(LabelsError, match=r"bad.geojson cannot be read as vectors"):
        read_labels(tmp_path / "bad.geojson", scene=scene)
    write(tmp_path / "a.shp", [shapely.box(0, 0, 2, 2)], crop=["a"])
    with pytest.raises(LabelsError, match=r"a part of a shapefile; give .*a.shp"):
        read_labels(tmp_path / "a.dbf", scene=scene)
    ids = geotiff(tmp_path / "ids.tif", np.ones((H, W), np.uint8))
    with pytest.raises(LabelsError, match="are not vectors and have no field 'crop'"):
        read_labels(ids, scene=scene, class_field="crop")
    with pytest.raises(ConfigError, match="give the labels too"):
        open_scene(tmp_path / "scene.tif", class_field="crop")


def test_the_scene_carries_the_notes(tmp_path, scene):
    path = three(tmp_path, crop=["a", "b", "a", "b"])
    opened = open_scene(tmp_path / "scene.tif", path, class_field="crop")
    assert opened.labels.notes
    assert set(opened.labels.notes) <= set(opened.notes)
    assert len(opened.with_labels(opened.labels).notes) == len(opened.notes)


def test_a_raster_of_another_grid_is_resampled_when_asked(tmp_path):
    """Labels of a third of the pixel, in another CRS; the reference is a look-up of centres."""
    scene = open_scene(geotiff(tmp_path / "s.tif", cube(H, W)))
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 4, (90, 120)).astype(np.uint8)
    fine[5:8] = 255
    x, y = transform(UTM, "EPSG:32632", [ORIGIN.c], [ORIGIN.f])
    origin = Affine(10, 0, round(x[0]) - 100, 0, -10, round(y[0]) + 150)
    path = geotiff(tmp_path / "l.tif", fine, crs="EPSG:32632", transform=origin, nodata=255)
    with pytest.raises(LabelsError, match=r"another grid than scene s: .*give --resample-labels"):
        read_labels(path, scene=scene)
    labels = open_scene(tmp_path / "s.tif", path, resample_labels=True).labels
    columns, rows = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    xs, ys = transform(UTM, "EPSG:32632", *at(ORIGIN, columns.ravel(), rows.ravel()))
    c, r = at(~origin, np.array(xs), np.array(ys))
    inside = (c >= 0) & (r >= 0) & (c < 120) & (r < 90)
    expected = np.zeros(H * W, int)
    expected[inside] = np.where(fine == 255, 0, fine)[r[inside].astype(int), c[inside].astype(int)]
    edge = np.minimum(np.abs(c - np.round(c)), np.abs(r - np.round(r))) < 0.02
    same = labels.ids.ravel() == expected
    assert same[~edge].all()
    assert 0.1 < (expected > 0).mean() < 1
    *_, note = labels.notes
    assert "resampled by nearest neighbour from (90, 120)" in note
    with pytest.raises(LabelsError, match="both need a georeference"):
        read_labels(geotiff(tmp_path / "p.tif", fine, crs=None), scene=scene, resample_labels=True)
    own = geotiff(tmp_path / "own.tif", np.ones((H, W), np.uint8))
    assert read_labels(own, scene=scene, resample_labels=True).notes == ()


def test_berlin(data):
    """Real ENVI scene, real shapefile: six multipolygons of 3,531 buildings, lawns, roads."""
    place = data / "berlin-enmap"
    cube, shapes = (
        place / "EnMAP_BerlinUrbanGradient.bsq",
        place / "LandCov_BerlinUrbanGradient.shp",
    )
    with pytest.raises(LabelsError, match=r"Level_1 \(Impervious.*Level_2 \(.*Level_2_ID \(1, 2"):
        open_scene(cube, shapes)
    scene = open_scene(cube, shapes, class_field="Level_2_ID")
    labels = scene.labels
    assert labels.classes == {
        1: "Roof", 2: "Pavement", 3: "Low vegetation", 4: "Tree", 5: "Soil", 6: "Other"
    }  # fmt: skip
    by_name = open_scene(cube, shapes, class_field="Level_2").labels
    names = np.vectorize(lambda i, of: of.get(i, ""))
    np.testing.assert_array_equal(
        names(labels.ids, labels.classes), names(by_name.ids, by_name.classes)
    )
    # Pixel by pixel, with shapely: which of the six features holds each centre.
    _, _, wkb, (ids,) = pyogrio.raw.read(shapes, columns=["Level_2_ID"], force_2d=True)
    with rasterio.open(cube) as file:
        height, width = file.shape
        columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        x, y = at(file.transform, columns, rows)
    inside = np.stack([shapely.contains_xy(shapely.buffer(s, 0), x, y)
                       for s in shapely.from_wkb(wkb)])  # fmt: skip
    expected = np.where(inside.sum(axis=0) == 1, ids[inside.argmax(axis=0)], 0)
    assert (labels.ids != expected).sum() <= 2  # polygons that cross themselves
    assert sum(labels.counts().values()) == 832
    assert len(np.unique(labels.regions)) - 1 == 330
    assert any("2332 of 2662 polygons cover no pixel centre" in note for note in scene.notes)


def test_gdal_writes_nothing_of_its_own(tmp_path):
    """A process of its own: whichever copy of GDAL is loaded first, its stderr is the user's."""
    shapes = [shapely.box(2, 2, 9, 9), shapely.box(12, 2, 19, 9)]
    labels = write(tmp_path / "roi.gpkg", shapes, crop=["maize", "wheat"])
    scene = geotiff(tmp_path / "scene.tif", cube(H, W))
    code = (
        "import hyperpeft, sys\n"
        "scene = hyperpeft.open_scene(sys.argv[1], labels=sys.argv[2], class_field='crop')\n"
        "print((scene.labels.ids > 0).sum())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(scene), str(labels)], capture_output=True, text=True
    )
    assert done.stdout.split() == ["98"]
    assert done.stderr == ""


NAMES = np.array(["soil", "grass", "tree"], object)
BOXES = [shapely.box(ORIGIN.c + 150 * i, ORIGIN.f - 60 * (i + 2), ORIGIN.c + 150 * i + 90, ORIGIN.f)
         for i in range(3)]  # fmt: skip
COUNTS = {"soil": 12, "grass": 18, "tree": 24}  # pixels of 30 m


@pytest.fixture
def raster(tmp_path):
    return geotiff(tmp_path / "s.tif", integers())


def in_degrees(shapes):
    return [
        shapely.transform(s, lambda xy: np.stack(transform(UTM, "EPSG:4326", *xy.T), axis=1))
        for s in shapes
    ]


def write_format(path, driver, shapes=BOXES, crs=UTM, field="crop", names=NAMES, **options):
    wkb = np.array([shapely.to_wkb(s) for s in shapes], object)
    pyogrio.raw.write(
        str(path), wkb, [names], [field], geometry_type=shapes[0].geom_type, crs=crs, driver=driver,
        **options,
    )  # fmt: skip
    return path


def counted(raster, labels, field):
    found = open_scene(raster, labels, class_field=field).labels
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
def test_formats_of_ogr(tmp_path, raster, name, driver, field):
    assert counted(raster, write_format(tmp_path / name, driver), field) == COUNTS


@pytest.mark.parametrize("name", ["v.geojsonl", "v.geojsons", "v.kml", "v.geojson", "v.txt"])
def test_formats_in_degrees(tmp_path, raster, name):
    driver = {"v.kml": "KML", "v.geojson": "GeoJSON", "v.txt": "GeoJSON"}.get(name, "GeoJSONSeq")
    field = "Name" if driver == "KML" else "crop"
    write_format(tmp_path / name, driver, in_degrees(BOXES), "EPSG:4326", field)
    assert counted(raster, tmp_path / name, field) == COUNTS


@pytest.mark.parametrize(
    "start", ['<?xml version="1.0" encoding="utf-8"?>\n', "", "\n<!-- x -->\n"]
)
@pytest.mark.parametrize(("name", "driver"), [("v.kml", "KML"), ("v.gml", "GML")])
def test_whatever_stands_before_the_root(tmp_path, raster, name, driver, start):
    shapes, crs = (in_degrees(BOXES), "EPSG:4326") if driver == "KML" else (BOXES, UTM)
    if driver == "GML" and "<!--" in start:
        pytest.skip("OGR does not read it either")
    path = write_format(tmp_path / name, driver, shapes, crs, "Name")
    text = path.read_text()
    path.write_text(start + text[text.index("?>") + 2 :].lstrip())
    assert counted(raster, path, "Name") == COUNTS


def test_kmz(tmp_path, raster):
    kml = write_format(tmp_path / "doc.kml", "KML", in_degrees(BOXES), "EPSG:4326", "Name")
    with zipfile.ZipFile(tmp_path / "v.kmz", "w") as archive:
        archive.write(kml, "doc.kml")
    assert counted(raster, tmp_path / "v.kmz", "Name") == COUNTS


def test_gpx(tmp_path, raster):
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
    assert counted(raster, tmp_path / "w.gpx", "desc") == {"soil": 2, "grass": 2}


def test_a_vrt_with_a_declaration(tmp_path, raster):
    rasterio.shutil.copy(raster, tmp_path / "s.vrt", driver="VRT")
    path = tmp_path / "t.vrt"
    path.write_text('<?xml version="1.0"?>\n' + (tmp_path / "s.vrt").read_text())
    np.testing.assert_array_equal(open_scene(path).cube.values, integers().transpose(2, 0, 1))


@pytest.mark.parametrize(
    "page", ["<!DOCTYPE html><html>", '<?xml version="1.0"?>\n<html xmlns="x">', "<HTML><body>"]
)
def test_html_is_a_web_page(tmp_path, raster, page):
    for name in ("v.kml", "v.geojson", "v.tif", "v.xml"):
        (tmp_path / name).write_text(page)
        with pytest.raises(LabelsError, match="is a web page"):
            open_scene(raster, tmp_path / name)


def region(name, body, system):
    return (
        f'<Region name="{name}" color="255,0,0"><GeometryDef><CoordSysStr>{system}</CoordSysStr>'
        f"{body}</GeometryDef></Region>"
    )


def ring(kind, shape):
    pairs = " ".join(f"{x} {y}" for x, y in shape.exterior.coords)
    return f"<{kind}><LinearRing><Coordinates>{pairs}</Coordinates></LinearRing></{kind}>"


@pytest.mark.parametrize("pixels", [False, True])
def test_regions_of_interest_of_envi_5(tmp_path, raster, pixels):
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
    assert counted(raster, tmp_path / "r.xml", None) == COUNTS
    (tmp_path / "r.xml").write_text('<?xml version="1.0"?><RegionsOfInterest version="1.1"/>')
    with pytest.raises(LabelsError, match=r"no polygon and no point.*classification image"):
        open_scene(raster, tmp_path / "r.xml")


@pytest.mark.parametrize("single", [True, False])
def test_points_of_regions_of_interest_count_once(tmp_path, raster, single):
    texts = [f"<Coordinates>{x} {y}</Coordinates>" for x, y in ((3.5, 4.5), (6.5, 7.5))]
    body = "".join(f"<Point>{text}</Point>" if single else text for text in texts)
    soil = region("soil", f"<MultiPoint>{body}</MultiPoint>", "none")
    oak = region("oak", "<Point><Coordinates>1.5 4.5</Coordinates></Point>", "none")
    (tmp_path / "r.xml").write_text(f"<RegionsOfInterest>{soil}{oak}</RegionsOfInterest>")
    labels = open_scene(raster, tmp_path / "r.xml").labels
    assert np.argwhere(labels.ids == 1).tolist() == [[4, 3], [7, 6]]
    assert np.argwhere(labels.ids == 2).tolist() == [[4, 1]]
    assert "labels r.xml: 3 pixels labelled from 3 points by the centre rule" in labels.notes


def test_regions_of_thresholds_beside_polygons_are_named(tmp_path, raster):
    wkt = rasterio.crs.CRS.from_string(UTM).to_wkt().replace('"', "&quot;")
    body = f"<Polygon>{ring('Exterior', BOXES[0])}</Polygon>"
    other = '<Region name="bright" color="0,0,255"><RasterDef/></Region>'
    (tmp_path / "r.xml").write_text(
        f"<RegionsOfInterest>{region('soil', body, wkt)}{other}</RegionsOfInterest>"
    )
    labels = open_scene(raster, tmp_path / "r.xml").labels
    assert list(labels.classes.values()) == ["soil"]
    assert any("without polygons or points: bright" in note for note in labels.notes)


@pytest.mark.parametrize(
    ("name", "data"), [("v.docx", b"PK"), ("v.x", b"\x01\x02"), ("v.pdf", b"%")]
)
def test_advice_for_labels_names_vectors(tmp_path, raster, name, data):
    (tmp_path / name).write_bytes(data * 40)
    with pytest.raises(LabelsError, match="GeoPackage"):
        open_scene(raster, tmp_path / name)


def test_vectors_given_as_the_scene(tmp_path):
    with pytest.raises(SceneError, match="it holds vectors: give it as --labels"):
        open_scene(write_format(tmp_path / "v.fgb", "FlatGeobuf"))


def test_a_folder_of_a_shapefile(tmp_path, raster):
    (tmp_path / "layer").mkdir()
    write_format(tmp_path / "layer" / "v.shp", "ESRI Shapefile")
    assert counted(raster, tmp_path / "layer", "crop") == COUNTS


def test_a_part_of_a_mapinfo_layer(tmp_path, raster):
    write_format(tmp_path / "v.tab", "MapInfo File")
    with pytest.raises(LabelsError, match=r"a part of a MapInfo layer; give .*v.tab"):
        open_scene(raster, tmp_path / "v.dat")


FRENCH = np.array(["forêt", "blé", "Straße"], object)
GREEK = np.array(["δάσος", "σιτάρι", "δρόμος"], object)


class TestTexts:
    @pytest.mark.parametrize(
        ("encoding", "names"), [("UTF-8", FRENCH), ("UTF-8", GREEK), ("ISO-8859-1", FRENCH)]
    )
    def test_shapefiles_without_a_code_page(self, tmp_path, raster, encoding, names):
        write_format(tmp_path / "v.shp", "ESRI Shapefile", names=names, encoding=encoding)
        (tmp_path / "v.cpg").unlink()
        assert set(counted(raster, tmp_path / "v.shp", "crop")) == set(names)

    def test_one_form_for_one_name(self, tmp_path, raster):
        """The same name, composed and decomposed, is one class."""
        names = np.array(["forêt", "fore\u0302t", "blé"], object)
        write_format(tmp_path / "v.gpkg", "GPKG", names=names)
        assert set(counted(raster, tmp_path / "v.gpkg", "crop")) == {"forêt", "blé"}

    def test_csv_of_two_encodings(self, tmp_path, raster):
        for encoding in ("utf-8", "latin-1", "utf-8-sig"):
            text = "row,column,class\n1,1,forêt\n2,2,blé\n"
            (tmp_path / "p.csv").write_text(text, encoding=encoding)
            assert set(counted(raster, tmp_path / "p.csv", None)) == {"forêt", "blé"}

    @pytest.mark.parametrize("name", ["wet\u2028land", "wet\x85land", "wet\x1cland", "wet\nland"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_only_line_ends_outside_quotes_end_a_row(self, tmp_path, raster, name, end):
        text = f'row,column,class{end}1,1,"{name}"{end}2,2,blé{end}'
        (tmp_path / "p.csv").write_text(text, encoding="utf-8", newline="")
        assert set(counted(raster, tmp_path / "p.csv", None)) == {name, "blé"}

    def test_csv_of_western_windows(self, tmp_path, raster):
        text = "row,column,class\n1,1,…œil\n2,2,blé\n"
        (tmp_path / "p.csv").write_text(text, encoding="cp1252")
        assert set(counted(raster, tmp_path / "p.csv", None)) == {"…œil", "blé"}
        undefined = b"row,column,class\n1,1,a\x81\n2,2,bl\xe9\n"  # a byte that cp1252 lacks
        (tmp_path / "p.csv").write_bytes(undefined)
        assert set(counted(raster, tmp_path / "p.csv", None)) == {"a\x81", "blé"}
