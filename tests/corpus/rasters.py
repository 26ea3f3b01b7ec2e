"""ENVI, GeoTIFF and other rasters that are no scene, and tiles that are no mosaic."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.transform import from_origin

from tests.corpus.table import heading
from tests.corpus.world import World, cube
from tests.helpers.scene_files import ORIGIN, envi, geotiff

case = heading("ENVI")
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


@case("a header without its data", "cube.hdr has no data file beside it")
def _(w: World):
    pair(w).unlink()
    return w.train(w / "cube.hdr")


@case("data without a header", "cube.img cannot be opened as a raster", "needs its header cube.hdr")
def _(w: World):
    path = pair(w)
    path.with_suffix(".hdr").unlink()
    return w.train(path)


@case("an empty data file", "cube.img is empty (0 bytes)")
def _(w: World):
    path = pair(w)
    path.write_bytes(b"")
    return w.train(path)


@case("an empty header", "cube.img cannot be opened as a raster")
def _(w: World):
    path = pair(w)
    path.with_suffix(".hdr").write_text("")
    return w.train(path)


@case("more lines than there are", "shorter than its header says", "expected 92160 bytes")
def _(w: World):
    return w.train(pair(w, {"lines": "48"}))


@case("an offset that shifts all values", "shorter than its header says", "expected 46592 bytes")
def _(w: World):
    return w.train(pair(w, {"header offset": "512"}))


@case("a larger type than the data", "shorter than its header says")
def _(w: World):
    return w.train(pair(w, {"data type": "5"}))


@case("an unknown type", "cube.img cannot be opened as a raster")
def _(w: World):
    return w.train(pair(w, {"data type": "77"}))


@case("complex numbers", "expected real numbers", "complex64")
def _(w: World):
    return w.train(pair(w, {"data type": "6", "bands": "10"}))


@case("an unknown interleave", "interleave", "cube.img")
def _(w: World):
    return w.train(pair(w, {"interleave": "bsx"}))


@case("no number of bands", "cube.img")
def _(w: World):
    return w.train(pair(w, {"bands": None}))


@case("a negative number of samples", "cube.img")
def _(w: World):
    return w.train(pair(w, {"samples": "-24"}))


@case("a header that claims 40 TB", "cube.img", "Image file is too small")
def _(w: World):
    return w.train(pair(w, {"samples": "200000", "lines": "200000", "bands": "250"}))


@case("a reflectance scale factor of 0", "cube.img: reflectance scale factor", "other than 0")
def _(w: World):
    return w.train(pair(w, reflectance_scale_factor="0"))


@case("all bands flagged as bad", "flags all 20 bands as bad")
def _(w: World):
    return w.train(pair(w, bbl="{" + ",".join("0" * 20) + "}"))


@case("nodata everywhere", "no pixel is valid in all 20 bands", "nodata 576")
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
