"""What GDAL may open: files that are here, by drivers that ask no server."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperpeft.errors import ConfigError, HyperpeftError
from hyperpeft.scenes.readers.detect import HEAD, Probe
from hyperpeft.system.files import check_archive
from hyperpeft.system.resources import stay_offline

_SERVICES = (  # of map services, and of tiles and catalogues on servers
    b"<gdal_wms", b"<gdal_wmts", b"<wcs_gdal", b"<wmt_ms", b"<wms_", b"<capabilities", b"<mrf_meta",
    b"<gdaltileindex", b'"stac_version"',
)  # fmt: skip
_VECTORS = b"<OGR"  # how descriptions of vectors that lie elsewhere begin


def import_rasterio(path: Path) -> Any:
    """Import rasterio, or say that this file needs it."""
    stay_offline()
    try:
        import rasterio  # after GDAL is kept offline
        import rasterio.errors  # after GDAL is kept offline
    except ImportError:
        raise ConfigError(
            f"{path} is read through GDAL, and rasterio is not installed here",
            hint="pip install rasterio rioxarray, or convert the file to .mat or .npy",
        ) from None
    return rasterio


def refuse_remote_rasters(probe: Probe, error: type[HyperpeftError]) -> None:
    """Refuse a description of rasters on a server, before GDAL asks it."""
    head = probe.head
    is_text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{")
    if is_text and any(mark in head.lower() for mark in _SERVICES):
        raise error(
            f"{probe.path} cannot be opened as a raster (it describes one on a server)",
            hint="download the raster, and give its file",
        )


def check_sources(path: Path, dataset: Any, error: type[HyperpeftError]) -> None:
    """Refuse a VRT whose sources are not files here."""
    if dataset.driver != "VRT":
        return
    for name in dataset.files:
        if not Path(name).exists():
            raise error(
                f"{path}: its source {name}",
                expected="a file on this machine",
                got="no such file",
                hint="get it, and write the VRT again",
            )


def refuse_remote_vectors(path: Path, error: type[HyperpeftError]) -> None:
    """Refuse OGR's description of vectors that lie in other files or on servers, packed or not.

    Raises
    ------
    HyperpeftError
        Of type `error`; also for an archive that would not fit into memory.
    """
    if path.is_dir():
        return
    check_archive(path, error)
    if any(_VECTORS in head for head in _heads(path)):
        raise error(
            f"{path} cannot be read as vectors (it only describes vectors that lie elsewhere)",
            hint="give the file that holds them",
        )


def _heads(path: Path) -> Iterator[bytes]:
    """The first bytes of a file, and of the members of an archive."""
    with path.open("rb") as file:
        yield file.read(HEAD)
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as part:
                    yield part.read(HEAD)
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return  # damaged or encrypted: the reader reports it
