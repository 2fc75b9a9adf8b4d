"""Recipes from outside: which data they find, start, cancel, resume, and what they gave beside the reports' figures.

A recipe that runs has a directory under data/recipes: `request.json`, `recipe.toml` (the file as it was), `steps.json` (the runs that it
started), `status.json`, `result.json`, `log.txt`. Its steps are ordinary runs under data/runs. `recipe_process` conducts; nothing here
imports torch.
"""

from __future__ import annotations

import math
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curriculum import datasets, preparation, recipe, runs
from curriculum.config import Config
from curriculum.errors import ConfigError, RunError, UnknownError
from curriculum.files import read_json, write_json, write_whole
from curriculum.home import Home
from curriculum.metrics import wilson_bounds
from curriculum.recipe import Recipe, Reported, Step
from curriculum.rundir import RunDir, Status, is_id
from curriculum.store import Store
from curriculum.vocabulary import SCALES, Scale

NOT_YET = "earlier-run"
"""What stands for the run of a step that has none yet."""
SMALL_DATA = "demo"
"""What takes the place of data that isn't named, at small scale."""
HONEST = {f"peak_test_{name}": f"test_{name}" for name in ("accuracy", "loss", "knn")}
"""What stands beside each figure of the epoch that was picked on test: the last epoch's."""
OF_IMAGES = re.compile(r"(test_|(?P<stage>stages\.-?\d+)\.(?P<own>own_)?)accuracy")
"""Figures that are shares of test images. A peak isn't one of them: what was picked on images has no interval over them."""


@dataclass(frozen=True)
class Request:
    """What was asked for: `data` the data set of each role, `changes` options that every step takes that has them, `files` where the files
    of weights lie that are named: the process that conducts starts in another folder."""

    recipe: str
    scale: Scale
    data: Mapping[str, str]
    changes: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


def folder(home: Home) -> Path:
    return home.data / "recipes"


# -- data ----------------------------------------------------------------------------------------


def find_data(store: Store, made: Recipe, scale: str, given: Iterable[str] = ()) -> dict[str, str]:
    """The data set of each role: given as ROLE=NAME, else the one of that name; at small scale the demo scenes.

    Raises:
        ConfigError: not of that form, or no such role. UnknownError: a data set isn't there; the error says how to get it.
    """
    roles, chosen = {role.name: role for role in made.roles}, {}
    for each in given:
        place, equals, name = each.partition("=")
        if not equals or place not in roles or not name:
            raise ConfigError("data is given as ROLE=NAME", got=each, allowed=[f"{name}=..." for name in roles])
        chosen[place] = name
    known = {dataset.name for dataset in datasets.list_datasets(store)}
    for name, role in roles.items():
        chosen.setdefault(name, SMALL_DATA if scale == "small" else name)
        if chosen[name] not in known:
            get = "data demo" if chosen[name] == SMALL_DATA else role.get
            raise UnknownError(
                f"the recipe {made.name} needs {role.what}", got=f"no data set {chosen[name]!r}", allowed=sorted(known) or "none is there yet",
                todo=f"Get it: {get}; or take {role.shape} of yours: --data {name}=NAME",
            )  # fmt: skip
    return chosen


# -- starting, stopping, going on ----------------------------------------------------------------


def start(home: Home, made: Recipe, request: Request) -> tuple[RunDir, subprocess.Popen[bytes]]:
    """Begin a recipe in a process of its own; raises what `prepare` raises."""
    run = prepare(home, made, request)
    return run, launch(run)


def prepare(home: Home, made: Recipe, request: Request) -> RunDir:
    """Write the directory of a recipe that is to run; nothing is computed yet.

    Raises:
        ConfigError: an unknown scale, or changes that a step can't take or none takes. WeightsError, UnknownError: weights that aren't there. Nothing was
            started.
    """
    if request.scale not in SCALES:
        raise ConfigError("unknown scale", got=request.scale, allowed=SCALES)
    request = _checked(home, made, request)
    name = re.sub(r"[^A-Za-z0-9-]+", "-", made.name)
    run = RunDir(folder(home) / f"{datetime.now():%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(2)}")
    run.path.mkdir(parents=True)
    write_whole(run / "recipe.toml", lambda path: path.write_text(made.text, encoding="utf-8"))
    write_json(run / "request.json", {**asdict(request), "home": str(home.root), "created_at": time.time()})
    run.write_status(Status("queued"))
    return run


