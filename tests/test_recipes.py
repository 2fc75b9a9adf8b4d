"""Every recipe that comes with the program, at small scale, for real: each step is made and each reported figure has one of ours.

Processes are forked from one that has imported what computes, which a recipe's process would else do anew each time.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest

from curriculum import recipe, recipe_process, recipe_runs
from curriculum.cli import main
from curriculum.datasets import add_dataset
from curriculum.errors import ConfigError, RunError, UnknownError
from curriculum.home import Home
from curriculum.recipe_runs import Request
from curriculum.rundir import RunDir
from curriculum.sources import make_demo
from curriculum.store import Store
from tests.conftest import until
from tests.forks import FORKS


def cook(path: str) -> None:
    """What `python -m curriculum.recipe_process PATH` does."""
    sys.argv = ["recipe_process", path]
    sys.exit(recipe_process.main())


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with 16 demo scenes of each class."""
    home = Home(tmp_path_factory.mktemp("kitchen"))
    with Store.open(home, owner="a test") as store:
        add_dataset(store, "demo", make_demo(home.data, per_class=16))
    return home


@pytest.fixture
def begin() -> Iterator[Callable[[RunDir], ForkServerProcess]]:
    """Starts a recipe's process; what still runs after the test is killed, by its id."""
    started: list[ForkServerProcess] = []

    def start(run: RunDir) -> ForkServerProcess:
        process = FORKS.Process(target=cook, args=(str(run.path),))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def prepared(home: Home, name: str, **changes: Any) -> RunDir:
    made = recipe.read(name)
    with Store.open_or_snapshot(home, owner="a test") as store:
        data = recipe_runs.find_data(store, made, "small")
    return recipe_runs.prepare(home, made, Request(name, "small", data, changes))


def finished(process: ForkServerProcess, run: RunDir) -> None:
    process.join(500)
    assert run.status().state == "done", run.status().message
    assert process.exitcode == 0


def members(home: Home, run: RunDir) -> dict[str, list[RunDir]]:
    return {step: [RunDir(home.runs / run_id) for run_id in mine] for step, mine in recipe_runs.steps_of(run).items()}


def check(home: Home, run: RunDir) -> None:
    """Done, and whole."""
    made, found = recipe_runs.recipe_of(run), members(home, run)
    assert list(found) == [step.name for step in made.steps]
    for step in made.steps:
        configs = recipe.expand(made, step, "small", {r.name: "demo" for r in made.roles}, {s.name: "x" for s in made.steps})
        assert len(found[step.name]) == len(configs)
        for each, config in zip(found[step.name], configs, strict=True):
            assert each.status().state == "done"
            assert each.result()
            assert not (each / "model.pt").exists()
            assert type(each.config()) is type(config)
            assert each.config().architecture == config.architecture
    figures = recipe_runs.beside_the_reports(home, run)
    reported = figures[figures["reported"].notna()]
    assert len(reported) == sum(len(step.reported) for step in made.steps)
    always = figures[figures["figure"] != "all_images_epoch"]  # which the few epochs of small scale never reach
    assert all(math.isfinite(value) for value in always["ours"]), figures
    accuracies = figures[figures["figure"].isin(["test_accuracy", "accuracy"])]
    assert accuracies[["low", "high"]].notna().all(axis=None), figures
    result = run.result()
    assert result is not None
    assert [one["step"] for one in result["steps"]] == [step.name for step in made.steps]


@pytest.mark.parametrize("name", recipe.names())
def test_a_recipe_is_made_at_small_scale(kitchen: Home, begin: Callable[[RunDir], ForkServerProcess], name: str) -> None:
    run = prepared(kitchen, name)
    finished(begin(run), run)
    check(kitchen, run)


