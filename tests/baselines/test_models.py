"""Models of the baselines: classifiers of pixels, their features and parameters, and networks."""

from __future__ import annotations

import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import xarray as xr
from onnx import TensorProto, helper, numpy_helper
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import MinMaxScaler
from torch import nn

from hyperpeft.baselines import classical, features
from hyperpeft.baselines.classical import choose, deal
from hyperpeft.baselines.networks import SSFTT, Block, Fusion, HybridSN, SpectralFormer
from hyperpeft.baselines.pixel_model import BLOCK, PixelModel
from hyperpeft.baselines.pixel_models import (
    Part,
    discriminant,
    extra_trees,
    out_of_fold,
    tuned_machine,
    vector_machine,
)
from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.mapping import features_at
from hyperpeft.mapping.tiles import SceneWindow, Tile
from hyperpeft.records import Scene
from hyperpeft.spectral import principal_components
from hyperpeft.training.model_selection import random_folds


def random_forest(x: np.ndarray, targets: np.ndarray, classes: int) -> Part:
    forest = RandomForestClassifier(40, min_samples_leaf=3, max_features=1 / 3, random_state=0)
    return Part(forest.fit(x, targets), classes)


FITS = {
    "extra trees": extra_trees(0, 40),
    "forest": random_forest,
    "machine": vector_machine(16.0, 0.25),
    "discriminant": discriminant,
}


