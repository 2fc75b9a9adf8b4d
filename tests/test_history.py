"""Looking back: the labels as they stood, and the life of one image."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from curriculum.errors import ConfigError, UnknownError
from curriculum.history import counted, example_log, images_in_force, recently_judged, replay
from curriculum.labels import annotate, undo
from curriculum.store import Store
from tests.label_cases import NOON, filled


def labels_at(store: Store, until: datetime | None = None) -> list[tuple[Any, ...]]:
    then = replay(store, "tiny", until)
    assert not then["decided"].any()
    return list(then.drop(columns="decided").itertuples(index=False, name=None))


def record_a_minute_apart(store: Store) -> None:
    """What was done within a second, as if the database had recorded it a minute apart, the first at noon."""
    with store.write() as cursor:
        numbers = [row[0] for row in store.rows("SELECT seq FROM annotation ORDER BY seq")]
        for n, number in enumerate(numbers):
            cursor.execute("UPDATE annotation SET recorded_at = ? WHERE seq = ?", [NOON + timedelta(minutes=n), number])


def test_the_labels_stand_as_they_stood_after_each_event(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    annotate(tiny, "tiny", "a/a0.jpg", "Bob", "hard")
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "medium")
    annotate(tiny, "tiny", "a/a1.jpg", "Ann", None)
    undo(tiny, "tiny", "Ann")  # of the skip
    undo(tiny, "tiny", "Ann")  # of medium
    undo(tiny, "tiny", "Ann")  # of easy
    record_a_minute_apart(tiny)
    bob = ("a/a0.jpg", "Bob", "hard")
    easy, medium = ("a/a0.jpg", "Ann", "easy"), ("a/a0.jpg", "Ann", "medium")
    expected = [[easy], [easy, bob], [medium, bob], [medium, bob], [medium, bob], [easy, bob], [bob]]
    assert labels_at(tiny, NOON - timedelta(microseconds=1)) == []
    for n, labels in enumerate(expected):
        assert labels_at(tiny, NOON + timedelta(minutes=n)) == labels, "the moment itself counts"
        assert labels_at(tiny, NOON + timedelta(minutes=n, seconds=59)) == labels
    assert labels_at(tiny) == [bob]


def test_now_is_what_is_in_force(tiny: Store) -> None:
    assert labels_at(filled(tiny)) == tiny.rows("SELECT example, annotator, level FROM current_label ORDER BY 1, 2")


def test_the_order_of_the_log_counts_where_the_clock_went_back(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy", answered_at=NOON)
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard", answered_at=NOON - timedelta(days=1))
    with tiny.write() as cursor:
        cursor.execute("UPDATE annotation SET recorded_at = answered_at")
    assert labels_at(tiny, NOON) == [("a/a0.jpg", "Ann", "hard")]


def test_the_life_of_an_image_is_told_in_order(tiny: Store) -> None:
    found = example_log(filled(tiny), "tiny", "c/c2.jpg")
    assert found[["annotator", "action", "level", "undone"]].astype(object).where(found.notna(), None).to_numpy().tolist() == [
        ["Bob", "label", "hard", True],
        ["Bob", "undo", None, False],
    ]
    assert found["undoes"].tolist()[1] == found["id"].tolist()[0]
    assert example_log(tiny, "tiny", "a/a0.jpg")["level"].tolist() == ["easy", "hard"]
    assert example_log(tiny, "tiny", "b/b3.jpg").empty


def test_what_is_unknown_is_said(tiny: Store) -> None:
    with pytest.raises(UnknownError, match="no such data set"):
        replay(tiny, "nowhere")
    with pytest.raises(UnknownError, match=r"no such image\. Got: 'a0\.jpg'\. Give it as class/file"):
        example_log(tiny, "tiny", "a0.jpg")
    with pytest.raises(ConfigError, match="needs its zone"):
        replay(tiny, "tiny", datetime(2026, 3, 1))


def test_counts_are_those_of_the_replayed_labels(tiny: Store) -> None:
    filled(tiny)
    record_a_minute_apart(tiny)
    for until in (None, NOON, NOON + timedelta(minutes=2)):
        then = replay(tiny, "tiny", until)
        of_each = then.groupby(["annotator", "decided", "level"]).size()
        assert {tuple(row[:3]): row[3] for row in counted(tiny, "tiny", until).itertuples(index=False, name=None)} == of_each.to_dict()
        assert images_in_force(tiny, "tiny", until) == then["example"].nunique()


def test_only_so_many_images_are_listed_the_latest_first(tiny: Store) -> None:
    for example in ("a/a0.jpg", "b/b0.jpg", "c/c0.jpg", "a/a0.jpg"):
        annotate(tiny, "tiny", example, "Ann", "easy")
    assert recently_judged(tiny, "tiny", 2) == ["a/a0.jpg", "c/c0.jpg"]
