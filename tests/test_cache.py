"""The array cache: whatever a crash leaves, a key never gives another key's row."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curriculum.cache import KEY_BYTES, ArrayCache

SHAPE = (3, 2)
ROW_BYTES = 3 * 2 * 4

APPEND = """
import sys
from pathlib import Path
from tests.test_cache import key, row, opened
import numpy as np
folder, first = Path(sys.argv[1]), int(sys.argv[2])
cache = opened(folder)
print("ready", flush=True)
sys.stdin.readline()
for start in range(first, first + 300, 10):
    numbers = range(start, start + 10)
    cache.append([key(n) for n in numbers], np.stack([row(n) for n in numbers]))
"""


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def row(number: int) -> NDArray[np.int32]:
    return np.arange(6, dtype=np.int32).reshape(SHAPE) + 1000 * number


def opened(folder: Path) -> ArrayCache:
    return ArrayCache(folder, "things", SHAPE, np.int32)


def fill(cache: ArrayCache, numbers: range) -> None:
    cache.append([key(n) for n in numbers], np.stack([row(n) for n in numbers]))


def check(cache: ArrayCache, numbers: range) -> int:
    """How many of these numbers are there; each that is there has its own row."""
    absent = set(cache.missing([key(n) for n in numbers]))
    there = [n for i, n in enumerate(numbers) if i not in absent]
    if there:
        found = cache.rows([key(n) for n in there])[:]
        np.testing.assert_array_equal(found, np.stack([row(n) for n in there]))
    return len(there)


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    fill(cache, range(5))
    view = cache.rows([key(3), key(0), key(3)])
    assert (len(view), view.shape) == (3, (3, 3, 2))
    np.testing.assert_array_equal(view[np.array([2, 1])], np.stack([row(3), row(0)]))
    np.testing.assert_array_equal(view.subset(np.array([1]))[:], row(0)[None])


def test_an_empty_cache_has_no_rows(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    assert len(cache) == 0
    assert cache.rows([])[:].shape == (0, 3, 2)
    with pytest.raises(KeyError):
        cache.rows([key(0)])


def test_missing_names_each_absent_key_once(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    fill(cache, range(2))
    assert cache.missing([key(0), key(7), key(1), key(7), key(8)]) == [1, 4]


def test_duplicates_are_stored_once_and_the_first_row_stays(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append([key(1), key(2), key(1)], np.stack([row(1), row(2), row(9)]))
    cache.append([key(2), key(3)], np.stack([row(9), row(3)]))
    assert len(cache) == 3
    assert (tmp_path / "things.rows").stat().st_size == 3 * ROW_BYTES
    assert (tmp_path / "things.keys").stat().st_size == 3 * KEY_BYTES
    assert check(cache, range(1, 4)) == 3


def test_rows_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not \\(2, 3, 2\\)"):
        opened(tmp_path).append([key(0), key(1)], np.stack([row(0)]))


def test_another_cache_on_the_same_files_sees_what_was_appended(tmp_path: Path) -> None:
    reader, writer = opened(tmp_path), opened(tmp_path)
    fill(writer, range(3))
    assert check(reader, range(5)) == 3
    fill(writer, range(3, 5))
    assert check(reader, range(5)) == 5


@given(
    stored=st.integers(1, 6),
    rows_left=st.integers(0, 6 * ROW_BYTES),
    keys_left=st.integers(0, 6 * KEY_BYTES),
    rows_tail=st.binary(max_size=2 * ROW_BYTES),
    keys_tail=st.binary(max_size=KEY_BYTES - 1),
    later=st.integers(1, 9),
)
def test_torn_files_never_give_a_wrong_row(
    stored: int, rows_left: int, keys_left: int, rows_tail: bytes, keys_tail: bytes, later: int
) -> None:
    """Cut anywhere; or, as a crash within an append leaves them, with rows that have no key and a piece of a key."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill(opened(folder), range(stored))
        rows_path, keys_path = folder / "things.rows", folder / "things.keys"
        rows, keys = rows_path.read_bytes(), keys_path.read_bytes()
        torn_keys = keys[:keys_left] if keys_left < len(keys) else keys + keys_tail
        torn_rows = rows[:rows_left] if rows_left < len(rows) else rows + rows_tail
        rows_path.write_bytes(torn_rows)
        keys_path.write_bytes(torn_keys)
        whole = min(len(torn_rows) // ROW_BYTES, len(torn_keys) // KEY_BYTES, stored)
        cache = opened(folder)
        assert check(cache, range(stored)) == whole
        fill(cache, range(stored + later))
        assert check(cache, range(stored + later)) == stored + later
        assert check(opened(folder), range(stored + later)) == stored + later


def test_two_processes_append_at_once(tmp_path: Path, child: Callable[..., subprocess.Popen[str]]) -> None:
    writers = [child(APPEND, tmp_path, first) for first in (0, 150)]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    cache = opened(tmp_path)
    assert len(cache) == 450
    assert check(cache, range(450)) == 450
    assert (tmp_path / "things.keys").stat().st_size == 450 * KEY_BYTES
