"""Recipes as files: those that come with the program are sound, and whatever is wrong with one is said by its step and key."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum import recipe
from curriculum.config import CompareConfig, EpisodesConfig, LookConfig, RunConfig, ScoreConfig, TrainConfig
from curriculum.errors import ConfigError, UnknownError
from curriculum.recipe import Recipe
from curriculum.vocabulary import SCALES, Scale

GOOD = """
title = "Two steps"
[data.first]
what = "some"
get = "data demo"
[small]
epochs = 3
[[step]]
name = "one"
mode = "fine-tune"
weights = "imagenet"
epochs = 9
[[step]]
name = "two"
kind = "score"
weights = "step:one"
"""


def written(folder: Path, text: str) -> Recipe:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return recipe.read(str(folder / "mine.toml"))


def expanded(made: Recipe, scale: Scale = "full", **changes: Any) -> dict[str, list[Any]]:
    """The configurations of every step, the run of a step being called after it."""
    runs, data = {step.name: f"run-of-{step.name}" for step in made.steps}, {role.name: f"my-{role.name}" for role in made.roles}
    return {step.name: list(recipe.expand(made, step, scale, data, runs, changes)) for step in made.steps}


# -- those that come with the program -------------------------------------------------------------


@pytest.mark.parametrize("name", recipe.names())
def test_each_is_read_and_expands_at_both_scales(name: str) -> None:
    made = recipe.read(name)
    assert made.name == name
    assert made.title
    assert made.what
    assert set(made.minutes) == {"cpu", "gpu"}
    for scale in SCALES:
        configs = expanded(made, scale)
        assert all(configs.values())
        assert all(config.dataset.startswith("my-") for each in configs.values() for config in each)
    small = [config for each in expanded(made, "small").values() for config in each]
    assert max(config.image_size for config in small) <= 64
    assert all(config.weights != "imagenet" or getattr(config, "mode", "") == "scratch" for config in small), "nothing is downloaded"
    assert all((config.epochs or sum(config.stage_epochs or ())) <= 3 for config in small if isinstance(config, TrainConfig))
    assert all(role in {r.name for r in made.roles} for role in (step.role for step in made.steps))


def test_there_are_some() -> None:
    assert {"staged-rsscn7", "self-paced-rsscn7", "vit", "squeezenet"} <= set(recipe.names())


@pytest.mark.parametrize("name", recipe.names())
def test_what_may_take_the_place_of_data_has_the_tables_that_the_steps_need(name: str) -> None:
    made = recipe.read(name)
    shapes = {role.name: role.shape for role in made.roles}
    for step in made.steps:
        for config in expanded(made)[step.name]:
            assert "split.csv" in shapes[step.role] or getattr(config, "protocol", "") != "given"
            assert "classes.csv" in shapes[step.role] or not getattr(config, "multi_label", False)


# -- what is wrong with one -----------------------------------------------------------------------


def test_a_good_one_becomes_configurations(tmp_path: Path) -> None:
    made = written(tmp_path, GOOD)
    assert expanded(made) == {
        "one": [TrainConfig("my-first", mode="fine-tune", weights="imagenet", epochs=9)],
        "two": [ScoreConfig("my-first", weights="run:run-of-one")],
    }
    assert expanded(made, "small")["one"][0].epochs == 3
    assert made.text == GOOD


STEP = '[[step]]\nname = "three"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", ["mine.toml", "can't be read"]),
        ('titel = "x"\n' + GOOD, ["mine", "titel"]),
        (GOOD.replace('title = "Two steps"', ""), ["mine", "title"]),
        (GOOD.replace('"Two steps"', "5"), ["mine", "title", "5"]),
        ('minutes = {cpu = "long"}\n' + GOOD, ["mine", "minutes", "cpu"]),
        ("minutes = 5\n" + GOOD, ["mine", "minutes"]),
        ('title = "x"\nstep = [1]\n[data.a]\nwhat = "b"\nget = "c"\n', ["mine", "step", "1"]),
        ('title = "x"\nstep = 1\n[data.a]\nwhat = "b"\nget = "c"\n', ["mine", "step"]),
        ('title = "x"\nstep = []\n[data.a]\nwhat = "b"\nget = "c"\n', ["mine", "[[step]]"]),
        ('title = "x"\ndata = {}\n' + STEP, ["mine", "[data.NAME]"]),
        ('title = "x"\ndata = {a = 1}\n' + STEP, ["mine", "data a", "1"]),
        (GOOD.replace("get =", "got ="), ["mine", "data first", "got"]),
        (GOOD.replace('get = "data demo"', ""), ["mine", "data first", "get"]),
        (GOOD.replace('what = "some"', "what = 1"), ["mine", "data first", "what"]),
        (GOOD.replace('what = "some"', 'what = "some"\nname = "other"'), ["mine", "data first", "name"]),
        (GOOD.replace("[small]\nepochs", "[small]\nepoch"), ["mine", "small", "epoch"]),
        (GOOD.replace("[small]\nepochs = 3", "[small]\nepochs = 0"), ["mine", "step one", "--epochs"]),
        (GOOD + "[[step]]\n", ["mine", "step 3", "name"]),
        (GOOD + "[[step]]\nname = 3\n", ["mine", "step 3", "name"]),
        (GOOD + '[[step]]\nname = "one"\n', ["mine", "step 3", "name", "one"]),
        (GOOD + STEP + 'kind = "cook"\n', ["mine", "step three", "cook", "episodes"]),
        (GOOD + STEP + 'kind = ["train"]\n', ["mine", "step three", "kind"]),
        (GOOD + STEP + 'data = "second"\n', ["mine", "step three", "second", "first"]),
        (GOOD + STEP + "what = 1\n", ["mine", "step three", "what"]),
        (GOOD + STEP + "speed = 3\n", ["mine", "step three", "speed"]),
        (GOOD + STEP + "ways = 3\n", ["mine", "step three", "ways"]),
        (GOOD + STEP + "small = 3\n", ["mine", "step three", "small"]),
        (GOOD + STEP + "small = {speed = 3}\n", ["mine", "step three", "speed"]),
        (GOOD + STEP + "small = {seed = -3}\n", ["mine", "step three", "--seed"]),
        (GOOD + STEP + "grid = 3\n", ["mine", "step three", "grid"]),
        (GOOD + STEP + "grid = {seed = 3}\n", ["mine", "step three", "grid", "seed"]),
        (GOOD + STEP + "grid = {seed = []}\n", ["mine", "step three", "grid", "seed"]),
        (GOOD + STEP + "grid = {speed = [1]}\n", ["mine", "step three", "speed"]),
        (GOOD + STEP + "grid = {seed = [1, -1]}\n", ["mine", "step three", "--seed"]),
        (GOOD + STEP + 'dataset = "x"\n', ["mine", "step three", "dataset"]),
        (GOOD + STEP + 'weights = "step:four"\n', ["mine", "step three", "weights", "four"]),
        (GOOD + STEP + 'weights = "step:three"\n', ["mine", "step three", "weights", "step:three"]),
        (GOOD + STEP + 'small = {weights = "step:four"}\n', ["mine", "step three", "weights", "four"]),
        (GOOD + STEP + 'grid = {weights = ["step:four"]}\n', ["mine", "step three", "weights", "four"]),
        (GOOD + STEP + 'kind = "score"\nmethod = "loss"\nrun = "step:four"\n', ["mine", "step three", "run", "four"]),
        (GOOD + STEP + "weights = 5\n", ["mine", "step three", "--weights"]),
        (GOOD + STEP + 'weights = ["none"]\n', ["mine", "step three", "--weights"]),
        (GOOD + STEP + 'freeze = "layer1.*"\n', ["mine", "step three", "--freeze", "list"]),
        (GOOD + STEP + "freeze = [1]\n", ["mine", "step three", "--freeze"]),
        (GOOD + STEP + 'epochs = "5"\n', ["mine", "step three", "--epochs"]),
        (GOOD + STEP + "epochs = 5.0\n", ["mine", "step three", "--epochs"]),
        (GOOD + STEP + "epochs = [5]\n", ["mine", "step three", "--epochs"]),
        (GOOD + STEP + "gate = true\n", ["mine", "step three", "--gate"]),
        (GOOD + STEP + "gate = nan\n", ["mine", "step three", "--gate"]),
        (GOOD + STEP + "stage_epochs = 5\n", ["mine", "step three", "--stage-epochs"]),
        (GOOD + STEP + 'dynamics = "yes"\n', ["mine", "step three", "--dynamics"]),
        (GOOD + STEP + 'mode = "quickly"\n', ["mine", "step three", "--mode", "quickly"]),
        (GOOD + STEP + 'mode = "scratch"\npatience = 3\nprotocol = "report"\n', ["mine", "step three", "--patience"]),
        (GOOD + STEP + 'kind = "compare"\narms = "staged"\n', ["mine", "step three", "--arms"]),
        (GOOD + STEP + "reported = 3\n", ["mine", "step three", "reported"]),
        (GOOD + STEP + "reported = [3]\n", ["mine", "step three", "reported"]),
        (GOOD + STEP + "[[step.reported]]\nvalue = 1.0\n", ["mine", "step three", "reported", "figure"]),
        (GOOD + STEP + '[[step.reported]]\nfigure = "x"\nvalue = "1"\n', ["mine", "step three", "reported", "value"]),
        (GOOD + STEP + '[[step.reported]]\nfigure = "x"\nvalue = 1\nwhen = "y"\n', ["mine", "step three", "reported", "when"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_file_step_and_key(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, text)
    for word in said:
        assert word in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'title = "\xff"')
    with pytest.raises(ConfigError, match=r"mine\.toml can't be read"):
        recipe.read(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["nothing", "", "../recipes/vit", "nowhere.toml", "~nobody-here/a.toml", "a\0b"])
def test_an_unknown_name_shows_those_that_there_are(name: str) -> None:
    with pytest.raises(UnknownError, match=r"no such recipe.*squeezenet"):
        recipe.read(name)


def test_a_grid_has_every_point_and_at_small_scale_two(tmp_path: Path) -> None:
    made = written(tmp_path, GOOD + STEP + 'grid = {seed = [1, 2, 3], weights = ["none", "step:one"]}\n')
    points = [(config.seed, config.weights) for config in expanded(made)["three"]]
    assert points == [(seed, weights) for seed in (1, 2, 3) for weights in ("none", "run:run-of-one")]
    assert len(expanded(made, "small")["three"]) == 2


@pytest.mark.parametrize("said", ['protocol = "report"', 'kind = "score"', 'kind = "episodes"', 'kind = "compare"', 'kind = "look"'])
def test_a_grid_that_nothing_on_val_could_choose_from_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(ConfigError, match=r"step three has a grid.*nothing is measured on val.*honest or given"):
        written(tmp_path, GOOD + STEP + said + "\ngrid = {seed = [1, 2]}\n")
    assert len(expanded(written(tmp_path, GOOD + STEP + said + "\ngrid = {seed = [1]}\n"))["three"]) == 1
    with pytest.raises(ConfigError, match="nothing is measured on val"):
        expanded(written(tmp_path, GOOD + STEP + "grid = {seed = [1, 2]}\n"), protocol="report")


def test_the_runs_that_are_due_are_those_that_are_made(tmp_path: Path) -> None:
    made = written(tmp_path, GOOD + STEP + "grid = {seed = [1, 2, 3], learning_rate = [0.1, 0.2]}\n")
    for scale in SCALES:
        for changes in ({}, {"seed": 4}, {"seed": 4, "learning_rate": 1.0}, {"epochs": 4}):
            configs = expanded(made, scale, **changes)
            assert {step.name: recipe.due(step, scale, changes) for step in made.steps} == {k: len(v) for k, v in configs.items()}


# -- changes --------------------------------------------------------------------------------------


def test_other_weights_take_imagenets_place_alone(tmp_path: Path) -> None:
    made = written(tmp_path, GOOD + STEP + 'weights = "none"\n[[step]]\nname = "four"\n[[step]]\nname = "five"\nmode = "scratch"\n')
    changed = {name: configs[0].weights for name, configs in expanded(made, weights="w.pt").items()}
    assert changed == {"one": "w.pt", "two": "run:run-of-one", "three": "none", "four": "w.pt", "five": "imagenet"}


def test_a_change_reaches_the_steps_that_have_the_option(tmp_path: Path) -> None:
    found = expanded(written(tmp_path, GOOD), "small", epochs=4, folds=3)
    assert found["one"][0].epochs == 4, "what a person says counts above the small scale"
    assert found["two"][0].folds == 3


def test_a_change_of_what_a_grid_goes_through_takes_its_place(tmp_path: Path) -> None:
    made = written(tmp_path, GOOD + STEP + 'grid = {learning_rate = [0.1, 0.01], seed = [1, 2], weights = ["none", "step:one"]}\n')
    found = expanded(made, learning_rate=0.5, weights="w.pt")["three"]
    assert [(config.learning_rate, config.seed, config.weights) for config in found] == [
        (0.5, seed, weights) for seed in (1, 2) for weights in ("none", "run:run-of-one")
    ]
    over_imagenet = written(tmp_path, GOOD + STEP + 'grid = {weights = ["none", "imagenet"]}\n')
    assert [config.weights for config in expanded(over_imagenet, weights="w.pt")["three"]] == ["w.pt"]


def test_a_staged_recipe_is_shortened_by_either_of_its_numbers_of_epochs() -> None:
    made = recipe.read("staged-rsscn7")
    for scale in SCALES:
        found = {name: (config.epochs, config.stage_epochs) for name, (config,) in expanded(made, scale, epochs=10).items()}
        assert found == {"staged": (10, None), "chance": (10, None), "fine-tune": (10, None)}
    own = expanded(made)["fine-tune"][0].epochs
    found = {name: (config.epochs, config.stage_epochs) for name, (config,) in expanded(made, stage_epochs=(1, 2, 3)).items()}
    assert found == {"staged": (None, (1, 2, 3)), "chance": (None, (1, 2, 3)), "fine-tune": (own, None)}


def test_a_change_takes_the_place_of_what_says_the_same(tmp_path: Path) -> None:
    made = written(tmp_path, GOOD.replace("epochs = 9", "epochs = 9\nper_class = 5"))
    config = expanded(made, train_share=0.5)["one"][0]
    assert (config.train_share, config.per_class) == (0.5, None)


def test_other_weights_take_the_small_scales_place_where_the_step_goes_out_from_imagenet(tmp_path: Path) -> None:
    made = written(tmp_path, GOOD.replace("epochs = 3\n", 'epochs = 3\nweights = "none"\n') + STEP + 'weights = "none"\n')
    changed = {name: configs[0].weights for name, configs in expanded(made, "small", weights="w.pt").items()}
    assert changed == {"one": "w.pt", "two": "run:run-of-one", "three": "none"}
    assert expanded(made, "small")["one"][0].weights == "none"


@pytest.mark.parametrize("change", [{"queries": 7}, {"weights": "w.pt"}, {"stage_epochs": (1, 1, 1)}, {"augment": "crops"}])
def test_a_change_that_no_step_takes_is_refused_with_what_can_be_changed(tmp_path: Path, change: dict[str, Any]) -> None:
    made = written(tmp_path, GOOD.replace("fine-tune", "transfer").replace('"imagenet"', '"none"'))
    with pytest.raises(ConfigError, match=r"no step of the recipe mine takes this change.*batch_size.*learning_rate") as caught:
        recipe.check_changes(made, change)
    assert next(iter(change)) not in str(caught.value).partition("Allowed")[2].split(", ")
    recipe.check_changes(made, {"learning_rate": 0.5, "folds": 3})


def test_changes_are_read_by_their_options_kinds() -> None:
    given_changes = [
        "--image-size=64",
        "learning_rate=0.5",
        "levels=simulated",
        "dynamics=off",
        "freeze=a.*,b",
        "stage-epochs=1,2,3",
        "epochs=7",
    ]
    assert recipe.parse_changes(given_changes) == {
        "image_size": 64, "learning_rate": 0.5, "levels": "simulated", "dynamics": False, "freeze": ("a.*", "b"),
        "stage_epochs": (1, 2, 3), "epochs": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    "each", ["epochs", "=3", "speed=3", "dataset=x", "epochs=many", "epochs=1.5", "dynamics=perhaps", "stage_epochs=1,x", ""]
)
def test_a_change_that_is_none_is_refused(each: str) -> None:
    with pytest.raises(ConfigError, match="a change"):
        recipe.parse_changes([each])


KINDS = (TrainConfig, ScoreConfig, CompareConfig, EpisodesConfig, LookConfig)
DEFAULTS = {
    f.name: (kind, f.default) for kind in KINDS for f in dataclasses.fields(kind) if f.default not in (dataclasses.MISSING, None, ())
}


@given(st.sampled_from(sorted(DEFAULTS)))
def test_every_default_reads_as_itself(name: str) -> None:
    kind, value = DEFAULTS[name]
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    found = recipe.parse_changes([f"{name}={text}"])
    assert found == {name: value}
    assert type(found[name]) is type(value)
    assert issubclass(kind, RunConfig)


@pytest.mark.parametrize("name", recipe.names())
def test_figures_that_the_reports_picked_on_test_stand_beside_ours_that_were(name: str) -> None:
    """Of the reports' protocol the last epoch's loss and KNN are no match for those of their best epoch."""
    for step in recipe.read(name).steps:
        figures = [one.figure for one in step.reported]
        if step.options.get("protocol") == "report":
            assert not {"test_accuracy", "test_loss", "test_knn"} & set(figures), step.name
        else:
            assert not [figure for figure in figures if figure.startswith("peak")], step.name


# -- figures --------------------------------------------------------------------------------------

RESULT = {"accuracy": 0.5, "epochs": 3, "stages": [{"own": 0.1}, {"own": None}], "name": "x", "done": True}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("accuracy", 0.5), ("epochs", 3.0), ("stages.0.own", 0.1), ("stages.-2.own", 0.1), ("stages.1.own", None), ("stages.2.own", None),
        ("stages.-3.own", None), ("stages.x.own", None), ("stages.0", None), ("name", None), ("name.0", None), ("done", None),
        ("accuracy.0", None), ("", None), ("gone", None),
    ],
)  # fmt: skip
def test_a_figure_is_found_by_its_path(path: str, value: float | None) -> None:
    assert recipe.figure(RESULT, path) == value


@given(st.text(alphabet="-.0123abc²", max_size=12))
def test_no_path_is_an_error(path: str) -> None:
    assert recipe.figure({"a": [{"b": 1.0}]}, path) in (None, 1.0)


# -- what no reader may stumble over --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: f"x = {'[' * 3000}", "can't be read"),
        (lambda text: text.replace("epochs = 9", f"epochs = {'9' * 5000}"), "can't be read"),
        (lambda text: text + f"[step.grid]\nseed = {list(range(100))}\nimage_size = {list(range(32, 132))}\n", "too many points"),
        (lambda text: text.replace("epochs = 3\n", 'weights = "step:nobody"\n'), "doesn't come before it"),
        (lambda text: text.replace("epochs = 3\n", 'weights = "step:two"\n'), "doesn't come before it"),
    ],
)
def test_what_would_never_end_or_leads_nowhere_is_refused(tmp_path: Path, change: Callable[[str], str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        written(tmp_path, change(GOOD))


def test_a_change_that_refers_to_no_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="doesn't come before it"):
        expanded(written(tmp_path, GOOD), weights="step:nobody")


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".toml", "x/" * 3000 + ".toml"])
def test_a_name_that_no_file_could_have_is_no_recipe(name: str) -> None:
    with pytest.raises(UnknownError, match="no such recipe"):
        recipe.read(name)


def test_a_figure_too_large_for_a_number_is_none() -> None:
    assert recipe.figure({"a": 10**400}, "a") is None


@pytest.mark.parametrize("place", ["9" * 5000, "-" + "9" * 5000, "--1", "-", "١", "1_0", " 0", ""])
def test_a_figure_at_a_place_that_is_none_is_missing(place: str) -> None:
    """By fuzzing: Python reads no number of more than 4,300 digits."""
    assert recipe.figure({"stages": [{"loss": 1.0}, {"loss": 2.0}]}, f"stages.{place}.loss") is None
