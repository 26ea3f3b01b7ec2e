"""What computes: how many threads, and whether there is a GPU, without loading torch for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

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
