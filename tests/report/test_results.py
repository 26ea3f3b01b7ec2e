"""What the documentation shows is what its records say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hyperpeft.report import write_report

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = sorted(path.parent for path in (DOCS / "results").glob("*/bench.json"))


@pytest.mark.parametrize("folder", RESULTS, ids=lambda path: path.name)
def test_a_committed_report_is_that_of_its_records(folder, tmp_path):
    committed = folder / "report"
    write_report(folder, tmp_path)
    files = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(committed) for p in committed.rglob("*") if p.is_file())
    for file in files:
        assert (committed / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_the_table_of_pretraining_is_that_of_its_records(tmp_path):
    records = DOCS.parent / "benchmarks" / "records" / "pretraining"
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
