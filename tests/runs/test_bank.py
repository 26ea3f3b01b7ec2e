"""The adapter bank: every run as if loaded alone, mixed batches, size and speed."""

import gc
import json
import time

import numpy as np
import pytest
import torch

from hyperpeft import adapters
from hyperpeft.errors import AdapterError, BundleError
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.runs.bank import AdapterBank
from hyperpeft.runs.load import load_run
from tests.helpers.runs import make_run, make_scene

# Methods, options and class numbers that share nothing but the backbone.
RUNS = {
    "one": ("krona+", 4, {}),
    "two": ("lora", 7, {"rank": 3, "alpha": 6.0}),
    "three": ("lokr", 3, {"targets": ("q", "fc1")}),
    "four": ("krona", 5, {"factors": (12, 24), "blocks": 2}),
    "five": ("krona+", 4, {"terms": 2, "targets": ("k", "proj")}),
    "six": ("probe", 6, {}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {
        name: make_run(root / name, method, classes=classes, seed=seed, **options)
        for seed, (name, (method, classes, options)) in enumerate(RUNS.items())
    }


@pytest.fixture(scope="module")
def bank(folders):
    made = AdapterBank.for_run(folders["one"])
    for name, folder in folders.items():
        made.add(name, folder)
    return made


@pytest.fixture(scope="module")
def windows():
    return torch.randn(18, 12, 5, 5, generator=torch.Generator().manual_seed(0))


def close(a, b, tolerance=1e-5):
    assert a.shape == b.shape
    assert ((a - b).abs().max() / b.abs().max()).item() < tolerance


def test_each_run_predicts_as_if_loaded_alone(bank, folders, windows):
    assert list(bank) == list(RUNS)
    for name, folder in folders.items():
        alone = load_run(folder)
        with torch.inference_mode():
            expected = alone.model(windows)
        assert bank.switch(name) is bank[name]
        assert bank.active == name
        close(bank.predict(windows), expected)
        scene = make_scene(9)
        assert np.array_equal(bank[name].predict(scene), alone.predict(scene))


def test_a_bundle_predicts_with_its_own_adapter_whichever_is_active(bank, windows):
    bank.switch("one")
    first = bank.predict(windows)
    bank.switch("two")
    with torch.inference_mode():
        assert torch.equal(bank["one"].model(windows), first)
    assert bank.active == "two"
    assert not torch.allclose(bank.predict(windows)[:, :4], first)


def test_a_mixed_batch_equals_separate_predictions(bank, windows):
    order = np.random.default_rng(0).permutation(len(windows))
    names = [list(RUNS)[i % len(RUNS)] for i in order]
    mixed = bank.predict_mixed(windows, names)
    for name in RUNS:
        rows = [row for row, own in enumerate(names) if own == name]
        bank.switch(name)
        close(torch.stack([mixed[row] for row in rows]), bank.predict(windows[rows]))
        close(bank.predict_mixed(windows[rows], [name] * len(rows))[0], mixed[rows[0]])
    assert bank.predict_mixed(windows[:0], []) == []


def test_the_encoder_keeps_its_official_parameters(bank):
    plain = load_backbone("tiny").state_dict()
    own = bank.encoder.state_dict()
    assert list(own) == list(plain)
    assert all(torch.equal(value, plain[key]) for key, value in own.items())
    assert not any(parameter.requires_grad for parameter in bank.encoder.parameters())


def test_a_removed_run_is_gone(folders, windows):
    bank = AdapterBank.for_run(folders["one"])
    with pytest.raises(BundleError, match="no active run"):
        bank.predict(windows)
    for name in ("one", "two"):
        bank.add(name, folders[name])
    assert bank.active == "one"
    size = bank.nbytes
    bank.remove("one")
    assert bank.active is None
    assert "one" not in bank
    assert len(bank) == 1
    assert 0 < bank.nbytes < size
    with pytest.raises(BundleError, match="one of: two, got 'one'"):
        bank.switch("one")


def test_what_does_not_belong_is_refused(bank, folders, tmp_path, windows):
    with pytest.raises(BundleError, match="'one'"):
        bank.add("one", folders["two"])
    with pytest.raises(BundleError, match="another base model"):
        bank.add(
            "new", make_run(tmp_path / "other", encoder=load_backbone("tiny", pretrained=False))
        )
    with pytest.raises(BundleError, match="fine-tuned the whole encoder"):
        bank.add("new", make_run(tmp_path / "full", "full"))
    heads = make_run(tmp_path / "heads")
    record = json.loads((heads / "run.json").read_text())
    record["config"]["num_heads"] = 2
    (heads / "run.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"'num_heads': 3\}, got .*'num_heads': 2\}"):
        bank.add("new", heads)
    with pytest.raises(AdapterError, match="adapters already"):
        AdapterBank(adapters.attach(load_backbone("tiny"), "lora"))
    with pytest.raises(BundleError, match="expected 18, got 1"):
        bank.predict_mixed(windows, ["one"])
    with pytest.raises(BundleError, match="got 'nine'"):
        bank.predict_mixed(windows[:1], ["nine"])
    other = windows[:1, :, :3, :3]
    words = r"windows of 3 x 3 pixels for run 'one': expected windows of 5.*give the centre pix"
    with pytest.raises(BundleError, match=words):
        bank.predict_mixed(other, ["one"])
    assert len(bank.predict_mixed(other, ["one"], centres=other[:, :, 1, 1])) == 1
    assert list(bank) == list(RUNS)


def test_fifty_runs_on_base(tmp_path):
    """They add under 15 MB, switch in microseconds, and eight of them mix in one batch."""
    psutil = pytest.importorskip("psutil")
    encoder = load_backbone("base")
    base = {"backbone": "base", "encoder": encoder, "sha256": weights_sha256(encoder.state_dict())}
    folders = [make_run(tmp_path / str(i), classes=16, seed=i, **base) for i in range(8)]
    bank = AdapterBank(encoder)
    bank.add("first", folders[0])  # what is loaded once, whatever the number of runs
    gc.collect()
    before = psutil.Process().memory_info().rss
    for i in range(50):
        bank.add(str(i), folders[i % 8])
    gc.collect()
    assert bank.nbytes < 15e6
    assert psutil.Process().memory_info().rss - before < 15e6

    start = time.perf_counter()
    for i in range(50):
        bank.switch(str(i))
    assert (time.perf_counter() - start) / 50 < 100e-6  # 1.3 us on an idle processor

    windows = torch.randn(8, 12, 5, 5, generator=torch.Generator().manual_seed(0))
    mixed = bank.predict_mixed(windows, [str(i) for i in range(8)])
    for i in range(8):
        bank.switch(str(i))
        close(mixed[i], bank.predict(windows[i : i + 1])[0])
