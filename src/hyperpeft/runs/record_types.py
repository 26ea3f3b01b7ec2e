"""The types of values in records from elsewhere, checked once where a record is read.

A run record may come from elsewhere, be written by another version or be damaged: what is absent or
null is missing, what is there must be what `docs/run-folder.md` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Any], bool]


def _is(*types: type) -> Test:
    return lambda value: (
        isinstance(value, types) and not (isinstance(value, bool) and bool not in types)
    )


def _list(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _table(test: Test) -> Test:
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


def _or_none(test: Test) -> Test:
    return lambda value: value is None or test(value)


_text, _dict = _is(str), _is(dict)


def _number(value: Any) -> bool:
    """A finite number: JSON allows larger ones."""
    return _is(int, float)(value) and -1e300 < value < 1e300


def _whole(value: Any) -> bool:
    return _is(int)(value) and abs(value) < 2**63


def _between(low: int, high: int) -> Test:
    return lambda value: _whole(value) and low <= value <= high


_id, _positive = _between(1, 65535), _between(1, 2**31 - 1)


def _window(value: Any) -> bool:
    return value == "auto" or (_between(1, 63)(value) and value % 2 == 1)


def _byte(value: Any) -> bool:
    return _whole(value) and 0 <= value <= 255


def _colour(value: Any) -> bool:
    return _list(_byte)(value) and len(value) == 3


TYPES: dict[str, tuple[Test, str]] = {
    **dict.fromkeys(
        ("scene.class_ids", "adapter.class_ids", "metrics.class_ids"),
        (_list(_id), "a list of class ids"),
    ),
    **dict.fromkeys(
        ("config.split", "scene.name", "scene.sha256", "split.kind", "split.sha256",
         "backbone.name", "backbone.weights_sha256", "adapter.method"),
        (_text, "text"),
    ),
    **dict.fromkeys(("scene.classes", "notes"), (_list(_text), "a list of texts")),
    "scene.colours": (_list(_colour), "a list of colours of 3 numbers from 0 to 255"),
    "scene.shape": (_list(_positive), "a list of whole numbers"),
    "config.image_size": (_between(8, 128), "a whole number from 8 to 128"),
    "config.stride": (_between(1, 8), "a whole number from 1 to 8"),
    "config.num_heads": (_between(1, 2**16), "a whole number above 0"),
    "config.patch_size": (_window, "an odd number from 1 to 63"),
    "config.precision": (lambda value: value in ("auto", "fp32", "bf16"), "auto, fp32 or bf16"),
    "metrics.per_class": (_table(_or_none(_number)), "a number or null for each class"),
    "metrics.confusion": (_list(_list(_whole)), "rows of whole numbers"),
    "split.per_class": (_table(_table(_whole)), "numbers of pixels for each class"),
    "split.leakage": (_dict, "an object"),
    "split.leakage.test_windows_touching_train": (_number, "a number"),
    **dict.fromkeys(
        ("metrics.oa", "metrics.aa", "metrics.kappa", "adapter.trainable_percent",
         "adapter.trainable_parameters", "adapter.bytes", "timing.train_seconds",
         "timing.predict_seconds", "timing.train_samples_per_second",
         "timing.predict_samples_per_second", "timing.peak_rss_mb", "config.fraction"),
        (_number, "a number"),
    ),
    "split.train": (_whole, "a whole number"),
    "environment.seed": (_whole, "a whole number"),
    "config.seed": (_whole, "a whole number"),
    "config.per_class": (_whole, "a whole number"),
}  # fmt: skip
_OF_CLASSES = {"metrics.confusion": "metrics.class_ids", "scene.classes": "scene.class_ids",
               "scene.colours": "scene.class_ids"}  # fmt: skip


# What using a run again relies on.
NEEDED = {
    "config": ("num_heads", "image_size", "stride", "patch_size", "precision"),
    "scene": ("name", "class_ids", "classes", "colours"),
    "backbone": ("name", "weights_sha256"),
    "adapter": ("method", "class_ids", "bytes", "trainable_parameters"),
    "metrics": ("oa",),
}


def lacking(record: Mapping[str, Any]) -> list[str]:
    """What a record would need for its run to be used again, and does not have."""
    return [
        f"it lacks {section}.{key}"
        for section, keys in NEEDED.items()
        for key in keys
        if not isinstance(record[section], dict) or key not in record[section]
    ]


def problems(record: Mapping[str, Any]) -> list[str]:
    """What is wrong with the types and lengths of a record's values; empty for a sound one."""
    found = []
    for path, (test, expected) in TYPES.items():
        value = _at(record, path)
        if value is not None and not test(value):
            found.append(f"{path}: expected {expected}, got {str(value)[:80]}")
    if found:
        return found
    for path, ids in _OF_CLASSES.items():
        value, classes = _at(record, path), _at(record, ids)
        if value is not None and classes is not None and len(value) != len(classes):
            found.append(f"{path}: expected {len(classes)}, as in {ids}, got {len(value)}")
    ids = _at(record, "scene.class_ids")
    strange = sorted(set(_at(record, "adapter.class_ids") or ()) - set(ids or ()))
    if ids is not None and strange:
        found.append(f"adapter.class_ids holds {strange[:8]}, which the scene does not")
    rows = _at(record, "metrics.confusion") or []
    if any(len(row) != len(rows) for row in rows):
        found.append("metrics.confusion: expected as many columns as rows")
    return found


def _at(record: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(record, Mapping):
            return None
        record = record.get(name)
    return record
