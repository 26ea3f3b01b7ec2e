"""The methods by name: `prepare(config, scene, split) -> fit -> predict`."""

from __future__ import annotations

import numpy as np

from hyperpeft import adapters
from hyperpeft.baselines import BASELINES
from hyperpeft.errors import ConfigError, SplitError
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, Split
from hyperpeft.runs.config import AUTO, METHOD, RunConfig
from hyperpeft.runs.methods.adapter import PreparedAdapter
from hyperpeft.runs.methods.auto import PreparedAuto
from hyperpeft.runs.methods.baseline import PreparedBaseline
from hyperpeft.runs.methods.contract import Prepared


def check(config: RunConfig) -> None:
    """Refuse an unknown method, or options that it does not have, before anything is read."""
    if config.method == AUTO:
        if config.recipe == "paper" or config.head == "random":
            what = "recipe paper" if config.recipe == "paper" else "head random"
            raise ConfigError(
                f"method {AUTO} and {what} exclude each other: {AUTO} weighs its parts by heads "
                "that are fitted in closed form",
                hint=f"give another method, such as {METHOD}, or leave out {what}",
            )
        adapters.get_method(METHOD).check_options(config.options)
        return
    if config.method in BASELINES:  # its options were checked when its defaults were filled in
        if len(config.windows) > 1 and BASELINES[config.method].reach is None:
            raise ConfigError(
                f"patch_size of {config.method}",
                expected="one window",
                got=",".join(map(str, config.windows)),
                hint="only adapted backbones average several",
            )
        return
    if config.method not in adapters.METHODS:
        known = ", ".join([AUTO, *adapters.METHODS, *BASELINES])
        raise ConfigError("method", expected=f"one of {known}", got=repr(config.method))
    adapters.get_method(config.method).check_options(config.options)


def prepare(
    config: RunConfig, scene: Scene, split: Split, progress: Progress | None = None
) -> Prepared:
    """Prepare the method of a configuration.

    Parameters
    ----------
    config : RunConfig
        With `resolve_defaults` applied.
    scene : Scene
    split : Split
        Its test pixels are looked at by no method.
    progress : Progress, optional

    Raises
    ------
    InputError
        Whatever is wrong with scene, split, weights or options.
    """
    if len(np.unique(split.train_ids)) < 2:
        got = len(np.unique(split.train_ids))
        raise SplitError("classes to tell apart", expected="at least 2", got=got)
    kind: type[PreparedAuto | PreparedBaseline | PreparedAdapter] = PreparedAdapter
    if config.method == AUTO:
        kind = PreparedAuto
    elif config.method in BASELINES:
        kind = PreparedBaseline
    return kind(config, scene, split, progress or Progress())
