"""Runs from outside: prepare, start, watch, cancel, resume, and take their results into the database.

The computing itself is a process of its own (`worker`), which only shares a directory with this module
(`rundir`). Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from curriculum import analysis, datasets, given, labels
from curriculum.config import ARMS, KINDS, CompareConfig, Config, Home, LookConfig, ScoreConfig, TrainConfig, base_of
from curriculum.errors import CurriculumError, DatasetError, LabelsMissingError, RunError, StoreError, UnknownError, WeightsError
from curriculum.files import write_json
from curriculum.rundir import About, RunDir, Status, all_runs, open_run, read_frame
from curriculum.splits import split_examples, thin_out
from curriculum.store import Store

NOBODY_LOOKED = "Nobody has looked for images of the same ground (`data overlaps`): some of test may show what is in train."

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(256 << 20)}
"""glibc's own settings: a worker keeps its memory from batch to batch, which trains a tenth faster than asking the system anew."""

PACKAGE = Path(__file__).resolve().parent.parent

TAKEN = "taken.json"
Signature = list[Any]
"""Of a run's files: the same as long as there is nothing new to take in."""

_children: list[subprocess.Popen[bytes]] = []

log = logging.getLogger(__name__)


# -- starting ------------------------------------------------------------------------------------


def prepare(store: Store, config: Config) -> RunDir:
    """Write a new run directory from what the database knows now; nothing is computed yet.

    Raises:
        UnknownError: no such data set or run. LabelsMissingError: staged, and nobody's labels fit.
        WeightsError: weights that aren't there. DatasetError: no images.
    """
    dataset = datasets.get_dataset(store, config.dataset)
    order = datasets.examples(store, config.dataset)
    if order.empty:
        raise DatasetError("the data set has no images left", got=config.dataset, todo=f"Look into {dataset.root}, then `data check`")
    notes: tuple[str, ...] = ()
    config = dataclasses.replace(config, weights=_checked_weights(store.home, config.weights, config.architecture))
    if isinstance(config, TrainConfig):
        if config.replay:
            _check_replay(store.home, config)
        order = _with_difficulty(store, config.dataset, _with_levels(store, config, order, needed=config.mode == "staged"))
        order = _with_own(dataset.root, config, order)
        order["split"] = split_examples(order, config.protocol, config.seed, config.test_share, config.val_share)
        order = thin_out(order, config.train_share, config.per_class, config.seed)
        notes = _overlap_notes(store, config, order) + _weights_notes(store.home, config)
    elif isinstance(config, CompareConfig):
        by_people = any(ARMS[arm] == ARMS["staged"] for arm in map(base_of, config.arms))
        order = _with_difficulty(store, config.dataset, _with_levels(store, config, order, needed=by_people))
        notes = _overlap_notes(store, config, order.assign(split="")) + _weights_notes(store.home, config)
    elif isinstance(config, ScoreConfig) and config.run:
        config = _of_its_model(store.home, config)
    elif isinstance(config, LookConfig):
        order = _one(order, config)
    run = RunDir(store.home.runs / f"{datetime.now():%Y%m%d-%H%M%S}-{mode_of(config).replace('_', '-')}-{secrets.token_hex(2)}")
    run.write_request(config, root=dataset.root, home=store.home, classes=dataset.classes, order=order, notes=notes)
    return run


def mode_of(config: Config) -> str:
    """What a run does, in a word: its training mode, its score, or what kind of run it is."""
    if isinstance(config, CompareConfig):
        return "compare"
    if isinstance(config, ScoreConfig):
        return config.method
    return config.mode if isinstance(config, TrainConfig) else KINDS[type(config)]


def _one(order: pd.DataFrame, config: LookConfig) -> pd.DataFrame:
    """The row of the picture that is looked at."""
    found = order.head(1) if config.example is None else order[order["example"] == config.example]
    if found.empty:
        raise UnknownError("no such image in the data set", got=config.example, allowed=order["example"].head(3).tolist())
    return found.reset_index(drop=True)


