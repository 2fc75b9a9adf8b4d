"""The page Runs in every state that runs can be in: nothing, going on, done, failed, interrupted, an arm, one whose directory is gone."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from streamlit.testing.v1 import AppTest

from curriculum import intake, people, preparation, runs
from curriculum.app import layout, service
from curriculum.config import EpisodesConfig, TrainConfig
from curriculum.datasets import add_dataset
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.rundir import RunDir, Status
from curriculum.store import Store
from curriculum.vocabulary import CURRICULA
from tests.browser import Server, serving, settled, without_errors
from tests.conftest import PIN
from tests.ml import write_folder

HOSTILE = "<b>x</b> **y** [z](javascript:alert(1))"


def past(
    store: Store, accuracy: float | None = 0.75, *, state: str = "done", run_id: str = "", message: str = "", **options: Any
) -> RunDir:
    """A run as a worker leaves it after three epochs, each with a third more of the images, without a network's time."""
    config = TrainConfig("textures", weights="none", image_size=32, epochs=3, **({"mode": "fine-tune"} | options))
    run = preparation.prepare(store, config)
    if run_id:
        run = RunDir(run.path.rename(run.path.with_name(run_id)))
    order = pd.read_parquet(run / "order.parquet")
    train = int((order["split"] == "train").sum())
    for epoch in (1, 2, 3):
        part = epoch / 3 if config.mode in CURRICULA else 1.0
        used = np.arange(train) < round(train * part)
        if config.mode in CURRICULA:
            run.append_lesson(epoch, used)
        run.append_epoch({
            "epoch": epoch, "stage": config.mode, "subset_size": int(used.sum()), "learning_rate": 1e-4, "train_loss": 1 / epoch,
            "train_accuracy": 0.3 * epoch, "val_loss": 1 / epoch, "val_accuracy": 0.25 * epoch, "val_knn": 0.3, "seconds": 2.0,
            "images_per_second": 10.0, "samples_seen": train * epoch,
        })  # fmt: skip
    if accuracy is not None:
        write_json(run / "result.json", {
            "run_id": run.run_id, "mode": config.mode, "protocol": config.protocol, "epoch": 3, "epochs": 3, "test_accuracy": accuracy,
            "test_loss": 0.5, "test_knn": 0.6, "peak_test_accuracy": None, "seconds": 6.0, "samples_seen": 90, "stages": [], "notes": ["a note"],
            "classes": ["blue", "green", "red"], "examples": {"train": train, "val": 7, "test": 8},
        })  # fmt: skip
    run.write_status(Status(state, message=message, pid=os.getpid(), pid_started=psutil.Process().create_time(), epoch=1, epochs=3))  # type: ignore[arg-type]
    intake.ingest(store, run)
    return run


Open = Callable[[Callable[[Store], Sequence[RunDir] | None]], AppTest]


