"""Label files as rows of text, and back: CSV, JSON Lines, Parquet, and Label Studio's JSON.

Every reader gives the same rows: the file's cells as text, None where it says nothing, and their place in the file.
Only their shape is looked at; what they mean is checked by `label_files` and `label_log`. Nothing here knows the database.
"""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curriculum.errors import ConfigError, LabelFileError
from curriculum.files import write_whole
from curriculum.spreadsheet import FORMULA

Format = Literal["csv", "jsonl", "parquet", "label-studio", "folders", "links"]
FORMATS: tuple[Format, ...] = get_args(Format)
TABLE_FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
BY_SUFFIX: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".json": "label-studio"}
MAX_BYTES, MAX_ROWS = 200_000_000, 1_000_000
SHOWN_PROBLEMS = 20
NEEDS_QUOTES = re.compile('[",\r\n]')
UPLOADED = re.compile(r"/data/upload/\d+/[0-9a-f]{8}-")
LOCAL_FILES = "/data/local-files/?d="


@dataclass(slots=True)
class Row:
    """One row of a file: its place, such as "line 3", its cells, and the first reason why it can't be taken, "" for none."""

    place: str
    cells: dict[str, str | None]
    problem: str = ""
    file: Path | None = None
    """The image itself, where the row is one in a folder."""


Table = tuple[list[str] | None, list[Row]]
"""The names of a file's columns, None where it hasn't any, and its rows."""


def format_of(path: Path, given: str | None, allowed: Sequence[Format] = FORMATS) -> Format:
    """The format that was asked for, else the one that the path's form or suffix stands for, else CSV."""
    found = given or ("folders" if path.is_dir() and "folders" in allowed else BY_SUFFIX.get(path.suffix.lower(), "csv"))
    for known in allowed:
        if known == found:
            return known
    raise ConfigError("this label file format doesn't fit here", got=found, allowed=allowed, todo="Choose one: --format FORMAT.")


def cut(text: str) -> str:
    """A stranger's text, short and without control characters."""
    text = text[:200] if text[:200].isprintable() else ascii(text[:200])[1:-1]
    return text if len(text) <= 80 else text[:79] + "…"


def refuse_any(path: Path, rows: Sequence[Row]) -> None:
    """Raise LabelFileError, with the first problems by their place, if a row can't be taken."""
    bad = [row for row in rows if row.problem]
    if bad:
        listed = [f"\n  {row.place}: {row.problem}" for row in bad[:SHOWN_PROBLEMS]]
        if len(bad) > SHOWN_PROBLEMS:
            listed.append(f"\n  and {len(bad) - SHOWN_PROBLEMS} more")
        raise LabelFileError(f"{path} has {len(bad)} of {len(rows)} rows that can't be taken; nothing was imported:{''.join(listed)}")


# -- in ------------------------------------------------------------------------------------------


def read_table(path: Path, kind: Format, required: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """The rows of a file; what else a file has does no harm.

    Raises:
        LabelFileError: the file as a whole can't be taken: not there, too large, another encoding, damaged, a column is missing.
    """
    try:
        if path.exists() and not path.is_file():
            raise LabelFileError(f"{path} is no file", todo="Give a file, or --format folders.")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise LabelFileError(f"{path} is too large", got=f"{size:,} bytes", allowed=f"up to {MAX_BYTES:,}", todo="Split it.")
        reader = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet, "label-studio": _read_tasks}[kind]
        columns, rows = reader(path, {*required, *optional})
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if columns is not None and (missing := [name for name in required if name not in columns]):
        raise LabelFileError(f"{path} lacks the column {' and the column '.join(missing)}; nothing was imported",
                             got=cut(", ".join(columns)), allowed=required, todo="Of a CSV file the first line names the columns.")  # fmt: skip
    return rows


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> LabelFileError:
    if isinstance(error, OSError):
        return LabelFileError(f"{path} can't be read ({error.strerror or error}); nothing was imported")
    line = error.object.count(b"\n", 0, error.start) + 1
    return LabelFileError(f"{path} isn't UTF-8 text (line {line}); nothing was imported", todo="Save it in UTF-8 (in Excel: 'CSV UTF-8').")


def _read_csv(path: Path, wanted: set[str]) -> Table:
    """Separated by commas, or, as spreadsheets do, by semicolons or tabs; the first line tells."""
    text = path.read_bytes().decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=max(",;\t", key=first.count))
    header: list[str] = []
    rows: list[Row] = []
    start = 1
    try:
        for cells in reader:
            if cells and not header:
                header = [name.strip().lower() for name in cells]
            elif cells:  # a blank line is no row
                values = [_without_quote(cell) if cell else None for cell in cells]
                problem = "" if len(cells) == len(header) else f"{len(cells)} fields where the first line has {len(header)}"
                rows.append(Row(f"line {start}", dict(zip(header, values, strict=False)), problem))
            start = reader.line_num + 1
    except csv.Error as error:
        raise LabelFileError(
            f"{path} isn't a CSV file (line {start}: {error}); nothing was imported", todo="Is its end missing?"
        ) from error
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise LabelFileError(f"{path} has the column {cut(twice[0])} twice; nothing was imported")
    return header, rows


