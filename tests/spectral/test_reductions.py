"""Sentinel-2 bands against integrals done otherwise, MNF against planted noise."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import rasterio
from sklearn.linear_model import LinearRegression

from hyperpeft import spectral
from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.scenes.synthetic.reflectance import model_spectra
from hyperpeft.spectral import mnf, sentinel2
from tests.helpers.small import correlated, make_scene

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
def test_file_round_trip(tmp_path, reduce, normalise):
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
    estimate = mnf.NoiseEstimate.of(30, blocks)
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
