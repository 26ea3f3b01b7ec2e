"""What run.json holds: one run, from options to scores."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field
from pathlib import Path
from typing import Any

from hyperpeft.errors import BundleError
from hyperpeft.runs import record_types
from hyperpeft.system.files import read_json


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` holds: the whole run but the weights. Missing stays missing (None).

    The sections are plain dictionaries whose keys `docs/run-folder.md` lists.
    """

    hyperpeft: str
    created: str
    config: dict[str, Any]
    scene: dict[str, Any]
    reducer: dict[str, Any]
    split: dict[str, Any]
    backbone: dict[str, Any]
    adapter: dict[str, Any]
    metrics: dict[str, Any]
    timing: dict[str, Any]
    environment: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    map: dict[str, Any] | None = None  # classes with their pixels and hectares
    baseline: dict[str, Any] | None = None  # of a baseline only: what was chosen and counted

    def to_json(self) -> str:
        """Indented JSON; NaN is refused, because missing is null."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_file(cls, path: Path) -> RunRecord:
        """Read `run.json`; a file that is not one is refused by name."""
        try:
            values = read_json(path)
        except FileNotFoundError:
            raise BundleError(
                f"{path.parent} is not a run folder: it has no run.json",
                hint="give the folder that `hyperpeft train --out` wrote",
            ) from None
        fields = cls.__dataclass_fields__
        required = {
            name
            for name, field in fields.items()
            if field.default is MISSING and field.default_factory is MISSING
        }
        if not isinstance(values, dict) or not required <= values.keys():
            got = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise BundleError(f"{path} is not a run record", expected=sorted(required), got=got)
        wrong = record_types.lacking(values) or record_types.problems(values)
        if wrong:
            more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise BundleError(f"{path} is not a run record: {'; '.join(wrong[:3])}{more}")
        # A later version may have added sections: they say nothing about those known here.
        values = {name: value for name, value in values.items() if name in fields}
        return cls(**values)
