"""Class ids on the grid of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.system.text import html_table, swatch

UNLABELLED = 0  # the id of pixels without a label, and of nodata in a class map
LARGEST_ID = 65535  # class maps are written with 16 bits at most


@dataclass(frozen=True)
class Labels:
    """Class ids on the scene's grid.

    Attributes
    ----------
    ids : ndarray of int32, shape (H, W)
        0 is unlabelled; any other ids, not necessarily contiguous, are classes.
    classes : dict of int to str
        Names of the ids that occur (and of known ids that do not), in ascending order of id.
    colours : dict of int to (int, int, int)
        RGB of each class, 0 to 255.
    source : str
        Where the labels came from, for the record.
    regions : ndarray of int32, shape (H, W), or None
        Which polygon or point each labelled pixel came from, counted from 1; 0 where unlabelled.
        None for labels that were given as a raster.
    notes : tuple of str
        What was guessed, reprojected or left out on the way; `Scene.with_labels` passes it on.
    """

    ids: np.ndarray
    classes: Mapping[int, str]
    colours: Mapping[int, tuple[int, int, int]]
    source: str = ""
    regions: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ids.ndim != 2:
            raise LabelsError(f"labels {self.source}", expected="2 dimensions", got=self.ids.shape)
        unnamed = sorted(set(np.unique(self.ids).tolist()) - set(self.classes) - {UNLABELLED})
        if unnamed:
            raise LabelsError(f"labels {self.source}", expected="a name per id", got=unnamed)
        if self.regions is not None and not np.array_equal(
            self.regions > 0, self.ids != UNLABELLED
        ):
            raise LabelsError(
                f"labels {self.source}", expected="a region for every labelled pixel, 0 elsewhere"
            )

    def counts(self, where: np.ndarray | None = None) -> dict[int, int]:
        """Pixels per class id, in ascending order; `where` (H, W) bool restricts the count."""
        ids = self.ids if where is None else self.ids[where]
        found, counts = np.unique(ids[ids != UNLABELLED], return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))

    def __repr__(self) -> str:
        counts = self.counts()
        return (
            f"<Labels {self.source or 'of an array'}: {sum(counts.values()):,} pixels in "
            f"{len(counts)} classes, {self.ids.shape[0]} x {self.ids.shape[1]}>"
        )

    def _repr_html_(self) -> str:
        counts = self.counts()
        rows = [
            [swatch(self.colours[i]), i, name, f"{counts.get(i, 0):,}"]
            for i, name in self.classes.items()
        ]
        return html_table(repr(self)[1:-1], ["", "id", "class", "pixels"], rows)
