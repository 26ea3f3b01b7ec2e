"""The table of cases: what is wrong, what is typed, the words of the message; and its document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.corpus.world import World

Make = Callable[["World"], list[object]]


@dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes
    ----------
    heading : str
        The heading it stands under in docs/reference/bad-input.md.
    name : str
        What is wrong.
    says : tuple of str
        Words of the message.
    make : callable
        Writes what is wrong into the world's folder and gives the arguments of the command.
    leaves : tuple of str
        Patterns of whole files that the same command resumes from, where there are any.
    """

    heading: str
    name: str
    says: tuple[str, ...]
    make: Make
    leaves: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Heading and name: unique."""
        return f"{self.heading}: {self.name}"


CASES: list[Case] = []


def heading(title: str) -> Callable[..., Callable[[Make], Make]]:
    """What registers the cases of one heading: `case("name", "words", "of the message")`."""

    def case(name: str, *says: str, leaves: tuple[str, ...] = ()) -> Callable[[Make], Make]:
        def register(make: Make) -> Make:
            assert says, f"{title}: {name} states no words"
            CASES.append(Case(title, name, says, make, leaves))
            return make

        return register

    return case


DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "bad-input.md"
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
