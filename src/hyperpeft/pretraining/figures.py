"""Loss curves and reconstructions of a pretraining run, as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from hyperpeft.models.masked_autoencoder import cuboids, images
from hyperpeft.patches import resize
from hyperpeft.pretraining.loop import Objectives
from hyperpeft.pretraining.sources import Source, draw_windows, generated_source
from hyperpeft.system.files import replacing

SHOWN = 8  # windows


def save_losses(path: Path, history: list[dict[str, float]]) -> None:
    """One panel for each figure of the history, over the windows seen."""
    names = [n for n in (history[0] if history else {}) if n not in ("step", "windows")]
    if not names:
        return
    figure = Figure(figsize=(5 * len(names), 3.2), layout="constrained")
    seen = [row["windows"] for row in history]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        values = np.array([row[name] for row in history])
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
