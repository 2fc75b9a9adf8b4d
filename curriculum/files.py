"""Files that are there whole or not at all, whoever reads meanwhile and whatever stops the writer."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

FLUSHED_TOGETHER = 16
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Of errors that say that a disk, or somebody's share of it, is full."""


COPY = """
import shutil, sys
try:
    shutil.copy2(sys.argv[1], sys.argv[2])
except OSError as error:
    print(error.strerror, file=sys.stderr)
    sys.exit(error.errno or 1)
"""


def write_whole(path: Path, write: Callable[[Path], object], *, sync: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place: readers see the old or the new, whole.

    Where that fails, the disk gets its room back at once, so that somebody can still write down why.

    Args:
        sync: wait until the disk has the file and its name, 10 to 20 ms: for what can't be made anew.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")  # a thread each
    try:
        write(temporary)
        if sync:
            flush(temporary)
        temporary.replace(path)
        if sync:
            flush(path.parent)
    except BaseException:
        with suppress(OSError):  # what `write` left open, an error's traceback holds: without its name alone it would keep its room
            os.truncate(temporary, 0)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def copy_apart(there: Path, copy: Path) -> None:
    """Copy a file in a process of its own.

    A process that closes a file loses all locks that it has on it (POSIX): whoever copied its own database would leave it to others to write.

    Raises:
        OSError: as of shutil.copy2.
    """
    done = subprocess.run([sys.executable, "-I", "-c", COPY, str(there), str(copy)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.returncode, done.stderr.strip() or "can't be copied", str(copy))


def parse_json(text: str) -> Any:
    """A JSON document. ValueError for all that isn't one: also where it is nested too deeply, or has halves of letters, which nothing can store."""
    try:
        found = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()  # raises UnicodeEncodeError, which is a ValueError
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return found


def read_json(path: Path) -> Any:
    """A file's JSON document. OSError and ValueError where there is none."""
    return parse_json(path.read_text(encoding="utf-8"))


def write_json(path: Path, record: dict[str, Any], *, sync: bool = True) -> None:
    """One JSON document, whole or not at all."""
    text = json.dumps(without_nan(record), indent=1, allow_nan=False)
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), sync=sync)


def without_nan(value: Any) -> Any:
    """JSON has no NaN and the database takes none in it: what is undefined becomes null."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flush(path: Path) -> None:
    """Wait until the disk has what was written to a file, or the names that a folder holds; some systems can't wait for a folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # Windows opens none
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # as some network disks say
            raise
    finally:
        os.close(descriptor)


def flush_all(folder: Path) -> None:
    """Wait until the disk has a folder's files, and those of the folders in it: whoever renames it then renames something whole.

    Several at a time, as a disk writes them together: 2,800 images in 3 s, not 12.
    """
    with ThreadPoolExecutor(FLUSHED_TOGETHER) as pool:
        for _ in pool.map(flush, (path for path in (*folder.rglob("*"), folder) if not path.is_symlink())):
            pass


def digest(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
