"""What is asked next: shared out, never more than needed, and now and then a second time, which nothing shows."""

from __future__ import annotations

import contextlib
import math
import random
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curriculum import assignment
from curriculum.adjudication import ask_for
from curriculum.assignment import HAND, Handout, hand_out, progress, queue
from curriculum.calibration import choose
from curriculum.datasets import Settings, add_dataset, change_settings, check_dataset, get_dataset
from curriculum.datasets import settings as settings_of
from curriculum.errors import ConfigError, UnknownError
from curriculum.history import example_log, replay
from curriculum.home import Home
from curriculum.label_log import export_log, import_log
from curriculum.labels import REPEAT_AFTER, Event, annotate, append_many, consensus, judgements, record, repeats, undo
from curriculum.leases import Leases
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, Level
from tests import asked
from tests.ml import write_folder

NAMES = st.text("abcdefgh ", min_size=1, max_size=8)


@pytest.fixture
def many(store: Store, tmp_path: Path) -> Store:
    """An open store with the data set `many`: 3 classes of 30, nothing asked twice yet."""
    add_dataset(store, "many", write_folder(tmp_path / "many", each=30))
    change_settings(store, "many", Settings(None, 0.0))
    return store


def clear(store: Store) -> None:
    with store.write() as cursor:
        cursor.execute("DELETE FROM annotation")


def answer(store: Store, example: str, level: Level | None = "easy", annotator: str = "Ann", *, place: int | None = 0) -> uuid.UUID:
    """What the page sends when a key is pressed; place 0: the image had its turn."""
    event = Event(uuid.uuid4(), "label" if level else "skip", example, datetime.now(UTC), level, place=place)
    with store.write() as cursor:
        record(cursor, "many", annotator, event)
    return event.id


def label_all(store: Store, annotator: str = "Ann", level: Level = "easy", *, but: int = 0) -> list[str]:
    """Labels the queue from its front, as the page does, until `but` new images are left; returns the images in turn."""
    turns: list[str] = []
    while (left := 90 - but - len(set(turns))) and (front := queue(store, "many", annotator, min(left, 10))):
        for example in front:
            answer(store, example, level, annotator)
        turns += front
    return turns


# -- settings --------------------------------------------------------------------------------------


def test_settings_stay_over_a_check_of_the_folder(tiny: Store) -> None:
    assert settings_of(tiny, "tiny") == Settings(None, 0.05)
    change_settings(tiny, "tiny", Settings(3, 0.2))
    check_dataset(tiny, "tiny")
    assert settings_of(tiny, "tiny") == Settings(3, 0.2)
    change_settings(tiny, "tiny", Settings(None, 0))
    assert settings_of(tiny, "tiny") == Settings(None, 0)


@pytest.mark.parametrize(("k", "share"), [(0, 0.05), (-1, 0.05), (1001, 0.05), (None, -0.01), (None, 0.51), (None, math.nan)])
def test_settings_out_of_range_are_refused(k: int | None, share: float) -> None:
    with pytest.raises(ConfigError, match=r"out of range.*Allowed"):
        Settings(k, share)


def test_an_unknown_data_set_has_no_settings(tiny: Store) -> None:
    for call in (lambda: settings_of(tiny, "nowhere"), lambda: change_settings(tiny, "nowhere", Settings())):
        with pytest.raises(UnknownError, match="no such data set"):
            call()


# -- so many labels an image -----------------------------------------------------------------------


def test_images_with_enough_labels_are_not_asked_and_the_least_labelled_come_first(tiny: Store) -> None:
    change_settings(tiny, "tiny", Settings(2, 0))
    for annotator, example in (("Bob", "a/a0.jpg"), ("Cem", "a/a0.jpg"), ("Bob", "b/b0.jpg"), ("Cem", "c/c0.jpg")):
        annotate(tiny, "tiny", example, annotator, "hard")
    mine = queue(tiny, "tiny", "Ann", 12)
    assert len(mine) == 11 and "a/a0.jpg" not in mine
    assert set(mine[-2:]) == {"b/b0.jpg", "c/c0.jpg"}
    assert "a/a0.jpg" not in queue(tiny, "tiny", "Bob", 12)
    annotate(tiny, "tiny", mine[0], "Ann", None)
    assert queue(tiny, "tiny", "Ann", 12) == [*mine[1:], mine[0]]  # skipped ones come last, however few have labelled them
    undo(tiny, "tiny", "Bob")
    undo(tiny, "tiny", "Bob")  # of a0: it needs one again
    assert "a/a0.jpg" in queue(tiny, "tiny", "Ann", 12)
    change_settings(tiny, "tiny", Settings(None, 0))
    assert len(queue(tiny, "tiny", "Ann", 12)) == 12


