"""`hyperpeft pretrain`: one run, from configuration to weights, record and pictures."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from hyperpeft import scenes
from hyperpeft._version import __version__
from hyperpeft.errors import ConfigError
from hyperpeft.models import SIZES, load_backbone, save_backbone, weights_sha256
from hyperpeft.models.spectralgpt import (
    MaskedAutoencoder,
    cuboids,
    images,
    token_count,
)
from hyperpeft.models.windows import resize
from hyperpeft.pretraining.config import PretrainConfig, Stage, _sources_of
from hyperpeft.pretraining.episodes import EpisodeRules, MaskedRules, Steps
from hyperpeft.pretraining.loop import Objectives, Plan, Pretrainer, Progress, Watch
from hyperpeft.pretraining.scene_episodes import SceneSteps, scene_files, scene_steps
from hyperpeft.pretraining.sources import (
    Source,
    draw_windows,
    find_sources,
    generated_source,
    source_paths,
)
from hyperpeft.runs import sections
from hyperpeft.runs.file_names import BACKBONE, HISTORY
from hyperpeft.runs.inputs import inputs_of
from hyperpeft.system.files import read_json, replacing, sha256_of
from hyperpeft.system.output_folder import Inputs, output_folder
from hyperpeft.training.checkpoint import CHECKPOINT
from hyperpeft.training.precision import processes

SHOWN = 8  # windows


Row = dict[str, float | None]
"""A row of the history: figures are None where none of its steps had a finite gradient."""


def _figures(history: list[Row]) -> list[str]:
    return [name for name in (history[0] if history else {}) if name not in ("step", "windows")]


def save_losses(path: Path, history: list[Row]) -> None:
    """One panel for each figure of the history, over the windows seen."""
    names = _figures(history)
    if not names:
        return
    figure = Figure(figsize=(5 * len(names), 3.2), layout="constrained")
    seen = [row["windows"] for row in history]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        values = np.array([row.get(name) for row in history], dtype=float)  # NaN for None
        width = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axes.plot(seen, values, color="0.8", linewidth=0.8)
        axes.plot(seen[width - 1 :], smooth, color="C0")
        axes.set_xlabel("windows")
        axes.set_title(name.replace("_", " ") + (" (%)" if "accuracy" in name else ""))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


@torch.no_grad()
def save_reconstructions(path: Path, objectives: Objectives, sources: list[Source]) -> None:
    """Windows, what was left of them, and what the decoder made of that; components 1 to 3."""
    rng, size = np.random.default_rng(0), objectives.image_size
    drawn = [
        sources[i % len(sources)] if sources else generated_source(rng, "sqrt")
        for i in range(SHOWN)
    ]
    device = next(objectives.parameters()).device
    x = torch.cat([resize(draw_windows(rng, s, 11, 1), size) for s in drawn]).to(device)
    model = objectives.autoencoder
    tokens = cuboids(x)  # (N, L, 192)
    noise = torch.from_numpy(rng.random(tokens.shape[:2], np.float32)).to(device)
    out = model(x, noise)
    predicted = out.prediction
    if model.normalise_targets:  # what was predicted is relative to each token's mean and deviation
        variance, mean = torch.var_mean(tokens, dim=-1, keepdim=True)
        predicted = predicted * (variance + 1e-6).sqrt() + mean
    hidden = out.mask.unsqueeze(-1) > 0
    rows = [
        images(tokens),
        images(torch.where(hidden, torch.full_like(tokens, torch.nan), tokens)),
        images(torch.where(hidden, predicted, tokens)),
    ]
    figure = Figure(figsize=(1.3 * SHOWN, 4.2), layout="constrained")
    panels = figure.subplots(3, SHOWN, squeeze=False)
    for column in range(SHOWN):
        low, high = np.percentile(rows[0][column, :3].cpu().numpy(), [2, 98])
        for line, name in enumerate(("window", "seen", "reconstruction")):
            picture = rows[line][column, :3].permute(1, 2, 0).cpu().numpy()
            shown = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
            panels[line][column].imshow(np.nan_to_num(shown, nan=0.92), interpolation="nearest")
            panels[line][column].set_xticks([])
            panels[line][column].set_yticks([])
            if column == 0:
                panels[line][column].set_ylabel(name, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


RECORD, WEIGHTS, FULL = "pretrain.json", BACKBONE, "autoencoder.safetensors"
LOSSES, RECONSTRUCTIONS = "losses.png", "reconstructions.png"
OUTPUTS = (RECORD, WEIGHTS, FULL, LOSSES, RECONSTRUCTIONS, HISTORY, CHECKPOINT.parts[0])


def pretrain(
    config: PretrainConfig,
    out: Path,
    *,
    workers: int = 0,
    every: float = 60.0,
    watch: Watch | None = None,
    inputs: Inputs = (),
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
    inputs : iterable of (str, Path)
        Files that must not be written over, besides the sources.

    Returns
    -------
    dict
        The record, as in pretrain.json.

    Raises
    ------
    InputError
        Whatever is wrong with the configuration or its sources.
    InUse
        Another process is pretraining in `out`.
    Interrupted
        After Ctrl-C, once the state has been saved.
    """
    guard = output_folder(
        out,
        f"pretraining folder {out}",
        outputs=[out / name for name in OUTPUTS],
        inputs=[*inputs, *_inputs(config)],
        first=processes().is_main_process,
    )
    with guard:
        return _pretrain(config, out, workers, every, watch)


