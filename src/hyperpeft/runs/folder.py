"""The folder of a run: what may be written into it, and what is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from hyperpeft import splits
from hyperpeft.errors import ConfigError
from hyperpeft.mapping import ClassMap
from hyperpeft.mapping.outputs.class_areas import ClassAreas
from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.records import Scene, Split
from hyperpeft.runs.config import RunConfig, set_by_labels
from hyperpeft.runs.file_names import (
    CONFUSION,
    HISTORY,
    MAP,
    MODEL,
    OUTPUTS,
    PICTURE,
    REDUCER,
    REFINEMENT,
    RUN,
    SPLIT,
)
from hyperpeft.runs.inputs import inputs_of, inputs_of_scene
from hyperpeft.runs.methods.baseline_files import part_files
from hyperpeft.runs.methods.contract import Trained
from hyperpeft.runs.record import RunRecord
from hyperpeft.system.files import replacing, sha256_of
from hyperpeft.system.output_folder import LOCK, output_folder
from hyperpeft.training.checkpoint import CHECKPOINT, write_history
from hyperpeft.training.precision import processes

# Options that a run may choose itself; its record holds what it chose.
OPEN = ("patch_size", "image_size", "lr", "refine")


def run_folder(
    config: RunConfig,
    resume: bool,
    overwrite: bool,
    data: tuple[Scene, Split] | None = None,
) -> AbstractContextManager[None]:
    """The run folder, checked, and locked against other processes.

    Parameters
    ----------
    config : RunConfig
    resume, overwrite : bool
        See `experiment.run`.
    data : (Scene, Split), optional
        Of a run that has been trained already: its configuration may not name them.

    Raises
    ------
    ConfigError
        It holds something else.
    InUse
        Another process is at work in it.
    """
    out = config.out
    return output_folder(
        out,
        f"run folder {out}",
        outputs=[out / name for name in OUTPUTS],
        inputs=chain(inputs_of(config.model_dump()), inputs_of_scene(data[0]) if data else ()),
        check=lambda cut_off: _check(config, resume, overwrite, cut_off, data),
        first=processes().is_main_process,
    )


def _check(
    config: RunConfig,
    resume: bool,
    overwrite: bool,
    cut_off: bool,
    data: tuple[Scene, Split] | None,
) -> None:
    """Make sure that nothing of another run is lost or mixed with this one."""
    out, checkpoint = config.out, (config.out / CHECKPOINT).is_file()
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other", hint="give one")
    if resume and not checkpoint:
        raise ConfigError(f"--resume: {out} holds no checkpoint", hint="run without --resume")
    if (out / RUN).is_file():
        if not overwrite and not _same_run(config, RunRecord.from_file(out / RUN), data):
            raise ConfigError(
                f"{out} holds another run", hint="choose another --out, or add --overwrite"
            )
    elif out.exists() and not (checkpoint or cut_off or _is_empty(out)):
        raise ConfigError(
            f"{out} exists and is not a run folder", hint="choose another --out, or empty it"
        )


def _is_empty(out: Path) -> bool:
    return out.is_dir() and {path.name for path in out.iterdir()} <= {LOCK}


def _same_run(config: RunConfig, record: RunRecord, data: tuple[Scene, Split] | None) -> bool:
    """Whether a record's configuration is this one, and its data where they are known.

    Whatever the path that named the folder, and whatever was chosen where this one leaves it open.
    """
    if data is not None:
        hashes = data[0].sha256 or None, splits.digest(data[1])
        if (record.scene.get("sha256"), record.split.get("sha256")) != hashes:
            return False
    found = record.config
    options = config.model_dump(mode="json")
    left_open = [n for n in OPEN if options[n] in (None, "auto")]
    either = {"out": None, **{n: options[n] for n in (*left_open, *set_by_labels(config, found))}}
    return {**found, **either} == {**options, **either}


def clear(out: Path) -> None:
    """Remove what an earlier run has written, and nothing else."""
    if processes().is_main_process:
        for name in OUTPUTS:
            path = out / name
            # Of a link the link goes, and not what it points to.
            folder = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if folder else path.unlink(missing_ok=True)
    processes().wait_for_everyone()


def write(
    config: RunConfig,
    record: RunRecord,
    trained: Trained,
    split: Split,
    scene: Scene,
    mapped: ClassMap,
) -> RunRecord:
    """Write the run folder; run.json last, because it says "finished".

    Gives the record as it was written: with a note on each picture that could not be drawn.
    """
    from hyperpeft.runs import figures  # matplotlib takes half a second to load

    out, labels = config.out, scene.labels
    assert labels is not None
    notes = list(record.notes)
    (out / MODEL).unlink(missing_ok=True)  # exported from an earlier run of the same configuration
    adapter = {**record.adapter, "bytes": trained.save(out)}
    if trained.refinement is not None:
        trained.refinement.reducer.to_file(out / REDUCER)
        trained.refinement.to_file(out / REFINEMENT)
    write_history(out / HISTORY, trained.outcome.history)
    splits.save(split, out / SPLIT)
    areas = None
    if config.map:
        counted = ClassAreas(mapped.ids.shape, scene.crs, scene.transform)
        counted.add(mapped.ids)
        areas = counted.section(labels.classes)
        write_class_map(
            out / MAP,
            mapped.ids,
            labels.classes,
            labels.colours,
            crs=scene.crs,
            transform=scene.transform,
        )
        with _drawn(out / PICTURE, notes):
            figures.save_map(
                out / PICTURE,
                mapped.ids,
                labels.classes,
                labels.colours,
                picture=figures.false_colour(scene),
                truth=labels.ids,
                title=_title(scene, record),
            )
    names = [labels.classes.get(i, str(i)) for i in record.metrics["class_ids"]]
    confusion = np.array(record.metrics["confusion"])
    with _drawn(out / CONFUSION, notes):
        figures.save_confusion(out / CONFUSION, confusion, names)
    files = {name: sha256_of(path) for name, path in part_files(out).items()}
    record = replace(record, adapter=adapter, notes=notes, map=areas, files=files)
    with replacing(out / RUN) as temporary:
        temporary.write_text(record.to_json(), encoding="utf-8")
    shutil.rmtree(out / CHECKPOINT.parent, ignore_errors=True)
    return record


@contextmanager
def _drawn(path: Path, notes: list[str]) -> Iterator[None]:
    """What was learned must not be lost with a picture: why it failed becomes a note.

    A disk that refuses the file is no such reason: it has no space for the record either.
    """
    try:
        yield
    except (ConfigError, OSError):
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        notes.append(f"{path.name} could not be drawn ({why})")


def _title(scene: Scene, record: RunRecord) -> str:
    scores = record.metrics
    if scores["oa"] is None:
        return scene.name
    return f"{scene.name}: {record.adapter['method']}, OA {scores['oa']:.1f} %"
