"""Commands whose modules are imported when they are used, so that `--help` answers at once."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand


def add_command(app: typer.Typer, name: str, target: str, summary: str) -> None:
    """Add a command to an application.

    Parameters
    ----------
    app : Typer
    name : str
    target : str
        MODULE:FUNCTION below `hyperpeft.cli`, imported when the command or its help is used.
    summary : str
        For the list of commands: the first line of the function's docstring.
    """

    class Lazy(TyperCommand):
        def make_context(self, *args: Any, **extra: Any) -> Any:
            return _load(name, target).make_context(*args, **extra)

    def not_loaded() -> None:
        """Stand in for the function in the list of commands."""

    app.command(name, cls=Lazy, help=summary)(not_loaded)


def _load(name: str, target: str) -> Any:
    module, function = target.split(":")
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    app.command(name)(getattr(importlib.import_module(f"hyperpeft.cli.{module}"), function))
    return typer.main.get_command(app)
