"""Scenes: benchmark cards, verified downloads, and readers of every format into a `Scene`.

The names are loaded on first use: listing the cards needs neither xarray nor GDAL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperpeft.scenes.cache import find, list_scenes
    from hyperpeft.scenes.card import Card, File
    from hyperpeft.scenes.cards import CARDS, get_card
    from hyperpeft.scenes.colours import palette
    from hyperpeft.scenes.download import fetch
    from hyperpeft.scenes.labels import LABEL_OPTIONS, read_labels
    from hyperpeft.scenes.matching import match_names
    from hyperpeft.scenes.opening import is_card, open_scene
    from hyperpeft.scenes.random_scenes import random_scene
    from hyperpeft.scenes.readers import exists, read_cube
    from hyperpeft.scenes.synthetic import demo_scene, planted_scene

_HOMES = {
    "CARDS": "cards",
    "Card": "card",
    "File": "card",
    "LABEL_OPTIONS": "labels",
    "demo_scene": "synthetic",
    "exists": "readers",
    "fetch": "download",
    "find": "cache",
    "get_card": "cards",
    "is_card": "opening",
    "list_scenes": "cache",
    "match_names": "matching",
    "open_scene": "opening",
    "palette": "colours",
    "planted_scene": "synthetic",
    "random_scene": "random_scenes",
    "read_cube": "readers",
    "read_labels": "labels",
}

__all__ = [
    "CARDS",
    "LABEL_OPTIONS",
    "Card",
    "File",
    "demo_scene",
    "exists",
    "fetch",
    "find",
    "get_card",
    "is_card",
    "list_scenes",
    "match_names",
    "open_scene",
    "palette",
    "planted_scene",
    "random_scene",
    "read_cube",
    "read_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hyperpeft.scenes' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hyperpeft.scenes.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
