"""The tables: their names, the version of their schema, how an empty or an older database gets it, and how their Parquet files are read.

What lies in schema.sql and migrations/ is brought in here; `store` says when, and in which transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.errors import StoreError

SCHEMA_VERSION = 3
"""Of schema.sql. migrations/1.sql makes the first version, each further one lifts it by one; the last leads to the same as schema.sql."""

TABLES = ("schema_version", "dataset", "example", "overlap", "rejected_file", "annotator", "annotation", "calibration_image", "practice_answer",
          "request", "comparison", "run", "epoch", "prediction", "score")  # fmt: skip
LOGS = ("annotation", "comparison")
"""Tables whose order is a sequence's, `<table>_seq`."""
MAX_SEQ = 100_000_000
"""Up to which number a log's own are kept: the database counts up to them, 60 million a second."""


class Connection(Protocol):
    """Of a database, or what a transaction lends of it."""

    def execute(self, sql: str, parameters: Sequence[object] = ..., /) -> object: ...


def read_tables(folder: Path, without: Collection[str] = ()) -> dict[str, pa.Table]:
    """Every file of a snapshot, or all but those of some tables, quickly: its owner may replace it any time."""
    path, tables = folder, {}
    try:
        before = folder.stat()
        for path in sorted(folder.glob("*.parquet")):
            if path.stem not in without:
                tables[path.stem] = pq.read_table(path, partitioning=None)
        after = folder.stat()
    except Exception as error:  # on a damaged file Arrow raises whatever it stumbles over
        raise StoreError(f"the snapshot {path} can't be read ({error})", todo="Try again in a minute.") from error
    if (before.st_ino, before.st_ctime_ns) != (after.st_ino, after.st_ctime_ns):
        raise StoreError(f"the snapshot {folder} was replaced while it was read", todo="Try again.")
    return tables


def version_of(column: pa.ChunkedArray, folder: Path) -> int:
    """The newest of the versions that a table of them holds."""
    values = column.to_pylist() if pa.types.is_integer(column.type) else [str(column.type)]  # of other kinds Arrow may not know the values
    if not values or not all(type(value) is int and value > 0 for value in values):
        raise StoreError(
            f"the snapshot {folder} doesn't say the version of its schema", got=ascii(values)[:80], todo="Restore another backup."
        )
    return int(max(values))


def _sql(name: str) -> str:
    return (files("curriculum") / name).read_text(encoding="utf-8")


def make(connection: Connection, version: int = SCHEMA_VERSION) -> None:
    """An empty database's schema, the newest at once, an older one step by step."""
    steps = ["schema.sql"] if version == SCHEMA_VERSION else [f"migrations/{step}.sql" for step in range(1, version + 1)]
    for step in steps:
        connection.execute(_sql(step))


def lift(connection: Connection, version: int) -> None:
    """Bring a filled schema from a version to the newest."""
    for step in range(version + 1, SCHEMA_VERSION + 1):
        connection.execute(_sql(f"migrations/{step}.sql"))
    connection.execute("INSERT INTO schema_version (version) VALUES (?)", [SCHEMA_VERSION])


def check_version(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise StoreError("the database was made by a newer version of this program", got=f"schema version {version}",
                         allowed=f"up to {SCHEMA_VERSION}", todo="Update the program.")  # fmt: skip
