"""Weighted regions of an image: which are strongest, how far several samplings agree, whether removing them matters.

A region is a superpixel; its weight for a class says how much the class's probability rises, in a local linear model, when the region is
there. Pure arithmetic and the sentences that follow from it; nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curriculum.metrics import FloatArray, rank_correlation

TOP = 5
MOST_AREA = 1 / 3
"""What was found: the strongest positive regions, up to five, as long as they cover no more than a third of the image; the strongest always."""
WORTH = 0.01
"""A smaller loss of probability than this matters to nobody, however rare it is."""
DRAWS = 20
"""Random regions that a deletion is held against: with 19 or more, beating all of them has p of 0.05 or less."""
CANDIDATES = 10
"""Of so many random sets of regions a draw takes the one whose area is nearest to what is asked."""
STABLE_OVERLAP, STABLE_RANK = 0.6, 0.6
"""From where on samplings agree: of two sets of five about four are the same (4 of 6 is 0.67, 3 of 7 is 0.43), and so is the order."""


@dataclass(frozen=True)
class Stability:
    """How far samplings agree on one class, means over their pairs. `rank`: Spearman's correlation of all weights, -1 to 1, None where it
    is undefined; `overlap`: Jaccard's of the strongest positive regions, 0 to 1. Higher = more alike."""

    rank: float | None
    overlap: float
    samplings: int

    @property
    def stable(self) -> bool:
        return self.overlap >= STABLE_OVERLAP and (self.rank is None or self.rank >= STABLE_RANK)


@dataclass(frozen=True)
class Deletion:
    """What a class's probability loses when regions are removed. `random`: the same of each random set of regions; areas are shares of the
    image; `p`: chance of a loss as large among random regions, one-sided, None where there are none to compare with."""

    before: float
    after: float
    area: float
    random: tuple[float, ...]
    random_area: float | None

    @property
    def drop(self) -> float:
        return self.before - self.after

    @property
    def p(self) -> float | None:
        return (1 + sum(other >= self.drop for other in self.random)) / (1 + len(self.random)) if self.random else None

    @property
    def matters(self) -> bool:
        return self.p is not None and self.p <= 0.05 and self.drop >= WORTH


def strongest(weights: FloatArray, count: int = TOP, *, negative: bool = False) -> list[int]:
    """The regions with the largest weights above zero, the strongest first; `negative`: those furthest below zero. At most `count`.

    Args:
        weights: (regions,).
    """
    signed = -np.asarray(weights) if negative else np.asarray(weights)
    return [int(i) for i in np.argsort(-signed, kind="stable")[:count] if signed[i] > 0]


def leading(weights: FloatArray, shares: FloatArray, count: int = TOP, *, negative: bool = False) -> list[int]:
    """The strongest regions that together cover no more than `MOST_AREA`, at most `count`; the strongest, however large it is.

    Args:
        weights, shares: (regions,), `shares` of the image.
    """
    order = strongest(weights, count, negative=negative)
    covered = np.cumsum(np.asarray(shares)[order])
    return [region for place, region in enumerate(order) if not place or covered[place] <= MOST_AREA]


def jaccard(a: list[int], b: list[int]) -> float:
    """Shared members over all members, 0 to 1; two empty sets are alike. Source: Jaccard 1901."""
    together = set(a) | set(b)
    return len(set(a) & set(b)) / len(together) if together else 1.0


def stability(weights: FloatArray, count: int = TOP) -> Stability:
    """How far the samplings agree.

    Args:
        weights: (samplings, regions) of one class, two samplings or more.
    """
    pairs = list(combinations(range(len(weights)), 2))
    ranks = [rank_correlation(np.asarray(weights[i], float), np.asarray(weights[j], float)) for i, j in pairs]
    known = [rank for rank in ranks if np.isfinite(rank)]
    overlaps = [jaccard(strongest(weights[i], count), strongest(weights[j], count)) for i, j in pairs]
    return Stability(float(np.mean(known)) if known else None, float(np.mean(overlaps)), len(weights))


