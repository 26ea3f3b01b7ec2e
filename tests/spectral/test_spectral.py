"""Reduction to 12 bands: PCA as scikit-learn does it, Sentinel-2, MNF, normalisers, files."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.io import loadmat
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from hyperpeft import spectral
from hyperpeft.errors import BundleError, ConfigError, SceneError
from hyperpeft.scenes.synthetic.demo import model_spectra
from hyperpeft.spectral import components, reducer, sentinel2
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
    for module in (components, reducer):
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


# Written down once more, from ESA's table of Sentinel-2A.
TABLE = (
    ("B01", 442.7, 21),
    ("B02", 492.4, 66),
    ("B03", 559.8, 36),
    ("B04", 664.6, 31),
    ("B05", 704.1, 15),
    ("B06", 740.5, 15),
    ("B07", 782.8, 20),
    ("B08", 832.8, 106),
    ("B8A", 864.7, 21),
    ("B09", 945.1, 20),
    ("B11", 1613.7, 91),
    ("B12", 2202.4, 175),
)
NAMES = tuple(row[0] for row in TABLE)
CENTRES, WIDTHS = np.array([row[1:] for row in TABLE], float).T
SIGMAS = WIDTHS / 2.3548200450309493


def wobbling():
    """About 10 nm, every spacing different, in no order."""
    rng = np.random.default_rng(1)
    return rng.permutation(380 + np.cumsum(rng.uniform(7, 13, 215)))


def without_water():
    """10 nm without the two water bands, as AVIRIS scenes are published."""
    nm = np.arange(380.0, 2501, 10)
    return nm[~((nm > 1340) & (nm < 1430)) & ~((nm > 1800) & (nm < 1950))]


SENSORS = {
    "5 nm": np.arange(380.0, 2501, 5),
    "12 nm": np.arange(380.0, 2501, 12),
    "uneven": wobbling(),
    "without water": without_water(),
}


def test_table():
    assert sentinel2.NAMES == NAMES
    np.testing.assert_array_equal(sentinel2.CENTRES, CENTRES)
    np.testing.assert_array_equal(sentinel2.WIDTHS, WIDTHS)


@pytest.mark.parametrize("sensor", SENSORS)
def test_sines_have_a_closed_form(sensor):
    """The mean of sin(k l) under a Gaussian is exp(-k^2 sigma^2 / 2) sin(k centre)."""
    nm = SENSORS[sensor]
    weights = sentinel2.weights(nm)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    for period in (90, 200, 1000):
        k = 2 * np.pi / period
        expected = 0.3 + 0.2 * np.exp(-((k * SIGMAS) ** 2) / 2) * np.sin(k * CENTRES)
        found = weights @ (0.3 + 0.2 * np.sin(k * nm))
        np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def analytic():
    """Band values (12, 8) of the model spectra: sums over 0.01 nm."""
    values = []
    for centre, sigma in zip(CENTRES, SIGMAS, strict=True):
        nm = np.arange(centre - 6 * sigma, centre + 6 * sigma, 0.01)
        response = np.exp(-(((nm - centre) / sigma) ** 2) / 2)
        values.append(model_spectra(nm) @ response / response.sum())
    return np.array(values)


def spectra_scene(nm, scale=1.0):
    """Every pixel one of the eight model spectra, (B, 8, 6)."""
    spectra = scale * model_spectra(nm).T  # (B, 8)
    return make_scene(np.repeat(spectra[:, :, None], 6, axis=2), wavelengths=nm)


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize("scale", [1.0, 10_000.0])
def test_scene_of_known_spectra(analytic, sensor, scale):
    """Soil, leaves with their red edge, water and roofs: the bands to 1e-3 of reflectance."""
    scene = spectra_scene(SENSORS[sensor], scale)
    reducer = spectral.fit(
        scene, reduce="sentinel2", normalise="bigearthnet", reflectance_scale=scale
    )
    assert reducer.kind == "sentinel2"
    assert reducer.bands == NAMES
    assert reducer.notes == ()
    out = reducer.reduce(scene)[:, :, 0]  # (12, 8), normalised
    bands = out * spectral.BIGEARTHNET_STD[:, None] + spectral.BIGEARTHNET_MEAN[:, None]
    np.testing.assert_allclose(bands / 10_000, analytic, atol=1e-3, rtol=0)
    plain = spectral.fit(scene, reduce="sentinel2").reduce(scene)
    np.testing.assert_allclose(plain.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(plain.std(axis=(1, 2), ddof=1), 1, atol=1e-5)
    correlation = [np.corrcoef(plain[i, :, 0], analytic[i])[0, 1] for i in range(12)]
    assert min(correlation) > 0.9999


def test_potsdam_wavelengths(data, analytic):
    """Real EnMAP band centres: two detectors interleave between 900 and 1000 nm."""
    with rasterio.open(data / "enmap-potsdam" / "enmap_potsdam.tif") as file:
        tags = [file.tags(i) for i in file.indexes]
    nm = np.array([float(t["wavelength"]) for t in tags if t["bbl"] != "0"])
    nm = nm * 1000 if nm.max() < 100 else nm
    assert len(nm) == 218
    assert np.diff(np.sort(nm)).min() < 1
    found = sentinel2.weights(nm) @ model_spectra(nm).T
    np.testing.assert_allclose(found, analytic, atol=1e-3, rtol=0)
    order = np.random.default_rng(0).permutation(218)
    np.testing.assert_allclose(sentinel2.weights(nm[order]), sentinel2.weights(nm)[:, order])


def test_bands_that_are_not_seen_repeat_the_nearest():
    visible = np.arange(400.0, 901, 5)
    names = [sentinel2.NAMES[i] for i in sentinel2.sources(visible)]
    assert names == [*NAMES[:9], "B8A", "B8A", "B8A"]
    scene = spectra_scene(visible)
    reducer = spectral.fit(scene, reduce="sentinel2")
    out = reducer.reduce(scene)
    for i in (9, 10, 11):
        np.testing.assert_array_equal(out[i], out[8])
    assert reducer.notes == ("Sentinel-2 B09, B11, B12: not seen by the sensor, repeats B8A",)
    assert reducer.bands == tuple(names)
    known = spectral.fit(
        scene, reduce="sentinel2", normalise="bigearthnet", reflectance_scale=1
    ).reduce(scene)
    np.testing.assert_array_equal(known[11], known[8])  # with the statistics of B8A as well
    nm = np.arange(380.0, 2501, 10)
    gap = nm[(nm < 900) | (nm > 990)]
    assert [i for i, s in enumerate(sentinel2.sources(gap)) if s != i] == [9]
    assert set(sentinel2.sources(np.arange(1500.0, 2400, 10))) == {10, 11}
    np.testing.assert_allclose(sentinel2.weights(np.array([560.0])), 1)
    with pytest.raises(SceneError, match=r"no band of Sentinel-2: .*got 8000 to 12000 nm; use"):
        sentinel2.weights(np.linspace(8000, 12000, 30))


def test_a_sentinel2_image_keeps_its_bands():
    weights = sentinel2.weights(CENTRES)
    assert sentinel2.sources(CENTRES) == tuple(range(12))
    assert (weights.argmax(axis=1) == np.arange(12)).all()
    assert weights.min() >= 0  # straight lines between bands as far apart


def test_what_sentinel2_refuses():
    with pytest.raises(SceneError, match="does not say its wavelengths"):
        spectral.fit(make_scene(correlated()), reduce="sentinel2")
    scene = spectra_scene(SENSORS["12 nm"])
    with pytest.raises(ConfigError, match="give --reflectance-scale, such as 10000 or 1"):
        spectral.fit(scene, reduce="sentinel2", normalise="bigearthnet")
    with pytest.raises(ConfigError, match="reduce: expected one of pca, sentinel2, mnf, got ica"):
        spectral.fit(scene, reduce="ica")


@pytest.mark.parametrize("normalise", spectral.NORMALISERS)
def test_a_constant_band_does_not_divide_by_zero(normalise):
    nm = np.arange(400.0, 1001, 10)
    cube = np.random.default_rng(0).random((len(nm), 9, 9)).astype(np.float32)
    cube[nm < 560] = 0.5  # B01 and B02, and most of B03
    scene = make_scene(cube, wavelengths=nm)
    reducer = spectral.fit(scene, reduce="sentinel2", normalise=normalise, reflectance_scale=1)
    out = reducer.reduce(scene)
    assert np.isfinite(out).all()
    assert np.ptp(out[0]) < 1e-4


@pytest.mark.parametrize("reduce", ["sentinel2", "mnf"])
@pytest.mark.parametrize("normalise", spectral.NORMALISERS)
def test_round_trip_of_every_reduction(tmp_path, reduce, normalise):
    nm = np.linspace(420, 2400, 20)
    scene = make_scene(correlated(), wavelengths=nm)
    reducer = spectral.fit(
        scene,
        reduce=reduce,
        normalise=normalise,
        reflectance_scale=3.0 if reduce == "sentinel2" else None,
    )
    path = tmp_path / "reducer.safetensors"
    reducer.to_file(path)
    read = spectral.Reducer.from_file(path)
    assert (read.kind, read.bands, read.notes) == (reduce, reducer.bands, reducer.notes)
    np.testing.assert_array_equal(read.reduce(scene), reducer.reduce(scene))


@pytest.mark.parametrize("reduce", spectral.REDUCTIONS)
def test_explained_is_what_a_linear_regression_explains(reduce):
    nm = np.linspace(420, 2400, 20)
    scene = make_scene(correlated().astype(np.float32), wavelengths=nm)
    reducer = spectral.fit(scene, reduce=reduce)
    pixels = scene.cube.values.reshape(20, -1).T.astype(float)
    inputs = (pixels - reducer.mean) @ reducer.components.T
    for k in (1, 5, 12):
        fitted = LinearRegression().fit(inputs[:, :k], pixels).predict(inputs[:, :k])
        left = ((pixels - fitted) ** 2).sum() / ((pixels - pixels.mean(axis=0)) ** 2).sum()
        assert reducer.explained[:k].sum() == pytest.approx(1 - left, abs=1e-9)


def noisy(seed=0, height=60, width=50, bands=30):
    """Three smooth signals and much stronger noise that differs by band and is shared by some."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    amounts = np.stack([np.sin(y / 9), np.cos(x / 8), np.sin((x + y) / 11)])  # (3, H, W)
    spectra = rng.normal(size=(3, bands))
    mixing = np.diag(rng.uniform(0.5, 8, bands)) + rng.normal(size=(bands, bands)) * 0.3
    white = rng.normal(size=(bands, height, width))
    signal = np.einsum("sb,syx->byx", spectra, amounts)
    return signal + np.einsum("bc,cyx->byx", mixing, white), amounts, mixing @ mixing.T


