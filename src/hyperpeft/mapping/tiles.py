"""Tiles of a scene: planned, and read with the pixels around them.

A tile is read with a halo of half a window, and mirrored only at the scene's own border, so that
its pixels see what they would see in the whole scene. Its corners lie on a grid of cells that is
the scene's and not the tile's. The last bits of a batch's logits depend on the batch: the valid
pixels of one cell are one batch, and a pixel's result is the same in every tile, in the untiled
scene, after a restart and on another worker of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hyperpeft.errors import ConfigError
from hyperpeft.models.patch_geometry import mirrored
from hyperpeft.records import Scene
from hyperpeft.spectral import N_BANDS, Reducer

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
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= LARGEST:
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


Index = tuple[slice, slice]


@dataclass(frozen=True)
class SceneWindow:
    """Values of a region and of the halo around it.

    Attributes
    ----------
    values : ndarray, shape (B, h', w')
        As the scene stores them: the region and as much of its halo as lies in the scene.
    valid : ndarray of bool, shape (h', w')
    rows, columns : ndarray of int, shapes (h + 2 halo,), (w + 2 halo,)
        Where each row and column of region and halo is in `values`; mirrored at the scene's edge.
    halo : int
    tile : Tile
        The region in the scene.

    Notes
    -----
    What works on the whole window, such as filters, takes the part that lies in the scene
    (`clipped`); what cuts patches out of it takes the mirrored region and halo.
    """

    values: np.ndarray
    valid: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    halo: int
    tile: Tile
    _reduced: dict[int, tuple[Reducer, np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, scene: Scene, tile: Tile, halo: int, where: np.ndarray) -> SceneWindow:
        """Read a region from where the scene lies.

        Parameters
        ----------
        scene : Scene
        tile : Tile
            The region.
        halo : int
            Pixels around it.
        where : ndarray of bool, shape (H, W)
            Valid pixels of the scene.
        """
        height, width, _ = scene.shape
        rows = mirrored(tile.top - halo, tile.bottom + halo, height)
        columns = mirrored(tile.left - halo, tile.right + halo, width)
        inside = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        return cls(
            scene.window(*inside),
            where[inside],
            rows - inside[0].start,
            columns - inside[1].start,
            halo,
            tile,
        )

    def _cut(self, halo: int) -> tuple[np.ndarray, np.ndarray]:
        cut = self.halo - halo
        assert cut >= 0
        ends = (cut, -cut or None)
        return self.rows[slice(*ends)], self.columns[slice(*ends)]

    def clipped(self, halo: int) -> tuple[Index, Index]:
        """The region with a halo, as far as it lies in the scene.

        Parameters
        ----------
        halo : int
            At most the window's own.

        Returns
        -------
        outer, inner : tuple of two slices
            Where it lies in `values` and `valid`, and where the region lies in it.
        """
        assert halo <= self.halo
        outer, inner = [], []
        for axis, indices in enumerate((self.rows, self.columns)):
            first, size = int(indices[self.halo]), self.tile.shape[axis]
            start = max(0, first - halo)
            outer.append(slice(start, min(self.valid.shape[axis], first + size + halo)))
            inner.append(slice(first - start, first - start + size))
        return (outer[0], outer[1]), (inner[0], inner[1])

    def reduced_values(self, reducer: Reducer) -> np.ndarray:
        """All of `values`, reduced once for all that need it: float32 (12, h', w')."""
        kept = self._reduced.get(id(reducer))
        if kept is None:
            kept = self._reduced[id(reducer)] = (reducer, self._reduce(reducer))
        return kept[1]

    def _reduce(self, reducer: Reducer) -> np.ndarray:
        out = np.zeros((N_BANDS, *self.valid.shape), np.float32)
        step = max(1, STRIP // (len(self.values) * self.valid.shape[1]))
        for start in range(0, len(self.valid), step):
            strip = slice(start, start + step)
            where = self.valid[strip]
            chosen = self.values[:, strip][:, where].astype(np.float32, copy=False)
            out[:, strip][:, where] = reducer.transform(chosen)
        return out

    def reduced(self, reducer: Reducer, halo: int) -> np.ndarray:
        """Reduced region with a halo: float32 (12, h + 2 halo, w + 2 halo), 0 where not valid."""
        return self.mirrored(self.reduced_values(reducer), halo)

    def everything(self) -> SceneWindow:
        """All of `values` as one region without a halo."""
        height, width = self.valid.shape
        top, left = self.tile.top - self.rows[self.halo], self.tile.left - self.columns[self.halo]
        tile = Tile(int(top), int(left), int(top) + height, int(left) + width)
        return replace(self, rows=np.arange(height), columns=np.arange(width), halo=0, tile=tile)

    def mirrored(self, values: np.ndarray, halo: int) -> np.ndarray:
        """Of values (C, h', w') the region with a halo, mirrored at the scene's edge."""
        rows, columns = self._cut(halo)
        return values[:, rows][:, :, columns]

    def valid_with(self, halo: int) -> np.ndarray:
        """Valid pixels of the region with a halo: bool (h + 2 halo, w + 2 halo)."""
        rows, columns = self._cut(halo)
        return self.valid[rows][:, columns]

    def spectra(self, positions: np.ndarray) -> np.ndarray:
        """Spectra (n, B) float32 of pixels (n, 2), as row and column in the scene."""
        rows = self.rows[positions[:, 0] - self.tile.top + self.halo]
        columns = self.columns[positions[:, 1] - self.tile.left + self.halo]
        return self.values[:, rows, columns].T.astype(np.float32)
