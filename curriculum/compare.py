"""What arms of a comparison reached, how far they differ, and what may be concluded: pure functions on test answers.

An arm is tested once per seed, on that seed's test images, and all arms of one seed share split, head and order of draws: so
arms are compared in pairs, within seeds, image by image. Images of the same ground count as one cluster: of the bootstrap in each
seed's test, of the sign test over all seeds in which they come up again.

The budget that arms share is in samples seen. It is the same in optimizer steps (`pacing.steps_within`), unless an arm has subsets
smaller than a batch: each pass over such a one is a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from curriculum.words import chance

RESAMPLES = 10_000
LEVEL = 0.05
FEWEST_SEEDS = 5
OTHER_LEVELS = {"simulated": "simulated annotators'", "all": "people's and simulated annotators' together", "model": "a model's"}


@dataclass(frozen=True)
class Difference:
    """Accuracy of arm `a` less that of arm `b`, -1 to 1, with its own 95 % interval; `p` as it is and `p_holm` among all pairs."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    seeds: int

    @property
    def detected(self) -> bool:
        """Both speak: the interval leaves 0 out, and Holm's p is below 0.05. One seed tells nothing about the next."""
        return self.seeds > 1 and self.p_holm < LEVEL and not self.low <= 0.0 <= self.high


def summary(tests: pd.DataFrame) -> pd.DataFrame:
    """Each arm over its seeds: arm, mean, sd (NaN for one seed), seeds (accuracies, 0 to 1, by seed).

    Args:
        tests: one row a test image, arm and seed: arm, seed, example, cluster, correct.
    """
    by_seed = tests.groupby(["arm", "seed"], sort=True)["correct"].mean()
    found = by_seed.groupby("arm", sort=False).agg(mean="mean", sd="std", seeds=list)
    return found.loc[list(dict.fromkeys(tests["arm"]))].reset_index()


def differences(tests: pd.DataFrame, pairs: Sequence[tuple[str, str]], seed: int = 0) -> list[Difference]:
    """Each pair's difference with interval and p, corrected for their number by Holm's method.

    The interval is the wider, at each end, of the bootstrap's and of Student's over the seeds' differences: with few seeds the first
    knows too little of how training varies. p is the larger of two: that of the networks that were trained, image by image, and that of
    Student's t over the seeds, which speaks of those that other seeds would give; with one seed it is the first alone.

    Args:
        tests: as for `summary`; both arms of a pair have the same seeds and images.
        pairs: (a, b) names of arms.
        seed: of the bootstrap.

    Source: Holm 1979 for `p_holm`; Berger 1982 for the larger of two p (intersection-union).
    """
    paired = [_paired(tests, a, b) for a, b in pairs]
    p = np.array([max(sign_flip_p(frame.groupby("cluster")["gain"].sum().to_numpy()), student_p(_by_seed(frame))) for frame in paired])
    found = []
    for (a, b), frame, own, adjusted in zip(pairs, paired, p, holm(p), strict=True):
        by_seed = [part.groupby("cluster")["gain"].agg(["sum", "size"]).to_numpy() for _, part in frame.groupby("seed")]
        drawn, means = paired_bootstrap(by_seed, np.random.default_rng(seed)), _by_seed(frame)
        low, high = widest(drawn, student_interval(means))
        found.append(Difference(a, b, float(means.mean()), low, high, float(own), float(adjusted), len(means)))
    return found


def _by_seed(paired: pd.DataFrame) -> NDArray[np.float64]:
    return paired.groupby("seed")["gain"].mean().to_numpy(float)


