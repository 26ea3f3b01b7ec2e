"""What the file of a benchmark may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hyperpeft.runs.config_files import field_names
from hyperpeft.splits import SPLIT_KINDS, budget_label


class Override(BaseModel):
    """Options of the cells whose coordinates are among those named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scene: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    budget: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    set: dict[str, Any]

    @field_validator("scene", "split", "budget", "method", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("set", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        return field_names(value) if isinstance(value, dict) else value

    def matches(self, where: Mapping[str, str]) -> bool:
        """Whether a cell at these coordinates takes the options."""
        return all(not getattr(self, axis) or where[axis] in getattr(self, axis) for axis in where)


class BenchConfig(BaseModel):
    """A benchmark: options for all runs, and the axes of the grid.

    Attributes
    ----------
    name, about : str
        For the report.
    common : dict
        Options of `hyperpeft train` for every cell.
    scenes, methods : dict of str to dict
        A label, and the options that go with it. Without `scene` or `method` among them the label
        is the card's name, or the method's. A scene may bring `splits`, `budgets` or `seeds` of
        its own.
    splits : dict of str to str
        A label, and what it stands for: random, disjoint, official or a value of `--split`.
    budgets : dict of str to dict
        A label, and `per_class` or `fraction`. The official masks have a size of their own: they
        are run under the first budget only.
    seeds : tuple of int
    overrides : tuple of Override
    reference : str
        The method that the others are compared with; else the first.
    keep : {"record", "picture", "run"}
        What stays of a finished cell: run.json (and classes.png where the scene was mapped), the
        picture map.png as well, or the whole run folder.
    maps : {"none", "first", "all"}
        The seeds whose whole scene is mapped; of the others the test pixels are.
    threads : int or None
        Of each cell; else the cores, divided by the workers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str = ""
    common: dict[str, Any] = Field(default_factory=dict)
    scenes: dict[str, dict[str, Any]] = Field(min_length=1)
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    splits: dict[str, str] = Field(default_factory=lambda: {"random": "random"})
    budgets: dict[str, dict[str, Any]] = Field(
        default_factory=lambda: {"10-per-class": {"per_class": 10}}
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    overrides: tuple[Override, ...] = ()
    reference: str = ""
    keep: Literal["record", "picture", "run"] = "record"
    maps: Literal["none", "first", "all"] = "first"
    threads: int | None = Field(None, ge=1)

    @field_validator("scenes", "methods", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A list of names is as good as names without options."""
        entries = dict.fromkeys(map(str, value)) if isinstance(value, list) else value
        if not isinstance(entries, dict):
            return value
        return {str(name): field_names(options or {}) for name, options in entries.items()}

    @field_validator("splits", mode="before")
    @classmethod
    def _splits(cls, value: Any) -> Any:
        return read_splits(value)

    @field_validator("budgets", mode="before")
    @classmethod
    def _budgets(cls, value: Any) -> Any:
        return read_budgets(value)

    @field_validator("common", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        return field_names(value) if isinstance(value, dict) else value


def read_splits(value: Any) -> Any:
    """A list of kinds, or labels with a kind each."""
    value = [value] if isinstance(value, str) else value
    if isinstance(value, list):
        unknown = [kind for kind in value if kind not in _by_name()]
        if unknown:
            raise ValueError(
                f"splits {unknown} need a label: write `label: value`, or one of {_by_name()}"
            )
        return {kind: kind for kind in value}
    return value


def read_budgets(value: Any) -> Any:
    """A list of `per_class: 10` and `fraction: 0.1`, or labels with one of these each."""
    if isinstance(value, list):
        labelled = {}
        for entry in value:
            entry = field_names(entry) if isinstance(entry, dict) else entry
            match entry:
                case {"per_class": int(n)}:
                    labelled[budget_label(None, per_class=n)] = entry
                case {"fraction": float(share)}:
                    labelled[budget_label(None, fraction=share)] = entry
                case _:
                    raise ValueError(f"budget {entry!r}: write `per_class: 10` or `fraction: 0.1`")
        value = labelled
    if isinstance(value, dict):
        value = {str(label): field_names(size or {}) for label, size in value.items()}
        for label, size in value.items():
            if len(size) != 1 or not size.keys() <= {"per_class", "fraction"}:
                raise ValueError(f"budget {label}: give per_class or fraction")
    return value


def _by_name() -> tuple[str, ...]:
    """Splits that need no more than their name."""
    return tuple(name for name, kind in SPLIT_KINDS.items() if kind.named)
