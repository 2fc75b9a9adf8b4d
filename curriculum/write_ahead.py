"""The database's write-ahead log after a power cut: what is whole of it counts, and what was there is kept. Knows files alone, no database."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from curriculum.files import flush, write_whole

DAMAGED = ".damaged-"
"""In the names of what is kept: the database's, this, and the UTC time; its log with .wal behind that."""

COMMITTED = bytes.fromhex("e7fe7d722fed3d5e 640064ffff")
"""The checksum and the contents of the entry that ends each transaction: it is on the disk before the transaction is acknowledged."""
BEGINNING = re.compile(rb"d\0be\0[\0-\x7f]f\0\x10(?:[\0-\x7f]|[\x80-\xff]\x01){16}g\0[\x80-\xff]*[\0-\x7f]\xff\xff")
"""Its first entry, without length or checksum: the format's version, the database's 16 numbers, the count of its checkpoints."""

log = logging.getLogger(__name__)


def log_of(database: Path) -> Path:
    """Where DuckDB keeps what isn't in the file yet."""
    return database.with_name(f"{database.name}.wal")


@contextmanager
def alone(database: Path) -> Iterator[None]:
    """No other process that found damage acts upon it meanwhile. The lock is a file's that nobody opens but for this."""
    with FileLock(database.with_name(f"{database.name}.lock")):
        yield


def passed_over(database: Path) -> bool:
    """Whether DuckDB would open the database and lose, without a word, what was committed to the log.

    It takes the entries in turn: eight bytes of length, eight of checksum, the contents. One that reaches beyond the end counts as torn, as a
    killed process leaves it, and what follows is left out. But a torn entry has no commit behind it: where one stands there, or the log has
    no beginning that is known here, or no database, something is damaged or missing.
    """
    try:
        held = log_of(database).read_bytes()
    except FileNotFoundError:
        return False
    begins = BEGINNING.match(held)
    place = begins.end() if begins and database.exists() else 0
    while place and 0 < (length := int.from_bytes(held[place : place + 8], "little")) <= len(held) - place - 16:
        place += 16 + length
    return held.find(COMMITTED, place) >= 0


def damaged_at(said: str) -> int | None:
    """The place of the first damaged entry, of which all before is whole, by DuckDB's error; None: the error is another one."""
    found = re.search(r"Corrupt WAL file: entry at byte position (\d+)", said)
    return int(found.group(1)) if found else None


def keep(database: Path) -> Path:
    """Copy the database as it is, where it is there, and its log beside it."""
    kept = database.with_name(f"{database.name}{DAMAGED}{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    for there, copy in ((database, kept), (log_of(database), log_of(kept))):
        if there.exists():
            write_whole(copy, lambda fresh, there=there: shutil.copy2(there, fresh))  # type: ignore[misc]
    log.warning("the database's write-ahead log is damaged; what stands before the damage counts, and all is kept as %s", kept)
    return kept


def cut(database: Path, place: int) -> None:
    """Shorten the log to the entries before a damaged one, as DuckDB itself does with one that was only cut off."""
    os.truncate(log_of(database), place)
    flush(log_of(database))
