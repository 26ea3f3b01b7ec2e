"""The metrics equal scikit-learn's, whatever the class ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from hyperpeft.metrics import class_scores, confusion_matrix, scores

IDS = st.lists(st.integers(1, 500), min_size=2, max_size=8, unique=True).map(sorted)


@st.composite
def predictions(draw):
    """Ascending non-contiguous ids, and true and predicted ids of some pixels."""
    ids = draw(IDS)
    pairs = draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), min_size=1))
    true, predicted = np.array(pairs).T
    return np.array(ids), true, predicted


@given(predictions())
def test_equal_to_scikit_learn(case):
    ids, true, predicted = case
    confusion = confusion_matrix(true, predicted, ids)
    assert np.array_equal(confusion, reference.confusion_matrix(true, predicted, labels=ids))
    result = scores(confusion, ids)
    assert result["oa"] == pytest.approx(100 * reference.accuracy_score(true, predicted))
    present = np.unique(true)
    recall = reference.recall_score(true, predicted, labels=present, average=None)
    assert result["aa"] == pytest.approx(100 * recall.mean())
    found = {int(i): value for i, value in result["per_class"].items() if value is not None}
    assert found == pytest.approx(dict(zip(present.tolist(), 100 * recall, strict=True)))
    if len(np.union1d(true, predicted)) == 1:
        assert result["kappa"] is None
    else:
        kappa = reference.cohen_kappa_score(true, predicted, labels=ids)
        assert result["kappa"] == pytest.approx(100 * kappa)


def test_class_without_test_pixels_has_no_accuracy_and_does_not_enter_aa():
    result = scores(np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]]), np.array([2, 5, 9]))
    assert result["per_class"] == {"2": 75.0, "5": None, "9": 50.0}
    assert result["aa"] == 62.5
    assert result["oa"] == 62.5


def test_nothing_tested_is_missing_not_zero():
    result = scores(np.zeros((2, 2), int), np.array([1, 7]))
    assert [result[name] for name in ("oa", "aa", "kappa")] == [None] * 3
    assert result["per_class"] == {"1": None, "7": None}
    assert result["confusion"] == [[0, 0], [0, 0]]


def test_one_class_only_has_no_kappa():
    result = scores(np.array([[5]]), np.array([4]))
    assert (result["oa"], result["aa"], result["kappa"]) == (100.0, 100.0, None)


def test_always_the_same_answer_has_kappa_zero():
    assert scores(np.array([[5, 0], [3, 0]]), np.array([1, 2]))["kappa"] == pytest.approx(0)


def test_worse_than_chance_is_negative():
    assert scores(np.array([[0, 5], [5, 0]]), np.array([1, 2]))["kappa"] == pytest.approx(-100)


@pytest.mark.parametrize(("true", "predicted"), [([1, 3], [1, 2]), ([1, 2], [1, 9])])
def test_unknown_ids_are_refused(true, predicted):
    with pytest.raises(ValueError, match="class ids outside"):
        confusion_matrix(np.array(true), np.array(predicted), np.array([1, 2]))


def test_counts_do_not_overflow_small_integers():
    true = np.full(300, 200, np.uint8)
    confusion = confusion_matrix(true, true, np.array([100, 200], np.uint8))
    assert confusion.tolist() == [[0, 0], [0, 300]]
    big = np.array([[10**6, 0], [0, 10**6]], np.int32) * 1000
    assert scores(big, np.array([1, 2]))["kappa"] == pytest.approx(100)


@pytest.mark.parametrize("seed", range(5))
def test_class_scores_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(1, 6, 200), rng.integers(1, 5, 200)  # 5 is never predicted
    ids = np.arange(1, 7)  # and 6 does not occur
    found = class_scores(confusion_matrix(true, predicted, ids))
    expected = reference.precision_recall_fscore_support(
        true, predicted, labels=ids, zero_division=np.nan
    )
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        ours = np.array([np.nan if row[name] is None else row[name] for row in found])
        np.testing.assert_allclose(ours, 100 * values, rtol=1e-12)
    assert found[5] == {"recall": None, "precision": None, "f1": None}
