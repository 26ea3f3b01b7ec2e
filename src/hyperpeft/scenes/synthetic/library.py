"""Libraries of measured spectra on one grid of wavelengths, and spectra drawn from them.

The files are ENVI spectral libraries (USGS splib) or ENVI images of one column (ECOSTRESS). Absent
values are interpolated; spectra with too few values and pure chemicals are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.scenes.readers.envi_header import header_text, number, parse
from hyperpeft.system.files import check_archive

# 10 nm from 400 to 2450 nm: what AVIRIS, EnMAP and PRISMA resolve.
GRID_NM = np.arange(400.0, 2451.0, 10.0)
_FEWEST = 0.8  # share of the values of a spectrum that must be there
_CHEMICALS = ("SA-", "_CN", "+4%")  # pure organic chemicals of splib07, on no ground


class SpectralLibrary(NamedTuple):
    """Reflectances (M, W) float32 from 0 to 1 at `GRID_NM`, and what each spectrum is of."""

    reflectance: np.ndarray
    names: tuple[str, ...]
    sources: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write an .npz that `load` reads."""
        np.savez_compressed(
            path,
            reflectance=self.reflectance.astype(np.float16),
            names=np.array(self.names),
            sources=np.array(self.sources),
        )

    @classmethod
    def load(cls, path: Path) -> SpectralLibrary:
        """Read what `save` wrote."""
        check_archive(path, SceneError)
        with np.load(path, allow_pickle=False) as file:
            return cls(
                file["reflectance"].astype(np.float32),
                tuple(map(str, file["names"])),
                tuple(map(str, file["sources"])),
            )


def read_library(paths: Iterable[Path]) -> SpectralLibrary:
    """Read spectral libraries: each path is an ENVI header (.hdr) beside its data.

    Raises
    ------
    ConfigError
        No spectrum is left.
    SceneError
        A file is no spectral library.
    """
    spectra, names, sources = [], [], []
    for path in paths:
        for name, values in _usable(path):
            spectra.append(values)
            names.append(name)
            sources.append(path.stem)
    if not spectra:
        raise ConfigError("spectral libraries", expected="at least one usable spectrum", got=0)
    stacked = np.clip(np.stack(spectra), 0.0, 1.2).astype(np.float32)
    return SpectralLibrary(stacked, tuple(names), tuple(sources))


def library_files(path: Path) -> list[Path]:
    """The files of a prepared .npz, or of a library by its ENVI header: the header and its data."""
    if path.suffix == ".npz":
        return [path]
    plain = path.with_suffix("")
    return [path, plain if plain.is_file() else path.with_suffix(".sli")]


def _usable(path: Path) -> list[tuple[str, np.ndarray]]:
    """Names and resampled values of the spectra of one library."""
    header = parse(header_text(path))
    data = library_files(path)[-1]
    lines, samples, bands = (number(header, key) for key in ("lines", "samples", "bands"))
    width = max(samples, bands)
    if number(header, "data_type") != 4 or not data.is_file() or min(samples, bands) != 1:
        raise SceneError(f"{path}", expected="an ENVI library of float32 spectra beside its header")
    order = ">f4" if number(header, "byte_order") else "<f4"
    values = np.fromfile(data, order).reshape(lines, width).astype(np.float64)
    names = _list(header.get("spectra_names")) or [f"{path.stem} {i}" for i in range(lines)]
    wavelengths = np.array([float(w) for w in _list(header.get("wavelength"))])
    if not len(wavelengths):  # splib files hold them as their first record
        wavelengths = values[0]
    nm = wavelengths * (1000 if wavelengths.max() < 100 else 1)
    order_nm = np.argsort(nm)
    nm, values = nm[order_nm], values[:, order_nm]
    seen = (nm > GRID_NM[0] - 50) & (nm < GRID_NM[-1] + 50)
    found = []
    for name, spectrum in zip(names, values, strict=True):
        known = seen & np.isfinite(spectrum) & (spectrum > -0.05) & (spectrum < 1.5)
        unwanted = name.startswith(("error", "Wavelengths", "Resolution"))
        if unwanted or any(part in name for part in _CHEMICALS):
            continue
        if known.sum() >= _FEWEST * seen.sum() and spectrum[known].max() > 0.01:
            found.append((name, np.interp(GRID_NM, nm[known], spectrum[known])))
    return found


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in text.strip("{} \n").split(",")] if text else []
