"""Scores: no example is judged by a head that saw it, features are computed once, a model's losses are its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from curriculum.errors import CancelledError, DatasetError
from curriculum.judging import Inputs, Judge, Objective, leaves_room
from curriculum.metrics import cross_entropy
from curriculum.model import IMAGENET, Weights, build, embed, load_weights, normalise
from curriculum.ranks import ALONE
from curriculum.score import Scores, extract_features, losses_from_train, model_losses, out_of_fold_losses
from tests.ml import cached, textures

NONE = Weights("none", None, "none")
CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def nothing(_phase: str, _done: int, _total: int) -> None:
    pass


def never() -> bool:
    return False


def clusters(each: int = 20, classes: int = 3, *, spread: float = 0.6, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (n, 512) of classes well apart."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = random.normal(0, 1, (classes, 512))
    return (centres[labels] + random.normal(0, spread, (len(labels), 512))).astype(np.float32), labels.astype(np.int64)


def judge(features: NDArray[np.float32], labels: NDArray[np.int64], groups: list[int | None] | None = None, **changes: Any) -> Scores:
    settings: dict[str, Any] = {"folds": 4, "repeats": 2, "seed": 0, "progress": nothing, "should_stop": never}
    return out_of_fold_losses(features, labels, groups or [None] * len(labels), **(settings | changes))


# -- out of fold ----------------------------------------------------------------------------------


def test_mislabelled_examples_are_the_hardest() -> None:
    features, labels = clusters(30)
    wrong = np.array([3, 40, 75])
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1) % 3
    scores = judge(features, given)
    assert sorted(np.argsort(scores.values)[-3:].tolist()) == wrong.tolist()
    assert (scores.probabilities.argmax(1)[wrong] == labels[wrong]).all()


def test_no_example_is_judged_by_a_head_that_saw_it() -> None:
    """One class-0 example alone has a loud feature of its own: a head that saw it would know it by heart."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(2), 40)
    features = random.normal(0, 0.01, (80, 512)).astype(np.float32)
    features[:, 0] += np.where(labels == 1, 3.0, -3.0).astype(np.float32)
    features[0, 0] = 3.0  # looks like class 1 but for the loud feature
    features[0, 1] = 100.0
    alone = judge(features, labels).values
    assert alone.argmax() == 0
    assert alone[0] > 1.0
    with_twins = np.concatenate([features, np.repeat(features[:1], 8, 0)])
    seen = judge(with_twins, np.append(labels, [0] * 8)).values
    assert seen[0] < alone[0] / 2, "with copies in the other folds the head knows it: the test above can fail"


def test_an_overlap_group_is_never_split_between_judge_and_judged() -> None:
    """Eight copies of an odd example know each other, unless they are a group."""
    features, labels = clusters(40, 2)
    features[:8] = features[labels == 1].mean(0)
    features[:8, 100] += 60.0
    free = judge(features, labels).values[:8]
    grouped = judge(features, labels, [7 if i < 8 else None for i in range(80)]).values[:8]
    assert free.max() < grouped.min() / 2


def test_shapes_and_ranges() -> None:
    features, labels = clusters(12)
    scores = judge(features, labels, repeats=3)
    assert scores.values.shape == (36,)
    assert scores.repeats.shape == (3, 36)
    assert scores.values == pytest.approx(scores.repeats.mean(0))
    assert (scores.values >= 0).all()
    assert scores.probabilities.shape == (36, 3)
    assert scores.probabilities.sum(1) == pytest.approx(np.ones(36), abs=1e-5)
    assert scores.stability is not None
    assert -1 <= scores.stability <= 1


def test_one_repeat_has_no_stability() -> None:
    assert judge(*clusters(8), repeats=1).stability is None


