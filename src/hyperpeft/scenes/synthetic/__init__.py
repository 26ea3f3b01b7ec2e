"""Generated scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.scenes.synthetic.demo import demo_scene, planted_scene
    from hyperpeft.scenes.synthetic.random import random_scene

_MODULES = {
    "demo_scene": "demo",
    "planted_scene": "demo",
    "random_scene": "random",
}

__all__ = [
    "demo_scene",
    "planted_scene",
    "random_scene",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
