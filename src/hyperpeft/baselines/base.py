"""What a baseline is: fitted on a scene's training pixels, it predicts the class of any pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hyperpeft.errors import ConfigError
from hyperpeft.records import Scene, Split
from hyperpeft.system.lazy_names import named_object

if TYPE_CHECKING:
    from hyperpeft.mapping import Predictor

Trained = Callable[[int, int, float, float | None], None]
"""Told (steps done, steps in all, loss, last validation accuracy in percent)."""


@dataclass(frozen=True)
class Task:
    """What a baseline is fitted to.

    Attributes
    ----------
    scene : Scene
    split : Split
        Its test pixels are not for the baseline to look at.
    patch_size : int
        Side of the window around a pixel, odd.
    fit_on : "scene" or "train"
        The pixels that principal components and ranges are fitted on.
    seed : int
    options : mapping
        The baseline's own, complete.
    trained : callable, optional
        Told about each step of training.
    epochs, batch_size, lr, weight_decay, label_smoothing, augment, patience
        Of networks, as in RunConfig.
    """

    scene: Scene
    split: Split
    patch_size: int
    fit_on: str
    seed: int
    options: Mapping[str, Any]
    trained: Trained | None = None
    epochs: int = 1
    batch_size: int = 1
    lr: float | None = None
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    augment: bool = False
    patience: int = 0


@dataclass(frozen=True)
class Fitted:
    """A baseline ready to predict.

    Attributes
    ----------
    predictor : Predictor
    about : dict
        For the record: chosen parameters, sizes, the source of the method.
    reducer : dict
        For the record: what the bands were reduced by; `features` has the sections.
    parameters : int or None
        Numbers that were trained; None where a model has no fixed number of them.
    history : list of dict
        Per epoch, as in `history.csv`.
    samples : int
        Training samples seen, over all epochs.
    device, precision : str
    """

    predictor: Predictor
    about: dict[str, Any]
    reducer: dict[str, Any]
    parameters: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    samples: int | None = None
    device: str = "cpu"
    precision: str = "fp64"


@dataclass(frozen=True)
class Baseline:
    """A row of the table of baselines.

    Attributes
    ----------
    name : str
        For `--method`.
    source : str
        The paper.
    home : str
        "module:function" of what fits it, loaded on first use.
    defaults : mapping
        Its own values of options of a run, where the user gives none.
    options : mapping
        Its own options (`--option NAME=VALUE`) and their values where the user gives none.
    reach : int or None
        Pixels around a pixel that it looks at; None where half a window is what it looks at.
    by_epochs : bool
        Trained by epochs, as the options of a run under "Training" say.
    """

    name: str
    source: str
    home: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    reach: int | None = None
    by_epochs: bool = True

    def fit(self, task: Task) -> Fitted:
        """Fit to the training pixels of a task."""
        fit: Callable[[Task], Fitted] = named_object(self.home)
        return fit(task)

    def window(self, patch_size: int) -> int:
        """How far it looks around a pixel, as the side of a window."""
        return patch_size if self.reach is None else 2 * self.reach + 1

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options, the given ones checked: each is a positive number of its default's kind.

        Raises
        ------
        ConfigError
            For an unknown option or a value that cannot be used.
        """
        for name, value in given.items():
            if not self.options:
                raise ConfigError(f"option {name}: {self.name} has no options")
            if name not in self.options:
                known = ", ".join(self.options)
                raise ConfigError(f"option of {self.name}", expected=f"one of {known}", got=name)
            whole = isinstance(self.options[name], int)
            kind = int if whole else int | float
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < 2**31:
                expected = "a whole number from 1" if whole else "a number above 0"
                raise ConfigError(f"option {name} of {self.name}", expected=expected, got=value)
        return {**self.options, **given}
