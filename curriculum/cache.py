"""Arrays on disk, keyed by content: decoded images, extracted features.

A cache is two append-only files: fixed-size rows, and the SHA-256 that each row belongs to. Rows
are synced before their keys, so whatever a crash leaves, every key has its whole row; what was torn
is cut off at the next append. A file that changes has another SHA-256 and so another row. This
module never decides what a row means.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray

KEY_BYTES = 32


class ArrayCache:
    """Rows of one shape and dtype in `<folder>/<name>.rows`, their keys in `<name>.keys`."""

    def __init__(self, folder: Path, name: str, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rows_path, self.keys_path = folder / f"{name}.rows", folder / f"{name}.keys"
        self.row_shape, self.dtype = row_shape, np.dtype(dtype)
        self.row_bytes = int(np.prod(row_shape)) * self.dtype.itemsize
        self._lock = FileLock(folder / f"{name}.lock")
        self._index: dict[str, int] = {}
        self._refresh()

    def __len__(self) -> int:
        return len(self._index)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions in `keys` (SHA-256, hex) that have no row yet; of equal keys only the first."""
        self._refresh()
        first = {key: position for position, key in reversed(list(enumerate(keys)))}
        return sorted(position for key, position in first.items() if key not in self._index)

    def append(self, keys: Sequence[str], rows: NDArray[np.generic]) -> None:
        """Store rows, shape (len(keys), *row_shape). Keys that are there already are passed over.

        Raises:
            OSError: the disk is full or can't be written; what was stored before stays readable.
        """
        if rows.shape != (len(keys), *self.row_shape):
            raise ValueError(f"rows have shape {rows.shape}, not {(len(keys), *self.row_shape)}")
        with self._lock:
            self._refresh()
            new = self.missing(keys)
            if not new:
                return
            count = self._stored()
            block = np.ascontiguousarray(rows[new], dtype=self.dtype)
            _append(self.rows_path, count * self.row_bytes, block.tobytes())
            _append(self.keys_path, count * KEY_BYTES, b"".join(bytes.fromhex(keys[i]) for i in new))
        self._refresh()

    def rows(self, keys: Sequence[str]) -> CachedRows:
        """The rows of these keys, as a view that reads on demand. A key without a row raises KeyError."""
        self._refresh()
        places = np.array([self._index[key] for key in keys], dtype=np.int64)
        count = self._stored()
        if not count:
            return CachedRows(np.empty((0, *self.row_shape), dtype=self.dtype), places)
        return CachedRows(np.memmap(self.rows_path, self.dtype, "r", shape=(count, *self.row_shape)), places)

    def _stored(self) -> int:
        """Rows that are there whole, with their key."""
        sizes = [path.stat().st_size if path.exists() else 0 for path in (self.rows_path, self.keys_path)]
        return min(sizes[0] // self.row_bytes, sizes[1] // KEY_BYTES)

    def _refresh(self) -> None:
        count = self._stored()
        if count == len(self._index):
            return
        raw = self.keys_path.read_bytes()[: count * KEY_BYTES]
        self._index = {raw[i * KEY_BYTES : (i + 1) * KEY_BYTES].hex(): i for i in range(count)}


class CachedRows:
    """Some rows of a cache, in a caller's order: `rows[indices]` reads just those from the disk's cache."""

    def __init__(self, stored: NDArray[np.generic], places: NDArray[np.int64]) -> None:
        self._stored, self._places = stored, places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._places), *self._stored.shape[1:])

    def __getitem__(self, indices: NDArray[np.int64] | Sequence[int] | slice) -> NDArray[np.generic]:
        return np.asarray(self._stored[self._places[indices]])

    def subset(self, indices: NDArray[np.int64]) -> CachedRows:
        """The same cache, fewer rows."""
        return CachedRows(self._stored, self._places[indices])


def _append(path: Path, offset: int, data: bytes) -> None:
    """Write at `offset`, cutting off what a crash left behind it, and wait until it is on the disk."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
