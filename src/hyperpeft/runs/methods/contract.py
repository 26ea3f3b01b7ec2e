"""What a method is: prepared from a scene in memory, trained, and then predicting.

Nothing here touches the disk: `runs.folder` writes what a method has learned, and `runs.load`
reads it back.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hyperpeft.mapping import ClassMap, Predictor, Refinement, classify
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, Split
from hyperpeft.runs.config import AUTO, FOLLOW_LABELS, RunConfig
from hyperpeft.runs.methods.refinement import fit_refinement
from hyperpeft.spatial import Standardiser
from hyperpeft.spectral import Reducer
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.loop import Outcome


@dataclass(frozen=True)
class Trained(ABC):
    """What a method has learned.

    Attributes
    ----------
    class_ids : ndarray of int32, shape (K,)
        Classes that it predicts, ascending.
    window : int
        How far it looks around a pixel, as the side of a window.
    reducer, backbone, adapter, baseline : dict
        Sections of the record.
    outcome : Outcome
    notes : list of str
    resolved : dict
        Options that were left open, as they were selected.
    predictor : Predictor
    refinement : Refinement or None
        Of its probabilities.
    """

    class_ids: np.ndarray
    window: int
    reducer: dict[str, Any]
    backbone: dict[str, Any]
    adapter: dict[str, Any]
    outcome: Outcome
    notes: list[str] = field(default_factory=list)
    baseline: dict[str, Any] | None = None
    resolved: dict[str, Any] = field(default_factory=dict)
    predictor: Predictor = field(kw_only=True)
    refinement: Refinement | None = field(default=None, kw_only=True)

    @property
    def reach(self) -> int:
        """Pixels around a pixel that its class depends on, refinement included."""
        return self.window // 2 + (self.refinement.reach if self.refinement else 0)

    @property
    def own_reducer(self) -> Reducer | None:
        """The reducer that `save` writes; None where a method has none."""
        return None

    @property
    def own_standardiser(self) -> Standardiser | None:
        """Of the scene reduced by `own_reducer`; None where a method has none."""
        return None

    def predict(
        self,
        scene: Scene,
        where: np.ndarray | None = None,
        *,
        probabilities: bool = False,
        watch: Callable[[int, int], None] | None = None,
    ) -> ClassMap:
        """Classify pixels of a scene; see `hyperpeft.mapping.classify`."""
        return classify(
            self.predictor,
            scene,
            where,
            probabilities=probabilities,
            refinement=self.refinement,
            watch=watch,
        )

    @abstractmethod
    def save(self, folder: Path) -> int | None:
        """Write what it takes to predict again; the bytes of adapter and head."""


class Prepared(ABC):
    """A method with all that decides its training; nothing is trained yet.

    Attributes
    ----------
    notes : list of str
        For the user and the record.
    identity : str
        Hash of everything that decides the result: what a checkpoint belongs to.
    """

    resumable: ClassVar[bool] = False  # whether training keeps checkpoints
    config: RunConfig
    scene: Scene
    split: Split
    notes: list[str]
    identity: str

    def fit(self, progress: Progress, checkpoints: Checkpoints | None = None) -> Trained:
        """Train, and prepare the refinement of what is predicted.

        Parameters
        ----------
        progress : Progress
        checkpoints : Checkpoints, optional
            Where an interrupted training keeps its state; without them nothing is written.
        """
        trained = self._fit(progress, checkpoints)
        refinement = fit_refinement(
            self.config, self.scene, self.split, trained.own_reducer, trained.own_standardiser
        )
        kind = "none" if refinement is None else refinement.options.kind
        return replace(
            trained, refinement=refinement, resolved={**trained.resolved, "refine": kind}
        )

    @abstractmethod
    def _fit(self, progress: Progress, checkpoints: Checkpoints | None) -> Trained:
        """Train; see `fit`."""


def identity_of(config: RunConfig, scene: Scene, split: Split, *words: object) -> str:
    """Hash of everything that decides what is learned."""
    options = config.model_dump(mode="json", exclude={"out", "map"})
    # What the user has given the labels do not choose, whatever its value; of AUTO they never do.
    follows = () if config.method == AUTO else FOLLOW_LABELS
    given = sorted(config.model_fields_set.intersection(follows))
    text = [json.dumps([options, given], sort_keys=True), scene.sha256, *map(str, words)]
    digest = hashlib.sha256("\n".join(text).encode())
    for pixels, true in ((split.train, split.train_ids), (split.validation, split.validation_ids)):
        digest.update(np.ascontiguousarray(pixels).tobytes() + true.tobytes())
    return digest.hexdigest()
