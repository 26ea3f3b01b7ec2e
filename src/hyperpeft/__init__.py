"""Hyperspectral class maps from a few labelled pixels.

The public names are loaded on first use, so that `import hyperpeft` costs next to nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hyperpeft._version import __version__

if TYPE_CHECKING:
    from hyperpeft.adapters import attach, merge
    from hyperpeft.assessment import suggest
    from hyperpeft.estimator import SceneClassifier
    from hyperpeft.explorer import explore
    from hyperpeft.models import load_backbone
    from hyperpeft.records import Scene
    from hyperpeft.runs.bank import AdapterBank
    from hyperpeft.runs.experiment import RunConfig, run
    from hyperpeft.runs.load import load_run
    from hyperpeft.scenes import open_scene

# OpenMP reads this when torch is loaded, so it is set here and counts for scripts as well.
# A step of a small model is thousands of short parallel loops. By default GNU OpenMP's threads
# spin long at the end of each: with a second process on two cores a step of `tiny` took
# 2,400 ms instead of 85. This count gives 200 ms there and 87 alone; sleeping at once
# (OMP_WAIT_POLICY=PASSIVE) would give 150 and 129.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

_MODULES = {
    "AdapterBank": "runs.bank",
    "Scene": "records",
    "SceneClassifier": "estimator",
    "open_scene": "scenes",
    "load_backbone": "models",
    "attach": "adapters",
    "explore": "explorer",
    "merge": "adapters",
    "run": "runs.experiment",
    "suggest": "assessment",
    "RunConfig": "runs.experiment",
    "load_run": "runs.load",
}

__all__ = [
    "AdapterBank",
    "RunConfig",
    "Scene",
    "SceneClassifier",
    "__version__",
    "attach",
    "explore",
    "load_backbone",
    "load_run",
    "merge",
    "open_scene",
    "run",
    "suggest",
]


def __getattr__(name: str) -> Any:
    from hyperpeft.system.lazy_names import lazy_names

    return lazy_names(__name__, _MODULES)[0](name)


def __dir__() -> list[str]:
    return sorted(__all__)
