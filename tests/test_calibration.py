"""Calibration: what a lead chooses, who practises, what practice leaves behind, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from curriculum.adjudication import decide, decisions
from curriculum.assignment import left_by_class, progress, queue
from curriculum.calibration import (
    PRACTICE,
    answer,
    calibration_images,
    candidates,
    choose,
    leave_out,
    missing,
    must_practise,
    practice,
    practice_results,
    suggest,
)
from curriculum.datasets import add_dataset
from curriculum.errors import ConfigError, UnknownError
from curriculum.labels import annotate, consensus, judgements
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, Level


@pytest.fixture
def sorted_set(store: Store, tiny_folder: Callable[..., Path]) -> Store:
    """60 images of three classes: Lea has put a third of each class into each level, Bob agrees on most, Cy has sorted one more."""
    add_dataset(store, "set", tiny_folder(per_class=20))
    names = [row[0] for row in store.rows("SELECT example FROM example ORDER BY example")]
    for n, example in enumerate(names[:-1]):
        annotate(store, "set", example, "Lea", LEVELS[n % 3])
        if n % 4:
            annotate(store, "set", example, "Bob", LEVELS[n % 3])
    annotate(store, "set", names[-1], "Cy", "hard")
    return store


def complete(store: Store) -> Store:
    assert suggest(store, "set", "Lea") == 24
    return store


def go_through(store: Store, annotator: str, right: int = PRACTICE) -> int:
    """Practise once, with so many answers as decided and the rest a level harder or easier; returns the attempt."""
    standing = practice(store, "set", annotator, anew=True)
    decided = dict(zip(*calibration_images(store, "set")[["example", "level"]].to_numpy().T, strict=True))
    wrong: dict[Level, Level] = {"easy": "medium", "medium": "hard", "hard": "medium"}
    for n, example in enumerate(standing.remaining):
        level = decided[example] if n < right else wrong[decided[example]]
        answer(store, "set", annotator, standing.attempt, example, level)
    return standing.attempt


# -- choosing ------------------------------------------------------------------------------------


def test_the_suggestion_is_complete_spread_over_the_classes_and_as_the_lead_sorted(sorted_set: Store) -> None:
    assert sum(missing(calibration_images(sorted_set, "set")).values()) == 24
    images = calibration_images(complete(sorted_set), "set")
    assert missing(images) == {}
    counts = images.groupby(["part", "level"]).size()
    assert {(part, level): 3 if part == "anchor" else 5 for part in ("anchor", "practice") for level in LEVELS} == counts.to_dict()
    anchors = images[images["part"] == "anchor"]
    assert set(anchors.groupby("level")["class"].nunique()) == {3}
    leas = judgements(sorted_set, "set").query("annotator == 'Lea'").set_index("example")["level"]
    assert (leas[images["example"]].to_numpy() == images["level"].to_numpy()).all()
    assert suggest(sorted_set, "set", "Lea") == 0


def test_a_suggestion_takes_what_there_is(tiny: Store) -> None:
    assert suggest(tiny, "tiny", "Lea") == 0
    annotate(tiny, "tiny", "a/a0.jpg", "Bob", "hard")
    assert suggest(tiny, "tiny", "Lea") == 1
    assert calibration_images(tiny, "tiny")[["example", "part", "level"]].to_numpy().tolist() == [["a/a0.jpg", "anchor", "hard"]]


def test_candidates_are_the_leads_first_then_the_agreed_and_never_contested_by_a_decision(sorted_set: Store) -> None:
    last = "c/c9.jpg"
    assert candidates(sorted_set, "set", "Lea", "hard")["example"].tolist()[-1] == last
    assert candidates(sorted_set, "set", "Cy", "hard")["example"].tolist()[0] == last, "his own comes first"
    decide(sorted_set, "set", "Lea", {last: "easy"}, "seen again")
    assert last not in candidates(sorted_set, "set", "Cy", "hard")["example"].tolist()
    assert last in candidates(sorted_set, "set", "Cy", "easy")["example"].tolist()


def test_what_is_chosen_is_decided_and_asked_of_nobody(sorted_set: Store) -> None:
    before = queue(sorted_set, "set", "Dan", 100)
    images = complete(sorted_set).rows("SELECT example FROM calibration_image")
    chosen = {row[0] for row in images}
    after = queue(sorted_set, "set", "Dan", 100)
    assert set(before) - set(after) == chosen
    assert progress(sorted_set, "set", "Dan").total <= 60 - 24 + 2  # and a hidden repeat or two
    assert sum(left_by_class(sorted_set, "set", "Dan").values()) == 36
    assert progress(sorted_set, "set", "Lea").mine["easy"] == 20, "what was sorted before counts as before"
    agreed = consensus(sorted_set, "set").set_index("example")
    assert agreed.loc[sorted(chosen), "decided"].all()
    assert not agreed.drop(sorted(chosen))["decided"].any()
    leave_out(sorted_set, "set", sorted(chosen))
    assert set(queue(sorted_set, "set", "Dan", 100)) == set(before)


def test_there_is_room_for_three_and_five_of_a_level(sorted_set: Store) -> None:
    complete(sorted_set)
    spare = candidates(sorted_set, "set", "Lea", "easy")["example"].tolist()
    with pytest.raises(ConfigError, match="no room for another easy anchor image"):
        choose(sorted_set, "set", "Lea", "anchor", {spare[0]: "easy"}, "clear")
    assert spare[0] in candidates(sorted_set, "set", "Lea", "easy")["example"].tolist(), "nothing of it was kept"
    out = calibration_images(sorted_set, "set").query("part == 'anchor' and level == 'easy'")["example"].iloc[0]
    leave_out(sorted_set, "set", [out])
    choose(sorted_set, "set", "Lea", "anchor", {spare[0]: "easy"}, "clear")
    assert missing(calibration_images(sorted_set, "set")) == {}


def test_hostile_choices_change_nothing(tiny: Store) -> None:
    with pytest.raises(ConfigError, match="unknown part"):
        choose(tiny, "tiny", "Lea", "prize", {"a/a0.jpg": "easy"}, "why")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a reason"):
        choose(tiny, "tiny", "Lea", "anchor", {"a/a0.jpg": "easy"}, " ")
    with pytest.raises(UnknownError, match="no such image"):
        choose(tiny, "tiny", "Lea", "anchor", {"a/a0.jpg": "easy", "../x": "easy"}, "why")
    assert calibration_images(tiny, "tiny").empty
    assert tiny.rows("SELECT count(*) FROM annotation") == [(0,)]


def test_the_decision_on_an_example_stands_until_it_is_taken_out(sorted_set: Store) -> None:
    images = calibration_images(complete(sorted_set), "set")
    gone, other = images["example"].iloc[0], next(name for name in candidates(sorted_set, "set", "Lea", "easy")["example"])
    decide(sorted_set, "set", "Lea", {other: "easy"}, "clear")
    with pytest.raises(ConfigError, match=rf"can't be taken back\. Got: '{gone}'.*Take the image out on the page Examples first"):
        decide(sorted_set, "set", "Lea", {other: None, gone: None}, "taken back")
    assert missing(calibration_images(sorted_set, "set")) == {}, "everybody practises as before"
    assert other in decisions(sorted_set, "set")["example"].tolist(), "all or none"
    leave_out(sorted_set, "set", [gone])
    assert decide(sorted_set, "set", "Lea", {other: None, gone: None}, "taken back") == 2
    assert {other, gone} <= set(queue(sorted_set, "set", "Dan", 100))


def test_a_decision_that_a_log_took_back_leaves_an_image_like_any_other(sorted_set: Store) -> None:
    gone = calibration_images(complete(sorted_set), "set").iloc[0]
    with sorted_set.write() as cursor:
        cursor.execute(
            """INSERT INTO annotation (id, dataset, example, annotator, action, note, source, answered_at)
               VALUES (gen_random_uuid(), 'set', ?, 'Lea', 'decide', 'no', 'team', now())""",
            [gone["example"]],
        )
    assert missing(calibration_images(sorted_set, "set")) == {(gone["part"], gone["level"]): 1}
    found = candidates(sorted_set, "set", "Lea", gone["level"])["example"].tolist()
    assert gone["example"] in found
    choose(sorted_set, "set", "Lea", gone["part"], {next(name for name in found if name != gone["example"]): gone["level"]}, "another")
    assert missing(calibration_images(sorted_set, "set")) == {}
    assert gone["example"] in queue(sorted_set, "set", "Dan", 100)


# -- practising ----------------------------------------------------------------------------------


def test_everybody_practises_once_but_who_chose(sorted_set: Store) -> None:
    assert not must_practise(sorted_set, "set", "Bob"), "nothing to practise with yet"
    complete(sorted_set)
    assert [name for name in ("Lea", "Bob", "Dan") if must_practise(sorted_set, "set", name)] == ["Bob", "Dan"]
    assert go_through(sorted_set, "Bob", right=12) == 1
    assert [name for name in ("Lea", "Bob", "Dan") if must_practise(sorted_set, "set", name)] == ["Dan"]
    assert practice(sorted_set, "set", "Bob").remaining == []
    assert len(practice(sorted_set, "set", "Bob", anew=True).remaining) == PRACTICE
    assert go_through(sorted_set, "Bob") == 2
    results = practice_results(sorted_set, "set", "Bob")
    assert results[["attempt", "answers", "same"]].to_numpy().tolist() == [[1, 15, 12], [2, 15, 15]]
    assert results["harder"].iloc[1] == 0
    assert practice_results(sorted_set, "set")["annotator"].tolist() == ["Bob", "Bob"]
    assert judgements(sorted_set, "set")["annotator"].value_counts()["Bob"] == 44, "practice answers are no labels"


def test_a_broken_off_practice_goes_on_where_it_was(sorted_set: Store) -> None:
    complete(sorted_set)
    order = practice(sorted_set, "set", "Dan").remaining
    assert sorted(order) == sorted(calibration_images(sorted_set, "set").query("part == 'practice'")["example"])
    assert order != practice(sorted_set, "set", "Eve").remaining, "everybody has an order of their own"
    for example in order[:4]:
        answer(sorted_set, "set", "Dan", 1, example, "easy")
    answer(sorted_set, "set", "Dan", 1, order[0], "hard")  # a second key on the same image
    assert practice(sorted_set, "set", "Dan", anew=True).remaining == order[4:]
    assert must_practise(sorted_set, "set", "Dan")
    assert practice_results(sorted_set, "set", "Dan")["answers"].tolist() == [4]


def test_the_mean_says_in_which_direction_somebody_errs(sorted_set: Store) -> None:
    complete(sorted_set)
    for example in practice(sorted_set, "set", "Dan").remaining:
        answer(sorted_set, "set", "Dan", 1, example, "hard")
    (row,) = practice_results(sorted_set, "set", "Dan").to_dict("records")
    assert (row["same"], row["harder"]) == (5, pytest.approx((5 * 2 + 5 * 1 + 5 * 0) / 15))


def test_only_practice_images_are_answered(sorted_set: Store) -> None:
    complete(sorted_set)
    anchor = calibration_images(sorted_set, "set").query("part == 'anchor'")["example"].iloc[0]
    for example in (anchor, "nowhere.jpg"):
        with pytest.raises(ConfigError, match="no practice image"):
            answer(sorted_set, "set", "Dan", 1, example, "easy")
    with pytest.raises(ConfigError, match="unknown level"):
        answer(sorted_set, "set", "Dan", 1, practice(sorted_set, "set", "Dan").remaining[0], "tricky")  # type: ignore[arg-type]


def test_who_practised_stays_so_when_the_images_change(sorted_set: Store) -> None:
    complete(sorted_set)
    go_through(sorted_set, "Dan")
    out = calibration_images(sorted_set, "set").query("part == 'practice'")["example"].iloc[0]
    leave_out(sorted_set, "set", [out])
    assert not must_practise(sorted_set, "set", "Dan")
    complete_again = suggest(sorted_set, "set", "Lea")
    assert complete_again == 1
    assert not must_practise(sorted_set, "set", "Dan")
