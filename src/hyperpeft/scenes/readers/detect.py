"""A file is looked at once: its first bytes become a `Probe`, which every reader is handed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hyperpeft.errors import HyperpeftError
from hyperpeft.scenes.readers import hdf5_checks

HEAD = 2**16  # bytes that are looked at
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
NPY_MAGIC = b"\x93NUMPY"
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ZIP_MAGIC = b"PK\x03\x04"
_ARCHIVES = (ZIP_MAGIC, b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_STREAMS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_SPACE = b"\xef\xbb\xbf \t\r\n"
_PROLOGUE = re.compile(
    rb"\A(?:[\s\xef\xbb\xbf]+|<\?xml.*?\?>|<!--.*?-->)*", re.DOTALL | re.IGNORECASE
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")
_SERVER_ERROR = re.compile(rb"<error>\s*<code>", re.IGNORECASE)


@dataclass(frozen=True)
class Probe:
    """What the first bytes and the name of a path say.

    Attributes
    ----------
    path : Path
    head : bytes
        The first `HEAD` bytes; empty for a folder.
    is_folder, is_hdf5 : bool
        HDF5 begins at byte 0, or behind MATLAB's header of 512 bytes.
    suffix : str
        Of the name, in lower case.
    kind : str
        The row of `READERS` that reads it; "" until `identify` has filled it in.
    """

    path: Path
    head: bytes = b""
    is_folder: bool = False
    is_hdf5: bool = False
    suffix: str = ""
    kind: str = ""

    @classmethod
    def of(cls, path: Path) -> Probe:
        """Read the head of a file; the only place that does."""
        path = Path(path)
        if path.is_dir():
            return cls(path, is_folder=True, suffix=path.suffix.lower())
        with path.open("rb") as file:
            head = file.read(HEAD)
        is_hdf5 = head.startswith(HDF5_MAGIC) or head[512:520] == HDF5_MAGIC
        return cls(path, head, is_hdf5=is_hdf5, suffix=path.suffix.lower())

    @property
    def is_xml(self) -> bool:
        """Whether the text begins as XML does."""
        return self.head.lstrip(_SPACE).startswith(b"<")

    @cached_property
    def members(self) -> frozenset[str]:
        """Names of the groups and datasets of an HDF5 file; none where it cannot be listed."""
        if not self.is_hdf5:
            return frozenset()
        return frozenset(hdf5_checks.member_names(self.path))

    def has(self, *names: str) -> bool:
        """Whether an HDF5 file holds all of these groups and datasets."""
        return self.members.issuperset(names)


def is_archive(probe: Probe) -> bool:
    """Whether a file is an archive of files, by its first bytes; .npz and .kmz are not meant."""
    is_tar = probe.head[257:262] == b"ustar"
    named = probe.suffix in (".gz", ".tgz", ".bz2", ".xz", ".zst")
    packed = any(probe.head.startswith(magic) for magic in _ARCHIVES)
    return is_tar or packed or (named and any(probe.head.startswith(m) for m in _STREAMS))


def is_html(head: bytes) -> bool:
    """Whether a file begins as a web page: XML of another kind, such as KML, does not."""
    match = _PROLOGUE.match(head)
    rest = head[match.end() :].lower() if match else head.lower()
    return rest.startswith(_HTML)


def check_file(path: Path, error: type[HyperpeftError]) -> Probe:
    """Look at a path; refuse what is missing, empty, a web page, or HDF5 that leads elsewhere.

    Raises
    ------
    HyperpeftError
        Of the class `error`.
    """
    if not path.exists():
        raise error(f"there is no file {path}")
    probe = Probe.of(path)
    if probe.is_folder:
        return probe  # some rasters are folders
    if not probe.head:
        raise error(f"{path} is empty (0 bytes)", hint="get it again")
    if is_html(probe.head):
        raise error(
            f"{path} is a web page, not data: its download failed",
            hint="delete it and get it again",
        )
    if probe.is_xml and _SERVER_ERROR.search(probe.head[:512]):
        raise error(
            f"{path} is the error message of a server, not data: its download failed",
            hint="delete it and get it again",
        )
    if probe.is_hdf5:
        hdf5_checks.check(path, error)
    return probe
