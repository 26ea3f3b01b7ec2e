"""Other classifiers in the same harness: the same splits, the same record, honest comparisons.

A baseline is a row of the table below and a function `fit(task) -> Fitted`. This module loads
neither scikit-learn nor torch until a baseline is fitted.
"""

from __future__ import annotations

from hyperpeft.baselines.base import Baseline, Fitted, Task

__all__ = ["BASELINES", "Baseline", "Fitted", "Task", "register_baseline"]

_CLASSICAL = "hyperpeft.baselines.classical"
_SVM = "Melgani and Bruzzone 2004, IEEE TGRS 42(8), doi 10.1109/TGRS.2004.831865"
_FOREST = "Breiman 2001, Machine Learning 45, doi 10.1023/A:1010933404324"
_LDA = "Ledoit and Wolf 2004, J. Multivar. Anal. 88(2), doi 10.1016/S0047-259X(03)00096-4"

_NETWORK = "hyperpeft.baselines.network"
_PLAIN = {"weight_decay": 0.0, "label_smoothing": 0.0, "augment": False}

_TABLE = (
    Baseline("svm", _SVM, f"{_CLASSICAL}:svm", options={"folds": 5}, reach=0, by_epochs=False),
    Baseline(
        "svm-pca",
        _SVM,
        f"{_CLASSICAL}:svm_pca",
        options={"folds": 5, "components": 12},
        by_epochs=False,
    ),
    Baseline(
        "rf",
        _FOREST,
        f"{_CLASSICAL}:forest",
        options={"folds": 5, "trees": 500},
        reach=0,
        by_epochs=False,
    ),
    Baseline("lda", _LDA, f"{_CLASSICAL}:discriminant", reach=0, by_epochs=False),
    Baseline(
        "rf-pca",
        _FOREST,
        f"{_CLASSICAL}:forest_pca",
        options={"folds": 5, "trees": 500, "components": 12},
        by_epochs=False,
    ),
    Baseline(
        "trees",
        "Geurts, Ernst and Wehenkel 2006, Machine Learning 63, doi 10.1007/s10994-006-6226-1",
        f"{_CLASSICAL}:trees",
        options={"folds": 5, "trees": 300},
        reach=16,
        by_epochs=False,
    ),
    Baseline(
        "emp",
        "Benediktsson, Palmason and Sveinsson 2005, IEEE TGRS 43(3), doi 10.1109/TGRS.2004.842478",
        f"{_CLASSICAL}:morphological_profiles",
        options={"folds": 5, "trees": 300, "components": 8},
        reach=24,
        by_epochs=False,
    ),
    Baseline(
        "rpnet",
        "Xu, Du, Zhang and Zhang 2018, ISPRS Journal 142, doi 10.1016/j.isprsjprs.2018.05.014",
        f"{_CLASSICAL}:random_patches",
        options={"folds": 5, "layers": 5, "patches": 20},
        reach=50,
        by_epochs=False,
    ),
    Baseline(
        "hybridsn",
        "Roy et al. 2020, IEEE GRSL 17(2), arXiv 1902.06701",
        f"{_NETWORK}:hybridsn",
        defaults={**_PLAIN, "patch_size": 25, "epochs": 100, "batch_size": 256, "lr": 1e-3},
        options={"components": 30},
    ),
    Baseline(
        "spectralformer",
        "Hong et al. 2022, IEEE TGRS 60, arXiv 2107.02988",
        f"{_NETWORK}:spectralformer",
        defaults={
            **_PLAIN,
            "patch_size": 7,
            "epochs": 300,
            "batch_size": 64,
            "lr": 5e-4,
            "weight_decay": 5e-3,
        },
        options={"group": 3},
    ),
    Baseline(
        "ssftt",
        "Sun et al. 2022, IEEE TGRS 60, doi 10.1109/TGRS.2022.3144158",
        f"{_NETWORK}:ssftt",
        defaults={**_PLAIN, "patch_size": 13, "epochs": 100, "batch_size": 64, "lr": 1e-3},
        options={"components": 30},
    ),
)

BASELINES = {baseline.name: baseline for baseline in _TABLE}


def register_baseline(baseline: Baseline) -> None:
    """Add a baseline; one of the same name is replaced."""
    BASELINES[baseline.name] = baseline
