"""The explorer without a browser: labels and their files, training, suggestions, checks."""

from __future__ import annotations

import dataclasses
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely

from hyperpeft import SceneClassifier, cli
from hyperpeft.adapters import METHODS
from hyperpeft.cli.run_options import values_of
from hyperpeft.errors import BundleError, ConfigError, LabelsError
from hyperpeft.explorer import Explorer, LabelStore
from hyperpeft.explorer.jobs import REGION, Region
from hyperpeft.explorer.label_set import LabelSet, _kept, pixels_of, stroke
from hyperpeft.explorer.label_store import import_labels, joined
from hyperpeft.explorer.layers import (
    Components,
    Stretch,
    class_picture,
    false_colour,
    presets,
    scale_picture,
)
from hyperpeft.records import Scene
from hyperpeft.runs.config import RunConfig, make_config
from hyperpeft.runs.config_files import train_command
from hyperpeft.runs.experiment import run
from hyperpeft.runs.load import load_run
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import SceneView, open_scene, read_labels
from tests.helpers.small import CRS, HEADS, TRANSFORM, checkpoint, planted, write_scene
from tests.runs.test_record import NOT_DEFAULT

GRID = (24, 30)
TRIANGLE = shapely.Polygon([(2.3, 3.1), (20.7, 5.0), (9.2, 19.9)])
RING = shapely.Polygon([(1, 1), (12, 1), (12, 12), (1, 12)], [[(4, 4), (9, 4), (9, 9), (4, 9)]])


def scene(**place) -> Scene:
    return Scene.from_array(np.ones((*GRID, 5)), **place)


def two_classes() -> LabelSet:
    labels, one = LabelSet().with_class("Water")
    labels, two = labels.with_class("Trees")
    return labels.with_shapes(one.id, [TRIANGLE]).with_shapes(two.id, [shapely.Point(25.5, 3.5)])


def burnt(geometry) -> np.ndarray:
    return rasterio.features.rasterize([(geometry, 1)], out_shape=GRID, dtype="uint8") > 0


@pytest.mark.parametrize("geometry", [TRIANGLE, RING, stroke([(3, 3), (17, 12), (20, 4)], 2.5)])
def test_counts_are_those_of_the_raster(geometry):
    labels, made = LabelSet().with_class("a")
    labels = labels.with_shapes(made.id, [geometry])
    index, ids, conflicts = labels.pixels(GRID)
    np.testing.assert_array_equal(index, np.flatnonzero(burnt(geometry)))
    assert labels.counts(GRID) == {made.id: np.count_nonzero(burnt(geometry))}
    assert set(ids) == {made.id}
    assert not len(conflicts)


def test_a_pixel_of_two_classes_is_a_conflict():
    labels = two_classes().with_shapes(2, [RING])
    both = burnt(TRIANGLE) & burnt(RING)
    assert both.any()
    _, _, conflicts = labels.pixels(GRID)
    np.testing.assert_array_equal(conflicts, np.flatnonzero(both))
    assert labels.counts(GRID)[1] == np.count_nonzero(burnt(TRIANGLE) & ~both)


@pytest.mark.parametrize("grid", [(400, 500), (1000, 3000)])
def test_large_shapes_are_burnt_as_small_ones_and_not_kept(grid):
    """Kept, each stroke that erases of a lake would hold all of its pixels once more."""
    labels, lake = LabelSet().with_class("Lake")
    labels, land = labels.with_class("Land")
    shapes = [shapely.box(0, 0, 300, 300), shapely.box(240, 10, 420, 390)]
    labels = labels.with_shapes(lake.id, [shapes[0], RING]).with_shapes(land.id, [shapes[1]])
    before = pixels_of(RING, grid), _kept.cache_info().currsize
    index, ids, conflicts = labels.pixels(grid)
    one, two = (rasterio.features.rasterize([(g, 1)], out_shape=grid) > 0 for g in shapes)
    expected = np.where(two, land.id, np.where(one, lake.id, 0))
    expected[one & two] = 0
    np.testing.assert_array_equal(index, np.flatnonzero(expected))
    np.testing.assert_array_equal(ids, expected[expected > 0])
    np.testing.assert_array_equal(conflicts, np.flatnonzero(one & two))
    assert _kept.cache_info().currsize == before[1]


