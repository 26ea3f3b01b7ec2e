"""Adapters for the linear layers of a frozen model: attach, merge, save, load."""

from hyperpeft.adapters import kronecker  # noqa: F401  # registers its methods
from hyperpeft.adapters.base import METHODS, Attachment, adapters_of, attach, get_method, merge
from hyperpeft.adapters.store import load, save

__all__ = [
    "METHODS",
    "Attachment",
    "adapters_of",
    "attach",
    "get_method",
    "load",
    "merge",
    "save",
]
