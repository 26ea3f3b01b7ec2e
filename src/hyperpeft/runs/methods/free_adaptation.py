"""How far to adapt with a moderate number of labels, decided on pixels that were left out.

With a tenth of the scene labelled, free adapters gain much (see `refinement`). With fewer labels it
depends on the scene. So where a class has eight labels or more, the free recipe is tried on four
fifths of the training pixels, twice (up to five times where the split is random), and taken if it
gives the pixels left out a higher likelihood than the frozen features do, by more than the standard
error of the difference (the rule of Breiman et al. 1984, "Classification and Regression Trees").
Otherwise the encoder stays as it is and the heads alone learn: where free adaptation forgets what
was left out, the short default recipe does too, to a lesser degree (in 13 such runs it gained
nothing in the median and lost 13 points in one).

The free recipe starts from a head at random, not from the ridge heads: they fit the training pixels
nearly at once, and what is left for the encoder to learn is their noise. With 50 labels a class of
Indian Pines at 10 bands that costs 6 points of 95, whatever the rate (a draw kept for development).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax

from hyperpeft.models.windows import Windows
from hyperpeft.runs.config import RunConfig
from hyperpeft.runs.methods.refinement import many_labels_recipe
from hyperpeft.training.classifier import Classifier, predict
from hyperpeft.training.combination import temperature_factor
from hyperpeft.training.loop import Pixels, Recipe, Trainer, Watch
from hyperpeft.training.model_selection import Fold, dead_zone_folds, random_folds
from hyperpeft.training.window_search import Selection

LEAST = 8  # training pixels of the median class
STEPS = ((15, 400), (35, 800), (math.inf, 1000))  # with fewer labels a class than that
SMOOTHING = 0.1
GAIN = 0.02  # of the loss per left-out pixel, for which the free recipe is taken
ERRORS = 1.0  # standard errors of the gain, which it has to exceed as well
SURE = 0.1  # of the loss, by which the first fold alone decides against the free recipe
FOLDS, TRIED = 5, 2  # at most, and at least
LARGEST = 384  # width of the encoder: on a processor a larger one would take too long to try


class Verdict(NamedTuple):
    """Losses per left-out pixel, and whether the free recipe is taken.

    Attributes
    ----------
    frozen_loss : float
    adapted_loss, error : float or None
        None where the frozen features leave nothing to gain. The standard error is that of the
        difference of the two.
    adapts : bool
    """

    frozen_loss: float
    adapted_loss: float | None
    error: float | None
    adapts: bool

    @property
    def note(self) -> str:
        """For the user and the record."""
        what = "adapts freely" if self.adapts else "does not adapt"
        if self.adapted_loss is None:
            return f"{what}: pixels left out have a loss of {self.frozen_loss:.2f} without"
        known = "" if self.error is None else f" (standard error {self.error:.2f})"
        return (
            f"{what}: pixels left out have a loss of {self.adapted_loss:.2f} after free adaptation "
            f"on the others, {self.frozen_loss:.2f} without{known}"
        )


def is_worth_trying(config: RunConfig, targets: np.ndarray, width: int, device: str) -> bool:
    """Whether the free recipe is tried: enough labels, a quick encoder, no recipe named."""
    if config.recipe != "default" or config.method == "probe":
        return False
    decided = {"epochs", "head", "lr", "targets"} & config.model_fields_set
    if decided:  # by the user
        return False
    return bool(np.median(np.bincount(targets)) >= LEAST) and (device != "cpu" or width <= LARGEST)


def free_recipe(config: RunConfig, targets: np.ndarray) -> RunConfig:
    """The configuration with the free recipe in the place of all that the user left open."""
    labels = np.median(np.bincount(targets))
    steps = next(steps for more, steps in STEPS if labels < more)
    return many_labels_recipe(config, len(targets), steps, SMOOTHING)


def trial_folds(
    positions: np.ndarray,
    targets: np.ndarray,
    reach: int,
    seed: int,
    regions: np.ndarray | None = None,
    *,
    spatial: bool,
) -> list[Fold]:
    """The folds of a trial: five at random, or two with a dead zone.

    Dead zones serve where a map is judged away from its labels, unless they leave less than half of
    the pixels to score. A polygon is held out whole; `regions` numbers them as for
    `dead_zone_folds`.
    """
    if spatial:
        # Without one a window of one pixel would be judged beside its own training pixels.
        far = dead_zone_folds(positions, targets, max(reach, 1), FOLDS, seed, regions)
        if 2 * sum(len(fold.held) for fold in far) >= len(targets):
            return far[:TRIED]
    folds = random_folds(targets, FOLDS, seed)
    return folds[:TRIED] if spatial else folds


def compare(
    make: Callable[[], Classifier],
    windows: Sequence[Windows],
    train: Pixels,
    selection: Selection,
    recipe: Recipe,
    folds: Sequence[Fold],
    groups: np.ndarray,
    *,
    seed: int,
    precision: str,
    watch: Watch | None = None,
) -> Verdict:
    """Train on each fold for all epochs, and compare the losses of the pixels that are left out.

    Nothing is trained where the frozen features leave nothing to gain, no second fold where the
    first speaks clearly against it, and more than two only while a gain may be chance.

    Parameters
    ----------
    make : callable
        A new classifier with its adapters, nothing learned yet.
    windows : sequence of Windows
        Of the sizes that were selected.
    train : Pixels
        All training pixels.
    selection : Selection
        Of the windows and their heads.
    recipe : Recipe
        The free one.
    folds : sequence of Fold
    groups : ndarray of int, shape (n,)
        The group of each training pixel; pixels of one may be right or wrong together.
    seed : int
    precision : "auto", "fp32" or "bf16"
    watch : callable, optional
        Told of each step, as by `Trainer`; once more from the start for each fold.
    """
    nothing = Pixels(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    truth = [train.targets[fold.held].numpy() for fold in folds]
    frozen = _frozen_scores(make(), windows, train, selection, folds)
    before = _losses(frozen, truth)
    if before.mean() <= GAIN:
        return Verdict(float(before.mean()), None, None, False)
    adapted: list[np.ndarray] = []
    gain, error = 0.0, None
    for fold in folds:
        model = make()
        kept = Pixels(train.positions[fold.train], train.targets[fold.train])
        Trainer(
            model, windows, kept, nothing, recipe, seed=seed, precision=precision, watch=watch
        ).run()
        held = train.positions[fold.held]
        found = torch.cat(list(predict(model, windows, held, precision=precision)))
        adapted.append(found.double().numpy())
        done = len(adapted)
        before, after = _losses(frozen[:done], truth[:done]), _losses(adapted, truth[:done])
        scored = np.concatenate([fold.held for fold in folds[:done]])
        gain = float(before.mean() - after.mean())
        error = standard_error(before - after, groups[scored])
        if is_decided(done, gain, error):
            break
    adapts = is_gain(gain, error)
    return Verdict(float(before.mean()), float(after.mean()), error, adapts)


def is_gain(gain: float, error: float | None) -> bool:
    """Whether a gain of loss per left-out pixel is more than chance, by its standard error."""
    return error is not None and gain > max(GAIN, ERRORS * error)


def is_decided(tried: int, gain: float, error: float | None) -> bool:
    """Whether so many folds are enough: a gain that may be chance asks for more of them.

    >>> [is_decided(2, gain, 0.1) for gain in (-0.01, 0.05, 0.2)]
    [True, False, True]
    """
    if gain < -SURE:
        return True
    return tried >= TRIED and (gain <= 0 or is_gain(gain, error))


def _frozen_scores(
    model: Classifier,
    windows: Sequence[Windows],
    train: Pixels,
    selection: Selection,
    folds: Sequence[Fold],
) -> list[np.ndarray]:
    """Scores (h, K) of each fold's left-out pixels by ridge heads on the frozen features."""
    best = {candidate.patch_size: candidate for candidate in selection.tried}
    chosen = [best[view.patch_size] for view in windows]
    features = [model.features_of(view, train.positions).double() for view in windows]
    targets = train.targets.to(features[0].device)
    scores = []
    for fold in folds:
        parts = []
        for values, head in zip(features, chosen, strict=True):
            fitted = model.fit_head(
                values[fold.train], targets[fold.train], head.centre_share, head.strength
            )
            parts.append((values[fold.held] @ fitted.weight.T + fitted.bias).cpu().numpy())
        scores.append(np.mean(parts, axis=0))
    return scores


def standard_error(values: np.ndarray, groups: np.ndarray) -> float | None:
    """The standard error of the mean of values (n,) whose groups (n,) are drawn, not they.

    That of a ratio of sums over the groups (Cochran 1977, section 2.11); None of a single group.

    >>> standard_error(np.array([1.0, 2.0, 3.0, 6.0]), np.arange(4)).__round__(3)
    1.08
    """
    number = np.unique(groups, return_inverse=True)[1]
    count = int(number.max()) + 1
    if count < 2:
        return None
    off = np.bincount(number, values - values.mean())
    return float(np.sqrt(count / (count - 1) * (off**2).sum()) / len(values))


def _losses(parts: Sequence[np.ndarray], classes: Sequence[np.ndarray]) -> np.ndarray:
    """Negative log-likelihoods (m,) of classes at the best temperature of their scores."""
    scores, truth = np.concatenate(parts), np.concatenate(classes)
    logs = log_softmax(scores * temperature_factor(scores, truth), axis=1)
    losses: np.ndarray = -logs[np.arange(len(truth)), truth]
    return losses
