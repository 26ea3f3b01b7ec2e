"""The process around the work: GDAL without the internet, Ctrl-C between two steps of long work.

GDAL opens descriptions of data that lie elsewhere. Those of map services and of files on servers
would let an untrusted file contact a server.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

# Drivers of rasters and vectors that ask a server.
REMOTE = (
    "AmigoCloud", "CARTO", "CSW", "DAAS", "EEDA", "EEDAI", "ESRIC", "Elasticsearch", "GMLAS", "GTI",
    "HTTP", "MRF", "NGW", "OAPIF", "OGCAPI", "PLMOSAIC", "PLScenes", "STACIT", "STACTA", "WCS",
    "WFS", "WMS", "WMTS",
)  # fmt: skip
# A variable that the user has set stays as it is.
_SETTINGS = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # no file on a server exists
    "GDAL_SKIP": " ".join(REMOTE),
    "OGR_SKIP": ",".join(REMOTE),
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
