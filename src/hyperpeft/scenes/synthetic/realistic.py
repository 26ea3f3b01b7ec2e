"""Batches of labelled scenes with the statistics of real ones, made on the device that trains.

Spectra come from measured libraries (or are random smooth curves), seen by sensors of random or
real response; classes lie in groups of similar spectra, have sub-types, moisture and mixtures, and
cover the ground as `ground` draws it; point spread, terrain, shadow, haze, gain, noise and
stripes follow. Everything is a function of the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperpeft.scenes.synthetic.ground import PARCELS, Draws, Ground, draw_ground
from hyperpeft.scenes.synthetic.library import GRID_NM, SpectralLibrary

_SUBTYPES = 3
_VARIATIONS = 6
_WATER_NM = (970.0, 1200.0, 1450.0, 1940.0, 2450.0)  # absorption of liquid water
_WATER = (0.05, 0.1, 0.6, 1.0, 0.9)
_VAPOUR_NM = ((1340.0, 1450.0), (1800.0, 1970.0))  # where the air lets nothing through


class SceneBatch(NamedTuple):
    """Cubes (S, B, n, n) float32 in arbitrary units; the class of each pixel (S, n, n), from 0."""

    cubes: Tensor
    classes: Tensor


@dataclass(frozen=True)
class SceneRules:
    """How generated scenes are drawn.

    Attributes
    ----------
    size : int
        Pixels of a side, n.
    bands : int
        B.
    classes : int
        Classes at most, K; a scene has 3 or more.
    curves : float
        Share of the scenes whose spectra are random smooth curves and of no library.
    """

    size: int = 64
    bands: int = 64
    classes: int = 16
    curves: float = 0.25


class SceneGenerator:
    """Draws batches of scenes.

    Parameters
    ----------
    library : SpectralLibrary, optional
        Without one, all spectra are random curves.
    rules : SceneRules
    device : torch.device
    """

    def __init__(
        self,
        library: SpectralLibrary | None,
        rules: SceneRules,
        device: torch.device,
    ) -> None:
        self.rules, self.device = rules, device
        self.grid = torch.as_tensor(GRID_NM, dtype=torch.float32, device=device)
        self.spectra: Tensor | None = None
        if library is not None:
            self.spectra = torch.as_tensor(library.reflectance, device=device)  # (M, W)
            shape = F.normalize(self.spectra - self.spectra.mean(1, keepdim=True), dim=1)
            level = self.spectra.mean(1, keepdim=True)
            keys = torch.cat([shape, level], 1)  # what makes spectra similar
            self.similar = torch.cdist(keys, keys).argsort(1).to(torch.int32)  # (M, M)
            self.weights = _frequencies(self.spectra)

    def draw(self, seed: int, scenes: int) -> SceneBatch:
        """`scenes` scenes; the same seed on the same kind of device gives the same."""
        draws, rules = Draws(seed, self.device), self.rules
        fine = 1 + int(draws.integers(1, high=3).item())
        ground = draw_ground(draws, scenes, rules.size, rules.classes, fine)
        measured = scenes - round(rules.curves * scenes) if self.spectra is not None else 0
        parts = []
        if measured:
            parts.append(self._measured(draws, measured))
        if scenes > measured:
            parts.append(self._curves(draws, scenes - measured))
        classes, ways = (torch.cat(part) for part in zip(*parts, strict=True))
        order = draws.uniform(scenes).argsort()  # spectra and grounds are independent
        cubes = _compose(draws, ground, classes[order], ways[order])
        cubes = _seen(draws, cubes, ground)
        return SceneBatch(cubes, ground.classes)

    def _measured(self, draws: Draws, scenes: int) -> tuple[Tensor, Tensor]:
        """Spectra of classes (S, K, J, B) and of variations (S, V, B) from the library."""
        assert self.spectra is not None
        classes, total = self.rules.classes, len(self.spectra)
        groups = 1 + classes // 3
        anchors = draws.categories(self.weights[None].expand(scenes, -1), groups)  # (S, G)
        group = draws.integers(scenes, classes, high=groups)
        group = torch.minimum(group, draws.integers(scenes, 1, high=groups))  # some have one group
        of_class = anchors.gather(1, group)  # (S, K)
        spread = draws.log_uniform(scenes, 1, low=3, high=0.6 * total)
        member = self._neighbours(draws, of_class, spread)  # (S, K)
        near = draws.log_uniform(scenes, 1, low=2, high=60)
        kinds = torch.stack([self._neighbours(draws, member, near) for _ in range(_SUBTYPES)], 2)
        spectra = self.spectra[kinds]  # (S, K, J, W)
        centre = self.spectra[of_class][:, :, None]
        apart = draws.log_uniform(scenes, 1, 1, 1, low=0.15, high=1.2)
        within = draws.log_uniform(scenes, 1, 1, 1, low=0.1, high=1.0)
        mean = spectra.mean(2, keepdim=True)
        spectra = centre + apart * (mean - centre + within * (spectra - mean))
        other = draws.categories(self.weights[None].expand(scenes, -1), 2 * _VARIATIONS)
        first, second = self.spectra[other].chunk(2, dim=1)
        ways = first - second  # (S, V, W)
        wet = self._water(draws, scenes)  # (S, W)
        mean_spectrum = spectra.mean((1, 2))
        ways[:, 0] = -mean_spectrum * wet  # moisture darkens, most where water absorbs
        ways[:, 1] = mean_spectrum * draws.uniform(scenes, 1, low=0.3, high=1.0)  # brightness
        soil = spectra.clamp_min(0.0) * (
            1 - draws.uniform(scenes, self.rules.classes, 1, 1, high=0.5) * wet[:, None, None]
        )
        responses = self._sensors(draws, scenes)  # (S, B, W)
        return (
            torch.einsum("skjw,sbw->skjb", soil, responses),
            0.25 * torch.einsum("svw,sbw->svb", ways, responses),
        )

    def _neighbours(self, draws: Draws, numbers: Tensor, spread: Tensor) -> Tensor:
        """For spectra (S, K), others whose similarity ranks up to about `spread` (S, 1)."""
        rank = (draws.uniform(*numbers.shape) * spread).long().clamp_max(len(self.similar) - 1)
        return self.similar[numbers, rank].long()

    def _water(self, draws: Draws, scenes: int) -> Tensor:
        """How water darkens (S, W), between 0 and 1."""
        width = 60.0
        curve = sum(
            depth * torch.exp(-(((self.grid - centre) / width) ** 2))
            for centre, depth in zip(_WATER_NM, _WATER, strict=True)
        )
        flat = draws.uniform(scenes, 1, low=0.2, high=0.6)
        return (flat + (1 - flat) * curve).clamp(0, 1)

    def _sensors(self, draws: Draws, scenes: int) -> Tensor:
        """Responses (S, B, W): bands of Gaussian response over a range of wavelengths."""
        bands = self.rules.bands
        visible = draws.chance(scenes, 1, share=0.35)  # a sensor without the short-wave infrared
        high = torch.where(
            visible,
            draws.uniform(scenes, 1, low=850, high=1050),
            draws.uniform(scenes, 1, low=2200, high=2450),
        )
        low = draws.uniform(scenes, 1, low=400, high=480)
        steps = draws.uniform(scenes, bands, low=0.6, high=1.4).cumsum(1)
        steps = (steps - steps[:, :1]) / (steps[:, -1:] - steps[:, :1])
        centres = low + (high - low) * steps  # (S, B)
        for begin, end in _VAPOUR_NM:  # bands there are dropped: they move to the next window
            blind = (centres > begin) & (centres < end)
            centres = torch.where(blind, end + 0.2 * (centres - begin), centres)
        spacing = (high - low) / bands
        width = spacing * draws.uniform(scenes, 1, low=0.4, high=1.0) + 3.0
        response = torch.exp(-(((self.grid - centres[..., None]) / width[..., None]) ** 2) / 2)
        return response / response.sum(-1, keepdim=True).clamp_min(1e-6)

    def _curves(self, draws: Draws, scenes: int) -> tuple[Tensor, Tensor]:
        """The same as `_measured` from random smooth curves."""
        bands, classes = self.rules.bands, self.rules.classes
        decay = draws.uniform(scenes, 1, 1, low=0.5, high=2.0)
        groups = 1 + classes // 3
        centres = _smooth(draws, scenes, groups, bands, decay)
        group = draws.integers(scenes, classes, high=groups)
        group = torch.minimum(group, draws.integers(scenes, 1, high=groups))
        apart = draws.log_uniform(scenes, 1, 1, low=0.06, high=0.6)
        own = _smooth(draws, scenes, classes, bands, decay * 0.7)
        own = own * draws.uniform(scenes, classes, 1, low=0.4, high=1.6)
        spectra = centres.gather(1, group[..., None].expand(-1, -1, bands)) + apart * own
        within = apart * draws.log_uniform(scenes, 1, 1, low=0.2, high=1.5)
        kinds = _smooth(draws, scenes, classes * _SUBTYPES, bands, decay * 0.7) * within
        ways = _smooth(draws, scenes, _VARIATIONS, bands, decay) * within
        spectra = spectra[:, :, None] + kinds.unflatten(1, (classes, _SUBTYPES))
        return spectra + draws.uniform(scenes, 1, 1, 1, low=1.0, high=2.5), ways


def _frequencies(spectra: Tensor) -> Tensor:
    """How often each spectrum (M, W) is drawn: plants, dark and other surfaces equally often.

    Libraries hold many more minerals than plants, and scenes do not.
    """
    red, infrared = spectra[:, 27], spectra[:, 40]  # 670 and 800 nm
    plant = (infrared - red) / (infrared + red + 1e-6) > 0.3
    dark = ~plant & (spectra.mean(1) < 0.1)
    other = ~plant & ~dark
    parts = [(plant, 0.5), (dark, 0.1), (other, 0.4)]
    return sum(share * part / part.sum().clamp_min(1) for part, share in parts)  # type: ignore


def _smooth(draws: Draws, scenes: int, count: int, bands: int, decay: Tensor) -> Tensor:
    """Smooth random spectra (scenes, count, bands) of unit norm in their cosines."""
    order = torch.arange(1, min(bands, 24) + 1, device=draws.device, dtype=torch.float32)
    place = (torch.arange(bands, device=draws.device) + 0.5) / bands
    cosines = torch.cos(torch.pi * (order[:, None] - 1) * place)
    weights = draws.normal(scenes, count, len(order)) * order ** (-decay)
    return weights @ cosines / (weights.pow(2).sum(-1, keepdim=True).sqrt() + 1e-9)


def _compose(draws: Draws, ground: Ground, spectra: Tensor, ways: Tensor) -> Tensor:
    """Cubes (S, B, n, n) from the classes' shares, sub-types and variations."""
    scenes, classes, n, _ = ground.shares.shape
    parcels = ground.parcels.flatten(1)  # (S, n n)

    def by_parcel(count: int) -> Tensor:
        table = draws.normal(scenes, count, PARCELS)
        return table.gather(2, parcels[:, None].expand(-1, count, -1)).view(scenes, count, n, n)

    def mixed_fields(count: int) -> Tensor:
        """Differs by parcel, over the ground and from pixel to pixel, in shares of each scene."""
        share = draws.uniform(3, scenes, 1, 1, 1) ** 2
        grid = int(2 ** (1 + draws.uniform(1).item() * 3.5))
        fields = share[0] * by_parcel(count) + share[1] * draws.surfaces(scenes, count, n, grid)
        fields = fields + share[2] * draws.normal(scenes, count, n, n)
        return fields / share.pow(2).sum(0).sqrt().clamp_min(1e-3)

    sharp = draws.log_uniform(scenes, 1, 1, 1, low=0.5, high=3)
    kinds = (sharp * mixed_fields(_SUBTYPES)).softmax(1)  # (S, J, n, n)
    shares = _impure(draws, _spread(draws, ground.shares))
    amounts = (shares[:, :, None] * kinds[:, None]).flatten(1, 2)  # (S, K J, n, n)
    strength = draws.log_uniform(scenes, ways.shape[1], 1, 1, low=0.05, high=1.0)
    by_class = draws.uniform(scenes, ways.shape[1], classes, low=0.2, high=1.5)
    local = torch.einsum("svk,skyx->svyx", by_class, shares)
    amounts = torch.cat([amounts, mixed_fields(ways.shape[1]) * strength * local], 1)
    basis = torch.cat([spectra.flatten(1, 2), ways], 1)  # (S, K J + V, B)
    cubes = basis.transpose(1, 2) @ amounts.flatten(2)  # (S, B, n n)
    return cubes.unflatten(2, (n, n))


