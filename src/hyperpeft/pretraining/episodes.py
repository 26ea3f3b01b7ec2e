"""Episodes: learn features from which a few labels are enough; and what a step sees.

An episode is the user's task in small. A scene that nobody has seen is drawn
(`scenes.random_scene`), reduced to 12 components as at fine-tuning time, and a few pixels of each
class are labelled. A ridge head is fitted on them in closed form, other pixels of the scene are
classified by it, and the encoder learns from the cross-entropy, through the fit (Bertinetto et
al. 2019, arXiv 1805.08136).

The head of an episode sees the pooled tokens alone. Given the centre pixel's components as well,
as the head of a run is, it solves most generated scenes by them, and the encoder learns little.

A step is a pure function of (seed, step, process). So a run that is continued sees the very data
that the uninterrupted run would have seen, and any number of worker processes can prepare steps
ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from hyperpeft import scenes, spectral
from hyperpeft.errors import ConfigError
from hyperpeft.models.windows import SYMMETRIES, Windows, apply_symmetry
from hyperpeft.pretraining.config import LARGEST_SCENE
from hyperpeft.pretraining.sources import GROUP, Source, draw_windows, generated_source
from hyperpeft.training.ridge import STRENGTH, ridge

MOST_DRAWN = 300  # scenes for one episode


@dataclass(frozen=True)
class EpisodeRules:
    """How episodes are drawn.

    Attributes
    ----------
    scenes : int
        Episodes in a step, each of another scene.
    ways : (int, int)
        Least and most classes of an episode.
    shots : tuple of int
        Labelled pixels per class, one of these.
    queries : int
        Pixels per class to classify.
    patch_sizes : dict of int to float
        Window sizes and how often they are drawn.
    normalise : tuple of str
        Normalisers of `spectral.NORMALISERS`, drawn equally often.
    size : (int, int)
        Least and most pixels of a scene's side.
    """

    scenes: int
    ways: tuple[int, int]
    shots: tuple[int, ...]
    queries: int
    patch_sizes: dict[int, float]
    normalise: tuple[str, ...]
    size: tuple[int, int] = (40, LARGEST_SCENE)


class Episode(NamedTuple):
    """Windows (N, 12, p, p): n labelled ones, then those to classify; class indices of both."""

    windows: Tensor
    labelled: Tensor  # (n,) int64
    queried: Tensor  # (N - n,) int64


def draw_episode(rng: np.random.Generator, rules: EpisodeRules) -> Episode:
    """Draw scenes until one has enough pixels of enough classes, and an episode from it.

    Raises
    ------
    ConfigError
        When none of many scenes has.
    """
    for _ in range(MOST_DRAWN):
        scene = scenes.random_scene(rng, int(rng.integers(rules.size[0], rules.size[1] + 1)))
        assert scene.labels is not None
        shots = int(rng.choice(rules.shots))
        ids, counts = np.unique(scene.labels.ids, return_counts=True)
        ids = rng.permutation(ids[counts >= shots + rules.queries])[: rules.ways[1]]
        if len(ids) >= rules.ways[0]:
            break
    else:
        raise ConfigError(
            f"episodes: none of {MOST_DRAWN} generated scenes has {rules.ways[0]} classes of "
            f"{rules.queries} queries and one of {', '.join(map(str, rules.shots))} shots",
            hint="lower episodes.queries, episodes.shots or episodes.ways",
        )
    reducer = spectral.fit(scene, normalise=str(rng.choice(rules.normalise)))
    cube = reducer.reduce(scene)
    # The sign of a principal component means nothing: the encoder must not rely on it.
    cube *= rng.choice(np.array([-1.0, 1.0], np.float32), (len(cube), 1, 1))
    flat = scene.labels.ids.ravel()
    drawn = np.stack(
        [rng.permutation(np.flatnonzero(flat == i))[: shots + rules.queries] for i in ids]
    )  # (K, shots + queries)
    pixels = np.concatenate([drawn[:, :shots].ravel(), drawn[:, shots:].ravel()])
    positions = np.stack(np.divmod(pixels, scene.shape[1]), axis=1)
    sizes, shares = zip(*rules.patch_sizes.items(), strict=True)
    patch_size = int(rng.choice(sizes, p=np.array(shares) / sum(shares)))
    windows = Windows(cube, patch_size).at(torch.from_numpy(positions))
    symmetries = torch.from_numpy(rng.integers(0, SYMMETRIES, len(windows)))
    numbers = torch.arange(len(ids))
    return Episode(
        apply_symmetry(windows, symmetries),
        numbers.repeat_interleave(shots),
        numbers.repeat_interleave(rules.queries),
    )


class EpisodeHead(nn.Module):
    """The ridge head of an episode; its strength and the scale of its scores are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_strength = nn.Parameter(torch.tensor(STRENGTH).log())
        self.log_scale = nn.Parameter(torch.tensor(5.0).log())

    def forward(self, tokens: Tensor, episode: Episode) -> tuple[Tensor, Tensor]:
        """Loss and accuracy (both scalars) of an episode whose windows have tokens (N, L, D)."""
        pooled = tokens.float().mean(dim=1)
        features = F.layer_norm(pooled, pooled.shape[-1:])  # (N, D)
        n, classes = len(episode.labelled), int(episode.labelled.max()) + 1
        fitted = ridge(features[:n], episode.labelled, classes, self.log_strength.exp())
        scores = features[n:] @ fitted.weight.T + fitted.bias
        loss = F.cross_entropy(scores * self.log_scale.exp(), episode.queried)
        return loss, (scores.argmax(1) == episode.queried).float().mean()