def variance_explained(components, amounts):
    """Share of the planted signals that a linear mixture of three components gives."""
    x = components.reshape(3, -1).T
    y = amounts.reshape(3, -1).T
    return LinearRegression().fit(x, y).score(x, y)


def test_mnf_finds_signals_under_the_noise():
    cube, amounts, covariance = noisy()
    scene = make_scene(cube)
    reducer = spectral.fit(scene, reduce="mnf")
    found = variance_explained(reducer.reduce(scene)[:3], amounts)
    pca = variance_explained(spectral.fit(scene).reduce(scene)[:3], amounts)
    assert found > 0.85
    assert pca < 0.1  # the strongest variance is noise
    blocks = [(cube, np.ones(cube.shape[1:], bool))]
    estimate = components.NoiseEstimate.of(30, blocks)
    assert estimate.pairs == 60 * 49 + 59 * 50
    error = np.linalg.norm(estimate.covariance - covariance) / np.linalg.norm(covariance)
    assert error < 0.12  # of 3,000 pixels in 30 bands: about 0.1 by chance


def test_mnf_makes_noise_white_and_components_uncorrelated():
    cube = noisy(seed=2)[0].astype(np.float32).astype(float)
    pixels = cube.reshape(30, -1)
    covariance = np.cov(pixels)
    differences = [np.diff(cube, axis=axis).reshape(30, -1) for axis in (1, 2)]
    d = np.concatenate(differences, axis=1)
    own = d @ d.T / d.shape[1] / 2  # the definition, in one go
    reducer = spectral.fit(make_scene(cube), reduce="mnf")
    v = reducer.components
    np.testing.assert_allclose(v @ own @ v.T, np.eye(12), atol=1e-8)
    total = v @ covariance @ v.T
    np.testing.assert_allclose(total, np.diag(total.diagonal()), atol=1e-8 * total.max())
    assert (np.diff(total.diagonal()) <= 1e-9).all()
    assert total[0, 0] > 5
    largest = np.abs(v).argmax(axis=1)
    assert (v[np.arange(12), largest] > 0).all()


