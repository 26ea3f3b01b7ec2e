"""Options and run.json: what is accepted, what is refused with which words, nothing changed."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

from hyperpeft import cli
from hyperpeft.cli.run_options import spelled
from hyperpeft.cli.runs import train
from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.runs import record_sections
from hyperpeft.runs.config import GROUPS, RunConfig, make_config, resolve_defaults
from hyperpeft.runs.config_files import read_config
from hyperpeft.runs.experiment import run
from hyperpeft.runs.methods.free_adaptation import free_recipe
from hyperpeft.runs.methods.refinement import dense_recipe
from hyperpeft.runs.record import RunRecord, check_values
from tools.write_pages import OPTIONS, pages

ROOT = Path(__file__).parents[2]


def records(study):
    lines = [json.loads(line) for line in study.read_text(encoding="utf-8").splitlines()]
    return [line["run.json"] for line in lines if "run.json" in line]


STUDIES = [
    study
    for folder in ("docs/results", "benchmarks/records")
    for study in sorted(ROOT.glob(f"{folder}/*.jsonl"))
    if records(study)
]


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
    text = (ROOT / "docs" / "reference" / "run-folder.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    for name, model in vars(record_sections).items():
        if not name.endswith("Section") or name in ("Section", "ConfigSection"):
            continue
        section = name.removesuffix("Section").lower()
        keys = set(re.findall(r"`(\w+)`", table[section]))
        assert set(model.model_fields) <= keys, section


def test_defaults():
    config = make_config({"scene": "demo"})
    assert (config.method, config.backbone, config.targets) == ("auto", "tiny", ("q", "v"))
    assert (config.per_class, config.fraction, config.split) == (None, None, None)
    assert config.patch_size == "auto"
    assert config.out == Path("run")


def test_the_default_rate_is_the_methods():
    rates = {m: make_config({"scene": "demo", "method": m}).rate for m in ("full", "krona+")}
    assert rates["full"] < rates["krona+"]
    assert make_config({"scene": "demo", "method": "full", "lr": 0.5}).rate == 0.5


def test_a_config_survives_json():
    config = make_config({"scene": "demo", "targets": "q, k", "options": {"factors": (12, 16)}})
    assert config.targets == ("q", "k")
    dumped = config.model_dump(mode="json")
    assert make_config(dumped).model_dump(mode="json") == dumped


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "option scene is missing"),
        ({"epoch": 3}, "unknown option epoch: expected one of scene, labels"),
        ({"epochs": "many"}, "option epochs: .*integer.*got 'many'"),
        ({"epochs": 0}, "option epochs: .*greater than or equal to 1, got 0"),
        ({"epochs": 2.5}, "option epochs: .*got 2.5"),
        ({"lr": -1}, "option lr: .*greater than 0, got -1"),
        ({"lr": float("nan")}, "option lr"),
        ({"lr": float("inf")}, "option lr"),
        ({"lam": float("inf")}, "option lam"),
        ({"fraction": 1.0}, "option fraction: .*less than 1"),
        ({"validation": 1.0}, "option validation"),
        ({"precision": "fp16"}, "option precision: .*'auto', 'fp32' or 'bf16', got 'fp16'"),
        ({"fit_on": "test"}, "option fit_on: .*'scene' or 'train'"),
        ({"seed": -1}, "option seed"),
        ({"image_size": 256}, "option image_size"),
        ({"per_class": 5, "fraction": 0.1}, "per_class and fraction exclude each other"),
        ({"patch_size": []}, "option patch_size: expected one window, or several different"),
        ({"patch_size": "5,5"}, "option patch_size: expected one window, or several different"),
        ({"epochs": 0, "lr": 0}, "option epochs: .*; option lr: "),
    ],
)
def test_wrong_options(values, message):
    scene = {} if not values else {"scene": "demo"}
    with pytest.raises(ConfigError, match=message) as refused:
        make_config({**scene, **values})
    assert "\n" not in str(refused.value)


def test_yaml(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("scene: demo\nmethod: probe\npatch-size: 5\nlambda: 4\nper_class: 3\n")
    config = make_config(read_config(path))
    assert (config.method, config.patch_size, config.lam, config.per_class) == ("probe", 5, 4.0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected options as `name: value`, got list"),
        ("", "expected options as `name: value`, got NoneType"),
        ("1: 2\n", "expected options as"),
        ("a: [1\n", "is not YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        ("patch-size: 5\npatch_size: 7\n", "patch_size is given twice"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message) as refused:
        read_config(path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_config(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_config(tmp_path)


def test_every_option_is_described_and_in_a_group():
    for name, field in RunConfig.model_fields.items():
        assert (field.description or "").endswith("."), name
    assert set(GROUPS.values()) <= set(RunConfig.model_fields)
    assert next(iter(GROUPS.values())) == next(iter(RunConfig.model_fields))


def test_the_command_line_has_an_option_for_every_field():
    parameters = inspect.signature(train).parameters
    own = {"config", "resume", "overwrite", "quiet", "as_json"}
    assert set(parameters) - own == set(RunConfig.model_fields)
    assert all(
        parameters[name].default is None for name in RunConfig.model_fields if name != "scene"
    )


NOT_DEFAULT = {
    "labels": "a.tif", "class_field": "crop", "all_touched": True, "resample_labels": True,
    "layout": "h w b", "method": "probe", "backbone": "small", "num_heads": 2,
    "pretrained": False, "image_size": 24, "stride": 4, "targets": ("q", "k"), "blocks": 2,
    "options": {"rank": 4}, "per_class": 7, "fraction": 0.25, "split": "disjoint",
    "split_window": 5, "split_gap": 3, "validation": 0.5, "recipe": "paper", "patch_size": 5,
    "refine": "graph", "reduce": "mnf", "normalise": "zscore", "reflectance_scale": 10000.0,
    "fit_on": "train",
    "centre": False, "head": "random", "epochs": 3, "batch_size": 8, "accumulate": 2,
    "lr": 1e-3, "head_lr": 1e-2, "lam": 4.0, "weight_decay": 0.5, "label_smoothing": 0.25,
    "warmup": 0.5, "augment": False, "patience": 2, "gradient_checkpointing": True,
    "precision": "fp32", "seed": 5, "map": False, "out": Path("elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in RunConfig.model_fields if name != "scene"])
def test_the_command_line_reaches_every_field(name, monkeypatch):
    """A new option needs a value here that is not its default."""
    value = NOT_DEFAULT[name]
    assert value != getattr(make_config({"scene": "demo"}), name)
    words, _, opposite = spelled(name).partition("/")
    text = {"targets": "q,k", "blocks": "last 2", "options": "rank=4"}.get(name, str(value))
    given = [words if value else opposite] if isinstance(value, bool) else [words, text]
    configs = []
    monkeypatch.setattr("hyperpeft.cli.runs._train", lambda config, **_: configs.append(config))
    monkeypatch.setattr("sys.argv", ["hyperpeft", "train", "demo", *given])
    with contextlib.suppress(AttributeError):  # there is no record to show
        cli.main()
    assert getattr(configs[0], name) == value
    assert configs[0].model_fields_set == {"scene", name}


def test_the_papers_recipe_fills_in_what_is_not_given():
    given = {"scene": "demo", "recipe": "paper", "epochs": 7}
    plain = resolve_defaults(make_config(given))
    assert (plain.patch_size, plain.image_size, plain.normalise) == (9, 32, "zscore")
    assert (plain.centre, plain.head, plain.epochs) == (False, "random", 7)
    default = resolve_defaults(make_config({"scene": "demo"}))
    assert (default.patch_size, default.centre, default.head) == ("auto", True, "ridge")
    assert plain.rate > default.rate


def test_recipes_of_many_labels_keep_the_factors_that_are_given():
    """Factors of 2 x 1 have two terms at most, and these recipes set four."""
    plain = resolve_defaults(make_config({"scene": "demo", "method": "krona+"}))
    mine = plain.model_copy(update={"options": {"factors": [2, 1]}})
    targets = np.repeat([0, 1], 20)
    for recipe in (lambda c: dense_recipe(c, 600), lambda c: free_recipe(c, targets)):
        assert recipe(plain).options == {"terms": 4}
        assert recipe(mine).options == {"factors": [2, 1]}


def test_recipes_of_many_labels_start_from_a_head_at_random_unless_told_otherwise():
    """Ridge heads would leave the encoder nothing but the noise of the training pixels."""
    plain = {"scene": "demo", "method": "full"}
    for given, head in (({}, "random"), ({"head": "ridge"}, "ridge")):
        config = resolve_defaults(make_config({**plain, **given}))
        assert dense_recipe(config, 600).head == head
    config = resolve_defaults(make_config(plain))
    assert free_recipe(config, np.repeat([0, 1], 20)).head == "random"


@pytest.mark.parametrize("given", [{"recipe": "paper"}, {"head": "random"}])
def test_auto_has_no_head_that_starts_at_random(given, tmp_path):
    what = " ".join(*given.items())
    config = make_config({"scene": "nowhere.tif", "method": "auto", "out": tmp_path / "r", **given})
    with pytest.raises(ConfigError, match=f"method auto and {what} exclude each other.*krona"):
        run(config)
    assert resolve_defaults(make_config({"scene": "demo", "recipe": "paper"})).method == "krona+"


def test_the_page_of_options_is_made_from_the_declarations():
    text = OPTIONS.read_text(encoding="utf-8")
    assert pages()[OPTIONS] == text, "python -m tools.write_pages"
    for name in RunConfig.model_fields:
        assert f"| `{name}` | " in text


def test_a_size_beside_a_split_names_what_is_allowed():
    for split in ("official", "split.npz"):
        with pytest.raises(ConfigError, match=r"size of the splits random, disjoint, polygons"):
            make_config({"scene": "demo", "split": split, "per_class": 5})
    sizes = {"split": "disjoint", "per_class": 5, "fraction": 0.1}
    words = r"exclude each other: with split 'disjoint' give per_class=5 or fraction=0.1"
    with pytest.raises(ConfigError, match=words):
        make_config({"scene": "demo", **sizes})
