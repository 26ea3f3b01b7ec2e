"""The configuration of a pretraining run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hyperpeft.errors import ConfigError
from hyperpeft.models.patch_geometry import check_patch_size
from hyperpeft.runs.config_files import read_config, readable
from hyperpeft.spectral import NORMALISERS

LARGEST_SCENE = 64  # pixels of a side, where episodes are not drawn as `scenes` says
DEFAULT_SIZES = {1: 0.06, 3: 0.2, 5: 0.24, 7: 0.22, 9: 0.18, 11: 0.1}


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EpisodeOptions(_Options):
    """Episodes on generated scenes; `weight: 0` leaves them out."""

    weight: float = Field(1.0, ge=0)
    scenes: int = Field(2, ge=1)
    ways: tuple[int, ...] = (2, 12)
    shots: tuple[int, ...] = (3, 5, 10)
    queries: int = Field(8, ge=1)

    @field_validator("ways")
    @classmethod
    def _at_least_two(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) < 2 or min(value) < 2 or list(value) != sorted(value):
            raise ValueError("expected two numbers of classes, at least 2 and rising")
        return value

    @field_validator("shots")
    @classmethod
    def _some_shots(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError("expected numbers of labelled pixels per class, each at least 1")
        return value


class SceneOptions(_Options):
    """Scenes drawn on the device that trains; without it, episodes are drawn as for `tiny-v1`."""

    library: tuple[str, ...] = ()
    cubes: tuple[str, ...] = ()
    real: float = Field(0.3, ge=0, le=1)
    curves: float = Field(0.25, ge=0, le=1)
    size: int = Field(64, ge=16)
    bands: int = Field(64, ge=16)
    classes: int = Field(16, ge=4)
    centre: float = Field(0.0, ge=0, le=1)
    image_sizes: dict[int, float] = Field(default_factory=dict)


class MaskedOptions(_Options):
    """Masked autoencoding; `weight: 0` leaves it out."""

    weight: float = Field(0.0, ge=0)
    windows: int = Field(256, ge=1)
    ratio: float = Field(0.75, gt=0, lt=1)
    normalise_targets: bool = True
    decoder_dim: int = Field(96, ge=8)
    decoder_depth: int = Field(1, ge=1)
    decoder_heads: int = Field(3, ge=1)
    sources: tuple[str, ...] = ()
    generated: float = Field(0.0, ge=0, le=1)


class Stage(_Options):
    """A part of the steps at an image size of its own, with sources of its own where given."""

    steps: int = Field(ge=1)
    image_size: int = Field(32, ge=8, le=128)
    sources: tuple[str, ...] | None = None


class PretrainConfig(_Options):
    """Everything that decides the weights."""

    backbone: str = "tiny"
    num_heads: int | None = Field(None, ge=1)
    pretrained: bool = False
    stages: tuple[Stage, ...] = Field(min_length=1)
    scenes: SceneOptions | None = None
    episodes: EpisodeOptions = Field(default_factory=lambda: EpisodeOptions.model_validate({}))
    masked: MaskedOptions = Field(default_factory=lambda: MaskedOptions.model_validate({}))
    patch_sizes: dict[int, float] = Field(default_factory=lambda: dict(DEFAULT_SIZES))
    normalise: tuple[str, ...] = ("sqrt",)
    lr: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.02, ge=0)
    clip: float = Field(1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**31)

    @field_validator("patch_sizes")
    @classmethod
    def _sizes(cls, value: dict[int, float]) -> dict[int, float]:
        for size, share in value.items():
            check_patch_size(size)
            if share < 0:
                raise ValueError(f"patch size {size}: expected a share of at least 0, got {share}")
        if not sum(value.values()) > 0:
            raise ValueError("expected shares of patch sizes of which one is above 0")
        return value

    @field_validator("normalise")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in NORMALISERS]
        if unknown or not value:
            raise ValueError(f"expected one or more of {', '.join(NORMALISERS)}, got {unknown}")
        return value

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)


def read_pretrain_config(path: Path) -> PretrainConfig:
    """A PretrainConfig from YAML; ConfigError with one line per wrong option."""
    values = read_config(path)
    try:
        config = PretrainConfig(**values)
    except ValidationError as error:
        raise ConfigError(readable(error, PretrainConfig)) from None
    if config.episodes.weight == 0 and config.masked.weight == 0:
        raise ConfigError(f"configuration {path}: neither episodes nor masked has a weight")
    unlabelled = _sources_of(config) or config.masked.generated or config.scenes
    if config.masked.weight and not unlabelled:
        raise ConfigError(
            f"configuration {path}: masked autoencoding has no data",
            hint="name masked.sources, or set masked.generated above 0",
        )
    if config.scenes is not None and (_sources_of(config) or config.masked.generated):
        raise ConfigError(
            f"configuration {path}: with scenes, windows of these scenes are masked",
            expected="no masked.sources, sources of a stage or masked.generated",
            hint="name cubes of your own in scenes.cubes",
        )
    _check_pixels(config, path)
    return config


def _check_pixels(config: PretrainConfig, path: Path) -> None:
    """ConfigError where scenes are too small for the windows or the pixels of an episode."""
    side = config.scenes.size if config.scenes is not None else LARGEST_SCENE
    widest = max(size for size, share in config.patch_sizes.items() if share)
    if config.scenes is not None and widest // 2 >= side:  # borders are mirrored once
        raise ConfigError(
            f"configuration {path}: scenes of {side} x {side} pixels for windows of {widest}",
            expected=f"scenes.size above {widest // 2}, or smaller patch_sizes",
        )
    episodes = config.episodes
    least = episodes.ways[0] * (max(episodes.shots) + episodes.queries)
    if episodes.weight and least > side**2:
        raise ConfigError(
            f"configuration {path}: episodes of {episodes.ways[0]} classes with {episodes.queries} "
            f"queries and up to {max(episodes.shots)} shots each",
            expected=f"at most the {side**2} pixels of a scene of {side} x {side}",
            got=least,
            hint="lower episodes.queries or episodes.shots",
        )


def _sources_of(config: PretrainConfig) -> list[str]:
    if config.masked.weight == 0:
        return []
    named = [*config.masked.sources, *(n for s in config.stages for n in s.sources or ())]
    return list(dict.fromkeys(named))