def areas(segments: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of the image that each region covers, (regions,), adding up to 1."""
    return np.bincount(segments.ravel()) / segments.size


def random_regions(shares: FloatArray, found: list[int], draws: int = DRAWS, *, seed: int = 0) -> NDArray[np.bool_]:
    """Random sets of regions of about the same area as those found, no two alike and none of them what was found.

    Args:
        shares: (regions,) of the image.

    Returns:
        bool (up to `draws`, regions): in an image of few regions there may be fewer sets, or none.
    """
    random = np.random.default_rng(seed)
    sizes: NDArray[np.float64] = np.asarray(shares, dtype=np.float64)
    target, taken = float(sizes[found].sum()), {frozenset(found)}
    rows: list[NDArray[np.bool_]] = []
    for _ in range(draws):
        sets = [_nearest(sizes, random.permutation(len(sizes)), target) for _ in range(CANDIDATES)]
        fresh = [one for one in sets if frozenset(one) not in taken]
        if not fresh:
            continue
        best = min(fresh, key=lambda one: abs(sizes[one].sum() - target))
        taken.add(frozenset(best))
        rows.append(np.isin(np.arange(len(sizes)), best))
    return np.array(rows, dtype=bool).reshape(len(rows), len(sizes))


def _nearest(shares: NDArray[np.float64], order: NDArray[np.int64], target: float) -> list[int]:
    """The first regions of an order, as many as come nearest to an area; at least one."""
    count = 1 + int(np.argmin(np.abs(np.cumsum(shares[order]) - target)))
    return [int(i) for i in order[:count]]


# -- in words ------------------------------------------------------------------------------------


def say_fit(r2: float) -> str:
    """What the local linear model's fit means."""
    explained = f"The weights explain {max(r2, 0):.0%} of how the model's answer varies when regions are covered (R² = {r2:.2f})"
    if r2 >= 0.6:
        return f"{explained}: they can be relied on."
    return f"{explained}: " + ("a rough picture." if r2 >= 0.3 else "too little to rely on the picture.")


def say_stability(found: Stability) -> str:
    """Whether another sampling would show the same."""
    rank = "undefined" if found.rank is None else f"{found.rank:.2f}"
    figures = f"over {found.samplings} samplings the strongest regions overlap by {found.overlap:.0%} (Jaccard), all weights by rank {rank} (Spearman)"
    if found.stable:
        return f"Stable: {figures}."
    return f"Unstable: {figures}. More samples, or larger regions, may help."


def say_deletion(found: Deletion | None, regions: int) -> str:
    """Whether the regions that were found matter to the model more than others do."""
    if found is None:
        return "No region speaks for this class, so there is nothing to remove."
    what = "the strongest region" if regions == 1 else f"the {regions} strongest regions"
    lost = f"Without {what} ({found.area:.0%} of the image) its probability {_change(found.drop)}, from {found.before:.0%} to {found.after:.0%}"
    if found.p is None or found.random_area is None:
        return f"{lost}. The image has too few regions to compare with others of the same size."
    mean = float(np.mean(found.random))
    area = f"about that area ({found.random_area:.0%})"
    control = f"without random ones of {area} it {_change(mean)} on average ({len(found.random)} draws)"
    if found.matters:
        return f"{lost}; {control}, and never so far: removing them matters more than chance (p = {found.p:.2f})."
    more = sum(other >= found.drop for other in found.random)
    if more:
        return f"{lost}; {control}, in {more} of them at least as far: no more than chance would do (p = {found.p:.2f})."
    why = "that is too little to matter" if found.drop < WORTH else "so few sets of regions can't tell it from chance"
    return f"{lost}; {control}, and never so far, but {why} (p = {found.p:.2f})."


def _change(drop: float) -> str:
    points = 100 * abs(drop)
    return "hardly changes" if points < 1 else f"{'falls' if drop > 0 else 'rises'} by {points:.0f} points"