def _read_jsonl(path: Path, wanted: set[str]) -> Table:
    rows = []
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\n"), start=1):
        if line.strip():
            try:
                rows.append(_row(f"line {number}", json.loads(line), wanted))
            except (ValueError, RecursionError) as error:
                rows.append(Row(f"line {number}", {}, f"no JSON object: {cut(str(error))}"))
    return list(dict.fromkeys(name for row in rows for name in row.cells)) or None, rows


def _read_parquet(path: Path, wanted: set[str]) -> Table:
    try:
        table, columns = _arrow_table(path, wanted)
        for i, column in enumerate(table.columns):
            if pa.types.is_timestamp(column.type):
                table = table.set_column(i, table.field(i).name, column.cast(pa.timestamp("us", column.type.tz), safe=False))
        return columns, [_row(f"row {n}", values, wanted) for n, values in enumerate(table.to_pylist(), start=1)]
    except (pa.ArrowException, ValueError, OverflowError, LookupError) as error:  # the last two: of years and of time zones
        raise LabelFileError(f"{path} can't be read as Parquet ({cut(str(error))}); nothing was imported") from error


def _arrow_table(path: Path, wanted: set[str]) -> tuple[pa.Table, list[str]]:
    """A file's wanted columns, and the names of all. A few bytes of Parquet may stand for any number of values: what is large is refused first."""
    with pq.ParquetFile(path) as file:
        schema, groups = file.schema_arrow, [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        columns, taken = [name.strip().lower() for name in schema.names], [f for f in schema if f.name.strip().lower() in wanted]
        if file.metadata.num_rows > MAX_ROWS:
            raise LabelFileError(f"{path} is too large", got=f"{file.metadata.num_rows:,} rows", allowed=f"up to {MAX_ROWS:,}")
        if (size := sum(group.total_byte_size for group in groups)) > MAX_BYTES:
            raise LabelFileError(f"{path} is too large", got=f"{size:,} bytes unpacked", allowed=f"up to {MAX_BYTES:,}", todo="Split it.")
        if twice := [name for name in columns if name in wanted and columns.count(name) > 1]:
            raise LabelFileError(f"{path} has the column {twice[0]} twice; nothing was imported")
        if lists := [f for f in taken if pa.types.is_nested(f.type)]:
            raise LabelFileError(f"{path}: {lists[0].name} is neither text nor a number; nothing was imported", got=cut(str(lists[0].type)))
    texts = [f.name for f in taken if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        table = file.read(columns=[f.name for f in taken])
    if (size := sum(_unpacked(chunk) for column in table.columns for chunk in column.chunks)) > MAX_BYTES:
        raise LabelFileError(f"{path} is too large", got=f"{size:,} bytes of text", allowed=f"up to {MAX_BYTES:,}", todo="Split it.")
    return table, columns


def _unpacked(chunk: pa.Array) -> int:
    """The bytes of a column's values, each counted as often as it is used."""
    if not pa.types.is_dictionary(chunk.type) or pa.types.is_primitive(chunk.type.value_type):
        return int(chunk.nbytes)
    return int(pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices).cast(pa.int64())).as_py() or 0)


def _row(place: str, values: object, wanted: set[str]) -> Row:
    """A row from JSON's or Parquet's values."""
    if not isinstance(values, dict):
        return Row(place, {}, "no JSON object")
    row = Row(place, {})
    for given, value in values.items():
        if (name := given.strip().lower()) in wanted:
            if name in row.cells:
                row.problem = row.problem or f"{name} stands there twice"
            try:
                row.cells[name] = _as_text(value)
            except TypeError:
                row.problem = row.problem or f"{name} is neither text nor a number: {cut(str(value))!r}"
    return row


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise TypeError


# -- out -----------------------------------------------------------------------------------------


def arrow_of(frame: pd.DataFrame) -> pa.Table:
    """A frame's rows with the types that Parquet files have; what is missing is null, times are UTC with microseconds."""
    special = {"seq": pa.int64(), "seconds": pa.float64()}
    types = [(name, pa.timestamp("us", "UTC") if name.endswith("_at") else special.get(name, pa.string())) for name in frame.columns]
    return pa.Table.from_pandas(frame, schema=pa.schema(types), preserve_index=False).replace_schema_metadata(None)


