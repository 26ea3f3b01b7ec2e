"""What a loop of training or pretraining keeps: a checkpoint to resume from, and its history."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hyperpeft.errors import BundleError
from hyperpeft.system.files import replacing

CHECKPOINT = Path("checkpoint") / "state.pt"  # in the folder of the run


@dataclass(frozen=True)
class Checkpoints:
    """Where a loop keeps its state, and what the state belongs to.

    Attributes
    ----------
    folder : Path
        Of the run.
    identity : str
        Hash of everything that decides the result: only the same work resumes from it.
    """

    folder: Path
    identity: str

    def save(self, content: dict[str, Any]) -> None:
        """Write the state: tensors and plain values only, so that it loads safely."""
        with replacing(self.folder / CHECKPOINT) as temporary:
            torch.save({"identity": self.identity, **content}, temporary)

    def restore(self, resume: Callable[[dict[str, Any]], None], *, other: str, hint: str) -> None:
        """Let `resume` take its state from the checkpoint, where there is one.

        Parameters
        ----------
        resume : callable
            Called with what was saved.
        other, hint : str
            What a checkpoint of another identity belongs to, and what to do about it.

        Raises
        ------
        BundleError
            It cannot be read, does not fit what resumes from it, or has another identity.
        """
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            same = content["identity"] == self.identity
            if same:
                resume(content)
        except Exception as error:  # whatever torch's unpickler stumbles over
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BundleError(
                f"{path} is not a checkpoint ({why[:120]})", hint="remove it to start again"
            ) from None
        if not same:
            raise BundleError(f"{path} belongs to {other}", hint=hint)


def restore_optimiser(optimiser: Any, state: dict[str, Any]) -> None:
    """Load an optimiser's state, which must fit its parameters and its options.

    Raises
    ------
    ValueError
        Other options than before, but for the rate, or values that no optimiser leaves.
    """

    def options() -> list[dict[str, Any]]:
        return [{k: v for k, v in g.items() if k not in ("params", "lr")}
                for g in optimiser.param_groups]  # fmt: skip

    before = options()
    optimiser.load_state_dict(state)
    rates = [group["lr"] for group in optimiser.param_groups]
    if options() != before or not all(isinstance(r, float) and 0 <= r < 1e6 for r in rates):
        raise ValueError("its optimiser has other options")
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            held = torch.as_tensor(value)
            counts = name == "step"
            fits = held.ndim == 0 and 0 <= held < 2**31 if counts else held.shape == parameter.shape
            if not held.is_floating_point() or not fits or not held.isfinite().all():
                raise ValueError(f"its optimiser holds an invalid {name}")


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write a CSV table of the history's rows; nothing where there are none."""
    if not history:
        return
    with replacing(path) as temporary, temporary.open("w") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
