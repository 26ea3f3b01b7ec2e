"""What run.json holds: one run, from options to scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

from hyperpeft.errors import BundleError
from hyperpeft.metrics import class_scores
from hyperpeft.records import Colour
from hyperpeft.runs import record_sections as sections
from hyperpeft.runs.config import AUTO, METHOD
from hyperpeft.runs.file_names import RUN
from hyperpeft.system.files import read_json, within
from hyperpeft.system.text import html_table

_SHOWN = 3  # of the problems of a record


class _As:
    """A dictionary that is as a model says; its values and their order stay as they are."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def keep(value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Any:
            check(value)
            return value

        return core_schema.no_info_wrap_validator_function(
            keep, handler.generate_schema(self.model)
        )


@dataclass(frozen=True, repr=False, config=ConfigDict(extra="ignore"))
class RunRecord:
    """What `run.json` holds: the whole run but the weights. Missing stays missing (None).

    The sections are dictionaries, each validated by the model of its name in `record_sections`;
    `docs/reference/run-folder.md` lists their keys. Sections of later versions are ignored.
    """

    hyperpeft: str
    created: str
    config: Annotated[dict[str, Any], _As(sections.ConfigSection)]
    scene: Annotated[dict[str, Any], _As(sections.SceneSection)]
    reducer: Annotated[dict[str, Any], _As(sections.ReducerSection)]
    split: Annotated[dict[str, Any], _As(sections.SplitSection)]
    backbone: Annotated[dict[str, Any], _As(sections.BackboneSection)]
    adapter: Annotated[dict[str, Any], _As(sections.AdapterSection)]
    metrics: Annotated[dict[str, Any], _As(sections.MetricsSection)]
    timing: Annotated[dict[str, Any], _As(sections.TimingSection)]
    environment: Annotated[dict[str, Any], _As(sections.EnvironmentSection)]
    notes: list[str] = Field(default_factory=list)
    map: Annotated[dict[str, Any], _As(sections.MapSection)] | None = None
    baseline: Annotated[dict[str, Any], _As(sections.BaselineSection)] | None = None
    files: dict[str, str] | None = None  # sha256 of what was learned, by the file's name

    @model_validator(mode="after")
    def _known_classes(self) -> RunRecord:
        known, outputs = self.scene.get("class_ids"), self.adapter.get("class_ids")
        strange = sorted(set(outputs or ()) - set(known or ()))
        if known is not None and strange:
            raise ValueError(f"adapter.class_ids holds {strange[:8]}, which the scene does not")
        return self

    @property
    def class_names(self) -> dict[int, str]:
        """Names of the scene's classes by id."""
        return dict(zip(self.scene["class_ids"], self.scene["classes"], strict=True))

    @property
    def class_colours(self) -> dict[int, Colour]:
        """RGB of the scene's classes by id."""
        colours = [(int(r), int(g), int(b)) for r, g, b in self.scene["colours"]]
        return dict(zip(self.scene["class_ids"], colours, strict=True))

    def __repr__(self) -> str:
        def percent(key: str) -> str:
            value = self.metrics.get(key)
            return "none" if value is None else f"{value:.1f}"

        return (
            f"<RunRecord {self.scene.get('name')}: {self.adapter.get('method')} on "
            f"{self.backbone.get('name') or 'the bands'}, {self.split.get('train')} training "
            f"pixels, OA {percent('oa')}, AA {percent('aa')}, kappa x 100 {percent('kappa')}>"
        )

    def _repr_html_(self) -> str:
        names = self.class_names
        figures = class_scores(self.metrics.get("confusion") or np.zeros((0, 0)))
        rows = [
            [names.get(i, str(i))]
            + ["none" if value is None else f"{value:.1f}" for value in of_class.values()]
            for i, of_class in zip(self.metrics.get("class_ids") or [], figures, strict=True)
        ]
        heads = ["class", "recall %", "precision %", "F1 %"]
        return html_table(repr(self)[1:-1], heads, rows)

    def plot_confusion(self, ax: Any = None) -> Any:
        """Draw the confusion matrix, rows true and in percent; the axes."""
        from matplotlib import pyplot  # takes a second to load

        counts = np.array(self.metrics["confusion"], float)
        percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        names = self.class_names
        labels = [str(names.get(i, i)).replace("$", r"\$") for i in self.metrics["class_ids"]]
        if ax is None:
            side = 2.5 + 0.4 * len(labels)
            _, ax = pyplot.subplots(figsize=(side, side), layout="constrained")
        ax.imshow(percent, vmin=0, vmax=100, cmap="Blues")
        for (row, column), value in np.ndenumerate(percent):
            if counts[row, column]:
                shade = "white" if value > 60 else "black"
                ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=shade)
        ax.set_xticks(range(len(labels)), labels, rotation=90)
        ax.set_yticks(range(len(labels)), labels)
        ax.set_xlabel("predicted")
        ax.set_ylabel("true")
        return ax

    def to_json(self) -> str:
        """Indented JSON; NaN is refused, because missing is null."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_file(cls, path: Path) -> RunRecord:
        """Read `run.json`; a file that is not one is refused by name."""
        try:
            values = read_json(within(path.parent, path.name))
        except FileNotFoundError:
            raise BundleError(
                f"{path.parent} is not a run folder: it has no {RUN}",
                hint="give the folder that `hyperpeft train --out` wrote",
            ) from None
        if not isinstance(values, dict):
            got = type(values).__name__
            raise BundleError(f"{path} is not a run record", expected="an object", got=got)
        try:
            return _RECORD.validate_python(values)
        except ValidationError as error:
            raise BundleError(f"{path} is not a run record: {_readable(error)}") from None


_RECORD = TypeAdapter(RunRecord)


def check_values(values: Mapping[str, Any], where: str | Path) -> None:
    """Refuse a record whose values have other types than a record's; any of them may be missing.

    Raises
    ------
    BundleError
        `where` is not a run record; with the first few reasons.
    """
    try:
        _RECORD.validate_python(values)
    except ValidationError as error:
        wrong = _readable(error, missing=False)
        if wrong:
            raise BundleError(f"{where} is not a run record: {wrong}") from None


def _readable(error: ValidationError, *, missing: bool = True) -> str:
    """Pydantic's findings in one line of bounded length; what is missing first."""
    lacking, wrong = [], []
    for problem in error.errors(include_url=False):
        path = ".".join(map(str, problem["loc"]))
        if problem["type"] == "missing":
            lacking.append(path)
            continue
        what = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        what = what.partition(" or instance of ")[0]
        if problem["type"] == "value_error" and not what.startswith("expected"):
            wrong.append(what)  # it names the keys that do not fit each other
        else:
            wrong.append(f"{path}: {what}, got {str(problem['input'])[:80]}")
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    start = [f"it lacks {', '.join(lacking)}"] if lacking and missing else []
    return "; ".join([*start, *wrong[:_SHOWN], *more])


def windows_of(record: RunRecord) -> tuple[int, ...]:
    """Sides of a run's windows; records of before there could be several hold a number."""
    sizes = record.config["patch_size"]
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def sees_centre(record: RunRecord) -> bool:
    """Whether a run's head sees the centre pixel; records of before there was a choice lack it."""
    return bool(record.config.get("centre", False))


def method_of_backbone(record: RunRecord) -> str:
    """The adapter method of a run; of `auto`, that of its part on the backbone."""
    method = str(record.adapter["method"])
    return METHOD if method == AUTO else method
