"""The table of split kinds: one row a kind, read by configuration, benchmark and report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hyperpeft
from hyperpeft.errors import SplitError
from hyperpeft.records import Labels
from hyperpeft.splits import SPLIT_KINDS, SplitRequest, budget_label, per_class, select, split_kind


def labels() -> Labels:
    ids = np.repeat(np.array([1, 2], np.int32), 300).reshape(20, 30)
    return Labels(ids, {1: "water", 2: "tree"}, {1: (0, 0, 255), 2: (0, 128, 0)})


@pytest.mark.parametrize(
    ("split", "fraction", "kind", "budget"),
    [
        (None, None, "random", "20-per-class"),
        ("disjoint", None, "disjoint", "20-per-class"),
        ("polygons", 0.05, "polygons", "5-percent"),
        ("official", None, "official", "as-given"),
        ("a.tif,b.tif", None, "rasters", "as-given"),
        ("split.npz", None, "file", "as-given"),
    ],
)
def test_kind_and_budget_of_an_option(split, fraction, kind, budget):
    assert split_kind(split).name == kind
    assert budget_label(split, 20, fraction) == budget


def test_random_is_the_draw_it_names():
    request = SplitRequest(labels(), np.ones((20, 30), bool), per_class=7, seed=3)
    np.testing.assert_array_equal(select(request).train, per_class(labels(), 7, seed=3).train)


def test_a_spatial_split_keeps_the_reach_clear():
    request = SplitRequest(
        labels(), np.ones((20, 30), bool), "disjoint", per_class=4, reach=5, window=3, seed=0
    )
    with pytest.raises(SplitError, match="a window of 5 reaches training pixels"):
        select(request)


def test_one_table_of_kinds():
    """No other module spells a kind's name to decide what it is."""
    source = Path(hyperpeft.__file__).parent
    for path in source.rglob("*.py"):
        if path.parent.name != "splits":
            text = path.read_text(encoding="utf-8")
            assert '"disjoint", "polygons"' not in text, path
            assert 'split == "' not in text.replace("kind.split", ""), path
    assert [kind for kind, row in SPLIT_KINDS.items() if row.spatial] == ["disjoint", "polygons"]
