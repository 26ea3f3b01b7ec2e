"""What a step of pretraining sees: a pure function of (seed, step, process).

So a run that is continued sees the very data that the uninterrupted run would have seen, and any
number of worker processes can prepare steps ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hyperpeft.pretraining.episodes import Episode, EpisodeRules, draw_episode
from hyperpeft.pretraining.sources import GROUP, Source, draw_windows, generated_source


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
