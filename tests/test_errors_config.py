"""Errors say what, what came and what to do; options are refused by their flag's own name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.config import ScoreConfig, TrainConfig, config_from_json
from curriculum.errors import CallError, ConfigError, CurriculumError, LabelFileError, RunError, StoreError, StoreLockedError, UnknownError
from curriculum.home import Home
from curriculum.pacing import share_epochs
from curriculum.vocabulary import LEVEL_SOURCES, MODES, PROTOCOLS, SCORE_METHODS

# -- errors --------------------------------------------------------------------------------------


def test_a_message_says_what_came_what_is_allowed_and_what_to_do() -> None:
    error = CurriculumError("the level is unknown.", got="Easy", allowed=["easy", "hard"], todo="Choose one")
    assert str(error) == "the level is unknown. Got: 'Easy'. Allowed: easy, hard. Choose one."
    assert (error.what, error.got, error.todo) == ("the level is unknown.", "Easy", "Choose one")


def test_a_message_leaves_out_what_is_not_known() -> None:
    assert str(CurriculumError("it failed")) == "it failed."
    assert str(CurriculumError("it is out of range", got=0, allowed="1 to 5")) == "it is out of range. Got: 0. Allowed: 1 to 5."


def test_a_message_can_be_made_of_anything() -> None:
    endless: list[object] = []
    for _ in range(100_000):
        endless = [endless]
    assert str(CurriculumError("wrong", got=endless)) == "wrong. Got: something of type list that can't be shown."
    assert str(CurriculumError("wrong", got=10**5000)) == "wrong. Got: something of type int that can't be shown."


def test_a_wrong_call_ends_with_2_failed_work_with_1() -> None:
    assert [error.exit_code for error in (CallError, ConfigError, UnknownError, LabelFileError)] == [2, 2, 2, 2]
    assert [error.exit_code for error in (CurriculumError, StoreError, StoreLockedError, RunError)] == [1, 1, 1, 1]


def test_a_lock_names_its_owner() -> None:
    error = StoreLockedError("the database is open elsewhere", pid=4711, todo="Stop it")
    assert str(error) == "the database is open elsewhere. Got: 'owner process 4711'. Stop it."
    assert isinstance(error, StoreError)
    assert str(StoreLockedError("the database is open elsewhere")) == "the database is open elsewhere."


# -- home ----------------------------------------------------------------------------------------


def test_a_home_knows_its_places(tmp_path: Path) -> None:
    home = Home.find(tmp_path)
    assert home.database == tmp_path / "labels" / "curriculum.duckdb"
    assert home.runs == tmp_path / "data" / "runs"
    assert home.cache == tmp_path / "data" / "cache"
    assert home.snapshot == tmp_path / "labels" / "snapshot"


def test_the_home_is_the_one_asked_for_else_the_environments_else_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Path(__file__).resolve().parent.parent
    monkeypatch.delenv("CURRICULUM_HOME", raising=False)
    assert Home.find().root == checkout
    monkeypatch.setenv("CURRICULUM_HOME", str(tmp_path))
    assert Home.find().root == tmp_path
    assert Home.find(tmp_path / "given").root == tmp_path / "given"
    monkeypatch.chdir(tmp_path)
    assert Home.find("relative").root == tmp_path / "relative"


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "stagged"}, "--mode has an unknown value. Got: 'stagged'. Allowed: staged, self-paced,"),
        ({"protocol": "Honest"}, "--protocol has an unknown value. Got: 'Honest'. Allowed: honest, given, report."),
        ({"device": "gpu"}, "--device has an unknown value. Got: 'gpu'. Allowed: auto, cuda, mps, cpu."),
        ({"levels": "me"}, "--levels has an unknown value. Got: 'me'. Allowed: people, simulated, all, model."),
        ({"rate_rule": "step"}, "--rate-rule has an unknown value."),
        ({"image_size": 31}, "--image-size is out of range. Got: 31. Allowed: 32 to 1024."),
        ({"batch_size": 0}, "--batch-size is out of range. Got: 0."),
        ({"seed": -1}, "--seed is out of range. Got: -1."),
        ({"seed": 2**31}, "--seed is out of range. Got: 2147483648."),
        ({"epochs": 0}, "--epochs is out of range. Got: 0. Allowed: 1 to 10000."),
        ({"epochs": "5"}, "--epochs takes whole numbers. Got: '5'."),
        ({"learning_rate": float("nan")}, "--learning-rate is out of range. Got: nan."),
        ({"start_share": 0.0}, "--start-share is out of range. Got: 0.0. Allowed: 0.001 to 1.0."),
        ({"gate": 1.01}, "--gate is out of range. Got: 1.01."),
        (
            {"mode": "transfer", "augment": "crops"},
            "--augment varies images, and --mode transfer learns from features that were stored once. "
            "Got: 'crops'. Allowed: auto, none. Leave it out, or use --mode fine-tune with --freeze.",
        ),
        (
            {"epochs": 2},
            "--mode staged has three stages, and with fewer epochs the hard images are never used. Got: '--epochs 2'. "
            "Allowed: 3 and more. To leave stages out on purpose use --stage-epochs.",
        ),
        ({"stage_epochs": (5, -1, 5)}, "--stage-epochs is out of range. Got: -1."),
        ({"stage_epochs": (0, 0, 0)}, "--stage-epochs leaves nothing to train. Got: (0, 0, 0)."),
        ({"stage_epochs": (1, 1, 1), "epochs": 3}, "--epochs and --stage-epochs say the same thing twice. Give one of them."),
        ({"stage_epochs": (1, 1, 1), "mode": "transfer"}, "--stage-epochs only fits --mode staged. Got: 'transfer'. Use --epochs."),
        ({"variant": "as-run", "mode": "staged"}, "--variant only fits --mode self-paced. Got: 'staged'. Leave it out."),
        ({"variant": "as-told", "mode": "self-paced"}, "--variant has an unknown value. Got: 'as-told'."),
        ({"mode": "scratch", "weights": "w.pth"}, "--mode scratch starts from random weights. Got: 'w.pth'. Allowed: none."),
    ],
)
def test_a_training_option_is_refused_by_its_flag(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig("rsscn7", **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("epochs", "shares"), [(1, (0, 1, 0)), (2, (1, 1, 0))])
def test_a_staged_run_of_an_older_version_with_too_few_epochs_is_read_as_what_it_did(epochs: int, shares: tuple[int, int, int]) -> None:
    assert share_epochs(epochs) == shares
    assert config_from_json(TrainConfig("x").to_json() | {"epochs": epochs}) == TrainConfig("x", stage_epochs=shares)


def test_a_transfer_run_of_an_older_version_that_was_told_to_augment_is_read_as_what_it_did() -> None:
    record = TrainConfig("x", mode="transfer").to_json()
    assert config_from_json(record | {"augment": "crops"}) == TrainConfig("x", mode="transfer", augment="none")
    assert config_from_json(record) == TrainConfig("x", mode="transfer")
    assert config_from_json(record | {"mode": "fine-tune", "augment": "crops"}) == TrainConfig("x", mode="fine-tune", augment="crops")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "el3n"}, "--method has an unknown value. Got: 'el3n'."),
        ({"folds": 1}, "--folds is out of range. Got: 1. Allowed: 2 to 50."),
        ({"repeats": 0}, "--repeats is out of range. Got: 0."),
        ({"method": "loss"}, "method loss needs the run whose model judges. Add --run ID"),
    ],
)
def test_a_scoring_option_is_refused_by_its_flag(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ScoreConfig("rsscn7", **options)
    assert str(caught.value).startswith(message)


def test_the_limits_themselves_are_allowed() -> None:
    config = TrainConfig("x", image_size=32, batch_size=1, seed=2**31 - 1, gate=1.0, start_share=0.001, stage_epochs=(0, 0, 1))
    assert (config.image_size, config.seed, config.stage_epochs) == (32, 2**31 - 1, (0, 0, 1))
    assert TrainConfig("x", mode="scratch", weights="none").weights == "none"
    assert ScoreConfig("x", method="loss", run="r1").run == "r1"


# -- JSON ----------------------------------------------------------------------------------------

RUNS = {
    "dataset": st.text(min_size=1),
    "weights": st.sampled_from(["imagenet", "none"]),
    "image_size": st.integers(32, 1024),
    "batch_size": st.integers(1, 4096),
    "seed": st.integers(0, 2**31 - 1),
}
TRAINS = st.fixed_dictionaries(
    {**RUNS, "mode": st.sampled_from(MODES), "protocol": st.sampled_from(PROTOCOLS), "levels": st.sampled_from(LEVEL_SOURCES)},
    optional={
        "epochs": st.integers(1, 10_000),
        "learning_rate": st.floats(0, 10),
        "gate": st.floats(0, 1),
        "start_share": st.floats(0.001, 1),
    },
)
STAGED = st.fixed_dictionaries({**RUNS, "stage_epochs": st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))})
SCORES = st.fixed_dictionaries({**RUNS, "method": st.sampled_from(SCORE_METHODS), "run": st.text(min_size=1), "folds": st.integers(2, 50)})


@given(st.one_of(TRAINS, STAGED))
def test_a_training_configuration_survives_json(options: dict[str, Any]) -> None:
    config = TrainConfig(**options)
    assert config_from_json(json.loads(json.dumps(config.to_json()))) == config


@given(SCORES)
def test_a_scoring_configuration_survives_json(options: dict[str, Any]) -> None:
    config = ScoreConfig(**options)
    assert config_from_json(json.loads(json.dumps(config.to_json()))) == config


def test_json_with_anything_unknown_or_out_of_range_is_refused() -> None:
    record = TrainConfig("rsscn7").to_json()
    assert record["kind"] == "train"
    with pytest.raises(ConfigError, match=r"unknown kind\. Got: 'dance'\. Allowed: train, score"):
        config_from_json({**record, "kind": "dance"})
    with pytest.raises(ConfigError, match=r"unknown options. Got: \['impetus'\]"):
        config_from_json({**record, "impetus": 0.9})
    with pytest.raises(ConfigError, match="--batch-size is out of range"):
        config_from_json({**record, "batch_size": 0})
    assert record == TrainConfig("rsscn7").to_json()  # reading changes nothing of the caller's


@pytest.mark.parametrize(
    "change",
    [{"image_size": None}, {"mode": None}, {"dataset": 5}, {"dataset": None}, {"kind": ["train"]}, {"freeze": None}],
)
def test_json_that_leaves_a_value_out_or_has_another_kind_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        config_from_json(TrainConfig("tiny").to_json() | change)


def test_json_that_is_no_object_is_no_configuration() -> None:
    records: tuple[Any, ...] = ([], None, 5, "train")
    for record in records:
        with pytest.raises(ConfigError, match="unknown kind"):
            config_from_json(record)
