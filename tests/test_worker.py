"""Runs worked on in this process: a folder's own split and classes, a run's own channels, episodes, one picture through each small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from curriculum import preparation, recipe_runs, run_words, worker
from curriculum.config import Config, EpisodesConfig, LookConfig, ScoreConfig, TrainConfig
from curriculum.datasets import add_dataset
from curriculum.errors import DatasetError, RunError, UnknownError, WeightsError
from curriculum.explainer import Desk
from curriculum.home import Home
from curriculum.images import index_folder
from curriculum.model import IMAGENET, Channels
from curriculum.questions import Regions
from curriculum.rundir import RunDir
from curriculum.store import Store
from curriculum.vocabulary import Architecture
from tests.ml import CLASSES, write_folder

SMALL: dict[str, Any] = {"weights": "none", "architecture": "small_cnn", "image_size": 32, "device": "cpu"}
TRAIN: dict[str, Any] = {**SMALL, "mode": "fine-tune", "epochs": 2, "learning_rate": 1e-2}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def tints(store: Store, home: Home) -> Store:
    """A store with the data set `tints`: blue, green, red, 10 images each, named by their number."""
    add_dataset(store, "tints", write_folder(home.root / "tints", 10, noise=60.0))
    return store


def say(home: Home, name: str, header: str, said: dict[str, str]) -> None:
    lines = [header, *(f"{example},{words}" for example, words in said.items())]
    (home.root / "tints" / name).write_text("\n".join(lines), encoding="utf-8")


def worked(store: Store, config: Config) -> tuple[RunDir, dict[str, Any]]:
    run = preparation.prepare(store, config)
    assert worker.work(run) == 0, run.status().message
    result = run.result()
    assert result is not None
    return run, result


def examples(home: Home) -> list[str]:
    return [example.example for example in index_folder(home.root / "tints").examples]


# -- what a folder says of its images -------------------------------------------------------------


def test_test_is_exactly_what_the_folder_says(tints: Store, home: Home) -> None:
    own = {example: "test" if i % 5 == 0 else "train" for i, example in enumerate(examples(home))}
    with pytest.raises(DatasetError, match=r"has no split\.csv.*--protocol honest"):
        preparation.prepare(tints, TrainConfig("tints", protocol="given", **TRAIN))
    say(home, "split.csv", "example,split", own)
    run, result = worked(tints, TrainConfig("tints", protocol="given", val_share=0.25, **TRAIN))
    order = pd.read_parquet(run / "order.parquet")
    assert set(order[order["split"] == "test"]["example"]) == {example for example, part in own.items() if part == "test"}
    assert result["examples"] == {"train": 18, "val": 6, "test": 6}
    assert result["val_accuracy"] is not None
    assert result["peak_test_accuracy"] is None


@pytest.mark.parametrize(("said", "message"), [("train", "no test image"), (None, "says nothing of some images.*1, such as blue/")])
def test_a_split_that_cannot_serve_is_refused(tints: Store, home: Home, said: str | None, message: str) -> None:
    names = examples(home)
    own = dict.fromkeys(names, said) if said else dict.fromkeys(names[1:], "test")
    say(home, "split.csv", "example,split", {name: str(part) for name, part in own.items()})
    with pytest.raises(DatasetError, match=message):
        preparation.prepare(tints, TrainConfig("tints", protocol="given", **TRAIN))


def test_several_classes_come_from_the_folder(tints: Store, home: Home) -> None:
    with pytest.raises(DatasetError, match=r"has no classes\.csv"):
        preparation.prepare(tints, TrainConfig("tints", multi_label=True, **TRAIN))
    joint = {example: "red green" if example.startswith("red") else example.split("/")[0] for example in examples(home)}
    say(home, "classes.csv", "example,classes", joint)
    run, result = worked(tints, TrainConfig("tints", multi_label=True, **TRAIN))
    said = pd.read_parquet(run / "predictions.parquet")
    test = said[said["split"] == "test"]
    assert result["test_accuracy"] == np.mean(
        [predicted in joint[example].split() for example, predicted in zip(test["example"], test["predicted"], strict=True)]
    )
    sums = np.stack(said["probabilities"].tolist()).sum(1)
    assert np.ptp(sums) > 1e-3, "each class for itself"
    assert not (run / "dynamics.parquet").exists()
    with pytest.raises(RunError, match="by the loss of one class an image"):
        preparation.prepare(
            tints, ScoreConfig("tints", image_size=32, device="cpu", method="loss", run=run.run_id, architecture="small_cnn")
        )


# -- a frozen random start ------------------------------------------------------------------------


def test_a_head_on_a_frozen_random_start_is_saved_with_the_network_that_it_learnt_on(tints: Store) -> None:
    changes = {**TRAIN, "architecture": "resnet18", "mode": "transfer", "epochs": 20}
    run, result = worked(tints, TrainConfig("tints", **changes))
    said = pd.read_parquet(run / "predictions.parquet").set_index("example")["probabilities"]
    scored, judged = worked(tints, ScoreConfig("tints", image_size=32, device="cpu", method="loss", run=run.run_id))
    scores = pd.read_parquet(scored / "scores.parquet").query("method == 'loss'").set_index("example")["probabilities"]
    assert result["train_accuracy"] > 0.9, "it hasn't learnt: the test shows nothing"
    assert judged["accuracy"] > 0.9
    assert np.allclose(np.stack(scores.loc[said.index].tolist()), np.stack(said.tolist()), atol=0.02)


# -- a run's own channels -------------------------------------------------------------------------


def test_computed_channels_reach_all_that_use_the_model(tints: Store, home: Home) -> None:
    run, result = worked(tints, TrainConfig("tints", normalise="computed", **TRAIN))
    channels = Channels.of(result)
    order, said = pd.read_parquet(run / "order.parquet"), pd.read_parquet(run / "predictions.parquet")
    train = [np.asarray(Image.open(home.root / "tints" / name)) for name in order[order["split"] == "train"]["example"]]
    assert channels.mean == pytest.approx((np.stack(train) / 255).mean((0, 1, 2)), abs=1e-9)
    assert channels.sd == pytest.approx((np.stack(train) / 255).std((0, 1, 2)), abs=1e-9)
    expected = np.stack(said["probabilities"].tolist())

    scored, _ = worked(tints, ScoreConfig("tints", image_size=32, device="cpu", method="loss", run=run.run_id, architecture="small_cnn"))
    scores = pd.read_parquet(scored / "scores.parquet")
    found = scores[scores["method"] == "loss"].set_index("example").loc[said["example"]]
    assert np.allclose(np.stack(found["probabilities"].tolist()), expected, atol=1e-3)

    image = next(each for each in index_folder(home.root / "tints").examples if each.example == said["example"][0])
    question = Regions(run.run_id, str(home.root / "tints"), image.example, image.sha256, image.class_name, superpixels="slic", samples=50)
    answer = Desk(home, lambda *_: None, lambda: False, torch.device("cpu")).answer(question)
    assert answer.record["probabilities"] == pytest.approx(expected[0].tolist(), abs=1e-3)

    (run / "result.json").write_text(
        (run / "result.json").read_text(encoding="utf-8").replace('"channels"', '"forgotten"'), encoding="utf-8"
    )
    other, _ = worked(tints, ScoreConfig("tints", image_size=32, device="cpu", method="loss", run=run.run_id, architecture="small_cnn"))
    scores = pd.read_parquet(other / "scores.parquet")
    found = scores[scores["method"] == "loss"].set_index("example").loc[said["example"]]
    assert Channels.of(run.result()) == IMAGENET
    assert not np.allclose(np.stack(found["probabilities"].tolist()), expected, atol=1e-3), (
        "the channels make no difference: the test shows nothing"
    )


def test_episodes_see_images_as_their_network_learnt_to(tints: Store, home: Home) -> None:
    run, _ = worked(tints, TrainConfig("tints", normalise="computed", **TRAIN))
    settings: dict[str, Any] = {**SMALL, "weights": f"run:{run.run_id}", "ways": 3, "shots": 2, "queries": 3, "episodes": 10}
    before = {path.name for path in home.cache.glob("features-*")}
    _, result = worked(tints, EpisodesConfig("tints", **settings))
    added = {path.name for path in home.cache.glob("features-*")} - before
    assert added
    (run / "result.json").write_text(
        (run / "result.json").read_text(encoding="utf-8").replace('"channels"', '"forgotten"'), encoding="utf-8"
    )
    worked(tints, EpisodesConfig("tints", **settings))
    assert {path.name for path in home.cache.glob("features-*")} - before - added, "the same features for other channels"
    assert 0 <= result["low"] <= result["accuracy"] <= result["high"]
    assert result["episodes"] == 10
    assert recipe_runs.interval(result, "accuracy") == (result["low"], result["high"])
    said = run_words.episodes_words(result)
    assert f"accuracy {result['accuracy']:.4f}" in said
    assert f"{result['low']:.4f} to {result['high']:.4f}" in said
    assert said == run_words.headline(result)
    assert result["classes"] == list(CLASSES)


# -- episodes, one picture ------------------------------------------------------------------------


def test_episodes_that_cannot_be_drawn_are_refused_with_what_to_do(tints: Store) -> None:
    with pytest.raises(DatasetError, match="Lower --ways, --shots or --queries"):
        preparation.prepare(tints, EpisodesConfig("tints", **SMALL, ways=3, shots=5, queries=6))


@pytest.mark.parametrize("architecture", ["resnet18", "squeezenet1_0", "lenet5", "small_cnn"])
def test_a_picture_through_each_network(tints: Store, architecture: Architecture) -> None:
    run, result = worked(tints, LookConfig("tints", **{**SMALL, "architecture": architecture}, example="red/023.png", top=4))
    assert result["example"] == "red/023.png"
    assert result["filters"] == {"resnet18": 64, "squeezenet1_0": 96, "lenet5": 6, "small_cnn": 32}[architecture]
    chances = [one["probability"] for one in result["top"]]
    assert chances == sorted(chances, reverse=True)
    assert len(chances) == 4
    assert result["first_probability"] == chances[0] > 1 / 1000
    with Image.open(run / "image.png") as image:
        assert image.size == (32, 32)
    with Image.open(run / "before.png") as before, Image.open(run / "after.png") as after:
        assert before.size == after.size
        assert before.tobytes() != after.tobytes()


def test_a_trained_network_knows_its_classes_by_name(tints: Store) -> None:
    trained, _ = worked(tints, TrainConfig("tints", **TRAIN))
    _, result = worked(tints, LookConfig("tints", **{**SMALL, "weights": f"run:{trained.run_id}"}))
    assert {one["class"] for one in result["top"]} == set(CLASSES)
    assert sum(one["probability"] for one in result["top"]) == pytest.approx(1.0, abs=1e-3)


def test_looking_with_a_headless_file_or_at_no_picture_is_refused(tints: Store, tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "headless.pt")
    run = preparation.prepare(tints, LookConfig("tints", **{**SMALL, "weights": str(tmp_path / "headless.pt")}))
    assert worker.work(run) == 1
    assert "parameters missing" in run.status().message
    with pytest.raises(UnknownError, match="no such image"):
        preparation.prepare(tints, LookConfig("tints", **SMALL, example="red/999.png"))
    with pytest.raises(WeightsError, match="no such weights"):
        preparation.prepare(tints, LookConfig("tints", **{**SMALL, "weights": str(tmp_path / "gone.pt")}))
