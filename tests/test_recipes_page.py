"""The page Recipes: nothing started yet, data that is there or not, changes, a start, what goes on, what came out, what can't be read."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from curriculum import people, preparation, recipe, recipe_commands, recipe_runs
from curriculum.app import layout, recipe_results, service
from curriculum.config import EpisodesConfig, LookConfig, TrainConfig
from curriculum.datasets import add_dataset
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.metrics import wilson_interval
from curriculum.recipe_runs import Request
from curriculum.rundir import RunDir, Status
from curriculum.store import Store
from tests.conftest import PIN
from tests.ml import write_folder

SMALL = recipe_results.SMALL
HOSTILE = "<b>x</b> **y** [z](javascript:alert(1))"
OWN = f"""
title = "Mine {HOSTILE}"
what = "one step with figures, one of a grid, one look"
[data.textures]
what = "textures {HOSTILE}"
get = "data add FOLDER --name textures"
[[step]]
name = "staged"
what = "in stages {HOSTILE}"
mode = "staged"
levels = "model"
weights = "none"
stage_epochs = [1, 1, 1]
[[step.reported]]
figure = "stages.0.own_accuracy"
value = 0.91
at = "after easy"
why = "Theirs are one person's {HOSTILE}"
[[step.reported]]
figure = "peak_test_accuracy"
value = 0.5
[[step]]
name = "tuned"
mode = "fine-tune"
weights = "none"
grid = {{learning_rate = [0.1, 0.01]}}
[[step]]
name = "look"
kind = "look"
weights = "none"
[[step.reported]]
figure = "filters"
value = 96
"""


def begun(
    home: Home, steps: dict[str, list[str]] | None = None, *, state: str = "done", scale: str = "full", text: str = OWN, name: str = "mine",
    **status: Any,
) -> RunDir:  # fmt: skip
    """A recipe's directory, as its process would have left it."""
    number = len(list(recipe_runs.folder(home).glob("*")))
    run = RunDir(recipe_runs.folder(home) / f"20260101-00000{number}-{name}-aaaa")
    run.path.mkdir(parents=True)
    (run / "recipe.toml").write_text(text)
    write_json(run / "request.json", {"recipe": name, "scale": scale, "data": {"textures": "textures"}, "changes": {"image_size": 32}})
    write_json(run / "steps.json", steps or {})
    run.write_status(Status(state, pid=os.getpid(), pid_started=psutil.Process().create_time(), seconds=61, **status))  # type: ignore[arg-type]
    return run


def member(store: Store, config: TrainConfig | LookConfig | EpisodesConfig, result: dict[str, Any] | None) -> str:
    """A run of a step, done unless it has no result; its id."""
    run = preparation.prepare(store, config)
    if result is not None:
        write_json(run / "result.json", result)
    run.write_status(Status("done" if result is not None else "failed"))
    return run.run_id


