"""Which pixels train, validate and test: drawn, official or spatially disjoint."""

from hyperpeft.splits.disjoint import disjoint
from hyperpeft.splits.leakage import leakage
from hyperpeft.splits.polygons import connected, polygons
from hyperpeft.splits.random import fraction, from_masks, per_class
from hyperpeft.splits.save_load import digest, load, save

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
