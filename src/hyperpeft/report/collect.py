"""The records of a study, each with its place in the grid."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.metrics import class_scores
from hyperpeft.report.study import Cell, Picture, Study
from hyperpeft.runs.config import FOLLOW_LABELS
from hyperpeft.runs.file_names import RUN
from hyperpeft.runs.record import check_values
from hyperpeft.splits import ALL_LABELLED, budget_label, split_kind


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
    file : Path
        That was read: run.json, or the study file that the record is a line of.
    picture : Picture or None
        The map of the whole scene.
    """

    scene: str
    split: str
    budget: str
    method: str
    seed: int
    path: str
    record: dict[str, Any]
    file: Path
    picture: Picture | None = None

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

    @property
    def class_scores(self) -> dict[str, dict[str, float | None]]:
        """Recall, precision and F1 of each class, by its id; empty without a confusion matrix."""
        metrics = self.record["metrics"]
        ids, confusion = metrics.get("class_ids") or [], metrics.get("confusion")
        if confusion is None:
            return {}
        try:
            counts = np.array(confusion, dtype=np.int64).reshape(len(ids), len(ids))
        except (TypeError, ValueError):
            raise BundleError(
                f"{self.path}/{RUN}: metrics.confusion", expected="a row of counts for each class"
            ) from None
        return {str(i): of_class for i, of_class in zip(ids, class_scores(counts), strict=True)}

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
    """A cell that failed, or was planned and is not there (reason "")."""

    path: str
    reason: str


@dataclass(frozen=True)
class Results:
    """Everything that a report is made of; scenes, methods and settings in their order."""

    name: str
    about: str
    entries: list[Entry]
    failures: list[Failure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reference: str = ""
    notes: list[str] = field(default_factory=list)

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


def collect(study: Study, reference: str | None = None) -> Results:
    """Put the runs of a study in their places and in order.

    Raises
    ------
    ConfigError
        The reference is no method of theirs.
    BundleError
        A record is damaged.
    """
    config = study.plan.get("config", {})
    entries = [_entry(cell) for cell in study.cells if cell.name == RUN]
    failures = [
        Failure(cell.path, str(cell.values.get("reason", "")))
        for cell in study.cells
        if cell.name != RUN
    ]
    entries, notes = _told_apart(entries)
    known = {cell.path for cell in study.cells}
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
        name=study.name,
        about=str(config.get("about", "")),
        entries=entries,
        failures=failures,
        missing=[path for path in study.plan.get("cells", []) if path not in known],
        reference=str(chosen),
        notes=notes,
    )


def _entry(cell: Cell) -> Entry:
    record = cell.values
    where = cell.file if cell.file.name == RUN else f"{cell.file}, {cell.path}/{RUN}"
    for section in ("config", "scene", "split", "adapter", "metrics", "timing", "environment"):
        if not isinstance(record.get(section), dict):
            raise BundleError(f"{where} is not a run record: it lacks {section}")
    check_values(record, where)
    scene, split, budget, method, seed = _from_path(cell.path) or _from_record(record)
    return Entry(scene, split, budget, method, seed, cell.path, record, cell.file, cell.picture)


Place = tuple[str, str, str, str, int]  # scene, split, budget, method, seed


def _from_path(path: str) -> Place | None:
    """The place of a benchmark's cell: its labels are the names of its folders."""
    match path.split("/"):
        case ["cells", scene, split, budget, method, last] if re.fullmatch(r"seed-\d{1,10}", last):
            return scene, split, budget, method, int(last.removeprefix("seed-"))
    return None


def _from_record(record: dict[str, Any]) -> Place:
    """The place of a run of its own, by its configuration."""
    config, split = record["config"], record["split"]
    return (
        str(record["scene"].get("name", "scene")),
        _kind(config, split),
        _budget(config, split),
        str(record["adapter"].get("method", config.get("method"))),
        int(config.get("seed") or 0),
    )


# Options that do not tell two runs of a method apart: they are coordinates of an entry, or do not
# change a score.
_PLACE = ("scene", "seed", "method", "per_class", "fraction", "map", "out")


