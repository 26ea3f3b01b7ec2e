"""The tags of a MATLAB v5 file, checked before scipy reads the arrays behind them.

scipy looks the type of the numbers up in a table by the number in the file, without a bound: a
damaged one ends the process (seen with scipy 1.17). It takes the first tag for granted, and what
has no name for the workspace of functions. An array is an element of tagged parts:

    miMATRIX: flags (class, complex), dimensions (int32), name (int8), real part, imaginary part;
    an object has no dimensions

A tag is a type and a size in bytes, 4 each, before data in multiples of 8; data of up to 4 bytes
stand in the tag itself. With compression the element is a zlib stream.

Source: MathWorks, MAT-File Format.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_UINT32, _TEXT = 6, (1, 16)  # types; text: bytes and UTF-8
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # of types of numbers
_NUMERIC = range(6, 16)  # classes: double, single and whole numbers
_SINGLE, _OBJECT, _COMPLEX = 7, 17, 0x0800
_PREFIX = 2**16  # bytes of an element that hold all tags before the numbers


Order = Literal["little", "big"]
_ORDERS: dict[bytes, Order] = {b"\0\1IM": "little", b"\1\0MI": "big"}  # end of the header


class NotNumbers(ValueError):
    """A variable is no array of real numbers."""


class _Tag(NamedTuple):
    kind: int
    size: int
    start: int  # of the data
    end: int  # where the next tag is


class Array(NamedTuple):
    """What the tags of a variable say: `type` is MATLAB's class, `values` the tag of the numbers.

    What is no array of numbers has the tag of its flags there; an object has no shape.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    complex: bool
    values: _Tag

    @property
    def numeric(self) -> bool:
        """Numbers or truth values, real or complex; no text, structure or sparse matrix."""
        return self.type in _NUMERIC


def arrays(path: Path) -> list[Array] | None:
    """All variables with a name; None for version 4, which scipy reads with checks.

    scipy's own list fails where one is an object (a table, a string, a date).

    Raises
    ------
    ValueError, zlib.error
        An invalid tag.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if head[:4].count(0) or len(head) < _HEADER:
        return None
    order = _ORDERS.get(head[124:])
    if order is None:
        raise ValueError("not the header of a MATLAB file")
    found = (_array(element, order) for element in _elements(path, order))
    return [array for array in found if array.name]  # without one: the workspace of functions


def check(path: Path, names: list[str]) -> None:
    """Make sure that variables are arrays of real numbers of which each fits into the file.

    Raises
    ------
    NotNumbers
        A structure, text, a sparse matrix, complex numbers.
    ValueError, zlib.error
        An invalid tag.
    """
    for array in arrays(path) or ():
        if array.name not in names:
            continue
        if not array.numeric:
            raise NotNumbers("a structure, text or a sparse matrix")
        if array.complex:
            raise NotNumbers(f"type {'complex64' if array.type == _SINGLE else 'complex128'}")
        kind, size, *_ = array.values
        if kind not in _BYTES or size != math.prod(array.shape) * _BYTES[kind]:
            raise ValueError(
                f"variable {array.name} of {' x '.join(map(str, array.shape))} numbers has "
                f"{size} bytes of type {kind}"
            )


def _array(element: bytes, order: Order) -> Array:
    flags = _part(element, 8, order)
    word = _number(element, flags.start, order)
    sizes = _part(element, flags.end, order)
    if flags.kind != _UINT32 or flags.end != 24:
        raise ValueError(f"an array begins with a part of type {flags.kind}")
    if word & 0xFF == _OBJECT:
        return Array("None", (), _OBJECT, False, flags)  # as scipy calls each of them
    named = _part(element, sizes.end, order)
    if named.kind not in _TEXT:
        raise ValueError(f"an array has a name of type {named.kind}")
    name = element[named.start : named.start + named.size].decode("latin-1")
    shape = tuple(_number(element, at, order) for at in range(sizes.start, _end(sizes), 4))
    if word & 0xFF not in _NUMERIC:
        return Array(name, shape, word & 0xFF, False, flags)
    values = _part(element, named.end, order)
    return Array(name, shape, word & 0xFF, bool(word & _COMPLEX), values)


def _elements(path: Path, order: Order) -> Iterator[bytes]:
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


def _part(element: bytes, at: int, order: Order) -> _Tag:
    first = _number(element, at, order)
    if first >> 16:  # the data stand in the tag
        return _Tag(first & 0xFFFF, min(first >> 16, 4), at + 4, at + 8)
    size = _number(element, at + 4, order)
    return _Tag(first, size, at + 8, at + 8 + -(-size // 8) * 8)


def _end(tag: _Tag) -> int:
    return tag.start + tag.size // 4 * 4


def _number(data: bytes, at: int, order: Order) -> int:
    word = data[at : at + 4]
    if len(word) < 4:
        raise ValueError("an array is cut short before its numbers")
    return int.from_bytes(word, order)
