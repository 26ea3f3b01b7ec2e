"""A study in one file, the statistics of a report, and what the documentation shows of them."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hyperpeft.cli import main
from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.report import statistics as st
from hyperpeft.report import write_report
from hyperpeft.report.study import read_study, write_study
from hyperpeft.report.table import text_of
from tests.helpers.runs import make_record, write_bench, write_map


@pytest.fixture
def bench(tmp_path) -> Path:
    """Three methods, of which one failed on one scene, and maps of both kinds."""
    means = {m: {"meadow": 80.0 + i, "town": 70.0 - i} for i, m in enumerate(("krona+", "svm"))}
    folder = write_bench(tmp_path / "bench", means, seeds=2)
    write_map(folder / "cells/town/random/10-per-class/svm/seed-0/map.png", seed=7)
    failed = folder / "cells/town/random/10-per-class/full/seed-0"
    failed.mkdir(parents=True)
    (failed / "failed.json").write_text('{"reason": "no memory: 3 µs later"}', encoding="utf-8")
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_packed_study_gives_the_report_of_its_folder(bench, tmp_path):
    pack = tmp_path / "planted.jsonl"
    files = write_report(bench, tmp_path / "one", pack=pack)
    assert files[-1] == pack
    shutil.rmtree(bench)  # the file stands alone
    write_report(pack, tmp_path / "two", pack=tmp_path / "again.jsonl")
    first, second = files_below(tmp_path / "one"), files_below(tmp_path / "two")
    assert first == second
    assert len(first) > 20
    assert (tmp_path / "again.jsonl").read_bytes() == pack.read_bytes()


def test_a_study_file_is_json_lines_with_the_records_as_they_are(bench, tmp_path):
    write_study(read_study(bench), tmp_path / "s.jsonl")
    header, *lines = map(json.loads, (tmp_path / "s.jsonl").read_text().splitlines())
    assert header["hyperpeft_study"] == 1
    assert header["bench.json"] == json.loads((bench / "bench.json").read_text())
    assert len(lines) == 2 * 2 * 2 * 2 + 1
    for line in lines:
        name = "failed.json" if "/full/" in line["path"] else "run.json"
        assert line[name] == json.loads((bench / line["path"] / name).read_text())
    shown = {name for line in lines for name in line if name.endswith(".png")}
    assert shown == {"map.png", "classes.png"}


def test_single_runs_are_packed_as_well(tmp_path):
    for seed in range(2):
        (tmp_path / "runs" / f"s{seed}").mkdir(parents=True)
        record = json.dumps(make_record(seed=seed))
        (tmp_path / "runs" / f"s{seed}" / "run.json").write_text(record)
    write_report(tmp_path / "runs", tmp_path / "one", pack=tmp_path / "p.jsonl")
    write_report(tmp_path / "p.jsonl", tmp_path / "two")
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
    assert "# runs" in (tmp_path / "two" / "report.md").read_text()


@pytest.mark.parametrize("name", ["/../../../pwn", "a/b", "x" * 300, "wald\\wiese: 1"])
def test_a_report_of_any_scene_stays_in_its_folder(tmp_path, name):
    record = make_record()
    record["scene"]["name"] = name
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    before = set(tmp_path.iterdir())
    write_report(tmp_path / "run", tmp_path / "out")
    assert set(tmp_path.iterdir()) == before | {tmp_path / "out"}
    assert [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()] == ["tables"]
    assert all(path.is_file() for path in (tmp_path / "out" / "tables").iterdir())
    assert any(path.name.startswith("classes-") for path in (tmp_path / "out" / "tables").iterdir())


HEADER = '{"hyperpeft_study": 1, "name": "x", "bench.json": null}'
RECORD = json.dumps(make_record())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a study file"),
        ('{"type": "FeatureCollection"}', "is not a study file"),
        ("scene,oa\na,90\n", "cannot be read"),
        (f'{HEADER}\n{{"path": "a"}}', "line 2 is not a run"),
        (f"{HEADER}\n[]", "line 2: expected an object"),
        (f'{HEADER}\n{{"path": "../a", "run.json": {RECORD}}}', "line 2: path"),
        (f'{HEADER}\n{{"path": "/a", "run.json": {RECORD}}}', "line 2: path"),
        (
            f'{HEADER}\n{{"path": "a", "run.json": {RECORD}, "map.png": "PHN2Zz4="}}',
            "line 2: map.png: expected a PNG",
        ),
        (
            f'{HEADER}\n{{"path": "a", "run.json": {RECORD}, "map.png": "\\" onload=x"}}',
            "line 2: map.png: expected a PNG",
        ),
        (f'{HEADER}\n{{"path": "a", "run.json": {{"config": 3}}}}', "x.jsonl, a/run.json is not"),
        ('{"hyperpeft_study": 1, "bench.json": {"config": []}}', "config: expected a dict"),
        (f"{HEADER}\n" + "[" * 100_000, "nested too deeply"),
    ],
)
def test_damaged_study_files_are_refused(text, says, tmp_path):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(BundleError, match=says):
        write_report(tmp_path / "x.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_study_is_said(tmp_path):
    (tmp_path / "x.jsonl").write_text(HEADER)
    with pytest.raises(ConfigError, match="holds no record"):
        write_report(tmp_path / "x.jsonl", tmp_path / "out")


def test_a_study_is_not_written_over_what_it_is_made_of(bench, tmp_path):
    record = bench / "cells/meadow/random/10-per-class/svm/seed-0/run.json"
    before = record.read_bytes()
    with pytest.raises(ConfigError, match="--pack"):
        write_report(bench, tmp_path / "out", pack=record)
    assert record.read_bytes() == before


def test_a_study_replaces_studies_alone(bench, tmp_path):
    other = tmp_path / "thesis.tex"
    other.write_text("mine")
    with pytest.raises(ConfigError, match="is not a study file; choose another --pack"):
        write_report(bench, tmp_path / "out", pack=other)
    assert other.read_text() == "mine"
    for _ in range(2):
        write_study(read_study(bench), tmp_path / "s.jsonl")
        write_report(bench, tmp_path / "out", pack=tmp_path / "s.jsonl")


def test_runs_in_a_folder_called_work_are_reported(bench, tmp_path):
    """What a benchmark is still computing is not, whatever folder is reported on."""
    for folder in ("runs/work", "runs/work/b", "runs/bench/work/c"):
        (tmp_path / folder).mkdir(parents=True)
        record = json.dumps(make_record(seed=len(folder)))
        (tmp_path / folder / "run.json").write_text(record)
    (tmp_path / "runs/bench/bench.json").write_text("{}")
    found = read_study(tmp_path / "runs").cells
    assert [cell.path for cell in found] == ["work/b", "work"]
    shutil.copytree(bench / "cells/town", bench / "work/town")
    assert not any("work" in cell.path for cell in read_study(bench).cells)


def test_the_command_packs_and_reads(bench, tmp_path, capsys, monkeypatch):
    for source, words in ((bench, ["--pack", str(tmp_path / "s.jsonl")]), ("s.jsonl", [])):
        command = ["hyperpeft", "report", str(tmp_path / source), *words, "--json"]
        monkeypatch.setattr(sys, "argv", command)
        main()
        files = json.loads(capsys.readouterr().out)["files"]
        assert all(Path(file).is_file() for file in files)
    assert files[0] == str(tmp_path / "s" / "report" / "index.html")


def test_summary_is_the_sample_deviation():
    values = [80.0, 84.5, 91.0, 88.0]
    found = st.summary(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(stats.tstd(values))
    assert st.summary([3.0]) == (3.0, None, 1)  # one seed has no spread, not a spread of 0


def test_pairs_need_the_same_split():
    first = {("a", 0): (90.0, "x"), ("a", 1): (91.0, "y"), ("b", 0): (70.0, None), "c": (1.0, "z")}
    second = {("a", 0): (88.0, "x"), ("a", 1): (99.0, "other"), ("b", 0): (60.0, None)}
    differences, unpaired = st.paired(first, second)
    assert differences == {("a", 0): 2.0}
    assert unpaired == [("a", 1), ("b", 0)]  # another split; no hash at all


def test_one_value_has_no_interval():
    found = st.bootstrap([[2.5]])
    assert found == st.Interval(2.5, None, None)
    assert text_of(found, 2) == "+2.50"
    assert text_of(st.bootstrap([[1.0, 3.0]]), 0).startswith("+2 [+1, +3")


def test_the_interval_of_one_scene_is_the_plain_bootstrap():
    values = np.random.default_rng(1).normal(80, 3, 12)
    found = st.bootstrap([values])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(theirs.low, abs=0.1)
    assert found.high == pytest.approx(theirs.high, abs=0.1)


def test_the_interval_covers_the_planted_mean():
    """Scenes with an effect of their own about 2 points: about 19 of 20 intervals hold the 2."""
    rng, held = np.random.default_rng(0), 0
    for i in range(200):
        groups = [rng.normal(rng.normal(2, 1.5), 0.7, 3).tolist() for _ in range(12)]
        found = st.bootstrap(groups, resamples=1000, seed=i)
        held += found.low <= 2 <= found.high
    assert 0.86 <= held / 200 <= 0.99


def test_the_interval_knows_that_scenes_differ():
    """Many seeds of two scenes that disagree are no evidence; treated as one heap they would be."""
    groups = [[5.0 + 0.01 * i for i in range(10)], [-3.0 + 0.01 * i for i in range(10)]]
    found = st.bootstrap(groups)
    assert found.low < 0 < found.high
    heap = st.bootstrap([[*groups[0], *groups[1]]])
    assert heap.low > -1.2
    assert found.low < -2.9


def test_intervals_repeat():
    assert st.bootstrap([[1.0, 2.0], [3.0]]) == st.bootstrap([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("n", [5, 8, 12, 20])
def test_wilcoxon_without_ties_is_scipys(n):
    values = np.random.default_rng(n).normal(0.5, 1, n)
    assert st.wilcoxon(values).p == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_wilcoxon_with_ties_counts_every_choice_of_signs():
    values = [1.0, 1.0, -2.0, 3.0, 3.0, 4.0]
    ranks = stats.rankdata(np.abs(values))
    seen = sum(r for r, v in zip(ranks, values, strict=True) if v > 0)
    sums = [
        sum(r for r, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product([0, 1], repeat=6)
    ]
    far = [s for s in sums if abs(s - ranks.sum() / 2) >= abs(seen - ranks.sum() / 2)]
    assert st.wilcoxon(values).p == pytest.approx(len(far) / 64)


def test_few_scenes_cannot_be_significant():
    """However large the differences of five scenes: p is 0.0625, and the test says so."""
    found = st.wilcoxon([50.0, 60.0, 70.0, 80.0, 90.0])
    assert found.p == found.smallest == 0.0625
    assert st.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).p == pytest.approx(0.03125)
    assert st.wilcoxon([0.0, 0.0]) == (None, 0, 1.0)
    assert st.wilcoxon([0.0, 3.0]).n == 1


def test_wilcoxon_finds_what_is_planted_and_no_more():
    rng = np.random.default_rng(0)
    found = [st.wilcoxon(rng.normal(0, 1, 10)).p < 0.05 for _ in range(300)]
    assert np.mean(found) < 0.09  # no effect: about 1 in 20
    found = [st.wilcoxon(rng.normal(1.5, 1, 10)).p < 0.05 for _ in range(100)]
    assert np.mean(found) > 0.9


def test_holm():
    assert st.holm({"a": 0.01, "b": 0.02, "c": 0.9}) == {"a": 0.03, "b": 0.04, "c": 0.9}
    assert st.holm({"a": 0.8, "b": 0.7}) == {"a": 1.0, "b": 1.0}


def test_ranks_of_a_planted_order():
    scores = {
        "good": {f"s{i}": 90.0 + i for i in range(6)},
        "fair": {f"s{i}": 80.0 + i for i in range(6)},
        "poor": {f"s{i}": 70.0 + i for i in range(6)},
    }
    found = st.average_ranks(scores)
    assert found.ranks == {"good": 1.0, "fair": 2.0, "poor": 3.0}
    assert found.scenes == 6
    table = [list(of.values()) for of in scores.values()]
    assert found.p == pytest.approx(stats.friedmanchisquare(*table).pvalue)
    assert found.p < 0.01
    assert found.critical < 2  # good and poor can be told apart, good and fair cannot
    assert found.critical > 1


def test_ranks_share_ties_and_skip_what_a_method_lacks():
    found = st.average_ranks({"a": {"x": 5.0, "y": 1.0}, "b": {"x": 5.0}, "c": {"x": 1.0}})
    assert found.ranks == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert found.scenes == 1
    assert (found.p, found.critical) == (None, None)
    assert st.average_ranks({"a": {}, "b": {"x": 1.0}}).ranks == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a division by zero
        alike = st.average_ranks({name: {"x": 5.0, "y": 1.0} for name in "abc"})
    assert alike.ranks == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert alike.p is None


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (8, 3.031), (10, 3.164)]
)
def test_the_critical_difference_has_the_published_constants(k, q):
    """Demsar 2006, table 5(a)."""
    n = 14
    assert st.critical_difference(k, n) == pytest.approx(
        q * np.sqrt(k * (k + 1) / (6 * n)), rel=1e-3
    )


DOCS = Path(__file__).parents[2] / "docs"
RESULTS = sorted((DOCS / "results").glob("*.jsonl"))


@pytest.mark.parametrize("study", RESULTS, ids=lambda path: path.stem)
def test_a_committed_report_is_that_of_its_records(study, tmp_path):
    """Byte by byte; the page, which has the same tables and the figures, is not committed."""
    write_report(study, tmp_path, pack=tmp_path / "study.jsonl")
    report = (tmp_path / "report.md").read_bytes()
    assert study.with_suffix(".md").read_bytes() == report
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.endswith("</html>")
    titles = set(re.findall("^### (.+)$", report.decode(), re.MULTILINE))
    assert titles <= set(map(html.unescape, re.findall("<caption>([^<]+)", page)))
    assert page.count("<svg") == len(list((tmp_path / "figures").iterdir())) > 0
    assert (tmp_path / "study.jsonl").read_bytes() == study.read_bytes()


def test_there_is_a_committed_report():
    names = ["few-labels-before", "few-labels", "indian-pines", "label-efficiency", "offline"]
    assert [path.stem for path in RESULTS] == names
    kept = {"README.md", *(f"{name}{ending}" for name in names for ending in (".jsonl", ".md"))}
    assert {path.name for path in (DOCS / "results").iterdir()} == kept


def test_the_table_of_pretraining_is_that_of_its_records(tmp_path):
    records = DOCS.parent / "benchmarks" / "records" / "pretraining.jsonl"
    write_report(records, tmp_path)
    report, page = (
        p.read_text() for p in (tmp_path / "report.md", DOCS / "explanation" / "backbone.md")
    )
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
