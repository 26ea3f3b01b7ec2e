"""The files that a run reads, so that nothing is written over them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperpeft import scenes
from hyperpeft.errors import InputError
from hyperpeft.models import file_of
from hyperpeft.records import Scene
from hyperpeft.runs.file_names import MAP, OUTPUTS
from hyperpeft.splits import split_kind

_PATHS = ("scene", "labels", "split", "backbone", "out")  # options that may name a file


def located(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of a run: scene, labels and checkpoint by the paths that lead there.

    Relative paths are as they are where that is something, else from where the run was started if
    its folder lies there as `out` says; else as they are.
    """
    found, out = dict(config), Path(str(config.get("out") or ""))
    start = Path(*folder.resolve().parts[: -len(out.parts) or None])
    if out.is_absolute() or start / out != folder.resolve():
        return found
    for name in ("scene", "labels"):
        spec = config.get(name)
        if spec is None or _is_there(spec):
            continue
        tiles = ",".join(str(start / part.strip()) for part in spec.split(","))
        found[name] = next((s for s in (str(start / spec), tiles) if _is_there(s)), spec)
    backbone = config.get("backbone")
    if isinstance(backbone, str) and Path(backbone).suffix and file_of(backbone) is None:
        found["backbone"] = str(start / backbone) if (start / backbone).is_file() else backbone
    return found


def _is_there(spec: str) -> bool:
    """Whether a scene's or labels' path, pattern or list of tiles names something, whole."""
    try:
        return scenes.exists(spec)
    except InputError:  # a pattern that nothing fits, or a tile that is missing
        return False


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


def inputs_of_scene(scene: Scene) -> Iterator[tuple[str, Path]]:
    """The files that a scene and its labels were opened from."""
    for what, spec in zip(("the scene", "the labels"), scene.sources, strict=False):
        yield from ((what, path) for path in scenes.files_of(spec))


def files_of_run(folder: Path) -> Iterator[tuple[str, Path]]:
    """What a run folder needs in order to be used again, as inputs; its map is made from it.

    An exported model is one file.
    """
    if folder.is_file():
        yield "the exported model", folder
        return
    yield from (("the run's", folder / name) for name in OUTPUTS if not name.startswith(MAP))


def inputs_of_run(
    folder: Path, config: Mapping[str, Any], **given: str | None
) -> list[tuple[str, Path]]:
    """What using a run again reads: the run itself, what its record names, what the user gives.

    Parameters
    ----------
    folder : Path
        Of the run.
    config : mapping
        Of its record.
    **given : str or None
        A scene or a backbone in place of the record's.
    """
    return [*inputs_of(given), *inputs_of(located(config, folder)), *files_of_run(folder)]


def without_folders(text: str, values: Mapping[str, Any]) -> str:
    """A JSON text without the folders that the files of a record's options lie in.

    Where a user keeps files is nobody else's business. Strings are changed and keys are not.

    Parameters
    ----------
    text : str
    values : mapping
        The record, as JSON has it.

    Examples
    --------
    >>> record = {"config": {"out": "rt/sa"}, "backbone": {"name": "tiny"}}
    >>> without_folders('{"parts": "rt/sa, of dirt/sa", "in": "rt"}', record).split()
    ['{', '"parts":', '"sa,', 'of', 'dirt/sa",', '"in":', '"."', '}']
    """
    named = [values["config"].get(name) for name in _PATHS] + [values["backbone"].get("name")]
    parts = [part for spec in named if isinstance(spec, str) for part in spec.split(",")]
    folders = sorted({str(Path(part).parent) for part in parts} - {".", "/", ""}, key=len)

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner) for inner in value]
        if not isinstance(value, str):
            return value
        for folder in reversed(folders):
            value = "." if value == folder else value
            value = re.sub(rf"(?<![\w./-]){re.escape(folder)}/", "", value)
            if "/" in folder:  # a word of one part may be any word
                value = re.sub(rf"(?<![\w./-]){re.escape(folder)}(?![\w./-])", ".", value)
        return value

    return json.dumps(changed(json.loads(text)), indent=1) + "\n"
