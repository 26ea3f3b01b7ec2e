"""Samples, estimates of area and accuracy, and the files of both."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import replace

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import rasterio
import shapely
from rasterio import warp
from rasterio.transform import from_origin

from hyperpeft import SceneClassifier, cli
from hyperpeft.assessment import (
    CheckList,
    Observations,
    allocate,
    assess_map,
    estimate,
    read_class_raster,
    sample_map,
    sample_size,
    suggest,
    suggestions,
    write_suggestions,
)
from hyperpeft.assessment.estimators import of_ratio, of_sum, wilson
from hyperpeft.assessment.tables import all_tables, to_html, to_latex
from hyperpeft.assessment.uncertainty import choose, uncertainty
from hyperpeft.errors import ConfigError, InputError, LabelsError
from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.records import palette
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import open_scene, pixel_areas, read_labels
from tests.helpers.small import (
    CRS,
    MAP_NAMES,
    TRANSFORM,
    fill_reference,
    planted,
    truth_and_map,
    write_map,
    write_scene,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assess")
    truth, mapped = truth_and_map()
    path = write_map(folder / "map.tif", mapped)
    drawn = sample_map(path, folder / "points.gpkg", size=300, seed=3)
    return folder, path, truth, mapped, drawn


def test_the_points_are_pixel_centres_of_their_strata(world):
    folder, _, _, mapped, drawn = world
    assert [n for _, n in drawn.strata.values()] == _sizes(mapped)
    assert list(drawn.strata) == list(MAP_NAMES.values())
    meta, _, wkb, columns = pyogrio.raw.read(folder / "points.gpkg", layer="points")
    assert list(meta["fields"]) == ["id", "reference", "comment"]  # nothing that biases
    assert all(value is None for value in columns[1])
    _, _, _, (ids, stratum, map_id, rows, cols) = pyogrio.raw.read(
        folder / "points.gpkg", layer="design"
    )
    xy = shapely.get_coordinates(shapely.from_wkb(wkb))
    x, y = TRANSFORM.c + 30 * (cols + 0.5), TRANSFORM.f - 30 * (rows + 0.5)
    np.testing.assert_allclose(xy, np.stack([x, y], 1))
    assert (mapped[rows, cols] == map_id).all()
    assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 300
    assert ids.tolist() == list(range(1, 301))
    assert (np.diff(stratum) != 0).mean() > 0.3  # shuffled: the order does not tell the class
    assert pyogrio.read_info(folder / "points.gpkg", layer="points")["crs"] == CRS


def _sizes(mapped):
    from hyperpeft.assessment import allocate

    sizes = np.array([np.count_nonzero(mapped == i) for i in MAP_NAMES])
    return allocate(sizes, 300, minimum=50).tolist()


def test_the_same_seed_draws_the_same_points(world, tmp_path):
    folder, path, *_ = world
    sample_map(path, tmp_path / "a.gpkg", size=300, seed=3)
    sample_map(path, tmp_path / "b.gpkg", size=300, seed=4)
    tables = [pyogrio.raw.read(p, layer="design")[3] for p in
              (folder / "points.gpkg", tmp_path / "a.gpkg", tmp_path / "b.gpkg")]  # fmt: skip
    assert all((a == b).all() for a, b in zip(tables[0], tables[1], strict=True))
    assert (tables[0][3] != tables[2][3]).any()


def test_every_pixel_of_a_stratum_can_be_drawn(tmp_path):
    _, mapped = truth_and_map(shape=(30, 40))
    path = write_map(tmp_path / "map.tif", mapped)
    seen = np.zeros(mapped.shape, int)
    for seed in range(40):
        sample_map(path, tmp_path / "p.gpkg", size=150, seed=seed)
        _, _, _, table = pyogrio.raw.read(tmp_path / "p.gpkg", layer="design")
        seen[table[3], table[4]] += 1
    assert (seen[mapped > 0] > 0).mean() > 0.98
    assert (seen[mapped == 0] == 0).all()
    drawn = seen[mapped == 2]  # uniform: the counts of a stratum vary as those of a binomial
    p = drawn.mean() / 40
    assert drawn.var() < 1.5 * 40 * p * (1 - p)


@pytest.mark.parametrize("names", [MAP_NAMES, None])
def test_estimates_of_the_truth(world, tmp_path, names):
    folder, path, truth, mapped, _ = world
    points = tmp_path / "p.gpkg"
    points.write_bytes((folder / "points.gpkg").read_bytes())
    found = assess_map(path, fill_reference(points, truth, names), level=0.999)
    valid = mapped > 0
    real = (mapped == truth)[valid].mean()
    assert found.estimates.overall.low < real < found.estimates.overall.high
    for i, share in found.estimates.areas.items():
        assert share.low < (truth[valid] == i).mean() < share.high
    assert found.hectares == pytest.approx(valid.sum() * 0.09)
    assert found.to_dict()["areas"]["water"]["mapped_share"] == pytest.approx(
        (mapped == 1).sum() / valid.sum()
    )
    assert found.left_out == 0


def test_a_perfect_map_is_not_certain(world, tmp_path):
    _, _, truth, _, _ = world
    path = write_map(tmp_path / "map.tif", truth)
    sample_map(path, tmp_path / "p.gpkg", size=150)
    found = assess_map(path, fill_reference(tmp_path / "p.gpkg", truth), rule="normal")
    assert found.estimates.overall.value == pytest.approx(1)
    assert found.estimates.overall.low < 0.99
    assert any("no error was seen" in note for note in found.notes)


def test_strata_of_another_raster_and_another_map(world, tmp_path):
    """Stehman (2014): the strata stay, the classes are those of the map that is assessed."""
    _, path, truth, mapped, _ = world
    blocks = np.where(mapped > 0, 1 + (np.arange(mapped.shape[1]) // 75), 0).astype(np.uint8)
    blocks[blocks == 2] = 4
    strata = write_map(tmp_path / "strata.tif", blocks)
    sample_map(path, tmp_path / "p.gpkg", size=400, strata=strata)
    fill_reference(tmp_path / "p.gpkg", truth)
    sure = {"level": 0.999}  # a test must not fail once in twenty seeds
    found = assess_map(path, tmp_path / "p.gpkg", **sure)
    valid = mapped > 0
    assert found.estimates.overall.low < (mapped == truth)[valid].mean()
    assert found.estimates.overall.high > (mapped == truth)[valid].mean()
    worse = mapped.copy()
    worse[valid & (np.random.default_rng(1).random(mapped.shape) < 0.4)] = 2
    other = assess_map(write_map(tmp_path / "other.tif", worse), tmp_path / "p.gpkg", **sure)
    real = (worse == truth)[valid].mean()
    assert other.estimates.overall.low < real < other.estimates.overall.high
    assert any("its strata stay as they were drawn" in note for note in other.notes)


def test_a_map_of_another_grid_is_refused(world, tmp_path):
    """A map that is right on the ground, but whose rows and columns are others."""
    _, _, truth, _, _ = world
    path = write_map(tmp_path / "map.tif", truth)
    sample_map(path, tmp_path / "p.gpkg", size=150)
    points = fill_reference(tmp_path / "p.gpkg", truth)

    def other(ids, transform):
        write_class_map(tmp_path / "o.tif", ids, MAP_NAMES, palette(MAP_NAMES), crs=CRS,
                        transform=tuple(transform)[:6])  # fmt: skip
        return assess_map(tmp_path / "o.tif", points)

    same = other(np.pad(truth, ((0, 9), (0, 9)), constant_values=2), TRANSFORM)
    assert same.estimates.overall.value == pytest.approx(1)
    cut = np.pad(truth[10:, 20:], ((0, 10), (0, 20)), constant_values=2)
    halved = truth.repeat(2, axis=0).repeat(2, axis=1)
    for ids, transform in (
        (cut, from_origin(364_600, 5_809_700, 30, 30)),
        (halved, from_origin(364_000, 5_810_000, 15, 15)),
    ):
        with pytest.raises(LabelsError, match=r"drawn on another grid than .* of 150 at others"):
            other(ids, transform)
    with pytest.raises(LabelsError, match=r"rows and columns within \(30, 30\)"):
        other(truth[:30, :30], TRANSFORM)
    plain = write_map(tmp_path / "plain.tif", truth, crs=None)
    found = assess_map(plain, points)
    assert any("plain.tif has no georeference" in note for note in found.notes)
    points = tmp_path / "plain.gpkg"
    sample_map(plain, points, size=150)
    fill_reference(points, truth)
    found = other(truth, TRANSFORM)
    assert any("the map that was sampled has no georeference" in note for note in found.notes)


def test_points_of_another_origin_and_crs(world, tmp_path):
    _, path, truth, mapped, _ = world
    random = np.random.default_rng(0)
    rows, cols = np.nonzero(mapped)
    chosen = random.choice(len(rows), 200, replace=False)
    rows, cols = rows[chosen], cols[chosen]
    x, y = TRANSFORM.c + 30 * (cols + 0.4), TRANSFORM.f - 30 * (rows + 0.7)
    lon, lat = warp.transform(CRS, "EPSG:4326", x, y)
    texts = np.array([MAP_NAMES[int(i)].upper() for i in truth[rows, cols]], dtype=object)
    pyogrio.raw.write(
        tmp_path / "p.geojson", shapely.to_wkb(shapely.points(lon, lat)), [texts], ["seen"],
        geometry_type="Point", crs="EPSG:4326", driver="GeoJSON",
    )  # fmt: skip
    found = assess_map(path, tmp_path / "p.geojson", "seen")
    agree = (mapped == truth)[rows, cols]
    assert np.trace(found.estimates.counts) == agree.sum()
    assert any("does not say how its points were drawn" in note for note in found.notes)


def test_unfilled_points_and_new_classes_are_said(world, tmp_path):
    folder, path, truth, *_ = world
    points = tmp_path / "p.gpkg"
    points.write_bytes((folder / "points.gpkg").read_bytes())
    fill_reference(points, truth, {1: "water", 2: "", 4: "cloud"})
    found = assess_map(path, points)
    assert any("have no reference class" in note for note in found.notes)
    assert any("classes that the map does not have: cloud" in note for note in found.notes)
    assert found.left_out > 0


def test_zero_is_no_class_of_the_reference(world, tmp_path):
    """Points that were not visited are 0 in a field of numbers, as unlabelled pixels are."""
    _, path, truth, mapped, _ = world
    rows, cols = np.nonzero(mapped)
    rows, cols = rows[::97], cols[::97]
    values = truth[rows, cols].astype(np.int32)
    values[::2] = 0
    found = assess_map(path, write_visited(tmp_path / "p.gpkg", rows, cols, values))
    assert found.left_out == np.count_nonzero(values == 0)
    assert set(found.names.values()) == set(MAP_NAMES.values())
    agree = (mapped == truth)[rows, cols][1::2]
    assert np.trace(found.estimates.counts) == agree.sum()
    assert any("have no reference class (the field is empty, or 0)" in n for n in found.notes)
    write_class_map(tmp_path / "named.tif", truth, {1: "0", 2: "b", 4: "c"}, palette(MAP_NAMES),
                    crs=CRS, transform=tuple(TRANSFORM)[:6])  # fmt: skip
    texts = np.array(["0", "b", "", "c"], object)[truth[rows, cols] - 1]
    points = write_visited(tmp_path / "q.gpkg", rows, cols, texts)
    found = assess_map(tmp_path / "named.tif", points)
    assert found.left_out == 0
    assert found.estimates.overall.value == pytest.approx(1)


def test_an_empty_point_is_left_out(world, tmp_path):
    _, path, truth, mapped, _ = world
    rows, cols = np.nonzero(mapped)
    rows, cols = rows[::97], cols[::97]
    x, y = TRANSFORM.c + 30 * (cols + 0.5), TRANSFORM.f - 30 * (rows + 0.5)
    for crs in (CRS, "EPSG:4326"):
        points = shapely.points(*warp.transform(CRS, crs, x, y))
        points[3] = shapely.Point()
        pyogrio.raw.write(
            tmp_path / "p.gpkg", shapely.to_wkb(points), [truth[rows, cols]], ["reference"],
            geometry_type="Point", crs=crs, append=False,
        )  # fmt: skip
        found = assess_map(path, tmp_path / "p.gpkg")
        assert found.left_out == 1
        agree = np.delete((mapped == truth)[rows, cols], 3)
        assert np.trace(found.estimates.counts) == agree.sum()


def test_a_list_of_points_without_those_that_were_deleted(world, tmp_path):
    """Deleted in a GIS, as a person does; and a field that was deleted."""
    folder, path, truth, *_ = world
    points = tmp_path / "p.gpkg"
    points.write_bytes((folder / "points.gpkg").read_bytes())
    fill_reference(points, truth)
    whole = CheckList(points)
    meta, _, wkb, columns = pyogrio.raw.read(points, layer="points")

    def rewrite(keep, fields):
        chosen = [column[keep] for name, column in zip(meta["fields"], columns, strict=True)
                  if name in fields]  # fmt: skip
        pyogrio.raw.write(
            points, wkb[keep], chosen, fields, layer="points", geometry_type="Point",
            crs=meta["crs"], append=False, driver="GPKG",
        )  # fmt: skip

    keep = np.arange(300) != 2
    rewrite(keep, ["id", "reference", "comment"])
    check = CheckList(points)
    assert len(check) == 299 == int(assess_map(path, points).estimates.counts.sum())
    assert check.answers == [a for a, kept in zip(whole.answers, keep, strict=True) if kept]
    np.testing.assert_array_equal(check.places, whole.places[keep])
    check.answer(2, "cloud")  # the fourth that was drawn
    assert CheckList(points).answers[2] == "cloud"
    assert "cloud" in pyogrio.raw.read(points, layer="points", where="id = 4")[3][1]
    rewrite(keep, ["id", "reference"])
    with pytest.raises(LabelsError, match="its points have lost the field comment"):
        CheckList(points)


def test_names_are_those_of_the_legend(tmp_path):
    """Classes that the map shows nowhere, and names that differ by case only."""
    ids = np.ones((40, 40), np.uint8)
    ids[:, 20:] = 2
    legend = {1: "Corn", 2: "corn", 3: "water", 7: "rye", 8: "rye"}
    write_class_map(tmp_path / "m.tif", ids, legend, palette(legend), crs=CRS,
                    transform=tuple(TRANSFORM)[:6])  # fmt: skip
    rows, cols = np.divmod(np.arange(0, 1600, 39), 40)
    texts = np.array(["Corn", "corn"], object)[ids[rows, cols] - 1]
    texts[0], texts[1], texts[2] = "3", "WATER", "1"
    truth = np.where(texts == "Corn", 1, 2)
    truth[:3] = 3, 3, 1
    found = assess_map(tmp_path / "m.tif", write_visited(tmp_path / "p.gpkg", rows, cols, texts))
    assert found.names == {1: "Corn", 2: "corn", 3: "water"}
    for i in (1, 2, 3):
        column = found.estimates.counts[:, found.estimates.classes.index(i)]
        assert column.sum() == np.count_nonzero(truth == i)
    assert "classes of the legend that the map shows nowhere: water" in found.notes
    for text, classes in (("CORN", "1 (Corn), 2 (corn)"), ("rye", "7 (rye), 8 (rye)")):
        texts[5] = text
        with pytest.raises(LabelsError, match=re.escape(f"one of {classes}; write the id")):
            assess_map(tmp_path / "m.tif", write_visited(tmp_path / "q.gpkg", rows, cols, texts))


def test_classes_that_are_called_like_no_value_have_their_points(tmp_path):
    ids = np.repeat([[1, 2, 3]], 30, axis=0).repeat(10, axis=1).astype(np.uint8)
    names = {1: "None", 2: "NA", 3: "veg"}
    write_class_map(tmp_path / "m.tif", ids, names, palette(names), crs=CRS,
                    transform=tuple(TRANSFORM)[:6])  # fmt: skip
    sample_map(tmp_path / "m.tif", tmp_path / "p.gpkg", size=60)
    found = assess_map(tmp_path / "m.tif", fill_reference(tmp_path / "p.gpkg", ids, names))
    np.testing.assert_array_equal(found.estimates.counts, np.diag([20, 20, 20]))


def test_areas_of_strata_are_of_the_pixels_with_a_class(tmp_path):
    ids = np.ones((100, 100), np.uint8)
    ids[:, 50:] = 0
    strata = np.repeat([1, 2], 50)[:, None].repeat(100, axis=1).astype(np.uint8)
    sample_map(write_map(tmp_path / "m.tif", ids), tmp_path / "p.gpkg", size=40,
               strata=write_map(tmp_path / "s.tif", strata))  # fmt: skip
    meta, _, _, columns = pyogrio.raw.read(tmp_path / "p.gpkg", layer="strata")
    table = dict(zip(meta["fields"], columns, strict=True))
    assert table["pixels"].tolist() == [2500, 2500]
    np.testing.assert_allclose(table["hectares"], 2500 * 0.09, rtol=0.001)


def test_what_a_mask_hides_is_no_class(tmp_path):
    """As in labels: of the upper half of the map nothing is known."""
    ids = np.repeat([[1, 2]], 40, axis=0).repeat(15, axis=1).astype(np.uint8)
    profile = {"driver": "GTiff", "height": 40, "width": 30, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "m.tif", "w", crs=CRS, transform=TRANSFORM, **profile) as map_:
        map_.write(ids, 1)
        map_.write_mask(np.arange(40)[:, None].repeat(30, axis=1) >= 20)
    found = read_class_raster(tmp_path / "m.tif")
    assert found.pixels == {1: 300, 2: 300}
    assert found.classes_at(np.array([19, 20]), np.array([0, 0])).tolist() == [0, 1]


def test_strata_whose_transform_is_rounded_are_of_the_maps_grid(tmp_path):
    ids = np.repeat([[1, 2]], 40, axis=0).repeat(15, axis=1).astype(np.uint8)
    step = 1 / 1200
    for name, moved in (("m", 0.0), ("s", 1e-12), ("far", 0.2 * step)):
        write_class_map(tmp_path / f"{name}.tif", ids, MAP_NAMES, palette(MAP_NAMES),
                        crs="EPSG:4326",
                        transform=(step + moved / 30, 0, 10.1, 0, -step, 50.2 + moved))  # fmt: skip
    out = tmp_path / "p.gpkg"
    drawn = sample_map(tmp_path / "m.tif", out, size=20, strata=tmp_path / "s.tif")
    assert sum(points for _, points in drawn.strata.values()) == 20
    with pytest.raises(ConfigError, match="the grid of the map"):
        sample_map(tmp_path / "m.tif", out, size=20, strata=tmp_path / "far.tif")


def test_two_classes_of_one_name_stay_two(tmp_path):
    ids = np.repeat([[1, 2, 3]], 40, axis=0).repeat(14, axis=1).astype(np.uint8)
    names = {1: "rye", 2: "oats", 3: "rye"}
    write_class_map(tmp_path / "m.tif", ids, names, palette(names))
    drawn = sample_map(tmp_path / "m.tif", tmp_path / "p.gpkg", size=90)
    shown = ["rye (1)", "oats", "rye (3)"]
    assert list(drawn.strata) == shown
    found = assess_map(tmp_path / "m.tif", fill_reference(tmp_path / "p.gpkg", ids, None)).to_dict()
    assert found["overall"]["value"] == pytest.approx(1)
    for part in ("users", "producers", "areas", "strata"):
        assert list(found[part]) == shown
    points = fill_reference(tmp_path / "p.gpkg", ids, dict(zip((1, 2, 3), shown, strict=True)))
    assert assess_map(tmp_path / "m.tif", points).to_dict() == found


def write_visited(path, rows, cols, values):
    """Points of another origin, with the class on the ground at each."""
    points = shapely.points(TRANSFORM.c + 30 * (cols + 0.5), TRANSFORM.f - 30 * (rows + 0.5))
    pyogrio.raw.write(
        path, shapely.to_wkb(points), [values], ["reference"], geometry_type="Point", crs=CRS,
        driver="GPKG", append=False,
    )  # fmt: skip
    return path


def test_a_map_without_a_georeference(tmp_path):
    truth, mapped = truth_and_map()
    path = write_map(tmp_path / "map.tif", mapped, crs=None)
    sample_map(path, tmp_path / "p.gpkg", size=200)
    found = assess_map(path, fill_reference(tmp_path / "p.gpkg", truth))
    assert found.hectares is None
    assert "no georeference" in found.how
    assert "hectares" not in found.to_dict()["areas"]["water"]


def test_geographic_areas_are_those_of_the_ellipsoid(tmp_path):
    from pyproj import Geod

    ids = np.ones((50, 40), np.uint8)
    write_class_map(tmp_path / "m.tif", ids, MAP_NAMES, palette(MAP_NAMES), crs="EPSG:4326",
                    transform=(0.01, 0, 13, 0, -0.01, 52))  # fmt: skip
    found = read_class_raster(tmp_path / "m.tif")
    outline = shapely.box(13, 51.5, 13.4, 52).segmentize(0.01)
    real = abs(Geod(ellps="WGS84").geometry_area_perimeter(outline)[0]) / 1e4
    assert found.hectares[1] == pytest.approx(real, rel=1e-6)


@pytest.mark.parametrize("latitude", [-70, 30, 52.5])
def test_areas_in_web_mercator_are_those_of_the_ellipsoid(latitude):
    from pyproj import Geod, Transformer

    across = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    x, y = across.transform(11, latitude)
    areas, how = pixel_areas((1, 1), "EPSG:3857", (100, 0, x - 50, 0, -100, y + 50))
    corners = shapely.get_coordinates(shapely.box(x - 50, y - 50, x + 50, y + 50))
    outline = np.stack(across.transform(*corners.T, direction="INVERSE"), axis=1)
    real = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.Polygon(outline))[0])
    assert areas[0] == pytest.approx(real, rel=1e-5)
    assert how.startswith("on the ellipsoid")


@pytest.fixture(scope="module")
def long_map(tmp_path_factory):
    """From 60 N to the equator: a class of the north, one of the south, errors in the south."""
    mapped = np.ones((600, 10), np.uint8)
    mapped[300:] = 2
    truth = mapped.copy()
    truth[400:500, 5:] = 1
    truth[250:300, :3] = 2
    path = tmp_path_factory.mktemp("long") / "m.tif"
    write_class_map(path, mapped, MAP_NAMES, palette(MAP_NAMES), crs="EPSG:4326",
                    transform=(0.1, 0, 10, 0, -0.1, 60))  # fmt: skip
    hectares = pixel_areas((600, 10), "EPSG:4326", (0.1, 0, 10, 0, -0.1, 60))[0] / 1e4
    return path, mapped, truth, np.repeat(hectares[:, None], 10, axis=1)


def test_shares_are_of_the_area_where_pixels_differ(long_map, tmp_path):
    path, mapped, truth, hectares = long_map
    sample_map(path, tmp_path / "p.gpkg", size=200)
    found = assess_map(path, fill_reference(tmp_path / "p.gpkg", mapped))
    assert found.hectares == pytest.approx(hectares.sum())
    for i in (1, 2):  # the map is right: no error of sampling
        part = hectares[mapped == i].sum()
        assert found.estimates.areas[i].value == pytest.approx(part / hectares.sum())
        assert found.mapped_hectares[i] == pytest.approx(part)
        assert found.mapped[i] == pytest.approx(part / hectares.sum())
    strata = (1 + np.arange(6000).reshape(600, 10) // 3500).astype(np.uint8)
    write_class_map(tmp_path / "s.tif", strata, MAP_NAMES, palette(MAP_NAMES), crs="EPSG:4326",
                    transform=(0.1, 0, 10, 0, -0.1, 60))  # fmt: skip
    sample_map(path, tmp_path / "q.gpkg", size=400, strata=tmp_path / "s.tif")
    found = assess_map(path, fill_reference(tmp_path / "q.gpkg", truth), level=0.999)
    assert found.hectares == pytest.approx(hectares.sum())
    real = hectares[truth == 1].sum() / hectares.sum()
    assert found.estimates.areas[1].low < real < found.estimates.areas[1].high
    assert np.abs(found.estimates.areas[1].value - real) < 0.05
    assert found.mapped_hectares[1] == pytest.approx(hectares[mapped == 1].sum())


def test_intervals_hold_the_area_where_pixels_differ(long_map):
    """300 samples: unbiased, and 95 % intervals hold the truth, which is not the pixels' share."""
    _, mapped, truth, hectares = long_map
    pixels = [np.flatnonzero(mapped == i) for i in (1, 2)]
    right, area = (truth == mapped).ravel(), hectares.ravel()
    real = {"overall": area @ right / area.sum()}
    for name, group in (("users", mapped == 2), ("producers", truth == 2)):
        real[name] = area[group.ravel() & right].sum() / area[group.ravel()].sum()
    areas = np.array([area[where].sum() for where in pixels])
    random, seen = np.random.default_rng(0), {name: [] for name in real}
    for _ in range(300):
        u = np.concatenate([random.choice(where, 150, replace=False) for where in pixels])
        found = estimate(
            Observations(np.repeat([0, 1], 150), mapped.ravel()[u], truth.ravel()[u],
                         np.array([3000.0, 3000]), np.array([1, 2]), areas, area[u]), (1, 2),
        )  # fmt: skip
        for name, e in (("overall", found.overall), ("users", found.users[2]),
                        ("producers", found.producers[2])):  # fmt: skip
            seen[name].append((e.value, e.standard_error, e.low <= real[name] <= e.high))
    for name, rows in seen.items():
        values_, errors, held = np.array(rows).T
        assert values_.mean() == pytest.approx(real[name], abs=0.004)
        assert errors.mean() == pytest.approx(values_.std(), rel=0.15)
        assert 0.92 <= held.mean() <= 0.99
    assert real["overall"] < right.mean() - 0.01  # what a share of pixels would say


