"""How far annotators agree: alpha, kappas and self-consistency, each with its interval or the reason why there is none.

Pure functions on data frames of judgements; `consensus` says what is agreed. Every coefficient here is a
function of sums over images, so a bootstrap resample is a weighted sum and a thousand of them take
milliseconds. Nothing here reads a database or ever returns NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from curriculum.errors import ConfigError
from curriculum.intervals import RESAMPLES, Coefficient, Floats, over_images, over_kinds, share_of
from curriculum.vocabulary import LEVELS

LEVEL_INDEX: dict[str, int] = {level: i for i, level in enumerate(LEVELS)}


@dataclass(frozen=True)
class SelfConsistency:
    """How far people repeat their own judgement: `same`, the share of equal levels, and the weighted `kappa`."""

    same: Coefficient
    kappa: Coefficient


# -- input ---------------------------------------------------------------------------------------


def check_judgements(frame: pd.DataFrame) -> pd.DataFrame:
    """The judgements in one form: example, annotator, level and level_index (0 easy to 2 hard), sorted by example and annotator.

    Args:
        frame: columns example, annotator, level, in any order, others are kept; a row without level counts as missing.

    Raises:
        ConfigError: a column is missing, a level is unknown, or an annotator judges an example twice.
    """
    rows = _with_columns(frame, ("example", "annotator", "level"))
    rows = rows[rows["level"].notna()]
    places = [_places(rows[name]) for name in ("example", "annotator")]
    order = np.lexsort(places[::-1])
    rows = rows.iloc[order].reset_index(drop=True)
    twice = np.logical_and(*(np.diff(place[order]) == 0 for place in places))
    if twice.any():
        found = rows.loc[int(twice.argmax()) + 1, ["example", "annotator"]]
        raise ConfigError(
            "an annotator judges an example twice",
            got=f"{found['annotator']}: {found['example']}",
            todo="Keep the label in force; hand earlier ones over as repeats.",
        )
    return rows.assign(level_index=_indices(rows["level"]))


def count_votes(frame: pd.DataFrame) -> pd.DataFrame:
    """How many annotators put each example into each level: one row an example (the index), columns easy, medium, hard."""
    rows = check_judgements(frame)
    place, examples = pd.factorize(rows["example"].to_numpy(object))  # in order, as the rows are
    cells = np.bincount(place * len(LEVELS) + rows["level_index"].to_numpy(), minlength=len(examples) * len(LEVELS))
    return pd.DataFrame(cells.reshape(-1, len(LEVELS)), index=pd.Index(examples, name="example"), columns=list(LEVELS))


def why_nothing_shared(frame: pd.DataFrame) -> str:
    """Why these judgements can't be set against each other; empty where at least one image has two."""
    names = frame.loc[frame["level"].notna(), "annotator"].unique()
    if len(names) < 2:
        return f"only one annotator ({names[0]}) has labels; it takes two" if len(names) else "nobody has labelled anything yet"
    return "" if frame.loc[frame["level"].notna(), "example"].duplicated().any() else "no image has been labelled by two annotators"


