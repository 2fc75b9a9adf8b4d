"""Comparisons of four images out and in again without loss: every answer and every undo, in order, with its id and its times.

A file of their own, beside the log of labels. An import takes a whole file or nothing of it; what is here already, by its
id, is passed over, and what contradicts it refuses the file.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from curriculum.comparisons import check_four
from curriculum.config import SIMULATED_PREFIX
from curriculum.datasets import get_dataset
from curriculum.errors import ConfigError
from curriculum.label_files import ImportResult, read_annotator, read_seconds, read_time, said, unwritable
from curriculum.label_formats import TABLE_FORMATS, Row, arrow_of, format_of, read_table, refuse_any, write_table
from curriculum.label_log import MAX_SEQ, read_uuid
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
    rows = _logged(store, dataset)
    try:
        write_table(path, format_of(path, format, TABLE_FORMATS), rows, overwrite=overwrite)
    except OSError as error:
        raise unwritable(path, error) from error
    return len(rows)


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
    get_dataset(store, dataset)
    rows = read_table(path, format_of(path, format, TABLE_FORMATS), COLUMNS)
    examples = {row[0] for row in store.rows("SELECT example FROM example WHERE dataset = ?", [dataset])}
    read: list[tuple[LoggedComparison, Row]] = []
    for row in rows:
        try:
            if not row.problem:
                read.append((_comparison(row.cells, dataset, examples), row))
        except ValueError as error:
            row.problem = str(error)
    refuse_any(path, rows)
    read.sort(key=lambda both: both[0].seq)
    with store.write() as cursor:
        fresh = _continuation(store, dataset, read)
        refuse_any(path, rows)
        _append(store, cursor, fresh)
    return ImportResult(len(rows), len(fresh), tuple(sorted({each.annotator for each, _ in read})))


# -- one row -------------------------------------------------------------------------------------


def _comparison(cells: dict[str, str | None], dataset: str, examples: set[str]) -> LoggedComparison:
    """The comparison or undo of a row; ValueError with the reason where it can't be taken."""
    given: dict[str, Any] = {name: cells.get(name) for name in COLUMNS}
    if empty := [name for name in COLUMNS if name not in OPTIONAL and given[name] is None]:
        raise ValueError(f"{empty[0]} is empty")
    if not re.fullmatch("[0-9]{1,18}", given["seq"]):
        raise ValueError(said("seq is no whole number of 0 or more", given["seq"]))
    given["seq"], given["seconds"] = int(given["seq"]), read_seconds(given["seconds"])
    given |= {name: read_uuid(name, given[name]) for name in ("id", "undoes")}
    given |= {name: read_time(name, given[name], zone=True) for name in ("shown_at", "answered_at", "recorded_at")}
    if given["dataset"] != dataset:
        raise ValueError(said("a comparison of another data set", given["dataset"]))
    if unknown := [given[place] for place in PLACES if given[place] not in examples]:
        raise ValueError(said("no such image in the data set", unknown[0]))
    if given["annotator"] != read_annotator(given["annotator"]):
        raise ValueError(said("an annotator's name has no spaces around it and single ones within", given["annotator"]))
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
    if not fresh:
        return
    names = pd.DataFrame({"annotator": sorted({each.annotator for each in fresh})})
    names["simulated"] = names["annotator"].str.startswith(SIMULATED_PREFIX)
    store.insert(cursor, "annotator", names, "ON CONFLICT DO NOTHING")
    keep = fresh[-1].seq <= MAX_SEQ and not store.rows("SELECT 1 FROM comparison LIMIT 1")
    count = fresh[-1].seq if keep else len(fresh)
    last = store.rows("SELECT max(nextval('comparison_seq')) FROM range(?)", [count])[0][0]
    frame = arrow_of(pd.DataFrame(fresh, columns=list(COLUMNS))).to_pandas().drop(columns=list(PLACES))
    frame["examples"] = [list(_four(each)) for each in fresh]
    frame["adaptive"] = [each.adaptive == "true" for each in fresh]
    if not keep:
        frame["seq"] = range(last - count + 1, last + 1)
    store.insert(cursor, "comparison", frame)
