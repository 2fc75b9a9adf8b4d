"""Sharing a whole number out in given proportions (largest remainder): splits, levels and paces need it alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def apportion(total: int, shares: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers in the proportion of `shares` that add up to `total`; equal remainders go to the earlier part.

    Args:
        total: what to share out, 0 or more.
        shares: (k,) weights of 0 or more, not all 0; they need not add up to 1.

    Returns:
        int64 (k,).

    Source: Hamilton's method of apportionment.
    """
    weights = np.asarray(shares, dtype=float)
    exact = weights / weights.sum() * total
    counts: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    by_remainder = np.argsort(-np.round(exact - counts, 9), kind="stable")
    counts[by_remainder[: total - int(counts.sum())]] += 1
    return counts
