"""Few-shot episodes: what is drawn, what the classifiers say, how sure the mean is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from curriculum.episodes import _LEARNERS, accuracies, draw, interval
from curriculum.errors import DatasetError

LABELS = np.arange(120) % 6


def judged(features: NDArray[np.float32], **changes: Any) -> NDArray[np.float64]:
    options: dict[str, Any] = {
        "ways": 3, "shots": 5, "queries": 10, "episodes": 40, "classifier": "nearest-mean", "seed": 0, "progress": lambda *_: None,
    }  # fmt: skip
    return accuracies(features, LABELS, **(options | changes))


def clusters(apart: float) -> NDArray[np.float32]:
    """120 points in 16 dimensions, around a place for each class, `apart` deviations from 0."""
    random = np.random.default_rng(0)
    places = np.eye(6, 16) * apart
    return (places[LABELS] + random.normal(0, 1, (120, 16))).astype(np.float32)


# -- drawing --------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(2, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_no_row_comes_twice_and_each_way_is_one_class(given_labels: list[int], ways: int, shots: int, queries: int, seed: int) -> None:
    labels = np.array(given_labels, dtype=np.int64)
    enough = np.flatnonzero(np.bincount(labels) >= shots + queries)
    if len(enough) < ways:
        with pytest.raises(DatasetError, match=rf"{len(enough)} classes of that size.*--ways"):
            draw(labels, ways, shots, queries, np.random.default_rng(seed))
        return
    episode = draw(labels, ways, shots, queries, np.random.default_rng(seed))
    assert episode.support.shape == (ways, shots)
    assert episode.queries.shape == (ways, queries)
    drawn = np.concatenate([episode.support, episode.queries], axis=1)
    assert len(np.unique(drawn)) == drawn.size
    assert (labels[drawn] == labels[drawn[:, :1]]).all()
    assert len(set(labels[drawn[:, 0]])) == ways


def test_every_class_and_image_has_its_turn() -> None:
    random = np.random.default_rng(0)
    episodes = [draw(LABELS, 3, 2, 2, random) for _ in range(200)]
    classes = np.bincount(np.concatenate([LABELS[each.support[:, 0]] for each in episodes]))
    assert abs(classes - 100).max() < 30
    for part in ("support", "queries"):
        assert len(np.unique([getattr(each, part) for each in episodes])) == 120


# -- classifiers ----------------------------------------------------------------------------------


def test_the_nearest_mean_by_hand() -> None:
    support = np.array([[[0, 0], [2, 0]], [[0, 4], [0, 6]]], dtype=np.float32)  # means (1, 0) and (0, 5)
    queries = np.array([[1, 2], [1, 3], [0, 5], [-9, 0]], dtype=np.float32)
    assert _LEARNERS["nearest-mean"](support, queries).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("classifier", _LEARNERS)
def test_far_clusters_are_told_apart_and_noise_is_not(classifier: str) -> None:
    assert judged(clusters(50.0), classifier=classifier).tolist() == [1.0] * 40
    noise = judged(np.random.default_rng(5).normal(0, 1, (120, 16)).astype(np.float32), classifier=classifier, episodes=80)
    assert abs(noise.mean() - 1 / 3) < 0.05
    assert noise.std() > 0


@pytest.mark.parametrize("classifier", _LEARNERS)
def test_the_length_of_a_feature_says_nothing(classifier: str) -> None:
    near = clusters(2.0)
    lengths = np.exp(np.random.default_rng(1).normal(0, 2, (120, 1))).astype(np.float32)
    first = judged(near, classifier=classifier, episodes=10)
    assert 0.4 < first.mean() < 1.0
    assert np.allclose(first, judged(near * lengths, classifier=classifier, episodes=10), atol=0.04)


def test_a_feature_of_zeros_is_no_division_by_zero() -> None:
    features = clusters(50.0)
    features[::7] = 0.0
    found = judged(features)
    assert np.isfinite(found).all()
    assert found.mean() < 1.0


def test_the_seed_alone_decides() -> None:
    first, again, other = (judged(clusters(1.5), seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_progress_counts_up_and_what_it_raises_ends_it() -> None:
    seen: list[tuple[str, int, int]] = []

    def say(*each: Any) -> None:
        seen.append(each)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(clusters(2.0), progress=say)
    assert seen == [("episodes", 1, 40), ("episodes", 2, 40), ("episodes", 3, 40)]


# -- the interval ---------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50).filter(lambda values: np.std(values) > 1e-6))
def test_the_interval_is_scipys(values: list[float]) -> None:
    found = np.array(values)
    expected = stats.t.interval(0.95, len(found) - 1, loc=found.mean(), scale=stats.sem(found))
    assert interval(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)