def _overlap_notes(store: Store, config: TrainConfig | CompareConfig, order: pd.DataFrame) -> tuple[str, ...]:
    """What a reader of the test figure must know about images that show the same ground."""
    pairs = datasets.known_overlaps(store, config.dataset)
    if pairs is None:
        return (NOBODY_LOOKED,)
    split = order.set_index("example")["split"]
    ends = pd.concat([pairs[["example", "other"]], pairs[["other", "example"]].set_axis(["example", "other"], axis=1)])
    leaked = ends[(ends["example"].map(split) == "test") & (ends["other"].map(split) == "train")]["example"].nunique()
    test = int((order["split"] == "test").sum())
    whose = "the data set's own" if config.protocol == "given" else "random"
    return (f"{leaked} of {test} test images show the same ground as a training image: the split is {whose}.",) if leaked else ()


def _check_replay(home: Home, config: TrainConfig) -> None:
    """What is replayed is a finished self-paced run of the same images."""
    run = open_run(home, config.replay or "")
    given = run.config()
    if not (isinstance(given, TrainConfig) and given.mode == "self-paced" and given.dataset == config.dataset and run.result()):
        raise RunError("only a finished self-paced run of the same data set can be replayed", got=run.run_id, todo="`runs list` shows them")


def _weights_notes(home: Home, config: TrainConfig | CompareConfig) -> tuple[str, ...]:
    """A model of the same data set has seen images that are test images here."""
    if not config.weights.startswith("run:") or open_run(home, config.weights.removeprefix("run:")).config().dataset != config.dataset:
        return ()
    return (f"The weights are those of {config.weights}, which learnt from images of the same data set: some of test may be among them.",)


def _with_levels(store: Store, config: TrainConfig | CompareConfig, order: pd.DataFrame, *, needed: bool) -> pd.DataFrame:
    if config.levels == "model":
        return order.assign(level=None)  # the worker ranks, from the training images alone
    agreed = labels.consensus(store, config.dataset, config.levels)
    if needed and agreed.empty:
        other = labels.summary(store, config.dataset)["simulated"]
        some = isinstance(other, dict) and other["labelled"]
        hint = "take the simulated ones (--levels simulated)" if some else "simulate some (`labels simulate`)"
        raise LabelsMissingError(f"staged training needs levels, and {config.levels} has given none for {config.dataset}",
                                 todo=f"Sort images on the app's page, import labels, or {hint}")  # fmt: skip
    return order.merge(agreed[["example", "level"]], how="left", on="example")


def _with_difficulty(store: Store, dataset: str, order: pd.DataFrame) -> pd.DataFrame:
    """The newest ranking's difficulty stands in the record too; empty where there is none."""
    newest = analysis.latest_score(store, dataset)
    return order.merge(analysis.difficulties(store, newest), how="left", on="example")


def _checked_weights(home: Home, weights: str, architecture: str) -> str:
    """Refuse weights that can't be found before anything starts; a path is made absolute."""
    if weights in ("imagenet", "none"):
        return weights
    if weights.startswith("run:"):
        run = open_run(home, weights.removeprefix("run:"))
        if not (run / "model.pt").is_file():
            raise WeightsError("that run left no model", got=weights, todo="Choose a finished training run: `runs list`")
        theirs = run.config().architecture
        if theirs != architecture and not architecture.startswith(f"{theirs}_"):  # resnet50_layer2 is the beginning of resnet50
            raise WeightsError(
                "that run's model is another network", got=f"{theirs}, not {architecture}", todo=f"Add --architecture {theirs}"
            )
        return weights
    try:
        path = Path(weights).expanduser().absolute()
    except RuntimeError:  # ~somebody who isn't there
        path = Path(weights).absolute()
    if not path.is_file():
        raise WeightsError("no such weights", got=weights, allowed="imagenet, none, the path of a state dict, run:ID")
    return str(path)


def _of_its_model(home: Home, config: ScoreConfig) -> ScoreConfig:
    """A model judges images of the size that it learnt from, and of the same classes, with its own network."""
    run = open_run(home, config.run or "")
    trained = run.config()
    _checked_weights(home, f"run:{config.run}", trained.architecture)
    if isinstance(trained, TrainConfig) and trained.multi_label:
        raise RunError(
            "a ranking is by the loss of one class an image",
            got=f"{config.run}, which learnt several",
            todo="Rank out of fold, or by a run without --multi-label",
        )
    if trained.image_size != config.image_size or trained.dataset != config.dataset:
        raise RunError(
            "a model judges the data set and the image size that it was trained on",
            got=f"{config.dataset} at {config.image_size} px",
            allowed=f"{trained.dataset} at {trained.image_size} px",
        )
    return dataclasses.replace(config, architecture=trained.architecture)


