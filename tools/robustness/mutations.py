"""Damage to files, drawn from a seed: what `fuzz.py` does to valid ones."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

Files = dict[str, bytes]  # relative names and contents of one input: a file, or a folder

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORD = re.compile(rb"[A-Za-z_]\w+")
_WHOLE = [0, 1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1]
_EXTREMES = [*_WHOLE, 2**40, 2**62, 2**63 - 1, 2**64 - 1, -1, -2, -128, -32768, -(2**31), -(2**63)]
_FLOATS = [0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, -1.0, 1e-9, 3.4e38]
_TEXTS = [
    b"", b"0", b"-1", b"1e309", b"nan", b"inf", b"-0", b"99999999999999999999", b"2147483648",
    b"1.5", b"null", b"true", b"[]", b"{}", b'""', b"~", b"\xff\xfe", b"\x00", b"&a", b"*a",
    b"!!python/name:os.system", b"../../x", b"[" * 2000, b"0" * 5000, b"\xc3\xa9", b"1,5",
]  # fmt: skip
_SMALL = 4096  # bytes at the beginning of a file that are its header, more often than not


def mutate(draw: random.Random, files: Files, others: list[Files]) -> Files:
    """A copy with one file damaged in one to four ways; small files, which describe, come first.

    Parameters
    ----------
    draw : random.Random
    files : dict of str to bytes
    others : list of the same
        Whose parts may be put into these files.
    """
    changed = dict(files)
    names = sorted(files)
    weights = [1 / (1 + len(files[name]) / _SMALL) for name in names]
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        name = draw.choices(names, weights)[0]
        if len(names) > 1 and draw.random() < 0.02:
            changed[name] = b"" if draw.random() < 0.5 else changed[draw.choice(names)]
            continue
        other = draw.choice(others)
        changed[name] = _damage(draw, changed[name], other[draw.choice(sorted(other))])
    return changed


def _damage(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Inside a container, whose sums and lengths are put right again, or anywhere in the bytes."""
    if draw.random() < 0.6:
        for container in (_in_zip, _in_safetensors):
            if (inside := container(draw, data, other)) is not None:
                return inside
    return _damage_bytes(draw, data, other)


def _damage_bytes(draw: random.Random, data: bytes, other: bytes) -> bytes:
    text = b"\0" not in data[:_SMALL]
    return draw.choice(_OF_TEXT if text else _OF_BYTES)(draw, data, other)


def _in_zip(draw: random.Random, data: bytes, other: bytes) -> bytes | None:
    if not data.startswith(b"PK\3\4"):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # it is damaged by now
        return None
    if not members:
        return None
    weights = [1 / (1 + len(content) / _SMALL) for _, content in members]
    chosen = draw.choices(range(len(members)), weights)[0]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (name, content) in enumerate(members):
            archive.writestr(
                name, _damage_bytes(draw, content, other) if number == chosen else content
            )
    return out.getvalue()


def _in_safetensors(draw: random.Random, data: bytes, other: bytes) -> bytes | None:
    """Its header is JSON behind its length."""
    length = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or not 2 <= length <= len(data) - 8:
        return None
    try:
        json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    header = draw.choice(_OF_TEXT)(draw, data[8 : 8 + length], other)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _place(draw: random.Random, data: bytes) -> int:
    """An offset, in seven of ten cases in the first kilobytes."""
    end = min(len(data), _SMALL) if draw.random() < 0.7 else len(data)
    return draw.randrange(max(end, 1))


def _flip(draw: random.Random, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        if out:
            out[_place(draw, data)] ^= 1 << draw.randrange(8)
    return bytes(out)


def _overwrite(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A number of 1 to 8 bytes, or a float, at its extremes."""
    at = _place(draw, data)
    order = draw.choice("<>")
    if draw.random() < 0.2:
        number = struct.pack(order + draw.choice("fd"), 0.0)
        value = draw.choice(_FLOATS)
        try:
            number = struct.pack(order + ("d" if len(number) == 8 else "f"), value)
        except OverflowError:
            number = struct.pack(order + "f", float("inf"))
    else:
        size = draw.choice((1, 2, 4, 8))
        number = (draw.choice(_EXTREMES) % 256**size).to_bytes(
            size, "little" if order == "<" else "big"
        )
        if draw.random() < 0.7:
            at -= at % size
    return data[:at] + number + data[at + len(number) :]


def _cut(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _remove(draw: random.Random, data: bytes, other: bytes) -> bytes:
    at = _place(draw, data)
    return data[:at] + data[at + draw.choice((1, 2, 4, 8, 64, 512)) :]


def _insert(draw: random.Random, data: bytes, other: bytes) -> bytes:
    at, size = _place(draw, data), draw.choice((1, 2, 4, 8, 64, 512))
    return data[:at] + draw.randbytes(size) + data[at:]


def _repeat(draw: random.Random, data: bytes, other: bytes) -> bytes:
    at, size = _place(draw, data), draw.choice((4, 16, 64, 512))
    return data[: at + size] + data[at : at + size] * draw.choice((1, 1, 3, 50)) + data[at + size :]


def _splice(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A part of another file, over the same place or in between."""
    at, start = _place(draw, data), _place(draw, other)
    part = other[start : start + draw.choice((4, 16, 128, 1024))]
    return data[:at] + part + data[at + (len(part) if draw.random() < 0.7 else 0) :]


def _token(pattern: re.Pattern[bytes]) -> Callable[[random.Random, bytes, bytes], bytes]:
    """Replace one match by an extreme, or by another match."""

    def change(draw: random.Random, data: bytes, other: bytes) -> bytes:
        found = list(pattern.finditer(data))
        if not found:
            return _overwrite(draw, data, other)
        one = draw.choice(found)
        pool = _TEXTS if draw.random() < 0.6 else [m[0] for m in pattern.finditer(other)] or _TEXTS
        return data[: one.start()] + draw.choice(pool) + data[one.end() :]

    return change


def _line(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Drop, repeat, move or replace one line."""
    lines = data.split(b"\n")
    at, to = draw.randrange(len(lines)), draw.randrange(len(lines))
    how = draw.randrange(4)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(to, lines[at])
    elif how == 2:
        lines[at], lines[to] = lines[to], lines[at]
    else:
        lines[at] = draw.choice(other.split(b"\n"))[:2000]
    return b"\n".join(lines)


_OF_BYTES = (_flip, _overwrite, _overwrite, _overwrite, _cut, _remove, _insert, _repeat, _splice)
_OF_TEXT = (
    _token(_NUMBER), _token(_NUMBER), _token(_WORD), _line, _line, _flip, _cut, _remove, _insert,
    _splice, _repeat,
)  # fmt: skip


def read_files(folder: Path) -> Files:
    """All files of a folder by their relative names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_files(folder: Path, files: Files) -> None:
    """The reverse."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
