"""Points and polygons that give no labels, splits that cannot be drawn, files that are no split."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import shapely
from pyogrio.raw import write as write_vectors

from tests.corpus.arrays import bomb
from tests.corpus.cases import World, heading
from tests.helpers.scene_files import geotiff

vector_case, table_case = heading("vectors"), heading("tables of points")
X, Y = 364_000, 5_810_000


def box(column: float, row: float, size: float = 6) -> shapely.Geometry:
    """A square of pixels of the good scene."""
    return shapely.box(
        X + 30 * column, Y - 30 * (row + size), X + 30 * (column + size), Y - 30 * row
    )


SQUARES = [box(0, 0), box(12, 12)]


def layer(w: World, shapes=SQUARES, name="labels.gpkg", crs="EPSG:32633", to="labels", **fields):
    """A file of shapes with these fields."""
    fields = fields or {"class": ["soil", "tree"]}
    driver = {".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".geojson": "GeoJSON"}
    write_vectors(
        str(w / name),
        shapely.to_wkb(np.array(shapes, object)),
        [np.array(values) for values in fields.values()],
        np.array(list(fields), object),
        layer=to,
        driver=driver["." + name.split(".")[-1]],
        geometry_type="Unknown" if "gpkg" in name else "Polygon",
        crs=crs,
        append=(w / name).exists(),
    )
    return w / name


@vector_case("GeoJSON cut short", "labels.geojson cannot be read as vectors")
def _(w: World):
    return w.labelled(w.cut(layer(w, name="labels.geojson", crs="EPSG:4326")))


@vector_case("no features", "labels.geojson")
def _(w: World):
    text = json.dumps({"type": "FeatureCollection", "features": []})
    return w.labelled(w.file("labels.geojson", text))


@vector_case("some other JSON", "labels.json cannot be read as vectors")
def _(w: World):
    return w.labelled(w.file("labels.json", '{"class": 1}'))


@vector_case("JSON nested without end", "labels.json")
def _(w: World):
    return w.labelled(w.file("labels.json", '{"type": ' * 50_000))


@vector_case("outside the scene", "lie outside scene scene", "coordinates within x 364000 to")
def _(w: World):
    return w.labelled(layer(w, [box(900, 900), box(950, 950)]))


@vector_case("degrees taken for metres", "lie outside scene scene")
def _(w: World):
    return w.labelled(layer(w, [shapely.box(13, 52, 13.1, 52.1)] * 2))


@vector_case("several fields that could be meant", "which field holds the classes", "--class-field")
def _(w: World):
    return w.labelled(layer(w, crop=["rye", "oat"], farm=["A", "B"]))


@vector_case("a field that is not there", "has no field 'klass'", "crop")
def _(w: World):
    return w.labelled(layer(w, crop=["rye", "oat"]), class_field="klass")


@vector_case("fractions as classes", "expected whole numbers or text as classes", "1.5")
def _(w: World):
    return w.labelled(layer(w, **{"class": [1.5, 2.0]}))


@vector_case("0 as a class", "class numbers from 1", "got 0")
def _(w: World):
    return w.labelled(layer(w, **{"class": [0, 1]}))


@vector_case("an empty class field", "class is empty in every feature")
def _(w: World):
    return w.labelled(layer(w, **{"class": ["", ""]}))


@vector_case("lines", "expected points or polygons with a class", "2 lines are left out")
def _(w: World):
    lines = [shapely.LineString([(X, Y), (X + 90, Y - 90)])] * 2
    return w.labelled(layer(w, lines))


@vector_case("two classes on the very same ground", "lab")
def _(w: World):
    return w.labelled(layer(w, [box(0, 0), box(0, 0)]))


@vector_case("polygons smaller than a pixel", "lab")
def _(w: World):
    return w.labelled(layer(w, [box(0.1, 0.1, 0.2), box(5.1, 5.1, 0.2)]))


@vector_case("two layers", "expected one layer", "labels.gpkg:a", "labels.gpkg:b")
def _(w: World):
    layer(w, to="a")
    return w.labelled(layer(w, to="b"))


@vector_case("a layer that is not there", "has no layer 'roads'", "labels.gpkg:labels")
def _(w: World):
    return w.labelled(f"{layer(w)}:roads")


@vector_case("a shapefile without its index", "labels.shp cannot be read as vectors", ".shx")
def _(w: World):
    path = layer(w, name="labels.shp")
    (w / "labels.shx").unlink()
    return w.labelled(path)


@vector_case("the table of a shapefile", "is a part of a shapefile", "labels.shp")
def _(w: World):
    return w.labelled(layer(w, name="labels.shp").with_suffix(".dbf"))


@vector_case("an archive without vectors", "notes.zip")
def _(w: World):
    import zipfile

    with zipfile.ZipFile(w / "notes.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    return w.labelled(w / "notes.zip")


@vector_case("a scene without a georeference", "has no georeference", "row, column and class")
def _(w: World):
    from tests.helpers.small import planted

    cube = geotiff(w / "cube.tif", planted().cube.values.transpose(1, 2, 0), crs=None)
    return w.train(cube, labels=layer(w))


@vector_case(
    "a description of vectors that lie on the internet", "labels.json cannot be read as vectors"
)
def _(w: World):
    text = "<OGRWFSDataSource><URL>http://127.0.0.1:9/wfs</URL></OGRWFSDataSource>"
    return w.labelled(w.file("labels.json", text))


@vector_case("a description of vectors in another file", "labels.json cannot be read as vectors")
def _(w: World):
    layer(w)
    text = (
        '<OGRVRTDataSource><OGRVRTLayer name="labels"><SrcDataSource relativeToVRT="1">labels.gpkg'
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    return w.labelled(w.file("labels.json", text))


@vector_case("raster labels with a split by polygons", "polygons")
def _(w: World):
    return w.train(split="polygons")


def table(w: World, text: str, name: str = "points.csv"):
    return w.labelled(w.file(name, text))


@table_case("an empty file", "points.csv is empty (0 bytes)")
def _(w: World):
    return table(w, "")


@table_case("a header only", "a line for each point")
def _(w: World):
    return table(w, "x,y,class\n")


@table_case("no header", "a header such as x,y,class")
def _(w: World):
    return table(w, "364010,5809990,1\n364020,5809980,2\n")


@table_case("no coordinates", "a header such as x,y,class", "id, class")
def _(w: World):
    return table(w, "id,class\n1,soil\n2,tree\n")


@table_case("coordinates twice", "give every point twice")
def _(w: World):
    return table(w, "x,y,lon,lat,class\n1,2,3,4,5\n2,3,4,5,6\n")


@table_case("commas for decimals", "a number, with a point for the decimals", "'364010,5'")
def _(w: World):
    return table(w, "x;y;class\n364010,5;5809990;1\n364020,5;5809980;2\n")


@table_case("a value too few", "row 2", "expected 3 values")
def _(w: World):
    return table(w, "x,y,class\n364010,5809990,1\n364020,5809980\n")


@table_case("columns of one name", "a header such as x,y,class")
def _(w: World):
    return table(w, "x,y,class,class\n1,2,3,4\n5,6,7,8\n")


@table_case("points outside", "lie outside scene scene", "rows and columns within (24, 24)")
def _(w: World):
    return table(w, "row,column,class\n100,100,1\n200,200,2\n")


@table_case("infinite coordinates", "points.csv", "outside")
def _(w: World):
    return table(w, "x,y,class\ninf,nan,1\nnan,inf,2\n")


@table_case("two classes in one pixel", "lab")
def _(w: World):
    return table(w, "row,column,class\n3,3,1\n3,3,2\n")


@table_case("a negative class", "class numbers from 1", "got -1")
def _(w: World):
    return table(w, "row,column,class\n3,3,-1\n4,4,2\n")


@table_case("only words for no class", "field class is empty in every feature")
def _(w: World):
    return table(w, "row,column,class\n3,3,nan\n4,4,nan\n5,5,nan\n6,6,nan\n")


@table_case("a value of a megabyte", "points.csv")
def _(w: World):
    return table(w, "row,column,class\n3,3," + "a" * 2**20 + "\n4,4,b\n")


@table_case("a spreadsheet under the name of a table", "points.csv")
def _(w: World):
    return table(w, "PK\x03\x04\x14\x00\x00\x00\x08\x00[Content_Types].xml\n\x00\x00,,\n")


@table_case("text in UTF-16", "points.csv")
def _(w: World):
    return w.labelled(w.file("points.csv", "row,column,class\n3,3,1\n4,4,2\n".encode("utf-16")))


@table_case("a class that no integer holds", "points.csv", "65535")
def _(w: World):
    return table(w, "row,column,class\n3,3,99999999999999999999\n4,4,2\n")


split_case = heading("splits")


def given(w: World, **parts: Any):
    """`train` with a split file of these parts."""
    rows = np.argwhere(np.ones((24, 24), bool))
    values = {"train": rows[:40], "test": rows[40:], **parts}
    np.savez(w / "split.npz", **{k: v for k, v in values.items() if v is not None})
    return w.train(split=w / "split.npz")


@split_case("there is no such file", "there is no split file", "split.npz")
def _(w: World):
    return w.train(split=w / "split.npz")


@split_case("an empty file", "split.npz is not a split file")
def _(w: World):
    return w.train(split=w.file("split.npz", ""))


@split_case("some other file", "is not a split file", "expected .npz")
def _(w: World):
    return w.train(split=w.home / "scene.tif")


@split_case("a file cut short", "split.npz is not a split file")
def _(w: World):
    given(w)
    return w.train(split=w.cut(w / "split.npz"))


@split_case("no training part", "expected train and test", "got ['test']")
def _(w: World):
    return given(w, train=None)


@split_case("a training part without pixels", "has no training pixel")
def _(w: World):
    return given(w, train=np.empty((0, 2), int))


@split_case("pixels outside the scene", "expected pixels within (24, 24)", "got [24, 0]")
def _(w: World):
    return given(w, test=np.array([[24, 0]]))


@split_case("negative pixels", "expected pixels within (24, 24)", "got [-1, 0]")
def _(w: World):
    return given(w, test=np.array([[-1, 0]]))


@split_case("pixels as fractions", "expected integers (n, 2)", "float64")
def _(w: World):
    return given(w, train=np.array([[0.5, 1.0]]))


@split_case("pixels as one long list", "expected integers (n, 2)", "(4,)")
def _(w: World):
    return given(w, train=np.arange(4))


@split_case("pixels in both parts", "repeat or are in two parts")
def _(w: World):
    return given(w, test=np.array([[0, 0]]))


@split_case("classes of another number of pixels", "train_ids of split file")
def _(w: World):
    return given(w, train_ids=np.ones(3, int))


@split_case("a mask instead of positions", "expected integers (n, 2)", "bool")
def _(w: World):
    return given(w, train=np.ones((24, 24), bool))


@split_case("pickled objects", "split.npz is not a split file")
def _(w: World):
    return given(w, train=np.array([{}], object))


@split_case("an archive that is a bomb", "split.npz", "unpacks to")
def _(w: World):
    return w.train(split=bomb(w / "split.npz", "train{}.npy"))


@split_case(
    "a scene without official rasters", "no official training and test rasters", "--per-class"
)
def _(w: World):
    return w.train(split="official")


@split_case("masks of another size", "another grid", "(12, 24)")
def _(w: World):
    mask = geotiff(w / "train.tif", np.ones((12, 24), "uint8"))
    return w.train(split=f"{mask},{w.home / 'scene_labels.tif'}", labels=None)


@split_case("one mask and nothing", "no file")
def _(w: World):
    return w.train(split=f"{w.home / 'scene_labels.tif'},{w / 'test.tif'}", labels=None)


@split_case("the same mask twice", "the test raster leaves no pixel to test")
def _(w: World):
    labels = w.home / "scene_labels.tif"
    return w.train(split=f"{labels},{labels}", labels=None)


@split_case("two ways at once", "per_class and fraction exclude each other")
def _(w: World):
    return [*w.train(per_class=3), "--fraction", "0.1"]


@split_case("no pixel of a class", "option per_class", "greater than or equal to 1")
def _(w: World):
    return w.train(per_class=0)


@split_case("all pixels", "option fraction", "less than 1")
def _(w: World):
    return w.train(fraction=1)


@split_case("percent instead of a share", "option fraction", "less than 1")
def _(w: World):
    return w.train(fraction=10)


@split_case("a share of no pixel", "fraction")
def _(w: World):
    return w.train(fraction=1e-9, labels=three(w))


def three(w: World):
    """Two classes of a pixel each."""
    ids = np.zeros((24, 24), "uint8")
    ids[0, 0], ids[9, 9] = 1, 2
    return geotiff(w / "labels.tif", ids, crs=None)


@split_case("validation with every pixel", "option validation", "less than 1")
def _(w: World):
    return w.train(validation=1)


@split_case("a window that leaves no space between parts", "disjoint")
def _(w: World):
    return w.train(split="disjoint", patch_size=63)


@split_case("a split window smaller than the window", "split_window")
def _(w: World):
    return w.train(split="disjoint", split_window=1)
