"""Generated scenes: one that looks like a landscape, and one with a planted truth for tests."""

from __future__ import annotations

import hashlib

import numpy as np
import scipy  # its parts are loaded when they are used
import xarray as xr

from hyperpeft.errors import ConfigError
from hyperpeft.records import Labels, Scene, default_rgb, palette

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


_ABSORBED = ((1350.0, 1450.0), (1800.0, 1950.0))  # nm; the atmosphere lets nothing through
_PIXEL = 4.0  # m
_UTM_33N = (
    'PROJCS["WGS 84 / UTM zone 33N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,'
    '298.257223563,AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,'
    'AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
    'AUTHORITY["EPSG","4326"]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
    'PARAMETER["central_meridian",15],PARAMETER["scale_factor",0.9996],'
    'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1,'
    'AUTHORITY["EPSG","9001"]],AXIS["Easting",EAST],AXIS["Northing",NORTH],'
    'AUTHORITY["EPSG","32633"]]'
)
_FIELD_CLASSES = (1, 2, 3, 4, 5)
_MIXED = 0.6  # a pixel with a smaller largest abundance gets no label


def demo_scene(seed: int = 0, height: int = 96, width: int = 96, bands: int = 120) -> Scene:
    """A generated landscape of fields, a village and a river, with labels.

    Eight classes, 400 to 2450 nm, 4 m pixels in UTM 33N, reflectance x 10,000 as int16. Spectra
    vary within a class by parcel, illumination, understorey and noise, and mix at borders, so
    that the spectrum of a single pixel is not enough: the neighbourhood helps.

    Parameters
    ----------
    seed : int
        The same seed gives the same scene, byte by byte.
    height, width : int
        At least 48 pixels.
    bands : int
        At least 12; what is left after dropping the water-vapour bands.

    Returns
    -------
    Scene
    """
    if min(height, width) < 48 or bands < 12:
        raise ConfigError(
            "generated scene", expected="at least 48 x 48 x 12", got=f"{height} x {width} x {bands}"
        )
    rng = np.random.default_rng(seed)
    nm, dropped = _wavelengths(bands)
    classes, parcels = _landscape(rng, height, width)
    abundances = _blur_classes(classes)  # (8, H, W)
    cube = _spectra(rng, nm, abundances, parcels)
    values = np.clip(np.rint(cube * 10_000), 0, 32_767).astype(np.int16)
    pure = abundances.max(axis=0) >= _MIXED
    ids = np.where(pure, abundances.argmax(axis=0) + 1, 0).astype(np.int32)
    return Scene(
        name="demo (generated)",
        cube=xr.DataArray(values, dims=("band", "y", "x")),
        valid=np.ones((height, width), dtype=bool),
        wavelengths=nm,
        crs=_UTM_33N,
        transform=(_PIXEL, 0.0, 364_000.0, 0.0, -_PIXEL, 5_810_000.0),
        labels=Labels(ids, NAMES, COLOURS, f"generated, seed {seed}"),
        rgb=default_rgb(bands, nm),
        sha256=hashlib.sha256(values.tobytes()).hexdigest(),
        notes=(
            f"this scene is generated (seed {seed}), not measured",
            f"{dropped} bands within water vapour (1350-1450 and 1800-1950 nm) are left out",
        ),
    )


def planted_scene(
    seed: int = 0,
    *,
    bands: int = 40,
    informative_band: int = 17,
    classes: int = 2,
    height: int = 32,
    width: int = 32,
    block: int = 8,
    contrast: float = 0.3,
    shuffled: bool = False,
) -> Scene:
    """A scene for tests whose classes differ in one known band only, in square blocks.

    Every band is 0.5 plus Gaussian noise of 0.05; class k adds `contrast` times (k - 1) to the
    informative band.

    Parameters
    ----------
    informative_band : int
        From 0.
    classes : int
        Ids 1 to `classes`, in diagonal stripes of blocks: neighbouring blocks differ.
    block : int
        Side of a block in pixels.
    shuffled : bool
        Labels are shuffled over the pixels afterwards: nothing can be learned from this scene.
    """
    if not 0 <= informative_band < bands:
        raise ConfigError("informative_band", expected=f"0 to {bands - 1}", got=informative_band)
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((height, width)) // block
    ids = ((rows + columns) % classes + 1).astype(np.int32)
    cube = 0.5 + 0.05 * rng.standard_normal((bands, height, width), dtype=np.float32)
    cube[informative_band] += np.float32(contrast) * (ids - 1)
    if shuffled:
        ids = rng.permutation(ids.ravel()).reshape(ids.shape)
    names = {i: f"class {i}" for i in range(1, classes + 1)}
    return Scene(
        name="planted (generated)",
        cube=xr.DataArray(cube, dims=("band", "y", "x")),
        valid=np.ones((height, width), dtype=bool),
        labels=Labels(ids, names, palette(names, names), f"planted, seed {seed}"),
        rgb=default_rgb(bands, None),
        sha256=hashlib.sha256(cube.tobytes()).hexdigest(),
        notes=(f"generated: classes differ in band {informative_band} only",),
    )


