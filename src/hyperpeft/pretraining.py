"""`hyperpeft pretrain`: one pretraining run, from configuration to weights and record."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

import hyperpeft
from hyperpeft import recording
from hyperpeft.backbone import BAND_GROUP, BANDS, token_grid
from hyperpeft.checkpoints import CHECKPOINT
from hyperpeft.config import read_config, readable
from hyperpeft.errors import ConfigError
from hyperpeft.files import read_json, replacing, sha256_of, sweep
from hyperpeft.inputs import inputs_of
from hyperpeft.locks import LOCK, locked
from hyperpeft.outputs import refuse_inputs
from hyperpeft.patches import check_patch_size
from hyperpeft.pretrain.episodes import EpisodeRules
from hyperpeft.pretrain.loop import Objectives, Plan, Pretrainer, Progress, Watch
from hyperpeft.pretrain.masked import MaskedAutoencoder
from hyperpeft.pretrain.pictures import save_losses, save_reconstructions
from hyperpeft.pretrain.sources import Source, find_sources, source_paths
from hyperpeft.pretrain.steps import MaskedRules, Steps
from hyperpeft.scenes.origins import files_of
from hyperpeft.spectral import NORMALISERS
from hyperpeft.weights import SIZES, load_backbone, save_backbone, weights_sha256

RECORD, WEIGHTS, FULL = "pretrain.json", "backbone.safetensors", "autoencoder.safetensors"
LOSSES, RECONSTRUCTIONS = "losses.png", "reconstructions.png"
OUTPUTS = (RECORD, WEIGHTS, FULL, LOSSES, RECONSTRUCTIONS, "history.csv", "checkpoint")
DEFAULT_SIZES = {1: 0.06, 3: 0.2, 5: 0.24, 7: 0.22, 9: 0.18, 11: 0.1}


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EpisodeOptions(_Options):
    """Episodes on generated scenes; `weight: 0` leaves them out."""

    weight: float = Field(1.0, ge=0)
    scenes: int = Field(2, ge=1)
    ways: tuple[int, int] = (2, 12)
    shots: tuple[int, ...] = (3, 5, 10)
    queries: int = Field(8, ge=1)

    @field_validator("ways")
    @classmethod
    def _at_least_two(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 2 <= value[0] <= value[1]:
            raise ValueError("expected two numbers of classes, at least 2 and rising")
        return value

    @field_validator("shots")
    @classmethod
    def _some_shots(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError("expected numbers of labelled pixels per class, each at least 1")
        return value


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
    if config.masked.weight and not _sources_of(config) and config.masked.generated == 0:
        raise ConfigError(
            f"configuration {path}: masked autoencoding has no data",
            do="name masked.sources, or set masked.generated above 0",
        )
    return config


def pretrain(
    config: PretrainConfig,
    out: Path,
    *,
    workers: int = 0,
    every: float = 60.0,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Pretrain an encoder; continue where `out` holds the checkpoint of the very same run.

    Parameters
    ----------
    config : PretrainConfig
    out : Path
        Gets backbone.safetensors (16 bit), autoencoder.safetensors (official names, with the
        decoder), pretrain.json, history.csv, losses.png and reconstructions.png.
    workers : int
        Processes that prepare data.
    every : float
        Seconds between two checkpoints.
    watch : callable, optional
        Told (steps done, steps in all, figures of the step).

    Returns
    -------
    dict
        The record, as in pretrain.json.

    Raises
    ------
    InputError
        Whatever is wrong with the configuration or its sources.
    Taken
        Another process is pretraining in `out`.
    Interrupted
        After Ctrl-C, once the state has been saved.
    """
    # The first of the processes that train together holds the folder for all.
    first = PartialState().is_main_process
    with locked(out / LOCK, f"pretraining folder {out}") if first else nullcontext():
        if first:
            sweep(out)
        return _pretrain(config, out, workers, every, watch)


def _pretrain(
    config: PretrainConfig, out: Path, workers: int, every: float, watch: Watch | None
) -> dict[str, Any]:
    if (out / RECORD).is_file():
        record: dict[str, Any] = read_json(out / RECORD, ConfigError)
        if isinstance(record, dict) and record.get("config") == config.model_dump(mode="json"):
            if PartialState().is_main_process:  # killed just before this was done
                shutil.rmtree(out / CHECKPOINT.parent, ignore_errors=True)
            return record
        raise ConfigError(f"{out} holds another pretraining run", do="choose another --out")
    refuse_inputs([out / name for name in OUTPUTS], _inputs(config))
    code = recording.source_state()  # now: the tree may change while this runs
    sources = {name: find_sources(name, config.normalise[0]) for name in _sources_of(config)}
    size = max(stage.image_size for stage in config.stages)
    encoder = load_backbone(
        config.backbone,
        size,
        config.num_heads,
        pretrained=config.pretrained or config.backbone not in SIZES,
    )
    autoencoder = MaskedAutoencoder(
        encoder,
        decoder_dim=config.masked.decoder_dim,
        decoder_depth=config.masked.decoder_depth,
        decoder_heads=config.masked.decoder_heads,
        mask_ratio=config.masked.ratio,
        normalise_targets=config.masked.normalise_targets,
        seed=config.seed,
    )
    plan = _plan(config)
    objectives = Objectives(autoencoder, size, plan)
    identity = _identity(config, weights_sha256(encoder.state_dict()), sources)
    state, end = Progress(), 0
    for stage in config.stages:
        end += stage.steps
        used = [s for name in stage.sources or config.masked.sources for s in sources[name]]
        objectives.image_size = stage.image_size
        trainer = Pretrainer(
            objectives,
            _steps(config, stage, used),
            plan,
            folder=out,
            identity=identity,
            precision=config.precision,
            workers=workers,
            every=every,
            watch=watch,
        )
        state = trainer.run(until=end)
    record = _record(config, objectives, state, sources, trainer, code)
    if PartialState().is_main_process:
        _write(out, objectives, record, state, [s for group in sources.values() for s in group])
    return record