def _impure(draws: Draws, shares: Tensor) -> Tensor:
    """In most scenes every pixel holds a little of another class."""
    scenes, classes, n, _ = shares.shape
    amount = draws.uniform(scenes, 1, n, n) ** 3 * draws.uniform(scenes, 1, 1, 1, high=0.6)
    amount = amount * draws.chance(scenes, 1, 1, 1, share=0.6)
    other = F.one_hot(draws.integers(scenes, 4, high=classes), classes).float()  # (S, 4, K)
    which = draws.integers(scenes, n * n, high=4)
    share = other.gather(1, which[..., None].expand(-1, -1, classes))  # (S, n n, K)
    return shares * (1 - amount) + share.transpose(1, 2).unflatten(2, (n, n)) * amount


def _spread(draws: Draws, images: Tensor) -> Tensor:
    """The sensor's point spread: a Gaussian of 0.2 to 0.9 pixels, another for each scene."""
    sigma = draws.uniform(len(images), 1, low=0.2, high=0.9)
    offsets = torch.arange(-2, 3, device=images.device)
    kernel = torch.exp(-((offsets / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum(1, keepdim=True)  # (S, 5)
    for axis in (-2, -1):
        padding = (2, 2, 0, 0) if axis == -1 else (0, 0, 2, 2)
        padded = F.pad(images, padding, mode="replicate")
        length = images.shape[axis]
        images = sum(  # type: ignore[assignment]
            kernel[:, i, None, None, None] * padded.narrow(axis, i, length) for i in range(5)
        )
    return images


def _seen(draws: Draws, cubes: Tensor, ground: Ground) -> Tensor:
    """What a sensor makes of reflectances: light, haze, gain, noise, stripes."""
    scenes, bands, n, _ = cubes.shape
    slope = draws.uniform(scenes, 1, 1, high=0.15) * draws.surfaces(scenes, 1, n, 6)[:, 0]
    rough = draws.uniform(scenes, 1, 1, high=0.12) * draws.chance(scenes, 1, 1, share=0.5)
    slope = slope + rough * draws.normal(scenes, n, n)
    cubes = cubes * (ground.light * slope.clamp(-1, 1).exp())[:, None]
    place = torch.linspace(0, 1, bands, device=cubes.device)
    level = cubes.mean((1, 2, 3), keepdim=True)
    haze = level * draws.uniform(scenes, 1, 1, 1, high=0.4) * torch.exp(-5 * place)[:, None, None]
    cubes = cubes + haze * (1 + 0.3 * draws.surfaces(scenes, 1, n, 4))
    flat = torch.full((scenes, 1, 1), 1.0, device=cubes.device)
    gain = (0.8 * _smooth(draws, scenes, 1, bands, flat)[:, 0] - 1.5 * place).exp()  # radiance
    gain = torch.where(draws.chance(scenes, 1, share=0.5), gain, torch.ones_like(gain))
    cubes = cubes * gain[..., None, None]
    deviation = cubes.std((2, 3), keepdim=True)  # (S, B, 1, 1)
    own = _smooth(draws, scenes, 1, bands, flat)[:, 0, :, None, None]
    level = draws.log_uniform(scenes, 1, 1, 1, low=0.004, high=0.25)
    bad = 1 + 6 * draws.chance(scenes, bands, 1, 1, share=0.05)
    noise = draws.normal(*cubes.shape)
    striped = draws.chance(scenes, 1, 1, 1, share=0.25)
    noise = noise + striped * draws.normal(scenes, bands, 1, n) * draws.uniform(scenes, 1, 1, 1)
    mean_deviation = deviation.mean(1, keepdim=True)
    return cubes + noise * level * bad * (0.5 * own).exp() * (deviation + mean_deviation) / 2
