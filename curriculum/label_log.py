"""The whole log of a data set out and in again without loss: every event, in its order, with its id and its times.

An import takes a whole file or nothing of it, and only ever continues what is here: of each annotator's events on each
image, and of the decisions on it, the file must hold all that the database has, in the same order, or the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curriculum.datasets import get_dataset
from curriculum.label_files import ImportResult, said
from curriculum.label_formats import Row, arrow_of
from curriculum.labels import ACTIONS, FLAG_REASONS, MAX_NOTE
from curriculum.log_files import numbered, read_cells, read_log, write_log
from curriculum.store import Cursor, Store
from curriculum.vocabulary import LEVELS

SOURCES = ("sort", "team", "import", "simulate")
FOR_LEADS = ("decide", "flag", "undo")
"""What a lead does to an image on the team's pages."""
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class LoggedEvent(NamedTuple):
    """An event as the table `annotation` has it, column by column."""

    seq: int
    id: str
    dataset: str
    example: str
    annotator: str
    action: str
    level: str | None
    note: str | None
    undoes: str | None
    source: str
    shown_at: datetime | None
    answered_at: datetime
    seconds: float | None
    repeat: str  # true or false
    batch: str | None
    recorded_at: datetime


COLUMNS = LoggedEvent._fields
OPTIONAL = ("level", "note", "undoes", "shown_at", "seconds", "batch")
Strand = tuple[str, str]


def export_log(store: Store, dataset: str, path: Path, format: str | None = None, *, overwrite: bool = False) -> int:  # noqa: A002
    """Write every event of a data set, in order.

    Args:
        path: the file, new unless `overwrite`.
        format: csv | jsonl | parquet; by default what the path's suffix stands for, else csv.

    Returns:
        How many events were written.

    Raises:
        ConfigError: the target can't be used, or a format that has no place for events.
        UnknownError: no such data set.
    """
    get_dataset(store, dataset)
    return write_log(store, dataset, path, format, _logged(store, dataset), overwrite=overwrite)


def _logged(store: Store, dataset: str) -> pd.DataFrame:
    columns = ", ".join(f"{name}::TEXT AS {name}" if name in ("id", "undoes", "repeat", "batch") else name for name in COLUMNS)
    return store.query(f"SELECT {columns} FROM annotation WHERE dataset = ? ORDER BY seq", [dataset])


def import_log(store: Store, dataset: str, path: Path, format: str | None = None) -> ImportResult:  # noqa: A002
    """Append the events of a file that `export_log` wrote: all that aren't here yet, or none.

    They keep everything but, where the database has events already, their numbers (seq): then they are numbered anew, in
    the file's order.

    Raises:
        LabelFileError: rows that can't be taken, by line, with reasons; nothing was imported.
        ConfigError: a format that has no place for events.
        UnknownError: no such data set.
    """
    return read_log(
        store, dataset, path, format, COLUMNS,
        read_one=lambda cells, examples: _event(cells, dataset, examples),
        continuation=lambda read: _continuation(store, dataset, read),
        append=lambda cursor, fresh: _append(store, cursor, fresh),
    )  # fmt: skip


# -- one event -----------------------------------------------------------------------------------


def _event(cells: dict[str, str | None], dataset: str, examples: set[str]) -> LoggedEvent:
    """The event of a row; ValueError with the reason where it can't be taken."""
    given = read_cells(cells, dataset, COLUMNS, OPTIONAL, ids=("id", "undoes", "batch"), times=("shown_at", "answered_at", "recorded_at"))
    if given["example"] not in examples:
        raise ValueError(said("no such image in the data set", given["example"]))
    _check_action(event := LoggedEvent(**given))
    return event


def _among(what: str, given: str | None, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ValueError(said(f"unknown {what} (allowed: {', '.join(allowed)})", given))


def _check_action(event: LoggedEvent) -> None:
    """What each action must and mustn't carry."""
    _among("action", event.action, (*ACTIONS, "decide"))
    _among("source", event.source, SOURCES)
    _among("repeat", event.repeat, ("true", "false"))
    if event.level is not None or event.action == "label":
        _among("level", event.level, LEVELS)
    if event.level is not None and event.action not in ("label", "undo", "decide"):
        raise ValueError(said("only a label, a decision and an undo have a level", event.level))
    if (event.undoes is not None) != (event.action == "undo"):
        raise ValueError("an undo, and nothing else, undoes")
    if (event.note is not None) != (event.action in ("flag", "note", "decide")):
        raise ValueError("a flag, a note and a decision, and nothing else, have a note")
    if event.action == "decide" and event.source != "team":
        raise ValueError(said("a decision is from the team's page", event.source))
    if event.source == "team" and event.action not in FOR_LEADS:
        raise ValueError(said("from the team's page come decisions, flags and what takes them back", event.action))
    if event.action == "flag":
        _among("reason of a flag", event.note, FLAG_REASONS)
    if event.note is not None and (len(event.note) > MAX_NOTE or UNSTORABLE.search(event.note)):
        raise ValueError(f"a note has up to {MAX_NOTE:,} characters that can be stored")


# -- all together --------------------------------------------------------------------------------


def _continuation(store: Store, dataset: str, read: list[tuple[LoggedEvent, Row]]) -> list[LoggedEvent]:
    """The events that aren't here yet, in order; what contradicts the file or the database becomes its row's problem."""
    here: dict[Strand, list[LoggedEvent]] = {}
    for values in arrow_of(_logged(store, dataset)).to_pylist():
        event = LoggedEvent(**values)
        here.setdefault(_strand(event), []).append(event)
    taken = {str(row[0]): row[1] for row in store.rows("SELECT id, dataset FROM annotation")}
    ids: set[str] = set()
    numbers: set[int] = set()
    counted: dict[Strand, int] = {}
    standing: dict[str, Strand] = {}
    fresh = []
    for event, row in read:
        strand = _strand(event)
        ours, place = here.get(strand, []), counted.get(strand, 0)
        counted[strand] = place + 1
        if event.id in ids or event.seq in numbers:
            row.problem = "this id, or this seq, is in the file already"
        elif event.action == "undo" and standing.pop(event.undoes or "", None) != strand:
            row.problem = "this undoes no earlier judgement of the same annotator on the same image"
        elif place < len(ours) and ours[place]._replace(seq=event.seq) != event:
            whose = f"of {event.annotator}" if strand[1] else "by which a lead decided"
            row.problem = f"the database has another event {whose} on this image here: whose is later can't be known"
        elif place >= len(ours) and event.id in taken:
            row.problem = f"this id stands for another event in the data set {taken[event.id]}"
        elif place >= len(ours):
            fresh.append(event)
        ids.add(event.id)
        numbers.add(event.seq)
        if event.action not in ("undo", "decide"):
            standing[event.id] = strand
    return fresh


def _strand(event: LoggedEvent) -> Strand:
    """What must not be interleaved, as the latest counts: one annotator's events on an image; the decisions on it, whoever's they are."""
    return event.example, "" if event.action == "decide" else event.annotator


def _append(store: Store, cursor: Cursor, fresh: list[LoggedEvent]) -> None:
    frame = arrow_of(pd.DataFrame(fresh, columns=list(COLUMNS))).to_pandas()
    store.insert(cursor, "annotation", frame.assign(seq=numbered(store, "annotation", fresh)))
