"""The process of a recipe: `python -m curriculum.recipe_process RECIPE_DIRECTORY`.

Prepares one step after another from what the database knows (while the app owns it, from its snapshot), works on it in this process, and
goes on with what it gave. Killed at any moment, it goes on from the runs that are done.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from curriculum import datasets, experiment, preparation, recipe_runs, worker
from curriculum.config import CompareConfig, Config
from curriculum.errors import CancelledError, CurriculumError, RunError, StoreLockedError
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.model import load_weights
from curriculum.priority import step_back
from curriculum.recipe import REFERRING, Recipe, Step
from curriculum.recipe_runs import Request
from curriculum.reporter import Reporter, supervise
from curriculum.rundir import MAX_TITLE, About, RunDir
from curriculum.store import LONG_PATIENCE_SECONDS, Store
from curriculum.vocabulary import Scale

WATCH_SECONDS = 0.3


def conduct(run: RunDir, reporter: Reporter) -> None:
    """Do what isn't done yet, then write result.json.

    Raises:
        CancelledError: somebody asked to stop. RunError: a step can't be done, which is looked at before any is begun, or it failed; what
            came before it is kept.
    """
    made, request, home = recipe_runs.recipe_of(run), recipe_runs.request_of(run), Home(run.path.parents[2])
    started, chosen = recipe_runs.steps_of(run), dict[str, str]()
    if request.scale == "small":
        torch.set_num_threads(1)  # of batches this small, threads only get into one another's way
    _look_ahead(home, made, request, started, reporter)
    total, done = sum(len(recipe_runs.points(made, step, request, {})) for step in made.steps), 0
    for step in made.steps:
        points, mine = recipe_runs.points(made, step, request, chosen), started.setdefault(step.name, [])
        settled = recipe_runs.chosen(recipe_runs.results_of(home, mine), len(points)) is not None
        for place, config in enumerate(points):
            if place == len(mine) or (not settled and _stale(home, mine[place], config)):
                mine[place : place + 1] = [_prepare(home, made, step, config, request.scale, reporter).run_id]
                write_json(run / "steps.json", started)
            elif not settled and RunDir(home.runs / mine[place]).result() is None:
                with _database(home, reporter) as store:
                    RunDir(home.runs / mine[place]).place(datasets.get_dataset(store, config.dataset).root)
            member = RunDir(home.runs / mine[place])
            if member.result() is None and not settled:
                with _watched(member, step, reporter, done, total):
                    _work(member, config)
            done += 1
        chosen[step.name] = _chosen(home, step, mine)
    if request.scale == "small":
        for run_id in (each for mine in started.values() for each in mine):
            (home.runs / run_id / "model.pt").unlink(missing_ok=True)  # of no use; a transformer's is 340 MB
    write_json(run / "result.json", _result(home, run, made, request, chosen, reporter.seconds))


def _look_ahead(home: Home, made: Recipe, request: Request, started: Mapping[str, list[str]], reporter: Reporter) -> None:
    """Refuse at once what a step that isn't begun would be refused for, hours later: its data set, or ImageNet's weights, which are fetched."""
    ahead = [(step, config) for step in made.steps
             for config in recipe_runs.points(made, step, request, {})[len(started.get(step.name, ())) :]]  # fmt: skip
    reporter.write(phase="looking at the data")
    with _database(home, reporter) as store:
        for step, config in ahead:
            with _named(step, config):
                preparation.table(store, _fitting(store, config, request.scale))
    reporter.write(phase="looking for ImageNet's weights")
    found = set[str]()
    for step, config in ahead:
        if config.begins_with == "imagenet" and config.architecture not in found:
            with _named(step, config):
                load_weights("imagenet", home.runs, config.architecture, config.image_size)
            found.add(config.architecture)


@contextmanager
def _named(step: Step, config: Config) -> Iterator[None]:
    """What is refused within is said of the step and its data set."""
    try:
        yield
    except CurriculumError as error:
        raise RunError(
            f"step {step.name} on {config.dataset} can't be done: {error.what}", got=error.got, allowed=error.allowed, todo=error.todo
        ) from error


def _fitting(store: Store, config: Config, scale: Scale) -> Config:
    """At small scale a step makes do with less where a data set has less."""
    return preparation.at_most(store, config) if scale == "small" else config


def _stale(home: Home, run_id: str, config: Config) -> bool:
    """Whether a run that was begun for this point is gone, or goes out from an earlier step's run that another has taken the place of."""
    member = RunDir(home.runs / run_id)
    if not (member / "config.json").is_file():  # somebody deleted it
        return True
    if member.result() is not None:
        return False
    before = member.config()
    return any(getattr(before, option, None) != getattr(config, option, None) for option in REFERRING)