def _with_columns(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    if missing := [column for column in columns if column not in frame]:
        raise ConfigError("a frame of judgements lacks columns", got=list(frame.columns), allowed=columns, todo=f"Add {missing}")
    return frame


def _indices(levels: pd.Series[Any]) -> NDArray[np.int64]:
    place, known = pd.factorize(levels.to_numpy(object))
    if unknown := sorted({str(level) for level in known} - set(LEVELS)):
        raise ConfigError("unknown level", got=unknown, allowed=LEVELS)
    return np.array([LEVEL_INDEX[level] for level in known], dtype=np.int64)[place]


def _places(names: pd.Series[Any]) -> NDArray[np.int64]:
    """Each name's place among all of them in order: (n,). A million long strings are compared once, not at every step of a sort."""
    place, known = pd.factorize(names.to_numpy(object))
    rank = np.empty(len(known), dtype=np.int64)
    rank[np.argsort(known, kind="stable")] = np.arange(len(known))
    return rank[place]


# -- coefficients --------------------------------------------------------------------------------


def alpha(frame: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Coefficient:
    """Krippendorff's alpha for ordered levels: 1 perfect agreement, 0 what chance gives, below 0 systematic disagreement.

    Takes any number of annotators and missing judgements. Images with fewer than two judgements don't count.

    Args:
        frame: see `check_judgements`.
        resamples: of the images, for the 95 % percentile interval.

    Returns:
        `n` is the images with two judgements or more. Undefined for fewer than two of them, or where all
        their labels are the same.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, sections C and D (ordinal metric);
        Efron & Tibshirani 1993, chapter 13, for the interval.
    """
    shared, reason = _shared_votes(frame)
    if reason:
        return Coefficient(None, None, None, len(shared), reason)
    point = float(krippendorff.alpha(value_counts=shared, level_of_measurement="ordinal"))
    kinds, counts = np.unique(shared, axis=0, return_counts=True)  # of votes: of their shares there are as many, in other order
    return over_kinds(point, coincidences(kinds), counts, ordinal_alpha, resamples, seed)


def pairwise_kappa(frame: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> dict[tuple[str, str], Coefficient]:
    """Cohen's kappa with quadratic weights for every two annotators, on the images that both have judged.

    Args:
        frame: see `check_judgements`.

    Returns:
        One entry a pair of names in alphabetical order: 1 perfect, 0 chance, down to -1. Undefined for fewer
        than two shared images, or where both gave them all one and the same level.

    Source: Cohen 1968, with disagreement weights (i - j)^2.
    """
    rows = check_judgements(frame)
    wide = rows.pivot(index="example", columns="annotator", values="level_index")
    said = {name: wide[name].fillna(-1).to_numpy(np.int64) for name in sorted(wide.columns)}
    found = {}
    for a, b in combinations(said, 2):
        both = (said[a] >= 0) & (said[b] >= 0)
        nothing = "" if both.any() else f"no image has been labelled by both {a} and {b}"
        found[str(a), str(b)] = _kappa_of_pairs(said[a][both], said[b][both], nothing, resamples, seed)
    return found


def fleiss_kappa(frame: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Coefficient:
    """Fleiss' kappa for any number of judgements an image: 1 perfect, 0 chance, down to -1; blind to level distance.

    With r_ik of the r_i judgements of image i at level k: (P - E) / (1 - E), where P is the mean over the
    images of sum_k r_ik (r_ik - 1) / (r_i (r_i - 1)), and E the sum over k of the squared mean of r_ik / r_i.

    Args:
        frame: see `check_judgements`.

    Returns:
        `n` is the images with two judgements or more. Undefined for fewer than two of them, or where all
        labels are the same.

    Source: Fleiss 1971; for unequal numbers of judgements Gwet 2014, Handbook of Inter-Rater Reliability,
        4th edition, chapter 2, as in the author's package irrCAC (the same as Fleiss where they are equal).
        Deviation: Gwet takes images with one judgement into E; here they don't count, as for alpha, because
        with them kappa can fall below -1 and follows whoever labelled most.
    """
    shared, reason = _shared_votes(frame)
    if reason:
        return Coefficient(None, None, None, len(shared), reason)
    parts = fleiss_parts(shared)
    return over_images(float(fleiss(parts.sum(0))), parts, fleiss, resamples, seed)


def self_consistency(repeats: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> SelfConsistency:
    """How far people repeat themselves when they judge an image again.

    Args:
        repeats: columns example, annotator, first, second: the two levels, in the order of judgement. One
            annotator's rows give that person's consistency.

    Returns:
        `same`: share of repeats with the same level, 0 to 1; `kappa`: quadratic-weighted, of first against
        second. In both intervals one image repeated by several people stays together.
        Undefined for fewer than two images; `kappa` also where all levels are the same.

    Raises:
        ConfigError: a column is missing or a level is unknown.

    Source: Cohen 1968 for kappa.
    """
    rows = _with_columns(repeats, ("example", "annotator", "first", "second"))
    rows = rows[rows["first"].notna() & rows["second"].notna()]
    cells = _one_hot_pairs(_indices(rows["first"]), _indices(rows["second"]))
    place, examples = pd.factorize(rows["example"].to_numpy(object))
    parts = np.zeros((len(examples), cells.shape[1]))
    np.add.at(parts, place, cells)
    nothing = "" if len(parts) else "no image has been judged a second time yet"
    kappa = _kappa(parts, nothing, resamples, seed)
    if reason := nothing or _why_too_few(len(parts)):
        return SelfConsistency(Coefficient(None, None, None, len(parts), reason), kappa)
    equal = np.eye(len(LEVELS)).ravel()
    return SelfConsistency(share_of(np.column_stack([parts @ equal, parts.sum(1)])), kappa)


def each_self_consistency(
    frame: pd.DataFrame, repeats: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, SelfConsistency]:
    """`self_consistency` of each annotator who has judgements or repeats, by name."""
    names = sorted({*frame["annotator"], *repeats["annotator"]})
    return {name: self_consistency(repeats[repeats["annotator"] == name], resamples, seed) for name in names}


def report(frame: pd.DataFrame, repeats: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Everything above as one JSON document; where a figure is None, `reasons` says why under the figure's own key."""
    overall = {"alpha": alpha(frame, resamples, seed), "fleiss_kappa": fleiss_kappa(frame, resamples, seed)}
    again = self_consistency(repeats, resamples, seed)
    overall |= {"self_consistency": again.same, "self_consistency_kappa": again.kappa}
    document: dict[str, Any] = {}
    for name, measure in overall.items():
        document |= {name: measure.value, f"{name}_interval": _pair(measure), f"{name}_n": measure.n}
    document["pairwise_kappa"] = [
        {"a": a, "b": b, "kappa": k.value, "low": k.low, "high": k.high, "n": k.n, "reason": k.reason or None}
        for (a, b), k in pairwise_kappa(frame, resamples, seed).items()
    ]
    document["self_consistency_by_annotator"] = [
        {"annotator": name, "same": own.same.value, "low": own.same.low, "high": own.same.high, "n": own.same.n, "kappa": own.kappa.value,
         "reason": own.same.reason or None}
        for name, own in each_self_consistency(frame, repeats, resamples, seed).items()
    ]  # fmt: skip
    reasons = {name: measure.reason for name, measure in overall.items() if measure.reason}
    if not document["pairwise_kappa"]:
        reasons["pairwise_kappa"] = why_nothing_shared(frame)
    return {**document, "reasons": reasons}


def _pair(measure: Coefficient) -> list[float] | None:
    return None if measure.low is None or measure.high is None else [measure.low, measure.high]


# -- sums over images, and the coefficients as functions of them -----------------------------------


def coincidences(counts: Floats) -> Floats:
    """Each image's share of the coincidence matrix, flattened: (n, k * k) from its votes (n, k), two or more a row."""
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    return np.asarray((pairs / (counts.sum(1) - 1)[:, None, None]).reshape(len(counts), -1))


def ordinal_alpha(sums: Floats) -> Floats:
    """Alpha of summed `coincidences` (..., k * k): (...); NaN where all values are the same.

    The ordinal distance of two levels is the square of the difference of their mean ranks, which is
    Krippendorff's sum over the levels between them.
    """
    observed = _square(sums)
    totals = observed.sum(-1)
    ranks = np.cumsum(totals, -1) - totals / 2
    distance = (ranks[..., :, None] - ranks[..., None, :]) ** 2
    expected = (totals[..., :, None] * totals[..., None, :] * distance).sum((-2, -1))
    return 1 - _divide((totals.sum(-1) - 1) * (observed * distance).sum((-2, -1)), expected)


def weighted_kappa(sums: Floats) -> Floats:
    """Quadratic-weighted kappa of counts (..., k * k) of first by second level: (...); NaN where all are the same."""
    observed = _square(sums)
    size = observed.shape[-1]
    weights = (np.arange(size)[:, None] - np.arange(size)) ** 2
    expected = observed.sum(-1)[..., :, None] * observed.sum(-2)[..., None, :]
    return 1 - _divide(observed.sum((-2, -1)) * (weights * observed).sum((-2, -1)), (weights * expected).sum((-2, -1)))


def fleiss_parts(counts: Floats) -> Floats:
    """What each image adds to `fleiss`: (n, k + 2) from its votes (n, k): shares of levels, agreement, whether it has two; no row is empty."""
    votes = counts.sum(1)
    agreement = _divide((counts * (counts - 1)).sum(1), votes * (votes - 1), otherwise=0.0)
    return np.column_stack([counts / votes[:, None], agreement, votes >= 2])


def fleiss(sums: Floats) -> Floats:
    """Fleiss' kappa of summed `fleiss_parts` (..., k + 2): (...); NaN where all values are the same or no image has two votes."""
    shares, agreement, paired = sums[..., :-2], sums[..., -2], sums[..., -1]
    chance = ((shares / shares.sum(-1, keepdims=True)) ** 2).sum(-1)
    return _divide(_divide(agreement, paired) - chance, 1 - chance)


def _square(sums: Floats) -> Floats:
    size = round(sums.shape[-1] ** 0.5)
    return np.asarray(sums.reshape(*sums.shape[:-1], size, size))


def _divide(top: Floats, bottom: Floats, otherwise: float = np.nan) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(bottom), otherwise), where=np.asarray(bottom) > 0))


def _one_hot_pairs(first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    return np.asarray(np.eye(len(LEVELS) ** 2)[first * len(LEVELS) + second])


# -- from sums to a coefficient ------------------------------------------------------------------


def _kappa(cells: Floats, reason: str, resamples: int, seed: int) -> Coefficient:
    """Of images with pairs of levels in some cells each, (n, 9)."""
    kinds, counts = np.unique(cells, axis=0, return_counts=True)
    return _kappa_of_kinds(kinds, counts, reason, resamples, seed)


def _kappa_of_pairs(first: NDArray[np.int64], second: NDArray[np.int64], reason: str, resamples: int, seed: int) -> Coefficient:
    """Of images with one pair of levels each, (n,) and (n,)."""
    counts = np.bincount(first * len(LEVELS) + second, minlength=len(LEVELS) ** 2)
    there = np.flatnonzero(counts)[::-1]  # the order of the kinds as rows of numbers
    return _kappa_of_kinds(np.eye(len(counts))[there], counts[there], reason, resamples, seed)


def _kappa_of_kinds(kinds: Floats, counts: NDArray[np.int64], reason: str, resamples: int, seed: int) -> Coefficient:
    sums, images = counts @ kinds, int(counts.sum())
    table = _square(sums)
    reason = reason or _why_too_few(images) or _why_all_equal(table.sum(0) + table.sum(1))
    if reason:
        return Coefficient(None, None, None, images, reason)
    return over_kinds(float(weighted_kappa(sums)), kinds, counts, weighted_kappa, resamples, seed)


def _shared_votes(frame: pd.DataFrame) -> tuple[Floats, str]:
    """The votes (n, 3) of images with two judgements or more, and why nothing can be said of them, if so."""
    votes = count_votes(frame).to_numpy(np.float64)
    shared = votes[votes.sum(1) >= 2]
    return shared, why_nothing_shared(frame) or _why_too_few(len(shared)) or _why_all_equal(shared.sum(0))


def _why_too_few(images: int) -> str:
    return "" if images >= 2 else "only one image has two judgements; it takes two images"


def _why_all_equal(totals: Floats) -> str:
    used = np.flatnonzero(totals)
    return f"every label is {LEVELS[used[0]]}: with one level only, chance can't be told from agreement" if len(used) == 1 else ""
