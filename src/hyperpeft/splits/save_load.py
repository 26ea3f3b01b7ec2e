"""`split.npz`: written, read and checked."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import SplitError
from hyperpeft.records import UNLABELLED, Labels, Split
from hyperpeft.splits.base import PARTS
from hyperpeft.system.files import check_archive, replacing


def save(split: Split, path: Path) -> None:
    """Write `split.npz`: `train`, `validation`, `test` (n, 2), their `*_ids`, `kind`, `notes`."""
    members: dict[str, Any] = {"kind": split.kind, "notes": np.array(split.notes, dtype=str)}
    members |= {name: getattr(split, name) for part in PARTS for name in (part, f"{part}_ids")}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **members)


def digest(split: Split) -> str:
    """Hash of the pixels and classes of every part: equal splits are the same split.

    The order of the pixels within a part says nothing and does not enter.
    """
    found = hashlib.sha256()
    for part in PARTS:
        pixels, ids = getattr(split, part), getattr(split, f"{part}_ids")
        rows = np.column_stack([pixels, ids]).astype("<i8").reshape(-1, 3)  # (n, 3)
        found.update(f"{part} {len(rows)}\n".encode())
        found.update(rows[np.lexsort(rows.T[::-1])].tobytes())
    return found.hexdigest()


def load(path: Path, labels: Labels | None = None, valid: np.ndarray | None = None) -> Split:
    """Read and check a split file, of `save` or of anyone else.

    Parameters
    ----------
    path : Path
        An .npz with `train` and `test`, optionally `validation`: (n, 2) integers, row and column.
        Without `*_ids` the class ids are those of the labels.
    labels : Labels, optional
        Gives the grid that all pixels must be on, and the classes that those to train on have.
    valid : ndarray of bool, shape (H, W), optional
        Pixels that are not valid are left out, and a note counts them.

    Returns
    -------
    Split

    Raises
    ------
    SplitError
        When the file is missing or damaged, pixels lie outside the grid, repeat or are in two
        parts, or ids are missing, do not match the pixels or are 0; or those to train on are no
        classes of the labels, or most pixels have another class there. A class that is only tested
        may be none of the labels, and a note says so: a map is wrong at its pixels.
    """
    path = Path(path)
    arrays = _read_npz(path)
    missing = {"train", "test"} - arrays.keys()
    if missing:
        raise SplitError(f"split file {path}", expected="train and test", got=sorted(arrays))
    parts: dict[str, np.ndarray] = {}
    for part in PARTS:
        pixels = arrays.get(part, np.empty((0, 2), np.int64))
        _check_pixels(f"{part} of split file {path}", pixels, labels)
        parts[part] = pixels.astype(np.int64)
        ids = arrays.get(f"{part}_ids")
        if ids is None and labels is None and len(pixels):
            raise SplitError(f"split file {path} has no {part}_ids", hint="give the labels too")
        if ids is None:
            ids = labels.ids[tuple(parts[part].T)] if labels else np.empty(0, np.int32)
        if ids.shape != (len(pixels),) or ids.dtype.kind not in "iu" or (ids == UNLABELLED).any():
            raise SplitError(
                f"{part}_ids of split file {path}",
                expected=f"{len(pixels)} class ids, none of them {UNLABELLED} (unlabelled)",
                got=f"{ids.dtype} {ids.shape}, {np.count_nonzero(ids == UNLABELLED)} of them 0",
            )
        parts[f"{part}_ids"] = ids.astype(np.int32)
    if not len(parts["train"]):
        raise SplitError(f"split file {path} has no training pixel")
    everything = np.concatenate([parts[part] for part in PARTS])
    repeated = len(everything) - len(np.unique(everything, axis=0))
    if repeated:
        raise SplitError(f"{repeated} pixels repeat or are in two parts of split file {path}")
    notes = np.atleast_1d(arrays.get("notes", np.empty(0, str))).astype(str).tolist()
    if labels is not None:
        notes += _compared(path, parts, labels)
    if valid is not None:
        notes += _left_out(path, parts, valid)
    return Split(kind=str(arrays.get("kind", f"file {path.name}")), notes=tuple(notes), **parts)


def _compared(path: Path, parts: dict[str, np.ndarray], labels: Labels) -> list[str]:
    """Notes on what is other in the labels; a split of other labels is refused."""
    learned = np.concatenate([parts["train_ids"], parts["validation_ids"]])
    unknown = sorted(set(learned.tolist()) - set(labels.classes))
    if unknown:
        raise SplitError(
            f"split file {path} trains on classes {unknown}",
            expected=", ".join(f"{i} ({name})" for i, name in labels.classes.items()),
            hint="give the labels that the split was drawn from",
        )
    ids = np.concatenate([parts[f"{part}_ids"] for part in PARTS])
    theirs = labels.ids[tuple(np.concatenate([parts[part] for part in PARTS]).T)]
    both = theirs != UNLABELLED
    other = int(np.count_nonzero(both & (theirs != ids)))
    if 2 * other > np.count_nonzero(both):
        raise SplitError(
            f"split file {path} does not belong to labels {labels.source}: {other} of its "
            f"{np.count_nonzero(both)} labelled pixels have another class there",
            hint="give the labels that the split was drawn from",
        )
    notes = [f"{other} pixels of the split have another class in the labels"] if other else []
    tested = sorted(set(parts["test_ids"].tolist()) - set(labels.classes))
    if tested:
        notes.append(
            f"the split tests classes {tested}, which the labels do not have: every map is wrong "
            "at their pixels"
        )
    return notes


def _left_out(path: Path, parts: dict[str, np.ndarray], valid: np.ndarray) -> list[str]:
    """Leave out what is not valid, in place; a note that counts it."""
    lost = 0
    for part in PARTS:
        keep = valid[tuple(parts[part].T)]
        lost += int(np.count_nonzero(~keep))
        parts[part], parts[f"{part}_ids"] = parts[part][keep], parts[f"{part}_ids"][keep]
    if not len(parts["train"]):
        raise SplitError(f"split file {path} has no training pixel that is valid in the scene")
    return [f"{lost} pixels of the split are not valid and were left out"] if lost else []


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    check_archive(path, SplitError)
    try:
        with zipfile.ZipFile(path) as archive:  # np.load alone would take a lone .npy as well
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        with np.load(path, allow_pickle=False) as file:
            members = {name: file[name] for name in names}
        # Bytes where a member is another file.
        return {name: array for name, array in members.items() if isinstance(array, np.ndarray)}
    except FileNotFoundError:
        raise SplitError(f"there is no split file {path}") from None
    except Exception as error:  # of zip, zlib and the tokenizer of array headers
        raise SplitError(f"{path} is not a split file ({error})", expected=".npz") from None


def _check_pixels(what: str, pixels: np.ndarray, labels: Labels | None) -> None:
    if pixels.ndim != 2 or pixels.shape[1] != 2 or pixels.dtype.kind not in "iu":
        got = f"{pixels.dtype} {pixels.shape}"
        raise SplitError(what, expected="integers (n, 2): row, column", got=got)
    upper = labels.ids.shape if labels else (np.inf, np.inf)
    outside = ((pixels < 0) | (pixels >= np.array(upper))).any(axis=1)
    if outside.any():
        raise SplitError(what, expected=f"pixels within {upper}", got=pixels[outside][0].tolist())
