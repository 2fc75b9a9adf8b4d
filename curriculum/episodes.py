"""Few-shot episodes: a few classes and images are drawn, a small classifier learns them from stored features, and is tested on others.

Pure arithmetic on arrays; knows no network, no files. Source: Vinyals 2016 (episodes), Snell 2017 (nearest mean), Tian 2020 (logistic
regression on features of length 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from curriculum.errors import DatasetError
from curriculum.vocabulary import EpisodeClassifier


@dataclass(frozen=True)
class Episode:
    """Rows of the examples: `support` (ways, shots) to learn from, `queries` (ways, queries) to be tested on; no row twice."""

    support: NDArray[np.int64]
    queries: NDArray[np.int64]


def draw(labels: NDArray[np.int64], ways: int, shots: int, queries: int, random: np.random.Generator) -> Episode:
    """One episode, its classes and images drawn alike.

    Args:
        labels: (n,) class indices.

    Raises:
        DatasetError: fewer classes than `ways` have shots + queries images.
    """
    counts = np.bincount(labels)
    enough = np.flatnonzero(counts >= shots + queries)
    if len(enough) < ways:
        raise DatasetError(f"an episode of {ways} classes with {shots} + {queries} images each can't be drawn",
                           got=f"{len(enough)} classes of that size", todo="Lower --ways, --shots or --queries, or add images")  # fmt: skip
    rows = [random.permutation(np.flatnonzero(labels == name))[: shots + queries] for name in random.choice(enough, ways, replace=False)]
    drawn = np.stack(rows).astype(np.int64)
    return Episode(drawn[:, :shots], drawn[:, shots:])


def accuracies(
    features: NDArray[np.float32], labels: NDArray[np.int64], *, ways: int, shots: int, queries: int, episodes: int,
    classifier: EpisodeClassifier, seed: int, progress: Callable[[str, int, int], None],
) -> NDArray[np.float64]:  # fmt: skip
    """Share of queries that each episode's classifier gets right, (episodes,), 0 to 1.

    Args:
        features: (n, d), of a network that never saw these classes; scaled to length 1 here.
        labels: (n,).
        progress: called with ("episodes", done, to do).
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    random, found = np.random.default_rng(seed), np.empty(episodes)
    with threadpool_limits(1):
        for number in range(episodes):
            episode = draw(labels, ways, shots, queries, random)
            said = _LEARNERS[classifier](unit[episode.support], unit[episode.queries].reshape(ways * queries, -1))
            found[number] = float(np.mean(said == np.repeat(np.arange(ways), queries)))
            progress("episodes", number + 1, episodes)
    return found


def _nearest_mean(support: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    means = support.mean(1)
    distances = ((queries[:, None, :] - means[None]) ** 2).sum(2)
    return np.asarray(distances.argmin(1), dtype=np.int64)


def _logistic(support: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    ways, shots, width = support.shape
    from sklearn.linear_model import LogisticRegression  # half a second that no other run needs

    learner = LogisticRegression(C=10.0, max_iter=1000)
    learner.fit(support.reshape(ways * shots, width), np.repeat(np.arange(ways), shots))
    return np.asarray(learner.predict(queries), dtype=np.int64)


_LEARNERS: dict[EpisodeClassifier, Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.int64]]] = {
    "logistic": _logistic, "nearest-mean": _nearest_mean,
}  # fmt: skip


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """A 95 % interval of the mean over episodes, by Student's t."""
    reach = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)
