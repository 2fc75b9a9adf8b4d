"""Runs from outside: start, watch, cancel, resume, describe, delete, list.

The computing itself is a process of its own (`worker`), which only shares a directory with this module
(`rundir`). Nothing here imports torch.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from curriculum import datasets
from curriculum.config import ARMS, CompareConfig, Config
from curriculum.errors import CurriculumError, RunError
from curriculum.home import Home
from curriculum.intake import ingest
from curriculum.preparation import prepare
from curriculum.rundir import About, RunDir, Status, all_runs, open_run, place_of
from curriculum.store import Store

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(256 << 20)}
"""glibc's own settings: a worker keeps its memory from batch to batch, which trains a tenth faster than asking the system anew."""

MEMBER = re.compile(rf"(.+?)-(?:{'|'.join(map(re.escape, ARMS))})-s\d+", re.DOTALL)
"""An arm's run by its id, as `member_id` makes it."""

PACKAGE = Path(__file__).resolve().parent.parent

_children: list[subprocess.Popen[bytes]] = []

log = logging.getLogger(__name__)


def launch(run: RunDir, *more: RunDir, threads: int | None = None) -> subprocess.Popen[bytes]:
    """Start a run's process in a session of its own, so that it outlives this one.

    Args:
        more: runs that follow in the same process.
        threads: how many it computes with; None: as many as there are cores.
    """
    environment = worker_environment()
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    program = "curriculum.experiment" if isinstance(run.config(), CompareConfig) else "curriculum.worker"
    return spawn(program, [each.path for each in (run, *more)], run / "log.txt", environment)


def spawn(program: str, directories: Sequence[Path], output: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a module of this package as a process in a session of its own, whose end is taken note of."""
    reap()
    with output.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", program, *map(str, directories)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=environment, cwd=PACKAGE,
        )  # fmt: skip
    _children.append(child)
    log.info("process started", extra={"program": program, "directories": [str(path) for path in directories], "child": child.pid})
    return child


def worker_environment() -> dict[str, str]:
    """This process's environment, the package to be found in it, and glibc told to keep memory."""
    path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**KEEP_MEMORY, **os.environ, "PYTHONPATH": path}


def start(store: Store, config: Config) -> RunDir:
    """Prepare a run and launch it; it appears in the database at once."""
    run = prepare(store, config)
    launch(run)
    if store.writable:
        ingest(store, run)
    return run


def reap() -> None:
    """Collect the exit codes of finished children, so that none stays a zombie."""
    _children[:] = [child for child in _children if child.poll() is None]


def cancel(run: RunDir, wait_seconds: float = 0.0) -> Status:
    """Ask a run to stop; it does within about two seconds, keeping what is finished."""
    if not run.status().active:
        raise RunError("only a run that is going on can be cancelled", got=f"{run.run_id} is {run.status().state}")
    run.ask_to_cancel()
    log.info("run to be cancelled", extra={"run_id": run.run_id})
    deadline = time.monotonic() + wait_seconds
    while run.status().active and time.monotonic() < deadline:
        time.sleep(0.1)
    return run.status()


def resume(store: Store, run: RunDir) -> subprocess.Popen[bytes]:
    """Go on with a cancelled, interrupted or failed run from its last checkpoint.

    Raises:
        RunError: any other run. UnknownError: its data set isn't registered any more.
    """
    root = datasets.get_dataset(store, run.config().dataset).root
    run.queue_again()
    run.place(root)
    return launch(run)


def delete(store: Store, run: RunDir) -> None:
    """Remove a run that isn't going on: its rows, then its directory; of a comparison first those of its arms.

    Stopped at any moment, it is done by asking once more (`find_remains`): a comparison stays whole until its last arm has gone.
    """
    all_of_it = [*(place_of(store.home, each) for each in _planned(run)), place_of(store.home, run.run_id)]
    for each in all_of_it:
        if each.status().active:
            raise RunError("a run that is going on can't be deleted", got=each.run_id, todo="Cancel it first")
    for each in all_of_it:
        with store.write() as cursor:
            for table in ("epoch", "prediction", "score", "run"):
                cursor.execute(f"DELETE FROM {table} WHERE run_id = ?", [each.run_id])
            (each / "config.json").unlink(missing_ok=True)  # a folder without it is no run: nobody takes in again what stays of it
        if each.path.exists():
            shutil.rmtree(each.path)
    log.info("run deleted", extra={"run_id": run.run_id})


def find_remains(store: Store, run_id: str) -> RunDir:
    """A run to be deleted: a whole one, or rows or files that stayed as a deletion was broken off.

    Raises:
        UnknownError: there is nothing of that id.
    """
    run = place_of(store.home, run_id)
    if run.path.is_dir() or store.rows("SELECT 1 FROM run WHERE run_id = ?", [run_id]):
        return run
    return open_run(store.home, run_id)


def describe(store: Store, run: RunDir, *, title: str | None = None, note: str | None = None) -> About:
    """Give a run a title or a note (None: leave it), in its directory first, then in the database where that is ours to write.

    Raises:
        ConfigError: too long. RunError: the directory is gone.
    """
    before = run.about()
    run.write_about(About(before.title if title is None else title, before.note if note is None else note))
    if store.writable:
        ingest(store, run)
    return run.about()


def members(home: Home, run: RunDir) -> list[RunDir]:
    """The runs that a comparison has started; none of any other run."""
    planned = set(_planned(run))
    return [each for each in all_runs(home) if each.run_id in planned] if planned else []


def member_id(comparison: str, arm: str, seed: int) -> str:
    """The id of the run that is one arm of one seed of a comparison."""
    return f"{comparison}-{arm}-s{seed}"


def comparison_id(run_id: str) -> str | None:
    """The id of the comparison that a run is an arm of, by its own id; None for any other."""
    found = MEMBER.fullmatch(run_id)
    return found[1] if found else None


def _planned(run: RunDir) -> list[str]:
    """The ids of all runs that a comparison starts; none of any other run, and of one whose configuration can't be read."""
    try:
        config = run.config()
    except CurriculumError:
        return []
    if not isinstance(config, CompareConfig):
        return []
    seeds = range(config.seed, config.seed + config.seeds)
    return [member_id(run.run_id, arm, seed) for seed in seeds for chain in config.chains() for arm in chain]


def list_runs(store: Store, dataset: str | None = None, kind: str | None = None, *, arms: bool = True) -> pd.DataFrame:
    """Runs in the database, the newest first; `result` and `config` are dictionaries (or None). `arms`: those of comparisons too."""
    frame = store.query(
        """SELECT * FROM run WHERE ($dataset IS NULL OR dataset = $dataset) AND ($kind IS NULL OR kind = $kind)
           ORDER BY created_at DESC, run_id DESC""",
        {"dataset": dataset, "kind": kind},
    )
    if not arms:
        compared = {row[0] for row in store.rows("SELECT run_id FROM run WHERE kind = 'compare'")}
        frame = frame[~frame["run_id"].map(comparison_id).isin(compared)].reset_index(drop=True)
    for column in ("result", "config"):
        frame[column] = [json.loads(text) if isinstance(text, str) else None for text in frame[column]]
    return frame


def find(home: Home, run_id: str) -> RunDir:
    """A run by its id; UnknownError where there is none."""
    return open_run(home, run_id)
