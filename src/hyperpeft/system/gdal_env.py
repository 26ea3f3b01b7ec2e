"""GDAL without the internet: a file must not send its reader to a server.

GDAL opens descriptions of data that lie elsewhere. Those of map services and of files on servers
would let an untrusted file contact a server.
"""

from __future__ import annotations

import os

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
