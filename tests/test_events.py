"""Batches of events: what came together is stored together, and is what it would be one after another."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

from curriculum import events
from curriculum.events import store_events
from curriculum.store import Cursor, Store
from curriculum.vocabulary import LEVELS

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


def drawn(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Undos, the same event twice, the same image twice, images that aren't there, turns and goings back, in any order."""
    events: list[dict[str, Any]] = []
    while len(events) < count:
        example = chance.choice([f"{name}/{name}{n}.jpg" for name in "abc" for n in range(4)] + ["a/none.jpg"])
        kind = chance.choice(["label"] * 6 + ["skip", "undo", "undo one", "again", "wrong"])
        if kind in ("undo one", "again") and not events:
            continue
        earlier = chance.choice(events[-4:]) if events else {}
        place = chance.choice([{}, {}, {"place": 0}, {"place": 1}])
        if kind == "again":
            events.append(earlier)
        elif kind.startswith("undo"):
            undone = {"undoes": earlier["id"], "example": earlier["example"]} if kind != "undo" else {"example": None}
            events.append(event(example, "undo") | undone)
        elif kind == "wrong":
            events.append(event(example, "label", level="impossible"))
        else:
            events.append(event(example, kind, **place, **({"level": chance.choice(LEVELS)} if kind == "label" else {})))
    return events


def test_a_batch_is_stored_as_one_after_another_would_be(tiny: Store, other: Store) -> None:
    chance = random.Random(0)
    for round_ in range(12):
        name, batch = f"Ann {round_}", drawn(chance, 30)
        together: dict[str, list[Any]] = store_events(tiny, "tiny", name, batch)
        single: dict[str, list[Any]] = {"stored": [], "refused": []}
        for one in batch:
            for key, said in store_events(other, "tiny", name, [one]).items():
                single[key] += said
        assert together == single
    what = "SELECT seq, id, annotator, example, action, level, undoes, repeat, batch FROM annotation ORDER BY seq"
    assert tiny.rows(what) == other.rows(what)


def test_batches_of_several_people_are_stored_as_one_after_another_would_be(tiny: Store, other: Store) -> None:
    """The same person in two tabs, a batch that is sent again while the first still waits, an id that was somebody else's: any of them at once."""
    chance = random.Random(1)
    for _ in range(8):
        sent = [(chance.choice(["Ann", "Bob", "Cleo"]), drawn(chance, chance.randrange(8))) for _ in range(5)]
        sent.append(sent[0])
        sent.append((sent[0][0] + "a", sent[0][1]))  # forged
        batches = [events.Batch("tiny", name, events._steps(raw)) for name, raw in sent]
        found = events._store(tiny, batches)
        for (name, raw), answers in zip(sent, found, strict=True):
            alone: dict[str, list[Any]] = store_events(other, "tiny", name, raw)
            assert [given for given, error in answers if error is None] == alone["stored"]
            assert [{"id": given, "reason": str(error)} for given, error in answers if error is not None] == alone["refused"]
    what = "SELECT annotator, id, example, action, level, undoes, repeat, batch FROM annotation ORDER BY annotator, seq"
    assert tiny.rows(what) == other.rows(what)


def test_who_waits_for_a_turn_is_stored_with_the_others_who_wait(tiny: Store) -> None:
    store = Counted(tiny._connection, tiny.home, writable=True)
    names = [f"P{n}" for n in range(20)]
    with ThreadPoolExecutor(len(names)) as pool:
        with store.write():
            answers = [pool.submit(store_events, store, "tiny", name, [event("a/a0.jpg", place=0)]) for name in names]
            while len(events._together[store]._waiting) < len(names) - 1:
                time.sleep(0.01)
        assert all(answer.result()["refused"] == [] for answer in answers)
    assert store.rows("SELECT count(DISTINCT annotator), count(*) FROM annotation") == [(20, 20)]
    assert store.statements <= 8, "those of the first, who came alone, and of all the others"
