"""People's judgement: the append-only log of annotations, undo, what to sort next, who did how much.

An annotation is never changed: a later one of the same annotator supersedes it, and an undo is an
entry of its own that names what it takes back. `label_files` reads and writes files of labels.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pandas as pd

from curriculum.config import LEVELS, SIMULATED_PREFIX, Level
from curriculum.errors import ConfigError
from curriculum.store import Store

Action = Literal["label", "skip"]
MAX_NAME = 64


@dataclass(frozen=True)
class Progress:
    """How far one annotator, and the team, have come."""

    mine: dict[str, int]  # images by level
    skipped: int  # seen and passed over
    total: int  # images of the data set
    team: int  # images labelled by at least one person
    median_seconds: float | None  # my own, from image shown to key; None before the first


def check_annotator(name: str, *, simulated: bool = False) -> str:
    """The name, trimmed; ConfigError where it can't be an annotator's."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise ConfigError("an annotator's name has 1 to 64 printable characters", got=name)
    if name.startswith(SIMULATED_PREFIX) != simulated:
        rule = "must begin" if simulated else "must not begin"
        raise ConfigError(f"names of simulated annotators, and only those, begin with {SIMULATED_PREFIX!r}; this one {rule} so", got=name)
    if name in ("people", "simulated", "all"):
        raise ConfigError("this name has a meaning of its own here", got=name, todo="Choose another.")
    return name


def add_annotator(store: Store, name: str, *, simulated: bool = False) -> str:
    """Register an annotator if new; returns the name as stored."""
    name = check_annotator(name, simulated=simulated)
    with store.write() as cursor:
        cursor.execute("INSERT INTO annotator (annotator, simulated) VALUES (?, ?) ON CONFLICT DO NOTHING", [name, simulated])
    return name


def annotate(
    store: Store,
    dataset: str,
    example: str,
    annotator: str,
    level: Level | None,
    *,
    event: uuid.UUID | None = None,
    shown_at: datetime | None = None,
    answered_at: datetime | None = None,
) -> uuid.UUID:
    """Append one judgement (or, with level None, a skip) and wait until it is committed.

    Args:
        event: the event's own id; a second call with the same id changes nothing.
        shown_at, answered_at: with time zone; the seconds between them are stored.

    Returns:
        The event's id.
    """
    if level is not None and level not in LEVELS:
        raise ConfigError("unknown level", got=level, allowed=LEVELS)
    event, answered_at = event or uuid.uuid4(), answered_at or datetime.now(UTC)
    seconds = max((answered_at - shown_at).total_seconds(), 0.0) if shown_at else None
    with store.write() as cursor:
        cursor.execute(
            """INSERT INTO annotation (id, dataset, example, annotator, action, level, source, shown_at, answered_at, seconds)
               SELECT ?, dataset, example, ?, ?, ?, 'sort', ?, ?, ? FROM example WHERE dataset = ? AND example = ?
               ON CONFLICT DO NOTHING""",
            [event, annotator, "label" if level else "skip", level, shown_at, answered_at, seconds, dataset, example],
        )
        if not cursor.execute("SELECT 1 FROM annotation WHERE id = ?", [event]).fetchone():
            raise ConfigError(f"the data set {dataset} has no such example", got=example)
    return event


def undo(store: Store, dataset: str, annotator: str) -> str | None:
    """Take back the annotator's latest judgement or skip that still stands, however old; again for the one before.

    Returns:
        The example that is open again, or None where nothing is left to undo.
    """
    with store.write() as cursor:
        last = cursor.execute(
            """SELECT id, example, action FROM annotation AS event
               WHERE dataset = ? AND annotator = ? AND action <> 'undo' AND source = 'sort'
                 AND NOT EXISTS (SELECT 1 FROM annotation AS later WHERE later.undoes = event.id)
               ORDER BY seq DESC LIMIT 1""",
            [dataset, annotator],
        ).fetchone()
        if last is None:
            return None
        event, example, _ = last
        before = cursor.execute(
            """SELECT level FROM annotation AS event
               WHERE dataset = ? AND annotator = ? AND example = ? AND action = 'label' AND id <> ?
                 AND NOT EXISTS (SELECT 1 FROM annotation AS later WHERE later.undoes = event.id)
               ORDER BY seq DESC LIMIT 1""",
            [dataset, annotator, example, event],
        ).fetchone()
        cursor.execute(
            """INSERT INTO annotation (id, dataset, example, annotator, action, level, undoes, source, answered_at)
               VALUES (?, ?, ?, ?, 'undo', ?, ?, 'sort', ?)""",
            [uuid.uuid4(), dataset, example, annotator, before[0] if before else None, event, datetime.now(UTC)],
        )
    return str(example)


