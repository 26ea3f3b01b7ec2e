"""From a map to points to an assessment, through files."""

from __future__ import annotations

import json

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import shapely

from hyperpeft import cli
from hyperpeft.assessment import assess_map, read_class_raster, sample_map
from hyperpeft.assessment.tables import to_html, to_latex
from hyperpeft.errors import InputError
from tests.assessment.maps import CRS, NAMES, TRANSFORM, fill, truth_and_map, write_map


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
    assert list(drawn.strata) == list(NAMES.values())
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

    sizes = np.array([np.count_nonzero(mapped == i) for i in NAMES])
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


@pytest.mark.parametrize("names", [NAMES, None])
def test_estimates_of_the_truth(world, tmp_path, names):
    folder, path, truth, mapped, _ = world
    points = tmp_path / "p.gpkg"
    points.write_bytes((folder / "points.gpkg").read_bytes())
    found = assess_map(path, fill(points, truth, names), level=0.999)
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
    found = assess_map(path, fill(tmp_path / "p.gpkg", truth), rule="normal")
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
    fill(tmp_path / "p.gpkg", truth)
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


def test_points_of_another_origin_and_crs(world, tmp_path):
    _, path, truth, mapped, _ = world
    from rasterio.warp import transform

    random = np.random.default_rng(0)
    rows, cols = np.nonzero(mapped)
    chosen = random.choice(len(rows), 200, replace=False)
    rows, cols = rows[chosen], cols[chosen]
    x, y = TRANSFORM.c + 30 * (cols + 0.4), TRANSFORM.f - 30 * (rows + 0.7)
    lon, lat = transform(CRS, "EPSG:4326", x, y)
    texts = np.array([NAMES[int(i)].upper() for i in truth[rows, cols]], dtype=object)
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
    fill(points, truth, {1: "water", 2: "", 4: "cloud"})
    found = assess_map(path, points)
    assert any("have no reference class" in note for note in found.notes)
    assert any("classes that the map does not have: cloud" in note for note in found.notes)
    assert found.left_out > 0


def test_a_map_without_a_georeference(tmp_path):
    truth, mapped = truth_and_map()
    path = write_map(tmp_path / "map.tif", mapped, crs=None)
    sample_map(path, tmp_path / "p.gpkg", size=200)
    found = assess_map(path, fill(tmp_path / "p.gpkg", truth))
    assert found.hectares is None
    assert "no georeference" in found.how
    assert "hectares" not in found.to_dict()["areas"]["water"]


def test_geographic_areas_are_those_of_the_ellipsoid(tmp_path):
    from pyproj import Geod

    from hyperpeft.mapping.outputs.geotiff import write_class_map
    from hyperpeft.records import palette

    ids = np.ones((50, 40), np.uint8)
    write_class_map(tmp_path / "m.tif", ids, NAMES, palette(NAMES), crs="EPSG:4326",
                    transform=(0.01, 0, 13, 0, -0.01, 52))  # fmt: skip
    found = read_class_raster(tmp_path / "m.tif")
    outline = shapely.box(13, 51.5, 13.4, 52).segmentize(0.01)
    real = abs(Geod(ellps="WGS84").geometry_area_perimeter(outline)[0]) / 1e4
    assert found.hectares[1] == pytest.approx(real, rel=1e-6)


def test_the_page_and_the_tables(world, tmp_path):
    folder, path, truth, *_ = world
    points = tmp_path / "p.gpkg"
    points.write_bytes((folder / "points.gpkg").read_bytes())
    found = assess_map(path, fill(points, truth))
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
    fill(points, truth)
    result = json.loads(run("assess", path, "--reference", points, "--json", "--html",
                            tmp_path / "a.html", "--latex", tmp_path / "a.tex"))  # fmt: skip
    assert (
        result["overall"]["low"] < (mapped == truth)[mapped > 0].mean() < result["overall"]["high"]
    )
    assert (tmp_path / "a.html").is_file()
    assert (tmp_path / "a.tex").is_file()
    said = run("assess", path, "--reference", points, "--class-field", "reference")
    assert f"overall accuracy {100 * result['overall']['value']:.1f} %" in said
    neyman = run("sample", path, "--standard-error", 0.02, "--users-accuracy", 0.8, "--out", points,
                 "--json")  # fmt: skip
    assert sum(v["points"] for v in json.loads(neyman)["strata"].values()) == 400


def test_a_sample_does_not_replace_the_map(world, tmp_path):
    _, path, *_ = world
    link = tmp_path / "map.gpkg"
    link.symlink_to(path)
    with pytest.raises(InputError, match="would replace the map"):
        sample_map(path, link, size=100)
