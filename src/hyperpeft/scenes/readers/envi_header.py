"""ENVI headers: found, and parsed by the rules that GDAL parses them by.

    ENVI
    description = { text over
      several lines, such as header offset = 5 }
    samples = 5                 a line without "=" means nothing, one with ";" in front is a field
    wavelength = { 400.0,       that nobody asks for; braces run on to the line that closes them;
      410.0 }                   the last of equal names counts; case does not

GDAL refuses a header with a byte-order mark, and stops at a line that is too long for it: such
cubes are read in `readers.envi_raw`.

Source: GDAL, ENVI driver, `ENVIDataset::ReadHeader` and `ENVIDataset::Open`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hyperpeft.errors import HyperpeftError, SceneError
from hyperpeft.system.text import whole_number

ENVI_DATA = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".envi")
INTERLEAVES = ("bsq", "bil", "bip")
TYPES = {
    1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16",
    12: "u2", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_NOT_DATA = (".hdr", ".enp", ".xml", ".txt", ".csv", ".prj", ".ovr", ".png", ".jpg", ".sta", ".rrd")
_DECIDE = (  # fields that say what the values are, and that GDAL keeps
    "interleave", "wavelength", "bbl", "data_ignore_value", "fwhm", "reflectance_scale_factor",
    "data_gain_values", "data_offset_values", "coordinate_system_string",
)  # fmt: skip
_LARGEST = 2**26  # bytes of a header that are read
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def header_of(data: Path) -> Path | None:
    """The header of a data file: scene.hdr, then scene.img.hdr, in any case, as for GDAL."""
    try:
        beside = {p.name.lower(): p for p in sorted(data.parent.iterdir(), reverse=True)}
    except OSError:
        return None
    for name in (data.with_suffix(".hdr").name, f"{data.name}.hdr"):
        found = beside.get(name.lower())
        if found is not None and found.name != data.name:
            return found
    return None


def header_text(header: Path) -> str:
    """The text of a header; bytes that are not UTF-8 are Latin-1."""
    with header.open("rb") as file:
        data = file.read(_LARGEST)
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse(text: str) -> dict[str, str]:
    """Fields by their names, in lower case and with "_" for spaces, as GDAL has them."""
    fields: dict[str, str] = {}
    lines = iter(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[1:])
    for line in lines:
        if "=" not in line:
            continue
        if "{" in line and "}" not in line:
            for more in lines:
                line += more
                if "}" in more:
                    break
        name, _, value = line.partition("=")
        if name:
            fields[name.strip(" \t").lower().replace(" ", "_")] = value.lstrip(" \t")
    return fields


def read_fields(data: Path) -> dict[str, str]:
    """The fields of the header of a data file; none where there is none."""
    header = header_of(data)
    return {} if header is None else parse(header_text(header))


def is_cut_short(fields: dict[str, str], known: Mapping[str, str]) -> bool:
    """Whether GDAL knows less of a header than it holds: it stops at a line that is too long.

    `known` are the tags of its ENVI domain.
    """
    theirs = {name.lower(): value for name, value in known.items()}
    numbers = ("header_offset", "data_type", "byte_order", "bands", "lines", "samples")
    if any(number(fields, name) != number(theirs, name) for name in numbers if name in fields):
        return True
    return any(name in fields and name not in theirs for name in _DECIDE)


def number(fields: dict[str, str], name: str) -> int:
    """A whole number of a header; 0 where there is none."""
    return whole_number(fields.get(name, "").split(";")[0]) or 0


def interleave(fields: dict[str, str]) -> str:
    """Bsq, bil, bip or what stands there instead, of which GDAL makes bsq."""
    found = fields.get("interleave", "").strip().lower()
    return found[:3] if found[:3] in INTERLEAVES else found


def values_size(fields: dict[str, str]) -> int:
    """Bytes of the values that a header describes; 0 where it is not complete."""
    kind = TYPES.get(number(fields, "data_type"))
    shape = [number(fields, name) for name in ("samples", "lines", "bands")]
    shape[2] = shape[2] or 1
    size = 1
    for part in shape:
        size *= part
    return size * (0 if kind is None else np.dtype(kind).itemsize)


def envi_data_file(path: Path, error: type[HyperpeftError] = SceneError) -> Path:
    """The data file of an ENVI header; any other path as it is.

    Of the files of that name, with one of the usual endings or another, the one that has the size
    that the header says comes first.

    Raises
    ------
    HyperpeftError
        No data file lies beside the header, or it is not clear which.
    """
    if path.suffix.lower() != ".hdr":
        return path
    stem = path.name[:-4]  # of scene.hdr or scene.bsq.hdr
    fields = parse(header_text(path))
    expected = number(fields, "header_offset") + values_size(fields)
    beside = [p for p in sorted(path.parent.iterdir()) if p.is_file() and p.name != path.name]
    usual = {(stem + ending).lower(): i for i, ending in enumerate(ENVI_DATA)}
    found = [p for p in beside if p.name.lower() in usual]
    others = [
        p
        for p in beside
        if p.stem.lower() == stem.lower() and p not in found and p.suffix.lower() not in _NOT_DATA
    ]
    found.sort(key=lambda p: usual[p.name.lower()])
    exact = [p for p in (*found, *others) if p.stat().st_size == expected]
    choice = exact[:1] if exact and (exact[0] in found or len(exact) == 1) else found[:1] or others
    if len(choice) == 1:
        return choice[0]
    if choice:
        raise error(
            f"the ENVI header {path} has several files beside it",
            got=", ".join(p.name for p in choice),
            hint="give the data file itself",
        )
    raise error(
        f"the ENVI header {path} has no data file beside it",
        expected=f"{stem} with no ending or one of {', '.join(ENVI_DATA[1:])}",
    )
