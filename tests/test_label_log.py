"""The whole log: out and into a fresh database without loss, continued but never mixed, refused as a whole."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curriculum.adjudication import decide, flag
from curriculum.datasets import add_dataset
from curriculum.errors import ConfigError, LabelFileError, UnknownError
from curriculum.label_files import ImportResult
from curriculum.label_formats import TABLE_FORMATS, Format
from curriculum.label_log import COLUMNS, export_log, import_log
from curriculum.labels import FLAG_REASONS, MAX_NOTE, Event, annotate, append_many, record, undo
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from tests.label_cases import current, filled, log

TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))
NOTES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)
WHO = st.sampled_from(["Ann", "=Bob", "Ünal, Ö"])
EXAMPLES = st.sampled_from(["a/a0.jpg", "b/b1.jpg"])
WHAT: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"action": st.just("label"), "level": st.sampled_from(LEVELS)}),
    st.fixed_dictionaries({"action": st.just("skip")}),
    st.fixed_dictionaries({"action": st.just("flag"), "note": st.sampled_from(FLAG_REASONS)}),
    st.fixed_dictionaries({"action": st.just("note"), "note": NOTES}),
    st.none().map(lambda _: {"action": "undo"}),
    st.fixed_dictionaries({"import": st.sampled_from(LEVELS)}),
)
WHEN = st.fixed_dictionaries(
    {
        "answered_at": TIMES,
        "shown_at": st.none() | TIMES,
        "seconds": st.none() | st.floats(0, 1e9, exclude_max=True),
        "batch": st.none() | st.uuids(),
    }
)


def clear(store: Store) -> None:
    with store.write() as cursor:
        cursor.execute("DELETE FROM annotation")
        cursor.execute("DELETE FROM annotator")


def play(store: Store, who: str, example: str, what: dict[str, Any], when: dict[str, Any]) -> None:
    """One thing that somebody does, through the doors that the program has."""
    if "import" in what:
        rows = {
            "dataset": ["tiny"],
            "example": [example],
            "annotator": [who],
            "level": [what["import"]],
            "answered_at": [when["answered_at"]],
        }
        append_many(store, pd.DataFrame(rows), "import")
    elif what["action"] == "undo":
        undo(store, "tiny", who)
    else:
        with store.write() as cursor:
            record(cursor, "tiny", who, Event(uuid.uuid4(), example=example, **what, **when))


@pytest.mark.parametrize("kind", TABLE_FORMATS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(done=st.lists(st.tuples(WHO, EXAMPLES, WHAT, WHEN), min_size=1, max_size=12))
def test_any_log_goes_into_a_fresh_database_as_it_was(tiny: Store, other: Store, tmp_path: Path, kind: Format, done: list[Any]) -> None:
    clear(tiny)
    clear(other)
    for each in done:
        play(tiny, *each)
    count = export_log(tiny, "tiny", tmp_path / "log", kind, overwrite=True)
    assert import_log(other, "tiny", tmp_path / "log", kind).appended == count == len(log(tiny))
    assert log(other) == log(tiny)
    assert current(other) == current(tiny)
    assert other.rows("SELECT annotator, simulated FROM annotator ORDER BY 1") == tiny.rows(
        "SELECT DISTINCT annotator, starts_with(annotator, 'simulated-') FROM annotation ORDER BY 1"
    )
    export_log(other, "tiny", tmp_path / "again", kind, overwrite=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "log").read_bytes()


def test_a_log_has_every_column_of_the_table(store: Store) -> None:
    assert list(COLUMNS) == [row[0] for row in store.rows("SELECT column_name FROM (DESCRIBE annotation)")]


def test_a_second_import_appends_nothing_and_a_longer_log_only_its_end(tiny: Store, other: Store, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    assert export_log(filled(tiny), "tiny", path) == 11
    assert import_log(other, "tiny", path) == ImportResult(11, 11, ("Ann", "Bob", "simulated-1"))
    assert import_log(other, "tiny", path) == ImportResult(11, 0, ("Ann", "Bob", "simulated-1"))
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "medium")
    undo(tiny, "tiny", "Ann")
    export_log(tiny, "tiny", path, overwrite=True)
    assert import_log(other, "tiny", path).appended == 2
    assert log(other) == log(tiny)
    annotate(other, "tiny", "a/a1.jpg", "Ann", "hard")  # and the database goes on after them
    assert other.rows("SELECT count(DISTINCT seq), count(*) FROM annotation") == [(14, 14)]
    assert import_log(other, "tiny", path).appended == 0  # which has less than is here


def test_two_databases_join_where_they_are_about_different_things(tiny: Store, other: Store, tmp_path: Path) -> None:
    annotate(other, "tiny", "a/a0.jpg", "Cem", "easy")
    export_log(filled(tiny), "tiny", tmp_path / "log.csv")
    assert import_log(other, "tiny", tmp_path / "log.csv").appended == 11
    assert current(other)[1:] != current(tiny)
    assert [row for row in current(other) if row[1] != "Cem"] == current(tiny)
    assert [row[1:] for row in log(other)[1:]] == [row[1:] for row in log(tiny)]  # but for the numbers, in the same order


def test_a_leads_flags_and_decisions_come_back(tiny: Store, other: Store, tmp_path: Path) -> None:
    decide(tiny, "tiny", "Lee", {"a/a0.jpg": "hard"}, "a roof")
    flag(tiny, "tiny", "Lee", ["a/a1.jpg"], "wrong class")
    assert export_log(tiny, "tiny", tmp_path / "log.csv") == 2
    assert import_log(other, "tiny", tmp_path / "log.csv").appended == 2
    assert log(other) == log(tiny)


def test_two_leads_decisions_on_an_image_are_not_mixed(tiny: Store, other: Store, tmp_path: Path) -> None:
    decide(tiny, "tiny", "Lee", {"a/a0.jpg": "hard"}, "first look")
    decide(other, "tiny", "Bob", {"a/a0.jpg": "easy"}, "after the discussion")
    export_log(tiny, "tiny", tmp_path / "log.csv")
    with pytest.raises(LabelFileError, match="another event by which a lead decided on this image here"):
        import_log(other, "tiny", tmp_path / "log.csv")


def test_what_would_be_mixed_is_refused(tiny: Store, other: Store, tmp_path: Path) -> None:
    annotate(other, "tiny", "a/a0.jpg", "Ann", "easy")
    export_log(filled(tiny), "tiny", tmp_path / "log.csv")
    before = log(other)
    with pytest.raises(LabelFileError, match=r"1 of 11 rows[^$]*line 2: the database has another event of Ann on this image") as caught:
        import_log(other, "tiny", tmp_path / "log.csv")
    assert "nothing was imported" in str(caught.value)
    assert log(other) == before


def changed(store: Store, tmp_path: Path, change: Callable[[list[dict[str, str]]], object]) -> Path:
    """The log of Ann and Bob with something changed by hand."""
    path = tmp_path / "log.csv"
    export_log(filled(store), "tiny", path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("row", "cells", "says"),
    [
        (0, {"seq": "-1"}, "line 2: seq is no whole number of 0 or more: '-1'"),
        (0, {"seq": "2"}, "this id, or this seq, is in the file already"),
        (0, {"id": "x"}, "line 2: id is no UUID: 'x'"),
        (0, {"id": ""}, "line 2: id is empty"),
        (0, {"dataset": "other"}, "line 2: an entry of another data set: 'other'"),
        (0, {"example": "a0.jpg"}, "line 2: no such image in the data set: 'a0.jpg'"),
        (0, {"annotator": " Ann"}, "line 2: an annotator's name has no spaces around it"),
        (0, {"annotator": "all"}, "line 2: this name has a meaning of its own here: 'all'"),
        (0, {"action": "guess"}, "line 2: unknown action (allowed: label, skip, undo, flag, note, decide): 'guess'"),
        (0, {"level": ""}, "line 2: unknown level (allowed: easy, medium, hard)"),
        (0, {"level": "1"}, "line 2: unknown level (allowed: easy, medium, hard): '1'"),
        (0, {"note": "x"}, "line 2: a flag, a note and a decision, and nothing else, have a note"),
        (0, {"undoes": str(uuid.uuid4())}, "line 2: an undo, and nothing else, undoes"),
        (0, {"source": "team"}, "line 2: from the team's page come decisions, flags and what takes them back: 'label'"),
        (0, {"action": "decide", "note": "why"}, "line 2: a decision is from the team's page: 'sort'"),
        (0, {"source": "guess"}, "line 2: unknown source (allowed: sort, team, import, simulate): 'guess'"),
        (0, {"seconds": "-1"}, "line 2: seconds is no number of 0 or more"),
        (0, {"answered_at": "yesterday"}, "line 2: answered_at is no ISO 8601 time with its zone: 'yesterday'"),
        (0, {"recorded_at": "2026-03-01T12:00:00.12345"}, "line 2: recorded_at is no ISO 8601 time with its zone"),
        (5, {"level": "easy"}, "line 7: only a label, a decision and an undo have a level: 'easy'"),
        (7, {"undoes": ""}, "line 9: an undo, and nothing else, undoes"),
        (7, {"undoes": str(uuid.uuid4())}, "line 9: this undoes no earlier judgement of the same annotator on the same image"),
        (7, {"annotator": "Ann"}, "line 9: this undoes no earlier judgement"),
        (7, {"seq": "1000"}, ""),
        (6, {"seq": "1000"}, "this undoes no earlier judgement"),
        (8, {"note": "ugly"}, "line 10: unknown reason of a flag (allowed: wrong class, broken image): 'ugly'"),
        (9, {"note": "x" * (MAX_NOTE + 1)}, "line 11: a note has up to 10,000 characters"),
    ],
)
def test_one_bad_event_refuses_the_file(tiny: Store, other: Store, tmp_path: Path, row: int, cells: dict[str, str], says: str) -> None:
    path = changed(tiny, tmp_path, lambda rows: rows[row].update(cells))
    if not says:
        assert import_log(other, "tiny", path).appended == 11
        return
    with pytest.raises(LabelFileError) as caught:
        import_log(other, "tiny", path)
    assert says in str(caught.value)
    assert "1 of 11 rows that can't be taken; nothing was imported" in str(caught.value)
    assert log(other) == []


def test_the_numbers_say_the_order_and_not_the_lines(tiny: Store, other: Store, tmp_path: Path) -> None:
    import_log(other, "tiny", changed(tiny, tmp_path, lambda rows: rows.reverse()))
    assert log(other) == log(tiny)


def test_numbers_out_of_reach_are_given_anew(tiny: Store, other: Store, tmp_path: Path) -> None:
    path = changed(tiny, tmp_path, lambda rows: [row.update(seq=f"9{n:017}") for n, row in enumerate(rows)])
    assert import_log(other, "tiny", path).appended == 11
    assert [row[1:] for row in log(other)] == [row[1:] for row in log(tiny)]
    assert other.rows("SELECT max(seq) < 1000 FROM annotation") == [(True,)]


def test_an_id_of_another_data_set_is_refused(tiny: Store, tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    add_dataset(tiny, "twin", tiny_folder(name="twin"))
    path = changed(tiny, tmp_path, lambda rows: [row.update(dataset="twin") for row in rows])
    before = log(tiny)
    with pytest.raises(LabelFileError, match="this id stands for another event in the data set tiny"):
        import_log(tiny, "twin", path)
    assert log(tiny) == before


@pytest.mark.parametrize("kind", TABLE_FORMATS)
def test_a_cut_off_file_is_refused_wherever_a_line_is_torn(tiny: Store, other: Store, tmp_path: Path, kind: Format) -> None:
    path = tmp_path / "log"
    export_log(filled(tiny), "tiny", path, kind)
    whole = path.read_bytes()
    for missing in (*range(2, 60), len(whole) // 2 + 7):
        path.write_bytes(whole[:-missing])
        with pytest.raises(LabelFileError):
            import_log(other, "tiny", path, kind)
    assert log(other) == []


def test_what_json_can_say_and_the_database_not_store_is_refused(tiny: Store, other: Store, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    export_log(filled(tiny), "tiny", path)
    lines = path.read_text(encoding="utf-8").splitlines()
    for bad in ("\x00", "\ud800"):
        lines[9] = json.dumps(json.loads(lines[9]) | {"note": bad})
        path.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(LabelFileError, match="line 10: a note has up to 10,000 characters that can be stored"):
            import_log(other, "tiny", path)


def test_labels_are_no_log_and_a_log_has_three_formats(tiny: Store, tmp_path: Path) -> None:
    path = tmp_path / "levels.csv"
    path.write_text("example,annotator,level\na/a0.jpg,Ann,easy\n", encoding="utf-8")
    with pytest.raises(LabelFileError, match="lacks the column seq and the column id"):
        import_log(tiny, "tiny", path)
    for name in ("label-studio", "folders"):
        with pytest.raises(ConfigError, match="Allowed: csv, jsonl, parquet"):
            export_log(tiny, "tiny", tmp_path / "x", name)
    with pytest.raises(ConfigError, match="there already"):
        export_log(tiny, "tiny", path)
    with pytest.raises(ConfigError, match="can't be written"):
        export_log(tiny, "tiny", path / "below")
    with pytest.raises(UnknownError, match="no such data set"):
        export_log(tiny, "nowhere", tmp_path / "x")
