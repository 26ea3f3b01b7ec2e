"""A batch that does not fit into a GPU's memory is computed in halves, and the user is told.

How much fits is known only when it does not: the same batch size that one scene's windows fit at
fails at another image size, or beside another process. Halves give the same results as a batch of
that size from the start.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from hyperpeft.errors import TrainingError
from hyperpeft.progress import current_listener


class Batches:
    """Rows to results, at most `size` rows at a time; halved where memory does not hold more.

    Parameters
    ----------
    size : int
        Rows at a time, as long as they fit.

    Examples
    --------
    >>> batches = Batches(2)
    >>> batches(lambda rows: rows * 10, torch.arange(5)).tolist()
    [0, 10, 20, 30, 40]
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, call: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """The results of all rows, in their order."""
        found: list[Tensor] = []
        done = 0
        while done < len(rows) or not found:
            part = rows[done : done + self.size]
            result = _unless_full(call, part)
            if result is None:
                self.size = smaller(len(part), "predicted")
            else:
                found.append(result)
                done += len(part)
        return found[0] if len(found) == 1 else torch.cat(found)


def _unless_full(call: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor | None:
    """The result; None when the GPU has no memory for it."""
    try:
        return call(rows)
    except torch.OutOfMemoryError:
        return None  # what the failed call held is released with its traceback


def smaller(size: int, what: str) -> int:
    """Half of a number of windows at a time that did not fit; the user is told.

    Raises
    ------
    TrainingError
        Not even one fits.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if size <= 1:
        raise TrainingError(
            "the memory of the GPU does not hold a single window",
            hint="use a smaller image size or backbone, another GPU, or CUDA_VISIBLE_DEVICES= to "
            "compute on the processor",
        )
    half = -(-size // 2)
    text = f"{size} windows at a time do not fit into the GPU's memory: {half} are {what} at a time"
    listener = current_listener()
    if listener is None:
        warnings.warn(text, stacklevel=3)
    else:
        listener(text)
    return half