def _pretrain(
    config: PretrainConfig, out: Path, workers: int, every: float, watch: Watch | None
) -> dict[str, Any]:
    if (out / RECORD).is_file():
        record: dict[str, Any] = read_json(out / RECORD, ConfigError)
        if isinstance(record, dict) and record.get("config") == config.model_dump(mode="json"):
            if processes().is_main_process:  # killed just before this was done
                shutil.rmtree(out / CHECKPOINT.parent, ignore_errors=True)
            return record
        raise ConfigError(f"{out} holds another pretraining run", hint="choose another --out")
    code = sections.source_state()  # now: the tree may change while this runs
    sources = {name: find_sources(name, config.normalise[0]) for name in _sources_of(config)}
    drawn = config.scenes.image_sizes if config.scenes is not None else {}
    size = max([*drawn, *(stage.image_size for stage in config.stages)])
    encoder = load_backbone(
        config.backbone,
        size,
        config.num_heads,
        seed=config.seed,
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
    drawn_from = [{"name": p.name, "sha256": sha256_of(p)} for p in scene_files(config.scenes)]
    identity = _identity(config, weights_sha256(encoder.state_dict()), sources, drawn_from)
    state, end = Progress(), 0
    for stage in config.stages:
        end += stage.steps
        named = (stage.sources or config.masked.sources) if config.masked.weight else ()
        used = [source for name in named for source in sources[name]]
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
    record = _record(config, objectives, state, sources, drawn_from, trainer, code)
    if processes().is_main_process:
        _write(out, objectives, record, state, [s for group in sources.values() for s in group])
    return record


def _image_size(config: PretrainConfig) -> int:
    """What the weights are for: the last stage's size, or the one that scenes are drawn at most."""
    drawn = config.scenes.image_sizes if config.scenes is not None else {}
    return max(drawn, key=lambda size: (drawn[size], size), default=config.stages[-1].image_size)


def _plan(config: PretrainConfig) -> Plan:
    return Plan(
        steps=config.steps,
        lr=config.lr,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip=config.clip,
        episodes=config.episodes.weight,
        masked=config.masked.weight,
        scenes=config.scenes is not None,
        centre=config.scenes.centre if config.scenes is not None else 0.0,
    )


def _inputs(config: PretrainConfig) -> Iterator[tuple[str, Path]]:
    for name in _sources_of(config):
        yield from (("the source", file) for p in source_paths(name) for file in scenes.files_of(p))
    yield from (("the scenes' input", path) for path in scene_files(config.scenes))
    yield from inputs_of({"backbone": config.backbone})


def _steps(config: PretrainConfig, stage: Stage, sources: list[Source]) -> Steps | SceneSteps:
    episodes, masked = config.episodes, config.masked
    if config.scenes is not None:
        return scene_steps(
            config, config.scenes, stage, processes().device, processes().process_index
        )
    return Steps(
        config.seed,
        processes().process_index,
        EpisodeRules(
            scenes=episodes.scenes,
            ways=(episodes.ways[0], episodes.ways[-1]),
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
            tokens=token_count(stage.image_size),
            generated=masked.generated,
            normalise=config.normalise[0],
        )
        if masked.weight
        else None,
        sources if masked.weight else [],
    )


def _identity(
    config: PretrainConfig,
    start: str,
    sources: dict[str, list[Source]],
    drawn_from: list[dict[str, str]],
) -> str:
    """Hash of everything that decides the weights."""
    digest = hashlib.sha256(config.model_dump_json().encode() + start.encode())
    digest.update(str(processes().num_processes).encode())
    for group in sources.values():
        for source in group:
            digest.update(source.name.encode() + source.images.tobytes())
    for file in drawn_from:
        digest.update(file["sha256"].encode())
    return digest.hexdigest()


def _record(
    config: PretrainConfig,
    objectives: Objectives,
    state: Progress,
    sources: dict[str, list[Source]],
    drawn_from: list[dict[str, str]],
    trainer: Pretrainer,
    source: tuple[str | None, bool | None],
) -> dict[str, Any]:
    last = state.history[-5:]
    return {
        "hyperpeft": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "sources": [
            {"name": s.name, "images": list(s.images.shape)} for g in sources.values() for s in g
        ],
        "scene_files": drawn_from,
        "backbone": {
            "parameters": sections.count(objectives.encoder.parameters()),
            "image_size": _image_size(config),
            "weights_sha256": None,
            "file_sha256": None,
        },
        "windows": state.windows,
        "timing": {
            "seconds": round(state.seconds, 1),
            "windows_per_second": state.windows / state.seconds if state.seconds else None,
        },
        "last_100_steps": {name: _mean([row.get(name) for row in last]) for name in _figures(last)},
        "environment": {
            "torch": torch.__version__,
            "device": str(trainer.device),
            "processes": processes().num_processes,
            "precision": trainer.precision,
            "threads": torch.get_num_threads(),
            "commit": source[0],
            "dirty": source[1],
        },
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


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
        with replacing(out / FULL) as temporary:
            state_dict = objectives.autoencoder.official_state()
            save_file({k: v.cpu().contiguous() for k, v in state_dict.items()}, temporary)
        save_reconstructions(out / RECONSTRUCTIONS, objectives, sources)
    save_losses(out / LOSSES, state.history)
    with replacing(out / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    # With what a killed process may have left half-written beside the checkpoint.
    shutil.rmtree(out / CHECKPOINT.parent, ignore_errors=True)
