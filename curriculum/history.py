"""What the labels were at an earlier time, and what became of one image: read from the log, never changed."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from curriculum.datasets import get_dataset
from curriculum.errors import ConfigError, UnknownError
from curriculum.store import Store


def replay(store: Store, dataset: str, until: datetime | None = None) -> pd.DataFrame:
    """The labels, and the leads' decisions, in force when the database had recorded the events up to a time, that time included.

    What was taken back only later is in force. Among events of one annotator on one image the log's order counts,
    because clocks may go back.

    Args:
        until: with its time zone; None: all events.

    Returns:
        example, annotator, level, decided (a lead's word, which stands above the labels of all), by example and annotator.

    Raises:
        ConfigError: a time without a zone.
        UnknownError: no such data set.
    """
    return store.query(f"{IN_FORCE} SELECT * FROM force ORDER BY example, decided, annotator", _asked(store, dataset, until))


def counted(store: Store, dataset: str, until: datetime | None = None) -> pd.DataFrame:
    """How many of `replay`'s rows each annotator has of each level: annotator, decided, level, labels."""
    sql = f"{IN_FORCE} SELECT annotator, decided, level, count(*) AS labels FROM force GROUP BY ALL ORDER BY ALL"
    return store.query(sql, _asked(store, dataset, until))


def images_in_force(store: Store, dataset: str, until: datetime | None = None) -> int:
    """How many images `replay` names."""
    return int(store.rows(f"{IN_FORCE} SELECT count(DISTINCT example) FROM force", _asked(store, dataset, until))[0][0])


IN_FORCE = """
WITH past AS (
    SELECT * FROM annotation
    WHERE dataset = $dataset AND ($until::TIMESTAMPTZ IS NULL OR recorded_at <= $until::TIMESTAMPTZ)
), force AS (
    SELECT example, annotator, level, decided FROM (
        SELECT *, action = 'decide' AS decided FROM past AS event
        WHERE action IN ('label', 'decide') AND NOT repeat AND NOT EXISTS (SELECT 1 FROM past AS later WHERE later.undoes = event.id)
        QUALIFY row_number() OVER (PARTITION BY example, decided, CASE WHEN NOT decided THEN annotator END ORDER BY seq DESC) = 1
    ) WHERE level IS NOT NULL
)
"""


def _asked(store: Store, dataset: str, until: datetime | None) -> dict[str, object]:
    get_dataset(store, dataset)
    if until is not None and until.tzinfo is None:
        raise ConfigError("a time needs its zone", got=until.isoformat(), todo="Add one, such as Z for UTC.")
    return {"dataset": dataset, "until": until}


def example_log(store: Store, dataset: str, example: str) -> pd.DataFrame:
    """Every event of one image, in the log's order: seq, id, annotator, action, level, note, undoes, source, shown_at,
    answered_at, seconds, repeat, recorded_at, and `undone`: whether it was taken back later.

    Raises:
        UnknownError: no such data set, or no such image in it.
    """
    get_dataset(store, dataset)
    if not store.rows("SELECT 1 FROM example WHERE dataset = ? AND example = ?", [dataset, example]):
        raise UnknownError(f"the data set {dataset} has no such image", got=example, todo="Give it as class/file.")
    return store.query(
        """SELECT seq, id::TEXT AS id, annotator, action, level, note, undoes::TEXT AS undoes, source,
                  shown_at, answered_at, seconds, repeat, recorded_at,
                  EXISTS (SELECT 1 FROM annotation AS later WHERE later.undoes = event.id) AS undone
           FROM annotation AS event WHERE dataset = ? AND example = ? ORDER BY seq""",
        [dataset, example],
    )


def recently_judged(store: Store, dataset: str, most: int) -> list[str]:
    """The images with any event, the latest event first, up to so many."""
    rows = store.rows("SELECT example FROM annotation WHERE dataset = ? GROUP BY example ORDER BY max(seq) DESC LIMIT ?", [dataset, most])
    return [row[0] for row in rows]
