"""What each command of `python -m curriculum` does: call the package, return a JSON document and the same for people.

Nothing here prints results; progress goes to standard error. `cli` knows the flags and the exit codes, `label_commands` the
commands of `labels`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from curriculum import datasets, fetching, intake, overlaps, preparation, run_words, runs, sources
from curriculum.config import CompareConfig, Config, EpisodesConfig, LookConfig, ScoreConfig, TrainConfig
from curriculum.errors import ConfigError, RunError
from curriculum.home import Home
from curriculum.rundir import RunDir, Status, open_run
from curriculum.store import LONG_PATIENCE_SECONDS, Store
from curriculum.words import duration

Result = dict[str, Any]
STANDARD_ERROR = 2


# -- data ----------------------------------------------------------------------------------------


class _Bar:
    """Progress on standard error: a bar with rate and time left at a terminal, elsewhere a line for each new phase."""

    def __init__(self, what: str) -> None:
        self.phase = what
        self.bar = tqdm(desc=what, file=sys.stderr, leave=False, dynamic_ncols=True, disable=None)
        self._say()

    def __call__(self, done: int, total: int | None, phase: str = "") -> None:
        if phase and phase != self.phase:
            self.phase = phase
            self.bar.reset(total)
            self.bar.set_description(phase, refresh=False)
            self._say()
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def note(self, text: str) -> None:
        """Words behind the bar, such as the time left."""
        self.bar.set_postfix_str(text, refresh=True)

    def close(self) -> None:
        self.bar.close()

    def _say(self) -> None:
        if self.bar.disable:
            print(f"{self.phase} ...", file=sys.stderr, flush=True)


def _added(name: str, index: datasets.Registered) -> tuple[Result, str]:
    rejected = [dataclasses.asdict(file) for file in index.rejected]
    text = [f"{name}: {len(index.examples)} images, {len(index.classes)} classes ({', '.join(index.classes)}) in {index.root}"]
    text += [f"  {sentence}" for sentence in index.differences()]
    text += [f"  left out: {file['path']}: {file['reason']}" for file in rejected]
    counts = {what: getattr(index, what) for what in ("new", "changed", "gone", "moved", "judged", "scored")}
    return {"dataset": name, "examples": len(index.examples), "classes": list(index.classes), "rejected": rejected, **counts}, "\n".join(
        text
    )


def data_demo(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="data demo") as store:
        folder = sources.make_demo(home.data, progress=_Bar("drawing"))
        return _added("demo", datasets.add_dataset(store, "demo", folder))


def data_fetch(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    Store.open(home, owner="data fetch").close()  # a locked database is said before the download, not after
    if options.source_name in fetching.KNOWN:
        return _fetch_known(options, home)
    if options.source:
        taken = sources.take_rsscn7(home.data, Path(options.source), progress=_Bar("reading"))
    else:
        taken = sources.fetch_rsscn7(home.data, progress=_Bar("downloading"))
    with Store.open(home, owner="data fetch") as store:
        document, text = _added("rsscn7", datasets.add_dataset(store, "rsscn7", taken.path, _Bar("verifying")))
    note = f"{taken.matching} of {taken.examples} files are the published originals"
    return {**document, "originals": taken.matching}, f"{text}\n  {note}"


def _fetch_known(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    """One of torchvision's data sets."""
    name, known = options.source_name, fetching.KNOWN[options.source_name]
    there = (home.data / name).is_dir()
    folder = fetching.fetch(name, home.data, Path(options.source) if options.source else None, _Bar("starting torchvision"))
    with Store.open(home, owner="data fetch") as store:
        document, text = _added(name, datasets.add_dataset(store, name, folder, _Bar("verifying")))
    note = "it was there already; to make it anew, delete that folder first" if there else f"beside the images: {known.split}"
    return {**document, "was_there": there}, f"{text}\n  {note}"


def data_add(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="data add") as store:
        return _added(options.name, datasets.add_dataset(store, options.name, Path(options.path), _Bar("verifying")))


def data_check(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="data check") as store:
        return _added(options.name, datasets.check_dataset(store, options.name, _Bar("verifying")))


