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


class Taken(ConfigError):
    """Another process holds the lock; the message says which."""


@contextmanager
def locked(path: Path, what: str = "", *, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made for it and removed behind it.

    Parameters
    ----------
    path : Path
    what : str
        What is locked, for the message.
    wait : bool
        Until the other process has ended, instead of refusing.

    Raises
    ------
    Taken
        Another process holds it, and `wait` is false.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            if not _lock(file, wait):
                file.seek(0)
                raise Taken(f"{what} is in use by {file.read().strip() or 'another process'}")
            # Whoever held it before has removed the file: then this is the lock of nobody's file.
            if _same(file, path):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
                try:
                    yield
                finally:
                    with suppress(OSError):
                        path.unlink()
                return
        finally:
            file.close()


def _same(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt
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
    import fcntl

    def _lock(file: IO[str], wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
