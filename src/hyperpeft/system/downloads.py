"""Downloads that are verified before they get their name.

Some hosts answer 200 with a web page; some files have no published hash. What comes is kept
under a temporary name until its first bytes are those of its format and its hash, where one is
known, is right. The hash of what was accepted is kept in `sha256.json` beside the file.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import requests

from hyperpeft.errors import DownloadError
from hyperpeft.system.files import replacing, sha256_of

Progress = Callable[[str, int, int], None]
"""Told (file name, bytes so far, bytes in all or 0)."""

RECORD = "sha256.json"
_TIMEOUT = 60  # s without an answer
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head")
_HDF = b"\x89HDF\r\n\x1a\n"
_ARCHIVE = b"PK\x03\x04"
_MAGIC: dict[str, tuple[bytes, ...]] = {
    ".mat": (b"MATLAB 5.0", b"MATLAB 7.3", _HDF),
    ".zip": (_ARCHIVE,),
    ".pth": (_ARCHIVE, b"\x80\x02"),  # torch's archive, and its format before 1.6
    ".tif": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    ".h5": (_HDF,),
}


def get(url: str, to: Path, progress: Progress | None = None) -> None:
    """One HTTP download by pooch; every network error becomes a DownloadError."""
    bar = _Bar(to.name, progress) if progress else False
    try:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=_TIMEOUT)(
            url, str(to), None
        )
    except requests.HTTPError as problem:
        code = problem.response.status_code if problem.response is not None else "an error"
        raise DownloadError(f"the server answers {code}") from None
    except requests.ConnectionError:
        raise DownloadError("no connection, or it broke off") from None
    except requests.RequestException as problem:
        raise DownloadError(f"{type(problem).__name__}, the download is not complete") from None


class _Bar:
    """What pooch wants of a progress bar, as calls of a function."""

    def __init__(self, name: str, report: Progress) -> None:
        self.name, self.report, self.total, self.done = name, report, 0, 0

    def update(self, amount: int) -> None:
        self.done = min(self.done + amount, self.total or self.done + amount)
        self.report(self.name, self.done, self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def is_web_page(head: bytes) -> bool:
    """Whether a file's first bytes are those of HTML."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_WEB_PAGE)


def check(path: Path, sha256: str | None = None) -> str:
    """Format by the first bytes and hash where known; the hash is returned.

    Raises
    ------
    DownloadError
        When either is wrong.
    """
    with path.open("rb") as opened:
        head = opened.read(520)
    if is_web_page(head):
        raise DownloadError("the server sent a web page instead of the file")
    magic = _MAGIC.get(path.suffix.lower())
    if magic and not (head.startswith(magic) or head[512:].startswith(magic)):
        raise DownloadError(f"what came is no {path.suffix} file: it begins with {head[:8]!r}")
    if head.startswith(_ARCHIVE) and not zipfile.is_zipfile(path):
        raise DownloadError("the download ended early: the end of the archive is missing")
    digest = sha256_of(path)
    if sha256 is not None and digest != sha256:
        raise DownloadError("wrong sha256", expected=sha256, got=digest)
    return digest


def remember(path: Path, digest: str) -> None:
    """Keep the hash of an accepted download beside it."""
    with replacing(path.parent / RECORD) as temporary:
        known = {**_remembered(path.parent), path.name: digest}
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")


def compare(path: Path) -> None:
    """Raise DownloadError when a file has changed since it was downloaded."""
    known = _remembered(path.parent).get(path.name)
    if known is None:
        return
    digest = sha256_of(path)
    if digest != known:
        raise DownloadError(
            f"{path} has changed since it was downloaded",
            expected=f"sha256 {known}",
            got=digest,
            hint="delete it and fetch it again",
        )


def _remembered(folder: Path) -> dict[str, Any]:
    try:
        known = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
