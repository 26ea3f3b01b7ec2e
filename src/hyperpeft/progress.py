"""What a long task reports while it works: named callbacks that do nothing by default."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from importlib import import_module
from typing import Any

_PAUSE = 0.2  # seconds between two updates of a bar
_SOON = 0.5  # seconds; what is done by then shows no bar
_NOTES = 12  # shown below a bar
_told: ContextVar[Callable[[str], None] | None] = ContextVar("told", default=None)


class Progress:
    """Progress callbacks of a run; these do nothing."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def trained(self, done: int, total: int, loss: float, validation_oa: float | None) -> None:
        """A step of training was taken."""

    def fitted(self, trained: Any, scene: Any) -> None:
        """Training is done, and `trained.predict` classifies any pixels; the map comes next."""

    def mapped(self, done: int, total: int) -> None:
        """Pixels were classified."""


class NotebookProgress(Progress):
    """A bar below the cell of a notebook, with the notes; it needs no widgets.

    It appears with the first note, or when the task has taken half a second.

    Parameters
    ----------
    display : callable, optional
        As `IPython.display.display`.
    """

    def __init__(self, display: Any = None) -> None:
        self._display = display or import_module("IPython.display").display
        self._handle: Any = None
        self._begun = time.monotonic()
        self._stage, self._done, self._total, self._status = "", 0, 0, ""
        self._notes: list[str] = []
        self._last = self._begun

    def stage(self, text: str) -> None:
        """Name the bar, and start it again."""
        self._stage, self._done, self._total, self._status = text, 0, 0, ""
        self._show()

    def note(self, text: str) -> None:
        """A line below the bar."""
        if text not in self._notes:
            self._notes.append(text)
            self._begun -= _SOON
            self._show(always=True)

    def trained(self, done: int, total: int, loss: float, validation_oa: float | None) -> None:
        """Move the bar, with loss and validation accuracy."""
        oa = "" if validation_oa is None else f", validation OA {validation_oa:.1f} %"
        self._move(done, total, f"loss {loss:.3f}{oa}")

    def mapped(self, done: int, total: int) -> None:
        """Move the bar, with the pixels done."""
        self._move(done, total, f"{done:,} of {total:,} pixels")

    def _move(self, done: int, total: int, status: str) -> None:
        self._done, self._total, self._status = done, total, status
        self._show(always=done >= total)

    def _show(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if now - self._begun < _SOON or not (always or now - self._last >= _PAUSE):
            return
        self._last = now
        if self._handle is None:
            self._handle = self._display(self._bundle(), raw=True, display_id=True)
        else:
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        text = " ".join(part for part in (self._stage, self._status) if part)
        bar = f"<progress max='{self._total}' value='{self._done}'></progress> "
        notes = self._notes[:_NOTES]
        if len(self._notes) > _NOTES:
            notes = [*notes, f"... and {len(self._notes) - _NOTES} more notes"]
        lines = "".join(f"<div><small>{escape(note)}</small></div>" for note in notes)
        html = f"<div>{bar if self._total else ''}{escape(text)}</div>{lines}"
        return {"text/plain": "\n".join([text, *notes]), "text/html": html}


def default_progress() -> Progress:
    """A bar in a notebook, nothing elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return NotebookProgress() if hasattr(shell, "kernel") else Progress()


@contextmanager
def told_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Tell `listener` once of each thing that what runs in the block notices."""
    said: set[str] = set()

    def once(text: str) -> None:
        if text not in said:
            said.add(text)
            listener(text)

    token = _told.set(once)
    try:
        yield
    finally:
        _told.reset(token)


def current_listener() -> Callable[[str], None] | None:
    """Who is to be told, see `told_to`; None where nobody listens."""
    return _told.get()
