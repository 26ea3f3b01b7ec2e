"""From any number of bands to the 12 that the backbone reads."""

from hyperpeft.spectral.fit import REDUCTIONS, fit
from hyperpeft.spectral.normalisers import BIGEARTHNET_MEAN, BIGEARTHNET_STD, NORMALISERS
from hyperpeft.spectral.pca import Components, principal_components
from hyperpeft.spectral.reducer import FORMAT, N_BANDS, Reducer, check_bands

__all__ = [
    "BIGEARTHNET_MEAN",
    "BIGEARTHNET_STD",
    "FORMAT",
    "NORMALISERS",
    "N_BANDS",
    "REDUCTIONS",
    "Components",
    "Reducer",
    "check_bands",
    "fit",
    "principal_components",
]
