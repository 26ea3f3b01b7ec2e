"""The guard of every output: refuse, lock, check, sweep; nothing is written over what is read.

A lock that its process has left behind marks a folder as one of hyperpeft's in which work was cut
off; the same command resumes there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperpeft.errors import ConfigError
from hyperpeft.system.files import printable, sweep
from hyperpeft.system.locks import LOCK, locked

Inputs = Iterable[tuple[str, Path]]  # what it is, such as "the scene", and where


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
