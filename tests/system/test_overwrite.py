"""No output replaces an input, under whatever name it is reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.shutil import copy

from hyperpeft.errors import ConfigError
from hyperpeft.runs.experiment import run
from hyperpeft.runs.inputs import inputs_of
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import open_scene
from hyperpeft.scenes.sources import files_of
from hyperpeft.system.overwrite import refuse_inputs
from tests.helpers.scene_files import envi, geotiff
from tests.helpers.small import config


def refused(output, path, what="the scene"):
    with pytest.raises(ConfigError, match="would replace") as error:
        refuse_inputs([output], [(what, path)])
    assert f"{output} would replace " in str(error.value)
    assert str(path) in str(error.value)


def test_the_same_file_by_any_name(tmp_path, monkeypatch):
    scene, other = tmp_path / "scene.tif", tmp_path / "other.tif"
    scene.write_bytes(b"cube")
    other.write_bytes(b"cube")
    (tmp_path / "soft.tif").symlink_to(scene)
    (tmp_path / "hard.tif").hardlink_to(scene)
    (tmp_path / "folder").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("scene.tif", "soft.tif", "hard.tif", "folder/scene.tif"):
        refused(Path(name), scene)
        refused(tmp_path / name, Path("scene.tif"))
    refuse_inputs([other, tmp_path / "new.tif"], [("the scene", scene), ("labels", Path("nix"))])


def test_folders_stand_for_what_is_in_them(tmp_path):
    store = tmp_path / "run" / "adapter" / "deep"
    store.mkdir(parents=True)
    inner = store / "weights"
    inner.write_bytes(b"w")
    refused(tmp_path / "run/adapter", inner, "the backbone")
    refused(inner, tmp_path / "run/adapter")
    refuse_inputs([store / "new"], [("the scene", store)])
    refuse_inputs([tmp_path / "run/head"], [("the backbone", inner)])


def test_inputs_are_looked_for_only_where_something_could_be_lost(tmp_path):
    def never():
        raise AssertionError
        yield

    refuse_inputs([tmp_path / "new"], never())


def test_files_of_scenes(tmp_path):
    """What belongs to a cube, and what it is made of."""
    values = np.random.default_rng(0).normal(size=(6, 7, 5)).astype(np.float32)
    first, second = (geotiff(tmp_path / name, values) for name in ("a.tif", "b.tif"))
    assert set(files_of(f"{first},{second}")) >= {first, second}
    assert set(files_of(tmp_path / "*.tif")) >= {first, second}
    assert set(files_of(tmp_path)) >= {first, second}
    copy(first, tmp_path / "v.vrt", driver="VRT")
    assert set(files_of(tmp_path / "v.vrt")) >= {tmp_path / "v.vrt", first}
    text = (tmp_path / "v.vrt").read_text()  # GDAL's own copy of a VRT names the source at once
    (tmp_path / "w.vrt").write_text(text.replace("a.tif", "v.vrt"))
    assert set(files_of(tmp_path / "w.vrt")) >= {tmp_path / "w.vrt", tmp_path / "v.vrt", first}
    data = envi(tmp_path / "c.bsq", values)
    for name in ("c.bsq", "c.hdr"):
        assert set(files_of(tmp_path / name)) >= {data, tmp_path / "c.hdr"}
    assert files_of("demo") == files_of(tmp_path / "nix.tif") == []
    assert files_of(f"{tmp_path / 'nix.mat'}:key") == files_of(f"{first},nix.tif") == []


def test_files_of_a_product_and_a_card(tmp_path, monkeypatch):
    folder = tmp_path / "L2A"
    folder.mkdir()
    names = {"E-METADATA.XML", "E-SPECTRAL_IMAGE.TIF", "E-QL_QUALITY_CLOUD.TIF"}
    for name in (*names, "notes.tif"):
        (folder / name).write_bytes(b"x")
    for spec in (folder, folder / "E-SPECTRAL_IMAGE.TIF"):
        found = {p.name for p in files_of(spec)}
        assert names <= found
        assert "notes.tif" not in found
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path))
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "none"))
    cube = tmp_path / "SalinasA_corrected.mat"
    cube.write_bytes(b"x")
    assert files_of("salinas-a") == [cube]


def test_inputs_of_a_configuration(tmp_path):
    for name in ("s.npy", "l.npy", "a.npy", "b.npy", "split.npz", "w.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    place = f"{tmp_path}/"
    given = {
        "scene": f"{place}s.npy", "labels": f"{place}l.npy:ids",
        "backbone": f"{place}w.safetensors", "split": f"{place}a.npy,{place}b.npy",
    }  # fmt: skip
    found = [(what, path.name) for what, path in inputs_of(given)]
    assert found == [
        ("the scene", "s.npy"), ("the labels", "l.npy"), ("the split", "a.npy"),
        ("the split", "b.npy"), ("the backbone", "w.safetensors"),
    ]  # fmt: skip
    assert list(inputs_of({"split": f"{place}split.npz"})) == [
        ("the split", tmp_path / "split.npz")
    ]
    for split in ("disjoint", "official", None):
        assert list(inputs_of({"scene": "demo", "split": split, "labels": None})) == []


def test_a_run_keeps_its_base_and_its_map_may_be_made_again(tmp_path):
    """Nothing of an earlier run is lost before the refusal, either."""
    out = tmp_path / "run"
    run(config(tmp_path, out, method="full", epochs=1, per_class=4))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    second = config(
        tmp_path, out, method="full", backbone=str(out / "backbone.safetensors"), epochs=1
    )
    with pytest.raises(ConfigError, match="would replace the backbone"):
        run(second, overwrite=True)
    loaded = load_run(out)
    for name in ("scene.tif", "scene_labels.tif"):
        kept = (tmp_path / name).read_bytes()
        with pytest.raises(ConfigError, match=f"{name} would replace"):
            loaded.map(open_scene(tmp_path / "scene.tif"), tmp_path / name)
        assert (tmp_path / name).read_bytes() == kept
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    for _ in range(2):
        assert loaded.map(open_scene(tmp_path / "scene.tif"), out / "map.tif").pixels