def test_a_brush_paints_the_pixel_it_starts_in():
    assert burnt(stroke([(7.9, 3.1)], 0.1))[3, 7]


def test_erasing_takes_what_lies_under_the_brush():
    labels = two_classes().with_shapes(1, [RING])
    area = shapely.box(0, 0, 30, 8)
    left = labels.erased(area)
    assert {s.geometry.geom_type for s in left.shapes} == {"Polygon"}  # the point has gone
    index, _, _ = left.pixels(GRID)
    assert (index // GRID[1]).min() == 8
    wanted = (burnt(TRIANGLE) | burnt(RING)) & (np.arange(GRID[0])[:, None] >= 8)
    assert len(index) == np.count_nonzero(wanted)
    assert labels.without_shape_at(25.1, 3.9).counts(GRID)[2] == 0  # anywhere in its pixel


def test_classes_are_named_once_merged_and_deleted():
    labels = two_classes()
    with pytest.raises(LabelsError, match="already"):
        labels.with_class(" water ")
    with pytest.raises(LabelsError, match="name"):
        labels.renamed(1, "  ")
    assert len({c.colour for c in labels.with_class("Lake")[0].classes}) == 3
    merged = labels.merged(2, into=1)
    assert [c.name for c in merged.classes] == ["Water"]
    assert {s.class_id for s in merged.shapes} == {1}
    assert labels.without_class(1).counts(GRID) == {2: 1}
    assert labels.recoloured(2, (1, 2, 3)).of_id(2).colour == (1, 2, 3)


PLACES = {
    "georeferenced": {"crs": CRS, "transform": tuple(TRANSFORM)[:6]},
    "rotated": {"crs": CRS, "transform": (21.0, 21.0, 4e5, 21.0, -21.0, 5.8e6)},
    "no place": {},
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_command_line_reads_what_is_saved(tmp_path, place):
    where = scene(**place)
    store = LabelStore(tmp_path / "a.gpkg", where)
    assert not store.continued
    store.change(lambda _: two_classes())
    store.close()
    read = read_labels(tmp_path / "a.gpkg", scene=where, class_field="class_id")
    assert read.classes == {1: "Water", 2: "Trees"}
    np.testing.assert_array_equal(read.ids == 1, burnt(TRIANGLE))
    assert read.ids[3, 25] == 2
    assert read.colours == {c.id: c.colour for c in store.labels.classes}
    again = LabelStore(tmp_path / "a.gpkg", where)
    assert again.continued
    assert again.labels.classes == store.labels.classes
    assert again.counts() == store.counts()
    for new, old in zip(again.labels.shapes, store.labels.shapes, strict=True):
        assert new.geometry.equals_exact(old.geometry, 1e-6)
    assert not list(tmp_path.glob(".a.part-*"))


def test_names_and_colours_are_those_that_were_drawn_with(tmp_path):
    store = LabelStore(tmp_path / "a.gpkg", scene())
    store.change(lambda _: two_classes().renamed(2, "12").recoloured(2, (1, 2, 3)))
    store.close()
    read = read_labels(tmp_path / "a.gpkg", scene=scene())
    assert read.classes == {1: "Water", 2: "12"}
    assert read.colours[2] == (1, 2, 3)


def test_labels_of_rows_that_run_north(tmp_path):
    from dataclasses import replace

    where = replace(scene(), flipped=True)
    LabelStore(tmp_path / "a.gpkg", where).change(lambda _: two_classes())
    np.testing.assert_array_equal(
        read_labels(tmp_path / "a.gpkg", scene=where).ids == 1, burnt(TRIANGLE)
    )


def test_classes_without_shapes_are_kept(tmp_path):
    store = LabelStore(tmp_path / "a.gpkg", scene())
    store.change(lambda labels: labels.with_class('Ünï "quoted"', (9, 8, 7))[0])
    store.close()
    assert LabelStore(tmp_path / "a.gpkg", scene()).labels == store.labels


def test_undo_and_redo_are_saved(tmp_path):
    store = LabelStore(tmp_path / "a.gpkg", scene())
    states = [store.labels]
    for how in (
        lambda _: two_classes(),
        lambda labels: labels.renamed(1, "Lake"),
        lambda labels: labels.merged(2, 1),
    ):
        assert store.change(how)
        states.append(store.labels)
    assert not store.change(lambda labels: labels)  # nothing to save
    for wanted in states[-2::-1]:
        assert store.undo()
        assert store.labels == wanted
    assert not store.undo()
    for wanted in states[1:3]:
        assert store.redo()
        assert store.labels == wanted
    store.change(lambda labels: labels.with_class("new")[0])
    assert not store.can_redo
    store.close()
    assert LabelStore(tmp_path / "a.gpkg", scene()).labels.classes == store.labels.classes


def test_a_change_that_cannot_be_saved_is_not_made(tmp_path, monkeypatch):
    store = LabelStore(tmp_path / "a.gpkg", scene())
    store.change(lambda _: two_classes())
    before = (tmp_path / "a.gpkg").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="No space"):
        store.change(lambda labels: labels.renamed(1, "Lake"))
    assert store.labels == two_classes()
    assert (tmp_path / "a.gpkg").read_bytes() == before


def test_one_process_at_a_time(tmp_path):
    store = LabelStore(tmp_path / "a.gpkg", scene())
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from hyperpeft.explorer import LabelStore; from hyperpeft.records import Scene\n"
        "from hyperpeft.errors import ConfigError\n"
        "try: LabelStore(Path(sys.argv[1]), Scene.from_array(np.ones((4, 4, 5))))\n"
        "except ConfigError as error: print(error)\n"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "a.gpkg")]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "in use by process" in said
    store.close()
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == ""