def _wavelengths(bands: int) -> tuple[np.ndarray, int]:
    """`bands` centres from 400 to 2450 nm outside water vapour, and how many fell inside."""
    total = bands
    while True:
        nm = np.linspace(400.0, 2450.0, total)
        keep = np.ones(total, dtype=bool)
        for low, high in _ABSORBED:
            keep &= (nm < low) | (nm > high)
        if int(keep.sum()) >= bands:
            return nm[keep][:bands], int(total - keep.sum())
        total += 1


def _landscape(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Class ids and parcel numbers, (H, W) each: fields first, then river, roads, houses."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    parcels = _fields(rng, y, x)
    classes = np.empty(parcels.shape, dtype=np.int64)
    numbers = np.unique(parcels)
    drawn = np.resize(rng.permutation(_FIELD_CLASSES), len(numbers))
    for number, i in zip(numbers.tolist(), rng.permutation(drawn).tolist(), strict=True):
        classes[parcels == number] = i
    bend = rng.uniform(0, 2 * np.pi)
    bed = 0.16 * width + 0.06 * width * np.sin(2 * np.pi * y / height * 1.2 + bend)
    river = np.abs(x - bed) < 0.045 * width
    bank = (np.abs(x - bed) < 0.075 * width) & ~river
    classes[bank] = 3
    road = np.abs(y - 0.62 * height - 0.12 * (x - width / 2)) < 1.6
    side = np.abs(x - 0.66 * width + 0.15 * (y - height / 2)) < 1.3
    classes[road | side] = 6
    _houses(rng, classes, road | side, river | bank)
    classes[river] = 8
    return classes, parcels


def _fields(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Parcel numbers: strips of uneven width in blocks that are turned against each other."""
    height, width = y.shape
    seeds = rng.uniform(0, 1, (7, 2)) * (height, width)
    block = np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in seeds], axis=0)
    parcels = np.zeros(y.shape, dtype=np.int64)
    for number in range(len(seeds)):
        angle = rng.uniform(0, np.pi)
        across = x * np.cos(angle) + y * np.sin(angle)
        along = y * np.cos(angle) - x * np.sin(angle)
        strip = np.floor(across / rng.uniform(9, 14)) - np.floor(across.min() / 9)
        piece = np.floor(along / rng.uniform(26, 40)) - np.floor(along.min() / 26)
        inside = block == number
        parcels[inside] = (10_000 * number + 100 * strip + piece)[inside].astype(np.int64)
    return parcels


def _houses(
    rng: np.random.Generator, classes: np.ndarray, roads: np.ndarray, free: np.ndarray
) -> None:
    """Rectangular roofs in rows along the crossing of the roads, on gardens and yards."""
    height, width = classes.shape
    top, left = int(0.36 * height), int(0.46 * width)
    bottom, right = int(0.92 * height), int(0.94 * width)
    for row in range(top, bottom - 4, 9):
        for column in range(left, right - 4, 9):
            a, b = row + int(rng.integers(0, 3)), column + int(rng.integers(0, 3))
            tall, wide = int(rng.integers(4, 7)), int(rng.integers(4, 8))
            place = (slice(a, min(a + tall, height)), slice(b, min(b + wide, width)))
            if rng.random() < 0.8 and not (roads[place].any() or free[place].any()):
                classes[place] = 7 if rng.random() < 0.8 else 6


def _blur_classes(classes: np.ndarray) -> np.ndarray:
    """Abundances (8, H, W) as a sensor's point spread mixes them."""
    abundances = np.stack(
        [
            scipy.ndimage.gaussian_filter((classes == i).astype(np.float64), 0.55, mode="nearest")
            for i in NAMES
        ]
    )
    normalised: np.ndarray = abundances / abundances.sum(axis=0)
    return normalised


def _spectra(
    rng: np.random.Generator, nm: np.ndarray, abundances: np.ndarray, parcels: np.ndarray
) -> np.ndarray:
    """Reflectance (B, H, W): model spectra mixed by abundance, with variability and noise."""
    ends = model_spectra(nm)  # (8, B)
    shape = abundances.shape[1:]
    # Every pixel holds a little of something else: gaps in the canopy, weeds, moss.
    other = rng.dirichlet(np.full(len(ends), 0.25), size=shape).transpose(2, 0, 1)
    share = rng.beta(1.6, 3.8, size=shape)
    share[abundances[7] > 0.5] *= 0.35
    mixed = (1 - share) * abundances + share * other
    cube = np.einsum("kb,kyx->byx", ends, mixed)
    # Each parcel has its own soil and season: a smooth spectral factor.
    numbers, inverse = np.unique(parcels, return_inverse=True)
    basis = np.stack([np.cos(np.pi * k * (nm - 400) / 2050) for k in range(1, 5)])  # (4, B)
    factor = 1 + rng.normal(0, 0.02, (len(numbers), 4)) @ basis  # (parcels, B)
    cube *= factor[inverse.reshape(shape)].transpose(2, 0, 1)
    # Slopes and shade, smooth over the ground, and each pixel's own roughness.
    relief = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 7)
    cube *= np.exp(0.10 * relief / relief.std() + rng.normal(0, 0.12, shape))
    vapour = np.ones_like(nm)
    for centre in (1400, 1875):
        vapour += 3 * np.exp(-0.5 * ((nm - centre) / 45) ** 2)
    noise = rng.standard_normal(cube.shape) * (0.008 * vapour).reshape(-1, 1, 1)
    return np.asarray(np.clip(cube + noise, 0.0, None))