@pytest.fixture
def opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the page as its lead, on a home with one data set and what the given function adds; the runs that it returns are chosen."""
    monkeypatch.setenv("CURRICULUM_HOME", str(home.root))

    def page(prepare: Callable[[Store], Sequence[RunDir] | None]) -> AppTest:
        with Store.open(home) as store:
            add_dataset(store, "textures", write_folder(home.root / "pictures", each=15))
            people.register(store, "Ana", PIN)
            chosen = prepare(store) or ()
            credential = people.credential(store, "Ana")
        test = AppTest.from_string("from curriculum.app import layout, runs\nlayout.guarded(runs.page)", default_timeout=60)
        test.session_state["dataset"], test.session_state["annotator"], test.session_state["_credential"] = "textures", "Ana", credential
        test.session_state["_chosen_runs"] = [run.run_id for run in chosen]
        return test.run()

    yield page
    service.close_all()


def shown(test: AppTest) -> str:
    assert not test.exception, test.exception
    kinds = (test.header, test.subheader, test.markdown, test.caption, test.info, test.warning, test.success, test.error, test.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def button(test: AppTest, label: str) -> Any:
    return next(each for each in test.button if each.label == label)


def test_without_a_run_the_page_says_where_to_start_one(opened: Open) -> None:
    assert "No training run of this data set has been started yet" in shown(opened(lambda store: None))


def test_one_run_in_full(opened: Open) -> None:
    def prepare(store: Store) -> None:
        runs.describe(store, past(store, mode="paced"), title=HOSTILE, note=f"why\n{HOSTILE}")

    test = opened(prepare)
    text = shown(test)
    assert [metric.value for metric in test.metric] == ["75.0%", "0.500", "0.600", "3 of 3", "6 s"]
    assert test.header[0].value == layout.plain(HOSTILE)
    assert f"why  \n{layout.plain(HOSTILE)}" in text and HOSTILE not in text
    table = test.dataframe[0].value
    assert table[["state", "title", "method", "accuracy", "95 % interval"]].to_numpy().tolist() == [
        ["✓ done", HOSTILE, "paced", 0.75, "0.409 to 0.929"]
    ]
    assert "A control is missing" in text and "a note" in text
    assert "The first to enter" in text and "not recorded" not in text
    assert len(test.get("arrow_vega_lite_chart")) + len(test.get("vega_lite_chart")) == 6, "five measures and the map"


@pytest.mark.parametrize(
    ("protocol", "words"), [("honest", "read once, at the chosen epoch"), ("report", "judged throughout the training")]
)
def test_the_test_figure_says_how_often_its_images_were_judged(opened: Open, protocol: str, words: str) -> None:
    accuracy = opened(lambda store: [past(store, protocol=protocol)]).metric[0]
    assert words in accuracy.help and (protocol == "honest") == ("read once" in accuracy.help)


def test_two_runs_lie_over_one_another_and_their_difference_is_named(opened: Open) -> None:
    test = opened(lambda store: [past(store, seed=0), past(store, 0.5, seed=1)])
    assert "2 runs over one another" in shown(test) and "What their configurations differ in" in shown(test)
    difference = next(frame.value for frame in test.dataframe if "option" in frame.value)
    assert sorted(difference.columns[1:]) == ["fine-tune, seed 0", "fine-tune, seed 1"]
    assert difference[["option", "fine-tune, seed 0", "fine-tune, seed 1"]].to_numpy().tolist() == [["seed", "0", "1"]]


def test_more_runs_lie_over_one_another_and_seeds_are_taken_together(opened: Open) -> None:
    test = opened(
        lambda store: [past(store, seed=0), past(store, 0.5, seed=1), past(store, 0.25, mode="staged", ordering="random", levels="model")]
    )
    text = shown(test)
    assert "3 runs over one another" in text and "differ in" not in text
    assert button(test, "Delete these 3 runs")
    test.session_state["_runs_rows"] = "configuration, over its seeds"
    over = test.run().dataframe[0].value
    assert over[["method", "seeds", "accuracy"]].to_numpy().tolist() == [["staged-model-random", 1, 0.25], ["fine-tune", 2, 0.625]]
    assert "3 runs over one another" in shown(test), "their configurations are chosen"


def test_more_runs_than_can_be_told_apart_are_not_drawn(opened: Open) -> None:
    test = opened(lambda store: [past(store, seed=seed) for seed in range(9)])
    assert "9 runs over one another" in shown(test) and "Curves of the first 8 chosen" in shown(test)


def test_equal_configurations_are_said_to_be_equal(opened: Open) -> None:
    assert "Nothing: the two runs have the same configuration." in shown(opened(lambda store: [past(store), past(store)]))


def test_a_run_that_failed_says_why_and_can_be_resumed_or_deleted(opened: Open) -> None:
    def prepare(store: Store) -> None:
        run = past(store, None, state="failed", message="The disk is full.")
        (run / "log.txt").write_text("Traceback ...\nOSError: no space\n")

    test = opened(prepare)
    text = shown(test)
    assert f"✗ failed: {layout.plain('The disk is full.')}" in text
    assert "OSError: no space" in text
    assert button(test, "Resume") and button(test, "Delete")
    assert test.dataframe[0].value["state"].tolist() == ["✗ failed"]


def test_a_run_that_goes_on_stands_above_all_with_its_progress(opened: Open) -> None:
    def prepare(store: Store) -> None:
        past(store, None, state="running")
        past(store, seed=1)

    test = opened(prepare)
    text = shown(test)
    assert "is training" in text and button(test, "Cancel")
    assert test.dataframe[0].value["state"].tolist() == ["▶ running", "✓ done"]
    assert test.metric[0].value == "75.0%", "what has finished is shown until something is chosen"


def test_an_interrupted_run_shows_what_it_has_and_can_go_on(opened: Open) -> None:
    def prepare(store: Store) -> list[RunDir]:
        run = past(store, None, state="running")
        run.write_status(dataclasses.replace(run.status(), pid=2**22 + 1))
        return [run, past(store, seed=1)][:1]

    test = opened(prepare)
    text = shown(test)
    assert "⚠ interrupted: The process stopped without a word" in text and button(test, "Resume")
    assert "is training" not in text and len(test.get("arrow_vega_lite_chart")) + len(test.get("vega_lite_chart")) == 5


def test_a_run_whose_directory_is_gone_shows_what_the_database_knows(opened: Open, home: Home) -> None:
    def prepare(store: Store) -> None:
        shutil.rmtree(past(store, mode="paced").path)
        shutil.rmtree(past(store, None, state="running").path)

    test = opened(prepare)
    text = shown(test)
    assert test.metric[0].value == "75.0%" and "Its directory is gone" in text
    assert "is training" not in text and test.dataframe[0].value["state"].tolist() == ["∅ gone", "✓ done"]
    assert [each.label for each in test.button if each.label in ("Title and note", "Resume", "Delete")] == ["Delete"]


def test_arms_are_shown_on_wish_and_left_to_their_comparison(opened: Open) -> None:
    def prepare(store: Store) -> None:
        arm = past(store, run_id="20260101-000000-compare-aaaa-fine-tune-s0")
        with store.write() as cursor:
            cursor.execute("""INSERT INTO run BY NAME SELECT * REPLACE ('20260101-000000-compare-aaaa' AS run_id, 'compare' AS kind)
                              FROM run WHERE run_id = ?""", [arm.run_id])  # fmt: skip

    test = opened(prepare)
    assert "Only comparisons have trained here: 1 runs of theirs" in shown(test)
    test.toggle(key="_runs_arms").set_value(True).run()
    assert f"An arm of the comparison {layout.plain('20260101-000000-compare-aaaa')}" in shown(test)
    assert [each.label for each in test.button if each.label in ("Resume", "Delete")] == []


def test_which_images_entered_is_not_known_of_older_runs(opened: Open) -> None:
    def prepare(store: Store) -> None:
        (past(store, mode="paced") / "lessons.jsonl").unlink()

    test = opened(prepare)
    assert "is not recorded for this run. It is from before this was kept" in shown(test)


def test_a_peak_is_marked_beside_the_last_epochs_figure(opened: Open) -> None:
    def prepare(store: Store) -> None:
        run = past(store, protocol="report")
        peak = {"peak_test_accuracy": 0.875, "peak_test_epoch": 2, "peak_test_loss": 0.25, "peak_test_knn": 0.5}
        write_json(run / "result.json", (run.result() or {}) | peak)
        intake.ingest(store, run)

    test = opened(prepare)
    assert test.metric[0].value == "75.0%"
    assert "Peak over epochs, picked on test and so biased upwards: 87.5% at epoch 2, loss 0.2500, KNN 0.5000." in shown(test)


def few_shots(store: Store, *, state: str = "done", message: str = "", **options: Any) -> RunDir:
    run = preparation.prepare(store, EpisodesConfig("textures", weights="none", image_size=32, ways=3, shots=2, queries=3, **options))
    if state == "done":
        write_json(
            run / "result.json", {"accuracy": 0.6125, "low": 0.59, "high": 0.635, "sd": 0.1, "episodes": 600, "notes": [], "seconds": 3.0}
        )
    run.write_status(Status(state, message=message, pid=os.getpid(), pid_started=psutil.Process().create_time()))  # type: ignore[arg-type]
    intake.ingest(store, run)
    return run


def test_episodes_are_shown_with_their_mean_and_its_interval(opened: Open) -> None:
    def prepare(store: Store) -> list[RunDir]:
        past(store)
        return [few_shots(store)]

    test = opened(prepare)  # as the page Recipes leads here
    rows = test.dataframe[0].value[["state", "network", "accuracy", "95 % interval", "episodes", "classes"]]
    assert rows.to_numpy().tolist() == [["✓ done", "ResNet18", 0.6125, "0.590 to 0.635", 600, 3]]
    assert "An episode draws classes" in shown(test)
    test.segmented_control(key="_runs_view").set_value("Training").run()
    assert test.metric[0].value == "75.0%"
    assert "An episode draws classes" not in shown(test)


def test_episodes_that_go_on_or_failed_are_told(opened: Open, home: Home) -> None:
    test = opened(lambda store: [few_shots(store, state="running"), few_shots(store, state="failed", message=HOSTILE, seed=1)])
    text = shown(test)
    assert "**Episodes with ResNet18** are going on." in text and button(test, "Cancel")
    assert f"The newest, ✗ failed: {layout.plain(HOSTILE)}" in text and button(test, "Resume")
    assert test.dataframe[0].value["state"].tolist() == ["✗ failed", "▶ running"]
    assert not test.metric


def test_without_episodes_there_is_nothing_to_choose(opened: Open) -> None:
    assert not [each for each in opened(lambda store: [past(store)]).segmented_control if each.key == "_runs_view"]


def test_a_lead_chooses_names_takes_out_and_deletes(browser: Browser, home: Home) -> None:
    with Store.open(home) as store:
        add_dataset(store, "textures", write_folder(home.root / "pictures", each=15))
        made = [past(store, seed=seed) for seed in (0, 1, 2)]
    with serving(home, signed_up=["Ana"]) as server, without_errors(_signed_in(browser, server)) as open_tab:
        page = open_tab(f"{server.url}/runs?dataset=textures")
        table = page.locator("[data-testid=stDataFrame]").first
        table.wait_for()
        settled(page)
        for row in (1, 2):
            box = table.bounding_box()
            assert box is not None
            page.mouse.click(box["x"] + 16, box["y"] + 35 * row + 17)
            settled(page)
        expect(page.get_by_role("heading", name="2 runs over one another")).to_be_visible()
        page.get_by_role("button", name="Charts as files").click()
        with page.expect_download() as downloaded:
            page.get_by_role("button", name="SVG").first.click()
        assert "fine-tune, seed 2" in downloaded.value.path().read_text()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Tables as files").click()
        with page.expect_download() as downloaded:
            page.get_by_role("button", name="Epochs of the 2 chosen runs as CSV").click()
        assert pd.read_csv(downloaded.value.path())["run_id"].unique().tolist() == [made[2].run_id, made[1].run_id]
        page.keyboard.press("Escape")
        box = table.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 16, box["y"] + 35 + 17)  # the newest no more
        settled(page)
        page.get_by_role("button", name="Title and note").click()
        page.get_by_role("textbox", name="Title").fill("the one")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="the one")).to_be_visible()
        assert made[1].about().title == "the one"
        settled(page)
        page.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_role("button", name="Delete it").click()
        expect(page.get_by_role("heading", name="seed 2")).to_be_visible()
        assert sorted(run.path.exists() for run in made) == [False, True, True] and not made[1].path.exists()


def _signed_in(browser: Browser, server: Server) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1366, "height": 900})
    context.add_cookies([server.cookie("Ana")])
    return context
