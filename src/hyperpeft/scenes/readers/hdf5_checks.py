"""HDF5 files from anyone, checked before a reader opens them.

A virtual dataset, one with external storage and an external link have their values in other files,
at any path that the file names; where such a file is missing, virtual datasets read as zeros. They
are refused, also beside a cube that is whole.

Texts of any length (the WKT of a grid, lists of dimensions) lie in global heaps, blocks of objects
of which each says how long it is. The library steps from one to the next by what they say, and
walks on the spot for ever where one says nothing (seen with HDF5 2.0):

    collection: "GCOL", version 1, 3 zeros, its size, then objects to its end
    object: number (2 bytes), references (2), 4 zeros, size, then the data up to a multiple of 8;
            number 0 is the free space, and its size counts its own head

Nothing but the attributes says where heaps are, so they are looked for in all that is no array.

A text of any length is a list of bytes of the kind "text". Where that word is damaged the library
crashes on reading it; attributes that are lists of bytes of another kind are therefore refused.

Source: The HDF Group, HDF5 File Format Specification 3.0, III.E.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from hyperpeft.errors import HyperpeftError
from hyperpeft.scenes.readers.notes import unreadable

_BEGINNING = b"GCOL\x01\0\0\0"
_HEAD = 16  # bytes of a collection's and of an object's, filled up to a multiple of 8


def check(path: Path, error: type[HyperpeftError]) -> None:
    """Refuse a file with values in other files, or with a heap that cannot be walked through.

    Raises
    ------
    HyperpeftError
        Of the class `error`.
    """
    try:
        width, arrays, outside, odd = _walk(path)
    except Exception as problem:  # h5py's errors of damaged files have no common root
        raise unreadable(path, "an HDF5 file", problem, error) from None
    if outside:
        raise error(
            f"{path}:{outside[0]} keeps its values in another file",
            expected="all values in the file itself",
            hint="copy them into one file, such as with h5py, and give that",
        )
    if odd:
        raise error(
            f"{path} cannot be read as an HDF5 file (the type of its attribute {odd[0]} is broken)",
            hint="the file is damaged or cut short: get it again",
        )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for start, end in _gaps(arrays, len(data)):
            at = data.find(_BEGINNING, start, end)
            while at >= 0:
                if not _can_be_walked(data, at, width):
                    raise error(
                        f"{path} cannot be read as an HDF5 file (its heap at byte {at} is broken)",
                        hint="the file is damaged or cut short: get it again",
                    )
                at = data.find(_BEGINNING, at + _HEAD, end)


def member_names(path: Path) -> list[str]:
    """Names of all groups, datasets and links; none where the file is damaged."""
    names: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems_links(lambda name, link: names.append(name))
    except Exception:  # h5py's errors of damaged files have no common root
        return []
    return names


def dimension_names(path: Path) -> list[tuple[str, ...]]:
    """Of every array whose dimensions all have scales the names of those, without groups.

    None where the file is damaged.
    """
    found: list[tuple[str, ...]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "DIMENSION_LIST" in item.attrs:
            scales = [dim[0].name for dim in item.dims if len(dim)]
            if len(scales) == item.ndim and all(scales):
                found.append(tuple(str(scale).rsplit("/", 1)[-1] for scale in scales))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except Exception:  # h5py's errors of damaged files have no common root
        return []
    return found


def _can_be_walked(data: mmap.mmap, at: int, width: int) -> bool:
    """Whether the objects of a collection lead to its end; one beyond the file is never walked."""
    end = at + int.from_bytes(data[at + 8 : at + 8 + width], "little")
    if end > len(data):
        return True
    at += _HEAD
    while at + _HEAD <= end:
        size = int.from_bytes(data[at + 8 : at + 8 + width], "little")
        step = _HEAD + -(-size // 8) * 8 if data[at : at + 2] != b"\0\0" else size
        if not 0 < step <= end - at:
            return False
        at += step
    return True


def _walk(path: Path) -> tuple[int, list[tuple[int, int]], list[str], list[str]]:
    """Bytes of a size, (start, end) of arrays, what lies elsewhere, attributes of odd types."""
    found: list[tuple[int, int]] = []
    outside: list[str] = []
    odd: list[str] = []

    def look(holder: Any) -> None:
        odd.extend(a for a in holder.attrs if _of_bytes(holder.attrs.get_id(a).get_type()))

    def visit(name: str, item: Any) -> None:
        look(item)
        if not isinstance(item, h5py.Dataset):
            return
        if item.is_virtual or item.external:
            outside.append(name)
            return
        start = item.id.get_offset()
        if start is not None:
            found.append((start, start + item.id.get_storage_size()))
        elif item.chunks:
            with suppress(Exception):  # its chunks are looked through, and its reader refuses it
                item.id.chunk_iter(
                    lambda chunk: found.append((chunk.byte_offset, chunk.byte_offset + chunk.size))
                )

    def visit_link(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            outside.append(name)

    with h5py.File(path, "r") as file:
        width = file.id.get_create_plist().get_sizes()[1]
        look(file)
        file.visititems_links(visit_link)
        file.visititems(visit)
    return width, found, outside, odd


def _of_bytes(kind: Any) -> bool:
    """Whether a type is a list of bytes, of any length, that is no text."""
    return bool(kind.get_class() == h5py.h5t.VLEN and kind.get_super().get_size() == 1)


def _gaps(arrays: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    at = 0
    for start, end in sorted(arrays):
        if start >= size:
            break  # of a damaged file
        if start > at:
            yield at, start
        at = max(at, end)
    if at < size:
        yield at, size
