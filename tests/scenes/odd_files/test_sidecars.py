"""FILE.aux.xml is read as GDAL and QGIS read it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.scenes import files_of, open_scene
from tests.helpers.odd_scene import BANDS, NM, ground, integers
from tests.helpers.scene_files import ORIGIN, UTM, geotiff

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
