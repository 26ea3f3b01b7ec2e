"""The methods of a run: `prepare(config, scene, split) -> fit -> predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.runs.methods.contract import Prepared, Trained
    from hyperpeft.runs.methods.select import check, prepare

_MODULES = {
    "Prepared": "contract",
    "Trained": "contract",
    "check": "select",
    "prepare": "select",
}

__all__ = ["Prepared", "Trained", "check", "prepare"]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
