"""docs/bad-input.md: a table of the cases with the message that each ends with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "bad-input.md"
HEAD = """# Bad input, and what hyperpeft says

{count} cases, written by `python -m tests.corpus`; the tests play each of them through the
command line. Every one ends with exit status 2 and the one message shown, on stderr, without a
traceback, and leaves no file behind but, on a full disk, whole ones that the same command resumes
from. `.` is the folder of the case, `HOME` that of good files.
"""


def row(message: str) -> str:
    """A message as it stands in a cell of the table."""
    return " ".join(message.split()).replace("|", "\\|").replace("`", "'")


def ours(message: str) -> str:
    """A message without the reason that another library gives, which changes with its version."""
    return re.sub(r"(cannot be \w+[^(;]*|is not [^(;]*)\(.*\)", r"\1(...)", message)


def text(messages: Mapping[str, str]) -> str:
    """The document, from a message for each title."""
    lines, before = [HEAD.format(count=len(messages))], ""
    for title, message in messages.items():
        heading, _, name = title.partition(": ")
        if heading != before:
            lines.append(f"\n## {heading}\n\n| case | message | status |\n|---|---|---|\n")
            before = heading
        lines.append(f"| {name} | `{row(message)}` | 2 |\n")
    return "".join(lines)


def read(path: Path) -> dict[str, str]:
    """The message of each title."""
    found, heading = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.endswith(" | 2 |"):
            name, _, message = line.removeprefix("| ").removesuffix(" | 2 |").partition(" | ")
            found[f"{heading}: {name}"] = message.strip("`")
    return found
