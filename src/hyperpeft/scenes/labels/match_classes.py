"""Class ids of one file of labels in terms of another's: classes are the same by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.records import UNLABELLED, Labels


def match_names(labels: Labels, classes: Mapping[int, str]) -> Labels:
    """The same labels, with the ids that the same names have in `classes`.

    Text classes are numbered within their own file, so the same class has another number in a
    file that lacks one. A name that `classes` does not have gets a number that it does not have
    either. Where one side has no names but "class 1" and the like, classes are the same by id.

    Raises
    ------
    LabelsError
        No name in common, or a name that stands for several classes.

    Examples
    --------
    >>> one = Labels(np.array([[1, 2]]), {1: "oak", 2: "yew"}, {})
    >>> match_names(one, {1: "ash", 2: "oak"}).ids
    array([[2, 3]])
    """
    known = {name: i for i, name in classes.items()}
    if not _named(labels.classes) or not _named(classes):
        return labels
    if not set(labels.classes.values()) & set(known):
        raise LabelsError(
            f"labels {labels.source} have no class in common",
            expected=f"some of {', '.join(known)}",
            got=", ".join(labels.classes.values()),
            hint="give labels with the same names, or without names, which are matched by number",
        )
    if len(known) < len(classes) or len(set(labels.classes.values())) < len(labels.classes):
        if all(classes.get(i, name) == name for i, name in labels.classes.items()):
            return labels
        names = [*classes.values()] if len(known) < len(classes) else [*labels.classes.values()]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise LabelsError(
            f"labels {labels.source} cannot be matched by name",
            got=f"{', '.join(repeated)} for several classes",
            hint="give every class a name of its own",
        )
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


def _named(classes: Mapping[int, str]) -> bool:
    """Whether a class has a name of its own, not one made of its number."""
    return any(name != f"class {i}" for i, name in classes.items())
