"""Tiles: pieces of a scene that are read, reduced and classified one after the other.

A tile is read with a halo of half a window, and mirrored only at the scene's own border, so that
its pixels see what they would see in the whole scene. Its corners lie on a grid of cells that is
the scene's and not the tile's. The last bits of a batch's logits depend on the batch: the valid
pixels of one cell are one batch, and a pixel's result is the same in every tile, in the untiled
scene, after a restart and on another worker of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperpeft.errors import ConfigError

SIZE = 512  # pixels
LARGEST = 16384
# Pixels per side. On a processor more windows than its cache holds are slower, and fewer than 200
# leave much of its matrix units idle.
CELL = {"cpu": 16, "cuda": 32}
STRIP = 2**22  # values converted to float at a time


@dataclass(frozen=True)
class Tile:
    """Rows top..bottom and columns left..right of a scene."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns in the scene."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def expanded(self, reach: int, cell: int, shape: tuple[int, int]) -> Tile:
        """The tile with at least `reach` pixels around it, in whole cells, inside the scene.

        Examples
        --------
        >>> Tile(8, 8, 16, 16).expanded(3, 8, (100, 20))
        Tile(top=0, left=0, bottom=24, right=20)
        """
        if not reach:
            return self
        height, width = shape
        return Tile(
            max(0, (self.top - reach) // cell * cell),
            max(0, (self.left - reach) // cell * cell),
            min(height, -(-(self.bottom + reach) // cell) * cell),
            min(width, -(-(self.right + reach) // cell) * cell),
        )

    def within(self, outer: Tile) -> tuple[slice, slice]:
        """Rows and columns of this tile in an array of a larger one."""
        rows = slice(self.top - outer.top, self.bottom - outer.top)
        return rows, slice(self.left - outer.left, self.right - outer.left)


def plan(shape: tuple[int, int], size: int, cell: int) -> list[Tile]:
    """The tiles of a scene (H, W), row after row.

    Parameters
    ----------
    size : int
        Side in pixels, rounded up to whole cells.
    cell : int

    Examples
    --------
    >>> [tile.shape for tile in plan((100, 70), 60, 8)]
    [(64, 64), (64, 6), (36, 64), (36, 6)]
    """
    if not 1 <= size <= LARGEST:
        raise ConfigError("tile", expected=f"1 to {LARGEST} pixels", got=size)
    height, width = shape
    step = -(-size // cell) * cell
    return [
        Tile(top, left, min(top + step, height), min(left + step, width))
        for top in range(0, height, step)
        for left in range(0, width, step)
    ]


def by_cell(positions: np.ndarray, cell: int) -> list[np.ndarray]:
    """Positions (n, 2) in the scene, in the order of `argwhere`, as one array per cell."""
    if len(positions) == 0:
        return []
    rows, columns = (positions // cell).T
    keys = rows * (columns.max() + 1) + columns
    order = np.argsort(keys, kind="stable")
    borders = np.flatnonzero(np.diff(keys[order])) + 1
    return np.split(positions[order], borders)


def cell_of(device: str) -> int:
    """Side of a cell on that kind of device, such as "cpu"."""
    return CELL.get(device, 16)