def _checked(home: Home, made: Recipe, request: Request) -> Request:
    """The same, with the files of weights found."""
    recipe.check_changes(made, request.changes)
    found = _files(home, [config for step in made.steps for config in points(made, step, request, {})])
    return replace(request, files={**request.files, **found})


def points(made: Recipe, step: Step, request: Request, chosen: Mapping[str, str]) -> list[Config]:
    """The configurations of a step. `chosen`: the run of each earlier step; of one that has none yet a word stands for it."""
    known = {each.name: NOT_YET for each in made.steps} | dict(chosen)
    found = recipe.expand(made, step, request.scale, request.data, known, request.changes)
    return [replace(config, weights=request.files.get(config.weights, config.weights)) for config in found]


def _files(home: Home, configs: Iterable[Config]) -> dict[str, str]:
    """Where the weights lie that are named by a path; all that come from no step are checked."""
    named = {(config.weights, config.architecture) for config in configs if config.weights != f"run:{NOT_YET}"}
    found = {weights: preparation.checked_weights(home, weights, architecture) for weights, architecture in sorted(named)}
    return {weights: path for weights, path in found.items() if weights != path}


def launch(run: RunDir) -> subprocess.Popen[bytes]:
    """Start the process that conducts a recipe, in a session of its own."""
    return runs.spawn("curriculum.recipe_process", [run.path], run / "log.txt", runs.worker_environment())


def delete(run: RunDir) -> None:
    """Forget that a recipe was started; the runs of its steps stay.

    Raises:
        RunError: it is going on.
    """
    if run.status().active:
        raise RunError("a recipe that is going on can't be deleted", got=run.run_id, todo="Cancel it first")
    shutil.rmtree(run.path)


def resume(run: RunDir, changes: Mapping[str, Any] | None = None) -> subprocess.Popen[bytes]:
    """Go on with what is left of a recipe that was cancelled, interrupted or has failed, its steps changed where that is asked for.

    Raises:
        RunError: any other recipe, or a step that would be changed has runs that are done. ConfigError, WeightsError, UnknownError: as `prepare`.
    """
    if not changes:
        run.queue_again()
        return launch(run)
    home, made, request, started = Home(run.path.parents[2]), recipe_of(run), request_of(run), steps_of(run)
    request = _checked(home, made, replace(request, changes={**request.changes, **changes}))
    changed = [step.name for step in made.steps if recipe.changeable(step) & set(changes)]
    if done := [name for name in changed if any(results_of(home, started.get(name, [])).values())]:
        raise RunError(
            "a step that is done can't be changed any more", got=", ".join(done),
            todo=f"Start the recipe anew with these changes, or resume it without {', '.join(changes)}",
        )  # fmt: skip
    run.queue_again()
    write_json(run / "request.json", {**read_json(run / "request.json"), "changes": dict(request.changes), "files": dict(request.files)})
    write_json(run / "steps.json", {name: mine for name, mine in started.items() if name not in changed})  # begun otherwise: begun anew
    return launch(run)


# -- reading -------------------------------------------------------------------------------------


def all_started(home: Home) -> list[RunDir]:
    """Every recipe that was ever started here, the newest first."""
    found = [RunDir(path) for path in folder(home).glob("*") if (path / "request.json").is_file()]
    return sorted(found, key=lambda run: run.run_id, reverse=True)


def find(home: Home, run_id: str) -> RunDir:
    """A started recipe by its id; an unknown one raises UnknownError."""
    known = all_started(home)
    for run in known:
        if run.run_id == run_id:
            return run
    raise UnknownError("no such recipe was started", got=run_id, allowed=[run.run_id for run in known[:10]] or "none was started yet")


