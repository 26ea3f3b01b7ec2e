"""What is written must not replace what is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hyperpeft.errors import ConfigError
from hyperpeft.system.files import printable

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
