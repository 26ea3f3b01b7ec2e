"""Long work in a process of its own: progress, a result, and an end that can be asked for.

What is done there stands in `work`, which the process imports: the page needs no torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from hyperpeft.errors import HyperpeftError, Interrupted
from hyperpeft.progress import Progress
from hyperpeft.system.lazy_names import named_object

STARTING = "Starting"
_PATIENCE = 30.0  # seconds from asking a process to stop to ending it
_EVERY = 0.1  # seconds between two reports of progress


class PipeProgress(Progress):
    """Sends progress to the process that watches; `send` takes anything else."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._last = pipe, 0.0

    def send(self, kind: str, value: Any) -> None:
        """Send a message, whole; lost where nobody listens any more."""
        with suppress(OSError):
            self._pipe.send((kind, value))

    def stage(self, text: str) -> None:
        """A new stage."""
        self.send("stage", text)

    def note(self, text: str) -> None:
        """A note."""
        self.send("note", text)

    def trained(self, done: int, total: int, loss: float, validation_oa: float | None) -> None:
        """A step, with the loss."""
        status = f"loss {loss:.3f}"
        if validation_oa is not None:
            status += f", validation OA {validation_oa:.1f} %"
        self._moved(done, total, status)

    def mapped(self, done: int, total: int) -> None:
        """Pixels done."""
        self._moved(done, total, f"{done:,} of {total:,} pixels")

    def _moved(self, done: int, total: int, status: str) -> None:
        now = time.monotonic()
        if done < total and now - self._last < _EVERY:
            return
        self._last = now
        self.send("moved", (done, total, status))


class Job:
    """A function in a process of its own.

    Parameters
    ----------
    title : str
    function : str
        MODULE:FUNCTION, called with a PipeProgress and the arguments, in a fresh process.
    *arguments
        Plain values, paths, scenes: what pickle sends.

    Attributes
    ----------
    state : {"running", "done", "failed", "cancelled"}
    stage, status : str
        What it is doing, and how far it is.
    share : float or None
        Part that is done of the stage, 0 to 1; None where nobody knows.
    notes : list of str
    result : object
        What the function returned.
    error : str
        The one sentence of an error of the user's; of a defect, its last line.
    trace : str
        Of a defect.
    """

    def __init__(self, title: str, function: str, *arguments: Any) -> None:
        self.title, self.state, self.stage, self.status = title, "running", STARTING, ""
        self.share: float | None = None
        self.notes: list[str] = []
        self.result: Any = None
        self.error = self.trace = ""
        self.other: list[tuple[str, Any]] = []
        self._asked: float | None = None
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(theirs, function, arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state == "running"

    def has_ended(self) -> bool:
        """Whether it is not running any more."""
        return self.state != "running"

    def poll(self) -> bool:
        """Take what the process has sent; whether anything has changed."""
        changed = False
        try:
            while self.running and self._pipe.poll():
                self._take(*self._pipe.recv())
                changed = True
        except (EOFError, OSError):
            self._ended()
            changed = True
        if self.running and self._asked and time.monotonic() - self._asked > _PATIENCE:
            self._process.kill()
        if not self.running:
            self._process.join(timeout=5)
        return changed

    def cancel(self) -> None:
        """Ask the process to stop; training saves its state first."""
        if self.running and self._process.pid is not None:
            self.stage, self._asked = "Stopping", self._asked or time.monotonic()
            if hasattr(signal, "CTRL_C_EVENT"):  # Windows has no SIGINT for one process
                self._process.terminate()
            else:
                os.kill(self._process.pid, signal.SIGINT)

    def wait(self, seconds: float) -> str:
        """Wait for the end; the state."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            self._pipe.poll(0.1)
            self.poll()
        return self.state

    def close(self) -> None:
        """End the process without waiting for its state."""
        if self.running:
            self._process.kill()
            self._process.join(timeout=5)
            self.state = "cancelled"

    def _take(self, kind: str, value: Any) -> None:
        if kind == "stage":
            self.stage = value if self._asked is None else self.stage
            self.share, self.status = None, ""
        elif kind == "note":
            self.notes.append(value)
        elif kind == "moved":
            done, total, self.status = value
            self.share = done / total if total else None
        elif kind == "done":
            self.state, self.result = "done", value
        elif kind in ("failed", "cancelled"):
            self.state, (self.error, self.trace) = kind, value
        else:
            self.other.append((kind, value))

    def _ended(self) -> None:
        """The process is gone without a word: killed, for want of memory or by the user."""
        self._process.join(timeout=5)
        if self._asked is not None:
            self.state = "cancelled"
            return
        self.state = "failed"
        self.error = f"the process ended (status {self._process.exitcode}); memory may be short"


def _work(pipe: Connection, function: str, arguments: tuple[Any, ...]) -> None:
    """In the process: call the function and send what comes of it."""
    progress = PipeProgress(pipe)
    try:
        result = named_object(function)(progress, *arguments)
    except (Interrupted, KeyboardInterrupt) as stop:
        progress.send("cancelled", (str(stop), ""))
    except HyperpeftError as error:
        progress.send("failed", (str(error), ""))
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        progress.send("failed", (what, traceback.format_exc()))
    except MemoryError:
        progress.send("failed", ("there is not enough memory", ""))
    except Exception as error:
        line = " ".join(str(error).split())[:300] or type(error).__name__
        progress.send("failed", (f"a defect: {line}", traceback.format_exc()))
    else:
        progress.send("done", result)
    finally:
        pipe.close()


REGION = "region"
_LARGEST_REGION = 2**18  # pixels that are mapped before the rest


@dataclass(frozen=True)
class Region:
    """A part of the scene: rows top to bottom, columns left to right, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def inside(self) -> tuple[slice, slice]:
        """As slices of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.bottom - self.top, self.right - self.left

    def limited(self) -> Region:
        """Its middle, where it is too large to be mapped before the rest."""
        height, width = self.shape
        side = int(_LARGEST_REGION**0.5)
        h, w = min(height, side), min(width, side)
        top, left = self.top + (height - h) // 2, self.left + (width - w) // 2
        return Region(top, left, top + h, left + w)


@dataclass(frozen=True)
class MappedRegion:
    """Class ids of a region, and the margin between the two best probabilities, NaN outside."""

    region: Region
    ids: np.ndarray
    margin: np.ndarray
