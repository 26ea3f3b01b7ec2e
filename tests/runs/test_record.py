"""run.json: what is accepted, what is refused with which words, and that nothing is changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hyperpeft.errors import BundleError
from hyperpeft.runs import record_sections
from hyperpeft.runs.record import RunRecord, check_values

ROOT = Path(__file__).parents[2]
STUDIES = sorted([*ROOT.glob("docs/results/*.jsonl"), *ROOT.glob("benchmarks/records/*.jsonl")])


def records(study):
    lines = [json.loads(line) for line in study.read_text(encoding="utf-8").splitlines()]
    return [line["run.json"] for line in lines if "run.json" in line]


STUDIES = [study for study in STUDIES if records(study)]


@pytest.fixture
def sound():
    return json.loads(json.dumps(records(STUDIES[0])[0]))


def write(folder, values):
    (folder / "run.json").write_text(json.dumps(values))
    return folder / "run.json"


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_records_of_earlier_versions_are_read_and_kept(study, tmp_path):
    found = records(study)
    assert found
    for values in found[::7]:
        record = RunRecord.from_file(write(tmp_path, values))
        again = json.loads(record.to_json())
        assert {k: v for k, v in again.items() if v is not None or k in values} == values
        for name in ("scene", "metrics", "config"):  # byte for byte, whole numbers and order too
            assert json.dumps(again[name]) == json.dumps(values[name])


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("metrics", "oa", "high", "metrics.oa: expected a valid number, got high"),
        ("metrics", "oa", True, "metrics.oa: expected a valid number, got True"),
        ("metrics", "oa", 10**400, "metrics.oa"),
        ("metrics", "confusion", [[1, 2], [3]], "metrics.confusion: expected as many columns"),
        ("metrics", "per_class", {"1": "x"}, "metrics.per_class.1: expected a valid number"),
        (
            "config",
            "patch_size",
            8,
            "patch_size: expected an odd number from 1 to 63, or a list of such, got 8",
        ),
        ("config", "image_size", 10**6, "config.image_size: expected less than or equal to 128"),
        ("config", "num_heads", 1.5, "config.num_heads: expected a valid integer, got 1.5"),
        (
            "config",
            "precision",
            "fp7",
            "precision: expected 'auto', 'fp32' or 'bf16', got fp7",
        ),
        ("scene", "classes", ["one"], r"scene.classes: expected \d+, as in scene.class_ids, got 1"),
        ("scene", "colours", ["red"], "scene.colours.0"),
        ("scene", "class_ids", [0], "scene.class_ids.0: expected greater than or equal to 1"),
        ("adapter", "class_ids", [65000], r"adapter.class_ids holds \[65000\], which the scene"),
        ("split", "leakage", [], "split.leakage"),
        ("split", "train", False, "split.train: expected a valid integer, got False"),
    ],
)
def test_values_of_other_types_are_refused(sound, tmp_path, section, key, value, message):
    sound[section][key] = value
    with pytest.raises(BundleError, match=message) as refused:
        RunRecord.from_file(write(tmp_path, sound))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700 + len(str(tmp_path))
    with pytest.raises(BundleError, match=message):
        check_values(sound, "a record")


def test_what_is_missing_stops_using_a_run_again_but_no_report(sound, tmp_path):
    del sound["metrics"]["oa"], sound["config"]["stride"]
    with pytest.raises(BundleError, match=r"it lacks config\.stride, metrics\.oa"):
        RunRecord.from_file(write(tmp_path, sound))
    check_values(sound, "a record")
    sound["scene"]["name"] = sound["metrics"]["aa"] = None
    check_values(sound, "a record")


def test_what_a_later_version_adds_is_let_through(sound, tmp_path):
    sound |= {"weather": {"cloud": 0.5}}
    sound["metrics"] |= {"f1": 50.0}
    record = RunRecord.from_file(write(tmp_path, sound))
    assert record.metrics["f1"] == 50.0
    assert not hasattr(record, "weather")


def test_many_problems_are_told_in_one_short_line(sound, tmp_path):
    sound["scene"]["colours"] = [["red"] * 3] * 200
    with pytest.raises(BundleError, match=r"; and \d+ more$") as refused:
        RunRecord.from_file(write(tmp_path, sound))
    assert len(str(refused.value)) < 700 + len(str(tmp_path))


def test_the_page_of_the_run_folder_has_every_key():
    text = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    for name, model in vars(record_sections).items():
        if not name.endswith("Section") or name in ("Section", "ConfigSection"):
            continue
        section = name.removesuffix("Section").lower()
        keys = set(re.findall(r"`(\w+)`", table[section]))
        assert set(model.model_fields) <= keys, section