@pytest.mark.parametrize("block", [1, 777, 30 * 50 * 7])
def test_mnf_is_streamed_and_masked(monkeypatch, block):
    cube, _, _ = noisy(seed=3)
    valid = np.random.default_rng(0).random(cube.shape[1:]) < 0.8
    cube = np.where(valid, cube, np.nan)
    whole = spectral.fit(make_scene(cube, valid), reduce="mnf")
    monkeypatch.setattr(import_module("hyperpeft.spectral.fit"), "BLOCK", block)
    streamed = spectral.fit(make_scene(cube, valid), reduce="mnf")
    np.testing.assert_allclose(streamed.components, whole.components, rtol=1e-6, atol=1e-9)
    out = streamed.reduce(make_scene(cube, valid))
    assert np.isfinite(out).all()
    assert (out[:, ~valid] == 0).all()


def test_mnf_of_few_or_dependent_bands_and_few_neighbours():
    cube, _, _ = noisy(seed=4, bands=4)
    twice = np.concatenate([cube, cube, np.full_like(cube[:1], 3)])
    reducer = spectral.fit(make_scene(twice), reduce="mnf")
    assert len(reducer.components) == 4
    assert np.isfinite(reducer.reduce(make_scene(twice))).all()
    scene = make_scene(noisy()[0])
    apart = np.array([[r, c] for r in range(0, 60, 2) for c in range(0, 50, 2)])
    with pytest.raises(SceneError, match=r"more than 30 pairs .*, got 0; fit on the whole scene"):
        spectral.fit(scene, reduce="mnf", fit_on="train", train=apart)
    rows = np.array([[r, c] for r in range(30) for c in range(50)])
    fitted = spectral.fit(scene, reduce="mnf", fit_on="train", train=rows)
    assert fitted.pixels == 1500


def test_mnf_on_berlin(data):
    """Real data: the first component is smoother in space than the first principal component."""
    from hyperpeft.scenes import open_scene

    scene = open_scene(data / "berlin-enmap" / "EnMAP_BerlinUrbanGradient.bsq")

    def roughness(reduce):
        out = spectral.fit(scene, reduce=reduce).reduce(scene)[0]
        both = scene.valid[:, 1:] & scene.valid[:, :-1]
        return np.mean((out[:, 1:] - out[:, :-1])[both] ** 2)

    assert roughness("mnf") < roughness("pca")
    reducer = spectral.fit(scene, reduce="sentinel2")
    assert reducer.notes == ("Sentinel-2 B01: not seen by the sensor, repeats B02",)  # from 460 nm