def _told_apart(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Single runs with labels that tell scenes and configurations apart, each counted once; notes.

    The cells of a benchmark have labels of their own.
    """
    cells = [entry for entry in entries if _from_path(entry.path)]
    runs = [entry for entry in entries if not _from_path(entry.path)]
    notes: list[str] = []
    scenes: dict[str, dict[str, str]] = {}  # name -> hash -> what the first run calls it
    for e in runs:
        scenes.setdefault(e.scene, {}).setdefault(_hash(e), str(e.record["config"].get("scene")))
    for name, found in scenes.items():
        if len(found) > 1:
            which = ", ".join(f"{name}-{key[:8]} ({spec})" for key, spec in found.items())
            notes.append(f"{len(found)} scenes are called {name}: {which}")
    runs = [
        replace(e, scene=f"{e.scene}-{_hash(e)[:8]}") if len(scenes[e.scene]) > 1 else e
        for e in runs
    ]
    options = {e.path: _options(e) for e in runs}
    groups: dict[tuple[str, str, Setting], list[Entry]] = {}
    for e in runs:
        groups.setdefault((e.method, e.scene, e.setting), []).append(e)
    differing: dict[str, dict[str, None]] = {}  # method -> names of options, in their order
    for (method, *_), group in groups.items():
        every = [options[e.path] for e in group]
        for name in dict.fromkeys(name for own in every for name in own):
            if any(own.get(name) != every[0].get(name) for own in every):
                differing.setdefault(method, {})[name] = None
    for method, names in differing.items():
        every = [options[e.path] for e in runs if e.method == method]
        pairs = {(str(own.get("labels")), own["classes"]) for own in every}
        if "labels" in names and len(pairs) == len({spec for spec, _ in pairs}):
            names.pop("classes", None)  # the files that are named tell them apart
    labels: dict[str, str] = {}  # hash -> the first run on them
    for e in runs:
        if "classes" in differing.get(e.method, ()):
            labels.setdefault(options[e.path]["classes"], e.path)
    notes += [f"classes {key} are those of the labels of {path}" for key, path in labels.items()]
    kept: dict[tuple[str, Setting, str, int], Entry] = {}
    for e in runs:
        own = options[e.path]
        words = [f"{name} {_text(own.get(name))}" for name in differing.get(e.method, ())]
        named = replace(e, method=", ".join([e.method, *words]))
        first = kept.setdefault(_place(named), named)
        if first.split_hash != named.split_hash and None not in (first.split_hash, e.split_hash):
            notes.append(f"{e.path} has the options of {first.path}, but not its pixels")
            named = replace(named, method=f"{named.method}, split {str(e.split_hash)[:8]}")
            first = kept.setdefault(_place(named), named)
        if first is not named:
            notes.append(f"{e.path} repeats {first.path} and is not counted")
    return [*cells, *kept.values()], notes


def _place(entry: Entry) -> tuple[str, Setting, str, int]:
    """Where an entry stands in the tables; each place is taken once."""
    return entry.scene, entry.setting, entry.method, entry.seed


def _hash(entry: Entry) -> str:
    """Of the scene's cube; "unknown" where the record has none."""
    return str(entry.record["scene"].get("sha256") or "unknown")


def _options(entry: Entry) -> dict[str, Any]:
    """What the user may have set of a run, without what the run chose by its labels."""
    record = entry.record
    own = {name: value for name, value in record["config"].items() if name not in _PLACE}
    if split_kind(own.get("split")).named:
        own.pop("split", None)
    if record["adapter"].get("windows_tried"):
        own.pop("patch_size", None)
    if record["adapter"].get("free_adaptation"):
        own = {name: value for name, value in own.items() if name not in FOLLOW_LABELS}
    inner = own.pop("options", None)
    own["classes"] = _classes(entry)
    return {**own, **inner} if isinstance(inner, dict) else own


def _classes(entry: Entry) -> str:
    """The classes of a run's labels, as a short hash: ids, names, and pixels where they tell.

    The same file may have other labels later, and labels in memory have no name. Of a random
    split, training and test pixels are all that are labelled.
    """
    scene, split = entry.record["scene"], entry.record["split"]
    whole = entry.split in ("random", ALL_LABELLED.replace(" ", "-"))
    sizes = split.get("per_class") if whole else None
    parts = sizes if isinstance(sizes, dict) else {}
    counts = {i: sum(n for n in of.values() if isinstance(n, int)) for i, of in parts.items()}
    text = json.dumps([scene.get("class_ids"), scene.get("classes"), counts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _kind(config: dict[str, Any], split: dict[str, Any]) -> str:
    """The split by its name; "given" where pixels were read from files."""
    if split.get("kind") == ALL_LABELLED:
        return ALL_LABELLED.replace(" ", "-")
    kind = split_kind(config.get("split"))
    return kind.name if kind.named else "given"


def _budget(config: dict[str, Any], split: dict[str, Any]) -> str:
    """The size that was asked for; the number that trained of all pixels or of those of files."""
    option, trained = config.get("split"), split.get("train")
    drawn = split_kind(option).named and split.get("kind") != ALL_LABELLED
    if drawn or trained is None:
        return budget_label(option, config.get("per_class"), config.get("fraction"))
    return f"{trained}-training-pixels"


def _by(labels: Iterable[str] | None) -> Callable[[str], tuple[int, list[Any]]]:
    """Order labels as the configuration has them; others behind, numbers within by value."""
    places = {label: i for i, label in enumerate(labels or ())}

    def key(label: str) -> tuple[int, list[Any]]:
        digits = "".join(c if c in "0123456789" or c == "." else " " for c in label).split()
        numbers = [float(d) for d in digits if d.strip(".") and d.count(".") < 2]
        return places.get(label, len(places)), [numbers, label]

    return key
