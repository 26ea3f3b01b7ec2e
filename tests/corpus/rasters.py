"""Rasters that are no scene, tiles that are no mosaic, label rasters and arrays that do not fit."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.transform import from_origin

from tests.corpus.cases import World, cube, heading
from tests.helpers.scene_files import ORIGIN, envi, geotiff, mat5

envi_case = heading("ENVI")
tiff_case = heading("GeoTIFF")
mosaic_case = heading("mosaics")


def pair(w: World, change: dict[str, str | None] | None = None, **how):
    """An ENVI pair with lines of its header changed or, with None, left out."""
    path = envi(w / "cube.img", cube(dtype=how.pop("dtype", "float32")), **how)
    header = path.with_suffix(".hdr")
    lines = []
    for line in header.read_text().splitlines():
        name = line.partition("=")[0].strip()
        value = (change or {}).get(name, line)
        if value is not None:
            lines.append(line if value == line else f"{name} = {value}")
    header.write_text("\n".join(lines) + "\n")
    return path


@envi_case("a header without its data", "cube.hdr has no data file beside it")
def _(w: World):
    pair(w).unlink()
    return w.train(w / "cube.hdr")


@envi_case(
    "data without a header", "cube.img cannot be opened as a raster", "needs its header cube.hdr"
)
def _(w: World):
    path = pair(w)
    path.with_suffix(".hdr").unlink()
    return w.train(path)


@envi_case("an empty data file", "cube.img is empty (0 bytes)")
def _(w: World):
    path = pair(w)
    path.write_bytes(b"")
    return w.train(path)


@envi_case("an empty header", "cube.img cannot be opened as a raster")
def _(w: World):
    path = pair(w)
    path.with_suffix(".hdr").write_text("")
    return w.train(path)


@envi_case("more lines than there are", "shorter than its header says", "expected 92160 bytes")
def _(w: World):
    return w.train(pair(w, {"lines": "48"}))


@envi_case(
    "an offset that shifts all values", "shorter than its header says", "expected 46592 bytes"
)
def _(w: World):
    return w.train(pair(w, {"header offset": "512"}))


@envi_case("a larger type than the data", "shorter than its header says")
def _(w: World):
    return w.train(pair(w, {"data type": "5"}))


@envi_case("an unknown type", "cube.img cannot be opened as a raster")
def _(w: World):
    return w.train(pair(w, {"data type": "77"}))


@envi_case("complex numbers", "expected real numbers", "complex64")
def _(w: World):
    return w.train(pair(w, {"data type": "6", "bands": "10"}))


@envi_case("an unknown interleave", "interleave", "cube.img")
def _(w: World):
    return w.train(pair(w, {"interleave": "bsx"}))


@envi_case("no number of bands", "cube.img")
def _(w: World):
    return w.train(pair(w, {"bands": None}))


@envi_case("a negative number of samples", "cube.img")
def _(w: World):
    return w.train(pair(w, {"samples": "-24"}))


@envi_case("a header that claims 40 TB", "cube.img", "Image file is too small")
def _(w: World):
    return w.train(pair(w, {"samples": "200000", "lines": "200000", "bands": "250"}))


@envi_case("a reflectance scale factor of 0", "cube.img: reflectance scale factor", "other than 0")
def _(w: World):
    return w.train(pair(w, reflectance_scale_factor="0"))


@envi_case("all bands flagged as bad", "flags all 20 bands as bad")
def _(w: World):
    return w.train(pair(w, bbl="{" + ",".join("0" * 20) + "}"))


@envi_case("nodata everywhere", "no pixel is valid in all 20 bands", "nodata 576")
def _(w: World):
    path = envi(w / "cube.img", np.full((24, 24, 20), -5.0), data_ignore_value="-5")
    return w.train(path)


@tiff_case("a scale that is not a number", "cube.tif: scale and offset of band 3", "got nan and 0")
def _(w: World):
    path = geotiff(w / "cube.tif", cube())
    with rasterio.open(path, "r+") as file:
        file.scales = [np.nan if band == 2 else 1 for band in range(20)]
    return w.train(path)


@tiff_case("an empty file", "cube.tif is empty (0 bytes)")
def _(w: World):
    return w.train(w.file("cube.tif", ""))


@tiff_case("a web page", "is a web page, not data")
def _(w: World):
    return w.train(w.file("cube.tif", "<html><title>Sign in</title></html>"))


@tiff_case("text", "cube.tif cannot be opened as a raster")
def _(w: World):
    return w.train(w.file("cube.tif", "see the other folder\n"))


@tiff_case("cut short in the directory", "cube.tif cannot be opened as a raster")
def _(w: World):
    return w.train(w.file("cube.tif", (w.home / "scene.tif").read_bytes()[:90]))


@tiff_case("cut short in the values", "cube.tif cannot be opened as a raster")
def _(w: World):
    path = geotiff(w / "cube.tif", cube(400, 30, 20), tiled=True, blockxsize=16, blockysize=16)
    return w.train(w.cut(path, 0.8))


@tiff_case("complex numbers", "expected real numbers", "complex64")
def _(w: World):
    return w.train(geotiff(w / "cube.tif", cube().astype("complex64")))


@tiff_case("a declared nodata everywhere", "no pixel is valid in all 20 bands", "nodata 576")
def _(w: World):
    return w.train(geotiff(w / "cube.tif", np.full((24, 24, 20), -1.0), nodata=-1))


@tiff_case("an undeclared -9999 everywhere", "no pixel is valid", "undeclared nodata 576")
def _(w: World):
    return w.train(geotiff(w / "cube.tif", np.full((24, 24, 20), -9999, "int16")))


@tiff_case("a layout, which rasters know themselves", "is a raster and knows its own axes")
def _(w: World):
    return w.train(layout="b h w")


@tiff_case("a header that claims a terabyte", "memory", "cube.tif")
def _(w: World):
    path = w / "cube.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=2_000_000, height=2_000_000, count=2, dtype="uint8",
        tiled=True, blockxsize=8192, blockysize=8192, compress="deflate", SPARSE_OK=True,
        BIGTIFF="YES",
    ):  # fmt: skip
        pass
    return w.train(path)


@tiff_case("a VRT whose source is missing", "its source", "gone.tif", "no such file")
def _(w: World):
    return w.train(vrt(w, "gone.tif"))


@tiff_case("a VRT whose source lies on the internet", "its source /vsicurl/http", "no such file")
def _(w: World):
    return w.train(vrt(w, "/vsicurl/http://127.0.0.1:9/cube.tif"))


@tiff_case("an address where no server answers", "cannot be opened (no connection)")
def _(w: World):
    return w.train("http://127.0.0.1:9/cube.tif")


@tiff_case("an address that is not encrypted", "is not encrypted", "https://")
def _(w: World):
    return w.train("http://example.org/cube.tif")


@tiff_case("an address with a password", "holds a user's name or password")
def _(w: World):
    return w.train("https://me:secret@example.org/cube.tif")


@tiff_case("an address of another scheme", "there is no scene 'ftp://example.org/")
def _(w: World):
    return w.train("ftp://example.org/cube.tif")


@tiff_case("labels on a server", "only scenes are read from a server")
def _(w: World):
    return w.labelled("https://example.org/labels.tif")


@tiff_case("GDAL's name of a file on the internet", "there is no scene '/vsicurl/")
def _(w: World):
    return w.train("/vsicurl/https://example.org/cube.tif")


@tiff_case("the description of a map service", "cube.tif", "cannot be opened as a raster")
def _(w: World):
    text = (
        '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png'
        "</ServerUrl></Service><DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>0</UpperLeftY>"
        "<LowerRightX>24</LowerRightX><LowerRightY>24</LowerRightY><TileLevel>0</TileLevel>"
        "<TileCountX>1</TileCountX><TileCountY>1</TileCountY></DataWindow>"
        "<BandsCount>3</BandsCount></GDAL_WMS>"
    )
    return w.train(w.file("cube.tif", text))


def vrt(w: World, source: str):
    """A GDAL description of one band that lies elsewhere."""
    text = (
        '<VRTDataset rasterXSize="24" rasterYSize="24"><VRTRasterBand dataType="Float32" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="{int(not source.startswith("/"))}">{source}'
        "</SourceFilename><SourceBand>1</SourceBand>"
        '<SourceProperties RasterXSize="24" RasterYSize="24" DataType="Float32" BlockXSize="24" '
        'BlockYSize="24"/><SrcRect xOff="0" yOff="0" xSize="24" ySize="24"/>'
        '<DstRect xOff="0" yOff="0" xSize="24" ySize="24"/></SimpleSource></VRTRasterBand>'
        "</VRTDataset>"
    )
    return w.file("cube.vrt", text)


@mosaic_case("a tile is missing", "there is no tile", "b.tif")
def _(w: World):
    return w.train(f"{geotiff(w / 'a.tif', cube())},{w / 'b.tif'}")


@mosaic_case("a pattern that fits nothing", "no file fits")
def _(w: World):
    return w.train(f"{w.folder}/tile-*.tif")


@mosaic_case("a folder of other files", "tiles")
def _(w: World):
    (w / "tiles").mkdir()
    w.file("tiles/readme.txt", "hello")
    return w.train(w / "tiles")


@mosaic_case("an empty folder", "tiles")
def _(w: World):
    (w / "tiles").mkdir()
    return w.train(w / "tiles")


def two(w: World, array=None, **how):
    """Two tiles beside each other, the second spoiled."""
    moved = {"transform": from_origin(ORIGIN.c + 24 * 30, ORIGIN.f, 30, 30), **how}
    first = geotiff(w / "a.tif", cube())
    return f"{first},{geotiff(w / 'b.tif', cube() if array is None else array, **moved)}"


@mosaic_case("tiles of another CRS", "CRS", "b")
def _(w: World):
    return w.train(two(w, crs="EPSG:32634"))


@mosaic_case("tiles of other bands", "bands", "20", "5")
def _(w: World):
    return w.train(two(w, cube(bands=5)))


@mosaic_case("tiles between each other's pixels", "grid", "b")
def _(w: World):
    return w.train(two(w, transform=from_origin(ORIGIN.c + 13, ORIGIN.f, 30, 30)))


@mosaic_case("a tile without a georeference", "b")
def _(w: World):
    return w.train(two(w, crs=None))


@mosaic_case("tiles on two continents", "memory")
def _(w: World):
    far = from_origin(ORIGIN.c + 30 * 10_000_000, ORIGIN.f - 30 * 10_000_000, 30, 30)
    return w.train(two(w, transform=far))


@mosaic_case("a damaged tile", "b.tif cannot be opened as a raster")
def _(w: World):
    geotiff(w / "a.tif", cube())
    w.file("b.tif", "II*\0 and nothing else")
    return w.train(f"{w / 'a.tif'},{w / 'b.tif'}")


label_case = heading("label rasters")
PLACE = from_origin(364_000, 5_810_000, 30, 30)  # of `small.write_scene`


def ids(height: int = 24, width: int = 24, dtype: str = "uint8") -> np.ndarray:
    """Two classes in stripes."""
    found = np.ones((height, width), dtype)
    found[:, ::2] = 2
    return found


def raster(w: World, array: np.ndarray, **how):
    return w.labelled(geotiff(w / "labels.tif", array, **{"transform": PLACE, **how}))


@label_case("no labels at all", "has no labels", "--labels FILE[:KEY]")
def _(w: World):
    return w.labelled(None)


@label_case("there is no such file", "there is no file", "labels.tif")
def _(w: World):
    return w.labelled(w / "labels.tif")


@label_case("an empty file", "labels.tif is empty (0 bytes)")
def _(w: World):
    return w.labelled(w.file("labels.tif", ""))


@label_case("a web page", "is a web page, not data")
def _(w: World):
    return w.labelled(w.file("labels.tif", "<!doctype html><body>Please log in"))


@label_case("cut short", "labels.tif")
def _(w: World):
    return w.labelled(w.cut(geotiff(w / "labels.tif", ids(), transform=PLACE)))


@label_case("another size", "another grid", "(24, 24)", "(12, 24)", "--resample-labels")
def _(w: World):
    return raster(w, ids(12))


@label_case("another CRS", "another CRS", "EPSG:32633", "EPSG:32634", "--resample-labels")
def _(w: World):
    return raster(w, ids(), crs="EPSG:32634")


@label_case("moved by half a pixel", "another transform", "--resample-labels")
def _(w: World):
    return raster(w, ids(), transform=from_origin(364_015, 5_810_000, 30, 30))


@label_case("another size without a georeference", "do not fit scene", "(24, 24)")
def _(w: World):
    return raster(w, ids(12), crs=None)


@label_case("another size without a georeference, to be resampled", "both need a georeference")
def _(w: World):
    path = geotiff(w / "labels.tif", ids(12), crs=None)
    return [*w.labelled(path), "--resample-labels"]


@label_case("resampled from another place", "hold no class", "0 (unlabelled) everywhere")
def _(w: World):
    path = geotiff(w / "labels.tif", ids(), transform=from_origin(464_000, 5_810_000, 30, 30))
    return [*w.labelled(path), "--resample-labels"]


@label_case("negative ids", "negative ids", "got -1")
def _(w: World):
    array = ids(dtype="int16")
    array[0] = -1
    return raster(w, array)


@label_case("fractions", "expected whole numbers", "got 1.5")
def _(w: World):
    return raster(w, ids(dtype="float32") + np.float32(0.5) * (ids() == 1))


@label_case("NaN for unlabelled pixels", "expected whole numbers", "got nan")
def _(w: World):
    array = ids(dtype="float32")
    array[0] = np.nan
    return raster(w, array)


@label_case("complex numbers", "labels.tif")
def _(w: World):
    return raster(w, ids().astype("complex64"))


@label_case("ids beyond 65535", "ids up to 65535", "got 70000")
def _(w: World):
    return raster(w, ids(dtype="int32") * 35000)


@label_case("no class", "hold no class", "0 (unlabelled) everywhere")
def _(w: World):
    return raster(w, ids() * 0)


@label_case("one class", "classes to tell apart", "at least 2", "got 1")
def _(w: World):
    return raster(w, ids() * 0 + 1)


@label_case("a picture in colours without a legend", "labels.legend.csv", "#010101")
def _(w: World):
    return raster(w, np.dstack([ids()] * 3))


@label_case("labels only where the scene is not valid", "lab")
def _(w: World):
    from tests.helpers.small import planted, write_scene

    invalid = np.zeros((24, 24), bool)
    invalid[:12] = True
    cube, _ = write_scene(w.folder, planted(), invalid)
    array = ids()
    array[12:] = 0
    return w.train(cube, labels=geotiff(w / "labels.tif", array, transform=PLACE, nodata=0))


@label_case("a pixel in each class", "class", "1")
def _(w: World):
    array = ids() * 0
    array[0, 0], array[20, 20] = 1, 2
    return raster(w, array)


@label_case("more classes than can train", "pixel")
def _(w: World):
    return raster(w, np.arange(1, 577, dtype="uint16").reshape(24, 24))


@label_case("two maps in one file", "labels.mat:a", "labels.mat:b")
def _(w: World):
    return w.labelled(mat5(w / "labels.mat", a=ids(), b=ids()))


@label_case("a variable that is not there", "labels.mat has no variable 'gt'")
def _(w: World):
    return w.labelled(f"{mat5(w / 'labels.mat', a=ids())}:gt")


@label_case("an array of another size", "do not fit scene scene", "(24, 24)", "(5, 5)")
def _(w: World):
    return w.labelled(mat5(w / "labels.mat", a=ids(5, 5)))


@label_case("a cube instead of a map", "labels.mat")
def _(w: World):
    return w.labelled(mat5(w / "labels.mat", a=np.ones((24, 24, 20))))


@label_case("pickled objects", "holds Python objects", "can run code")
def _(w: World):
    np.save(w / "labels.npy", np.array([[{}, {}]], object), allow_pickle=True)
    return w.labelled(w / "labels.npy")


@label_case("a class field, though it is a raster", "no field 'class'", "--class-field")
def _(w: World):
    return w.labelled(w.home / "scene_labels.tif", class_field="class")


@label_case("a class field without labels", "give the labels too")
def _(w: World):
    return w.labelled(None, class_field="class")


@label_case("regions of interest of a terabyte", "labels.txt", "at most 268,435,456 pixels")
def _(w: World):
    text = "; ENVI Output of ROIs (4.8)\n; File Dimension: 4000000 x 4000000\n"
    text += "; ROI name: a\n; ROI npts: 1\n 1 1 1\n"
    return w.labelled(w.file("labels.txt", text))


@label_case("regions of interest with points outside", "labels.txt has points outside")
def _(w: World):
    text = "; ENVI Output of ROIs (4.8)\n; File Dimension: 24 x 24\n"
    text += "; ROI name: a\n; ROI npts: 1\n 1 99 1\n"
    return w.labelled(w.file("labels.txt", text))


@label_case("a picture in JPEG", "labels.jpg", "labels.legend.csv")
def _(w: World):
    from PIL import Image

    Image.fromarray(np.dstack([ids()] * 3)).save(w / "labels.jpg")
    return w.labelled(w / "labels.jpg")


def pictured(w: World, legend: str):
    w.file("labels.legend.csv", legend)
    return raster(w, np.dstack([ids()] * 3))


@label_case("a legend without all colours", "not in labels.legend.csv", "#020202")
def _(w: World):
    return pictured(w, "colour,class\n#010101,roof\n")


@label_case("a legend of colours in words", "labels.legend.csv", "#ff0000", "'red'")
def _(w: World):
    return pictured(w, "colour,class\nred,roof\nblue,water\n")


@label_case(
    "a legend without classes", "labels.legend.csv", "columns colour,class", "got colour, x"
)
def _(w: World):
    return pictured(w, "colour,x\n#010101,roof\n")
