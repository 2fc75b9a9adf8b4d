"""A run's directory: the files that the owner of the database and the worker tell each other.

In: `config.json`, `order.parquet`. Out: `status.json`, `epochs.jsonl`, `lessons.jsonl`, `dynamics.parquet`, `checkpoint.pt`,
`predictions.parquet` or `scores.parquet`, `result.json`, `model.pt`, `log.txt`. People add `about.json`. Whole files are
written beside their place, synced and renamed; `epochs.jsonl` and `lessons.jsonl` grow by whole lines. A run directory is a
complete record: the database's rows about the run can be rebuilt from it.
"""

from __future__ import annotations

import base64
import json
import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from curriculum.config import Config, config_from_json
from curriculum.errors import ConfigError, RunError, UnknownError
from curriculum.files import NO_ROOM, flush, parse_json, read_json, without_nan, write_json, write_whole
from curriculum.home import Home
from curriculum.vocabulary import RunState

START_GRACE_SECONDS = 60.0
SILENCE_SECONDS = 300.0
"""A run on another machine that has said nothing for so long is taken for dead."""
MAX_TITLE, MAX_NOTE = 100, 5000
"""Letters of what people say of a run."""
REQUEST_KINDS = {"run_id": str, "created_at": int | float, "root": str, "cache": str, "runs": str, "classes": list, "config": dict}
REQUEST_KEYS = set(REQUEST_KINDS)


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


