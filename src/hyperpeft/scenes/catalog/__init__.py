"""Cards of benchmark scenes: where their files are, how to fetch and verify them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.scenes.catalog.card import Card, File
    from hyperpeft.scenes.catalog.cards import CARDS, get_card
    from hyperpeft.scenes.catalog.fetch import find, list_scenes

_MODULES = {
    "CARDS": "cards",
    "Card": "card",
    "File": "card",
    "find": "fetch",
    "get_card": "cards",
    "list_scenes": "fetch",
}

__all__ = [
    "CARDS",
    "Card",
    "File",
    "find",
    "get_card",
    "list_scenes",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
