"""Files on disk: written whole or not at all, found by name, known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from hyperpeft.errors import BundleError, ConfigError, HyperpeftError
from hyperpeft.system.resources import format_bytes, require_memory

_LONGEST_NAME = 200  # bytes of a file's name, without number and suffix
LARGEST_TEXT = 2**24  # bytes of a JSON file; the record of a run has some kilobytes

# How libraries that have their own exceptions say that the system refused to write.
_NOT_WRITTEN = ("os error", "inline_container", "PytorchStreamWriter")

PART = "part-"  # in the name of a file that is being written


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without error.

    The temporary name keeps the suffix, because writers choose the format by it. Nothing ever
    stands half-written under the final name.

    Raises
    ------
    ConfigError
        When the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}.{PART}", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror})", hint="choose a folder you can write to"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        with suppress(OSError):  # folders that hold something by now stay
            for folder in made:
                folder.rmdir()
        if isinstance(error, HyperpeftError) or not isinstance(error, Exception):
            raise
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        if not isinstance(error, OSError) and not any(sign in why for sign in _NOT_WRITTEN):
            raise
        raise ConfigError(
            f"{path} cannot be written ({why})", hint="make room, or choose another folder"
        ) from None


def flush(path: Path) -> None:
    """Wait until a file is on the disk, so that the name it is given next leads to all of it."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def read_json(path: Path, error: type[HyperpeftError] = BundleError) -> Any:
    """What a JSON file holds; a file that is missing is left to the caller (FileNotFoundError).

    Raises
    ------
    HyperpeftError
        Of type `error`: too large, nested without end, or no JSON.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path}", expected="a file of JSON", got="no regular file")
        if status.st_size > LARGEST_TEXT:
            raise error(
                f"{path}", expected=f"at most {LARGEST_TEXT} bytes of JSON", got=status.st_size
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise error(f"{path} cannot be read (it is nested too deeply)") from None
    except (OSError, ValueError) as problem:
        raise error(f"{path} cannot be read ({problem})") from None


def file_names(names: Sequence[str]) -> list[str]:
    """Names that any file system takes inside of one folder, each another, from any texts.

    Examples
    --------
    >>> file_names(["classes-a b/../c-5", "Classes-A_b_.._c-5", "labels-1.5"])
    ['classes-a_b_.._c-5', 'Classes-A_b_.._c-5-2', 'labels-1.5']
    """
    seen: set[str] = set()
    found = []
    for name in names:
        plain = re.sub(r"[^\w.+=-]", "_", name).lstrip(".") or "_"
        plain = plain.encode()[:_LONGEST_NAME].decode(errors="ignore")
        other, number = plain, 1
        while other.casefold() in seen:
            number += 1
            other = f"{plain}-{number}"
        seen.add(other.casefold())
        found.append(other)
    return found


def check_archive(path: Path, error: type[HyperpeftError]) -> None:
    """Refuse a zip archive (.npz, .pth) whose members would not fit into memory.

    A file that is no archive is left to its reader.

    Raises
    ------
    HyperpeftError
        Of type `error`: it unpacks to more than is free, or says so.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return
    require_memory(f"{path} unpacks to {format_bytes(size)}, which", size, error=error)


def within(folder: Path, name: str) -> Path:
    """A file of an untrusted folder: one that is a link out of it is refused.

    Raises
    ------
    BundleError
        When the file lies outside the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            f"{path} is a link to a file outside its folder",
            hint="put the file itself into the folder, if you trust it",
        )
    return path


def printable(name: str) -> str:
    """A file's name as text, with "?" for bytes that are not UTF-8 and for control characters."""
    return "".join(c if c.isprintable() else "?" for c in name)


def sweep(folder: Path, *, below: bool = True) -> None:
    """Remove what killed processes have left half-written in a folder, and below it.

    The caller holds the folder's lock.
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
    return [*([_expanded("HYPERPEFT_DATA", named)] if named else []), cache_folder()]


def cache_folder() -> Path:
    """`HYPERPEFT_CACHE`, or the platform's cache folder as `pooch.os_cache("hyperpeft")` has it."""
    named = os.environ.get("HYPERPEFT_CACHE")
    if named:
        return _expanded("HYPERPEFT_CACHE", named)
    return _expanded("HYPERPEFT_CACHE", platformdirs.user_cache_dir("hyperpeft"))


def _expanded(variable: str, named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{variable}={named}",
            expected="a folder",
            got="a home that the system does not know",
            hint="set it to a whole path",
        ) from None


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
                elif entry.is_file():  # no link that leads nowhere
                    found.setdefault(entry.name.lower(), Path(entry.path))
        level = below
    return found
