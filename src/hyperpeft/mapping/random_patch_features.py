"""Maps of a random patches network beside the components, cell by cell of the scene's grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.pixel_features import PixelFeatures, Tensors, require_shapes, subset
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.spatial import RandomPatches, random_patches
from hyperpeft.spectral import HasBands, Reducer

CELL = 128  # pixels; Fourier transforms of one shape, whatever the tile
_NETWORK = ("kernels", "centre", "axes", "mean", "spread")


@dataclass(frozen=True, eq=False)
class RandomPatchFeatures(PixelFeatures):
    """Components of the reduced scene, and the maps of a random patches network on them.

    The last bits of a Fourier transform depend on its shape. The maps are therefore computed for
    each cell of the scene's grid, whose surroundings have the same shape in every tile.

    Attributes
    ----------
    reducer : Reducer
        To components of variance 1.
    network : RandomPatches
    """

    kind: ClassVar[str] = "random patches"
    reducer: Reducer
    network: RandomPatches

    @property
    def count(self) -> int:
        return len(self.reducer.scale) + self.network.count

    @property
    def reach(self) -> int:
        return self.network.reach

    @property
    def cell(self) -> int:
        return CELL

    def prepare(self, window: SceneWindow) -> np.ndarray:
        outer, inner = window.clipped(self.reach)
        cube = window.reduced_values(self.reducer)[:, *outer]
        valid = window.valid[outer]
        out = np.empty((self.count, *window.tile.shape), np.float32)
        components = len(self.reducer.scale)
        out[:components] = cube[:, *inner]
        corner = (window.tile.top, window.tile.left)
        grids = [
            list(_cells(start, place, size, self.reach))
            for start, place, size in zip(corner, inner, valid.shape, strict=True)
        ]
        for rows, above, from_row, row_edges in grids[0]:
            for columns, left, from_column, column_edges in grids[1]:
                part = (rows, columns)
                maps = self.network.maps(cube[:, *part], valid[part], (row_edges, column_edges))
                height, width = above.stop - above.start, left.stop - left.start
                out[components:, above, left] = maps[
                    :, from_row : from_row + height, from_column : from_column + width
                ]
        return out

    @property
    def bands(self) -> HasBands:
        return self.reducer

    def fingerprint(self, into: Fingerprint) -> None:
        into.words(CELL)
        super().fingerprint(into)

    def to_tensors(self) -> Tensors:
        arrays, texts = self.reducer.to_tensors()
        arrays = {f"reducer.{name}": array for name, array in arrays.items()}
        arrays |= {name: getattr(self.network, name) for name in _NETWORK}
        return arrays, {"reducer": texts}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        own, inner = subset(arrays, "reducer.")
        reducer = Reducer.from_tensors(inner, values["reducer"], path)
        layers, patches, _, size, _ = own["kernels"].shape
        shapes = {
            "kernels": (layers, patches, random_patches.COMPONENTS, size, size),
            "centre": (layers - 1, patches),
            "axes": (layers - 1, random_patches.COMPONENTS, patches),
            "mean": (layers * patches,),
            "spread": (layers * patches,),
        }
        require_shapes(own, shapes)
        if not layers or size % 2 == 0 or layers * size > 1024 or not (own["spread"] > 0).all():
            raise ValueError("a network that cannot be applied")
        return cls(reducer, RandomPatches(**{name: own[name] for name in _NETWORK}))


def _cells(
    start: int, place: slice, available: int, reach: int
) -> Iterator[tuple[slice, slice, int, tuple[bool, bool]]]:
    """The cells of one axis of a region that begins at pixel `start` of the scene.

    `place` is where the region lies in what there is of the scene, `available` pixels. Yields what
    a cell needs of that, where its pixels go in the region, where they begin in its result, and
    whether the scene ends at either side.
    """
    length, origin = place.stop - place.start, start - place.start
    first = start - start % CELL
    for corner in range(first, start + length, CELL):
        low, high = max(corner, start), min(corner + CELL, start + length)
        above, below = low - reach < 0, high + reach > origin + available
        begin = max(0, low - reach)
        end = origin + available if below else high + reach
        yield (
            slice(begin - origin, end - origin),
            slice(low - start, high - start),
            low if above else 0,
            (above, below),
        )
