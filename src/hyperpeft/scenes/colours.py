"""Distinct colours for class ids."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

Colour = tuple[int, int, int]

# Far apart in hue or lightness, none close to black (unlabelled) or white (paper).
_BASE: tuple[Colour, ...] = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (250, 190, 212),
    (0, 128, 128),
    (220, 190, 255),
    (170, 110, 40),
    (255, 250, 200),
    (128, 0, 0),
    (170, 255, 195),
    (128, 128, 0),
    (255, 215, 180),
    (0, 0, 128),
    (128, 128, 128),
)
_GOLDEN = 0.618033988749895


def palette(ids: Iterable[int]) -> dict[int, Colour]:
    """One RGB colour per class id, all different.

    An id from 1 to 20 always gets the same colour, whatever the other ids are.

    Parameters
    ----------
    ids : iterable of int
        Class ids; 0 (unlabelled) gets no colour.

    Returns
    -------
    dict of int to (int, int, int)
        In ascending order of id, 0 to 255.

    Examples
    --------
    >>> palette([2, 1])
    {1: (230, 25, 75), 2: (60, 180, 75)}
    """
    colours: dict[int, Colour] = {}
    used: set[Colour] = set(_BASE)
    for i in sorted({int(i) for i in ids} - {0}):
        colours[i] = _BASE[i - 1] if 1 <= i <= len(_BASE) else _unused(i, used)
        used.add(colours[i])
    return colours


def _unused(i: int, used: set[Colour]) -> Colour:
    """A colour on the golden-angle wheel that nobody has yet."""
    step = 0
    while True:
        k = i + 1000 * step
        r, g, b = colorsys.hsv_to_rgb(
            (k * _GOLDEN) % 1.0, 0.45 + 0.5 * ((k // 7) % 3) / 2, 0.55 + 0.4 * ((k // 3) % 3) / 2
        )
        colour = (round(255 * r), round(255 * g), round(255 * b))
        if colour not in used:
            return colour
        step += 1
