"""The HTML page: one file, no scripts, no other file needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from hyperpeft._version import __version__
from hyperpeft.report import images
from hyperpeft.report.charts import Chart, style_of
from hyperpeft.report.collect import Results
from hyperpeft.report.statistics import Summary
from hyperpeft.report.table import Table, text_of
from hyperpeft.report.tables import commit, machine


def render(results: Results, tables: Sequence[Table], charts: Mapping[str, Sequence[Chart]]) -> str:
    """The page as text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = text_of
    environment.filters["height"] = _height
    source = files("hyperpeft.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    by_name = {table.name: table for table in tables}
    return environment.from_string(source).render(
        results=results,
        version=__version__,
        facts=_facts(results),
        styles=style_of(results.methods),
        summaries=[t for t in tables if t.name.startswith(("splits-", "summary-"))],
        comparisons=[t for t in tables if t.name.startswith("comparison-")],
        charts=charts,
        scenes=[_scene(results, scene, by_name) for scene in results.scenes],
        cost=by_name.get("cost"),
        records=by_name.get("records"),
        failures=by_name.get("failures"),
    )


def _height(value: Any) -> float | None:
    """Length of a bar in percent."""
    number = value.mean if isinstance(value, Summary) else value
    return round(float(number), 1) if isinstance(number, int | float) else None


def _scene(results: Results, scene: str, tables: Mapping[str, Table]) -> dict[str, Any]:
    entries = results.select(scene=scene)
    own = entries[0].record["scene"]
    shape = own.get("shape") or []
    budgets = list(dict.fromkeys(e.budget for e in entries))
    settings = list(dict.fromkeys(e.setting for e in entries))
    return {
        "name": scene,
        "about": " x ".join(str(n) for n in shape),
        "classes": len(own.get("classes", [])),
        "notes": list(dict.fromkeys(n for e in entries[:1] for n in e.record.get("notes", []))),
        "tables": [tables[f"scene-{scene}-{budget}"] for budget in budgets],
        "legend": images.legend(entries),
        "settings": [
            {
                "words": setting.words,
                "classes": tables[f"classes-{scene}-{setting.slug}"],
                "figures": tables.get(f"figures-{scene}-{setting.slug}"),
                "confusions": images.confusions(results, scene, setting),
                "maps": images.maps(results, scene, setting),
            }
            for setting in settings
        ],
    }


def _facts(results: Results) -> list[tuple[str, str]]:
    """What was run, in a few lines."""
    entries = results.entries
    if not entries:
        return [("Finished runs", "0")]
    seeds = sorted({e.seed for e in entries})
    backbones = dict.fromkeys(_backbone(e.record.get("backbone") or {}) for e in entries)
    return [
        ("Finished runs", f"{len(entries)}"),
        ("Scenes", ", ".join(results.scenes)),
        ("Methods", ", ".join(results.methods)),
        ("Settings", "; ".join(setting.words for setting in results.settings)),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Backbones", ", ".join(name for name in backbones if name) or "-"),
        ("Computed on", "; ".join(sorted({machine(e) for e in entries}))),
        ("Source", ", ".join(sorted({commit(e) for e in entries}))),
    ]


def _backbone(section: Mapping[str, Any]) -> str:
    if not section.get("name"):
        return ""
    trained = "pretrained" if section.get("pretrained") else "not pretrained"
    return f"{section['name']} ({trained})"
