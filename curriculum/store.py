"""The team's database: one DuckDB file, one owning process, one writer at a time.

The only module that imports duckdb. It opens, migrates, queries, writes and snapshots; what the
rows mean is the business of the modules that call it (`datasets`, `labels`, `runs`, `analysis`).
Training processes never come here.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum import ownership, snapshot
from curriculum.errors import StoreError, StoreLockedError
from curriculum.files import copy_apart, write_whole
from curriculum.home import Home
from curriculum.schema import LOGS, MAX_SEQ, SCHEMA_VERSION, TABLES, check_version, lift, make, read_tables, version_of
from curriculum.write_ahead import alone, cut, damaged_at, keep, passed_over

READS = re.compile(r"\s*(SELECT|FROM)\b", re.IGNORECASE)
CHANGES = re.compile(r'\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+"?(\w+)', re.IGNORECASE)
PART = 100_000
"""Rows of a table that are in memory together while it is written out."""
MOST_REMEMBERED = 20_000
"""Answers, some 500 bytes each."""
PATIENCE_SECONDS = 60.0
"""How long a command waits for another one: most own the database for a second or two, one that looks for images of the same ground for a minute."""
LONG_PATIENCE_SECONDS = 600.0
"""How long hours of computing wait, which mustn't end in vain because of a large import."""

log = logging.getLogger(__name__)