@dataclass(frozen=True)
class About:
    """What people call a run and note of it; empty: nothing. Text as people type it, which pages must escape."""

    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name, limit in (("title", MAX_TITLE), ("note", MAX_NOTE)):
            text = getattr(self, name)
            if len(text) > limit:
                raise ConfigError(f"a run's {name} is too long", got=f"{len(text):,} letters", allowed=f"up to {limit:,}")


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
            record: dict[str, Any] = read_json(self / "config.json")
            missing = sorted(REQUEST_KEYS - record.keys())
        except (OSError, ValueError, AttributeError) as error:
            raise RunError(f"the run {self.run_id} can't be read ({error})", todo="Delete its directory, or restore it") from error
        if missing:
            raise RunError(f"config.json of run {self.run_id} is incomplete", got=f"no {', '.join(missing)}", todo="Delete the run")
        for key, kind in REQUEST_KINDS.items():
            if not isinstance(record[key], kind) or (key == "classes" and not all(isinstance(name, str) for name in record[key])):
                damaged = ConfigError if key == "config" else RunError
                raise damaged(f"config.json of run {self.run_id} is damaged: {key}", got=ascii(record[key])[:80], todo="Delete the run")
        return {**record, **self._places(Path(record["runs"]), Path(record["root"]))}

    def _places(self, before: Path, root: Path) -> dict[str, str]:
        """The paths of a request as they are now. Other runs and the cache lie beside this run, whatever its file says; the data set may have
        moved with the whole home since the run was prepared, when the runs were at `before`."""
        now = self.path.absolute().parent
        if before.parts[-2:] == now.parts[-2:] and not os.path.isdir(before) and root.is_relative_to(before.parents[1]):  # noqa: PTH112 - Path.is_dir raises for long names
            root = now.parents[1] / root.relative_to(before.parents[1])
        return {"root": str(root), "cache": str(now.parent / "cache"), "runs": str(now)}

    def place(self, root: Path) -> None:
        """Before a run goes on: its images are those of the data set that the database knows, wherever that lies now."""
        record = self.request()
        if record["root"] != str(root):
            write_json(self / "config.json", {**record, "root": str(root)})

    def config(self) -> Config:
        try:
            return config_from_json(self.request()["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"the configuration of run {self.run_id} is incomplete", got=str(error)) from error

    def order(self) -> pd.DataFrame:
        """The run's own list of images: example, class, sha256, and what else the run was given of each, such as level and split.

        Raises:
            RunError: order.parquet isn't there, or is damaged.
        """
        return read_frame(self / "order.parquet", ("example", "class", "sha256"))

    # -- the status ------------------------------------------------------------------------------

    def write_status(self, status: Status) -> None:
        """Say how the run stands; on a full disk over the old words, which needs no more room."""
        record = asdict(replace(status, updated_at=time.time()))
        try:
            write_json(self / "status.json", record, sync=False)
        except OSError as error:
            if error.errno not in NO_ROOM or not (self / "status.json").exists():
                raise
            with (self / "status.json").open("r+b") as file:
                file.write(json.dumps(without_nan(record)).encode())
                file.truncate()

    def status(self) -> Status:
        """As last written; a run whose process is gone is 'interrupted', whatever it wrote."""
        try:
            record = read_json(self / "status.json")
            status = Status(**{f.name: record[f.name] for f in fields(Status) if f.name in record})
            _check_kinds(status)
            gone = status.active and not self._alive(status)
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return Status("interrupted", message="The run's status can't be read.")
        if status.state not in get_args(RunState):
            return Status("interrupted", message="The run's status can't be read.")
        if gone:
            return replace(status, state="interrupted", seconds_left=None,
                           message="The process stopped without a word; resume goes on from the last checkpoint. Where it stops again, memory "
                                   "may have run out: take a smaller --batch-size or --image-size.")  # fmt: skip
        return status

    def _alive(self, status: Status) -> bool:
        if status.pid is None:
            return abs(time.time() - status.updated_at) < START_GRACE_SECONDS  # abs: the clock may have been set back
        if status.host and status.host != socket.gethostname():
            return abs(time.time() - status.updated_at) < SILENCE_SECONDS
        try:
            process = psutil.Process(status.pid)
            # abs: process start times are rounded differently by different readers
            same = abs(process.create_time() - (status.pid_started or 0)) < 2
            return process.status() != psutil.STATUS_ZOMBIE and (same or self._locked())
        except psutil.Error:
            return False

    def _locked(self) -> bool:
        """Whether a process works here: it holds the lock for as long as it does. When the clock is set, all start times move, the lock stays."""
        lock = FileLock(self / "lock", timeout=0)
        try:
            with lock:
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def ask_to_cancel(self) -> None:
        (self / "cancel").touch()

    def cancel_asked(self) -> bool:
        return (self / "cancel").exists()

    def queue_again(self) -> None:
        """What stopped before its end may be started again; raises RunError for what is going on or done."""
        status = self.status()
        if status.active or status.state == "done":
            raise RunError("only what was cancelled, interrupted or has failed can be resumed", got=f"{self.run_id} is {status.state}")
        (self / "cancel").unlink(missing_ok=True)
        self.write_status(replace(status, state="queued", pid=None, pid_started=None, message=""))

    # -- what people say of it -------------------------------------------------------------------

    def about(self) -> About:
        """Title and note; empty where nobody gave any, or the file can't be read."""
        try:
            record = read_json(self / "about.json")
            return About(str(record.get("title") or ""), str(record.get("note") or ""))
        except (OSError, ValueError, AttributeError, ConfigError):
            return About()

    def write_about(self, about: About) -> None:
        """Keep a title and a note: a title in one line, both without letters that can't be seen.

        Raises:
            ConfigError: too long. RunError: the directory is gone.
        """
        lines = ["".join(letter for letter in line if letter.isprintable()) for line in about.note.splitlines()]
        title = " ".join("".join(letter for letter in about.title if letter.isprintable() or letter.isspace()).split())
        if not self.path.is_dir():
            raise RunError("the run's directory is gone, and its title and note would stand there", got=self.run_id,
                           todo="Restore the directory, or delete the run")  # fmt: skip
        write_json(self / "about.json", asdict(About(title, "\n".join(lines).strip())))

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that the process wrote, warnings and tracebacks; empty where there is no log."""
        try:
            with (self / "log.txt").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
                return "\n".join(file.read().decode("utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    # -- results ---------------------------------------------------------------------------------

    def append_epoch(self, record: dict[str, Any]) -> None:
        self._append("epochs.jsonl", record)

    def append_lesson(self, epoch: int, used: NDArray[np.bool_]) -> None:
        """Which training examples an epoch uses: (n,), in the order of order.parquet's training rows. A bit each."""
        packed = base64.b64encode(np.packbits(used).tobytes()).decode("ascii")
        self._append("lessons.jsonl", {"epoch": epoch, "of": len(used), "used": packed})

    def _append(self, name: str, record: dict[str, Any]) -> None:
        with (self / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(without_nan(record)) + "\n")

    def flush(self) -> None:
        """Wait until the disk has every line: what counts on them, a checkpoint or a result, comes after."""
        for name in ("epochs.jsonl", "lessons.jsonl"):
            if (self / name).exists():
                flush(self / name)

    def epochs(self) -> list[dict[str, Any]]:
        """Every whole line; a torn last line is passed over."""
        return self._lines("epochs.jsonl")

    def lessons(self) -> dict[int, NDArray[np.bool_]]:
        """Which training examples each epoch used, by epoch; empty for modes that order nothing, and for runs from before this was kept."""
        found: dict[int, NDArray[np.bool_]] = {}
        for record in self._lines("lessons.jsonl"):
            try:
                bits, count = np.frombuffer(base64.b64decode(record["used"], validate=True), np.uint8), record["of"]
                if (
                    type(count) is not int or count < 0 or len(bits) != -(-count // 8)
                ):  # before unpacking, which would fill up what is missing
                    break
                found[record["epoch"]] = np.unpackbits(bits, count=count).astype(bool)
            except (KeyError, TypeError, ValueError):
                break
        return found

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self / name
        if not path.exists():
            return []
        records: list[dict[str, Any]] = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            try:
                record = parse_json(line) if line.endswith("\n") else None
            except ValueError:
                record = None
            if not isinstance(record, dict) or type(record.get("epoch")) is not int:
                break
            records.append(record)
        return records

    def keep_epochs(self, last: int) -> None:
        """Forget the epochs after `last`: a resumed run does them again."""
        for name in ("epochs.jsonl", "lessons.jsonl"):
            if name == "epochs.jsonl" or (self / name).exists():
                text = "".join(json.dumps(record) + "\n" for record in self._lines(name) if record["epoch"] <= last)
                write_whole(self / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]

    def result(self) -> dict[str, Any] | None:
        """result.json, written when all else is; None while there is none."""
        try:
            record = read_json(self / "result.json")
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None


def _check_kinds(status: Status) -> None:
    """ValueError or TypeError where a status has text for a number, or the other way round."""
    if not all(isinstance(text, str) for text in (status.state, status.host, status.phase, status.message)):
        raise ValueError("text is missing")
    numbers = (status.pid or 0, status.pid_started or 0, status.done, status.total, status.epoch, status.epochs, status.seconds,
               status.seconds_left or 0, status.updated_at)  # fmt: skip
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("a number is missing")


def read_frame(path: Path, needed: Sequence[str] = ()) -> pd.DataFrame:
    """A table of a run's directory; RunError where it can't be read, or lacks a column."""
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # on a damaged file Arrow and pandas raise whatever they stumble over
        raise RunError(f"{path} can't be read ({error})", todo="Start the run anew, or restore the file") from error
    if lacking := [name for name in needed if name not in frame]:
        raise RunError(f"{path} is damaged", got=f"no column {', '.join(lacking)}", todo="Start the run anew, or restore the file")
    return frame


def is_id(text: str) -> bool:
    """Whether a text can be a run's or a recipe's id: a folder's own name, which leads nowhere else."""
    return text not in ("", ".", "..") and Path(text).name == text and "\0" not in text


def place_of(home: Home, run_id: str) -> RunDir:
    """Where a run of that id lies, or would lie; UnknownError for what can't be one."""
    if not is_id(run_id):
        raise _unknown(home, run_id)
    return RunDir(home.runs / run_id)


def open_run(home: Home, run_id: str) -> RunDir:
    """An existing run's directory; an unknown id raises UnknownError."""
    run = place_of(home, run_id)
    if not _readable(run / "config.json"):
        raise _unknown(home, run_id)
    return run


def _unknown(home: Home, run_id: str) -> UnknownError:
    known = [run.run_id for run in all_runs(home)]
    return UnknownError("no such run", got=run_id, allowed=known[:10] or "none has been started yet", todo="`runs list` shows them")


def all_runs(home: Home) -> list[RunDir]:
    """Every run directory, the newest first."""
    if not home.runs.is_dir():
        return []
    found = [RunDir(path) for path in home.runs.iterdir() if _readable(path / "config.json")]
    return sorted(found, key=lambda run: run.run_id, reverse=True)


def _readable(file: Path) -> bool:
    """Whether a file is there, and nobody's permissions are in the way."""
    try:
        return file.is_file()
    except OSError:
        return False
