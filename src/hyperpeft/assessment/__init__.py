"""Accuracy and area of a map from a checked probability sample, and what to label next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.assessment.assess import Assessment, assess_map
    from hyperpeft.assessment.class_raster import ClassRaster, read_class_raster
    from hyperpeft.assessment.estimators import Estimate, Estimates, Observations, estimate
    from hyperpeft.assessment.points import UNSURE, CheckList
    from hyperpeft.assessment.sample import Sampled, allocate, sample_map, sample_size
    from hyperpeft.assessment.suggestions import (
        Suggestions,
        suggest,
        suggest_to_file,
        write_suggestions,
    )
    from hyperpeft.assessment.tables import all_tables, headline, to_html, to_latex

_MODULES = {
    "Assessment": "assess",
    "CheckList": "points",
    "ClassRaster": "class_raster",
    "Estimate": "estimators",
    "Estimates": "estimators",
    "Observations": "estimators",
    "Sampled": "sample",
    "Suggestions": "suggestions",
    "UNSURE": "points",
    "all_tables": "tables",
    "allocate": "sample",
    "assess_map": "assess",
    "estimate": "estimators",
    "headline": "tables",
    "read_class_raster": "class_raster",
    "sample_map": "sample",
    "sample_size": "sample",
    "suggest": "suggestions",
    "suggest_to_file": "suggestions",
    "to_html": "tables",
    "to_latex": "tables",
    "write_suggestions": "suggestions",
}

__all__ = [
    "UNSURE",
    "Assessment",
    "CheckList",
    "ClassRaster",
    "Estimate",
    "Estimates",
    "Observations",
    "Sampled",
    "Suggestions",
    "all_tables",
    "allocate",
    "assess_map",
    "estimate",
    "headline",
    "read_class_raster",
    "sample_map",
    "sample_size",
    "suggest",
    "suggest_to_file",
    "to_html",
    "to_latex",
    "write_suggestions",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
