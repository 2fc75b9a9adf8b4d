"""Scores of how hard examples are, and difficulty from them: pure functions.

A score is a raw measure under its own name, in its own unit, always turned so that higher = harder; `rank_difficulty` makes
difficulty of it, in [0, 1]. Scores come from one model's probabilities, from a space of features, or from how training went.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from curriculum.apportion import apportion
from curriculum.vocabulary import LEVELS

REPORT_COUNTS: dict[str, tuple[int, int, int]] = {
    "aGrass": (135, 166, 99),
    "bField": (136, 164, 100),
    "cIndustry": (135, 170, 95),
    "dRiverLake": (142, 155, 102),
    "eForest": (142, 156, 100),
    "fResident": (93, 116, 181),
    "gParking": (125, 138, 135),
}
"""RSSCN7's images by class as the reports' people sorted them: easy, medium, hard."""


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
    return np.asarray((scipy.stats.rankdata(values) - 1) / (count - 1) if count > 1 else np.full(count, 0.5))


def stability(values: NDArray[np.floating]) -> float | None:
    """How far a score's order repeats: the mean Spearman correlation of each pair of repeats.

    Args:
        values: (repeats, n).

    Returns:
        -1 to 1, higher = steadier; None for a single repeat or scores that are all equal.
    """
    ranks = np.array([scipy.stats.rankdata(row) for row in values])
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
        int64 (n,): 0 easy, 1 medium, 2 hard. Ties fall by chance, the same each time: their order of arrival is often that of the classes.
    """
    if sum(counts) != len(difficulty) or len(counts) != len(LEVELS):
        raise ValueError(f"counts {tuple(counts)} don't add up to {len(difficulty)}")
    levels = np.empty(len(difficulty), dtype=np.int64)
    drawn = np.random.default_rng(0).permutation(len(difficulty))
    levels[np.lexsort((drawn, difficulty))] = np.repeat(np.arange(len(LEVELS)), counts)
    return levels


def level_counts(class_name: str, n: int) -> tuple[int, int, int]:
    """How many of a class's n images are easy, medium and hard in the reports' proportions.

    A class that the reports don't have gets the proportions over all of theirs. Largest remainder; the
    three add up to n.
    """
    overall = tuple(sum(counts) for counts in zip(*REPORT_COUNTS.values(), strict=True))
    easy, medium, hard = apportion(n, REPORT_COUNTS.get(class_name, overall)).tolist()
    return easy, medium, hard


def levels_as_people(difficulty: NDArray[np.floating], classes: Sequence[str], parts: NDArray[np.str_]) -> NDArray[np.int64]:
    """A model's levels: within each class and each part (train, val, test), cut in the proportions that people arrived at.

    Args:
        difficulty: (n,), higher = harder; only its order within a class and part counts.
        classes: n class names. parts: (n,).

    Returns:
        int64 (n,): 0 easy, 1 medium, 2 hard.
    """
    levels = np.empty(len(difficulty), dtype=np.int64)
    names = np.asarray(classes)
    for name, part in sorted({(str(name), str(part)) for name, part in zip(names, parts, strict=True)}):
        rows = np.flatnonzero((names == name) & (parts == part))
        levels[rows] = cut_levels(difficulty[rows], level_counts(name, len(rows)))
    return levels


# -- from one model's probabilities ----------------------------------------------------------------
#
# Each takes probabilities (n, classes), rows adding up to 1, and labels (n,), and returns float64 (n,), higher = harder.


