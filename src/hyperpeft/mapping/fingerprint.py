"""Hash of all that decides a map, so that a map is only resumed by the same work."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from hyperpeft.spectral import Reducer

if TYPE_CHECKING:
    import torch


class Fingerprint:
    """A SHA-256 of words, arrays, models and reducers."""

    def __init__(self, *words: object) -> None:
        self._digest = hashlib.sha256()
        self.words(*words)

    def words(self, *words: object) -> None:
        """Add plain values."""
        self._digest.update(repr(words).encode())

    def array(self, array: np.ndarray) -> None:
        """Add the numbers of an array."""
        self._digest.update(np.ascontiguousarray(array).tobytes())

    def module(self, module: torch.nn.Module) -> None:
        """Add a model: kinds and plain options of its layers, and its weights."""
        self.words(*(_options(part) for part in module.modules()))
        for name, tensor in sorted(module.state_dict().items()):
            self._digest.update(name.encode())
            self.array(tensor.detach().cpu().contiguous().numpy())

    def reducer(self, reducer: Reducer) -> None:
        """Add a fitted reducer."""
        for array in (reducer.mean, reducer.components, reducer.scale, reducer.shift):
            self.array(array)

    def hexdigest(self) -> str:
        """The hash of all that was added."""
        return self._digest.hexdigest()


def _options(module: torch.nn.Module) -> tuple[object, ...]:
    """A layer's kind and its plain options, such as the number of heads."""
    plain = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str)}
    return type(module).__name__, *sorted((k, v) for k, v in plain.items() if k != "training")
