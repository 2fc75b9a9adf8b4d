"""Results of runs come into the database: whatever a run's directory says, its rows say too, however often they are taken in."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from curriculum.config import KINDS, CompareConfig, Config, ScoreConfig, TrainConfig, mode_of
from curriculum.errors import CurriculumError, RunError, StoreError
from curriculum.files import write_json
from curriculum.rundir import RunDir, Status, all_runs, read_frame
from curriculum.store import Store

TAKEN = "taken.json"
Signature = list[Any]
"""Of a run's files: the same as long as there is nothing new to take in."""

log = logging.getLogger(__name__)


def ingest(store: Store, run: RunDir) -> Status:
    """Bring the database's rows about a run up to its directory; doing it twice changes nothing.

    Rows of predictions and scores come only from a run whose result.json is there, written last, and only of images whose content is
    still what the run saw.
    """
    request, status, result, about = run.request(), run.status(), run.result(), run.about()
    config = run.config()
    row = pd.DataFrame([{
        "run_id": run.run_id, "kind": KINDS[type(config)], "dataset": config.dataset, "mode": mode_of(config),
        "protocol": config.protocol if isinstance(config, TrainConfig | CompareConfig) else None, "seed": config.seed,
        "config": json.dumps(request["config"]), "state": status.state, "message": status.message or None,
        "created_at": _time(run, request["created_at"]), "seconds": status.seconds,
        "result": json.dumps(result) if result else None, "title": about.title or None, "note": about.note or None,
    }])  # fmt: skip
    tables, damaged = {"epoch": pd.DataFrame(run.epochs())}, None
    for table, name in (("prediction", "predictions.parquet"), ("score", "scores.parquet")):
        try:
            tables[table] = _results(run, config, name) if result else pd.DataFrame()
        except RunError as error:  # the rest is taken all the same, a run that has ended mustn't seem to go on; what was taken before stays
            damaged = error
    if damaged:
        row["message"] = str(damaged)
    seen = _seen(run) if result else None
    with store.write() as cursor:
        store.upsert(cursor, "run", row, ("run_id",))
        for table, frame in tables.items():
            cursor.execute(f"DELETE FROM {table} WHERE run_id = ?", [run.run_id])
            if not frame.empty:
                store.insert(cursor, table, frame.assign(run_id=run.run_id))
        if seen is not None:
            cursor.register("seen", seen)
            for table in ("prediction", "score"):  # what was said of another picture says nothing of the one that is there now
                cursor.execute(
                    f"""DELETE FROM {table} WHERE run_id = ? AND example IN (
                            SELECT example FROM seen JOIN example AS now USING (example) WHERE dataset = ? AND now.sha256 <> seen.sha256)""",
                    [run.run_id, config.dataset],
                )
            cursor.unregister("seen")
    if damaged:
        raise damaged
    return status


def _time(run: RunDir, seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RunError(f"config.json of run {run.run_id} is damaged: created_at", got=str(seconds)[:40], todo="Delete the run") from error


def _seen(run: RunDir) -> pd.DataFrame | None:
    """What the images were when the run judged them: example, sha256. None of a run whose list can't be read."""
    try:
        return run.order()[["example", "sha256"]]
    except RunError:
        return None


def _results(run: RunDir, config: Config, name: str) -> pd.DataFrame:
    if not (run / name).exists():
        return pd.DataFrame()
    frame = read_frame(run / name)
    frame["dataset"] = config.dataset
    if name == "scores.parquet":
        if "method" not in frame and isinstance(config, ScoreConfig):  # of a run before there were several scores
            frame = frame.drop(columns="repeats", errors="ignore").assign(method=config.method)
        frame["seed"] = config.seed
    return frame


class Ingester:
    """Ingests every run directory that has changed since it was last looked at; one bad run doesn't stop the others.

    What was taken in stays known when the process ends (labels/taken.json), so that a start needn't take in a thousand runs again.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[str, Signature] = {}
        self._quiet: dict[str, Signature] = {}
        self._failed: dict[str, str] = {}
        self._taken = self._remembered()

    def once(self) -> dict[str, str]:
        """Look at all runs; returns what couldn't be taken, by run, until it is or the run has gone."""
        found, fresh = all_runs(self.store.home), False
        for run in found:
            if run.run_id in self._quiet and self._quiet[run.run_id] == self._stamps(run):
                continue
            try:
                stamps, status = self._stamps(run), run.status()
                signature = [status.state, *stamps[1:]]
                if not status.active:
                    self._quiet[run.run_id] = stamps
                if self._seen.get(run.run_id) == signature:
                    continue
                if run.run_id not in self._seen and self._taken.get(run.run_id) == signature:
                    self._seen[run.run_id] = signature
                    continue
                self._failed.pop(run.run_id, None)
                fresh = True
                ingest(self.store, run)
            except Exception as error:  # whatever stands in one run's files mustn't stop the others
                self._failed[run.run_id] = str(error) if isinstance(error, CurriculumError) else f"{type(error).__name__}: {error}"
                log.warning("a run can't be taken in", extra={"run_id": run.run_id, "reason": self._failed[run.run_id]})
                if isinstance(error, StoreError | OSError):
                    self._quiet.pop(run.run_id, None)
                    continue  # a full disk, say: it may pass, so try again next time
            self._seen[run.run_id] = signature
        self._failed = {run.run_id: self._failed[run.run_id] for run in found if run.run_id in self._failed}
        if fresh:
            self._remember()
        return dict(self._failed)

    def _stamps(self, run: RunDir) -> Signature:
        """When each file was written. Of a run that is going on all but the first change when there is something to take: an epoch, a result, a
        title; progress within an epoch isn't."""

        def stamp(name: str) -> int | None:
            try:
                return (run / name).stat().st_mtime_ns
            except OSError:
                return None

        return [
            stamp(name) for name in ("status.json", "epochs.jsonl", "result.json", "about.json", "predictions.parquet", "scores.parquet")
        ]

    def _remembered(self) -> dict[str, Signature]:
        """What an earlier process took in of finished runs, as far as this database has them: it may be an older one."""
        try:
            taken = json.loads((self.store.home.labels / TAKEN).read_text(encoding="utf-8"))
            done = {row[0] for row in self.store.rows("SELECT run_id FROM run WHERE state = 'done' AND result IS NOT NULL")}
            return {run_id: signature for run_id, signature in taken.items() if run_id in done}
        except (OSError, ValueError, AttributeError):
            return {}

    def _remember(self) -> None:
        done = {run_id: signature for run_id, signature in self._seen.items() if signature[0] == "done" and run_id not in self._failed}
        with suppress(OSError):  # a help for the next start, no more
            write_json(self.store.home.labels / TAKEN, done, sync=False)
