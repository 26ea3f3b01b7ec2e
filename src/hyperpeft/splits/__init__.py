"""Which pixels train, validate and test: drawn, official or spatially disjoint."""

from hyperpeft.splits.drawing import fraction, from_masks, per_class
from hyperpeft.splits.leaking import leakage
from hyperpeft.splits.parcelling import connected, polygons
from hyperpeft.splits.separating import disjoint
from hyperpeft.splits.storing import digest, load, save

__all__ = [
    "connected",
    "digest",
    "disjoint",
    "fraction",
    "from_masks",
    "leakage",
    "load",
    "per_class",
    "polygons",
    "save",
]
