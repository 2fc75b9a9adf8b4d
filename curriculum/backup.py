"""Backups of the whole database: a folder of Parquet files with a manifest, and a new database from one.

A backup is there whole or not at all, and names its files' SHA-256 and its schema version. A restore checks them all, and
never loses the database that was there.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from curriculum import snapshot
from curriculum.errors import ConfigError, StoreError, StoreLockedError
from curriculum.files import copy_apart, digest, flush, flush_all, read_json, write_json, write_whole
from curriculum.home import Home
from curriculum.schema import LOGS, SCHEMA_VERSION, TABLES, version_of
from curriculum.store import PATIENCE_SECONDS, Store
from curriculum.write_ahead import log_of

MANIFEST, RESCUED, TORN = "manifest.json", "rescued-", "torn-"
BESIDE = ".restore-"
"""How the name of the folder begins in which a restore makes the new database; its process's number follows."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """What a restore did: where the database that was there is kept (None: there was none), the rows of each table, and the tables that
    are empty because their files in the backup can't be read.
    """

    kept: Path | None
    rows: dict[str, int]
    torn: tuple[str, ...] = ()


def backup(store: Store, folder: Path | None = None) -> Path:
    """Write every table to a new folder, by default labels/backups/<UTC time>, whole or not at all; returns that folder.

    Raises:
        ConfigError: the folder is there already, or among what the program keeps, but for labels/backups.
    """
    folder = (folder or store.home.labels / "backups" / _stamp()).absolute()
    if folder.parent != store.home.labels / "backups":
        store.home.claim(folder, overwrite=True)  # nothing is
    if folder.exists():
        raise ConfigError("this is there already", got=str(folder), todo="Choose a new folder: nothing is overwritten.")
    fresh = folder.with_name(f".{folder.name}.{_stamp()}")
    try:
        fresh.mkdir(parents=True)
        store.write_tables(fresh)
        _vouch(fresh, SCHEMA_VERSION)
        flush_all(fresh)
        fresh.rename(folder)
        flush(folder.parent)
        log.info("backup made", extra={"folder": str(folder)})
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _vouch(folder: Path, version: int, torn: tuple[str, ...] = ()) -> None:
    """Give a folder of tables the manifest that makes it a backup, last of all; for torn ones it doesn't vouch."""
    sums, counts = {}, {}
    for file in sorted(folder.glob("*.parquet")):
        if file.stem not in torn:
            flush(file)
            sums[file.name], counts[file.stem] = digest(file), pq.read_metadata(file).num_rows
    made = {"schema_version": version, "made_at": datetime.now(UTC).isoformat(), "rows": counts, "sha256": sums, "torn": list(torn)}
    write_json(folder / MANIFEST, made)


def lacks(store: Store) -> bool:
    """Whether the last snapshot has labels that the database lacks, or may have some, as a file of it can't be read.

    Rows of the logs are never deleted, so that fewer than in the snapshot means that the database's file was lost, or is an older one. To be
    asked before anybody labels.
    """
    with suppress(OSError):  # then it is looked at as it lies there; `keep_snapshot` says what is the matter
        snapshot.put_back(store.home)
    there = snapshot.rows(store.home.snapshot)
    return None in there.values() or any((there.get(name) or 0) > store.rows(f"SELECT count(*) FROM {name}")[0][0] for name in LOGS)


def keep_snapshot(home: Home) -> Path | None:
    """Make the snapshot, which has what the database hasn't, a backup, before another is written over it: labels/backups/rescued-<UTC time>;
    torn-<UTC time> where some of its tables can't be read, which such a backup is restored without. It only gets another name, for which
    also a full disk has room.

    Returns:
        That folder; None: there is no snapshot, or one without labels.

    Raises:
        StoreError: it can't be kept; then it stays where it is.
    """
    folder = home.labels / "backups" / _stamp()
    try:
        snapshot.put_back(home)
        torn, rows = snapshot.torn(home.snapshot), snapshot.rows(home.snapshot)
        if not torn and not any(rows.get(name) for name in LOGS):
            return None
        _vouch(home.snapshot, SCHEMA_VERSION if "schema_version" in torn else _version(home.snapshot), torn)
        folder = folder.with_name(f"{TORN if torn else RESCUED}{folder.name}")
        folder.parent.mkdir(exist_ok=True)
        home.snapshot.rename(folder)
        flush(folder.parent)
        flush(home.labels)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"the last snapshot, {home.snapshot}, may have labels that the database lacks, and couldn't be kept as a backup ({error})",
            todo="Look at the free space and the rights there, or copy that folder elsewhere; no snapshot is written over it meanwhile.",
        ) from error
    log.warning("the last snapshot is kept as a backup", extra={"folder": str(folder), "rows": rows, "torn": torn})
    return folder


