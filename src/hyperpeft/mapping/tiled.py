"""A scene of any size to the files of its map: tile by tile, resumed where it was cut off."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.env import set_gdal_config

from hyperpeft._version import __version__
from hyperpeft.errors import ConfigError
from hyperpeft.mapping import work_folder
from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.mapper import Mapper, TileMap, Watch
from hyperpeft.mapping.outputs.class_areas import ClassAreas
from hyperpeft.mapping.outputs.geotiff import (
    bands_writer,
    class_map_writer,
    refuse_foreign,
    sidecars,
)
from hyperpeft.mapping.outputs.qgis_style import band_style
from hyperpeft.mapping.tiles import SIZE, Tile, plan
from hyperpeft.records import Scene
from hyperpeft.spectral import N_BANDS
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import make_folder
from hyperpeft.system.resources import require_memory

CONFIDENCE_BANDS = ("margin", "entropy", "encoded")
_NONE = np.empty((0, 0), np.int32)
GDAL_CACHE = 2**28  # bytes of file blocks that GDAL keeps; its own default is 5 % of the memory


@dataclass(frozen=True)
class Outputs:
    """The files to write."""

    map: Path
    probabilities: Path | None = None
    confidence: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Those that are asked for."""
        return [f for f in (self.map, self.probabilities, self.confidence) if f is not None]

    @property
    def replaced(self) -> list[Path]:
        """All that is written beside them as well."""
        return [path for f in self.files for path in (f, *sidecars(f))]


@dataclass(frozen=True)
class Mapped:
    """How a scene was mapped.

    Attributes
    ----------
    files : list of Path
    pixels, encoded : int
        Valid pixels, and for how many of them the encoder was asked.
    seconds : float
        Of this call.
    busy : float or None
        Share of these seconds spent in the model; None where other processes did the work or
        nothing was left to do.
    tiles, resumed : int
        How many there are, and how many were finished before this call.
    audited, wrong : int
        Of the adaptive map's audit.
    bound : float
        Upper bound, with 95 % confidence in each tile, of the share of pixels whose class differs
        from the exact map's before refinement: the mean of the tiles' bounds, weighted by their
        pixels. Refinement can remove differences or spread them.
    runtime : str
        What executed the model, as in the map's tag RUNTIME.
    areas : dict
        Of the classes, see `ClassAreas.section`.
    """

    files: list[Path]
    pixels: int
    encoded: int
    seconds: float
    busy: float | None
    tiles: int
    resumed: int
    audited: int
    wrong: int
    bound: float
    runtime: str
    areas: dict[str, Any] = field(default_factory=dict)


def tiles_here(
    mapper: Mapper,
    scene: Scene,
    tiles: list[Tile],
    told: Callable[[int], None] | None = None,
    where: np.ndarray | None = None,
) -> Iterator[tuple[Tile, TileMap]]:
    """Map tiles in this process; the next one is read while the predictor works.

    `where` (H, W) restricts the map to some of the valid pixels.
    """
    if not tiles:
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(mapper.read, scene, tiles[0], where)
        for tile, after in zip(tiles, [*tiles[1:], None], strict=True):
            data = coming.result()
            if after is not None:
                coming = reader.submit(mapper.read, scene, after, where)
            yield tile, mapper.map(data, told)


def map_to_files(
    mapper: Mapper,
    scene: Scene,
    outputs: Outputs,
    classes: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
    *,
    size: int = SIZE,
    scheduler: str | None = None,
    watch: Watch | None = None,
) -> Mapped:
    """Map a scene to Cloud-Optimized GeoTIFFs.

    Finished tiles wait in a work folder beside the map, from which the same call resumes after it
    was cut off, whatever cut it off. The files take their names when all tiles are there.

    Parameters
    ----------
    mapper : Mapper
    scene : Scene
        Read by window.
    outputs : Outputs
    classes, colours : mapping
        Names and RGB of the ids.
    size : int
        Side of a tile in pixels.
    scheduler : str, optional
        Address of a dask.distributed scheduler whose workers map the tiles.
    watch : callable, optional
        Told (pixels done, pixels in all).

    Raises
    ------
    ConfigError
        When another process maps to the same file, a file is there that is not a map of this
        package, or the files cannot be written.
    """
    start = time.monotonic()
    limit_cache()
    _check_outputs(outputs)
    tiles = plan(scene.valid.shape, size, mapper.predictor.cell)
    _check_memory(mapper, scene, tiles[0])
    counter = _Counter(int(scene.valid.sum()), watch)
    identity = identify(mapper, scene, size)
    with work_folder.opened(outputs.map, identity) as work:
        left = [tile for tile in tiles if not work.holds(tile)]
        counter.add(sum(int(scene.valid[t.inside].sum()) for t in set(tiles) - set(left)))
        busy = 0.0
        if scheduler is None or not left:
            source = tiles_here(mapper, scene, left, counter.add)
        else:
            from hyperpeft.mapping.dask_cluster import tiles_on  # dask, where it is used

            source = tiles_on(scheduler, mapper, scene, left, counter.add)
        for tile, result in source:
            work.save(tile, result)
            busy += result.busy
        seconds = time.monotonic() - start
        areas = ClassAreas(scene.valid.shape, scene.crs, scene.transform)
        results = _assemble(work, tiles, mapper, scene, outputs, classes, colours, areas)
        work.remove()
    pixels = sum(result.pixels for result in results)
    return Mapped(
        files=outputs.files,
        pixels=pixels,
        encoded=sum(result.encoded for result in results),
        seconds=time.monotonic() - start,
        busy=busy / seconds if left and scheduler is None else None,
        tiles=len(tiles),
        resumed=len(tiles) - len(left),
        audited=sum(result.audited for result in results),
        wrong=sum(result.wrong for result in results),
        bound=sum(result.bound * result.pixels for result in results) / max(pixels, 1),
        runtime=mapper.predictor.runtime,
        areas=areas.section(classes),
    )