def drawn(classes: int, features: int, count: int = 90, seed: int = 0):
    """Pixels of classes that differ a little in every feature, and others to score."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    x = rng.normal(size=(count, features)) + 0.6 * targets[:, None] / classes
    others = rng.normal(size=(3 * BLOCK + 17, features)) + 0.3
    return x.astype(np.float32), targets, (20 * others).astype(np.float32)


@pytest.fixture(scope="module", params=[(2, 30), (3, 5), (7, 13)], ids=str)
def data(request):
    return (*drawn(*request.param), request.param[0])


@pytest.fixture(scope="module", params=list(FITS))
def pair(request, data):
    """A fitted part and the same as ONNX."""
    x, targets, others, classes = data
    part = FITS[request.param](x, targets, classes)
    return part, part.to_model(), np.concatenate([x, others])


def test_scores_are_those_of_scikit_learn(pair):
    part, model, pixels = pair
    expected, found = part.scores(pixels), model.scores(pixels)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    ranked = np.sort(expected, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-5  # the first of equals is nobody's mistake
    np.testing.assert_array_equal(found.argmax(1)[clear], expected.argmax(1)[clear])
    assert clear.mean() > 0.5


def test_classes_are_those_of_scikit_learns_prediction(pair):
    part, model, pixels = pair
    scores = model.scores(pixels)
    ranked = np.sort(scores, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-5
    assert (part.model.predict(pixels) == scores.argmax(1))[clear].mean() > 0.995


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_of_a_discriminant_are_the_logits_of_its_probabilities(classes):
    x, targets, others = drawn(classes, 5)
    part = discriminant(x, targets, classes)
    expected = part.model.predict_proba(others.astype(np.float64) / 20)
    assert 0.1 < expected.max(axis=1).mean() < 0.99
    for scores in (part.scores(others / 20), part.to_model().scores(others / 20)):
        np.testing.assert_allclose(softmax(scores, axis=1), expected, atol=1e-5)


def test_a_pixel_depends_on_no_other(pair):
    _, model, pixels = pair
    whole = model.scores(pixels)
    for start in (1, 2, 7, BLOCK - 1):
        np.testing.assert_array_equal(model.scores(pixels[start:]), whole[start:])
    np.testing.assert_array_equal(model.scores(pixels[::-1]), whole[::-1])
    assert model.scores(pixels[:0]).shape == (0, model.classes)


def test_threads_change_nothing(pair):
    _, model, pixels = pair
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(model.scores(pixels))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_a_model_from_its_file_is_the_model(pair, tmp_path):
    _, model, pixels = pair
    model.to_file(tmp_path / "m.onnx")
    again = PixelModel.from_file(tmp_path / "m.onnx")
    assert again.content == model.content
    assert again.digest() == model.digest() == pickle.loads(pickle.dumps(model)).digest()
    np.testing.assert_array_equal(again.scores(pixels), model.scores(pixels))


def test_any_runtime_reads_the_file(pair, tmp_path):
    """The file is plain ONNX: checked by its library, and run with all its inputs at once."""
    _, model, pixels = pair
    model.to_file(tmp_path / "m.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"features": pixels})
    np.testing.assert_allclose(scores, model.scores(pixels), rtol=0, atol=1e-6)


def test_a_threshold_between_two_float32_numbers():
    """Where a threshold of 64 bits is cut to 32, each side keeps its pixels."""
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2))
    x = np.array([[low], [high]] * 8, np.float32)
    part = extra_trees(0, 25)(x, np.array([0, 1] * 8), 2)
    np.testing.assert_array_equal(part.to_model().scores(x).argmax(1), part.scores(x).argmax(1))


def test_classes_that_a_fold_lacks_get_the_least_score():
    x, targets, others = drawn(3, 5)
    for fit in FITS.values():
        some = targets > 0
        scores = fit(x[some], targets[some], 3).scores(others)
        assert (scores[:, 0] <= scores[:, 1:].min(axis=1)).all()
        alone = fit(x[targets == 2], targets[targets == 2], 3).scores(others)
        assert (alone.argmax(axis=1) == 2).all()


def test_scores_out_of_fold_are_of_pixels_that_did_not_train():
    x, targets, _ = drawn(3, 5)
    x[np.arange(90), 0] = np.arange(90)  # a pixel's own name: known to trees that have seen it
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(targets)
    folds = random_folds(shuffled, 5, 0)
    scores = np.concatenate(out_of_fold(extra_trees(0, 60), x, shuffled, 3, folds))
    truth = np.concatenate([shuffled[fold.held] for fold in folds])
    assert (scores.argmax(1) == truth).mean() < 0.6
    fitted = extra_trees(0, 60)(x, shuffled, 3).scores(x)
    assert (fitted.argmax(1) == shuffled).all()


def test_the_tuned_machine_finds_the_grid_point_that_tells_classes_apart():
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (200, 2)).astype(np.float32)
    targets = (np.hypot(*x.T) > 0.7).astype(int)  # a disk, which no plane cuts out
    folds = random_folds(targets, 5, 0)
    tuned = tuned_machine(x, targets, 2, folds)
    worst = vector_machine(1.0, 1 / 16)

    def accuracy(fit):
        scores = np.concatenate(out_of_fold(fit, x, targets, 2, folds))
        return (scores.argmax(1) == np.concatenate([targets[f.held] for f in folds])).mean()

    assert accuracy(tuned) > accuracy(worst) + 0.2


# --- files from elsewhere ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files():
    x, targets, _ = drawn(3, 5)
    return {name: fit(x, targets, 3).to_model().content for name, fit in FITS.items()}


def changed(content: bytes, change) -> bytes:
    model = onnx.load_model_from_string(content)
    change(model)
    return model.SerializeToString()


def attribute(name: str, change):
    """A change of one list of the forest."""

    def apply(model):
        (found,) = [a for a in model.graph.node[0].attribute if a.name == name]
        values = found.floats if found.floats else found.ints
        new = change(list(values))
        del values[:]
        values.extend(new)

    return apply


def constant(name: str, array: np.ndarray):
    """A change of one array of the machine."""

    def apply(model):
        (found,) = [t for t in model.graph.initializer if t.name == name]
        found.CopyFrom(numpy_helper.from_array(array, name))

    return apply


def external(model):
    """An array that lies in another file."""
    (found,) = [t for t in model.graph.initializer if t.name == "mean"]
    found.ClearField("raw_data")
    found.data_location = TensorProto.EXTERNAL
    found.external_data.add(key="location", value="/etc/passwd")


def other_operator(model):
    model.graph.node.append(helper.make_node("Evil", ["scores"], ["more"], domain="com.example"))


def first_branch(values):
    """The index of a node that branches to others, as in `nodes_truenodeids`."""
    return next(i for i, v in enumerate(values) if v > 0)


def back_to_the_root(values):
    values[first_branch(values[1:]) + 1] = 1
    return values


DAMAGES = {
    "an operator of another library": ("machine", other_operator, "expected a graph of"),
    "an operator beside the forest": ("forest", other_operator, "expected a graph of"),
    "an array in another file": ("machine", external, "in the file itself"),
    "arrays of other sizes": ("machine", constant("mean", np.zeros(9)), "do not fit"),
    "a number of pairs that no classes have": (
        "machine", constant("intercept", np.zeros(5)), "do not fit",
    ),
    "numbers that are not finite": (
        "machine", constant("scale", np.full(5, np.nan)), "not finite",
    ),
    "numbers of 32 bits": ("machine", constant("mean", np.zeros(5, np.float32)), "64 bits"),
    "a branch that leads back": (
        "forest", attribute("nodes_truenodeids", back_to_the_root), "one parent|lead back",
    ),
    "a branch out of its tree": (
        "forest", attribute("nodes_falsenodeids", lambda v: [10**9, *v[1:]]), "out of their tree",
    ),
    "nodes out of order": (
        "forest", attribute("nodes_nodeids", lambda v: [v[1], v[0], *v[2:]]), "numbered",
    ),
    "trees out of order": (
        "forest", attribute("nodes_treeids", lambda v: [10**6] * len(v)), "numbered",
    ),
    "a feature that is not there": (
        "forest", attribute("nodes_featureids", lambda v: [99] * len(v)), "expected 0 to 4",
    ),
    "a class that is not there": (
        "forest", attribute("class_ids", lambda v: [-1, *v[1:]]), "expected 0 to 2",
    ),
    "a leaf that is not there": (
        "forest", attribute("class_nodeids", lambda v: [10**9, *v[1:]]), "not there",
    ),
    "a leaf of a tree that is not there": (
        "forest", attribute("class_treeids", lambda v: [-7, *v[1:]]), "not there",
    ),
    "lists of different lengths": (
        "forest", attribute("nodes_values", lambda v: v[:-1]), "different lengths",
    ),
    "one class alone": ("forest", attribute("class_ids", lambda v: [0] * len(v)), "two classes"),
}  # fmt: skip


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_file_is_refused(damage, files, tmp_path):
    which, change, says = DAMAGES[damage]
    path = tmp_path / "m.onnx"
    path.write_bytes(changed(files[which], change))
    with pytest.raises(BundleError, match=says):
        PixelModel.from_file(path)


def test_files_that_are_no_model(files, tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(BundleError, match="cannot be read"):
        PixelModel.from_file(path)
    other = helper.make_model(helper.make_graph([], "g", [], []))
    for content in (b"", b"<html>", other.SerializeToString(), files["forest"][: 10**4]):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="is not a classifier of pixels"):
            PixelModel.from_file(path)
    with path.open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(BundleError, match="expected at most"):
        PixelModel.from_file(path)


def test_a_very_deep_tree_is_refused(files, tmp_path):
    """A chain of branches, which a runtime that recurses would not survive."""

    def chain(model, levels=10_000):
        lists = {a.name: a for a in model.graph.node[0].attribute}
        branches = [2 * i for i in range(levels)]
        count = 2 * levels + 1
        true = [i + 1 if i in set(branches) else 0 for i in range(count)]
        new = {
            "nodes_treeids": [0] * count,
            "nodes_nodeids": range(count),
            "nodes_featureids": [0] * count,
            "nodes_values": [0.0] * count,
            "nodes_truenodeids": true,
            "nodes_falsenodeids": [t + 1 if t else 0 for t in true],
        }
        leaves = [i for i in range(count) if not true[i]]
        new |= {
            "class_treeids": [0] * len(leaves),
            "class_nodeids": leaves,
            "class_ids": [i % 3 for i in range(len(leaves))],
            "class_weights": [1.0] * len(leaves),
        }
        for name, values in new.items():
            field = lists[name].floats if lists[name].floats else lists[name].ints
            del field[:]
            field.extend(values)

    for levels, says in ((10_000, "more than 4096 levels"), (200, None)):
        path = tmp_path / "m.onnx"
        path.write_bytes(changed(files["forest"], lambda m, n=levels: chain(m, n)))
        if says:
            with pytest.raises(BundleError, match=says):
                PixelModel.from_file(path)
        else:
            assert PixelModel.from_file(path).scores(np.ones((1, 5), np.float32)).shape == (1, 3)


def made(seed=0, bands=9, height=14, width=11, share_invalid=0.2) -> Scene:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(bands, bands)) * 0.7 ** np.arange(bands)
    cube = np.einsum("bc,cyx->byx", mixing, rng.normal(size=(bands, height, width)))
    valid = rng.random((height, width)) >= share_invalid
    cube[:, ~valid] = -9999
    return Scene("made", xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x")), valid)


def test_every_fold_trains_on_every_class():
    ids = np.repeat([1, 2, 3, 4, 5, 9], [1, 2, 3, 4, 5, 40])
    fold = deal(ids, 5, np.random.default_rng(0))
    assert fold[0] == -1  # the one pixel of its class is never held out
    assert (fold[1:] >= 0).all()
    for held in range(5):
        assert set(ids[fold != held]) == set(ids)
    sizes = np.bincount(fold[1:])
    assert sizes.max() - sizes.min() <= 1
    for i in (2, 3, 4, 5):
        assert len(set(fold[ids == i])) == np.count_nonzero(ids == i)


@pytest.mark.parametrize("sizes", [(2, 2), (2, 5, 3), (1, 30), (4, 1, 1, 2)])
def test_small_classes_can_be_tuned(sizes):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    x = np.stack([ids + 0.01 * rng.normal(size=len(ids)), rng.normal(size=len(ids))], axis=1)
    grid = {"n_neighbors": [1]}
    found = choose(KNeighborsClassifier(), grid, x, ids, folds=5, seed=0, otherwise={})
    assert found.folds == min(5, max(sizes))
    assert found.parameters == {"n_neighbors": 1}


def test_one_pixel_a_class_leaves_nothing_to_hold_out():
    x, ids = np.eye(3), np.array([1, 2, 3])
    found = choose(
        KNeighborsClassifier(), {"n_neighbors": [1, 3]}, x, ids, folds=5, seed=0,
        otherwise={"n_neighbors": 7},
    )  # fmt: skip
    assert found == ({"n_neighbors": 7}, None, 0, 3)


def test_the_planted_best_is_found():
    """Labels that a tenth of flips makes noisy: one neighbour copies the noise, many do not."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(300, 1))
    ids = (x[:, 0] > 0).astype(int) + 1
    flipped = rng.random(300) < 0.2
    ids[flipped] = 3 - ids[flipped]
    grid = {"n_neighbors": [1, 25]}
    found = choose(KNeighborsClassifier(), grid, x, ids, folds=5, seed=0, otherwise={}, repeats=2)
    assert found.parameters == {"n_neighbors": 25}
    assert found.accuracy == pytest.approx(80, abs=5)
    again = choose(KNeighborsClassifier(), grid, x, ids, folds=5, seed=0, otherwise={}, repeats=2)
    assert again == found


