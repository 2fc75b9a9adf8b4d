"""People's judgement: the append-only log of annotations, undo, hidden repeats, who did how much.

An annotation is never changed: a later one of the same annotator supersedes it, and an undo is an entry of its own that
names what it takes back. What somebody does when an image is asked a second time is marked as `repeat`, lives beside
what was done the first time, and changes no label. `assignment` says what is asked, `label_files` reads and writes files.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from curriculum.errors import ConfigError
from curriculum.store import Cursor, Store
from curriculum.vocabulary import LEVELS, SIMULATED_PREFIX, Level

Action = Literal["label", "skip", "undo", "flag", "note"]
FlagReason = Literal["wrong class", "broken image"]
ACTIONS: tuple[Action, ...] = get_args(Action)
FLAG_REASONS: tuple[FlagReason, ...] = get_args(FlagReason)
MAX_NAME, MAX_NOTE = 64, 10_000
REPEAT_AFTER = 50
"""How many other images an annotator has labelled, at least, before one is asked a second time."""


Done = tuple[uuid.UUID, uuid.UUID | None, bool, int | None]
"""Of an entry of the log: id, what it undoes, whether it is a repeat, its number where it is a label and none."""


@dataclass(frozen=True)
class Event:
    """One thing that an annotator did. Times have a zone; `example` may be None for an undo, which names what it `undoes`."""

    id: uuid.UUID
    action: Action
    example: str | None
    answered_at: datetime
    level: Level | None = None
    note: str | None = None  # a note's words, or a flag's reason
    undoes: uuid.UUID | None = None  # None: the latest that stands
    shown_at: datetime | None = None
    seconds: float | None = None
    place: int | None = None  # how many images back the annotator had gone; 0: the image whose turn it was; None: not said
    batch: uuid.UUID | None = None  # shared by all events of one key press in the grid


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
    event, answered_at = event or uuid.uuid4(), answered_at or datetime.now(UTC)
    seconds = max((answered_at - shown_at).total_seconds(), 0.0) if shown_at else None
    action: Action = "label" if level is not None else "skip"
    with store.write() as cursor:
        record(cursor, dataset, annotator, Event(event, action, example, answered_at, level, shown_at=shown_at, seconds=seconds))
    return event


def undo(store: Store, dataset: str, annotator: str) -> str | None:
    """Take back what the annotator did last and still stands, however old; again for the one before.

    Returns:
        The example that is open again, or None where nothing is left to undo.
    """
    with store.write() as cursor:
        if _standing(cursor, dataset, annotator, None) is None:
            return None
        return record(cursor, dataset, annotator, Event(uuid.uuid4(), "undo", None, datetime.now(UTC)))


def record(cursor: Cursor, dataset: str, annotator: str, event: Event) -> str:
    """Append one event inside a transaction; the same event again changes nothing. The log's order is that of the calls.

    Returns:
        The example that it is about.

    Raises:
        ConfigError: the event can't be taken, and why; nothing of it was stored.
    """
    (said,) = record_together(cursor, [(dataset, annotator, event)])
    if isinstance(said, ConfigError):
        raise said
    return said


def record_together(cursor: Cursor, events: Sequence[tuple[str, str, Event]]) -> list[str | ConfigError]:
    """Append events (data set, annotator, event) of which none takes back or answers another of them, in their order: four statements for
    all, as each costs milliseconds in which nobody else can store anything.

    Returns:
        Of each event what `record` returns, or raises.
    """
    known = {
        row[0]: row[1:]
        for row in cursor.execute(
            f"SELECT id, dataset, annotator, action, example FROM annotation WHERE id IN ({_marks(events)})",
            [event.id for _, _, event in events],
        ).fetchall()
    }
    done = _done_before(cursor, [each for each in events if each[2].place is not None])
    said: list[str | ConfigError] = []
    rows: dict[int, list[object]] = {}  # by their place in `said`
    for place, (dataset, annotator, event) in enumerate(events):
        try:
            if event.id in known:
                said.append(_the_same(known[event.id], dataset, annotator, event))
            else:
                rows[place] = _row(cursor, dataset, annotator, event, done.get((dataset, annotator, event.example), []))
                said.append(str(rows[place][2]))
        except ConfigError as error:
            said.append(error)
    asked: dict[object, list[object]] = {}
    for row in rows.values():
        asked.setdefault(row[1], []).append(row[2])
    there = {(of, name) for of, names in asked.items() for (name,) in cursor.execute(
        "SELECT example FROM example WHERE dataset = ? AND list_contains(?::TEXT[], example)", [of, names]).fetchall()}  # fmt: skip
    for place, row in list(rows.items()):
        if (row[1], row[2]) not in there:
            said[place] = ConfigError(f"the data set {row[1]} has no such example", got=row[2])
            del rows[place]
    if rows:
        cursor.execute(
            """INSERT INTO annotation (id, dataset, example, annotator, action, level, note, undoes, shown_at, answered_at, seconds, repeat, batch,
                                       source)
               VALUES """ + ", ".join(f"({_marks(row)}, 'sort')" for row in rows.values()),
            [value for row in rows.values() for value in row],
        )  # fmt: skip
    return said


def _marks(values: Sequence[object]) -> str:
    """A place for each in a statement."""
    return ", ".join("?" * len(values))


def _the_same(known: tuple[str, str, str, str], dataset: str, annotator: str, event: Event) -> str:
    """The example of an event that came before; ConfigError where its id stands for another event."""
    if known[:3] != (dataset, annotator, event.action) or event.example not in (None, known[3]):
        raise ConfigError("this id stands for another event", got=str(event.id))
    return known[3]


def _row(cursor: Cursor, dataset: str, annotator: str, event: Event, done: Sequence[Done]) -> list[object]:
    """What is stored of an event: the columns from id to batch. `done`: what the annotator did with its image before."""
    _check_event(event)
    example, level, undoes = event.example, event.level, event.undoes
    if event.action == "undo":
        example, level, undoes, repeat = _taken_back(cursor, dataset, annotator, event)
    else:
        repeat = _is_repeat(cursor, dataset, annotator, event, done)
    return [event.id, dataset, example, annotator, event.action, level, event.note, undoes, event.shown_at, event.answered_at, event.seconds,
            repeat, event.batch]  # fmt: skip


def _check_event(event: Event) -> None:
    """What each action must and mustn't carry."""
    if (event.action == "label") != (event.level is not None):
        raise ConfigError("a label, and nothing else, has a level", got=event.level, allowed=LEVELS)
    if event.level is not None and event.level not in LEVELS:
        raise ConfigError("unknown level", got=event.level, allowed=LEVELS)
    if event.action == "flag" and event.note not in FLAG_REASONS:
        raise ConfigError("a flag's note is its reason", got=event.note, allowed=FLAG_REASONS)
    if event.action == "note" and not 1 <= len(event.note or "") <= MAX_NOTE:
        raise ConfigError(f"a note has 1 to {MAX_NOTE:,} characters", got=f"{len(event.note or ''):,} characters", todo="Shorten it.")
    if event.action not in ("flag", "note") and event.note is not None:
        raise ConfigError(f"a {event.action} has no note")
    if event.action != "undo" and event.undoes is not None:
        raise ConfigError("only an undo takes back", got=event.action)


