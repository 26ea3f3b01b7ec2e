"""What covers the ground of generated scenes, and the random draws that it is made of.

The ground is fields, roads, buildings, crowns, rows and shadow. Everything is drawn for a batch of
scenes at once, on a grid `fine` times as fine as the pixels; the pixels' shares of the classes are
means over it, so borders and small objects are truly mixed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Draws:
    """Random tensors of one generator.

    Parameters
    ----------
    seed : int
    device : torch.device
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high)."""
        values = torch.rand(shape, generator=self.generator, device=self.device)
        return low + (high - low) * values

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Uniform in the logarithm."""
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def integers(self, *shape: int, high: int) -> Tensor:
        """Whole numbers from 0 to high - 1."""
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def chance(self, *shape: int, share: float) -> Tensor:
        """True with probability `share`."""
        return self.uniform(*shape) < share

    def categories(self, weights: Tensor, count: int) -> Tensor:
        """`count` draws from each row of weights (S, K): (S, count)."""
        return torch.multinomial(weights, count, replacement=True, generator=self.generator)

    def surfaces(self, scenes: int, count: int, size: int, grid: int) -> Tensor:
        """Smooth standardised surfaces (scenes, count, size, size) from a coarse grid of numbers.

        `grid` is the number of independent values along a side; a grid as large as the surface
        gives independent pixels.
        """
        if grid >= size:
            return self.normal(scenes, count, size, size)
        coarse = self.normal(scenes, count, grid + 3, grid + 3)
        fine = F.interpolate(
            coarse, size=size + 3 * size // grid, mode="bicubic", align_corners=False
        )
        start = size // grid
        fine = fine[..., start : start + size, start : start + size]
        deviation, mean = torch.std_mean(fine, dim=(-2, -1), keepdim=True)
        return (fine - mean) / (deviation + 1e-6)


PARCELS = 1024  # numbers of parcels, which repeat on a ground with more
_SIDE = 32  # square root of it
_WILD = 0.3  # share of the scenes where classes run into each other without parcels


class Ground(NamedTuple):
    """Ground cover of S scenes of n x n pixels."""

    shares: Tensor  # (S, K, n, n), of the classes in each pixel
    classes: Tensor  # (S, n, n) int64, what covers most of it (a crop, where soil shows in rows)
    parcels: Tensor  # (S, n, n) int64, 0 to PARCELS - 1
    light: Tensor  # (S, n, n), less than 1 where shadow falls


