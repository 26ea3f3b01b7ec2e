"""`python -m tests.helpers.formats_page` makes docs/reference/formats.md from the tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hyperpeft.scenes.labels.table import LABEL_READERS
from hyperpeft.scenes.readers.table import READERS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"
HEAD = """# What is read from which file

The first row that recognises a file reads it; its first bytes decide, not its name, where contents
differ. This page is made from the tables in `scenes/readers/table.py` and `scenes/labels/table.py`.
"""


def page() -> str:
    """The whole page."""
    return f"{HEAD}\n## Scenes\n\n{_table(READERS)}\n## Labels\n\n{_table(LABEL_READERS)}"


def _table(rows: Iterable[Any]) -> str:
    lines = ["| kind | files | what is used |", "|---|---|---|"]
    lines += [f"| {row.kind} | {row.files} | {row.used} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
