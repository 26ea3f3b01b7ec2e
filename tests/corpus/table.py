"""The table of cases: what is wrong, what is typed, and the words that the message must hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
        The heading it stands under in docs/bad-input.md.
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
