"""Label maps of MATLAB, NumPy and HDF5 files."""

from __future__ import annotations

from typing import Any

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.maps import LabelMap
from hyperpeft.scenes.readers.arrays import read_array
from hyperpeft.scenes.readers.detect import Probe


def read_array_map(probe: Probe, key: Any = None) -> LabelMap:
    """The one 2-D array, or the one that is named."""
    return LabelMap(probe.path, read_array(probe, key, LabelsError))
