"""The reducer equals scikit-learn's PCA, keeps its digits, and refuses other bands."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.io import loadmat
from sklearn.decomposition import PCA

from hyperpeft import spectral
from hyperpeft.errors import BundleError, ConfigError, SceneError
from hyperpeft.spectral import pca, reducer
from tests.helpers.small import correlated, make_scene


@pytest.fixture(scope="module")
def salinas_a(data):
    cube = loadmat(data / "salinas-a" / "SalinasA_corrected.mat")["salinasA_corrected"]
    return make_scene(cube.transpose(2, 0, 1))


def compare_with_scikit_learn(reducer, scene, pixels):
    """Components, explained variance and standardised projections; `pixels` is (n, B)."""
    reference = PCA(spectral.N_BANDS, svd_solver="full").fit(pixels.astype(np.float64))
    signs = np.sign((reference.components_ * reducer.components).sum(axis=1))
    expected = reference.components_ * signs[:, None]
    np.testing.assert_allclose(reducer.components, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(reducer.mean, reference.mean_, rtol=1e-12)
    np.testing.assert_allclose(
        reducer.explained, reference.explained_variance_ratio_, rtol=1e-9, atol=0
    )
    everything = scene.cube.values.reshape(len(reducer.mean), -1).T.astype(np.float64)
    scores = reference.transform(everything) * signs / np.sqrt(reference.explained_variance_)
    found = reducer.reduce(scene).reshape(spectral.N_BANDS, -1)
    np.testing.assert_allclose(found, scores.T, rtol=1e-5, atol=1e-5)


def test_equal_to_scikit_learn_on_salinas_a(salinas_a):
    reducer = spectral.fit(salinas_a)
    assert reducer.pixels == 83 * 86
    pixels = salinas_a.cube.values.reshape(204, -1).T
    compare_with_scikit_learn(reducer, salinas_a, pixels)


def test_fitted_on_training_pixels_only(salinas_a):
    train = np.random.default_rng(0).integers(0, 83, (60, 2))
    train = np.unique(train, axis=0)
    reducer = spectral.fit(salinas_a, fit_on="train", train=train)
    assert (reducer.fit_on, reducer.pixels) == ("train", len(train))
    pixels = salinas_a.cube.values[:, train[:, 0], train[:, 1]].T
    compare_with_scikit_learn(reducer, salinas_a, pixels)


def test_training_pixels_alone_decide(salinas_a):
    train = np.array([[r, c] for r in range(5) for c in range(8)])
    other = salinas_a.cube.values.copy()
    other[:, 5:] = 7
    fitted = [
        spectral.fit(scene, fit_on="train", train=train) for scene in (salinas_a, make_scene(other))
    ]
    np.testing.assert_array_equal(fitted[0].components, fitted[1].components)
    np.testing.assert_array_equal(fitted[0].scale, fitted[1].scale)


def set_block(monkeypatch, values: int) -> None:
    for module in (pca, reducer):
        monkeypatch.setattr(module, "BLOCK", values)


@pytest.mark.parametrize("block", [1, 100, 777, 10**6])
def test_streaming_changes_nothing(monkeypatch, block):
    scene = make_scene(correlated())
    set_block(monkeypatch, 10**9)
    whole = spectral.fit(scene, normalise="minmax")
    picture = whole.reduce(scene)
    set_block(monkeypatch, block)
    streamed = spectral.fit(scene, normalise="minmax")
    np.testing.assert_allclose(streamed.components, whole.components, atol=1e-10)
    np.testing.assert_allclose(streamed.scale, whole.scale, rtol=1e-10)
    np.testing.assert_allclose(streamed.reduce(scene), picture, atol=1e-6)


def test_huge_offset_loses_no_digits(monkeypatch):
    """Values exact in float32 with and without the offset, in blocks of one row."""
    set_block(monkeypatch, 1)
    rng = np.random.default_rng(0)
    cube = (rng.integers(-64, 64, (16, 30, 20)) / 8).astype(np.float32)
    offset = np.float32(2**20)
    assert np.array_equal((cube + offset) - offset, cube)
    plain, shifted = spectral.fit(make_scene(cube)), spectral.fit(make_scene(cube + offset))
    np.testing.assert_allclose(shifted.components, plain.components, atol=1e-9)
    np.testing.assert_allclose(shifted.scale, plain.scale, rtol=1e-12)
    np.testing.assert_allclose(
        shifted.reduce(make_scene(cube + offset)), plain.reduce(make_scene(cube)), atol=1e-6
    )


@given(st.integers(0, 1000))
@settings(deadline=None)
def test_signs_and_orthonormal_components(seed):
    reducer = spectral.fit(make_scene(correlated(seed=seed)))
    k = len(reducer.components)
    np.testing.assert_allclose(reducer.components @ reducer.components.T, np.eye(k), atol=1e-10)
    largest = np.abs(reducer.components).argmax(axis=1)
    assert (reducer.components[np.arange(k), largest] > 0).all()
    assert (np.diff(reducer.explained) <= 0).all()


def test_order_of_bands_does_not_matter():
    cube = correlated()
    order = np.random.default_rng(1).permutation(len(cube))
    one = spectral.fit(make_scene(cube)).reduce(make_scene(cube))
    other = spectral.fit(make_scene(cube[order])).reduce(make_scene(cube[order]))
    np.testing.assert_allclose(other, one, atol=1e-5)


def test_planted_component_is_recovered():
    rng = np.random.default_rng(3)
    spectrum = rng.normal(size=30)
    spectrum /= np.linalg.norm(spectrum)
    amount = rng.normal(size=(25, 25))
    cube = 500 + 100 * spectrum[:, None, None] * amount + rng.normal(size=(30, 25, 25))
    reducer = spectral.fit(make_scene(cube))
    assert abs(reducer.components[0] @ spectrum) > 0.999
    assert (
        abs(np.corrcoef(reducer.reduce(make_scene(cube))[0].ravel(), amount.ravel())[0, 1]) > 0.999
    )


@pytest.mark.parametrize(("bands", "k"), [(1, 1), (5, 5), (11, 11), (12, 12), (20, 12)])
def test_fewer_components_repeat_from_the_first(bands, k):
    scene = make_scene(correlated(bands))
    reducer = spectral.fit(scene)
    assert reducer.components.shape == (k, bands)
    out = reducer.reduce(scene)
    for i in range(spectral.N_BANDS):
        np.testing.assert_array_equal(out[i], out[i % k])
    np.testing.assert_allclose(out.std(axis=(1, 2), ddof=1), 1, rtol=1e-5)


def test_dependent_bands_count_once():
    base = correlated(4).astype(np.float32)
    scene = make_scene(np.concatenate([base, base, np.full_like(base, 3)]))
    reducer = spectral.fit(scene)
    assert len(reducer.components) == 4
    assert reducer.explained.sum() == pytest.approx(1)
    assert np.isfinite(reducer.reduce(scene)).all()


def test_few_training_pixels_give_few_components():
    train = np.array([[0, 0], [3, 4], [9, 9], [2, 7]])
    reducer = spectral.fit(make_scene(correlated()), fit_on="train", train=train)
    assert len(reducer.components) == 3


def test_invalid_pixels_are_ignored_and_become_zero():
    cube = correlated().astype(np.float32)
    valid = np.random.default_rng(0).random(cube.shape[1:]) < 0.7
    reference = spectral.fit(make_scene(cube, valid))
    for poison in (np.nan, -9999, np.inf):
        poisoned = np.where(valid, cube, np.float32(poison))
        scene = make_scene(poisoned, valid)
        reducer = spectral.fit(scene)
        np.testing.assert_array_equal(reducer.components, reference.components)
        out = reducer.reduce(scene)
        assert (out[:, ~valid] == 0).all()
        np.testing.assert_allclose(out[:, valid].mean(axis=1), 0, atol=1e-5)
    assert reducer.pixels == np.count_nonzero(valid)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_number_types_and_shapes(dtype):
    cube = np.random.default_rng(0).integers(0, 200, (14, 9, 8)).astype(dtype)
    scene = make_scene(cube)
    reducer = spectral.fit(scene)
    whole = reducer.reduce(scene)
    assert whole.dtype == np.float32
    assert whole.shape == (12, 9, 8)
    np.testing.assert_allclose(reducer.transform(cube), whole, atol=1e-6)
    np.testing.assert_allclose(reducer.transform(cube[:, 2, 3]), whole[:, 2, 3], atol=1e-6)
    assert reducer.transform(cube[:, :0]).shape == (12, 0, 8)
    with pytest.raises(SceneError, match=r"expected \(14, ...\), got \(13, 9, 8\)"):
        reducer.transform(cube[:13])


def test_minmax_spans_zero_to_one():
    valid = np.ones((15, 12), bool)
    valid[:4] = False
    scene = make_scene(correlated(), valid)
    out = spectral.fit(scene, normalise="minmax").reduce(scene)[:, valid]
    np.testing.assert_allclose(out.min(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(out.max(axis=1), 1, atol=1e-6)


def test_bigearthnet_statistics():
    scene = make_scene(1000 * correlated())
    scores = spectral.fit(scene)
    projected = scores.reduce(scene) / scores.scale[:, None, None]
    out = spectral.fit(scene, normalise="bigearthnet").reduce(scene)
    np.testing.assert_allclose(
        out[[0, 11]],
        [
            (projected[0] - 340.76769064) / 554.81258967,
            (projected[11] - 1009.32729131) / 818.86747235,
        ],
        atol=1e-4,
    )
    # B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12, as the BigEarthNet models list them.
    mean = """340.76769064 429.9430203 614.21682446 590.23569706 950.68368468 1792.46290469
        2075.46795189 2218.94553375 2266.46036911 2246.0605464 1594.42694882 1009.32729131"""
    std = """554.81258967 572.41639287 582.87945694 675.88746967 729.89827633 1096.01480586
        1273.45393088 1365.45589904 1356.13789355 1302.3292881 1079.19066363 818.86747235"""
    np.testing.assert_array_equal(spectral.BIGEARTHNET_MEAN, np.array(mean.split(), float))
    np.testing.assert_array_equal(spectral.BIGEARTHNET_STD, np.array(std.split(), float))


def test_sqrt_keeps_the_order_of_variances():
    scene = make_scene(correlated())
    std = 1 / spectral.fit(scene).scale
    variance = spectral.fit(scene, normalise="sqrt").reduce(scene).var(axis=(1, 2), ddof=1)
    assert variance.mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(variance / variance[0], std / std[0], rtol=1e-4)


@pytest.mark.parametrize("normalise", spectral.NORMALISERS)
@pytest.mark.parametrize("wavelengths", [None, np.linspace(400, 900, 20)])
def test_file_round_trip(tmp_path, normalise, wavelengths):
    scene = make_scene(correlated(), wavelengths=wavelengths)
    reducer = spectral.fit(scene, normalise=normalise)
    path = tmp_path / "reducer.safetensors"
    reducer.to_file(path)
    read = spectral.Reducer.from_file(path)
    for name in reducer.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(read, name), getattr(reducer, name))
    np.testing.assert_array_equal(read.reduce(scene), reducer.reduce(scene))
    assert [file.name for file in tmp_path.iterdir()] == ["reducer.safetensors"]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "reducer.safetensors"
    with pytest.raises(BundleError, match="cannot be read"):
        spectral.Reducer.from_file(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(BundleError, match="cannot be read"):
        spectral.Reducer.from_file(path)
    save_file({"weight": np.ones(3)}, path)
    with pytest.raises(BundleError, match="is not a reducer"):
        spectral.Reducer.from_file(path)
    spectral.fit(make_scene(correlated())).to_file(path)
    arrays = load_file(path)
    texts = {"format": spectral.FORMAT, "kind": "pca", "normalise": "zscore", "fit_on": "scene"}
    for pixels, scale in (("9", arrays["scale"][:5]), ("many", arrays["scale"])):
        save_file({**arrays, "scale": scale}, path, metadata={**texts, "pixels": pixels})
        with pytest.raises(BundleError, match="is damaged"):
            spectral.Reducer.from_file(path)
    save_file({"mean": arrays["mean"]}, path, metadata={**texts, "pixels": "9"})
    with pytest.raises(BundleError, match="is not a reducer"):
        spectral.Reducer.from_file(path)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_values_that_differ_beyond_float32(dtype):
    values = 2**40 + np.random.default_rng(0).integers(0, 100, (20, 15, 12))
    says = "all 180 fitted pixels are equal in float32, as which they are read; where they differ"
    with pytest.raises(SceneError, match=says):
        spectral.fit(make_scene(values.astype(dtype)))
    assert spectral.fit(make_scene((values - 2**40).astype(dtype))).pixels == 180


def test_unusable_scenes_are_refused():
    for value in (0, 0.1, 12345.678):
        with pytest.raises(SceneError, match="all 180 fitted pixels are equal"):
            spectral.fit(make_scene(np.full((20, 15, 12), value, np.float32)))
    with pytest.raises(SceneError, match="at least 2, got 0"):
        spectral.fit(make_scene(correlated(), np.zeros((15, 12), bool)))
    valid = np.ones((15, 12), bool)
    valid[0, 0] = False
    train = np.array([[0, 0], [1, 1]])
    with pytest.raises(SceneError, match="at least 2, got 1"):
        spectral.fit(make_scene(correlated(), valid), fit_on="train", train=train)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalise": "log"}, "one of zscore, minmax, bigearthnet, sqrt, got log"),
        ({"fit_on": "test"}, "scene or train"),
        ({"fit_on": "train"}, "needs training pixels"),
        ({"fit_on": "train", "train": np.empty((0, 2), int)}, "needs training pixels"),
        ({"fit_on": "train", "train": np.array([[15, 0]])}, "within"),
        ({"fit_on": "train", "train": np.array([[0, -1]])}, "within"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        spectral.fit(make_scene(correlated()), **options)


def test_bands_must_be_those_of_the_fit():
    nm = np.linspace(400, 900, 20)
    reducer = spectral.fit(make_scene(correlated(), wavelengths=nm))
    spectral.check_bands(reducer, make_scene(correlated(seed=1), wavelengths=nm + 1.9))
    spectral.check_bands(reducer, make_scene(correlated(seed=1)))
    other = nm.copy()
    other[[4, 7]] += [3, -5]
    with pytest.raises(SceneError, match=r"band 8 of 20: expected 584.211 nm .*got 579.211 nm"):
        spectral.check_bands(reducer, make_scene(correlated(seed=1), wavelengths=other))
    with pytest.raises(SceneError, match="expected 20 bands, got 19"):
        reducer.reduce(make_scene(correlated(19)))
