"""What people and models say about the same images: the tables behind the pages and the command line's reports.

Reads the database, computes with `ordinal` and `difficulty`, draws nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import scipy

from curriculum import datasets, sources
from curriculum.difficulty import cut_levels
from curriculum.errors import ConfigError, UnknownError
from curriculum.ordinal import Agreement, Correlation, level_agreement
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, Level

Quadrant = Literal["easy for people, hard for the model", "hard for people, easy for the model", "hard for both", "easy for both"]
QUADRANTS: dict[Quadrant, tuple[Level, Level]] = {
    "easy for people, hard for the model": ("easy", "hard"),
    "hard for people, easy for the model": ("hard", "easy"),
    "hard for both": ("hard", "hard"),
    "easy for both": ("easy", "easy"),
}
"""People's level and the model's."""
MEASURES = ("spearman", "tau_b", "kappa")


# -- people against a model ----------------------------------------------------------------------


def scored_runs(store: Store, dataset: str) -> pd.DataFrame:
    """Runs that gave scores: scoring runs, of all images, then training runs, of the images they trained on; of each the unseen first,
    then the newest.

    Returns:
        run_id, kind (score | train), method, weights, source_run (whose model judged, or None), image_size, created_at, seen (whether the
        network that judged had learnt from images of this data set: itself, by the weights that it began with, or by theirs; also
        where a run among these is gone, as nobody can tell then).
    """
    return store.query(
        """WITH RECURSIVE learnt AS (            -- each run, and the runs that its network comes from
               SELECT run_id, unnest([config->>'run', regexp_extract(config->>'weights', '^run:(.+)$', 1)]) AS source FROM run WHERE dataset = $dataset
               UNION
               SELECT learnt.run_id, regexp_extract(run.config->>'weights', '^run:(.+)$', 1) FROM learnt JOIN run ON run.run_id = source
           ), origin AS (
               SELECT learnt.run_id, bool_or(coalesce(run.dataset = $dataset, true)) AS seen
               FROM learnt LEFT JOIN run ON run.run_id = source WHERE source <> '' GROUP BY learnt.run_id
           )
           SELECT run_id, kind, mode AS method, config->>'weights' AS weights, config->>'run' AS source_run,
                  (config->>'image_size')::INTEGER AS image_size, created_at, kind = 'train' OR coalesce(seen, false) AS seen
           FROM run LEFT JOIN origin USING (run_id) WHERE dataset = $dataset AND run_id IN (SELECT run_id FROM score)
           ORDER BY kind, seen, created_at DESC, run_id DESC""",
        {"dataset": dataset},
    )


def measures(store: Store, run_id: str) -> list[str]:
    """The scores that a run gives, its own first; see `difficulty` for what each means."""
    rows = store.rows(
        """SELECT method FROM score JOIN run USING (run_id) WHERE run_id = ?
           GROUP BY method ORDER BY any_value(mode) <> method, method""",
        [run_id],
    )
    return [row[0] for row in rows]


def difficulties(store: Store, run_id: str | None, method: str | None = None) -> pd.DataFrame:
    """example, difficulty (0 to 1, higher = harder) by a score of a run, by default its own; empty where there is none."""
    return store.query(
        """SELECT example, difficulty FROM score JOIN run USING (run_id)
           WHERE run_id = $run AND method = coalesce($method, mode) ORDER BY example""",
        {"run": run_id, "method": method},
    )


def latest_score(store: Store, dataset: str) -> str | None:
    """The newest scoring run, by a network that hadn't seen these images before any other, then out-of-fold; None where there is none."""
    found = scored_runs(store, dataset)
    found = found[found["kind"] == "score"].assign(inside=lambda rows: rows["method"] != "oof_loss")
    return None if found.empty else str(found.sort_values(["seen", "inside"], kind="stable")["run_id"].iloc[0])


