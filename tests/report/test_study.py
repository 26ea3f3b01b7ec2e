"""A study in one file: the same report as from its folder, and untrusted files are checked."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from hyperpeft.cli import main
from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.report import write_report
from hyperpeft.report.study import read_study, write_study
from tests.helpers.records import make_record, write_bench, write_map


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


def test_the_command_packs_and_reads(bench, tmp_path, capsys, monkeypatch):
    for source, words in ((bench, ["--pack", str(tmp_path / "s.jsonl")]), ("s.jsonl", [])):
        command = ["hyperpeft", "report", str(tmp_path / source), *words, "--json"]
        monkeypatch.setattr(sys, "argv", command)
        main()
        files = json.loads(capsys.readouterr().out)["files"]
        assert all(Path(file).is_file() for file in files)
    assert files[0] == str(tmp_path / "s" / "report" / "index.html")
