"""Comparisons out and into a fresh database without loss, continued but never contradicted, refused as a whole."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curriculum import comparisons
from curriculum.comparison_log import COLUMNS, PLACES, export_comparisons, import_comparisons
from curriculum.comparisons import Comparison
from curriculum.datasets import add_dataset, get_dataset
from curriculum.errors import ConfigError, LabelFileError, UnknownError
from curriculum.label_files import ImportResult
from curriculum.label_formats import TABLE_FORMATS, Format
from curriculum.store import Store

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
NAMES = [f"{name}/{name}{place}.jpg" for name in "abc" for place in range(4)]
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))
WHO = st.sampled_from(["Ann", "=Bob", "Ünal, Ö"])
ANSWERS = st.tuples(WHO, st.permutations(NAMES), st.booleans(), TIMES, st.none() | TIMES, st.none() | st.floats(0, 1e9, exclude_max=True))
DONE = st.lists(st.one_of(ANSWERS, WHO), min_size=1, max_size=10)  # a name alone: that person's undo


def log(store: Store) -> list[tuple[Any, ...]]:
    """Every column of every row, in order."""
    return store.rows("SELECT COLUMNS(*)::TEXT FROM comparison ORDER BY comparison.seq")


def record(store: Store, who: str, each: Comparison) -> None:
    with store.write() as cursor:
        comparisons.record(cursor, "tiny", who, each)


def answer(store: Store, who: str = "Ann", names: list[str] = NAMES, adaptive: bool = True, answered: datetime = NOON,
           shown: datetime | None = None, seconds: float | None = None) -> uuid.UUID:  # fmt: skip
    made = Comparison(uuid.uuid4(), "compare", answered, tuple(names[:4]), names[2], names[0], adaptive, None, shown, seconds)
    record(store, who, made)
    return made.id


def undo(store: Store, who: str = "Ann") -> None:
    done = store.rows(f"SELECT 1 FROM ({comparisons.STANDING}) WHERE annotator = ?", [who])
    if done:
        record(store, who, Comparison(uuid.uuid4(), "undo_compare", NOON))


def filled(store: Store) -> Store:
    """Ann's three, of which the second is taken back, and Bob's one, by chance."""
    answer(store, seconds=0.1, shown=NOON)
    answer(store, names=NAMES[3:])
    undo(store)
    answer(store, names=NAMES[5:])
    answer(store, "Bob", NAMES[8:], adaptive=False)
    return store


@pytest.mark.parametrize("kind", TABLE_FORMATS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(done=DONE)
def test_any_comparisons_go_into_a_fresh_database_as_they_were(
    tiny: Store, other: Store, tmp_path: Path, kind: Format, done: list[Any]
) -> None:
    for store in (tiny, other):
        with store.write() as cursor:
            cursor.execute("DELETE FROM comparison")
    for each in done:
        undo(tiny, each) if isinstance(each, str) else answer(tiny, *each)
    count = export_comparisons(tiny, "tiny", tmp_path / "log", kind, overwrite=True)
    assert import_comparisons(other, "tiny", tmp_path / "log", kind).appended == count == len(log(tiny))
    assert log(other) == log(tiny)
    assert comparisons.standing(other, "tiny").equals(comparisons.standing(tiny, "tiny"))
    export_comparisons(other, "tiny", tmp_path / "again", kind, overwrite=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "log").read_bytes()


def test_a_file_has_every_column_of_the_table(store: Store) -> None:
    table = [row[0] for row in store.rows("SELECT column_name FROM (DESCRIBE comparison)")]
    assert set(COLUMNS) - set(PLACES) == set(table) - {"examples"}


def test_a_second_import_appends_nothing_and_a_longer_log_only_its_end(tiny: Store, other: Store, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    assert export_comparisons(filled(tiny), "tiny", path) == 5
    assert import_comparisons(other, "tiny", path) == ImportResult(5, 5, ("Ann", "Bob"))
    assert import_comparisons(other, "tiny", path).appended == 0
    undo(tiny)
    answer(tiny, "Cem")
    export_comparisons(tiny, "tiny", path, overwrite=True)
    assert import_comparisons(other, "tiny", path) == ImportResult(7, 2, ("Ann", "Bob", "Cem"))
    assert log(other) == log(tiny)
    assert other.rows("SELECT annotator FROM annotator ORDER BY 1") == [("Ann",), ("Bob",), ("Cem",)]
    answer(other)  # and the database goes on after them
    assert other.rows("SELECT count(DISTINCT seq), count(*) FROM comparison") == [(8, 8)]
    assert import_comparisons(other, "tiny", path).appended == 0


def test_two_databases_join(tiny: Store, other: Store, tmp_path: Path) -> None:
    answer(other, "Cem")
    export_comparisons(filled(tiny), "tiny", tmp_path / "log.parquet")
    assert import_comparisons(other, "tiny", tmp_path / "log.parquet").appended == 5
    assert [row[1:] for row in log(other)[1:]] == [row[1:] for row in log(tiny)]  # but for the numbers, in the same order
    assert other.rows("SELECT count(DISTINCT seq), min(seq) FROM comparison") == [(6, 1)]


def changed(store: Store, tmp_path: Path, change: Callable[[list[dict[str, str]]], object]) -> Path:
    """Ann's and Bob's comparisons with something changed by hand."""
    path = tmp_path / "log.csv"
    export_comparisons(filled(store), "tiny", path)
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
        (4, {"seq": "1"}, "this id, or this seq, is in the file already"),
        (0, {"id": "x"}, "line 2: id is no UUID: 'x'"),
        (0, {"id": ""}, "line 2: id is empty"),
        (0, {"dataset": "other"}, "line 2: an entry of another data set: 'other'"),
        (0, {"example_3": "a/a9.jpg"}, "line 2: no such image in the data set: 'a/a9.jpg'"),
        (0, {"example_2": ""}, "line 2: example_2 is empty"),
        (0, {"example_2": "a/a0.jpg"}, "line 2: a comparison has four different images"),
        (0, {"hardest": ""}, "line 2: the hardest is one of the four"),
        (0, {"hardest": "c/c3.jpg"}, "line 2: the hardest is one of the four"),
        (0, {"easiest": "a/a2.jpg"}, "line 2: the hardest and the easiest are two different images"),
        (0, {"annotator": " Ann"}, "line 2: an annotator's name has no spaces around it"),
        (0, {"annotator": "all"}, "line 2: this name has a meaning of its own here: 'all'"),
        (0, {"adaptive": "1"}, "line 2: adaptive is true or false: '1'"),
        (0, {"seconds": "-1"}, "line 2: seconds is no number of 0 or more"),
        (0, {"answered_at": "2026-03-01T12:00:00"}, "line 2: answered_at is no ISO 8601 time with its zone"),
        (0, {"undoes": str(uuid.uuid4())}, "line 2: an undo has no hardest and no easiest"),
        (2, {"hardest": "a/a3.jpg"}, "line 4: an undo has no hardest and no easiest"),
        (2, {"undoes": ""}, "line 4: the hardest is one of the four"),
        (2, {"undoes": str(uuid.uuid4())}, "line 4: this undoes no earlier comparison of the same annotator on the same images"),
        (2, {"annotator": "Bob"}, "line 4: this undoes no earlier comparison"),
        (2, {"example_1": "c/c3.jpg"}, "line 4: this undoes no earlier comparison"),
        (1, {"seq": "100"}, "line 4: this undoes no earlier comparison"),
    ],
)
def test_one_bad_row_refuses_the_file(tiny: Store, other: Store, tmp_path: Path, row: int, cells: dict[str, str], says: str) -> None:
    path = changed(tiny, tmp_path, lambda rows: rows[row].update(cells))
    with pytest.raises(LabelFileError) as caught:
        import_comparisons(other, "tiny", path)
    assert says in str(caught.value)
    assert "1 of 5 rows that can't be taken; nothing was imported" in str(caught.value)
    assert log(other) == []


def test_what_contradicts_the_database_is_refused(tiny: Store, tmp_path: Path) -> None:
    path = changed(tiny, tmp_path, lambda rows: rows[0].update(hardest="a/a1.jpg"))
    before = log(tiny)
    with pytest.raises(LabelFileError, match="line 2: this id stands for another comparison here"):
        import_comparisons(tiny, "tiny", path)
    assert log(tiny) == before


def test_an_id_of_another_data_set_is_refused(tiny: Store, tmp_path: Path) -> None:
    add_dataset(tiny, "twin", get_dataset(tiny, "tiny").root)
    path = changed(tiny, tmp_path, lambda rows: [row.update(dataset="twin") for row in rows])
    with pytest.raises(LabelFileError, match="this id stands for another comparison in the data set tiny"):
        import_comparisons(tiny, "twin", path)


def test_no_such_data_set_or_format(tiny: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownError, match="no such data set"):
        export_comparisons(tiny, "nothing", tmp_path / "x.csv")
    with pytest.raises(ConfigError, match="doesn't fit here"):
        export_comparisons(tiny, "tiny", tmp_path / "x.json")
