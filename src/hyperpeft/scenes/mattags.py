"""The tags of a MATLAB v5 file, checked before scipy reads the arrays behind them.

scipy looks the type of the numbers up in a table by the number in the file, without a bound: a
damaged one ends the process (seen with scipy 1.17). An array is an element of tagged parts:

    miMATRIX: flags (class, complex), dimensions (int32), name (int8), real part, imaginary part

A tag is a type and a size in bytes, 4 each, before data in multiples of 8; data of up to 4 bytes
stand in the tag itself. With compression the element is a zlib stream.

Source: MathWorks, MAT-File Format.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # of types of numbers
_NUMERIC = range(6, 16)  # classes: double, single and whole numbers
_SINGLE, _COMPLEX = 7, 0x0800
_PREFIX = 2**16  # bytes of an element that hold all tags before the numbers


class NotNumbers(ValueError):
    """A variable is no array of real numbers."""


class _Tag(NamedTuple):
    kind: int
    size: int
    start: int  # of the data
    end: int  # where the next tag is


def check(path: Path, names: list[str]) -> None:
    """Make sure that variables are arrays of real numbers of which each has its room in the file.

    Raises
    ------
    NotNumbers
        A structure, text, a sparse matrix, complex numbers.
    ValueError, zlib.error
        A tag that cannot be.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if head[:4].count(0) or len(head) < _HEADER:
        return  # version 4, which scipy reads with checks
    order = "big" if head[126:128] == b"MI" else "little"
    for element in _elements(path, order):
        flags = _part(element, 8, order)
        sizes = _part(element, flags.end, order)
        named = _part(element, sizes.end, order)
        name = element[named.start : named.start + named.size].decode("latin-1")
        if name not in names:
            continue
        word = _number(element, flags.start, order)
        if word & 0xFF not in _NUMERIC:
            raise NotNumbers("a structure, text or a sparse matrix")
        if word & _COMPLEX:
            raise NotNumbers(f"type {'complex64' if word & 0xFF == _SINGLE else 'complex128'}")
        shape = [_number(element, at, order) for at in range(sizes.start, _end(sizes), 4)]
        values = _part(element, named.end, order)
        if values.kind not in _BYTES or values.size != math.prod(shape) * _BYTES[values.kind]:
            raise ValueError(
                f"variable {name} of {' x '.join(map(str, shape))} numbers has {values.size} bytes "
                f"of type {values.kind}"
            )


def _elements(path: Path, order: str) -> Iterator[bytes]:
    """The beginning of each array of the file, with its tag."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = _HEADER
        while at + 8 <= size:
            file.seek(at)
            head = file.read(8)
            kind, length = _number(head, 0, order), _number(head, 4, order)
            if at + 8 + length > size:
                raise ValueError(f"an element of {length} bytes at byte {at} of {size}")
            data = file.read(min(length, _PREFIX))
            if kind == _COMPRESSED:
                element = zlib.decompressobj().decompress(data, _PREFIX)
                if _number(element, 0, order) == _MATRIX:
                    yield element
            elif kind == _MATRIX:
                yield head + data
            at += 8 + length


def _part(element: bytes, at: int, order: str) -> _Tag:
    first = _number(element, at, order)
    if first >> 16:  # the data stand in the tag
        return _Tag(first & 0xFFFF, min(first >> 16, 4), at + 4, at + 8)
    size = _number(element, at + 4, order)
    return _Tag(first, size, at + 8, at + 8 + -(-size // 8) * 8)


def _end(tag: _Tag) -> int:
    return tag.start + tag.size // 4 * 4


def _number(data: bytes, at: int, order: str) -> int:
    word = data[at : at + 4]
    if len(word) < 4:
        raise ValueError("an array is cut short before its numbers")
    return int.from_bytes(word, "big" if order == "big" else "little")
