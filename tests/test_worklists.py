"""What is kept of the log in memory says what the log says, and is brought up to date without reading it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from curriculum import datasets, worklists
from curriculum.assignment import hand_out, left_by_class, progress, queue
from curriculum.datasets import Settings, check_dataset, get_dataset
from curriculum.labels import annotate, append_many, undo
from curriculum.leases import Leases
from curriculum.store import Store


@contextmanager
def counting(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows each question to the database gave."""
    given: list[int] = []
    with monkeypatch.context() as patch:
        for name in ("rows", "query"):
            ask: Callable[..., list[object]] = getattr(store, name)

            def counted(*arguments: object, ask: Callable[..., list[object]] = ask) -> object:
                found = ask(*arguments)
                given.append(len(found))
                return found

            patch.setattr(store, name, counted)
        yield given


@pytest.mark.parametrize("share", [None, 2])
def test_the_next_images_are_had_without_a_look_at_all_of_them(tiny: Store, monkeypatch: pytest.MonkeyPatch, share: int | None) -> None:
    datasets.change_settings(tiny, "tiny", Settings(share, 0.05))
    queue(tiny, "tiny", "Ann", 3)
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    with counting(tiny, monkeypatch) as given:
        found = hand_out(tiny, Leases(), "tiny", "Ann", 3).examples
        assert progress(tiny, "tiny", "Ann").mine["easy"] == 1
        assert sum(left_by_class(tiny, "tiny", "Ann").values()) == 11
    assert len(found) == 3 and "a/a0.jpg" not in found
    assert max(given) <= 2, "12 images, of which one event is new"


def test_a_log_that_is_another_is_read_anew(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    assert progress(tiny, "tiny", "Ann").team == 1
    with tiny.write() as cursor:
        cursor.execute("DELETE FROM annotation")
    assert progress(tiny, "tiny", "Ann").team == 0
    assert len(queue(tiny, "tiny", "Ann", 20)) == 12


def test_people_are_counted_as_labels_come_and_are_taken_back(tiny: Store) -> None:
    def people() -> dict[str, int]:
        with worklists.lock(tiny):
            images = worklists.images_of(tiny, "tiny")
            return {name: int(count) for name, count in zip(images.names, images.people, strict=True) if count}

    assert people() == {}
    for annotator, level in (("Ann", "easy"), ("Bob", "hard"), ("Ann", "hard")):
        annotate(tiny, "tiny", "a/a0.jpg", annotator, level)  # type: ignore[arg-type]
        people()
    append_many(
        tiny, pd.DataFrame({"dataset": ["tiny"], "example": ["b/b0.jpg"], "annotator": ["simulated-1"], "level": ["easy"]}), "simulate"
    )
    assert people() == {"a/a0.jpg": 2}
    undo(tiny, "tiny", "Ann")
    assert people() == {"a/a0.jpg": 2}, "her first label is in force again"
    undo(tiny, "tiny", "Ann")
    assert people() == {"a/a0.jpg": 1}


def test_new_images_are_asked_and_gone_ones_are_not(tiny: Store) -> None:
    assert len(queue(tiny, "tiny", "Ann", 20)) == 12
    root = get_dataset(tiny, "tiny").root
    (root / "a" / "a0.jpg").unlink()
    Image.fromarray(np.full((20, 16, 3), 90, np.uint8)).save(root / "a" / "new.jpg")
    check_dataset(tiny, "tiny")
    assert set(queue(tiny, "tiny", "Ann", 20)) == {*(f"{c}/{c}{i}.jpg" for c in "abc" for i in range(4)), "a/new.jpg"} - {"a/a0.jpg"}


def test_no_more_work_is_kept_than_said(tiny: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklists, "MOST_KEPT", 2)
    before = {name: queue(tiny, "tiny", name, 5) for name in "ABC"}
    assert {name: queue(tiny, "tiny", name, 5) for name in "ABC"} == before
    assert len(worklists._kept[tiny].own["tiny"]) == 2


def test_rows_that_have_moved_are_found_all_the_same(tiny: Store) -> None:
    names = ["b/b1.jpg", "a/a0.jpg"]
    right = worklists.described(tiny, "tiny", names)
    with worklists.lock(tiny):
        images = worklists.images_of(tiny, "tiny")
        images.rowid = np.roll(images.rowid, 1)
    assert worklists.described(tiny, "tiny", names) == right
    assert {name: class_name for name, (_, class_name) in right.items()} == {"b/b1.jpg": "b", "a/a0.jpg": "a"}


def test_a_store_that_is_closed_is_forgotten(tiny: Store, other: Store, tmp_path: Path) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    assert (progress(tiny, "tiny", "Ann").team, progress(other, "tiny", "Ann").team) == (1, 0)
