"""Which pixels train, validate and test: drawn, official or spatially disjoint."""

from hyperpeft.splits.disjoint import disjoint, leakage
from hyperpeft.splits.polygons import connected, polygons
from hyperpeft.splits.random import ALL_LABELLED, all_labelled, fraction, from_masks, per_class
from hyperpeft.splits.save_load import digest, load, save
from hyperpeft.splits.select import (
    DEFAULT_PER_CLASS,
    SPLIT_KINDS,
    SplitKind,
    SplitRequest,
    budget_label,
    register_split,
    select,
    split_kind,
)

__all__ = [
    "ALL_LABELLED",
    "DEFAULT_PER_CLASS",
    "SPLIT_KINDS",
    "SplitKind",
    "SplitRequest",
    "all_labelled",
    "budget_label",
    "connected",
    "digest",
    "disjoint",
    "fraction",
    "from_masks",
    "leakage",
    "load",
    "per_class",
    "polygons",
    "register_split",
    "save",
    "select",
    "split_kind",
]
