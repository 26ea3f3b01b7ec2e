"""The guard of every folder that is written to: refuse, lock, check, sweep.

A lock that its process has left behind marks a folder as one of hyperpeft's in which work was cut
off; the same command resumes there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperpeft.errors import ConfigError
from hyperpeft.system.files import sweep
from hyperpeft.system.locks import LOCK, locked
from hyperpeft.system.overwrite import Inputs, refuse_inputs

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