def _version(folder: Path) -> int:
    """Of the schema of a folder of tables; the newest, where it isn't said: a restore looks at all of them anyway."""
    try:
        return version_of(pq.read_table(folder / "schema_version.parquet", partitioning=None)["version"], folder)
    except (StoreError, KeyError, FileNotFoundError):
        return SCHEMA_VERSION


def restore(home: Home, folder: Path, *, patience: float = PATIENCE_SECONDS) -> Restored:
    """Put a backup, of this or an older version of the schema, in the database's place; what was there is kept as labels/curriculum.duckdb.<UTC time>.bak.

    The new database is made and opened beside the old one first, so that a backup that can't be restored changes nothing.

    Args:
        patience: seconds to wait for a command that owns the database.

    Raises:
        StoreLockedError: another process owns the database.
        StoreError: the folder is no whole backup, or from a newer version of this program.
    """
    rows, torn = _check(folder)
    clear_restores(home)
    beside = Home(home.labels / f"{BESIDE}{os.getpid()}-{_stamp()}")
    try:
        Store.build(beside, folder, torn)
        with Store.open(beside, owner="labels restore") as store:
            store.rows("CHECKPOINT")
        restored = Restored(_swap(home, beside.database, patience), rows, torn)
        with suppress(OSError):
            snapshot.discard(home)  # of the database that was there, which is kept
        log.info("backup restored", extra={"folder": str(folder), "kept": str(restored.kept)})
        return restored
    finally:
        shutil.rmtree(beside.root, ignore_errors=True)


def clear_restores(home: Home) -> None:
    """Take away what restores that were killed had begun to make; not another process's that is at work."""
    for left in home.labels.glob(f"{BESIDE}*"):
        pid = left.name.removeprefix(BESIDE).partition("-")[0]
        if not pid.isdecimal() or int(pid) == os.getpid() or not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")


def _check(folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Row counts of a backup, once everything is as its manifest says, and the tables that it says are torn."""
    try:
        manifest = read_json(folder / MANIFEST)
        version, sums = manifest["schema_version"], manifest["sha256"]
        if type(version) is not int:
            raise ValueError("the schema's version is a whole number")
        rows = {str(table): int(count) for table, count in manifest["rows"].items()} if version <= SCHEMA_VERSION else {}
        if outside := [table for table in rows if not re.fullmatch("[a-z_]+", table)]:
            raise ValueError(f"{outside[0]!r} is no table")
        torn = tuple(table for table in TABLES if table in manifest.get("torn", ()))
        if unlisted := {path.stem for path in folder.glob("*.parquet")} - {*rows, *torn} if version <= SCHEMA_VERSION else ():
            raise ValueError(f"the manifest doesn't list {', '.join(sorted(unlisted))}")
        damaged = [name for name in (f"{table}.parquet" for table in rows) if digest(folder / name) != sums[name]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(f"{folder} is no whole backup ({error!r})", todo="Give a folder that `labels backup` wrote.") from error
    if version > SCHEMA_VERSION:
        raise StoreError("the backup was made by a newer version of this program", got=f"schema version {version}",
                         allowed=f"up to {SCHEMA_VERSION}", todo="Restore it with that version, or update this one.")  # fmt: skip
    if damaged:
        raise StoreError("the backup was changed or damaged", got=", ".join(damaged), todo="Restore another backup.")
    return rows, torn


def _swap(home: Home, fresh: Path, patience: float) -> Path | None:
    """Put a database file in the home's place, holding the old one's lock; a crash at any point leaves the old one, a copy of it, or both."""
    home.labels.mkdir(parents=True, exist_ok=True)
    existed, owned = home.database.exists(), None
    try:
        owned = Store.open(home, owner="labels restore", patience=patience)
        owned.rows("CHECKPOINT")
    except StoreLockedError:
        raise
    except StoreError:  # damaged, or of a newer version: nobody has it open, and it is kept as it is
        keep_snapshot(home)  # perhaps all that can be read of it
    kept = home.database.with_name(f"{home.database.name}.{_stamp()}.bak") if existed else None
    try:
        if kept is not None:
            write_whole(kept, lambda copy: copy_apart(home.database, copy))
            with suppress(FileNotFoundError):
                log_of(home.database).replace(log_of(kept))
        fresh.replace(home.database)
        flush(home.labels)
        with suppress(OSError):
            snapshot.discard(home)  # it shows the old one
    finally:
        if owned is not None:
            owned.close()
    return kept