def data_overlaps(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="data overlaps") as store:
        datasets.look_for_overlaps(store, options.name, _Bar("looking for features"))
        pairs, frame = datasets.known_overlaps(store, options.name), datasets.examples(store, options.name)
    assert pairs is not None
    names = frame["example"].tolist()
    place = {name: number for number, name in enumerate(names)}
    linked = [(place[a], place[b]) for a, b in zip(pairs["example"], pairs["other"], strict=True)]
    groups = [group["example"].tolist() for _, group in frame.dropna(subset="overlap_group").groupby("overlap_group")]
    percent = round(100 * overlaps.leak(linked, frame["class"].tolist()), 1)
    document = {
        "dataset": options.name, "pairs": pairs[["example", "other", "score"]].to_numpy().tolist(), "groups": groups, "leak_percent": percent,
    }  # fmt: skip
    return document, "\n".join([
        *(f"{a}  {b}  {score:.2f}" for a, b, score in document["pairs"]),
        f"{options.name}: {len(pairs)} pairs show the same ground, {sum(map(len, groups))} of {len(names)} images in {len(groups)} groups.",
        f"A random 80/20 split puts {percent} % of the test images beside such a partner in train; honest splits keep groups together.",
    ])  # fmt: skip


def data_list(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home) as store:
        found = datasets.list_datasets(store)
    rows = [{"dataset": d.name, "root": str(d.root), "examples": d.examples, "classes": list(d.classes)} for d in found]
    text = "\n".join(f"{d.name}: {d.examples} images, {len(d.classes)} classes, {d.root}" for d in found)
    return {"datasets": rows}, text or "No data set yet: `data demo`, `data fetch rsscn7` or `data add PATH --name NAME`."


# -- runs ----------------------------------------------------------------------------------------


