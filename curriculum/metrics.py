"""Measures of a model: pure functions on arrays."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

KNN_CELLS = 2**24
"""Distances that `knn_purity` holds at a time: 64 MB in float32."""


def accuracy(probabilities: FloatArray, labels: IntArray) -> float:
    """Share of examples, 0 to 1, whose most probable class is the true one. NaN for no examples.

    Args:
        probabilities: (n, classes); any monotone measure, such as logits, does as well.
        labels: (n,) class indices.
    """
    return float(np.mean(probabilities.argmax(1) == labels)) if len(labels) else float("nan")


def any_hit(probabilities: FloatArray, joint: NDArray[np.bool_]) -> float:
    """Share of examples, 0 to 1, whose most probable class is one of theirs. NaN for no examples.

    Args:
        probabilities: (n, classes). joint: (n, classes), the classes that each example has.
    """
    return float(joint[np.arange(len(joint)), probabilities.argmax(1)].mean()) if len(joint) else float("nan")


def cross_entropy(probabilities: FloatArray, labels: IntArray) -> NDArray[np.float64]:
    """-log of the probability of the true class, in nats, (n,); higher = harder. Zero probability counts as 1e-12."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(true, 1e-12, 1.0)))


def confusion_matrix(labels: IntArray, predicted: IntArray, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row = true class, column = predicted class."""
    cells = np.bincount(np.asarray(labels) * classes + np.asarray(predicted), minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def knn_purity(features: FloatArray, labels: IntArray, k: int = 5, block: int | None = None) -> float:
    """The reports' KNN metric: how much a feature space keeps the classes apart, 0 to 1, higher = better.

    The mean, over all examples, of the share of the k nearest other examples (Euclidean) that have the
    same class; of equally near ones those that come first.

    Args:
        features: (n, d); distances are taken in their precision, float32 or more.
        labels: (n,).
        k: neighbours; with fewer than k others, all of them. NaN for fewer than two examples.
        block: examples whose neighbours are sought at a time; by default as many as `KNN_CELLS` distances allow.
    """
    count = len(labels)
    k = min(k, count - 1)
    if k < 1:
        return float("nan")
    points = np.asarray(features, dtype=np.result_type(features.dtype, np.float32))
    points = points - points.mean(0)  # distances don't change, rounding errors shrink
    half_squares = np.einsum("ij,ij->i", points, points) / 2
    same, block = 0, block or max(1, KNN_CELLS // count)
    for start in range(0, count, block):
        true = labels[start : start + block]
        rows = np.arange(len(true))
        nearness = points[start : start + block] @ points.T
        nearness -= half_squares  # (|a|^2 - |a - b|^2) / 2: within a row the nearest has the most
        nearness[rows, start + rows] = -np.inf
        for _ in range(k):  # a pass for each neighbour is several times quicker than a partition
            nearest = nearness.argmax(1)
            same += int((labels[nearest] == true).sum())
            nearness[rows, nearest] = -np.inf
    return same / (count * k)


def rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Spearman's correlation, -1 to 1, of two rows of values; NaN where one is all equal."""
    a, b = scipy.stats.rankdata(x), scipy.stats.rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale else float("nan")


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, 0 to 1. (NaN, NaN) for none at all. Source: Wilson 1927."""
    if not total:
        return float("nan"), float("nan")
    interval = scipy.stats.binomtest(successes, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def wilson_bounds(shares: FloatArray, totals: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same interval of many shares at once: low and high, (n,); NaN where the share or its total is.

    Args:
        shares: (n,), 0 to 1.
        totals: (n,), how many each is a share of, above 0.
    """
    z = scipy.stats.norm.ppf(0.975)
    share, total = np.asarray(shares, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    reach = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return np.clip(centre - reach, 0.0, 1.0), np.clip(centre + reach, 0.0, 1.0)
