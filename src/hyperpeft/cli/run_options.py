"""The options of a run on the command line, made from the fields of RunConfig."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from hyperpeft.runs.config import GROUPS, RunConfig
from hyperpeft.runs.config_files import flag, read_options

_AS_THEY_ARE = (bool, int, float, Path)  # the others are text, which RunConfig reads


def option(name: str) -> Any:
    """The option of a command for a field of RunConfig; None where the user does not give it.

    Examples
    --------
    >>> option("epochs").help
    'Passes over the training pixels. [default: 20]'
    """
    field = RunConfig.model_fields[name]
    text, shown = field.description or "", default_text(field)
    return typer.Option(spelled(name), help=f"{text} [default: {shown}]" if shown else text)


def spelled(name: str) -> str:
    """A field as it is written on the command line, a switch with its opposite.

    >>> spelled("lam"), spelled("options"), spelled("map")
    ('--lambda', '--option', '--map/--no-map')
    """
    if name == "options":
        return "--option"
    words = flag(name)
    return f"{words}/--no-{words[2:]}" if _type_of(RunConfig.model_fields[name]) is bool else words


def default_text(field: FieldInfo) -> str:
    """A default as the user would write it; empty where there is none."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def grouped_fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every field of RunConfig: title of its group, name, declaration."""
    titles = {first: title for title, first in GROUPS.items()}
    title = ""
    for name, field in RunConfig.model_fields.items():
        title = titles.get(name, title)
        yield title, name, field


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every field of RunConfig: the scene as its argument, the others as options.

    The command takes them as keywords (`**given`), beside its own.
    """
    given = []
    for title, name, field in grouped_fields():
        if field.is_required():
            kind: Any = Annotated[str, typer.Argument(help=field.description)]
            default = inspect.Parameter.empty
        else:
            info, default = option(name), None
            info.rich_help_panel = title
            base = list[str] if name == "options" else _type_of(field)
            kind = Annotated[base | None, info]
        how: dict[str, Any] = {"default": default, "annotation": kind}
        given.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **how))
    own = inspect.signature(command, eval_str=True).parameters.values()
    named = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.kind is not p.VAR_KEYWORD]
    command.__signature__ = inspect.Signature([*given, *named])  # type: ignore[attr-defined]
    return command


def values_of(given: dict[str, Any]) -> dict[str, Any]:
    """The values of RunConfig that the user gave."""
    values = {name: value for name, value in given.items() if value is not None}
    if "options" in values:
        values["options"] = read_options(values["options"])
    return values


def _type_of(field: FieldInfo) -> type:
    """What the command line reads a field as."""
    kinds = {kind for kind in get_args(field.annotation) if kind is not NoneType} or {
        field.annotation
    }
    # An annotated number is one number, and a number or a word is text.
    plain = {getattr(kind, "__origin__", kind) for kind in kinds}
    only = next(iter(plain)) if len(plain) == 1 else None
    return only if only in _AS_THEY_ARE else str
