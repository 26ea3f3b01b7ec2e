"""The cases of bad input: how one is stated, the good files it spoils, how it is played, its row.

`case = heading("MATLAB")` gives what registers the cases of that heading of
docs/reference/bad-input.md: `@case("what is wrong", "words", "of the message")` above a function
that writes what is wrong into the folder of a `World` and gives the arguments of the command.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.helpers.small import HEADS, config, options, yaml_file

MODULES = ("arrays", "checkpoints", "options", "outputs", "rasters", "runs", "vectors")
HEADINGS = (  # in the order of the document
    "MATLAB", "NumPy", "ENVI", "GeoTIFF", "mosaics", "EnMAP", "PRISMA", "EMIT", "AVIRIS", "Tanager",
    "NEON", "Zarr", "NetCDF", "label rasters", "vectors", "tables of points", "splits", "options",
    "YAML", "bench", "report", "pretrain", "checkpoints", "adapter folders", "run folders", "map",
    "scenes", "empty arguments", "maps and sharing", "outputs", "memory", "samples and assessments",
)  # fmt: skip
PER_CLASS = 4


Make = Callable[["World"], list[object]]


@dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes
    ----------
    heading : str
        The heading it stands under in docs/reference/bad-input.md.
    name : str
        What is wrong.
    says : tuple of str
        Words of the message.
    make : callable
        Writes what is wrong into the world's folder and gives the arguments of the command.
    leaves : tuple of str
        Patterns of whole files that the same command resumes from, where there are any.
    """

    heading: str
    name: str
    says: tuple[str, ...]
    make: Make
    leaves: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Heading and name: unique."""
        return f"{self.heading}: {self.name}"


_REGISTERED: list[Case] = []


def heading(title: str) -> Callable[..., Callable[[Make], Make]]:
    """What registers the cases of one heading: `case("name", "words", "of the message")`."""
    assert title in HEADINGS, f"give {title} its place among HEADINGS"

    def case(name: str, *says: str, leaves: tuple[str, ...] = ()) -> Callable[[Make], Make]:
        def register(make: Make) -> Make:
            assert says, f"{title}: {name} states no words"
            _REGISTERED.append(Case(title, name, says, make, leaves))
            return make

        return register

    return case


def all_cases() -> list[Case]:
    """All cases, in the order of docs/reference/bad-input.md."""
    for name in MODULES:
        import_module(f"tests.corpus.{name}")
    return sorted(_REGISTERED, key=lambda case: HEADINGS.index(case.heading))


class Played(NamedTuple):
    """What the command line did.

    Attributes: exit status, stdout, the lines of stderr, what the libraries below Python wrote to
    it, and the names of files in the case's folder that came, went or changed.
    """

    status: int
    out: str
    err: list[str]
    noise: str
    changed: list[str]


class World:
    """A case's own folder beside good files.

    Attributes
    ----------
    home : Path
        scene.tif, scene_labels.tif, e.safetensors, run.yaml and the finished run `run`: shared,
        never written to.
    folder : Path
        The case's own, where it spoils copies.
    patch : pytest.MonkeyPatch
    """

    def __init__(self, home: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.folder, self.patch = home, folder, patch

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def file(self, name: str, content: bytes | str) -> Path:
        """A file of these bytes or this text."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def copy(self, name: str, to: str | None = None) -> Path:
        """A good file or folder, to be spoiled."""
        source, target = self.home / name, self.folder / (to or name)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return target

    def record(self, **sections: Any) -> Path:
        """The record of a copy of the good run, with values, or whole sections, of others."""
        path = self.copy("run") / "run.json"
        values = json.loads(path.read_text())
        for section, changes in sections.items():
            if isinstance(changes, dict):
                values[section].update(changes)
            else:
                values[section] = changes
        path.write_text(json.dumps(values))
        return path

    def cut(self, path: Path, share: float = 0.5) -> Path:
        """The file without its end."""
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    def train(self, scene: object = None, **given: Any) -> list[object]:
        """`train` as it works on the good files, with other options; None leaves one out."""
        values = {
            "labels": self.home / "scene_labels.tif",
            "backbone": self.home / "e.safetensors",
            "config": self.home / "run.yaml",
            "out": self.folder / "out",
            **given,
        }
        words: list[object] = ["train", scene or self.home / "scene.tif"]
        for name, value in values.items():
            if value is not None:
                words += ["--" + name.replace("_", "-"), value]
        return words

    def labelled(self, labels: object, **given: Any) -> list[object]:
        """`train` with these labels on the good scene."""
        return self.train(labels=labels, **given)