def test_mapped_areas_are_of_the_part_that_was_checked(tmp_path):
    """50, 25 and 25 ha, the third class not checked."""
    ids = np.repeat([[1, 1, 2, 4]], 100, axis=0).repeat(25, axis=1).astype(np.uint8)
    write_class_map(tmp_path / "m.tif", ids, MAP_NAMES, palette(MAP_NAMES), crs=CRS,
                    transform=tuple(from_origin(364_000, 5_810_000, 10, 10))[:6])  # fmt: skip
    sample_map(tmp_path / "m.tif", tmp_path / "p.gpkg", size=150)
    some = np.where(ids == 4, 9, ids)
    points = fill_reference(tmp_path / "p.gpkg", some, {**MAP_NAMES, 9: ""})
    found = assess_map(tmp_path / "m.tif", points)
    table = all_tables(found)[2][2]
    assert [row[1] for row in table] == [row[2] for row in table] == ["66.7", "33.3"]
    assert [row[4] for row in table] == [row[5] for row in table] == ["50.0", "25.0"]
    assert found.to_dict()["areas"]["forest"]["mapped_hectares"] == pytest.approx(25)
    assert any("speak of the other 75.0 % of the pixels" in note for note in found.notes)
    points = tmp_path / "strata.gpkg"
    sample_map(tmp_path / "m.tif", points, size=150, strata=tmp_path / "m.tif")
    found = assess_map(tmp_path / "m.tif", fill_reference(points, some, {**MAP_NAMES, 9: ""}))
    assert found.hectares == pytest.approx(75)
    assert found.mapped_hectares == pytest.approx({1: 50, 2: 25, 4: 25})
    assert any("the whole map, 10,000 pixels; the estimates speak of 7,500" in note
               for note in found.notes)  # fmt: skip


