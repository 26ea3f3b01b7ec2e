"""A map of class ids as a file holds it, and how it comes onto a scene's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.warp import Resampling, reproject

from hyperpeft.errors import LabelsError
from hyperpeft.records import Colour, Scene, Transform
from hyperpeft.scenes.cubes.layouts import flipped, runs_north
from hyperpeft.scenes.readers.gdal import crs_distance, crs_name, same_crs

_GEO_TOLERANCE = 0.01  # of a pixel
_CRS_TOLERANCE = 0.1  # of a pixel, between two CRS that are called otherwise
_RESAMPLE = "give --resample-labels to bring them onto the scene's grid by nearest neighbour"


@dataclass(frozen=True)
class LabelMap:
    """What a reader of labels hands over.

    Attributes
    ----------
    path : Path
    array : ndarray, shape (H, W)
        As stored.
    nodata : float or None
        The value that the file declares as unlabelled.
    blank : ndarray of bool, shape (H, W), or None
        True where a mask or another rule of the file says that a pixel is unlabelled.
    names, colours : dict
        Of class ids, as far as the file has them.
    crs, transform : as in `Scene`
    notes : tuple of str
    """

    path: Path
    array: np.ndarray
    nodata: float | None = None
    blank: np.ndarray | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, Colour] = field(default_factory=dict)
    crs: str | None = None
    transform: Transform | None = None
    notes: tuple[str, ...] = ()


def oriented(labels: LabelMap, scene: Scene, resample: bool) -> tuple[LabelMap, bool]:
    """A map with its first row in the north, and whether it has to be resampled.

    A map with a georeference lies where that says; one without follows the rows of the scene's
    file.

    Raises
    ------
    LabelsError
        It lies elsewhere than the scene, and may or can not be resampled.
    """
    if labels.transform is not None and runs_north(labels.transform):
        transform = flipped(labels.transform, len(labels.array))
        labels = replace(_turned(labels), transform=transform)
    elif labels.transform is None and scene.flipped:
        labels = _turned(labels)
    notes: list[str] = []
    moves = not _same_place(labels, scene, resample, notes)
    return replace(labels, notes=(*labels.notes, *notes)), moves


def _turned(labels: LabelMap) -> LabelMap:
    """A map with its rows in reverse."""
    blank = None if labels.blank is None else labels.blank[::-1]
    return replace(labels, array=labels.array[::-1], blank=blank)


def resampled(labels: LabelMap, scene: Scene) -> LabelMap:
    """Class ids (0: unlabelled) on the scene's grid by nearest neighbour."""
    array = _nearest(labels, scene)
    note = (
        f"labels {labels.path.name}: resampled by nearest neighbour from {labels.array.shape} "
        f"pixels onto the scene's {scene.valid.shape}; {np.count_nonzero(array)} are labelled"
    )
    return replace(labels, array=array, notes=(*labels.notes, note))


def _nearest(labels: LabelMap, scene: Scene) -> np.ndarray:
    """Class ids on the scene's grid: those of the label pixel that holds each pixel's centre."""
    kind = np.float64 if labels.array.dtype.kind == "f" else np.int32
    out = np.zeros(scene.valid.shape, kind)
    assert scene.transform is not None
    assert labels.transform is not None
    reproject(
        labels.array.astype(kind),
        out,
        src_transform=Affine(*labels.transform),
        src_crs=labels.crs or scene.crs,
        dst_transform=Affine(*scene.transform),
        dst_crs=scene.crs or labels.crs,
        resampling=Resampling.nearest,
    )
    return out


def _same_place(labels: LabelMap, scene: Scene, resample: bool, notes: list[str]) -> bool:
    """Whether labels lie on the scene's grid; refused elsewhere, unless they may be resampled."""
    path, shape, transform = labels.path, labels.array.shape, labels.transform
    referenced = transform is not None and scene.transform is not None
    if shape != scene.valid.shape:
        if resample and referenced:
            return False
        if resample or referenced:
            raise LabelsError(
                f"labels {path} are on another grid than scene {scene.name}",
                expected=f"{scene.valid.shape} pixels (rows, columns)",
                got=shape,
                hint=_RESAMPLE if referenced else "both need a georeference to be resampled",
            )
        return True  # said by `Scene.with_labels`
    if labels.crs and scene.crs and not same_crs(scene.crs, labels.crs):
        names = crs_name(scene.crs), crs_name(labels.crs)
        distance = crs_distance(scene.crs, labels.crs, scene.transform, scene.valid.shape)
        if distance <= _CRS_TOLERANCE:
            notes.append(
                f"labels {path.name}: their CRS is called otherwise than the scene's, and is the "
                f"same to {max(distance, 0.001):.3f} of a pixel"
            )
        elif resample and referenced:
            return False
        else:
            raise LabelsError(
                f"labels {path} have another CRS than scene {scene.name}",
                expected=names[0],
                got=names[1],
                hint=_RESAMPLE,
            )
    if transform and scene.transform:
        pixel = max(abs(v) for v in (*scene.transform[:2], *scene.transform[3:5]))
        height, width = shape
        for x, y in ((0, 0), (width, 0), (0, height)):
            ax, ay = Affine(*transform) @ (x, y)
            bx, by = Affine(*scene.transform) @ (x, y)
            if max(abs(ax - bx), abs(ay - by)) > _GEO_TOLERANCE * pixel:
                if resample:
                    return False
                raise LabelsError(
                    f"labels {path} have another transform than scene {scene.name}",
                    expected=scene.transform,
                    got=transform,
                    hint=_RESAMPLE,
                )
    return True
