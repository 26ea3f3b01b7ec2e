"""A trained model, its reducer and a scene: the class of every valid pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.mapping.batches import ClassMap, cell_of
    from hyperpeft.mapping.classification import classify
    from hyperpeft.mapping.mapper import Layers, Mapper, TileMap
    from hyperpeft.mapping.predictor import EncoderPredictor, Predictor
    from hyperpeft.mapping.tiled import Mapped, Outputs, map_to_files, tiles_here
    from hyperpeft.mapping.tiles import SIZE, plan

_MODULES = {
    "ClassMap": "batches",
    "EncoderPredictor": "predictor",
    "Layers": "mapper",
    "Mapped": "tiled",
    "Mapper": "mapper",
    "Outputs": "tiled",
    "Predictor": "predictor",
    "SIZE": "tiles",
    "TileMap": "mapper",
    "cell_of": "batches",
    "classify": "classification",
    "map_to_files": "tiled",
    "plan": "tiles",
    "tiles_here": "tiled",
}

__all__ = [
    "SIZE",
    "ClassMap",
    "EncoderPredictor",
    "Layers",
    "Mapped",
    "Mapper",
    "Outputs",
    "Predictor",
    "TileMap",
    "cell_of",
    "classify",
    "map_to_files",
    "plan",
    "tiles_here",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
