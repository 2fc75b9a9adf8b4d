"""Tables of runs against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from curriculum import run_tables
from curriculum.compare import student_interval
from curriculum.config import EpisodesConfig, ScoreConfig, TrainConfig
from curriculum.metrics import wilson_interval
from curriculum.store import Store


def run(number: int, mode: str = "fine-tune", accuracy: float | None = 0.9, state: str = "done", **changes: Any) -> dict[str, Any]:
    """A row of `runs.list_runs`; a later number is a newer run. `run_id` and `title` may be given."""
    said: dict[str, Any] = {name: changes.pop(name) for name in ("run_id", "title") if name in changes}
    config = TrainConfig("set", mode=mode, **changes)
    result = {
        "test_accuracy": accuracy, "test_loss": 0.5, "test_knn": None, "peak_test_accuracy": None if config.protocol == "honest" else 0.99,
        "epoch": 3, "samples_seen": 1000 * number, "examples": {"train": 80, "val": 0, "test": 20},
    }  # fmt: skip
    return {
        "run_id": f"2026010{number}-000000-{mode}-aaaa", "state": state, "title": None, "protocol": config.protocol, "seed": config.seed, "mode": mode,
        "config": config.to_json(), "result": None if accuracy is None else result, "seconds": 60.0 * number,
        "created_at": pd.Timestamp(2026, 1, number, tz="UTC"), **said,
    }  # fmt: skip


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    """As the database gives them: the newest first."""
    return run_tables.table(pd.DataFrame(rows).sort_values("created_at", ascending=False))


# -- one row a run -------------------------------------------------------------------------------


def test_runs_that_go_on_come_first_and_what_is_not_known_is_missing() -> None:
    rows = table(run(1), run(2, accuracy=None, state="running"), run(3, protocol="report"), run(4, accuracy=None, state="failed"))
    assert rows["state"].tolist() == ["running", "failed", "done", "done"]
    assert rows["accuracy"].isna().tolist() == [True, True, False, False]
    assert rows["peak"].tolist()[2:] == [0.99, pytest.approx(np.nan, nan_ok=True)]
    assert rows["knn"].isna().all()
    assert rows["samples_seen"].tolist()[2:] == [3000, 1000]
    low, high = wilson_interval(18, 20)
    assert (rows["low"][3], rows["high"][3]) == (pytest.approx(low), pytest.approx(high))
    assert run_tables.table(pd.DataFrame([run(1)]).iloc[:0]).empty


def test_a_figure_that_is_no_number_is_missing_and_spoils_no_other_run() -> None:
    odd = run(1)
    odd["result"] |= {"test_accuracy": [0.9], "samples_seen": "many", "test_loss": 10**400, "examples": 5}
    rows = table(odd, run(2))
    assert rows["accuracy"].tolist() == [0.9, pytest.approx(np.nan, nan_ok=True)]
    assert rows.loc[1, ["samples_seen", "loss", "low"]].isna().all()


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"mode": "staged"}, "staged"),
        ({"mode": "staged", "levels": "model"}, "staged-model"),
        ({"mode": "staged", "levels": "model", "ordering": "random"}, "staged-model-random"),
        ({"mode": "self-paced", "variant": "as-run", "ordering": "random", "replay": "x"}, "self-paced-as-run-random"),
        ({"mode": "paced", "ordering": "anti_curriculum"}, "paced-anti"),
        ({"mode": "paced", "ordering": "standard"}, "paced-standard"),
    ],
)
def test_methods_have_the_names_of_arms(options: dict[str, Any], method: str) -> None:
    assert run_tables.method_of(TrainConfig("set", **options).to_json()) == method


def test_what_a_run_starts_from_and_how_fast() -> None:
    words = [(run_tables.weights_of(c), run_tables.rate_of(c)) for c in (
        TrainConfig("set", mode="transfer").to_json(), TrainConfig("set", mode="scratch").to_json(),
        TrainConfig("set", mode="fine-tune", weights="/home/me/resnet18-aid.pth", learning_rate=3e-4).to_json(),
    )]  # fmt: skip
    assert words == [("imagenet", "0.001 by accuracy"), ("none", "0.05 one cycle"), ("resnet18-aid", "0.0003")]


def test_names_tell_runs_apart_by_what_differs() -> None:
    rows = table(run(1, seed=0), run(2, seed=1), run(3, "staged", title="the **best**"))
    assert list(run_tables.labels(rows).values()) == ["the **best**", "fine-tune, seed 1", "fine-tune, seed 0"]
    alike = table(run(1), run(2), run(3, image_size=64))
    assert list(run_tables.labels(alike).values()) == ["fine-tune, 64 px", "fine-tune, 256 px", "fine-tune, 256 px, 01 Jan 00:00"]
    twins = table(run(1, title="x"), run(1, title="x", run_id="other"), run(1, title="x", run_id="third"))
    assert len(set(run_tables.labels(twins).values())) == 3
    assert list(run_tables.labels(table(run(1, seed=4))).values()) == ["fine-tune, seed 4"]


def test_a_peak_is_told_with_what_is_known_of_its_epoch() -> None:
    honest, older = (
        {"peak_test_accuracy": None, "peak_test_epoch": None, "peak_test_loss": None, "peak_test_knn": None},
        {"peak_test_accuracy": 0.5},
    )
    whole = {"peak_test_accuracy": 0.8625, "peak_test_epoch": 23, "peak_test_loss": 0.4009, "peak_test_knn": 0.66}
    assert [run_tables.peak_of(result) for result in ({}, honest, older, whole)] == [
        "", "", "0.5000", "0.8625 at epoch 23, loss 0.4009, KNN 0.6600"
    ]  # fmt: skip
    assert run_tables.peak_of(whole | {"peak_test_knn": None}, ".1%") == "86.2% at epoch 23, loss 0.4009"


def test_episodes_are_a_row_a_run() -> None:
    done, going = (
        {**run(number), "config": EpisodesConfig("set", weights="imagenet", ways=3).to_json(), "state": state, "result": result}
        for number, state, result in (
            (2, "running", None),
            (1, "done", {"accuracy": 0.6, "low": 0.5, "high": 0.7, "sd": 0.1, "episodes": 600}),
        )
    )
    rows = run_tables.episodes(pd.DataFrame([done, going]))
    assert rows[["ways", "shots", "queries", "weights", "network"]].to_numpy().tolist() == [[3, 5, 15, "imagenet", "resnet18"]] * 2
    assert rows[["accuracy", "low", "high", "episodes"]].to_numpy()[1].tolist() == [0.6, 0.5, 0.7, 600]
    assert rows.loc[0, ["accuracy", "low", "high"]].isna().all()
    assert run_tables.intervals(rows) == ["", "0.500 to 0.700"]


# -- one row a configuration ---------------------------------------------------------------------


def test_seeds_of_one_configuration_are_taken_together() -> None:
    rows = table(
        run(1, accuracy=0.80, seed=0), run(2, accuracy=0.90, seed=1), run(3, accuracy=0.94, seed=2), run(4, accuracy=0.10, seed=3, state="running"),
        run(5, "staged", accuracy=0.95), run(6, accuracy=0.84, seed=0), run(7, accuracy=None, seed=9, state="failed"),
    )  # fmt: skip
    over = run_tables.over_seeds(rows[rows["state"] != "running"]).set_index("method")
    assert over.index.tolist() == ["fine-tune", "staged"]
    tuned = over.loc["fine-tune"]
    assert tuned["seeds"] == 3, "of the two runs of seed 0 the newer counts"
    assert tuned["accuracy"] == pytest.approx((0.84 + 0.90 + 0.94) / 3)
    assert tuned["sd"] == pytest.approx(np.std([0.84, 0.90, 0.94], ddof=1))
    low, high = student_interval(np.array([0.84, 0.90, 0.94]))
    assert low < tuned["accuracy"] < 1 < high, "three seeds say little"
    assert (tuned["low"], tuned["high"]) == (pytest.approx(low), 1.0)
    assert [run_id[:8] for run_id in tuned["run_ids"]] == ["20260106", "20260102", "20260103"]
    single = over.loc["staged"]
    assert np.isnan(single["sd"])
    assert (single["low"], single["high"]) == (pytest.approx(wilson_interval(19, 20)[0]), pytest.approx(wilson_interval(19, 20)[1]))
    assert run_tables.over_seeds(rows[rows["accuracy"].isna()]).empty


def test_a_comparisons_arm_is_one_configuration_though_it_replays_other_runs() -> None:
    arms = [
        run(seed + 1, "self-paced", ordering="random", seed=seed, budget=100 + seed, replay=f"c-compare-3b31-self-paced-s{seed}",
            run_id=f"20260101-000000-compare-3b31-self-paced-random-s{seed}")
        for seed in (0, 1)
    ]  # fmt: skip
    assert run_tables.over_seeds(table(*arms))["seeds"].tolist() == [2]
    assert run_tables.over_seeds(table(run(1, budget=100), run(2, budget=101, seed=1)))["seeds"].tolist() == [1, 1]


def test_an_option_that_is_younger_than_a_run_has_its_default() -> None:
    old = run(1, seed=1)
    del old["config"]["noise"], old["config"]["augment"]
    assert run_tables.over_seeds(table(old, run(2, seed=2)))["seeds"].tolist() == [2]


def test_ours_stand_beside_the_reports() -> None:
    over = run_tables.over_seeds(table(run(1), run(2, "self-paced", protocol="report"), run(3, "self-paced")))
    both = run_tables.beside_the_reports(over, reported=True)
    assert both[["method", "by"]].to_numpy().tolist() == [
        ["transfer", "the reports"], ["transfer", "the reports"], ["staged", "the reports"], ["self-paced", "the reports"],
        ["self-paced", "the reports"], ["self-paced", "this project"], ["self-paced", "this project"], ["fine-tune", "this project"],
    ]  # fmt: skip
    theirs = both[both["by"] == "the reports"]
    assert theirs["accuracy"].tolist() == [0.88, 0.86, 0.94, 0.97, 0.92]
    assert theirs["protocol"].str.contains("biased").all()
    assert both[both["by"] == "this project"]["protocol"].tolist() == [
        "64/16/20, chosen on val",
        "80/20, last epoch",
        "64/16/20, chosen on val",
    ]
    assert run_tables.beside_the_reports(over, reported=False)["by"].unique().tolist() == ["this project"]
    assert run_tables.beside_the_reports(over.iloc[:0], reported=True)["accuracy"].tolist() == theirs["accuracy"].tolist()


def test_a_missing_control_few_seeds_and_peaks_are_said() -> None:
    assert run_tables.cautions(table(run(1, accuracy=None, state="failed"))) == []
    assert [text[:18] for text in run_tables.cautions(table(run(1, "staged")))] == ["**A control is mis", "Fewer than five se"]
    assert [text[:18] for text in run_tables.cautions(table(run(1, "staged"), run(2)))] == ["Fewer than five se"]
    five = [run(seed + 1, seed=seed, protocol="report") for seed in range(5)]
    assert [text[:5] for text in run_tables.cautions(table(*five))] == ["Peaks"]
    assert [text[:18] for text in run_tables.cautions(table(*five, run(6, "staged")))] == ["Fewer than five se", "Peaks are the best"], (
        "one has a seed"
    )


@pytest.mark.parametrize(
    ("methods", "lacking"),
    [
        ({"staged resnet50", "fine-tune resnet50"}, []),
        ({"staged resnet50", "fine-tune"}, ["resnet50"]),
        ({"self-paced-as-run", "fine-tune resnet50", "transfer"}, ["resnet18"]),
        ({"paced-random multi-label", "staged resnet50 multi-label", "fine-tune"}, ["resnet18 multi-label", "resnet50 multi-label"]),
        ({"transfer", "scratch"}, []),
    ],
)
def test_a_control_is_one_of_the_same_network(methods: set[str], lacking: list[str]) -> None:
    assert run_tables._without_control(methods) == lacking


# -- epochs --------------------------------------------------------------------------------------


@pytest.fixture
def epochs(store: Store) -> Store:
    """Run a: two stages, three epochs, no test figures. Run b: one stage, one epoch."""
    figures = {"images_per_second": 1.0, "learning_rate": 1e-4}
    rows = [
        {"run_id": "a", "epoch": epoch, "stage": "easy" if epoch < 3 else "all", "subset_size": 10 * epoch, "val_accuracy": epoch / 10,
         "samples_seen": 10 * epoch, "seconds": 2.0, **figures} for epoch in (3, 1, 2)
    ] + [{"run_id": "b", "epoch": 1, "stage": "all", "subset_size": 30, "test_accuracy": 0.5, "samples_seen": 30, "seconds": 5.0, **figures}]  # fmt: skip
    with store.write() as cursor:
        store.insert(cursor, "epoch", pd.DataFrame(rows))
    return store


def test_epochs_come_in_the_order_asked_for_with_the_time_worked(epochs: Store) -> None:
    found = run_tables.epochs_of(epochs, ["b", "a", "nothing"])
    assert found[["run_id", "epoch", "elapsed"]].to_numpy().tolist() == [["b", 1, 5.0], ["a", 1, 2.0], ["a", 2, 4.0], ["a", 3, 6.0]]
    assert run_tables.epochs_of(epochs, []).empty


def test_lines_are_drawn_where_something_was_measured(epochs: Store) -> None:
    found = run_tables.epochs_of(epochs, ["a", "b"])
    lines = run_tables.lines(found, "accuracy", ["val", "test"], "samples_seen")
    assert lines[["run_id", "part", "x", "value"]].to_numpy().tolist() == [
        ["a", "val", 10, 0.1], ["a", "val", 20, 0.2], ["a", "val", 30, 0.3], ["b", "test", 30, 0.5],
    ]  # fmt: skip
    assert run_tables.lines(found, "subset_size", [], "elapsed")[["x", "value"]].to_numpy().tolist() == [[2, 10], [4, 20], [6, 30], [5, 30]]
    assert run_tables.lines(found, "knn", ["train"]).empty
    assert run_tables.lines(found.iloc[:0], "loss", ["val"]).empty


def test_of_a_long_run_its_ends_and_even_steps_are_drawn() -> None:
    long = run_tables.with_time(pd.DataFrame({
        "run_id": "a", "epoch": np.arange(1, 1203), "stage": "all", "seconds": 1.0, "samples_seen": np.arange(1, 1203), "val_loss": 1.0,
    }))  # fmt: skip
    drawn = run_tables.lines(long, "loss", ["val"])["epoch"].tolist()
    assert (drawn[:3], drawn[-2:]) == ([1, 3, 6], [1200, 1202])
    assert len(drawn) <= run_tables.MOST_POINTS + 2


def test_stages_begin_where_the_one_before_ended(epochs: Store) -> None:
    found = run_tables.epochs_of(epochs, ["a", "b"])
    for axis, x in (("epoch", 3), ("samples_seen", 20), ("elapsed", 4.0)):
        starts = run_tables.stage_starts(found, axis)  # type: ignore[arg-type]
        assert starts.to_numpy().tolist() == [["a", "all", 3, x]]


# -- what two configurations differ in -----------------------------------------------------------


def test_only_what_differs_is_said() -> None:
    a = TrainConfig("set", mode="staged", stage_epochs=(5, 8, 2), seed=1).to_json()
    b = TrainConfig("set", mode="staged", epochs=30, learning_rate=5e-4, seed=1, dynamics=False).to_json()
    found = run_tables.difference(a, b)
    assert found.to_numpy().tolist() == [
        ["epochs", "left to the mode", "30"], ["stage-epochs", "5 8 2", "left to the mode"], ["learning-rate", "0.0001", "0.0005"],
        ["dynamics", "True", "False"],
    ]  # fmt: skip
    assert run_tables.difference(a, a).empty
    assert run_tables.difference(b, a)[["b", "a"]].to_numpy().tolist() == found[["a", "b"]].to_numpy().tolist()


def test_what_a_mode_decides_and_what_is_younger_than_a_run_is_no_difference() -> None:
    plain = TrainConfig("set", mode="fine-tune").to_json()
    given = TrainConfig("set", mode="fine-tune", learning_rate=1e-4, rate_rule="constant").to_json()
    old = {name: value for name, value in plain.items() if name not in ("noise", "budget", "pacing")}
    assert run_tables.difference(plain, given).empty
    assert run_tables.difference(old, plain).empty


def test_runs_of_two_kinds_differ_in_the_options_that_one_has() -> None:
    found = run_tables.difference(TrainConfig("set", mode="transfer").to_json(), ScoreConfig("set").to_json()).set_index("option")
    assert list(found.loc["kind"]) == ["train", "score"]
    assert list(found.loc["mode"]) == ["transfer", "has none"]
    assert list(found.loc["folds"]) == ["has none", "5"]
    assert "image-size" not in found.index