def test_the_page_and_the_tables(world, tmp_path):
    folder, path, truth, *_ = world
    points = tmp_path / "p.gpkg"
    points.write_bytes((folder / "points.gpkg").read_bytes())
    found = assess_map(path, fill_reference(points, truth))
    page, tex = to_html(found), to_latex(found)
    for text in (page, tex):
        assert "bare soil" in text
        assert f"{100 * found.estimates.overall.value:.1f}" in text
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 3
    for block in tex.split(r"\begin{tabular}")[1:]:
        columns = len(block[block.index("{") + 1 : block.index("}")])
        rows = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert {line.replace(r"\&", "").count("&") + 1 for line in rows} == {columns}
    assert page.count("<table>") == 3


def test_the_command_line(world, tmp_path, monkeypatch, capsys):
    _, path, truth, mapped, _ = world
    points = tmp_path / "p.gpkg"

    def run(*words):
        monkeypatch.setattr("sys.argv", ["hyperpeft", *map(str, words)])
        cli.main()
        return capsys.readouterr().out

    said = run("sample", path, "--size", 240, "--out", points)
    assert "240 points (proportional, at least 50 each)" in said
    fill_reference(points, truth)
    result = json.loads(run("assess", path, "--reference", points, "--json", "--html",
                            tmp_path / "a.html", "--latex", tmp_path / "a.tex"))  # fmt: skip
    assert (
        result["overall"]["low"] < (mapped == truth)[mapped > 0].mean() < result["overall"]["high"]
    )
    assert (tmp_path / "a.html").is_file()
    assert (tmp_path / "a.tex").is_file()
    with pytest.raises(SystemExit):
        run("assess", path, "--reference", points, "--html", tmp_path / "b.x", "--latex",
            tmp_path / "b.x")  # fmt: skip
    assert "--html and --latex: expected two files" in capsys.readouterr().err
    assert not (tmp_path / "b.x").exists()
    said = run("assess", path, "--reference", points, "--class-field", "reference")
    assert f"overall accuracy {100 * result['overall']['value']:.1f} %" in said
    neyman = run("sample", path, "--standard-error", 0.02, "--users-accuracy", 0.8, "--out",
                 tmp_path / "neyman.gpkg", "--json")  # fmt: skip
    assert sum(v["points"] for v in json.loads(neyman)["strata"].values()) == 400


