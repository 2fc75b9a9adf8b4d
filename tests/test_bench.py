"""Bench: what it measures really happens, on the same images for all; the figures are arithmetic on that. Speeds are never judged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from curriculum.bench import RATIOS, Sample, main, measures, rate, ratios, read_sample, take_turns
from curriculum.bench_command import BARS, judge, spread, table
from curriculum.cli import main as command_line
from curriculum.config import TrainConfig
from curriculum.images import index_folder
from curriculum.metrics import knn_purity
from curriculum.train import Training
from curriculum.yardsticks import RANDOM, BareModel, PlainLoop, knn_by_example
from tests.ml import CLASSES, SIZE, write_folder

CPU = torch.device("cpu")
CONFIG = TrainConfig("textures", mode="fine-tune", protocol="report", weights="none", image_size=SIZE, batch_size=4, epochs=2, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def request_of(folder: Path, each: int = 3) -> dict[str, Any]:
    """What the command asks the measuring process for, on nine small images."""
    found = index_folder(write_folder(folder / "pictures", each=each))
    return {
        "root": str(found.root), "examples": [e.example for e in found.examples], "classes": [e.class_name for e in found.examples],
        "sha256": [e.sha256 for e in found.examples], "config": CONFIG.to_json(), "repeats": 1,
    }  # fmt: skip


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return read_sample(request_of(tmp_path))


def parameters(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in net.named_parameters()}


def changed(net: torch.nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}


# -- the yardsticks ------------------------------------------------------------------------------


def test_the_plain_loop_and_a_run_train_the_same_images(sample: Sample, tmp_path: Path) -> None:
    files = sample.files(SIZE)
    assert PlainLoop(files, len(CLASSES), 4, CPU).train() == sample.trained == 8
    assert sorted(files.opened) == list(range(8))

    data = sample.data(sample.decoded(SIZE, tmp_path / "cache"))
    training = Training(CONFIG, data, RANDOM)
    result = next(training.epochs())
    assert (result.subset_size, result.samples_seen) == (8, 8)
    mean, sd = torch.tensor([[0.485], [0.456], [0.406]]), torch.tensor([[0.229], [0.224], [0.225]])
    for place, row in enumerate(training.train):
        image, label = files[place]
        theirs = (image.reshape(3, -1) * sd + mean) * 255
        ours = torch.from_numpy(np.asarray(data.images[[int(row)]])[0]).float().reshape(-1, 3).T
        assert torch.allclose(theirs, ours, atol=0.01)
        assert label == data.labels[row]


def test_files_are_decoded_each_time(sample: Sample) -> None:
    files = sample.files(SIZE)
    loop = PlainLoop(files, len(CLASSES), 4, CPU)
    assert loop.train() + loop.transfer() + loop.score() == len(files.opened) == 24
    assert files.opened[16:] == list(range(8)), "scoring goes in order"


def test_training_moves_all_layers_and_transfer_only_the_last(sample: Sample) -> None:
    loop = PlainLoop(sample.files(SIZE), len(CLASSES), 4, CPU)
    net, frozen = parameters(loop.net), parameters(loop.frozen)
    loop.train()
    loop.transfer()
    assert changed(loop.net, net) == set(net)
    assert changed(loop.frozen, frozen) == {"fc.weight", "fc.bias"}


def test_scoring_moves_nothing(sample: Sample) -> None:
    loop = PlainLoop(sample.files(SIZE), len(CLASSES), 4, CPU)
    before = {name: value.clone() for name, value in loop.net.state_dict().items()}
    assert loop.score() == 8
    assert all(torch.equal(value, before[name]) for name, value in loop.net.state_dict().items()), "batch norm too"


def test_the_bare_model_trains_and_counts() -> None:
    bare = BareModel(len(CLASSES), SIZE, CPU)
    before = parameters(bare.net)
    assert bare.score(6, 4) == 8
    assert not changed(bare.net, before)
    assert bare.train(6, 4) == 8
    assert changed(bare.net, before) == set(before)


def test_knn_by_example_is_the_same_measure() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 3, 60)
    features = (random.normal(size=(60, 8)) + labels[:, None]).astype(np.float32)
    for k in (1, 5):
        assert knn_by_example(features, labels, k) == pytest.approx(knn_purity(features, labels, k), abs=1e-9)


# -- measuring -----------------------------------------------------------------------------------


def test_measures_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    said: list[str] = []

    def noted(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = take_turns({"a": lambda: noted("a"), "b": lambda: noted("b")}, 2, said.append)
    assert calls == ["a", "b"] * 3
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    assert len(said) == 6


def test_a_rate_is_a_count_by_the_time_it_took() -> None:
    clocked = rate(lambda: sum(1 for _ in range(100_000)), CPU)
    assert 1e5 < clocked < 1e10


def test_ratios_are_medians_of_quotients_within_a_round() -> None:
    found = {name: [1.0, 1.0, 1.0] for pair in RATIOS.values() for name in pair}
    found["train_ours"], found["train_plain_loop"] = [2.0, 9.0, 40.0], [1.0, 3.0, 2.0]
    assert ratios(found)["train_speedup"] == 3.0
    assert ratios(found)["train_fraction_of_limit"] == 9.0
    assert ratios(found)["knn_speedup"] == 1.0


def test_every_measure_is_positive_and_leaves_only_the_decoded_images(sample: Sample, tmp_path: Path) -> None:
    all_of_them = measures(sample, CONFIG, tmp_path / "work")
    assert set(all_of_them) == {name for pair in RATIOS.values() for name in pair}
    values = [measure() for name, measure in all_of_them.items() if not name.startswith("knn")]
    assert all(math.isfinite(value) and value > 0 for value in values)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["cache"]


def test_a_changed_file_is_said_in_the_result(tmp_path: Path) -> None:
    request = request_of(tmp_path)
    (tmp_path / "request.json").write_text(json.dumps(request), encoding="utf-8")
    (Path(request["root"]) / request["examples"][0]).write_bytes(b"other")
    assert main([str(tmp_path)]) == 1
    assert "has changed since it was indexed" in json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["error"]


# -- the command ---------------------------------------------------------------------------------


def test_the_command_gives_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home")]
    assert command_line([*home, "data", "add", str(write_folder(tmp_path / "pictures", each=4)), "--name", "textures"]) == 0
    capsys.readouterr()
    small = ["--images", "8", "--image-size", str(SIZE), "--batch-size", "4", "--repeats", "1", "--device", "cpu"]
    assert command_line([*home, "bench", "--dataset", "textures", *small, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["dataset"], document["images"], document["image_size"], document["batch_size"], document["repeats"]) == (
        "textures", 8, SIZE, 4, 1,
    )  # fmt: skip
    assert set(RATIOS) <= set(document)
    assert all(math.isfinite(document[name]) and document[name] > 0 for name in RATIOS)
    assert all(len(values) == 1 for values in document["rounds"].values())
    assert {"cpu", "cores", "torch", "device", "gpu", "precision"} <= set(document["machine"])
    assert document["machine"]["device"] == "cpu"
    assert document["machine"]["cpu"]
    assert any("extrapolated" in note for note in document["notes"])
    assert set(document["bars"]) == set(BARS) <= set(RATIOS)
    shown = table(document)
    assert all(name in shown for name in RATIOS)
    assert shown.count("met") + shown.count("missed") == len(BARS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "1"], "--images is out of range"),
        (["--repeats", "0"], "--repeats is out of range"),
        (["--image-size", "8"], "--image-size is out of range"),
        (["--dataset", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_call_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert command_line(["--home", str(tmp_path), "bench", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_small_data_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home")]
    assert command_line([*home, "data", "add", str(write_folder(tmp_path / "pictures", each=2)), "--name", "few"]) == 0
    assert command_line([*home, "bench", "--dataset", "few"]) == 1
    assert "at least 9" in capsys.readouterr().err


def test_files_are_spread_over_the_classes() -> None:
    files = pd.DataFrame({"class": np.repeat(["a", "b", "c"], 10)})
    assert spread(files, 6)["class"].value_counts().to_dict() == {"a": 2, "b": 2, "c": 2}
    assert len(spread(files, 99)) == 30


def test_a_bar_is_met_from_its_value_on() -> None:
    measured = BARS | {"knn_speedup": 49.9}
    verdict = judge(measured)
    assert not verdict["knn_speedup"]["met"]
    assert [name for name, each in verdict.items() if each["met"]] == [name for name in BARS if name != "knn_speedup"]
