"""What people and models say about the same images: the tables behind the pages and the command line's reports.

Reads the database, computes with `metrics` and `difficulty`, draws nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from curriculum import datasets, metrics, sources
from curriculum.config import LEVELS
from curriculum.difficulty import cut_levels
from curriculum.errors import ConfigError, UnknownError
from curriculum.store import Store

Direction = Literal["model finds it harder", "people find it harder", "agree"]


# -- people against a model ----------------------------------------------------------------------


def scored_runs(store: Store, dataset: str) -> pd.DataFrame:
    """Runs that gave scores: scoring runs, of all images, then training runs, of the images they trained on; the newest first.

    Returns:
        run_id, kind (score | train), method, weights, source_run (whose model judged, or None), image_size, created_at.
    """
    return store.query(
        """SELECT run_id, kind, mode AS method, config->>'weights' AS weights, config->>'run' AS source_run,
                  (config->>'image_size')::INTEGER AS image_size, created_at
           FROM run WHERE dataset = ? AND run_id IN (SELECT run_id FROM score)
           ORDER BY kind, created_at DESC, run_id DESC""",
        [dataset],
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
    """The newest scoring run, out-of-fold before any other; None where there is none."""
    found = scored_runs(store, dataset)
    found = found[found["kind"] == "score"]
    if found.empty:
        return None
    return str(found.sort_values("method", key=lambda m: m != "oof_loss", kind="stable")["run_id"].iloc[0])


def ranked(store: Store, dataset: str, score_run: str, who: str, method: str | None = None) -> pd.DataFrame:
    """Every scored image with the model's view and, where there is one, the people's.

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
           WHERE dataset = $dataset AND run_id = $run AND method = coalesce($method, mode) ORDER BY difficulty DESC, example""",
        {"dataset": dataset, "who": who, "run": score_run, "method": method},
    )
    if frame.empty:
        raise UnknownError("no such scoring run for this data set", got=score_run, todo="`runs list` shows them")
    return frame


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows of `ranked`, with both orders on one scale.

    Adds: level_index (0 easy to 2 hard), model_level (the difficulty cut in the proportions of the people's
    levels), human_rank and model_rank (0 to 1 among these images, ties share the mean), gap (model_rank
    less human_rank, -1 to 1: above 0 the model finds it harder than people do) and direction.
    """
    both = frame[frame["level"].notna()].copy()
    both["level_index"] = both["level"].map({level: i for i, level in enumerate(LEVELS)}).astype(int)
    counts = [int((both["level_index"] == i).sum()) for i in range(len(LEVELS))]
    both["model_level"] = [LEVELS[i] for i in cut_levels(both["difficulty"].to_numpy(float), counts)]
    for side, values in (("human_rank", both["level_index"]), ("model_rank", both["difficulty"])):
        both[side] = (stats.rankdata(values) - 0.5) / max(len(both), 1)
    both["gap"] = both["model_rank"] - both["human_rank"]
    levels_apart = both["model_level"].map({level: i for i, level in enumerate(LEVELS)}).astype(int) - both["level_index"]
    both["direction"] = np.select([levels_apart > 0, levels_apart < 0], ["model finds it harder", "people find it harder"], "agree")
    return both


def agreement(both: pd.DataFrame) -> metrics.Correlation:
    """Spearman's correlation of people's levels with the model's difficulty; above 0: they find the same images hard."""
    return metrics.spearman(both["level_index"].to_numpy(float), both["difficulty"].to_numpy(float))


def level_table(both: pd.DataFrame) -> pd.DataFrame:
    """Counts 3 x 3: rows people's level, columns the model's level."""
    table = pd.crosstab(both["level"], both["model_level"])
    return table.reindex(index=list(LEVELS), columns=list(LEVELS), fill_value=0)


def disagreements(both: pd.DataFrame, direction: Direction, limit: int = 12) -> pd.DataFrame:
    """The images on which people and model differ most, in one direction, the widest gap first."""
    rows = both[both["direction"] == direction]
    return rows.reindex(rows["gap"].abs().sort_values(ascending=False, kind="stable").index).head(limit)


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


# -- what a trained model gets wrong -------------------------------------------------------------


def predictions(store: Store, run_id: str, split: str = "test", who: str = "people") -> pd.DataFrame:
    """The chosen model's judgement of one split, with what people and the newest score say of the same images.

    Returns:
        One row an image, highest loss first: example, class, sha256, predicted, probability (of the predicted
        class), probability_true, loss, probabilities, correct, level (or None), difficulty (or NaN).
    """
    run = store.rows("SELECT dataset FROM run WHERE run_id = ? AND kind = 'train'", [run_id])
    if not run:
        raise UnknownError("no such training run", got=run_id, todo="`runs list` shows them")
    dataset = run[0][0]
    frame = store.query(
        """SELECT p.example, p.class, e.sha256, p.predicted, p.probability, p.probability_true, p.loss, p.probabilities,
                  p.class = p.predicted AS correct, c.level, s.difficulty
           FROM prediction AS p JOIN example AS e USING (dataset, example)
           LEFT JOIN consensus(?, ?) AS c USING (example)
           LEFT JOIN (SELECT example, difficulty FROM score JOIN run USING (run_id) WHERE run_id = ? AND method = mode) AS s USING (example)
           WHERE p.run_id = ? AND p.split = ? ORDER BY p.loss DESC, p.example""",
        [dataset, who, latest_score(store, dataset), run_id, split],
    )
    frame["correct"] = frame["correct"].astype(bool)
    return frame


def judgement(store: Store, run_id: str, example: str) -> dict[str, Any] | None:
    """One image of a run's data set and what its chosen model says of it; None where there is no such image.

    Returns:
        example, class, sha256; split, predicted, probability, probabilities, loss: None where the image came after the run.
    """
    frame = store.query(
        """SELECT e.example, e.class, e.sha256, p.split, p.predicted, p.probability, p.probabilities, p.loss
           FROM run AS r JOIN example AS e USING (dataset)
           LEFT JOIN prediction AS p ON p.run_id = r.run_id AND p.example = e.example AND p.dataset = e.dataset
           WHERE r.run_id = ? AND e.example = ? AND e.present""",
        [run_id, example],
    )
    if frame.empty:
        return None
    row: dict[str, Any] = {str(name): value for name, value in frame.iloc[0].to_dict().items()}
    return row if isinstance(row["predicted"], str) else row | dict.fromkeys(("split", "predicted", "probability", "probabilities", "loss"))


def judged_so(store: Store, dataset: str, example: str, who: str) -> dict[str, Any]:
    """One image's level (or None) by people, and its difficulty (0 to 1, higher = harder, or None) by the newest score."""
    level = store.rows("SELECT level FROM consensus(?, ?) WHERE example = ?", [dataset, who, example])
    found = difficulties(store, latest_score(store, dataset)).set_index("example")["difficulty"]
    return {"level": level[0][0] if level else None, "difficulty": found.get(example)}


def confusion(frame: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Counts: rows true class, columns predicted class, both in the order of `classes`."""
    place = {name: i for i, name in enumerate(classes)}
    true, predicted = (frame[column].map(place).to_numpy(np.int64) for column in ("class", "predicted"))
    return pd.DataFrame(metrics.confusion_matrix(true, predicted, len(classes)), index=list(classes), columns=list(classes))


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