def test_a_sample_does_not_replace_the_map(world, tmp_path):
    _, path, *_ = world
    link = tmp_path / "map.gpkg"
    link.symlink_to(path)
    with pytest.raises(InputError, match="would replace the map"):
        sample_map(path, link, size=100)


# Olofsson et al. (2014), table 8: deforestation, forest gain, stable forest, stable non-forest.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = PIXELS.sum() * 0.09  # pixels of Landsat


def test_a_filled_sample_and_other_files_are_kept(world, tmp_path):
    """An empty sample is drawn again; answers, remarks and other GeoPackages are not replaced."""
    _, path, _, _, _ = world
    out = tmp_path / "p.gpkg"
    sample_map(path, out, size=60)
    sample_map(path, out, size=90, seed=1)
    check = CheckList(out)
    assert len(check) == 90
    check.answer(4, "water")
    check.answer(7, "", "unsure")
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=r"p\.gpkg holds 2 points that are filled in; choose"):
        sample_map(path, out, size=60)
    assert out.read_bytes() == before
    other = tmp_path / "fields.gpkg"
    polygons = shapely.to_wkb(np.array([shapely.box(0, 0, 9, 9)]))
    pyogrio.raw.write(
        other, polygons, [np.array(["beet"], object)], ["class"], layer="points",
        geometry_type="Polygon", crs=CRS,
    )  # fmt: skip
    before = other.read_bytes()
    with pytest.raises(ConfigError, match="expected points that this command wrote, got another"):
        sample_map(path, other, size=60)
    assert other.read_bytes() == before


