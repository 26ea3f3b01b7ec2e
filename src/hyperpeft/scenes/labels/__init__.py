"""Class labels of every kind, on the grid of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.scenes.labels.class_values import match_names
    from hyperpeft.scenes.labels.features import Features
    from hyperpeft.scenes.labels.read import read_labels

_MODULES = {
    "Features": "features",
    "match_names": "class_values",
    "read_labels": "read",
}

__all__ = [
    "Features",
    "match_names",
    "read_labels",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
