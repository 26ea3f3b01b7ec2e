"""From polygons to a map, and maps of another scene: labels, split, reduction and scale."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl
import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely

from hyperpeft import cli, splits
from hyperpeft.errors import ConfigError, InputError
from hyperpeft.runs.config import make_config
from hyperpeft.runs.evaluate import reopen
from hyperpeft.runs.experiment import run
from hyperpeft.runs.load import load_run
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import open_scene, rescale
from hyperpeft.spectral import check_scale, fit
from tests.helpers.small import (
    CRS,
    HEADS,
    TRANSFORM,
    checkpoint,
    config,
    planted,
    strict_json,
    write_scene,
    yaml_file,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The planted scene with wavelengths, its sixteen blocks as polygons, and an encoder."""
    folder = tmp_path_factory.mktemp("polygons")
    scene = planted()
    cube, _ = write_scene(folder, scene)
    with rasterio.open(cube, "r+") as file:
        for band, nm in enumerate(np.linspace(420, 1000, 20), start=1):
            file.update_tags(band, wavelength=f"{nm:.1f}", wavelength_units="nm")
    a, _, c, _, e, f = tuple(TRANSFORM)[:6]
    boxes, names = [], []
    for row in range(0, 24, 6):
        for column in range(0, 24, 6):
            west, north = c + a * column, f + e * row
            boxes.append(shapely.box(west, north + 6 * e, west + 6 * a, north))
            names.append({1: "wheat", 2: "barley"}[int(scene.labels.ids[row, column])])
    pyogrio.raw.write(
        folder / "roi.gpkg", shapely.to_wkb(boxes), [np.array(names, object)], ["crop"],
        crs="EPSG:32633", geometry_type="Polygon",
    )  # fmt: skip
    checkpoint(folder / "e.safetensors")
    return folder


def call(*arguments):
    old = sys.argv
    sys.argv = ["hyperpeft", *map(str, arguments)]
    try:
        cli.main()
    finally:
        sys.argv = old


@pytest.fixture(scope="module")
def finished(folder):
    out = folder / "run"
    file = yaml_file(
        folder / "run.yaml", {"num_heads": HEADS, "backbone": folder / "e.safetensors"}
    )
    call(
        "train", folder / "scene.tif", "--config", file, "--labels", folder / "roi.gpkg",
        "--class-field", "crop", "--split", "polygons", "--per-class", 12, "--patch-size", 3,
        "--reduce", "sentinel2", "--epochs", 6, "--out", out, "--quiet",
    )  # fmt: skip
    return out


def test_the_record_says_how(finished):
    record = strict_json((finished / "run.json").read_text())
    assert record["scene"]["classes"] == ["barley", "wheat"]
    assert record["scene"]["labels"] == "roi.gpkg field crop"
    assert record["reducer"]["kind"] == "sentinel2"
    assert record["reducer"]["bands"][4] == "B04"
    assert record["split"]["kind"] == "polygons per-class 12, gap 2"
    assert record["split"]["train"] == 24
    assert record["split"]["leakage"]["test_windows_touching_train"] == 0
    assert any("576 pixels labelled from 16 polygons by the centre rule" in note
               for note in record["notes"])  # fmt: skip


def test_no_polygon_is_on_both_sides(finished):
    scene = reopen(RunRecord.from_file(finished / "run.json"), finished)
    split = splits.load(finished / "split.npz", scene.labels)
    regions = scene.labels.regions
    sides = [set(regions[tuple(part.T)].tolist()) for part in (split.train, split.test)]
    assert len(sides[0]) >= 2
    assert not sides[0] & sides[1]


def test_evaluate_and_map_take_the_same_road(folder, finished, capsys):
    call("evaluate", finished, "--json")
    again = strict_json(capsys.readouterr().out)
    record = strict_json((finished / "run.json").read_text())
    assert again["confusion"] == record["metrics"]["confusion"]
    call("evaluate", finished, folder / "scene.tif", "--labels", folder / "roi.gpkg",
         "--class-field", "crop", "--all-touched", "--json")  # fmt: skip
    other = strict_json(capsys.readouterr().out)
    assert other["left_out"]["trained"] == record["split"]["train"]
    assert other["pixels"] == 576 - record["split"]["train"]
    call("map", finished, "--out", folder / "map.tif", "--quiet")
    with rasterio.open(folder / "map.tif") as file:
        ids = file.read(1)
    with rasterio.open(finished / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), ids)
    assert load_run(finished).reducer.kind == "sentinel2"