def test_many_pixels_are_thinned_class_by_class(monkeypatch):
    monkeypatch.setattr(classical, "MOST_PIXELS", 100)
    ids = np.repeat([1, 2, 3], [900, 97, 3])
    kept = classical._thinned(ids, np.random.default_rng(0))
    assert np.bincount(ids[kept])[1:].tolist() == [90, 10, 3]
    x = ids[:, None] + np.zeros((1000, 2))
    found = choose(
        KNeighborsClassifier(), {"n_neighbors": [1]}, x, ids, folds=5, seed=0, otherwise={}
    )
    assert found.pixels == 103
    assert found.accuracy == 100


def values_of(seen, scene) -> np.ndarray:
    """Features (F, H, W) of a scene."""
    tile = Tile(0, 0, *scene.valid.shape)
    return seen.prepare(SceneWindow.read(scene, tile, seen.reach, scene.valid))


def test_spectra_are_those_of_the_scene_less_the_mean_of_the_training_pixels():
    scene = made()
    train = np.argwhere(scene.valid)[::-3]
    seen = features.centred(scene, train)
    expected = scene.cube.values[:, train[:, 0], train[:, 1]].T
    np.testing.assert_allclose(seen.mean, expected.mean(axis=0), rtol=1e-6)
    found = features_at(scene, seen, train)
    np.testing.assert_allclose(found, expected - expected.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("fit_on", ["scene", "train"])
def test_components_are_those_of_scikit_learn(fit_on):
    scene = made()
    train = np.argwhere(scene.valid)[::3]
    found = principal_components(scene, 5, fit_on=fit_on, train=train)
    cube = values_of(features.components(found, 0, scene), scene)
    pixels = np.argwhere(scene.valid) if fit_on == "scene" else train
    spectra = scene.cube.values[:, *pixels.T].T
    reference = PCA(5, whiten=True, svd_solver="full").fit(spectra.astype(np.float64))
    expected = reference.transform(scene.cube.values[:, scene.valid].T)
    signs = np.sign((reference.components_ * found.directions).sum(axis=1))
    np.testing.assert_allclose(cube[:, scene.valid].T, expected * signs, atol=2e-5)
    assert (cube[:, ~scene.valid] == 0).all()
    section = features.components_section(found, fit_on)
    assert section["explained_variance"] == pytest.approx(reference.explained_variance_ratio_.sum())
    assert section["pixels"] == len(pixels)


@pytest.mark.parametrize("fit_on", ["scene", "train"])
def test_ranges_are_those_of_scikit_learn(fit_on):
    scene = made()
    train = np.argwhere(scene.valid)[::3]
    seen = features.ranged(scene, fit_on=fit_on, train=train)
    cube = values_of(seen, scene)
    pixels = np.argwhere(scene.valid) if fit_on == "scene" else train
    spectrum = scene.cube.values[:, *pixels.T].mean(axis=1)
    np.testing.assert_allclose(seen.bands.mean, spectrum, atol=1e-6)
    scaler = MinMaxScaler().fit(scene.cube.values[:, *pixels.T].T)
    expected = scaler.transform(scene.cube.values[:, scene.valid].T)
    np.testing.assert_allclose(cube[:, scene.valid].T, expected, atol=1e-5)
    assert (cube[:, ~scene.valid] == 0).all()


def test_means_are_of_the_valid_pixels_of_a_window():
    scene = made(share_invalid=0.4)
    found = principal_components(scene, 3)
    out = values_of(features.components(found, 2, scene), scene)
    assert out.shape == (6, 14, 11)
    np.testing.assert_array_equal(out[:3], values_of(features.components(found, 0, scene), scene))
    for row, column in np.argwhere(scene.valid):
        part = np.s_[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        expected = out[:3, *part][:, scene.valid[part]].mean(axis=1)
        np.testing.assert_allclose(out[3:, row, column], expected, atol=1e-5)
    assert (out[:, ~scene.valid] == 0).all()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("components", "classes", "total"),
    [(30, 16, 5_122_176), (15, 9, 4_844_793), (15, 16, 4_845_696)],
    ids=["indian-pines", "pavia-university", "salinas"],
)
def test_hybridsn_has_the_parameters_of_the_paper(components, classes, total):
    assert count(HybridSN(components, 25, classes)) == total


def test_hybridsn_has_the_layers_of_the_paper():
    """Output sizes and parameters of each layer, as the paper's table for Indian Pines has them."""
    model, seen = HybridSN(30, 25, 16), []
    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda m, _, out: seen.append((tuple(out.shape[1:]), count(m)))
            )
    assert model(normal(1, 30, 25, 25)).shape == (1, 16)
    assert seen == [
        ((8, 24, 23, 23), 512),
        ((16, 20, 21, 21), 5_776),
        ((32, 18, 19, 19), 13_856),
        ((64, 17, 17), 331_840),
        ((256,), 4_735_232),
        ((128,), 32_896),
        ((16,), 2_064),
    ]


