"""A recipe's process, conducted here on a tiny data set: what is checked before it starts, what it goes on with, what a failed run leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from curriculum import recipe, recipe_process, recipe_runs
from curriculum.architectures import PLANS
from curriculum.cli import main
from curriculum.datasets import add_dataset, known_overlaps
from curriculum.errors import ConfigError, CurriculumError, RunError
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.model import Weights, build
from curriculum.recipe_runs import Request
from curriculum.reporter import Reporter
from curriculum.rundir import RunDir, Status
from curriculum.store import Store
from curriculum.vocabulary import Scale
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


def asked(home: Home, text: str, scale: Scale = "full", **changes: Any) -> RunDir:
    path = home.root / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return recipe_runs.prepare(home, recipe.read(str(path)), Request("mine", scale, {"tints": "tints"}, changes))


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


# -- what a later step would be refused for --------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('protocol = "given"\n', r"has no split\.csv.*--change protocol=honest"),
        ("multi_label = true\n", r"has no classes\.csv.*--change multi_label=false"),
        ("per_class = 9\n", r"fewer images than --per-class asks for.*up to 8"),
        ("test_share = 0.99\n", "the (train|val) part has no image"),
    ],
)
def test_what_the_data_lacks_is_said_before_anything_runs(tints: Home, second: str, said: str) -> None:
    run = asked(tints, HEAD + STEP % ("first", "none") + STEP % ("second", "step:first") + second)
    with pytest.raises(RunError, match=f"step second on tints can't be done: .*{said}"):
        conduct(run)
    assert recipe_runs.steps_of(run) == {}
    assert not tints.runs.exists()


def test_too_few_images_for_episodes_are_said_before_anything_runs(tints: Home) -> None:
    episodes = '[[step]]\nname = "second"\nkind = "episodes"\nweights = "step:first"\narchitecture = "small_cnn"\nways = 3\nshots = 5\nqueries = 6\n'
    run = asked(tints, HEAD + STEP % ("first", "none") + episodes)
    with pytest.raises(RunError, match=r"step second on tints can't be done: an episode of 3 classes.*0 classes of that size"):
        conduct(run)
    assert recipe_runs.steps_of(run) == {}


@pytest.mark.parametrize(("kind", "looked"), [("look", False), ("train", True)])
def test_only_where_images_are_divided_are_those_of_the_same_ground_looked_for(tints: Home, kind: str, looked: bool) -> None:
    step = (
        STEP % ("first", "none")
        if kind == "train"
        else f'[[step]]\nname = "first"\nkind = "{kind}"\nweights = "none"\narchitecture = "small_cnn"\n'
    )
    conduct(asked(tints, HEAD + step))
    with Store.open(tints) as store:
        assert (known_overlaps(store, "tints") is not None) is looked


def test_published_weights_that_are_lacking_are_said_before_anything_runs(tints: Home) -> None:
    run = asked(tints, HEAD + STEP % ("first", "none") + STEP % ("second", "imagenet"))
    with pytest.raises(
        RunError, match=r"step second on tints can't be done: nobody publishes ImageNet weights of small_cnn.*--change weights=FILE"
    ):
        conduct(run)
    assert recipe_runs.steps_of(run) == {}
    run.write_status(Status("failed"))
    assert recipe_runs.resume(run, {"weights": "none"}).wait() == 0
    assert run.status().state == "done", run.status().message
    assert members(tints, run, "second")[0].config().weights == "none"
    assert dict(recipe_runs.request_of(run).changes) == {"weights": "none"}


def test_published_weights_that_are_there_are_taken(tints: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    there = PLANS["resnet18"].downloaded
    there.parent.mkdir(parents=True)
    torch.save(build(5, Weights("none", None, "none", "resnet18"), 1).state_dict(), there)
    conduct(asked(tints, HEAD + (STEP % ("first", "imagenet")).replace("small_cnn", "resnet18")))


def test_a_failed_step_is_resumed_otherwise_and_one_that_is_done_is_not(tints: Home) -> None:
    run = asked(
        tints, HEAD + STEP % ("first", "none") + (STEP % ("second", "none")).replace("fine-tune", "scratch") + 'freeze = ["nowhere.*"]\n'
    )
    with pytest.raises(RunError, match="nowhere"):
        conduct(run)
    run.write_status(Status("failed"))
    (failed,) = members(tints, run, "second")
    with pytest.raises(RunError, match=r"a step that is done can't be changed any more.*first"):
        recipe_runs.resume(run, {"seed": 3})
    with pytest.raises(ConfigError, match="no step of the recipe mine takes this change"):
        recipe_runs.resume(run, {"folds": 3})
    assert run.status().state == "failed"
    assert members(tints, run, "second")[0].run_id == failed.run_id


def test_at_small_scale_fewer_images_a_class_do(tints: Home) -> None:
    text = HEAD + STEP % ("first", "none") + "per_class = 50\n"
    with pytest.raises(RunError, match="fewer images than --per-class asks for"):
        conduct(asked(tints, text))
    run = asked(tints, text, "small")
    conduct(run)
    (first,) = members(tints, run, "first")
    assert first.config().per_class == 8, "of 10 a class 2 are test"  # type: ignore[union-attr]
    assert len(first.order()) == 30


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


def test_steps_that_name_another_place_are_refused(tints: Home) -> None:
    run = asked(tints, HEAD + STEP % ("first", "none"))
    outside = tints.data / "model.pt"
    outside.write_bytes(b"mine")
    for name in ("..", "../..", str(tints.data), "", "a\0b"):
        write_json(run / "steps.json", {"first": [name]})
        with pytest.raises(RunError, match="is damaged"):
            conduct(run)
    assert outside.read_bytes() == b"mine"
