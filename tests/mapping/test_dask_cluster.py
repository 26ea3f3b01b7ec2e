"""Tiles on a dask cluster: the same map, also when a worker is killed."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import rasterio

from hyperpeft.errors import ConfigError
from hyperpeft.mapping import Outputs, map_to_files
from tests.helpers.small import CLASSES, COLOURS, in_memory, mapper_for, planted

distributed = pytest.importorskip("distributed", reason="the [cluster] extra is not installed")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


@pytest.fixture(scope="module")
def pieces():
    scene = planted(height=120, width=130)
    mapper = mapper_for(scene, 5)
    return scene, mapper, in_memory(mapper, scene).ids


def test_two_workers_and_one_killed(cluster, pieces, tmp_path):
    scene, mapper, expected = pieces
    address = cluster.scheduler_address
    target = Outputs(tmp_path / "m.tif")
    map_to_files(mapper, scene, target, CLASSES, COLOURS, size=32, scheduler=address)
    with rasterio.open(target.map) as file:
        np.testing.assert_array_equal(file.read(1), expected)

    with distributed.Client(address, set_as_default=False) as client:
        processes = client.run(os.getpid)
    assert len(set(processes.values())) == 2
    killed = []

    def kill(done: int, total: int) -> None:
        if done > total / 4 and not killed:
            killed.append(next(iter(processes.values())))
            os.kill(killed[0], signal.SIGKILL)

    again = Outputs(tmp_path / "again.tif")
    result = map_to_files(
        mapper, scene, again, CLASSES, COLOURS, size=16, scheduler=address, watch=kill
    )
    assert killed
    assert result.pixels == expected.size
    with rasterio.open(again.map) as file:
        np.testing.assert_array_equal(file.read(1), expected)


def test_no_scheduler(pieces, tmp_path):
    scene, mapper, _ = pieces
    with pytest.raises(
        ConfigError, match=r"--scheduler tcp://127\.0\.0\.1:9: no scheduler answers"
    ):
        map_to_files(
            mapper, scene, Outputs(tmp_path / "m.tif"), CLASSES, COLOURS,
            scheduler="tcp://127.0.0.1:9",
        )  # fmt: skip
