"""Folders that are there whole or not at all: built under another name, renamed when finished.

It knows no data set and reads nothing of what is built.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from curriculum.download import Progress, disk_errors
from curriculum.errors import DatasetError, DownloadError

_STALE_SECONDS = 3600.0


def beside(folder: Path, pid: int) -> str:
    """How the names of a process's temporary folders for `folder` begin."""
    return f".{folder.name}-{pid}-"


@contextlib.contextmanager
def building(folder: Path, kind: type[DatasetError] | type[DownloadError]) -> Iterator[Path]:
    """A temporary folder beside `folder` that is gone afterwards, whatever happens; a full disk is said as `kind`."""
    with disk_errors(folder.parent, kind):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for old in folder.parent.glob(f".{folder.name}-*"):  # left by a process that was killed
            with contextlib.suppress(OSError):
                if _works(old.name.removeprefix(f".{folder.name}-")):
                    continue
                if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(old)
        temporary = Path(tempfile.mkdtemp(prefix=beside(folder, os.getpid()), dir=folder.parent))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _works(rest: str) -> bool:
    """Whether the process whose temporary folder it is, by the number that `beside` puts there, is still alive."""
    pid = rest.partition("-")[0]
    return pid.isdecimal() and int(pid) != os.getpid() and psutil.pid_exists(int(pid))


def put(whole: Path, folder: Path) -> None:
    """Give a finished folder its name; another call that finished first has made the same one."""
    try:
        whole.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def tell(progress: Progress | None, done: int, total: int | None, what: str) -> None:
    """Say how far it is, where somebody wants to know."""
    if progress:
        progress(done, total, what)
