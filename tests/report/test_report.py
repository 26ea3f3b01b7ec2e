"""A report from planted records: every number is known beforehand; the page in a real browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hyperpeft import cli
from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.report import write_report
from hyperpeft.report.collect import Setting, collect
from hyperpeft.report.study import read_study
from hyperpeft.report.table import class_table, latex, pattern, text_of
from hyperpeft.report.tables import comparison_table, scene_table, splits_table, summary_table
from tests.helpers.runs import make_record, write_bench

SCENES = ("meadow", "town", "coast", "hills", "delta", "lake", "moor")
MEANS = {
    "krona+": {scene: 90.0 + i for i, scene in enumerate(SCENES)},
    "full": {scene: 91.0 + i for i, scene in enumerate(SCENES)},
    "probe": {scene: 80.0 + i for i, scene in enumerate(SCENES)},
    "svm": {scene: 85.0 + i for i, scene in enumerate(SCENES)},
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return write_bench(tmp_path_factory.mktemp("planted"), MEANS)


@pytest.fixture(scope="module")
def written(planted):
    return write_report(planted, planted / "report")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_summary_has_the_planted_numbers(planted, written):
    rows = rows_of(planted / "report" / "tables" / "summary-random-10-per-class.csv")
    assert [row["Method"] for row in rows] == list(MEANS)
    for row in rows:
        for scene, mean in MEANS[row["Method"]].items():
            assert float(row[scene]) == pytest.approx(mean)
            assert float(row[f"{scene} std"]) == pytest.approx(0.5)
            assert row[f"{scene} n"] == "3"
    assert [float(row["Average rank"]) for row in rows] == [2.0, 1.0, 4.0, 3.0]
    assert float(rows[0]["Mean"]) == pytest.approx(93.0)
    assert {row["Leakage %"] for row in rows} == {"48"}


def test_the_comparison_has_the_planted_differences(planted):
    table = comparison_table(collect(read_study(planted)), Setting("disjoint", "10-per-class"))
    full = next(row for row in table.rows if row[0] == "full")
    assert full[1] == pytest.approx((1.0, 1.0, 1.0))  # the same on every scene and seed
    assert full[2] == "7 / 0 / 0"
    assert full[3] == pytest.approx(2 / 2**7)
    assert full[4] == pytest.approx(3 * 2 / 2**7)  # Holm, three comparisons
    assert full[6:9] == [21, 0, "0"]
    assert "minus krona+" in table.note


def test_runs_on_other_splits_are_not_paired(tmp_path):
    write_bench(tmp_path, {"krona+": {"a": 90.0}, "full": {"a": 95.0}}, maps=False)
    path = tmp_path / "cells/a/random/10-per-class/full/seed-1/run.json"
    record = json.loads(path.read_text())
    record["split"]["sha256"] = "another"
    path.write_text(json.dumps(record))
    table = comparison_table(collect(read_study(tmp_path)), Setting("random", "10-per-class"))
    assert table.rows[0][6:8] == [2, 1]


def test_splits_stand_side_by_side_with_their_leakage(planted):
    table = scene_table(collect(read_study(planted)), "meadow", "10-per-class")
    heads = [column.head for column in table.columns]
    assert heads.index("OA, random") < heads.index("OA, disjoint")
    row = dict(zip(heads, table.rows[0], strict=True))
    assert row["OA, random"].mean == pytest.approx(90.0)
    assert row["OA, disjoint"].mean == pytest.approx(82.0)
    assert (row["Leakage %, random"], row["Leakage %, disjoint"]) == (48.0, 0.0)


def test_kinds_of_split_stand_side_by_side_over_all_scenes(planted):
    table = splits_table(collect(read_study(planted)), "10-per-class")
    heads = [column.head for column in table.columns]
    assert heads[1::2] == ["Random, 7 scenes", "Disjoint, 7 scenes"]
    rows = {row[0]: dict(zip(heads, row, strict=True)) for row in table.rows}
    assert rows["krona+"]["Random, 7 scenes"] == pytest.approx(93.0)
    assert rows["krona+"]["Disjoint, 7 scenes"] == pytest.approx(85.0)
    assert rows["full"]["Random, 7 scenes"] == pytest.approx(94.0)


def test_every_table_says_how_much_leaks_and_what_it_is_made_of(planted, written):
    for path in written:
        if path.suffix == ".csv":
            assert "Leakage %" in path.read_text(), path.name
        if path.suffix == ".tex" and "records" not in path.name:
            first = path.read_text().splitlines()[0]
            assert re.match(r"% Records: cells/.+run\.json \(\d+ records\)", first), path.name
    page = written[0].read_text()
    assert page.count("Records: <code>cells/") > 40


def test_one_seed_has_no_deviation(tmp_path):
    write_bench(tmp_path, {"krona+": {"a": 90.0}, "full": {"a": 95.0}}, seeds=1, maps=False)
    table = summary_table(collect(read_study(tmp_path)), Setting("random", "10-per-class"))
    assert text_of(table.rows[0][1], 2) == "90.00"


def test_a_mean_is_over_all_seeds(planted):
    """The mean of the seeds, and nowhere the best of them: 90.5 was reached on meadow."""
    table = summary_table(collect(read_study(planted)), Setting("random", "10-per-class"))
    assert table.rows[0][1].mean == pytest.approx(90.0)
    assert "90.50" not in " ".join(text_of(v, 2) for v in table.rows[0])


class Page(HTMLParser):
    """Links, ids, sources and the nesting of tags."""

    VOID = frozenset(
        ["meta", "link", "img", "br", "hr", "path", "use", "rect", "line", "circle", "input"]
    )

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources, self.open, self.bad = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        self.sources += [values["src"]] if "src" in values else []
        if tag == "img" and not values.get("alt"):
            self.bad.append("img without alt")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        if tag not in self.VOID and tag != "use":
            pass

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.bad.append(f"</{tag}>")


def test_the_page_needs_nothing_else(written):
    text = written[0].read_text()
    page = Page(text)
    assert page.bad == []
    assert page.open == []
    assert {link for link in page.links if link.startswith("#")} == set(page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert len(page.sources) == 2 * len(SCENES) * len(MEANS)
    assert "<script" not in text
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]+"', "", text)
    assert "prefers-color-scheme: dark" in text


def test_failed_and_missing_cells_are_listed(tmp_path):
    write_bench(tmp_path, {"krona+": {"a": 90.0}}, maps=False)
    bad = tmp_path / "cells/a/random/10-per-class/full/seed-0"
    bad.mkdir(parents=True)
    (bad / "failed.json").write_text(json.dumps({"reason": "the loss became nan <b>"}))
    plan = json.loads((tmp_path / "bench.json").read_text())
    plan["cells"] = ["cells/a/random/10-per-class/full/seed-1"]
    (tmp_path / "bench.json").write_text(json.dumps(plan))
    text = write_report(tmp_path, tmp_path / "out")[0].read_text()
    assert "the loss became nan &lt;b&gt;" in text
    assert "1 cells failed and 1 are not computed yet" in text
    assert "not computed yet" in (tmp_path / "out" / "report.md").read_text()


def test_plain_run_folders_report_as_well(tmp_path):
    for seed in range(2):
        for method in ("krona+", "full"):
            place = tmp_path / f"run-{method}-{seed}"
            place.mkdir()
            (place / "run.json").write_text(json.dumps(make_record("meadow", method, seed=seed)))
    results = collect(read_study(tmp_path))
    assert results.settings == [Setting("random", "10-per-class")]
    assert results.methods == ["full", "krona+"]
    assert len(write_report(tmp_path, tmp_path / "report")) > 5
    assert collect(read_study(tmp_path)).methods == ["full", "krona+"]  # the report is no record


def test_different_single_runs_are_no_seeds_of_one_method(tmp_path, monkeypatch, capsys):
    """Configurations are rows, two scenes of one name are two, and a repeated run counts once."""

    def put(place, oa, seed=0, sha="0", adapter=(), **options):
        record = make_record("meadow", "svm-pca", oa=oa, seed=seed)
        record["config"].update(options)
        record["scene"]["sha256"] = sha * 64
        record["adapter"].update(adapter)
        (tmp_path / place).mkdir()
        (tmp_path / place / "run.json").write_text(json.dumps(record))

    put("a", 60.0, patch_size=3)
    put("b", 70.0, patch_size=3, seed=1)
    put("c", 90.0, patch_size=15)
    put("d", 70.0, patch_size=3, seed=1, out="elsewhere")
    put("e", 50.0, patch_size=3, sha="1", scene="other/meadow.tif")
    results = collect(read_study(tmp_path))
    assert results.methods == ["svm-pca, patch_size 3", "svm-pca, patch_size 15"]
    assert results.scenes == ["meadow-00000000", "meadow-11111111"]
    three = results.select(scene="meadow-00000000", method="svm-pca, patch_size 3")
    assert [(e.path, e.seed, e.metric("oa")) for e in three] == [("a", 0, 60.0), ("b", 1, 70.0)]
    table = summary_table(results, Setting("random", "10-per-class"))
    assert [row[0] for row in table.rows] == results.methods
    assert table.rows[0][1].mean == pytest.approx(65.0)
    assert table.rows[1][1].mean == pytest.approx(90.0)
    assert [row[-1] for row in table.rows] == ["2/1", "1"]

    monkeypatch.setattr("sys.argv", ["hyperpeft", "report", str(tmp_path)])
    cli.main()
    said = capsys.readouterr().out
    scenes = "meadow-00000000 (meadow), meadow-11111111 (other/meadow.tif)"
    assert f"note: 2 scenes are called meadow: {scenes}\n" in said
    assert "note: d repeats b and is not counted\n" in said
    assert "d repeats b and is not counted" in (tmp_path / "report" / "index.html").read_text()
    assert "d repeats b and is not counted" in (tmp_path / "report" / "report.md").read_text()

    # What a run chose by its own labels is no other configuration.
    for place in "abcde":
        (tmp_path / place / "run.json").unlink()
    tried = {"windows_tried": [{"patch_size": 1}, {"patch_size": 3}]}
    put("f", 60.0, adapter=tried, patch_size=1)
    put("g", 60.0, adapter=tried, patch_size=3, seed=1)
    results = collect(read_study(tmp_path))
    assert results.methods == ["svm-pca"]
    assert len(results.entries) == 2


def test_runs_on_other_labels_of_a_scene_are_no_repeats_of_each_other(tmp_path):
    """The labels may have changed under one name; classes of one id may have other names."""

    def put(place, oa, method="svm", names=("corn", "soy"), test=1000, pixels="0", **config):
        record = make_record("meadow", method, oa=oa, classes=2, split_hash=pixels * 64)
        record["config"].update(config)
        record["scene"]["classes"] = list(names)
        record["split"]["per_class"]["1"]["test"] = test
        record["metrics"]["per_class"] = {"1": oa, "2": 100 - oa}
        (tmp_path / place).mkdir()
        (tmp_path / place / "run.json").write_text(json.dumps(record))

    put("a", 90.0)
    put("b", 80.0, names=("soy", "corn"), pixels="1")
    put("c", 70.0, test=900, pixels="2")
    put("d", 60.0, method="rf", names=("soy", "corn"), pixels="1")
    put("e", 50.0, pixels="3")  # by another version that draws other pixels
    results = collect(read_study(tmp_path))
    entries = {e.path: e.method for e in results.entries}
    assert len(set(entries.values())) == 5
    assert entries["e"] == f"{entries['a']}, split 33333333"
    words = [entries[path].removeprefix("svm, ") for path in "abc"]
    assert results.notes == [
        *(
            f"{own} are those of the labels of {path}"
            for own, path in zip(words, "abc", strict=True)
        ),
        "e has the options of a, but not its pixels",
    ]
    table = class_table(results, "meadow", Setting("random", "10-per-class"))
    forest = [column.head for column in table.columns].index("rf")
    found = {row[0]: row[forest].mean for row in table.rows[:-1]}
    assert found == {"corn": 40.0, "soy": 60.0}  # soy is its first class


def test_label_files_are_named_where_they_tell_runs_apart(tmp_path):
    for place, labels, names in (("a", "one.tif", "xy"), ("b", "two.tif", "yx")):
        record = make_record("meadow", "svm", classes=2, split_hash=place * 64)
        record["config"]["labels"], record["scene"]["classes"] = labels, list(names)
        (tmp_path / place).mkdir()
        (tmp_path / place / "run.json").write_text(json.dumps(record))
    assert collect(read_study(tmp_path)).methods == ["svm, labels one.tif", "svm, labels two.tif"]


def test_label_curves(tmp_path):
    means = {"krona+": {"a": 80.0, "b": 70.0}, "full": {"a": 75.0, "b": 72.0}}
    write_bench(tmp_path, means, budgets=(5, 10, 20), maps=False)
    files = {path.name for path in write_report(tmp_path, tmp_path / "out")}
    assert {"labels-a-random.svg", "labels-b-disjoint.svg"} <= files
    assert collect(read_study(tmp_path)).settings[0] == Setting(
        "random", "5-per-class"
    )  # 5 before 10


def test_what_cannot_be_reported(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        write_report(tmp_path / "no", tmp_path)
    with pytest.raises(ConfigError, match="holds no record"):
        write_report(tmp_path, tmp_path / "out")
    (tmp_path / "run.json").write_text('{"config": 3}')
    with pytest.raises(BundleError, match="not a run record: it lacks config"):
        write_report(tmp_path, tmp_path / "out")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        write_report(tmp_path, tmp_path / "out")


def test_the_reference_can_be_chosen(planted):
    assert collect(read_study(planted)).reference == "krona+"
    assert collect(read_study(planted), "svm").reference == "svm"
    with pytest.raises(ConfigError, match="--reference best: expected one of"):
        collect(read_study(planted), "best")


def test_latex_escapes():
    assert latex("50 % of a_b & c") == r"50 \% of a\_b \& c"


def test_patterns_name_the_records(planted):
    entries = collect(read_study(planted)).select(scene="meadow", split="random", method="svm")
    where = "cells/meadow/random/10-per-class/svm/seed-{0,1,2}/run.json (3 records)"
    assert pattern(entries) == where


def test_the_same_records_give_the_same_files(planted, written, tmp_path):
    again = write_report(planted, tmp_path / "again")
    assert [path.name for path in again] == [path.name for path in written]
    for first, second in zip(written, again, strict=True):
        assert first.read_text() == second.read_text(), first.name


def test_a_report_is_quick_and_knows_no_torch(tmp_path):
    """As large as the offline benchmark: 6 scenes, 14 methods, 3 seeds, 2 splits."""
    means = {f"m{i}": dict.fromkeys(SCENES[:6], 70.0 + i) for i in range(14)}
    write_bench(tmp_path, means)
    script = (
        "import sys; sys.argv = ['hyperpeft', 'report', sys.argv[1], '--json']\n"
        "from hyperpeft.cli import main; main()\n"
        "assert not {'torch', 'xarray', 'rasterio'} & set(sys.modules), 'heavy'\n"
        "import time; print(time.process_time())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files, seconds = done.stdout.splitlines()
    assert float(seconds) < 30  # of a processor: a busy machine proves nothing
    assert len(json.loads(files)["files"]) > 50


def test_single_runs_are_grouped_by_their_split_and_its_size(tmp_path):
    """Every kind of split, by name and size: no two budgets share a row."""
    cases = {
        (None, 5, None): ("random", "5-per-class"),
        (None, None, None): ("random", "10-per-class"),
        (None, None, 0.1): ("random", "10-percent"),
        ("disjoint", 20, None): ("disjoint", "20-per-class"),
        ("disjoint", None, 0.05): ("disjoint", "5-percent"),
        ("polygons", None, None): ("polygons", "10-per-class"),
        ("polygons", 20, None): ("polygons", "20-per-class"),
        ("polygons", None, 0.25): ("polygons", "25-percent"),
        ("official", None, None): ("official", "as-given"),
        ("mine/split.npz", None, None): ("given", "40-training-pixels"),
        ("train.tif,test.tif", None, None): ("given", "40-training-pixels"),
    }
    for i, (split, per_class, fraction) in enumerate(cases):
        record = make_record("meadow", "krona+")
        record["config"].update(split=split, per_class=per_class, fraction=fraction)
        (tmp_path / f"run-{i:02}").mkdir()
        (tmp_path / f"run-{i:02}" / "run.json").write_text(json.dumps(record))
    entries = collect(read_study(tmp_path)).entries
    found = {entry.path: (entry.split, entry.budget) for entry in entries}
    assert [found[path] for path in sorted(found)] == list(cases.values())


def test_runs_on_all_labels_stand_apart(tmp_path):
    for kind in ("all labelled", "per-class 10"):
        record = make_record("meadow", "krona+")
        record["split"]["kind"] = kind
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "run.json").write_text(json.dumps(record))
    entries = collect(read_study(tmp_path)).entries
    assert {entry.path: (entry.split, entry.budget) for entry in entries} == {
        "all labelled": ("all-labelled", "40-training-pixels"),
        "per-class 10": ("random", "10-per-class"),
    }


@pytest.mark.parametrize(("name", "value"), [("split", 3), ("split", ["a"]), ("per_class", "many")])
def test_options_of_other_types_are_refused(tmp_path, name, value):
    record = make_record()
    record["config"][name] = value
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=rf"config\.{name}: expected"):
        write_report(tmp_path, tmp_path / "out")


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTHS = (390, 1440)
# In the page: open everything, then say how wide it is and what is not to be seen.
PROBE = """<script>addEventListener('load', async () => {
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  const images = [...document.querySelectorAll('img')];
  images.forEach(i => { i.loading = 'eager'; });
  await Promise.all(images.map(i => i.decode().catch(() => 0)));
  const hidden = [...document.querySelectorAll('svg, img, table')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width < 50 || box.height < 20 || (e.tagName === 'IMG' && !e.naturalWidth);
  });
  const small = [...document.querySelectorAll('svg text')].filter(
    e => { const m = e.getScreenCTM();
      return parseFloat(getComputedStyle(e).fontSize) * Math.hypot(m.a, m.b) < 9; });
  const clipped = [...document.querySelectorAll('svg text')].filter(e => {
    const box = e.getBoundingClientRect(), frame = e.closest('svg').getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1;
  });
  parent.postMessage({width: innerWidth, needs: document.documentElement.scrollWidth,
    figures: document.querySelectorAll('svg').length, images: images.length,
    hidden: hidden.length, small: small.length, clipped: clipped.map(e => e.textContent)}, '*');
});</script>"""
FRAMES = """<!doctype html><link rel="icon" href="data:,"><body><pre id="out"></pre><script>
const found = [];
addEventListener('message', e => { found.push(e.data);
  document.getElementById('out').textContent = JSON.stringify(found); });
</script>%s</body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome: install one to check the page")
def test_the_page_in_a_browser(tmp_path):
    scenes = ("salinas-a", "indian-pines-10band", "enmap-potsdam")
    means = {
        method: {scene: 80.0 + i + j for i, scene in enumerate(scenes)}
        for j, method in enumerate(("krona+-unrefined", "auto-without-trees", "probe", "svm"))
    }
    write_bench(tmp_path, means, budgets=(5, 10))
    text = write_report(tmp_path, tmp_path / "out")[0].read_text()
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{PROBE}</body>"))
    frames = "".join(
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe>'
        for width in WIDTHS
    )
    (tmp_path / "frames.html").write_text(FRAMES % frames)
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000",
            "--window-size=2000,1200", "--dump-dom", (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert console == []
    found = json.loads(unescape(re.search(r'<pre id="out">(.*?)</pre>', done.stdout)[1]))
    assert sorted(page["width"] for page in found) == list(WIDTHS)
    for page in found:
        assert page["needs"] <= page["width"], page  # nothing to scroll sideways for
        assert page["figures"] > 20
        assert page["images"] == 2 * 2 * len(scenes) * len(means)
        assert (page["hidden"], page["small"], page["clipped"]) == (0, 0, []), page
