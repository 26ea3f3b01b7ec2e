"""The types of a run record's values, so that whoever uses one need not doubt them.

A record may come from elsewhere, be written by another version or be damaged: what is absent or
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


_whole, _number, _text, _dict = _is(int), _is(int, float), _is(str), _is(dict)


def _id(value: Any) -> bool:
    return _whole(value) and 0 <= value <= 65535


def _positive(value: Any) -> bool:
    return _whole(value) and 0 < value < 2**31


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
        ("scene.name", "scene.sha256", "split.kind", "split.sha256", "backbone.name",
         "backbone.weights_sha256", "adapter.method", "config.precision"),
        (_text, "text"),
    ),
    **dict.fromkeys(("scene.classes", "notes"), (_list(_text), "a list of texts")),
    "scene.colours": (_list(_colour), "a list of colours of 3 numbers from 0 to 255"),
    "scene.shape": (_list(_positive), "a list of whole numbers"),
    **dict.fromkeys(
        ("config.image_size", "config.stride", "config.num_heads", "config.patch_size"),
        (_positive, "a whole number above 0"),
    ),
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
}  # fmt: skip
_OF_CLASSES = {"metrics.confusion": "metrics.class_ids", "scene.classes": "scene.class_ids",
               "scene.colours": "scene.class_ids"}  # fmt: skip


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
