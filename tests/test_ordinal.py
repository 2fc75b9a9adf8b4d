"""Agreement of levels with a difficulty: hand-computed, against scipy and scikit-learn, and its intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from curriculum.difficulty import cut_levels
from curriculum.ordinal import BINS, Agreement, _steps, level_agreement


def figures(found: Agreement) -> list[float]:
    return [found.spearman.value, found.tau_b.value, found.kappa.value]


def test_by_hand() -> None:
    """Four images in the model's order, people's levels easy, medium, easy, hard: one pair of six is swapped, one is tied."""
    found = level_agreement(np.array([0, 1, 0, 2]), np.array([0.1, 0.2, 0.3, 0.4]), resamples=10)
    # ranks less their mean: -1, 0.5, -1, 1.5 against -1.5, -0.5, 0.5, 1.5; products 3, squares 4.5 and 5
    assert found.spearman.value == pytest.approx(3 / math.sqrt(4.5 * 5))
    # of six pairs four agree, one disagrees, one is tied on one side
    assert found.tau_b.value == pytest.approx((4 - 1) / math.sqrt(5 * 6))
    # the model's two easiest are its easy ones: two images one level apart; by chance 22 / 4
    assert found.kappa.value == pytest.approx(1 - 2 / 5.5)


@given(st.integers(0, 10_000), st.integers(3, 60), st.booleans())
def test_equal_to_scipy_and_scikit_learn(seed: int, count: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    levels = random.integers(0, 3, count)
    difficulty = random.integers(0, 6, count) / 5 if ties else random.random(count)
    if np.ptp(levels) == 0 or np.ptp(difficulty) == 0:
        return
    expected = [stats.spearmanr(levels, difficulty).statistic, stats.kendalltau(levels, difficulty).statistic]
    found = figures(level_agreement(levels, difficulty, resamples=5))
    assert found[:2] == pytest.approx(expected, abs=1e-12)
    if not ties:
        cut = cut_levels(difficulty, np.bincount(levels, minlength=3).tolist())
        assert found[2] == pytest.approx(cohen_kappa_score(levels, cut, weights="quadratic"), abs=1e-12)


def test_what_is_tied_across_a_cut_counts_in_proportion() -> None:
    """Levels and a score that knows nothing of them, all equal but for one image: kappa near 0 in whatever order they come."""
    levels, difficulty = np.repeat([0, 1, 2], 100), np.full(300, 0.5)
    difficulty[150] = 0.9
    for order in (np.arange(300), np.arange(300)[::-1]):
        found = level_agreement(levels[order], difficulty[order]).kappa
        assert abs(found.value) < 0.01
        assert found.low <= found.value <= found.high


def test_steps_of_the_difficulty_hardly_change_the_interval() -> None:
    """More images than the resamples tell apart: against a bootstrap over the images themselves."""
    random = np.random.default_rng(3)
    difficulty = random.random(900)
    levels = np.digitize(difficulty + random.normal(0, 0.4, 900), [0.3, 0.7])
    found = level_agreement(levels, difficulty)
    rows = random.integers(0, 900, (400, 900))
    low, high = np.percentile([stats.spearmanr(levels[r], difficulty[r]).statistic for r in rows], [2.5, 97.5])
    assert (found.spearman.low, found.spearman.high) == pytest.approx((low, high), abs=0.015)
    for each in (found.spearman, found.tau_b, found.kappa):
        assert each.low < each.value < each.high


@pytest.mark.parametrize("tied", [0.0, 0.3, 0.9])
def test_an_interval_holds_its_own_figure_however_many_difficulties_are_equal(tied: float) -> None:
    """A model that is sure of many images gives them all a loss of 0: the resamples must not know an order of these."""
    random = np.random.default_rng(0)
    difficulty = random.random(3000)
    difficulty[: round(3000 * tied)] = 0.0
    levels = np.digitize(difficulty + random.normal(0, 0.4, 3000), [0.3, 0.7])
    found = level_agreement(levels, difficulty, 300)
    for each in (found.spearman, found.tau_b, found.kappa):
        assert each.low < each.value < each.high
        assert each.value - each.low == pytest.approx(each.high - each.value, rel=0.3)


def test_steps_keep_what_is_equal_together_and_share_out_what_is_not() -> None:
    random = np.random.default_rng(1)
    assert np.bincount(_steps(random.permutation(1000))).tolist() == [5] * BINS
    difficulty = random.integers(0, 400, 1000)
    steps = _steps(difficulty)
    assert all(len(set(steps[difficulty == value])) == 1 for value in np.unique(difficulty))
    assert (np.diff(steps[np.argsort(difficulty)]) >= 0).all() and steps.max() < BINS


@pytest.mark.parametrize(("levels", "difficulty"), [([0, 1], [0.1, 0.2]), ([1, 1, 1], [0.1, 0.2, 0.3]), ([0, 1, 2], [0.5, 0.5, 0.5])])
def test_undefined_is_said(levels: list[int], difficulty: list[float]) -> None:
    found = level_agreement(np.array(levels), np.array(difficulty))
    assert not found.spearman.defined and not found.tau_b.defined and not found.kappa.defined
    assert found.kappa.n == len(levels)


@pytest.mark.parametrize(
    ("levels", "reason"), [([0, 0, 1, 2, 2], "of 5 images it would flatter"), ([0, 1, 1, 2] * 6, "all images say the same")]
)
def test_an_interval_that_would_flatter_is_left_out(levels: list[int], reason: str) -> None:
    found = level_agreement(np.array(levels), np.array(levels) / 2).kappa
    assert found.value == pytest.approx(1.0) and not found.bounded
    assert math.isnan(found.low) and math.isnan(found.high) and found.reason.startswith(f"no interval: {reason}")


def test_opposite_orders_are_minus_one() -> None:
    found = level_agreement(np.array([2, 2, 1, 1, 0, 0]), np.arange(6) / 5)
    assert found.spearman.value < -0.9
    assert found.tau_b.value < -0.8
    assert found.kappa.value == pytest.approx(-1.0)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(8)
    found = [level_agreement(random.integers(0, 3, 60), random.random(60), resamples=200) for _ in range(60)]
    for measure in ("spearman", "tau_b", "kappa"):
        assert sum(getattr(each, measure).low <= 0 <= getattr(each, measure).high for each in found) >= 50


def test_an_interval_narrows_with_more_images_and_depends_on_the_seed_alone() -> None:
    random = np.random.default_rng(2)
    difficulty = random.random(1600)
    levels = np.digitize(difficulty + random.normal(0, 0.5, 1600), [0.3, 0.7])
    few, many = level_agreement(levels[:50], difficulty[:50], 300).spearman, level_agreement(levels, difficulty, 300).spearman
    assert many.high - many.low < (few.high - few.low) / 2
    assert level_agreement(levels, difficulty, 300).spearman == many
    assert level_agreement(levels, difficulty, 300, seed=1).spearman.low != many.low
