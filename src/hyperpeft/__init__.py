"""Hyperspectral class maps from a few labelled pixels.

The public names are loaded on first use, so that `import hyperpeft` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperpeft.adapters import attach, merge
    from hyperpeft.bundle import load_run
    from hyperpeft.experiment import RunConfig, run
    from hyperpeft.scenes import open_scene
    from hyperpeft.weights import load_backbone

__version__ = "0.1.0"

_HOMES = {
    "open_scene": "hyperpeft.scenes",
    "load_backbone": "hyperpeft.weights",
    "attach": "hyperpeft.adapters",
    "merge": "hyperpeft.adapters",
    "run": "hyperpeft.experiment",
    "RunConfig": "hyperpeft.experiment",
    "load_run": "hyperpeft.bundle",
}

__all__ = [
    "RunConfig",
    "__version__",
    "attach",
    "load_backbone",
    "load_run",
    "merge",
    "open_scene",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hyperpeft' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
