"""Figures as people read them."""

from __future__ import annotations

import pytest

from curriculum.words import chance, duration, figure, interval


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "unknown"),
        (0.2, "0 s"),
        (59.4, "59 s"),
        (2400, "40 min"),
        (7200, "2 h"),
        (59.6, "1 min"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h"),
        (90_061, "25 h 1 min"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_chances() -> None:
    assert [chance(p) for p in (2e-8, 0.00099, 0.001, 0.0514, 1.0)] == ["p < 0.001", "p < 0.001", "p = 0.001", "p = 0.051", "p = 1"]


def test_figures() -> None:
    assert (figure(0.12345), figure(0.5, ".1%"), figure(None)) == ("0.1235", "50.0%", "undefined")


def test_a_figure_has_its_interval_or_the_reason_why_not() -> None:
    assert interval(0.5, 0.25, 0.751) == "0.50 [0.25, 0.75]"
    assert interval(0.5, None, None, "no interval: of 3 images", ".3f") == "0.500 (no interval: of 3 images)"
