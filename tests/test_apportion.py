"""Sharing out whole numbers: the sum is exact and no part is a whole unit away from its due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.apportion import apportion

weights = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=12).filter(lambda shares: sum(shares) > 1e-3)


@pytest.mark.parametrize(
    ("total", "shares", "expected"),
    [
        (400, (0.64, 0.16, 0.20), [256, 64, 80]),
        (150, (50, 80, 20), [50, 80, 20]),
        (10, (1, 1, 1), [4, 3, 3]),
        (11, (1, 1, 1), [4, 4, 3]),
        (1, (0.2, 0.5, 0.3), [0, 1, 0]),
        (0, (1, 2), [0, 0]),
        (7, (0, 3, 0), [0, 7, 0]),
        (10, (0.1,) * 10, [1] * 10),
    ],
)
def test_hand_computed_shares(total: int, shares: tuple[float, ...], expected: list[int]) -> None:
    counts = apportion(total, shares)
    assert counts.tolist() == expected
    assert counts.dtype == np.int64


@given(st.integers(0, 100_000), weights)
def test_sum_is_exact_and_each_part_within_one_of_its_due(total: int, shares: list[float]) -> None:
    counts = apportion(total, shares)
    due = np.array(shares) / sum(shares) * total
    assert counts.sum() == total
    assert (counts >= 0).all()
    assert (np.abs(counts - due) < 1 + 1e-6).all()


@given(st.integers(0, 10_000), weights)
def test_only_the_proportion_counts(total: int, shares: list[float]) -> None:
    scaled = apportion(total, np.array(shares) * 2.0**10)
    assert apportion(total, shares).tolist() == scaled.tolist()


@given(st.integers(0, 1000), st.integers(1, 20))
def test_equal_shares_give_the_rest_to_the_earlier_parts(total: int, parts: int) -> None:
    counts = apportion(total, [1.0] * parts).tolist()
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[-1] <= 1