def write_table(path: Path, kind: Format, frame: pd.DataFrame) -> None:
    """Write a frame's rows, in its order, whole or not at all, in the place of a file that is there: `Home.claim` says whether it may be.

    Raises:
        ConfigError: the path is a folder.
    """
    if path.is_dir():
        raise ConfigError("this is a folder, not a file", got=str(path), todo="Give a file name, or ask for --format folders.")
    table = arrow_of(frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        write_whole(path, lambda fresh: pq.write_table(table, fresh))
    else:
        lines = {"csv": _csv_lines, "jsonl": _json_lines, "label-studio": _task_lines}[kind](table)
        write_whole(path, lambda fresh: fresh.write_text("".join(lines), encoding="utf-8", newline=""))


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if isinstance(value, datetime) else value


def _csv_lines(table: pa.Table) -> Iterator[str]:
    yield ",".join(table.column_names) + "\n"
    for row in table.to_pylist():
        yield ",".join("" if value is None else _cell(str(_plain(value))) for value in row.values()) + "\n"


def _cell(text: str) -> str:
    """What a spreadsheet may take for a formula gets one ' in front on export and loses one on import.

    Not the csv module's writer: it leaves a carriage return bare, which its own reader takes for the line's end."""
    text = "'" + text if FORMULA.match(text) else text
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


def _without_quote(text: str) -> str:
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def _json_lines(table: pa.Table) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False, default=_plain) + "\n" for row in table.to_pylist())


# -- Label Studio --------------------------------------------------------------------------------
# For a project with `<Image name="image" value="$image"/>` and `<Choices name="level" toName="image">` that serves the
# data set's folder as its local files. It takes no name of ours for `completed_by`, so names go under a key that it ignores.


def _read_tasks(path: Path, wanted: set[str]) -> Table:
    try:
        tasks = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise LabelFileError(f"{path} isn't JSON ({cut(str(error))}); nothing was imported") from error
    if not isinstance(tasks, list):
        raise LabelFileError(f"{path} isn't Label Studio's JSON, a list of tasks; nothing was imported", got=type(tasks).__name__)
    return None, [row for number, task in enumerate(tasks, start=1) for row in _task_rows(f"task {number}", task, wanted)]


def _task_rows(place: str, task: Any, wanted: set[str]) -> Iterable[Row]:
    """A row for each annotation; one that was cancelled in Label Studio is none."""
    data, made = (task.get("data"), task.get("annotations", [])) if isinstance(task, dict) else (None, None)
    if not isinstance(data, dict) or not isinstance(made, list) or not all(isinstance(each, dict) for each in made):
        return [Row(place, {}, "no task with data and annotations")]
    example = data["example"] if "example" in data else _image(data.get("image"))
    rows = []
    for number, annotation in enumerate(made, start=1):
        if not annotation.get("was_cancelled"):
            who = annotation.get("completed_by")
            named = annotation.get("annotator") or (who.get("email") if isinstance(who, dict) else who)
            cells = {"example": example, "annotator": named, "level": _choice(annotation.get("result")),
                     "answered_at": annotation.get("created_at"), "seconds": annotation.get("lead_time")}  # fmt: skip
            rows.append(_row(f"{place}, annotation {number}", cells, wanted))
            rows[-1].problem = rows[-1].problem or ("" if cells["level"] else 'no single choice of the control "level"')
    return rows


def _image(address: Any) -> Any:
    """The file that an address of Label Studio stands for: below its local files, or uploaded, or as it is."""
    if not isinstance(address, str):
        return address
    return urllib.parse.unquote(address.removeprefix(LOCAL_FILES)) if address.startswith(LOCAL_FILES) else UPLOADED.sub("", address)


def _choice(result: Any) -> Any:
    parts = result if isinstance(result, list) else []
    found = [part.get("value") for part in parts if isinstance(part, dict) and part.get("from_name") == "level"]
    chosen = found[0].get("choices") if len(found) == 1 and isinstance(found[0], dict) else None
    return chosen[0] if isinstance(chosen, list) and len(chosen) == 1 else None


def _task_lines(table: pa.Table) -> Iterator[str]:
    tasks: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        example = row["example"]
        data = {"image": LOCAL_FILES + urllib.parse.quote(example), "example": example}
        task = tasks.setdefault(example, {"id": len(tasks) + 1, "data": data, "annotations": []})
        choice = {"from_name": "level", "to_name": "image", "type": "choices", "value": {"choices": [row["level"]]}}
        task["annotations"].append({"annotator": row["annotator"], "created_at": row["answered_at"], "lead_time": row["seconds"],
                                    "result": [choice]})  # fmt: skip
    yield json.dumps(list(tasks.values()), ensure_ascii=False, indent=1, default=_plain) + "\n"
