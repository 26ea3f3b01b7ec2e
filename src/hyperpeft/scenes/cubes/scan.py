"""What a look at every pixel has found, the notes on it, and its cache for large files.

The cache: training, mapping and testing open the same scene, and a mapping run that was stopped
opens it again: reading 14 GB each time to find the same mask would cost minutes. A file counts as
unchanged while its path, size and times are the same. A small file is looked at each time, and so
is what refers to other files (a VRT, a folder).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import ConfigError
from hyperpeft.scenes.cubes.band_values import HUGE
from hyperpeft.system.files import cache_folder, replacing

LARGE = 2**28  # values
_FORMAT = 3  # another number where the meaning of what is kept changes


def load_scan(path: Path, question: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """The arrays kept for a file and a question about it, or None."""
    place = _entry(path, question)
    if place is None or not place.is_file():
        return None
    try:
        with np.load(place, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except Exception:  # a damaged entry is worth nothing, whatever its damage
        return None


def save_scan(path: Path, question: dict[str, Any], answer: dict[str, np.ndarray]) -> None:
    """Keep arrays for a file and a question; a cache that cannot be written is not an error."""
    place = _entry(path, question)
    if place is None:
        return
    try:
        with replacing(place) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **answer)  # type: ignore[arg-type]
    except (OSError, ConfigError):
        return


def _entry(path: Path, question: dict[str, Any]) -> Path | None:
    if path.suffix.lower() == ".vrt" or not path.is_file():
        return None
    state = path.stat()
    key = [_FORMAT, str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    digest = hashlib.sha256(json.dumps([key, question], sort_keys=True).encode()).hexdigest()
    return cache_folder() / "scanned" / f"{digest[:32]}.npz"


NAN, INFINITE, NODATA, UNDECLARED = "NaN", "infinite", "nodata", "undeclared nodata"
OUTSIDE = "outside the file's valid range"
ZEROS = "zero in every band"
IMPOSSIBLE = f"beyond {HUGE:g}"


@dataclass
class Tally:
    """What has been found so far."""

    valid: np.ndarray  # (H, W)
    alive: np.ndarray  # (B,) bands that hold at least one valid value
    counts: dict[str, int] = field(default_factory=dict)
    dead_in: list[tuple[slice, slice, np.ndarray]] = field(default_factory=list)
    fills: set[float] = field(default_factory=set)  # undeclared
    zeros: np.ndarray | None = None  # (H, W) pixels of 0 in every band

    def mask(self, where: tuple[slice, slice], bad: np.ndarray, reason: str) -> None:
        """Mask pixels; each is counted under its first reason."""
        valid = self.valid[where]
        new = bad & valid
        valid[new] = False
        self.counts[reason] = self.counts.get(reason, 0) + int(np.count_nonzero(new))


def reasons(tally: Tally) -> str:
    """Pixels by the first reason that masks them."""
    counts = {NAN: 0, INFINITE: 0, NODATA: 0, **tally.counts}
    counts.pop(ZEROS, None)
    shown = (NAN, INFINITE, NODATA)
    return ", ".join(f"{name} {n}" for name, n in counts.items() if n or name in shown)


def notes_of(tally: Tally) -> tuple[str, ...]:
    """What was masked and why, for the user and the record."""
    found = []
    counts = {**tally.counts}
    zeros = counts.pop(ZEROS, 0)
    masked = tally.valid.size - int(np.count_nonzero(tally.valid))
    if masked:
        found.append(f"{masked} of {tally.valid.size} pixels are masked ({reasons(tally)})")
    undeclared = counts.get(UNDECLARED, 0)
    if undeclared:
        shown = [f"{value:g}" for value in sorted(tally.fills)[:4]]
        found.append(
            f"{undeclared} pixels are {' or '.join(shown)} in every band although the file "
            "declares no such nodata; they are taken as nodata"
        )
    large = counts.get(IMPOSSIBLE)
    if large:
        who = "1 pixel holds" if large == 1 else f"{large} pixels hold"
        found.append(
            f"{who} values that no measurement has (beyond {HUGE:g}, or "
            "the end of the number type); they are taken as nodata, which the file does not declare"
        )
    if zeros:
        found.append(
            f"{zeros} pixels inside the scene are 0 in every band; the file does not declare 0 as "
            "nodata, and they are kept"
        )
    return tuple(found)
