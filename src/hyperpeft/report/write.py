"""The files of a report."""

from __future__ import annotations

from pathlib import Path

from hyperpeft.report import table_formats
from hyperpeft.report.charts import all_charts
from hyperpeft.report.collect import collect
from hyperpeft.report.page import render
from hyperpeft.report.study import read_study, write_study
from hyperpeft.report.tables import all_tables
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import output_folder
from hyperpeft.system.overwrite import refuse_inputs

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
        There is nothing to report on, or a record is damaged.
    InUse
        Another process is writing to `out`.
    """
    study = read_study(source)
    results = collect(study, reference)
    tables, charts = all_tables(results), all_charts(results)
    files = {out / PAGE: render(results, tables, charts)}
    markdown = [table_formats.to_markdown(table) for table in tables if table.name != "records"]
    files[out / "report.md"] = "\n".join([f"# {results.name}", "", results.about, "", *markdown])
    for table in tables:
        files[out / "tables" / f"{table.name}.csv"] = table_formats.to_csv(table)
        files[out / "tables" / f"{table.name}.tex"] = table_formats.to_latex(table)
    for group in charts.values():
        for chart in group:
            files[out / "figures" / f"{chart.name}.svg"] = chart.in_file
    inputs = [("the record", path) for path in {cell.file for cell in study.cells}]
    refuse_inputs([pack] if pack else [], inputs, "--pack")
    with output_folder(out, f"report folder {out}", outputs=files, inputs=inputs):
        for path, text in files.items():
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
    if pack:
        write_study(study, pack)
    return [*files, *([pack] if pack else [])]
