"""Label maps of any format to `Labels`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from affine import Affine

from hyperpeft.errors import LabelsError
from hyperpeft.records import Labels, Scene
from hyperpeft.scenes.catalog.card import ABUNDANCE_THRESHOLD
from hyperpeft.scenes.colours import Colour, palette
from hyperpeft.scenes.labels.class_names import class_names
from hyperpeft.scenes.labels.envi_rois import is_rois, read_rois
from hyperpeft.scenes.labels.points_csv import is_table, read_table
from hyperpeft.scenes.labels.rasterize import rasterize_features
from hyperpeft.scenes.labels.vectors import is_vector, read_vectors
from hyperpeft.scenes.readers.arrays import read_array
from hyperpeft.scenes.readers.detect import Probe, check_file
from hyperpeft.scenes.readers.gdal import crs_name, crs_of, open_raster, same_crs, transform_of
from hyperpeft.scenes.readers.rasters import envi_data_file
from hyperpeft.scenes.readers.read_errors import reading_errors
from hyperpeft.scenes.readers.recognise import is_arrays
from hyperpeft.scenes.readers.variables import split_spec
from hyperpeft.system.memory import require_memory

LABEL_OPTIONS = ("class_field", "all_touched", "resample_labels")  # of `read_labels`
_MAX_ID = 65535
_GEO_TOLERANCE = 0.01  # of a pixel


def read_labels(
    spec: str | Path,
    key: str | Sequence[str] | None = None,
    *,
    classes: Mapping[int, str] | None = None,
    rule: Literal["ids", "abundances"] = "ids",
    scene: Scene | None = None,
    class_field: str | None = None,
    all_touched: bool = False,
    resample_labels: bool = False,
) -> Labels:
    """Read a map of class ids, or points and polygons that have a class.

    Parameters
    ----------
    spec : str or Path
        FILE or FILE:KEY; MATLAB, HDF5, .npy, .npz, GeoTIFF or another raster, or ENVI's regions
        of interest as text. Nodata of a raster is unlabelled (0). Or vectors, which need a scene:
        GeoPackage, GeoJSON, shapefile (FILE:LAYER where there are several), and CSV of points.
    key : str, sequence of str or None
        The variable, as in FILE:KEY; a sequence holds accepted names.
    classes : mapping of int to str, optional
        Class names; else those in the raster's tags, else "class N".
    rule : {"ids", "abundances"}
        "abundances": the array is (H, W, C) and a pixel belongs to class argmax + 1 where its
        largest abundance exceeds 0.7, else to none.
    scene : Scene, optional
        The labels have to lie on its grid: the same rows and columns and, where both are
        georeferenced, the same CRS and transform. Vectors are reprojected to it.
    class_field : str, optional
        The field of vectors that holds the classes, see `hyperpeft.scenes.labels.features`.
    all_touched : bool
        Vectors also label pixels that they touch and whose centre nothing covers.
    resample_labels : bool
        Bring a raster of another grid onto the scene's by nearest neighbour.

    Returns
    -------
    Labels

    Raises
    ------
    LabelsError
        Missing, unreadable, ambiguous, negative or fractional ids, or another grid.
    """
    path, chosen = split_spec(spec)
    key = chosen if chosen is not None else key
    probe = check_file(path, LabelsError)
    source = f"{path.name}:{chosen}" if chosen else path.name
    if is_table(path) or is_vector(path):
        if scene is None:
            raise LabelsError(f"labels {path} are vectors", expected="a scene to put them on")
        features = (
            read_table(path, class_field)
            if is_table(path)
            else read_vectors(path, key if isinstance(key, str) else None, class_field)
        )
        return rasterize_features(features, scene, all_touched=all_touched)
    if class_field is not None:
        raise LabelsError(
            f"labels {path} are not vectors and have no field {class_field!r}",
            hint="leave out --class-field; FILE:KEY chooses a variable",
        )
    notes: tuple[str, ...] = ()
    names: dict[int, str] = {}
    colours: dict[int, Colour] = {}
    if is_rois(probe):
        array, names = read_rois(path)
    elif is_arrays(probe):
        array = read_array(probe, key, LabelsError)
    else:
        with reading_errors(path, "a raster of labels", LabelsError):
            array, names, colours, notes = _read_raster_labels(
                probe, key if isinstance(key, str) else None, scene, resample_labels
            )
    array = from_abundances(array, str(path)) if rule == "abundances" else array
    labels = make_labels(array, {**names, **(classes or {})}, colours, source, scene)
    return replace(labels, notes=notes)


def make_labels(
    array: np.ndarray,
    classes: Mapping[int, str],
    colours: Mapping[int, Colour],
    source: str,
    scene: Scene | None = None,
) -> Labels:
    """Check an array of ids and complete its names ("class N") and colours."""
    ids = _to_ids(array, source)
    if scene is not None:
        scene.with_labels(Labels(np.zeros_like(ids), {}, {}, source))  # the grid, before counting
    found = [i for i in np.unique(ids).tolist() if i != 0]
    if not found:
        raise LabelsError(f"labels {source} hold no class", got="0 (unlabelled) everywhere")
    known = sorted({*found, *classes} - {0})
    names = {i: classes.get(i, f"class {i}") for i in known}
    complete = {**palette(known, names), **{i: c for i, c in colours.items() if i in names}}
    return Labels(ids, names, complete, source)


def from_abundances(array: np.ndarray, source: str) -> np.ndarray:
    """Class ids (H, W) from abundances (H, W, C): argmax + 1 where the largest exceeds 0.7."""
    if array.ndim != 3:
        raise LabelsError(
            f"abundances {source}", expected="3 dimensions (H, W, C)", got=array.shape
        )
    pure = array.max(axis=2) > ABUNDANCE_THRESHOLD
    ids: np.ndarray = np.where(pure, array.argmax(axis=2) + 1, 0).astype(np.int32)
    return ids


def _to_ids(array: np.ndarray, source: str) -> np.ndarray:
    """Whole, non-negative numbers as int32."""
    if array.ndim != 2:
        raise LabelsError(f"labels {source}", expected="2 dimensions", got=f"shape {array.shape}")
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array % 1 == 0).all()):
        odd = array[~np.isfinite(array) | (array % 1 != 0)].ravel()[0]
        raise LabelsError(f"labels {source}", expected="whole numbers", got=f"{odd:g}")
    low, high = array.min(), array.max()
    if low < 0:
        raise LabelsError(
            f"labels {source} hold negative ids",
            expected="0 for unlabelled pixels and positive class ids",
            got=f"{low:g}",
            hint="set them to 0, or declare them as nodata",
        )
    if high > _MAX_ID:
        raise LabelsError(f"labels {source}", expected=f"ids up to {_MAX_ID}", got=f"{high:g}")
    return array.astype(np.int32)


def _read_raster_labels(
    probe: Probe, key: str | None, scene: Scene | None, resample: bool
) -> tuple[np.ndarray, dict[int, str], dict[int, Colour], tuple[str, ...]]:
    path = envi_data_file(probe.path)
    with open_raster(probe if path == probe.path else path, key, LabelsError) as dataset:
        if dataset.count != 1:
            raise LabelsError(f"label raster {path}", expected="1 band", got=dataset.count)
        if np.dtype(dataset.dtypes[0]).kind not in "biuf":
            kind = dataset.dtypes[0]
            raise LabelsError(f"label raster {path}", expected="whole numbers", got=f"type {kind}")
        if scene is None or dataset.shape != scene.valid.shape:
            size = 16 * dataset.height * dataset.width
            require_memory(
                f"label raster {path} of {dataset.shape} pixels", size, error=LabelsError
            )
        moves = scene is not None and not _same_place(
            path, scene, crs_of(dataset), transform_of(dataset), dataset.shape, resample
        )
        try:
            array = dataset.read(1)
        except Exception as problem:  # rasterio's errors of damaged files have no common root
            raise LabelsError(f"{path} cannot be read ({type(problem).__name__})") from None
        nodata = dataset.nodata
        if nodata is not None:
            array = np.where(np.isnan(array) if nodata != nodata else array == nodata, 0, array)
        notes: tuple[str, ...] = ()
        if moves and scene is not None:
            array = _nearest(array, dataset, scene)
            notes = (
                f"labels {path.name}: resampled by nearest neighbour from {dataset.shape} pixels "
                f"onto the scene's {scene.valid.shape}; {np.count_nonzero(array)} are labelled",
            )
        names = class_names(dataset, path)
        return array, names, _colour_table(dataset, np.unique(array)), notes


def _nearest(array: np.ndarray, dataset: Any, scene: Scene) -> np.ndarray:
    """Class ids on the scene's grid: those of the label pixel that holds each pixel's centre."""
    from rasterio.warp import Resampling, reproject  # loaded with GDAL alone

    kind = np.float64 if array.dtype.kind == "f" else np.int32
    out = np.zeros(scene.valid.shape, kind)
    assert scene.transform is not None
    reproject(
        array.astype(kind),
        out,
        src_transform=dataset.transform,
        src_crs=dataset.crs or scene.crs,
        dst_transform=Affine(*scene.transform),
        dst_crs=scene.crs or dataset.crs,
        resampling=Resampling.nearest,
    )
    return out


_RESAMPLE = "give --resample-labels to bring them onto the scene's grid by nearest neighbour"


def _same_place(
    path: Path,
    scene: Scene,
    crs: str | None,
    transform: Any,
    shape: tuple[int, int],
    resample: bool = False,
) -> bool:
    """Whether labels lie on the scene's grid; refused elsewhere, unless they may be resampled."""
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
    if crs and scene.crs and not same_crs(scene.crs, crs):
        if resample and referenced:
            return False
        raise LabelsError(
            f"labels {path} have another CRS than scene {scene.name}",
            expected=crs_name(scene.crs),
            got=crs_name(crs),
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


def _colour_table(dataset: Any, ids: np.ndarray) -> dict[int, Colour]:
    try:
        table = dataset.colormap(1)
    except ValueError:
        return {}
    return {int(i): tuple(table[int(i)][:3]) for i in ids if i > 0 and int(i) in table}
