"""Label files in and out: CSV, and the reports' three folders easy, medium and hard.

An import takes a whole file or nothing of it. This module checks and translates; `labels` keeps the
log. It never changes an image of a data set.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd

from curriculum.config import LEVELS, SIMULATED_PREFIX
from curriculum.datasets import get_dataset
from curriculum.errors import ConfigError, DatasetError, LabelFileError, UnknownError
from curriculum.images import IGNORED, SUFFIXES
from curriculum.labels import append_many, check_annotator, consensus
from curriculum.store import Store

COLUMNS = ("example", "annotator", "level", "answered_at", "seconds")
SHOWN_PROBLEMS = 20
LEVEL_WORDS: dict[str, str] = {level: level for level in LEVELS} | {"1": "easy", "2": "medium", "3": "hard"}
FORMULA = re.compile("^'*[=+@＝＋＠－-]")
"""What a spreadsheet may take for a formula. Such a cell gets one ' in front on export and loses one on import."""
TIME = re.compile(r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$", re.ASCII)
NUMBER = re.compile(r"^\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.ASCII | re.IGNORECASE)

Problems = dict[int, str]
"""Row of the file's frame -> why it can't be taken (its first reason)."""


@dataclass(frozen=True)
class ImportResult:
    """What an import did: rows read, labels appended (equal ones in force are passed over), whose they are."""

    read: int
    appended: int
    annotators: tuple[str, ...]


# -- in ------------------------------------------------------------------------------------------


def import_labels(store: Store, dataset: str, path: Path, annotator: str | None = None) -> ImportResult:
    """Append the labels of a CSV file or of a folder with easy, medium and hard: all of them or none.

    Args:
        path: UTF-8 CSV with the columns example, annotator, level and, if known, answered_at (ISO 8601,
            UTC where no zone is given) and seconds; or a folder of images below easy/, medium/, hard/.
            Levels may also be 1, 2, 3. An image is found by `class/file`, else by a file name that is
            unique in the data set, else (folders) by its content.
        annotator: whose labels they are, where the file doesn't say; a folder never does.

    Raises:
        LabelFileError: rows that can't be taken, by line, with reasons; nothing was imported.
        UnknownError: no such data set.
    """
    get_dataset(store, dataset)
    frame = _read_folders(path) if path.is_dir() else _read_csv(path)
    if frame.empty:
        return ImportResult(0, 0, ())
    if "annotator" not in frame:
        if annotator is None:
            raise LabelFileError(f"{path} doesn't say whose labels these are", todo="Name the annotator: --annotator NAME.")
        frame["annotator"] = annotator
    elif annotator is not None:
        frame["annotator"] = frame["annotator"].where(frame["annotator"] != "", annotator)
    problems: Problems = {row: problem for row, problem in enumerate(frame["problem"]) if problem}
    _check_levels(frame, problems)
    _check_annotators(frame, problems)
    _check_numbers(frame, problems)
    _find_examples(store, dataset, frame, problems)
    _check_contradictions(frame, problems)
    if problems:
        raise _refused(path, frame, problems)
    taken = frame.drop_duplicates(["annotator", "example"], keep="last").assign(dataset=dataset)
    appended = append_many(store, taken[["dataset", *COLUMNS]], "import")
    return ImportResult(len(frame), appended, tuple(sorted(set(frame["annotator"]))))


def _read_csv(path: Path) -> pd.DataFrame:
    """Every row as text, with where it stands and what is wrong with its shape."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LabelFileError(f"{path} can't be read ({error.strerror})") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise LabelFileError(f"{path} isn't UTF-8 text (line {line}); nothing was imported", todo="Save it as CSV in UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines, rows, start = [], [], 1
    try:
        for row in reader:
            if row:  # a blank line is no row
                lines.append(start)
                rows.append(row)
            start = reader.line_num + 1
    except csv.Error as error:
        raise LabelFileError(f"{path} isn't a CSV file (line {start}: {error}); nothing was imported") from error
    return _table(path, lines, rows)


def _table(path: Path, lines: Sequence[int], rows: Sequence[list[str]]) -> pd.DataFrame:
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if missing := [name for name in ("example", "level") if name not in header]:
        raise LabelFileError(f"{path} lacks the column {' and the column '.join(missing)}", got=_cut(", ".join(header)), allowed=COLUMNS,
                             todo="The first line names the columns, separated by commas.")  # fmt: skip
    if twice := sorted({name for name in header if name in COLUMNS and header.count(name) > 1}):
        raise LabelFileError(f"{path} has the column {twice[0]} twice")
    width = len(header)
    whole = [row if len(row) == width else [*row, *[""] * width][:width] for row in rows[1:]]
    frame = pd.DataFrame({name: [row[i] for row in whole] for i, name in enumerate(header) if name in COLUMNS}, dtype=object)
    frame["place"] = [f"line {line}" for line in lines[1:]]
    frame["problem"] = ["" if len(row) == width else f"{len(row)} fields where the first line has {width}" for row in rows[1:]]
    frame["content"] = None
    for name in {"example", "annotator"} & set(frame.columns):
        frame[name] = frame[name].map(_without_quote)
    return frame


def _read_folders(path: Path) -> pd.DataFrame:
    """One row for every image below easy/, medium/ and hard/; `content` is its file."""
    rows: list[dict[str, object]] = []
    for folder in _visible(path):
        level = folder.name.lower()
        if not folder.is_dir():
            continue
        if level not in LEVELS:
            rows.append({"place": _cut(folder.name), "problem": f"a folder that is none of {', '.join(LEVELS)}"})
            continue
        for file in _below(folder):
            place = file.relative_to(path).as_posix()
            rows.append({"place": _cut(place), "problem": _file_problem(path, file), "content": file, "level": level,
                         "example": file.relative_to(folder).as_posix()})  # fmt: skip
    if not any("level" in row for row in rows):
        raise LabelFileError(f"{path} has no images below {', '.join(f'{level}/' for level in LEVELS)}; nothing was imported")
    return pd.DataFrame(rows, columns=["example", "level", "place", "problem", "content"], dtype=object)


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise LabelFileError(f"{folder} can't be read ({error.strerror})") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in IGNORED]


def _below(folder: Path) -> Iterable[Path]:
    """All visible files at any depth; a linked folder counts as a file, because it isn't followed."""
    for entry in _visible(folder):
        if entry.is_dir() and not entry.is_symlink():
            yield from _below(entry)
        else:
            yield entry


def _file_problem(root: Path, file: Path) -> str:
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root)):
        return "a symbolic link that leads out of the folder"
    if not file.is_file():
        return "not a file"
    return "" if file.suffix.lower() in SUFFIXES else "not an image file by its name"


