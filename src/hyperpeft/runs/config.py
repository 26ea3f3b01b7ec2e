"""The configuration of a run: every option of `hyperpeft train`, validated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hyperpeft.baselines import BASELINES
from hyperpeft.errors import ConfigError
from hyperpeft.runs.config_files import readable
from hyperpeft.splits import SPLIT_KINDS, split_kind
from hyperpeft.system.text import whole_number

# What a method's rate is where the user gives none: fully trained weights bear less.
LR = {"full": 3e-5}
DEFAULT_LR = 1e-4
LAMBDA = 16.0
# The method that mixes an adapted backbone with classic classifiers, the adapter of its part on the
# backbone, and that part's name.
AUTO, METHOD, BACKBONE_PART = "auto", "krona+", "backbone"
# The plain recipe of arXiv 2505.15334: one window for every scene, whitened components at 32 x 32,
# a head that starts at random and sees the pooled tokens alone.
PAPER: dict[str, Any] = {
    "method": METHOD,
    "patch_size": 9,
    "refine": "none",
    "image_size": 32,
    "normalise": "zscore",
    "centre": False,
    "head": "random",
    "epochs": 50,
    "head_lr": 1e-3,
}
PAPER_LR = {"full": 3e-4}
PAPER_DEFAULT_LR = 2e-3
IN_MEMORY = "in memory"  # the scene or the labels of a run that were not opened from a file
WINDOWS = (1, 3, 5, 7, 9, 11)  # that "auto" chooses from
BASELINE_WINDOW = 9  # of baselines that look around a pixel and say no other

# Options that a recipe which follows the labels sets where the user does not.
FOLLOW_LABELS = (
    "targets",
    "options",
    "head",
    "lr",
    "head_lr",
    "batch_size",
    "epochs",
    "label_smoothing",
)
DENSE_TERMS = 4  # of the Kronecker adapters, where labels are many

# Groups of options in the help and in docs/reference/options.md, each with its first option.
GROUPS = {
    "Scene and labels": "scene",
    "Backbone and adapter": "method",
    "Training pixels": "per_class",
    "Windows and head": "recipe",
    "Training": "epochs",
    "Output": "map",
}


def _split_kinds() -> str:
    """The splits that have a name, for the description of the option."""
    return "; ".join(f"{name}: {k.description}" for name, k in SPLIT_KINDS.items() if k.named)


class RunConfig(BaseModel):
    """One run, from scene to map.

    An option is declared here and nowhere else: the command line of `train`, its help and
    `docs/reference/options.md` are made from these fields, in this order. Where an option is
    None, the value is used that its description names after "else".
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scene: str = Field(
        description="A card's name (see `hyperpeft scenes list`), FILE[:KEY], a product's folder, "
        "tiles as a.tif,b.tif, or an https:// or s3:// address of a GeoTIFF or Zarr store."
    )
    labels: str | None = Field(
        None,
        description="FILE[:KEY] of class ids on the scene's grid, 0 unlabelled, or of points or "
        "polygons; a card has its own.",
    )
    class_field: str | None = Field(
        None, description="Field of vector or CSV labels that holds the classes."
    )
    all_touched: bool = Field(
        False,
        description="Polygons label every pixel that they touch, not only those whose centre they "
        "cover.",
    )
    resample_labels: bool = Field(
        False, description="Resample a label raster of another grid by nearest neighbour."
    )
    layout: str | None = Field(
        None, description="Axes of an array file, such as h w b, b h w or b (w h)."
    )

    method: str = Field(
        "auto",
        description="auto: krona+ and classic classifiers, weighted by their likelihood on "
        "left-out training pixels; or full, probe, lora, lora+, krona, krona+, lokr; or a "
        f"baseline: {', '.join(BASELINES)}.",
    )
    backbone: str = Field(
        "tiny",
        description="tiny, small, base, large, huge, spectralgpt, spectralgpt+ or a checkpoint.",
    )
    num_heads: int | None = Field(
        None,
        ge=1,
        description="Attention heads of a checkpoint; else what its file says, those of the "
        "built-in size of its width and depth, or width // 64.",
    )
    pretrained: bool = Field(
        True, description="Start a built-in size from its pretrained weights, where it has any."
    )
    image_size: Annotated[int, Field(ge=8, le=128)] | None = Field(
        None,
        description="Side in pixels that windows are resized to; else the backbone's own (tiny: "
        "16), or 32.",
    )
    stride: int = Field(
        8,
        ge=1,
        le=8,
        description="Pixels from one token to the next; tokens of less than 8 overlap.",
    )
    targets: tuple[str, ...] = Field(
        ("q", "v"), description="Layers to adapt, of q, k, v, proj, fc1, fc2."
    )
    blocks: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
        "all", description='Blocks to adapt: all, or how many of the last ones, such as "last 4".'
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Option of the method, NAME=VALUE, such as rank=4; repeatable.",
    )

    per_class: int | None = Field(
        None,
        ge=1,
        description="Training pixels per class; ten where neither a fraction nor a split says it.",
    )
    fraction: float | None = Field(None, gt=0, lt=1, description="Share of each class that trains.")
    split: str | None = Field(
        None,
        description=f"{_split_kinds()}; TRAIN,TEST label files; or a split.npz.",
    )
    split_window: int | None = Field(
        None,
        ge=1,
        description="Window whose training and test pixels a spatial split keeps apart; else the "
        "patch size.",
    )
    split_gap: int | None = Field(
        None,
        ge=1,
        description="Least distance in pixels from a training to a test pixel of a spatial split; "
        "else half a window and one.",
    )
    validation: float = Field(
        0.0, ge=0, lt=1, description="Share of the training pixels kept for validation."
    )

    recipe: Literal["default", "paper"] = Field(
        "default", description="default, or paper: the plain one of arXiv 2505.15334."
    )
    patch_size: int | Literal["auto"] | tuple[int, ...] = Field(
        "auto",
        description="Side of the window around a pixel, odd, 1 to 63, or several, such as 1,5,11, "
        "of which those that help are averaged; or auto: selected by cross-validation on the "
        "training pixels.",
    )
    refine: Literal["auto", "none", "guided", "graph"] = Field(
        "auto",
        description="Refinement of the class probabilities along the edges of the scene: none, "
        "guided (filter), graph (smoothing), or auto: guided, but graph where labels lie densely; "
        "of a baseline, auto is none.",
    )
    reduce: Literal["pca", "sentinel2", "mnf"] = Field(
        "pca", description="Reduction of the bands to 12: pca, sentinel2 or mnf."
    )
    normalise: str = Field(
        "sqrt", description="Normaliser of the 12 components: sqrt, zscore, minmax or bigearthnet."
    )
    reflectance_scale: float | None = Field(
        None,
        gt=0,
        description="Stored value of a reflectance of 1, for sentinel2 with bigearthnet.",
    )
    fit_on: Literal["scene", "train"] = Field(
        "scene",
        description="Pixels that the reduction is fitted on: scene, or train for the training "
        "pixels.",
    )
    centre: bool = Field(
        True, description="The head also takes the 12 components of the window's centre pixel."
    )
    head: Literal["ridge", "random"] = Field(
        "ridge", description="Start of the head: ridge (fitted in closed form) or random."
    )

    epochs: int = Field(20, ge=1, description="Passes over the training pixels.")
    batch_size: int = Field(16, ge=1, description="Windows of a step, over all processes.")
    accumulate: int = Field(
        1, ge=1, description="Parts that a batch is computed in, to save memory."
    )
    lr: float | None = Field(
        None,
        gt=0,
        description="Peak rate of the adapters' A, else 1e-4; of the encoder under full, else "
        "3e-5.",
    )
    head_lr: float = Field(3e-5, gt=0, description="Peak rate of the head.")
    lam: float = Field(LAMBDA, gt=0, description='Rate of B over the rate of A under "+".')
    weight_decay: float = Field(0.05, ge=0, description="Weight decay of AdamW.")
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="Share of a label that is spread over all classes."
    )
    warmup: float = Field(
        0.1, ge=0, lt=1, description="Share of the steps for which the rate rises."
    )
    augment: bool = Field(True, description="Flips and quarter turns.")
    patience: int = Field(
        0, ge=0, description="Epochs without better validation before stopping; 0 never stops."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, more time."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="fp32, bf16, or auto: bf16 where the device is faster with it."
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Seed of the split, the initialisation of adapter, head and network, the order "
        "and the augmentation; an encoder that is not pretrained is the same for every seed.",
    )

    map: bool = Field(True, description="Map the whole scene, not only classify the test pixels.")
    out: Path = Field(Path("run"), description="Run folder to write.")

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
        sizes = [n for n in ("per_class", "fraction") if getattr(self, n) is not None]
        if len(sizes) > 1:
            named = f"with split {self.split!r} " if self.split else ""
            raise ValueError(
                f"per_class and fraction exclude each other: {named}give "
                f"per_class={self.per_class} or fraction={self.fraction:g}, or neither"
            )
        kind = split_kind(self.split)
        path = Path(self.split or "")
        mistyped = kind.name == "file" and not path.suffix and not path.exists()  # `select` says so
        if sizes and not kind.sized and not mistyped:
            sized = [name for name, kind in SPLIT_KINDS.items() if kind.sized and kind.named]
            raise ValueError(
                f"{sizes[0]} and split {self.split!r} exclude each other: give one; {sizes[0]} is "
                f"the size of the splits {', '.join(sized)}"
            )
        return self

    @field_validator("patch_size", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else ()
        numbers = [whole_number(part.strip()) for part in parts]
        if not numbers or None in numbers:
            return value
        return numbers[0] if len(numbers) == 1 else tuple(numbers)

    @field_validator("patch_size")
    @classmethod
    def _each_window_once(cls, value: Any) -> Any:
        if isinstance(value, tuple) and (not value or len(set(value)) < len(value)):
            raise ValueError("expected one window, or several different ones such as 1,5,11")
        return value

    @property
    def windows(self) -> tuple[int, ...]:
        """The windows of `patch_size`, or those that "auto" selects from."""
        if isinstance(self.patch_size, tuple):
            return self.patch_size
        return WINDOWS if self.patch_size == "auto" else (self.patch_size,)

    @property
    def largest_window(self) -> int:
        """The largest window, or the largest that may be selected in its place."""
        return max(self.windows)

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
            {"patch_size": BASELINE_WINDOW, "refine": "none", **baseline.defaults},
            baseline.complete(config.options),
        )
    missing = {name: value for name, value in own.items() if name not in given}
    return config.model_copy(update={**missing, "options": options})


def dense_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a Kronecker adapter where labels are many; given factors bound the terms."""
    return {**({} if "factors" in options else {"terms": DENSE_TERMS}), **options}


def set_by_labels(config: RunConfig, found: Mapping[str, Any]) -> set[str]:
    """Options of a record that its run set by its labels, where this configuration left them open.

    Parameters
    ----------
    config : RunConfig
        With `resolve_defaults` applied.
    found : mapping
        The options of the record.
    """
    names = {name for name in FOLLOW_LABELS if name not in config.model_fields_set}
    if found.get("options") == dense_options(config.options):
        names.add("options")
    return names


def make_config(values: dict[str, Any]) -> RunConfig:
    """A RunConfig from plain values; ConfigError with one line per wrong option."""
    try:
        return RunConfig(**values)
    except ValidationError as error:
        raise ConfigError(readable(error, RunConfig)) from None
