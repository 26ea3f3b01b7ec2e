"""`auto`: an adapted backbone beside classic classifiers, pooled as the training pixels favour.

The parts see different things: windows through the backbone, what opens and closes around a pixel,
the spectrum alone. Each gives scores of pixels that it was fitted
without, of random folds and of dead-zone folds (`training.model_selection`); from these come one
temperature a part and the weights of the pool (`training.combination`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import softmax

from hyperpeft.baselines import pixel_models
from hyperpeft.baselines.pixel_model import PixelModel
from hyperpeft.baselines.pixel_models import FOLD_TREES, Fit
from hyperpeft.mapping import (
    ContextFeatures,
    PixelFeatures,
    PixelPredictor,
    Predictor,
    SpectraFeatures,
    features_at,
)
from hyperpeft.mapping.context_features import fit_standardiser
from hyperpeft.mapping.predictor import PooledPredictor
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, Split
from hyperpeft.runs.config import AUTO, BACKBONE_PART, METHOD, RunConfig
from hyperpeft.runs.file_names import FEATURES, MODEL, PARTS
from hyperpeft.runs.methods.adapter import PreparedAdapter, TrainedAdapter
from hyperpeft.runs.methods.contract import Prepared, Trained, identity_of
from hyperpeft.spatial import PROFILE, Standardiser
from hyperpeft.spectral import Reducer, fitted_pixels
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.combination import pool_weights, temperature_factor

LEAST_SHARE = 0.02  # of all weights; a part of less is left out: it costs time and says nothing


@dataclass(frozen=True)
class PartReport:
    """A part of the pool, for the record.

    Attributes
    ----------
    name : str
    weight : float
        Exponent of its probabilities; 0 where the part was left out.
    factor : float
        Inverse temperature of its scores.
    accuracy : float
        Percent of the left-out pixels, weighted as the folds are.
    likelihood : float
        Mean probability that it gives to their classes.
    """

    name: str
    weight: float
    factor: float
    accuracy: float
    likelihood: float


@dataclass(frozen=True)
class TrainedAuto(Trained):
    """An adapted backbone and classic classifiers, pooled."""

    backbone_part: TrainedAdapter = field(kw_only=True)
    classic: dict[str, PixelPredictor] = field(kw_only=True)
    standardiser: Standardiser = field(kw_only=True)

    @property
    def own_reducer(self) -> Reducer:
        return self.backbone_part.own_reducer

    @property
    def own_standardiser(self) -> Standardiser:
        return self.standardiser

    def save(self, folder: Path) -> int | None:
        for name, part in self.classic.items():
            part.features.to_file(folder / PARTS / name / FEATURES)
            assert isinstance(part.model, PixelModel)
            part.model.to_file(folder / PARTS / name / MODEL)
        return self.backbone_part.save(folder)


class PreparedAuto(Prepared):
    """The backbone part, prepared; the classic parts' features, and the weights of all."""

    resumable = True

    def __init__(self, config: RunConfig, scene: Scene, split: Split, progress: Progress) -> None:
        self.config, self.scene, self.split = config, scene, split
        inner = config.model_copy(update={"method": METHOD})
        self.backbone_part = PreparedAdapter(inner, scene, split, progress, follows_labels=False)
        self.notes = self.backbone_part.notes
        self.identity = identity_of(
            config, scene, split, self.backbone_part.backbone["weights_sha256"]
        )
        self.class_ids = self.backbone_part.class_ids.astype(np.int32)
        self.targets = self.backbone_part.train.targets.numpy()
        progress.stage("Weighing the parts")
        self.features = self._features()
        self.values = {
            name: features_at(scene, features, split.train)
            for name, features in self.features.items()
        }
        self.fits = self._fits()
        self.reports = self._weigh()
        self.notes = [*self.notes, self._summary()]
        progress.note(self.notes[-1])

    def _features(self) -> dict[str, PixelFeatures]:
        """What each classic part sees; a discriminant needs more pixels than classes."""
        reducer = self.backbone_part.reducer
        where = fitted_pixels(self.scene, self.config.fit_on, self.split.train)
        self.standardiser = fit_standardiser(self.scene, reducer, where)
        spectra = SpectraFeatures.fit(self.scene, where)
        features: dict[str, PixelFeatures] = {
            "profile-trees": ContextFeatures(reducer, self.standardiser, PROFILE),
            "spectra-lda": spectra,
            "spectra-svm": spectra,
        }
        if not pixel_models.enough_for_discriminant(self.targets):
            del features["spectra-lda"]
        return features

    def _fits(self) -> dict[str, tuple[Fit, Fit]]:
        """How each classic part is fitted, and how in a fold that only weighs it."""
        seed, folds = self.config.seed, self.backbone_part.folds
        machine = pixel_models.tuned_machine(
            self.values["spectra-svm"][folds.pixels],
            self.targets[folds.pixels],
            len(self.class_ids),
            folds.folds[: folds.near // 2] or folds.folds,
        )
        trees = pixel_models.extra_trees(seed), pixel_models.extra_trees(seed, FOLD_TREES)
        fits = {
            "profile-trees": trees,
            "spectra-lda": (pixel_models.discriminant, pixel_models.discriminant),
            "spectra-svm": (machine, machine),
        }
        return {name: fits[name] for name in self.features}

    def _weigh(self) -> list[PartReport]:
        """Temperatures and weights from the scores of left-out pixels, the backbone's first."""
        folds, count = self.backbone_part.folds, len(self.class_ids)
        what = self.targets[folds.pixels]
        truth = what[folds.held]
        selection = self.backbone_part.selection
        assert selection is not None  # `select.check` refuses a head that starts at random
        scores = {BACKBONE_PART: selection.factor * selection.scores}
        for name, (_, fit) in self.fits.items():
            values = self.values[name][folds.pixels]
            parts = pixel_models.out_of_fold(fit, values, what, count, folds.folds)
            scores[name] = np.concatenate(parts) if parts else np.zeros((0, count))
        factors = {
            name: 1.0 if name == BACKBONE_PART else temperature_factor(values, truth, folds.weights)
            for name, values in scores.items()
        }
        weights = pool_weights(
            np.stack([factors[name] * values for name, values in scores.items()]),
            truth,
            folds.weights,
            len(np.unique(folds.held)),
        )
        weights = np.where(weights < LEAST_SHARE * weights.sum(), 0, weights)
        rows = np.arange(len(truth))
        return [
            PartReport(
                name,
                float(weight),
                factors[name],
                100 * float(folds.weights @ (scores[name].argmax(axis=1) == truth)),
                float(folds.weights @ softmax(factors[name] * scores[name], axis=1)[rows, truth]),
            )
            for name, weight in zip(scores, weights, strict=True)
        ]

    def _summary(self) -> str:
        """One line: which parts count how much, and which is best alone."""
        used = sorted(self.reports, key=lambda part: -part.weight)
        total = sum(part.weight for part in used)
        shares = ", ".join(
            f"{part.name} {100 * part.weight / total:.0f} %" for part in used if part.weight
        )
        if not len(self.backbone_part.folds.held):
            return f"pool of {shares}: equal shares, since no training pixel can be left out"
        best = max(self.reports, key=lambda part: part.accuracy)
        return (
            f"pool of {shares}; best alone on left-out training pixels: {best.name}, "
            f"{best.accuracy:.1f} %"
        )

    def _fit(self, progress: Progress, checkpoints: Checkpoints | None) -> TrainedAuto:
        trained = self.backbone_part._fit(progress, checkpoints)
        progress.stage("Fitting the classic parts")
        used = {part.name: part for part in self.reports if part.weight}
        classic = {
            name: PixelPredictor(self.features[name], self._model(name), self.class_ids)
            for name in self.features
            if name in used
        }
        predictors: dict[str, Predictor] = {**classic}
        if BACKBONE_PART in used:
            assert trained.predictor is not None
            predictors = {BACKBONE_PART: trained.predictor, **classic}
        pool = PooledPredictor(
            tuple(predictors.values()),
            tuple(used[name].factor for name in predictors),
            tuple(used[name].weight for name in predictors),
        )
        adapter = {
            **trained.adapter,
            "method": AUTO,
            "pool": pool.pool,
            "parts": [asdict(report) for report in self.reports],
        }
        return TrainedAuto(
            self.class_ids,
            2 * pool.reach + 1,
            trained.reducer,
            trained.backbone,
            adapter,
            trained.outcome,
            self.notes,
            resolved=trained.resolved,
            predictor=pool,
            backbone_part=trained,
            classic=classic,
            standardiser=self.standardiser,
        )

    def _model(self, name: str) -> PixelModel:
        """A classic part, fitted to all training pixels."""
        fit = self.fits[name][0]
        return fit(self.values[name], self.targets, len(self.class_ids)).to_model()