def _done_before(cursor: Cursor, events: Sequence[tuple[str, str, Event]]) -> dict[tuple[str, str, str | None], list[Done]]:
    """What was done with the images of these events, by data set, annotator and example, other people's too: a search by all three takes
    the database six times as long."""
    found: dict[tuple[str, str, str | None], list[Done]] = {}
    if events:
        for row in cursor.execute(
            """SELECT dataset, annotator, example, id, undoes, repeat, CASE WHEN action = 'label' AND NOT repeat THEN seq END FROM annotation
               WHERE example IN (SELECT unnest(?::TEXT[]))""",
            [[event.example for _, _, event in events]],
        ).fetchall():
            found.setdefault(row[:3], []).append(row[3:])
    return found


def _is_repeat(cursor: Cursor, dataset: str, annotator: str, event: Event, done: Sequence[Done]) -> bool:
    """Whether this was done when the image was asked a second time, as the log alone tells.

    The browser doesn't know, and says only whether the image had its turn (place 0) or was gone back to. Its turn, while
    a label of the annotator's stands that lies `REPEAT_AFTER` images back, means the second time; it counts labels that
    were taken back too, so that an undo meanwhile can't turn a repeat into a correction. Who goes back corrects what
    they see there, which is what they said last: the repeat's answer where there is one, else the label.
    """
    if event.place is None:
        return False
    undone = {undoes for _, undoes, _, _ in done}
    standing = [(repeat, seq) for event_id, undoes, repeat, seq in done if undoes is None and event_id not in undone]
    label = max((seq for _, seq in standing if seq), default=None)
    if label is None:
        return False
    if event.place > 0 or any(repeat for repeat, _ in standing):
        return any(repeat for repeat, _ in standing)
    since = cursor.execute(
        """SELECT count(DISTINCT example) FROM annotation
           WHERE dataset = $dataset AND annotator = $annotator AND example <> $example AND action = 'label' AND NOT repeat AND seq > $label""",
        {"dataset": dataset, "annotator": annotator, "example": event.example, "label": label},
    ).fetchall()[0][0]
    return bool(since >= REPEAT_AFTER)


