"""What trained models get wrong: one run's errors, two runs on the same images, images that every run gets wrong, labels to doubt.

Reads the database, draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from curriculum import hits, metrics
from curriculum.analysis import latest_score
from curriculum.compare import sign_flip_p
from curriculum.errors import UnknownError
from curriculum.store import Store
from curriculum.vocabulary import LEVELS

Outcome = Literal["fixed", "broken", "wrong in both", "right in both"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


# -- one run -------------------------------------------------------------------------------------


def predictions(store: Store, run_id: str, split: str = "test", who: str = "people") -> pd.DataFrame:
    """The chosen model's judgement of one split, with what people and the newest score say of the same images.

    Returns:
        One row an image, highest loss first: example, class, sha256, predicted, probability (of the predicted
        class), probability_true, loss, probabilities, correct (see `hits`), level (or None), votes (for that level), annotators,
        difficulty (or NaN), present (whether the file is still there).
    """
    frame = store.query(
        f"""SELECT p.example, p.class, e.sha256, p.predicted, p.probability, p.probability_true, p.loss, p.probabilities,
                  {hits.right("p")} AS correct, c.level, c.votes, c.annotators, s.difficulty, e.present
           FROM prediction AS p JOIN example AS e USING (dataset, example)
           LEFT JOIN consensus($dataset, $who) AS c USING (example)
           LEFT JOIN (SELECT example, difficulty FROM score JOIN run USING (run_id) WHERE run_id = $score AND method = mode) AS s USING (example)
           WHERE p.run_id = $run AND p.split = $split ORDER BY p.loss DESC, p.example""",
        {"who": who, "run": run_id, "split": split, "also": hits.also_right(store, None, [run_id]), **_of_run(store, run_id)},
    )
    frame["correct"] = frame["correct"].astype(bool)
    return frame


def _of_run(store: Store, run_id: str) -> dict[str, object]:
    """Its data set, and the newest ranking of that."""
    run = store.rows("SELECT dataset FROM run WHERE run_id = ? AND kind = 'train'", [run_id])
    if not run:
        raise UnknownError("no such training run", got=run_id, todo="`runs list` shows them")
    return {"dataset": run[0][0], "score": latest_score(store, run[0][0])}


def confusion(frame: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Counts: rows true class, columns predicted class, both in the order of `classes`."""
    place = {name: i for i, name in enumerate(classes)}
    true, predicted = (frame[column].map(place).to_numpy(np.int64) for column in ("class", "predicted"))
    return pd.DataFrame(metrics.confusion_matrix(true, predicted, len(classes)), index=list(classes), columns=list(classes))


