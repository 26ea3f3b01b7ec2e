"""Other classifiers in the same harness: the same splits, the same record, honest comparisons.

A baseline is a row of the table below and a function `fit(task) -> Fitted`. This room loads
neither scikit-learn nor torch until a baseline is fitted.
"""

from __future__ import annotations

from hyperpeft.baselines.base import Baseline, Fitted, Task

__all__ = ["BASELINES", "Baseline", "Fitted", "Task"]

_CLASSICAL = "hyperpeft.baselines.classical"
_SVM = "Melgani and Bruzzone 2004, IEEE TGRS 42(8), doi 10.1109/TGRS.2004.831865"
_FOREST = "Breiman 2001, Machine Learning 45, doi 10.1023/A:1010933404324"

_TABLE = (
    Baseline("svm", _SVM, f"{_CLASSICAL}:svm", options={"folds": 5}, pixelwise=True),
    Baseline("svm-pca", _SVM, f"{_CLASSICAL}:svm_pca", options={"folds": 5, "components": 12}),
    Baseline(
        "rf", _FOREST, f"{_CLASSICAL}:forest", options={"folds": 5, "trees": 500}, pixelwise=True
    ),
    Baseline(
        "rf-pca",
        _FOREST,
        f"{_CLASSICAL}:forest_pca",
        options={"folds": 5, "trees": 500, "components": 12},
    ),
)

BASELINES = {baseline.name: baseline for baseline in _TABLE}
