"""What the documentation shows is what its records say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hyperpeft.report import write_report

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = sorted((DOCS / "results").glob("*.jsonl"))


@pytest.mark.parametrize("study", RESULTS, ids=lambda path: path.stem)
def test_a_committed_report_is_that_of_its_records(study, tmp_path):
    """Byte by byte; the two pages hold all tables and figures, so only these are committed."""
    committed = study.with_suffix("") / "report"
    write_report(study, tmp_path, pack=tmp_path / "study.jsonl")
    files = sorted(path.name for path in committed.iterdir())
    assert files == ["index.html", "report.md"]
    for file in files:
        assert (committed / file).read_bytes() == (tmp_path / file).read_bytes(), file
    assert (tmp_path / "study.jsonl").read_bytes() == study.read_bytes()


def test_there_is_a_committed_report():
    assert [path.stem for path in RESULTS] == ["offline"]


def test_the_table_of_pretraining_is_that_of_its_records(tmp_path):
    records = DOCS.parent / "benchmarks" / "records" / "pretraining.jsonl"
    write_report(records, tmp_path)
    report, page = (p.read_text() for p in (tmp_path / "report.md", DOCS / "pretraining.md"))
    names = {
        "krona+_shipped": "KronA+, shipped weights",
        "full_shipped": "full fine-tuning, shipped weights",
        "krona+_scratch": "KronA+, from scratch",
        "full_scratch": "full fine-tuning, from scratch",
        "svm": "SVM, Gaussian kernel, cross-validated",
        "rf": "random forest",
    }
    for method, name in names.items():
        theirs, ours = (
            re.findall(
                r"\d+\.\d\d", next(row for row in text.splitlines() if row.startswith(first))
            )
            for text, first in ((report, f"| {method} |"), (page, f"| {name} |"))
        )
        assert ours == theirs[: len(ours)]
        assert len(ours) == 2 * 6 + 1  # six scenes with their deviations, and the mean
