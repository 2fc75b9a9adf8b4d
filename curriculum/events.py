"""What a sorting page sends and asks for: batches of events checked and stored in one transaction, and one's own history.

Nothing here trusts its caller: whatever comes is either stored, or refused with a sentence that says why.
It never reads what other annotators or a model said of an image.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, cast
from weakref import WeakKeyDictionary

from curriculum import comparisons
from curriculum.comparisons import Comparison
from curriculum.errors import ConfigError
from curriculum.labels import ACTIONS, Event, record_together
from curriculum.store import Cursor, Store
from curriculum.together import Together
from curriculum.vocabulary import Level

FIELDS = ("id", "example", "action", "level", "note", "undoes", "shown_at", "answered_at", "seconds", "place", "batch")
COMPARISON_FIELDS = ("id", "action", "examples", "hardest", "easiest", "adaptive", "undoes", "shown_at", "answered_at", "seconds")
MAX_EVENTS = 100
"""Of one batch, and of those that are stored together: nobody else can store anything meanwhile. A browser sends no more (outbox.js)."""

Answer = tuple[str | None, ConfigError | None]
"""An event's id, and why it never will be stored, if so."""
Step = list[tuple[str | None, Event | Comparison | ConfigError]]


@dataclass(frozen=True)
class Batch:
    """What somebody sent of a data set."""

    dataset: str
    annotator: str
    steps: list[Step]


_together: WeakKeyDictionary[Store, Together[Batch, list[Answer]]] = WeakKeyDictionary()
_making = threading.Lock()


# -- storing -------------------------------------------------------------------------------------


def store_events(store: Store, dataset: str, annotator: str, raw: Sequence[object]) -> dict[str, list[Any]]:
    """Store a batch in its order, in one transaction, with the batches of all who wait for theirs; an event that came before is stored once.

    Returns:
        `stored`: the ids that are safe now; `refused`: the id and the reason of each that never will be.
    """
    with _making:
        together = _together.setdefault(store, Together(MAX_EVENTS))
    answers = together.do(Batch(dataset, annotator, _steps(raw)), len(raw), partial(_store, store))
    return {
        "stored": [given for given, error in answers if error is None],
        "refused": [{"id": given, "reason": str(error)} for given, error in answers if error is not None],
    }


def _steps(raw: Sequence[object]) -> list[Step]:
    """A batch's items, read; those that don't depend on one another in one step."""
    steps: list[Step] = []
    for item in raw:
        given = item.get("id") if isinstance(item, dict) else None
        given = given if isinstance(given, str) and storable(given) else None
        try:
            read = _reader(item)(item)
        except ConfigError as error:
            steps.append([(given, error)])
            continue
        if steps and isinstance(read, Event) and _alone(read, [other for _, other in steps[-1]]):
            steps[-1].append((given, read))
        else:
            steps.append([(given, read)])
    return steps


def _alone(event: Event, others: Sequence[Event | Comparison | ConfigError]) -> bool:
    """Whether what is stored of an event is the same whether others of its batch are stored already: so it is for the images of a grid."""
    return (
        event.action != "undo"
        and event.place is None
        and all(
            isinstance(other, Event)
            and (other.action != "undo" and other.place is None and event.id != other.id and event.example != other.example)
            for other in others
        )
    )


def _store(store: Store, batches: Sequence[Batch]) -> list[list[Answer]]:
    """Store several batches in one transaction: in each round the next step of everybody, as people's events don't depend on one another's."""
    answers: list[list[Answer]] = [[] for _ in batches]
    left = [list(reversed(batch.steps)) for batch in batches]
    with store.write() as cursor:
        while any(left):
            events: list[tuple[int, str | None, Event]] = []
            people, ids = set[tuple[str, str]](), set[uuid.UUID]()
            for n, batch in enumerate(batches):
                who = (batch.dataset, batch.annotator)
                if not left[n] or who in people:
                    continue  # another tab of theirs, or the same batch once more: after the first
                people.add(who)
                if ids.isdisjoint(fresh := {what.id for _, what in left[n][-1] if isinstance(what, Event)}):
                    ids |= fresh
                    for given, what in left[n].pop():
                        if isinstance(what, Event):
                            events.append((n, given, what))
                        else:
                            answers[n].append((given, _compare(cursor, batch, what) if isinstance(what, Comparison) else what))
            said = record_together(cursor, [(batches[n].dataset, batches[n].annotator, event) for n, _, event in events]) if events else []
            for (n, given, _), one in zip(events, said, strict=True):
                answers[n].append((given, one if isinstance(one, ConfigError) else None))
    return answers


def _compare(cursor: Cursor, batch: Batch, comparison: Comparison) -> ConfigError | None:
    try:
        comparisons.record(cursor, batch.dataset, batch.annotator, comparison)
    except ConfigError as error:
        return error
    return None


def _reader(raw: object) -> Callable[[object], Event | Comparison]:
    """Who reads an item, by its action."""
    action = _text(_object(raw), "action")
    if action not in (*ACTIONS, *comparisons.ACTIONS):
        raise ConfigError("unknown action", got=action, allowed=(*ACTIONS, *comparisons.ACTIONS))
    return read_event if action in ACTIONS else read_comparison


