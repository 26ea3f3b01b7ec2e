"""A file is looked at once: its first bytes become a `Probe`, which tells file kinds apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hyperpeft.errors import HyperpeftError
from hyperpeft.records import role_of
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

    @cached_property
    def dimensions(self) -> list[tuple[str, ...]]:
        """Names of the dimensions of the arrays of an HDF5 file, as far as they have names."""
        return hdf5_checks.dimension_names(self.path) if self.is_hdf5 else []

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


ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
METADATA = re.compile(r"-METADATA[^/]{0,16}\.XML(\.XML)?$", re.IGNORECASE)  # of EnMAP and DESIS
IMAGE = re.compile(r"-SPECTRAL_IMAGE(_COG)?(?: ?\(\d+\))?\.(tiff?|bsq|bil|bip|hdr)$", re.IGNORECASE)
SWATHS = "HDFEOS/SWATHS"  # of PRISMA
EMIT_CUBES = ("reflectance", "radiance")
EMIT_TABLE = ("location/glt_x", "location/glt_y")
EMIT_BANDS = "sensor_band_parameters/wavelengths"
TANAGER_CUBES = tuple(
    f"HDFEOS/{kind}/HYP/Data Fields/{name}"
    for kind in ("GRIDS", "SWATHS")
    for name in ("surface_reflectance", "ortho_surface_reflectance", "toa_radiance",
                 "ortho_radiance")
)  # fmt: skip
NEON_CUBES = ("/Reflectance/Reflectance_Data", "/Radiance/RadianceIntegerPart")
_HDF5_NAMES = (".mat", ".h5", ".hdf5", ".he5")
_NETCDF_NAMES = (".nc", ".nc4", ".cdf", ".netcdf")


def is_zarr(probe: Probe) -> bool:
    """A folder that is a Zarr store, of version 2 or 3."""
    return probe.is_folder and any((probe.path / name).is_file() for name in ZARR_MARKS)


def is_enmap(probe: Probe) -> bool:
    """A folder, image or metadata of an EnMAP product, or of one that is named so."""
    return metadata_of(probe.path) is not None


def is_desis(probe: Probe) -> bool:
    """The same of DESIS, whose files are named as EnMAP's; with an image, and by its metadata."""
    metadata = metadata_of(probe.path)
    if metadata is None or not _has_image(metadata):
        return False
    with metadata.open("rb") as file:
        head = file.read(HEAD)
    return b"<hsi_doc" in head or b"<gainOfBand>" in head or b"DESIS" in head


def metadata_of(path: Path) -> Path | None:
    """The metadata of a product's folder, spectral image or of itself; None for other files.

    Copies have names such as METADATA.XML.XML or METADATA (1).XML.
    """
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if METADATA.search(p.name))
        return found[0] if len(found) == 1 else None
    if METADATA.search(path.name):
        return path
    stem = IMAGE.sub("", path.name)
    if stem == path.name:
        return None
    beside = sorted(p for p in path.parent.iterdir() if METADATA.search(p.name))
    return next((p for p in beside if stem_of(p).upper() == stem.upper()), None)


def stem_of(metadata: Path) -> str:
    """What the names of a product's files begin with."""
    return METADATA.sub("", metadata.name)


def images_of(metadata: Path) -> list[Path]:
    """The spectral images beside the metadata of a product."""
    stem = stem_of(metadata).upper()
    return sorted(
        p
        for p in metadata.parent.iterdir()
        if IMAGE.search(p.name)
        and IMAGE.sub("", p.name).upper() == stem
        and p.suffix.lower() != ".hdr"
    )


def image_of(metadata: Path) -> Path:
    """The first of them; there is one."""
    return images_of(metadata)[0]


def _has_image(metadata: Path) -> bool:
    return bool(images_of(metadata))


def is_prisma(probe: Probe) -> bool:
    """A PRISMA product of any level."""
    return any(name.startswith(f"{SWATHS}/PRS_L") for name in _hdf5_members(probe))


def is_emit(probe: Probe) -> bool:
    """An EMIT cube with its look-up table or its wavelengths."""
    members = _hdf5_members(probe)
    known = members.issuperset(EMIT_TABLE) or EMIT_BANDS in members
    return known and not members.isdisjoint(EMIT_CUBES)


def is_tanager(probe: Probe) -> bool:
    """A cube of Planet's Tanager, of any level."""
    return not _hdf5_members(probe).isdisjoint(TANAGER_CUBES)


def is_neon(probe: Probe) -> bool:
    """The reflectance or the radiance of a site of NEON."""
    return any(name.endswith(NEON_CUBES) for name in _hdf5_members(probe))


def is_netcdf4(probe: Probe) -> bool:
    """NetCDF-4, which is HDF5: told from others by its name, or by the dimensions of a cube."""
    named = probe.is_hdf5 and probe.suffix in _NETCDF_NAMES
    return named or _names_dimensions(probe, {"band", "y", "x"})


def _names_dimensions(probe: Probe, axes: set[str]) -> bool:
    """Whether an array of an HDF5 file that is not MATLAB's has these dimensions by their names."""
    if not probe.is_hdf5 or probe.suffix not in _HDF5_NAMES[1:]:
        return False
    return any(len(d) == len(axes) and set(map(role_of, d)) == axes for d in probe.dimensions)


def is_netcdf3(probe: Probe) -> bool:
    """NetCDF-3 (classic, 64-bit offset) or the later 64-bit data."""
    return probe.head[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05")


def is_netcdf(probe: Probe) -> bool:
    """NetCDF of any version."""
    return is_netcdf4(probe) or is_netcdf3(probe)


def is_named_arrays(probe: Probe) -> bool:
    """A Zarr store, a NetCDF file or a map in HDF5 whose dimensions have names."""
    return is_zarr(probe) or is_netcdf(probe) or _names_dimensions(probe, {"y", "x"})


def is_arrays(probe: Probe) -> bool:
    """MATLAB, NumPy and HDF5 under the names that they have."""
    if probe.is_folder:
        return False
    if probe.head.startswith(NPY_MAGIC):
        return True
    if probe.head.startswith(ZIP_MAGIC) and probe.suffix == ".npz":
        return True
    if probe.head.startswith(b"MATLAB") or probe.suffix in (".mat", ".npy", ".npz"):
        return True
    return probe.is_hdf5 and probe.suffix in _HDF5_NAMES


def _hdf5_members(probe: Probe) -> frozenset[str]:
    """Of an HDF5 file that is not MATLAB's."""
    return probe.members if probe.is_hdf5 and probe.suffix != ".mat" else frozenset()
