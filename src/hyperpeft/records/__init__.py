"""Frozen records that the packages hand to each other (Scene, Labels, Split), and class colours.

The names are loaded on first use: colours need neither numpy nor xarray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.records.colours import Colour, default_rgb, palette
    from hyperpeft.records.labels import UNLABELLED, Labels
    from hyperpeft.records.scene import Scene
    from hyperpeft.records.split import Split
    from hyperpeft.records.windows import cover

_MODULES = {
    "Colour": "colours",
    "Labels": "labels",
    "Scene": "scene",
    "Split": "split",
    "UNLABELLED": "labels",
    "cover": "windows",
    "default_rgb": "colours",
    "palette": "colours",
}

__all__ = [
    "UNLABELLED",
    "Colour",
    "Labels",
    "Scene",
    "Split",
    "cover",
    "default_rgb",
    "palette",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
