"""Scenes downloaded: accepted only when shape and label counts are the card's, too."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from hyperpeft.errors import DownloadError, InputError
from hyperpeft.scenes.catalog.card import Card, File
from hyperpeft.scenes.catalog.locate import find, verify_counts, verify_shape, where_to_put
from hyperpeft.system.downloads import Progress, check, compare, get, remember
from hyperpeft.system.files import cache_folder

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
