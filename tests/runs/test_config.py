"""Options of a run: defaults, YAML, and messages a user can act on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hyperpeft.errors import ConfigError
from hyperpeft.runs.config import RunConfig, make_config, read_config, resolve_defaults

ROOT = Path(__file__).parents[2]


def example_runs() -> list[Path]:
    """YAML files of the repository that configure a run."""
    found = []
    for folder in ("examples", "configs", "docs", "benchmarks", "src"):
        for path in sorted((ROOT / folder).rglob("*.y*ml")):
            values = yaml.safe_load(path.read_text())
            if isinstance(values, dict) and {"scene", "method"} & values.keys():
                found.append(path)
    return found


@pytest.mark.parametrize("path", example_runs(), ids=lambda path: path.name)
def test_shipped_examples_parse(path):
    make_config({"scene": "demo", **read_config(path)})


def test_defaults():
    config = make_config({"scene": "demo"})
    assert (config.method, config.backbone, config.targets) == ("krona+", "tiny", ("q", "v"))
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


def test_every_option_of_train_is_an_option_of_the_configuration():
    """And the other way round, but for those that only a file can name."""
    import inspect

    from hyperpeft.cli.train import train

    alone = {"config", "option", "resume", "overwrite", "quiet", "as_json"}
    named = {"map" if n == "map_scene" else n for n in inspect.signature(train).parameters} - alone
    assert named <= set(RunConfig.model_fields)


def test_the_papers_recipe_fills_in_what_is_not_given():
    given = {"scene": "demo", "recipe": "paper", "epochs": 7}
    plain = resolve_defaults(make_config(given))
    assert (plain.patch_size, plain.image_size, plain.normalise) == (9, 32, "zscore")
    assert (plain.centre, plain.head, plain.epochs) == (False, "random", 7)
    default = resolve_defaults(make_config({"scene": "demo"}))
    assert (default.patch_size, default.centre, default.head) == ("auto", True, "ridge")
    assert plain.rate > default.rate


def test_the_page_of_options_has_every_one_with_its_default():
    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in text.splitlines()
            if line.startswith("| `")]  # fmt: skip
    assert [row[0].strip("`") for row in rows] == list(RunConfig.model_fields)
    for name, said, default in rows:
        field = RunConfig.model_fields[name.strip("`")]
        if field.is_required():
            assert default == ""
            continue
        value = field.get_default(call_default_factory=True)
        shown = yaml.safe_load("null" if default == "none" else default)
        if isinstance(value, tuple):
            shown = tuple(part.strip() for part in default.split(","))
        assert str(value) == str(shown) or value == float(shown), (name, said, default)


def test_the_page_of_options_names_those_of_the_command_line():
    import inspect

    from hyperpeft.cli.train import train

    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    alone = {"config", "option", "resume", "overwrite", "quiet", "as_json", "map_scene", "scene"}
    for name in set(inspect.signature(train).parameters) - alone:
        spelled = "lambda" if name == "lam" else name.replace("_", "-")
        assert f"| `{name}` | `--{spelled}` |" in text, name
