"""The records below a folder, each with its place in the grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.runs import record_types
from hyperpeft.splits import budget_label, split_kind
from hyperpeft.system.files import read_json

BENCH, RUN, FAILED = "bench.json", "run.json", "failed.json"


class Setting(NamedTuple):
    """What is compared with each other: a way to split and a budget of labels."""

    split: str
    budget: str

    @property
    def words(self) -> str:
        """For titles."""
        return f"{self.split} split, {self.budget.replace('-', ' ')}"

    @property
    def slug(self) -> str:
        """For file names."""
        return f"{self.split}-{self.budget}"


@dataclass(frozen=True)
class Entry:
    """A finished run.

    Attributes
    ----------
    scene, split, budget, method : str
    seed : int
    path : str
        Of its folder below the one reported on, with slashes.
    record : dict
        What run.json holds.
    """

    scene: str
    split: str
    budget: str
    method: str
    seed: int
    path: str
    record: dict[str, Any]

    @property
    def setting(self) -> Setting:
        """Split and budget."""
        return Setting(self.split, self.budget)

    def metric(self, name: str) -> float | None:
        """OA, AA or kappa."""
        return self._number("metrics", name, self.record["metrics"].get(name))

    @property
    def accuracies(self) -> dict[str, float | None]:
        """Accuracy of each class, by its id."""
        return self.record["metrics"].get("per_class") or {}

    def number(self, section: str, name: str) -> float | None:
        """A number of another section; None where the record has none."""
        return self._number(section, name, (self.record.get(section) or {}).get(name))

    @property
    def leakage(self) -> float | None:
        """Share of the test windows that hold a training pixel."""
        leak = self.record["split"].get("leakage") or {}
        name = "test_windows_touching_train"
        return self._number("split", name, leak.get(name))

    def _number(self, section: str, name: str, value: object) -> float | None:
        if value is None:
            return None
        if not isinstance(value, int | float):
            raise BundleError(
                f"{self.path}/{RUN}: {section}.{name}", expected="a number", got=repr(value)
            )
        return float(value)

    @property
    def split_hash(self) -> str | None:
        """Equal where two runs have the very same training and test pixels."""
        found = self.record["split"].get("sha256")
        return None if found is None else str(found)


class Failure(NamedTuple):
    """A cell that failed, or was asked for and is not there (reason "")."""

    path: str
    reason: str


@dataclass(frozen=True)
class Results:
    """Everything that a report is made of; scenes, methods and settings in their order."""

    name: str
    about: str
    folder: Path
    entries: list[Entry]
    failures: list[Failure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reference: str = ""

    @property
    def scenes(self) -> list[str]:
        """Labels of scenes."""
        return list(dict.fromkeys(entry.scene for entry in self.entries))

    @property
    def methods(self) -> list[str]:
        """Labels of methods."""
        return list(dict.fromkeys(entry.method for entry in self.entries))

    @property
    def settings(self) -> list[Setting]:
        """Splits and budgets."""
        return list(dict.fromkeys(entry.setting for entry in self.entries))

    def select(self, **where: Any) -> list[Entry]:
        """Entries with these coordinates, such as `scene="a"` or `setting=...`."""
        return [e for e in self.entries if all(getattr(e, k) == v for k, v in where.items())]


def collect(folder: Path, reference: str | None = None) -> Results:
    """Read a benchmark's folder, or any folder with run folders below it.

    Raises
    ------
    ConfigError
        There is no record, or the reference is no method of theirs.
    BundleError
        A record is damaged.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", hint="give the --out of a benchmark")
    plan = _read(folder / BENCH) if (folder / BENCH).is_file() else {}
    config = plan.get("config", {})
    entries, failures = [], []
    for path in _records(folder, planned=bool(plan)):
        if path.name == RUN:
            entries.append(_entry(folder, path))
        else:
            reason = str(_read(path).get("reason", ""))
            failures.append(Failure(path.parent.relative_to(folder).as_posix(), reason))
    if not entries and not failures:
        raise ConfigError(
            f"{folder} holds no record", hint="run `hyperpeft bench` or `hyperpeft train` first"
        )
    found = {entry.path for entry in entries} | {failure.path for failure in failures}
    order = [
        _by(config.get("scenes")), _by(config.get("methods")),
        _by(config.get("splits")), _by(config.get("budgets")),
    ]  # fmt: skip
    entries.sort(
        key=lambda e: (
            order[0](e.scene), order[2](e.split), order[3](e.budget), order[1](e.method), e.seed,
        )
    )  # fmt: skip
    methods = sorted({entry.method for entry in entries}, key=order[1])
    chosen = reference or config.get("reference") or (methods[0] if methods else "")
    if reference and reference not in methods:
        raise ConfigError(
            f"--reference {reference}", expected=f"one of {', '.join(methods)}", got=reference
        )
    return Results(
        name=str(config.get("name", folder.resolve().name)),
        about=str(config.get("about", "")),
        folder=folder,
        entries=entries,
        failures=failures,
        missing=[path for path in plan.get("cells", []) if path not in found],
        reference=str(chosen),
    )


def _records(folder: Path, *, planned: bool) -> Iterator[Path]:
    """Records of finished and failed runs, by name; not those of cells still computed."""
    top = folder / "cells" if planned else folder
    for path in sorted(top.rglob("*.json")):
        if path.name in (RUN, FAILED) and "work" not in path.relative_to(folder).parts[:1]:
            yield path


def _read(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise BundleError(f"{path} is not a record", expected="an object", got=type(values))
    return values


def _entry(folder: Path, path: Path) -> Entry:
    record = _read(path)
    for section in ("config", "scene", "split", "adapter", "metrics", "timing", "environment"):
        if not isinstance(record.get(section), dict):
            raise BundleError(f"{path} is not a run record: it lacks {section}")
    wrong = record_types.problems(record)
    if wrong:
        raise BundleError(f"{path} is not a run record: {'; '.join(wrong)}")
    place = path.parent.relative_to(folder).as_posix()
    parts = place.split("/")
    if len(parts) == 6 and parts[0] == "cells" and parts[5].startswith("seed-"):
        _, scene, split, budget, method, seed = parts
        return Entry(scene, split, budget, method, int(seed.removeprefix("seed-")), place, record)
    config = record["config"]
    return Entry(
        str(record["scene"].get("name", "scene")),
        _kind(config),
        _budget(config),
        str(record["adapter"].get("method", config.get("method"))),
        int(config.get("seed") or 0),
        place,
        record,
    )


def _kind(config: dict[str, Any]) -> str:
    kind = split_kind(config.get("split"))
    return kind.name if kind.named else "given"


def _budget(config: dict[str, Any]) -> str:
    return budget_label(config.get("split"), config.get("per_class"), config.get("fraction"))


def _by(labels: Iterable[str] | None) -> Callable[[str], tuple[int, list[Any]]]:
    """Order labels as the configuration has them; others behind, numbers within by value."""
    places = {label: i for i, label in enumerate(labels or ())}

    def key(label: str) -> tuple[int, list[Any]]:
        digits = "".join(c if c in "0123456789" or c == "." else " " for c in label).split()
        numbers = [float(d) for d in digits if d.strip(".") and d.count(".") < 2]
        return places.get(label, len(places)), [numbers, label]

    return key
