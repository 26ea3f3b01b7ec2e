"""What a run record must be for a run to be used again: it may come from a stranger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_LARGEST_ID = 65535
_LARGEST_WINDOW = 63

Check = tuple[str, Callable[[Any], bool]]


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _listed(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_id = _whole(1, _LARGEST_ID)
_colour = _listed(_whole(0, 255))
_COUNT = "a whole number"

# What using a run again relies on. None is what the record of a baseline has.
_NEEDED: dict[str, dict[str, Check]] = {
    "config": {
        "num_heads": (f"{_COUNT} or null", _or_none(_whole(1, 2**16))),
        "image_size": (f"{_COUNT} from 8 to 128", _or_none(_whole(8, 128))),
        "stride": (f"{_COUNT} from 1 to 8", _whole(1, 8)),
        "patch_size": (
            f"an odd number from 1 to {_LARGEST_WINDOW}",
            lambda v: v in (None, "auto") or (_whole(1, _LARGEST_WINDOW)(v) and v % 2 == 1),
        ),
        "precision": ("auto, fp32 or bf16", lambda value: value in ("auto", "fp32", "bf16")),
    },
    "scene": {
        "name": ("text", _text),
        "class_ids": (f"{_COUNT}s from 1 to {_LARGEST_ID}", _listed(_id)),
        "classes": ("texts", _listed(_text)),
        "colours": ("three numbers each", _listed(lambda v: _colour(v) and len(v) == 3)),
    },
    "backbone": {
        "name": ("text", _or_none(_text)),
        "weights_sha256": ("text", _or_none(_text)),
    },
    "adapter": {
        "method": ("text", _text),
        "class_ids": (f"{_COUNT}s from 1 to {_LARGEST_ID}", _listed(_id)),
        "bytes": ("a number", _or_none(_number)),
        "trainable_parameters": ("a number", _or_none(_number)),
    },
    "metrics": {"oa": ("a number", _or_none(_number))},
}


def problems(values: dict[str, Any]) -> list[str]:
    """What is missing or wrong in a record, a clause each; nothing where it can be used."""
    found = []
    for section, checks in _NEEDED.items():
        held = values[section]
        for key, (expected, check) in checks.items():
            name = f"{section}.{key}"
            if not isinstance(held, dict) or key not in held:
                found.append(f"it lacks {name}")
            elif not check(held[key]):
                found.append(f"{name} is {_short(held[key])} instead of {expected}")
    if found:
        return found
    scene, ids = values["scene"], values["scene"]["class_ids"]
    for key in ("classes", "colours"):
        if len(scene[key]) != len(ids):
            found.append(f"scene.{key} has {len(scene[key])} entries for {len(ids)} class ids")
    strange = sorted(set(values["adapter"]["class_ids"]) - set(ids))
    if strange:
        found.append(f"adapter.class_ids holds {strange[:8]}, which the scene does not")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
