"""The log of comparisons, what makes the pool, what is handed out, and that nothing hostile gets in."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curriculum import comparisons, events, labels
from curriculum.app import api, service
from curriculum.app.identity import Identity
from curriculum.comparisons import MAX_POOL, MIN_POOL, Comparison
from curriculum.datasets import add_dataset
from curriculum.errors import ConfigError
from curriculum.home import Home
from curriculum.store import Store
from curriculum.vocabulary import Level

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FOUR = ("a/a0.jpg", "a/a1.jpg", "b/b0.jpg", "c/c3.jpg")


def answer(examples: tuple[str, ...] = FOUR, hardest: int = 0, easiest: int = 3, **more: Any) -> Comparison:
    return Comparison(uuid.uuid4(), "compare", NOON, examples, examples[hardest], examples[easiest], **more)


def undo(undoes: uuid.UUID | None = None) -> Comparison:
    return Comparison(uuid.uuid4(), "undo_compare", NOON, undoes=undoes)


def record(store: Store, given: Comparison, annotator: str = "Ann", dataset: str = "tiny") -> uuid.UUID:
    with store.write() as cursor:
        return comparisons.record(cursor, dataset, annotator, given)


def rows(store: Store, what: str = "id") -> list[tuple[Any, ...]]:
    return store.rows(f"SELECT {what} FROM comparison ORDER BY seq")


def standing(store: Store) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in comparisons.standing(store, "tiny")[["annotator", "hardest", "easiest"]].to_numpy().tolist()]


# -- the log -------------------------------------------------------------------------------------


def test_a_comparison_is_stored_once_with_all_that_was_said(tiny: Store) -> None:
    given = answer(adaptive=True, shown_at=NOON, seconds=4.25)
    assert record(tiny, given) == record(tiny, given) == given.id
    assert rows(tiny, "id, dataset, annotator, examples, hardest, easiest, adaptive, undoes, seconds, shown_at = answered_at") == [
        (given.id, "tiny", "Ann", list(FOUR), "a/a0.jpg", "c/c3.jpg", True, None, 4.25, True)
    ]


def test_undo_takes_back_the_latest_or_the_one_named_and_nothing_twice(tiny: Store) -> None:
    first, second, third = answer(), answer(hardest=1), answer(hardest=2, adaptive=True)
    for given in (first, second, third):
        record(tiny, given)
    taken = undo()
    assert record(tiny, taken) == record(tiny, taken) == third.id
    assert record(tiny, undo(first.id)) == first.id
    assert standing(tiny) == [("Ann", "a/a1.jpg", "c/c3.jpg")]
    assert rows(tiny, "undoes, hardest, easiest, adaptive, len(examples)")[3:] == [
        (third.id, None, None, True, 4), (first.id, None, None, False, 4)
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="taken back already"):
        record(tiny, undo(first.id))
    record(tiny, undo())
    with pytest.raises(ConfigError, match="no comparison is left to undo"):
        record(tiny, undo())
    assert standing(tiny) == []
    assert len(rows(tiny)) == 6  # nothing is ever removed


def test_nobody_undoes_for_another_or_elsewhere(tiny: Store) -> None:
    mine = answer()
    record(tiny, mine)
    with pytest.raises(ConfigError, match="no comparison of yours"):
        record(tiny, undo(mine.id), "Bob")
    with pytest.raises(ConfigError, match="no comparison is left"):
        record(tiny, undo(), "Bob")
    with pytest.raises(ConfigError, match="no comparison of yours"):
        record(tiny, undo(mine.id), dataset="elsewhere")
    assert len(standing(tiny)) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Comparison(uuid.uuid4(), "compare", NOON), "four different images. Got: 'none'"),
        (Comparison(uuid.uuid4(), "compare", NOON, FOUR[:3], FOUR[0], FOUR[1]), "four different images"),
        (Comparison(uuid.uuid4(), "compare", NOON, (*FOUR[:3], FOUR[0]), FOUR[0], FOUR[1]), "four different images"),
        (Comparison(uuid.uuid4(), "compare", NOON, (*FOUR, "b/b1.jpg"), FOUR[0], FOUR[1]), "four different images"),
        (Comparison(uuid.uuid4(), "compare", NOON, FOUR, None, FOUR[1]), "the hardest is one of the four"),
        (Comparison(uuid.uuid4(), "compare", NOON, FOUR, FOUR[1], "b/b1.jpg"), "the easiest is one of the four. Got: 'b/b1.jpg'"),
        (Comparison(uuid.uuid4(), "compare", NOON, FOUR, FOUR[1], FOUR[1]), "two different images"),
        (answer((*FOUR[:3], "c/never.jpg")), "no such example, or its file has gone. Got: 'c/never.jpg'"),
        (answer(undoes=uuid.uuid4()), "only an undo takes back"),
        (Comparison(uuid.uuid4(), "undo_compare", NOON, FOUR), "an undo has no images of its own"),
    ],
)
def test_what_is_no_comparison_is_refused(tiny: Store, given: Comparison, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        record(tiny, given)
    assert says in str(caught.value)
    assert rows(tiny) == []


def test_an_id_stands_for_one_comparison(tiny: Store) -> None:
    given = answer()
    record(tiny, given)
    others = [
        (Comparison(given.id, "compare", NOON, FOUR, FOUR[1], FOUR[3]), "Ann"), (given, "Bob"), (Comparison(given.id, "undo_compare", NOON), "Ann")
    ]  # fmt: skip
    for other, who in others:
        with pytest.raises(ConfigError, match="another comparison"):
            record(tiny, other, who)
    assert len(rows(tiny)) == 1


def test_an_image_whose_file_has_gone_is_refused_but_kept(tiny: Store) -> None:
    record(tiny, answer())
    with tiny.write() as cursor:
        cursor.execute("UPDATE example SET present = false WHERE example = ?", [FOUR[0]])
    with pytest.raises(ConfigError, match="its file has gone"):
        record(tiny, answer())
    assert len(standing(tiny)) == 1
    assert comparisons.history(tiny, "tiny", "Ann")["comparisons"] == []  # nothing that could be shown again


def test_who_did_how_many_counts_people_alone(tiny: Store) -> None:
    for seconds, adaptive in ((2.0, True), (4.0, False), (9.0, True)):
        record(tiny, answer(seconds=seconds, adaptive=adaptive))
    record(tiny, answer(), "simulated-1")
    record(tiny, answer(), "Bob")
    done = comparisons.by_annotator(comparisons.standing(tiny, "tiny"))
    assert done.astype(object).where(done.notna(), None).to_numpy().tolist() == [["Ann", 3, 1, 4.0], ["Bob", 1, 1, None]]


def test_history_is_ones_own_a_page_at_a_time(tiny: Store) -> None:
    made = [answer(hardest=n % 3) for n in range(5)]
    for given in made:
        record(tiny, given)
    record(tiny, answer(), "Bob")
    record(tiny, undo(made[3].id))
    page = comparisons.history(tiny, "tiny", "Ann", limit=3)
    assert [one["id"] for one in page["comparisons"]] == [str(made[n].id) for n in (4, 2, 1)]
    assert page["comparisons"][0] == {"id": str(made[4].id), "examples": list(FOUR), "adaptive": False}  # not what was said
    rest = comparisons.history(tiny, "tiny", "Ann", before=made[1].id, limit=3)
    assert ([one["id"] for one in rest["comparisons"]], page["more"], rest["more"]) == ([str(made[0].id)], True, False)


# -- the pool ------------------------------------------------------------------------------------


def sort(store: Store, example: str, **levels: Level) -> None:
    for annotator, level in levels.items():
        labels.annotate(store, "tiny", example, annotator, level)


def write(store: Store, sql: str, *values: object) -> None:
    with store.write() as cursor:
        cursor.execute(sql, values)


def ask(store: Store, example: str, what: str = "compare") -> None:
    """What a lead asks of the team about an image."""
    write(store, "INSERT INTO request (dataset, example, what, people, requested_by) VALUES ('tiny', ?, ?, 0, 'Lee')", example, what)


def log(store: Store, example: str, annotator: str, action: str, source: str) -> None:
    write(
        store,
        """INSERT INTO annotation (id, dataset, example, annotator, action, level, source, answered_at)
           VALUES (uuid(), 'tiny', ?, ?, ?, 'hard', ?, now())""",
        example, annotator, action, source,
    )  # fmt: skip


def test_the_pool_is_what_was_sent_then_the_most_uncertain(tiny: Store) -> None:
    assert comparisons.pool(tiny, "tiny") == []
    sort(tiny, "a/a0.jpg", Ann="easy", Bob="medium")
    sort(tiny, "a/a1.jpg", Ann="easy", Bob="hard")
    sort(tiny, "a/a2.jpg", Ann="easy", Bob="easy")  # they agree
    sort(tiny, "a/a3.jpg", Ann="easy", Bob="easy", Cem="medium")
    sort(tiny, "b/b0.jpg", Ann="hard")  # nobody confirmed it
    ask(tiny, "c/c3.jpg")
    ask(tiny, "c/c2.jpg", "opinion")
    assert comparisons.pool(tiny, "tiny") == ["c/c3.jpg", "a/a1.jpg", "a/a0.jpg", "a/a3.jpg", "b/b0.jpg"]


def test_what_isnt_compared(tiny: Store) -> None:
    names = ["a/a0.jpg", "a/a1.jpg", "a/a2.jpg", "a/a3.jpg", "b/b0.jpg", "b/b1.jpg"]
    for name in names:
        sort(tiny, name, Ann="easy", Bob="hard")
    write(tiny, "INSERT INTO calibration_image (dataset, example, part, added_by) VALUES ('tiny', 'a/a0.jpg', 'anchor', 'Lee')")
    write(tiny, "UPDATE example SET present = false WHERE example = 'a/a1.jpg'")
    with tiny.write() as cursor:
        labels.record(cursor, "tiny", "Bob", labels.Event(uuid.uuid4(), "flag", "a/a2.jpg", NOON, note="broken image"))
    for name in ("a/a3.jpg", "b/b0.jpg"):
        log(tiny, name, "Lee", "decide", "team")
    ask(tiny, "b/b0.jpg")
    ask(tiny, "a/a0.jpg")
    assert comparisons.pool(tiny, "tiny") == ["b/b0.jpg", "b/b1.jpg"]


def test_simulated_levels_make_no_pool(tiny: Store) -> None:
    log(tiny, "a/a0.jpg", "simulated-1", "label", "simulate")
    assert comparisons.pool(tiny, "tiny") == []


def test_single_labels_join_only_a_small_pool_and_there_is_a_limit(store: Store, tiny_folder: Callable[..., Path]) -> None:
    add_dataset(store, "tiny", tiny_folder(("a", "b"), 180))
    names = [str(row[0]) for row in store.rows("SELECT example FROM example ORDER BY example")]
    for name in names[: MIN_POOL + 5]:
        sort(store, name, Ann="easy")
    assert len(comparisons.pool(store, "tiny")) == MIN_POOL
    for name in names[:12]:
        sort(store, name, Bob="hard")
    assert comparisons.pool(store, "tiny")[:12] != sorted(names[:12])
    assert set(comparisons.pool(store, "tiny")[:12]) == set(names[:12])
    assert len(comparisons.pool(store, "tiny")) == MIN_POOL
    with store.write() as cursor:
        cursor.execute("INSERT INTO request SELECT dataset, example, 'compare', 0, 'Lee', now() FROM example")
    assert len(comparisons.pool(store, "tiny")) == MAX_POOL


# -- what is handed out ----------------------------------------------------------------------------


@pytest.fixture
def split(tiny: Store) -> Store:
    """People who differ on all twelve images."""
    for (name,) in tiny.rows("SELECT example FROM example ORDER BY example"):
        sort(tiny, name, Ann="easy", Bob="hard")
    return tiny


def test_handed_out_by_name_alone_and_the_same_again(split: Store) -> None:
    found = comparisons.next_fours(split, "tiny", "Ann", 5)
    assert (found.mine, found.pool, found.end) == (0, 12, None)
    assert [four.adaptive for four in found.fours].count(False) == 1
    assert found == comparisons.next_fours(split, "tiny", "Ann", 5)
    assert found.fours != comparisons.next_fours(split, "tiny", "Bob", 5).fours


def test_an_annotator_gets_no_four_twice_and_goes_on_after_an_undo(split: Store) -> None:
    had: set[frozenset[str]] = set()
    for _ in range(12):
        found = comparisons.next_fours(split, "tiny", "Ann", 3, [sorted(four) for four in list(had)[:2]])
        for four in found.fours:
            assert frozenset(four.examples) not in had
            had.add(frozenset(four.examples))
            given = answer(four.examples, adaptive=four.adaptive)
            record(split, given)
    assert comparisons.next_fours(split, "tiny", "Ann", 0).mine == 36
    record(split, undo())
    assert comparisons.next_fours(split, "tiny", "Ann", 0).mine == 35
    chance = [adaptive for (adaptive,) in split.rows("SELECT adaptive FROM comparison WHERE hardest IS NOT NULL")].count(False)
    assert 5 <= chance <= 9  # of 36, one of five


def test_the_end_says_why_and_what_to_do(tiny: Store) -> None:
    found = comparisons.next_fours(tiny, "tiny", "Ann", 4)
    assert (found.fours, found.pool) == ([], 0)
    assert found.end == "Nothing is uncertain yet. Sort images first: fours are made of images that people disagree on."
    for name in FOUR:
        sort(tiny, name, Ann="easy", Bob="hard")
    (four,) = comparisons.next_fours(tiny, "tiny", "Ann", 4).fours
    record(tiny, answer(four.examples))
    assert comparisons.next_fours(tiny, "tiny", "Ann", 4).end == "You have compared every four of these 4 images. Thank you!"
    assert comparisons.next_fours(tiny, "tiny", "Bob", 4).fours  # he hasn't


# -- what comes from a browser -----------------------------------------------------------------------


def event(**more: Any) -> dict[str, Any]:
    made = {"id": str(uuid.uuid4()), "action": "compare", "examples": list(FOUR), "hardest": FOUR[0], "easiest": FOUR[1], "adaptive": True}
    return {**made, "shown_at": NOON.isoformat(), "answered_at": NOON.isoformat(), "seconds": 3.5, **more}


def test_comparisons_and_labels_come_in_one_batch(tiny: Store) -> None:
    first, label = (
        event(),
        {"id": str(uuid.uuid4()), "action": "label", "example": FOUR[0], "level": "hard", "answered_at": NOON.isoformat()},
    )
    taken = {"id": str(uuid.uuid4()), "action": "undo_compare", "undoes": first["id"], "answered_at": NOON.isoformat()}
    assert events.store_events(tiny, "tiny", "Ann", [first, label, taken, first, taken])["refused"] == []
    assert len(rows(tiny)) == 2
    assert tiny.rows("SELECT level FROM current_label") == [("hard",)]
    assert standing(tiny) == []


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (event(examples="abcd"), "examples is a list of four names"),
        (event(examples=[*FOUR[:3], 5]), "examples is a list of four names"),
        (event(examples=[*FOUR[:3], "\udfff"]), "names that can be stored"),
        (event(examples=[*FOUR[:3], "\x00"]), "names that can be stored"),
        (event(examples=list(FOUR) * 10_000), "examples is a list of four names"),
        (event(examples=[]), "four different images"),
        (event(examples=[*FOUR[:3], "../../etc/passwd"]), "no such example"),
        (event(hardest=None), "the hardest is one of the four"),
        (event(hardest=["a"]), "hardest is text"),
        (event(easiest=FOUR[0]), "two different images"),
        (event(adaptive="yes"), "adaptive is true or false"),
        (event(adaptive=None), "adaptive is true or false"),
        (event(answered_at=None), "needs answered_at"),
        (event(answered_at="2026-03-01T12:00:00"), "with its zone"),
        (event(id=None), "needs id"),
        (event(id="x"), "id is a UUID"),
        (event(seconds=-1), "seconds"),
        (event(seconds=float("nan")), "seconds"),
        (event(undoes=str(uuid.uuid4())), "only an undo"),
        (event(action="undo_compare"), "no images of its own"),
        (event(level="hard"), "unknown fields. Got: ['level']"),
        (event(annotator="Bob"), "unknown fields"),
        (event(action="undo"), "unknown fields"),
        (event(action=["compare"]), "action is text"),
        (event(action="Compare"), "unknown action"),
        ([event()], "an event is a JSON object"),
    ],
)
def test_hostile_events_are_refused_and_the_good_beside_them_stored(tiny: Store, bad: Any, says: str) -> None:
    good = event()
    found = events.store_events(tiny, "tiny", "Ann", [bad, good])
    assert found["stored"] == [good["id"]]
    assert says in found["refused"][0]["reason"]
    assert len(rows(tiny)) == 1


@pytest.fixture
def running(home: Home, split: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[service.Service]:
    """The app's own service on that home."""
    split.close()
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    yield service.current()
    service.close_all()


