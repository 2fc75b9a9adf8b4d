"""Regions with weights: who is strongest, how far samplings agree, what removing them shows; by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curriculum import regions
from curriculum.regions import Deletion, Stability


def test_the_strongest_come_first_and_only_on_their_side_of_zero() -> None:
    weights = np.array([0.1, -0.4, 0.3, 0.0, 0.2, -0.1])
    assert regions.strongest(weights) == [2, 4, 0]
    assert regions.strongest(weights, 2) == [2, 4]
    assert regions.strongest(weights, negative=True) == [1, 5]
    assert regions.strongest(-np.abs(weights)) == []


def test_what_leads_covers_a_third_at_most_but_for_the_strongest() -> None:
    weights, shares = np.array([0.5, 0.4, 0.3, 0.2, -0.9]), np.array([0.1, 0.2, 0.1, 0.3, 0.3])
    assert regions.leading(weights, shares) == [0, 1]  # 0.1 + 0.2, and 0.1 more would be 0.4
    assert regions.leading(np.array([0.1, 0.5]), np.array([0.1, 0.9])) == [1], "the strongest however large"
    assert regions.leading(weights, shares, negative=True) == [4]


def test_jaccard_by_hand() -> None:
    assert regions.jaccard([1, 2, 3], [2, 3, 4]) == 2 / 4
    assert regions.jaccard([1], [2]) == 0
    assert regions.jaccard([], []) == 1
    assert regions.jaccard([1], []) == 0


def test_stability_is_the_mean_over_pairs() -> None:
    weights = np.array([[0.3, 0.2, 0.1, -0.1], [0.3, 0.2, 0.1, -0.1], [0.3, 0.1, 0.2, -0.1]])
    found = regions.stability(weights, 2)
    # Spearman: 1 for the equal pair; for the others 1 - 6 * 2 / (4 * 15) = 0.8. Top two: {0, 1}, {0, 1}, {0, 2}.
    assert found.rank == pytest.approx((1 + 0.8 + 0.8) / 3)
    assert found.overlap == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert found.samplings == 3 and not found.stable
    assert regions.stability(weights[:2], 2).stable
    assert regions.stability(np.zeros((2, 3))) == Stability(None, 1.0, 2), "all weights alike: no order, the same empty set"


def test_areas_are_shares() -> None:
    assert regions.areas(np.array([[0, 0, 1], [2, 0, 1]])).tolist() == [3 / 6, 2 / 6, 1 / 6]


@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=40).map(lambda sizes: np.array(sizes) / sum(sizes)),
    st.integers(0, 1000),
    st.data(),
)
def test_random_sets_differ_from_one_another_and_from_what_was_found(shares: NDArray[np.float64], seed: int, data: st.DataObject) -> None:
    found = data.draw(st.lists(st.integers(0, len(shares) - 1), min_size=1, max_size=len(shares) - 1, unique=True))
    drawn = regions.random_regions(shares, found, seed=seed)
    sets = {tuple(np.flatnonzero(row).tolist()) for row in drawn}
    assert len(sets) == len(drawn) <= regions.DRAWS
    assert tuple(sorted(found)) not in sets and () not in sets
    assert np.array_equal(drawn, regions.random_regions(shares, found, seed=seed))


def test_random_sets_are_of_about_the_same_area() -> None:
    shares = np.full(50, 1 / 50)
    drawn = regions.random_regions(shares, [3, 7, 9, 11, 13], seed=1)
    assert drawn.shape == (20, 50)
    assert set(drawn.sum(1).tolist()) == {5}
    random = np.random.default_rng(0).dirichlet(np.ones(30))
    uneven = regions.random_regions(random, [0, 1, 2, 3])
    assert np.abs(uneven @ random - random[:4].sum()).max() < 0.05


def test_a_loss_that_no_random_set_reaches_matters() -> None:
    found = Deletion(0.9, 0.3, 0.2, (0.1,) * 19 + (0.59,), 0.21)
    assert found.drop == pytest.approx(0.6)
    assert found.p == pytest.approx(1 / 21) and found.matters
    said = regions.say_deletion(found, 3)
    assert "Without the 3 strongest regions (20% of the image) its probability falls by 60 points, from 90% to 30%" in said
    assert "it falls by 12 points on average (20 draws)" in said and "matters more than chance" in said


def test_a_loss_like_any_other_does_not() -> None:
    found = Deletion(0.9, 0.8, 0.2, (0.1,) * 10 + (0.0,) * 10, 0.2)
    assert not found.matters and found.p is not None and found.p > 0.05
    assert "in 10 of them at least as far: no more than chance" in regions.say_deletion(found, 1)
    small = Deletion(0.9, 0.895, 0.2, (0.0,) * 20, 0.2)
    assert not small.matters and "too little to matter" in regions.say_deletion(small, 1)
    few = Deletion(0.9, 0.1, 0.2, (0.0,) * 5, 0.2)
    assert not few.matters and "can't tell it from chance" in regions.say_deletion(few, 1)
    none = Deletion(0.9, 0.1, 0.2, (), None)
    assert none.p is None and not none.matters and "too few regions to compare" in regions.say_deletion(none, 1)
    assert "nothing to remove" in regions.say_deletion(None, 0)
    assert "rises by 10 points" in regions.say_deletion(Deletion(0.1, 0.2, 0.2, (0.0,) * 20, 0.2), 1)


def test_words_for_fit_and_stability() -> None:
    assert regions.say_fit(0.9).endswith("can be relied on.")
    assert regions.say_fit(0.4).endswith("a rough picture.")
    assert regions.say_fit(-0.1).startswith("The weights explain 0%") and "too little" in regions.say_fit(-0.1)
    assert regions.say_stability(Stability(0.9, 0.8, 3)).startswith("Stable: over 3 samplings the strongest regions overlap by 80%")
    assert regions.say_stability(Stability(0.9, 0.4, 3)).startswith("Unstable")
    assert regions.say_stability(Stability(0.3, 0.9, 3)).startswith("Unstable")