def observations(counts: np.ndarray, sizes: np.ndarray) -> Observations:
    mapped, reference = (
        axis.repeat(counts.ravel()) for axis in np.indices(counts.shape).reshape(2, -1)
    )
    return Observations(mapped, mapped, reference, sizes.astype(float), np.arange(len(sizes)))


@pytest.fixture(scope="module")
def paper():
    # The paper has no finite population correction: strata of as many pixels as to make it vanish.
    return estimate(observations(COUNTS, PIXELS * 10**6), (0, 1, 2, 3), rule="normal")


def halves(estimates, digits):
    return [round(1.96 * e.standard_error, digits) for e in estimates.values()]


def values(estimates, digits):
    return [round(e.value, digits) for e in estimates.values()]


def test_table_9_of_olofsson_2014(paper):
    printed = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_allclose(paper.proportions, printed, atol=0.00005)
    np.testing.assert_allclose(
        paper.proportions.sum(0), [0.0235, 0.0130, 0.3175, 0.6460], atol=5e-5
    )


def test_accuracies_of_olofsson_2014(paper):
    assert values(paper.users, 2) == [0.88, 0.73, 0.93, 0.96]
    assert halves(paper.users, 2) == [0.07, 0.10, 0.04, 0.02]
    assert values(paper.producers, 2) == [0.75, 0.85, 0.93, 0.96]
    assert halves(paper.producers, 2) == [0.21, 0.25, 0.03, 0.02]
    assert round(paper.overall.value, 3) == 0.947
    assert round(1.96 * paper.overall.standard_error, 2) == 0.02


