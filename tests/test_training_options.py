"""Options of training on a tiny data set: frozen layers, heads, optimizers, patience, channels, several classes an image."""

from __future__ import annotations

import io
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curriculum import outputs
from curriculum.config import TrainConfig
from curriculum.errors import ConfigError
from curriculum.model import IMAGENET, Channels, Weights, build, channel_statistics, head_of, mirror
from curriculum.records import EpochResult, TrainingData
from curriculum.rundir import RunDir
from curriculum.train import SCRATCH_WEIGHT_DECAY, Training, layer_seed
from tests.ml import cached, training_data

NONE = Weights("none", None, "none", "small_cnn")
DEFAULTS: dict[str, Any] = {
    "weights": "none", "architecture": "small_cnn", "image_size": 32, "batch_size": 18, "device": "cpu", "epochs": 2, "mode": "fine-tune",
    "learning_rate": 1e-2,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """60 images: 36 train, 12 val, 12 test."""
    return training_data(tmp_path_factory.mktemp("cache"))


def config(**changes: Any) -> TrainConfig:
    return TrainConfig("tiny", **(DEFAULTS | changes))


def begun(data: TrainingData, **changes: Any) -> Training:
    return Training(config(**changes), data, NONE)


def facts(result: EpochResult) -> dict[str, Any]:
    return {key: value for key, value in asdict(result).items() if key not in ("seconds", "images_per_second")}


def copied(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.full.state_dict().items()}


def stored(training: Training) -> bytes:
    """Its state as a checkpoint file has it."""
    file = io.BytesIO()
    torch.save(training.state(), file)
    return file.getvalue()


# -- freezing, heads ------------------------------------------------------------------------------


def test_what_is_frozen_stays_and_the_rest_learns(data: TrainingData) -> None:
    training = begun(data, freeze=("features.0.*", "features.1.*", "features.4.*"), weight_decay=0.1)
    before = copied(training)
    list(training.epochs())
    moved = {name for name, value in training.full.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith(("features.0.", "features.1.", "features.4."))}
    assert "features.9.running_mean" in moved, "batch norm that learns goes on counting"


def test_batch_norm_that_is_frozen_in_part_goes_on_counting(data: TrainingData) -> None:
    training = begun(data, freeze=("features.1.weight",), epochs=1)
    before = copied(training)
    list(training.epochs())
    assert torch.equal(training.full.state_dict()["features.1.weight"], before["features.1.weight"])
    for name in ("features.1.bias", "features.1.running_var"):
        assert not torch.equal(training.full.state_dict()[name], before[name])


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("features.0.*", "layer9.*"), r"names no parameter.*layer9.*features\.\*"),
        (("*",), "nothing that could learn"),
        (("features.*", "fc.*"), "nothing that could learn"),
    ],
)
def test_freezing_nothing_and_freezing_all_are_refused(data: TrainingData, patterns: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        begun(data, freeze=patterns)


def test_a_xavier_head_is_drawn_from_the_seed() -> None:
    weights = replace(NONE, architecture="resnet18")

    def head(seed: int, kind: str = "xavier-normal") -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = head_of(build(100, weights, seed, 32, kind), weights).state_dict()
        return found

    first, again, other = head(1), head(1), head(2)
    assert float(first["weight"].std()) == pytest.approx(math.sqrt(2 / (512 + 100)), rel=0.02)
    assert abs(float(first["weight"].mean())) < 0.001
    assert not first["bias"].any()
    assert head(1, "default")["bias"].any()
    assert torch.equal(first["weight"], again["weight"])
    assert not torch.equal(first["weight"], other["weight"])


def test_how_the_head_is_drawn_reaches_training(data: TrainingData) -> None:
    assert not begun(data, head_init="xavier-normal").full.get_parameter("fc.bias").any()
    assert begun(data).full.get_parameter("fc.bias").any()


# -- channels -------------------------------------------------------------------------------------


def test_channel_statistics_are_numpys_whatever_the_block(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = (random.random((11, 8, 8, 3)) * (256, 90, 20) + (0, 100, 200)).astype(np.uint8)
    stored, _ = cached(tmp_path, images)
    rows = np.array([0, 3, 4, 7, 10])
    for block in (1, 2, 256):
        found = channel_statistics(stored, rows, block)
        assert np.allclose(found.mean, (images[rows] / 255).mean((0, 1, 2)), rtol=0, atol=1e-9)
        assert np.allclose(found.sd, (images[rows] / 255).std((0, 1, 2)), rtol=0, atol=1e-9)
    assert not np.allclose(channel_statistics(stored, np.arange(11)).mean, found.mean, rtol=0, atol=1e-9)


@pytest.mark.parametrize("colour", [0, 7, 255])
def test_images_of_one_colour_have_a_deviation(tmp_path: Path, colour: int) -> None:
    stored, _ = cached(tmp_path, np.full((2, 8, 8, 3), colour, dtype=np.uint8))
    found = channel_statistics(stored, np.arange(2))
    assert found.mean == pytest.approx((colour / 255,) * 3)
    assert min(found.sd) > 0


def test_computed_channels_are_of_the_training_images_and_reach_the_result(data: TrainingData, tmp_path: Path) -> None:
    training = begun(data, normalise="computed", epochs=1)
    assert training.channels == channel_statistics(data.images, data.indices("train")) != IMAGENET
    seen = training.inputs(data.indices("train"))
    assert torch.allclose(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(seen.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4)
    list(training.epochs())
    result = outputs.train_result(RunDir(tmp_path), training.config, training, training.finish(), 1.0, [])
    assert Channels.of(result) == training.channels
    plain = begun(data, epochs=1)
    list(plain.epochs())
    assert Channels.of(outputs.train_result(RunDir(tmp_path), plain.config, plain, plain.finish(), 1.0, [])) == plain.channels == IMAGENET


def test_mirrored_images_are_as_they_were_or_swapped() -> None:
    image = torch.arange(3 * 4 * 4, dtype=torch.float32).reshape(3, 4, 4)
    found = mirror(image.expand(100, 3, 4, 4).contiguous(), torch.Generator().manual_seed(0))
    kinds = [0 if torch.equal(each, image) else 1 if torch.equal(each, image.flip(2)) else 2 for each in found]
    counts = np.bincount(kinds, minlength=3)
    assert counts[2] == 0
    assert min(counts[:2]) > 30


# -- optimizers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({}, torch.optim.Adam, {"weight_decay": 0.0}),
        ({"optimizer": "adamw", "weight_decay": 0.05}, torch.optim.AdamW, {"weight_decay": 0.05}),
        ({"optimizer": "sgd", "momentum": 0.5}, torch.optim.SGD, {"momentum": 0.5, "weight_decay": 0.0, "nesterov": False}),
        ({"mode": "scratch", "rate_rule": "constant"}, torch.optim.SGD,
         {"momentum": 0.9, "weight_decay": SCRATCH_WEIGHT_DECAY, "nesterov": True}),
        ({"mode": "scratch", "rate_rule": "constant", "weight_decay": 0.0, "momentum": 0.0}, torch.optim.SGD,
         {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}),
        ({"mode": "scratch", "optimizer": "adam", "rate_rule": "constant"}, torch.optim.Adam, {"weight_decay": SCRATCH_WEIGHT_DECAY}),
    ],
)  # fmt: skip
def test_the_optimizer_is_the_one_asked_for(
    data: TrainingData, changes: dict[str, Any], kind: type[torch.optim.Optimizer], expected: dict[str, Any]
) -> None:
    training = begun(data, **changes)
    assert type(training.optimizer) is kind
    assert {name: training.optimizer.param_groups[0][name] for name in expected} == expected
    assert training.optimizer.param_groups[0]["lr"] == 1e-2


def test_weight_decay_pulls_the_parameters_to_0(data: TrainingData) -> None:
    sizes = []
    for decay in (0.0, 0.5):
        training = begun(data, optimizer="adamw", weight_decay=decay)
        list(training.epochs())
        sizes.append(float(training.full.get_parameter("features.8.weight").detach().norm()))
    assert sizes[1] < 0.99 * sizes[0]


@pytest.mark.parametrize(("momentum", "expected"), [(0.9, (0.85, 0.95)), (0.5, (0.45, 0.55)), (0.0, (0.0, 0.0))])
def test_one_cycle_keeps_to_the_momentum_asked_for(data: TrainingData, momentum: float, expected: tuple[float, float]) -> None:
    training = begun(data, optimizer="sgd", momentum=momentum, rate_rule="one-cycle", epochs=5)
    seen = [training.optimizer.param_groups[0]["momentum"] for _ in training.epochs()]
    assert min(seen) == pytest.approx(expected[0], abs=0.02)
    assert max(seen) == pytest.approx(expected[1], abs=0.02)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_cycle_ends_near_0_and_resumes_as_if_uninterrupted(data: TrainingData, optimizer: str) -> None:
    changes = {"optimizer": optimizer, "rate_rule": "one-cycle", "epochs": 6, "weight_decay": 0.01, "freeze": ("features.0.*",)}
    whole, results, states = begun(data, **changes), [], []
    for result in whole.epochs():
        results.append(facts(result))
        states.append(stored(whole))
    rates = [result["learning_rate"] for result in results]
    assert max(rates) > 5 * rates[0]
    assert whole.optimizer.param_groups[0]["lr"] < 1e-4 * max(rates)
    expected = whole.finish()
    for cut in (1, 4):
        resumed = begun(data, **changes)
        resumed.restore(torch.load(io.BytesIO(states[cut - 1]), weights_only=True))
        assert [facts(result) for result in resumed.epochs()] == results[cut:]
        assert np.array_equal(resumed.finish().outcome.probabilities, expected.outcome.probabilities)


def test_one_cycle_lasts_as_long_as_self_paced_training_does(data: TrainingData) -> None:
    """A gate that never opens makes more, smaller epochs than were to be expected."""
    rate = 1e-7  # too little to learn from
    training = begun(data, mode="self-paced", rate_rule="one-cycle", learning_rate=rate, budget=150, gate=0.99, step_share=0.5)
    results = list(training.epochs())
    assert training.scheduler is not None
    assert results[-1].samples_seen == 150
    assert len(results) > training.scheduler.total_steps, "no more steps than were expected: the test shows nothing"
    assert training.optimizer.param_groups[0]["lr"] < rate / 1000


# -- dropout --------------------------------------------------------------------------------------


def test_dropout_follows_from_the_seed_and_resumes_as_if_uninterrupted(data: TrainingData) -> None:
    def with_dropout(before: int) -> Training:
        torch.manual_seed(before)  # what else this process has drawn
        return Training(config(architecture="squeezenet1_1", learning_rate=1e-4), data, replace(NONE, architecture="squeezenet1_1"))

    whole, results, states = with_dropout(1), [], []
    for result in whole.epochs():
        results.append(facts(result))
        states.append(stored(whole))
    resumed = with_dropout(2)
    resumed.restore(torch.load(io.BytesIO(states[0]), weights_only=True))
    untouched = torch.get_rng_state()
    assert [facts(result) for result in resumed.epochs()] == results[1:]
    assert torch.equal(torch.get_rng_state(), untouched)
    assert [facts(result) for result in with_dropout(3).epochs()] == results


def test_every_seed_epoch_and_rank_has_masks_of_its_own() -> None:
    assert len({layer_seed(seed, epoch, rank) for seed in range(5) for epoch in range(5) for rank in range(3)}) == 75


# -- patience -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contrary(data: TrainingData) -> TrainingData:
    """Falsely labelled val images: the better it learns, the worse it does there."""
    return replace(data, labels=np.where(data.splits == "val", (data.labels + 1) % 3, data.labels))


def test_patience_ends_it_early_and_says_so(contrary: TrainingData) -> None:
    training = begun(contrary, patience=2, epochs=30)
    results = list(training.epochs())
    assert training.best is not None
    assert len(results) == training.best.epoch + 2 < 30
    final = training.finish()
    assert final.epoch == training.best.epoch
    assert any(f"ended after epoch {len(results)}" in note and "2 epochs" in note for note in final.notes)


def test_patience_that_lasts_to_the_end_says_nothing(contrary: TrainingData) -> None:
    ends = len(list(begun(contrary, patience=2, epochs=30).epochs()))
    training = begun(contrary, patience=2, epochs=ends)
    assert len(list(training.epochs())) == ends
    assert training.finish().notes == ()


def test_under_patience_it_resumes_as_if_uninterrupted(contrary: TrainingData) -> None:
    whole, results, states = begun(contrary, patience=2, epochs=30), [], []
    for result in whole.epochs():
        results.append(facts(result))
        states.append(stored(whole))
    for cut in (1, len(results) - 1, len(results)):
        resumed = begun(contrary, patience=2, epochs=30)
        resumed.restore(torch.load(io.BytesIO(states[cut - 1]), weights_only=True))
        assert [facts(result) for result in resumed.epochs()] == results[cut:]
        assert resumed.finish().notes == whole.finish().notes


@pytest.mark.parametrize("changes", [{"protocol": "report"}, {"mode": "self-paced"}, {"mode": "staged", "epochs": 3}, {"mode": "paced"}])
def test_patience_is_refused_where_val_decides_nothing_or_images_change(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--patience looks at val"):
        config(patience=3, **changes)


# -- several classes an image ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def joint(data: TrainingData) -> TrainingData:
    """Each image has its own class; red ones are green too."""
    own = np.eye(3, dtype=bool)[data.labels]
    own[data.labels == 2, 1] = True
    return replace(data, joint=own)


def test_several_classes_are_learnt_and_any_of_them_is_right(joint: TrainingData) -> None:
    training = begun(joint, multi_label=True, epochs=12)
    results = list(training.epochs())
    final = training.finish()
    assert joint.joint is not None
    test = joint.indices("test")
    said = final.outcome.probabilities
    assert final.test_accuracy == joint.joint[test, said[test].argmax(1)].mean() >= 0.9
    expected = torch.nn.functional.binary_cross_entropy(torch.from_numpy(said[test]), torch.from_numpy(joint.joint[test]).float())
    assert final.test_loss == pytest.approx(float(expected), rel=0.05)
    red = said[joint.labels == 2]
    assert (red[:, 1:] > 0.5).mean() > 0.9, "both of its classes at once"
    assert results[-1].val_loss is not None
    assert results[0].val_loss is not None
    assert results[-1].val_loss < results[0].val_loss
    assert training.said is None, "no dynamics of several classes"


@pytest.mark.parametrize("changes", [{"mode": "staged", "epochs": 3}, {"mode": "self-paced"}, {"mode": "paced"}, {"noise": 0.1}])
def test_several_classes_with_an_order_or_wrong_ones_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--multi-label"):
        config(multi_label=True, **changes)
