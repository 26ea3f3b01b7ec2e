"""Scenes of cards: where they lie, downloaded, and verified against the card."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hyperpeft.errors import DownloadError, InputError, LabelsError, SceneError
from hyperpeft.scenes.catalog.card import Card, File
from hyperpeft.scenes.catalog.cards import CARDS
from hyperpeft.system.downloads import Progress, check, compare, get, remember
from hyperpeft.system.files import Index, cache_folder, data_folders, find_file, index_folders


def find(file: File, index: Index | None = None) -> Path | None:
    """A file of a card in the data folders, by any of its names."""
    return find_file(file.names, index)


def where_to_put(card: Card, file: File) -> str:
    """What to put where by hand, in one sentence."""
    variable = f" (variable {' or '.join(file.key)})" if file.key else ""
    height, width, bands = card.shape
    what = f"{height} x {width} x {bands}" if file.role == "cube" else f"{height} x {width}"
    source = f" from {file.url}" if file.url else ""
    names = " or ".join(file.names)
    note = "" if file.url or not card.note else f" ({card.note})"
    return f"put {names}{variable}, {what}{source}, into {data_folders()[0] / card.name}{note}"


@dataclass(frozen=True)
class SceneRow:
    """One line of `hyperpeft scenes list`."""

    name: str
    title: str
    sensor: str
    shape: tuple[int, int, int]
    classes: int
    labelled: int
    path: Path | None


def list_scenes() -> list[SceneRow]:
    """All cards, with the cube's path where all of a card's files are here, else None."""
    index = index_folders()
    rows = []
    for card in CARDS.values():
        paths = [find(file, index) for file in card.files]
        path = paths[0] if all(paths) else None
        rows.append(
            SceneRow(
                card.name,
                card.title,
                card.sensor,
                card.shape,
                len(card.classes),
                card.labelled,
                path,
            )
        )
    return rows


_HINT = (
    "get the published file (`hyperpeft scenes fetch {name}`), or open another version by its path"
)


def verify_shape(card: Card, shape: tuple[int, int, int]) -> None:
    """Compare a cube's rows, columns and bands with the card.

    Raises
    ------
    SceneError
    """
    if shape != card.shape:
        raise SceneError(
            f"the cube found for {card.name} is another one",
            expected=f"{card.shape} (rows, columns, bands)",
            got=shape,
            hint=_HINT.format(name=card.name),
        )


def verify_counts(
    card: Card, counts: Mapping[int, int], expected: Mapping[int, int], what: str
) -> None:
    """Compare the pixels per class id with the card; only the ids that differ are reported.

    Raises
    ------
    LabelsError
    """
    ids = sorted({*counts, *expected})
    wrong = [i for i in ids if counts.get(i, 0) != expected.get(i, 0)]
    if wrong:
        raise LabelsError(
            f"the {what} found for {card.name} have other pixel counts",
            expected=", ".join(f"class {i}: {expected.get(i, 0)}" for i in wrong),
            got=", ".join(f"class {i}: {counts.get(i, 0)}" for i in wrong),
            hint=_HINT.format(name=card.name),
        )


_MAX_UNPACKED = 8 * 2**30  # bytes; the largest archive of the table holds less than 1 GiB


def fetch(card: Card, progress: Progress | None = None) -> list[Path]:
    """Download what is missing of a scene into the cache.

    Parameters
    ----------
    card : Card
    progress : callable, optional
        Called with the file's name, the bytes so far and the total (0 if unknown).

    Returns
    -------
    list of Path
        One path per file of the card, in its order; files that were here already included.

    Raises
    ------
    DownloadError
        Offline, dead or wrong: the message says which file to put into which folder by hand. Or
        a file that was downloaded earlier has changed since.
    """
    paths = []
    for file in card.files:
        path = find(file)
        if path is None:
            path = _download(card, file, progress)
        else:
            compare(path)
        paths.append(path)
    return paths


def _download(card: Card, file: File, progress: Progress | None) -> Path:
    if file.url is None:
        raise DownloadError(
            f"the {file.role} of {card.name} cannot be downloaded", hint=where_to_put(card, file)
        )
    folder = cache_folder() / card.name
    packed = file.url.lower().endswith(".zip")
    name = PurePosixPath(file.url).name if packed else file.names[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
            temporary = Path(part) / name
            get(file.url, temporary, progress)
            digest = check(temporary, file.sha256)
            if packed:
                return _unpack(card, file, temporary, folder)
            _check_content(card, file, temporary)
            temporary.replace(folder / name)
    except (InputError, OSError, zipfile.BadZipFile) as problem:
        raise DownloadError(
            f"{name} of {card.name} could not be fetched from {file.url} ({problem})",
            hint=where_to_put(card, file),
        ) from None
    remember(folder / name, digest)
    return folder / name


def _check_content(card: Card, file: File, path: Path) -> None:
    """Shape of a cube, pixel counts of labels: also tells a file that was cut short."""
    # Loaded here: downloading a scene that is here already needs no reader.
    from hyperpeft.scenes.labels.read import read_labels
    from hyperpeft.scenes.readers.read import read_cube

    if file.role == "cube":
        verify_shape(card, read_cube(path, file.key, card.layout).shape)
    elif file.role == "labels":
        counts = read_labels(path, file.key, rule=file.rule).counts()
        verify_counts(card, counts, {i: n for i, (_, n) in card.classes.items()}, "labels")


def _unpack(card: Card, file: File, archive: Path, folder: Path) -> Path:
    """Unpack the members that the card names, under their own names, beside each other."""
    wanted = {name.lower() for f in card.files for name in f.names}
    left = _MAX_UNPACKED
    found: Path | None = None
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            place = PurePosixPath(member.filename.replace("\\", "/"))
            if place.is_absolute() or ".." in place.parts or ":" in member.filename:
                raise DownloadError(f"the archive holds an unsafe path {member.filename!r}")
            if member.is_dir() or place.name.lower() not in wanted:
                continue
            temporary = archive.parent / place.name
            with opened.open(member) as source, temporary.open("wb") as target:
                left = _copy(source, target, left)
            digest = check(temporary)
            temporary.replace(folder / place.name)
            remember(folder / place.name, digest)
            if place.name.lower() in {name.lower() for name in file.names}:
                found = folder / place.name
    if found is None:
        raise DownloadError(f"the archive does not hold {' or '.join(file.names)}")
    return found


def _copy(source: Any, target: Any, left: int) -> int:
    """Copy at most `left` bytes, counting what really comes rather than what the header says."""
    while chunk := source.read(2**20):
        left -= len(chunk)
        if left < 0:
            raise DownloadError("the archive unpacks to too much", expected="at most 8 GiB")
        target.write(chunk)
    return left
