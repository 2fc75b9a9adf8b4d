"""What all pages of this process share: the open database, a thread that takes runs in, background jobs, and
who asks the process that explains.

A page is run anew on every interaction, so it holds no work itself.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curriculum import ownership, runs
from curriculum.app import journal
from curriculum.asking import Explainer
from curriculum.backup import Restored, clear_restores, keep_snapshot, lacks, restore
from curriculum.errors import CurriculumError, StoreError
from curriculum.home import Home
from curriculum.intake import Ingester
from curriculum.leases import Leases
from curriculum.store import Store

INGEST_EVERY_SECONDS = 1.0
SNAPSHOT_EVERY_SECONDS = 20.0
SILENCE_SECONDS = 300.0
"""Taking in the largest run takes less."""
LEAST_DISK = 50_000_000

log = logging.getLogger(__name__)


@dataclass
class Job:
    """Something long that a page started, such as a download. `total` is None while unknown."""

    what: str
    done: int = 0
    total: int | None = None
    finished: bool = False
    error: str = ""
    notice: str = ""

    def advance(self, done: int, total: int | None, what: str = "") -> None:
        self.done, self.total, self.what = done, total, what or self.what


class Service:
    """One home's database, owned by this process from the first page on until it ends."""

    def __init__(self, home: Home) -> None:
        self.home, self.store = home, Store.open(home, owner=ownership.STARTING, patience=0)
        self._journal = journal.begin(home)
        clear_restores(home)
        self._to_keep = lacks(self.store)
        self.unsaved = ""
        """Why no snapshot could be written; empty: nothing stops it."""
        log.info("database opened", extra={"home": str(home.root), "pid": os.getpid()})
        self.leases = Leases()
        self.explainer = Explainer(home)
        self.jobs: dict[str, Job] = {}
        self.failed_runs: dict[str, str] = {}
        self._ingester = Ingester(self.store)
        self._saving, self._saved, self._tried_at = threading.Lock(), -1, -math.inf
        try:
            self._keep_last_snapshot()
        except StoreError as error:
            log.error("%s", error)  # the page Health says it too; it is tried again
        self._stop, self.looked_at = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._keep_up, name="ingest and snapshot", daemon=True)
        self._thread.start()

    def _keep_up(self) -> None:
        while not self._stop.is_set():
            try:
                if time.monotonic() - self._tried_at >= SNAPSHOT_EVERY_SECONDS:
                    self.save_snapshot()
                self.failed_runs = self._ingester.once()
                runs.reap()
            except Exception:
                log.exception("taking runs in or writing the snapshot failed; trying again")
            self.looked_at = time.monotonic()
            self._stop.wait(INGEST_EVERY_SECONDS)

    def trouble(self) -> str:
        """Why this service can't do its work just now, for a monitor; empty: it can. Says nothing of people, labels or folders."""
        try:
            self.store.rows("SELECT 1")
        except CurriculumError:
            return "the database doesn't answer"
        if time.monotonic() - self.looked_at > SILENCE_SECONDS:
            return "runs aren't taken in and no snapshot is written"
        if self.unsaved:
            return "no snapshot can be written"
        return "the disk is full" if shutil.disk_usage(self.home.labels).free < LEAST_DISK else ""

    def save_snapshot(self) -> None:
        """Write the snapshot where the database has changed since the last one: a process that starts now reads what is known now."""
        with self._saving:
            if self.store.changes == self._saved:
                return
            try:
                self._keep_last_snapshot()
                self._saved = self.store.write_snapshot()
                self.unsaved = ""
            except StoreError as error:
                self.unsaved = str(error)
                raise
            finally:
                self._tried_at = time.monotonic()  # on a full disk each try takes what room there is for a moment
            ownership.mark(self.home, ownership.THE_APP)  # from now on commands may read the snapshot

    def _keep_last_snapshot(self) -> None:
        """Before the first snapshot is written over the last session's, one that has labels which the database lacked at the start."""
        if self._to_keep:
            try:
                keep_snapshot(self.home)
            except StoreError as error:
                self.unsaved = str(error)
                raise
            self._to_keep = False

    def start_job(self, name: str, what: str, work: Callable[[Job], object]) -> Job:
        """Run `work` in a thread; a job of that name that is going on is returned instead of a second one."""
        running = self.jobs.get(name)
        if running and not running.finished:
            return running
        job = self.jobs[name] = Job(what)

        def run() -> None:
            try:
                work(job)
            except CurriculumError as error:
                job.error = str(error)
            except Exception as error:
                log.exception("%s failed", what)
                job.error = f"{what} failed: {type(error).__name__}: {error}"
            job.finished = True

        threading.Thread(target=run, name=name, daemon=True).start()
        return job

    def close(self) -> None:
        """Stop the thread, write a last snapshot and let other processes in."""
        self._stop.set()
        self._thread.join(timeout=10)
        self.explainer.close()
        try:
            self.save_snapshot()
        except Exception:  # the one before stays, and the database has everything
            log.exception("the last snapshot couldn't be written")
        finally:
            self.store.close()
        log.info("database closed", extra={"home": str(self.home.root)})
        journal.end(self._journal)


_services: dict[Home, Service] = {}
_lock = threading.Lock()


def current() -> Service:
    """The service of this process's home, started on first use.

    Raises:
        StoreLockedError: a command owns the database just now.
    """
    home = Home.find()
    with _lock:
        if home not in _services:
            _services[home] = Service(home)
            atexit.register(_services[home].close)
        return _services[home]


def go_back_to(folder: Path) -> Restored:
    """Put a backup in the database's place; requests that come meanwhile wait, or are told to try again.

    Raises:
        StoreError: the folder is no whole backup; then nothing was changed.
    """
    home = Home.find()
    with _lock:
        if running := _services.pop(home, None):
            atexit.unregister(running.close)
            running.close()
        return restore(home, folder, patience=0)  # all requests wait for this one


def close_all() -> None:
    """End every service of this process, as the server does when it stops."""
    with _lock:
        for service in _services.values():
            atexit.unregister(service.close)
            service.close()
        _services.clear()
