"""Where records are read from: folders of runs, or one JSON Lines file that holds a whole study.

A study file has a line for the study and a line for each run folder, whose keys are the names of
the files in that folder; pictures are in base64:

    {"hyperpeft_study": 1, "name": "offline", "bench.json": {...}}
    {"path": "cells/samson/random/10-per-class/rf/seed-0", "run.json": {...}, "classes.png": "..."}
    {"path": "cells/samson/random/10-per-class/rf/seed-1", "failed.json": {...}}
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.runs.file_names import BENCH, CLASSES, FAILED, PICTURE, RUN
from hyperpeft.system.files import LARGEST_TEXT, read_json, replacing, within

PICTURES = (PICTURE, CLASSES)  # the first that a folder has is shown
SUFFIX = ".jsonl"
FORMAT_KEY, FORMAT = "hyperpeft_study", 1


_PNG = b"\x89PNG"


class Picture(NamedTuple):
    """The picture of a run: its file name, and where its bytes are (a file, or base64)."""

    name: str
    source: Path | str

    def base64(self) -> str:
        """The bytes of the PNG file in base64."""
        if isinstance(self.source, str):
            return self.source
        return base64.b64encode(self.source.read_bytes()).decode()


class Cell(NamedTuple):
    """What one run folder holds.

    Attributes
    ----------
    path : str
        Of the folder below the study, with slashes.
    name : str
        `run.json` of a finished run, `failed.json` of a failed one.
    values : dict
        What that file holds.
    file : Path
        The file on disk that was read: the record, or the study it is a line of.
    picture : Picture or None
    """

    path: str
    name: str
    values: dict[str, Any]
    file: Path
    picture: Picture | None = None


@dataclass(frozen=True)
class Study:
    """Records that belong together: the benchmark's plan (empty for single runs), and its cells."""

    name: str
    plan: dict[str, Any]
    cells: list[Cell]


def read_study(source: Path) -> Study:
    """Read a folder with run folders below it, or a study file.

    Raises
    ------
    ConfigError
        There is no such folder or file, or it holds no record.
    BundleError
        Something in it is damaged.
    """
    if source.is_file():
        study = _read_file(source)
    elif source.is_dir():
        study = _read_folder(source)
    else:
        raise ConfigError(
            f"there is no folder {source}", hint="give the --out of a benchmark, or a study file"
        )
    if not study.cells:
        raise ConfigError(
            f"{source} holds no record", hint="run `hyperpeft bench` or `hyperpeft train` first"
        )
    return study


def is_study(path: Path) -> bool:
    """Whether a file is one that `write_study` wrote."""
    try:
        return bool(next(_lines(path), {}).get(FORMAT_KEY) == FORMAT)
    except BundleError:
        return False


def write_study(study: Study, path: Path) -> None:
    """Write a study into one file, from which `read_study` reads the same.

    Records are written as they are, key by key; of each run the picture that a report would show.

    Raises
    ------
    ConfigError
        The file cannot be written.
    """
    header = {FORMAT_KEY: FORMAT, "name": study.name, BENCH: study.plan or None}
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for line in (header, *map(_line, study.cells)):
            text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
            file.write(text + "\n")


def _line(cell: Cell) -> dict[str, Any]:
    line: dict[str, Any] = {"path": cell.path, cell.name: cell.values}
    if cell.picture is not None:
        line[cell.picture.name] = cell.picture.base64()
    return line


def _read_folder(folder: Path) -> Study:
    bench = folder / BENCH
    plan = _plan(_object(bench), str(bench)) if bench.is_file() else {}
    top = folder / "cells" if plan else folder
    cells = []
    for path in sorted(top.rglob("*.json")):
        if path.name not in (RUN, FAILED) or _is_computed(path, folder):
            continue
        place = path.relative_to(folder).parent.as_posix()
        within(path.parent, path.name)
        cells.append(Cell(place, path.name, _object(path), path, _picture(path.parent)))
    name = str(plan.get("config", {}).get("name", folder.resolve().name))
    return Study(name, plan, cells)


def _is_computed(path: Path, folder: Path) -> bool:
    """Whether a file lies in what a benchmark in or below the folder is still computing."""
    inside = path.relative_to(folder).parts
    above = [folder.joinpath(*inside[:i]) for i, name in enumerate(inside) if name == "work"]
    return any((place / BENCH).is_file() for place in above)


def _picture(folder: Path) -> Picture | None:
    for name in PICTURES:
        if (folder / name).is_file():
            path = within(folder, name)
            with path.open("rb") as file:
                if not file.read(4).startswith(_PNG):
                    raise BundleError(f"{path}", expected="a PNG picture")
            return Picture(name, path)
    return None


def _plan(values: Any, where: str) -> dict[str, Any]:
    """What bench.json holds: the benchmark's configuration, and the paths of its cells."""
    plan = values if isinstance(values, dict) else {"config": values}
    for name, kind in (("config", dict), ("cells", list)):
        if not isinstance(plan.get(name, kind()), kind):
            raise BundleError(f"{where}: {name}", expected=f"a {kind.__name__}", got=plan[name])
    return plan


def _object(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise BundleError(f"{path} is not a record", expected="an object", got=type(values))
    return values


def _read_file(path: Path) -> Study:
    lines = _lines(path)
    header = next(lines, {})
    if header.get(FORMAT_KEY) != FORMAT:
        raise BundleError(
            f"{path} is not a study file",
            expected=f'a first line with "{FORMAT_KEY}": {FORMAT}',
            got=header.get(FORMAT_KEY),
            hint="give a folder of runs, or a file that `hyperpeft report FOLDER --pack` wrote",
        )
    plan = _plan(header.get(BENCH) or {}, f"{path}: {BENCH}")
    name = str(header.get("name") or path.stem)
    return Study(name, plan, [_cell(path, i, line) for i, line in enumerate(lines, 2)])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            number = 0
            while text := file.readline(LARGEST_TEXT + 1):
                number += 1
                if len(text) > LARGEST_TEXT:
                    raise BundleError(
                        f"{path}, line {number}", expected=f"at most {LARGEST_TEXT} bytes"
                    )
                values = json.loads(text)
                if not isinstance(values, dict):
                    raise BundleError(
                        f"{path}, line {number}", expected="an object", got=type(values)
                    )
                yield values
    except RecursionError:
        raise BundleError(f"{path} cannot be read (it is nested too deeply)") from None
    except (OSError, ValueError) as problem:
        raise BundleError(f"{path} cannot be read ({problem})") from None


def _cell(path: Path, number: int, line: dict[str, Any]) -> Cell:
    where = f"{path}, line {number}"
    place, names = line.get("path"), [name for name in (RUN, FAILED) if name in line]
    if not isinstance(place, str) or len(names) != 1 or not isinstance(line[names[0]], dict):
        raise BundleError(f"{where} is not a run", expected=f"path, and {RUN} or {FAILED}")
    parts = PurePosixPath(place)
    if parts.is_absolute() or ".." in parts.parts or "\\" in place:
        raise BundleError(f"{where}: path", expected="one below the study", got=repr(place))
    shown = next((name for name in PICTURES if name in line), None)
    picture = None if shown is None else Picture(shown, _png(where, shown, line[shown]))
    return Cell(place, names[0], line[names[0]], path, picture)


def _png(where: str, name: str, data: Any) -> str:
    try:
        if isinstance(data, str) and base64.b64decode(data, validate=True).startswith(_PNG):
            return data
    except (binascii.Error, ValueError):
        pass
    raise BundleError(f"{where}: {name}", expected="a PNG picture in base64")
