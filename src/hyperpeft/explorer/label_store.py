"""Labels with undo and redo, saved whole at every change.

The file is a GeoPackage with two tables:

    labels   class_id, class name, geometry in the scene's CRS; of a scene without georeference the
             layer is called `pixels`, and its coordinates are column and row
    classes  class_id, name, colour: classes without shapes too

It is written beside its name, flushed to the disk and renamed: whatever happens, the file holds
the labels before or after a change. The command line reads it as `--labels FILE`.
"""

from __future__ import annotations

import glob
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import RLock

import numpy as np
import shapely
from rasterio.features import shapes as outlines

from hyperpeft.errors import LabelsError
from hyperpeft.explorer.label_set import LabelClass, LabelSet, Shape
from hyperpeft.records import Labels, Scene, palette, to_hex
from hyperpeft.scenes import (
    CLASSES,
    PIXELS,
    list_layers,
    read_class_table,
    read_labels,
    read_layer,
    read_shapes,
    text_column,
    write_layer,
)
from hyperpeft.system.files import PART, flush, replacing
from hyperpeft.system.output_folder import output_folder, require_ending

LAYER = "labels"
_UNDONE = 200  # changes that can be undone


class LabelStore:
    """The labels of a scene, in memory and in a file that is never behind.

    Parameters
    ----------
    path : Path
        Ends in .gpkg. Labels that are there are read.
    scene : Scene
        Its grid and place count; its pixels need not have been examined.

    Raises
    ------
    LabelsError
        The file is there and cannot be read, or lies outside the scene.
    InUse
        Another process has it open.
    """

    def __init__(self, path: Path, scene: Scene) -> None:
        require_ending(path, "labels", ".gpkg")
        self.path, self.scene = path, scene
        self._held = ExitStack()
        lock = f".{path.stem}.lock"
        self._held.enter_context(
            output_folder(path.parent, f"the labels in {path}", lock=lock, leftovers=())
        )
        for left in path.parent.glob(f".{glob.escape(path.stem)}.{PART}*"):
            left.unlink(missing_ok=True)  # of a process that was killed
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        path, scene = self.path, self.scene
        self.continued = path.is_file()
        self.labels = read_label_set(path, scene) if self.continued else LabelSet()
        self.version = 0
        self._undo: list[LabelSet] = []
        self._redo: list[LabelSet] = []
        self._lock = RLock()

    def close(self) -> None:
        """Let other processes have the file."""
        self._held.close()

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.scene.valid.shape
        return int(height), int(width)

    def change(self, how: Callable[[LabelSet], LabelSet]) -> bool:
        """Replace the labels by what a function makes of them, once that is saved.

        False where nothing has changed.

        Raises
        ------
        LabelsError, ConfigError
            The change is not possible, or cannot be saved: the labels stay as they were.
        """
        with self._lock:
            before, after = self.labels, how(self.labels)
            if after == before:
                return False
            self._save(after)
            self._undo = [*self._undo, before][-_UNDONE:]
            self._redo = []
            return True

    def undo(self) -> bool:
        """Take the last change back; False where there is none."""
        with self._lock:
            return self._move(self._undo, self._redo)

    def redo(self) -> bool:
        """Make a change again that was taken back; False where there is none."""
        with self._lock:
            return self._move(self._redo, self._undo)

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to make again."""
        return bool(self._redo)

    def counts(self) -> dict[int, int]:
        """Labelled pixels of each class."""
        return self.labels.counts(self.grid)

    def mask(self) -> np.ndarray:
        """Pixels (H, W) that a shape covers, conflicts included."""
        index, _, conflicts = self.labels.pixels(self.grid)
        covered = np.zeros(self.grid, bool)
        covered.reshape(-1)[np.concatenate([index, conflicts])] = True
        return covered

    def add_from(self, spec: str, class_field: str | None = None) -> tuple[str, ...]:
        """Add the labels of a file as the command line opens it; the notes on them."""
        new, notes = import_labels(spec, self.scene, class_field)
        self.change(lambda labels: joined(labels, new))
        return notes

    def start_afresh(self) -> Path | None:
        """Begin with no labels; the file keeps them under another name, which is given."""
        with self._lock:
            kept = None
            if self.path.is_file():
                kept = free_name(self.path)
                self.path.rename(kept)
            self.labels, self._undo, self._redo = LabelSet(), [], []
            self.continued = False
            self.version += 1
            return kept

    def copy_to(self, path: Path) -> None:
        """Write the labels as they are now to another file."""
        write_label_set(path, self.labels, self.scene)

    def _move(self, source: list[LabelSet], target: list[LabelSet]) -> bool:
        if not source:
            return False
        before = self.labels
        self._save(source[-1])
        target.append(before)
        source.pop()
        return True

    def _save(self, labels: LabelSet) -> None:
        write_label_set(self.path, labels, self.scene)
        self.labels = labels
        self.version += 1


def write_label_set(path: Path, labels: LabelSet, scene: Scene) -> None:
    """Write labels as GeoPackage, whole or not at all."""
    shapes = np.array([s.geometry for s in labels.shapes], dtype=object)
    layer = PIXELS
    if scene.transform is not None:
        layer, (a, b, c, d, e, f) = LAYER, scene.transform
        matrix, origin = np.array([[a, b], [d, e]]), np.array([c, f])
        shapes = np.asarray(shapely.transform(shapes, lambda xy: xy @ matrix.T + origin))
    elif scene.flipped:  # as the file has its rows
        height = len(scene.valid)
        shapes = np.asarray(
            shapely.transform(shapes, lambda xy: np.stack([xy[:, 0], height - xy[:, 1]], 1))
        )
    names = {c.id: c.name for c in labels.classes}
    ids = [s.class_id for s in labels.shapes]
    crs = scene.crs if scene.transform is not None else None
    with replacing(path) as temporary:
        temporary.unlink()
        write_layer(
            temporary, CLASSES,
            {
                "class_id": np.array([c.id for c in labels.classes], np.int32),
                "name": text_column(c.name for c in labels.classes),
                "colour": text_column(to_hex(c.colour) for c in labels.classes),
            },
        )  # fmt: skip
        write_layer(
            temporary, layer,
            {"class_id": np.array(ids, np.int32), "name": text_column(names[i] for i in ids)},
            shapely.to_wkb(shapes), crs, "Unknown",
        )  # fmt: skip
        flush(temporary)


def read_label_set(path: Path, scene: Scene) -> LabelSet:
    """Read what `write_label_set` wrote, onto the grid of a scene.

    Raises
    ------
    LabelsError
        Another kind of file, or a damaged one.
    """
    layers = list_layers(path)
    layer = next((name for name in (LAYER, PIXELS) if name in layers), None)
    if layer is None or CLASSES not in layers:
        raise LabelsError(
            f"{path} was not written by the explorer", expected=f"the layers {LAYER} and {CLASSES}",
            got=", ".join(layers) or "none", hint="add it to other labels instead",
        )  # fmt: skip
    classes = tuple(LabelClass(*row) for row in read_class_table(path))
    count = len(read_layer(path, layer)[1])
    if not count:
        return LabelSet(classes)
    found = read_shapes(f"{path}:{layer}", scene, "class_id")
    assert found is not None
    placed = found[0]
    if len(placed.shapes) != count:  # saving would lose the others
        raise LabelsError(
            f"{path} belongs to another scene", got=f"{count - len(placed.shapes)} of {count} "
            f"shapes outside {scene.name}", hint="add it to other labels instead",
        )  # fmt: skip
    known = {c.id for c in classes}
    if not set(placed.ids.tolist()) <= known:
        raise LabelsError(f"the classes in {path} are damaged (a shape has another class)")
    shapes = tuple(Shape(g, int(i)) for g, i in zip(placed.shapes, placed.ids, strict=True))
    return LabelSet(classes, shapes)


def import_labels(
    spec: str, scene: Scene, class_field: str | None = None
) -> tuple[LabelSet, tuple[str, ...]]:
    """Labels of any file that the command line opens, as shapes, and the notes on them.

    Of a raster the shapes are its connected fields.
    """
    found = read_shapes(spec, scene, class_field)
    if found is not None:
        placed, classes = found
        colours = palette(classes, classes)
        named = tuple(LabelClass(i, name, colours[i]) for i, name in classes.items())
        drawn = zip(placed.shapes, placed.ids, strict=True)
        return LabelSet(named, tuple(Shape(g, int(i)) for g, i in drawn)), placed.notes
    labels = read_labels(spec, scene=scene, class_field=class_field)
    return set_of(labels), labels.notes


def set_of(labels: Labels) -> LabelSet:
    """Labels on a grid as shapes."""
    chosen = {**palette(labels.classes, labels.classes), **labels.colours}
    classes = tuple(LabelClass(i, name, chosen[i]) for i, name in labels.classes.items())
    return LabelSet(classes, fields_of(labels.ids))


def fields_of(ids: np.ndarray) -> tuple[Shape, ...]:
    """The connected fields of class ids (H, W) as polygons along the edges of pixels."""
    found = outlines(ids.astype(np.int32), mask=ids > 0, connectivity=4)
    return tuple(Shape(shapely.geometry.shape(outline), int(i)) for outline, i in found)


def joined(labels: LabelSet, new: LabelSet) -> LabelSet:
    """Two sets of labels as one: classes of one name are one class."""
    numbers: dict[int, int] = {}
    for c in new.classes:
        same = [k.id for k in labels.classes if k.name.casefold() == c.name.casefold()]
        if same:
            numbers[c.id] = same[0]
            continue
        taken = {k.id for k in labels.classes}
        if c.id in taken:
            labels, made = labels.with_class(c.name)
            numbers[c.id] = made.id
        else:
            free = c.colour not in {k.colour for k in labels.classes}
            colour = c.colour if free else labels.with_class(c.name)[1].colour
            added = (*labels.classes, LabelClass(c.id, c.name, colour))
            labels = LabelSet(added, labels.shapes)
            numbers[c.id] = c.id
    moved = tuple(Shape(s.geometry, numbers[s.class_id]) for s in new.shapes)
    return LabelSet(labels.classes, (*labels.shapes, *moved))


def free_name(path: Path) -> Path:
    """A name like this one with a number, that no file has."""
    number = 1
    while (made := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return made
