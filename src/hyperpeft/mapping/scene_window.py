"""A part of a scene with the pixels around it, read once for all that predicts from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hyperpeft.mapping.tiles import Tile
from hyperpeft.patches import mirrored
from hyperpeft.records import Scene
from hyperpeft.spectral import N_BANDS, Reducer

STRIP = 2**22  # values converted to float at a time

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
