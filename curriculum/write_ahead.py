"""The database's write-ahead log after a power cut: what is whole of it counts, and what was there is kept. Knows files alone, no database."""

from __future__ import annotations

import logging
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from curriculum.files import flush, write_whole

DAMAGED = ".damaged-"
"""In the names of what is kept: the database's, this, and the UTC time; its log with .wal behind that."""

log = logging.getLogger(__name__)


def log_of(database: Path) -> Path:
    """Where DuckDB keeps what isn't in the file yet."""
    return database.with_name(f"{database.name}.wal")


def cut_at_damage(database: Path, said: str) -> Path | None:
    """Shorten the log to the entries before the first damaged one, as DuckDB itself does with one that was only cut off.

    Args:
        said: DuckDB's error, which names that entry's place.

    Returns:
        A copy of the database as it was, its log beside it; None: the error is another one, and nothing was done.
    """
    found = re.search(r"Corrupt WAL file: entry at byte position (\d+)", said)
    if found is None:
        return None
    kept = database.with_name(f"{database.name}{DAMAGED}{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    for there, copy in ((database, kept), (log_of(database), log_of(kept))):
        write_whole(copy, lambda fresh, there=there: shutil.copy2(there, fresh))  # type: ignore[misc]
    os.truncate(log_of(database), int(found.group(1)))
    flush(log_of(database))
    log.warning("the database's write-ahead log is damaged; what stands before the damage counts, and all is kept as %s", kept)
    return kept
