"""The grid: what a configuration stands for, what is refused, and the shipped ones on their scenes.

`paper.yaml` runs from the files of the five public scenes to the report, on stand-ins: they have
the published names, variables, types, bands and classes; rows, columns and counts are an eighth,
and the cards are made to match. An encoder of 1/2000 of the weights stands in for SpectralGPT+.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hyperpeft import splits
from hyperpeft.benchmark.cells import resolved
from hyperpeft.benchmark.grid import complete, expand, find_config, make_bench, read_bench, shipped
from hyperpeft.benchmark.run import run_bench
from hyperpeft.errors import ConfigError
from hyperpeft.report import write_report
from hyperpeft.runs import experiment
from hyperpeft.scenes.catalog.cards import CARDS
from tests.helpers.public_checkpoints import PAPER, smaller, write_public
from tests.helpers.small import HEADS, checkpoint

SMALL = {"name": "t", "scenes": ["demo"], "methods": ["krona+", "probe"]}


def cells(**changes):
    return expand(make_bench({**SMALL, **changes}))


def test_a_grid_is_the_product_of_its_axes():
    found = cells(
        scenes={"a": {"scene": "demo"}, "b": {"scene": "demo"}},
        splits=["random", "disjoint"],
        budgets=[{"per_class": 5}, {"fraction": 0.1}],
        seeds=[0, 1, 2],
    )
    assert len(found) == len({cell.path for cell in found}) == 2 * 2 * 2 * 2 * 3
    assert found[0].path == "cells/a/random/5-per-class/krona+/seed-0"
    assert [cell.seed for cell in found] == sorted(cell.seed for cell in found)  # seeds outermost
    sizes = {(c.budget, c.config.per_class, c.config.fraction) for c in found}
    assert sizes == {("5-per-class", 5, None), ("10-percent", None, 0.1)}
    assert {(c.split, c.config.split) for c in found} == {
        ("random", None),
        ("disjoint", "disjoint"),
    }
    assert all(c.config.seed == c.seed and c.config.out == Path(c.path) for c in found)


def test_the_last_option_wins():
    found = cells(
        common={"epochs": 1, "lr": 0.1, "batch-size": 4},
        scenes={"demo": {"epochs": 2, "patch_size": 7}},
        methods={"krona+": {}, "probe": {"epochs": 3}, "fast": {"method": "lora+", "lambda": 4}},
        overrides=[{"method": "krona+", "split": ["random"], "set": {"weight-decay": 0.5}}],
    )
    by = {cell.method: cell.config for cell in found}
    assert [by[m].epochs for m in ("krona+", "probe", "fast")] == [2, 3, 2]
    assert [by[m].weight_decay for m in ("krona+", "probe")] == [0.5, 0.05]
    assert (by["fast"].method, by["fast"].lam) == ("lora+", 4)
    assert all(c.patch_size == 7 and c.lr == 0.1 and c.batch_size == 4 for c in by.values())
    restricted = expand(
        make_bench({**SMALL, "seeds": [0, 1]}),
        methods=["probe"],
        seeds=[1],
        options={"epochs": 9},
    )
    assert [(c.method, c.seed, c.config.epochs) for c in restricted] == [("probe", 1, 9)]
    bench = make_bench({**SMALL, "splits": ["random", "disjoint"]})
    assert expand(bench, splits=["disjoint"]) == [c for c in expand(bench) if c.split == "disjoint"]
    with pytest.raises(ConfigError, match="has no split 'polygons'"):
        expand(bench, splits=["polygons"])


def test_official_masks_have_one_size_only():
    found = cells(
        scenes={"demo": {"splits": {"benchmark": "official"}}},
        budgets=[{"per_class": 5}, {"per_class": 10}],
        methods=["probe"],
    )
    assert [(c.path, c.config.split, c.config.per_class) for c in found] == [
        ("cells/demo/benchmark/5-per-class/probe/seed-0", "official", None)
    ]


def test_methods_with_other_windows_share_one_disjoint_split():
    found = cells(
        splits=["disjoint", "random"],
        methods={"krona+": {"patch_size": 5}, "wide": {"method": "probe", "patch_size": 25}},
    )
    disjoint = [c.config for c in found if c.split == "disjoint"]
    assert {(c.split_window, c.split_gap) for c in disjoint} == {(5, 13)}
    assert all(c.split_gap > c.patch_size // 2 for c in disjoint)
    assert {c.config.split_gap for c in found if c.split == "random"} == {None}


def test_which_seeds_are_mapped():
    for maps, wanted in (("none", []), ("first", [0]), ("all", [0, 1])):
        found = cells(maps=maps, seeds=[0, 1], methods=["probe"])
        assert [c.seed for c in found if c.config.map] == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": []}, r"scenes: .*at least 1"),
        ({"methods": {"a/b": {}}}, r"method 'a/b' of benchmark t cannot name a folder"),
        ({"metods": 1}, r"unknown option metods: expected one of name, about"),
        ({"common": {"epoch": 1}}, r"cells/demo/.*seed-0: unknown option epoch"),
        ({"common": {"seed": 1}}, r"seed cannot be an option of a cell"),
        ({"splits": ["spatial"]}, r"option splits: .*splits \['spatial'\] need a label"),
        ({"budgets": [{"n": 1}]}, r"write `per_class: 10` or `fraction: 0.1`"),
        ({"budgets": {"all": {}}}, r"budget all: give per_class or fraction"),
        ({"reference": "svm"}, r"no method 'svm': expected one of krona\+, probe"),
        ({"overrides": [{"scene": "x", "set": {}}]}, r"no scene 'x': expected one of demo"),
        ({"seeds": []}, r"seeds: "),
        ({"keep": "all"}, r"keep: .*'record', 'picture' or 'run'"),
        ({"scenes": {"demo": {"seeds": ["x"]}}}, r"scene demo: "),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ConfigError, match=message) as refused:
        make_bench({**SMALL, **changes})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", shipped())
def test_shipped_configurations_parse(name):
    bench = read_bench(name)
    assert bench.name == name
    assert bench.about
    assert bench.reference in bench.methods
    found = expand(bench)
    assert len(found) == len({cell.path for cell in found}) >= 60
    assert min(len({c.seed for c in found}), 3) == 3


def test_what_is_shipped():
    names = {"ablation-factors", "ablation-lambda", "ablation-rank", "label-efficiency"}
    assert names | {"offline", "paper"} <= set(shipped())
    for spec in ("offline", "offline.yaml", "configs/offline.yaml"):
        assert find_config(spec).is_file()
    with pytest.raises(ConfigError, match=r"there is no benchmark 'elsewhere/offline.yaml'"):
        find_config("elsewhere/offline.yaml")


def test_paper():
    found = expand(read_bench("paper"))
    assert len(found) == 5 * 7 * 5
    assert {c.config.backbone for c in found} == {"spectralgpt+"}
    assert {c.scene for c in found if c.config.split == "official"} == {"houston-2013"}
    assert {c.method for c in found} == {
        "full", "lora", "lora+", "krona", "krona+", "lokr", "probe",
    }  # fmt: skip


def test_offline():
    found = expand(read_bench("offline"))
    assert len({c.scene for c in found}) >= 4
    assert {c.split for c in found} == {"random", "disjoint"}
    assert len({c.method for c in found}) >= 12
    berlin = next(c for c in found if c.scene == "berlin-enmap").config
    assert (berlin.class_field, Path(berlin.labels).suffix) == ("Level_2", ".shp")


def test_methods_of_shipped_configurations_are_known():
    from hyperpeft.runs import methods

    for name in shipped():
        for config in {cell.method: cell.config for cell in expand(read_bench(name))}.values():
            methods.check(config)


def test_baselines_keep_what_their_papers_have(monkeypatch):
    from dataclasses import replace

    from hyperpeft.baselines import BASELINES

    monkeypatch.setitem(
        BASELINES, "svm", replace(BASELINES["svm"], defaults={"patch_size": 21, "epochs": 100})
    )
    methods = {"krona+": {}, "svm": {}, "wide": {"method": "svm", "patch_size": 3}}
    found = cells(methods=methods, common={"epochs": 5}, scenes={"demo": {"patch_size": 7}})
    assert {c.method: (c.config.patch_size, c.config.epochs) for c in found} == {
        "krona+": (7, 5), "svm": (21, 100), "wide": (3, 100),
    }  # fmt: skip
    found = cells(methods=methods, splits=["disjoint"], scenes={"demo": {"patch_size": 7}})
    assert {(c.config.split_window, c.config.split_gap) for c in found} == {(7, 11)}


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "budgets": [{"per-class": 3}]}))
    assert expand(read_bench(path))[0].config.per_class == 3
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: expected options as"):
        read_bench(path)


BENCH = read_bench("offline")


@pytest.mark.parametrize("scene", list(BENCH.scenes))
def test_no_test_window_of_any_method_holds_a_training_pixel(scene, data, tmp_path, monkeypatch):
    """For every window size used; and all methods of a seed have the very same pixels."""
    monkeypatch.setenv("HYPERPEFT_DATA", str(data))
    cells = [c for c in expand(BENCH, scenes=[scene]) if c.split == "disjoint"]
    assert {c.method for c in cells} == set(BENCH.methods)
    opened = experiment.labelled_scene(complete(resolved(cells[0].values, tmp_path)))
    shape, windows = opened.valid.shape, {c.config.largest_window for c in cells}
    for seed in BENCH.seeds:
        same = {}
        for cell in cells:
            options = cell.config.model_dump(include={"split_window", "split_gap", "per_class"})
            if cell.seed == seed:
                same[tuple(sorted(options.items()))] = cell.config
        assert len(same) == 1
        split = experiment.select_split(next(iter(same.values())), opened)
        assert {splits.leakage(split, shape, window) for window in windows} == {0.0}
        assert len(split.train) >= 2 * len(set(split.train_ids.tolist()))
        assert set(split.test_ids.tolist()) <= set(split.train_ids.tolist())
        assert len(set(split.train_ids.tolist())) >= 3


def test_the_paper_end_to_end(tmp_path, monkeypatch):
    for name in PAPER:
        monkeypatch.setitem(CARDS, name, smaller(CARDS[name], 12))
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "data"))
    write_public(tmp_path / "data", CARDS)
    weights = checkpoint(tmp_path / "e.safetensors")
    bench = read_bench("paper", {"maps": "none", "threads": 1})
    stand_in = {"backbone": str(weights), "num_heads": HEADS, "epochs": 1, "patch_size": 3}
    cells = expand(bench, seeds=[0], options=stand_in)
    assert len(cells) == 5 * 7
    outcomes = run_bench(bench, cells, tmp_path / "out")
    assert [o.reason for o in outcomes if o.state != "done"] == []
    record = json.loads(
        (tmp_path / "out/cells/houston-2013/benchmark/standard/krona+/seed-0/run.json").read_text()
    )
    assert record["split"]["kind"] == "official"
    assert record["split"]["train"] == sum(CARDS["houston-2013"].train_counts)
    page = write_report(tmp_path / "out", tmp_path / "out" / "report")[0].read_text()
    for name in PAPER:
        assert f'id="scene-{name}"' in page