def _paired(tests: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """seed, cluster, gain: 1 where only `a` is right, -1 where only `b` is, else 0; one row an image and seed."""
    first, second = (tests[tests["arm"] == arm].drop(columns="arm") for arm in (a, b))
    both = first.merge(second, on=["seed", "example"], suffixes=("", "_b"), validate="1:1")
    if not len(both) == len(first) == len(second) or both.empty:
        raise ValueError(f"{a} and {b} weren't tested on the same images")
    return both.assign(gain=both["correct"].astype(int) - both["correct_b"].astype(int))


def paired_bootstrap(by_seed: Sequence[NDArray[np.int64]], random: np.random.Generator, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % interval of the mean difference: seeds are drawn anew, and within each its clusters of test images.

    Args:
        by_seed: for each seed (clusters, 2): the sum of the cluster's gains, and how many images it has.

    Source: Efron & Tibshirani 1993, chapters 8 and 13; Davison & Hinkley 1997, section 3.8, for two levels.
    """
    seeds = len(by_seed)
    drawn = random.integers(0, seeds, (resamples, seeds))
    values = np.empty((resamples, seeds))
    for number, clusters in enumerate(by_seed):
        places = np.nonzero(drawn == number)
        kinds, often = np.unique(clusters, axis=0, return_counts=True)  # few: it's how many of each kind are drawn that counts
        counts = random.multinomial(len(clusters), often / len(clusters), size=len(places[0]))
        sums, sizes = (counts @ kinds).T
        values[places] = sums / sizes
    low, high = np.percentile(values.mean(1), [2.5, 97.5])
    return float(low), float(high)


def student_interval(means: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of the seeds' differences (seeds,), by Student's t; (NaN, NaN) for one seed."""
    if len(means) < 2:
        return float("nan"), float("nan")
    reach = float(scipy.stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    return float(means.mean()) - reach, float(means.mean()) + reach


def student_p(means: NDArray[np.float64]) -> float:
    """Two-sided p of "the seeds' differences (seeds,) have mean 0", by Student's t; 0 for one seed, which has nothing to say."""
    if len(means) < 2:
        return 0.0
    if not means.std():
        return 0.0 if means.mean() else 1.0
    return float(scipy.stats.ttest_1samp(means, 0.0).pvalue)


def widest(*intervals: tuple[float, float]) -> tuple[float, float]:
    """From the lowest end to the highest; undefined ones are passed over."""
    lows, highs = zip(*intervals, strict=True)
    return float(np.nanmin(lows)), float(np.nanmax(highs))


def sign_flip_p(gains: NDArray[np.int64]) -> float:
    """Two-sided p of "neither arm is better": how often gains this far apart come about when each cluster's sign is tossed.

    Exact, by the distribution of the sum. Where every cluster is one image of one seed it is McNemar's exact test.

    Args:
        gains: (clusters,) sums of gains, whole numbers.

    Source: McNemar 1947; Durkalski et al. 2003 for clusters (theirs by a normal distribution).
    """
    sizes = np.abs(np.asarray(gains, dtype=np.int64))
    sizes = sizes[sizes > 0]
    total = int(sizes.sum())
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    for size in sizes:
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    reached = abs(int(np.sum(gains)))
    return float(min(chance[np.abs(np.arange(-total, total + 1)) >= reached].sum(), 1.0))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """p values corrected for their number, in their own order. Source: Holm 1979."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.asarray(p)[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


# -- the verdict ---------------------------------------------------------------------------------


def verdict(
    arms: Mapping[str, str | None], found: Sequence[Difference], seeds: int, *, biased: bool = False, levels: str = "people"
) -> str:
    """What may be concluded, in a sentence for each arm.

    Args:
        arms: the arms that order images, each with its control in random order.
        found: the differences; those of an arm to `fine-tune` and to its control are read.
        seeds: how many.
        biased: the protocol is the reports', without a val part.
        levels: whose levels the arm `staged` went by.
    """
    by = {(each.a, each.b): each for each in found}
    said = [
        _arm_verdict(arm, by[arm, "fine-tune"], by.get((arm, control or ""))) + _hard_first(by.get((arm, f"{arm}-anti")))
        for arm, control in arms.items()
    ]
    if levels != "people" and "staged" in arms:
        said.append(f"The levels of staged are {OTHER_LEVELS[levels]}: of people's order this says nothing.")
    if seeds < FEWEST_SEEDS:
        said.append(f"Only {seeds} seed{'s' if seeds != 1 else ''}: at least {FEWEST_SEEDS} are needed to rely on this.")
    if biased:
        said.append("Protocol report: test images may show the same ground as training images; don't rely on the level of these figures.")
    return " ".join(said)


def _hard_first(anti: Difference | None) -> str:
    """That the hardest first are better than the easiest, where that is so."""
    return (
        f" {anti.b}, the hardest first, is better than {anti.a} ({points(anti)})." if anti and anti.detected and anti.difference < 0 else ""
    )


def _arm_verdict(arm: str, plain: Difference, chance: Difference | None) -> str:
    if plain.seeds == 1:
        return f"One seed can't tell {arm} from plain fine-tuning: these two networks differ by {points(plain)}."
    if not plain.detected:
        first = f"No detectable difference between {arm} and plain fine-tuning ({_undetected(plain)})"
        if chance is not None and chance.detected:
            return f"{first}, though it is {_way(chance)} than the same sizes in random order ({points(chance)})."
        return f"{first}."
    first = f"{arm} is {_way(plain)} than plain fine-tuning ({points(plain)})"
    if chance is None:
        return f"{first}."
    if not chance.detected:
        return f"{first}; from the same sizes in random order no difference is detectable ({_undetected(chance)}), so it can't be put down to the order."
    if plain.difference > 0 and chance.difference > 0:
        return f"{first}, and than the same sizes in random order ({points(chance)}): the order helps."
    return f"{first}, and {_way(chance)} than the same sizes in random order ({points(chance)})."


def _way(found: Difference) -> str:
    return "better" if found.difference > 0 else "worse"


def _undetected(found: Difference) -> str:
    """A difference that isn't called one; where one of its two signs speaks for one, why the other doesn't."""
    excludes = not found.low <= 0.0 <= found.high
    small = found.p_holm < LEVEL
    why = (
        ", but the interval has 0 in it"
        if small
        else ", the interval of this pair alone; among all pairs chance does as much"
        if excludes
        else ""
    )
    return points(found) + why


def points(found: Difference) -> str:
    """A difference as people read it: percentage points with their interval and p."""
    return f"{100 * found.difference:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}], {chance(found.p_holm)}"