def test_areas_of_olofsson_2014(paper):
    areas = [(round(e.value * HECTARES), round(1.96 * e.standard_error * HECTARES))
             for e in paper.areas.values()]  # fmt: skip
    assert areas == [(21_158, 6158), (11_686, 3756), (285_770, 15_510), (581_386, 16_282)]
    assert paper.areas[0].low == pytest.approx(paper.areas[0].value - 6157.5 / HECTARES, abs=1e-6)


def test_the_example_of_stehman_2014():
    """Section 4: 40 pixels in four strata that are not the map classes."""
    reference = "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"
    mapped = "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"
    seen = Observations(
        np.repeat(np.arange(4), 10),
        np.array(["ABCD".index(c) for c in mapped]),
        np.array(["ABCD".index(c) for c in reference]),
        np.array([40_000.0, 30_000, 20_000, 10_000]),
    )
    found = estimate(seen, (0, 1, 2, 3), rule="normal")
    a, b, c = 0, 1, 2
    shown = [
        (found.areas[a].value, 0.35), (found.areas[c].value, 0.20), (found.overall.value, 0.63),
        (found.users[b].value, 0.574), (found.producers[b].value, 0.794),
        (found.proportions[b, c], 0.08), (found.areas[a].standard_error, 0.082),
        (found.areas[c].standard_error, 0.064), (found.overall.standard_error, 0.085),
        (found.users[b].standard_error, 0.125), (found.producers[b].standard_error, 0.117),
    ]  # fmt: skip
    for got, printed in shown:
        assert got == pytest.approx(printed, abs=0.0005)


def test_wilson_is_that_of_statistics():
    from scipy.stats import binomtest

    for k, n in ((0, 20), (3, 20), (20, 20), (313, 325)):
        low, high = wilson(np.array([k / n]), np.array([float(n)]))
        ours = binomtest(k, n).proportion_ci(0.95, "wilson")
        assert (low[0], high[0]) == pytest.approx((ours.low, ours.high), abs=1e-12)


def test_of_one_stratum_sum_and_ratio_are_wilson():
    one, n = np.array([1.0]), np.array([40.0])
    low, high = wilson(np.array([0.9]), n)
    assert of_sum(one, np.array([0.9]), n) == pytest.approx((low[0], high[0]))
    ratio = of_ratio((one, one), np.array([0.9]), np.array([0.1]), n)
    assert ratio == pytest.approx((low[0], high[0]))
    for share in (0.0, 1.0):
        low, high = wilson(np.array([share]), n)
        ratio = of_ratio((one, one), np.array([share]), 1 - np.array([share]), n)
        assert ratio == pytest.approx((low[0], high[0]))
    perfect = estimate(observations(np.diag([20, 30]), np.array([10**9, 10**9])), (0, 1))
    low, high = wilson(np.array([1.0]), np.array([20.0]))
    assert perfect.users[0].low == pytest.approx(low[0])


def test_no_interval_without_width():
    perfect = observations(np.diag([20, 30]), np.array([400, 600]))
    for rule in ("wilson", "normal"):
        found = estimate(perfect, (0, 1), rule=rule)
        for e in (found.overall, *found.users.values(), *found.producers.values(),
                  *found.areas.values()):  # fmt: skip
            assert e.high - e.low > 0.02
            assert e.low <= e.value <= e.high
            assert e.rule == "wilson"


@pytest.mark.parametrize("level", [95, 1, 0, float("nan")])
def test_a_level_is_a_share(level):
    seen = observations(np.array([[9, 1], [2, 8]]), np.array([100, 200]))
    with pytest.raises(ConfigError, match=r"level: expected above 0 and below 1, such as 0\.95"):
        estimate(seen, (1, 2), level=level)


def test_a_census_has_no_uncertainty_and_says_so():
    found = estimate(observations(np.array([[3, 1], [0, 2]]), np.array([4, 2])), (0, 1))
    assert found.overall.rule == "census"
    assert found.overall.low == found.overall.high == found.overall.value == pytest.approx(5 / 6)


def test_one_point_in_a_stratum_has_no_standard_error_and_a_wide_interval():
    found = estimate(observations(np.diag([1, 50]), np.array([100, 900])), (0, 1), rule="normal")
    assert found.users[0].standard_error is None
    assert found.users[0].low < found.users[1].low - 0.3  # Wilson's, of one point


def test_a_class_without_points_has_no_accuracy():
    found = estimate(observations(np.diag([10, 10]), np.array([50, 50])), (0, 1, 7))
    assert found.users[7].value is None
    assert found.producers[7].value is None
    assert found.areas[7].high > 0