def confidence(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """How far the model is from sure of the true class: 1 less its probability, 0 to 1."""
    return np.asarray(1.0 - _true(probabilities, labels))


def margin(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """The most probable other class less the true one, -1 to 1; above 0: misclassified."""
    others = probabilities.astype(np.float64)
    others[np.arange(len(labels)), labels] = -np.inf
    return np.asarray(others.max(1) - _true(probabilities, labels))


def entropy(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """How undecided the model is, whatever is true: Shannon's entropy in nats, 0 to log(classes). `labels` aren't looked at."""
    return np.asarray(scipy.stats.entropy(probabilities.astype(np.float64), axis=1))


def el2n(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Length of the error, probabilities less the one-hot truth: 0 to sqrt(2). Source: Paul et al. 2021, definition 2.2."""
    error = probabilities.astype(np.float64)
    error[np.arange(len(labels)), labels] -= 1.0
    return np.asarray(np.sqrt((error**2).sum(1)))


def _true(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.asarray(probabilities[np.arange(len(labels)), labels], dtype=np.float64)


FROM_PROBABILITIES = {"confidence": confidence, "margin": margin, "entropy": entropy, "el2n": el2n}
"""What any set of predictions gives beside its loss."""


# -- from a space of features ----------------------------------------------------------------------
#
# Each takes features (n, d) and labels (n,), and returns float64 (n,), higher = harder.


def knn_disagreement(features: NDArray[np.floating], labels: NDArray[np.integer], k: int = 5) -> NDArray[np.float64]:
    """Share of the k nearest others (Euclidean) that are of another class, 0 to 1; its mean is 1 less the KNN metric."""
    neighbours = min(k, len(labels) - 1)
    if neighbours < 1:
        return np.zeros(len(labels))
    from sklearn.neighbors import NearestNeighbors  # half a second that most processes don't need

    points = np.asarray(features, dtype=np.float64)
    near = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(points).kneighbors(return_distance=False)
    return np.asarray((labels[near] != labels[:, None]).mean(1))


def prototype_distance(features: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Distance to the mean of one's own class as a share of that to the nearest other mean, 0 upwards; above 1: nearer to another class.

    One's own class's mean leaves the example out, so that small classes aren't drawn to each of theirs. Source: after Sorscher et al. 2022,
    section 5 (prototypes; ours are the classes, not clusters). 0 for a class of one and where there is a single class.
    """
    points = np.asarray(features, dtype=np.float64)
    names, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return np.zeros(len(labels))
    sums = np.zeros((len(names), points.shape[1]))
    np.add.at(sums, where, points)
    means = sums / counts[:, None]
    rest = np.maximum(counts[where] - 1, 1)[:, None]
    own = np.linalg.norm(points - (sums[where] - points) / rest, axis=1)
    others = scipy.spatial.distance.cdist(points, means)
    others[np.arange(len(labels)), where] = np.inf
    return np.asarray(np.where(counts[where] > 1, own / np.maximum(others.min(1), 1e-12), 0.0))


FROM_FEATURES = {"knn_disagreement": knn_disagreement, "prototype_distance": prototype_distance}


# -- from other scores, or from nothing ------------------------------------------------------------


def ensemble(scores: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """What several scores say together: the mean of their difficulties, (n,), 0 to 1, whatever their units. Each (n,), higher = harder.

    Source: Borda's count, which takes the mean of ranks.
    """
    return np.asarray(np.mean([rank_difficulty(values) for values in scores], axis=0))


def random_score(count: int, seed: int) -> NDArray[np.float64]:
    """The control of every score: drawn evenly from 0 to 1, (count,), knowing nothing."""
    return np.random.default_rng((seed, 0, 0, 4)).random(count)


# -- from how training went ------------------------------------------------------------------------


@dataclass(frozen=True)
class Dynamics:
    """What the model said of each training example after each epoch, in eval mode: float32 (epochs, n) each."""

    losses: NDArray[np.float32]  # cross-entropy, nats
    margins: NDArray[np.float32]  # logit of the true class less the largest other; above 0: right
    errors: NDArray[np.float32]  # el2n

    def __post_init__(self) -> None:
        if not self.losses.shape == self.margins.shape == self.errors.shape or self.losses.ndim != 2 or not len(self.losses):
            raise ValueError(f"dynamics are epochs x examples: {self.losses.shape}, {self.margins.shape}, {self.errors.shape}")


def forgetting(dynamics: Dynamics) -> NDArray[np.float64]:
    """How often an example that was right became wrong, 0 to epochs - 1; one that never was right counts as `epochs`.

    Source: Toneva et al. 2019, definitions 2.1 and 2.2; theirs is counted at each step of an example, ours after each epoch, and
    their never learnt examples are infinitely often forgotten.
    """
    right = dynamics.margins > 0
    events = (right[:-1] & ~right[1:]).sum(0)
    return np.asarray(np.where(right.any(0), events, len(right)), dtype=np.float64)


def aum(dynamics: Dynamics) -> NDArray[np.float64]:
    """The area under the margin, turned round: minus the mean over epochs of the logit margin; no bounds. Source: Pleiss et al. 2020, equation 1."""
    return np.asarray(-dynamics.margins.mean(0), dtype=np.float64)


def cartography_confidence(dynamics: Dynamics) -> NDArray[np.float64]:
    """1 less the mean over epochs of the true class's probability, 0 to 1. Source: Swayamdipta et al. 2020, section 2."""
    return np.asarray(1.0 - np.exp(-dynamics.losses.astype(np.float64)).mean(0))


def cartography_variability(dynamics: Dynamics) -> NDArray[np.float64]:
    """Standard deviation over epochs of the true class's probability, 0 to 0.5: high for ambiguous examples, low for easy and for
    hopeless ones. Source: Swayamdipta et al. 2020, section 2."""
    return np.asarray(np.exp(-dynamics.losses.astype(np.float64)).std(0))


def cartography_correctness(dynamics: Dynamics) -> NDArray[np.float64]:
    """Share of the epochs after which the example was wrong, 0 to 1: 1 less the correctness of Swayamdipta et al. 2020, section 2."""
    return np.asarray((dynamics.margins <= 0).mean(0))


def early_error(dynamics: Dynamics) -> NDArray[np.float64]:
    """EL2N after the first tenth of the epochs, 0 to sqrt(2): one network's; Paul et al. 2021 take the mean of ten."""
    return np.asarray(dynamics.errors[max(0, math.ceil(len(dynamics.errors) / 10) - 1)], dtype=np.float64)


FROM_DYNAMICS = {
    "forgetting": forgetting, "aum": aum, "cartography_confidence": cartography_confidence,
    "cartography_variability": cartography_variability, "cartography_correctness": cartography_correctness, "el2n": early_error,
}  # fmt: skip
"""What one training run gives, of its training examples."""
