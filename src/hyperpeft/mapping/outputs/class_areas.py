"""How large each class of a map is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hyperpeft.records import UNLABELLED
from hyperpeft.scenes import HECTARE, pixel_areas


class ClassAreas:
    """Pixels and hectares of classes, counted from pieces of a map.

    Parameters
    ----------
    shape : (H, W)
    crs : str or None
    transform : tuple of 6 floats or None
    """

    def __init__(
        self, shape: tuple[int, ...], crs: str | None, transform: tuple[float, ...] | None
    ) -> None:
        areas, self.how = pixel_areas((shape[0], shape[1]), crs, transform)
        self._hectares = None if areas is None else areas / HECTARE  # (H,) of a pixel
        self._pixels: dict[int, int] = {}
        self._sums: dict[int, float] = {}

    def add(self, ids: np.ndarray, top: int = 0) -> None:
        """Count ids (h, w) whose first row is `top`."""
        found, place = np.unique(ids, return_inverse=True)
        rows = np.repeat(np.arange(len(ids)), ids.shape[1])
        counts = np.zeros((len(found), len(ids)), np.int64)
        np.add.at(counts, (place.ravel(), rows), 1)
        for i, in_rows in zip(found.tolist(), counts, strict=True):
            if i == UNLABELLED:
                continue
            self._pixels[i] = self._pixels.get(i, 0) + int(in_rows.sum())
            if self._hectares is not None:
                part = float(in_rows @ self._hectares[top : top + len(ids)])
                self._sums[i] = self._sums.get(i, 0.0) + part

    def present(self) -> list[int]:
        """Ids that occur."""
        return sorted(self._pixels)

    def section(self, classes: Mapping[int, str]) -> dict[str, Any]:
        """For a record: pixels and hectares (None where the CRS does not allow) by class id."""
        return {
            "areas_are": self.how,
            "classes": {
                str(i): {
                    "name": classes[i],
                    "pixels": self._pixels[i],
                    "hectares": round(self._sums[i], 4) if self._hectares is not None else None,
                }
                for i in self.present()
            },
        }