def make_home(home: Path) -> Path:
    """Write the good files, and train the good run."""
    from hyperpeft.runs.experiment import run

    options(home, home)
    yaml_file(
        home / "run.yaml",
        {"num_heads": HEADS, "patch_size": 5, "epochs": 1, "map": False, "per_class": PER_CLASS},
    )
    run(config(home, home / "run", epochs=1, map=False, per_class=PER_CLASS))
    return home


def play(case: Case, home: Path, folder: Path) -> tuple[Played, list[str]]:
    """Type what the case says; also gives the words that were typed."""
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERPEFT_DATA", str(home / "data"))
        patch.setenv("HYPERPEFT_CACHE", str(home / "cache"))
        patch.chdir(folder)
        words = [str(word) for word in case.make(World(home, folder, patch))]
        before = _listing(folder)
        status, out, err, noise = _call(words, patch)
        after = _listing(folder)
    changed = sorted(
        name
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
        if not any(fnmatch(name, pattern) for pattern in case.leaves)
    )
    return Played(status, out, err.splitlines(), noise, changed), words


def _call(words: Sequence[str], patch: pytest.MonkeyPatch) -> tuple[int, str, str, str]:
    from hyperpeft import cli

    patch.setattr(sys, "argv", ["hyperpeft", *words])
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with (
        _stderr_of_libraries() as noise,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, out.getvalue(), err.getvalue(), noise[0]


@contextlib.contextmanager
def _stderr_of_libraries() -> Iterator[list[str]]:
    """What is written to file descriptor 2 past Python, as GDAL and HDF5 do."""
    said = [""]
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said[0] = file.read().decode(errors="replace")


def _listing(folder: Path) -> dict[str, str]:
    """Every file by the hash of its bytes, every link by its target, every folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_file():
            size = path.stat().st_size
            with path.open("rb") as file:  # sparse files of a terabyte are among them
                found[name] = f"{size} {hashlib.sha256(file.read(2**20)).hexdigest()}"
        else:
            found[name] = "folder" if path.is_dir() else "other"
    return found


def plain(text: str, home: Path, folder: Path) -> str:
    """A message without what differs from machine to machine."""
    for path, name in ((folder, "."), (home, "HOME")):
        text = text.replace(str(path.resolve()), name).replace(str(path), name)
    text = re.sub(r"\b[0-9a-f]{16,}\b", "...", text)
    text = re.sub(r"by process \d+ on [^;]+;", "by process ... on ...;", text)
    text = re.sub(r"[\d.,]+ [MGT]iB of memory that are free", "... of memory that are free", text)
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", text)


def cube(height: int = 24, width: int = 24, bands: int = 20, dtype: str = "float32") -> np.ndarray:
    """(H, W, B) of random values, the good scene's size."""
    return np.random.default_rng(0).normal(5, 1, (height, width, bands)).astype(dtype)


DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "bad-input.md"
HEAD = """# Bad input, and what hyperpeft says

{count} cases, written by `python -m tests.corpus`; the tests play each of them through the
command line. Every one ends with exit status 2 and the one message shown, on stderr, without a
traceback, and leaves no file behind but, on a full disk, whole ones that the same command resumes
from. `.` is the folder of the case, `HOME` that of good files.
"""


def row(message: str) -> str:
    """A message as it stands in a cell of the table."""
    return " ".join(message.split()).replace("|", "\\|").replace("`", "'")


def ours(message: str) -> str:
    """A message without the reason that another library gives, which changes with its version."""
    return re.sub(r"(cannot be \w+[^(;]*|is not [^(;]*)\(.*\)", r"\1(...)", message)


def text(messages: Mapping[str, str]) -> str:
    """The document, from a message for each title."""
    lines, before = [HEAD.format(count=len(messages))], ""
    for title, message in messages.items():
        heading, _, name = title.partition(": ")
        if heading != before:
            lines.append(f"\n## {heading}\n\n| case | message | status |\n|---|---|---|\n")
            before = heading
        lines.append(f"| {name} | `{row(message)}` | 2 |\n")
    return "".join(lines)


def read(path: Path) -> dict[str, str]:
    """The message of each title."""
    found, heading = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.endswith(" | 2 |"):
            name, _, message = line.removeprefix("| ").removesuffix(" | 2 |").partition(" | ")
            found[f"{heading}: {name}"] = message.strip("`")
    return found
