"""What GDAL may open: files that are here, by drivers that ask no server."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from hyperpeft.errors import ConfigError, HyperpeftError
from hyperpeft.scenes.readers.detect import HEAD, Probe
from hyperpeft.system.files import check_archive
from hyperpeft.system.resources import stay_offline

_SERVICES = (  # of map services, and of tiles and catalogues on servers
    b"<gdal_wms", b"<gdal_wmts", b"<wcs_gdal", b"<wmt_ms", b"<wms_", b"<capabilities", b"<mrf_meta",
    b"<gdaltileindex", b'"stac_version"',
)  # fmt: skip
# How descriptions of vectors that lie elsewhere, and pipelines that make them, are told.
_VECTORS = (b"<OGR", b"gdal_streamed_alg")
_ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
_BLOCK = 2**20
_LONGEST_WORD = 40  # bytes: "link" with all its letters escaped


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
    for file in _parts(path):
        head = file.read(HEAD)
        if any(mark in head for mark in _VECTORS):
            raise error(
                f"{path} cannot be read as vectors (it only describes vectors that lie elsewhere)",
                hint="give the file that holds them",
            )
        if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and _links_a_crs(head, file):
            raise error(
                f"{path} cannot be read as vectors (its CRS is an address to be asked)",
                hint="write the CRS by its name, such as urn:ogc:def:crs:EPSG::32633",
            )


def _links_a_crs(head: bytes, file: IO[bytes]) -> bool:
    """Whether some "crs" of a JSON file is a link, which GDAL would follow.

    The file is parsed only where it holds both words, as GDAL reads them: in any case, escaped or
    not.
    """
    found: set[bytes] = set()
    tail = b""
    for block in chain([head], iter(lambda: file.read(_BLOCK), b"")):
        text = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), tail + block).lower()
        found |= {word for word in (b'"crs"', b'"link"', b'"url"') if word in text}
        tail = block[-_LONGEST_WORD:]
    if b'"crs"' not in found or len(found) < 2:
        return False
    file.seek(0)
    try:
        return _holds_a_link(json.load(file))
    except (ValueError, RecursionError):
        return True  # GDAL may read it all the same


def _holds_a_link(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_a_link, value))
    if not isinstance(value, dict):
        return False
    for name, inner in value.items():
        if name.lower() == "crs" and isinstance(inner, dict):
            kinds = (str(kind).lower() for key, kind in inner.items() if key.lower() == "type")
            if any(kind in ("link", "url") for kind in kinds):
                return True
    return any(map(_holds_a_link, value.values()))


def _parts(path: Path) -> Iterator[IO[bytes]]:
    """A file, and the members of an archive, opened."""
    with path.open("rb") as file:
        yield file
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as part:
                    yield part
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return  # damaged or encrypted: the reader reports it
