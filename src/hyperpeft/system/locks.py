"""One process at a time: locks on files that the system lifts when their process ends."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hyperpeft.errors import ConfigError

LOCK = ".hyperpeft.lock"  # in a folder that holds other things as well

_held: set[IO[str]] = set()


class InUse(ConfigError):
    """Another process holds the lock; the message says which."""


@contextmanager
def locked(path: Path, what: str = "", *, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made for it and removed behind it.

    Folders that had to be made for it are removed with it where nothing else has come into them.
    A process that is killed leaves the file, but not the lock: a process that finds the one
    without the other knows that work was cut off here.

    Parameters
    ----------
    path : Path
    what : str
        What is locked, for the message.
    wait : bool
        Until the other process has ended, instead of refusing.

    Raises
    ------
    InUse
        Another process holds it, and `wait` is false.
    ConfigError
        The file cannot be written, or its file system has no locks.
    """
    made: list[Path] = []
    try:
        file = None
        while file is None:
            made += _make_folder(path.parent)
            file = _take(path, what, wait)
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)
            _release(file, path)
    finally:
        for folder in made:
            with suppress(OSError):  # it is used by now
                folder.rmdir()


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; those that were not there, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror})",
            hint="choose a folder you can write to",
        ) from None
    return missing


def _take(path: Path, what: str, wait: bool) -> IO[str] | None:
    """The locked file; None where the process that held it has removed it in the meantime."""
    try:
        file = path.open("a+", encoding="utf-8")
    except FileNotFoundError:
        return None  # the folder went with it
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror})", hint="choose a folder you can write to"
        ) from None
    try:
        if not _lock(file, wait):
            file.seek(0)
            raise InUse(
                f"{what} is in use by {file.read().strip() or 'another process'}",
                hint="wait until it has ended, or choose another --out",
            )
        if not _same(file, path):
            file.close()
            return None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    except OSError as error:
        file.close()
        raise ConfigError(
            f"{path} cannot be locked ({error.strerror})", hint="choose a folder on another disk"
        ) from None
    except BaseException:
        file.close()
        raise
    return file


def _release(file: IO[str], path: Path) -> None:
    # Where the folder has gone, and come again with another process, its lock belongs to that one.
    is_own = _same(file, path)
    if sys.platform == "win32":  # which removes no open file
        file.close()
    if is_own:
        with suppress(OSError):
            path.unlink()
    file.close()


def _same(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


if sys.platform == "win32":
    import msvcrt  # of this system alone
    import time

    def _lock(file: IO[str], wait: bool) -> bool:
        while True:
            try:
                file.seek(2**20)  # past what others read
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(0.2)

else:
    import fcntl  # of this system alone

    def _lock(file: IO[str], wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def _let_go() -> None:
        """A forked child, such as one that prepares data, must not hold what its parent holds."""
        for file in _held:
            file.close()
        _held.clear()

    os.register_at_fork(after_in_child=_let_go)
