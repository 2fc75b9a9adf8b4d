"""A recipe's process, conducted here on a tiny data set: what is checked before it starts, what it goes on with, what a failed run leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from curriculum import recipe, recipe_process, recipe_runs
from curriculum.cli import main
from curriculum.datasets import add_dataset
from curriculum.errors import CurriculumError, RunError
from curriculum.home import Home
from curriculum.model import Weights, build
from curriculum.recipe_runs import Request
from curriculum.reporter import Reporter
from curriculum.rundir import RunDir
from curriculum.store import Store
from tests.ml import write_folder

HEAD = """
title = "Two steps"
[data.tints]
what = "tints"
get = "data demo"
"""
STEP = """
[[step]]
name = "%s"
mode = "fine-tune"
weights = "%s"
architecture = "small_cnn"
image_size = 32
epochs = 1
learning_rate = 1e-3
"""
TWO = HEAD + STEP % ("first", "imagenet") + STEP % ("second", "step:first")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def tints(home: Home) -> Home:
    """A home with the data set `tints`, 10 images of each of 3 classes."""
    with Store.open(home) as store:
        add_dataset(store, "tints", write_folder(home.root / "tints", 10))
    return home


def asked(home: Home, text: str, **changes: Any) -> RunDir:
    path = home.root / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return recipe_runs.prepare(home, recipe.read(str(path)), Request("mine", "full", {"tints": "tints"}, changes))


def conduct(run: RunDir) -> dict[str, Any]:
    """Its result, read as anybody reads it."""
    recipe_process.conduct(run, Reporter(run))
    result = RunDir(run.path).result()
    assert result is not None
    return result


def members(home: Home, run: RunDir, step: str) -> list[RunDir]:
    return [RunDir(home.runs / run_id) for run_id in recipe_runs.steps_of(run).get(step, [])]


# -- weights that are named by a path -------------------------------------------------------------


def test_a_file_of_weights_is_found_from_where_the_recipe_was_started(tints: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    torch.save(build(5, Weights("none", None, "none", "small_cnn"), 1).state_dict(), tmp_path / "here" / "my.pth")
    monkeypatch.chdir(tmp_path / "here")
    run = asked(tints, TWO, weights="my.pth")
    monkeypatch.chdir(tmp_path)  # where the process that conducts starts is none of the caller's business
    conduct(run)
    assert members(tints, run, "first")[0].config().weights == str(tmp_path / "here" / "my.pth")
    assert dict(recipe_runs.request_of(run).changes) == {"weights": "my.pth"}, "shown as it was asked for"


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (TWO, {"weights": "my.pth"}),
        (HEAD + STEP % ("first", "none") + STEP % ("second", "my.pth"), {}),
        (HEAD + STEP % ("first", "none") + STEP % ("second", "run:gone"), {}),
    ],
)
def test_weights_that_are_not_there_are_refused_before_anything_starts(tints: Home, text: str, changes: dict[str, Any]) -> None:
    with pytest.raises(CurriculumError, match=r"no such (weights.*my\.pth|run.*gone)"):
        asked(tints, text, **changes)
    assert not recipe_runs.all_started(tints)


# -- runs that fail, runs that are gone -----------------------------------------------------------

GRID = (
    HEAD
    + STEP % ("first", "none")
    + 'grid = {freeze = [["nowhere.*"], ["features.0.*"], ["features.4.*"]]}\n'
    + STEP % ("second", "step:first")
)


def test_a_point_that_fails_is_left_out_and_the_recipe_goes_on(tints: Home, capsys: pytest.CaptureFixture[str]) -> None:
    run = asked(tints, GRID)
    result = conduct(run)
    bad, *good = members(tints, run, "first")
    assert [each.status().state for each in (bad, *good)] == ["failed", "done", "done"]
    assert {one["step"]: one["run_id"] for one in result["steps"]}["first"] in {each.run_id for each in good}
    assert result["failed"] == {"first": [bad.run_id]}
    assert main(["--home", str(tints.root), "recipe", "results", run.run_id]) == 0
    assert f"first: 1 of its runs failed and are left out: {bad.run_id}" in capsys.readouterr().out

    log = (bad / "status.json").stat().st_mtime_ns
    (run / "result.json").unlink()
    assert conduct(run)["failed"] == result["failed"]
    assert (bad / "status.json").stat().st_mtime_ns == log, "what is settled is not tried again"


def test_where_no_point_finishes_the_recipe_fails_and_resume_tries_again(tints: Home) -> None:
    run = asked(tints, GRID.replace('["features.0.*"], ["features.4.*"]', '["neither.*"]'))
    with pytest.raises(RunError, match=r"all 2 runs of step first failed, the last: .*neither"):
        conduct(run)
    before = [(each / "status.json").stat().st_mtime_ns for each in members(tints, run, "first")]
    with pytest.raises(RunError, match="all 2 runs"):
        conduct(run)
    after = [(each / "status.json").stat().st_mtime_ns for each in members(tints, run, "first")]
    assert all(later > earlier for earlier, later in zip(before, after, strict=True))
    assert recipe_runs.left_out(tints, run) == {}


def test_a_run_that_was_begun_from_one_that_is_gone_is_begun_anew(tints: Home) -> None:
    run = asked(tints, TWO.replace("imagenet", "none"))
    conduct(run)
    (first,), (second,) = members(tints, run, "first"), members(tints, run, "second")
    shutil.rmtree(first.path)
    for each in (run, second):
        (each / "result.json").unlink()
    conduct(run)
    (anew,), (follower,) = members(tints, run, "first"), members(tints, run, "second")
    assert (anew.run_id != first.run_id, follower.run_id != second.run_id) == (True, True)
    assert follower.config().weights == f"run:{anew.run_id}"
    (run / "result.json").unlink()
    shutil.rmtree(anew.path)
    conduct(run)
    assert members(tints, run, "second")[0].run_id == follower.run_id, "what is done stays"
