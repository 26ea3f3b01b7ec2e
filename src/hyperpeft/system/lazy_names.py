"""What is named before it is needed, by a package or a table: imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package (PEP 562).

    Parameters
    ----------
    package : str
        Its `__name__`.
    modules : mapping of str to str
        The module, without the package's name, that each public name is defined in.

    Examples
    --------
    >>> load, names = lazy_names("hyperpeft", {"open_scene": "scenes"})
    >>> names()
    ['open_scene']
    >>> load("open_scene").__name__
    'open_scene'
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return load, lambda: sorted(modules)


def named_object(home: str) -> Any:
    """What "module:name" names, such as the function of a row of a table.

    Examples
    --------
    >>> named_object("math:sqrt")(9)
    3.0
    """
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(module), name)
