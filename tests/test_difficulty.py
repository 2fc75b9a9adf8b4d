"""Difficulty from raw scores: ranks, levels at given counts, how far an order repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from curriculum.difficulty import cut_levels, rank_difficulty, stability

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


def test_tied_levels_fall_in_order_of_arrival() -> None:
    assert cut_levels(np.array([0.5, 0.5, 0.1, 0.5]), (2, 1, 1)).tolist() == [0, 1, 0, 2]


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
