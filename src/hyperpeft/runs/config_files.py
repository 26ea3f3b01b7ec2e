"""Options as text: YAML files, NAME=VALUE pairs, and what is wrong with them in one line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hyperpeft.errors import ConfigError
from hyperpeft.splits import split_kind
from hyperpeft.system.safe_yaml import parse, read_yaml

# Fields whose name on the command line and in files is a reserved word of Python.
SPELLED = {"lam": "lambda"}

_EXPONENT = re.compile(r"[-+]?[0-9]{1,20}[eE][-+]?[0-9]{1,3}")
_KIND = re.compile(r"literal\[.*\]|constrained-\w+")


def flag(field: str) -> str:
    """The command line's name of an option.

    >>> flag("patch_size"), flag("lam")
    ('--patch-size', '--lambda')
    """
    return "--" + SPELLED.get(field, field).replace("_", "-")


def field_name(key: str) -> str:
    """The field of an option that a file names as the command line does.

    >>> field_name("patch-size"), field_name("lambda")
    ('patch_size', 'lam')
    """
    name = key.replace("-", "_")
    return {spelled: field for field, spelled in SPELLED.items()}.get(name, name)


def field_names(values: Any) -> dict[str, Any]:
    """Options under the names of their fields.

    Raises
    ------
    ValueError
        `values` are not options as `name: value`, or one is given under two names.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"expected options as `name: value`, got {values!r}")
    options: dict[str, Any] = {}
    for key, value in values.items():
        name = field_name(str(key))
        if name in options:
            raise ValueError(f"{name} is given twice")
        options[name] = value
    return options


def read_config(path: Path) -> dict[str, Any]:
    """The options of a RUN.yaml, not yet validated."""
    values = read_yaml(path)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            f"configuration {path}", expected="options as `name: value`", got=type(values).__name__
        )
    try:
        return field_names(values)
    except ValueError as error:
        raise ConfigError(f"configuration {path}: {error}") from None


def with_given(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a file with those of the command line, which win.

    What they exclude of the file's goes: per class and fraction exclude each other, and a split
    that has a size of its own both. Options of the method are taken one by one.

    >>> with_given({"split": "disjoint", "per_class": 5}, {"fraction": 0.1})
    {'split': 'disjoint', 'fraction': 0.1}
    >>> with_given({"per_class": 5, "seed": 1}, {"split": "official"})
    {'seed': 1, 'split': 'official'}
    >>> with_given({"options": {"rank": 4}}, {"options": {"alpha": 8}})
    {'options': {'rank': 4, 'alpha': 8}}
    """
    sizes = {"per_class", "fraction"}
    gone = sizes if sizes & given.keys() else set()
    if "split" in given and not split_kind(given["split"]).sized:
        gone = sizes
    found = {name: value for name, value in values.items() if name not in gone} | dict(given)
    if isinstance(values.get("options"), Mapping) and "options" in given:
        found["options"] = {**values["options"], **given["options"]}
    return found


def read_options(pairs: list[str]) -> dict[str, Any]:
    """Options of a method written NAME=VALUE, the value as YAML.

    >>> read_options(["rank=4", "factors=[16, 48]"])
    {'rank': 4, 'factors': [16, 48]}
    >>> read_options(["alpha=1e-3"])  # text in YAML, which wants a point
    {'alpha': 0.001}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            value = parse(text)
        except yaml.YAMLError:
            value = None
        if not name or not equals or value is None:
            raise ConfigError("--option", expected="NAME=VALUE, such as rank=4", got=pair)
        if name in options:
            raise ConfigError(f"option {name}", expected="one value", got=pairs)
        if isinstance(value, str) and _EXPONENT.fullmatch(value):
            value = float(value)
        options[name] = value
    return options


def train_command(config: BaseModel) -> str:
    """The `hyperpeft train` command of a RunConfig: what was given, and is not the default.

    An option that was given as its default is written too: one that is left open may be chosen by
    a recipe, by a baseline or by the labels.

    Examples
    --------
    >>> from hyperpeft.runs.config import RunConfig
    >>> train_command(RunConfig(scene="my scene.tif", method="svm", map=False))
    "hyperpeft train 'my scene.tif' --method svm --no-map"
    """
    words = ["hyperpeft", "train"]
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if field.is_required():
            words.append(value)
            continue
        default = field.get_default(call_default_factory=True)
        if value is None or (value == default and name not in config.model_fields_set):
            continue
        words += _words(name, value)
    return shlex.join(words)


def _words(name: str, value: Any) -> list[str]:
    if name == "options":
        return [w for key, v in value.items() for w in ("--option", f"{key}={json.dumps(v)}")]
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{flag(name)[2:]}"]
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if name == "blocks":
        text = f"last {text}"
    return [flag(name), text]


def readable(error: ValidationError, model: type[BaseModel]) -> str:
    """Pydantic's findings on a model's options as one sentence each."""
    lines = []
    for problem in error.errors(include_url=False):
        # Where an option may be one of several kinds, pydantic names the kind behind it.
        where = ".".join(part for part in map(str, problem["loc"]) if not _KIND.fullmatch(part))
        if problem["type"] == "extra_forbidden":
            known = ", ".join(SPELLED.get(name, name) for name in model.model_fields)
            lines.append(f"unknown option {where}: expected one of {known}")
        elif problem["type"] == "missing":
            lines.append(f"option {where} is missing")
        elif where:
            what = problem["msg"].removeprefix("Value error, ")
            lines.append(f"option {where}: {what}, got {problem['input']!r}")
        else:
            lines.append(problem["msg"].removeprefix("Value error, "))
    return "; ".join(lines)
