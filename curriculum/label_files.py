"""Current labels in and out as files; the whole log is `label_log`'s.

An import takes a whole file or nothing of it. This module says what a row may mean; `label_formats` reads and writes
the files, `labels` keeps the log. It never changes an image of a data set.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curriculum.datasets import get_dataset
from curriculum.errors import ConfigError, LabelFileError, UnknownError
from curriculum.files import digest
from curriculum.label_folders import read_folders, write_folders
from curriculum.label_formats import FORMATS, Row, arrow_of, cut, format_of, read_table, refuse_any, write_table
from curriculum.labels import append_many, check_annotator, consensus
from curriculum.people import folded
from curriculum.store import Store
from curriculum.vocabulary import LEVELS, SIMULATED_PREFIX, Level

COLUMNS = ("example", "level"), ("annotator", "answered_at", "seconds", "decided")
"""Those that a file must have, and those that it may."""
LEVEL_WORDS: dict[str, Level] = {level: level for level in LEVELS} | {"1": "easy", "2": "medium", "3": "hard"}
NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class ImportResult:
    """What an import did: rows read, rows appended (those that are here already are passed over), whose they are, how many rows were a lead's
    decisions, which are nobody's labels and come in with the whole log alone."""

    read: int
    appended: int
    annotators: tuple[str, ...]
    decisions: int = 0

    def passed_over(self) -> str:
        """A sentence on the decisions; "" where there are none."""
        return (
            f"{self.decisions:,} of them are a lead's decisions, which are nobody's labels: the whole log takes them."
            if self.decisions
            else ""
        )


class Label(NamedTuple):
    """What a row says. answered_at is UTC; seconds is 0 or more."""

    example: str
    annotator: str
    level: Level
    answered_at: datetime | None
    seconds: float | None


# -- in ------------------------------------------------------------------------------------------


def import_labels(store: Store, dataset: str, path: Path, annotator: str | None = None, format: str | None = None) -> ImportResult:  # noqa: A002
    """Append the labels of a file or of a folder with easy, medium and hard: all of them or none.

    Args:
        path: CSV, JSON Lines or Parquet with the columns example, annotator, level and, if known, answered_at (ISO 8601,
            UTC where no zone is given) and seconds; Label Studio's JSON; or a folder of images, or of links to the data
            set's, below easy/, medium/, hard/. Text is UTF-8. Levels may also be 1, 2, 3. An image is found by
            `class/file`, else by a file name that is unique in the data set, else (folders) by its content. Names that differ from a
            known person's in case or letter forms only are theirs. Rows with `decided` true, as "the levels as they stood" have them, are
            passed over.
        annotator: whose labels they are, where the file doesn't say; a folder never does.
        format: one of FORMATS; by default what the path's suffix stands for, else csv.

    Raises:
        LabelFileError: rows that can't be taken, by line, with reasons; nothing was imported.
        ConfigError: an unknown format.
        UnknownError: no such data set.
    """
    root = get_dataset(store, dataset).root
    kind = format_of(path, format)
    rows = read_folders(path, root) if kind in ("folders", "links") else read_table(path, kind, *COLUMNS)
    if annotator is None and rows and not any("annotator" in row.cells for row in rows):
        raise LabelFileError(f"{path} doesn't say whose labels these are; nothing was imported", todo="Add --annotator NAME.")
    names, people = _Names(store, dataset), _People(store)
    labels: dict[tuple[str, str], tuple[Label, str]] = {}
    votes = [row for row in rows if (row.cells.get("decided") or "").strip().lower() != "true"]
    for row in votes:
        if row.problem:
            continue
        try:
            label = _label(row, names, people, annotator)
        except ValueError as error:
            row.problem = str(error)
            continue
        first, place = labels.setdefault((label.annotator, label.example), (label, row.place))
        if first.level != label.level:
            row.problem = f"{label.annotator} has {cut(label.example)} as {first.level} in {place} and as {label.level} here"
    refuse_any(path, rows)
    if not labels:
        return ImportResult(len(rows), 0, (), len(rows) - len(votes))
    frame = arrow_of(pd.DataFrame([label for label, _ in labels.values()])).to_pandas()
    appended = append_many(store, frame.assign(dataset=dataset), "import")
    return ImportResult(len(rows), appended, tuple(sorted({who for who, _ in labels})), len(rows) - len(votes))


def _label(row: Row, names: _Names, people: _People, annotator: str | None) -> Label:
    """What a row says; ValueError with the reason where it can't be taken."""
    level = (row.cells.get("level") or "").strip().lower()
    if level not in LEVEL_WORDS:
        raise ValueError(said("unknown level (allowed: easy, medium, hard, or 1, 2, 3)", row.cells.get("level")))
    who = people.known_as(read_annotator(row.cells.get("annotator") or annotator))
    times = read_time("answered_at", row.cells.get("answered_at")), read_seconds(row.cells.get("seconds"))
    return Label(names.find(row.cells.get("example") or "", row.file), who, LEVEL_WORDS[level], *times)


def said(reason: str, given: str | None) -> str:
    """A reason with what the file says, if it says anything."""
    return f"{reason}: {cut(given)!r}" if given and given.strip() else reason


def read_annotator(text: str | None) -> str:
    """A name as `labels` stores it; ValueError where it can't be one."""
    try:
        return check_annotator(text or "", simulated=(text or "").strip().startswith(SIMULATED_PREFIX))
    except ConfigError as error:
        raise ValueError(said(error.what, text) if (text or "").strip() else "the annotator is empty") from error


