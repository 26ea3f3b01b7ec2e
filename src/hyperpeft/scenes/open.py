"""`open_scene`: a card's name, "demo" or a path, to a Scene."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import ConfigError, LabelsError, SceneError
from hyperpeft.records import Labels, Scene
from hyperpeft.scenes.catalog.card import Card, File, Role
from hyperpeft.scenes.catalog.cards import CARDS, card_key, no_scene
from hyperpeft.scenes.catalog.locate import find, verify_counts, verify_shape, where_to_put
from hyperpeft.scenes.labels.class_values import make_labels
from hyperpeft.scenes.labels.read import read_labels
from hyperpeft.scenes.readers.read import exists, read_cube


def is_card(name: str) -> bool:
    """Whether a scene is opened by this name alone: a card's, or that of the generated one."""
    return card_key(name) in (*CARDS, "demo")


def open_scene(
    name_or_path: str | Path,
    labels: str | Path | None = None,
    layout: str | None = None,
    *,
    class_field: str | None = None,
    all_touched: bool = False,
    resample_labels: bool = False,
) -> Scene:
    """Open a benchmark scene, the generated one, or a file.

    Parameters
    ----------
    name_or_path : str or Path
        A card's name such as "salinas-a", "demo", FILE[:KEY], a product's folder, or tiles:
        "a.tif,b.tif", "tiles/*.tif" or a folder of rasters; or the https:// or s3:// address of a
        Cloud-Optimized GeoTIFF or a Zarr store.
    labels : str or Path, optional
        FILE[:KEY] of class ids on the scene's grid, or of points or polygons that have a class;
        replaces a card's labels.
    layout : str, optional
        Axes of the cube in an array file, see `hyperpeft.scenes.cubes.layouts`.
    class_field, all_touched, resample_labels
        How labels are put onto the grid, see `hyperpeft.scenes.read_labels`.

    Returns
    -------
    Scene
        With labels where given or known, and a benchmark's official masks.

    Raises
    ------
    SceneError
        Unknown name or missing file; the message says what to put where.
    LabelsError
        The labels cannot be read, or do not fit.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise SceneError(
            "open_scene", expected="a card's name, or a path",
            got=f"a {type(name_or_path).__name__}", hint="use Scene.from_array for an array",
        )  # fmt: skip
    if labels is not None and not isinstance(labels, str | os.PathLike):
        raise LabelsError(
            "open_scene: labels", expected="a path", got=f"a {type(labels).__name__}",
            hint="open the scene without them, and give them to SceneClassifier.fit",
        )  # fmt: skip
    if labels is not None and _is_same_raster(str(name_or_path), str(labels)):
        raise LabelsError(
            f"scene and labels are the same file, {name_or_path}",
            hint="give the file of the cube and the file of the class ids",
        )
    scene = _open(str(name_or_path), labels, layout, class_field, all_touched, resample_labels)
    given = [name_or_path] if labels is None else [name_or_path, labels]
    return replace(scene, sources=tuple(map(_wherever_we_are, given)))


def _wherever_we_are(spec: str | Path) -> str:
    """A path that stays right when the working directory changes; other names as they are."""
    path = Path(spec)
    if path.is_file() or (path.is_dir() and not is_card(str(spec))):
        return str(path.absolute())
    return str(spec)


def _open(
    text: str,
    labels: str | Path | None,
    layout: str | None,
    class_field: str | None,
    all_touched: bool,
    resample_labels: bool,
) -> Scene:
    if labels is None and (class_field is not None or all_touched or resample_labels):
        raise ConfigError(
            "class_field, all_touched and resample_labels say how labels are read",
            hint="give the labels too, with --labels FILE",
        )
    how: dict[str, Any] = {
        "class_field": class_field,
        "all_touched": all_touched,
        "resample_labels": resample_labels,
    }
    known = card_key(text)
    if known in CARDS and not Path(text).is_file():
        if layout is not None:
            raise ConfigError(f"layout {layout!r}: {known} is a card and knows its own layout")
        return _open_card(CARDS[known], labels, how)
    if known == "demo" and not Path(text).is_file():
        from hyperpeft.scenes.synthetic.demo import demo_scene  # loads scipy

        scene = demo_scene()
    else:
        if not exists(text):
            raise no_scene(text)
        scene = read_cube(text, layout=layout)
    if labels is None:
        return scene
    return scene.with_labels(read_labels(labels, scene=scene, **how))


def _is_same_raster(scene: str, labels: str) -> bool:
    """Whether both are one file, of a format that holds one array."""
    one, other = Path(scene), Path(labels)
    if one.suffix.lower() not in (".tif", ".tiff", ".img", ".npy", ".dat", ".bsq", ".bil", ".bip"):
        return False
    try:
        return one.is_file() and other.is_file() and one.samefile(other)
    except OSError:
        return False


def _open_card(card: Card, labels: str | Path | None, how: dict[str, Any]) -> Scene:
    path, file = cube_file(card)
    scene = read_cube(path, file.key, card.layout, name=card.name, rgb=card.rgb)
    verify_shape(card, scene.shape)
    if card.note:
        scene = replace(scene, notes=(*scene.notes, card.note))
    if labels is not None:
        return scene.with_labels(read_labels(labels, scene=scene, **how))
    masks = _card_masks(card, scene)
    if masks is not None:
        scene = replace(scene, masks=masks)
    own = card_labels(card, scene, masks)
    return scene if own is None else scene.with_labels(own)


def card_labels(
    card: Card, scene: Scene | None = None, masks: tuple[Labels, Labels] | None = None
) -> Labels | None:
    """A card's own labels, verified against its counts; the union of its masks where it has any.

    Raises
    ------
    LabelsError
        The map is missing, does not fit the scene or has other counts than the card.
    """
    if card.file("labels") is not None:
        labels = _read_role(card, "labels", scene)
    else:
        masks = masks or _card_masks(card, scene)
        if masks is None:
            return None
        train, test = masks
        clash = int(np.count_nonzero((train.ids > 0) & (test.ids > 0)))
        if clash:
            raise LabelsError(
                f"the official masks of {card.name} overlap", expected="no pixel in both", got=clash
            )
        labels = make_labels(train.ids + test.ids, card.class_names, card.colours, "official masks")
    verify_counts(card, labels.counts(), {i: n for i, (_, n) in card.classes.items()}, "labels")
    return labels


def _card_masks(card: Card, scene: Scene | None) -> tuple[Labels, Labels] | None:
    if card.file("train") is None or card.file("test") is None:
        return None
    train, test = _read_role(card, "train", scene), _read_role(card, "test", scene)
    numbers = dict(zip(card.classes, card.train_counts, strict=True))
    verify_counts(card, train.counts(), numbers, "training mask")
    return train, test


def _read_role(card: Card, role: Role, scene: Scene | None) -> Labels:
    file = card.file(role)
    if file is None:
        raise LabelsError(f"card {card.name} has no {role}")
    return read_labels(
        _locate(card, file), file.key, classes=card.class_names, rule=file.rule, scene=scene
    )


def cube_file(card: Card) -> tuple[Path, File]:
    """Where a card's cube is, and what the card says of it; SceneError where it is missing."""
    file = card.file("cube")
    if file is None:
        raise SceneError(f"card {card.name} names no cube")
    return _locate(card, file), file


def _locate(card: Card, file: File) -> Path:
    path = find(file)
    if path is None:
        fetch = f"run `hyperpeft scenes fetch {card.name}`, or " if file.url else ""
        error = SceneError if file.role == "cube" else LabelsError
        raise error(
            f"the {file.role} of {card.name} is not here", hint=f"{fetch}{where_to_put(card, file)}"
        )
    return path