def queue(store: Store, dataset: str, annotator: str, limit: int = 20) -> list[str]:
    """The next examples for an annotator: unlabelled, in an order of their own, skipped ones last.

    The order is seeded by the annotator's name and balanced over the classes: each block of as many
    images as there are classes holds every class once, while they last.
    """
    rows = store.rows(
        """WITH mine AS (
               SELECT example, max(seq) AS skipped FROM annotation AS event
               WHERE dataset = $dataset AND annotator = $annotator AND action = 'skip'
                 AND NOT EXISTS (SELECT 1 FROM annotation AS later WHERE later.undoes = event.id)
               GROUP BY example
           ), turn AS (
               SELECT example, row_number() OVER (PARTITION BY class ORDER BY hash(example || $annotator)) AS block
               FROM example WHERE dataset = $dataset AND present
           )
           SELECT example FROM turn LEFT JOIN mine USING (example)
           WHERE example NOT IN (SELECT example FROM current_label WHERE dataset = $dataset AND annotator = $annotator)
           ORDER BY skipped NULLS FIRST, block, hash($annotator || example) LIMIT $limit""",
        {"dataset": dataset, "annotator": annotator, "limit": limit},
    )
    return [row[0] for row in rows]


def progress(store: Store, dataset: str, annotator: str) -> Progress:
    """How many images this annotator has put into each level, and how far the team is."""
    mine = dict(store.rows(
        """SELECT level, count(*) FROM current_label JOIN example USING (dataset, example)
           WHERE dataset = ? AND annotator = ? AND present GROUP BY level""", [dataset, annotator]
    ))  # fmt: skip
    total, team = store.rows(
        """SELECT (SELECT count(*) FROM example WHERE dataset = $d AND present),
                  (SELECT count(DISTINCT example) FROM current_label JOIN example USING (dataset, example)
                   WHERE dataset = $d AND present AND NOT simulated)""",
        {"d": dataset},
    )[0]
    skipped, median = store.rows(
        """SELECT count(DISTINCT example) FILTER (action = 'skip'
                      AND id NOT IN (SELECT undoes FROM annotation WHERE undoes IS NOT NULL)
                      AND example NOT IN (SELECT example FROM current_label WHERE dataset = $d AND annotator = $a)),
                  median(seconds) FILTER (action = 'label')
           FROM annotation WHERE dataset = $d AND annotator = $a""",
        {"d": dataset, "a": annotator},
    )[0]
    return Progress({level: int(mine.get(level, 0)) for level in LEVELS}, skipped, total, team, median)


def consensus(store: Store, dataset: str, who: str = "people") -> pd.DataFrame:
    """The agreed level of each labelled example: example, level, votes, annotators.

    Majority of the annotators' current labels; of tied levels the harder one, because doubt about an
    image is difficulty. `who`: people | simulated | all | one annotator's name.
    """
    return store.query("SELECT * FROM consensus(?, ?) ORDER BY example", [dataset, who])


def summary(store: Store, dataset: str) -> dict[str, object]:
    """Counts for a data set. `annotators`, `annotations`, `labelled` and `levels` count people only; `simulated` the rest."""

    def count(simulated: bool) -> dict[str, object]:
        who = "simulated" if simulated else "people"
        annotators, annotations = store.rows(
            "SELECT count(DISTINCT annotator), count(*) FROM current_label WHERE dataset = ? AND simulated = ?", [dataset, simulated]
        )[0]
        agreed = consensus(store, dataset, who)["level"].value_counts()
        return {"annotators": annotators, "annotations": annotations, "labelled": int(agreed.sum()),
                "levels": {level: int(agreed.get(level, 0)) for level in LEVELS}}  # fmt: skip

    return {"dataset": dataset, **count(False), "simulated": count(True)}


def append_many(store: Store, frame: pd.DataFrame, source: Literal["import", "simulate"]) -> int:
    """Append checked labels (dataset, example, annotator, level, optional answered_at and seconds), all or none.

    A label equal to the one in force is passed over, so that importing a file twice changes nothing.

    Returns:
        How many were appended.
    """
    rows = frame.copy()
    if "answered_at" not in rows:
        rows["answered_at"] = pd.NaT
    rows["answered_at"] = pd.to_datetime(rows["answered_at"], utc=True).dt.as_unit("us").fillna(pd.Timestamp.now("UTC").as_unit("us"))
    current = store.query(
        "SELECT dataset, example, annotator, level AS level_before FROM current_label WHERE dataset IN (SELECT unnest(?))",
        [rows["dataset"].unique().tolist()],
    )
    rows = rows.merge(current, how="left", on=["dataset", "example", "annotator"])
    rows = rows[rows["level"] != rows["level_before"]].drop(columns="level_before")
    rows["id"] = [str(uuid.uuid4()) for _ in range(len(rows))]
    rows["action"], rows["source"] = "label", source
    names = pd.DataFrame({"annotator": np.unique(rows["annotator"])})
    names["simulated"] = names["annotator"].str.startswith(SIMULATED_PREFIX)
    with store.write() as cursor:
        store.insert(cursor, "annotator", names, "ON CONFLICT DO NOTHING")
        store.insert(cursor, "annotation", rows)
    return len(rows)