def test_within_the_same_count_the_own_balanced_order_stays(tiny: Store) -> None:
    before = queue(tiny, "tiny", "Ann", 12)
    change_settings(tiny, "tiny", Settings(1, 0))
    assert queue(tiny, "tiny", "Ann", 12) == before


def test_simulated_labels_do_not_count_as_people(tiny: Store) -> None:
    change_settings(tiny, "tiny", Settings(1, 0))
    rows = pd.DataFrame({"example": ["a/a0.jpg"], "annotator": ["simulated-1"], "level": ["hard"], "dataset": "tiny"})
    append_many(tiny, rows, "simulate")
    assert len(queue(tiny, "tiny", "Ann", 12)) == 12
    append_many(tiny, rows.assign(annotator="Bob"), "import")
    assert "a/a0.jpg" not in queue(tiny, "tiny", "Ann", 12)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(1, 3), turns=st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 5)), max_size=60))
def test_whoever_comes_when_no_image_gets_more_than_it_needs(tiny: Store, k: int, turns: list[tuple[str, int]]) -> None:
    clear(tiny)
    change_settings(tiny, "tiny", Settings(k, 0))
    leases = Leases()
    hands: dict[str, list[str]] = {name: [] for name in "ABCD"}
    for name, kind in [*turns, *((name, 9) for _ in range(13 * k) for name in "ABCD")]:
        hand = hands[name]
        hand += [] if len(hand) > 1 else hand_out(tiny, leases, "tiny", name, 5, hand).examples
        if hand:
            example = hand.pop(0)
            annotate(tiny, "tiny", example, name, None if kind == 0 else "easy")
            leases.release("tiny", name, [example])
    counted = tiny.rows("SELECT count(*) FROM current_label GROUP BY example")
    assert counted == [(k,)] * 12
    assert {hand_out(tiny, leases, "tiny", name, 5).end for name in "ABCD"} == {f"Every image has its {k} label{'s' * (k > 1)}. Thank you!"}


def test_who_has_sorted_all_is_told_whether_others_have(tiny: Store) -> None:
    change_settings(tiny, "tiny", Settings(3, 0))
    for names in (("Ann",), ("Ann", "Bob")):
        for example in queue(tiny, "tiny", names[-1], 12):
            annotate(tiny, "tiny", example, names[-1], "easy")
        for name in names:
            end = hand_out(tiny, Leases(), "tiny", name, 5).end
            assert end == "You have sorted every image that you can; some still need labels of other people. Thank you!", names
    choose(tiny, "tiny", "Lea", "anchor", {"a/a0.jpg": "easy"}, "nobody is asked about it")
    for example in queue(tiny, "tiny", "Cy", 12):
        annotate(tiny, "tiny", example, "Cy", "easy")
    assert hand_out(tiny, Leases(), "tiny", "Ann", 5).end == "Every image has its 3 labels. Thank you!"
    ask_for(tiny, "tiny", "Lea", ["b/b0.jpg"], "opinion")
    assert "some still need labels" in str(hand_out(tiny, Leases(), "tiny", "Ann", 5).end)
    assert hand_out(tiny, Leases(), "tiny", "Dan", 5).examples == ["b/b0.jpg"]


# -- in whose hands --------------------------------------------------------------------------------


