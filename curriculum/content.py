"""Which file has which content: images by the SHA-256 of their bytes, found without a look at every row.

The pages show thousands of images by such addresses, and of a million rows each search would take a tenth of a second. So a small
table in memory, 16 bytes an image, says where a row stands; it is made anew where a data set was indexed again.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from curriculum.store import Store

SHA256 = re.compile("[0-9a-f]{64}")
COLUMNS = "root, example, format, bytes, mtime_ns FROM example JOIN dataset ON example.dataset = dataset.dataset"


class Row(NamedTuple):
    """What was indexed: the data set's folder, the path below it, format, size and time."""

    root: str
    example: str
    format: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class _Table:
    stamp: list[tuple[Any, ...]]
    keys: NDArray[np.uint64]  # the first 64 bits, sorted
    rows: NDArray[np.int64]


_tables: WeakKeyDictionary[Store, _Table] = WeakKeyDictionary()
_making = threading.Lock()


def find(store: Store, sha256: str) -> Row | None:
    """A present image with this content; None where there is none."""
    if not SHA256.fullmatch(sha256):
        return None
    table, key = _table(store), np.uint64(int(sha256[:16], 16))
    first, last = np.searchsorted(table.keys, key, side="left"), np.searchsorted(table.keys, key, side="right")
    for place in table.rows[first:last].tolist():
        found = store.remembered(f"SELECT {COLUMNS} WHERE example.rowid = ? AND sha256 = ? AND present", [place, sha256])
        if found:
            return Row(*found[0])
    if first == last:
        return None
    found = store.rows(f"SELECT {COLUMNS} WHERE sha256 = ? AND present LIMIT 1", [sha256])  # the row stands elsewhere by now
    return Row(*found[0]) if found else None


def _table(store: Store) -> _Table:
    stamp = store.remembered("SELECT dataset, epoch_us(indexed_at) FROM dataset ORDER BY ALL")
    with _making:
        found = _tables.get(store)
        if found is None or found.stamp != stamp:
            frame = store.query(
                "SELECT coalesce(TRY_CAST('0x' || left(sha256, 16) AS UBIGINT), 0) AS key, rowid AS place FROM example WHERE present"
            )
            keys = frame["key"].to_numpy(np.uint64)
            order = np.argsort(keys, kind="stable")
            found = _tables[store] = _Table(stamp, keys[order], frame["place"].to_numpy(np.int64)[order])
    return found
