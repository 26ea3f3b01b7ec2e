"""The guard of every output: refuse, lock, check, sweep; nothing is written over what is read.

A lock that its process has left behind marks a folder as one of hyperpeft's in which work was cut
off; the same command resumes there.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hyperpeft.errors import ConfigError
from hyperpeft.system.files import printable, sweep

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
            made += make_folder(path.parent)
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


def make_folder(folder: Path) -> list[Path]:
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
        file = os.fdopen(_open_own(path), "a+", encoding="utf-8")
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


def _open_own(path: Path) -> int:
    """Open a lock, which is a file of that name alone: a link would empty what it points to."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOINHERIT"):
        flags |= getattr(os, name, 0)
    number = os.open(path, flags, 0o666)
    status = os.fstat(number)
    if path.is_symlink() or not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(number)
        raise OSError(errno.ELOOP, "it is a link, or no file")
    return number


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


Inputs = Iterable[tuple[str, Path]]  # what it is, such as "the scene", and where


def require_ending(path: Path, what: str, *endings: str) -> None:
    """Refuse to write a file whose name ends otherwise; `what` it is, such as "--out"."""
    if path.suffix.lower() not in endings:
        raise ConfigError(
            f"{what} {path}", expected=f"a name that ends in {endings[0]}", got=path.name
        )


def refuse_foreign_file(
    path: Path, is_ours: Callable[[Path], bool], what: str, option: str
) -> None:
    """Refuse to replace a file that this package did not write.

    Parameters
    ----------
    path : Path
        Need not exist; an empty file is none.
    is_ours : callable
        Whether this package wrote it.
    what : str
        What the file is not, for the message, as in "PATH exists and WHAT".
    option : str
        That names it.

    Raises
    ------
    ConfigError
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ConfigError(f"{path} is a device or a pipe", hint=f"choose a file for {option}")
    if path.is_file() and path.stat().st_size and not is_ours(path):
        hint = f"choose another {option}, or remove the file"
        raise ConfigError(f"{path} exists and {what}", hint=hint)


def refuse_inputs(outputs: Iterable[Path], inputs: Inputs, option: str = "--out") -> None:
    """Refuse outputs that would replace or remove an input, under whatever name.

    Links are followed, symbolic and hard ones. An output that is a folder stands for all that
    lies in it, and so does an input.

    Parameters
    ----------
    outputs : iterable of Path
        Files and folders that will be written, or removed.
    inputs : iterable of (str, Path)
        Looked at only where an output exists already.
    option : str
        That names the outputs.

    Raises
    ------
    ConfigError
        An output is an input, holds one or lies in one, or its name is not UTF-8, which the
        libraries that write maps and weights need.
    """
    outputs = list(outputs)
    for output in outputs:
        if not _is_text(output):
            raise ConfigError(
                f"{option}: the name {printable(str(output))!r}", expected="a name in UTF-8"
            )
    existing = {key: output for output in outputs if (key := _identity(output)) is not None}
    if not existing:
        return
    for what, path in inputs:
        own = _identity(path)
        if own is None:
            continue
        for place in (path, *path.resolve().parents):
            key = _identity(place)
            if key in existing:
                raise _refusal(existing[key], what, path, option)
        if path.is_dir():
            for output in existing.values():
                if own in map(_identity, output.resolve().parents):
                    raise _refusal(output, f"a file of {what}", path, option)


def _refusal(output: Path, what: str, path: Path, option: str) -> ConfigError:
    return ConfigError(f"{output} would replace {what} {path}", hint=f"choose another {option}")


def _identity(path: Path) -> tuple[int, int] | None:
    """What `os.path.samefile` compares; None where there is nothing."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _is_text(path: Path) -> bool:
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


Check = Callable[[bool], None]
"""Refuses what a folder holds; told whether work was cut off in it."""


@contextmanager
def output_folder(
    folder: Path,
    what: str,
    *,
    outputs: Iterable[Path] = (),
    inputs: Inputs = (),
    check: Check | None = None,
    lock: str = LOCK,
    leftovers: Iterable[str] | None = None,
    first: bool = True,
) -> Iterator[None]:
    """Hold a folder for what this process writes into it.

    Nothing is written, and no folder made, before the outputs and the content of the folder have
    been checked; the content is checked again once the lock is held, because another process may
    have ended in between.

    Parameters
    ----------
    folder : Path
    what : str
        The output, for messages, such as "run folder runs/sa".
    outputs : iterable of Path
        Files and folders that will be written, or removed.
    inputs : iterable of (str, Path)
        What is read; an output that would replace one is refused.
    check : callable, optional
        Raises where the folder holds something else.
    lock : str
        Name of the lock file in the folder.
    leftovers : iterable of str, optional
        Folders in `folder` that are swept of what killed processes have left half-written, "."
        standing for the folder without those below it; all of it by default.
    first : bool
        Of processes that work on one output together, the first one holds it for all.

    Raises
    ------
    ConfigError
        An output would replace an input, the folder holds something else or cannot be written.
    InUse
        Another process is at work in it.
    """
    cut_off = (folder / lock).is_file()
    refuse_inputs(outputs, inputs)
    if check is not None:
        check(cut_off)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file", hint="choose a folder")
    if not first:
        yield
        return
    with locked(folder / lock, what):
        if check is not None:
            check(cut_off)
        if leftovers is None:
            sweep(folder)
        for name in leftovers or ():
            sweep(folder / name, below=name != ".")
        yield