def request_of(run: RunDir) -> Request:
    """What was asked for.

    Raises:
        RunError: the directory isn't whole.
    """
    try:
        record = read_json(run / "request.json")
        changes = {key: tuple(value) if isinstance(value, list) else value for key, value in record["changes"].items()}
        return Request(str(record["recipe"]), record["scale"], dict(record["data"]), changes, dict(record.get("files", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"the recipe {run.run_id} can't be read ({error})", todo="Delete its directory, or start it anew") from error


def recipe_of(run: RunDir) -> Recipe:
    """The recipe as it was when it was started."""
    made = recipe.read(str(run / "recipe.toml"))
    return replace(made, name=request_of(run).recipe)


def steps_of(run: RunDir) -> dict[str, list[str]]:
    """The runs that each step has started so far, by the step's name."""
    try:
        found = read_json(run / "steps.json")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"steps.json of {run.run_id} can't be read ({error})", todo="Start the recipe anew") from error
    if not isinstance(found, dict) or not all(
        isinstance(ids, list) and all(isinstance(each, str) and is_id(each) for each in ids) for ids in found.values()
    ):
        raise RunError(f"steps.json of {run.run_id} is damaged", got=ascii(found)[:80], todo="Start the recipe anew")
    return found


def results_of(home: Home, run_ids: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """Each run's result; an empty one of a run that has failed, None while there is neither."""
    runs_ = {run_id: RunDir(home.runs / run_id) for run_id in run_ids}
    return {run_id: run.result() or ({} if run.status().state == "failed" else None) for run_id, run in runs_.items()}


def chosen(results: Mapping[str, Mapping[str, Any] | None], due: int) -> str | None:
    """Of a step's runs the one that is best on val, of equal ones that with the lower loss there, then the first; None while not all that are
    `due` are done. What has failed is left out: None where all have."""
    finished = {run_id: result for run_id, result in results.items() if result}
    if not finished or len(results) < due or any(result is None for result in results.values()):
        return None

    def merit(run_id: str) -> tuple[float, float]:
        result = finished[run_id]
        loss = result.get("val_loss")
        return result.get("val_accuracy") or 0.0, -math.inf if loss is None else -loss

    return max(finished, key=merit)  # the first of equal ones


def due(step: Step, request: Request) -> int:
    """How many runs a step has, as it was asked for."""
    return recipe.due(step, request.scale, request.changes)


def left_out(home: Home, run: RunDir) -> dict[str, list[str]]:
    """Runs that have failed where another of the same step has not, by the step: what came out does without them."""
    found = {step: results_of(home, run_ids) for step, run_ids in steps_of(run).items()}
    return {
        step: failed for step, results in found.items() if any(results.values()) and (failed := [k for k, v in results.items() if v == {}])
    }


def beside_the_reports(home: Home, run: RunDir) -> pd.DataFrame:
    """Ours beside theirs, as far as it has come: a row a figure.

    Returns:
        step, what, run_id (None while it isn't done), figure, reported (NaN: the reports have none), at, ours (NaN: not there), low and
        high (ours' 95 % interval; NaN: it has none), why. After a peak comes the last epoch's figure, which wasn't picked on test.
    """
    rows: list[dict[str, Any]] = []
    started, request = steps_of(run), request_of(run)
    for step in recipe_of(run).steps:
        results = results_of(home, started.get(step.name, []))
        run_id = chosen(results, due(step, request))
        result = (results[run_id] if run_id else None) or {}
        shared = {"step": step.name, "what": step.what, "run_id": run_id}
        for one in _figures(step):
            low, high = interval(result, one.figure)
            rows.append({**shared, "figure": one.figure, "reported": one.value, "at": one.at, "ours": recipe.figure(result, one.figure),
                         "low": low, "high": high, "why": one.why})  # fmt: skip
    frame = pd.DataFrame(rows, columns=["step", "what", "run_id", "figure", "reported", "at", "ours", "low", "high", "why"])
    return frame.astype(dict.fromkeys(("reported", "ours", "low", "high"), float))


def interval(result: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    """The 95 % interval of a figure of a run's result: of an accuracy on test Wilson's over its images, of the mean over episodes the run's own;
    of any other (None, None)."""
    if name == "accuracy" and "episodes" in result:
        return recipe.figure(result, "low"), recipe.figure(result, "high")
    said = OF_IMAGES.fullmatch(name)
    share = recipe.figure(result, name)
    if said is None or share is None or not 0 <= share <= 1:
        return None, None
    images = recipe.figure(result, f"{said['stage']}.own_examples" if said["own"] else "examples.test")
    if images is None or not images >= 1:
        return None, None
    low, high = wilson_bounds(np.array([share]), np.array([images]))
    return float(low[0]), float(high[0])


def _figures(step: Step) -> Iterator[Reported]:
    """What is shown of a step: what the reports say of it, each peak with the honest figure beside it, else the one that it is known by."""
    if not step.reported:
        yield Reported(_headline(step.kind), math.nan)
    for one in step.reported:
        yield one
        if one.figure in HONEST:
            yield Reported(HONEST[one.figure], math.nan, "last epoch")


def _headline(kind: str) -> str:
    """The figure that a step of that kind is known by, where the reports give none."""
    return {"episodes": "accuracy", "look": "first_probability", "score": "accuracy", "compare": "arms.0.mean"}.get(kind, "test_accuracy")