@pytest.mark.usefixtures("cold_runs")
def test_the_command_line_makes_one_in_a_process_of_its_own(kitchen: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(kitchen.root), "recipe", "run", "squeezenet", "--scale", "small", "--change", "top=3"]) == 0
    run_id = recipe_runs.all_started(kitchen)[0].run_id
    assert run_id in capsys.readouterr().out
    run = recipe_runs.find(kitchen, run_id)
    check(kitchen, run)
    assert all(len((each.result() or {})["top"]) == 3 for mine in members(kitchen, run).values() for each in mine)
    with pytest.raises(RunError, match="is done"):
        recipe_runs.resume(run)


def test_cancelled_it_stops_and_resumes_where_it_was(kitchen: Home, begin: Callable[[RunDir], ForkServerProcess]) -> None:
    run = prepared(kitchen, "small-networks-dtd", epochs=300)
    process = begin(run)
    until(lambda: any(len(each.epochs()) >= 2 for mine in members(kitchen, run).values() for each in mine))
    run.ask_to_cancel()
    process.join(60)
    assert (process.exitcode, run.status().state) == (1, "cancelled")
    (first,) = members(kitchen, run)["lenet-5"]
    assert first.status().state == "cancelled"
    before = len(first.epochs())
    assert first.result() is None
    assert run.result() is None

    run.queue_again()
    second = begin(run)
    until(lambda: len(first.epochs()) > before)
    run.ask_to_cancel()
    second.join(60)
    assert recipe_runs.steps_of(run) == {"lenet-5": [first.run_id]}, "the same run goes on"
    assert [record["epoch"] for record in first.epochs()] == list(range(1, len(first.epochs()) + 1))


def test_killed_at_any_moment_it_resumes_to_the_end(kitchen: Home, begin: Callable[[RunDir], ForkServerProcess]) -> None:
    run = prepared(kitchen, "small-networks-dtd", epochs=12)
    process = begin(run)
    until(lambda: any(len(each.epochs()) >= 1 for each in members(kitchen, run).get("small-cnn", [])))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    until(lambda: run.status().state == "interrupted", 20)
    before, begun = members(kitchen, run), recipe_runs.steps_of(run)
    assert before["lenet-5"][0].result() is not None
    stamp = (before["lenet-5"][0] / "result.json").stat().st_mtime_ns
    finished(begin(run), run)
    check(kitchen, run)
    after = members(kitchen, run)
    assert recipe_runs.steps_of(run) == begun, "no step is begun anew"
    assert (after["lenet-5"][0] / "result.json").stat().st_mtime_ns == stamp, "what was done is not done again"
    epochs = [record["epoch"] for record in after["small-cnn"][0].epochs()]
    assert epochs == list(range(1, len(epochs) + 1))


# -- what is refused before anything starts -------------------------------------------------------


def test_data_that_is_not_there_and_changes_that_no_step_takes_start_nothing(kitchen: Home) -> None:
    made, before = recipe.read("vit"), len(recipe_runs.all_started(kitchen))
    with Store.open_or_snapshot(kitchen, owner="a test") as store:
        with pytest.raises(UnknownError, match=r"no data set 'rsscn7'.*data fetch rsscn7.*--data rsscn7=NAME"):
            recipe_runs.find_data(store, made, "full")
        with pytest.raises(ConfigError, match="ROLE=NAME"):
            recipe_runs.find_data(store, made, "small", ["cifar=demo"])
        assert recipe_runs.find_data(store, made, "full", ["rsscn7=demo", "dtd=demo"]) == {"rsscn7": "demo", "dtd": "demo"}
        data = recipe_runs.find_data(store, made, "small")
    with pytest.raises(ConfigError, match="patches of 16"):
        recipe_runs.start(kitchen, made, Request("vit", "small", data, {"image_size": 33}))
    with pytest.raises(ConfigError, match="unknown scale"):
        recipe_runs.start(kitchen, made, Request("vit", "tiny", data, {}))  # type: ignore[arg-type]
    assert len(recipe_runs.all_started(kitchen)) == before