def test_ssftt_has_the_parameters_that_its_layers_add_up_to():
    """No count of the paper's own is known to us: its layers, one by one."""
    convolutions = (8 * 27 + 8) + 2 * 8 + (64 * 8 * 28 * 9 + 64) + 2 * 64
    tokenizer = 64 * 4 + 64 * 64 + 64 + 5 * 64
    attention = 2 * 64 + (64 * 192 + 192) + (64 * 64 + 64)
    perceptron = 2 * 64 + (64 * 8 + 8) + (8 * 64 + 64)
    head = 64 * 16 + 16
    model = SSFTT(30, 13, 16)
    assert count(model) == convolutions + tokenizer + attention + perceptron + head == 153_224
    assert model(normal(2, 30, 13, 13)).shape == (2, 16)


def test_ssftt_tokens_are_means_over_the_pixels():
    """Where all pixels are alike, each token is the value of one of them."""
    model = SSFTT(5, 7, 3).eval()
    seen = []
    model.dropout.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(normal(1, 5, 1, 1).expand(2, 5, 7, 7))
    tokens = seen[0][:, 1:] - model.position[:, 1:]  # (2, 4, 64)
    torch.testing.assert_close(tokens, tokens[:, :1].expand_as(tokens))
    assert tokens.abs().max() > 0


