"""All that is known of one image: who said what, how models score it, what runs made of it, how its loss fell in training."""

from __future__ import annotations

from typing import Any

import pandas as pd

from curriculum import hits
from curriculum.analysis import difficulties, latest_score
from curriculum.errors import UnknownError
from curriculum.home import Home
from curriculum.store import Store

MOST_RUNS = 5


def facts(store: Store, dataset: str, example: str) -> dict[str, object]:
    """example, class, sha256, width, height (pixels), present, overlap_group (or None), level (agreed, or None), votes, annotators, decided.

    Raises:
        UnknownError: no such image.
    """
    found = store.query(
        """SELECT example, class, sha256, width, height, present, overlap_group, level, votes, annotators, coalesce(decided, false) AS decided
           FROM example LEFT JOIN consensus($dataset, 'people') USING (example) WHERE dataset = $dataset AND example = $example""",
        {"dataset": dataset, "example": example},
    )
    if found.empty:
        raise UnknownError(f"the data set {dataset} has no such image", got=example, todo="Give it as class/file.")
    row = found.astype(object).where(found.notna(), None).iloc[0]
    return {str(key): value for key, value in row.to_dict().items()}


def votes(store: Store, dataset: str, example: str) -> pd.DataFrame:
    """Each annotator's label in force: annotator, level, seconds, simulated; people first."""
    return store.query(
        """SELECT annotator, level, seconds, simulated FROM current_label WHERE dataset = ? AND example = ?
           ORDER BY simulated, annotator""",
        [dataset, example],
    )


def scores(store: Store, dataset: str, example: str, run_id: str) -> pd.DataFrame:
    """What a scoring or training run measured: method, value (raw, higher = harder), difficulty (its rank among the run's images, 0 to 1)."""
    return store.query(
        "SELECT method, value, difficulty FROM score WHERE dataset = ? AND example = ? AND run_id = ? ORDER BY method",
        [dataset, example, run_id],
    )


def said_by_runs(store: Store, dataset: str, example: str) -> pd.DataFrame:
    """What the finished runs' models say, the newest first: run_id, mode, seed, split (of this image), predicted, probability, correct."""
    return store.query(
        f"""SELECT run_id, mode, seed, split, predicted, probability, {hits.right("p")} AS correct
           FROM prediction AS p JOIN run USING (run_id, dataset) WHERE dataset = $dataset AND example = $example ORDER BY created_at DESC, run_id DESC""",
        {"dataset": dataset, "example": example, "also": hits.also_right(store, dataset, example=example)},
    )


def losses_over_epochs(store: Store, home: Home, dataset: str, example: str) -> pd.DataFrame:
    """How the loss of an image fell in the newest runs that trained on it and kept their dynamics: run, epoch, loss (nats)."""
    trained = store.rows(
        """SELECT run_id, mode, seed FROM prediction JOIN run USING (run_id, dataset)
           WHERE dataset = ? AND example = ? AND split = 'train' ORDER BY created_at DESC, run_id DESC""",
        [dataset, example],
    )
    parts: list[pd.DataFrame] = []
    for run_id, mode, seed in trained:
        path = home.runs / run_id / "dynamics.parquet"
        if len(parts) == MOST_RUNS or not path.is_file():
            continue
        try:
            found = pd.read_parquet(path, columns=["epoch", "loss"], filters=[("example", "==", example)])
        except Exception:  # damaged, and Arrow raises whatever it stumbles over: the other runs still tell
            continue
        parts.append(found.assign(run=f"{mode}, seed {seed}, {run_id[:15]}"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["epoch", "loss", "run"])


def judgement(store: Store, run_id: str, example: str) -> dict[str, Any] | None:
    """One image of a run's data set and what its chosen model says of it; None where there is no such image.

    Returns:
        example, class, sha256; split, predicted, probability, probabilities, loss, correct: None where the image came after the run.
    """
    frame = store.query(
        f"""SELECT e.example, e.class, e.sha256, p.split, p.predicted, p.probability, p.probabilities, p.loss, {hits.right("p")} AS correct
           FROM run AS r JOIN example AS e USING (dataset)
           LEFT JOIN prediction AS p ON p.run_id = r.run_id AND p.example = e.example AND p.dataset = e.dataset
           WHERE r.run_id = $run AND e.example = $example AND e.present""",
        {"run": run_id, "example": example, "also": hits.also_right(store, None, [run_id], example)},
    )
    if frame.empty:
        return None
    row: dict[str, Any] = {str(name): value for name, value in frame.iloc[0].to_dict().items()}
    return (
        row
        if isinstance(row["predicted"], str)
        else row | dict.fromkeys(("split", "predicted", "probability", "probabilities", "loss", "correct"))
    )


def judged_so(store: Store, dataset: str, example: str, who: str) -> dict[str, Any]:
    """One image's level (or None) by people, and its difficulty (0 to 1, higher = harder, or None) by the newest score."""
    level = store.rows("SELECT level FROM consensus(?, ?) WHERE example = ?", [dataset, who, example])
    found = difficulties(store, latest_score(store, dataset)).set_index("example")["difficulty"]
    return {"level": level[0][0] if level else None, "difficulty": found.get(example)}
