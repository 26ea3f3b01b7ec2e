"""The files of a report: one HTML page without scripts, its pictures, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from hyperpeft._version import __version__
from hyperpeft.progress import current_listener
from hyperpeft.report.charts import Chart, all_charts, style_of
from hyperpeft.report.collect import Entry, Results, Setting, collect
from hyperpeft.report.statistics import Summary
from hyperpeft.report.study import is_study, read_study, write_study
from hyperpeft.report.table import Table, class_names, clean, text_of, to_csv, to_latex, to_markdown
from hyperpeft.report.tables import all_tables, commit, machine
from hyperpeft.runs.file_names import PICTURE
from hyperpeft.system.files import file_names, replacing
from hyperpeft.system.output_folder import output_folder, refuse_foreign_file, refuse_inputs


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
        "legend": legend(entries),
        "settings": [
            {
                "words": setting.words,
                "classes": tables[f"classes-{scene}-{setting.slug}"],
                "figures": tables.get(f"figures-{scene}-{setting.slug}"),
                "confusions": confusions(results, scene, setting),
                "maps": maps(results, scene, setting),
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
    notes = [("Notes", "; ".join(results.notes))] if results.notes else []
    return [
        ("Finished runs", f"{len(entries)}"),
        ("Scenes", ", ".join(results.scenes)),
        ("Methods", ", ".join(results.methods)),
        ("Settings", "; ".join(setting.words for setting in results.settings)),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Backbones", ", ".join(name for name in backbones if name) or "-"),
        ("Computed on", "; ".join(sorted({machine(e) for e in entries}))),
        ("Source", ", ".join(sorted({commit(e) for e in entries}))),
        *notes,
    ]


def _backbone(section: Mapping[str, Any]) -> str:
    if not section.get("name"):
        return ""
    trained = "pretrained" if section.get("pretrained") else "not pretrained"
    return f"{section['name']} ({trained})"


class Map(NamedTuple):
    """A picture of a run: its class map alone, or beside false colour and ground truth."""

    method: str
    data: str  # data: URL
    whole: bool
    words: str
    record: str


class Confusion(NamedTuple):
    """Pixels of all seeds: names, rows of (percent, pixels), and pixels per true class."""

    method: str
    names: list[str]
    rows: list[list[tuple[float, int]]]
    totals: list[int]
    seeds: int


def maps(results: Results, scene: str, setting: Setting) -> list[Map]:
    """One picture per method, of the first seed that was mapped: none is chosen by its score."""
    entries = results.select(scene=scene, setting=setting)
    mapped = [e for e in entries if e.picture is not None]
    if not mapped:
        return []
    seed = min(e.seed for e in mapped)
    found = []
    for entry in mapped:
        if entry.seed != seed or entry.picture is None:
            continue
        whole = entry.picture.name == PICTURE
        score = entry.metric("oa")
        words = f"Class map of {scene} by {entry.method}, {setting.words}, seed {seed}"
        words += f", OA {score:.1f} %" if score is not None else ""
        words += "; false colour and ground truth beside it" if whole else ""
        url = f"data:image/png;base64,{entry.picture.base64()}"
        found.append(Map(entry.method, url, whole, words, entry.path))
    return found


def legend(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Name and CSS colour of each class, of all runs."""
    scenes: list[dict[str, Any]] = [entry.record["scene"] for entry in entries]
    found = {
        (str(name), "rgb({}, {}, {})".format(*colour)): None
        for scene in scenes
        for name, colour in zip(scene.get("classes", []), scene.get("colours", []), strict=False)
    }
    return list(found)


def confusions(results: Results, scene: str, setting: Setting) -> list[Confusion]:
    """Confusion matrices summed over seeds."""
    found = []
    entries = results.select(scene=scene, setting=setting)
    for method in dict.fromkeys(e.method for e in entries):
        own = [e for e in entries if e.method == method]
        names = class_names(own[0])
        ids = sorted({int(i) for e in own for i in e.record["metrics"].get("class_ids", [])})
        place = {i: k for k, i in enumerate(ids)}
        total = [[0] * len(ids) for _ in ids]
        for entry in own:
            scores = entry.record["metrics"]
            here = [place[int(i)] for i in scores.get("class_ids", [])]
            for r, row in zip(here, scores.get("confusion", []), strict=False):
                for c, pixels in zip(here, row, strict=False):
                    total[r][c] += int(pixels)
        sums = [sum(row) for row in total]
        rows = [
            [(100 * n / whole if whole else 0.0, n) for n in row]
            for row, whole in zip(total, sums, strict=True)
        ]
        labels = [names.get(str(i), str(i)) for i in ids]
        found.append(Confusion(method, labels, rows, sums, len(own)))
    return found


PAGE = "index.html"


def write_report(
    source: Path, out: Path, *, reference: str | None = None, pack: Path | None = None
) -> list[Path]:
    """Write the page, and every table and figure as files of their own.

        OUT/index.html              everything, in one file that needs no other
        OUT/report.md               all tables
        OUT/tables/NAME.csv, .tex   each table
        OUT/figures/NAME.svg        each figure

    Parameters
    ----------
    source : Path
        Folder of a benchmark, any folder with run folders below it, or a study file.
    out : Path
    reference : str, optional
        The method that the others are compared with, instead of the benchmark's.
    pack : Path, optional
        A study file to write as well: all records in one file, to be given as `source`.

    Returns
    -------
    list of Path
        The page first, the study file last.

    Raises
    ------
    ConfigError, BundleError
        There is nothing to report on, a record is damaged, or `pack` is another kind of file.
    InUse
        Another process is writing to `out`.
    """
    study = read_study(source)
    results = collect(study, reference)
    tables, charts = all_tables(results), all_charts(results)
    files = {out / PAGE: render(results, tables, charts)}
    markdown = [to_markdown(table) for table in tables if table.name != "records"]
    notes = [line for note in results.notes for line in (f"Note: {clean(note)}.", "")]
    head = [f"# {clean(results.name)}", "", clean(results.about), "", *notes]
    files[out / "report.md"] = "\n".join([*head, *markdown])
    listener = current_listener()
    for note in results.notes:
        if listener is not None:
            listener(note)
    for table, name in zip(tables, file_names([t.name for t in tables]), strict=True):
        files[out / "tables" / f"{name}.csv"] = to_csv(table)
        files[out / "tables" / f"{name}.tex"] = to_latex(table)
    drawn = [chart for group in charts.values() for chart in group]
    for chart, name in zip(drawn, file_names([c.name for c in drawn]), strict=True):
        files[out / "figures" / f"{name}.svg"] = chart.in_file
    inputs = [("the record", path) for path in {cell.file for cell in study.cells}]
    refuse_inputs([pack] if pack else [], inputs, "--pack")
    if pack:
        refuse_foreign_file(pack, is_study, "is not a study file", "--pack")
    with output_folder(out, f"report folder {out}", outputs=files, inputs=inputs):
        for path, text in files.items():
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
    if pack:
        write_study(study, pack)
    return [*files, *([pack] if pack else [])]
