"""The state of an explorer: a scene, its labels, a run, suggestions, a sample to check.

Pages and notebooks show it; all of it works without them. Long work runs as one `Job` at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from hyperpeft.assessment import CheckList, sample_map
from hyperpeft.errors import ConfigError, HyperpeftError, LabelsError
from hyperpeft.explorer import jobs
from hyperpeft.explorer.jobs import Job
from hyperpeft.explorer.label_store import LabelStore, joined, set_of
from hyperpeft.explorer.layers import MapLayer, confidence_path, layer_of_run
from hyperpeft.records import Scene
from hyperpeft.runs.config import RunConfig, make_config
from hyperpeft.runs.config_files import train_command
from hyperpeft.runs.file_names import CHECKPOINTS, MAP, RUN
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import SceneView, open_view
from hyperpeft.system.output_folder import LOCK

RUNS = Path("runs")
WORK = "hyperpeft.explorer.work"
_LONGEST_STEM = 200  # bytes: with what follows it, a file may have 255
TRAIN, CONFIDENCE, SUGGEST, EXAMINE = "Training", "Confidence", "Suggestions", "Examining"


class Explorer:
    """What is known of a scene, and what is being done with it.

    Parameters
    ----------
    scene : str, Path or Scene
        What `open_scene` opens, or a scene in memory.
    labels : str or Path, optional
        A GeoPackage to continue or to make; labels of any other kind are added to the default
        file, NAME.labels.gpkg in `folder`.
    run : str or Path, optional
        A run folder to show.
    folder : Path, optional
        Where files are written; the current one.
    layout : str, optional
        Axes of an array file.

    Raises
    ------
    InputError
        Whatever is wrong with scene, labels or run, as on the command line.
    """

    def __init__(
        self,
        scene: str | Path | Scene,
        *,
        labels: str | Path | None = None,
        run: str | Path | None = None,
        folder: Path | None = None,
        layout: str | None = None,
    ) -> None:
        self.spec = None if isinstance(scene, Scene) else str(scene)
        self.layout = layout
        self.view = SceneView.of(scene) if isinstance(scene, Scene) else open_view(scene, layout)
        self.folder = Path() if folder is None else folder
        self.notes: list[str] = []
        self.lock = RLock()
        self.job: Job | None = None
        self.job_kind = ""
        self.config: RunConfig | None = None
        self.run: Path | None = None
        self.record: RunRecord | None = None
        self.layer: MapLayer | None = None
        self.suggestions: dict[str, Any] | None = None
        self.check: CheckList | None = None
        self.version = 0  # of everything but the labels
        self.labels = self._open_labels(labels)
        try:
            if run is not None:
                self.show_run(Path(run))
        except BaseException:
            self.labels.close()
            raise

    def close(self) -> None:
        """End what is running and let other processes have the labels."""
        with self.lock:
            if self.job is not None:
                self.job.close()
            self.labels.close()

    # Labels

    def _open_labels(self, labels: str | Path | None) -> LabelStore:
        scene = self.view.grid_scene
        default = self.folder / f"{_file_stem(self.view.name)}.labels.gpkg"
        if labels is None:
            return LabelStore(default, scene)
        path = Path(labels)
        if path.suffix.lower() == ".gpkg" and not path.exists():
            return LabelStore(path, scene)
        try:
            return LabelStore(path, scene)
        except (ConfigError, LabelsError) as problem:
            if path.suffix.lower() == ".gpkg" and "was not written by" not in str(problem):
                raise
        store = LabelStore(default, scene)
        try:
            if store.labels.shapes:
                self.notes.append(f"the labels of {path} are added to those in {default}")
            self.notes += store.add_from(str(labels))
        except BaseException:
            store.close()
            raise
        return store

    def has_own_labels(self) -> bool:
        """Whether the scene brings labels, as cards do."""
        return self.view.scene is not None and self.view.scene.labels is not None

    def add_own_labels(self) -> None:
        """Add the labels that the scene brings."""
        scene = self.view.scene
        if scene is None or scene.labels is None:
            raise LabelsError(f"scene {self.view.name} has no labels of its own")
        new = set_of(scene.labels)
        self.labels.change(lambda labels: joined(labels, new))

    # Jobs

    def poll(self) -> bool:
        """Take what the running job has sent; whether anything has changed."""
        with self.lock:
            job = self.job
            if job is None or job.has_ended():
                return False
            changed = job.poll()
            for kind, value in job.other:
                if kind == jobs.REGION:
                    self._show_region(value)
            job.other.clear()
            if job.has_ended():
                try:
                    self._finish(job)
                except HyperpeftError as problem:
                    job.state, job.error = "failed", str(problem)
            self.version += changed
            return changed

    def cancel(self) -> None:
        """Ask the running job to stop."""
        with self.lock:
            if self.job is not None:
                self.job.cancel()

    def _start(self, kind: str, title: str, function: Any, *arguments: Any) -> Job:
        with self.lock:
            if self.job is not None and self.job.running:
                raise ConfigError(
                    f"{self.job.title} is running", hint="wait until it has ended, or cancel it"
                )
            self.job_kind = kind
            self.job = Job(title, function, *arguments)
            self.version += 1
            return self.job

    def _finish(self, job: Job) -> None:
        if self.job_kind == TRAIN:
            self._finish_training(job)
        if job.state != "done":
            return
        if self.job_kind == CONFIDENCE and self.layer is not None:
            self.layer.confidence = job.result
        elif self.job_kind == SUGGEST:
            self.suggestions = job.result
        elif self.job_kind == EXAMINE:
            self._examined(*job.result)

    # Examining

    def start_examining(self) -> Job:
        """Look at every pixel of a large scene, as the command line does when it opens one."""
        if self.view.scene is not None or self.spec is None:
            raise ConfigError("the scene has been examined already")
        return self._start(
            EXAMINE, "Examining the scene", f"{WORK}:examine", self.spec, self.layout
        )

    def _examined(self, packed: np.ndarray, notes: list[str]) -> None:
        height, width, _ = self.view.shape
        valid = np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)
        bare = self.view.grid_scene
        self.view.scene = replace(bare, valid=valid, notes=tuple(notes))

    # Training

    def plan(self, options: Mapping[str, Any]) -> RunConfig:
        """The configuration of a run with these options, with a free folder unless one is given.

        Raises
        ------
        ConfigError
            As on the command line.
        """
        out = Path(options.get("out") or self._free_run())
        values = {k: v for k, v in options.items() if v is not None and k != "out"}
        values |= {"scene": self.spec or self.view.name, "out": out}
        values["labels"] = str(out.with_name(f"{out.name}.labels.gpkg"))
        values["class_field"] = "class_id"
        if self.layout is not None:
            values["layout"] = self.layout
        return make_config(values)

    def start_training(self, options: Mapping[str, Any], region: jobs.Region | None) -> Job:
        """Train with a copy of the labels as they are; the visible region is mapped first."""
        counts = self.labels.counts()
        if sum(count > 0 for count in counts.values()) < 2:
            raise LabelsError(
                "training needs labels of two classes",
                got=", ".join(f"{self.labels.labels.of_id(i).name}: {n}" for i, n in counts.items())
                or "no class",
                hint="draw some with the Label tab",
            )
        config = self.plan(options)
        if (config.out / RUN).exists():
            raise ConfigError(f"{config.out} holds a run", hint="choose another folder")
        scene = None if self.spec is not None else self.view.scene
        copy = Path(config.labels or "")
        self._refuse_other_labels(copy, config.out)
        self.labels.copy_to(copy)
        try:
            job = self._start(
                TRAIN, f"Training {config.out.name}", f"{WORK}:train", config, scene, region
            )
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        self.config = config
        return job

    def _refuse_other_labels(self, copy: Path, out: Path) -> None:
        """Refuse to replace labels that are not the copy of a training that was stopped."""
        stopped = (out / CHECKPOINTS).exists() or (out / LOCK).exists()
        own = copy.exists() and self.labels.path.exists() and copy.samefile(self.labels.path)
        if own or (os.path.lexists(copy) and not stopped):
            raise ConfigError(
                f"{copy} exists", expected="a free name for the copy of the labels, beside the run",
                hint="choose another folder",
            )  # fmt: skip

    def command(self) -> str:
        """The command line, or for a scene in memory the Python, that repeats the last run."""
        config = self.config
        if config is None:
            return ""
        if self.spec is not None:
            return train_command(config)
        given = {n: getattr(config, n) for n in config.model_fields_set}
        hidden = ("scene", "labels", "class_field", "out", "layout")
        options = ", ".join(f"{n}={v!r}" for n, v in given.items() if n not in hidden)
        fit = f"clf = hyperpeft.SceneClassifier({options}).fit(scene, {config.labels!r})"
        return f"{fit}; clf.save({str(config.out)!r})"

    def _finish_training(self, job: Job) -> None:
        assert self.config is not None
        out = self.config.out
        if job.state == "done":
            self.show_run(out)
        elif not out.exists():  # nothing refers to the copy of the labels
            Path(self.config.labels or "").unlink(missing_ok=True)

    def _show_region(self, found: jobs.MappedRegion) -> None:
        classes = self.labels.labels.classes
        self.layer = MapLayer(
            {c.id: c.name for c in classes}, {c.id: c.colour for c in classes}, region=found
        )
        self.record = None

    def show_run(self, folder: Path) -> None:
        """Show the map and the scores of a run."""
        height, width, _ = self.view.shape
        record, layer = layer_of_run(folder, (height, width))
        own = "" if self.view.scene is None else self.view.scene.sha256
        with self.lock:
            if own and record.scene.get("sha256") not in (None, own):
                self.notes.append(
                    f"{folder} is a run on another scene, {record.scene.get('name')}: its map, "
                    "confidence and suggestions are of that scene, not of the one that is shown"
                )
            if self.layer is not None and self.layer.path is None:
                layer.region = self.layer.region  # its confidence, until there is more
            for known in self.labels.labels.classes:
                if layer.classes.get(known.id) == known.name:
                    layer.colours = {**layer.colours, known.id: known.colour}
            self.run, self.record, self.layer = folder, record, layer
            self.suggestions, self.check = None, None
            self.version += 1

    def start_confidence(self) -> Job:
        """Map the confidence of the shown run, everywhere."""
        run = self._shown_run()
        out = confidence_path(run)
        scene = None if self.spec is not None else self.view.scene
        return self._start(
            CONFIDENCE, "Mapping the confidence", f"{WORK}:map_confidence", run, scene,
            out.with_name(f"{run.name}-map.tif"), out,
        )  # fmt: skip

    # Suggestions and checks

    def start_suggesting(self, options: Mapping[str, Any]) -> Job:
        """Choose pixels to label next."""
        run = self._shown_run()
        target = run.with_name(f"{run.name}-suggested.gpkg")
        scene = None if self.spec is not None else self.view.scene
        return self._start(
            SUGGEST, "Choosing pixels", f"{WORK}:suggest", run, scene, self.labels.mask(), target,
            dict(options),
        )  # fmt: skip

    def open_check(self, size: int | None = None, path: Path | None = None) -> None:
        """Draw a sample of the shown map, or continue one."""
        if path is None:
            run = self._shown_run()
            path = run.with_name(f"{run.name}-sample.gpkg")
            if not path.is_file():
                sample_map(run / MAP, path, size=size)
        self.check = CheckList(path)
        self.version += 1

    def _shown_run(self) -> Path:
        if self.run is None:
            raise ConfigError("there is no run yet", hint="train one first, or give --run")
        return self.run

    def _free_run(self) -> Path:
        base = self.folder / RUNS / _file_stem(self.view.name)
        number = 1
        while (made := base.with_name(f"{base.name}-{number}")).exists() or made.with_name(
            f"{made.name}.labels.gpkg"
        ).exists():
            number += 1
        return made


def _file_stem(name: str) -> str:
    """A scene's name as the name of a file."""
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.")
    return kept[:80].encode()[:_LONGEST_STEM].decode(errors="ignore") or "scene"