def _standing(cursor: Cursor, dataset: str, annotator: str, event: uuid.UUID | None) -> tuple[uuid.UUID, str, bool] | None:
    """Id, example and repeat of the named event, or of the latest, if it is this annotator's and still stands."""
    row: tuple[uuid.UUID, str, bool] | None = cursor.execute(
        """SELECT id, example, repeat FROM standing_annotation
           WHERE dataset = $dataset AND annotator = $annotator AND source = 'sort' AND ($event::UUID IS NULL OR id = $event::UUID)
           ORDER BY seq DESC LIMIT 1""",
        {"dataset": dataset, "annotator": annotator, "event": event},
    ).fetchone()
    return row


def _taken_back(cursor: Cursor, dataset: str, annotator: str, event: Event) -> tuple[str, Level | None, uuid.UUID, bool]:
    """What an undo is about: the example, the level that is in force again, the event taken back, whether that is a repeat."""
    found = _standing(cursor, dataset, annotator, event.undoes)
    if found is None and event.undoes is None:
        raise ConfigError("nothing is left to undo")
    if found is None:
        raise ConfigError("this can't be undone: it is no judgement of yours, or it was taken back already", got=str(event.undoes))
    undoes, example, repeat = found
    if event.example not in (None, example):
        raise ConfigError("this undo names another image than the judgement that it takes back", got=event.example)
    before = cursor.execute(
        """SELECT level FROM standing_annotation
           WHERE dataset = ? AND annotator = ? AND example = ? AND action = 'label' AND repeat = ? AND id <> ? ORDER BY seq DESC LIMIT 1""",
        [dataset, annotator, example, repeat, undoes],
    ).fetchone()
    return example, before[0] if before else None, undoes, repeat


def consensus(store: Store, dataset: str, who: str = "people") -> pd.DataFrame:
    """The agreed level of each labelled example that is there: example, level, votes (for that level), annotators, decided.

    What a lead decided; else the majority of the annotators' current labels, of tied levels the harder one, because
    doubt about an image is difficulty. `who`: people | simulated | all | one annotator's name.
    """
    return store.query(
        """SELECT agreed.* FROM consensus($dataset, $who) AS agreed JOIN example USING (example)
           WHERE dataset = $dataset AND present ORDER BY example""",
        {"dataset": dataset, "who": who},
    )


def judgements(store: Store, dataset: str, who: str = "people") -> pd.DataFrame:
    """Every current label of an example that is there: example, class, sha256, annotator, level, seconds (NaN where unknown), seq (the
    log's order), source, grid (given there, where images come class by class).

    `who`: people | simulated | all.
    """
    return store.query(
        """SELECT example, class, sha256, annotator, level, seconds, seq, source,
                  seq IN (SELECT seq FROM annotation WHERE dataset = $dataset AND batch IS NOT NULL) AS grid
           FROM current_label JOIN example USING (dataset, example)
           WHERE dataset = $dataset AND present AND ($who = 'all' OR simulated = ($who = 'simulated')) ORDER BY example, annotator""",
        {"dataset": dataset, "who": who},
    )


def vote_counts(store: Store, dataset: str, who: str = "people", *, divided: bool = False) -> pd.DataFrame:
    """How many current labels put each labelled example that is there (the index, in order) into each level: columns easy, medium, hard.

    Args:
        who: people | simulated | all.
        divided: only the examples with two levels or more.
    """
    counted = store.query(
        """SELECT example, count(*) FILTER (level = 'easy') AS easy, count(*) FILTER (level = 'medium') AS medium,
                  count(*) FILTER (level = 'hard') AS hard
           FROM current_label JOIN example USING (dataset, example)
           WHERE dataset = $dataset AND present AND ($who = 'all' OR simulated = ($who = 'simulated'))
           GROUP BY example HAVING NOT $divided OR min(level) <> max(level) ORDER BY example""",
        {"dataset": dataset, "who": who, "divided": divided},
    )
    return counted.set_index("example")