# -- checking ------------------------------------------------------------------------------------


def _note(problems: Problems, rows: pd.Series[str], reason: str) -> None:
    """Remember a reason for each row (index: row, value: what was given); a row's first reason stays."""
    for row, given in zip(rows.index.tolist(), rows.tolist(), strict=True):
        problems.setdefault(row, f"{reason}: {_cut(str(given))!r}" if str(given).strip() else reason)


def _check_levels(frame: pd.DataFrame, problems: Problems) -> None:
    words = frame["level"].fillna("").str.strip().str.lower()
    known = words.map(LEVEL_WORDS)
    _note(problems, frame.loc[known.isna(), "level"], "unknown level (allowed: easy, medium, hard, or 1, 2, 3)")
    frame["level"] = known


def _check_annotators(frame: pd.DataFrame, problems: Problems) -> None:
    names: dict[str, str] = {}
    for given in frame["annotator"].unique():
        try:
            names[given] = check_annotator(given, simulated=given.strip().startswith(SIMULATED_PREFIX))
        except ConfigError as error:
            reason = error.what if given.strip() else "the annotator is empty"
            _note(problems, frame.loc[frame["annotator"] == given, "annotator"], reason)
    frame["annotator"] = frame["annotator"].map(names)


def _check_numbers(frame: pd.DataFrame, problems: Problems) -> None:
    """answered_at to UTC times, seconds to numbers; empty cells to nothing."""
    for name in ("answered_at", "seconds"):
        if name not in frame:
            frame[name] = ""
    times, seconds = frame["answered_at"].str.strip(), frame["seconds"].str.strip()
    sound = times.where(times.str.match(TIME).astype(bool), None)
    frame["answered_at"] = pd.to_datetime(sound, utc=True, format="ISO8601", errors="coerce")
    wrong = (times != "") & frame["answered_at"].isna()
    _note(problems, times[wrong], "answered_at is no ISO 8601 time")
    numbers = [float(text) if NUMBER.match(text) else math.nan for text in seconds]
    frame["seconds"] = np.array(numbers, dtype=np.float64)
    _note(problems, seconds[(seconds != "") & ~np.isfinite(frame["seconds"])], "seconds is no number of 0 or more")


