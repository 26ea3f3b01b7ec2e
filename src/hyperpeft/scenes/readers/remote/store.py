"""Zarr stores on a server, through fsspec: metadata at opening, then the chunks of a window.

The groups and arrays of a store cannot be listed over HTTP: they are taken from its consolidated
metadata, `.zmetadata` of version 2 or those in `zarr.json` of version 3.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.readers.netcdf_zarr import read_store
from hyperpeft.scenes.readers.notes import reading_errors
from hyperpeft.scenes.readers.remote.address import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Address,
    ask,
    fingerprint,
)
from hyperpeft.scenes.readers.stores import holds_pickles, require_package

_METADATA = (".zmetadata", "zarr.json")
_LARGEST = 2**24  # bytes of metadata


def read_remote_store(address: Address, layout: str | None) -> Cube:
    """The cube of a Zarr store on a server.

    Raises
    ------
    SceneError
        There is none, it has no consolidated metadata, or the server does not answer.
    ConfigError
        A package that reads it is not installed.
    """
    for package in ("zarr", "fsspec", "s3fs" if address.is_s3 else "aiohttp"):
        require_package(address, package)  # type: ignore[arg-type]
    with reading_errors(address, "a Zarr store"):  # type: ignore[arg-type]
        metadata = _metadata(address)
        if holds_pickles(metadata):
            raise SceneError(
                f"{address} holds Python objects (pickle), which are not loaded because they can "
                "run code",
                expected="arrays of numbers",
            )
        cube = read_store(Remote(address), address.key, layout)
    return replace(cube, identity=fingerprint(address, metadata))


class Remote:
    """An address as the readers of Zarr stores take it: its text, and options of fsspec."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def __str__(self) -> str:
        return self.address.url

    @property
    def storage_options(self) -> dict[str, Any]:
        """Time-outs, and how a bucket is opened."""
        if not self.address.is_s3:
            aiohttp = require_package(self.address, "aiohttp")  # type: ignore[arg-type]
            limits = aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
            )
            return {"client_kwargs": {"timeout": limits}}
        config = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        anonymous = os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1")
        return {"anon": anonymous, "config_kwargs": config}


def _metadata(address: Address) -> bytes:
    """The consolidated metadata."""
    if not address.is_s3:  # one clear error where the server is wrong
        _ask_any(address)
    fsspec = require_package(address, "fsspec")  # type: ignore[arg-type]
    system, root = fsspec.core.url_to_fs(address.url, **Remote(address).storage_options)
    for name in _METADATA:
        try:
            found: bytes = system.cat_file(f"{root}/{name}", end=_LARGEST)
        except FileNotFoundError:
            continue
        if name == ".zmetadata" or b'"consolidated_metadata"' in found:
            return found
        if b'"array"' in found and re.search(rb'"node_type"\s*:\s*"array"', found):
            return found
    raise SceneError(
        f"{address} has no consolidated metadata",
        expected=" or ".join(_METADATA),
        hint="write them with zarr.consolidate_metadata: a server does not list what is in a store",
    )


def _ask_any(address: Address) -> None:
    problem: SceneError | None = None
    for name in _METADATA:
        try:
            ask(Address(f"{address.url}/{name}"), _LARGEST)
            return
        except SceneError as error:
            if "404" not in str(error) and "403" not in str(error):
                raise
            problem = error
    if problem is not None:
        raise problem