def test_labels_of_two_vector_files_make_a_split(folder, tmp_path, capsys):
    """Their classes are the same by name, though a file with oats numbers wheat 3 and not 2."""
    _, _, wkb, (names,) = pyogrio.raw.read(folder / "roi.gpkg")
    odd = names[8:].copy()
    odd[0] = "oats"
    for name, shapes, crops in (("a", wkb[:8], names[:8]), ("b", wkb[8:], odd)):
        pyogrio.raw.write(tmp_path / f"{name}.geojson", shapes, [crops], ["crop"],
                          crs="EPSG:32633", geometry_type="Polygon")  # fmt: skip
    values = {
        "scene": str(folder / "scene.tif"), "backbone": str(folder / "e.safetensors"),
        "num_heads": HEADS, "split": f"{tmp_path / 'a.geojson'},{tmp_path / 'b.geojson'}",
        "class_field": "crop", "reduce": "mnf", "patch_size": 3, "epochs": 1,
        "out": tmp_path / "run",
    }  # fmt: skip
    record = run(make_config(values))
    assert (record.split["train"], record.split["test"]) == (288, 252)
    assert any("class 4 (oats): left out (36 test pixels)" in note for note in record.notes)
    assert record.metrics["class_ids"] == [1, 2]
    for name in ("a", "b"):
        assert any(f"{name}.geojson field crop: 288 pixels labelled from 8" in note
                   for note in record.notes)  # fmt: skip
    assert record.reducer["kind"] == "mnf"
    assert record.reducer["bands"] is None
    reopen(record, tmp_path / "run")
    call("evaluate", tmp_path / "run", folder / "scene.tif", "--labels", tmp_path / "b.geojson",
         "--class-field", "crop", "--json")  # fmt: skip
    again = strict_json(capsys.readouterr().out)
    assert again["pixels"] == 252
    assert again["confusion"] == record.metrics["confusion"]


def test_options_that_have_nothing_to_act_on(folder, tmp_path):
    values = {"scene": str(folder / "scene.tif"), "class_field": "crop", "out": tmp_path / "run"}
    with pytest.raises(ConfigError, match="give the labels too"):
        run(make_config(values))


def test_berlin_by_path(data, tmp_path):
    """Real ENVI image and shapefile: train and map, the names and the place are right."""
    place = data / "berlin-enmap"
    cube = place / "EnMAP_BerlinUrbanGradient.bsq"
    out = tmp_path / "run"
    values = {
        "scene": str(cube), "labels": str(place / "LandCov_BerlinUrbanGradient.shp"),
        "class_field": "Level_2_ID", "split": "polygons", "per_class": 10, "patch_size": 3,
        "reduce": "sentinel2", "epochs": 2, "backbone": str(checkpoint(tmp_path / "e.safetensors")),
        "num_heads": HEADS, "out": out,
    }  # fmt: skip
    run(make_config(values))
    record = strict_json((out / "run.json").read_text())
    assert record["split"]["leakage"]["test_windows_touching_train"] == 0
    assert record["scene"]["classes"][:4] == ["Roof", "Pavement", "Low vegetation", "Tree"]
    assert record["reducer"]["bands"][0] == "B02"
    assert any("2332 of 2662 polygons cover no pixel centre" in note for note in record["notes"])
    with rasterio.open(cube) as source, rasterio.open(out / "map.tif") as file:
        assert file.crs == source.crs
        assert file.transform == source.transform
        assert set(np.unique(file.read(1)).tolist()) <= {1, 2, 3, 4, 5, 6}
        assert file.tags()["CLASS_3"] == "Low vegetation"


mpl.use("Agg")


def write(path, cube):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(cube),
        height=cube.shape[1],
        width=cube.shape[2],
        dtype=cube.dtype,
        crs=CRS,
        transform=TRANSFORM,
    ) as file:
        file.write(cube)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    record = run(config(folder, folder / "run", epochs=2))
    cube = np.array(planted().cube.values)
    write(folder / "same.tif", cube.astype(np.float32))
    write(folder / "ints.tif", np.round(cube * 10_000).astype(np.int32))
    return folder, record


