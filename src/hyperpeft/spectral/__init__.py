"""From any number of bands to the 12 that the backbone reads."""

from hyperpeft.spectral.components import (
    Components,
    covariance_of,
    fitted_pixels,
    principal_components,
)
from hyperpeft.spectral.fit import REDUCTIONS, fit
from hyperpeft.spectral.normalisers import BIGEARTHNET_MEAN, BIGEARTHNET_STD, NORMALISERS
from hyperpeft.spectral.reducer import (
    FORMAT,
    N_BANDS,
    HasBands,
    Reducer,
    check_bands,
    check_scale,
    project,
    read_tensors,
)

__all__ = [
    "BIGEARTHNET_MEAN",
    "BIGEARTHNET_STD",
    "FORMAT",
    "NORMALISERS",
    "N_BANDS",
    "REDUCTIONS",
    "Components",
    "HasBands",
    "Reducer",
    "check_bands",
    "check_scale",
    "covariance_of",
    "fit",
    "fitted_pixels",
    "principal_components",
    "project",
    "read_tensors",
]
