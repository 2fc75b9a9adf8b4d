"""A finer scale than three levels: from comparisons of four images to a latent difficulty of each, and how far to rely on it.

Pure functions on data frames of comparisons; `fours` says which images to compare next, `comparisons` keeps what people
said. Who names the hardest and the easiest of four tells five of the six pairs: the hardest beats the three others, each of
the two between beats the easiest. The pairs go into a Bradley-Terry model. Nothing here reads a database or returns NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from curriculum.difficulty import rank_difficulty
from curriculum.errors import ConfigError
from curriculum.intervals import RESAMPLES, Coefficient

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR_VARIANCE = 10.0
"""Of a latent difficulty, in logits squared: so wide that it only holds images that were always the hardest, or the easiest."""
PAIR_WEIGHT = 5 / 9
"""What one of a comparison's five pairs counts. They hang together, and as five of their own they would pass for more than
they are: where all four are equally hard, an image's score varies by 9/8 while five separate pairs would inform by 5/8."""
PAIRS = np.array([[0, 1], [0, 2], [0, 3], [1, 3], [2, 3]])
"""Harder and easier, in a row of hardest, between, between, easiest."""
MIN_IMAGES, MIN_EACH = 10, 4
"""Below so many images, or random comparisons an image, a reliability says nothing."""
SPLITS = 20
COLUMNS = ("annotator", "examples", "hardest", "easiest", "adaptive")


@dataclass(frozen=True)
class Scale:
    """Latent difficulties in logits (higher = harder, mean 0 in each component), with their posterior covariance."""

    examples: tuple[str, ...]  # sorted
    latent: Floats  # (n,)
    covariance: Floats  # (n, n)
    comparisons: Ints  # (n,) in how many an image was
    component: Ints  # (n,) 0: the largest; images of different components were never linked and can't be compared


# -- the scale -----------------------------------------------------------------------------------


def fit(comparisons: pd.DataFrame) -> Scale:
    """The latent difficulty of every image that was compared.

    Args:
        comparisons: see `check_comparisons`; none at all give an empty scale.

    Returns:
        The posterior mode and, by Laplace, its covariance: 1 logit apart means that the harder one is called so in 73 %.

    Source: Bradley & Terry 1952; Louviere, Flynn & Marley 2015, Best-Worst Scaling, for the pairs; the weight makes the
        composite likelihood's information what it is (Pauli, Racugno & Ventura 2011).
    """
    names, order = _ordered(comparisons)
    latent, information = _estimate(order, len(names))
    return Scale(
        tuple(names), latent, _covariance(information), np.bincount(order.ravel(), minlength=len(names)), _components(order, len(names))
    )


def table(scale: Scale) -> pd.DataFrame:
    """One row an image: example, difficulty, latent, sd, comparisons, component; sorted by component, the easiest first.

    `difficulty` is the rank of `latent` within its component, scaled to 0..1 as in the database's table `score`; `sd` is the
    uncertainty of `latent` around the component's mean, which is 0: where the whole of it lies isn't a question.
    """
    difficulty, sd = np.zeros(len(scale.latent)), np.zeros(len(scale.latent))
    for component in np.unique(scale.component):
        own = np.flatnonzero(scale.component == component)
        difficulty[own] = rank_difficulty(scale.latent[own])
        around = scale.covariance[np.ix_(own, own)]
        sd[own] = np.sqrt(np.diag(around) - 2 * around.mean(0) + around.mean())
    rows = pd.DataFrame({
        "example": list(scale.examples), "difficulty": difficulty, "latent": scale.latent, "sd": sd,
        "comparisons": scale.comparisons, "component": scale.component,
    })  # fmt: skip
    return rows.sort_values(["component", "latent", "example"], kind="stable").reset_index(drop=True)


def report(comparisons: pd.DataFrame) -> dict[str, Any]:
    """The scale from all comparisons, its reliability from the random ones alone, as one JSON document.

    Where a figure is None, `reason`, or the reason beside it, says why.
    """
    ssr, half, people = separation(comparisons), split_half(comparisons), split_half(comparisons, by_annotator=True)
    rows = table(fit(comparisons))
    return {
        "comparisons": len(comparisons),
        "components": int(rows["component"].nunique()),
        "examples": rows.to_dict("records"),
        "reliability": {
            "ssr": ssr.value, "interval": None if ssr.low is None else [ssr.low, ssr.high], "images": ssr.n,
            "random_comparisons": int((~comparisons["adaptive"].astype(bool)).sum()), "reason": ssr.reason or None,
            "split_half": half.value, "split_half_reason": half.reason or None,
            "split_half_by_annotator": people.value, "split_half_by_annotator_reason": people.reason or None,
        },
    }  # fmt: skip