@pytest.mark.parametrize("rule", ["wilson", "normal"])
def test_coverage(rule):
    """1,000 samples of the paper's design from the population that its estimates describe."""
    shares, weights = COUNTS / COUNTS.sum(1, keepdims=True), PIXELS / PIXELS.sum()
    n = COUNTS.sum(1)
    area = weights @ shares
    truth = {"users": np.diag(shares), "areas": area, "producers": weights * np.diag(shares) / area}
    random, strata = np.random.default_rng(0), np.repeat(np.arange(4), n)
    hits = {name: [] for name in (*truth, "overall")}
    for _ in range(1000):
        reference = np.concatenate([random.choice(4, n[h], p=shares[h]) for h in range(4)])
        seen = Observations(strata, strata, reference, PIXELS.astype(float), np.arange(4))
        found = estimate(seen, (0, 1, 2, 3), rule=rule)
        for name, values_ in truth.items():
            many = zip(getattr(found, name).values(), values_, strict=True)
            hits[name].append([e.low <= v <= e.high for e, v in many])
        hits["overall"].append(found.overall.low <= weights @ np.diag(shares) <= found.overall.high)
    covered = {name: 100 * np.mean(seen, axis=0) for name, seen in hits.items()}
    worst = max(np.abs(np.asarray(c) - 95).max() for c in covered.values())
    if rule == "wilson":
        assert worst <= 2.0, covered
    else:  # why p +- 1.96 SE is not the default: rare omissions are not in every sample
        assert covered["areas"][1] < 80, covered


def test_sizes_of_olofsson_2014():
    weights, users = PIXELS / PIXELS.sum(), np.array([0.7, 0.6, 0.9, 0.95])
    assert sample_size(weights, users, 0.01) == 641
    assert allocate(PIXELS, 641, minimum=1).tolist() == [13, 10, 205, 413]


def test_allocation_holds_its_rules():
    random = np.random.default_rng(0)
    for _ in range(300):
        sizes = random.integers(1, 5000, random.integers(1, 12))
        minimum = int(random.integers(1, 60))
        least = int(np.minimum(sizes, minimum).sum())
        total = int(random.integers(least, sizes.sum() + 1))
        users = None if random.random() < 0.5 else random.uniform(0.5, 1, len(sizes))
        counts = allocate(sizes, total, minimum=minimum, users=users)
        assert counts.sum() == total
        assert (counts >= np.minimum(sizes, minimum)).all()
        assert (counts <= sizes).all()


def test_a_standard_error_of_many_classes(tmp_path):
    """20 classes of 2 points each need more than the standard error does."""
    ids = np.random.default_rng(1).integers(1, 21, (60, 60)).astype(np.uint8)
    names = {i: f"c{i}" for i in range(1, 21)}
    write_class_map(tmp_path / "m.tif", ids, names, palette(names))
    how = {"standard_error": 0.05, "users": 0.9}
    drawn = sample_map(tmp_path / "m.tif", tmp_path / "p.gpkg", **how)
    assert [k for _, k in drawn.strata.values()] == [2] * 20
    assert drawn.notes == (
        "20 strata of at least 2 points need 40; the standard error alone asks for 36",
    )
    drawn = sample_map(tmp_path / "m.tif", tmp_path / "p.gpkg", minimum=5, **how)
    assert [k for _, k in drawn.strata.values()] == [5] * 20
    with pytest.raises(ConfigError, match="20 strata of at least 5 pixels need 100"):
        sample_map(tmp_path / "m.tif", tmp_path / "p.gpkg", size=40, minimum=5)


def test_neyman_gives_uncertain_strata_more():
    sizes = np.array([1000, 1000])
    counts = allocate(sizes, 100, minimum=5, users=np.array([0.5, 0.9]))
    assert counts.tolist() == [63, 37]  # in proportion to 0.5 and 0.3: 62.5, 37.5


@pytest.mark.parametrize(("total", "minimum"), [(9, 5), (101, 1)])
def test_what_cannot_be_drawn_is_refused(total, minimum):
    with pytest.raises(ConfigError, match="size of the sample"):
        allocate(np.array([50, 50]), total, minimum=minimum)


