"""A benchmark's configuration, and the cells it stands for.

A cell is one run: a scene, a way to split it, a budget of labels, a method and a seed. Its options
are those of `hyperpeft train`, taken in turn from `common`, the scene, the method, the matching
`overrides` and the command line; the last one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from hyperpeft.baselines import BASELINES
from hyperpeft.benchmark.config import BenchConfig, read_budgets, read_splits
from hyperpeft.errors import ConfigError
from hyperpeft.runs.config import RunConfig, make_config, resolve_defaults
from hyperpeft.runs.config_files import read_config, readable
from hyperpeft.splits import split_kind

SHIPPED = Path(__file__).parent / "configs"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._=-]*")  # labels are names of folders
OF_THE_GRID = {"seed", "out", "split", "per_class", "fraction", "map"}  # options the axes decide


class Cell(NamedTuple):
    """One run of the grid.

    Attributes: its coordinates; `values`, the options as written, of which `out` is the folder
    below the benchmark's: `cells/SCENE/SPLIT/BUDGET/METHOD/seed-N`.
    """

    scene: str
    split: str
    budget: str
    method: str
    seed: int
    values: dict[str, Any]

    @property
    def path(self) -> str:
        """Folder below the benchmark's, with slashes."""
        parts = (self.scene, self.split, self.budget, self.method, f"seed-{self.seed}")
        return "/".join(("cells", *parts))

    @property
    def config(self) -> RunConfig:
        """The options, complete; paths are as written."""
        return complete(self.values)


def read_bench(spec: str | Path, changes: Mapping[str, Any] | None = None) -> BenchConfig:
    """Read a benchmark's configuration.

    Parameters
    ----------
    spec : str or Path
        A YAML file, or the name of a shipped one: `offline`, `offline.yaml`,
        `configs/offline.yaml`.
    changes : mapping, optional
        Keys of the configuration that win over the file's.

    Raises
    ------
    ConfigError
        There is no such file, or what is in it is no benchmark; one line, one cause a clause.
    """
    path = find_config(spec)
    return make_bench({**read_config(path), **(changes or {})}, path)


def make_bench(values: dict[str, Any], source: str | Path = "") -> BenchConfig:
    """A BenchConfig from plain values, every cell of it checked."""
    try:
        bench = BenchConfig(**values)
    except ValidationError as error:
        raise ConfigError(f"benchmark {source}: {readable(error, BenchConfig)}") from None
    expand(bench)
    return bench


def shipped() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find_config(spec: str | Path) -> Path:
    """The file of that path, or the shipped configuration of that name."""
    path = Path(spec)
    if path.is_file():
        return path
    if str(path.parent) in (".", "configs") and path.suffix in ("", ".yaml", ".yml"):
        own = SHIPPED / f"{path.stem if path.suffix else path.name}.yaml"
        if own.is_file():
            return own
    raise ConfigError(
        f"there is no benchmark {str(spec)!r}",
        expected=f"a YAML file, or one of {', '.join(shipped())}",
    )