def ranked(store: Store, dataset: str, score_run: str, who: str, method: str | None = None) -> pd.DataFrame:
    """Every scored image that is still there, with the model's view and, where there is one, the people's.

    Args:
        score_run: id of a scoring run, or of a training run whose dynamics scored its images.
        method: one of `measures`; by default the run's own.
        who: people | simulated | all | one annotator's name.

    Returns:
        One row an image, hardest for the model first: example, class, sha256, value (the raw score),
        difficulty (0 to 1, higher = harder), predicted, probability_true, level (or None), votes, annotators.
    """
    frame = store.query(
        """SELECT example, class, sha256, value, difficulty, predicted, probability_true, level, votes, annotators
           FROM score JOIN example USING (dataset, example) JOIN (SELECT run_id, mode FROM run) USING (run_id)
                LEFT JOIN consensus($dataset, $who) USING (example)
           WHERE dataset = $dataset AND run_id = $run AND method = coalesce($method, mode) AND present ORDER BY difficulty DESC, example""",
        {"dataset": dataset, "who": who, "run": score_run, "method": method},
    )
    if frame.empty and not store.rows("SELECT 1 FROM score WHERE dataset = ? AND run_id = ? LIMIT 1", [dataset, score_run]):
        raise UnknownError("no such scoring run for this data set", got=score_run, todo="`runs list` shows them")
    return frame


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows of `ranked`, with both orders on one scale.

    Adds: level_index (0 easy to 2 hard), model_level (the difficulty cut in the proportions of the people's
    levels), human_rank and model_rank (0 to 1 among these images, ties share the mean), gap (model_rank
    less human_rank, -1 to 1: above 0 the model finds it harder than people do).
    """
    both = frame[frame["level"].notna()].copy()
    both["level_index"] = both["level"].map({level: i for i, level in enumerate(LEVELS)}).astype(int)
    counts = [int((both["level_index"] == i).sum()) for i in range(len(LEVELS))]
    both["model_level"] = [LEVELS[i] for i in cut_levels(both["difficulty"].to_numpy(float), counts)]
    for side, values in (("human_rank", both["level_index"]), ("model_rank", both["difficulty"])):
        both[side] = (scipy.stats.rankdata(values) - 0.5) / max(len(both), 1)
    both["gap"] = both["model_rank"] - both["human_rank"]
    return both


def agreement(both: pd.DataFrame, resamples: int = 1000) -> Agreement:
    """How far people's levels and the model's difficulty agree; above 0: they find the same images hard."""
    return level_agreement(both["level_index"].to_numpy(np.int64), both["difficulty"].to_numpy(float), resamples)


def agreement_by(both: pd.DataFrame, judged: pd.DataFrame, resamples: int = 300) -> pd.DataFrame:
    """`agreement` of all images, of each class, and of each annotator's own levels.

    Args:
        both: as `compared` gives it. judged: as `judged_by_each` gives it.

    Returns:
        One row a group and measure: by (all | class | annotator), name, measure (spearman | tau_b | kappa), value, low, high (95 %), n. Only
        where the measure is defined.
    """
    groups = [
        ("all", "all images", both),
        *(("class", str(name), rows) for name, rows in both.groupby("class", sort=True)),
        *(("annotator", str(name), rows) for name, rows in judged.groupby("annotator", sort=True)),
    ]
    rows = []
    for by, name, frame in groups:
        found = agreement(frame, resamples)
        for measure in MEASURES:
            figure: Correlation = getattr(found, measure)
            if figure.defined:
                rows.append((by, name, measure, figure.value, figure.low, figure.high, figure.n))
    return pd.DataFrame(rows, columns=["by", "name", "measure", "value", "low", "high", "n"])


def judged_by_each(store: Store, score_run: str, who: str, method: str | None = None) -> pd.DataFrame:
    """What each annotator said of each scored image that is still there: annotator, level_index (0 easy to 2 hard), difficulty."""
    return store.query(
        """SELECT annotator, list_position(['easy', 'medium', 'hard'], level) - 1 AS level_index, difficulty
           FROM current_label JOIN score USING (dataset, example) JOIN (SELECT run_id, mode FROM run) USING (run_id)
                JOIN example USING (dataset, example)
           WHERE run_id = $run AND present AND method = coalesce($method, mode)
             AND CASE $who WHEN 'all' THEN true WHEN 'people' THEN NOT simulated WHEN 'simulated' THEN simulated ELSE annotator = $who END""",
        {"run": score_run, "who": who, "method": method},
    )


def level_table(both: pd.DataFrame) -> pd.DataFrame:
    """Counts 3 x 3: rows people's level, columns the model's level."""
    table = pd.crosstab(both["level"], both["model_level"])
    return table.reindex(index=list(LEVELS), columns=list(LEVELS), fill_value=0)


def quadrant(both: pd.DataFrame, name: Quadrant) -> pd.DataFrame:
    """The images of one quadrant, the widest gap first; where both agree, the surest first."""
    human, model = QUADRANTS[name]
    rows = both[(both["level"] == human) & (both["model_level"] == model)]
    surest = rows["gap"].abs() if human != model else (rows["human_rank"] + rows["model_rank"] - 1).abs()
    return rows.reindex(surest.sort_values(ascending=False, kind="stable").index)


def known_difficulty(store: Store, dataset: str, basis: str = "auto") -> dict[str, float]:
    """Difficulty (0 to 1, higher = harder) of each image, for simulated annotators to follow.

    Args:
        basis: built-in (the demo scenes' own) | model (the newest score) | auto: built-in where there is one.
    """
    if basis in ("auto", "built-in"):
        if datasets.get_dataset(store, dataset).root == (store.home.data / "demo").resolve():
            return sources.demo_difficulty(store.home.data)
        if basis == "built-in":
            raise ConfigError("only the demo scenes have a built-in difficulty", got=dataset, todo="Use --basis model")
    run = latest_score(store, dataset)
    if run is None:
        raise UnknownError("no model has ranked this data set yet", got=dataset, todo="Run `score` on it first")
    found = difficulties(store, run)
    return dict(zip(found["example"].tolist(), found["difficulty"].tolist(), strict=True))