def three_groups():
    """Two columns each of three kinds of uncertain pixels, the first the most; the rest is sure."""
    places = np.argwhere(np.ones((30, 30), bool))
    kind = np.minimum(places[:, 1] // 2, 3)
    features = 10 * np.eye(4)[kind][:, :3] + np.random.default_rng(0).normal(0, 0.1, (900, 3))
    return np.array([0.9, 0.8, 0.8, 0.1])[kind], features, places, kind


@pytest.mark.parametrize("diversity", ["kmeans++", "core-set"])
def test_suggestions_are_of_every_kind(diversity):
    uncertain, features, places, kind = three_groups()
    labelled = np.array([[15, 1]])
    how = {"labelled": labelled, "labelled_features": features[[15 * 30 + 1]], "min_distance": 4.0}
    chosen = choose(uncertain, features, places, 6, diversity=diversity, **how)
    assert set(kind[chosen[:2]]) == {1, 2}  # the labelled one is of the first kind
    every = np.concatenate([places[chosen], labelled]).astype(float)
    gaps = np.linalg.norm(every[:, None] - every, axis=2)
    assert gaps[~np.eye(7, dtype=bool)].min() >= 4
    plain = choose(uncertain, features, places, 4, diversity="none", **how)
    assert set(kind[plain]) == {0}
    again = choose(uncertain, features, places, 6, diversity=diversity, **how)
    np.testing.assert_array_equal(again, chosen)


def test_uncertainty_and_its_alternative():
    chances = np.array([[0.5, 0.5, 0.0], [0.8, 0.1, 0.1], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(uncertainty(chances, "margin"), [1, 0.3, 1])
    np.testing.assert_allclose(
        uncertainty(chances, "entropy"), [np.log(2), 0.639032, np.log(3)], atol=1e-5
    )
    _, features, places, _ = three_groups()
    drawn = [choose(np.ones(900), features, places, 300, min_distance=0, seed=s) for s in (1, 2)]
    for one in drawn:  # a plain random sample is spread as the pixels are
        assert len(set(one.tolist())) == 300
        np.testing.assert_allclose(places[one].mean(axis=0), [14.5, 14.5], atol=1.5)
    assert not np.array_equal(*drawn)
    few = choose(np.ones(900), features, places, 300, min_distance=10)
    assert 4 <= len(few) < 16  # no more have room


def test_suggestions_of_a_run(tmp_path, monkeypatch, capsys):
    """Pixels near the border of two planted classes, as points that can be filled in."""
    scene = planted(height=48, width=48, block=24)
    some = scene.labels.ids.copy()
    some[:, 12:] = 0
    cube, _ = write_scene(tmp_path, scene)
    _, labels = write_scene(
        tmp_path, replace(scene, labels=replace(scene.labels, ids=some)), name="some"
    )
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "train", cube, "--labels", labels, "--method", "svm", "--out", "run", "-q")
    call(monkeypatch, "suggest", "run", "--count", 8, "--json")
    told = json.loads(capsys.readouterr().out)
    assert len(told["points"]) == 8
    assert told["candidates"] == np.count_nonzero(some == 0)
    meta, _, wkb, columns = pyogrio.raw.read(tmp_path / "suggested.gpkg")
    table = dict(zip(meta["fields"], columns, strict=True))
    assert table["rank"].tolist() == list(range(1, 9))
    assert all(value is None for value in table["class"])
    rows, cols = table["row"], table["col"]
    assert (some[rows, cols] == 0).all()
    # Pixels that trained by other ways than --labels have a label as well.
    halves = []
    for name, columns in (("one", np.s_[:, :6]), ("two", np.s_[:, 6:])):
        ids = np.zeros_like(some)
        ids[columns] = some[columns]
        part = replace(scene, labels=replace(scene.labels, ids=ids))
        halves.append(str(write_scene(tmp_path, part, name=name)[1]))
    call(monkeypatch, "train", cube, "--split", ",".join(halves), "--method", "svm", "--out",
         "masks", "-q")  # fmt: skip
    call(monkeypatch, "suggest", "masks", "--count", 8, "--out", "s.gpkg", "--json")
    assert json.loads(capsys.readouterr().out)["candidates"] == told["candidates"]
    xy = shapely.get_coordinates(shapely.from_wkb(wkb))
    a, b, c, d, e, f = open_scene(cube).transform
    np.testing.assert_allclose(xy[:, 0], a * (cols + 0.5) + b * (rows + 0.5) + c)
    np.testing.assert_allclose(xy[:, 1], d * (cols + 0.5) + e * (rows + 0.5) + f)
    # They are those of Python, and less certain than the others.
    bundle, opened = load_run(tmp_path / "run"), open_scene(cube, labels=labels)
    found = suggest(bundle, opened, count=8)
    np.testing.assert_array_equal(found.places, np.stack([rows, cols], axis=1))
    # A labelled pixel without data says nothing of what the others are like.
    hole = np.zeros((48, 48), bool)
    hole[5, 5] = True
    empty = replace(scene, cube=scene.cube.where(~hole))
    holed = open_scene(write_scene(tmp_path, empty, name="holed")[0])
    assert not holed.valid[5, 5]
    without = suggest(bundle, opened, count=8, labelled=(some > 0) & ~hole)
    found_ = suggest(bundle, holed, count=8, labelled=some > 0)
    np.testing.assert_array_equal(found_.places, without.places)
    with pytest.raises(ConfigError, match="a pixel 50 or more from every label, got none"):
        suggest(bundle, opened, count=8, min_distance=50)
    chances = bundle.classify(opened, probabilities=True).probabilities
    best = np.sort(chances, axis=0)
    margin = best[-1] - best[-2]
    np.testing.assert_allclose(1 - found.uncertainty, margin[rows, cols], atol=1e-6)
    assert margin[rows, cols].max() <= np.quantile(margin[some == 0], 0.2)
    # Empty, the file is written again; filled in, it is kept.
    write_suggestions(tmp_path / "suggested.gpkg", bundle, opened, found)
    with sqlite3.connect(tmp_path / "suggested.gpkg") as database:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            database.create_function(name, 1, lambda _: 0)  # of OGR's own SQLite
        database.execute("UPDATE suggested SET class = 'class 1' WHERE rank = 3")
    with pytest.raises(ConfigError, match="holds a point that is filled in; choose another --out"):
        write_suggestions(tmp_path / "suggested.gpkg", bundle, opened, found)
    # Filled in, the file is a file of labels.
    names = np.array([scene.labels.classes[i] for i in scene.labels.ids[rows, cols]], object)
    table["class"] = names
    pyogrio.raw.write(
        tmp_path / "filled.gpkg", wkb, list(table.values()), list(table), geometry_type="Point",
        crs=meta["crs"],
    )  # fmt: skip
    read = read_labels(tmp_path / "filled.gpkg", scene=opened, class_field="class")
    assert np.count_nonzero(read.ids) == 8
    # Given as the labels since, they are no candidates, and neither are the pixels that trained.
    call(monkeypatch, "suggest", "run", "--labels", "filled.gpkg", "--count", 8, "--out",
         "next.gpkg", "--json")  # fmt: skip
    assert json.loads(capsys.readouterr().out)["candidates"] == told["candidates"] - 8


def test_random_suggestions_are_spread_over_all_tiles(tmp_path, monkeypatch):
    """Also where more pixels than are kept lie in one tile: the last one is small."""
    scene = planted(height=16, width=272, block=8)
    run = SceneClassifier("lda", per_class=20).fit(scene).save(tmp_path / "run")
    monkeypatch.setattr(suggestions, "KEPT", 400)
    monkeypatch.setattr(suggestions, "SIZE", 128)
    none = np.zeros(scene.valid.shape, bool)
    how = {"measure": "random", "labelled": none, "min_distance": 0}
    drawn = [suggest(load_run(run), scene, count=20, seed=seed, **how).places for seed in range(8)]
    columns = np.concatenate(drawn)[:, 1]
    assert 55 <= np.count_nonzero(columns < 128) <= 95  # of 160, 75 are expected
    assert np.count_nonzero(columns >= 256) <= 20  # 9 are expected
    assert not np.array_equal(drawn[0], drawn[1])
    # Class ids say which pixels have a label as a mask does.
    ids = scene.labels.ids * (np.arange(272) < 100)
    with_ids, with_mask = (
        suggest(load_run(run), scene, count=5, labelled=given) for given in (ids, ids > 0)
    )
    np.testing.assert_array_equal(with_ids.places, with_mask.places)
    with pytest.raises(ConfigError, match=r"labelled: expected a mask \(16, 272\), got \(16, 1\)"):
        suggest(load_run(run), scene, count=5, labelled=none[:, :1])


def call(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["hyperpeft", *map(str, words)])
    cli.main()