def read_event(raw: object) -> Event:
    """An event about one image from its JSON; ConfigError, by the field's name, where it isn't one."""
    raw = _object(raw, FIELDS)
    action = _text(raw, "action")
    if action not in ACTIONS:
        raise ConfigError("unknown action", got=action, allowed=ACTIONS)
    answered_at, example = _time(raw, "answered_at"), _text(raw, "example")
    if answered_at is None or (example is None and action != "undo"):
        raise ConfigError("an event needs answered_at and, but for an undo, example")
    return Event(
        id=_id(raw, "id") or _missing("id"), action=action, example=example, answered_at=answered_at,
        level=cast(Level | None, _text(raw, "level")), note=_text(raw, "note"), undoes=_id(raw, "undoes"),
        shown_at=_time(raw, "shown_at"), seconds=_seconds(raw), place=_place(raw), batch=_id(raw, "batch"),
    )  # fmt: skip


def read_comparison(raw: object) -> Comparison:
    """A comparison of four images, or its undo, from its JSON; ConfigError, by the field's name, where it isn't one."""
    raw = _object(raw, COMPARISON_FIELDS)
    action, answered_at = _text(raw, "action"), _time(raw, "answered_at")
    if action not in comparisons.ACTIONS:
        raise ConfigError("unknown action", got=action, allowed=comparisons.ACTIONS)
    if answered_at is None:
        _missing("answered_at")
    names, adaptive = raw.get("examples", []), raw.get("adaptive", False)
    if not isinstance(names, list) or len(names) > 4 or not all(isinstance(name, str) and storable(name) for name in names):
        raise ConfigError("examples is a list of four names that can be stored")
    if not isinstance(adaptive, bool):
        raise ConfigError("adaptive is true or false", got=type(adaptive).__name__)
    return Comparison(
        id=_id(raw, "id") or _missing("id"), action=action, answered_at=answered_at, examples=tuple(names),
        hardest=_text(raw, "hardest"), easiest=_text(raw, "easiest"), adaptive=adaptive, undoes=_id(raw, "undoes"),
        shown_at=_time(raw, "shown_at"), seconds=_seconds(raw),
    )  # fmt: skip


def _object(raw: object, fields: Sequence[str] | None = None) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise ConfigError("an event is a JSON object", got=type(raw).__name__)
    if fields and (unknown := set(raw) - set(fields)):
        raise ConfigError("an event has unknown fields", got=sorted(text[:40] for text in unknown), allowed=fields)
    return raw


def _missing(field: str) -> NoReturn:
    raise ConfigError(f"an event needs {field}")


def _text(raw: dict[str, object], field: str) -> str | None:
    value = raw.get(field)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{field} is text", got=type(value).__name__)
    if value is not None and not storable(value):
        raise ConfigError(f"{field} has letters that can't be stored")
    return value


def storable(text: str) -> bool:
    """False for NUL and for lone halves of a letter, which JSON can carry and a database can't take."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _id(raw: dict[str, object], field: str) -> uuid.UUID | None:
    text = _text(raw, field)
    try:
        return uuid.UUID(text) if text is not None else None
    except ValueError as error:
        raise ConfigError(f"{field} is a UUID", got=str(text)[:40]) from error


def _time(raw: dict[str, object], field: str) -> datetime | None:
    text = _text(raw, field)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{field} is an ISO time", got=text[:40]) from error
    if time.tzinfo is None or not 1970 <= time.year < 9999:
        raise ConfigError(f"{field} is an ISO time with its zone, from 1970 on", got=text[:40])
    return time.astimezone(UTC)


def _seconds(raw: dict[str, object]) -> float | None:
    value = raw.get("seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9 or math.isnan(value):
        raise ConfigError("seconds is a number from 0 on", got=str(value)[:40])
    return float(value)


def _place(raw: dict[str, object]) -> int | None:
    value = raw.get("place")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise ConfigError("place is a whole number from 0 on", got=str(value)[:40])
    return value


# -- looking back --------------------------------------------------------------------------------


def history(store: Store, dataset: str, annotator: str, *, before: uuid.UUID | None = None, limit: int = 50) -> dict[str, Any]:
    """One's own standing judgements, latest first, a page at a time; of images that are still there.

    Args:
        before: the last event of the page before; None for the first page.

    Returns:
        `events` (id, example, sha256, class, action, note, batch, undoable), `levels` (of each example named there, the
        standing labels since it was last asked, latest first: what an undo brings back is the next one), `more` (whether there is another page).
    """
    rows = store.rows(
        """SELECT id, example, sha256, class, action, note, batch::TEXT, source = 'sort'
           FROM standing_annotation JOIN example USING (dataset, example)
           WHERE dataset = $dataset AND annotator = $annotator AND action <> 'decide' AND present AND ($before::UUID IS NULL OR seq < (
               SELECT seq FROM annotation WHERE id = $before::UUID AND dataset = $dataset AND annotator = $annotator))
           ORDER BY seq DESC LIMIT $limit""",
        {"dataset": dataset, "annotator": annotator, "before": before, "limit": limit + 1},
    )
    names = ("id", "example", "sha256", "class", "action", "note", "batch", "undoable")
    events = [dict(zip(names, (str(row[0]), *row[1:]), strict=True)) for row in rows[:limit]]
    levels: dict[str, list[dict[str, str]]] = {}
    for example, event, level in store.rows(
        """SELECT example, id, level FROM (
               SELECT *, bool_or(repeat) OVER (PARTITION BY example) AS again FROM standing_annotation
               WHERE dataset = ? AND annotator = ? AND example IN (SELECT unnest(?::TEXT[]))
           ) WHERE action = 'label' AND repeat = again ORDER BY seq DESC""",
        [dataset, annotator, [event["example"] for event in events]],
    ):
        levels.setdefault(example, []).append({"id": str(event), "level": level})
    return {"events": events, "levels": levels, "more": len(rows) > limit}
