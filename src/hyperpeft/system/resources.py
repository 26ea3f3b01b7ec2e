"""The process and its machine: threads, a GPU, memory, GDAL without the internet, Ctrl-C.

GDAL opens descriptions of data that lie elsewhere. Those of map services and of files on servers
would let an untrusted file contact a server.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Event
from types import FrameType

from hyperpeft.errors import ConfigError, HyperpeftError

_DRIVER = Path("/dev/nvidiactl")  # there where the driver of an NVIDIA GPU is loaded
_chosen: int | None = None


def processor_count() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux: what a container may use
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def thread_count() -> int:
    """As many as torch uses where it is loaded, or as was set; else OMP_NUM_THREADS.

    Without any of these, a thread for each processor that this process may use.
    """
    count = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if count is not None:
        return int(count())
    if _chosen is not None:
        return _chosen
    named = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if named.isdecimal() and int(named) > 0:
        return int(named)
    return processor_count()


def set_thread_count(count: int) -> None:
    """Set the number of threads of this process, torch's too where it is loaded."""
    global _chosen
    _chosen = count
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def has_gpu() -> bool:
    """Whether torch could use a GPU, as far as can be told without loading it."""
    torch = sys.modules.get("torch")
    return _DRIVER.exists() if torch is None else bool(torch.cuda.is_available())


_CGROUPS = (  # of a container, version 2 and 1: folder, limit, use
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available() -> int:
    """Bytes that this process can still take without swapping: the machine's, or a container's."""
    import psutil  # not needed to show the help

    free = int(psutil.virtual_memory().available)
    for folder, limit, used in _CGROUPS:
        try:
            most, taken = (int((Path(folder) / name).read_text()) for name in (limit, used))
            lines = (Path(folder) / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
        # Cached files are given back when memory is short.
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        free = min(free, most - taken + cached)
    return max(free, 0)


def require_memory(
    what: str, size: float, *, hint: str | None = None, error: type[HyperpeftError] = ConfigError
) -> None:
    """Refuse what needs more than is available.

    Parameters
    ----------
    what : str
        Begins the message.
    size : float
        Estimate in bytes.
    hint : str, optional
        What the user can do.
    error : type
        Of what is raised.
    """
    free = available()
    if size > free:
        raise error(
            f"{what} needs about {format_bytes(size)} of memory",
            expected=f"at most the {format_bytes(free)} of memory that are free here",
            hint=hint,
        )


def format_bytes(size: float) -> str:
    """Bytes for people.

    >>> format_bytes(3.2 * 2**30), format_bytes(2**20)
    ('3.2 GiB', '1.0 MiB')
    """
    for unit in ("MiB", "GiB", "TiB"):
        size /= 1024 if unit != "MiB" else 2**20
        if size < 1024 or unit == "TiB":
            break
    return f"{size:,.1f} {unit}"


_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
_KEPT, _MAPPED = 2**28, 2**25  # bytes; glibc takes no more than the second for what is mapped
_OF_DASK = "65536"  # bytes to keep that dask starts its workers with, whatever they compute


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep 256 MB of what is freed, instead of returning it after every operation.

    By default a tensor of some megabytes is mapped when it is made and unmapped when it is gone,
    and the system clears each of its pages again: of a map of 21,025 pixels on a virtual machine
    that was a third of the processor time. Where `MALLOC_TRIM_THRESHOLD_` is set to another value
    than dask's, and where the allocator is another one, nothing is changed.

    Returns
    -------
    bool
        Whether it was set.
    """
    chosen = os.environ.get("MALLOC_TRIM_THRESHOLD_", _OF_DASK) != _OF_DASK
    if not sys.platform.startswith("linux") or chosen:
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return bool(set_option(_TRIM, _KEPT)) and bool(set_option(_MAP, _MAPPED))


# Drivers of rasters and vectors that ask a server.
REMOTE = (
    "AmigoCloud", "CARTO", "CSW", "DAAS", "EEDA", "EEDAI", "ESRIC", "Elasticsearch", "GMLAS", "GTI",
    "HTTP", "MRF", "NGW", "OAPIF", "OGCAPI", "PLMOSAIC", "PLScenes", "STACIT", "STACTA", "WCS",
    "WFS", "WMS", "WMTS",
)  # fmt: skip
# What runs pipelines or programs that a file names, or loads libraries.
_RUNNING = ("ADBC", "GDALG", "GPSBabel")
# A variable that the user has set stays as it is.
_SETTINGS = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # no file on a server exists
    "GDAL_SKIP": " ".join((*REMOTE, *_RUNNING)),
    "OGR_SKIP": ",".join((*REMOTE, *_RUNNING)),
    "GML_DOWNLOAD_SCHEMA": "NO",
    # For each driver that a build of GDAL does not have it writes a line to stderr, some twice.
    "CPL_LOG": os.devnull,
}


def stay_offline() -> None:
    """Set GDAL's variables; they count when it is loaded."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


__all__ = ["Event", "interruptible"]


@contextmanager
def interruptible() -> Iterator[Event]:
    """An event that the first SIGINT or SIGTERM sets; the second ends the process as usual."""
    event = Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # only the main thread may handle signals
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