def test_a_lease_ends_is_renewed_and_is_given_back() -> None:
    now = [0.0]
    leases = Leases(seconds=10, clock=lambda: now[0])
    leases.take("tiny", "Ann", ["a", "b"])
    leases.take("other", "Ann", ["a"])
    assert leases.held("tiny") == [("a", "Ann"), ("b", "Ann")]
    now[0] = 9.0
    leases.renew("tiny", "Ann", ["b", "never leased"])
    now[0] = 11.0
    assert leases.held("tiny") == [("b", "Ann")]
    leases.renew("tiny", "Ann", ["a"])  # ended, and still in hand
    leases.release("tiny", "Ann", ["b", "never leased"])
    leases.release("tiny", "Bob", ["a"])
    assert leases.held("tiny") == [("a", "Ann")]


def test_what_somebody_has_in_hand_is_not_handed_out_before_the_lease_ends(tiny: Store) -> None:
    now = [0.0]
    leases = Leases(seconds=600, clock=lambda: now[0])
    change_settings(tiny, "tiny", Settings(1, 0))
    assert len(hand_out(tiny, leases, "tiny", "Ann", 24).examples) == HAND == 12
    waiting = hand_out(tiny, leases, "tiny", "Bob", 24)
    assert (waiting.examples, waiting.later) == ([], True) and "other people's hands" in str(waiting.end)
    now[0] = 601
    assert len(hand_out(tiny, leases, "tiny", "Bob", 24).examples) == 12
    for example in queue(tiny, "tiny", "Ann", 12):  # late, and stored all the same
        annotate(tiny, "tiny", example, "Ann", "easy")
    assert tiny.rows("SELECT count(*) FROM current_label") == [(12,)]
    assert hand_out(tiny, leases, "tiny", "Bob", 24) == Handout([], "Every image has its 1 label. Thank you!")


def test_who_looks_through_the_classes_holds_the_last_alone(many: Store) -> None:
    change_settings(many, "many", Settings(1, 0))
    leases = Leases()
    first = hand_out(many, leases, "many", "Ann", 24).examples
    assert hand_out(many, leases, "many", "Ann", 0).examples == [] and len(leases.held("many")) == HAND, "the counts alone were asked for"
    for of_class in ("blue", "green", "red"):
        hand = hand_out(many, leases, "many", "Ann", 44, of_class=of_class).examples
        assert sorted(leases.held("many")) == sorted((name, "Ann") for name in hand) and len(hand) == HAND
    others = [hand_out(many, leases, "many", f"person {n}", 24).examples for n in range(7)]
    assert sum(map(len, others)) == 90 - HAND, "all the others are free"
    assert not set(hand) & {name for other in others for name in other}
    assert hand_out(many, leases, "many", "Ann", 24, first).examples == [], "another tab of hers has these in hand still"
    assert {name for name, who in leases.held("many") if who == "Ann"} == set(first)
    for example in [*first, *hand]:
        answer(many, example)
    assert sorted(judgements(many, "many")["example"]) == sorted({*first, *hand}), "what was in hand in either tab is stored"


def test_where_everybody_sorts_everything_nothing_is_leased(tiny: Store) -> None:
    leases = Leases()
    assert len(hand_out(tiny, leases, "tiny", "Ann", 24).examples) == len(hand_out(tiny, leases, "tiny", "Bob", 24).examples) == 12
    assert leases.held("tiny") == []
    for example in queue(tiny, "tiny", "Ann", 12):
        annotate(tiny, "tiny", example, "Ann", "easy")
    assert hand_out(tiny, leases, "tiny", "Ann", 24) == Handout([], "You have sorted every image of tiny. Thank you!")
    assert hand_out(tiny, leases, "tiny", "Ann", 24, ["a/a0.jpg"]).end is None


def test_many_at_once_are_handed_no_image_twice(many: Store) -> None:
    change_settings(many, "many", Settings(1, 0))
    leases = Leases()
    with ThreadPoolExecutor(8) as pool:
        hands = list(pool.map(lambda n: hand_out(many, leases, "many", f"person {n}", 24).examples, range(8)))
    handed = [example for hand in hands for example in hand]
    assert len(handed) == len(set(handed)) == 90
    assert sorted(map(len, hands)) == [6, *[HAND] * 7]


