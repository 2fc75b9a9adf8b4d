"""Batches of events: what came together is stored together, and is what it would be one after another."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from curriculum.config import LEVELS
from curriculum.events import store_events
from curriculum.store import Cursor, Store

NOON = "2026-03-01T12:00:00+01:00"


class Counted(Store):
    """A store that counts what its writers ask of the database."""

    statements = 0

    @contextmanager
    def write(self) -> Iterator[Cursor]:
        with super().write() as cursor:
            store = self

            class Counting:
                def execute(self, *words: Any) -> Any:
                    store.statements += 1
                    return cursor.execute(*words)

            yield cast(Cursor, Counting())


def event(example: str, action: str = "label", **more: object) -> dict[str, Any]:
    made: dict[str, Any] = {"id": str(uuid.uuid4()), "example": example, "action": action, "answered_at": NOON, **more}
    return made | ({"level": "easy"} if action == "label" and "level" not in made else {})


def test_one_key_for_many_images_of_the_grid_costs_as_few_statements_as_one(tiny: Store) -> None:
    """While they are stored nobody else can store anything, and each statement takes milliseconds."""
    store = Counted(tiny._connection, tiny.home, writable=True)
    batch = str(uuid.uuid4())
    answer = store_events(store, "tiny", "Ann", [event(f"{name}/{name}{n}.jpg", batch=batch) for name in "abc" for n in range(4)])
    assert (len(answer["stored"]), answer["refused"], store.statements) == (12, [], 3)


def test_a_batch_is_stored_as_one_after_another_would_be(tiny: Store, other: Store) -> None:
    """Undos, the same event twice, the same image twice, images that aren't there, turns and goings back: in any order, cut anywhere."""
    chance = random.Random(0)
    for round_ in range(12):
        events: list[dict[str, Any]] = []
        for _ in range(30):
            example = chance.choice([f"{name}/{name}{n}.jpg" for name in "abc" for n in range(4)] + ["a/none.jpg"])
            kind = chance.choice(["label"] * 6 + ["skip", "undo", "undo one", "again", "wrong"])
            if kind in ("undo one", "again") and not events:
                continue
            earlier = chance.choice(events[-4:]) if events else {}
            place = chance.choice([{}, {}, {"place": 0}, {"place": 1}])
            if kind == "again":
                events.append(earlier)
            elif kind.startswith("undo"):
                events.append(
                    event(example, "undo")
                    | ({"undoes": earlier["id"], "example": earlier["example"]} if kind != "undo" else {"example": None})
                )
            elif kind == "wrong":
                events.append(event(example, "label", level="impossible"))
            else:
                events.append(event(example, kind, **place, **({"level": chance.choice(LEVELS)} if kind == "label" else {})))
        name = f"Ann {round_}"
        together: dict[str, list[Any]] = store_events(tiny, "tiny", name, events)
        single: dict[str, list[Any]] = {"stored": [], "refused": []}
        for one in events:
            for key, said in store_events(other, "tiny", name, [one]).items():
                single[key] += said
        assert together == single
    what = "SELECT seq, id, annotator, example, action, level, undoes, repeat, batch FROM annotation ORDER BY seq"
    assert tiny.rows(what) == other.rows(what)
