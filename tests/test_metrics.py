"""Measures against scikit-learn, scipy and values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, log_loss
from sklearn.metrics import confusion_matrix as reference_confusion
from sklearn.neighbors import NearestNeighbors

from curriculum import metrics


def random_judgement(n: int, classes: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(classes, 0.7), n)
    return probabilities, random.integers(0, classes, n)


# -- accuracy, cross-entropy, confusion -----------------------------------------------------------


def test_accuracy_by_hand() -> None:
    probabilities = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    assert metrics.accuracy(probabilities, np.array([0, 1, 1])) == pytest.approx(2 / 3)


def test_accuracy_of_nothing_is_nan() -> None:
    assert np.isnan(metrics.accuracy(np.empty((0, 3)), np.empty(0, dtype=np.int64)))


def test_accuracy_like_scikit_learn() -> None:
    probabilities, labels = random_judgement(500, 7)
    assert metrics.accuracy(probabilities, labels) == pytest.approx(accuracy_score(labels, probabilities.argmax(1)))


def test_cross_entropy_by_hand() -> None:
    losses = metrics.cross_entropy(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([0, 0]))
    assert losses == pytest.approx([np.log(4), 0.0])


def test_cross_entropy_of_an_impossible_class_is_large_but_finite() -> None:
    assert metrics.cross_entropy(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx([12 * np.log(10)])


def test_cross_entropy_like_scikit_learn() -> None:
    probabilities, labels = random_judgement(400, 5)
    assert metrics.cross_entropy(probabilities, labels).mean() == pytest.approx(log_loss(labels, probabilities, labels=range(5)))


@given(st.integers(2, 6), st.data())
def test_confusion_like_scikit_learn(classes: int, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=60))
    labels, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    ours = metrics.confusion_matrix(labels, predicted, classes)
    assert ours.tolist() == reference_confusion(labels, predicted, labels=range(classes)).tolist()


def test_confusion_rows_are_the_true_class() -> None:
    assert metrics.confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3).tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_confusion_of_nothing_is_all_zero() -> None:
    empty = np.empty(0, dtype=np.int64)
    assert metrics.confusion_matrix(empty, empty, 2).tolist() == [[0, 0], [0, 0]]


# -- KNN ------------------------------------------------------------------------------------------


def reference_purity(features: NDArray[np.float64], labels: NDArray[np.int64], k: int) -> float:
    """Each point is its own nearest neighbour (no two coincide): drop it, count the others."""
    nearest = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(features).kneighbors(features, return_distance=False)
    return float((labels[nearest[:, 1:]] == labels[:, None]).mean())


@pytest.mark.parametrize(("n", "k", "block"), [(300, 5, 1024), (301, 5, 64), (130, 1, 7), (90, 11, 90), (64, 5, 63)])
def test_knn_purity_like_scikit_learn(n: int, k: int, block: int) -> None:
    random = np.random.default_rng(n)
    features, labels = random.normal(3, 2, (n, 12)), random.integers(0, 4, n)
    assert metrics.knn_purity(features, labels, k, block) == pytest.approx(reference_purity(features, labels, k), abs=1e-12)


def test_knn_purity_of_more_than_one_default_block() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 3, 4200)
    assert len(labels) ** 2 > metrics.KNN_CELLS
    features = random.normal(0, 1, (4200, 4)) + labels[:, None]
    assert metrics.knn_purity(features, labels) == pytest.approx(reference_purity(features, labels, 5), abs=1e-12)


def test_knn_purity_in_single_precision_too() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 7, 400)
    features = np.abs(random.normal(0, 1, (400, 512)) + 0.1 * labels[:, None]).astype(np.float32)
    expected = reference_purity(features.astype(np.float64), labels, 5)
    assert metrics.knn_purity(features, labels) == pytest.approx(expected, abs=2 / (400 * 5)), (
        "but for two neighbours as near as each other"
    )


def test_knn_purity_by_hand() -> None:
    # 0 and 1 find each other; 5's nearest is 6, of another class; 6's nearest is 5.
    assert metrics.knn_purity(np.array([[0.0], [1.0], [5.0], [6.0]]), np.array([0, 0, 0, 1]), k=1) == 0.5


def test_knn_purity_far_from_the_origin() -> None:
    random = np.random.default_rng(1)
    features, labels = random.normal(0, 1, (80, 6)), random.integers(0, 2, 80)
    assert metrics.knn_purity(features + 1e6, labels) == pytest.approx(metrics.knn_purity(features, labels))


def test_knn_purity_takes_all_others_where_they_are_few() -> None:
    assert metrics.knn_purity(np.array([[0.0], [1.0], [2.0]]), np.array([0, 0, 1]), k=5) == pytest.approx((0.5 + 0.5 + 0) / 3)


@pytest.mark.parametrize("n", [0, 1])
def test_knn_purity_of_fewer_than_two_is_nan(n: int) -> None:
    assert np.isnan(metrics.knn_purity(np.ones((n, 3)), np.zeros(n, dtype=np.int64)))


# -- intervals of shares ---------------------------------------------------------------------------


def test_wilson_by_hand() -> None:
    z, n, p = stats.norm.ppf(0.975), 20, 0.9
    centre, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert metrics.wilson_interval(18, 20) == pytest.approx((centre - half, centre + half))


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_within_0_and_1(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    low, high = metrics.wilson_interval(successes, total)
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= successes / total <= high + 1e-12


def test_wilson_narrows_with_more_examples() -> None:
    widths = [high - low for low, high in (metrics.wilson_interval(n // 2, n) for n in (10, 100, 1000))]
    assert widths[0] > widths[1] > widths[2]


def test_wilson_of_nothing_is_nan() -> None:
    assert np.isnan(metrics.wilson_interval(0, 0)).all()


def test_wilson_of_many_is_wilson_of_each() -> None:
    right, total = np.array([0, 1, 18, 20, 0.0]), np.array([20, 7, 20, 20, np.nan])
    low, high = metrics.wilson_bounds(right / total, total)
    expected = [metrics.wilson_interval(int(r), int(n)) for r, n in zip(right[:4], total[:4], strict=True)]
    assert np.stack([low, high], 1)[:4] == pytest.approx(np.array(expected), abs=1e-12)
    assert np.isnan([low[4], high[4]]).all()