# -- a second time ---------------------------------------------------------------------------------


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(annotator=NAMES, share=st.sampled_from([0.05, 0.1, 0.5]), ahead=st.integers(0, 24), skip=st.sampled_from([0, 7]))
def test_repeats_come_late_once_and_the_counts_never_tell(many: Store, annotator: str, share: float, ahead: int, skip: int) -> None:
    clear(many)
    change_settings(many, "many", Settings(None, share))
    turns: list[str] = []
    answers: list[str] = []
    hand: list[str] = []
    totals = [progress(many, "many", annotator).total]
    while hand := hand or queue(many, "many", annotator, ahead + 1):
        hand += queue(many, "many", annotator, 24, hand) if len(hand) < ahead else []
        example, turn = hand.pop(0), len(turns)
        turns.append(example)
        skipped = skip and turn % skip == 0 and turn < 40
        answer(many, example, None if skipped else LEVELS[turn % 3], annotator)
        answers += [] if skipped else [example]
        now = progress(many, "many", annotator)
        assert sum(now.mine.values()) == len(answers)  # a repeat counts on like any image
        totals.append(now.total)
    again = [example for example, count in Counter(answers).items() if count > 1]
    assert len(set(answers)) == 90 and max(Counter(answers).values()) <= 2
    for example in again:
        first = answers.index(example)
        between = answers[first + 1 : answers.index(example, first + 1)]
        assert len({other for other in between if answers.index(other) > first}) >= REPEAT_AFTER
    assert totals[-1] == len(answers)
    if not skip:
        assert set(totals) == {90 + len(again)}
    stored = repeats(many, "many")
    assert sorted(stored["example"]) == sorted(again)
    current = judgements(many, "many").set_index("example")["level"]
    assert current[stored["example"]].tolist() == stored["first"].tolist()  # the first stays
    assert many.rows("SELECT count(*) FROM annotation WHERE repeat AND action = 'label'") == [(len(again),)]


def test_about_the_share_of_the_early_images_comes_again(many: Store) -> None:
    change_settings(many, "many", Settings(None, 0.5))
    found = set()
    for annotator in ("Ann", "Bob", "Cem"):
        turns = label_all(many, annotator)
        twice = {example for example, count in Counter(turns).items() if count == 2}
        found.add(frozenset(twice))
        early = set(list(dict.fromkeys(turns))[: 90 - REPEAT_AFTER])
        assert twice <= early and 0.2 * len(early) < len(twice) < 0.8 * len(early)
    assert len(found) == 3  # everybody's own


def test_of_what_is_in_hand_no_larger_share_comes_again(many: Store) -> None:
    turns = label_all(many, but=20)
    change_settings(many, "many", Settings(None, 0.25))  # switched on late: a dozen are due at once
    front = queue(many, "many", "Ann", 20)
    again = [n for n, example in enumerate(front) if example in turns]
    assert len(again) == 5 and all(later - sooner > 1 for sooner, later in pairwise(again))
    assert not set(queue(many, "many", "Ann", 1, [front[n] for n in again])) & set(turns)


def repeated(store: Store) -> str:
    """Ann has labelled 70 images easy, and one of them has its second turn: that one."""
    turns = label_all(store, but=20)
    change_settings(store, "many", Settings(None, 0.5))
    return next(example for example in queue(store, "many", "Ann", 20) if example in turns)


def next_repeated(store: Store) -> str:
    """Another that has its second turn."""
    return next(example for example in queue(store, "many", "Ann", 20) if labels_of(store, example)[0])


def labels_of(store: Store, example: str) -> tuple[str | None, list[list[str]]]:
    current = store.rows("SELECT level FROM current_label WHERE example = ? AND annotator = 'Ann'", [example])
    found = repeats(store, "many")
    return (current[0][0] if current else None), found[["first", "second"]][found["example"] == example].values.tolist()


def test_the_second_answer_stands_beside_the_first(many: Store) -> None:
    example = repeated(many)
    answer(many, example, "hard")
    assert labels_of(many, example) == ("easy", [["easy", "hard"]])
    assert consensus(many, "many").set_index("example")["level"][example] == "easy"
    assert replay(many, "many").set_index("example")["level"][example] == "easy"
    assert example_log(many, "many", example)["repeat"].tolist() == [False, True]
    assert example not in queue(many, "many", "Ann", 90)