def expand(
    bench: BenchConfig,
    *,
    scenes: Sequence[str] = (),
    methods: Sequence[str] = (),
    splits: Sequence[str] = (),
    seeds: Sequence[int] = (),
    options: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """The cells of the grid, one seed after the other so that a benchmark that is cut is fair.

    Parameters
    ----------
    bench : BenchConfig
    scenes, methods, splits, seeds : sequences, optional
        Restrict the grid to these.
    options : mapping, optional
        Options of every cell that win over the file's.

    Raises
    ------
    ConfigError
        A label cannot be a folder's name, a restriction or an override names what is not there,
        or a cell's options are wrong; the message names the cell.
    """
    _check_labels(bench, {"scene": scenes, "method": methods, "split": splits})
    cells = []
    for scene, own in bench.scenes.items():
        if scenes and scene not in scenes:
            continue
        axes = _axes(bench, scene)
        own = {k: v for k, v in own.items() if k not in ("splits", "budgets", "seeds")}
        for label, kind in axes["splits"].items():
            if splits and label not in splits:
                continue
            for budget, size in list(axes["budgets"].items())[: 1 if _sized(kind) else None]:
                rows = {}
                for method, theirs in bench.methods.items():
                    where = {"scene": scene, "split": label, "budget": budget, "method": method}
                    values = {"scene": scene, "method": method, **bench.common, **own}
                    brought = _brought_along(str(theirs.get("method", method)))
                    values = {k: v for k, v in values.items() if k not in brought} | theirs
                    for override in bench.overrides:
                        if override.matches(where):
                            values |= override.set
                    rows[method] = {**values, **(options or {})}
                shared = _one_split(kind, rows) if split_kind(kind).spatial else {}
                if not _sized(kind):
                    shared |= size
                if kind != "random":
                    shared["split"] = kind
                for method, values in rows.items():
                    if methods and method not in methods:
                        continue
                    for seed in seeds or axes["seeds"]:
                        mapped = bench.maps == "all" or (
                            bench.maps == "first" and seed == (seeds or axes["seeds"])[0]
                        )
                        cell = Cell(scene, label, budget, method, seed, {})
                        decided = {"seed": seed, "map": mapped, "out": cell.path}
                        cell = cell._replace(values={**values, **shared, **decided})
                        _check(cell, values)
                        cells.append(cell)
    order = {seed: i for i, seed in enumerate(dict.fromkeys(c.seed for c in cells))}
    return sorted(cells, key=lambda cell: order[cell.seed])


def complete(values: Mapping[str, Any]) -> RunConfig:
    """Options with a baseline's own where none are given."""
    return resolve_defaults(make_config(dict(values)))


def _brought_along(method: str) -> frozenset[str]:
    """Options that a baseline has of its paper: those of the scene or of all do not touch them."""
    baseline = BASELINES.get(method)
    return frozenset() if baseline is None else frozenset(baseline.defaults)


def _axes(bench: BenchConfig, scene: str) -> dict[str, Any]:
    """Splits, budgets and seeds of a scene: its own, else the benchmark's."""
    own = bench.scenes[scene]
    try:
        splits = read_splits(own["splits"]) if "splits" in own else bench.splits
        budgets = read_budgets(own["budgets"]) if "budgets" in own else bench.budgets
        seeds = tuple(int(seed) for seed in own.get("seeds", bench.seeds))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"scene {scene}: {error}") from None
    texts = isinstance(splits, dict) and all(
        isinstance(text, str) for pair in splits.items() for text in pair
    )
    if not (texts and splits and isinstance(budgets, dict) and budgets):
        raise ConfigError(f"scene {scene}: splits and budgets are lists, or labels with a value")
    return {"splits": splits, "budgets": budgets, "seeds": seeds}


def _sized(kind: str) -> bool:
    """Whether a split brings its own number of training pixels."""
    return not split_kind(kind).sized


def _one_split(kind: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One spatial split for all methods of a scene, whatever their windows.

    No training pixel is in the window of a test pixel for any method; the blocks of a disjoint
    split are as large as the first method's window.
    """
    configs = [complete(values) for values in rows.values()]
    first, largest = configs[0], max(config.largest_window for config in configs)
    if kind != "disjoint":
        return {"split_window": first.split_window or largest}
    window = first.split_window or first.largest_window
    gap = first.split_gap or max(window, largest // 2 + 1)
    return {"split_window": window, "split_gap": gap}


def _check(cell: Cell, written: Mapping[str, Any]) -> None:
    """The options of a cell, without those that the axes decide."""
    decided = sorted(OF_THE_GRID & written.keys())
    if decided:
        raise ConfigError(
            f"{cell.path}: {', '.join(decided)} cannot be an option of a cell",
            hint="seeds, splits, budgets and maps of the benchmark decide that",
        )
    try:
        make_config(cell.values)
    except ConfigError as error:
        raise ConfigError(f"{cell.path}: {error}") from None


def check_folder_name(what: str, name: str, *, hint: str) -> None:
    """ConfigError where a name of the configuration cannot be that of a folder."""
    if not LABEL.fullmatch(name):
        raise ConfigError(
            f"{what} cannot name a folder", expected="letters, digits and + . _ = -", hint=hint
        )


def _check_labels(bench: BenchConfig, restricted: Mapping[str, Sequence[str]]) -> None:
    axes = [_axes(bench, scene) for scene in bench.scenes]
    labels: dict[str, Iterable[str]] = {
        "scene": bench.scenes,
        "method": bench.methods,
        "split": [label for axis in axes for label in axis["splits"]],
        "budget": [label for axis in axes for label in axis["budgets"]],
    }
    for axis, names in labels.items():
        for name in names:
            what = f"{axis} {name!r} of benchmark {bench.name}"
            check_folder_name(what, name, hint="give it a label, and its value as an option")
    named = list(restricted.items())
    named += [("method", [bench.reference])] if bench.reference else []
    named += [(axis, getattr(o, axis)) for o in bench.overrides for axis in labels]
    for axis, names in named:
        missing = [name for name in names if name not in set(labels[axis])]
        if missing:
            raise ConfigError(
                f"benchmark {bench.name} has no {axis} {missing[0]!r}",
                expected=f"one of {', '.join(dict.fromkeys(labels[axis]))}",
            )