ANN = Identity("Ann", "tiny")


def test_the_routes_give_images_and_nothing_of_anybody(running: service.Service) -> None:
    for who in ("Ann", "Zelda"):
        record(running.store, answer(hardest=1, easiest=2), who)
    found = api.next_fours(running, ANN, {})
    assert (len(found["fours"]), found["progress"], found["end"]) == (4, {"mine": 1, "pool": 12}, None)
    past = api.past_fours(running, ANN, {})
    assert [card["example"] for card in past["comparisons"][0]["examples"]] == list(FOUR)
    for card in (found["fours"][0]["examples"] + past["comparisons"][0]["examples"])[::3]:
        assert set(card) == {"example", "image", "class_title"}
    everything = json.dumps([found, past])
    assert not [word for word in ("Zelda", "Bob", "hard", "easy", "latent", "level", 'sd"') if word in everything]


@pytest.mark.parametrize(
    "body",
    [
        {"exclude": "x"}, {"exclude": [["a"]]}, {"exclude": [list(FOUR), 5]}, {"exclude": [[1, 2, 3, 4]]}, {"exclude": [[*FOUR[:3], "\udfff"]]},
        {"exclude": [list(FOUR)] * 5001}, {"limit": -1}, {"limit": 17}, {"limit": True}, {"limit": "4"}, {"limit": None},
    ],
)  # fmt: skip
def test_hostile_questions_are_refused(running: service.Service, body: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        api.next_fours(running, ANN, body)


@pytest.mark.parametrize("before", ["x", 5, ["a"], {}])
def test_hostile_looks_back_are_refused(running: service.Service, before: Any) -> None:
    with pytest.raises(ConfigError, match="before is the id of an event"):
        api.past_fours(running, ANN, {"before": before})
