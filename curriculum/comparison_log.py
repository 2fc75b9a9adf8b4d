"""Comparisons of four images out and in again without loss: every answer and every undo, in order, with its id and its times.

A file of their own, beside the log of labels. An import takes a whole file or nothing of it; what is here already, by its
id, is passed over, and what contradicts it refuses the file.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curriculum.comparisons import check_four
from curriculum.datasets import get_dataset
from curriculum.errors import ConfigError
from curriculum.label_files import ImportResult, said
from curriculum.label_formats import Row, arrow_of
from curriculum.log_files import numbered, read_cells, read_log, write_log
from curriculum.store import Cursor, Store


class LoggedComparison(NamedTuple):
    """A row of the table `comparison`, its four images in a column each."""

    seq: int
    id: str
    dataset: str
    annotator: str
    example_1: str
    example_2: str
    example_3: str
    example_4: str
    hardest: str | None  # None: an undo
    easiest: str | None
    adaptive: str  # true or false
    undoes: str | None
    shown_at: datetime | None
    answered_at: datetime
    seconds: float | None
    recorded_at: datetime


COLUMNS = LoggedComparison._fields
OPTIONAL = ("hardest", "easiest", "undoes", "shown_at", "seconds")
PLACES = COLUMNS[4:8]


def export_comparisons(store: Store, dataset: str, path: Path, format: str | None = None, *, overwrite: bool = False) -> int:  # noqa: A002
    """Write every comparison and undo of a data set, in order.

    Args:
        path: the file, new unless `overwrite`.
        format: csv | jsonl | parquet; by default what the path's suffix stands for, else csv.

    Returns:
        How many rows were written.

    Raises:
        ConfigError: the target can't be used, or a format that has no place for comparisons.
        UnknownError: no such data set.
    """
    get_dataset(store, dataset)
    return write_log(store, dataset, path, format, _logged(store, dataset), overwrite=overwrite)


def _logged(store: Store, dataset: str) -> pd.DataFrame:
    special = {name: f"{name}::TEXT AS {name}" for name in ("id", "adaptive", "undoes")}
    special |= {name: f"examples[{place}] AS {name}" for place, name in enumerate(PLACES, start=1)}
    columns = ", ".join(special.get(name, name) for name in COLUMNS)
    return store.query(f"SELECT {columns} FROM comparison WHERE dataset = ? ORDER BY seq", [dataset])


def import_comparisons(store: Store, dataset: str, path: Path, format: str | None = None) -> ImportResult:  # noqa: A002
    """Append what a file of `export_comparisons` has and the database hasn't: all of it or nothing.

    Everything is kept but, where the database has comparisons already, the numbers (seq): then they are given anew, in the
    file's order.

    Raises:
        LabelFileError: rows that can't be taken, by line, with reasons; nothing was imported.
        ConfigError: a format that has no place for comparisons.
        UnknownError: no such data set.
    """
    return read_log(
        store, dataset, path, format, COLUMNS,
        read_one=lambda cells, examples: _comparison(cells, dataset, examples),
        continuation=lambda read: _continuation(store, dataset, read),
        append=lambda cursor, fresh: _append(store, cursor, fresh),
    )  # fmt: skip


# -- one row -------------------------------------------------------------------------------------


def _comparison(cells: dict[str, str | None], dataset: str, examples: set[str]) -> LoggedComparison:
    """The comparison or undo of a row; ValueError with the reason where it can't be taken."""
    given = read_cells(cells, dataset, COLUMNS, OPTIONAL, ids=("id", "undoes"), times=("shown_at", "answered_at", "recorded_at"))
    if unknown := [given[place] for place in PLACES if given[place] not in examples]:
        raise ValueError(said("no such image in the data set", unknown[0]))
    if given["adaptive"] not in ("true", "false"):
        raise ValueError(said("adaptive is true or false", given["adaptive"]))
    _check_answer(each := LoggedComparison(**given))
    return each


def _check_answer(each: LoggedComparison) -> None:
    if each.undoes is not None and (each.hardest, each.easiest) != (None, None):
        raise ValueError("an undo has no hardest and no easiest")
    try:
        check_four(_four(each), *((each.example_1, each.example_2) if each.undoes else (each.hardest, each.easiest)))
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _four(each: LoggedComparison) -> tuple[str, ...]:
    return each[4:8]


# -- all together --------------------------------------------------------------------------------


def _continuation(store: Store, dataset: str, read: list[tuple[LoggedComparison, Row]]) -> list[LoggedComparison]:
    """What isn't here yet, in order; what contradicts the file or the database becomes its row's problem."""
    here = {each.id: each for each in (LoggedComparison(**values) for values in arrow_of(_logged(store, dataset)).to_pylist())}
    elsewhere = dict(store.rows("SELECT id::TEXT, dataset FROM comparison WHERE dataset <> ?", [dataset]))
    undone = {each.undoes for each in here.values()}
    standing = {each.id: each for each in here.values() if each.undoes is None and each.id not in undone}
    ids: set[str] = set()
    numbers: set[int] = set()
    fresh = []
    for each, row in read:
        before = standing.get(each.undoes or "")
        if each.id in ids or each.seq in numbers:
            row.problem = "this id, or this seq, is in the file already"
        elif each.id in elsewhere:
            row.problem = f"this id stands for another comparison in the data set {elsewhere[each.id]}"
        elif each.id in here and here[each.id]._replace(seq=each.seq) != each:
            row.problem = "this id stands for another comparison here"
        elif each.id not in here and each.undoes and (before is None or _what(before) != _what(each)):
            row.problem = "this undoes no earlier comparison of the same annotator on the same images"
        elif each.id not in here:
            fresh.append(each)
            standing.pop(each.undoes or "", None)
            standing |= {} if each.undoes else {each.id: each}
        ids.add(each.id)
        numbers.add(each.seq)
    return fresh


def _what(each: LoggedComparison) -> tuple[object, ...]:
    return each.annotator, *_four(each), each.adaptive


def _append(store: Store, cursor: Cursor, fresh: list[LoggedComparison]) -> None:
    frame = arrow_of(pd.DataFrame(fresh, columns=list(COLUMNS))).to_pandas().drop(columns=list(PLACES))
    frame["examples"] = [list(_four(each)) for each in fresh]
    frame["adaptive"] = [each.adaptive == "true" for each in fresh]
    store.insert(cursor, "comparison", frame.assign(seq=numbered(store, "comparison", fresh)))
