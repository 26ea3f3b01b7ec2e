"""What libraries raise for a damaged file, as one clear error.

h5py, zarr, xarray and GDAL raise whatever their parsers stumble over, from KeyError to
UnicodeEncodeError: their errors have no common root. Around our own code this would hide its
defects, so it stands around the readers of such files alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperpeft.errors import HyperpeftError, SceneError

_LONGEST = 120


@contextmanager
def reading_errors(
    path: Path, kind: str = "a scene", error: type[HyperpeftError] = SceneError
) -> Iterator[None]:
    """Turn every exception but our own into "... cannot be read as `kind` (reason)"."""
    try:
        yield
    except HyperpeftError:
        raise
    except Exception as problem:
        raise unreadable(path, kind, problem, error) from problem


def unreadable(
    path: Path, kind: str, problem: Exception, error: type[HyperpeftError] = SceneError
) -> HyperpeftError:
    """The error for a file that a library cannot read."""
    reason = first_words(problem, _LONGEST)
    hint = "the file is damaged or cut short: get it again"
    if isinstance(problem, MemoryError):
        hint = "it needs more memory than there is: cut the scene into parts, or get the file again"
    return error(f"{path} cannot be read as {kind} ({reason})", hint=hint)


def first_words(problem: Exception, most: int) -> str:
    """The beginning of an exception's message in one line, or the name of its type."""
    return " ".join(str(problem).split())[:most] or type(problem).__name__
