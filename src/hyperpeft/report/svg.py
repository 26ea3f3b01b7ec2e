"""Axes, marks and names as SVG: as little of a plotting library as these figures need.

Colours of axes and text are CSS classes, so that a figure is at home on a light and on a dark
page, and a figure takes a millisecond where matplotlib takes two hundred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH = 356.0  # of a figure in CSS pixels: what a telephone shows without scrolling
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#1d2530}.muted{fill:#5b6673}"
    ".grid{stroke:#d5dae0;stroke-width:1}.band{fill:#d5dae0}"
)
_POLYGONS: dict[
    str, list[tuple[float, float]]
] = {  # marks by their corners, on a circle of radius 1
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "up": [(0, -1.1), (1.05, 0.8), (-1.05, 0.8)],
    "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
    "down": [(0, 1.1), (1.05, -0.8), (-1.05, -0.8)],
    "left": [(-1.1, 0), (0.8, -1.05), (0.8, 1.05)],
    "right": [(1.1, 0), (-0.8, -1.05), (-0.8, 1.05)],
    "star": [
        (r * math.sin(math.pi * i / 5), -r * math.cos(math.pi * i / 5))
        for i, r in enumerate([1.35, 0.55] * 5)
    ],
    "hexagon": [
        (1.1 * math.cos(math.pi * i / 3), 1.1 * math.sin(math.pi * i / 3)) for i in range(6)
    ],
    "pentagon": [
        (1.15 * math.sin(2 * math.pi * i / 5), -1.15 * math.cos(2 * math.pi * i / 5))
        for i in range(5)
    ],
}
_CROSSES: dict[str, list[tuple[float, float, float, float]]] = {
    "plus": [(0, -1.2, 0, 1.2), (-1.2, 0, 1.2, 0)],
    "cross": [(-1, -1, 1, 1), (-1, 1, 1, -1)],
}


class Plot:
    """A figure with one pair of axes, in data coordinates.

    Parameters
    ----------
    height : float
        In CSS pixels; the width is `WIDTH`.
    x, y : (float, float)
        Limits.
    log : bool
        A logarithmic x axis.
    left, right : float
        Space beside the axes, in pixels.
    flip : bool
        y grows downwards.
    """

    def __init__(
        self,
        height: float,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        log: bool = False,
        left: float = 44.0,
        right: float = 12.0,
        flip: bool = False,
    ) -> None:
        self.height, self.limits, self.log, self.flip = height, (x, y), log, flip
        self.left, self.right, self.top, self.bottom = left, WIDTH - right, 10.0, height - 40.0
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        """Pixel of a value."""
        low, high = self.limits[0]
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Pixel of a value."""
        low, high = self.limits[1]
        share = (value - low) / (high - low)
        span = self.bottom - self.top
        return self.top + span * share if self.flip else self.bottom - span * share

    def axis_x(self, ticks: Sequence[float], names: Sequence[str], label: str) -> None:
        """Ticks below the axes, and what they are of."""
        self._line(self.left, self.bottom, self.right, self.bottom, "grid")
        for tick, name in zip(ticks, names, strict=True):
            at = self.x(tick)
            self._line(at, self.bottom, at, self.bottom + 4, "grid")
            self.text(at, self.bottom + 16, name, "middle")
        middle = (self.left + self.right) / 2
        self.text(middle, self.bottom + 33, label, "middle", muted=True)

    def axis_y(self, ticks: Sequence[float], label: str) -> None:
        """Ticks and lines across the axes."""
        for tick in ticks:
            at = self.y(tick)
            self._line(self.left, at, self.right, at, "grid")
            self.text(self.left - 6, at + 4, f"{tick:g}", "end")
        middle = (self.top + self.bottom) / 2
        self.parts.append(
            f'<text class="muted" text-anchor="middle" transform="translate(11 {middle:.1f}) '
            f'rotate(-90)">{escape(label)}</text>'
        )

    def _line(self, x0: float, y0: float, x1: float, y1: float, name: str) -> None:
        self.parts.append(
            f'<path class="{name}" fill="none" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>'
        )

    def text(self, x: float, y: float, text: str, anchor: str, *, muted: bool = False) -> None:
        """Text at a pixel."""
        kind = ' class="muted"' if muted else ""
        self.parts.append(
            f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def path(
        self, pixels: Sequence[tuple[float, float]], colour: str, width: float = 1.5, dash: str = ""
    ) -> None:
        """A line through pixels."""
        points = "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<path fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed} d="M{points}"/>'
        )

    def area(self, pixels: Sequence[tuple[float, float]], colour: str) -> None:
        """A faint filled outline."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
        self.parts.append(f'<polygon fill="{colour}" fill-opacity=".14" points="{points}"/>')

    def band(self, low: float, high: float) -> None:
        """Shade the axes between two values of x."""
        a, b = self.x(low), self.x(high)
        self.parts.append(
            f'<rect class="band" opacity=".5" x="{a:.1f}" y="{self.top:.1f}" '
            f'width="{b - a:.1f}" height="{self.bottom - self.top:.1f}"/>'
        )

    def mark(self, x: float, y: float, shape: str, colour: str, size: float = 4.6) -> None:
        """A mark at a pixel."""
        if shape in _CROSSES:
            for x0, y0, x1, y1 in _CROSSES[shape]:
                ends = [(x + size * x0, y + size * y0), (x + size * x1, y + size * y1)]
                self.path(ends, colour, 2.6)
        elif shape in _POLYGONS:
            points = " ".join(
                f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _POLYGONS[shape]
            )
            self.parts.append(f'<polygon fill="{colour}" points="{points}"/>')
        else:
            self.parts.append(f'<circle fill="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}"/>')

    def svg(self) -> str:
        """The figure as an element."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {self.height:g}" '
            f'width="{WIDTH:g}" height="{self.height:g}">' + "\n".join(self.parts) + "</svg>"
        )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two values, at most so many.

    Examples
    --------
    >>> ticks(71.2, 88.9)
    [75.0, 80.0, 85.0]
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if span / (s * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def powers(low: float, high: float) -> tuple[list[float], list[str]]:
    """Powers of ten between two values, with short names; 1, 2 and 5 times them if there are few.

    Examples
    --------
    >>> powers(800, 3e6)[1]
    ['1k', '10k', '100k', '1M']
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [s * 10.0**e for e in exponents for s in steps if low <= s * 10.0**e <= high]
        if len(found) > 1:
            break
    return found, [short(value) for value in found]


def short(value: float) -> str:
    """A count in few characters.

    >>> [short(v) for v in (950, 38400, 85_000_000)]
    ['950', '38.4k', '85M']
    """
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending places as near to the wanted ones as a gap between them and two edges allow.

    >>> spaced([10, 11, 12], 5, 0, 100)
    [6.0, 11.0, 16.0]
    """
    groups: list[tuple[float, int]] = []  # (centre, members) of places that touch
    for place in wanted:
        groups.append((float(place), 1))
        while len(groups) > 1:
            (a, n), (b, m) = groups[-2:]
            if b - (m - 1) * gap / 2 - (a + (n - 1) * gap / 2) >= gap:
                break
            groups[-2:] = [((a * n + b * m) / (n + m), n + m)]
    out: list[float] = []
    for centre, n in groups:
        half = (n - 1) * gap / 2
        centre = min(max(centre, low + half), high - half)
        out += [centre - half + i * gap for i in range(n)]
    return out
