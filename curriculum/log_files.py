"""What the files of logs share, of labels and of comparisons: a whole log out, and in again all or nothing, in its order.

Whose rows they are, `label_log` and `comparison_log` know: what a row must hold, and what contradicts the database.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd

from curriculum.datasets import get_dataset
from curriculum.label_files import ImportResult, read_annotator, read_seconds, read_time, said, unwritable
from curriculum.label_formats import TABLE_FORMATS, Row, format_of, read_table, refuse_any, write_table
from curriculum.schema import MAX_SEQ
from curriculum.store import Cursor, Store
from curriculum.vocabulary import SIMULATED_PREFIX


class Logged(Protocol):
    """A row of a log."""

    @property
    def seq(self) -> int: ...

    @property
    def annotator(self) -> str: ...


Entry = TypeVar("Entry", bound=Logged)


def write_log(store: Store, dataset: str, path: Path, format: str | None, rows: pd.DataFrame, *, overwrite: bool) -> int:  # noqa: A002
    """Write a data set's rows to a file; returns how many.

    Raises:
        ConfigError: the target can't be used, or a format that has no place for them.
    """
    try:
        store.home.claim(path, overwrite=overwrite)
        write_table(path, format_of(path, format, TABLE_FORMATS), rows)
    except OSError as error:
        raise unwritable(path, error) from error
    return len(rows)


def read_log(
    store: Store,
    dataset: str,
    path: Path,
    format: str | None,  # noqa: A002
    columns: Sequence[str],
    read_one: Callable[[dict[str, str | None], set[str]], Entry],
    continuation: Callable[[list[tuple[Entry, Row]]], list[Entry]],
    append: Callable[[Cursor, list[Entry]], None],
) -> ImportResult:
    """Append the rows of a file that aren't here yet, or none.

    Args:
        read_one: a row from its cells and the data set's examples; ValueError with the reason where it can't be taken.
        continuation: the rows that aren't here yet, in order; a contradiction becomes its row's problem.
        append: stores them.

    Raises:
        LabelFileError: rows that can't be taken, by line, with reasons; nothing was imported.
        ConfigError: a format that has no place for such rows.
        UnknownError: no such data set.
    """
    get_dataset(store, dataset)
    rows = read_table(path, format_of(path, format, TABLE_FORMATS), columns)
    examples = {row[0] for row in store.rows("SELECT example FROM example WHERE dataset = ?", [dataset])}
    read: list[tuple[Entry, Row]] = []
    for row in rows:
        try:
            if not row.problem:
                read.append((read_one(row.cells, examples), row))
        except ValueError as error:
            row.problem = str(error)
    refuse_any(path, rows)
    read.sort(key=lambda both: both[0].seq)
    with store.write() as cursor:
        fresh = continuation(read)
        refuse_any(path, rows)
        if fresh:
            _add_annotators(store, cursor, fresh)
            append(cursor, fresh)
    return ImportResult(len(rows), len(fresh), tuple(sorted({entry.annotator for entry, _ in read})))


def read_cells(
    cells: dict[str, str | None], dataset: str, columns: Sequence[str], optional: Sequence[str], *, ids: Sequence[str], times: Sequence[str]
) -> dict[str, Any]:
    """The cells that every log has, read: seq, seconds, ids, times; data set and annotator checked. The others are as they came."""
    given: dict[str, Any] = {name: cells.get(name) for name in columns}
    if empty := [name for name in columns if name not in optional and given[name] is None]:
        raise ValueError(f"{empty[0]} is empty")
    if not re.fullmatch("[0-9]{1,18}", given["seq"]):
        raise ValueError(said("seq is no whole number of 0 or more", given["seq"]))
    given["seq"], given["seconds"] = int(given["seq"]), read_seconds(given["seconds"])
    given |= {name: _uuid(name, given[name]) for name in ids}
    given |= {name: _time(name, given[name]) for name in times}
    if given["dataset"] != dataset:
        raise ValueError(said("an entry of another data set", given["dataset"]))
    if given["annotator"] != read_annotator(given["annotator"]):
        raise ValueError(said("an annotator's name has no spaces around it and single ones within", given["annotator"]))
    return given


def _time(name: str, text: str | None) -> datetime | None:
    return read_time(name, text, zone=True)


def _uuid(name: str, text: str | None) -> str | None:
    try:
        return str(uuid.UUID(text)) if text else None
    except ValueError as error:
        raise ValueError(said(f"{name} is no UUID", text)) from error


def _add_annotators(store: Store, cursor: Cursor, fresh: Sequence[Logged]) -> None:
    names = pd.DataFrame({"annotator": sorted({entry.annotator for entry in fresh})})
    names["simulated"] = names["annotator"].str.startswith(SIMULATED_PREFIX)
    store.insert(cursor, "annotator", names, "ON CONFLICT DO NOTHING")


def numbered(store: Store, table: str, fresh: Sequence[Logged]) -> list[int]:
    """The numbers of rows that are appended to a log: their own where it is empty, else the next ones."""
    keep = fresh[-1].seq <= MAX_SEQ and not store.rows(f"SELECT 1 FROM {table} LIMIT 1")
    count = fresh[-1].seq if keep else len(fresh)
    last = store.rows(f"SELECT max(nextval('{table}_seq')) FROM range(?)", [count])[0][0]
    return [entry.seq for entry in fresh] if keep else list(range(last - count + 1, last + 1))
