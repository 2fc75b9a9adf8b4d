"""What annotators agree on, how sure that is, who judges how, and which images stay contested.

Pure functions on the same data frames as `agreement`. The majority is what the database's macro
`consensus` computes; Dawid-Skene and GLAD weigh annotators by how reliable they turn out to be. GLAD
takes seconds on thousands of images: keep its result, don't recompute it on every rerun.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import GLAD
from numpy.typing import NDArray
from scipy.sparse import csr_array

from curriculum.agreement import check_judgements, count_votes, report, why_nothing_shared
from curriculum.intervals import Coefficient, Floats, mean_of, share_of
from curriculum.vocabulary import LEVELS

BLOCK, MOST_POINTS = 50, 200  # labels that a point of `drift` stands for, points an annotator
TIED = 1e-9  # probabilities that differ by less are tied: they differ by rounding alone
RARE = 1e-10  # the least that Dawid-Skene takes for a count or a share, so that its logarithm is finite
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Posterior:
    """What a model of annotators makes of their labels. Where `reason` isn't empty it can't say, and the rest is empty.

    `table` has one row an example, sorted by example: easy, medium, hard (probabilities that add up to 1),
    level (the most probable, of tied ones the harder), certainty (its probability, 1/3 to 1, higher = surer) and
    expected (the mean level, 0 easy to 2 hard, higher = harder).
    `confusion`, of Dawid-Skene alone, has for each annotator the probabilities (3, 3): row = true level,
    column = level given. A row of zeros is a level that no label suggests.
    `ability`, of GLAD alone, is above 0 for an annotator who does better than a guess; higher = better.
    """

    table: pd.DataFrame
    reason: str = ""
    confusion: dict[str, Floats] = field(default_factory=dict)
    ability: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AnnotatorReport:
    """How one annotator judges, seen from the others. Nothing here says who is right: levels are opinions."""

    annotator: str
    labels: int
    reliability: Coefficient  # share of shared images with the others' consensus level, 0 to 1
    against: str  # which consensus that was: 'Dawid-Skene of the others' or 'majority of the others'
    bias: Coefficient  # own level less the others' mean, in levels, -2 to 2; above 0: finds images harder than they do
    pace_seconds: float | None  # median time for a label; None where no time is known


# -- consensus -----------------------------------------------------------------------------------


def majority(frame: pd.DataFrame) -> pd.DataFrame:
    """The agreed level of each labelled example: the majority; where levels tie, the harder one.

    Args:
        frame: see `agreement.check_judgements`.

    Returns:
        One row an example, sorted: example, level, votes (for that level), annotators. The same as the
        database's macro `consensus`.
    """
    counts = count_votes(frame)
    votes = counts.to_numpy(np.int64)
    winner = (votes * len(LEVELS) + np.arange(len(LEVELS))).argmax(1)
    return pd.DataFrame({
        "example": counts.index.to_numpy(),
        "level": np.array(LEVELS, dtype=object)[winner],
        "votes": votes[np.arange(len(votes)), winner],
        "annotators": votes.sum(1),
    })  # fmt: skip


def dawid_skene(frame: pd.DataFrame, iterations: int = 100) -> Posterior:
    """Consensus that weighs each annotator by an estimated confusion matrix; starts from the majority, no chance in it.

    Written out here, as a team's page fits it once for each annotator: some milliseconds for 14,000 labels, where
    crowd-kit's takes a fifth of a second. Both give the same probabilities after the same number of iterations.

    Args:
        frame: see `agreement.check_judgements`; missing judgements are fine.
        iterations: of expectation-maximisation, at most; it ends when the log-likelihood gains less than 1e-5 a label.

    Returns:
        Empty with a reason where fewer than two annotators share an image: alone, each would be certain.

    Source: Dawid & Skene 1979, equations 2.3 to 2.5.
    """
    return _dawid_skene(check_judgements(frame), iterations)


def _dawid_skene(rows: pd.DataFrame, iterations: int = 100) -> Posterior:
    if reason := why_nothing_shared(rows):
        return _unknown(reason)
    (example, examples), (annotator, names) = (pd.factorize(rows[column].to_numpy(object)) for column in ("example", "annotator"))
    used, level = np.unique(rows["level_index"].to_numpy(np.int64), return_inverse=True)
    belief, errors = _expectation_maximisation(example, annotator, level, iterations)
    shares, confusion = np.zeros((len(examples), len(LEVELS))), np.zeros((len(names), len(LEVELS), len(LEVELS)))
    shares[:, used], confusion[:, used[:, None], used] = belief, errors
    found = posterior(examples, shares)
    return found if found.reason else Posterior(found.table, confusion={str(names[i]): confusion[i] for i in np.argsort(names)})


def _expectation_maximisation(
    example: NDArray[np.int64], annotator: NDArray[np.int64], level: NDArray[np.int64], iterations: int, gain: float = 1e-5
) -> tuple[Floats, Floats]:
    """Beliefs (examples, levels) and confusion (annotators, true levels, given levels) for one label a row, all numbered from 0."""
    levels = int(level.max()) + 1
    shape = (int(annotator.max()) + 1, levels, levels)  # annotator, given, true
    labels = csr_array((np.ones(len(level)), (example, annotator * levels + level)), shape=(int(example.max()) + 1, shape[0] * levels))
    seen = (np.asarray(labels.sum(0)) > 0).reshape(shape[:2])[:, :, None]

    def maximise(belief: Floats) -> tuple[Floats, Floats]:
        counts = np.where(seen, np.maximum(np.asarray(labels.T @ belief).reshape(shape), RARE), 0.0)
        return np.maximum(belief.mean(0), RARE), counts / counts.sum(1, keepdims=True)

    votes = np.bincount(example * levels + level, minlength=labels.shape[0] * levels).reshape(-1, levels).astype(np.float64)
    belief: Floats = votes / votes.sum(1, keepdims=True)
    prior, errors = maximise(belief)
    before = -np.inf
    for _ in range(iterations):
        joint = labels @ np.log(np.where(seen, errors, 1.0)).reshape(-1, levels) + np.log(prior)
        highest = joint.max(1, keepdims=True)
        belief = np.exp(joint - highest)
        total = belief.sum(1, keepdims=True)
        belief /= total
        prior, errors = maximise(belief)
        likelihood = float((highest + np.log(total)).sum()) / len(level)
        if likelihood - before < gain:
            break
        before = likelihood
    return belief, errors.swapaxes(1, 2)


def glad(frame: pd.DataFrame, iterations: int = 100) -> Posterior:
    """Consensus that weighs each annotator by one ability and each image by how unanimous it makes able annotators.

    Blind to the order of levels: easy for hard counts as one mistake, like easy for medium. All three levels
    are equally probable beforehand, also those that nobody used. Slow: about ten seconds for 14,000 labels.

    Args:
        frame: see `agreement.check_judgements`; missing judgements are fine.
        iterations: of expectation-maximisation, at most.

    Returns:
        Empty with a reason where fewer than two annotators share an image.

    Source: Whitehill et al. 2009, sections 2 and 3, a mistake being any other class alike; crowd-kit's implementation.
    """
    rows, reason = check_judgements(frame), why_nothing_shared(frame)
    if reason:
        return _unknown(reason)
    model = GLAD(n_iter=iterations, labels_priors=pd.Series(1 / len(LEVELS), index=list(LEVELS)))
    data = pd.DataFrame({"task": rows["example"], "worker": rows["annotator"], "label": rows["level"]})
    # crowd-kit uses words that pandas 3 has deprecated; its line search overflows on the way and recovers.
    with _ONE_AT_A_TIME, warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DeprecationWarning)
        probabilities = model.fit_predict_proba(data)
    probabilities = probabilities.reindex(columns=list(LEVELS), fill_value=0.0).sort_index()
    found = posterior(probabilities.index.to_numpy(), probabilities.to_numpy(np.float64))
    ability = {str(name): float(a) for name, a in model.alphas_.sort_index().items()}
    return found if found.reason else Posterior(found.table, ability=ability)


def posterior(examples: NDArray[np.generic], probabilities: Floats) -> Posterior:
    """The table of a `Posterior` from probabilities (n, 3), scaled to add up to 1; empty where they aren't finite."""
    if not np.isfinite(probabilities).all():
        return _unknown("the model found no finite probabilities for these labels")
    shares = probabilities / probabilities.sum(1, keepdims=True)
    best = shares.max(1)
    hardest = len(LEVELS) - 1 - (shares[:, ::-1] >= best[:, None] - TIED).argmax(1)
    table = pd.DataFrame({"example": examples, **dict(zip(LEVELS, shares.T, strict=True))})
    return Posterior(table.assign(level=np.array(LEVELS, dtype=object)[hardest], certainty=best, expected=shares @ np.arange(len(LEVELS))))


