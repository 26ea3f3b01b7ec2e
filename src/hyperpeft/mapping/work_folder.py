"""The folder beside a map in which its finished tiles wait until all are there.

`map.tif.work/` holds `lock`, `identity` and one file per finished tile. A process that is killed
leaves it behind, and the same command resumes from it; another command on the same output finds
another identity and starts again. When the map has its name the folder is removed.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np

from hyperpeft.errors import ConfigError
from hyperpeft.mapping.mapper import TileMap
from hyperpeft.mapping.tiles import Tile
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import output_folder

ARRAYS = ("ids", "probabilities", "confidence")
FINISHED = "finished"  # folder of the assembled files
_LOCK = "lock"


class WorkFolder:
    """Finished tiles on disk; made by `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def holds(self, tile: Tile) -> bool:
        """Whether a tile is finished."""
        return self.load(tile) is not None

    def load(self, tile: Tile) -> TileMap | None:
        """A finished tile; None where there is none or its file is damaged."""
        numbers = [field.name for field in fields(TileMap) if field.name not in ARRAYS]
        try:
            with np.load(self._path(tile), allow_pickle=False) as file:
                arrays = {name: file.get(name) for name in ARRAYS}
                if arrays["ids"] is None or arrays["ids"].shape != tile.shape:
                    return None
                return TileMap(**arrays, **{name: file[name].item() for name in numbers})
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, tile: Tile, result: TileMap) -> None:
        """Write a finished tile, whole or not at all."""
        values = {field.name: getattr(result, field.name) for field in fields(TileMap)}
        if result.confidence is not None:  # as they will be in the map
            values["confidence"] = result.confidence.astype(np.float16)
        if result.probabilities is not None:
            values["probabilities"] = halved(result.probabilities)
        with replacing(self._path(tile)) as temporary, temporary.open("wb") as file:
            np.savez(file, **{k: v for k, v in values.items() if v is not None})

    def _path(self, tile: Tile) -> Path:
        return self.folder / f"tile-{tile.top:07d}-{tile.left:07d}.npz"

    def remove(self) -> None:
        """Remove the folder: the map is finished."""
        _clear(self.folder)
        # The lock last: it is what marks the folder as ours, should this be cut off as well.
        shutil.rmtree(self.folder, ignore_errors=True)


def halved(chances: np.ndarray) -> np.ndarray:
    """Probabilities (K, h, w) in 16 bits; the best class stays the only best one.

    Where rounding makes another equal to it, it is raised by one step of the last digit.
    """
    half = chances.astype(np.float16)
    best = chances.argmax(axis=0)[None]
    highest = np.take_along_axis(half, best, axis=0)
    tied = (half == highest).sum(axis=0, keepdims=True) > 1
    raised = np.where(tied, np.nextafter(highest, np.float16(2)), highest)
    np.put_along_axis(half, best, raised, axis=0)
    return half


@contextmanager
def opened(out: Path, identity: str) -> Iterator[WorkFolder]:
    """The work folder of an output, held against other processes.

    Parameters
    ----------
    out : Path
        The map.
    identity : str
        Hash of all that decides the tiles. Tiles of another identity are removed.

    Raises
    ------
    ConfigError
        When the folder cannot be written, is not a work folder, or another process maps there.
    """
    folder = out.with_name(f"{out.name}.work")
    known = folder / "identity"

    def check(cut_off: bool) -> None:
        if folder.is_dir() and not (known.is_file() or cut_off) and set(_names(folder)) - {_LOCK}:
            raise ConfigError(
                f"{folder} exists and is not a work folder of hyperpeft",
                hint="choose another --out",
            )

    try:
        with output_folder(folder, f"map {out}", check=check, lock=_LOCK):
            if not known.is_file() or known.read_text(encoding="utf-8") != identity:
                _clear(folder)
                with replacing(known) as temporary:
                    temporary.write_text(identity, encoding="utf-8")
            try:
                yield WorkFolder(folder)
            except BaseException:
                if not any(folder.glob("tile-*.npz")):  # nothing to resume from
                    _clear(folder)
                    shutil.rmtree(folder, ignore_errors=True)
                raise
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"{out} cannot be written ({error.strerror})", hint="choose a folder you can write to"
        ) from None


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