class Cursor:
    """What `Store.write` lends: a connection that takes note of the tables that its statements change."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection, self.changed = connection, set[str]()

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> duckdb.DuckDBPyConnection:
        self._note(sql)
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Sequence[Sequence[object]]) -> duckdb.DuckDBPyConnection:
        self._note(sql)
        return self._connection.executemany(sql, parameters)

    def register(self, name: str, frame: pd.DataFrame) -> None:
        self._connection.register(name, frame)

    def unregister(self, name: str) -> None:
        self._connection.unregister(name)

    def _note(self, sql: str) -> None:
        if found := CHANGES.match(sql):
            self.changed.add(found[1])
        elif not READS.match(sql):
            self.changed.update(TABLES)  # who knows


class Store:
    """An open database. Safe to share between threads: each gets its own cursor, writers take turns."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, home: Home, *, writable: bool) -> None:
        self.home, self.writable = home, writable
        self._connection = connection
        self._local, self._closed = threading.local(), False
        # Of all threads that live: the last one that is open keeps the file locked. A thread that ends takes its cursor with it.
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._cursor_lock, self._write_lock = threading.Lock(), threading.RLock()
        self.changes = 0
        """Committed writes since opening: what the snapshot is compared with."""
        self._changed = dict.fromkeys(TABLES, 0)  # `changes` as of the last write to each table
        self._in_snapshot: int | None = None  # `changes` as of the snapshot, once this process has written one
        self._reads: dict[str, list[str]] = {}
        self._remembered: dict[tuple[object, ...], tuple[list[int], list[tuple[Any, ...]]]] = {}

    # -- opening ---------------------------------------------------------------------------------

    @classmethod
    def open(cls, home: Home, *, owner: str = "a command", patience: float = PATIENCE_SECONDS) -> Store:
        """Open the database for writing, made or migrated as needed, and own it until `close`.

        Args:
            patience: seconds to wait while a command owns it; for the app, which stays, nobody waits.

        Raises:
            StoreLockedError: another process owns it; its PID is in the error.
            StoreError: the file is damaged, from a newer version, or can't be written.
        """
        if {"?", "\\"} & set(home.database.as_posix()):  # DuckDB takes what follows for something else than a path
            raise StoreError("a home's path can't have ? or \\ in it", got=str(home.root), todo="Move or rename the folder")
        try:
            home.labels.mkdir(parents=True, exist_ok=True)
            connection = _connect(home, patience)
        except (duckdb.Error, OSError) as error:
            raise _damaged(home, error) from error
        store = cls(connection, home, writable=True)
        try:
            _secure(connection)
            ownership.mark(home, owner)
            _migrate(store)
        except duckdb.InvalidInputException as error:  # the configuration is locked: by this very process
            connection.close()
            raise StoreLockedError(
                f"the database {home.database} is open in this process already",
                pid=os.getpid(),
                todo="Use the open one, or close it first.",
            ) from error
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_or_snapshot(cls, home: Home, *, owner: str = "a command", patience: float = PATIENCE_SECONDS) -> Store:
        """Open the database, or, while the app owns it, the app's latest snapshot, read-only.

        A command writes no snapshot, so the one that lies there while it owns the database may be of last week: it is waited for.
        """
        try:
            return cls.open(home, owner=owner, patience=patience)
        except StoreLockedError as locked:
            if not (ownership.owned_by_the_app(home, locked.pid) and (home.snapshot / "schema_version.parquet").exists()):
                raise
            return cls.from_snapshot(home)

    @classmethod
    def open_to_look(cls, home: Home) -> Store:
        """The database as it lies there, of whatever version: only to be read, nothing is made, migrated or written out.

        Raises:
            StoreLockedError: another process owns it. StoreError: there is none, or it can't be read.
        """
        try:
            connection = duckdb.connect(str(home.database), read_only=True)
        except duckdb.Error as error:
            raise ownership.locked(home, str(error)) or _damaged(home, error) from error
        _secure(connection)
        return cls(connection, home, writable=False)

    @classmethod
    def from_snapshot(cls, home: Home) -> Store:
        """Load the Parquet snapshot into memory. Writing to it raises StoreLockedError."""
        connection = duckdb.connect(":memory:")
        try:
            _load(connection, home.snapshot)
            _secure(connection)
        except duckdb.Error as error:
            connection.close()
            raise StoreError(f"the snapshot {home.snapshot} can't be loaded ({error})", todo="Try again in a minute.") from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, home, writable=False)

    def close(self) -> None:
        """Write everything out and let other processes in. Whoever still asks is told that the database has closed."""
        with self._write_lock:
            with self._cursor_lock:
                self._closed, cursors = True, list(self._cursors)
            if self.writable:
                ownership.unmark(self.home)  # while nobody else can have marked it
            for cursor in (*cursors, self._connection):
                _close(cursor)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading and writing ---------------------------------------------------------------------

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """This thread's."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._new_cursor()
        elif self._closed:
            raise _just_closed()
        return cursor

    def _new_cursor(self) -> duckdb.DuckDBPyConnection:
        with self._cursor_lock:
            if self._closed:
                raise _just_closed()
            cursor = self._connection.cursor()
            self._cursors.add(cursor)
            return cursor

    def query(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> pd.DataFrame:
        """Run one SELECT on this thread's cursor and return its rows."""
        try:
            # Through Arrow: DuckDB's own way into pandas trips over pandas 3 on times with a zone.
            frame: pd.DataFrame = self._cursor().sql(sql, params=parameters).to_arrow_table().to_pandas()
            return frame
        except duckdb.Error as error:
            raise StoreError(f"the database could not answer ({error})") from error

    def rows(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
        """Run one SELECT and return plain tuples: for a few rows, where a data frame costs more than it gives."""
        try:
            return self._cursor().execute(sql, parameters).fetchall()
        except duckdb.Error as error:
            raise StoreError(f"the database could not answer ({error})") from error

    def remembered(self, sql: str, parameters: Sequence[Hashable] = ()) -> list[tuple[Any, ...]]:
        """As `rows`, for what is asked over and over of tables that seldom change: the same answer until this process, the only one that
        can, writes to a table that the statement reads. Nobody changes the list that comes back. A question costs a millisecond of
        processor, and who sorts would wait for several.
        """
        if self._closed or self._local.__dict__.get("writing"):
            return self.rows(sql, parameters)  # what isn't committed yet is nobody else's
        key, stamp = (sql, *parameters), [self._changed[table] for table in self._read_by(sql)]
        kept = self._remembered.get(key)
        if kept is None or kept[0] != stamp:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            kept = self._remembered[key] = (stamp, self.rows(sql, parameters))
        return kept[1]

    def _read_by(self, sql: str) -> list[str]:
        """The tables that a statement reads, itself or through views; joins say ON, as DuckDB can't tell here what USING means."""
        found = self._reads.get(sql)
        if found is None:
            try:
                found = self._reads[sql] = sorted(self._cursor().get_table_names(sql.replace("?", "NULL")))
            except duckdb.Error as error:
                raise StoreError(f"the database could not answer ({error})") from error
        return found

    def version(self) -> int:
        """Of the schema that the rows have; 0: an empty database."""
        made = self.rows("SELECT 1 FROM information_schema.tables WHERE table_name = 'schema_version'")
        return int(self.rows("SELECT max(version) FROM schema_version")[0][0]) if made else 0

    def read_all(self) -> dict[str, int]:
        """Read every value of every table, whose checksums DuckDB compares; returns the rows of each.

        Raises:
            StoreError: a block is damaged.
        """
        names = [name for (name,) in self.rows("SELECT table_name FROM duckdb_tables() ORDER BY table_name")]
        return {name: self.rows(f'SELECT count(*), bit_xor(hash(whole)) FROM "{name}" AS whole')[0][0] for name in names}

    @contextmanager
    def write(self) -> Iterator[Cursor]:
        """A transaction: committed when the block ends, undone when it raises. Writers take turns."""
        if not self.writable:
            raise ownership.written_by_another(self.home)
        with self._write_lock:
            cursor = self._cursor()
            lent, self._local.writing = Cursor(cursor), True
            try:
                cursor.execute("BEGIN")
                yield lent
                cursor.execute("COMMIT")
                self.changes += 1
                self._changed |= dict.fromkeys(lent.changed, self.changes)
            except BaseException as error:
                _rollback(cursor)
                if isinstance(error, duckdb.Error):
                    raise StoreError(
                        f"the database refused to write ({error})", todo="Nothing of this change was stored; free space and try again."
                    ) from error
                raise
            finally:
                self._local.writing = False

    def insert(self, cursor: Cursor, table: str, frame: pd.DataFrame, conflict: str = "") -> None:
        """Append a data frame's rows to a table by column name, inside `write`."""
        if table not in TABLES:
            raise StoreError("unknown table", got=table, allowed=TABLES)
        if frame.empty:
            return
        cursor.register("incoming", frame)
        try:
            cursor.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming {conflict}")
        finally:
            with suppress(duckdb.Error):  # after a failure it would complain of the transaction, and hide what was wrong
                cursor.unregister("incoming")

    def upsert(self, cursor: Cursor, table: str, frame: pd.DataFrame, key: tuple[str, ...]) -> None:
        """Insert rows, or overwrite those of the same primary key, inside `write`."""
        update = ", ".join(f'"{column}" = excluded."{column}"' for column in frame.columns if column not in key)
        self.insert(cursor, table, frame, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {update}")

    # -- snapshot and backup ---------------------------------------------------------------------

    def write_tables(self, folder: Path, *, link: bool = False) -> int:
        """Write every table's rows, all as of one moment, to <table>.parquet in a folder; returns `changes` as of it.

        Writers wait until the moment is fixed, no longer, and only a part of a table at a time is in memory.

        Args:
            link: a table that hasn't changed since the last snapshot is that snapshot's own file, under a second name.
        """
        try:
            with closing(self._new_cursor()) as moment:
                with self._write_lock:
                    moment.execute("BEGIN")
                    moment.execute("SELECT 1 FROM schema_version").fetchall()  # what fixes the moment: BEGIN alone doesn't
                    changes, changed = self.changes, dict(self._changed)
                for table in TABLES:
                    file = folder / f"{table}.parquet"
                    same = link and self._in_snapshot is not None and changed[table] <= self._in_snapshot
                    if not (same and _linked(self.home.snapshot / file.name, file)):
                        rows = moment.sql(f"SELECT * FROM {table}").to_arrow_reader(PART)
                        # A file of Python's: after a failure, as on a full disk, Arrow's own would keep it open, and its room.
                        with file.open("wb") as opened, pq.ParquetWriter(opened, rows.schema) as out:
                            for part in rows:
                                out.write_batch(part)
        except duckdb.Error as error:
            raise StoreError(f"the database could not be written out ({error})") from error
        return changes

    @classmethod
    def build(cls, home: Home, folder: Path, without: Collection[str] = ()) -> None:
        """Make a home's database, which mustn't exist, from a folder of Parquet files as `tables` gives them now or gave them in an
        older version of the schema, and close it.

        Args:
            without: tables that stay empty, because their files are torn.

        Raises:
            StoreError: the files can't be read, or their rows don't fit.
        """
        home.labels.mkdir(parents=True, exist_ok=True)
        try:
            with closing(duckdb.connect(str(home.database))) as connection:
                _load(connection, folder, without)
                for table in LOGS:
                    last = connection.execute(f"SELECT coalesce(max(seq), 0) FROM {table}").fetchall()[0][0]
                    if last > MAX_SEQ:
                        raise StoreError(
                            f"the numbers of {table} in {folder} are larger than any log's", got=last, allowed=f"up to {MAX_SEQ:,}"
                        )
                    connection.execute(f"SELECT max(nextval('{table}_seq')) FROM range(?)", [last])
        except duckdb.Error as error:
            raise StoreError(f"the tables of {folder} can't be put into a database ({error})") from error

    def write_snapshot(self) -> int:
        """Write every table to labels/snapshot/*.parquet, whole or not at all; returns `changes` as of it."""
        self._in_snapshot = snapshot.replace(self.home, lambda fresh: self.write_tables(fresh, link=True))
        return self._in_snapshot


def _connect(home: Home, patience: float) -> duckdb.DuckDBPyConnection:
    """As soon as no other command holds the database."""
    began, said = time.monotonic(), False
    while True:
        try:
            return _connect_now(home)
        except duckdb.IOException as error:
            refused = ownership.locked(home, str(error))
            if refused is None:
                raise
            waited = time.monotonic() - began
            if waited >= patience or ownership.owned_by_the_app(home, refused.pid):
                raise refused from error
            if not said and waited > 1:
                said = True
                log.warning("%s (process %s); waiting for up to %.0f s", refused.what, refused.pid, patience)
            time.sleep(0.1)


def _connect_now(home: Home) -> duckdb.DuckDBPyConnection:
    """DuckDB passes over the end of a write-ahead log that was cut off, and over more without a word where a length is damaged; other damage
    it refuses. What it would lose is kept first, by one process at a time: a slow one mustn't cut the log of another that was quicker.
    """
    if not passed_over(home.database):
        try:
            return duckdb.connect(str(home.database))
        except duckdb.Error as error:
            if damaged_at(str(error)) is None:
                raise
    with alone(home.database):
        place = None
        try:
            if home.database.exists():  # who was quicker has it open by now, or has closed a log that is whole; to look changes nothing
                duckdb.connect(str(home.database), read_only=True).close()
        except duckdb.Error as error:
            place = damaged_at(str(error))
            if place is None:
                raise
        if place is not None or passed_over(home.database):
            keep(home.database)
        if place is not None:
            cut(home.database, place)
        return duckdb.connect(str(home.database))


def _linked(there: Path, here: Path) -> bool:
    """One file under a second name; False where it has gone, or the disk can't do that."""
    try:
        here.hardlink_to(there)
    except OSError:
        return False
    return True


def _load(connection: duckdb.DuckDBPyConnection, folder: Path, without: Collection[str] = ()) -> None:
    """Make the newest schema and fill it from a folder of Parquet files, all of one moment, of any version up to it; `without` stay empty."""
    tables = read_tables(folder, without)
    if "schema_version" in without:
        tables["schema_version"] = pa.table({"version": [SCHEMA_VERSION]})  # of the program that wrote it last, most likely
    try:
        version = version_of(tables["schema_version"]["version"], folder)
        check_version(version)
        make(connection, version)
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            connection.execute(f"DELETE FROM {table}")
            if table in without and table != "schema_version":
                continue
            connection.register("incoming", tables[table])
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
            connection.unregister("incoming")
    except KeyError as error:
        raise StoreError(f"the snapshot {folder} has no {error}", todo="Try again in a minute.") from error
    if version < SCHEMA_VERSION:
        lift(connection, version)


def _secure(connection: duckdb.DuckDBPyConnection) -> None:
    """No SQL of ours reads files or the network, so none may."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _migrate(store: Store) -> None:
    """Bring the schema to SCHEMA_VERSION inside one transaction, or leave the database as it was; an older one is copied first."""
    version = store.version()
    if version == SCHEMA_VERSION:
        return
    if version:
        check_version(version)
        _keep_copy(store, version)
    with store.write() as cursor:
        if not version:
            make(cursor)
            cursor.execute("INSERT INTO schema_version (version) VALUES (?)", [SCHEMA_VERSION])
        else:
            lift(cursor, version)


def _keep_copy(store: Store, version: int) -> None:
    """The database as it is, beside it: putting the copy in its place takes an upgrade back."""
    path = store.home.database
    store.rows("CHECKPOINT")
    kept = path.with_name(f"{path.name}.version-{version}.{datetime.now(UTC):%Y%m%d-%H%M%S}.bak")
    try:
        write_whole(kept, lambda copy: copy_apart(path, copy))
    except OSError as error:
        raise StoreError(f"the database can't be upgraded: no copy of it could be made at {kept} ({error})",
                         todo="Free some space and start again; nothing was changed.") from error  # fmt: skip


def _close(cursor: duckdb.DuckDBPyConnection) -> None:
    """A question that another thread is asking is broken off; DuckDB refuses to close beneath it."""
    for _ in range(500):
        with suppress(duckdb.Error):
            cursor.close()
            return
        cursor.interrupt()
        time.sleep(0.01)


def _just_closed() -> StoreError:
    return StoreError("the database has just been closed", todo="Try again in a moment.")


def _rollback(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # the failed statement may have ended the transaction already
        cursor.execute("ROLLBACK")


def _damaged(home: Home, error: Exception) -> StoreError:
    if "Corrupt WAL" in str(error):  # to somebody who only wants to look: opening it for writing mends that
        todo = "Start the app, or wait until it runs: it goes on with all that stands before the damage, and keeps a copy."
    else:
        todo = ("Check the folder's permissions and free space. If the file is damaged, move it and its .wal away and start the app: the last "
                "snapshot, at most a minute old, becomes a backup, and the page Health says how to go back to it.")  # fmt: skip
    return StoreError(f"the database {home.database} can't be opened ({error})", todo=todo)
