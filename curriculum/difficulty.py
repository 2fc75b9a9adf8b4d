"""From raw scores to difficulty: pure functions. Difficulty lies in [0, 1]; higher = harder, whoever judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from curriculum.config import LEVELS


def rank_difficulty(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Raw scores (higher = harder) as difficulty: each one's rank scaled to [0, 1], ties sharing their mean rank.

    Args:
        values: (n,), finite.

    Returns:
        float64 (n,): 0 for the easiest, 1 for the hardest; 0.5 throughout where all are equal or n is 1.
    """
    if not np.isfinite(values).all():
        raise ValueError("raw scores must be finite")
    count = len(values)
    return np.asarray((stats.rankdata(values) - 1) / (count - 1) if count > 1 else np.full(count, 0.5))


def stability(values: NDArray[np.floating]) -> float | None:
    """How far a score's order repeats: the mean Spearman correlation of each pair of repeats.

    Args:
        values: (repeats, n).

    Returns:
        -1 to 1, higher = steadier; None for a single repeat or scores that are all equal.
    """
    ranks = np.array([stats.rankdata(row) for row in values])
    if len(ranks) < 2 or (np.ptp(ranks, axis=1) == 0).any():
        return None
    matrix = np.corrcoef(ranks)
    return float(matrix[np.triu_indices(len(ranks), 1)].mean())


def cut_levels(difficulty: NDArray[np.floating], counts: Sequence[int]) -> NDArray[np.int64]:
    """Cut a difficulty into easy, medium and hard at given counts, so that it compares with people's levels.

    Args:
        difficulty: (n,), higher = harder.
        counts: how many easy, medium, hard; they add up to n.

    Returns:
        int64 (n,): 0 easy, 1 medium, 2 hard. Ties fall in their order of arrival.
    """
    if sum(counts) != len(difficulty) or len(counts) != len(LEVELS):
        raise ValueError(f"counts {tuple(counts)} don't add up to {len(difficulty)}")
    levels = np.empty(len(difficulty), dtype=np.int64)
    levels[np.argsort(difficulty, kind="stable")] = np.repeat(np.arange(len(LEVELS)), counts)
    return levels
