"""Context of the reduced scene as features of a pixel: edge-respecting means, random patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.pixel_features import PixelFeatures, Tensors, require_shapes, whole
from hyperpeft.mapping.tiles import SceneWindow
from hyperpeft.records import Scene
from hyperpeft.spatial import (
    ContextOptions,
    RandomPatches,
    Standardiser,
    context_features,
    random_patches,
)
from hyperpeft.spectral import N_BANDS, HasBands, Reducer


@dataclass(frozen=True, eq=False)
class ContextFeatures(PixelFeatures):
    """Context of the reduced cube that respects edges; see `spatial.context_features`.

    Attributes
    ----------
    reducer : Reducer
    standardiser : Standardiser
        Of the reduced training scene.
    options : ContextOptions
    components : int or None
        So many leading components only.
    """

    kind: ClassVar[str] = "context"
    reducer: Reducer
    standardiser: Standardiser
    options: ContextOptions
    components: int | None = None

    @classmethod
    def fit(
        cls,
        scene: Scene,
        reducer: Reducer,
        options: ContextOptions,
        components: int | None = None,
        where: np.ndarray | None = None,
    ) -> ContextFeatures:
        """Standardised over the valid pixels of a scene, or those of a mask (H, W)."""
        standardiser = fit_standardiser(scene, reducer, where)
        return cls(reducer, standardiser, options, components)

    @property
    def count(self) -> int:
        kept, options = self.components or len(self.standardiser.mean), self.options
        copies = 1 + len(options.means) + bool(options.guided_radius)
        leading = min(options.profile_components, kept)
        return kept * copies + 2 * leading * len(options.profile_radii)

    @property
    def reach(self) -> int:
        return self.options.reach

    def prepare(self, window: SceneWindow) -> np.ndarray:
        outer, inner = window.clipped(self.reach)
        valid = window.valid[outer]
        reduced = window.reduced_values(self.reducer)[:, *outer]
        cube = self.standardiser.apply(reduced, valid)
        guide = self.standardiser.guide(cube)
        features = context_features(cube[: self.components], guide, valid, self.options)
        return features[:, *inner]

    @property
    def bands(self) -> HasBands:
        return self.reducer

    def to_tensors(self) -> Tensors:
        arrays, texts = _reducer_tensors(self.reducer)
        arrays |= {"mean": self.standardiser.mean, "spread": self.standardiser.spread}
        options = {"options": asdict(self.options), "components": self.components}
        return arrays, {"reducer": texts, **options}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        own, reducer = _without_reducer(arrays, values["reducer"], path)
        width = len(reducer.scale)
        require_shapes(own, {"mean": (width,), "spread": (width,)})
        if not (own["spread"] > 0).all():
            raise ValueError("a spread that is not above 0")
        components = values["components"]
        return cls(
            reducer,
            Standardiser(own["mean"], own["spread"]),
            _context_options(values["options"]),
            None if components is None else whole(components, 1, width),
        )


_REDUCER = "reducer."  # before the names of its arrays in files of features


def _reducer_tensors(reducer: Reducer) -> Tensors:
    """What `Reducer.to_tensors` gives, to stand beside other arrays."""
    arrays, texts = reducer.to_tensors()
    return {f"{_REDUCER}{name}": array for name, array in arrays.items()}, texts


def _without_reducer(
    arrays: Mapping[str, np.ndarray], texts: Mapping[str, Any], path: Path
) -> tuple[dict[str, np.ndarray], Reducer]:
    """The other arrays of a file, and the reducer from its own."""
    inner = {k.removeprefix(_REDUCER): v for k, v in arrays.items() if k.startswith(_REDUCER)}
    own = {k: v for k, v in arrays.items() if not k.startswith(_REDUCER)}
    return own, Reducer.from_tensors(inner, texts, path)


def fit_standardiser(
    scene: Scene, reducer: Reducer, where: np.ndarray | None = None
) -> Standardiser:
    """Mean and spread of each component over valid pixels, or a mask (H, W), block by block."""
    where = scene.valid if where is None else where
    count, total, squares = 0, np.zeros(N_BANDS), np.zeros(N_BANDS)
    for place, values in scene.pieces(where=where):
        reduced = reducer.transform(values[:, where[place]]).astype(np.float64)  # (12, n)
        count += reduced.shape[1]
        total += reduced.sum(axis=1)
        squares += np.square(reduced).sum(axis=1)
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
    spread = np.where(spread > 0, spread, 1.0)
    return Standardiser(mean.astype(np.float32), spread.astype(np.float32))


def _context_options(values: Mapping[str, Any]) -> ContextOptions:
    """Options from a file, each within what memory and time allow."""
    eps = values["guided_eps"]
    if not isinstance(eps, float) or not 0 < eps < 1e6:
        raise ValueError(f"expected a number above 0, got {eps!r}")
    if max(len(values["means"]), len(values["profile_radii"])) > 64:
        raise ValueError("more than 64 radii")
    return ContextOptions(
        means=tuple(whole(radius, 1, 256) for radius in values["means"]),
        guided_radius=whole(values["guided_radius"], 0, 256),
        guided_eps=eps,
        profile_radii=tuple(whole(radius, 1, 64) for radius in values["profile_radii"]),
        profile_steps=whole(values["profile_steps"], 0, 256),
        profile_components=whole(values["profile_components"], 1, 64),
    )


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
        arrays, texts = _reducer_tensors(self.reducer)
        arrays |= {name: getattr(self.network, name) for name in _NETWORK}
        return arrays, {"reducer": texts}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        own, reducer = _without_reducer(arrays, values["reducer"], path)
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
