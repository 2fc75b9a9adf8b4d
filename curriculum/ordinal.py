"""How far two orders of the same images agree: people's levels, and a difficulty. Pure functions on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from curriculum.intervals import Floats, percentile_interval
from curriculum.vocabulary import LEVELS

BINS = 200
"""Steps of the difficulty that the bootstrap tells apart; figures themselves are exact."""


@dataclass(frozen=True)
class Correlation:
    """A measure in [-1, 1] with its 95 % interval; `n` examples. NaN where it is undefined; `reason` says why the interval alone is."""

    value: float
    low: float
    high: float
    n: int
    reason: str = ""

    @property
    def defined(self) -> bool:
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low)


@dataclass(frozen=True)
class Agreement:
    """Three measures of the same thing, each -1 to 1 with a 95 % interval; above 0: people and model find the same images hard.

    `spearman` (Spearman 1904) and `tau_b` (Kendall 1945), both corrected for ties; `kappa` (Cohen 1968), quadratic weights, of people's
    levels and the difficulty cut into as many easy, medium and hard, what is tied across a cut shared out in proportion.
    """

    spearman: Correlation
    tau_b: Correlation
    kappa: Correlation


def level_agreement(levels: NDArray[np.integer], difficulty: NDArray[np.floating], resamples: int = 1000, seed: int = 0) -> Agreement:
    """How far people's levels and a difficulty agree, with percentile bootstrap intervals over the images.

    NaN where a measure is undefined: fewer than three images, or one side all equal; an interval is also where there are
    fewer than `intervals.FEWEST_IMAGES` or all resamples say the same. Beyond 200 different difficulties the resamples tell
    200 steps apart, so that a million images take no longer than a thousand.

    Args:
        levels: (n,), 0 easy to 2 hard.
        difficulty: (n,), higher = harder.

    Source: Efron & Tibshirani 1993, chapter 13, for the intervals.
    """
    n, nan = len(levels), float("nan")
    if n < 3 or np.ptp(levels) == 0 or np.ptp(difficulty) == 0:
        none = Correlation(nan, nan, nan, n)
        return Agreement(none, none, none)
    distinct, column = np.unique(difficulty, return_inverse=True)
    values = [float(each[0]) for each in _measures(_table(levels, column, len(distinct))[None])]
    if len(distinct) > BINS:
        column, width = _steps(difficulty), BINS
    else:
        width = len(distinct)
    table = _table(levels, column, width)
    draws = np.random.default_rng(seed).multinomial(n, table.ravel() / n, size=resamples).reshape(resamples, len(LEVELS), width)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may hold one level alone
        resampled = _measures(draws.astype(np.float64))
    found = []
    for value, each in zip(values, resampled, strict=True):
        low, high, reason = percentile_interval(each, n)
        found.append(Correlation(value, nan if low is None else low, nan if high is None else high, n, reason))
    return Agreement(*found)


def _steps(difficulty: NDArray[np.number]) -> NDArray[np.int64]:
    """Which of `BINS` steps each value is on, by its mean rank: what is equal stays together, or the resamples would know an order of it."""
    ranks = scipy.stats.rankdata(difficulty) - 0.5
    return np.minimum((ranks * BINS / len(difficulty)).astype(np.int64), BINS - 1)


def _table(levels: NDArray[np.integer], column: NDArray[np.integer], width: int) -> Floats:
    """Counts (3, width): level down, difficulty across."""
    cells = np.bincount(np.asarray(levels, dtype=np.int64) * width + column, minlength=len(LEVELS) * width)
    return cells.reshape(len(LEVELS), width).astype(np.float64)


def _measures(tables: Floats) -> tuple[Floats, Floats, Floats]:
    """Spearman's rho, tau-b and weighted kappa of each table (b, 3, width), (b,) each."""
    rows, columns, n = tables.sum(2), tables.sum(1), tables.sum((1, 2))
    before = np.cumsum(columns, axis=1) - columns
    x = np.cumsum(rows, axis=1) - rows / 2 - n[:, None] / 2  # mean ranks less their mean
    y = before + columns / 2 - n[:, None] / 2
    spread = np.sqrt((rows * x**2).sum(1) * (columns * y**2).sum(1))
    rho = np.einsum("bij,bi,bj->b", tables, x, y) / spread
    earlier = np.cumsum(tables, axis=2) - tables
    surplus = sum(
        (tables[:, hard] * earlier[:, easy] - tables[:, easy] * earlier[:, hard]).sum(1)
        for hard in range(len(LEVELS))
        for easy in range(hard)
    )
    pairs = n * (n - 1) / 2
    untied = np.sqrt((pairs - (rows * (rows - 1) / 2).sum(1)) * (pairs - (columns * (columns - 1) / 2).sum(1)))
    return rho, np.asarray(surplus / untied), _kappa(_cut(tables, rows, columns, before))


def _cut(tables: Floats, rows: Floats, columns: Floats, before: Floats) -> Floats:
    """(b, 3, 3): people's level down, the model's across, what lies on a cut shared out in proportion."""
    ends = np.cumsum(rows, axis=1)
    starts = ends - rows
    inside = np.minimum(ends[:, :, None], (before + columns)[:, None, :]) - np.maximum(starts[:, :, None], before[:, None, :])
    shares = np.clip(inside, 0, None) / np.maximum(columns, 1)[:, None, :]  # (b, model's level, width)
    return np.asarray(np.einsum("biw,bmw->bim", tables, shares))


def _kappa(tables: Floats) -> Floats:
    """Quadratic weighted kappa of each table of counts (b, 3, 3)."""
    places = np.arange(len(LEVELS))
    apart = (places[:, None] - places[None, :]) ** 2
    expected = tables.sum(2)[:, :, None] * tables.sum(1)[:, None, :] / tables.sum((1, 2))[:, None, None]
    return np.asarray(1 - (tables * apart).sum((1, 2)) / (expected * apart).sum((1, 2)))