def _check_outputs(outputs: Outputs) -> None:
    """Refuse outputs that cannot be written, or of which one would replace another."""
    taken: dict[Path, Path] = {}
    for path in outputs.files:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder", hint="choose another name for the map")
        refuse_foreign(path)
        for file in (path, *sidecars(path)):
            other = taken.setdefault(file.resolve(), path)
            if other != path or (file == path and outputs.files.count(path) > 1):
                raise ConfigError(
                    f"{path} and {other}",
                    expected="files of which none is or stands beside the other as the same",
                    got=f"{file} twice",
                )
    for path in outputs.files:
        make_folder(path.parent)


def _check_memory(mapper: Mapper, scene: Scene, tile: Tile) -> None:
    """Refuse tiles that do not fit: one is classified while the next one is read."""
    half = mapper.halo
    pixels = (tile.bottom - tile.top + 2 * half) * (tile.right - tile.left + 2 * half)
    read = 2 * scene.shape[2] * scene.cube.dtype.itemsize
    reduced = 3 * N_BANDS * 4
    logits = 3 * len(mapper.class_ids) * 4
    require_memory(
        f"a tile of {tile.shape[0]} x {tile.shape[1]} pixels, {scene.shape[2]} bands",
        pixels * (read + reduced + logits),
        hint="give a smaller --tile",
    )


def limit_cache() -> None:
    """Keep GDAL from filling memory with blocks of the scene."""
    with rasterio.Env():
        set_gdal_config("GDAL_CACHEMAX", GDAL_CACHE)


def identify(mapper: Mapper, scene: Scene, size: int) -> str:
    """Hash of all that decides a tile's values."""
    fingerprint = Fingerprint(
        __version__, mapper.layers, mapper.adaptive, size, scene.sha256, scene.part, scene.shape
    )
    fingerprint.array(np.packbits(scene.valid))
    fingerprint.array(mapper.class_ids)
    mapper.predictor.fingerprint(fingerprint)
    if mapper.refinement is not None:
        mapper.refinement.fingerprint(fingerprint)
    return fingerprint.hexdigest()


class _Counter:
    """Pixels done, for the progress callback."""

    def __init__(self, total: int, watch: Watch | None) -> None:
        self._done, self._total, self._watch = 0, total, watch

    def add(self, pixels: int) -> None:
        self._done = min(self._done + pixels, self._total)
        if self._watch is not None:
            self._watch(self._done, self._total)


def _assemble(
    work: work_folder.WorkFolder,
    tiles: list[Tile],
    mapper: Mapper,
    scene: Scene,
    outputs: Outputs,
    classes: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
    areas: ClassAreas,
) -> list[TileMap]:
    """Write the files in the work folder, then give them their names.

    Returns the tiles without their pixels.
    """
    results = []
    made = {
        path: work.folder / work_folder.FINISHED / str(i) / path.name
        for i, path in enumerate(outputs.files)
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    shape = scene.valid.shape
    names = [classes[i] for i in mapper.class_ids.tolist()]
    with ExitStack() as stack:

        def bands(
            path: Path, names: list[str], style: str | None = None
        ) -> Callable[[np.ndarray, int, int], None]:
            writer = bands_writer(
                made[path],
                shape,
                names,
                crs=scene.crs,
                transform=scene.transform,
                half=True,
                style=style,
            )
            return stack.enter_context(writer)

        write_ids = stack.enter_context(
            class_map_writer(
                made[outputs.map],
                shape,
                classes,
                colours,
                crs=scene.crs,
                transform=scene.transform,
                extra_tags={"RUNTIME": mapper.predictor.runtime},
                staged=True,
            )
        )
        write_probabilities = outputs.probabilities and bands(outputs.probabilities, names)
        write_confidence = outputs.confidence and bands(
            outputs.confidence, [*CONFIDENCE_BANDS], band_style(0, 1, CONFIDENCE_BANDS[0])
        )
        for tile in tiles:
            result = work.load(tile)
            assert result is not None
            write_ids(result.ids, tile.top, tile.left)
            areas.add(result.ids, tile.top)
            if write_probabilities and result.probabilities is not None:
                write_probabilities(result.probabilities, tile.top, tile.left)
            if write_confidence and result.confidence is not None:
                write_confidence(result.confidence, tile.top, tile.left)
            results.append(replace(result, ids=_NONE, probabilities=None, confidence=None))
    # The map last: where it stands, all that belongs to it does.
    for path in reversed(outputs.files):
        for source in (*sidecars(made[path]), made[path]):
            if source.is_file():
                _put(source, path.with_name(source.name))
    return results


def _put(source: Path, target: Path) -> None:
    """Give a finished file its name, on another disk as well."""
    try:
        source.replace(target)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
