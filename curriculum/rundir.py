"""A run's directory: the files that the owner of the database and the worker tell each other.

In: `config.json`, `order.parquet`. Out: `status.json`, `epochs.jsonl`,
`dynamics.parquet`, `checkpoint.pt`, `predictions.parquet` or `scores.parquet`, `result.json`, `model.pt`,
`log.txt`. Whole files are written beside their place, synced and renamed; `epochs.jsonl` grows by whole
lines. A run directory is a complete record: the database's rows about the run can be rebuilt from it.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import psutil

from curriculum.config import Config, Home, RunState, config_from_json
from curriculum.errors import ConfigError, RunError, UnknownError
from curriculum.files import without_nan, write_json, write_whole

START_GRACE_SECONDS = 60.0
SILENCE_SECONDS = 300.0
"""A run on another machine that has said nothing for so long is taken for dead."""
REQUEST_KEYS = {"run_id", "created_at", "root", "cache", "runs", "classes", "config"}


@dataclass(frozen=True)
class Status:
    """How a run stands, as its worker last wrote it."""

    state: RunState
    pid: int | None = None
    pid_started: float | None = None  # of the process, seconds since 1970: a PID may be used again
    host: str = ""  # the machine that it runs on; empty: this one
    phase: str = ""
    done: int = 0
    total: int = 0
    epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0  # worked so far, earlier parts of a resumed run included
    seconds_left: float | None = None
    message: str = ""
    updated_at: float = 0.0

    @property
    def active(self) -> bool:
        return self.state in ("queued", "running")


class RunDir:
    """One run's directory and the names of its files."""

    def __init__(self, path: Path) -> None:
        self.path, self.run_id = path, path.name

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    # -- the request -----------------------------------------------------------------------------

    def write_request(
        self,
        config: Config,
        *,
        root: Path,
        home: Home,
        classes: tuple[str, ...],
        order: pd.DataFrame,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Everything that a worker needs; `status.json` comes last and makes the directory a run. `notes`: for the result's readers.

        A directory that was left half made is made anew; one that is a run already raises FileExistsError.
        """
        if (self / "status.json").exists():
            raise FileExistsError(f"{self.path} is a run already")
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self / "order.parquet", lambda path: order.to_parquet(path, index=False))
        write_json(self / "config.json", {
            "run_id": self.run_id, "created_at": time.time(), "root": str(root), "cache": str(home.cache), "runs": str(home.runs),
            "classes": list(classes), "notes": list(notes), "config": config.to_json(),
        })  # fmt: skip
        self.write_status(Status("queued"))

    def request(self) -> dict[str, Any]:
        """config.json as it is; `config()` reads its inner part."""
        try:
            record: dict[str, Any] = json.loads((self / "config.json").read_text(encoding="utf-8"))
            missing = sorted(REQUEST_KEYS - record.keys())
        except (OSError, ValueError, AttributeError) as error:
            raise RunError(f"the run {self.run_id} can't be read ({error})", todo="Delete its directory, or restore it") from error
        if missing:
            raise RunError(f"config.json of run {self.run_id} is incomplete", got=f"no {', '.join(missing)}", todo="Delete the run")
        return record

    def config(self) -> Config:
        try:
            return config_from_json(self.request()["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"the configuration of run {self.run_id} is incomplete", got=str(error)) from error

    # -- the status ------------------------------------------------------------------------------

    def write_status(self, status: Status) -> None:
        write_json(self / "status.json", asdict(replace(status, updated_at=time.time())), sync=False)

    def status(self) -> Status:
        """As last written; a run whose process is gone is 'interrupted', whatever it wrote."""
        try:
            record = json.loads((self / "status.json").read_text(encoding="utf-8"))
            status = Status(**{f.name: record[f.name] for f in fields(Status) if f.name in record})
            gone = status.active and not self._alive(status)
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return Status("interrupted", message="The run's status can't be read.")
        if status.state not in get_args(RunState):
            return Status("interrupted", message="The run's status can't be read.")
        if gone:
            return replace(status, state="interrupted", seconds_left=None,
                           message="The process stopped without a word; resume goes on from the last checkpoint.")  # fmt: skip
        return status

    def _alive(self, status: Status) -> bool:
        if status.pid is None:
            return time.time() - status.updated_at < START_GRACE_SECONDS
        if status.host and status.host != socket.gethostname():
            return time.time() - status.updated_at < SILENCE_SECONDS
        try:
            process = psutil.Process(status.pid)
            # abs: process start times are rounded differently by different readers
            same = abs(process.create_time() - (status.pid_started or 0)) < 2
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def ask_to_cancel(self) -> None:
        (self / "cancel").touch()

    def cancel_asked(self) -> bool:
        return (self / "cancel").exists()

    # -- results ---------------------------------------------------------------------------------

    def append_epoch(self, record: dict[str, Any]) -> None:
        with (self / "epochs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(without_nan(record)) + "\n")

    def epochs(self) -> list[dict[str, Any]]:
        """Every whole line; a torn last line is passed over."""
        path = self / "epochs.jsonl"
        if not path.exists():
            return []
        records: list[dict[str, Any]] = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            try:
                record = json.loads(line) if line.endswith("\n") else None
            except ValueError:
                record = None
            if not isinstance(record, dict):
                break
            records.append(record)
        return records

    def keep_epochs(self, last: int) -> None:
        """Forget the epochs after `last`: a resumed run does them again."""
        kept = [record for record in self.epochs() if record["epoch"] <= last]
        write_whole(self / "epochs.jsonl", lambda path: path.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8"))

    def result(self) -> dict[str, Any] | None:
        """result.json, written when all else is; None while there is none."""
        try:
            record = json.loads((self / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None


def open_run(home: Home, run_id: str) -> RunDir:
    """An existing run's directory; an unknown id raises UnknownError."""
    if not run_id or Path(run_id).name != run_id or not (home.runs / run_id / "config.json").is_file():
        known = [run.run_id for run in all_runs(home)]
        raise UnknownError("no such run", got=run_id, allowed=known[:10] or "none has been started yet", todo="`runs list` shows them")
    return RunDir(home.runs / run_id)


def all_runs(home: Home) -> list[RunDir]:
    """Every run directory, the newest first."""
    if not home.runs.is_dir():
        return []
    found = [RunDir(path) for path in home.runs.iterdir() if (path / "config.json").is_file()]
    return sorted(found, key=lambda run: run.run_id, reverse=True)
