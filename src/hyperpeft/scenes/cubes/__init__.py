"""A cube as a reader gives it: axes, scale, valid pixels, windows read from disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.scenes.cubes.cube import Cube, from_array
    from hyperpeft.scenes.cubes.layouts import Layout
    from hyperpeft.scenes.cubes.lazy import StoredCube

_MODULES = {
    "Cube": "cube",
    "Layout": "layouts",
    "StoredCube": "lazy",
    "from_array": "cube",
}

__all__ = [
    "Cube",
    "Layout",
    "StoredCube",
    "from_array",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
