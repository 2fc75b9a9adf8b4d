"""All that is known of one image: who said what, how models score it, what runs made of it, how its loss fell in training."""

from __future__ import annotations

import pandas as pd

from curriculum.config import Home
from curriculum.errors import UnknownError
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
        """SELECT run_id, mode, seed, split, predicted, probability, class = predicted AS correct
           FROM prediction JOIN run USING (run_id, dataset) WHERE dataset = ? AND example = ? ORDER BY created_at DESC, run_id DESC""",
        [dataset, example],
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
        except (OSError, ValueError):  # damaged: the other runs still tell
            continue
        parts.append(found.assign(run=f"{mode}, seed {seed}, {run_id[:15]}"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["epoch", "loss", "run"])
