"""A trained model, its reducer and a scene: the class of every valid pixel."""

from hyperpeft.mapping.mapper import Layers, Mapper, TileMap
from hyperpeft.mapping.pixels import ClassMap, cell_of, classify
from hyperpeft.mapping.streaming import Mapped, Outputs, map_to_files, tiles_here
from hyperpeft.mapping.tiles import SIZE, plan

__all__ = [
    "SIZE",
    "ClassMap",
    "Layers",
    "Mapped",
    "Mapper",
    "Outputs",
    "TileMap",
    "cell_of",
    "classify",
    "map_to_files",
    "plan",
    "tiles_here",
]
