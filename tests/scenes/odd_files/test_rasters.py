"""Bands in files of their own, bands that are no spectrum, overlapping tiles, and ENVI headers."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from hyperpeft.errors import SceneError
from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.scenes import files_of, open_scene, open_view
from hyperpeft.scenes.readers import envi_header
from tests.helpers.scene_files import (
    BANDS,
    HEIGHT,
    NM,
    ORIGIN,
    UTM,
    WIDTH,
    envi,
    geotiff,
    ground,
    integers,
    labelled_dataset,
)

CUBE = integers().transpose(2, 0, 1)


def noted(scene, words):
    return any(words in note for note in scene.notes)


def test_a_folder_by_the_numbers_in_the_names(tmp_path):
    order = np.random.default_rng(0).permutation(BANDS)
    many = integers()[..., [*range(BANDS), *range(4)]]  # twelve: B10 is not behind B1
    for band in [*order.tolist(), 8, 9, 10, 11]:
        geotiff(tmp_path / f"LC_B{band + 1}.TIF", many[..., band])
    scene = open_scene(tmp_path)
    np.testing.assert_array_equal(scene.cube.values, many.transpose(2, 0, 1))
    assert noted(scene, "12 files are stacked as bands, in the order of their names: LC_B1.TIF")
    assert scene.transform == tuple(ORIGIN)[:6]


def test_a_pattern_by_wavelength(tmp_path):
    for name, band in zip("hgfedcba", range(BANDS), strict=True):
        geotiff(tmp_path / f"{name}.tif", integers()[..., band],
                band_tags=[{"wavelength": f"{NM[band]}"}])  # fmt: skip
    scene = open_scene(str(tmp_path / "*.tif"))
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    np.testing.assert_allclose(scene.wavelengths, NM)
    assert noted(scene, "in the order of their wavelengths")


def test_wavelengths_in_the_names(tmp_path):
    for band in range(BANDS):
        geotiff(tmp_path / f"refl_{NM[band]:.0f}nm.tif", integers()[..., band])
    (tmp_path / "refl_430nm.tif").rename(tmp_path / "refl_0430nm.tif")
    scene = open_scene(tmp_path)
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    np.testing.assert_array_equal(scene.wavelengths, np.round(NM))
    assert scene.rgb != (0, 0, 0)


def test_quality_files_are_named_and_left_out(tmp_path):
    for band in range(BANDS):
        geotiff(tmp_path / f"S_B{band + 1}.tif", integers()[..., band])
    geotiff(tmp_path / "S_QA_PIXEL.tif", ground())
    scene = open_scene(tmp_path)
    assert scene.shape[2] == BANDS
    assert noted(scene, "S_QA_PIXEL.tif: not spectral by name, left out")


@pytest.mark.parametrize("names", [("vnir", "swir"), ("x_SWIR", "x_VNIR")])
def test_two_instruments_by_name(tmp_path, names):
    first, second = (1, 0) if "SWIR" in names[0] else (0, 1)
    halves = integers()[..., : BANDS // 2], integers()[..., BANDS // 2 :]
    a = geotiff(tmp_path / f"{names[0]}.tif", halves[first])
    b = geotiff(tmp_path / f"{names[1]}.tif", halves[second])
    scene = open_scene(f"{a},{b}")
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    assert noted(scene, "spectral ranges by name")


def test_two_instruments_by_wavelength(tmp_path):
    files = []
    for name, half in (("a", slice(5, BANDS)), ("b", slice(0, 5))):
        waves = ", ".join(f"{nm:.2f}" for nm in NM[half])
        files.append(
            envi(tmp_path / f"{name}.bsq", integers()[..., half], wavelength=f"{{{waves}}}",
                 wavelength_units="Nanometers")
        )  # fmt: skip
    scene = open_scene(",".join(map(str, files)))
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    np.testing.assert_allclose(scene.wavelengths, NM, atol=0.01)


def test_each_instrument_has_its_valid_range(tmp_path):
    array = integers() % 800 + 100
    array[2, 3, 0], array[4, 5, 6], array[6, 7, 6] = -77, 1500, -1
    for name, half, high in (("vnir", slice(0, 5), 1000), ("swir", slice(5, BANDS), 2000)):
        dataset = labelled_dataset(array[..., half], NM[half])
        dataset["reflectance"].attrs["valid_range"] = np.array([0, high], "int16")
        dataset.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
    scene = open_scene(str(tmp_path / "*.nc"))
    assert np.argwhere(~scene.valid).tolist() == [[2, 3], [6, 7]]
    _, shown = open_view(str(tmp_path / "*.nc")).read([0, 6], slice(0, HEIGHT), slice(0, WIDTH))
    np.testing.assert_array_equal(shown, scene.valid)


def test_files_of_equal_bands_without_a_word_are_refused(tmp_path):
    a = geotiff(tmp_path / "one.tif", integers()[..., :4])
    b = geotiff(tmp_path / "two.tif", integers()[..., 4:])
    with pytest.raises(SceneError, match=r"tile two lies wholly in one and has other values"):
        open_scene(f"{a},{b}")


def test_two_dates_are_no_mosaic(tmp_path):
    tags = [{"wavelength": str(nm)} for nm in NM]
    geotiff(tmp_path / "june.tif", integers(0), band_tags=tags)
    geotiff(tmp_path / "july.tif", integers(1), band_tags=tags)
    with pytest.raises(SceneError, match=r"lies wholly in .* and has other values"):
        open_scene(str(tmp_path / "*.tif"))


def test_a_part_of_a_tile_is_no_tile_beside_it(tmp_path):
    geotiff(tmp_path / "a.tif", integers(0))
    geotiff(tmp_path / "b.tif", integers(1)[2:9, 3:8], transform=ORIGIN @ Affine.translation(3, 2))
    with pytest.raises(SceneError, match="tile b lies wholly in a and has other values"):
        open_scene(tmp_path)
    geotiff(tmp_path / "b.tif", integers(0)[2:9, 3:8], transform=ORIGIN @ Affine.translation(3, 2))
    scene = open_scene(tmp_path)
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    assert noted(scene, "b lies wholly in a and has the same values")


def test_bands_of_two_pixel_sizes_are_refused(tmp_path):
    for band in range(3):
        geotiff(tmp_path / f"B{band}.tif", integers()[..., band])
    geotiff(tmp_path / "B8.tif", integers()[::2, ::2, 0], transform=ORIGIN @ Affine.scale(2))
    with pytest.raises(SceneError, match=r"files of one band on 2 grids.*24 x 18.*12 x 9"):
        open_scene(tmp_path)


def test_tiles_of_one_band_are_still_a_mosaic(tmp_path):
    for i in range(2):
        place = ORIGIN @ Affine.translation(0, 12 * i)
        geotiff(tmp_path / f"t{i}.tif", integers()[12 * i : 12 * i + 12, :, 0], transform=place)
    scene = open_scene(tmp_path)
    assert scene.shape == (HEIGHT, WIDTH, 1)
    np.testing.assert_array_equal(scene.cube.values[0], CUBE[0])


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_tiff_of_one_page_a_band(tmp_path, dtype):
    path = tmp_path / "pages.tif"
    for band, values in enumerate(CUBE.astype(dtype)):
        with rasterio.open(
            path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=1, dtype=dtype, crs=UTM,
            transform=ORIGIN, APPEND_SUBDATASET="YES" if band else "NO",
        ) as file:  # fmt: skip
            file.write(values, 1)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube.values, CUBE.astype(dtype))
    assert noted(scene, f"the {BANDS} pages of the file are stacked as bands")
    assert open_scene(f"{path}:3").shape == (HEIGHT, WIDTH, 1)


def test_fill_0_of_one_band_does_not_mask_the_others(tmp_path):
    array = integers()
    array[4, 4, 2] = 0
    array[:3] = 0
    for band in range(BANDS):
        geotiff(tmp_path / f"B{band}.tif", array[..., band], nodata=0)
    scene = open_scene(tmp_path)
    assert not scene.valid[:3].any()
    assert scene.valid[3:].all()


def with_alpha(path, array, alpha, *, mark=True, descriptions=None):
    """Bands and one more, which is marked as alpha or not."""
    stack = np.concatenate([array, alpha[..., None].astype(array.dtype)], axis=2)
    count = stack.shape[2]
    with rasterio.open(
        path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=count, crs=UTM,
        dtype=array.dtype, transform=ORIGIN, photometric="MINISBLACK",
        alpha="UNASSOCIATED" if mark else "NO",
    ) as file:  # fmt: skip
        interpretations = [ColorInterp.gray, *[ColorInterp.undefined] * (count - 1)]
        if mark:
            interpretations[-1] = ColorInterp.alpha
        file.colorinterp = interpretations
        file.write(stack.transpose(2, 0, 1))
        for band, text in (descriptions or {}).items():
            file.set_band_description(band, text)
    return path


def outside(alpha_value):
    alpha = np.full((HEIGHT, WIDTH), alpha_value)
    alpha[:, :4] = 0
    return alpha


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint16", 65535), ("uint8", 255), ("uint16", 1), ("float32", 255)]
)
@pytest.mark.parametrize("ground_outside", [0, 100])
def test_alpha_masks_and_is_no_band(tmp_path, dtype, value, ground_outside):
    array = (integers() % 200 + 20).astype(dtype)
    array[:, :4] = ground_outside
    scene = open_scene(with_alpha(tmp_path / "o.tif", array, outside(value)))
    assert scene.shape[2] == BANDS
    assert not scene.valid[:, :4].any()
    assert scene.valid[:, 4:].all()
    assert any(f"band {BANDS + 1} is alpha: it masks" in note for note in scene.notes)
    assert any(f"alpha {4 * HEIGHT})" in note for note in scene.notes)


def test_alpha_that_nothing_marks(tmp_path):
    array = (integers() % 200 + 20).astype("uint16")
    array[:, :4] = 0
    path = with_alpha(tmp_path / "o.tif", array, outside(65535), mark=False)
    scene = open_scene(path)
    assert scene.shape[2] == BANDS
    assert not scene.valid[:, :4].any()
    assert any("as alpha does" in note for note in scene.notes)


def test_alpha_by_its_name(tmp_path):
    array = (integers() % 200 + 20).astype("uint16")
    path = with_alpha(tmp_path / "o.tif", array, outside(1), mark=False,
                      descriptions={BANDS + 1: "Alpha"})  # fmt: skip
    assert open_scene(path).shape[2] == BANDS


def test_near_infrared_that_is_marked_as_alpha_stays(tmp_path):
    array = integers(dtype="uint16")
    scene = open_scene(with_alpha(tmp_path / "rgbn.tif", array[..., :3], array[..., 6]))
    assert scene.shape[2] == 4
    assert scene.valid.all()
    assert any("band 4 is marked as alpha but holds" in note for note in scene.notes)


@pytest.mark.parametrize("name", ["QA", "cloud mask", "Quality", "Solar zenith", "pixel_flags"])
def test_bands_that_are_not_spectral_by_name(tmp_path, name):
    path = with_alpha(
        tmp_path / "s.tif", integers(), ground(), mark=False, descriptions={BANDS + 1: name}
    )
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube.values, integers().transpose(2, 0, 1))
    assert any(f"{BANDS + 1} ({name}) are left out: not spectral by name" in n for n in scene.notes)


def test_a_band_without_a_wavelength_among_bands_that_have_one(tmp_path):
    array = np.concatenate([integers(), ground()[..., None].astype("int16")], axis=2)
    tags = [*({"wavelength": f"{nm}", "wavelength_units": "nm"} for nm in NM), {}]
    scene = open_scene(geotiff(tmp_path / "s.tif", array, band_tags=tags))
    assert scene.shape[2] == BANDS
    np.testing.assert_allclose(scene.wavelengths, NM)
    assert any("without a wavelength" in note for note in scene.notes)


def test_a_raster_of_nothing_but_such_bands_is_opened(tmp_path):
    path = geotiff(tmp_path / "dem.tif", integers()[..., :2])
    with rasterio.open(path, "r+") as file:
        file.set_band_description(1, "elevation")
        file.set_band_description(2, "slope")
    assert open_scene(path).shape[2] == 2


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


LONG_LINE = f"line timestamps = {{{'1, ' * 30_000}1}}\n"


@pytest.mark.parametrize("how", ["byte-order mark", "long line"])
@pytest.mark.parametrize(
    "fields",
    [
        {"reflectance_scale_factor": "10000"},
        {"data_gain_values": f"{{{', '.join(['0.5'] * BANDS)}}}",
         "data_offset_values": f"{{{', '.join(map(str, range(BANDS)))}}}"},
        {"data_gain_values": "{0.5, 0.5}"},  # of another length: not used
        {"map_info": "{Arbitrary, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0, North}",
         "data_ignore_value": "-5"},
        {"map_info": MAP, "data_ignore_value": "0"},
        {"band_names": "{a, b, c, d, e, f, g, cloud mask}", "bbl": "{1,0,1,1,1,1,1,1}",
         "wavelength": f"{{{', '.join(map(str, NM))}}}"},
        {"band_names": f"{{{', '.join(f'{nm:g} nm' for nm in NM)}}}", "fwhm": "{7, 8}"},
    ],
    ids=["factor", "gains", "too few gains", "arbitrary", "ignored", "names", "centres in names"],
)  # fmt: skip
def test_without_gdal_a_header_means_the_same(tmp_path, how, fields):
    path = envi(tmp_path / "a.img", integers(), **fields)
    plain, header = open_scene(path), tmp_path / "a.hdr"
    text = header.read_text()
    long = text.replace("byte order = 0\n", f"byte order = 0\n{LONG_LINE}")
    header.write_text(f"\ufeff{text}" if how == "byte-order mark" else long)
    scene = open_scene(path)
    assert noted(scene, "read without GDAL")
    np.testing.assert_array_equal(scene.cube.values, plain.cube.values)
    np.testing.assert_array_equal(scene.valid, plain.valid)
    np.testing.assert_equal(scene.wavelengths, plain.wavelengths)
    assert scene.transform == plain.transform
    kept = [note for note in scene.notes if "without GDAL" not in note and "line_times" not in note]
    assert kept == [note.replace("mask (2300.0)", "mask") for note in plain.notes]
    if "bbl" in fields:
        np.testing.assert_array_equal(plain.wavelengths, NM[[0, *range(2, BANDS - 1)]])


def test_a_scale_behind_a_long_line(tmp_path):
    path = envi(tmp_path / "a.img", integers())
    with (tmp_path / "a.hdr").open("a") as file:
        file.write(f"{LONG_LINE}reflectance scale factor = 4\n")
    np.testing.assert_array_equal(open_scene(path).cube.values, CUBE / np.float32(4))


def test_a_bad_band_list_of_another_length_behind_a_byte_order_mark(tmp_path):
    path = rewritten(tmp_path, lambda t: f"\ufeff{t}", bbl="{1, 0}")
    with pytest.raises(SceneError, match=f"bad-band list: expected {BANDS} values, got 2"):
        open_scene(path)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_tiff_beside_an_envi_pair_of_its_name(tmp_path, mark):
    envi(tmp_path / "a.img", integers())
    header = tmp_path / "a.hdr"
    header.write_text(mark + header.read_text())
    path = geotiff(tmp_path / "a.tif", integers(), interleave="pixel")
    assert opens(path).transform == tuple(ORIGIN)[:6]
    values, shown = open_view(path).read(range(BANDS), slice(0, HEIGHT), slice(0, WIDTH))
    np.testing.assert_array_equal(values, CUBE)
    assert shown.all()


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
