"""Planted truths, published examples and scipy: what the statistics of a report rest on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from hyperpeft.report import statistics as st


def test_summary_is_the_sample_deviation():
    values = [80.0, 84.5, 91.0, 88.0]
    found = st.summary(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(stats.tstd(values))
    assert st.summary([3.0]) == (3.0, None, 1)  # one seed has no spread, not a spread of 0


def test_pairs_need_the_same_split():
    first = {("a", 0): (90.0, "x"), ("a", 1): (91.0, "y"), ("b", 0): (70.0, None), "c": (1.0, "z")}
    second = {("a", 0): (88.0, "x"), ("a", 1): (99.0, "other"), ("b", 0): (60.0, None)}
    differences, unpaired = st.paired(first, second)
    assert differences == {("a", 0): 2.0}
    assert unpaired == [("a", 1), ("b", 0)]  # another split; no hash at all


def test_the_interval_of_one_scene_is_the_plain_bootstrap():
    values = np.random.default_rng(1).normal(80, 3, 12)
    found = st.bootstrap([values])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(theirs.low, abs=0.1)
    assert found.high == pytest.approx(theirs.high, abs=0.1)


def test_the_interval_covers_the_planted_mean():
    """Scenes with an effect of their own about 2 points: about 19 of 20 intervals hold the 2."""
    rng, held = np.random.default_rng(0), 0
    for i in range(200):
        groups = [rng.normal(rng.normal(2, 1.5), 0.7, 3).tolist() for _ in range(12)]
        found = st.bootstrap(groups, resamples=1000, seed=i)
        held += found.low <= 2 <= found.high
    assert 0.86 <= held / 200 <= 0.99


def test_the_interval_knows_that_scenes_differ():
    """Many seeds of two scenes that disagree are no evidence; treated as one heap they would be."""
    groups = [[5.0 + 0.01 * i for i in range(10)], [-3.0 + 0.01 * i for i in range(10)]]
    found = st.bootstrap(groups)
    assert found.low < 0 < found.high
    heap = st.bootstrap([[*groups[0], *groups[1]]])
    assert heap.low > -1.2
    assert found.low < -2.9


def test_intervals_repeat():
    assert st.bootstrap([[1.0, 2.0], [3.0]]) == st.bootstrap([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("n", [5, 8, 12, 20])
def test_wilcoxon_without_ties_is_scipys(n):
    values = np.random.default_rng(n).normal(0.5, 1, n)
    assert st.wilcoxon(values).p == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_wilcoxon_with_ties_counts_every_choice_of_signs():
    values = [1.0, 1.0, -2.0, 3.0, 3.0, 4.0]
    ranks = stats.rankdata(np.abs(values))
    seen = sum(r for r, v in zip(ranks, values, strict=True) if v > 0)
    sums = [
        sum(r for r, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product([0, 1], repeat=6)
    ]
    far = [s for s in sums if abs(s - ranks.sum() / 2) >= abs(seen - ranks.sum() / 2)]
    assert st.wilcoxon(values).p == pytest.approx(len(far) / 64)


def test_few_scenes_cannot_be_significant():
    """However large the differences of five scenes: p is 0.0625, and the test says so."""
    found = st.wilcoxon([50.0, 60.0, 70.0, 80.0, 90.0])
    assert found.p == found.smallest == 0.0625
    assert st.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).p == pytest.approx(0.03125)
    assert st.wilcoxon([0.0, 0.0]) == (None, 0, 1.0)
    assert st.wilcoxon([0.0, 3.0]).n == 1


def test_wilcoxon_finds_what_is_planted_and_no_more():
    rng = np.random.default_rng(0)
    found = [st.wilcoxon(rng.normal(0, 1, 10)).p < 0.05 for _ in range(300)]
    assert np.mean(found) < 0.09  # no effect: about 1 in 20
    found = [st.wilcoxon(rng.normal(1.5, 1, 10)).p < 0.05 for _ in range(100)]
    assert np.mean(found) > 0.9


def test_holm():
    assert st.holm({"a": 0.01, "b": 0.02, "c": 0.9}) == {"a": 0.03, "b": 0.04, "c": 0.9}
    assert st.holm({"a": 0.8, "b": 0.7}) == {"a": 1.0, "b": 1.0}


def test_ranks_of_a_planted_order():
    scores = {
        "good": {f"s{i}": 90.0 + i for i in range(6)},
        "fair": {f"s{i}": 80.0 + i for i in range(6)},
        "poor": {f"s{i}": 70.0 + i for i in range(6)},
    }
    found = st.average_ranks(scores)
    assert found.ranks == {"good": 1.0, "fair": 2.0, "poor": 3.0}
    assert found.scenes == 6
    table = [list(of.values()) for of in scores.values()]
    assert found.p == pytest.approx(stats.friedmanchisquare(*table).pvalue)
    assert found.p < 0.01
    assert found.critical < 2  # good and poor can be told apart, good and fair cannot
    assert found.critical > 1


def test_ranks_share_ties_and_skip_what_a_method_lacks():
    found = st.average_ranks({"a": {"x": 5.0, "y": 1.0}, "b": {"x": 5.0}, "c": {"x": 1.0}})
    assert found.ranks == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert found.scenes == 1
    assert (found.p, found.critical) == (None, None)
    assert st.average_ranks({"a": {}, "b": {"x": 1.0}}).ranks == {}


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (8, 3.031), (10, 3.164)]
)
def test_the_critical_difference_has_the_published_constants(k, q):
    """Demsar 2006, table 5(a)."""
    n = 14
    assert st.critical_difference(k, n) == pytest.approx(
        q * np.sqrt(k * (k + 1) / (6 * n)), rel=1e-3
    )
