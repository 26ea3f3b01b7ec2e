"""Regions of interest as ENVI writes them to text: the form of Houston 2013's official samples.

; ENVI Output of ROIs (4.8)
; File Dimension: 1905 x 349          columns x rows
; ROI name: grass_healthy
; ROI npts: 1053
;    ID     X    Y                    column and row, from 1; the regions follow each other
      1   784   12
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.maps import LabelMap
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.system.memory import require_memory

_MOST = 2**28  # pixels, of which each takes 4 bytes
_MAGIC = b"; ENVI Output of ROIs"


def is_rois(probe: Probe) -> bool:
    """Whether a file begins as ENVI's regions of interest do."""
    return probe.head.startswith(_MAGIC)


def read_rois(probe: Probe, key: Any = None) -> LabelMap:
    """Class ids (H, W) and names: region number k, counted from 1, is class k.

    Raises
    ------
    LabelsError
        The header or the points are incomplete, or a point lies outside the image.
    """
    path = probe.path
    text = path.read_text(encoding="latin-1")
    size = re.search(r"(?m)^; File Dimension:\s*(\d{1,9})\s*x\s*(\d{1,9})\s*$", text)
    lines = text.splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("; ROI name:")]
    counts = [int(n) for n in re.findall(r"(?m)^; ROI npts:\s*(\d{1,9})\s*$", text)]
    if size is None or not counts or len(names) != len(counts):
        raise LabelsError(f"{path} has no complete header of ENVI regions of interest")
    width, height = int(size[1]), int(size[2])
    if width * height > _MOST:
        raise LabelsError(
            f"{path}: File Dimension",
            expected=f"at most {_MOST:,} pixels",
            got=f"{width} x {height}",
            hint="its header is damaged, or the regions have to be cut to a smaller image",
        )
    rows = [line.split() for line in lines if line.strip() and line[0] != ";"]
    try:
        points = np.array([(int(row[2]), int(row[1])) for row in rows], np.int64)
        points = points.reshape(-1, 2) - 1
    except (ValueError, IndexError, OverflowError):
        raise LabelsError(f"{path}", expected="lines of ID, X, Y behind the header") from None
    if len(points) != sum(counts):
        raise LabelsError(f"{path}", expected=f"{sum(counts)} points", got=len(points))
    require_memory(
        f"{path}: an image of {height} x {width} pixels", 4 * height * width, error=LabelsError
    )
    if ((points < 0) | (points >= (height, width))).any():
        raise LabelsError(f"{path} has points outside its {height} x {width} pixels")
    ids = np.zeros((height, width), dtype=np.int32)
    ids[points[:, 0], points[:, 1]] = np.repeat(np.arange(1, len(counts) + 1), counts)
    return LabelMap(path, ids, names={k: n for k, n in enumerate(names, start=1) if n})
