"""Intervals of shares and of resampled measures: against the published one, and where there is none to be had."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.intervals import FEWEST_IMAGES, mean_of, over_images, percentile_interval, share_of
from curriculum.metrics import wilson_interval


def ones(values: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """One value an image."""
    return np.column_stack([np.array(values, dtype=float), np.ones(len(values))])


@pytest.mark.parametrize(("hits", "images"), [(3, 3), (0, 5), (40, 40), (18, 20)])
def test_a_share_has_wilsons_interval_also_where_all_agree(hits: int, images: int) -> None:
    found = share_of(ones([1.0] * hits + [0.0] * (images - hits)))
    assert (found.value, found.n, found.reason) == (hits / images, images, "")
    assert (found.low, found.high) == pytest.approx(wilson_interval(hits, images))
    assert found.low is not None and found.high is not None and found.low < found.high


def test_values_of_one_image_go_together() -> None:
    """Ten values of each of two images tell as much as two; of unequal numbers the larger weighs down: (4 + 1 + 1)^2 / (16 + 1 + 1) = 2."""
    assert share_of(np.array([[10.0, 10.0], [0.0, 10.0]])) == share_of(np.array([[1.0, 1.0], [0.0, 1.0]]))
    uneven = share_of(np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 1.0]]))
    assert (uneven.value, uneven.n) == (0.5, 3)
    assert (uneven.low, uneven.high) == pytest.approx(wilson_interval(1, 2))


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_share_lies_within_an_interval_within_0_and_1(values: list[bool]) -> None:
    found = share_of(ones([float(value) for value in values]))
    assert found.value is not None and found.low is not None and found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.high - found.low > 0.05


def test_few_images_have_no_resampled_interval() -> None:
    values = [0.0, 1.0, 2.0, 0.5] * 5
    few, enough = mean_of(ones(values[: FEWEST_IMAGES - 1])), mean_of(ones(values))
    assert len(values) == FEWEST_IMAGES and few.value is not None
    assert (few.low, few.high, few.n) == (None, None, 19) and few.reason == "no interval: of 19 images it would flatter; it takes 20"
    assert enough.low is not None and enough.high is not None and enough.low < 0.875 < enough.high and not enough.reason


def test_images_that_are_all_alike_have_none_either() -> None:
    for value in (0.0, 1.0, 1 / 3):
        found = mean_of(ones([value] * 50))
        assert (found.low, found.high, found.n) == (None, None, 50) and "all images say the same" in found.reason
        assert found.value == pytest.approx(value)


def test_a_measure_that_many_resamples_lack_has_none() -> None:
    values = np.linspace(0, 1, 100)
    assert percentile_interval(np.where(values < 0.04, np.nan, values), 30)[2] == ""
    assert percentile_interval(np.where(values < 0.08, np.nan, values), 30) == (
        None, None, "no interval: the images are too few, or their labels too much the same",
    )  # fmt: skip
    found = over_images(0.5, ones([0.0, 1.0] * 15), lambda sums: np.full(len(sums), np.nan), 50, 0)
    assert (found.value, found.low, found.high) == (0.5, None, None)