class Step(NamedTuple):
    """Episodes, groups of unlabelled windows (n, 12, p, p), and a number for each token (M, L)."""

    episodes: list[Episode]
    windows: list[Tensor]
    noise: Tensor

    def to(self, device: torch.device) -> Step:
        """The same on a device."""
        return Step(
            [Episode(*(t.to(device, non_blocking=True) for t in e)) for e in self.episodes],
            [w.to(device, non_blocking=True) for w in self.windows],
            self.noise.to(device, non_blocking=True),
        )

    def __len__(self) -> int:
        """Windows in all."""
        return sum(len(e.windows) for e in self.episodes) + sum(len(w) for w in self.windows)


@dataclass(frozen=True)
class MaskedRules:
    """How unlabelled windows are drawn.

    Attributes
    ----------
    windows : int
        In a step, rounded up to groups of 64 of one source and size.
    patch_sizes : dict of int to float
        Window sizes and how often they are drawn.
    tokens : int
        Tokens of a window, L.
    generated : float
        Share of the groups that come from generated scenes.
    normalise : str
        Of generated scenes.
    """

    windows: int
    patch_sizes: dict[int, float]
    tokens: int
    generated: float
    normalise: str


class Steps(Dataset[Step]):
    """The steps of a run, by number.

    Parameters
    ----------
    seed, process : int
    episodes : EpisodeRules or None
    masked : MaskedRules or None
    sources : list of Source
        Drawn from in proportion to the square root of their pixels.
    """

    def __init__(
        self,
        seed: int,
        process: int,
        episodes: EpisodeRules | None,
        masked: MaskedRules | None,
        sources: list[Source],
    ) -> None:
        self.seed, self.process = seed, process
        self.episodes, self.masked, self.sources = episodes, masked, sources
        weight = np.sqrt([s.images[:, 0].size for s in sources])
        self.share = weight / weight.sum() if sources else weight

    def __getitem__(self, number: int) -> Step:
        rng = np.random.default_rng([self.seed, number, self.process])
        episodes, windows, tokens = [], [], 0
        if self.episodes is not None:
            episodes = [draw_episode(rng, self.episodes) for _ in range(self.episodes.scenes)]
        if self.masked is not None:
            tokens = self.masked.tokens
            windows = [
                self._group(rng, self.masked) for _ in range(-(-self.masked.windows // GROUP))
            ]
        noise = rng.random((sum(map(len, windows)), tokens), np.float32)
        return Step(episodes, windows, torch.from_numpy(noise))

    def _group(self, rng: np.random.Generator, rules: MaskedRules) -> Tensor:
        if not self.sources or rng.random() < rules.generated:
            source = generated_source(rng, rules.normalise)
        else:
            source = self.sources[int(rng.choice(len(self.sources), p=self.share))]
        sizes, shares = zip(*rules.patch_sizes.items(), strict=True)
        size = int(rng.choice(sizes, p=np.array(shares) / sum(shares)))
        return draw_windows(rng, source, size)
