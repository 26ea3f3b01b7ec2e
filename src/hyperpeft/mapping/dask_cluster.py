"""Tiles on the workers of a dask.distributed cluster.

Each worker process holds one copy of model and scene, which it gets when it joins; a scene on disk
travels as its path and is read by the workers, so that they must see the same files. The tiles
come back to this process, which writes the map. Tiles of a worker that is lost go to another one.
"""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from distributed import Client, WorkerPlugin, as_completed, get_worker

from hyperpeft.errors import ConfigError
from hyperpeft.mapping.mapper import Mapper, TileMap
from hyperpeft.mapping.tiles import Tile
from hyperpeft.records import Scene
from hyperpeft.system.resources import set_thread_count

WAIT = 60  # seconds for the first worker
AHEAD = 2  # tiles handed out per worker process, so that none waits for its next one


class _State:
    """A worker's copy of model and scene, unpacked when its first tile comes."""

    def __init__(self, packed: bytes, threads: int) -> None:
        self._packed, self._threads = packed, threads
        self._lock = threading.Lock()
        self._mapper: Mapper | None = None
        self._scene: Scene | None = None

    def map(self, tile: Tile) -> TileMap:
        with self._lock:  # one model, one tile at a time
            if self._mapper is None or self._scene is None:
                mapper, self._scene = pickle.loads(self._packed)
                set_thread_count(self._threads)
                predictor = mapper.predictor.on_accelerator()
                self._mapper, self._packed = replace(mapper, predictor=predictor), b""
            return self._mapper.map(self._mapper.read(self._scene, tile))


def _map_tile(name: str, tile: Tile) -> TileMap:
    """Run on a worker."""
    plugin: Any = get_worker().plugins[name]
    result: TileMap = plugin.state.map(tile)
    return result


def connect(address: str) -> Any:
    """A client of a scheduler; ConfigError where there is none, or no worker comes."""
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"--scheduler {address}: no scheduler answers there ({error})",
            expected="tcp://HOST:PORT, as `dask scheduler` prints it",
        ) from None
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError:
        client.close()
        raise ConfigError(
            f"--scheduler {address} has no workers", hint=f"start `dask worker {address}`"
        ) from None
    return client


def _forget(client: Any, name: str, running: dict[Any, Tile]) -> None:
    """Take model and scene from the workers, and the tiles that they still hold."""
    with suppress(OSError):  # a lost scheduler holds nothing
        client.cancel(list(running))
        client.unregister_worker_plugin(name)


def tiles_on(
    address: str,
    mapper: Mapper,
    scene: Scene,
    tiles: list[Tile],
    told: Callable[[int], None] | None = None,
) -> Iterator[tuple[Tile, TileMap]]:
    """Map tiles on a cluster, in the order in which they are finished."""
    client = connect(address)

    class Copy(WorkerPlugin):
        """Gives each worker that joins its own state."""

        def __init__(self, packed: bytes) -> None:
            self.packed = packed

        def setup(self, worker: Any) -> None:
            self.state = _State(self.packed, worker.state.nthreads)

    name = f"hyperpeft-{uuid.uuid4().hex}"
    running: dict[Any, Tile] = {}
    with ExitStack() as stack:
        stack.callback(client.close)
        packed = pickle.dumps((replace(mapper, predictor=mapper.predictor.to("cpu")), scene))
        client.register_plugin(Copy(packed), name=name)
        stack.callback(_forget, client, name, running)
        waiting = iter(tiles)
        with client.as_current():
            finished = as_completed()

        def hand_out() -> None:
            most = AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
            while len(running) < most and (tile := next(waiting, None)) is not None:
                future = client.submit(_map_tile, name, tile, pure=False)
                running[future] = tile
                finished.add(future)

        hand_out()
        for future in finished:
            tile, result = running.pop(future), future.result()
            hand_out()
            if told is not None:
                told(result.pixels)
            yield tile, result