def confused(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """The most frequent confusions, at most `count`: class, predicted, images, share (of the class's images, 0 to 1)."""
    wrong = frame[~frame["correct"]].groupby(["class", "predicted"], sort=True).size().rename("images").reset_index()
    wrong["share"] = wrong["images"] / wrong["class"].map(frame["class"].value_counts())
    return wrong.sort_values("images", ascending=False, kind="stable").head(count).reset_index(drop=True)


def errors_by(frame: pd.DataFrame, column: Literal["class", "level"]) -> pd.DataFrame:
    """Misclassification by class or by people's level: images, wrong, share (0 to 1) with its 95 % Wilson interval."""
    groups = frame.groupby(column, sort=True)["correct"].agg(images="size", right="sum").reset_index()
    groups["wrong"] = groups["images"] - groups["right"]
    groups["share"] = groups["wrong"] / groups["images"]
    intervals = [metrics.wilson_interval(int(w), int(n)) for w, n in zip(groups["wrong"], groups["images"], strict=True)]
    groups["low"], groups["high"] = [low for low, _ in intervals], [high for _, high in intervals]
    if column == "level":
        groups = groups.set_index("level").reindex([level for level in LEVELS if level in set(groups["level"])]).reset_index()
    return groups.drop(columns="right")


def top_classes(probabilities: np.ndarray, classes: tuple[str, ...], count: int = 3) -> list[tuple[str, float]]:
    """The most probable classes of one image with their probabilities, the most probable first."""
    best = np.argsort(-np.asarray(probabilities), kind="stable")[:count]
    return [(classes[i], float(probabilities[i])) for i in best]


# -- several runs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Against:
    """Two runs on the images that both judged in the same split.

    `images`: one row each, the highest loss of the run first: example, class, sha256, predicted, before (what the other
    run said), probability, loss, level, outcome (of `OUTCOMES`: fixed where only the run is right, broken where only the other is).
    `p`: two-sided, of "neither is right more often": McNemar's exact test, images of the same ground counting once.
    """

    images: pd.DataFrame
    p: float

    def count(self, outcome: Outcome) -> int:
        return int((self.images["outcome"] == outcome).sum())


def against(store: Store, run_id: str, other: str, split: str = "test", who: str = "people") -> Against:
    """What a run gets right that another doesn't, and the other way round.

    Runs of another seed or protocol have other images in their splits: only those in the same split of both count.
    """
    frame = store.query(
        f"""SELECT p.example, p.class, e.sha256, p.predicted, o.predicted AS before, p.probability, p.loss, p.probabilities, c.level,
                  coalesce(e.overlap_group::TEXT, p.example) AS ground,
                  CASE WHEN {hits.right("p")} THEN CASE WHEN {hits.right("o")} THEN 'right in both' ELSE 'fixed' END
                       ELSE CASE WHEN {hits.right("o")} THEN 'broken' ELSE 'wrong in both' END END AS outcome
           FROM prediction AS p JOIN prediction AS o USING (dataset, example, split) JOIN example AS e USING (dataset, example)
           LEFT JOIN consensus($dataset, $who) AS c USING (example)
           WHERE p.run_id = $run AND o.run_id = $other AND split = $split ORDER BY p.loss DESC, p.example""",
        {
            "run": run_id,
            "other": other,
            "split": split,
            "who": who,
            "dataset": _of_run(store, run_id)["dataset"],
            "also": hits.also_right(store, None, [run_id, other]),
        },
    )
    _of_run(store, other)
    gains = frame["outcome"].map({"fixed": 1, "broken": -1}).fillna(0).astype(int)
    return Against(frame, sign_flip_p(np.asarray(gains.groupby(frame["ground"]).sum(), dtype=np.int64)))


def stubborn(store: Store, dataset: str, least: int = 2, among: Sequence[str] | None = None) -> pd.DataFrame:
    """How often the runs that never trained on an image misclassify it, worst first; the arms of comparisons are runs too.

    Args:
        least: runs that must have had it in test.
        among: the runs that count; all by default.

    Returns:
        One row an image that some run got wrong: example, class, sha256, runs, wrong, share (0 to 1), said (the most frequent wrong
        class), times (how often it was said).
    """
    return store.query(
        f"""WITH judged AS (
               SELECT example, predicted, {hits.right("prediction")} AS hit FROM prediction
               WHERE dataset = $dataset AND split = 'test' AND ($among IS NULL OR list_contains($among, run_id))
           ), mistake AS (
               SELECT example, predicted, count(*) AS times FROM judged WHERE NOT hit GROUP BY ALL
           ), common AS (
               SELECT example, predicted AS said, times FROM mistake
               QUALIFY row_number() OVER (PARTITION BY example ORDER BY times DESC, predicted) = 1
           )
           SELECT example, class, sha256, runs, wrong, wrong / runs AS share, said, times
           FROM (SELECT example, count(*) AS runs, count_if(NOT hit) AS wrong FROM judged GROUP BY example)
                JOIN common USING (example) JOIN example USING (example)
           WHERE dataset = $dataset AND present AND runs >= $least ORDER BY share DESC, wrong DESC, example""",
        {
            "dataset": dataset,
            "least": least,
            "among": None if among is None else list(among),
            "also": hits.also_right(store, dataset, among),
        },
    )


# -- labels to doubt -----------------------------------------------------------------------------


def label_issues(store: Store, score_run: str) -> pd.DataFrame:
    """Images whose class may be wrong, by confident learning on probabilities of models that never saw them; the likeliest first.

    Args:
        score_run: a run of out-of-fold scores.

    Returns:
        example, class, sha256, predicted (the class that the model would give), probability_true (its probability of the given class, 0 to 1).
        Empty where no class is doubted.

    Source: Northcutt et al. 2021; cleanlab's `find_label_issues`, ranked by self-confidence.
    """
    frame = store.query(
        """SELECT example, class, sha256, predicted, probability_true, probabilities
           FROM score JOIN example USING (dataset, example) JOIN run USING (run_id)
           WHERE run_id = ? AND method = mode AND present ORDER BY example""",
        [score_run],
    )
    classes = sorted(frame["class"].unique())
    if len(classes) < 2:
        return frame.drop(columns="probabilities").head(0)
    probabilities = np.stack(frame["probabilities"].tolist())
    if probabilities.shape[1] != len(classes):
        raise UnknownError("this ranking knows other classes than the data set has", got=score_run, todo="Rank the images anew")
    place = {name: i for i, name in enumerate(classes)}
    from cleanlab.filter import find_label_issues  # more than a second, before every other command too

    rows = find_label_issues(
        frame["class"].map(place).to_numpy(np.int64), probabilities / probabilities.sum(1, keepdims=True),
        return_indices_ranked_by="self_confidence", n_jobs=1,
    )  # fmt: skip
    doubted: pd.DataFrame = frame.iloc[rows].drop(columns="probabilities").reset_index(drop=True)
    return doubted
