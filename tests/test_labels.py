"""Labels: an append-only log, undo without end, a fair queue, people and simulated ones apart."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import cast

import pandas as pd
import pytest

from curriculum.agreement import count_votes
from curriculum.assignment import progress, queue
from curriculum.datasets import check_dataset, examples, get_dataset
from curriculum.errors import ConfigError
from curriculum.labels import add_annotator, annotate, append_many, check_annotator, consensus, judgements, summary, undo, vote_counts
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, Level

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def level_of(store: Store, example: str, annotator: str = "Ann") -> str | None:
    rows = store.rows("SELECT level FROM current_label WHERE example = ? AND annotator = ?", [example, annotator])
    return str(rows[0][0]) if rows else None


def log(store: Store) -> list[tuple[object, ...]]:
    columns = "seq, id, example, annotator, action, level, undoes, source, epoch_us(answered_at), seconds, epoch_us(recorded_at)"
    return store.rows(f"SELECT {columns} FROM annotation ORDER BY seq")


def frame(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["example", "annotator", "level"]).assign(dataset="tiny")


# -- names ---------------------------------------------------------------------------------------


def test_names_are_trimmed(store: Store) -> None:
    assert check_annotator("  Ann   Lee ") == "Ann Lee"
    assert add_annotator(store, " Ann ") == add_annotator(store, "Ann") == "Ann"
    assert store.rows("SELECT annotator, simulated FROM annotator") == [("Ann", False)]
    assert check_annotator("simulated-1", simulated=True) == "simulated-1"


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\x00b", "people", "simulated", "all", "simulated-1"])
def test_names_that_cannot_be_a_persons_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_annotator(name)


def test_a_simulated_name_must_say_so() -> None:
    with pytest.raises(ConfigError, match="this one must begin so"):
        check_annotator("Ann", simulated=True)


# -- the log -------------------------------------------------------------------------------------


def test_the_log_only_grows(tiny: Store) -> None:
    before: list[tuple[object, ...]] = []
    for step in range(8):
        if step % 4 == 3:
            undo(tiny, "tiny", "Ann")
        else:
            annotate(tiny, "tiny", f"a/a{step % 2}.jpg", "Ann", (*LEVELS, None)[step % 4])
        after = log(tiny)
        assert after[: len(before)] == before
        assert len(after) == len(before) + 1
        before = after


def test_the_same_event_is_stored_once(tiny: Store) -> None:
    event = uuid.uuid4()
    assert annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy", event=event) == event
    assert annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard", event=event) == event
    assert tiny.rows("SELECT id, level FROM annotation") == [(event, "easy")]


def test_a_later_judgement_supersedes(tiny: Store) -> None:
    for level in ("easy", "hard", "medium"):
        annotate(tiny, "tiny", "a/a0.jpg", "Ann", level)
    assert level_of(tiny, "a/a0.jpg") == "medium"
    assert len(log(tiny)) == 3


def test_seconds_run_from_shown_to_answered_and_never_back(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy", shown_at=NOON, answered_at=NOON + timedelta(seconds=2.5))
    annotate(tiny, "tiny", "a/a1.jpg", "Ann", "easy", shown_at=NOON, answered_at=NOON - timedelta(seconds=9))
    annotate(tiny, "tiny", "a/a2.jpg", "Ann", "easy", answered_at=NOON)
    assert tiny.rows("SELECT seconds FROM annotation ORDER BY seq") == [(2.5,), (0.0,), (None,)]
    assert tiny.rows("SELECT DISTINCT epoch(answered_at) FROM annotation WHERE example <> 'a/a1.jpg' ORDER BY 1") == [
        (NOON.timestamp(),),
        (NOON.timestamp() + 2.5,),
    ]


def test_unknown_examples_and_levels_are_refused(tiny: Store) -> None:
    with pytest.raises(ConfigError, match=r"no such example.*'a/nowhere\.jpg'"):
        annotate(tiny, "tiny", "a/nowhere.jpg", "Ann", "easy")
    with pytest.raises(ConfigError, match="unknown level"):
        annotate(tiny, "tiny", "a/a0.jpg", "Ann", cast(Level, "Easy"))
    assert log(tiny) == []


# -- undo ----------------------------------------------------------------------------------------


def test_undo_goes_all_the_way_back(tiny: Store) -> None:
    order = queue(tiny, "tiny", "Ann", limit=12)
    for n, example in enumerate(order):
        annotate(tiny, "tiny", example, "Ann", LEVELS[n % 3])
    assert queue(tiny, "tiny", "Ann") == []
    assert [undo(tiny, "tiny", "Ann") for _ in order] == order[::-1]
    assert undo(tiny, "tiny", "Ann") is None
    assert queue(tiny, "tiny", "Ann", limit=12) == order
    assert len(log(tiny)) == 24


def test_undo_restores_the_level_before(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    annotate(tiny, "tiny", "a/a1.jpg", "Ann", "medium")
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard")
    assert undo(tiny, "tiny", "Ann") == "a/a0.jpg"
    assert level_of(tiny, "a/a0.jpg") == "easy"
    assert undo(tiny, "tiny", "Ann") == "a/a1.jpg"
    assert undo(tiny, "tiny", "Ann") == "a/a0.jpg"
    assert [level_of(tiny, "a/a0.jpg"), level_of(tiny, "a/a1.jpg")] == [None, None]


def test_undo_takes_back_skips_and_goes_on_after_new_answers(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", None)
    annotate(tiny, "tiny", "b/b0.jpg", "Ann", None)
    assert undo(tiny, "tiny", "Ann") == "b/b0.jpg"
    assert undo(tiny, "tiny", "Ann") == "a/a0.jpg"
    assert level_of(tiny, "a/a0.jpg") == "easy"  # the skip was taken back, not the answer before it
    annotate(tiny, "tiny", "c/c0.jpg", "Ann", "hard")
    assert [undo(tiny, "tiny", "Ann") for _ in range(3)] == ["c/c0.jpg", "a/a0.jpg", None]


def test_undo_leaves_other_people_and_imports_alone(tiny: Store) -> None:
    append_many(tiny, frame(("a/a0.jpg", "Ann", "easy")), "import")
    annotate(tiny, "tiny", "a/a0.jpg", "Bob", "medium")
    assert undo(tiny, "tiny", "Ann") is None
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard")
    assert undo(tiny, "tiny", "Ann") == "a/a0.jpg"
    assert [level_of(tiny, "a/a0.jpg"), level_of(tiny, "a/a0.jpg", "Bob")] == ["easy", "medium"]


# -- the queue -----------------------------------------------------------------------------------


def test_the_queue_holds_every_image_once_balanced_over_the_classes(tiny: Store) -> None:
    order = queue(tiny, "tiny", "Ann", limit=100)
    assert sorted(order) == [f"{c}/{c}{i}.jpg" for c in "abc" for i in range(4)]
    for block in range(0, 12, 3):
        assert {example[0] for example in order[block : block + 3]} == {"a", "b", "c"}


def test_each_annotator_has_an_order_of_their_own_that_stays(tiny: Store) -> None:
    orders = {name: tuple(queue(tiny, "tiny", name, limit=12)) for name in ("Ann", "Bob", "Cem", "Dora")}
    assert len(set(orders.values())) == 4
    assert orders["Ann"] == tuple(queue(tiny, "tiny", "Ann", limit=12))
    assert list(orders["Ann"][:5]) == queue(tiny, "tiny", "Ann", limit=5)


def test_the_queue_resumes_behind_what_is_labelled(tiny: Store) -> None:
    order = queue(tiny, "tiny", "Ann", limit=12)
    for example in (order[0], order[1], order[5]):
        annotate(tiny, "tiny", example, "Ann", "easy")
    annotate(tiny, "tiny", order[2], "Bob", "easy")  # another's label changes nothing here
    assert queue(tiny, "tiny", "Ann", limit=12) == [e for e in order if e not in (order[0], order[1], order[5])]


def test_skipped_images_come_last_in_the_order_of_skipping(tiny: Store) -> None:
    order = queue(tiny, "tiny", "Ann", limit=12)
    annotate(tiny, "tiny", order[1], "Ann", None)
    annotate(tiny, "tiny", order[0], "Ann", None)
    assert queue(tiny, "tiny", "Ann", limit=12) == [*order[2:], order[1], order[0]]
    assert progress(tiny, "tiny", "Ann").skipped == 2


def test_a_skip_that_was_undone_counts_no_more(tiny: Store) -> None:
    order = queue(tiny, "tiny", "Ann", limit=12)
    annotate(tiny, "tiny", order[0], "Ann", None)
    annotate(tiny, "tiny", order[1], "Ann", None)
    undo(tiny, "tiny", "Ann")
    assert queue(tiny, "tiny", "Ann", limit=12) == [*order[1:], order[0]]
    assert progress(tiny, "tiny", "Ann").skipped == 1
    undo(tiny, "tiny", "Ann")
    assert queue(tiny, "tiny", "Ann", limit=12) == order
    assert progress(tiny, "tiny", "Ann").skipped == 0


def test_images_that_are_gone_are_not_asked_for(tiny: Store) -> None:
    (get_dataset(tiny, "tiny").root / "a/a0.jpg").unlink()
    check_dataset(tiny, "tiny")
    assert len(queue(tiny, "tiny", "Ann", limit=12)) == 11
    assert "a/a0.jpg" not in queue(tiny, "tiny", "Ann", limit=12)


def test_progress_counts_my_levels_and_the_team(tiny: Store) -> None:
    for n, (example, level) in enumerate([("a/a0.jpg", "easy"), ("a/a1.jpg", "easy"), ("b/b0.jpg", "hard")]):
        annotate(tiny, "tiny", example, "Ann", cast(Level, level), shown_at=NOON, answered_at=NOON + timedelta(seconds=1 + n))
    annotate(tiny, "tiny", "a/a0.jpg", "Bob", "hard")
    annotate(tiny, "tiny", "c/c0.jpg", "Bob", "hard")
    append_many(tiny, frame(("c/c1.jpg", "simulated-1", "easy")), "simulate")
    mine = progress(tiny, "tiny", "Ann")
    assert mine.mine == {"easy": 2, "medium": 0, "hard": 1}
    assert (mine.skipped, mine.total, mine.team, mine.median_seconds) == (0, 12, 4, 2.0)
    assert progress(tiny, "tiny", "Bob").median_seconds is None


# -- consensus and summary -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "level", "count"),
    [
        (["easy"], "easy", 1),
        (["easy", "easy", "hard"], "easy", 2),
        (["easy", "hard"], "hard", 1),
        (["easy", "medium"], "medium", 1),
        (["easy", "medium", "hard"], "hard", 1),
        (["easy", "easy", "medium", "medium"], "medium", 2),
        (["easy", "easy", "easy", "hard", "hard"], "easy", 3),
    ],
)
def test_consensus_is_the_majority_and_of_tied_levels_the_harder(tiny: Store, votes: list[Level], level: str, count: int) -> None:
    for n, vote in enumerate(votes):
        annotate(tiny, "tiny", "b/b0.jpg", f"person {n}", vote)
    assert consensus(tiny, "tiny").values.tolist() == [["b/b0.jpg", level, count, len(votes), False]]


def test_votes_are_counted_as_the_judgements_are(tiny: Store) -> None:
    names = examples(tiny, "tiny")["example"].tolist()
    for annotator, levels in {"Ann": "emh", "Bob": "emm", "Cleo": "hm"}.items():
        for example, letter in zip(names, levels, strict=False):
            annotate(tiny, "tiny", example, annotator, LEVELS["emh".index(letter)])
    append_many(tiny, frame(*((name, "simulated-1", "easy") for name in names[:5])), "simulate")
    undo(tiny, "tiny", "Cleo")
    for who in ("people", "simulated", "all"):
        pd.testing.assert_frame_equal(vote_counts(tiny, "tiny", who), count_votes(judgements(tiny, "tiny", who)), check_index_type=False)
    assert vote_counts(tiny, "tiny").to_numpy().tolist() == [[2, 0, 1], [0, 2, 0], [0, 1, 1]]
    assert vote_counts(tiny, "tiny", divided=True).to_numpy().tolist() == [[2, 0, 1], [0, 1, 1]]


def test_people_and_simulated_never_mix(tiny: Store) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    append_many(tiny, frame(("a/a0.jpg", "simulated-1", "hard"), ("a/a0.jpg", "simulated-2", "hard")), "simulate")
    by_who = {who: consensus(tiny, "tiny", who)["level"].tolist() for who in ("people", "simulated", "all", "Ann", "simulated-2", "Bob")}
    assert by_who == {"people": ["easy"], "simulated": ["hard"], "all": ["hard"], "Ann": ["easy"], "simulated-2": ["hard"], "Bob": []}


def test_summary_counts_people_and_simulated_apart(tiny: Store) -> None:
    none = {"annotators": 0, "annotations": 0, "labelled": 0, "levels": {"easy": 0, "medium": 0, "hard": 0}}
    assert summary(tiny, "tiny") == {"dataset": "tiny", **none, "simulated": none}
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    annotate(tiny, "tiny", "a/a0.jpg", "Bob", "medium")
    annotate(tiny, "tiny", "b/b0.jpg", "Bob", "easy")
    append_many(tiny, frame(("c/c0.jpg", "simulated-1", "hard")), "simulate")
    assert summary(tiny, "tiny") == {
        "dataset": "tiny",
        "annotators": 2,
        "annotations": 3,
        "labelled": 2,
        "levels": {"easy": 1, "medium": 1, "hard": 0},
        "simulated": {"annotators": 1, "annotations": 1, "labelled": 1, "levels": {"easy": 0, "medium": 0, "hard": 1}},
    }


def test_append_many_passes_over_what_is_in_force(tiny: Store) -> None:
    rows = frame(("a/a0.jpg", "Ann", "easy"), ("b/b0.jpg", "Ann", "hard"))
    assert append_many(tiny, rows, "import") == 2
    assert append_many(tiny, rows, "import") == 0
    assert append_many(tiny, frame(("a/a0.jpg", "Ann", "medium"), ("b/b0.jpg", "Ann", "hard")), "import") == 1
    assert [level_of(tiny, "a/a0.jpg"), level_of(tiny, "b/b0.jpg")] == ["medium", "hard"]
    assert tiny.rows("SELECT annotator, simulated FROM annotator") == [("Ann", False)]


def test_an_old_file_brings_back_nothing_that_was_corrected_or_taken_back(tiny: Store) -> None:
    for example in ("a/a0.jpg", "b/b0.jpg"):
        annotate(tiny, "tiny", example, "Ann", "easy", answered_at=NOON)
    old = tiny.query("SELECT dataset, example, annotator, level, answered_at FROM current_label")
    undo(tiny, "tiny", "Ann")
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard")
    assert append_many(tiny, old, "import") == 0
    assert append_many(tiny, old.assign(level="medium"), "import") == 2  # which nobody said before
    assert [level_of(tiny, "a/a0.jpg"), level_of(tiny, "b/b0.jpg")] == ["medium", "medium"]


def test_append_many_takes_all_or_nothing(tiny: Store) -> None:
    rows = frame(("a/a0.jpg", "Ann", "easy"), ("b/b0.jpg", "Ann", "impossible"))
    with pytest.raises(Exception, match="refused to write"):
        append_many(tiny, rows, "import")
    assert log(tiny) == []
    assert tiny.rows("SELECT count(*) FROM annotator") == [(0,)]
