"""The configuration of a run: every option of `hyperpeft train`, validated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hyperpeft.baselines import BASELINES
from hyperpeft.errors import ConfigError
from hyperpeft.splits import split_kind
from hyperpeft.system.safe_yaml import parse, read_yaml
from hyperpeft.system.text import whole_number

# What a method's rate is where the user gives none: fully trained weights bear less.
LR = {"full": 3e-5}
DEFAULT_LR = 1e-4
LAMBDA = 16.0
# The plain recipe of arXiv 2505.15334: one window for every scene, whitened components at 32 x 32,
# a head that starts at random and sees the pooled tokens alone.
PAPER: dict[str, Any] = {
    "patch_size": 9,
    "image_size": 32,
    "normalise": "zscore",
    "centre": False,
    "head": "random",
    "epochs": 50,
    "head_lr": 1e-3,
}
PAPER_LR = {"full": 3e-4}
PAPER_DEFAULT_LR = 2e-3
WINDOWS = (1, 3, 5, 7, 9, 11)  # that "auto" chooses from
BASELINE_WINDOW = 9  # of baselines that look around a pixel and say no other


_KIND = re.compile(r"literal\[.*\]|constrained-\w+")


class RunConfig(BaseModel):
    """One run, from scene to map.

    One of `per_class`, `fraction` and `split` says which pixels train; without any it is ten per
    class. The splits "disjoint" and "polygons" go with one of the other two, which is their size.
    `lr` is the peak rate of the adapters' A, or of the encoder under `full`. Every option, with its
    default and meaning: docs/options.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scene: str
    labels: str | None = None
    class_field: str | None = None  # of vectors
    all_touched: bool = False
    resample_labels: bool = False
    layout: str | None = None

    method: str = "krona+"
    backbone: str = "tiny"
    num_heads: int | None = Field(None, ge=1)
    pretrained: bool = True
    image_size: Annotated[int, Field(ge=8, le=128)] | None = None  # what the weights are for
    stride: int = Field(8, ge=1, le=8)
    targets: tuple[str, ...] = ("q", "v")
    blocks: Literal["all"] | Annotated[int, Field(ge=1)] = "all"  # or "last 4", which becomes 4
    options: dict[str, Any] = Field(default_factory=dict)

    per_class: int | None = Field(None, ge=1)
    fraction: float | None = Field(None, gt=0, lt=1)
    split: str | None = None
    split_window: int | None = Field(None, ge=1)  # of a spatial split, else patch_size
    split_gap: int | None = Field(None, ge=1)  # pixels from train to test
    validation: float = Field(0.0, ge=0, lt=1)

    recipe: Literal["default", "paper"] = "default"
    patch_size: int | Literal["auto"] = "auto"
    reduce: Literal["pca", "sentinel2", "mnf"] = "pca"
    normalise: str = "sqrt"
    reflectance_scale: float | None = Field(None, gt=0)  # the value of a reflectance of 1
    fit_on: Literal["scene", "train"] = "scene"
    centre: bool = True
    head: Literal["ridge", "random"] = "ridge"  # how it starts

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    lr: float | None = Field(None, gt=0)
    head_lr: float = Field(3e-5, gt=0)
    lam: float = Field(LAMBDA, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    warmup: float = Field(0.1, ge=0, lt=1)
    augment: bool = True
    patience: int = Field(0, ge=0)
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**31)

    map: bool = True
    out: Path = Path("run")

    @field_validator("targets", mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("blocks", mode="before")
    @classmethod
    def _last_blocks(cls, value: Any) -> Any:
        found = re.fullmatch(r"\s*(?:last\s+)?(\d{1,9})\s*", str(value))
        return int(found.group(1)) if found and isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_split(self) -> RunConfig:
        given = [n for n in ("per_class", "fraction", "split") if getattr(self, n) is not None]
        if len(given) > (2 if self.split is not None and split_kind(self.split).sized else 1):
            raise ValueError(f"{' and '.join(given)} exclude each other: give one")
        return self

    @field_validator("patch_size", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        number = whole_number(value) if isinstance(value, str) else None
        return value if number is None else number

    @property
    def largest_window(self) -> int:
        """`patch_size`, or the largest that may be chosen in its place."""
        return max(WINDOWS) if self.patch_size == "auto" else self.patch_size

    @property
    def rate(self) -> float:
        """`lr`, or the recipe's for the method."""
        if self.lr is not None:
            return self.lr
        if self.recipe == "paper":
            return PAPER_LR.get(self.method, PAPER_DEFAULT_LR)
        return LR.get(self.method, DEFAULT_LR)


def resolve_defaults(config: RunConfig) -> RunConfig:
    """The same options, with the recipe's or a baseline's own values where the user gave none."""
    given = {name for name in config.model_fields_set if getattr(config, name) is not None}
    baseline = BASELINES.get(config.method)
    if baseline is not None and config.patch_size == "auto":
        given.discard("patch_size")  # nothing chooses a window for a baseline: it has its own
    if baseline is None:
        own = PAPER if config.recipe == "paper" else {}
        options = config.options
    else:
        own, options = (
            {"patch_size": BASELINE_WINDOW, **baseline.defaults},
            baseline.complete(config.options),
        )
    missing = {name: value for name, value in own.items() if name not in given}
    return config.model_copy(update={**missing, "options": options})


def make_config(values: dict[str, Any]) -> RunConfig:
    """A RunConfig from plain values; ConfigError with one line per wrong option."""
    try:
        return RunConfig(**values)
    except ValidationError as error:
        raise ConfigError(readable(error)) from None


def read_config(path: Path) -> dict[str, Any]:
    """The options of a RUN.yaml, not yet validated."""
    values = read_yaml(path)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            f"configuration {path}", expected="options as `name: value`", got=type(values).__name__
        )
    return _spelled(values, path)


def _spelled(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Options under their own names, where the file has them as on the command line."""
    options: dict[str, Any] = {}
    for key, value in values.items():
        name = "lam" if key == "lambda" else key.replace("-", "_")
        if name in options:
            raise ConfigError(f"configuration {path}: {name} is given twice")
        options[name] = value
    return options


def read_options(pairs: list[str]) -> dict[str, Any]:
    """Options of a method written NAME=VALUE, the value as YAML.

    >>> read_options(["rank=4", "factors=[16, 48]"])
    {'rank': 4, 'factors': [16, 48]}
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
        options[name] = value
    return options


def readable(error: ValidationError, model: type[BaseModel] = RunConfig) -> str:
    """Pydantic's findings as one sentence each."""
    lines = []
    for problem in error.errors(include_url=False):
        # Where an option may be one of several kinds, pydantic names the kind behind it.
        where = ".".join(part for part in map(str, problem["loc"]) if not _KIND.fullmatch(part))
        if problem["type"] == "extra_forbidden":
            known = ", ".join("lambda" if n == "lam" else n for n in model.model_fields)
            lines.append(f"unknown option {where}: expected one of {known}")
        elif problem["type"] == "missing":
            lines.append(f"option {where} is missing")
        elif where:
            what = problem["msg"].removeprefix("Value error, ")
            lines.append(f"option {where}: {what}, got {problem['input']!r}")
        else:
            lines.append(problem["msg"].removeprefix("Value error, "))
    return "; ".join(lines)