def draw_ground(draws: Draws, scenes: int, size: int, classes: int, fine: int) -> Ground:
    """Draw the cover of `scenes` scenes; not every scene has every one of the `classes`."""
    side = size * fine
    y, x = (axis.to(torch.float32) for axis in _axes(side, draws.device))
    weights = -draws.uniform(scenes, classes, low=1e-6).log()  # Dirichlet: uneven frequencies
    count = draws.uniform(scenes, 1, low=3, high=classes + 1).floor()
    weights = weights * (torch.arange(classes, device=draws.device) < count)
    scale = draws.log_uniform(scenes, 1, 1, low=4, high=26) * fine
    parcels = _parcels(draws, x, y, scenes, scale)  # (S, side, side)
    of_parcel = draws.categories(weights, PARCELS)  # (S, PARCELS)
    cover = of_parcel.gather(1, parcels.flatten(1)).view_as(parcels)
    wild = round(_WILD * scenes)
    if wild:
        cover[:wild] = _run_into_each_other(draws, weights[:wild], side)
    cover, light = _objects(draws, x, y, cover, weights, fine)
    shares = F.one_hot(cover, classes).permute(0, 3, 1, 2).to(torch.float32)
    bare = _rows(draws, x, y, scenes, parcels, fine)[:, None]
    if fine > 1:
        shares, bare = F.avg_pool2d(shares, fine), F.avg_pool2d(bare, fine)
        light = F.avg_pool2d(light[:, None], fine)[:, 0]
        parcels = parcels[:, fine // 2 :: fine, fine // 2 :: fine]
    soil = F.one_hot(of_parcel[:, 0], classes)[:, :, None, None]
    return Ground(shares * (1 - bare) + soil * bare, shares.argmax(1), parcels, light)


def _axes(side: int, device: torch.device) -> tuple[Tensor, ...]:
    line = torch.arange(side, device=device)
    return torch.meshgrid(line, line, indexing="ij")


def _turned(draws: Draws, x: Tensor, y: Tensor, scenes: int) -> tuple[Tensor, Tensor]:
    """The grid's coordinates (scenes, side, side) after a turn and a shift of each scene."""
    angle = draws.uniform(scenes, 1, 1, high=torch.pi)
    shift = draws.uniform(2, scenes, 1, 1, high=1000.0)
    return (
        x * angle.cos() + y * angle.sin() + shift[0],
        y * angle.cos() - x * angle.sin() + shift[1],
    )


def _parcels(draws: Draws, x: Tensor, y: Tensor, scenes: int, scale: Tensor) -> Tensor:
    """Numbers of parcels: cells around scattered points, or strips cut into uneven fields."""
    u, v = _turned(draws, x, y, scenes)
    stretch = draws.uniform(scenes, 1, 1, low=-0.75, high=0.75).exp()
    u, v = u / scale * stretch, v / scale / stretch
    cells = _cells(draws, u, v)
    bent = draws.uniform(scenes, 64, low=-0.35, high=0.35)  # uneven widths of the strips
    strip = (u + _looked_up(bent, u.floor().long())).floor().long()
    offset = draws.uniform(scenes, 64, high=8.0)  # fields of neighbouring strips do not line up
    length = draws.uniform(scenes, 64, low=0.5, high=2.0)
    field = (v * _looked_up(length, strip) + _looked_up(offset, strip)).floor().long()
    strips = (strip % _SIDE) * _SIDE + field % _SIDE
    return torch.where(draws.chance(scenes, 1, 1, share=0.5), cells, strips)


def _looked_up(table: Tensor, numbers: Tensor) -> Tensor:
    """A table (S, T) at numbers (S, h, w), modulo T."""
    flat = (numbers % table.shape[1]).flatten(1)
    return table.gather(1, flat).view(numbers.shape)


def _cells(draws: Draws, u: Tensor, v: Tensor) -> Tensor:
    """The nearest of points that lie one in each unit square, by number (S, h, w)."""
    scenes = len(u)
    inside = draws.uniform(2, scenes, PARCELS)
    base_u, base_v = u.floor(), v.floor()
    best = torch.full_like(u, torch.inf)
    number = torch.zeros_like(u, dtype=torch.long)
    for du in (-1, 0, 1):
        for dv in (-1, 0, 1):
            cell_u, cell_v = base_u + du, base_v + dv
            name = (cell_u.long() % _SIDE) * _SIDE + cell_v.long() % _SIDE
            px, py = (_looked_up(table, name) for table in inside)
            distance = (cell_u + px - u) ** 2 + (cell_v + py - v) ** 2
            nearer = distance < best
            best = torch.where(nearer, distance, best)
            number = torch.where(nearer, name, number)
    return number


def _run_into_each_other(draws: Draws, weights: Tensor, side: int) -> Tensor:
    """The class whose smooth surface is highest (S, side, side)."""
    scenes, classes = weights.shape
    grid = int(2 ** (1 + draws.uniform(1).item() * 2.5))
    surfaces = draws.surfaces(scenes, classes, side, grid)
    surfaces = surfaces + draws.uniform(1).item() * draws.surfaces(
        scenes, classes, side, min(4 * grid, side)
    )
    lift = torch.where(weights > 0, 0.4 * weights.clamp_min(1e-6).log(), -torch.inf)
    return (surfaces + lift[:, :, None, None]).argmax(1)


def _objects(
    draws: Draws, x: Tensor, y: Tensor, cover: Tensor, weights: Tensor, fine: int
) -> tuple[Tensor, Tensor]:
    """Roads and streams, buildings, crowns and their shadows over the cover."""
    scenes, side = len(cover), cover.shape[-1]
    own = draws.categories(weights, 8)  # (S, 8): a class for each kind of object
    light = torch.ones_like(cover, dtype=torch.float32)
    bends = draws.surfaces(scenes, 1, side, 3)[:, 0] * side / 16
    for kind in range(2):
        there = draws.chance(scenes, 1, 1, share=0.45)
        angle, away = draws.uniform(2, scenes, 1, 1)
        ahead = x * (torch.pi * angle).cos() + y * (torch.pi * angle).sin()
        spacing = draws.log_uniform(scenes, 1, 1, low=0.3, high=1.5) * side
        near = ((ahead + bends + away * side) % spacing - spacing / 2).abs()
        width = draws.log_uniform(scenes, 1, 1, low=0.3, high=2.5) * fine
        cover = torch.where(there & (near < width), own[:, kind, None, None], cover)
    town = draws.surfaces(scenes, 2, side, 4) > draws.uniform(scenes, 2, 1, 1, low=-0.5, high=1.2)
    for kind, (low, high) in enumerate(((4.0, 14.0), (2.5, 8.0))):  # buildings, crowns
        there = draws.chance(scenes, 1, 1, share=0.45) & town[:, kind]
        u, v = _turned(draws, x, y, scenes)
        pitch = draws.log_uniform(scenes, 1, 1, low=low, high=high) * fine
        u, v = u / pitch, v / pitch
        name = (u.floor().long() % _SIDE) * _SIDE + v.floor().long() % _SIDE
        half = draws.uniform(3, scenes, PARCELS, low=0.1, high=0.48)
        du, dv = (u % 1 - 0.5).abs(), (v % 1 - 0.5).abs()
        if kind == 0:
            inside = (du < _looked_up(half[0], name)) & (dv < _looked_up(half[1], name))
        else:
            inside = du**2 + dv**2 < _looked_up(half[0], name) ** 2
        inside &= there & (_looked_up(half[2], name) < 0.38)  # not every place is taken
        which = own[:, 2 + 3 * kind : 5 + 3 * kind]  # roofs and trees differ
        covered = which.gather(1, (name % 3).flatten(1)).view_as(name)
        cover = torch.where(inside, covered, cover)
        length = max(1, round(draws.log_uniform(1, low=0.4, high=2.5).item() * fine))
        shadow = torch.roll(inside, (length, length), (1, 2)) & ~inside
        dark = draws.uniform(scenes, 1, 1, low=0.25, high=1.0)
        light = torch.where(shadow, light * dark, light)
    spots = draws.chance(*cover.shape, share=0.03) & draws.chance(scenes, 1, 1, share=0.3)
    return torch.where(spots, own[:, 7, None, None], cover), light


def _rows(draws: Draws, x: Tensor, y: Tensor, scenes: int, parcels: Tensor, fine: int) -> Tensor:
    """How much soil shows between crops in rows (S, side, side), in parcels of some scenes."""
    sown = draws.chance(scenes, PARCELS, share=0.5) & draws.chance(scenes, 1, share=0.3)
    amount = sown * draws.uniform(scenes, PARCELS, high=0.8)
    u, _ = _turned(draws, x, y, scenes)
    period = draws.log_uniform(scenes, 1, 1, low=1.3, high=6) * fine
    return (0.5 + 0.5 * (2 * torch.pi * u / period).sin()) * _looked_up(amount, parcels)