# -- reliability ---------------------------------------------------------------------------------


def separation(comparisons: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Coefficient:
    """Scale-separation reliability: the share of the scale's variance that isn't error, 0 (noise) to 1.

    (variance of the estimates - mean squared standard error) / variance of the estimates, on the random comparisons alone:
    where images are chosen for what was said before, chance itself draws the scale apart.

    Returns:
        With a 95 % interval, resampling images; `n` is the images it rests on, those of the largest component.

    Source: Andrich 1982; Bramley 2015, Investigating the reliability of Adaptive Comparative Judgment, for why the
        random part alone; Efron & Tibshirani 1993, chapter 13, for the interval.
    """
    names, order, reason = _random_part(comparisons)
    if reason:
        return Coefficient(None, None, None, len(names), reason)
    latent, information = _estimate(order, len(names))
    return separated(latent, _squared_errors(information), resamples, seed)


def split_half(comparisons: pd.DataFrame, splits: int = SPLITS, seed: int = 0, *, by_annotator: bool = False) -> Coefficient:
    """How far two scales from half of the random comparisons each agree, stepped up to the whole, 0 to 1.

    Args:
        splits: over how many ways of halving the correlation is averaged.
        by_annotator: whole people go into a half, so that what one sees alone counts as error; else comparisons do.

    Returns:
        Without interval; `n` is the images.

    Source: Spearman 1910 and Brown 1910: 2 r / (1 + r).
    """
    names, order, reason = _random_part(comparisons)
    people = _random(comparisons)["annotator"].to_numpy(object)
    if not reason and by_annotator and len(np.unique(people)) < 2:
        reason = "one person alone has compared; it takes two"
    if reason:
        return Coefficient(None, None, None, len(names), reason)
    drawn = np.random.default_rng(seed)
    unit = np.unique(people, return_inverse=True)[1] if by_annotator else np.arange(len(order))
    found = [_correlation(order, drawn.permutation(unit.max() + 1)[unit] % 2 == 0, len(names)) for _ in range(splits)]
    known = [value for value in found if value is not None]
    if not known:
        return Coefficient(None, None, None, len(names), "no half of the comparisons has enough images in common with the other")
    r = max(float(np.mean(known)), 0.0)
    return Coefficient(2 * r / (1 + r), None, None, len(names))


def _random(comparisons: pd.DataFrame) -> pd.DataFrame:
    return comparisons[~comparisons["adaptive"].astype(bool)]


def _random_part(comparisons: pd.DataFrame) -> tuple[list[str], Ints, str]:
    """The random comparisons of the largest component: names, order, and why nothing can be said of them, if so."""
    chance = _random(comparisons)
    names, order = _ordered(chance)
    inside = _components(order, len(names)) == 0
    order = order[inside[order[:, 0]]]
    names, order = [name for name, own in zip(names, inside, strict=True) if own], (np.cumsum(inside) - 1)[order]
    return names, order, _why_too_little(len(comparisons), len(order), len(names))


def _why_too_little(all_told: int, chance: int, images: int) -> str:
    if not all_told:
        return "nobody has compared four images yet"
    if images < MIN_IMAGES:
        return f"the fours drawn by chance link only {images} images; it takes {MIN_IMAGES}"
    if 4 * chance < MIN_EACH * images:
        return f"each of {images} images was in {4 * chance / images:.1f} fours drawn by chance, on average; it takes {MIN_EACH}"
    return ""


def _squared_errors(information: Floats) -> Floats:
    """Each estimate's sampling variance, around the mean of all: without the prior's share, which would pass for certainty."""
    bread = _covariance(information)
    bread = bread - bread.mean(0)
    return np.asarray(np.einsum("ij,jk,ik->i", bread, information, bread))


def separated(latent: Floats, errors: Floats, resamples: int, seed: int) -> Coefficient:
    """The reliability with a percentile interval over resampled images."""
    count = len(latent)
    if float(np.ptp(latent)) == 0:
        return Coefficient(None, None, None, count, "every image came out equally hard")

    def share(weights: NDArray[Any]) -> Floats:
        """Of rows of weights, how often each image counts."""
        mean = weights @ latent / count
        variance = (weights @ latent**2 / count - mean**2) * count / (count - 1)
        error = np.divide(weights @ errors / count, variance, out=np.full(len(weights), np.inf), where=variance > 0)
        return np.asarray(np.clip(1 - error, 0, 1))

    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    low, high = np.percentile(share(drawn), [2.5, 97.5])
    return Coefficient(float(share(np.ones((1, count)))[0]), float(low), float(high), count)


def _correlation(order: Ints, first: NDArray[np.bool_], count: int) -> float | None:
    """Pearson's, of two scales from the two halves, over the images that both have in their largest component."""
    halves = []
    for half in (order[first], order[~first]):
        if not len(half):
            return None
        inside = (_components(half, count) == 0) & (np.bincount(half.ravel(), minlength=count) > 0)
        halves.append(np.where(inside, _estimate(half, count)[0], np.nan))
    both = np.isfinite(halves[0] + halves[1])
    a, b = halves[0][both], halves[1][both]
    return float(np.corrcoef(a, b)[0, 1]) if len(a) >= MIN_IMAGES and np.ptp(a) > 0 and np.ptp(b) > 0 else None


# -- from comparisons to an estimate -------------------------------------------------------------


def check_comparisons(frame: pd.DataFrame) -> None:
    """ConfigError unless the columns annotator, examples (four names), hardest, easiest and adaptive are there and fit together."""
    if missing := [column for column in COLUMNS if column not in frame]:
        raise ConfigError("a frame of comparisons lacks columns", got=list(frame.columns), allowed=COLUMNS, todo=f"Add {missing}")
    for examples, hardest, easiest in _answers(frame):
        if not (len(examples) == len(set(examples)) == 4 and {hardest, easiest} <= set(examples) and hardest != easiest):
            raise ConfigError(
                "a comparison has four different images, two of which are the hardest and the easiest",
                got=f"{list(examples)}, hardest {hardest}, easiest {easiest}",
            )


def outcomes(examples: Sequence[str], hardest: str, easiest: str) -> list[tuple[str, str]]:
    """The five pairs, harder first, that a comparison tells; of the two between, nothing is known."""
    first, second = [name for name in examples if name not in (hardest, easiest)]
    row = (hardest, first, second, easiest)
    return [(row[harder], row[easier]) for harder, easier in PAIRS.tolist()]


def _answers(frame: pd.DataFrame) -> Iterable[tuple[Sequence[str], str, str]]:
    return zip(*(frame[column].tolist() for column in ("examples", "hardest", "easiest")), strict=True)


def _ordered(comparisons: pd.DataFrame) -> tuple[list[str], Ints]:
    """The names compared, sorted, and (m, 4) places among them: hardest, between, between, easiest."""
    check_comparisons(comparisons)
    rows = [
        [hardest, *(name for name in examples if name not in (hardest, easiest)), easiest]
        for examples, hardest, easiest in _answers(comparisons)
    ]
    names = sorted({name for row in rows for name in row})
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([[place[name] for name in row] for row in rows], dtype=np.int64).reshape(-1, 4)


def _estimate(order: Ints, count: int) -> tuple[Floats, Floats]:
    """Latent difficulties (n,) and the comparisons' own Fisher information (n, n) there, the prior's left out.

    Bradley-Terry is logistic regression on who meets whom; scikit-learn's solver finds what choix does, 50 times as fast.
    """
    pairs = order[:, PAIRS].reshape(-1, 2)
    if not len(pairs):
        return np.zeros(count), np.zeros((count, count))
    rows, sign = np.arange(len(pairs)), np.where(np.arange(len(pairs)) % 2, 1.0, -1.0)  # a classifier wants both outcomes
    meets = scipy.sparse.csr_matrix((np.r_[sign, -sign], (np.r_[rows, rows], np.r_[pairs[:, 0], pairs[:, 1]])), shape=(len(pairs), count))
    from sklearn.linear_model import LogisticRegression  # half a second, before every other command too

    model = LogisticRegression(C=PRIOR_VARIANCE, fit_intercept=False, solver="newton-cholesky", tol=1e-8)
    model.fit(meets, sign > 0, sample_weight=np.full(len(pairs), PAIR_WEIGHT))
    latent: Floats = model.coef_[0]
    harder, easier = pairs.T
    certain = scipy.special.expit(latent[harder] - latent[easier])
    cells = np.bincount(harder * count + easier, PAIR_WEIGHT * certain * (1 - certain), count * count).reshape(count, count)
    cells = cells + cells.T
    return latent, np.diag(cells.sum(1)) - cells


def _covariance(information: Floats) -> Floats:
    return np.asarray(np.linalg.inv(information + np.eye(len(information)) / PRIOR_VARIANCE))


def _components(order: Ints, count: int) -> Ints:
    """Which images are linked by comparisons; 0 is the largest component, of equally large ones that of the first name."""
    links = np.c_[np.repeat(order[:, 0], 3), order[:, 1:].ravel()]
    graph = scipy.sparse.csr_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    found, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    rank = np.empty(found, dtype=np.int64)
    rank[np.argsort(-np.bincount(label, minlength=found), kind="stable")] = np.arange(found)
    return np.asarray(rank[label])