def test_labels_of_another_scene_are_not_cut_off(tmp_path):
    LabelStore(tmp_path / "a.gpkg", scene()).change(lambda _: two_classes())
    before = (tmp_path / "a.gpkg").read_bytes()
    with pytest.raises(LabelsError, match="another scene"):
        LabelStore(tmp_path / "a.gpkg", Scene.from_array(np.ones((22, 22, 5))))
    assert (tmp_path / "a.gpkg").read_bytes() == before


def test_starting_afresh_keeps_the_file(tmp_path):
    store = LabelStore(tmp_path / "a.gpkg", scene())
    store.change(lambda _: two_classes())
    kept = store.start_afresh()
    assert store.labels == LabelSet()
    store.change(lambda labels: labels.with_class("x")[0])
    store.close()
    assert LabelStore(kept, scene()).labels == two_classes()


def test_labels_of_other_files_are_added(tmp_path):
    cube, ids = write_scene(tmp_path, planted())
    opened = open_scene(cube)
    new, _ = import_labels(str(ids), opened)
    truth = read_labels(ids, scene=opened)
    index, found, conflicts = new.pixels(truth.ids.shape)
    np.testing.assert_array_equal(index, np.flatnonzero(truth.ids))
    np.testing.assert_array_equal(found, truth.ids.ravel()[index])
    assert not len(conflicts)
    points = tmp_path / "points.csv"
    points.write_text("row,column,class\n3,4,reed\n5,6,class 1\n")
    both = joined(new, import_labels(str(points), opened)[0])
    names = {c.name: c.id for c in both.classes}
    assert set(names) == {"class 1", "class 2", "reed"}
    assert len(set(names.values())) == 3
    assert len({c.colour for c in both.classes}) == 3
    assert [s.class_id for s in both.shapes[-2:]] == [names["reed"], names["class 1"]]
    assert both.shapes[-1].geometry.geom_type == "Point"  # vectors stay what they are