def test_the_seed_decides_the_folds() -> None:
    features, labels = clusters(12, spread=3.0)
    first, again, other = (judge(features, labels, seed=seed).values for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_class_with_fewer_images_than_folds_is_refused() -> None:
    features, labels = clusters(4)
    with pytest.raises(DatasetError, match=r"at least 5 images for 5 folds.*a class with 4"):
        judge(features, labels, folds=5)


def test_a_class_that_overlaps_altogether_is_refused() -> None:
    features, labels = clusters(6)
    with pytest.raises(DatasetError, match="all images of a class overlap"):
        judge(features, labels, [1 if label == 2 else None for label in labels])


def test_a_fold_that_groups_leave_empty_is_passed_over() -> None:
    """Three groups a class of two each, in twelve folds' worth of places: some folds get nobody."""
    features, labels = clusters(6, 2)
    groups: list[int | None] = [i // 2 for i in range(12)]
    scores = judge(features, labels, groups, folds=6, repeats=4)
    assert np.isfinite(scores.values).all()
    assert scores.values.max() < 5, "every example was judged: none kept a probability of zero"


def test_progress_counts_heads_and_stopping_is_heard() -> None:
    features, labels = clusters(8)
    seen: list[tuple[str, int, int]] = []
    judge(features, labels, progress=lambda *each: seen.append(each))
    assert seen == [("out-of-fold heads", i + 1, 8) for i in range(8)]
    with pytest.raises(CancelledError):
        judge(features, labels, should_stop=lambda: True)


# -- features -------------------------------------------------------------------------------------


@pytest.fixture
def extract(tmp_path: Path) -> Callable[..., tuple[NDArray[np.float32], list[tuple[str, int, int]]]]:
    """Features of the first n of 45 images, and what progress said."""
    images, _ = textures(15)
    rows, keys = cached(tmp_path / "images", images)

    def go(weights: Weights = NONE, *, n: int = 45, seed: int = 0) -> tuple[NDArray[np.float32], list[tuple[str, int, int]]]:
        said: list[tuple[str, int, int]] = []
        features = extract_features(
            weights, rows.subset(np.arange(n)), keys[:n], CPU, tmp_path / "features",
            seed=seed, progress=lambda *each: said.append(each), should_stop=never,
        )  # fmt: skip
        return features, said

    return go


def test_features_are_the_frozen_networks_and_computed_once(extract: Callable[..., Any]) -> None:
    images, _ = textures(15)
    first, said = extract()
    net: Any = build(2, NONE, 0).eval()
    with torch.inference_mode():
        expected = embed(net, net.fc, normalise(torch.from_numpy(images))).numpy()
    assert first == pytest.approx(expected, rel=0.05, abs=0.05)
    assert said == [("features", 45, 45)]
    again, said = extract()
    assert said == []
    assert (again == first).all()


def test_only_new_images_are_computed(extract: Callable[..., Any]) -> None:
    assert extract(n=30)[1] == [("features", 30, 30)]
    features, said = extract(n=45)
    assert said == [("features", 15, 15)]
    assert features.shape == (45, 512)


def test_other_weights_and_other_random_starts_have_features_of_their_own(tmp_path: Path, extract: Callable[..., Any]) -> None:
    torch.save(build(3, NONE, 5).state_dict(), tmp_path / "five.pt")
    outcomes = [extract(NONE, seed=0), extract(NONE, seed=1), extract(load_weights(str(tmp_path / "five.pt"), tmp_path))]
    assert all(said for _, said in outcomes)
    assert not np.array_equal(outcomes[0][0], outcomes[1][0])
    assert not np.array_equal(outcomes[0][0], outcomes[2][0])


def test_extraction_that_is_stopped_keeps_nothing_half_done(tmp_path: Path) -> None:
    images, _ = textures(4)
    rows, keys = cached(tmp_path, images)
    with pytest.raises(CancelledError):
        extract_features(NONE, rows, keys, CPU, tmp_path, seed=0, progress=nothing, should_stop=lambda: True)
    assert extract_features(NONE, rows, keys, CPU, tmp_path, seed=0, progress=nothing, should_stop=never).shape == (12, 512)


# -- a trained model's losses ----------------------------------------------------------------------


def test_losses_of_a_model_are_those_of_its_own_probabilities(tmp_path: Path) -> None:
    images, labels = textures(50)  # more than one batch
    rows, _ = cached(tmp_path, images)
    net: Any = build(3, NONE, 2)
    net.train()  # judging must not depend on how the model was left
    statistics = net.bn1.running_mean.clone() if net.bn1.running_mean is not None else None
    seen: list[tuple[str, int, int]] = []

    def judge(each_batch: Callable[[str, int, int], None]) -> Judge:
        return Judge(net, net.fc, Inputs(rows, CPU, IMAGENET), Objective(labels, None, CPU), ALONE, 5, each_batch)

    scores = model_losses(judge(lambda *each: seen.append(each)), 150)
    assert scores.values == pytest.approx(cross_entropy(scores.probabilities, labels), rel=1e-4)
    assert scores.repeats.shape == (1, 150)
    assert scores.stability is None
    assert seen == [("losses", done, 150) for done in (32, 64, 96, 128, 150)]
    assert statistics is not None
    assert net.bn1.running_mean is not None
    assert torch.equal(net.bn1.running_mean, statistics)
    with torch.inference_mode():
        expected = net.eval()(normalise(torch.from_numpy(images))).softmax(1).numpy()
    assert scores.probabilities == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("lacking", [0, 2])
@pytest.mark.parametrize("left", [0, 1])
def test_a_class_with_too_few_training_images_to_rank_is_named(lacking: int, left: int) -> None:
    labels = np.repeat(np.arange(3), 4).astype(np.int64)
    train = np.tile([True, True, True, False], 3)
    train[labels == lacking] = np.arange(4) < left
    with pytest.raises(
        DatasetError, match=rf"at least 2 of each class in train.*{left} of class {'abc'[lacking]}.*Add images.*--seed"
    ) as said:
        losses_from_train(
            np.eye(12, dtype=np.float32), labels, train, [None] * 12, "abc", seed=0, progress=lambda *_: None, should_stop=lambda: False
        )
    assert "--folds" not in str(said.value)


def test_images_lie_on_a_gpu_only_where_half_of_it_is_left_to_train_with() -> None:
    eight = 8 * 2**30
    assert leaves_room(27_000 * 224 * 224 * 3, eight)
    assert not leaves_room(27_000 * 256 * 256 * 3, eight)
