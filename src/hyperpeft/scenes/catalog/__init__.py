"""Cards of benchmark scenes: where their files are, how to fetch and verify them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.scenes.catalog.card import Card, File
    from hyperpeft.scenes.catalog.cards import CARDS, get_card
    from hyperpeft.scenes.catalog.locate import find, list_scenes

_MODULES = {
    "CARDS": "cards",
    "Card": "card",
    "File": "card",
    "find": "locate",
    "get_card": "cards",
    "list_scenes": "locate",
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
