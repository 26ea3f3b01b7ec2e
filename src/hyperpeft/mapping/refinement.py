"""Refinement of a map's probabilities, by tile: what it is guided by and how far it looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hyperpeft.errors import BundleError
from hyperpeft.mapping.context_features import fit_standardiser
from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.tiles import SceneWindow
from hyperpeft.records import Scene
from hyperpeft.spatial import RefineOptions, Standardiser, refine
from hyperpeft.spectral import N_BANDS, Reducer
from hyperpeft.system.files import replacing


@dataclass(frozen=True, eq=False)
class Refinement:
    """Refinement of class probabilities along the edges of the reduced scene.

    Attributes
    ----------
    options : RefineOptions
    reducer : Reducer
        Its leading components are the guide.
    standardiser : Standardiser
        Of the reduced training scene.
    """

    options: RefineOptions
    reducer: Reducer
    standardiser: Standardiser

    @classmethod
    def fit(
        cls,
        options: RefineOptions,
        reducer: Reducer,
        scene: Scene,
        standardiser: Standardiser | None = None,
        where: np.ndarray | None = None,
    ) -> Refinement:
        """With means and spreads of a scene, read block by block where they are not given.

        They are those of its valid pixels, or of a mask (H, W).
        """
        return cls(options, reducer, standardiser or fit_standardiser(scene, reducer, where))

    @property
    def reach(self) -> int:
        """Pixels around a pixel whose probabilities decide its own."""
        return self.options.reach

    def guide(self, window: SceneWindow) -> np.ndarray:
        """Standardised components (12, h, w) float32 of a window's region."""
        reduced = window.reduced(self.reducer, 0)
        return self.standardiser.apply(reduced, window.valid_with(0))

    def apply(self, probabilities: np.ndarray, guide: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Refined probabilities (K, h, w); see `hyperpeft.spatial.refine`."""
        return refine(probabilities, guide, valid, self.options)

    def fingerprint(self, into: Fingerprint) -> None:
        """Add all that decides the refinement."""
        into.words(self.options)
        into.reducer(self.reducer)
        into.array(self.standardiser.mean)
        into.array(self.standardiser.spread)

    def to_file(self, path: Path) -> None:
        """Write means and spreads as safetensors; the reducer has a file of its own."""
        numbers = {"mean": self.standardiser.mean, "spread": self.standardiser.spread}
        with replacing(path) as temporary:
            save_file(numbers, temporary)

    @classmethod
    def from_file(cls, path: Path, options: RefineOptions, reducer: Reducer) -> Refinement:
        """Read what `to_file` wrote; BundleError where it is damaged."""
        try:
            numbers = load_file(path)
            mean, spread = (numbers[name].astype(np.float32) for name in ("mean", "spread"))
        except (OSError, SafetensorError, KeyError) as error:
            raise BundleError(f"{path} cannot be read ({error})") from None
        fits = mean.shape == spread.shape == (N_BANDS,)
        if not fits or not np.isfinite(mean).all() or not (spread > 0).all():
            raise BundleError(f"{path}", expected=f"{N_BANDS} finite means and spreads above 0")
        return cls(options, reducer, Standardiser(mean, spread))
