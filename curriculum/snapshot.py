"""The snapshot beside the database: a folder of Parquet files that others read while one process owns the database, replaced whole or
not at all. Knows files alone, no database.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from curriculum.errors import StoreError
from curriculum.files import flush, flush_all
from curriculum.home import Home

OLD = ".snapshot-old-"
"""How the name begins that a snapshot has while the next one takes its place."""
T = TypeVar("T")


def replace(home: Home, write: Callable[[Path], T]) -> T:
    """Let `write` fill a new folder and, once the disk has all of it, put that in the snapshot's place; returns what `write` did.

    Raises:
        StoreError: it can't be written; the one before stays, and the disk has its room back.
    """
    fresh, old = (home.labels / f"{name}{os.getpid()}" for name in (".snapshot-", OLD))
    try:
        put_back(home)
        _clear(home)
        fresh.mkdir(parents=True)
        done = write(fresh)
        flush_all(fresh)
        if home.snapshot.exists():
            home.snapshot.rename(old)
        fresh.rename(home.snapshot)
        flush(home.labels)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"the snapshot of the database couldn't be written ({error})",
            todo=f"Look at the free space and the rights of {home.labels}; the database has everything, and the last snapshot stays.",
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        with suppress(OSError):
            put_back(home)
    shutil.rmtree(old, ignore_errors=True)
    return done


def put_back(home: Home) -> None:
    """A process that was killed between the two renames left no snapshot, but the new one, which is whole, and the one before."""
    aside = sorted(home.labels.glob(f"{OLD}*"), key=lambda folder: folder.stat().st_mtime_ns)
    if aside and not home.snapshot.exists():
        fresh = home.labels / f".snapshot-{aside[-1].name.removeprefix(OLD)}"
        (fresh if fresh.exists() else aside[-1]).rename(home.snapshot)


def discard(home: Home) -> None:
    """Take the snapshot away, at once and for good."""
    _clear(home)
    if home.snapshot.exists():
        home.snapshot.rename(home.labels / f".snapshot-{os.getpid()}")
    _clear(home)


def _clear(home: Home) -> None:
    """What a process that was killed left half made or half deleted: only the owner of the database writes here."""
    for left in home.labels.glob(".snapshot-*"):
        shutil.rmtree(left, ignore_errors=True)


def rows(folder: Path) -> dict[str, int | None]:
    """How many rows each table's file says that it has; None: it can't be read."""
    found: dict[str, int | None] = {}
    for file in sorted(folder.glob("*.parquet")):
        try:
            found[file.stem] = pq.read_metadata(file).num_rows
        except Exception:  # on a damaged file Arrow raises whatever it stumbles over
            found[file.stem] = None
    return found


def torn(folder: Path) -> tuple[str, ...]:
    """The tables whose files can't be read to their end."""
    found = []
    for file in sorted(folder.glob("*.parquet")):
        try:
            with pq.ParquetFile(file) as opened:
                for _ in opened.iter_batches():
                    pass
        except Exception:  # as above
            found.append(file.stem)
    return tuple(found)
