"""What a long task reports while it works: named callbacks that do nothing by default."""

from __future__ import annotations


class Progress:
    """Progress callbacks of a run; these do nothing."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def trained(self, done: int, total: int, loss: float, validation_oa: float | None) -> None:
        """A step of training was taken."""

    def mapped(self, done: int, total: int) -> None:
        """Pixels were classified."""
