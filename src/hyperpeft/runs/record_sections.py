"""The sections of `run.json` as pydantic models: keys, types, bounds and meaning.

A record may come from elsewhere, be written by another version or be damaged. A key that is absent
or null is missing; one that is there has the type that stands here; keys that a later version has
added are let through. Fields without a default are those that using the run again relies on.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hyperpeft.records import LARGEST_ID


def _windows(value: Any) -> Any:
    sizes = value if isinstance(value, list) and value else [value]
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if value is None or value == "auto":
        return value
    if whole and all(1 <= size <= 63 and size % 2 == 1 for size in sizes):
        return value
    raise ValueError("expected an odd number from 1 to 63, or a list of such")


def _square(rows: list[list[int]]) -> list[list[int]]:
    if any(len(row) != len(rows) for row in rows):
        raise ValueError("expected as many columns as rows")
    return rows


Number = Annotated[float, Field(gt=-1e300, lt=1e300)]  # finite: JSON knows larger ones
Whole = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Size = Annotated[int, Field(ge=1, lt=2**31)]
Byte = Annotated[int, Field(ge=0, le=255)]
Colour = Annotated[list[Byte], Field(min_length=3, max_length=3)]


class Section(BaseModel):
    """A section: null is missing, unknown keys are of a later version."""

    model_config = ConfigDict(extra="allow", strict=True)


class ConfigSection(Section):
    """Every option of the run (`RunConfig`); patch_size, image_size and lr as they were used."""

    num_heads: Annotated[int, Field(ge=1, le=2**16)] | None
    image_size: Annotated[int, Field(ge=8, le=128)] | None
    stride: Annotated[int, Field(ge=1, le=8)] | None
    patch_size: Annotated[int | str | list[int] | None, BeforeValidator(_windows)]
    precision: Literal["auto", "fp32", "bf16"] | None
    split: str | None = None
    per_class: Whole | None = None
    fraction: Number | None = None
    seed: Whole | None = None
    refine: Literal["auto", "none", "guided", "graph"] | None = None


class SceneSection(Section):
    """The scene and its classes."""

    name: str | None
    class_ids: list[Id] | None
    classes: list[str] | None = Field(description="names, as class_ids")
    colours: list[Colour] | None = Field(description="RGB, as class_ids")
    shape: list[Size] | None = Field(None, description="[H, W, B]")
    sha256: str | None = Field(
        None,
        description="of the cube's file (with an ENVI header, with the sources of a VRT)",
    )
    labels: str | None = Field(None, description="where they came from")
    masked_pixels: Whole | None = None

    @model_validator(mode="after")
    def _as_many_as_classes(self) -> SceneSection:
        for name in ("classes", "colours"):
            values, ids = getattr(self, name), self.class_ids
            if values is not None and ids is not None and len(values) != len(ids):
                raise ValueError(
                    f"scene.{name}: expected {len(ids)}, as in scene.class_ids, got {len(values)}"
                )
        return self


class ReducerSection(Section):
    """The reduction of the bands to 12."""

    kind: str | None = None
    normalise: str | None = None
    fit_on: str | None = None
    pixels: Whole | None = Field(None, description="it was fitted on")
    components: Whole | None = None
    explained_variance: Number | None = None
    bands: list[str] | None = Field(
        None, description="of Sentinel-2 that the inputs are, under sentinel2"
    )


class Leakage(Section):
    """How far training pixels reach into the windows of test pixels."""

    patch_size: Whole | None = Field(
        None, description="side of the window of all that decides a prediction"
    )
    test_windows_touching_train: Number | None = Field(None, description="share, 0 to 1")
    training_hidden: bool | None = Field(
        None,
        description="whether the training pixels were taken for not valid while the test pixels "
        "were predicted",
    )


class SplitSection(Section):
    """The pixels that train, validate and test."""

    kind: str | None = None
    sha256: str | None = Field(
        None, description="of pixels and classes: equal splits are the same split"
    )
    train: Whole | None = None
    validation: Whole | None = None
    test: Whole | None = None
    per_class: dict[str, dict[str, Whole]] | None = None
    leakage: Leakage | None = None


class BackboneSection(Section):
    """The base model; all null in a baseline."""

    name: str | None
    weights_sha256: str | None = Field(description="of names and float32 values")
    parameters: Whole | None = None
    pretrained: bool | None = None


class AdapterSection(Section):
    """What was trained."""

    method: str | None
    class_ids: list[Id] | None = Field(description="of the head's outputs")
    bytes: Number | None = Field(description="adapter and head on disk")
    trainable_parameters: Number | None = Field(description="with the head")
    trainable_percent: Number | None = None
    adapter_parameters: Whole | None = None
    windows_tried: list[dict[str, Any]] | None = Field(
        None,
        description="patch_size, centre_share, strength of the ridge, error and accuracy of pixels "
        "left out; empty where the window was given, missing in a baseline",
    )
    free_adaptation: dict[str, Any] | None = Field(
        None,
        description="frozen_loss and adapted_loss of pixels left out, error (the standard error of "
        "the difference), null where nothing was to be gained, and adapts, whether the free recipe "
        "was taken; missing where it was not tried",
    )


class MetricsSection(Section):
    """Scores of the test pixels: percent, kappa times 100."""

    oa: Number | None = Field(description="overall accuracy")
    aa: Number | None = Field(None, description="average accuracy")
    kappa: Number | None = Field(None, description="Cohen's")
    class_ids: list[Id] | None = None
    per_class: dict[str, Number | None] | None = None
    confusion: Annotated[list[list[Whole]], AfterValidator(_square)] | None = Field(
        None, description="rows true, columns predicted"
    )

    @model_validator(mode="after")
    def _as_many_as_classes(self) -> MetricsSection:
        rows, ids = self.confusion, self.class_ids
        if rows is not None and ids is not None and len(rows) != len(ids):
            raise ValueError(
                f"metrics.confusion: expected {len(ids)}, as in metrics.class_ids, got {len(rows)}"
            )
        return self


class ClassArea(Section):
    """A class of the map."""

    name: str | None = None
    pixels: Whole | None = None
    hectares: Number | None = Field(None, description="null where the CRS does not allow")


class MapSection(Section):
    """Areas of the classes of the map; null without a map."""

    areas_are: str | None = None
    classes: dict[str, ClassArea] | None = Field(None, description="of each id that occurs")


class TimingSection(Section):
    """Seconds, rates and memory."""

    train_seconds: Number | None = None
    train_samples_per_second: Number | None = None
    predict_seconds: Number | None = None
    predict_samples_per_second: Number | None = None
    peak_rss_mb: Number | None = None


class EnvironmentSection(Section):
    """Versions, device, precision and the state of the source tree."""

    python: str | None = None
    torch: str | None = None
    platform: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: Whole | None = None
    commit: str | None = None
    dirty: bool | None = Field(None, description="whether the checkout had been changed")
    seed: Whole | None = None


class BaselineSection(Section):
    """Of a baseline only: its source, what was chosen and counted."""

    source: str | None = None
