"""What a look at every pixel has found, and the notes on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hyperpeft.scenes.cubes.fill_values import HUGE

NAN, INFINITE, NODATA, UNDECLARED = "NaN", "infinite", "nodata", "undeclared nodata"
OUTSIDE = "outside the file's valid range"
ZEROS = "zero in every band"
IMPOSSIBLE = f"beyond {HUGE:g}"


@dataclass
class Tally:
    """What has been found so far."""

    valid: np.ndarray  # (H, W)
    alive: np.ndarray  # (B,) bands that hold at least one valid value
    counts: dict[str, int] = field(default_factory=dict)
    dead_in: list[tuple[slice, slice, np.ndarray]] = field(default_factory=list)
    fills: set[float] = field(default_factory=set)  # undeclared
    zeros: np.ndarray | None = None  # (H, W) pixels of 0 in every band

    def mask(self, where: tuple[slice, slice], bad: np.ndarray, reason: str) -> None:
        """Mask pixels; each is counted under its first reason."""
        valid = self.valid[where]
        new = bad & valid
        valid[new] = False
        self.counts[reason] = self.counts.get(reason, 0) + int(np.count_nonzero(new))


def reasons(tally: Tally) -> str:
    """Pixels by the first reason that masks them."""
    counts = {NAN: 0, INFINITE: 0, NODATA: 0, **tally.counts}
    counts.pop(ZEROS, None)
    shown = (NAN, INFINITE, NODATA)
    return ", ".join(f"{name} {n}" for name, n in counts.items() if n or name in shown)


def notes_of(tally: Tally) -> tuple[str, ...]:
    """What was masked and why, for the user and the record."""
    found = []
    counts = {**tally.counts}
    zeros = counts.pop(ZEROS, 0)
    masked = tally.valid.size - int(np.count_nonzero(tally.valid))
    if masked:
        found.append(f"{masked} of {tally.valid.size} pixels are masked ({reasons(tally)})")
    undeclared = counts.get(UNDECLARED, 0)
    if undeclared:
        shown = [f"{value:g}" for value in sorted(tally.fills)[:4]]
        found.append(
            f"{undeclared} pixels are {' or '.join(shown)} in every band although the file "
            "declares no such nodata; they are taken as nodata"
        )
    large = counts.get(IMPOSSIBLE)
    if large:
        who = "1 pixel holds" if large == 1 else f"{large} pixels hold"
        found.append(
            f"{who} values that no measurement has (beyond {HUGE:g}, or "
            "the end of the number type); they are taken as nodata, which the file does not declare"
        )
    if zeros:
        found.append(
            f"{zeros} pixels inside the scene are 0 in every band; the file does not declare 0 as "
            "nodata, and they are kept"
        )
    return tuple(found)
