"""Asks the process that explains (`explainer`): starts it when it is needed, tells it what to do next, knows how each question stands.

Questions wait here and go to the process one by one, so one that is cancelled in time never reaches it, and a process that dies takes one
question with it, not all. Two who ask the same get one answer; it is given up when both have cancelled. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from curriculum import questions
from curriculum.home import Home
from curriculum.questions import Answer, Question
from curriculum.runs import PACKAGE, worker_environment

IDLE_SECONDS = 600.0
"""The process ends when nothing was asked for so long: it holds about half a gigabyte."""
END_SECONDS = 5.0
REMEMBERED = 500

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass
class Job:
    """How a question stands. `askers`: who waits for it; `total` is 0 where it isn't known."""

    key: str
    question: Question
    askers: set[str] = field(default_factory=set)
    state: State = "waiting"
    phase: str = ""
    done: int = 0
    total: int = 0
    message: str = ""

    @property
    def active(self) -> bool:
        return self.state in ("waiting", "running")


class Explainer:
    """One home's questions, and the process that answers them. Any thread may ask."""

    def __init__(self, home: Home, idle_seconds: float = IDLE_SECONDS) -> None:
        self.home, self.idle_seconds = home, idle_seconds
        self.jobs: dict[str, Job] = {}
        self.process: subprocess.Popen[str] | None = None
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    # -- for those who ask -----------------------------------------------------------------------

    def answer(self, question: Question) -> Answer | None:
        """What is known already; None where it has to be asked for.

        Raises:
            UnknownError: the run is gone. RunError: it has no model.
        """
        return questions.read(questions.place(self.home, questions.key(self.home, question)))

    def job(self, question: Question) -> Job | None:
        """How this question stands, if anybody has asked it since the app started."""
        return self.jobs.get(questions.key(self.home, question))

    def ask(self, question: Question, asker: str) -> Job:
        """Have it answered, however it ended before; who asks what others wait for already waits with them.

        Raises:
            UnknownError: the run is gone. RunError: it has no model.
        """
        key = questions.key(self.home, question)
        with self._lock:
            job = self.jobs.get(key)
            if job is None or not job.active:
                self.jobs.pop(key, None)  # so that the new one stands last
                job = self.jobs[key] = Job(key, question)
                self._waiting.put(job)
            job.askers.add(asker)
            for old in [one.key for one in self.jobs.values() if not one.active][:-REMEMBERED]:
                del self.jobs[old]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="asks the explainer", daemon=True)
                self._thread.start()
        return job

    def cancel(self, job: Job, asker: str) -> None:
        """This one waits no more; when nobody does, the work stops within a batch."""
        with self._lock:
            job.askers.discard(asker)
            if job.askers or not job.active:
                return
            if job.state == "waiting":
                job.state = "cancelled"
            else:
                self._send({"cancel": job.key})

    def ahead(self, job: Job) -> int:
        """How many other questions come before one that waits."""
        active = [one for one in list(self.jobs.values()) if one.active]
        return active.index(job) if job.state == "waiting" and job in active else 0

    def close(self) -> None:
        """End the process, and what it is at."""
        with self._lock:
            thread, self._thread, self._closed = self._thread, None, True
        self._waiting.put(None)
        self._end()
        if thread:
            thread.join(timeout=END_SECONDS)

    # -- the thread that tells the process -------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                job = self._waiting.get(timeout=self.idle_seconds)
            except queue.Empty:
                self._end()
                continue
            if job is None or self._closed:
                return
            try:
                self._see_through(job)
            except OSError as error:
                job.state, job.message = "failed", f"The process that explains can't be started ({error})."
            except Exception as error:  # such as half a line from a process that dies: the next question gets another one
                log.exception("a question couldn't be seen through")
                job.state, job.message = "failed", f"The process that explains broke off ({type(error).__name__}: {error}). Ask again."
                self._end()

    def _see_through(self, job: Job) -> None:
        """Hand a question over and listen until it is settled; a process that had ended before it heard of it is replaced."""
        with self._lock:
            if job.state != "waiting":
                return
            job.state, job.phase = "running", "starting the process that explains"
        for _ in range(2):
            process = self._running()
            assert process.stdout is not None
            heard = False
            with self._lock:
                self._send({"key": job.key, "question": job.question.to_json()})
                if not job.askers:  # cancelled while the process started
                    self._send({"cancel": job.key})
            for line in process.stdout:
                said = json.loads(line)
                if said["key"] != job.key:
                    continue
                heard = True
                job.phase, job.done, job.total = said.get("phase", job.phase), said.get("done", 0), said.get("total", 0)
                if said["state"] == "cancelled" and job.askers:  # somebody has come who wants it after all
                    job.state = "waiting"
                    self._waiting.put(job)
                    return
                job.message, job.state = said.get("message", ""), said["state"]
                if not job.active:
                    return
            code = process.wait()
            if heard or self._closed:
                break
        job.message = (
            f"The process that explains ended in the middle of its work (exit code {code}). Ask again: a new one starts. "
            "Its last words are in data/cache/explanations/log.txt."
        )
        job.state = "failed"

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self._end()
            log = self.home.cache / "explanations" / "log.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as errors:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "curriculum.explainer", str(self.home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=errors, text=True, encoding="utf-8", cwd=PACKAGE, env=worker_environment(), start_new_session=True,
                )  # fmt: skip
        return self.process

    def _send(self, message: dict[str, Any]) -> None:
        """A line for the process; one that has just died is noticed by who listens to it."""
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.write(json.dumps(message) + "\n")
                self.process.stdin.flush()

    def _end(self) -> None:
        """Close its input, at which it ends by itself."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            _close(process.stdin)
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(OSError, ValueError):
            _close(process.stdout)


def _close(pipe: IO[str] | None) -> None:
    if pipe:
        pipe.close()
