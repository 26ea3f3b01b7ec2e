"""The heaps of an HDF5 file, checked before the HDF5 library walks through them.

Texts of any length (the WKT of a grid, lists of dimensions) lie in global heaps, blocks of objects
of which each says how long it is. The library steps from one to the next by what they say, and
walks on the spot for ever where one says nothing (seen with HDF5 2.0):

    collection: "GCOL", version 1, 3 zeros, its size, then objects to its end
    object: number (2 bytes), references (2), 4 zeros, size, then the data up to a multiple of 8;
            number 0 is the room that is left, and its size counts its own head

Nothing but the attributes says where heaps are, so they are looked for in all that is no array.

Source: The HDF Group, HDF5 File Format Specification 3.0, III.E.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperpeft.errors import HyperpeftError

_BEGINNING = b"GCOL\x01\0\0\0"
_HEAD = 16  # bytes of a collection's and of an object's, filled up to a multiple of 8


def check(path: Path, error: type[HyperpeftError]) -> None:
    """Refuse a file with a heap that cannot be walked through.

    Raises
    ------
    HyperpeftError
        Of the class `error`.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        width, arrays = _layout(path)
        for start, end in _gaps(arrays, len(data)):
            at = data.find(_BEGINNING, start, end)
            while at >= 0:
                if not _can_be_walked(data, at, width):
                    raise error(
                        f"{path} cannot be read as an HDF5 file (its heap at byte {at} is broken)",
                        do="the file is damaged or cut short: get it again",
                    )
                at = data.find(_BEGINNING, at + _HEAD, end)


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


def _layout(path: Path) -> tuple[int, list[tuple[int, int]]]:
    """Bytes of a size, and where arrays are: (start, end) in the file."""
    import h5py

    found: list[tuple[int, int]] = []

    def visit(_: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        start = item.id.get_offset()
        if start is not None:
            found.append((start, start + item.id.get_storage_size()))
        elif item.chunks:
            item.id.chunk_iter(
                lambda chunk: found.append((chunk.byte_offset, chunk.byte_offset + chunk.size))
            )

    try:
        with h5py.File(path, "r") as file:
            width = file.id.get_create_plist().get_sizes()[1]
            file.visititems(visit)
    except Exception:  # damaged: more of it is looked through, and its reader refuses it
        return 8, []
    return width, found


def _gaps(arrays: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    at = 0
    for start, end in sorted(arrays):
        if start > at:
            yield at, start
        at = max(at, end)
    if at < size:
        yield at, size
