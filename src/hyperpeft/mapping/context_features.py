"""Context of the reduced scene that respects edges, as features of a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hyperpeft.mapping.pixel_features import PixelFeatures, Tensors, require_shapes, subset, whole
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.records import Scene
from hyperpeft.spatial import ContextOptions, Standardiser, context_features
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
        arrays, texts = self.reducer.to_tensors()
        arrays = {f"reducer.{name}": array for name, array in arrays.items()}
        arrays |= {"mean": self.standardiser.mean, "spread": self.standardiser.spread}
        options = {"options": asdict(self.options), "components": self.components}
        return arrays, {"reducer": texts, **options}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        own, inner = subset(arrays, "reducer.")
        reducer = Reducer.from_tensors(inner, values["reducer"], path)
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
