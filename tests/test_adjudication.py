"""What a lead decides stands above the votes and is nobody's label; what a lead asks for comes to who hasn't answered."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from curriculum import comparisons
from curriculum.adjudication import ask_for, decide, decisions, flag, flags, unflag, who_could_answer, wishes, withdraw
from curriculum.assignment import hand_out, progress, queue
from curriculum.calibration import choose
from curriculum.datasets import Settings, change_settings
from curriculum.errors import ConfigError, UnknownError
from curriculum.events import history, store_events
from curriculum.history import example_log, replay
from curriculum.label_log import export_log, import_log
from curriculum.labels import Event, add_annotator, annotate, append_many, consensus, judgements, record, undo
from curriculum.leases import Leases
from curriculum.simulate import simulate_annotators
from curriculum.store import Store
from curriculum.vocabulary import Level
from tests.label_cases import filled, log

A0, A1 = "a/a0.jpg", "a/a1.jpg"


def agreed(store: Store, who: str = "people") -> dict[str, tuple[str, int, int, bool]]:
    return {name: tuple(rest) for name, *rest in consensus(store, "tiny", who).itertuples(index=False, name=None)}


def votes(store: Store, example: str, *levels: Level) -> None:
    for name, level in zip(("Ann", "Bob", "Cleo", "Dan"), levels, strict=False):
        annotate(store, "tiny", example, name, level)


# -- deciding ------------------------------------------------------------------------------------


def test_a_decision_stands_above_the_votes_until_it_is_taken_back(tiny: Store) -> None:
    votes(tiny, A0, "easy", "easy", "hard")
    assert agreed(tiny) == {A0: ("easy", 2, 3, False)}
    assert decide(tiny, "tiny", "Lea", {A0: "hard"}, "the river is a road") == 1
    assert agreed(tiny) == agreed(tiny, "all") == {A0: ("hard", 1, 3, True)}
    assert decide(tiny, "tiny", "Leo", {A0: "medium"}, "on second thoughts") == 1
    assert agreed(tiny) == {A0: ("medium", 0, 3, True)}
    assert decide(tiny, "tiny", "Leo", {A0: "medium"}, "on second thoughts") == 0, "nothing changed, nothing is logged"
    assert decisions(tiny, "tiny")[["example", "level", "reason", "decided_by"]].to_numpy().tolist() == [
        [A0, "medium", "on second thoughts", "Leo"]
    ]
    assert decide(tiny, "tiny", "Lea", {A0: None, A1: None}, "let the votes count") == 1, "the other had none"
    assert agreed(tiny) == {A0: ("easy", 2, 3, False)}
    assert decisions(tiny, "tiny").empty
    assert example_log(tiny, "tiny", A0)["action"].tolist() == ["label"] * 3 + ["decide"] * 3


def test_a_decision_is_nobodys_label(tiny: Store) -> None:
    votes(tiny, A0, "easy")
    decide(tiny, "tiny", "Ann", {A0: "hard", A1: "medium"}, "seen on the ground")
    assert judgements(tiny, "tiny")[["annotator", "example", "level"]].to_numpy().tolist() == [["Ann", A0, "easy"]]
    assert agreed(tiny) == {A0: ("hard", 0, 1, True), A1: ("medium", 0, 0, True)}
    for who, levels in (("Ann", {A0: ("easy", 1, 1, False)}), ("simulated", {})):
        assert agreed(tiny, who) == levels, "of one person, and of the simulated, their own levels"
    assert A1 in queue(tiny, "tiny", "Ann"), "who decided hasn't sorted it"
    assert [event["action"] for event in history(tiny, "tiny", "Ann")["events"]] == ["label"]
    assert undo(tiny, "tiny", "Ann") == A0
    assert undo(tiny, "tiny", "Ann") is None, "an undo of the sorting page takes no decision back"
    assert agreed(tiny)[A0] == ("hard", 0, 0, True)
    assert progress(tiny, "tiny", "Ann").mine == {"easy": 0, "medium": 0, "hard": 0}


def test_nobody_decides_through_the_sorting_page(tiny: Store) -> None:
    event = {
        "id": str(uuid.uuid4()),
        "action": "decide",
        "example": A0,
        "level": "hard",
        "note": "x",
        "answered_at": "2026-01-01T00:00:00Z",
    }
    assert "unknown action" in store_events(tiny, "tiny", "Ann", [event])["refused"][0]["reason"]
    decide(tiny, "tiny", "Ann", {A0: "hard"}, "why")
    (decided,) = tiny.rows("SELECT id FROM annotation")
    with pytest.raises(ConfigError, match="can't be undone"), tiny.write() as cursor:
        record(cursor, "tiny", "Ann", Event(uuid.uuid4(), "undo", A0, datetime.now(UTC), undoes=decided[0]))


@pytest.mark.parametrize(
    ("levels", "reason", "error", "says"),
    [
        ({A0: "hard"}, "  ", ConfigError, "a decision needs a reason"),
        ({A0: "hard"}, "x" * 10_001, ConfigError, "Got: '10,001 characters'"),
        ({A0: "impossible"}, "why", ConfigError, "unknown level. Got: 'impossible'"),
        ({A0: "hard", "a/none.jpg": "easy"}, "why", UnknownError, "no such image. Got: 'a/none.jpg'"),
    ],
)
def test_what_cant_be_decided_decides_nothing(
    tiny: Store, levels: dict[str, Level | None], reason: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        decide(tiny, "tiny", "Lea", levels, reason)
    assert log(tiny) == []


def test_decisions_go_with_the_log_and_with_the_past(tiny: Store, other: Store, tmp_path: Path) -> None:
    decide(filled(tiny), "tiny", "Lea", {A0: "medium", "b/b3.jpg": "hard"}, "=1+1 is no formula")
    before = datetime.now(UTC)
    decide(tiny, "tiny", "Lea", {"b/b3.jpg": None}, "no")
    then, now = replay(tiny, "tiny", before), replay(tiny, "tiny")
    assert then[then["decided"]][["example", "level"]].to_numpy().tolist() == [[A0, "medium"], ["b/b3.jpg", "hard"]]
    assert now[now["decided"]]["example"].tolist() == [A0]
    for suffix in ("csv", "jsonl", "parquet"):
        export_log(tiny, "tiny", tmp_path / f"log.{suffix}")
    for suffix, appended in (("csv", 14), ("jsonl", 0), ("parquet", 0)):
        assert import_log(other, "tiny", tmp_path / f"log.{suffix}").appended == appended
    assert log(other) == log(tiny)
    assert agreed(other) == agreed(tiny)


# -- asking for one opinion more -----------------------------------------------------------------


def test_a_wished_opinion_comes_first_to_who_hasnt_labelled_it_and_ends_with_one_more(tiny: Store) -> None:
    change_settings(tiny, "tiny", Settings(labels_per_image=2, repeat_share=0))
    for example, *_ in tiny.rows("SELECT example FROM example ORDER BY example"):
        votes(tiny, example, "easy", "hard")
    assert queue(tiny, "tiny", "Cleo") == []
    last = queue(tiny, "tiny", "Nobody") or "b/b2.jpg"
    assert last == "b/b2.jpg"
    assert ask_for(tiny, "tiny", "Lea", ["b/b2.jpg", "c/c1.jpg"], "opinion") == 2
    assert ask_for(tiny, "tiny", "Lea", ["b/b2.jpg"], "opinion") == 0, "it is open already"
    assert set(queue(tiny, "tiny", "Cleo")) == set(queue(tiny, "tiny", "Dan")) == {"b/b2.jpg", "c/c1.jpg"}
    assert queue(tiny, "tiny", "Ann") == [], "she has labelled both"
    leases = Leases()
    assert len(hand_out(tiny, leases, "tiny", "Cleo", 2).examples) == 2
    assert hand_out(tiny, leases, "tiny", "Dan", 2).examples == [], "one opinion was asked for, not two"
    annotate(tiny, "tiny", "b/b2.jpg", "Cleo", "hard")
    assert queue(tiny, "tiny", "Dan") == ["c/c1.jpg"]
    assert progress(tiny, "tiny", "Dan").total == 1
    assert dict(zip(wishes(tiny, "tiny", "opinion")["example"], wishes(tiny, "tiny", "opinion")["answered"], strict=True)) == {
        "b/b2.jpg": True, "c/c1.jpg": False,
    }  # fmt: skip
    assert ask_for(tiny, "tiny", "Lea", ["b/b2.jpg"], "opinion") == 1, "and one more after that"
    assert queue(tiny, "tiny", "Dan", exclude=["c/c1.jpg"]) == ["b/b2.jpg"]


def test_where_everybody_sorts_all_a_wished_opinion_is_only_earlier(tiny: Store) -> None:
    change_settings(tiny, "tiny", Settings(repeat_share=0))
    order = queue(tiny, "tiny", "Ann")
    ask_for(tiny, "tiny", "Lea", [order[-1]], "opinion")
    assert queue(tiny, "tiny", "Ann") == [order[-1], *order[:-1]]
    annotate(tiny, "tiny", order[-1], "Bob", "hard")
    assert queue(tiny, "tiny", "Ann") == order, "answered: in its own place again"


def test_a_simulated_label_answers_no_wish(tiny: Store) -> None:
    ask_for(tiny, "tiny", "Lea", [A0], "opinion")
    simulate_annotators(tiny, "tiny", dict.fromkeys((row[0] for row in tiny.rows("SELECT example FROM example")), 0.5))
    assert wishes(tiny, "tiny", "opinion")["answered"].tolist() == [False]
    frame = wishes(tiny, "tiny", "opinion")[["example"]].assign(dataset="tiny", annotator="Bob", level="easy")
    append_many(tiny, frame, "import")
    assert wishes(tiny, "tiny", "opinion")["answered"].tolist() == [True]


def test_what_cant_be_asked_for_is_refused(tiny: Store) -> None:
    with pytest.raises(ConfigError, match="nothing of this kind"):
        ask_for(tiny, "tiny", "Lea", [A0], "applause")  # type: ignore[arg-type]
    with pytest.raises(UnknownError, match="no such data set"):
        ask_for(tiny, "nowhere", "Lea", [A0], "opinion")
    with pytest.raises(UnknownError, match=r"no such image\. Got: 'a/none.jpg'"):
        ask_for(tiny, "tiny", "Lea", [A0, "a/none.jpg"], "compare")
    assert wishes(tiny, "tiny", "compare").empty


def test_nobody_is_asked_for_an_opinion_on_an_example(tiny: Store) -> None:
    choose(tiny, "tiny", "Lea", "anchor", {A0: "easy"}, "clear")
    with pytest.raises(ConfigError, match=rf"nobody is asked to sort it\. Got: '{A0}'.*Take it out on the page Examples first"):
        ask_for(tiny, "tiny", "Lea", [A1, A0], "opinion")
    assert wishes(tiny, "tiny", "opinion").empty, "all or none"
    assert ask_for(tiny, "tiny", "Lea", [A1], "opinion") == 1
    choose(tiny, "tiny", "Lea", "anchor", {A1: "easy"}, "clear")
    votes(tiny, "b/b0.jpg", "easy")
    assert who_could_answer(tiny, "tiny") == {}, "chosen later: it waits for nobody"


def test_who_could_answer_are_those_who_have_neither_sorted_nor_flagged_it(tiny: Store) -> None:
    for name in ("Ann", "Bob", "Cleo"):
        add_annotator(tiny, name)
    votes(tiny, A0, "easy", "hard")
    votes(tiny, A1, "easy")
    simulate_annotators(tiny, "tiny", dict.fromkeys((row[0] for row in tiny.rows("SELECT example FROM example")), 0.5))
    assert ask_for(tiny, "tiny", "Ann", [A0, A1], "opinion") == 2
    assert who_could_answer(tiny, "tiny") == {A0: ["Cleo"], A1: ["Bob", "Cleo"]}
    annotate(tiny, "tiny", A0, "Cleo", None)
    assert who_could_answer(tiny, "tiny")[A0] == ["Cleo"], "passed over comes again"
    with tiny.write() as cursor:
        record(cursor, "tiny", "Cleo", Event(uuid.uuid4(), "flag", A0, datetime.now(UTC), note="broken image"))
    assert who_could_answer(tiny, "tiny") == {A1: ["Bob", "Cleo"]}
    assert wishes(tiny, "tiny", "opinion")["answered"].tolist() == [False, False]


def test_a_wish_is_withdrawn_as_if_nobody_had_wished(tiny: Store) -> None:
    change_settings(tiny, "tiny", Settings(labels_per_image=2, repeat_share=0))
    for example, *_ in tiny.rows("SELECT example FROM example ORDER BY example"):
        votes(tiny, example, "easy", "hard")
    ask_for(tiny, "tiny", "Lea", [A0, A1], "opinion")
    ask_for(tiny, "tiny", "Lea", [A0], "compare")
    assert set(queue(tiny, "tiny", "Cleo")) == {A0, A1}
    assert withdraw(tiny, "tiny", [A0, "b/b0.jpg"], "opinion") == 1
    assert queue(tiny, "tiny", "Cleo") == [A1]
    assert wishes(tiny, "tiny", "opinion")["example"].tolist() == [A1]
    assert wishes(tiny, "tiny", "compare")["example"].tolist() == [A0]
    assert ask_for(tiny, "tiny", "Lea", [A0], "opinion") == 1, "and wished for anew"


# -- flags ---------------------------------------------------------------------------------------


def test_a_leads_flag_is_taken_back_by_herself(tiny: Store) -> None:
    change_settings(tiny, "tiny", Settings(repeat_share=0))
    votes(tiny, A0, "easy", "hard")
    annotate(tiny, "tiny", A1, "Lea", "medium")
    assert flag(tiny, "tiny", "Lea", [A0, A1]) == flag(tiny, "tiny", "Leo", [A0, "b/b0.jpg"]) == 2
    with tiny.write() as cursor:
        record(cursor, "tiny", "Lea", Event(uuid.uuid4(), "flag", "c/c0.jpg", datetime.now(UTC), note="wrong class"))
    assert flags(tiny, "tiny", "Lea") == [A0, A1], "while sorting, undo takes back"
    assert A0 not in queue(tiny, "tiny", "Lea", 12) and A0 not in comparisons.pool(tiny, "tiny")
    assert unflag(tiny, "tiny", "Lea", [A0, A1, "b/b0.jpg", "c/c0.jpg"]) == 2
    assert unflag(tiny, "tiny", "Lea", [A0, A1]) == 0
    assert flags(tiny, "tiny", "Lea") == [] and flags(tiny, "tiny", "Leo") == [A0, "b/b0.jpg"]
    assert A0 in queue(tiny, "tiny", "Lea", 12)
    undone = tiny.rows("SELECT example, annotator, level, source FROM annotation WHERE action = 'undo' ORDER BY example")
    assert undone == [(A0, "Lea", None, "team"), (A1, "Lea", "medium", "team")]
    assert agreed(tiny, "Lea") == {A1: ("medium", 1, 1, False)}, "her level is in force as before"
    unflag(tiny, "tiny", "Leo", [A0])
    assert A0 in comparisons.pool(tiny, "tiny")
    assert flag(tiny, "tiny", "Lea", [A0]) == 1, "and flagged anew"
