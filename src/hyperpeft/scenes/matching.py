"""Class ids of one file of labels in terms of another's: classes are the same by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hyperpeft.records import UNLABELLED, Labels


def match_names(labels: Labels, classes: Mapping[int, str]) -> Labels:
    """The same labels, with the ids that the same names have in `classes`.

    Text classes are numbered within their own file, so the same class has another number in a
    file that lacks one. A name that `classes` does not have gets a number that it does not have
    either. Labels with no name in common keep their ids: those of rasters without names, say.

    Examples
    --------
    >>> one = Labels(np.array([[1, 2]]), {1: "oak", 2: "yew"}, {})
    >>> match_names(one, {1: "ash", 2: "oak"}).ids
    array([[2, 3]])
    """
    known = {name: i for i, name in classes.items()}
    if not set(labels.classes.values()) & set(known):
        return labels
    fresh = max([*classes, *labels.classes])
    table: dict[int, int] = {}
    for i, name in labels.classes.items():
        if name in known:
            table[i] = known[name]
        elif i not in classes:
            table[i] = i
        else:
            fresh += 1
            table[i] = fresh
    if all(i == new for i, new in table.items()):
        return labels
    old = np.array([UNLABELLED, *table])
    order = np.argsort(old)
    new = np.array([UNLABELLED, *table.values()], labels.ids.dtype)[order]
    pairs = sorted((new_id, i) for i, new_id in table.items())
    return replace(
        labels,
        ids=new[np.searchsorted(old[order], labels.ids)],
        classes={new_id: labels.classes[i] for new_id, i in pairs},
        colours={new_id: labels.colours[i] for new_id, i in pairs if i in labels.colours},
    )
