"""The explorer: look at a scene, label it, train, map and check, in a browser or a notebook.

`state` and what it uses know nothing of a browser; `page` and its tabs show it with Panel and
Bokeh, which are an extra; `server` serves the page on this machine alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.explorer.label_store import LabelStore
    from hyperpeft.explorer.server import explore, require_panel, serve
    from hyperpeft.explorer.state import Explorer

_MODULES = {
    "Explorer": "state",
    "LabelStore": "label_store",
    "explore": "server",
    "require_panel": "server",
    "serve": "server",
}

__all__ = ["Explorer", "LabelStore", "explore", "require_panel", "serve"]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
