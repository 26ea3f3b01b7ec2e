"""Addresses of scenes on a server: https:// and s3://, and http:// of this machine alone.

    https://host/path/cube.tif                   a (Cloud-Optimized) GeoTIFF
    https://host/path/cube.zarr[:VARIABLE]       a Zarr store with consolidated metadata
    s3://bucket/path/cube.tif or cube.zarr       credentials as GDAL and s3fs find them

A server that is asked for a range has to send that range: what sends whole files is refused.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import requests

from hyperpeft.errors import SceneError

CONNECT_SECONDS, READ_SECONDS = 10, 60  # without an answer
_SCHEME = re.compile(r"(https?|s3)://", re.IGNORECASE)
_ZARR = re.compile(r"(?P<url>.+?\.zarr)/?(?::(?P<key>[^:]+))?", re.IGNORECASE)
_HERE = ("127.0.0.1", "localhost", "::1")


def is_address(spec: object) -> bool:
    """Whether a scene's name is an address on a server."""
    return _SCHEME.match(str(spec)) is not None


@dataclass(frozen=True)
class Address:
    """Where a scene lies on a server; it stands for a path in messages and in readers.

    Attributes
    ----------
    url : str
    key : str or None
        The variable of a Zarr store.
    is_zarr : bool
    """

    url: str
    key: str | None = None
    is_zarr: bool = False

    @classmethod
    def of(cls, spec: str) -> Address:
        """Take an address apart.

        Raises
        ------
        SceneError
            It is not encrypted, names a user, or has no path.
        """
        parts = urlsplit(spec)
        if parts.scheme.lower() == "http" and parts.hostname not in _HERE:
            raise SceneError(
                f"{spec} is not encrypted", expected="an https:// or s3:// address of a scene"
            )
        if parts.username or parts.password:
            raise SceneError(
                f"the address on {parts.hostname} holds a user's name or password",
                hint="leave them out: they would be kept in the record of a run",
            )
        if not parts.netloc or not parts.path.strip("/"):
            raise SceneError(f"{spec}", expected="an address with the path of a scene")
        zarr = _ZARR.fullmatch(spec)
        if zarr:
            return cls(zarr["url"], zarr["key"], is_zarr=True)
        return cls(spec)

    @property
    def path(self) -> PurePosixPath:
        """The path on the server."""
        return PurePosixPath(unquote(urlsplit(self.url).path))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return self.path.suffix

    @property
    def is_s3(self) -> bool:
        """Whether it lies in a bucket."""
        return self.url.lower().startswith("s3://")

    def __str__(self) -> str:
        return self.url.partition("?")[0]  # what is behind it may be a signature


def fingerprint(*parts: object) -> str:
    """A hash that stands for the state of something on a server."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


@dataclass(frozen=True)
class Beginning:
    """The first bytes of a file on a server, and what the server says of its state."""

    head: bytes
    state: str


def ask(address: Address, count: int = 16384) -> Beginning:
    """Fetch the first bytes of a file by https.

    Raises
    ------
    SceneError
        No answer in time, an error status, or a server that sends no ranges.
    """
    headers = {"Range": f"bytes=0-{count - 1}", "Accept-Encoding": "identity"}
    timeouts = (CONNECT_SECONDS, READ_SECONDS)
    try:
        with requests.get(address.url, headers=headers, timeout=timeouts, stream=True) as answer:
            status, said = answer.status_code, answer.headers
            if status >= 400:
                raise SceneError(
                    f"{address} cannot be opened: the server answers {status} {answer.reason}",
                    hint="check the address, and whether it is open to everyone",
                )
            size = int(said.get("Content-Length") or count)
            if status != 206 and size > count:
                raise SceneError(
                    f"{address}: its server sends whole files and no ranges of them",
                    hint="download the file, and give its path",
                )
            head = answer.raw.read(count)
    except (requests.RequestException, OSError) as problem:
        reason = "no answer in time" if isinstance(problem, requests.Timeout) else "no connection"
        raise SceneError(
            f"{address} cannot be opened ({reason})", hint="check the address and the network"
        ) from None
    known = [said.get(name, "") for name in ("ETag", "Last-Modified", "Content-Range")]
    return Beginning(head, " ".join(known))
