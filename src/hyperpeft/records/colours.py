"""Colours of classes that stay apart for readers with any kind of colour vision.

The first seven are those of Okabe and Ito (2008), https://jfly.uni-koeln.de/color/; each of the
others is the colour of a grid that is farthest from those before it, by the smallest CIELAB
distance over normal vision, protanopia, deuteranopia and tritanopia (Machado et al. 2009,
doi:10.1109/TVCG.2009.113). All 20 are at least 15 apart; none is close to black or white.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Colour = tuple[int, int, int]

_BASE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (80, 40, 0), (120, 0, 240), (40, 40, 80), (200, 240, 200), (240, 0, 80),
    (0, 240, 120), (80, 0, 120), (160, 80, 240), (120, 80, 120), (200, 200, 200), (80, 0, 160),
    (120, 80, 0), (160, 40, 80),
)  # fmt: skip
# What maps show in colours that readers expect, by the first word of a class name that says so.
_CONCEPTS: tuple[tuple[Colour, tuple[str, ...]], ...] = (
    ((45, 40, 70), ("shadow",)),
    ((0, 114, 178), ("water", "river", "lake", "sea", "ocean", "pond", "stream")),
    ((0, 90, 60), ("tree", "forest", "wood", "woodland", "conifer", "deciduous", "pine", "oak")),
    ((146, 208, 80), ("grass", "grassland", "meadow", "pasture", "lawn", "vegetation")),
    ((225, 190, 40), ("crop", "cropland", "corn", "wheat", "cereal", "field", "agriculture")),
    ((160, 92, 40), ("soil", "bare", "fallow", "mud", "earth")),
    ((213, 94, 0), ("building", "roof", "urban", "residential", "settlement")),
    ((110, 110, 118), ("road", "asphalt", "street", "highway", "pavement", "parking")),
    ((250, 225, 180), ("sand", "beach", "dune")),
    ((190, 185, 175), ("rock", "gravel", "stone", "scree")),
    ((215, 235, 250), ("snow", "ice", "glacier")),
)
_RED_GREEN_BLUE = (650.0, 550.0, 470.0)  # nm
_GOLDEN = 0.618033988749895


def to_hex(colour: Colour) -> str:
    """A colour as #rrggbb.

    >>> to_hex((213, 94, 0)), from_hex("#d55e00")
    ('#d55e00', (213, 94, 0))
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def from_hex(text: str) -> Colour:
    """A colour that is written as #rrggbb."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def palette(ids: Iterable[int], names: Mapping[int, str] | None = None) -> dict[int, Colour]:
    """One RGB colour per class id, all different.

    Without names an id from 1 to 20 always gets the same colour, whatever the other ids are. With
    names, the first water is blue, the first tree dark green, and so on; the other classes get the
    colours that are farthest from those taken.

    Parameters
    ----------
    ids : iterable of int
        Class ids; 0 (unlabelled) gets no colour.
    names : mapping of int to str, optional
        Class names.

    Returns
    -------
    dict of int to (int, int, int)
        In ascending order of id, 0 to 255.

    Examples
    --------
    >>> palette([2, 1])
    {1: (230, 159, 0), 2: (86, 180, 233)}
    >>> palette([1, 2], {1: "Lake water", 2: "Trees"})
    {1: (0, 114, 178), 2: (0, 90, 60)}
    """
    order = sorted({int(i) for i in ids} - {0})
    known = _by_name(order, names or {})
    colours: dict[int, Colour] = {}
    used: set[Colour] = {*_BASE, *known.values()}
    for i in order:
        if i in known:
            colours[i] = known[i]
        elif known:
            colours[i] = _farthest({*known.values(), *colours.values()}) or _unused(i, used)
        else:
            colours[i] = _BASE[i - 1] if i <= len(_BASE) else _unused(i, used)
        used.add(colours[i])
    return colours


def _by_name(ids: list[int], names: Mapping[int, str]) -> dict[int, Colour]:
    """The ids whose name says what they are; of several waters only the first."""
    found: dict[int, Colour] = {}
    for i in ids:
        words = re.findall(r"[a-z]+", names.get(i, "").lower())
        stems = set(words) | {word.removesuffix("s") for word in words}
        colour = next((c for c, meant in _CONCEPTS if stems & set(meant)), None)
        if colour is not None and colour not in found.values():
            found[i] = colour
    return found


def _farthest(taken: set[Colour]) -> Colour | None:
    """The free colour of the palette that is farthest from those taken; None where all are."""
    free = [colour for colour in _BASE if colour not in taken]
    return max(free, key=lambda c: min(_distance(c, t) for t in taken), default=None)


def _distance(a: Colour, b: Colour) -> float:
    """Squared, weighted roughly as the eye does."""
    red = (a[0] + b[0]) / 2
    weights = (2 + red / 256, 4.0, 2 + (255 - red) / 256)
    return sum(w * (x - y) ** 2 for w, x, y in zip(weights, a, b, strict=True))


def _unused(i: int, used: set[Colour]) -> Colour:
    """A colour on the golden-angle wheel that no other class has yet."""
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


def default_rgb(bands: int, wavelengths: np.ndarray | None) -> tuple[int, int, int]:
    """Bands nearest to 650, 550 and 470 nm, or spread over the first half of the bands.

    Examples
    --------
    >>> import numpy as np
    >>> default_rgb(3, np.array([450.0, 560.0, 660.0]))
    (2, 1, 0)
    """
    if wavelengths is not None:
        red, green, blue = (int(abs(wavelengths - w).argmin()) for w in _RED_GREEN_BLUE)
        return red, green, blue
    return int(0.25 * (bands - 1)), int(0.14 * (bands - 1)), int(0.05 * (bands - 1))
