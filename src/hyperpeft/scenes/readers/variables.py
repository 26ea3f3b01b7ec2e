"""Which variable of a file with several is the cube, or the label map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperpeft.errors import ConfigError, HyperpeftError, LabelsError, SceneError
from hyperpeft.scenes.cubes.layouts import Layout

_IMAGE_BANDS = 4  # an array of so few bands beside a cube is a picture, not a second cube
SIZE_NAMES = (("lines", "cols"), ("nRow", "nCol"), ("nrow", "ncol"), ("rows", "cols"))
WAVELENGTH_NAMES = ("wavelength", "wavelengths", "wl", "wave", "lambda", "lambdas")


@dataclass(frozen=True)
class Variable:
    """One array of a file: its name, its shape, and whether it holds real numbers."""

    name: str
    shape: tuple[int, ...]
    numeric: bool


def split_spec(spec: str | Path) -> tuple[Path, str | None]:
    """Split FILE[:KEY]; a path that exists as it stands is never split, an empty one is refused.

    Examples
    --------
    >>> split_spec("no-such-scene.mat:data")[1]
    'data'
    >>> split_spec("C:/no-such-scene.mat")[1] is None
    True
    """
    text = str(spec)
    if not text:
        raise ConfigError("a path is empty", hint="give a file, or . for the current folder")
    if Path(text).exists():
        return Path(text), None
    head, colon, key = text.rpartition(":")
    drive = len(head) == 1 and head.isalpha() and key[:1] in ("/", "\\")
    if not colon or not head or not key or drive:
        return Path(text), None
    return Path(head), key


def choose_cube(
    path: Path,
    variables: Sequence[Variable],
    layout: Layout,
    key: str | Sequence[str] | None,
    scalars: tuple[int, int] | None,
) -> str:
    """The name of the cube's variable.

    Parameters
    ----------
    key : str, sequence of str or None
        A name is binding; several are accepted names of which the first that exists is taken;
        otherwise the variable is found by its dimensions and type.
    scalars : (int, int) or None
        Rows and columns that the file states beside a matrix of pixels.

    Raises
    ------
    SceneError
        No candidate, or several: all are listed as FILE:KEY with their shapes.
    """
    named = _by_key(path, variables, key, SceneError)
    if named is not None:
        return named
    found = [v for v in variables if v.numeric and len(v.shape) == layout.ndim and 0 not in v.shape]
    if layout.ndim == 2:
        size = layout.size or scalars
        pixels = 1 - layout.band_axis
        if size is not None:
            found = [v for v in found if v.shape[pixels] == size[0] * size[1]]
    big = [v for v in found if v.shape[layout.band_axis] > _IMAGE_BANDS]
    found = big or found
    if layout.ndim == 3 and not big and scalars is not None:
        _refuse_abundances(path, variables, scalars)
    if len(found) != 1:
        raise _not_one(path, variables, found, f"one {layout.ndim}-D numeric variable", SceneError)
    return found[0].name


def choose_map(path: Path, variables: Sequence[Variable], key: str | Sequence[str] | None) -> str:
    """The name of the label map's variable: the only 2-D numeric one that is not a vector.

    Raises
    ------
    LabelsError
        No candidate, or several: all are listed as FILE:KEY with their shapes.
    """
    named = _by_key(path, variables, key, LabelsError)
    if named is not None:
        return named
    found = [v for v in variables if v.numeric and len(v.shape) == 2 and min(v.shape) > 1]
    if len(found) != 1:
        raise _not_one(path, variables, found, "one 2-D numeric variable", LabelsError)
    return found[0].name


def spectral_vectors(values: Mapping[str, np.ndarray], bands: int) -> tuple[str | None, str | None]:
    """Names of the wavelength vector and of the bad-band list among small variables, or None."""
    lower = {name.lower(): name for name, v in values.items() if v.size == bands}
    waves = next((lower[name] for name in WAVELENGTH_NAMES if name in lower), None)
    return waves, lower.get("bbl")


def _by_key(
    path: Path,
    variables: Sequence[Variable],
    key: str | Sequence[str] | None,
    error: type[HyperpeftError],
) -> str | None:
    if key is None:
        return None
    names = [v.name for v in variables]
    if not isinstance(key, str):
        lower = {name.lower(): name for name in names}
        return next((lower[k.lower()] for k in key if k.lower() in lower), None)
    if key not in names:
        raise error(
            f"{path} has no variable {key!r}", expected=f"one of {_listing(path, variables)}"
        )
    return key


def _refuse_abundances(path: Path, variables: Iterable[Variable], size: tuple[int, int]) -> None:
    """A file of bands x pixels also holds a small (H, W, C) array of abundances: not the cube."""
    pixels = size[0] * size[1]
    matrices = [v for v in variables if v.numeric and len(v.shape) == 2 and pixels in v.shape]
    if not matrices:
        return
    v = max(matrices, key=lambda matrix: min(matrix.shape))
    raise SceneError(
        f"{path} holds its cube as a matrix of bands and pixels ({v.name}, {v.shape[0]} x "
        f"{v.shape[1]}, of an image of {size[0]} x {size[1]} pixels)",
        hint="give its layout: 'b (w h)' if pixels go down the columns (MATLAB), "
        "'b (h w)' if along the rows",
    )


def _listing(path: Path, variables: Iterable[Variable]) -> str:
    return ", ".join(f"{path}:{v.name} {v.shape}" for v in variables) or "nothing"


def _not_one(
    path: Path,
    variables: Sequence[Variable],
    found: Sequence[Variable],
    expected: str,
    error: type[HyperpeftError],
) -> HyperpeftError:
    if found:
        return error(
            f"{path} is ambiguous",
            expected=expected,
            got=_listing(path, found),
            hint="type the one you mean as FILE:KEY",
        )
    return error(
        f"{path} holds no such array",
        expected=expected,
        got=_listing(path, variables),
        hint="choose another file, or give the layout of a matrix of pixels, such as 'b (w h)'"
        if error is SceneError
        else "choose another file",
    )
