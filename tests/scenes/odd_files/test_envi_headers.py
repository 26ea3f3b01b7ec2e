"""ENVI headers and FILE.aux.xml as GDAL and QGIS read them."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from hyperpeft.errors import SceneError
from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.scenes import files_of, open_scene
from hyperpeft.scenes.readers import envi_header
from tests.helpers.scene_files import BANDS, NM, ORIGIN, UTM, envi, geotiff, ground, integers

CUBE = integers().transpose(2, 0, 1)
MAP = f"{{UTM, 1, 1, {ORIGIN.c}, {ORIGIN.f}, 30, 30, 33, North, WGS-84, units=Meters}}"


def opens(path):
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    return scene


@pytest.mark.parametrize(
    ("data", "header"),
    [
        ("A.IMG", "A.HDR"),
        ("a.img", "a.Hdr"),
        ("a.dat", "a.dat.HDR"),
        ("a", "a.HDR"),
        ("a_rfl", "a_rfl.hdr"),
        ("A.BSQ", "a.hdr"),
    ],
)
def test_case_of_the_names(tmp_path, data, header):
    envi(tmp_path / data, integers(), header=tmp_path / header)
    opens(tmp_path / data)
    opens(tmp_path / header)


@pytest.mark.parametrize("ending", [".hyspex", ".lan", ".rfl", ".cube", ".pix", ".rad", ".x1"])
def test_any_ending_of_the_data(tmp_path, ending):
    path = envi(tmp_path / f"a{ending}", integers())
    (tmp_path / "a.txt").write_text("not the data")
    opens(path)
    opens(tmp_path / "a.hdr")


def test_the_file_of_the_right_size_is_the_data(tmp_path):
    path = envi(tmp_path / "a.rfl", integers())
    (tmp_path / "a.img").write_bytes(b"\x01" * 64)
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    path.with_suffix(".hdr").rename(tmp_path / "b.hdr")
    path.rename(tmp_path / "b.rfl")
    opens(tmp_path / "b.hdr")


def test_two_files_that_could_be_the_data_are_named(tmp_path):
    path = envi(tmp_path / "a.one", integers())
    (tmp_path / "a.two").write_bytes(path.read_bytes())
    with pytest.raises(SceneError, match=r"several files beside it: got a.one, a.two"):
        open_scene(tmp_path / "a.hdr")


def rewritten(tmp_path, change, interleave="bil", **fields):
    path = envi(tmp_path / "a.img", integers(), interleave=interleave, map_info=MAP, **fields)
    header = tmp_path / "a.hdr"
    header.write_bytes(change(header.read_text()).encode("utf-8"))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("ENVI\n", "ENVI\ndescription = {\n header offset = 512\n}\n", 1),
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("ENVI\n", "ENVI\n; bands = 99\n", 1),
        lambda t: t.replace("bands = 8", "Bands   =8"),
        lambda t: t.replace("interleave = bil", "interleave = BIL"),
    ],
    ids=["description", "crlf", "comment", "spaces", "upper case"],
)  # fmt: skip
def test_headers_that_gdal_reads(tmp_path, change):
    path = rewritten(tmp_path, change)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), CUBE)
    opens(path)


@pytest.mark.parametrize("count", [9_000, 60_000])
@pytest.mark.parametrize("interleave", ["bsq", "bil"])
def test_what_follows_a_long_line(tmp_path, interleave, count):
    """GDAL stops there, and would read bil as bsq."""
    times = ", ".join(f"1234567890.{i:06d}" for i in range(count))
    path = rewritten(
        tmp_path,
        lambda t: (
            t.replace(f"interleave = {interleave}\n", "")
            + f"line timestamps = {{{times}}}\ninterleave = {interleave}\n"
            + f"wavelength = {{{', '.join(map(str, range(501, 509)))}}}\n"
        ),
        interleave,
    )
    scene = opens(path)
    np.testing.assert_array_equal(scene.wavelengths, np.arange(501, 509))
    assert scene.transform == tuple(ORIGIN)[:6]


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("big_endian", [True, False])
def test_a_byte_order_mark(tmp_path, interleave, big_endian):
    plain = open_scene(
        rewritten(tmp_path, lambda t: t, interleave, big_endian=big_endian, data_ignore_value="-1")
    )
    path = rewritten(
        tmp_path, lambda t: f"\ufeff{t}", interleave, big_endian=big_endian, offset=100,
        wavelength="{1,2,3,4,5,6,7,8}", bbl="{1,1,1,1,1,1,1,1}",
    )  # fmt: skip
    scene = opens(path)
    assert scene.transform == plain.transform == tuple(ORIGIN)[:6]
    assert "33" in scene.crs
    np.testing.assert_allclose(scene.wavelengths, 1000.0 * np.arange(1, 9))
    assert any("byte-order mark" in note for note in scene.notes)


def test_a_byte_order_mark_before_a_header_that_is_not_complete(tmp_path):
    path = rewritten(tmp_path, lambda t: "\ufeff" + t.replace("data type = 2\n", ""))
    with pytest.raises(SceneError, match="is not a complete ENVI header"):
        open_scene(path)


@pytest.mark.parametrize("more", [1, 864])
def test_a_data_file_that_is_longer_is_noticed(tmp_path, more):
    path = envi(tmp_path / "a.img", integers())
    with path.open("ab") as file:
        file.write(b"\0" * more)
    scene = opens(path)
    assert any(f"{more} bytes more than its header says" in note for note in scene.notes)


VALUE = st.text("abc012 .,;:-", max_size=12)
NAMES = st.sampled_from(["wavelength units", "sensor type", "x", "Band Names", "default bands"])
LINES = st.one_of(
    st.tuples(NAMES, VALUE).map(lambda p: f"{p[0]} = {p[1]}"),
    st.tuples(NAMES, VALUE).map(lambda p: f"  {p[0]}={{{p[1]}}}"),
    st.tuples(NAMES, VALUE, VALUE).map(lambda p: f"{p[0]} = {{{p[1]}\n{p[2]}}}"),
    st.tuples(NAMES, VALUE).map(lambda p: f"; {p[0]} = {p[1]}"),
    VALUE,
)


@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(before=st.lists(LINES, max_size=4), after=st.lists(LINES, max_size=4))
def test_the_parser_agrees_with_gdal(tmp_path, before, after):
    path = envi(tmp_path / "p.img", integers()[:2, :2, :2])
    header = tmp_path / "p.hdr"
    _, *rest = header.read_text().splitlines()
    header.write_text("\n".join(["ENVI", *before, *rest, *after]) + "\n")
    ours = envi_header.read_fields(path)
    with rasterio.open(path) as file:
        theirs = {name.lower(): value for name, value in file.tags(ns="ENVI").items()}
        shape = (file.height, file.width, file.count)
    assert tuple(envi_header.number(ours, n) for n in ("lines", "samples", "bands")) == shape
    for name, value in theirs.items():
        assert "".join(ours[name].split()) == "".join(value.split()), name


WKT = CRS.from_string(UTM).to_wkt().replace('"', "&quot;")


def beside(path, *inner, band=""):
    bands = "".join(
        f'<PAMRasterBand band="{i + 1}">{band.format(i=i, nm=NM[i])}</PAMRasterBand>'
        for i in range(BANDS if band else 0)
    )
    sidecar = path.with_name(f"{path.name}.aux.xml")
    sidecar.write_text(f"<PAMDataset>{''.join(inner)}{bands}</PAMDataset>")
    return path


def test_place(tmp_path):
    path = geotiff(tmp_path / "s.tif", integers(), crs=None)
    numbers = f"{ORIGIN.c}, 30, 0, {ORIGIN.f}, 0, -30"
    beside(path, f"<SRS>{WKT}</SRS><GeoTransform>{numbers}</GeoTransform>")
    scene = open_scene(path)
    assert scene.transform == tuple(ORIGIN)[:6]
    assert CRS.from_wkt(scene.crs) == CRS.from_string(UTM)


@pytest.mark.parametrize("value", [0, 123])
def test_nodata(tmp_path, value):
    array = integers()
    array[:, -4:] = value
    path = geotiff(tmp_path / "s.tif", array)
    beside(path, band=f"<NoDataValue>{value}</NoDataValue>")
    scene = open_scene(path)
    assert not scene.valid[:, -4:].any()
    assert scene.valid[:, :-4].all()


def test_bands(tmp_path):
    path = geotiff(tmp_path / "s.tif", integers())
    beside(
        path,
        band='<Metadata><MDI key="wavelength">{nm}</MDI><MDI key="wavelength_units">nm</MDI>'
        '<MDI key="bbl">1</MDI></Metadata>',
    )
    np.testing.assert_allclose(open_scene(path).wavelengths, NM)


def test_the_imagery_domain(tmp_path):
    path = geotiff(tmp_path / "s.tif", integers())
    with rasterio.open(path, "r+") as file:
        for band, nm in enumerate(NM, start=1):
            file.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=f"{nm / 1000}",
                             FWHM_UM="0.008")  # fmt: skip
    scene = open_scene(path)
    np.testing.assert_allclose(scene.wavelengths, NM)
    np.testing.assert_allclose(scene.fwhm, 8)


def test_scale(tmp_path):
    path = beside(
        geotiff(tmp_path / "s.tif", integers()),
        band="<Offset>0.5</Offset><Scale>0.0001</Scale>",
    )
    expected = integers().transpose(2, 0, 1).astype(np.float32) * np.float32(1e-4) + 0.5
    np.testing.assert_allclose(open_scene(path).cube.values, expected, rtol=1e-6)


def test_category_names(tmp_path):
    labels = geotiff(tmp_path / "l.tif", ground())
    names = "".join(f"<Category>{n}</Category>" for n in ("none", "soil", "gräs", "tree"))
    sidecar = labels.with_name("l.tif.aux.xml")
    sidecar.write_text(
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames>'
        "</PAMRasterBand></PAMDataset>",
        encoding="utf-8",
    )
    scene = open_scene(geotiff(tmp_path / "s.tif", integers()), labels)
    assert scene.labels.classes == {1: "soil", 2: "gräs", 3: "tree"}


def test_names_of_an_attribute_table(tmp_path):
    labels = geotiff(tmp_path / "l.tif", ground())
    fields = "".join(
        f'<FieldDefn index="{i}"><Name>{n}</Name><Type>0</Type><Usage>{u}</Usage></FieldDefn>'
        for i, (n, u) in enumerate((("Value", 5), ("Count", 1), ("Kind", 2)))
    )
    rows = "".join(
        f'<Row index="{i}"><F>{i + 1}</F><F>9</F><F>{n}</F></Row>'
        for i, n in enumerate(("soil", "grass", "tree"))
    )
    labels.with_name("l.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable>'
        f"{fields}{rows}</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"
    )
    scene = open_scene(geotiff(tmp_path / "s.tif", integers()), labels)
    assert scene.labels.classes == {1: "soil", 2: "grass", 3: "tree"}


@pytest.mark.parametrize("largest", [3, 300])
def test_names_of_our_own_maps_come_back(tmp_path, largest):
    ids = np.where(ground() == 3, largest, ground().astype(np.int32))
    names = {1: "soil", 2: "grass & herbs", largest: "tree, dead"}
    colours = {1: (10, 20, 30), 2: (40, 50, 60), largest: (70, 80, 90)}
    path = tmp_path / "map.tif"
    write_class_map(path, ids, names, colours, crs=UTM, transform=tuple(ORIGIN)[:6])
    labels = open_scene(geotiff(tmp_path / "s.tif", integers()), path).labels
    assert labels.classes == names
    np.testing.assert_array_equal(labels.ids, ids)


def test_a_damaged_sidecar_is_left_out(tmp_path):
    path = geotiff(tmp_path / "l.tif", ground())
    path.with_name("l.tif.aux.xml").write_text("<PAMDataset><PAMRaster")
    scene = open_scene(geotiff(tmp_path / "s.tif", integers()), path)
    assert set(scene.labels.classes) == {1, 2, 3}


def test_the_hash_follows_what_decides_the_values(tmp_path):
    path = geotiff(tmp_path / "s.tif", integers())
    plain = open_scene(path).sha256
    statistics = '<Metadata><MDI key="STATISTICS_MEAN">{i}</MDI></Metadata>'
    assert open_scene(beside(path, band=statistics)).sha256 == plain
    assert open_scene(beside(path, band="<NoDataValue>7</NoDataValue>")).sha256 != plain
    assert path.with_name("s.tif.aux.xml") in files_of(path)