def _with_own(root: Path, config: TrainConfig, order: pd.DataFrame) -> pd.DataFrame:
    """What the data set itself says of its images: own_split for protocol given, classes for several classes an image."""
    if config.protocol == "given":
        own = _said(given.split(root), order, root, "split.csv", "example,split", "--protocol honest")
        if "test" not in set(own):
            raise DatasetError("the data set's own split has no test image", got=str(root / "split.csv"), todo="Take --protocol honest")
        order = order.assign(own_split=own)
    if config.multi_label:
        order = order.assign(classes=_said(given.classes(root), order, root, "classes.csv", "example,classes", "one class an image"))
    return order


def _said(own: dict[str, Any] | None, order: pd.DataFrame, root: Path, name: str, header: str, instead: str) -> pd.Series:
    if own is None:
        raise DatasetError(f"the data set has no {name}", got=str(root), allowed=f"a table {header}", todo=f"Write one, or take {instead}")
    lacking = order[~order["example"].isin(own)]["example"]
    if len(lacking):
        raise DatasetError(f"{name} says nothing of some images", got=f"{len(lacking):,}, such as {lacking.iloc[0]}", todo="Complete it")
    return order["example"].map(own)


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
    _reap()
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


def _reap() -> None:
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


def resume(run: RunDir) -> subprocess.Popen[bytes]:
    """Go on with a cancelled, interrupted or failed run from its last checkpoint; raises RunError for any other."""
    run.queue_again()
    return launch(run)


def delete(store: Store, run: RunDir) -> None:
    """Remove a run that isn't going on: its rows, then its directory; of a comparison also those of its arms."""
    all_of_it = [run, *members(store.home, run)]
    for each in all_of_it:
        if each.status().active:
            raise RunError("a run that is going on can't be deleted", got=each.run_id, todo="Cancel it first")
    for each in all_of_it:  # first: a folder without it is no run, so that nobody takes in again what stays of it
        (each / "config.json").unlink(missing_ok=True)
    with store.write() as cursor:
        for table in ("epoch", "prediction", "score", "run"):
            cursor.executemany(f"DELETE FROM {table} WHERE run_id = ?", [[each.run_id] for each in all_of_it])
    for each in all_of_it:
        shutil.rmtree(each.path, ignore_errors=not each.path.exists())
    log.info("run deleted", extra={"run_id": run.run_id})


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
    """The runs that a comparison started; none of any other run."""
    return [each for each in all_runs(home) if each.run_id.startswith(f"{run.run_id}-")]


# -- taking results in ---------------------------------------------------------------------------


def ingest(store: Store, run: RunDir) -> Status:
    """Bring the database's rows about a run up to its directory; doing it twice changes nothing.

    Rows of predictions and scores come only from a run whose result.json is there, written last.
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
    with store.write() as cursor:
        store.upsert(cursor, "run", row, ("run_id",))
        for table, frame in tables.items():
            cursor.execute(f"DELETE FROM {table} WHERE run_id = ?", [run.run_id])
            if not frame.empty:
                store.insert(cursor, table, frame.assign(run_id=run.run_id))
    if damaged:
        raise damaged
    return status


def _time(run: RunDir, seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RunError(f"config.json of run {run.run_id} is damaged: created_at", got=str(seconds)[:40], todo="Delete the run") from error


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
        _reap()
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


def list_runs(store: Store, dataset: str | None = None, kind: str | None = None, *, arms: bool = True) -> pd.DataFrame:
    """Runs in the database, the newest first; `result` and `config` are dictionaries (or None). `arms`: those of comparisons too."""
    frame = store.query(
        """SELECT * FROM run WHERE ($dataset IS NULL OR dataset = $dataset) AND ($kind IS NULL OR kind = $kind)
             AND ($arms OR NOT EXISTS (SELECT 1 FROM run AS c WHERE c.kind = 'compare' AND starts_with(run.run_id, c.run_id || '-')))
           ORDER BY created_at DESC, run_id DESC""",
        {"dataset": dataset, "kind": kind, "arms": arms},
    )
    for column in ("result", "config"):
        frame[column] = [json.loads(text) if isinstance(text, str) else None for text in frame[column]]
    return frame


def find(home: Home, run_id: str) -> RunDir:
    """A run by its id; UnknownError where there is none."""
    return open_run(home, run_id)
