"""What a sorting page sends and asks for: batches of events checked and stored in one transaction, and one's own history.

Nothing here trusts its caller: whatever comes is either stored, or refused with a sentence that says why.
It never reads what other annotators or a model said of an image.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

from curriculum import comparisons
from curriculum.comparisons import Comparison
from curriculum.config import Level
from curriculum.errors import ConfigError
from curriculum.labels import ACTIONS, Event, record
from curriculum.store import Cursor, Store

FIELDS = ("id", "example", "action", "level", "note", "undoes", "shown_at", "answered_at", "seconds", "place", "batch")
COMPARISON_FIELDS = ("id", "action", "examples", "hardest", "easiest", "adaptive", "undoes", "shown_at", "answered_at", "seconds")
MAX_EVENTS = 100
"""Of one batch: nobody else can store anything meanwhile. A browser sends no more (outbox.js)."""


# -- storing -------------------------------------------------------------------------------------


def store_events(store: Store, dataset: str, annotator: str, raw: Sequence[object]) -> dict[str, list[Any]]:
    """Store a batch in its order, in one transaction; an event that came before is stored once.

    Returns:
        `stored`: the ids that are safe now; `refused`: the id and the reason of each that never will be.
    """
    stored: list[str] = []
    refused: list[dict[str, object]] = []
    with store.write() as cursor:
        for item in raw:
            given = item.get("id") if isinstance(item, dict) else None
            given = given if isinstance(given, str) and storable(given) else None
            try:
                _keeper(item)(cursor, dataset, annotator, item)
                stored.append(cast(str, given))
            except ConfigError as error:
                refused.append({"id": given, "reason": str(error)})
    return {"stored": stored, "refused": refused}


def _annotate(cursor: Cursor, dataset: str, annotator: str, raw: object) -> None:
    record(cursor, dataset, annotator, read_event(raw))


def _compare(cursor: Cursor, dataset: str, annotator: str, raw: object) -> None:
    comparisons.record(cursor, dataset, annotator, read_comparison(raw))


KEEPERS: dict[str, Callable[[Cursor, str, str, object], None]] = {
    **dict.fromkeys(ACTIONS, _annotate),
    **dict.fromkeys(comparisons.ACTIONS, _compare),
}
"""Who stores an event, by its action."""


def _keeper(raw: object) -> Callable[[Cursor, str, str, object], None]:
    action = _text(_object(raw), "action")
    if action not in KEEPERS:
        raise ConfigError("unknown action", got=action, allowed=tuple(KEEPERS))
    return KEEPERS[action]


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
               WHERE dataset = ? AND annotator = ? AND list_contains(?::TEXT[], example)
           ) WHERE action = 'label' AND repeat = again ORDER BY seq DESC""",
        [dataset, annotator, [event["example"] for event in events]],
    ):
        levels.setdefault(example, []).append({"id": str(event), "level": level})
    return {"events": events, "levels": levels, "more": len(rows) > limit}
