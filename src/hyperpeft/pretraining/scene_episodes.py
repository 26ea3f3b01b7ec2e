"""Episodes of many scenes at once, drawn on the device that trains.

A step draws scenes, labels a few pixels of some classes of each (scattered, or in clumps as people
draw them) and asks for others, in half of the scenes only pixels far from every label. All
scenes of a step have equal numbers, so that everything is a product of tensors; classes with too
few pixels are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from hyperpeft import scenes as scenes_package
from hyperpeft.errors import ConfigError
from hyperpeft.models.spectralgpt import token_count
from hyperpeft.pretraining.config import PretrainConfig, SceneOptions, Stage
from hyperpeft.pretraining.sources import RealCubes, components_of, source_paths
from hyperpeft.scenes import Draws, SceneGenerator, SceneRules, SpectralLibrary, read_library
from hyperpeft.training.ridge import STRENGTH


@dataclass(frozen=True)
class SceneEpisodeRules:
    """How episodes are drawn.

    Attributes
    ----------
    scenes : int
        In a step.
    real : float
        Share of them from real cubes, where there are any.
    ways : tuple of int
        Classes of an episode, one of these.
    shots : tuple of int
        Labelled pixels of a class, one of these.
    queries : int
        Pixels of a class to classify.
    patch_sizes : dict of int to float
        Window sizes and how often they are drawn.
    image_sizes : dict of int to float
        Sides that windows are resized to, and how often.
    masked : int
        Windows of a step that are also masked and reconstructed.
    """

    scenes: int
    real: float
    ways: tuple[int, ...]
    shots: tuple[int, ...]
    queries: int
    patch_sizes: dict[int, float]
    image_sizes: dict[int, float]
    masked: int = 0


@dataclass(frozen=True)
class SceneEpisodes:
    """One episode of each of S scenes, W classes, n labelled pixels and q to classify.

    Attributes
    ----------
    components : Tensor (S, 12, m, m)
    labelled, queried : Tensor (S, n) and (S, q) of int64
        Pixels, row * m + column.
    targets, truth : Tensor (S, n) and (S, q) of int64
        Their classes, 0 to W - 1.
    classes : Tensor (S, W) of bool
        Classes that have enough pixels.
    asked : Tensor (S, q) of bool
        Pixels to classify that count.
    patch_size, image_size : int
    noise : Tensor (M, L)
        A number for each token of the M windows that are masked as well; M may be 0.
    """

    components: Tensor
    labelled: Tensor
    queried: Tensor
    targets: Tensor
    truth: Tensor
    classes: Tensor
    asked: Tensor
    patch_size: int
    image_size: int
    noise: Tensor

    def __len__(self) -> int:
        """Windows in all."""
        return self.labelled.numel() + self.queried.numel()

    def windows(self) -> Tensor:
        """Windows (S (n + q), 12, p, p) of the labelled pixels and those to classify."""
        half, side = self.patch_size // 2, self.components.shape[-1]
        padded = F.pad(self.components, (half,) * 4, mode="reflect").permute(0, 2, 3, 1)
        pixels = torch.cat([self.labelled, self.queried], 1)  # (S, N)
        reach = torch.arange(self.patch_size, device=pixels.device)
        rows = (pixels // side)[..., None, None] + reach[:, None]
        columns = (pixels % side)[..., None, None] + reach
        scene = torch.arange(len(pixels), device=pixels.device)[:, None, None, None]
        windows = padded[scene, rows, columns]  # (S, N, p, p, 12)
        return windows.flatten(0, 1).permute(0, 3, 1, 2)

    def centres(self) -> Tensor:
        """The components (S (n + q), 12) of these pixels themselves."""
        pixels = torch.cat([self.labelled, self.queried], 1)
        flat = self.components.flatten(2)
        picked = flat.gather(2, pixels[:, None].expand(-1, flat.shape[1], -1))
        return picked.transpose(1, 2).flatten(0, 1)


class SceneSteps(Dataset[SceneEpisodes]):
    """The steps of a run by number, each a function of (seed, step, process).

    Parameters
    ----------
    seed, process : int
    rules : SceneEpisodeRules
    generator : SceneGenerator
    cubes : RealCubes, optional
    """

    def __init__(
        self,
        seed: int,
        process: int,
        rules: SceneEpisodeRules,
        generator: SceneGenerator,
        cubes: RealCubes | None = None,
    ) -> None:
        self.seed, self.process, self.rules = seed, process, rules
        self.generator, self.cubes = generator, cubes

    @torch.no_grad()
    def __getitem__(self, number: int) -> SceneEpisodes:
        rules = self.rules
        rng = np.random.default_rng([self.seed, number, self.process])
        seeds = rng.integers(0, 2**62, 3).tolist()
        real = round(rules.real * rules.scenes) if self.cubes is not None else 0
        parts = []
        if rules.scenes > real:
            batch = self.generator.draw(seeds[0], rules.scenes - real)
            parts.append((components_of(batch.cubes), batch.classes))
        if real and self.cubes is not None:
            parts.append(self.cubes.draw(seeds[1], real))
        components, classes = (torch.cat(part) for part in zip(*parts, strict=True))
        draws = Draws(seeds[2], components.device)
        # The sign of a principal component means nothing: the encoder must not rely on it.
        signs = 2.0 * draws.chance(len(components), components.shape[1], 1, 1, share=0.5) - 1
        episodes = draw_scene_episodes(
            draws,
            components * signs,
            classes,
            ways=int(rng.choice(rules.ways)),
            shots=int(rng.choice(rules.shots)),
            queries=rules.queries,
            apart=int(rng.integers(2, 9)),
            patch_size=_drawn(rng, rules.patch_sizes),
            image_size=_drawn(rng, rules.image_sizes),
        )
        noise = draws.uniform(rules.masked, token_count(episodes.image_size))
        return replace(episodes, noise=noise)


def _drawn(rng: np.random.Generator, shares: dict[int, float]) -> int:
    weights = np.array(list(shares.values()))
    return int(rng.choice(list(shares), p=weights / weights.sum()))


def draw_scene_episodes(
    draws: Draws,
    components: Tensor,
    classes: Tensor,
    *,
    ways: int,
    shots: int,
    queries: int,
    apart: int,
    patch_size: int,
    image_size: int,
) -> SceneEpisodes:
    """Draw labelled pixels and pixels to classify of every scene.

    Every other scene has its labels in clumps, and every other pair of scenes asks only for pixels
    more than `apart` pixels from every label.
    """
    scenes, side = len(classes), classes.shape[-1]
    flat = classes.flatten(1)  # (S, P)
    most = int(flat.max().item()) + 1
    counts = F.one_hot(flat, max(most, ways)).sum(1)  # (S, K)
    enough = counts >= shots + queries
    order = (draws.uniform(*counts.shape) - enough.float()).argsort(1)[:, :ways]
    there = enough.gather(1, order)  # (S, W)
    member = flat[:, None] == order[..., None]  # (S, W, P)
    number = torch.arange(scenes, device=flat.device)[:, None, None]
    clumped, distant = number % 2 == 1, number % 4 >= 2
    key = draws.uniform(scenes, ways, side * side)
    # A clump is what lies nearest to one of two pixels of the class.
    seeds = torch.where(member, key, 2.0).topk(2, largest=False).indices  # (S, W, 2)
    pixel = torch.arange(side * side, device=flat.device)
    to_seed = (
        ((pixel // side - (seeds // side)[..., None]) ** 2)
        + ((pixel % side - (seeds % side)[..., None]) ** 2)
    ).float()
    clump = (to_seed.amin(2).sqrt() + 2 * key) / (2 * side)
    labelled = torch.where(member, torch.where(clumped, clump, key), 2.0)
    labelled = labelled.topk(shots, largest=False).indices  # (S, W, shots)
    taken = torch.zeros_like(flat, dtype=torch.float32)
    taken.scatter_(1, labelled.flatten(1), there.repeat_interleave(shots, 1).float())
    near = F.max_pool2d(taken.view(scenes, 1, side, side), 2 * apart + 1, 1, apart).flatten(1)
    barred = torch.where(distant[:, 0], near, taken) > 0  # (S, P)
    free = member & ~barred[:, None]
    rank, queried = torch.where(free, draws.uniform(*key.shape), 2.0).topk(queries, largest=False)
    asked = (rank < 1.5) & there[..., None]
    label = torch.arange(ways, device=flat.device)
    return SceneEpisodes(
        components,
        labelled.flatten(1),
        queried.flatten(1),
        label.repeat_interleave(shots).expand(scenes, -1),
        label.repeat_interleave(queries).expand(scenes, -1),
        there,
        asked.flatten(1),
        patch_size,
        image_size,
        draws.uniform(0, 1),
    )


CENTRE_SHARE = 0.5  # spread of the centre's components over that of the tokens


class SceneEpisodeHead(nn.Module):
    """Ridge heads of a step's episodes: on the pooled tokens, and beside the centre pixel.

    Parameters
    ----------
    centre : float
        Weight of the second loss, 0 to 1; the first has the rest.
    """

    def __init__(self, centre: float = 0.0) -> None:
        super().__init__()
        self.centre = centre
        self.log_strength = nn.Parameter(torch.full((2,), STRENGTH).log())
        self.log_scale = nn.Parameter(torch.full((2,), 5.0).log())

    def forward(self, tokens: Tensor, episodes: SceneEpisodes) -> tuple[Tensor, Tensor]:
        """Loss and accuracy (both scalars) of episodes whose windows have tokens (S N, L, D)."""
        scenes = len(episodes.components)
        pooled = tokens.float().mean(1)
        features = F.layer_norm(pooled, pooled.shape[-1:])
        with torch.autocast(tokens.device.type, enabled=False):
            loss, accuracy = self._judge(features.unflatten(0, (scenes, -1)), episodes, 0)
            if self.centre:
                centres = episodes.centres().unflatten(0, (scenes, -1))
                own = _of_unit_spread(features.unflatten(0, (scenes, -1)))
                both = torch.cat([own, CENTRE_SHARE * _of_unit_spread(centres)], 2)
                second, accuracy = self._judge(both, episodes, 1)
                loss = (1 - self.centre) * loss + self.centre * second
        return loss, accuracy

    def _judge(
        self, features: Tensor, episodes: SceneEpisodes, which: int
    ) -> tuple[Tensor, Tensor]:
        n = episodes.labelled.shape[1]
        known = episodes.classes.gather(1, episodes.targets)  # (S, n)
        scores = ridge_scores(
            features[:, :n],
            episodes.targets,
            known,
            episodes.classes.shape[1],
            features[:, n:],
            self.log_strength[which].exp(),
        )
        scores = scores * self.log_scale[which].exp()
        scores = scores.masked_fill(~episodes.classes[:, None], -1e4)  # (S, q, W)
        losses = F.cross_entropy(scores.flatten(0, 1), episodes.truth.flatten(), reduction="none")
        weight = episodes.asked.float()
        right = (scores.argmax(2) == episodes.truth).float()
        total = weight.sum(1).clamp_min(1)
        counted = ((episodes.classes.sum(1) > 1) & (weight.sum(1) > 0)).float()
        share = counted / counted.sum().clamp_min(1)
        loss = ((losses.view_as(weight) * weight).sum(1) / total * share).sum()
        return loss, ((right * weight).sum(1) / total * share).sum()


def ridge_scores(
    features: Tensor, targets: Tensor, known: Tensor, classes: int, asked: Tensor, strength: Tensor
) -> Tensor:
    """Scores (S, q, K) of features (S, q, D) by ridge heads of S scenes (see `training.ridge`).

    The head of a scene is fitted to its features (S, n, D) with classes (S, n) where `known`.
    """
    dtype, features, asked = features.dtype, features.double(), asked.double()
    weight = known[..., None].to(features.dtype)
    total = weight.sum(1, keepdim=True).clamp_min(1)
    indicators = F.one_hot(targets, classes).to(features.dtype)
    centre = (features * weight).sum(1, keepdim=True) / total
    share = (indicators * weight).sum(1, keepdim=True) / total
    x, y = (features - centre) * weight, (indicators - share) * weight
    gram = x @ x.transpose(1, 2)  # (S, n, n)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    mu = strength * trace / total + 1e-6
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    dual = torch.cholesky_solve(y, torch.linalg.cholesky_ex(gram + mu * eye).L)
    return (share + (asked - centre) @ (x.transpose(1, 2) @ dual)).to(dtype)


def _of_unit_spread(features: Tensor) -> Tensor:
    """Features (S, N, D) whose variances add up to 1 in every scene."""
    spread = features.detach().var(1, correction=0, keepdim=True).sum(2, keepdim=True)
    return features * (spread + 1e-12).rsqrt()


def scene_steps(
    config: PretrainConfig,
    scenes: SceneOptions,
    stage: Stage,
    device: torch.device,
    process: int = 0,
) -> SceneSteps:
    """Read the library and the cubes that the configuration names, and draw steps from them."""
    episodes, masked = config.episodes, config.masked
    rules = SceneEpisodeRules(
        scenes=episodes.scenes,
        real=scenes.real if scenes.cubes else 0.0,
        ways=episodes.ways,
        shots=episodes.shots,
        queries=episodes.queries,
        patch_sizes=config.patch_sizes,
        image_sizes=scenes.image_sizes or {stage.image_size: 1.0},
        masked=masked.windows if masked.weight else 0,
    )
    drawn = SceneRules(scenes.size, scenes.bands, scenes.classes, scenes.curves)
    generator = SceneGenerator(open_library(scenes.library), drawn, device)
    cubes = None
    if rules.real:
        cubes = RealCubes(
            open_cubes(scenes.cubes),
            device,
            size=scenes.size,
            bands=scenes.bands,
            classes=scenes.classes,
        )
    return SceneSteps(config.seed, process, rules, generator, cubes)


def scene_files(options: SceneOptions | None) -> list[Path]:
    """The files of the library and of the cubes that scenes are drawn from."""
    if options is None:
        return []
    found = [path for name in options.library for path in scenes_package.library_files(Path(name))]
    cubes = [path for name in options.cubes for path in source_paths(name)]
    for path in cubes:
        found += [path] if path.suffix == ".npz" else scenes_package.files_of(path)
    return [path for path in found if path.is_file()]  # opening reports what is not there


def open_library(names: Sequence[str]) -> SpectralLibrary | None:
    """The spectra of an .npz that was prepared, or of ENVI headers; None where none is named.

    Raises
    ------
    ConfigError
        For an .npz beside other files.
    """
    if not names:
        return None
    if any(name.endswith(".npz") for name in names):
        if len(names) > 1:
            raise ConfigError(
                "scenes.library",
                expected="one prepared .npz, or ENVI headers",
                got=", ".join(names),
                hint="prepare all spectra in one file",
            )
        return SpectralLibrary.load(Path(names[0]))
    return read_library(Path(name) for name in names)


def open_cubes(patterns: Sequence[str]) -> dict[str, np.ndarray]:
    """Cubes (B, H, W) by name: of an .npz with one array a cube, or of scenes of any reader."""
    cubes: dict[str, np.ndarray] = {}
    for pattern in patterns:
        for path in source_paths(pattern):
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as file:
                    cubes.update({name: file[name] for name in file.files})
            else:
                cubes[path.stem] = scenes_package.open_scene(path).cube.values
    return cubes
