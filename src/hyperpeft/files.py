"""Files on disk: written whole or not at all, found by name, known by their hash."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperpeft.errors import ConfigError

PART = "part-"  # in the name of a file that is being written


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without error.

    The temporary name keeps the suffix, because writers choose the format by it. Nothing ever
    stands half-written under the final name.

    Raises
    ------
    ConfigError
        When the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}.{PART}", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror})", do="choose a folder you can write to"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path, *, below: bool = True) -> None:
    """Remove what killed processes have left half-written in a folder, and below it.

    For whoever holds the folder's lock.
    """
    pattern = f".*.{PART}*"
    for path in list(folder.rglob(pattern) if below else folder.glob(pattern)):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_folders() -> list[Path]:
    """Folders searched for scenes and weights: `HYPERPEFT_DATA` where set, then the cache."""
    named = os.environ.get("HYPERPEFT_DATA")
    return [*([Path(named).expanduser()] if named else []), cache_folder()]


def cache_folder() -> Path:
    """`HYPERPEFT_CACHE`, or the platform's cache folder as `pooch.os_cache("hyperpeft")` has it."""
    named = os.environ.get("HYPERPEFT_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData/Local"
        return base / "hyperpeft/hyperpeft/Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/hyperpeft"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyperpeft"


Index = list[dict[str, Path]]  # of each data folder: lower-case file name to path


def index_folders() -> Index:
    """What the data folders hold; of equal names the one nearest to the top wins."""
    return [_index(folder) for folder in data_folders()]


def find_file(names: Iterable[str], index: Index | None = None) -> Path | None:
    """The first of these file names, in any case, in the data folders or below them.

    Parameters
    ----------
    names : iterable of str
    index : list of dict, optional
        From `index_folders`, to search for many files in one walk.
    """
    for folder in index_folders() if index is None else index:
        for name in names:
            if name.lower() in folder:
                return folder[name.lower()]
    return None


def _index(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    level = [folder]
    while level:
        below: list[Path] = []
        for current in level:
            try:
                entries = sorted(os.scandir(current), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                else:
                    found.setdefault(entry.name.lower(), Path(entry.path))
        level = below
    return found
