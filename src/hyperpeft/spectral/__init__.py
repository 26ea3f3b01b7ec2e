"""From any number of bands to the 12 that the backbone reads."""

from hyperpeft.spectral.reducing import (
    BIGEARTHNET_MEAN,
    BIGEARTHNET_STD,
    FORMAT,
    N_BANDS,
    NORMALISERS,
    REDUCTIONS,
    Components,
    Reducer,
    check_bands,
    fit,
    principal_components,
)

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