LABELLER = """
import sys, numpy as np, shapely
from pathlib import Path
from hyperpeft.explorer import LabelStore
from hyperpeft.records import Scene
store = LabelStore(Path(sys.argv[1]), Scene.from_array(np.ones((64, 64, 5))))
if not store.labels.classes:
    store.change(lambda labels: labels.with_class("a")[0])
while True:
    n = len(store.labels.shapes)
    store.change(lambda labels: labels.with_shapes(1, [shapely.Point(n % 64 + .5, n // 64 + .5)]))
    print(len(store.labels.shapes), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX systems")
def test_ten_kills_lose_no_saved_label(tmp_path):
    path, saved, chance = tmp_path / "a.gpkg", 0, random.Random(4)
    where = Scene.from_array(np.ones((64, 64, 5)))
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", LABELLER, str(path)], stdout=subprocess.PIPE, text=True
        )
        lines = [process.stdout.readline()]  # it is at work
        assert lines[0], "the labeller did not start"
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        lines += process.stdout.read().splitlines()
        process.stdout.close()
        process.wait()
        told = [int(line) for line in lines if line.strip()]
        store = LabelStore(path, where)
        found = len(store.labels.shapes)
        assert found >= told[-1] > saved
        assert [s.geometry.x for s in store.labels.shapes] == [n % 64 + 0.5 for n in range(found)]
        assert not list(Path(tmp_path).glob(".a.part-*"))  # what was half-written is swept
        store.close()
        saved = told[-1]


WAIT = 900  # seconds at most for a job on a busy machine


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    invalid = np.zeros((60, 60), bool)
    invalid[:5] = True
    scene = planted(height=60, width=60)
    return folder, *write_scene(folder, scene, invalid)


def finish(explorer, job):
    end = time.monotonic() + WAIT
    while job.running and time.monotonic() < end:
        explorer.poll()
        time.sleep(0.02)
    assert job.state != "running"


@pytest.fixture(scope="module")
def trained(world):
    folder, cube, labels = world
    explorer = Explorer(str(cube), labels=str(labels), folder=folder / "work")
    seen, told = [], []
    show = explorer._show_region
    explorer._show_region = lambda found: (seen.append(found), show(found))
    job = explorer.start_training({"method": "svm", "per_class": 20}, Region(10, 8, 30, 28))
    take = job._take
    job._take = lambda kind, value: (told.append((kind, value)), take(kind, value))
    with pytest.raises(ConfigError, match="is running"):
        explorer.start_training({"method": "svm"}, None)
    finish(explorer, job)
    assert job.state == "done", job.error + job.trace
    yield explorer, seen, [value if kind == "stage" else kind for kind, value in told]
    explorer.close()


def test_labels_of_a_raster_are_added(trained, world):
    explorer, _, _ = trained
    truth = open_scene(world[1], labels=world[2]).labels
    assert explorer.labels.path == world[0] / "work" / "scene.labels.gpkg"
    found = {explorer.labels.labels.of_id(i).name: n for i, n in explorer.labels.counts().items()}
    assert found == {truth.classes[i]: n for i, n in truth.counts().items()}


def test_the_visible_region_is_mapped_first_and_as_the_rest(trained):
    explorer, seen, told = trained
    order = [told.index(what) for what in ("Mapping what is visible", REGION, "Mapping")]
    assert order == sorted(order)
    (region,) = seen
    assert region.ids.shape == (20, 20)
    with rasterio.open(explorer.run / "map.tif") as file:
        mapped = file.read(1)
    np.testing.assert_array_equal(region.ids, mapped[10:30, 8:28])
    assert ((region.margin >= 0) & (region.margin <= 1)).all()
    layer = explorer.layer
    np.testing.assert_array_equal(layer.ids(slice(0, 60), slice(0, 60)), mapped)
    margin = layer.margin(slice(9, 31, 2), slice(8, 28, 2))
    assert np.isnan(margin[-1]).sum() == 0
    np.testing.assert_array_equal(margin[1:], region.margin[1::2, ::2])
    assert np.isnan(margin[0]).all()


def test_the_run_is_that_of_the_command_line(trained, tmp_path):
    explorer, _, _ = trained
    words = shlex.split(explorer.command())
    assert words[:2] == ["hyperpeft", "train"]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    assert run_command(words[1:]) is None
    for name in ("split.npz", "map.tif"):
        assert (tmp_path / "again" / name).read_bytes() == (explorer.run / name).read_bytes()
    again = RunRecord.from_file(tmp_path / "again" / "run.json")
    assert again.metrics == explorer.record.metrics
    assert {**again.config, "out": None} == {**explorer.record.config, "out": None}


def run_command(words):
    import sys
    from unittest import mock

    with mock.patch.object(sys, "argv", ["hyperpeft", *words, "--quiet"]):
        return cli.main()


@pytest.mark.parametrize("name", NOT_DEFAULT)
def test_every_option_of_the_command_is_read_as_it_is_written(name):
    config = make_config({"scene": "a b.tif", name: NOT_DEFAULT[name]})
    words = shlex.split(train_command(config))
    from hyperpeft.cli import _load

    context = _load("train", "runs:train").make_context("train", words[2:])
    own = ("config", "resume", "overwrite", "quiet", "as_json")
    given = {k: v for k, v in context.params.items() if k not in own}
    assert make_config(values_of(given)) == config


def test_training_can_be_cancelled_and_leaves_a_consistent_folder(world, tmp_path):
    _, cube, labels = world
    explorer = Explorer(str(cube), labels=str(labels), folder=tmp_path)
    weights = checkpoint(tmp_path / "e.safetensors")
    options = {"method": "lora", "backbone": str(weights), "num_heads": HEADS, "patch_size": 3,
               "epochs": 10_000, "per_class": 20}  # fmt: skip
    job = explorer.start_training(options, None)
    end = time.monotonic() + WAIT
    while not (job.stage == "Training" and job.share) and time.monotonic() < end:
        explorer.poll()
        time.sleep(0.02)
    assert 0 < job.share < 1
    explorer.cancel()
    finish(explorer, job)
    assert job.state == "cancelled", job.error + job.trace
    out = explorer.config.out
    assert not (out / "run.json").exists()  # a folder without it is no run
    left = {path.name for path in out.rglob("*")} if out.exists() else set()
    assert not {name for name in left if "part-" in name}
    if left:  # the state was saved: the same command resumes
        assert Path(explorer.config.labels).is_file()
    explorer.close()


def test_an_error_of_a_job_is_the_sentence_of_the_command_line(world, tmp_path):
    _, cube, labels = world
    explorer = Explorer(str(cube), labels=str(labels), folder=tmp_path)
    job = explorer.start_training({"method": "svm", "backbone": "tiny", "split": "official"}, None)
    finish(explorer, job)
    assert job.state == "failed"
    assert not job.trace
    config = explorer.config.model_copy(update={"out": tmp_path / "x"})
    explorer.labels.copy_to(Path(config.labels))  # it goes with a run that did not begin
    with pytest.raises(Exception, match="official") as caught:
        run(config)
    assert job.error == str(caught.value)
    with pytest.raises(ConfigError, match="per_class"):
        explorer.start_training({"per_class": 0}, None)
    assert sorted(p.name for p in (tmp_path / "runs").glob("*")) == [Path(config.labels).name]
    explorer.close()


def test_the_copy_of_the_labels_replaces_no_other_labels(tmp_path):
    """A run folder named as the labels: their file was taken for the copy, and removed with it."""
    explorer = Explorer(planted(height=24, width=30), folder=tmp_path)
    explorer.labels.change(lambda _: two_classes())
    own = explorer.labels.path
    other = tmp_path / "other.labels.gpkg"
    explorer.labels.copy_to(other)
    before = own.read_bytes(), other.read_bytes()
    for labels in (own, other):
        out = tmp_path / labels.name.removesuffix(".labels.gpkg")
        with pytest.raises(ConfigError, match=r"labels\.gpkg exists: expected a free name"):
            explorer.start_training({"method": "lda", "out": str(out)}, None)
    assert (own.read_bytes(), other.read_bytes()) == before
    explorer.close()


def test_training_needs_two_classes(world, tmp_path):
    explorer = Explorer(str(world[1]), folder=tmp_path)
    with pytest.raises(LabelsError, match="two classes"):
        explorer.start_training({}, None)
    with pytest.raises(ConfigError, match="no run"):
        explorer.start_suggesting({})
    explorer.close()


def test_suggestions_are_uncertain_and_apart(trained):
    explorer, _, _ = trained
    job = explorer.start_suggesting({"count": 6, "min_distance": 4.0})
    finish(explorer, job)
    assert job.state == "failed"  # every valid pixel of this scene has a label
    assert "valid pixels without a label" in job.error
    from shapely import box

    explorer.labels.change(lambda labels: labels.erased(box(0, 20, 60, 60)))
    job = explorer.start_suggesting({"count": 6, "min_distance": 4.0})
    finish(explorer, job)
    assert job.state == "done", job.error + job.trace
    places = explorer.suggestions["places"]
    assert len(places) == 6
    assert (places[:, 0] >= 20).all()
    gaps = np.linalg.norm((places[:, None] - places).astype(float), axis=2)
    assert gaps[~np.eye(6, dtype=bool)].min() >= 4
    assert explorer.suggestions["file"].is_file()
    explorer.labels.undo()


def test_a_sample_is_checked_point_by_point(trained):
    explorer, _, _ = trained
    explorer.open_check(size=20)
    check = explorer.check
    assert len(check) == 20
    path = check.path
    before = path.read_bytes()
    check.answer(3, "class 1")
    check.answer(4, "", "unsure")
    check.answer(5, "class 2")
    check.answer(5, "")
    assert path.read_bytes() != before
    explorer.check = None
    explorer.open_check()  # another day
    assert explorer.check.path == path
    assert explorer.check.answers[3:6] == ["class 1", "", ""]
    assert explorer.check.comments[4] == "unsure"
    np.testing.assert_array_equal(explorer.check.places, check.places)
    assert explorer.check.next_open(2) == 5
    assert explorer.check.done == 1
    import pyogrio

    columns = pyogrio.raw.read(path, layer="points")[3]
    assert [v for v in columns[1] if v] == ["class 1"]


def test_the_confidence_is_that_of_the_map(trained):
    explorer, seen, _ = trained
    job = explorer.start_confidence()
    finish(explorer, job)
    assert job.state == "done", job.error + job.trace
    margin = explorer.layer.margin(slice(0, 60), slice(0, 60))
    np.testing.assert_allclose(margin[10:30, 8:28], seen[0].margin, atol=1e-3)  # 16 bits
    assert np.isnan(margin[:5]).all()


def test_a_run_is_shown_again(trained, world, tmp_path):
    explorer, _, _ = trained
    again = Explorer(str(world[1]), run=explorer.run, folder=tmp_path)
    assert again.record.metrics == explorer.record.metrics
    assert again.layer.has_confidence
    again.close()
    other, _ = write_scene(tmp_path, planted(height=30, width=30))
    with pytest.raises(BundleError, match="not a map of this scene"):
        Explorer(str(other), run=explorer.run, folder=tmp_path)


def test_the_confusion_has_classes_that_the_labels_do_not_have(trained):
    """The files of a split may have a class more than the labels of the scene."""
    from hyperpeft.explorer.train_tab import TrainTab

    explorer, _, _ = trained
    metrics = explorer.record.metrics
    more = {
        **metrics,
        "class_ids": [*metrics["class_ids"], 9],
        "confusion": np.pad(metrics["confusion"], (0, 1)).tolist(),
    }
    record = dataclasses.replace(explorer.record, metrics=more)
    found = TrainTab._confusion(SimpleNamespace(explorer=SimpleNamespace(record=record)))
    assert ">9 9</td>" in found


def test_a_scene_in_memory(tmp_path):
    scene = planted(height=60, width=60)
    explorer = Explorer(scene, folder=tmp_path)
    explorer.add_own_labels()
    job = explorer.start_training({"method": "svm", "per_class": 5}, None)
    finish(explorer, job)
    assert job.state == "done", job.error + job.trace
    assert load_run(explorer.run).predict(scene).shape == (60, 60)
    assert "SceneClassifier(" in explorer.command()
    explorer.close()


def test_a_run_on_another_scene_says_so(tmp_path):
    """Two dates of one place have the same grid: the map must not pass for one of the other."""
    scenes = [planted(height=24, width=24, seed=seed) for seed in (1, 2)]
    run_ = SceneClassifier("lda", per_class=10).fit(scenes[0]).save(tmp_path / "run")
    for shown, notes in zip(scenes, (0, 1), strict=True):
        explorer = Explorer(shown, run=run_, folder=tmp_path)
        assert sum("is a run on another scene" in note for note in explorer.notes) == notes
        explorer.close()


def test_long_names_of_scenes_fit_into_names_of_files(tmp_path):
    """A name that a file can have, of characters of three bytes."""
    explorer = Explorer(dataclasses.replace(planted(), name="\u5730" * 85), folder=tmp_path)
    explorer.add_own_labels()
    assert explorer.labels.path.is_file()
    explorer.close()


def test_the_list_of_methods_is_that_of_the_adapters():
    from hyperpeft.explorer.train_tab import ADAPTERS

    assert tuple(ADAPTERS) == tuple(METHODS)


def test_pictures():
    scene = planted()
    view = SceneView.of(scene)
    assert next(iter(presets(view))) == "default"
    values = np.stack([np.arange(12.0).reshape(3, 4)] * 3)
    shown = np.ones((3, 4), bool)
    shown[0, 0] = False
    picture = false_colour(values, shown, Stretch.of(values.reshape(3, -1), 0))
    pixels = picture.view(np.uint8).reshape(3, 4, 4)
    assert pixels[2, 3].tolist() == [255, 255, 255, 255]
    assert pixels[0, 1, 0] == round(255 / 11)
    assert pixels[0, 0].tolist() == [226, 228, 232, 255]
    classes = class_picture(np.array([[0, 7]]), {7: (1, 2, 3)}).view(np.uint8).reshape(1, 2, 4)
    assert classes.tolist() == [[[0, 0, 0, 0], [1, 2, 3, 255]]]
    scale = scale_picture(np.array([[0.0, 1.0, np.nan]])).view(np.uint8).reshape(3, 4)
    assert scale.tolist() == [[68, 1, 84, 255], [253, 231, 37, 255], [0, 0, 0, 0]]
    components = Components.fit(view)
    gram = components.axes @ components.axes.T
    np.testing.assert_allclose(gram, np.eye(3), atol=1e-9)


def test_presets_follow_the_wavelengths(tmp_path):
    import hyperpeft

    centres = np.linspace(400, 2400, 101)
    scene = hyperpeft.Scene.from_array(np.ones((4, 4, 101)), wavelengths=centres)
    found = presets(SceneView.of(scene))
    assert set(found) == {"default", "natural", "near infrared", "short-wave infrared"}
    assert [centres[b] for b in found["short-wave infrared"]] == [2200, 860, 640]
    short = hyperpeft.Scene.from_array(np.ones((4, 4, 20)), wavelengths=np.linspace(450, 900, 20))
    assert "short-wave infrared" not in presets(SceneView.of(short))


def test_a_config_has_a_command_without_defaults():
    assert train_command(RunConfig(scene="demo")) == "hyperpeft train demo"


def test_a_command_keeps_what_was_given_as_the_default():
    """Left open, the recipe, the baseline or the labels would choose it."""
    for values in (
        {"recipe": "paper", "epochs": 20},
        {"method": "hybridsn", "epochs": 20, "batch_size": 16},
        {"method": "krona+", "head": "ridge"},
    ):
        words = shlex.split(train_command(make_config({"scene": "demo", **values})))
        given = {words[i][2:].replace("-", "_"): words[i + 1] for i in range(3, len(words), 2)}
        assert given == {name: str(value) for name, value in values.items()}
