"""Difficulty from raw scores: ranks, levels at given counts, how far an order repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from curriculum import difficulty, metrics
from curriculum.difficulty import Dynamics, cut_levels, rank_difficulty, stability

scores = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=60)


def test_ranks_by_hand() -> None:
    assert rank_difficulty(np.array([0.1, 5.0, 0.3])).tolist() == [0.0, 1.0, 0.5]


def test_ties_share_their_mean_rank() -> None:
    assert rank_difficulty(np.array([2.0, 1.0, 2.0, 9.0, 2.0])).tolist() == [0.5, 0.0, 0.5, 1.0, 0.5]


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0, 3.0]])
def test_one_score_or_all_equal_is_the_middle(values: list[float]) -> None:
    assert rank_difficulty(np.array(values)).tolist() == [0.5] * len(values)


@given(scores)
def test_difficulty_keeps_the_order_within_0_and_1(values: list[float]) -> None:
    given_values = np.array(values)
    difficulty = rank_difficulty(given_values)
    assert ((difficulty >= 0) & (difficulty <= 1)).all()
    assert (np.sign(difficulty[:, None] - difficulty) == np.sign(given_values[:, None] - given_values)).all()
    assert difficulty.mean() == pytest.approx(0.5)


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=2, max_size=60, unique=True))
def test_distinct_scores_give_evenly_spaced_difficulty(values: list[float]) -> None:
    assert np.sort(rank_difficulty(np.array(values))) == pytest.approx(np.linspace(0, 1, len(values)))


@given(scores, st.permutations(range(60)))
def test_permuted_scores_give_permuted_difficulty(values: list[float], order: list[int]) -> None:
    rows = [i for i in order if i < len(values)]
    assert rank_difficulty(np.array(values)[rows]).tolist() == rank_difficulty(np.array(values))[rows].tolist()


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=60))
def test_only_the_order_counts(values: list[int]) -> None:
    raw = np.array(values, dtype=float)
    assert rank_difficulty(np.exp(raw / 5)).tolist() == rank_difficulty(raw).tolist()
    assert rank_difficulty(-raw) == pytest.approx(1 - rank_difficulty(raw))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        rank_difficulty(np.array([1.0, bad]))


@given(st.lists(st.integers(0, 9).map(float), min_size=3, max_size=60), st.data())
def test_levels_have_the_counts_asked_for_and_follow_the_difficulty(difficulty: list[float], data: st.DataObject) -> None:
    easy = data.draw(st.integers(0, len(difficulty)))
    medium = data.draw(st.integers(0, len(difficulty) - easy))
    counts = (easy, medium, len(difficulty) - easy - medium)
    values = np.array(difficulty)
    levels = cut_levels(values, counts)
    assert np.bincount(levels, minlength=3).tolist() == list(counts)
    for below in range(3):
        lower, higher = values[levels == below], values[levels > below]
        assert not len(lower) or not len(higher) or lower.max() <= higher.min()


def test_tied_levels_fall_by_chance_whatever_the_order_of_arrival() -> None:
    """Of 900 equal ones that come class by class, each class gets its share of each level."""
    levels = cut_levels(np.full(900, 0.5), (300, 300, 300))
    assert cut_levels(np.full(900, 0.5), (300, 300, 300)).tolist() == levels.tolist(), "the same each time"
    for part in np.split(levels, 3):
        assert all(60 < count < 140 for count in np.bincount(part, minlength=3))
    assert cut_levels(np.array([0.5, 0.5, 0.1, 0.5]), (1, 2, 1))[2] == 0


@pytest.mark.parametrize("counts", [(1, 1, 1), (2, 2), (5, 0, 0), (1, 1, 1, 1)])
def test_counts_that_do_not_fit_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="add up to 4"):
        cut_levels(np.arange(4.0), counts)


def test_stability_is_the_mean_spearman_of_all_pairs() -> None:
    values = np.random.default_rng(0).normal(0, 1, (4, 30)).round(1)
    pairs = [stats.spearmanr(values[i], values[j]).statistic for i in range(4) for j in range(i)]
    assert stability(values) == pytest.approx(np.mean(pairs))


def test_stability_of_repeats_in_the_same_or_the_reverse_order() -> None:
    row = np.arange(10.0)
    assert stability(np.stack([row, row**2])) == pytest.approx(1)
    assert stability(np.stack([row, -row])) == pytest.approx(-1)


@pytest.mark.parametrize("values", [[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]])
def test_stability_is_none_where_it_is_undefined(values: list[list[float]]) -> None:
    assert stability(np.array(values)) is None


# -- scores ---------------------------------------------------------------------------------------

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.0, 1.0, 0.0]])
LABELS = np.array([0, 0, 1])


def test_scores_of_probabilities_by_hand() -> None:
    expected = {
        "confidence": [0.3, 0.9, 0.0],
        "margin": [-0.5, 0.5, -1.0],
        "entropy": [-sum(p * np.log(p) for p in (0.7, 0.2, 0.1)), -sum(p * np.log(p) for p in (0.1, 0.3, 0.6)), 0.0],
        "el2n": [np.sqrt(0.09 + 0.04 + 0.01), np.sqrt(0.81 + 0.09 + 0.36), 0.0],
    }
    for name, values in expected.items():
        assert difficulty.FROM_PROBABILITIES[name](PROBABILITIES, LABELS) == pytest.approx(np.array(values)), name
    assert PROBABILITIES[0].tolist() == [0.7, 0.2, 0.1], "what comes in stays as it was"


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 1000))
def test_scores_of_probabilities_stay_in_their_ranges(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities, labels = random.dirichlet(np.full(classes, 0.1), count), random.integers(0, classes, count)
    ranges = {"confidence": (0, 1), "margin": (-1, 1), "entropy": (0, np.log(classes)), "el2n": (0, np.sqrt(2))}
    for name, (low, high) in ranges.items():
        values = difficulty.FROM_PROBABILITIES[name](probabilities, labels)
        assert values.shape == (count,)
        assert values.min() >= low - 1e-9
        assert values.max() <= high + 1e-9
    wrong = probabilities.argmax(1) != labels
    assert ((difficulty.margin(probabilities, labels) > 0) == wrong).all()


def test_neighbours_disagree_as_the_knn_metric_says() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 8)), random.integers(0, 3, 60)
    values = difficulty.knn_disagreement(features, labels, k=5)
    assert values.mean() == pytest.approx(1 - metrics.knn_purity(features, labels, 5))
    assert difficulty.knn_disagreement(features[:1], labels[:1]).tolist() == [0.0]
    line = np.array([[0.0], [1.0], [2.0], [10.0]])
    assert difficulty.knn_disagreement(line, np.array([0, 0, 1, 1]), k=2).tolist() == [0.5, 0.5, 1.0, 0.5]


def test_distances_to_prototypes_by_hand() -> None:
    line, labels = np.array([[0.0], [2.0], [10.0], [14.0], [5.0]]), np.array([0, 0, 1, 1, 2])
    expected = [
        2 / 5,
        2 / 3,
        4 / 5,
        4 / 9,
        0.0,
    ]  # own class without oneself; the nearest other mean: 5 (class 2), 12 and 1 (classes 1 and 0)
    assert difficulty.prototype_distance(line, labels) == pytest.approx(np.array(expected))
    assert difficulty.prototype_distance(line, np.zeros(5, dtype=np.int64)).tolist() == [0.0] * 5


def dynamics(margins: list[list[float]], losses: list[list[float]] | None = None) -> Dynamics:
    rows = np.array(margins, dtype=np.float32)
    return Dynamics(np.array(losses, dtype=np.float32) if losses else np.zeros_like(rows), rows, np.abs(rows))


def test_scores_of_training_by_hand() -> None:
    """Four examples over four epochs: always right, right-wrong-right-wrong, learnt late, never right."""
    said = dynamics([[1, 1, -1, -1], [2, -1, -1, -2], [3, 1, -1, -1], [4, -3, 2, -4]])
    assert difficulty.forgetting(said).tolist() == [0, 2, 0, 4]
    assert difficulty.aum(said).tolist() == [-2.5, 0.5, 0.25, 2.0]
    assert difficulty.cartography_correctness(said).tolist() == [0, 0.5, 0.75, 1]
    assert difficulty.early_error(said).tolist() == [1, 1, 1, 1]


def test_cartography_by_hand() -> None:
    said = dynamics([[1, 1], [1, 1]], [[-np.log(0.2), -np.log(0.9)], [-np.log(0.6), -np.log(0.9)]])
    assert difficulty.cartography_confidence(said) == pytest.approx(np.array([0.6, 0.1]), abs=1e-6)
    assert difficulty.cartography_variability(said) == pytest.approx(np.array([0.2, 0.0]), abs=1e-6)


def test_el2n_is_taken_after_a_tenth_of_the_epochs() -> None:
    said = dynamics([[float(epoch)] for epoch in range(1, 31)])
    assert difficulty.early_error(said).tolist() == [3]
    assert difficulty.early_error(dynamics([[7.0]])).tolist() == [7]


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 100))
def test_every_score_of_training_is_finite_and_has_a_difficulty(epochs: int, count: int, seed: int) -> None:
    said = dynamics(np.random.default_rng(seed).normal(size=(epochs, count)).tolist())
    for of in difficulty.FROM_DYNAMICS.values():
        values = of(said)
        assert values.shape == (count,)
        assert 0 <= rank_difficulty(values).min() <= rank_difficulty(values).max() <= 1


def test_dynamics_of_other_shapes_are_refused() -> None:
    for shape in ((3,), (0, 4)):
        with pytest.raises(ValueError, match="epochs x examples"):
            Dynamics(*(np.zeros(shape, np.float32),) * 3)


# -- from other scores, or from nothing ------------------------------------------------------------


def test_an_ensemble_is_the_mean_of_ranks_whatever_the_units() -> None:
    one, other = np.array([1.0, 2.0, 3.0]), np.array([100.0, 50.0, 200.0])
    assert difficulty.ensemble([one, other]).tolist() == [0.25, 0.25, 1.0]
    assert difficulty.ensemble([one, 1000 * one + 7, one**3]).tolist() == [0.0, 0.5, 1.0]


def test_the_random_score_is_drawn_from_its_seed_alone() -> None:
    values = difficulty.random_score(500, 1)
    assert (values == difficulty.random_score(500, 1)).all()
    assert abs(np.corrcoef(values, difficulty.random_score(500, 2))[0, 1]) < 0.2
    assert values.min() >= 0 and values.max() <= 1 and abs(values.mean() - 0.5) < 0.05
