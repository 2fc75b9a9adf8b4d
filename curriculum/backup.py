"""Backups of the whole database: a folder of Parquet files with a manifest, and a new database from one.

A backup is there whole or not at all, and names its files' SHA-256 and its schema version. A restore checks them all, and
never loses the database that was there.
"""

from __future__ import annotations

import logging
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from curriculum.errors import ConfigError, StoreError, StoreLockedError
from curriculum.files import copy_apart, digest, flush, read_json, write_json, write_whole
from curriculum.home import Home
from curriculum.schema import LOGS, SCHEMA_VERSION
from curriculum.store import PATIENCE_SECONDS, Store
from curriculum.write_ahead import log_of

MANIFEST, RESCUED = "manifest.json", "rescued-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """What a restore did: where the database that was there is kept (None: there was none), and the rows of each table."""

    kept: Path | None
    rows: dict[str, int]


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
        fresh.rename(folder)
        log.info("backup made", extra={"folder": str(folder)})
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _vouch(folder: Path, version: int) -> None:
    """Give a folder of tables the manifest that makes it a backup, last of all."""
    sums, counts = {}, {}
    for file in sorted(folder.glob("*.parquet")):
        flush(file)
        sums[file.name], counts[file.stem] = digest(file), pq.read_metadata(file).num_rows
    made = {"schema_version": version, "made_at": datetime.now(UTC).isoformat(), "rows": counts, "sha256": sums}
    write_json(folder / MANIFEST, made)


def rescue(store: Store) -> Path | None:
    """Before a snapshot is written over: one that has labels which the database lacks becomes a backup, labels/backups/rescued-<UTC time>.

    Rows of the logs are never deleted, so that fewer than in the snapshot means that the database's file was lost, or is an older one.
    """
    there = _logged(store.home.snapshot)
    if all(count <= store.rows(f"SELECT count(*) FROM {table}")[0][0] for table, count in there.items()):
        return None
    return _keep_snapshot(store.home)


def _logged(snapshot: Path) -> dict[str, int]:
    """The rows of each log in a snapshot; none where it can't be read."""
    try:
        return {table: pq.read_metadata(snapshot / f"{table}.parquet").num_rows for table in LOGS}
    except (OSError, ValueError, KeyError):
        return {}


def _keep_snapshot(home: Home) -> Path | None:
    """Make a backup of the snapshot, which has what the database hasn't; None where there is none that can be read."""
    rows = _logged(home.snapshot)
    try:
        version = int(pq.read_table(home.snapshot / "schema_version.parquet", partitioning=None).to_pandas()["version"].max())
    except (OSError, ValueError, KeyError):
        return None
    if not any(rows.values()):
        return None
    folder = home.labels / "backups" / f"{RESCUED}{_stamp()}"
    fresh = folder.with_name(f".{folder.name}")
    try:
        shutil.copytree(home.snapshot, fresh)
        _vouch(fresh, version)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    log.warning("the last snapshot has labels that the database lacks: it is kept as a backup", extra={"folder": str(folder), "rows": rows})
    return folder


def restore(home: Home, folder: Path, *, patience: float = PATIENCE_SECONDS) -> Restored:
    """Put a backup, of this or an older version of the schema, in the database's place; what was there is kept as labels/curriculum.duckdb.<UTC time>.bak.

    The new database is made and opened beside the old one first, so that a backup that can't be restored changes nothing.

    Args:
        patience: seconds to wait for a command that owns the database.

    Raises:
        StoreLockedError: another process owns the database.
        StoreError: the folder is no whole backup, or from a newer version of this program.
    """
    rows = _check(folder)
    beside = Home(home.labels / f".restore-{_stamp()}")
    try:
        Store.build(beside, folder)
        with Store.open(beside, owner="labels restore") as store:
            store.rows("CHECKPOINT")
        restored = Restored(_swap(home, beside.database, patience), rows)
        shutil.rmtree(home.snapshot, ignore_errors=True)  # of the database that was there, which is kept
        log.info("backup restored", extra={"folder": str(folder), "kept": str(restored.kept)})
        return restored
    finally:
        shutil.rmtree(beside.root, ignore_errors=True)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")


def _check(folder: Path) -> dict[str, int]:
    """Row counts of a backup, once everything is as its manifest says."""
    try:
        manifest = read_json(folder / MANIFEST)
        version, sums = manifest["schema_version"], manifest["sha256"]
        if type(version) is not int:
            raise ValueError("the schema's version is a whole number")
        rows = {str(table): int(count) for table, count in manifest["rows"].items()} if version <= SCHEMA_VERSION else {}
        if outside := [table for table in rows if not re.fullmatch("[a-z_]+", table)]:
            raise ValueError(f"{outside[0]!r} is no table")
        if unlisted := {path.stem for path in folder.glob("*.parquet")} - set(rows) if version <= SCHEMA_VERSION else ():
            raise ValueError(f"the manifest doesn't list {', '.join(sorted(unlisted))}")
        damaged = [name for name in (f"{table}.parquet" for table in rows) if digest(folder / name) != sums[name]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(f"{folder} is no whole backup ({error!r})", todo="Give a folder that `labels backup` wrote.") from error
    if version > SCHEMA_VERSION:
        raise StoreError("the backup was made by a newer version of this program", got=f"schema version {version}",
                         allowed=f"up to {SCHEMA_VERSION}", todo="Restore it with that version, or update this one.")  # fmt: skip
    if damaged:
        raise StoreError("the backup was changed or damaged", got=", ".join(damaged), todo="Restore another backup.")
    return rows


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
        _keep_snapshot(home)  # perhaps all that can be read of it
    kept = home.database.with_name(f"{home.database.name}.{_stamp()}.bak") if existed else None
    try:
        if kept is not None:
            write_whole(kept, lambda copy: copy_apart(home.database, copy))
            with suppress(FileNotFoundError):
                log_of(home.database).replace(log_of(kept))
        fresh.replace(home.database)
        shutil.rmtree(home.snapshot, ignore_errors=True)  # it shows the old one
    finally:
        if owned is not None:
            owned.close()
    return kept