def test_spectralformer_has_the_parameters_of_the_published_code():
    """200 bands, windows of 7, 16 classes, groups of 3."""
    layer = 2 * 128 + 64 * 192 + (64 * 64 + 64) + (64 * 8 + 8) + (8 * 64 + 64)
    fusion = 201 * 201 * 2 + 201
    total = (3 * 49 * 64 + 64) + 64 + 201 * 64 + 5 * layer + 3 * fusion + 128 + 64 * 16 + 16
    model = SpectralFormer(200, 7, 16, 3)
    assert count(model) == total == 355_577
    assert model(normal(2, 200, 7, 7)).shape == (2, 16)


def test_a_group_is_a_band_between_its_neighbours():
    model = SpectralFormer(6, 1, 2, 5)
    bands = torch.arange(6.0).reshape(1, 6, 1)
    groups = model._grouped(bands)[0]  # (6, 5)
    expected = [[(band + shift) % 6 for shift in (-2, -1, 0, 1, 2)] for band in range(6)]
    assert groups.tolist() == expected


def test_fusion_is_a_convolution_over_two_inputs_with_tokens_as_channels():
    fusion, convolution = Fusion(4), nn.Conv2d(4, 4, (1, 2))
    with torch.no_grad():
        convolution.weight.copy_(fusion.join.weight.reshape(4, 2, 4).transpose(1, 2).unsqueeze(2))
        convolution.bias.copy_(fusion.join.bias)
    x, earlier = normal(2, 3, 4, 5)[:, 0], normal(2, 3, 4, 5)[:, 1]
    expected = convolution(torch.stack([x, earlier], dim=3)).squeeze(3)
    torch.testing.assert_close(fusion(x, earlier), expected)


