"""Maps of another scene: another scale is refused with both figures, or converted."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pytest
import rasterio

from hyperpeft import cli, load_run
from hyperpeft.errors import InputError
from hyperpeft.runs.experiment import run
from hyperpeft.scenes import open_scene, rescale
from hyperpeft.spectral import check_scale, fit
from tests.helpers.small import CRS, TRANSFORM, config, planted

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