def _plan(config: PretrainConfig) -> Plan:
    return Plan(
        steps=config.steps,
        lr=config.lr,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip=config.clip,
        episodes=config.episodes.weight,
        masked=config.masked.weight,
    )


def _sources_of(config: PretrainConfig) -> list[str]:
    if config.masked.weight == 0:
        return []
    named = [*config.masked.sources, *(n for s in config.stages for n in s.sources or ())]
    return list(dict.fromkeys(named))


def _inputs(config: PretrainConfig) -> Iterator[tuple[str, Path]]:
    for name in _sources_of(config):
        yield from (("the source", file) for p in source_paths(name) for file in files_of(p))
    yield from inputs_of({"backbone": config.backbone})


def _steps(config: PretrainConfig, stage: Stage, sources: list[Source]) -> Steps:
    episodes, masked = config.episodes, config.masked
    return Steps(
        config.seed,
        PartialState().process_index,
        EpisodeRules(
            scenes=episodes.scenes,
            ways=episodes.ways,
            shots=episodes.shots,
            queries=episodes.queries,
            patch_sizes=config.patch_sizes,
            normalise=config.normalise,
        )
        if episodes.weight
        else None,
        MaskedRules(
            windows=masked.windows,
            patch_sizes=config.patch_sizes,
            tokens=BANDS // BAND_GROUP * token_grid(stage.image_size) ** 2,
            generated=masked.generated,
            normalise=config.normalise[0],
        )
        if masked.weight
        else None,
        sources if masked.weight else [],
    )


def _identity(config: PretrainConfig, start: str, sources: dict[str, list[Source]]) -> str:
    """Hash of everything that decides the weights."""
    digest = hashlib.sha256(config.model_dump_json().encode() + start.encode())
    digest.update(str(PartialState().num_processes).encode())
    for group in sources.values():
        for source in group:
            digest.update(source.name.encode() + source.images.tobytes())
    return digest.hexdigest()


def _record(
    config: PretrainConfig,
    objectives: Objectives,
    state: Progress,
    sources: dict[str, list[Source]],
    trainer: Pretrainer,
    source: tuple[str | None, bool | None],
) -> dict[str, Any]:
    last = state.history[-5:]
    return {
        "hyperpeft": hyperpeft.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "sources": [
            {"name": s.name, "images": list(s.images.shape)} for g in sources.values() for s in g
        ],
        "backbone": {
            "parameters": recording.count(objectives.encoder.parameters()),
            "image_size": config.stages[-1].image_size,
            "weights_sha256": None,
            "file_sha256": None,
        },
        "windows": state.windows,
        "timing": {
            "seconds": round(state.seconds, 1),
            "windows_per_second": state.windows / state.seconds if state.seconds else None,
        },
        "last_100_steps": {
            name: sum(row[name] for row in last) / len(last)
            for name in (last[0] if last else {})
            if name not in ("step", "windows")
        },
        "environment": {
            "torch": torch.__version__,
            "device": str(trainer.device),
            "processes": PartialState().num_processes,
            "precision": trainer.precision,
            "threads": torch.get_num_threads(),
            "commit": source[0],
            "dirty": source[1],
        },
    }


def _write(
    out: Path,
    objectives: Objectives,
    record: dict[str, Any],
    state: Progress,
    sources: list[Source],
) -> None:
    """Weights, pictures, and the record last, because it says "finished"."""
    details = {
        "image_size": str(record["backbone"]["image_size"]),
        "windows": str(record["windows"]),
        "hyperpeft": record["hyperpeft"],
    }
    with replacing(out / WEIGHTS) as temporary:
        saved = save_backbone(objectives.encoder, temporary, details, dtype=torch.float16)
    record["backbone"]["weights_sha256"] = saved
    record["backbone"]["file_sha256"] = sha256_of(out / WEIGHTS)
    if objectives.plan.masked:
        from safetensors.torch import save_file

        with replacing(out / FULL) as temporary:
            state_dict = objectives.autoencoder.official_state()
            save_file({k: v.cpu().contiguous() for k, v in state_dict.items()}, temporary)
        save_reconstructions(out / RECONSTRUCTIONS, objectives, sources)
    save_losses(out / LOSSES, state.history)
    with replacing(out / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    # With what a killed process may have left half-written beside the checkpoint.
    shutil.rmtree(out / CHECKPOINT.parent, ignore_errors=True)