def test_what_entered_two_layers_before_is_fused():
    """With fusions that pass nothing but the earlier input on, layers see it."""
    model = SpectralFormer(7, 3, 2, 3).eval()
    with torch.no_grad():
        for fusion in model.fusions:
            fusion.join.weight.zero_()
            fusion.join.weight[:, 8:] = torch.eye(8)
            fusion.join.bias.zero_()
    entered = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    model(normal(1, 7, 3, 3))
    torch.testing.assert_close(entered[2], entered[0])
    torch.testing.assert_close(entered[3], entered[1])
    seen = list(entered)
    torch.testing.assert_close(seen[4], model.blocks[1](seen[1]))  # what 3 was offered


def test_a_block_is_torchs_pre_norm_layer():
    block = Block(16, 4, 24, 0.0, bias=True).eval()
    reference = nn.TransformerEncoderLayer(
        16, 4, 24, 0.0, "gelu", batch_first=True, norm_first=True
    ).eval()
    attention = reference.self_attn
    pairs = [
        (attention.in_proj_weight, block.qkv.weight),
        (attention.in_proj_bias, block.qkv.bias),
        (attention.out_proj.weight, block.proj.weight),
        (attention.out_proj.bias, block.proj.bias),
        (reference.linear1.weight, block.perceptron[0].weight),
        (reference.linear1.bias, block.perceptron[0].bias),
        (reference.linear2.weight, block.perceptron[3].weight),
        (reference.linear2.bias, block.perceptron[3].bias),
    ]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    x = normal(2, 5, 16)
    torch.testing.assert_close(block(x), reference(x))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: HybridSN(30, 7, 2), "patch size of hybridsn: expected at least 9, got 7"),
        (lambda: HybridSN(12, 9, 2), "components of hybridsn: expected at least 13, got 12"),
        (lambda: SSFTT(30, 3, 2), "patch size of ssftt: expected at least 5, got 3"),
        (lambda: SpectralFormer(10, 7, 2, 4), "group .* odd number .* 10 bands, got 4"),
        (lambda: SpectralFormer(10, 7, 2, 11), "group .* 10 bands, got 11"),
    ],
)
def test_sizes_that_cannot_be(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
