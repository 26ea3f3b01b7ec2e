"""Smooth model spectra of land cover, for the generated scene: plausible, not measured."""

from __future__ import annotations

import numpy as np

NAMES = {
    1: "Meadow",
    2: "Maize",
    3: "Trees",
    4: "Stubble",
    5: "Bare soil",
    6: "Asphalt",
    7: "Tiled roof",
    8: "Water",
}
COLOURS = {
    1: (150, 210, 90),
    2: (240, 220, 60),
    3: (20, 110, 50),
    4: (222, 184, 135),
    5: (140, 85, 40),
    6: (120, 120, 130),
    7: (215, 60, 50),
    8: (40, 110, 220),
}


def model_spectra(nm: np.ndarray) -> np.ndarray:
    """Reflectance of the eight classes of `NAMES` at wavelengths in nm, (8, B)."""
    return np.stack(
        [
            _vegetation(nm, green=0.060, nir=0.40, water=0.80, dry=0.06),
            _vegetation(nm, green=0.045, nir=0.45, water=1.00, dry=0.02),
            _vegetation(nm, green=0.030, nir=0.35, water=1.10, dry=0.00),
            _dry(nm, level=0.34, cellulose=0.10, chlorophyll=0.04),
            _dry(nm, level=0.30, cellulose=0.00, chlorophyll=0.00),
            0.10 + 0.05 * _ramp(nm, 400, 2450) - 0.015 * _peak(nm, 2310, 50),
            _tiles(nm),
            0.012 + 0.06 * _peak(nm, 540, 90) * (nm < 900),
        ]
    )


def _vegetation(nm: np.ndarray, green: float, nir: float, water: float, dry: float) -> np.ndarray:
    """Chlorophyll below the red edge, leaf water above it."""
    pigments = 0.025 + green * _peak(nm, 552, 38) + 0.3 * dry * _ramp(nm, 400, 700)
    plateau = nir / (1 + np.exp(-(nm - 716) / 14))
    leaf_water = (
        0.10 * _peak(nm, 970, 32)
        + 0.22 * _peak(nm, 1190, 55)
        + 1.30 * _peak(nm, 1450, 75)
        + 1.90 * _peak(nm, 1940, 110)
        + 0.45 * _ramp(nm, 1300, 1600)
        + 0.80 * _ramp(nm, 1950, 2450)
    )
    spectrum: np.ndarray = pigments + plateau * np.exp(-water * leaf_water)
    return spectrum + dry * _ramp(nm, 1400, 1700)


def _dry(nm: np.ndarray, level: float, cellulose: float, chlorophyll: float) -> np.ndarray:
    """Soil and straw: rising, with clay at 2200 nm or cellulose at 2100 nm."""
    rise = level * (0.25 + 0.75 * (1 - np.exp(-(nm - 350) / 480)))
    clay = (0.07 if cellulose == 0 else 0.01) * _peak(nm, 2205, 28)
    iron = 0.03 * _peak(nm, 880, 80) * (cellulose == 0)
    spectrum: np.ndarray = (
        rise - clay - iron - cellulose * _peak(nm, 2100, 55) - chlorophyll * _peak(nm, 675, 25)
    )
    return spectrum * (1 - 0.12 * _peak(nm, 1450, 60) - 0.2 * _peak(nm, 1930, 80))


def _tiles(nm: np.ndarray) -> np.ndarray:
    """Fired clay: iron absorbs the blue and the green."""
    red_step = 0.20 / (1 + np.exp(-(nm - 590) / 28))
    spectrum: np.ndarray = (
        0.07 + red_step + 0.08 * _ramp(nm, 700, 1700) - 0.035 * _peak(nm, 870, 90)
    )
    return spectrum - 0.03 * _peak(nm, 2200, 40)


def _peak(nm: np.ndarray, centre: float, width: float) -> np.ndarray:
    peak: np.ndarray = np.exp(-0.5 * ((nm - centre) / width) ** 2)
    return peak


def _ramp(nm: np.ndarray, start: float, stop: float) -> np.ndarray:
    return np.clip((nm - start) / (stop - start), 0.0, 1.0)
