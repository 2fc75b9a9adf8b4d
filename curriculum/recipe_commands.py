"""What the commands of `recipe` do: call `recipe` and `recipe_runs`, return a JSON document and the same for people."""

from __future__ import annotations

import argparse
import math
from typing import Any

import pandas as pd

from curriculum import recipe, recipe_runs
from curriculum.commands import follow
from curriculum.errors import RunError
from curriculum.home import Home
from curriculum.recipe import Recipe
from curriculum.recipe_runs import Request
from curriculum.rundir import RunDir
from curriculum.store import Store
from curriculum.words import duration

Result = dict[str, Any]


def recipe_list(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    found = [_described(recipe.read(name)) for name in recipe.names()]
    lines = []
    for one in found:
        minutes = ", ".join(f"{duration(60 * value)} on a {device.upper()}" for device, value in one["minutes"].items())
        lines += [f"{one['recipe']}: {one['title']}", f"  {one['what']}"]
        lines += [f"  data, {role['role']}: {role['what']} ({role['get']}; or {role['shape']} of yours)" for role in one["data"]]
        lines += [f"  expected at full scale: about {minutes}"] if minutes else []
        lines += [f"  reported, {name}: {figures}" for name, figures in _reported(one)]
    return {"recipes": found}, "\n".join(lines)


def recipe_show(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    made = recipe.read(options.recipe)
    return {**_described(made), "text": made.text}, made.text.rstrip()


def recipe_run(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    made = recipe.read(options.recipe)
    changes = recipe.parse_changes(options.change or ())
    with Store.open_or_snapshot(home, owner="recipe run") as store:
        data = recipe_runs.find_data(store, made, options.scale, options.data or ())
    run, process = recipe_runs.start(home, made, Request(made.name, options.scale, data, changes))
    return _followed(home, run, process)


def recipe_resume(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    run = recipe_runs.find(home, options.recipe_id)
    return _followed(home, run, recipe_runs.resume(run, recipe.parse_changes(options.change or ())))


def recipe_results(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    """Of one that was started, as far as it has come; without an id, of all."""
    if options.recipe_id is None:
        found = [{"recipe_id": run.run_id, **_request(run), "state": run.status().state} for run in recipe_runs.all_started(home)]
        lines = [f"{one['recipe_id']}  {one['state']:<11} {one['scale']}" for one in found]
        return {"started": found}, "\n".join(lines) or "None was started yet: `recipe run NAME`."
    run = recipe_runs.find(home, options.recipe_id)
    return _document(home, run), _text(home, run)


def _followed(home: Home, run: RunDir, process: Any) -> tuple[Result, str]:
    status = follow(run, process, f"recipe {run.run_id}")
    if status.state != "done":
        todo = f"`python -m curriculum recipe resume {run.run_id}` goes on with what is left, also with --change OPTION=VALUE for steps that aren't done"
        raise RunError(status.message or f"the recipe ended {status.state}", todo=todo)
    return _document(home, run), _text(home, run)


def _request(run: RunDir) -> Result:
    request = recipe_runs.request_of(run)
    return {"recipe": request.recipe, "scale": request.scale, "data": dict(request.data), "changes": dict(request.changes)}


def _document(home: Home, run: RunDir) -> Result:
    figures = recipe_runs.beside_the_reports(home, run)
    state = run.status()
    return {"recipe_id": run.run_id, **_request(run), "state": state.state, "seconds": state.seconds, "figures": figures.to_dict("records"),
            "failed": recipe_runs.left_out(home, run)}  # fmt: skip


def _text(home: Home, run: RunDir) -> str:
    status, request = run.status(), recipe_runs.request_of(run)
    lines = [f"{run.run_id}: {recipe_runs.recipe_of(run).title}, {request.scale} scale, {status.state}, {duration(status.seconds)}"]
    frame = recipe_runs.beside_the_reports(home, run)
    for row in frame.to_dict("records"):
        ours, reported = (_figure(row["figure"], row[whose]) for whose in ("ours", "reported"))
        between = "" if pd.isna(row["low"]) else f"  95 % interval {row['low']:.4f} to {row['high']:.4f}"
        lines.append(f"  {row['step']:<24} {row['figure']:<26} ours {ours}  reported {reported}"
                     + (f" ({row['at']})" if row["at"] else "") + between)  # fmt: skip
        lines += [f"    {row['why']}"] if row["why"] else []
    lines += [
        f"  {step}: {len(failed)} of its runs failed and are left out: {', '.join(failed)}"
        for step, failed in recipe_runs.left_out(home, run).items()
    ]
    if request.scale == "small":
        lines.append("  Small scale: every step was made, on a few small images. The figures say nothing.")
    elif (frame["figure"] == "peak_test_accuracy").any():
        lines.append("  peak_test_accuracy is the best of all epochs on test, as the reports took it: biased upwards. peak_test_loss and peak_test_knn "
                     "are of the same epoch.")  # fmt: skip
    return "\n".join(lines)


def _figure(name: str, value: float) -> str:
    if pd.isna(value) or not math.isfinite(value):
        return "   -  "
    return f"{value:<6.0f}" if name in recipe.COUNTS else f"{value:.4f}"


def _described(made: Recipe) -> Result:
    return {
        "recipe": made.name, "title": made.title, "source": made.source, "what": made.what, "minutes": dict(made.minutes),
        "data": [{"role": role.name, "what": role.what, "get": role.get, "shape": role.shape} for role in made.roles],
        "steps": [{"step": step.name, "kind": step.kind, "what": step.what,
                   "reported": [{"figure": one.figure, "value": one.value, "at": one.at} for one in step.reported]} for step in made.steps],
    }  # fmt: skip


def _reported(described: Result) -> list[tuple[str, str]]:
    return [
        (step["step"], ", ".join(f"{one['figure']} {one['value']:g}" + (f" ({one['at']})" if one["at"] else "") for one in step["reported"]))
        for step in described["steps"] if step["reported"]
    ]  # fmt: skip