def map_of(folder, name, monkeypatch, capsys, *more):
    out = folder / f"map_{name}"
    monkeypatch.setattr("sys.argv", ["hyperpeft", "map", str(folder / "run"), str(folder / name),
                                     "--out", str(out), "--json", *more])  # fmt: skip
    cli.main()
    json.loads(capsys.readouterr().out)
    with rasterio.open(out) as file:
        return file.read(1)


def test_another_sensor_is_refused_before_anything_is_written(world, monkeypatch, capsys):
    """One line, and no folder of tiles."""
    folder, _ = world
    cube = np.array(planted().cube.values).astype(np.float32)
    write(folder / "fewer.tif", cube[:-3])
    out = folder / "map_fewer.tif"
    words = ["hyperpeft", "map", folder / "run", folder / "fewer.tif", "--out", out, "--confidence"]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "expected 20 bands, got 17" in capsys.readouterr().err
    assert list(folder.glob("map_fewer*")) == []


def test_another_scale_is_refused_with_both_figures(world):
    folder, _ = world
    bundle = load_run(folder / "run")
    level = np.abs(bundle.reducer.mean).mean()
    with pytest.raises(
        InputError, match=r"mean near [\d.]+, got [\d.e+]+; give --scale 0.0001"
    ) as told:
        bundle.predict(open_scene(folder / "ints.tif"))
    assert f"{level:.4g}" in str(told.value)
    with pytest.raises(InputError, match="another scale"):
        bundle.map(open_scene(folder / "ints.tif"), folder / "never.tif")
    assert not (folder / "never.tif").exists()


def test_it_is_converted_with_scale(world, monkeypatch, capsys):
    folder, _ = world
    same = map_of(folder, "same.tif", monkeypatch, capsys)
    converted = map_of(folder, "ints.tif", monkeypatch, capsys, "--scale", "0.0001")
    assert (same == converted).mean() > 0.99
    assert len(np.unique(same)) == 2


def test_rescaled_scenes_are_read_by_window(world):
    folder, _ = world
    scene = open_scene(folder / "ints.tif")
    half = rescale(scene, 0.5)
    np.testing.assert_allclose(half.window(slice(3, 5), slice(2, 9)),
                               scene.window(slice(3, 5), slice(2, 9)) * 0.5)  # fmt: skip
    assert half.sha256 != scene.sha256
    assert half.notes[-1] == "values multiplied by 0.5"
    for factor in (0, -1, float("nan")):
        with pytest.raises(InputError, match="scale"):
            rescale(scene, factor)


@pytest.mark.parametrize("factor", [0.3, 1, 3])
def test_another_light_is_no_other_scale(factor):
    scene = planted(seed=1)
    check_scale(fit(scene), rescale(planted(seed=2), factor))


def test_values_around_zero_have_no_scale():
    cube = np.random.default_rng(0).normal(size=(20, 24, 24)).astype(np.float32)
    from hyperpeft.records import Scene

    first = Scene.from_array(np.moveaxis(cube, 0, 2))
    other = Scene.from_array(np.moveaxis(cube[:, ::-1] + 0.02, 0, 2))
    check_scale(fit(first), other)


def test_descriptions_and_figures(world):
    folder, record = world
    bundle = load_run(folder / "run")
    for value in (record, bundle, bundle.reducer):
        assert len(repr(value).splitlines()) == 1
        assert len(repr(value)) < 400
    for value in (record, bundle):
        assert value._repr_html_().count("<tr>") < 30
    axes = record.plot_confusion()
    shown = axes.images[0].get_array()
    counts = np.array(record.metrics["confusion"])
    np.testing.assert_allclose(shown, 100 * counts / counts.sum(1, keepdims=True))
    scene = open_scene(folder / "scene.tif")
    axes = bundle.plot_map(scene)
    ids = bundle.predict(scene)
    red = np.asarray(axes.images[0].get_array())[..., 0]
    for i, colour in bundle.colours.items():
        np.testing.assert_allclose(red[ids == i], colour[0] / 255, atol=1e-6)
    mpl.pyplot.close("all")
