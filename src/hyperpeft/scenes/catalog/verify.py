"""Is what lies in the file the scene that its card describes?"""

from __future__ import annotations

from collections.abc import Mapping

from hyperpeft.errors import LabelsError, SceneError
from hyperpeft.scenes.catalog.card import Card

_HINT = (
    "get the published file (`hyperpeft scenes fetch {name}`), or open another version by its path"
)


def verify_shape(card: Card, shape: tuple[int, int, int]) -> None:
    """Compare a cube's rows, columns and bands with the card.

    Raises
    ------
    SceneError
    """
    if shape != card.shape:
        raise SceneError(
            f"the cube found for {card.name} is another one",
            expected=f"{card.shape} (rows, columns, bands)",
            got=shape,
            hint=_HINT.format(name=card.name),
        )


def verify_counts(
    card: Card, counts: Mapping[int, int], expected: Mapping[int, int], what: str
) -> None:
    """Compare the pixels per class id with the card; only the ids that differ are reported.

    Raises
    ------
    LabelsError
    """
    ids = sorted({*counts, *expected})
    wrong = [i for i in ids if counts.get(i, 0) != expected.get(i, 0)]
    if wrong:
        raise LabelsError(
            f"the {what} found for {card.name} have other pixel counts",
            expected=", ".join(f"class {i}: {expected.get(i, 0)}" for i in wrong),
            got=", ".join(f"class {i}: {counts.get(i, 0)}" for i in wrong),
            hint=_HINT.format(name=card.name),
        )
