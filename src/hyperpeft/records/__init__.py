"""Frozen records that the packages hand to each other (Scene, Labels, Split), and class colours.

The names are loaded on first use: colours need neither numpy nor xarray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.records.arrays import labels_of_array, on_grid, role_of, to_nm
    from hyperpeft.records.colours import Colour, default_rgb, from_hex, palette, to_hex
    from hyperpeft.records.describe import draw_classes
    from hyperpeft.records.labels import LARGEST_ID, UNLABELLED, Labels
    from hyperpeft.records.scene import Scene
    from hyperpeft.records.split import Split, mask_of, without_training
    from hyperpeft.records.windows import UNPLACED, Transform, cover, pixel_centres, thinned

_MODULES = {
    "Colour": "colours",
    "LARGEST_ID": "labels",
    "Labels": "labels",
    "Scene": "scene",
    "Split": "split",
    "Transform": "windows",
    "UNLABELLED": "labels",
    "UNPLACED": "windows",
    "cover": "windows",
    "default_rgb": "colours",
    "draw_classes": "describe",
    "from_hex": "colours",
    "labels_of_array": "arrays",
    "mask_of": "split",
    "on_grid": "arrays",
    "without_training": "split",
    "palette": "colours",
    "pixel_centres": "windows",
    "role_of": "arrays",
    "thinned": "windows",
    "to_hex": "colours",
    "to_nm": "arrays",
}

__all__ = [
    "LARGEST_ID",
    "UNLABELLED",
    "UNPLACED",
    "Colour",
    "Labels",
    "Scene",
    "Split",
    "Transform",
    "cover",
    "default_rgb",
    "draw_classes",
    "from_hex",
    "labels_of_array",
    "mask_of",
    "on_grid",
    "palette",
    "pixel_centres",
    "role_of",
    "thinned",
    "to_hex",
    "to_nm",
    "without_training",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
