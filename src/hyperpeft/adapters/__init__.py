"""Adapters for the linear layers of a frozen model: attach, merge, save, load.

A method is one file with one class (`lora.py`, `kronecker.py`) that imports `base.py` only.
"""

# isort: off
# The methods register themselves, in the order in which they are listed to the user.
from hyperpeft.adapters import lora  # noqa: F401
from hyperpeft.adapters import kronecker  # noqa: F401

# isort: on
from hyperpeft.adapters import save_load
from hyperpeft.adapters.attach import (
    Attachment,
    adapters_of,
    attach,
    block_number,
    check_bare,
    detach,
    merge,
    merged,
    parse_blocks,
    replace_module,
)
from hyperpeft.adapters.base import METHODS, Adapter, get_method, register
from hyperpeft.adapters.save_load import load, restore, save

__all__ = [
    "METHODS",
    "Adapter",
    "Attachment",
    "adapters_of",
    "attach",
    "block_number",
    "check_bare",
    "detach",
    "get_method",
    "load",
    "merge",
    "merged",
    "parse_blocks",
    "register",
    "replace_module",
    "restore",
    "save",
    "save_load",
]