def _chosen(home: Home, step: Step, run_ids: list[str]) -> str:
    """The run that stands for a step; RunError where none of its runs has finished."""
    found = recipe_runs.chosen(recipe_runs.results_of(home, run_ids), len(run_ids))
    if found is None:
        last = RunDir(home.runs / run_ids[-1])
        what = f"the run {last.run_id} failed" if len(run_ids) == 1 else f"all {len(run_ids)} runs of step {step.name} failed, the last"
        raise RunError(f"{what}: {last.status().message}", todo="Resume tries again; what is done is kept")
    return found


def _prepare(home: Home, made: Recipe, step: Step, config: Config, scale: Scale, reporter: Reporter) -> RunDir:
    def looking(done: int, total: int, phase: str) -> None:
        reporter.progress(phase, done, total)

    with _database(home, reporter) as store:
        if config.divides:
            datasets.ensure_overlaps(store, config.dataset, looking)
        member = preparation.prepare(store, _fitting(store, config, scale))
    member.write_about(About(f"{made.title}: {step.name}"[:MAX_TITLE]))
    return member


def _database(home: Home, reporter: Reporter) -> Store:
    """As soon as no command owns it, or somebody asks to stop."""
    until = time.monotonic() + LONG_PATIENCE_SECONDS
    while True:
        try:
            return Store.open_or_snapshot(home, owner="a recipe that starts a step", patience=1)
        except StoreLockedError:
            if time.monotonic() > until:
                raise
            if reporter.should_stop():
                raise CancelledError("the recipe was cancelled; resume goes on with what is left") from None
            reporter.write(phase="waiting for the database")


def _work(member: RunDir, config: Config) -> None:
    (member / "cancel").unlink(missing_ok=True)
    experiment.work(member) if isinstance(config, CompareConfig) else worker.work(member)
    if member.status().state == "cancelled":
        raise CancelledError("the recipe was cancelled; resume goes on with what is left")


@contextmanager
def _watched(member: RunDir, step: Step, reporter: Reporter, done: int, total: int) -> Iterator[None]:
    """Meanwhile: say how far the step is, and pass on that somebody asked to stop."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            status = member.status()
            share = status.epoch / status.epochs if status.epochs else 0.0
            phase = f"{step.name}: " + (f"epoch {status.epoch} of {status.epochs}" if status.epochs else status.phase)
            with suppress(OSError):  # a full disk, say: the step itself will tell
                if reporter.run.cancel_asked():
                    member.ask_to_cancel()
                reporter.write(phase=phase, epoch=done, epochs=total, done=round(100 * share), total=100, seconds_left=None)

    if reporter.should_stop():
        raise CancelledError("the recipe was cancelled; resume goes on with what is left")
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _result(home: Home, run: RunDir, made: Recipe, request: Request, chosen: dict[str, str], seconds: float) -> dict[str, Any]:
    figures = recipe_runs.beside_the_reports(home, run)
    return {
        "recipe_id": run.run_id, "recipe": made.name, "title": made.title, "scale": request.scale, "data": dict(request.data), "seconds": seconds,
        "steps": [{"step": name, "run_id": run_id} for name, run_id in chosen.items()], "failed": recipe_runs.left_out(home, run),
        "figures": figures.drop(columns="what").to_dict("records"),
    }  # fmt: skip


def main() -> int:
    step_back(10)
    run = RunDir(Path(sys.argv[1]))
    return supervise(run, lambda reporter: conduct(run, reporter), before=run.status().seconds)


if __name__ == "__main__":
    raise SystemExit(main())
