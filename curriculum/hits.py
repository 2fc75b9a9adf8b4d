"""When a prediction counts as right: it is the class of the image's folder or, of a run that learnt several classes an image, any of these.

Reads what the run itself was given, in its directory: what the data set's `classes.csv` says today may be something else.
"""

from __future__ import annotations

from collections.abc import Sequence

from curriculum.errors import RunError
from curriculum.rundir import read_frame
from curriculum.store import Store

SEVERAL = (
    "This run learnt several classes an image, and each of an image's own counts as right. Tables and charts by class go by the image's folder, "
    "so what lies beside the diagonal of the confusion matrix may be right."
)


def notes(config: dict[str, object]) -> list[str]:
    """What a reader of a run's mistakes must know of how they are counted; `config`: the run's."""
    return [SEVERAL] if config.get("multi_label") else []


def right(prediction: str) -> str:
    """SQL: whether a row of the table `prediction`, by its name in the query, is right; the query takes `also_right` as $also."""
    one = prediction
    return f"({one}.class = {one}.predicted OR {one}.run_id || '/' || {one}.example IN (SELECT unnest($also::TEXT[])))"


def also_right(store: Store, dataset: str | None, runs: Sequence[str] | None = None, example: str | None = None) -> list[str]:
    """Predictions that aren't the class of the image's folder and right all the same, as "run/example".

    Args:
        dataset, runs, example: what is asked for; None: any.

    Returns:
        Empty where no run learnt several classes an image. A run whose directory has gone is judged by the folders alone.
    """
    said = store.query(
        """SELECT run_id, example, predicted FROM prediction JOIN run USING (run_id, dataset)
           WHERE class <> predicted AND config->>'multi_label' = 'true' AND ($dataset IS NULL OR dataset = $dataset)
             AND ($runs IS NULL OR list_contains($runs, run_id)) AND ($example IS NULL OR example = $example)""",
        {"dataset": dataset, "example": example, "runs": None if runs is None else list(runs)},
    )
    found: list[str] = []
    for run_id, rows in said.groupby("run_id"):
        try:
            order = read_frame(store.home.runs / str(run_id) / "order.parquet", ("example", "classes"))
        except RunError:
            continue
        own = dict(zip(order["example"], order["classes"], strict=True))
        pairs = zip(rows["example"], rows["predicted"], strict=True)
        found += [f"{run_id}/{example}" for example, predicted in pairs if predicted in own.get(example, ())]
    return found
