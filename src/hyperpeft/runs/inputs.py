"""The files that a run reads, so that nothing is written over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperpeft import scenes
from hyperpeft.models import file_of
from hyperpeft.splits import split_kind


def located(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of a run, its scene and labels by the paths that lead to them from here.

    Relative paths are as they are where that is something, else from where the run was started if
    its folder lies there as `out` says; else as they are.
    """
    found, out = dict(config), Path(str(config.get("out") or ""))
    start = Path(*folder.resolve().parts[: -len(out.parts) or None])
    if out.is_absolute() or start / out != folder.resolve():
        return found
    for name in ("scene", "labels"):
        spec = config.get(name)
        if spec is not None and not scenes.exists(spec) and scenes.exists(str(start / spec)):
            found[name] = str(start / spec)
    return found


def inputs_of(config: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """What a configuration names, and the files of it that are there.

    Parameters
    ----------
    config : mapping
        Options of a RunConfig, or those in the record of a run, which may lack some.
    """
    given = {name: value for name, value in config.items() if isinstance(value, str)}
    for name in ("scene", "labels"):
        if name in given:
            yield from ((f"the {name}", path) for path in scenes.files_of(given[name]))
    split = given.get("split", "official")
    if not split_kind(split).named:
        parts = [split] if Path(split).is_file() else split.split(",")
        yield from (("the split", path) for part in parts for path in scenes.files_of(part.strip()))
    backbone = file_of(given["backbone"]) if "backbone" in given else None
    if backbone is not None:
        yield "the backbone", backbone