def score(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    if options.run and options.image_size is None:  # a model judges images of the size that it learnt from
        options.image_size = open_run(home, options.run).config().image_size
    return _run(home, _config(ScoreConfig, options), run_words.score_text)


def train(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    return _run(home, _config(TrainConfig, options), run_words.train_text)


def compare(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    return _run(home, _config(CompareConfig, options), run_words.compare_text)


def episodes(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    return _run(home, _config(EpisodesConfig, options), run_words.episodes_text)


def look(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    return _run(home, _config(LookConfig, options), run_words.look_text)


def _config(kind: type[Any], options: argparse.Namespace) -> Any:
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(kind)}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None})


def _attend_unless_first(kind: type[Config]) -> None:
    """Started by torchrun, all but the first process become workers that join its run; these lines don't return in them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not {"RANK", "MASTER_ADDR"} <= os.environ.keys():
        return
    if kind is CompareConfig:
        raise ConfigError("torchrun starts one run in several processes, not a comparison", todo="Use `compare --workers N`.")
    if os.environ["RANK"] != "0":
        os.environ.update(runs.worker_environment())
        os.execv(sys.executable, [sys.executable, "-m", "curriculum.worker", "--join"])


def _run(home: Home, config: Config, describe: Callable[[Store, Result], str]) -> tuple[Result, str]:
    """Prepare, launch, follow, take in. The database is free for others while the worker computes."""
    _attend_unless_first(type(config))
    with Store.open_or_snapshot(home, owner="a command that starts a run") as store:
        if config.divides and datasets.known_overlaps(store, config.dataset) is None:
            datasets.ensure_overlaps(store, config.dataset, _Bar("looking for images of the same ground"))
        run = preparation.prepare(store, config)
    status = follow(run, runs.launch(run))
    with Store.open_or_snapshot(home, owner="a command that ends a run", patience=LONG_PATIENCE_SECONDS) as store:
        if store.writable:
            for each in (run, *runs.members(home, run)):
                intake.ingest(store, each)
        else:
            print("The app owns the database; it takes this run in within seconds.", file=sys.stderr)
        result = _result(run, status)
        return result, describe(store, result) if store.writable else f"run {run.run_id} is done"


def follow(run: RunDir, worker: subprocess.Popen[bytes], what: str = "") -> Status:
    """Wait for a run, or a recipe, with a progress bar; Ctrl-C cancels it and leaves it resumable."""
    print(what or f"run {run.run_id}", file=sys.stderr)
    bar = _Bar("starting")
    try:
        while (status := run.status()).active:
            _draw(bar, status)
            time.sleep(0.2)
    except KeyboardInterrupt:
        print("\ncancelling ...", file=sys.stderr)
        status = runs.cancel(run, wait_seconds=90) if run.status().active else run.status()
    finally:
        bar.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.wait(timeout=30)  # it has said its last word
    return status


def _draw(bar: _Bar, status: Status) -> None:
    if not status.epochs:
        bar(status.done, status.total or None, status.phase)
        return
    bar(status.epoch, status.epochs, "epochs")
    within = f"{status.phase} {status.done}/{status.total}" if status.total else status.phase
    bar.note(within + (f", {duration(status.seconds_left)} left" if status.seconds_left is not None else ""))


def _result(run: RunDir, status: Status) -> Result:
    result = run.result()
    if status.state == "done" and result is not None:
        return result
    todo = "" if status.state == "failed" else f"`python -m curriculum runs resume {run.run_id}` goes on"
    raise RunError(status.message or f"the run ended {status.state}", todo=todo)


def runs_list(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home, owner="runs list") as store:
        if store.writable:
            intake.Ingester(store).once()
        frame = runs.list_runs(store, options.dataset)
    names = ["run_id", "title", "note", "kind", "dataset", "mode", "protocol", "seed", "state", "seconds", "created_at", "result"]
    rows = frame[names].to_dict("records")
    lines = [f"{row['run_id']}  {row['state']:<11} {row['dataset']}  {run_words.headline(row['result'])}{_titled(row)}" for row in rows]
    return {"runs": rows}, "\n".join(lines) or "No run yet: `score --dataset NAME` or `train --dataset NAME`."


def _titled(row: dict[Any, Any]) -> str:
    return "".join(f"  {sign}{row[name]}" for name, sign in (("title", "# "), ("note", "note: ")) if isinstance(row[name], str)).replace(
        "\n", " "
    )


def runs_show(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    run = open_run(home, options.run_id)
    status, result, about = run.status(), run.result(), run.about()
    document = {
        "run_id": run.run_id,
        "title": about.title or None,
        "note": about.note or None,
        "status": dataclasses.asdict(status),
        "config": run.request()["config"],
        "epochs": run.epochs(),
        "result": result,
    }
    said = "".join(f"{line}\n" for line in (about.title, about.note) if line)
    text = said + f"run {run.run_id}: {status.state}, epoch {status.epoch} of {status.epochs}, {duration(status.seconds)}. {status.message}"
    if result is None:
        return document, text
    with Store.open_or_snapshot(home, owner="runs show") as store:
        if store.writable:
            intake.ingest(store, run)
        return document, said + run_words.text_of(run)(store, result)


def runs_cancel(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    status = runs.cancel(open_run(home, options.run_id), wait_seconds=10)
    return {"run_id": options.run_id, "state": status.state}, f"{options.run_id} is {status.state}"


def runs_resume(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    run = open_run(home, options.run_id)
    _attend_unless_first(type(run.config()))
    with Store.open_or_snapshot(home, owner="runs resume") as store:
        worker = runs.resume(store, run)
    status = follow(run, worker)
    with Store.open_or_snapshot(home, owner="runs resume", patience=LONG_PATIENCE_SECONDS) as store:
        if store.writable:
            for each in (run, *runs.members(home, run)):
                intake.ingest(store, each)
        result = _result(run, status)
        return result, run_words.text_of(run)(store, result) if store.writable else f"run {run.run_id} is done"


def runs_delete(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="runs delete") as store:
        runs.delete(store, runs.find_remains(store, options.run_id))
    return {"run_id": options.run_id, "deleted": True}, f"{options.run_id} is deleted"


def runs_ingest(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="runs ingest") as store:
        failed = intake.Ingester(store).once()
        count = len(runs.list_runs(store))
    text = f"{count} runs are in the database" + "".join(f"\n  {run}: {why}" for run, why in failed.items())
    return {"runs": count, "failed": failed}, text


def app(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    script = Path(__file__).resolve().parent.parent / "annotate_app.py"
    environment = {**os.environ, "CURRICULUM_HOME": str(home.root)}
    more = options.streamlit[
        options.streamlit[:1] == ["--"] :
    ]  # what comes after it is Streamlit's; given that too, it would read no option
    said = STANDARD_ERROR if options.json else None
    code = subprocess.call([sys.executable, "-m", "streamlit", "run", str(script), *more], env=environment, cwd=script.parent, stdout=said)
    if code:
        raise RunError(f"the app ended with exit code {code}")
    return {"app": "stopped"}, "The app has stopped."
