"""How a process that works on a run says how it stands, learns that it should stop, and ends: done, cancelled or failed, with a reason."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
from filelock import FileLock

from curriculum.errors import CancelledError, CurriculumError, behind, no_memory
from curriculum.files import NO_ROOM
from curriculum.rundir import RunDir, Status

STATUS_EVERY_SECONDS = 0.5
OURS = (
    "checkpoint.pt",
    "model.pt",
    "predictions.parquet",
    "dynamics.parquet",
    "scores.parquet",
    "result.json",
    "epochs.jsonl",
    "lessons.jsonl",
)
"""Files that only the process that holds the lock writes."""


class Reporter:
    """Writes status.json, not too often, and knows whether somebody asked to stop."""

    def __init__(self, run: RunDir, before: float = 0.0) -> None:
        self.run, self.started, self.last_write, self.last_look = run, time.monotonic(), 0.0, 0.0
        self.stop = False
        self.before = before  # seconds worked before this process
        process = psutil.Process()
        self.status = Status("running", pid=process.pid, pid_started=process.create_time(), host=socket.gethostname(), phase="starting")
        self.write()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def write(self, **changes: Any) -> None:
        self.status = replace(self.status, seconds=self.seconds, **changes)
        self.run.write_status(self.status)
        self.last_write = time.monotonic()

    def progress(self, phase: str, done: int, total: int) -> None:
        if time.monotonic() - self.last_write >= STATUS_EVERY_SECONDS:
            self.write(phase=phase, done=done, total=total)

    def should_stop(self) -> bool:
        if time.monotonic() - self.last_look >= STATUS_EVERY_SECONDS / 2:
            self.last_look, self.stop = time.monotonic(), self.run.cancel_asked()
        return self.stop


class Listener(Reporter):
    """Of a rank that isn't the first: it says nothing, and leaves it to the first to be asked to stop."""

    def write(self, **changes: Any) -> None:
        self.last_write = time.monotonic()

    def should_stop(self) -> bool:
        return False


def supervise(run: RunDir, do: Callable[[Reporter], None], before: float = 0.0) -> int:
    """Do the work of a run; returns the process's exit code. Whatever fails is said in status.json.

    `before`: the seconds that earlier processes worked on it. While another process works on the same directory, this one waits: two never write there at a time.
    """
    with FileLock(run / "lock"):
        for left in (path for name in OURS for path in run.path.glob(f".{name}.*")):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        return _supervise(run, do, before)


def _supervise(run: RunDir, do: Callable[[Reporter], None], before: float) -> int:
    reporter = Reporter(run, before)
    try:
        if run.result() is None:  # else its process was killed between its last two words
            do(reporter)
    except CancelledError as error:
        reporter.write(state="cancelled", message=str(error), seconds_left=None)
        return 1
    except Exception as error:
        traceback.print_exc()
        reporter.write(state="failed", message=explain(error), seconds_left=None)
        return 1
    reporter.write(state="done", phase="done", seconds_left=0.0)
    return 0


def explain(error: Exception) -> str:
    """What a person can do about it; the traceback is in log.txt."""
    if isinstance(error, CurriculumError):
        return str(error)
    if any(isinstance(each, OSError) and each.errno in NO_ROOM for each in behind(error)):
        return "The disk is full. Free some space, then resume: the last checkpoint is kept."
    if no_memory(error):
        return "Memory ran out. Start again with a smaller --batch-size or --image-size, or close other programs and resume."
    return f"{type(error).__name__}: {error}. The run's log.txt has the details."
