"""What the tests of label files share: a labelled data set, and what a refused import must leave."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from curriculum.errors import LabelFileError
from curriculum.label_files import import_labels
from curriculum.labels import Event, annotate, append_many, record
from curriculum.store import Store
from curriculum.vocabulary import Level

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
HANDMADE: tuple[tuple[str, Level], ...] = (("a/a0.jpg", "easy"), ("a/a1.jpg", "medium"), ("b/b0.jpg", "hard"), ("a/a0.jpg", "hard"))


def filled(store: Store) -> Store:
    """Ann and Bob by hand, one simulated, with times, a superseded answer, a skip, a flag, a note and an undo."""
    for n, (example, level) in enumerate(HANDMADE):
        shown = NOON + timedelta(hours=n)
        annotate(store, "tiny", example, "Ann", level, shown_at=shown, answered_at=shown + timedelta(seconds=0.1 * n))
    annotate(store, "tiny", "c/c0.jpg", "Bob", "easy")
    annotate(store, "tiny", "c/c1.jpg", "Bob", None)
    undone = annotate(store, "tiny", "c/c2.jpg", "Bob", "hard")
    with store.write() as cursor:
        record(cursor, "tiny", "Bob", Event(uuid.uuid4(), "undo", "c/c2.jpg", NOON, undoes=undone))
        record(cursor, "tiny", "Bob", Event(uuid.uuid4(), "flag", "c/c3.jpg", NOON, note="broken image"))
        record(cursor, "tiny", "Bob", Event(uuid.uuid4(), "note", "c/c0.jpg", NOON, note='=1+1, "zwei"\r\n drei', seconds=0.1))
    simulated = pd.DataFrame({"dataset": "tiny", "example": ["c/c0.jpg"], "annotator": "simulated-1", "level": "hard"})
    append_many(store, simulated, "simulate")
    return store


def current(store: Store) -> list[tuple[Any, ...]]:
    return store.rows("SELECT example, annotator, level, epoch_us(answered_at), seconds, simulated FROM current_label ORDER BY ALL")


def log(store: Store) -> list[tuple[Any, ...]]:
    """Every column of every event, in order."""
    return store.rows("SELECT COLUMNS(*)::TEXT FROM annotation ORDER BY annotation.seq")


def levels(store: Store) -> dict[str, str]:
    return dict(store.rows("SELECT example, level FROM current_label"))


def refusal(store: Store, path: Path, annotator: str | None = None, format: str | None = None) -> str:  # noqa: A002
    """The message of a refused import, which must have left nothing."""
    before = log(store)
    with pytest.raises(LabelFileError) as caught:
        import_labels(store, "tiny", path, annotator, format)
    assert log(store) == before
    return str(caught.value)