def _check_contradictions(frame: pd.DataFrame, problems: Problems) -> None:
    sound = frame[~frame.index.isin(list(problems))]
    distinct = sound.drop_duplicates(["annotator", "example", "level"])
    again = distinct[distinct.duplicated(["annotator", "example"])]
    first = distinct.drop_duplicates(["annotator", "example"]).set_index(["annotator", "example"])
    for row, annotator, example, level in again[["annotator", "example", "level"]].itertuples(name=None):
        before = first.loc[(annotator, example)]
        problems.setdefault(row, f"{annotator} has {_cut(example)} as {before['level']} in {before['place']} and as {level} here")


def _refused(path: Path, frame: pd.DataFrame, problems: Problems) -> LabelFileError:
    rows, places = sorted(problems), frame["place"].tolist()
    listed = [f"\n  {places[row]}: {problems[row]}" for row in rows[:SHOWN_PROBLEMS]]
    if len(rows) > SHOWN_PROBLEMS:
        listed.append(f"\n  and {len(rows) - SHOWN_PROBLEMS} more")
    return LabelFileError(f"{path} has {len(rows)} of {len(frame)} rows that can't be taken; nothing was imported:{''.join(listed)}")


def _cut(text: str) -> str:
    """A stranger's text, short and without control characters."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 80 else text[:79] + "…"


# -- which image a row means ---------------------------------------------------------------------


class _Names:
    """The examples of a data set by path, by file name and by content."""

    def __init__(self, store: Store, dataset: str) -> None:
        known = store.rows("SELECT example, class, sha256 FROM example WHERE dataset = ? ORDER BY present DESC, example", [dataset])
        self.paths = {row[0] for row in known}
        self.classes = {row[1] for row in known}
        self.by_file: dict[str, list[str]] = {}
        self.by_content: dict[str, list[str]] = {}
        for example, _, sha256 in known:
            self.by_file.setdefault(example.rpartition("/")[2], []).append(example)
            self.by_content.setdefault(sha256, []).append(example)

    def find(self, given: str, content: Path | None) -> tuple[str | None, str]:
        """The example that a row means, or None and why there is none."""
        if given in self.paths:
            return given, ""
        parts = PurePosixPath(given.strip().replace("\\", "/")).parts
        if not parts:
            return None, "the example is empty"
        if ".." in parts or parts[0] == "/" or parts[0].endswith(":"):
            return None, "a path that leads out of the data set"
        if (path := "/".join(parts[-2:])) in self.paths:
            return path, ""
        named = [] if len(parts) > 1 and parts[-2] in self.classes else self.by_file.get(parts[-1], [])
        if len(named) == 1:
            return named[0], ""
        alike = self.by_content.get(_digest(content), []) if content else []
        if len(alike) == 1:
            return alike[0], ""
        if several := named or alike:
            return None, f"could be any of {len(several)} images ({', '.join(_cut(e) for e in several[:3])}), give class/file"
        return None, "no such image in the data set"


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise LabelFileError(f"{file} can't be read ({error.strerror})") from error


def _find_examples(store: Store, dataset: str, frame: pd.DataFrame, problems: Problems) -> None:
    names = _Names(store, dataset)
    reasons: dict[str, list[int]] = {}
    found: list[str | None] = []
    memory: dict[str, tuple[str | None, str]] = {}
    for row, given, content in frame[["example", "content"]].itertuples(name=None):
        if row in problems:  # a link that leads out isn't even opened
            found.append(None)
            continue
        outcome = names.find(given, content) if content else memory.get(given) or memory.setdefault(given, names.find(given, None))
        found.append(outcome[0])
        if outcome[0] is None:
            reasons.setdefault(outcome[1], []).append(row)
    for reason, rows in reasons.items():
        _note(problems, frame.loc[rows, "example"], reason)
    frame["example"] = pd.Series(found, index=frame.index, dtype=object)


# -- out -----------------------------------------------------------------------------------------


def export_labels(store: Store, dataset: str, path: Path, who: str = "all", format: Literal["csv", "folders"] = "csv") -> int:  # noqa: A002
    """Write labels to a CSV file (one row a current label), or copy the images into easy/, medium/ and hard/ by consensus.

    Args:
        path: the file, replaced if there; or a folder, which must be new or empty.
        who: all | people | simulated | one annotator's name.

    Returns:
        How many labels, or images, were written.

    Raises:
        ConfigError: the target can't be used, or an unknown format.
        UnknownError: no such data set or annotator.
        DatasetError: an image to copy is gone.
    """
    get_dataset(store, dataset)
    if who not in ("all", "people", "simulated"):
        known = [row[0] for row in store.rows("SELECT DISTINCT annotator FROM annotation WHERE dataset = ? ORDER BY 1", [dataset])]
        if who not in known:
            raise UnknownError("nobody of that name has labelled here", got=who, allowed=["all", "people", "simulated", *known])
    if format not in ("csv", "folders"):
        raise ConfigError("unknown label file format", got=format, allowed=["csv", "folders"])
    try:
        return _write_csv(store, dataset, path, who) if format == "csv" else _write_folders(store, dataset, path, who)
    except OSError as error:
        raise ConfigError(f"{path} can't be written ({error.strerror or error})", todo="Nothing of it was left behind.") from error


def _write_csv(store: Store, dataset: str, path: Path, who: str) -> int:
    if path.is_dir():
        raise ConfigError("this is a folder, not a file", got=str(path), todo="Give a file name, or ask for the format folders.")
    rows = store.query(
        """SELECT example, class, annotator, level,
                  strftime(answered_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') AS answered_at, seconds
           FROM current_label JOIN example USING (dataset, example)
           WHERE dataset = $dataset AND CASE $who WHEN 'all' THEN true WHEN 'people' THEN NOT simulated
                                             WHEN 'simulated' THEN simulated ELSE annotator = $who END
           ORDER BY annotator, example""",
        {"dataset": dataset, "who": who},
    )
    for name in ("example", "class", "annotator"):
        rows[name] = rows[name].map(_with_quote)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("w", encoding="utf-8", newline="") as file:
            rows.to_csv(file, index=False, lineterminator="\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return len(rows)


def _write_folders(store: Store, dataset: str, path: Path, who: str) -> int:
    path = path.resolve()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError("this exists and isn't an empty folder", got=str(path), todo="Choose a new folder: nothing is overwritten.")
    present = {row[0] for row in store.rows("SELECT example FROM example WHERE dataset = ? AND present", [dataset])}
    agreed = consensus(store, dataset, who)
    agreed = agreed[agreed["example"].isin(present)]
    root = get_dataset(store, dataset).root
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        for level in LEVELS:
            (fresh / level).mkdir(parents=True)
        for example, level in zip(agreed["example"], agreed["level"], strict=True):
            _copy(root / example, fresh / level / example)
        if path.exists():
            path.rmdir()
        fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return len(agreed)


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DatasetError(f"the image {source} is gone", todo="Run `data check` on its data set.")
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)


def _with_quote(text: str) -> str:
    return "'" + text if FORMULA.match(text) else text


def _without_quote(text: str) -> str:
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
