"""Real scenes end to end; skipped where the data are not."""

from __future__ import annotations

import numpy as np
import rasterio

from hyperpeft.runs.config import make_config
from hyperpeft.runs.experiment import run
from tests.helpers.small import HEADS, checkpoint, strict_json


def test_enmap_potsdam_by_path(data, tmp_path):
    """The map has the input's CRS and transform, and nodata outside the tiles."""
    place = data / "enmap-potsdam"
    cube, labels = place / "enmap_potsdam.tif", place / "enmap_potsdam_labels.tif"
    weights, out = checkpoint(tmp_path / "e.safetensors"), tmp_path / "run"
    values = {"scene": str(cube), "labels": str(labels), "backbone": str(weights), "out": out}
    run(make_config({**values, "num_heads": HEADS, "epochs": 2, "patch_size": 5}))
    record = strict_json((out / "run.json").read_text())
    with rasterio.open(cube) as file:
        crs, transform, nodata = file.crs, file.transform, file.nodata
        # Six bands are bad and nodata everywhere: a pixel has none where every band has none.
        nothing = (file.read() == nodata).all(axis=0)
    with rasterio.open(labels) as file:
        known = np.setdiff1d(file.read(1), [0])
    with rasterio.open(out / "map.tif") as file:
        ids = file.read(1)
        assert file.crs == crs
        assert file.transform == transform
        assert file.nodata == 0
    assert crs.to_epsg() == 32633
    assert 0 < nothing.sum() < nothing.size  # the scene has both
    np.testing.assert_array_equal(ids == 0, nothing)  # a class everywhere else
    assert np.isin(ids[~nothing], known).all()
    assert record["scene"]["masked_pixels"] == nothing.sum()
    assert record["scene"]["shape"] == [192, 160, 218]