def read_time(name: str, text: str | None, *, zone: bool = False) -> datetime | None:
    """ISO 8601 to UTC, UTC where no zone is given (or, with `zone`, a ValueError); empty to None."""
    if not (text or "").strip():
        return None
    try:
        time = datetime.fromisoformat((text or "").strip())
        if zone and not time.tzinfo:
            raise ValueError
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(said(f"{name} is no ISO 8601 time{' with its zone' if zone else ''}", text)) from error


def read_seconds(text: str | None) -> float | None:
    """A finite number of 0 or more; empty to None."""
    given = (text or "").strip()
    if given and not (NUMBER.fullmatch(given) and math.isfinite(float(given))):
        raise ValueError(said("seconds is no number of 0 or more, with a decimal point", text))
    return float(given) if given else None


class _People:
    """Who is known, and who came with this file before."""

    def __init__(self, store: Store) -> None:
        names = [row[0] for row in store.rows("SELECT annotator FROM annotator ORDER BY created_at, annotator")]
        self.exact = set(names)
        self.alike = {folded(name): name for name in reversed(names)}

    def known_as(self, name: str) -> str:
        """The known name of which this is another spelling; a new one as it is."""
        return name if name in self.exact else self.alike.setdefault(folded(name), name)


class _Names:
    """The examples of a data set by path, by file name and by content; of gone ones only where nothing else fits."""

    def __init__(self, store: Store, dataset: str) -> None:
        known = store.rows(
            "SELECT example, class, sha256, present FROM example WHERE dataset = ? ORDER BY present DESC, example", [dataset]
        )
        self.paths = {row[0] for row in known}
        self.classes = {row[1] for row in known}
        self.by_file: dict[str, list[str]] = {}
        self.by_content: dict[str, list[str]] = {}
        here = {row[0] for row in known if row[3]}
        for example, _, sha256, present in known:
            for alike in (self.by_file.setdefault(example.rpartition("/")[2], []), self.by_content.setdefault(sha256, [])):
                if present or here.isdisjoint(alike):
                    alike.append(example)

    def find(self, given: str, file: Path | None = None) -> str:
        """The example that a row means; ValueError with the reason where there is none."""
        if given in self.paths:
            return given
        whole = given.strip().replace("\\", "/")
        parts = [part for part in whole.split("/") if part not in ("", ".")]
        if not parts:
            raise ValueError("the example is empty")
        if ".." in parts or whole.startswith("/") or parts[0].endswith(":"):
            raise ValueError(said("a path that leads out of the data set", given))
        if (path := "/".join(parts[-2:])) in self.paths:
            return path
        named = [] if len(parts) > 1 and parts[-2] in self.classes else self.by_file.get(parts[-1], [])
        alike = self.by_content.get(_digest(file), []) if file and len(named) != 1 else []
        for found in (named, alike):
            if len(found) == 1:
                return found[0]
        if several := named or alike:
            shown = ", ".join(cut(example) for example in several[:3])
            raise ValueError(said(f"could be any of {len(several)} images ({shown}), give class/file", given))
        raise ValueError(said("no such image in the data set", given))


def _digest(file: Path) -> str:
    try:
        return digest(file)
    except OSError as error:
        raise ValueError(f"can't be read ({error.strerror})") from error


# -- out -----------------------------------------------------------------------------------------


def export_labels(
    store: Store, dataset: str, path: Path, who: str = "all", format: str | None = None, *, overwrite: bool = False  # noqa: A002
) -> int:  # fmt: skip
    """Write one row a current label, or put the images into easy/, medium/ and hard/ by consensus.

    Args:
        path: the file, new unless `overwrite`; or a folder, which must be new or empty.
        who: all | people | simulated | one annotator's name.
        format: csv | jsonl | parquet | label-studio | folders (copies) | links (relative symbolic links); by default
            what the path's suffix stands for, else csv.

    Returns:
        How many labels, or images, were written.

    Raises:
        ConfigError: the target can't be used, or an unknown format.
        UnknownError: no such data set or annotator.
        DatasetError: an image to copy is gone.
    """
    root = get_dataset(store, dataset).root
    if who not in ("all", "people", "simulated"):
        known = [row[0] for row in store.rows("SELECT DISTINCT annotator FROM annotation WHERE dataset = ? ORDER BY 1", [dataset])]
        if who not in known:
            raise UnknownError("nobody of that name has labelled here", got=who, allowed=["all", "people", "simulated", *known])
    kind = format_of(path, format, FORMATS if format else tuple(name for name in FORMATS if name != "folders"))
    try:
        if kind in ("folders", "links"):
            agreed = consensus(store, dataset, who)
            store.home.claim(path, overwrite=True)  # nothing is: only a new or empty folder is taken
            levels = dict(zip(agreed["example"].astype(str), agreed["level"].astype(str), strict=True))
            write_folders(path, root, levels, links=kind == "links")
            return len(levels)
        labels = _current(store, dataset, who)
        store.home.claim(path, overwrite=overwrite)
        write_table(path, kind, labels)
        return len(labels)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} can't be written ({error.strerror or error})", todo="Nothing of it was left behind.")


def _current(store: Store, dataset: str, who: str) -> pd.DataFrame:
    return store.query(
        """SELECT example, annotator, level, answered_at, seconds FROM current_label
           WHERE dataset = $dataset AND CASE $who WHEN 'all' THEN true WHEN 'people' THEN NOT simulated
                                             WHEN 'simulated' THEN simulated ELSE annotator = $who END
           ORDER BY annotator, example""",
        {"dataset": dataset, "who": who},
    )
