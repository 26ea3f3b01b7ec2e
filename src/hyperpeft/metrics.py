"""Overall accuracy, average accuracy, Cohen's kappa: arrays in, numbers out.

All figures are in percent except kappa, which is multiplied by 100 as the field prints it.
Rows of a confusion matrix are the true class, columns the predicted one.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Count pairs of true and predicted class.

    Parameters
    ----------
    true, predicted : ndarray of int, shape (n,)
        Class ids.
    ids : ndarray of int, shape (K,)
        The class ids, ascending; every value of `true` and `predicted` is one of them.

    Returns
    -------
    ndarray of int64, shape (K, K)

    Raises
    ------
    ValueError
        When an id is not in `ids`.
    """
    ids = np.asarray(ids)
    if not (np.isin(true, ids).all() and np.isin(predicted, ids).all()):
        raise ValueError(f"class ids outside {ids.tolist()}")
    k = len(ids)
    cells = np.searchsorted(ids, true) * k + np.searchsorted(ids, predicted)
    return np.bincount(cells, minlength=k * k).reshape(k, k)  # (K, K)


def scores(confusion: np.ndarray, ids: np.ndarray) -> dict[str, Any]:
    """OA, AA, kappa and per-class accuracy from a confusion matrix.

    A class without test pixels has no accuracy (None) and does not enter AA. Kappa is None
    where chance agreement is total (one class only).

    Parameters
    ----------
    confusion : ndarray of int, shape (K, K)
    ids : ndarray of int, shape (K,)

    Returns
    -------
    dict
        "oa", "aa", "kappa" in percent, "per_class" {id: percent or None}, "confusion" as lists.

    Examples
    --------
    >>> result = scores(np.array([[8, 2], [1, 9]]), np.array([1, 2]))
    >>> [round(result[name], 6) for name in ("oa", "aa", "kappa")]
    [85.0, 85.0, 70.0]
    """
    confusion = np.asarray(confusion, dtype=np.int64)
    total = int(confusion.sum())
    if total == 0:
        empty: dict[str, Any] = {str(i): None for i in np.asarray(ids).tolist()}
        return {
            "oa": None,
            "aa": None,
            "kappa": None,
            "per_class": empty,
            "confusion": confusion.tolist(),
        }
    of_true = confusion.sum(axis=1)  # (K,)
    correct = np.diag(confusion)  # (K,)
    present = of_true > 0
    recall = np.divide(correct, of_true, out=np.full(len(of_true), np.nan), where=present)
    observed = correct.sum() / total
    chance = float(of_true @ confusion.sum(axis=0)) / total**2
    return {
        "oa": float(100 * observed),
        "aa": float(100 * recall[present].mean()),
        "kappa": float(100 * (observed - chance) / (1 - chance)) if chance < 1 else None,
        "per_class": {
            str(i): float(100 * r) if p else None
            for i, r, p in zip(np.asarray(ids).tolist(), recall, present, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def class_scores(confusion: np.ndarray) -> list[dict[str, float | None]]:
    """Recall, precision and F1 of each class in percent, from a confusion matrix (K, K).

    Recall is the producer's accuracy, precision the user's. None where a figure has no pixels:
    recall of a class that is not tested, precision of one that is never predicted, F1 where
    neither occurs.

    Examples
    --------
    >>> [round(v, 6) for v in class_scores(np.array([[8, 2], [0, 10]]))[1].values()]
    [100.0, 83.333333, 90.909091]
    """
    counts = np.asarray(confusion, dtype=np.int64)
    right = np.diag(counts)
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)

    def percent(part: int, whole: int) -> float | None:
        return 100 * part / whole if whole else None

    return [
        {
            "recall": percent(r, t),
            "precision": percent(r, p),
            "f1": percent(2 * r, t + p),
        }
        for r, t, p in zip(right.tolist(), true.tolist(), predicted.tolist(), strict=True)
    ]


def score_map(
    predicted: np.ndarray, positions: np.ndarray, true: np.ndarray, ids: np.ndarray
) -> dict[str, Any]:
    """Scores of a class map (H, W) at positions (n, 2) with true ids (n,)."""
    every = np.union1d(ids, true)  # official test rasters may hold classes that never trained
    confusion = confusion_matrix(true, predicted[tuple(positions.T)], every)
    return {"class_ids": every.tolist(), **scores(confusion, every)}