def all_done(store: Store) -> dict[str, list[str]]:
    """The runs of the steps of `OWN`: of the grid the second is the best on val."""

    def trained(**result: float) -> str:
        return member(store, TrainConfig("textures", mode="fine-tune", weights="none", image_size=32, epochs=1,
                                         learning_rate=result.pop("rate", 0.1)), result)  # fmt: skip

    staged = member(
        store, TrainConfig("textures", mode="scratch", image_size=32, epochs=1),
        {"stages": [{"own_accuracy": 0.875, "own_examples": 8}], "peak_test_accuracy": 0.75, "test_accuracy": 0.625, "examples": {"test": 16}},
    )  # fmt: skip
    tuned = [trained(rate=0.1, val_accuracy=0.2, test_accuracy=0.9), trained(rate=0.01, val_accuracy=0.4, test_accuracy=0.3)]
    look = member(store, LookConfig("textures", weights="none", image_size=64),
                  {"filters": 64, "first_probability": 0.5, "example": HOSTILE, "top": [{"class": "tabby", "probability": 0.5}]})  # fmt: skip
    for picture in ("image", "filters", "before", "after"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(store.home.runs / look / f"{picture}.png")
    return {"staged": [staged], "tuned": tuned, "look": [look]}


Open = Callable[..., AppTest]


@pytest.fixture
def opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the page as its lead, on a home with one data set and what the given function adds."""
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))

    def page(prepare: Callable[[Store], object] = lambda store: None, name: str = "textures") -> AppTest:
        with Store.open(home) as store:
            add_dataset(store, name, write_folder(home.root / "pictures", each=5))
            people.register(store, "Ana", PIN)
            prepare(store)
            credential = people.credential(store, "Ana")
        test = AppTest.from_string("from curriculum.app import layout, recipes\nlayout.guarded(recipes.page)", default_timeout=60)
        test.session_state["annotator"], test.session_state["_credential"] = "Ana", credential
        return test.run()

    yield page
    service.close_all()


def shown(test: AppTest) -> str:
    assert not test.exception, test.exception
    kinds = (test.header, test.subheader, test.markdown, test.caption, test.info, test.warning, test.success, test.error, test.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def button(test: AppTest, label: str) -> Any:
    return next(each for each in test.button if each.label.startswith(label))


def choose(test: AppTest, name: str, scale: str = "full") -> AppTest:
    test.selectbox(key="_recipe").select(name).run()
    return test.segmented_control(key="_recipe_scale").set_value(scale).run()


# -- choosing ------------------------------------------------------------------------------------


def test_every_recipe_tells_its_steps_its_data_and_how_long_it_takes(opened: Open) -> None:
    test = opened()
    for name in recipe.names():
        text, made = shown(test.selectbox(key="_recipe").select(name).run()), recipe.read(name)
        assert layout.plain(made.what) in text and "Expected: about" in text
        for step in made.steps:
            assert f"**{layout.plain(step.name)}**" in text
        for one in (one for step in made.steps for one in step.reported):
            words = recipe_results.in_words(one.figure)
            assert layout.plain(f"{words}: {recipe_results.number(one.figure, one.value, places=2)}") in text
            assert "_" not in words and "." not in words
        boxes = [box for box in test.selectbox if box.label.startswith("Data: ")]
        assert [box.value for box in boxes] == [None] * len(made.roles)
        for role in made.roles:
            assert f"python -m curriculum {role.get.partition(', ')[0]}" in text
        assert button(test, "Start its").disabled
        assert test.code[0].value == made.text.strip()


def test_data_of_the_roles_own_name_is_picked_and_other_may_take_its_place(opened: Open) -> None:
    test = choose(opened(name="rsscn7"), "staged-rsscn7")
    assert next(box for box in test.selectbox if box.label.startswith("Data")).value == "rsscn7"
    assert not button(test, "Start its").disabled and "There is no data set" not in shown(test)
    test = choose(test, "staged-rsscn7", "small")
    assert "demo scenes, which aren't there yet" in shown(test) and button(test, "Start its").disabled
    next(box for box in test.selectbox if box.label.startswith("Data")).select("rsscn7").run()
    assert not button(test, "Start its").disabled


def test_changes_that_are_none_say_so_and_nothing_starts(opened: Open, home: Home) -> None:
    test = choose(opened(name="rsscn7"), "staged-rsscn7")
    for text in ("image_size", "no_such_option=1", "epochs=many"):
        test.text_area(key="_recipe_changes").set_value(text).run()
        assert "a change" in test.error[0].value and button(test, "Start its").disabled
    test.text_area(key="_recipe_changes").set_value("image_size=9999\n\n").run()
    button(test, "Start its").click().run()
    assert "image" in test.error[0].value and not recipe_runs.all_started(home)


def test_a_start_goes_on_by_itself_with_data_that_was_just_added(opened: Open, home: Home) -> None:
    test = choose(opened(name="earlier"), "squeezenet", "small")
    add_dataset(service.current().store, "demo", write_folder(home.root / "more", each=4, seed=1))
    test.run()
    test.text_area(key="_recipe_changes").set_value("image_size=32").run()
    button(test, "Start its 2 steps").click().run()
    assert not test.error, test.error
    (run,) = recipe_runs.all_started(home)
    assert recipe_runs.request_of(run) == Request("squeezenet", "small", {"picture": "demo"}, {"image_size": 32})
    text = shown(test)
    assert f"**{layout.plain('SqueezeNet on one picture')}** is going on" in text and SMALL in text
    deadline = time.monotonic() + 600
    while run.status().active:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert run.status().state == "done", run.log_tail()
    text = shown(test.run())
    assert "is going on" not in text
    assert test.table[0].value["ours"].tolist()[0] == "96"


def between(right: int, images: int) -> str:
    low, high = wilson_interval(right, images)
    return f"{low:.3f} to {high:.3f}"


# -- what came out -------------------------------------------------------------------------------


def test_ours_stand_beside_the_reports(opened: Open, home: Home) -> None:
    test = opened(lambda store: begun(home, all_done(store)))
    text = shown(test)
    assert test.table[0].value.fillna("").to_numpy().tolist() == [
        ["staged", "accuracy on its own levels, after stage 1", "0.910", "after easy", "0.875", between(7, 8), "-0.035",
         layout.plain(f"Theirs are one person's {HOSTILE}")],
        ["staged", layout.plain("peak test accuracy (biased)"), "0.500", "", "0.750", "", "+0.250", ""],
        ["staged", "test accuracy", "", "last epoch", "0.625", between(10, 16), "", ""],
        ["tuned", "test accuracy", "", "", "0.300", "", "", ""],
        ["look", "filters of the first layer", "96", "", "64", "", "-32", ""],
    ]  # fmt: skip
    assert recipe_results.PEAK in text and recipe_results.INTERVAL in text and SMALL not in text and "aren't there yet" not in text
    assert "✓ 2 runs are done; on val the best is learning\\_rate=0\\.01" in text
    assert HOSTILE not in text and layout.plain(HOSTILE) in text
    assert len(test.get("image")) == 4 and test.dataframe[1].value["class"].tolist() == ["tabby"]
    assert test.dataframe[0].value[["state", "scale", "data", "time"]].to_numpy().tolist() == [["✓ done", "full", "textures", "1 min 1 s"]]
    assert [each.label for each in test.button if each.label.startswith("See")] == ["See the run", "See its 2 runs"]
    assert recipe_results._csv(recipe_runs.all_started(home)[0]).decode().splitlines()[0].endswith("difference")


def test_a_step_leads_to_its_runs(opened: Open, home: Home) -> None:
    steps: dict[str, list[str]] = {}
    test = opened(lambda store: begun(home, steps | all_done(store)))
    button(test, "See its 2 runs").click().run()
    chosen = test.session_state["_chosen_runs"]
    assert len(chosen) == 2 and test.session_state["dataset"] == "textures"
    assert chosen == recipe_runs.steps_of(recipe_runs.all_started(home)[0])["tuned"]


EPISODES = """
title = "Few shots"
[data.textures]
what = "textures"
get = "data add FOLDER --name textures"
[[step]]
name = "few"
kind = "episodes"
weights = "none"
ways = 3
shots = 2
queries = 3
[[step.reported]]
figure = "accuracy"
value = 0.64
"""
FEW = {"accuracy": 0.61, "low": 0.59, "high": 0.63, "sd": 0.1, "episodes": 600, "notes": [], "seconds": 3.0}


def test_episodes_show_their_interval_and_lead_to_the_runs(opened: Open, home: Home) -> None:
    def prepare(store: Store) -> None:
        begun(
            home,
            {"few": [member(store, EpisodesConfig("textures", weights="none", image_size=32, ways=3, shots=2, queries=3), FEW)]},
            text=EPISODES,
        )

    test = opened(prepare)
    assert test.table[0].value.to_numpy().tolist() == [["few", "accuracy", "0.640", "0.610", "0.590 to 0.630", "-0.030"]]
    assert layout.plain("Mean accuracy 0.6100, 95 % interval 0.5900 to 0.6300, over 600 episodes.") in shown(test)
    (run,) = recipe_runs.all_started(home)
    assert "ours 0.6100  reported 0.6400  95 % interval 0.5900 to 0.6300" in recipe_commands._text(home, run)
    (row,) = recipe_commands._document(home, run)["figures"]
    assert (row["low"], row["high"]) == (0.59, 0.63)
    button(test, "See the run").click().run()
    assert test.session_state["_chosen_runs"] == recipe_runs.steps_of(run)["few"]


def test_a_figure_that_a_finished_run_does_not_have_is_not_said_to_come(opened: Open, home: Home) -> None:
    test = opened(lambda store: begun(home, all_done(store), text=OWN.replace('"filters"\nvalue = 96', '"all_images_epoch"\nvalue = 28')))
    text = shown(test)
    assert "1 the finished runs don't have: never reached, or not kept yet when they ran." in text and "aren't there yet" not in text
    assert test.table[0].value.fillna("").to_numpy().tolist()[-1][:5] == ["look", "first epoch with all images", "28", "", ""]


@pytest.mark.parametrize(("figure", "result", "found"), [
    ("test_accuracy", {"test_accuracy": 0.75, "examples": {"test": 16}}, wilson_interval(12, 16)),
    ("stages.1.accuracy", {"stages": [{}, {"accuracy": 0.75}], "examples": {"test": 16}}, wilson_interval(12, 16)),
    ("stages.-1.own_accuracy", {"stages": [{"own_accuracy": 0.5, "own_examples": 4}], "examples": {"test": 16}}, wilson_interval(2, 4)),
    ("peak_test_accuracy", {"peak_test_accuracy": 0.75, "examples": {"test": 16}}, (None, None)),
    ("test_loss", {"test_loss": 0.75, "examples": {"test": 16}}, (None, None)),
    ("accuracy", {"accuracy": 0.75, "low": 0.7, "high": 0.8}, (None, None)),
    ("test_accuracy", {"test_accuracy": 0.75}, (None, None)),
    ("test_accuracy", {"test_accuracy": 1.5, "examples": {"test": 16}}, (None, None)),
    ("test_accuracy", {"test_accuracy": 0.5, "examples": {"test": 0}}, (None, None)),
    ("test_accuracy", {"test_accuracy": 0.5, "examples": {"test": float("nan")}}, (None, None)),
])  # fmt: skip
def test_what_has_an_interval(figure: str, result: dict[str, Any], found: tuple[float | None, float | None]) -> None:
    assert recipe_runs.interval(result, figure) == pytest.approx(found)


def test_the_newest_is_shown_first_and_the_chosen_one_stays(opened: Open, home: Home) -> None:
    def prepare(store: Store) -> None:
        begun(home, name="older", scale="small")
        begun(home, name="newer")

    test = opened(prepare)
    assert "newer" in shown(test) and SMALL not in shown(test) and len(test.dataframe[0].value) == 2
    assert "5 of 5 figures aren't there yet" in shown(test) and "… not begun" in shown(test)
    test.session_state["_recipe_chosen"] = recipe_runs.all_started(home)[1].run_id
    shutil.rmtree(begun(home, name="third").path)
    again = AppTest.from_string("from curriculum.app import layout, recipes\nlayout.guarded(recipes.page)", default_timeout=60)
    for key in ("annotator", "_credential", "_recipe_chosen"):
        again.session_state[key] = test.session_state[key]
    assert SMALL in shown(again.run())


def test_one_that_failed_says_why_can_go_on_and_be_forgotten(opened: Open, home: Home) -> None:
    def prepare(store: Store) -> None:
        run = begun(home, all_done(store), state="failed", message=f"The disk is full {HOSTILE}")
        (run / "log.txt").write_text("OSError: no space\n")

    test = opened(prepare)
    text = shown(test)
    assert f"✗ failed: {layout.plain('The disk is full ' + HOSTILE)}" in text and "OSError: no space" in text
    assert button(test, "Resume")
    button(test, "Delete").click().run()
    assert "The runs of its steps, their models and figures stay" in shown(test)
    button(test, "Delete").click()  # a dialog runs by itself in a browser; here the page runs anew with both
    button(test, "Delete it").click().run()
    assert not recipe_runs.all_started(home) and len(list(home.runs.iterdir())) == 4
    assert button(test, "Start its"), "nothing is left to show, so the page offers a recipe"


def test_one_that_goes_on_can_be_cancelled(opened: Open, home: Home) -> None:
    test = opened(lambda store: begun(home, state="running", phase="staged: epoch 1 of 3", epoch=1, epochs=4, done=50, total=100))
    text = shown(test)
    assert "is going on" in text and [each.label for each in test.button if each.label in ("Resume", "Delete")] == []
    button(test, "Cancel").click().run()
    assert recipe_runs.all_started(home)[0].cancel_asked() and "Cancelling ..." in shown(test)


def test_one_whose_files_can_not_be_read_can_be_deleted(opened: Open, home: Home) -> None:
    def prepare(store: Store) -> None:
        (begun(home, name="broken") / "recipe.toml").write_text("title = 3 [")

    test = opened(prepare)
    assert "can't be read" in test.error[0].value.replace("\\", "") and button(test, "Delete")
    assert test.dataframe[0].value["state"].tolist() == ["⚠ can't be read"]


def test_runs_of_a_step_that_were_deleted_are_named(opened: Open, home: Home) -> None:
    def prepare(store: Store) -> None:
        steps = all_done(store)
        shutil.rmtree(home.runs / steps["tuned"][0])
        begun(home, steps)

    assert "∅ 1 of its 2 runs were deleted" in shown(opened(prepare)).replace("\\", "")


def test_the_snapshot_is_written_anew_only_where_something_changed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))
    running = service.current()
    try:
        running.save_snapshot()
        before = home.snapshot.stat().st_ino
        running.save_snapshot()
        assert home.snapshot.stat().st_ino == before
        add_dataset(running.store, "textures", write_folder(home.root / "pictures", each=3))
        running.save_snapshot()
        with Store.from_snapshot(home) as known:
            assert known.rows("SELECT dataset FROM dataset") == [("textures",)]
    finally:
        service.close_all()


@pytest.mark.parametrize(("figures", "best"), [
    ([(0.2, 0.1), (0.4, 0.9), (0.3, 0.1)], "b"), ([(0.4, 0.9), (0.4, 0.5), (0.4, 0.5)], "b"), ([(0.4, None), (0.4, 0.9)], "b"),
    ([(None, None), (None, None)], "a"),
])  # fmt: skip
def test_of_a_grid_the_best_on_val_counts_and_of_equal_ones_the_lower_loss(
    figures: list[tuple[float | None, float | None]], best: str
) -> None:
    results = {name: {"val_accuracy": accuracy, "val_loss": loss} for name, (accuracy, loss) in zip("abc", figures, strict=False)}
    assert recipe_runs.chosen(results, len(results)) == best
    assert recipe_runs.chosen({"z": {}, **results}, len(results) + 1) == best, "what has failed is left out"
    assert recipe_runs.chosen({**results, "z": None}, len(results) + 1) is None
    assert recipe_runs.chosen(results, len(results) + 1) is None, "one isn't begun yet"
    assert recipe_runs.chosen({"y": {}, "z": {}}, 2) is None


@pytest.mark.parametrize(
    ("rates", "results", "scale", "said", "figure"),
    [
        ((0.1,), ({"val_accuracy": 0.2, "test_accuracy": 0.9},), "full", "1 of 3 runs are done", None),
        ((0.1, 0.01, 0.02), ({"val_accuracy": 0.2, "test_accuracy": 0.9}, {}, {"val_accuracy": 0.1, "test_accuracy": 0.8}), "full",
         "✓ 2 runs are done, 1 failed; on val the best is learning_rate=0.1", 0.9),
        ((0.1, 0.01), ({"val_accuracy": 0.2, "test_accuracy": 0.9}, {"val_accuracy": 0.4, "test_accuracy": 0.3}), "small",
         "✓ 2 runs are done; on val the best is learning_rate=0.01", 0.3),
    ],
)  # fmt: skip
def test_a_grid_has_a_figure_when_all_its_runs_are_done_or_have_failed(
    store: Store, home: Home, rates: tuple[float, ...], results: tuple[dict[str, Any], ...], scale: str, said: str, figure: float | None
) -> None:
    add_dataset(store, "textures", write_folder(home.root / "pictures", each=5))
    ids = [
        member(store, TrainConfig("textures", mode="fine-tune", weights="none", image_size=32, learning_rate=rate), result or None)
        for rate, result in zip(rates, results, strict=True)
    ]
    run = begun(home, {"tuned": ids}, scale=scale, text=OWN.replace("[0.1, 0.01]", "[0.1, 0.01, 0.02]"))
    step, request = recipe_runs.recipe_of(run).steps[1], recipe_runs.request_of(run)
    found, due = recipe_runs.results_of(home, ids), recipe_runs.due(step, request)
    assert recipe_results._state(step, {i: RunDir(home.runs / i) for i in ids}, found, due, recipe_runs.chosen(found, due)) == said
    ours = {row["step"]: row["ours"] for row in recipe_runs.beside_the_reports(home, run).to_dict("records")}
    assert ours["tuned"] == pytest.approx(np.nan if figure is None else figure, nan_ok=True)
