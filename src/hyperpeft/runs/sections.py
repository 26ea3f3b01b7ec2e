"""The sections of a run record, from the pieces of a run. Missing stays missing (None)."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperpeft import splits
from hyperpeft.adapters import adapters_of
from hyperpeft.baselines import features
from hyperpeft.mapping import ClassMap
from hyperpeft.records import Labels, Scene, Split
from hyperpeft.spectral import Reducer
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.loop import Outcome


def scene_section(scene: Scene, labels: Labels) -> dict[str, Any]:
    """Name, size, hash and classes of the scene."""
    return {
        "name": scene.name,
        "shape": list(scene.shape),
        "sha256": scene.sha256 or None,
        "labels": labels.source,
        "masked_pixels": int((~scene.valid).sum()),
        "class_ids": list(labels.classes),
        "classes": list(labels.classes.values()),
        "colours": [list(labels.colours[i]) for i in labels.classes],
    }


def reducer_section(reducer: Reducer) -> dict[str, Any]:
    """How the bands were reduced, and on which pixels that was fitted."""
    bands = None if reducer.bands is None else list(reducer.bands)
    return {**features.reducer_section(reducer), "bands": bands}


def split_section(
    split: Split, scene: Scene, window: int, *, hidden: bool = False
) -> dict[str, Any]:
    """Kind and sizes of the split, and how far training pixels reach into test windows.

    Parameters
    ----------
    window : int
        Side of the window of all that decides a prediction.
    hidden : bool
        The training pixels were not valid while the test pixels were predicted, so that no
        window holds one.
    """
    touching = 0.0 if hidden else splits.leakage(split, scene.valid.shape, window)
    return {
        "kind": split.kind,
        "sha256": splits.digest(split),
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "per_class": {str(i): counts for i, counts in split.per_class().items()},
        "leakage": {
            "patch_size": window,
            "test_windows_touching_train": touching,
            "training_hidden": hidden,
        },
    }


def count(parameters: Iterable[Tensor]) -> int:
    """Numbers in all these parameters."""
    return sum(parameter.numel() for parameter in parameters)


def adapter_section(model: Classifier, method: str, class_ids: np.ndarray) -> dict[str, Any]:
    """What was trained; `bytes` of adapter and head are known once they are written."""
    trainable = count(p for p in model.parameters() if p.requires_grad)
    attached = adapters_of(model.encoder).values()
    return {
        "method": method,
        "adapter_parameters": sum(count(p for _, p in a.own_parameters()) for a in attached),
        "trainable_parameters": trainable,
        "trainable_percent": 100 * trainable / count(model.parameters()),
        "bytes": None,
        "class_ids": class_ids.tolist(),
    }


def baseline_adapter_section(
    method: str, parameters: int | None, class_ids: np.ndarray
) -> dict[str, Any]:
    """The same keys for a baseline, which has no adapter."""
    return {
        "method": method,
        "adapter_parameters": None,
        "trainable_parameters": parameters,
        "trainable_percent": None if parameters is None else 100.0,
        "bytes": None,
        "class_ids": class_ids.tolist(),
    }


def timing_section(outcome: Outcome, mapped: ClassMap) -> dict[str, Any]:
    """Seconds, rates and peak memory."""
    return {
        "train_seconds": round(outcome.seconds, 3),
        "train_samples_per_second": outcome.samples_per_second,
        "predict_seconds": round(mapped.seconds, 3),
        "predict_samples_per_second": mapped.pixels / mapped.seconds if mapped.seconds else None,
        "peak_rss_mb": _peak_rss_mb(),
    }


def environment_section(outcome: Outcome, seed: int) -> dict[str, Any]:
    """Versions, device, precision and the state of the source tree."""
    commit, dirty = source_state()
    device = outcome.device
    if device.startswith("cuda"):
        device = f"{device} ({torch.cuda.get_device_name()})"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": device,
        "precision": outcome.precision,
        "threads": torch.get_num_threads(),
        "commit": commit,
        "dirty": dirty,
        "seed": seed,
    }


def _peak_rss_mb() -> float | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def source_state() -> tuple[str | None, bool | None]:
    """Commit and whether it has been changed, when running from a checkout of hyperpeft."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return None, None
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(status)