def _unknown(reason: str) -> Posterior:
    return Posterior(pd.DataFrame(columns=["example", *LEVELS, "level", "certainty", "expected"]), reason)


# -- annotators ----------------------------------------------------------------------------------


def annotator_reports(frame: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> list[AnnotatorReport]:
    """Reliability, bias and pace of each annotator, in the order of their names.

    Nobody is measured against a consensus with a share in it: Dawid-Skene is fitted anew on the others,
    once an annotator. One other, or others without a common image, speak by majority.

    Args:
        frame: see `agreement.check_judgements`; a column `seconds`, NaN where unknown, gives the pace.

    Returns:
        Reliability and bias are undefined, with a reason, where fewer than two images are shared with others.
    """
    rows = check_judgements(frame)
    return [_report(rows, name, resamples, seed) for name in sorted(rows["annotator"].unique())]


def team_report(frame: pd.DataFrame, repeats: pd.DataFrame) -> tuple[dict[str, Any], list[AnnotatorReport]]:
    """How far a team agrees (`agreement.report`) and how each of it judges (`annotator_reports`)."""
    return report(frame, repeats), annotator_reports(frame)


def _report(rows: pd.DataFrame, name: str, resamples: int, seed: int) -> AnnotatorReport:
    own, others = rows[rows["annotator"] == name], rows[rows["annotator"] != name]
    model = _dawid_skene(others)
    agreed = majority(others) if model.reason else model.table
    means = others.groupby("example", as_index=False).agg(mean=("level_index", "mean"))
    shared = own.merge(agreed[["example", "level"]], on="example", suffixes=("", "_others")).merge(means, on="example")
    seconds = own["seconds"].dropna() if "seconds" in own else pd.Series(dtype=np.float64)
    return AnnotatorReport(
        annotator=str(name),
        labels=len(own),
        reliability=_of_shared(shared["level"] == shared["level_others"], share_of),
        against="majority of the others" if model.reason else "Dawid-Skene of the others",
        bias=_of_shared(shared["level_index"] - shared["mean"], lambda parts: mean_of(parts, resamples, seed)),
        pace_seconds=float(seconds.median()) if len(seconds) else None,
    )


def _of_shared(values: pd.Series[bool] | pd.Series[float], measured: Callable[[Floats], Coefficient]) -> Coefficient:
    """A measure of one value an image, where two images are shared or more."""
    if len(values) < 2:
        shared = "no image is" if values.empty else "only one image is"
        return Coefficient(None, None, None, len(values), f"{shared} shared with another annotator; it takes two images")
    return measured(np.column_stack([values.to_numpy(np.float64), np.ones(len(values))]))


# -- contested images ----------------------------------------------------------------------------


def contested(counts: pd.DataFrame) -> pd.DataFrame:
    """The images that people disagree on, the widest disagreement first.

    Args:
        counts: votes by example (the index), columns easy, medium, hard, at least one vote each.

    Returns:
        One row an example with at least two different levels: example, easy, medium, hard (votes), annotators,
        variance (of the votes' levels 0, 1, 2, in levels squared, 0 to 1, higher = further apart) and entropy (of the
        votes, in bits, 0 to log2 3, higher = less of a majority). Sorted by variance, then entropy, then number of
        annotators, then name.
    """
    counts = counts[(counts > 0).sum(axis=1) > 1]
    votes = counts.to_numpy(np.float64)
    total, place = votes.sum(1), np.arange(len(LEVELS))
    shares = votes / total[:, None]
    mean = shares @ place
    table: pd.DataFrame = counts.assign(
        annotators=total.astype(np.int64),
        variance=(shares * (place - mean[:, None]) ** 2).sum(1).round(12),  # equal votes must tie exactly
        entropy=-(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(1).round(12),
    ).reset_index()
    table = table.sort_values(["variance", "entropy", "annotators", "example"], ascending=[False, False, False, True], kind="stable")
    return table.reset_index(drop=True)


def how_contested(easy: int, medium: int, hard: int) -> str:
    """How far apart the votes of a contested image lie, in words."""
    if not (easy and hard):
        return "one level apart"
    return "all three levels" if medium else "opposite ends, nothing between"


def block_for(judgements: pd.DataFrame) -> int:
    """Labels that a point of `drift` should stand for: 50, more where somebody has so many that a chart couldn't show them apart."""
    most = int(judgements["annotator"].value_counts().max()) if len(judgements) else 0
    return BLOCK * max(1, -(-most // (BLOCK * MOST_POINTS)))


def drift(judgements: pd.DataFrame, block: int = BLOCK) -> pd.DataFrame:
    """How each annotator's measure of hardness, and pace, move while they sort.

    The order of images is random, so blocks differ only by chance while an annotator's measure stays the same.

    Args:
        judgements: annotator, level, seconds (NaN: unknown) and seq, the order of the log.
        block: labels that one point stands for; what is left over at the end is not shown.

    Returns:
        annotator, labels (so far, at the block's end), mean_level (0 easy to 2 hard, higher = harder), seconds (median; NaN: unknown).
    """
    ordered = judgements.sort_values("seq")
    ordered = ordered.assign(
        level=ordered["level"].map(LEVELS.index).astype(float),
        labels=(ordered.groupby("annotator").cumcount() // block + 1) * block,
    )
    blocks = ordered.groupby(["annotator", "labels"]).agg(
        mean_level=("level", "mean"), seconds=("seconds", "median"), size=("level", "size")
    )
    return blocks[blocks["size"] == block].drop(columns="size").reset_index()