def test_going_back_corrects_what_was_said_last(many: Store) -> None:
    example = repeated(many)
    answer(many, example, "medium", place=61)  # gone back to, though its second turn was due: a correction
    assert labels_of(many, example) == ("medium", [])
    assert example not in queue(many, "many", "Ann", 90)  # seen just now
    second = next_repeated(many)
    answer(many, second, "hard")
    answer(many, second, "medium", place=1)  # a slip of the finger, mended
    assert labels_of(many, second) == ("easy", [["easy", "medium"]])


@pytest.mark.parametrize("place", [None, 3])
def test_without_its_turn_nothing_is_a_repeat(many: Store, place: int | None) -> None:
    example = repeated(many)
    answer(many, example, "hard", place=place)
    assert labels_of(many, example) == ("hard", [])


def test_soon_after_the_first_a_second_tab_corrects(many: Store) -> None:
    turns = label_all(many, but=90 - REPEAT_AFTER)
    answer(many, turns[0], "hard")  # 49 others since
    assert labels_of(many, turns[0]) == ("hard", [])
    label_all(many, but=89)
    answer(many, turns[1], "hard")  # 50 others since, whatever tab it comes from
    assert labels_of(many, turns[1]) == ("easy", [["easy", "hard"]])


def test_undo_takes_back_a_repeat_and_its_corrections_one_by_one(many: Store) -> None:
    example = repeated(many)
    for level, place in (("hard", 0), ("medium", 1)):
        answer(many, example, level, place=place)  # type: ignore[arg-type]
    assert undo(many, "many", "Ann") == example
    assert labels_of(many, example) == ("easy", [["easy", "hard"]])
    assert undo(many, "many", "Ann") == example
    assert labels_of(many, example) == ("easy", [])
    assert example in queue(many, "many", "Ann", 90)
    assert many.rows("SELECT level, repeat FROM annotation WHERE action = 'undo' ORDER BY seq") == [("hard", True), (None, True)]
    answer(many, example, "medium")
    assert labels_of(many, example) == ("easy", [["easy", "medium"]])


def test_an_undo_meanwhile_does_not_turn_a_repeat_into_a_correction(many: Store) -> None:
    turns = label_all(many, but=90 - REPEAT_AFTER - 1)
    for _ in range(5):
        undo(many, "many", "Ann")
    answer(many, turns[0], "hard")  # in hand since before
    assert labels_of(many, turns[0]) == ("easy", [["easy", "hard"]])


def test_a_first_label_taken_back_leaves_no_pair_and_is_asked_anew(many: Store) -> None:
    example = repeated(many)
    answer(many, example, "hard")
    first = many.rows("SELECT id FROM annotation WHERE example = ? AND NOT repeat", [example])[0][0]
    with many.write() as cursor:
        record(cursor, "many", "Ann", Event(uuid.uuid4(), "undo", example, datetime.now(UTC), undoes=first))
    assert labels_of(many, example) == (None, [])
    assert example in queue(many, "many", "Ann", 90)
    answer(many, example, "medium")
    assert labels_of(many, example) == ("medium", [])


def test_a_skipped_repeat_comes_last_and_a_flagged_one_never(many: Store) -> None:
    skipped = repeated(many)
    answer(many, skipped, None)
    assert queue(many, "many", "Ann", 90)[-1] == skipped
    assert progress(many, "many", "Ann").skipped == 1
    flagged = next_repeated(many)
    with many.write() as cursor:
        record(cursor, "many", "Ann", Event(uuid.uuid4(), "flag", flagged, datetime.now(UTC), note="broken image", place=0))
    assert flagged not in queue(many, "many", "Ann", 90)
    assert (progress(many, "many", "Ann").flagged, labels_of(many, flagged)) == (1, ("easy", []))


def test_imported_labels_do_not_come_again(many: Store) -> None:
    names = [row[0] for row in many.rows("SELECT example FROM example")]
    append_many(many, pd.DataFrame({"dataset": "many", "example": names, "annotator": "Ann", "level": "easy"}), "import")
    change_settings(many, "many", Settings(None, 0.5))
    assert queue(many, "many", "Ann", 90) == []
    assert progress(many, "many", "Ann").total == 90