def repeats(store: Store, dataset: str, who: str = "people") -> pd.DataFrame:
    """What was judged twice, the second time without the first in sight: example, annotator, first, second (levels).

    `first` is the label that stood when the image was asked again, `second` what stands of the answer; repeats whose
    first label was taken back are left out. `who`: people | simulated | all.
    """
    return store.query(
        """WITH label AS (SELECT *, starts_with(annotator, 'simulated-') AS simulated FROM standing_annotation
                          WHERE dataset = $dataset AND action = 'label'),
                again AS (SELECT example, annotator, simulated, min(seq) AS seq, arg_max(level, seq) AS second
                          FROM label WHERE repeat GROUP BY ALL)
           SELECT example, annotator, arg_max(label.level, label.seq) AS first, second
           FROM again JOIN label USING (example, annotator)
           WHERE NOT label.repeat AND label.seq < again.seq AND ($who = 'all' OR again.simulated = ($who = 'simulated'))
           GROUP BY example, annotator, second ORDER BY example, annotator""",
        {"dataset": dataset, "who": who},
    )


COUNT_LEVELS = """SELECT level, count(*) FROM consensus($dataset, $who) JOIN example USING (example)
                  WHERE dataset = $dataset AND present GROUP BY level"""


def summary(store: Store, dataset: str) -> dict[str, object]:
    """Counts for a data set, of the images that are there. `annotators`, `annotations`, `labelled` and `levels` count people only;
    `simulated` the rest."""

    def count(simulated: bool) -> dict[str, object]:
        who = "simulated" if simulated else "people"
        annotators, annotations = store.rows(
            """SELECT count(DISTINCT annotator), count(*) FROM (
                   SELECT DISTINCT example, annotator FROM standing_annotation JOIN example USING (dataset, example)
                   WHERE dataset = ? AND present AND action = 'label' AND NOT repeat AND starts_with(annotator, ?) = ?)""",
            [dataset, SIMULATED_PREFIX, simulated],
        )[0]
        some = annotations or not simulated  # what a lead decided counts for people, labelled or not
        agreed = dict(store.rows(COUNT_LEVELS, {"dataset": dataset, "who": who})) if some else {}
        return {"annotators": annotators, "annotations": annotations, "labelled": sum(agreed.values()),
                "levels": {level: agreed.get(level, 0) for level in LEVELS}}  # fmt: skip

    return {"dataset": dataset, **count(False), "simulated": count(True)}


def append_many(store: Store, frame: pd.DataFrame, source: Literal["import", "simulate"]) -> int:
    """Append checked labels (dataset, example, annotator, level, optional answered_at and seconds), all or none.

    A label equal to the one in force is passed over, so that importing a file twice changes nothing; so is one that the log has with
    the same time: it was corrected or taken back since, and an older file doesn't bring it back.

    Returns:
        How many were appended.
    """
    rows = frame.copy()
    if "answered_at" not in rows:
        rows["answered_at"] = pd.NaT
    rows["answered_at"] = _utc(rows["answered_at"])
    whose = ["dataset", "example", "annotator"]
    for known, which in (([*whose, "level"], "current_label"), ([*whose, "level", "answered_at"], "annotation WHERE action = 'label'")):
        rows = _without(rows, known, store.query(f"SELECT DISTINCT {', '.join(known)} FROM {which}"))
    rows["answered_at"] = rows["answered_at"].fillna(pd.Timestamp.now("UTC").as_unit("us"))
    rows["id"] = [str(uuid.uuid4()) for _ in range(len(rows))]
    rows["action"], rows["source"] = "label", source
    names = pd.DataFrame({"annotator": np.unique(rows["annotator"])})
    names["simulated"] = names["annotator"].str.startswith(SIMULATED_PREFIX)
    with store.write() as cursor:
        store.insert(cursor, "annotator", names, "ON CONFLICT DO NOTHING")
        store.insert(cursor, "annotation", rows)
    return len(rows)


def _without(rows: pd.DataFrame, columns: Sequence[str], others: pd.DataFrame) -> pd.DataFrame:
    """The rows of which the others have none alike in these columns."""
    if "answered_at" in others:
        others["answered_at"] = _utc(others["answered_at"])
    both = rows.merge(others, how="left", on=list(columns), indicator=True)
    return both[both["_merge"] == "left_only"].drop(columns="_merge")


def _utc(times: pd.Series[Any]) -> pd.Series[Any]:
    return pd.to_datetime(times, utc=True).dt.as_unit("us")
