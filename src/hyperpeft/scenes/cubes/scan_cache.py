"""What looking at every pixel of a large file has found, kept in the cache.

Training, mapping and testing open the same scene, and a mapping run that was stopped opens it
again: reading 14 GB each time to find the same mask would cost minutes. A file counts as unchanged
while its path, size and times are the same. A small file is looked at each time, and so is what
refers to other files (a VRT, a folder).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import ConfigError
from hyperpeft.system.files import cache_folder, replacing

LARGE = 2**28  # values
_FORMAT = 2  # another number where the meaning of what is kept changes


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