def test_repeats_survive_the_log(many: Store, tmp_path: Path) -> None:
    example = repeated(many)
    answer(many, example, "hard")
    undo(many, "many", "Ann")
    answer(many, example, "medium")
    for kind in ("csv", "jsonl", "parquet"):
        export_log(many, "many", tmp_path / f"log.{kind}")
        with Store.open(Home(tmp_path / kind)) as fresh:
            add_dataset(fresh, "many", tmp_path / "many")
            import_log(fresh, "many", tmp_path / f"log.{kind}")
            assert import_log(fresh, "many", tmp_path / f"log.{kind}").appended == 0
            everything = "SELECT COLUMNS(*)::TEXT FROM annotation ORDER BY annotation.seq"
            assert fresh.rows(everything) == many.rows(everything)
            assert labels_of(fresh, example) == ("easy", [["easy", "medium"]])


def test_others_labels_decide_what_is_asked_but_not_what_comes_again(many: Store) -> None:
    change_settings(many, "many", Settings(1, 0.5))
    for example in queue(many, "many", "Bob", 20):
        annotate(many, "many", example, "Bob", "hard")
    turns = label_all(many)
    mine, twice = set(turns), {example for example, count in Counter(turns).items() if count == 2}
    assert len(mine) == 70 and 0 < len(twice) <= 20
    assert many.rows("SELECT count(*), count(DISTINCT example) FROM current_label") == [(90, 90)]
    assert queue(many, "many", "Ann", 90) == []


@pytest.mark.parametrize(("labels_per_image", "seed"), [(None, 0), (2, 2), (3, 3)])
def test_whatever_was_done_the_same_is_asked_as_the_whole_log_says(many: Store, labels_per_image: int | None, seed: int) -> None:
    chance = random.Random(seed)
    change_settings(many, "many", Settings(labels_per_image, 0.3))
    root = get_dataset(many, "many").root
    everything = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.png"))
    for step in range(152):
        who = chance.choice(("Ann", "Bob", "Cem"))
        held = [(chance.choice(everything), chance.choice(("Ann", "Bob"))) for _ in range(3)] if labels_per_image else []
        of_class = chance.choice((None, None, None, "blue"))
        match chance.random():
            case x if x < 0.72:
                for example in queue(many, "many", who, chance.randint(1, 4)) or [chance.choice(everything)]:
                    answer(many, example, chance.choice((*LEVELS, None)), who)
            case x if x < 0.8:
                event = Event(uuid.uuid4(), "flag", chance.choice(everything), datetime.now(UTC), note="wrong class", place=0)
                with many.write() as cursor:
                    record(cursor, "many", who, event)
            case x if x < 0.9:
                with contextlib.suppress(ConfigError):
                    undo(many, "many", who)
            case x if x < 0.94:
                append_many(many, pd.DataFrame({"dataset": ["many"], "example": [chance.choice(everything)], "annotator": [who], "level": ["hard"]}),
                            "import")  # fmt: skip
            case x if x < 0.97:
                ask_for(many, "many", "Ann", [chance.choice(everything)], "opinion")
            case _:
                path = root / chance.choice(everything)
                here, there = (path, path.with_suffix(".gone")) if path.exists() else (path.with_suffix(".gone"), path)
                here.rename(there)
                check_dataset(many, "many")
        found = queue(many, "many", who, 200, held=held, of_class=of_class)
        if step % 5 != 1:  # the whole log takes its time
            continue
        fresh, again, skipped = asked.in_turn(many, who, held, of_class)
        assert [name for name in found if name in set(fresh)] == fresh, step
        assert [name for name in found if name in set(again)] == again, step
        assert [name for name in found if name in set(skipped)] == skipped, step
        assert len(found) == len(fresh) + len(again) + len(skipped), step
        assert progress(many, "many", who) == asked.progress(many, who), step
        assert assignment.left_by_class(many, "many", who) == asked.left_by_class(many, who), step
