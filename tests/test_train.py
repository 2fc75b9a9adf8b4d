"""Training on a tiny data set: it learns, it repeats, it resumes exactly, it keeps to its protocol and its pace."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from curriculum import metrics, pacing
from curriculum.config import TrainConfig
from curriculum.errors import CancelledError, DatasetError, LabelsMissingError, RunError
from curriculum.judging import Inputs
from curriculum.model import Weights, build, turn
from curriculum.records import EpochResult, Final, Peak, TrainingData
from curriculum.schedule import lessons_of
from curriculum.train import Training
from curriculum.worker import wrong_classes
from tests.ml import training_data

NONE = Weights("none", None, "none")
DEFAULTS: dict[str, Any] = {
    "weights": "none", "image_size": 32, "batch_size": 18, "device": "cpu", "epochs": 3, "mode": "fine-tune", "learning_rate": 1e-3,
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """60 images: 36 train, 12 val, 12 test."""
    return training_data(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def features(data: TrainingData) -> NDArray[np.float32]:
    """Features (60, 512) that tell the classes apart, but not at once."""
    random = np.random.default_rng(3)
    centres = random.normal(0, 0.12, (3, 512))
    return (centres[data.labels] + random.normal(0, 1, (60, 512))).astype(np.float32)


def config(**changes: Any) -> TrainConfig:
    values = DEFAULTS | changes
    if values.get("stage_epochs"):
        values["epochs"] = None
    return TrainConfig("tiny", **values)


def run(training: Training) -> tuple[list[EpochResult], Final]:
    results = list(training.epochs())
    return results, training.finish()


def facts(result: EpochResult) -> dict[str, Any]:
    """All of an epoch but the time it took."""
    return {key: value for key, value in asdict(result).items() if key not in ("seconds", "images_per_second")}


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """A state as a checkpoint file gives it back: plain types and tensors only, nothing shared."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


class Watched(Training):
    """Training that notes what each epoch trains on and with which losses it was chosen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subsets: list[NDArray[np.int64]] = []
        self.ranked_by: list[NDArray[np.float64] | None] = []

    def _train_pass(self, subset: NDArray[np.int64], number: int, samples: int) -> float:
        self.subsets.append(subset)
        self.ranked_by.append(self.losses)
        return super()._train_pass(subset, number, samples)


# -- it learns, and it repeats --------------------------------------------------------------------


def test_it_overfits_the_training_images(data: TrainingData) -> None:
    results, final = run(Training(config(epochs=12, learning_rate=5e-4), data, NONE))
    losses = [result.train_loss or np.nan for result in results]
    assert max(result.train_accuracy or 0.0 for result in results[-4:]) == 1.0
    assert min(losses[-4:]) < 0.2 < losses[0]
    assert final.test_accuracy >= 0.8


def test_the_same_seed_gives_the_same_losses_and_another_does_not(data: TrainingData) -> None:
    first, again, other = (run(Training(config(epochs=2, seed=seed), data, NONE)) for seed in (1, 1, 2))
    assert [facts(result) for result in first[0]] == [facts(result) for result in again[0]]
    assert (first[1].outcome.probabilities == again[1].outcome.probabilities).all()
    assert first[0][0].train_loss != other[0][0].train_loss


def test_samples_seen_add_up_over_the_epochs(data: TrainingData) -> None:
    results, _ = run(Training(config(), data, NONE))
    assert [(result.epoch, result.samples_seen) for result in results] == [(1, 36), (2, 72), (3, 108)]


RESUMED: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "fine-tune": ({"epochs": 3, "rate_rule": "accuracy"}, (2,)),
    "report protocol": ({"epochs": 3, "protocol": "report"}, (2,)),
    "staged": ({"mode": "staged", "stage_epochs": (2, 1, 1)}, (1, 2)),
    "self-paced": ({"mode": "self-paced", "epochs": 5, "start_share": 0.3, "step_share": 0.2, "gate": 0.3, "slow_from": 0.5}, (2, 5)),
    "as-run": (
        {"mode": "self-paced", "variant": "as-run", "epochs": 5, "start_share": 0.3, "step_share": 0.2, "gate": 0.3, "slow_from": 0.5},
        (2, 5),
    ),
    "paced with a budget": (
        {"mode": "paced", "budget": 100, "pacing": "root", "start_share": 0.3, "dynamics": False, "augment": "crops"},
        (1, 2, 3),
    ),
    "staged with a budget, random": ({"mode": "staged", "epochs": 4, "budget": 80, "ordering": "random"}, (1, 3)),
    "transfer": ({"mode": "transfer", "epochs": 6, "rate_rule": "accuracy"}, (1, 2, 3, 4, 5, 6)),
    "scratch": ({"mode": "scratch", "epochs": 3, "learning_rate": 5e-3}, (1, 3)),
}
"""Settings, and the epochs after which they are cut: within a stage, at its end, at the very end."""


@pytest.mark.parametrize("case", RESUMED)
def test_resumed_it_ends_as_if_uninterrupted(case: str, data: TrainingData, features: NDArray[np.float32]) -> None:
    changes, cuts = RESUMED[case]

    def new() -> Training:
        settings = config(**changes)
        return Training(settings, ranked(data), NONE, features=features if settings.mode == "transfer" else None)

    whole, results, states = new(), [], []
    for result in whole.epochs():
        results.append(facts(result))
        states.append(through_a_file(whole.state()))
    expected = whole.finish()
    for cut in cuts:
        resumed = new()
        resumed.restore(states[cut - 1])
        rest, final = run(resumed)
        assert [facts(result) for result in rest] == results[cut:]
        assert np.array_equal(final.outcome.probabilities, expected.outcome.probabilities)
        assert np.array_equal(final.outcome.losses, expected.outcome.losses)
        assert replace(final, outcome=expected.outcome) == expected


def test_resumed_within_a_stage_it_remembers_the_stages_best_epoch(data: TrainingData) -> None:
    """Falsely labelled val images: the better it learns, the worse it does on val, so an early epoch is the best."""
    contrary = replace(data, labels=np.where(data.splits == "val", (data.labels + 1) % 3, data.labels))
    settings = config(mode="staged", stage_epochs=(1, 5, 1), learning_rate=2e-3)
    whole, states, best = Training(settings, contrary, NONE), {}, {}
    for result in whole.epochs():
        states[result.epoch] = through_a_file(whole.state())
        best[result.epoch] = whole.stage_best.epoch if whole.stage_best else None
    expected = whole.finish()
    cut = 5
    assert best[cut] == expected.stages[1].epoch < cut, "the best epoch must lie before the cut, or this test shows nothing"
    resumed = Training(settings, contrary, NONE)
    resumed.restore(states[cut])
    _, final = run(resumed)
    assert final.stages == expected.stages
    assert final.epoch == expected.epoch


def test_a_state_of_before_the_first_epoch_restores(data: TrainingData) -> None:
    settings = config(mode="self-paced", epochs=2)
    fresh, other = Training(settings, data, NONE), Training(settings, data, Weights("none", build(3, NONE, 9).state_dict(), "x"))
    other.restore(through_a_file(fresh.state()))
    assert [facts(result) for result in other.epochs()] == [facts(result) for result in fresh.epochs()]


# -- protocols ------------------------------------------------------------------------------------


def test_honest_epochs_never_look_at_test(data: TrainingData) -> None:
    """Test images that are worthless and falsely labelled change no epoch and not the choice."""
    random = np.random.default_rng(0)
    spoilt = replace(data, labels=np.where(data.splits == "test", random.permutation(data.labels), data.labels))
    phases: set[str] = set()
    clean, dirty = (
        Training(config(epochs=3), each, NONE, progress=lambda phase, done, total: phases.add(phase)) for each in (data, spoilt)
    )
    results = list(clean.epochs())
    assert [facts(result) for result in results] == [facts(result) for result in dirty.epochs()]
    assert phases == {"training", "train losses", "val"}
    assert all((result.test_accuracy, result.test_loss, result.test_knn) == (None, None, None) for result in results)
    one, two = clean.finish(), dirty.finish()
    assert one.epoch == two.epoch
    assert np.array_equal(one.outcome.probabilities, two.outcome.probabilities)
    assert one.test_accuracy > two.test_accuracy


def test_the_honest_choice_is_the_best_epoch_on_val(data: TrainingData) -> None:
    training = Training(config(epochs=4, learning_rate=3e-3), data, NONE)
    results, final = run(training)
    best = max(results, key=lambda result: (result.val_accuracy or 0.0, -(result.val_loss or 0.0)))
    assert (final.epoch, final.val_accuracy) == (best.epoch, best.val_accuracy)
    val = data.indices("val")
    assert metrics.accuracy(final.outcome.probabilities[val], data.labels[val]) == best.val_accuracy
    assert final.outcome.losses[val].mean() == pytest.approx(best.val_loss, rel=1e-5)
    assert final.peak is None


def test_figures_of_test_are_those_of_the_predictions(data: TrainingData) -> None:
    _, final = run(Training(config(epochs=2), data, NONE))
    test = data.indices("test")
    probabilities = final.outcome.probabilities
    assert final.outcome.indices.tolist() == list(range(60))
    assert probabilities.sum(1) == pytest.approx(np.ones(60), abs=1e-5)
    assert final.outcome.losses == pytest.approx(metrics.cross_entropy(probabilities, data.labels), abs=1e-4)
    assert final.test_accuracy == metrics.accuracy(probabilities[test], data.labels[test])
    assert final.test_loss == pytest.approx(final.outcome.losses[test].mean())
    assert final.test_knn == metrics.knn_purity(final.outcome.features[test], data.labels[test], 5)


def test_the_report_protocol_keeps_the_last_epoch_and_names_the_biased_peak(data: TrainingData) -> None:
    two_parts = replace(data, splits=np.where(data.splits == "val", "train", data.splits))
    results, final = run(Training(config(epochs=3, protocol="report", learning_rate=3e-3), two_parts, NONE))
    shown = [result.test_accuracy or 0.0 for result in results]
    assert final.epoch == 3
    assert final.test_accuracy == shown[-1]
    best = results[shown.index(max(shown))]
    assert final.peak == Peak(max(shown), best.epoch, best.test_loss, best.test_knn)
    assert all(result.val_accuracy is None and result.val_loss is None and result.val_knn is None for result in results)
    assert final.val_accuracy is None
    assert any("biased" in note for note in final.notes)


@pytest.mark.parametrize(("accuracies", "best"), [((0.5, 0.75, 0.75, 0.25), 2), ((0.0, 0.0, 0.0, 0.0), 1), ((0.25, 0.5, 0.75, 1.0), 4)])
def test_of_equal_peaks_the_first_counts_with_its_own_loss_and_knn(data: TrainingData, accuracies: tuple[float, ...], best: int) -> None:
    training = Training(config(protocol="report"), data, NONE)
    for epoch, accuracy in enumerate(accuracies, 1):
        training._remember(epoch, (None, None, None), (accuracy, epoch / 10, epoch / 100))
    assert training.peak == Peak(accuracies[best - 1], best, best / 10, best / 100)


def test_a_checkpoint_from_before_the_peaks_epoch_was_kept_goes_on(data: TrainingData) -> None:
    def older(accuracy: float, **changes: Any) -> Training:
        training = Training(config(epochs=2, **changes), data, NONE)
        state = through_a_file(training.state())
        del state["peak"]
        training.restore(state | {"peak_test": accuracy})
        return training

    higher = older(1.5, protocol="report")
    run(higher)
    assert higher.peak == Peak(1.5), "its epoch isn't known, and no later one's is put in its place"
    results, final = run(older(0.0, protocol="report"))
    assert final.peak is not None
    assert final.peak.accuracy == max(result.test_accuracy or 0.0 for result in results)
    assert final.peak.epoch is not None
    assert older(0.0).peak is None


# -- staged ---------------------------------------------------------------------------------------


def test_stages_train_on_exactly_their_levels(data: TrainingData) -> None:
    training = Watched(config(mode="staged", stage_epochs=(1, 2, 1)), data, NONE)
    expected = training.expected_sizes()
    results, final = run(training)
    train = data.indices("train")
    levels = [set(data.levels[subset].tolist()) for subset in training.subsets]
    assert levels == [{0}, {0, 1}, {0, 1}, {0, 1, 2}]
    for subset, wanted in zip(training.subsets, levels, strict=True):
        assert subset.tolist() == [i for i in train if data.levels[i] in wanted]
    assert [result.stage for result in results] == ["easy", "easy+medium", "easy+medium", "all"]
    assert [result.subset_size for result in results] == expected == [len(subset) for subset in training.subsets]
    assert final.notes == ()


def test_each_stage_is_tested_on_its_own_levels_and_on_all(data: TrainingData) -> None:
    results, final = run(Training(config(mode="staged", stage_epochs=(2, 1, 1)), data, NONE))
    test = data.indices("test")
    counts = [int(np.isin(data.levels[test], levels).sum()) for levels in ([0], [0, 1], [0, 1, 2])]
    assert [(stage.stage, stage.own_examples) for stage in final.stages] == list(zip(("easy", "easy+medium", "all"), counts, strict=True))
    for stage in final.stages:
        best = max(
            (result for result in results if result.stage == stage.stage),
            key=lambda result: (result.val_accuracy or 0.0, -(result.val_loss or 0.0)),
        )
        assert stage.epoch == best.epoch
    last = final.stages[-1]
    assert last.own_accuracy == last.accuracy
    assert last.own_loss == pytest.approx(last.loss)
    assert final.epoch in [stage.epoch for stage in final.stages]


def test_a_stage_without_test_images_of_its_levels_has_no_figure_for_them(data: TrainingData) -> None:
    none_easy = replace(data, levels=np.where((data.splits == "test") & (data.levels == 0), 2, data.levels))
    _, final = run(Training(config(mode="staged", stage_epochs=(1, 0, 1)), none_easy, NONE))
    assert [(stage.own_examples, stage.own_accuracy is None, stage.own_loss is None) for stage in final.stages] == [
        (0, True, True),
        (12, False, False),
    ]


def test_unlabelled_images_join_in_the_last_stage(data: TrainingData) -> None:
    some = replace(data, levels=np.where(np.arange(60) % 4 == 1, -1, data.levels))
    training = Watched(config(mode="staged", stage_epochs=(1, 1, 1)), some, NONE)
    _, final = run(training)
    unlabelled = [i for i in data.indices("train") if some.levels[i] < 0]
    assert unlabelled
    assert [set(unlabelled) & set(subset.tolist()) for subset in training.subsets] == [set(), set(), set(unlabelled)]
    assert len(training.subsets[2]) == 36
    assert final.notes == (f"{len(unlabelled)} of 36 training images have no level; they joined in the last stage.",)


def test_images_of_a_stage_without_epochs_are_said_to_be_unused(data: TrainingData) -> None:
    some = replace(data, levels=np.where(np.arange(60) % 4 == 1, -1, data.levels))
    _, final = run(Training(config(mode="staged", stage_epochs=(1, 1, 0)), some, NONE))
    unused = int(np.isin(some.levels[data.indices("train")], (-1, 2)).sum())
    assert final.notes == (f"{unused} of 36 training images were never used: they are in no stage that has epochs.",)


@pytest.mark.parametrize("levels", [-1, 1, 2])
def test_staged_without_easy_training_images_is_refused(data: TrainingData, levels: int) -> None:
    """Easy images in val and test don't help."""
    bare = replace(data, levels=np.where(data.splits == "train", levels, 0))
    with pytest.raises(LabelsMissingError, match="no training image is labelled easy"):
        Training(config(mode="staged"), bare, NONE)


# -- self-paced -----------------------------------------------------------------------------------


def test_self_paced_subsets_follow_the_pace_and_are_the_easiest_of_each_class(data: TrainingData) -> None:
    rule = {"gate": 0.5, "slow_from": 0.7}
    training = Watched(config(mode="self-paced", epochs=6, start_share=0.25, step_share=0.25, **rule), data, NONE)
    pace, train, results = pacing.Pace(), data.indices("train"), []
    for result in training.epochs():
        results.append(result)
        subset, losses = training.subsets[-1], training.ranked_by[-1]
        assert training.losses is not None
        assert result.train_loss == pytest.approx(training.losses[np.isin(train, subset)].mean())
        assert result.subset_size == len(subset) == pacing.subset_size(pacing.share(pace, 0.25, 0.25), 36)
        pace = pacing.next_pace(pace, result.train_accuracy or 0.0, start=0.25, step=0.25, **rule)
        assert losses is not None
        for name in range(3):
            of_class = data.labels[train] == name
            inside = of_class & np.isin(train, subset)
            assert inside.sum() == len(subset) / 3
            assert losses[inside].max() <= losses[of_class & ~inside].min(initial=np.inf)
    assert results[0].subset_size == 9
    assert results[-1].subset_size > 9


@pytest.mark.parametrize("variant", ["as-written", "as-run"])
def test_the_variants_take_the_same_sizes_and_other_images(data: TrainingData, variant: str) -> None:
    sizes: dict[str, list[int]] = {}
    rule = {"gate": 0.0, "slow_from": 0.7, "start_share": 0.25, "step_share": 0.25, "batch_size": 6}
    for name in ("balanced", variant):
        training = Watched(config(mode="self-paced", variant=name, epochs=4, **rule), data, NONE)
        sizes[name] = [result.subset_size for result in training.epochs()]
        assert [len(subset) for subset in training.subsets] == sizes[name]
        if name == "as-written":
            inside = np.isin(data.indices("train"), training.subsets[0])
            losses = training.ranked_by[0]
            assert losses is not None
            assert losses[inside].max() <= losses[~inside].min()
    assert sizes[variant] == sizes["balanced"]


def test_a_gate_that_never_opens_is_said(data: TrainingData) -> None:
    results, final = run(Training(config(mode="self-paced", epochs=2, gate=1.0), data, NONE))
    assert [result.subset_size for result in results] == [4, 4]
    assert any("while 4 of" in note and "above 1)" in note for note in final.notes), final.notes


def test_expected_sizes_of_self_paced_assume_that_every_epoch_passes(data: TrainingData) -> None:
    training = Training(config(mode="self-paced", epochs=5, start_share=0.5, step_share=0.25, slow_from=0.6), data, NONE)
    assert training.expected_sizes() == [18, 27, 27, 36, 36]


# -- a budget, a pacing function, a replay --------------------------------------------------------


def ranked(data: TrainingData) -> TrainingData:
    """With a difficulty that goes against the order of the images."""
    return replace(data, difficulty=np.linspace(1, 0, len(data.labels)))


@pytest.mark.parametrize("mode", ["fine-tune", "staged", "self-paced", "paced", "scratch"])
@pytest.mark.parametrize("budget", [1, 50, 108])
def test_a_budget_is_met_exactly_by_every_mode(data: TrainingData, mode: str, budget: int) -> None:
    results, final = run(Training(config(mode=mode, budget=budget, epochs=4, gate=0.0, start_share=0.25), ranked(data), NONE))
    assert results[-1].samples_seen == budget
    assert [result.samples_seen for result in results] == sorted({result.samples_seen for result in results})
    judged = [result for result in results if result.val_accuracy is not None]
    assert max(budget // 36, 1) <= len(judged) <= -(-budget // 36), "one judgement on val for each 36 samples, whatever the epochs' sizes"
    assert final.epoch in [result.epoch for result in judged]


def test_paced_takes_the_easiest_of_each_class_and_more_by_the_function(data: TrainingData) -> None:
    training = Watched(config(mode="paced", epochs=5, pacing="linear", start_share=0.25, full_at=0.8), ranked(data), NONE)
    expected = training.expected_sizes()
    results, final = run(training)
    assert [result.subset_size for result in results] == expected == [9, 16, 22, 29, 36]
    assert final.notes == ()
    train = data.indices("train")
    for subset in training.subsets:
        for name in range(3):
            members = train[data.labels[train] == name]
            mine = subset[data.labels[subset] == name]
            assert abs(len(mine) - len(subset) / 3) < 1
            assert mine.tolist() == members[len(members) - len(mine) :].tolist()  # the later, the easier here


def test_orderings_of_paced_share_sizes_and_differ_in_images(data: TrainingData) -> None:
    subsets: dict[str, list[set[int]]] = {}
    for ordering in ("curriculum", "anti_curriculum", "random", "standard"):
        training = Watched(config(mode="paced", epochs=3, ordering=ordering, pacing="step", start_share=0.5), ranked(data), NONE)
        run(training)
        subsets[ordering] = [set(subset.tolist()) for subset in training.subsets]
    assert [len(subset) for subset in subsets["standard"]] == [36, 36, 36]
    assert [len(subset) for subset in subsets["curriculum"]] == [len(subset) for subset in subsets["random"]] == [18, 18, 18]
    assert not subsets["curriculum"][0] & subsets["anti_curriculum"][0]
    assert subsets["random"][0] not in (subsets["curriculum"][0], subsets["anti_curriculum"][0])
    assert subsets["random"][0] == subsets["random"][1], "the order is drawn once"


def test_anti_curriculum_starts_with_the_hard(data: TrainingData) -> None:
    training = Watched(config(mode="staged", ordering="anti_curriculum", stage_epochs=(1, 1, 1)), data, NONE)
    run(training)
    assert [set(data.levels[subset].tolist()) for subset in training.subsets] == [{2}, {1, 2}, {0, 1, 2}]
    paced = Watched(config(mode="self-paced", ordering="anti_curriculum", epochs=1, start_share=0.25), data, NONE)
    run(paced)
    inside, losses = np.isin(data.indices("train"), paced.subsets[0]), paced.ranked_by[0]
    assert losses is not None
    for name in range(3):
        of_class = data.labels[data.indices("train")] == name
        assert losses[inside & of_class].min() >= losses[~inside & of_class].max()


def test_arms_take_as_many_steps_for_the_same_samples(data: TrainingData) -> None:
    """An epoch of nine images in batches of 4 was two steps, the ninth joining the second, and so 24 where fine-tuning takes 27."""
    steps = []
    for mode in ("fine-tune", "self-paced"):
        training = Training(config(mode=mode, budget=108, gate=1.0, start_share=0.25, batch_size=4), data, NONE)
        run(training)
        assert training.samples_seen == 108
        steps.append({float(state["step"]) for state in training.optimizer.state.values()})
    assert steps == [{27.0}, {27.0}]


def test_a_replay_repeats_the_sizes_on_images_drawn_by_chance(data: TrainingData) -> None:
    settings = {"mode": "self-paced", "budget": 100, "gate": 0.0, "start_share": 0.25, "step_share": 0.25}
    first, _ = run(Training(config(**settings), data, NONE))
    lessons = lessons_of([asdict(result) for result in first])
    again = Watched(config(**settings, ordering="random", replay="first"), data, NONE, replay=lessons)
    results, _ = run(again)
    assert [(r.subset_size, r.samples_seen) for r in results] == [(r.subset_size, r.samples_seen) for r in first]
    for small, large in pairwise(again.subsets):
        assert set(small.tolist()) <= set(large.tolist())
    assert all(np.ptp(np.bincount(data.labels[subset])) <= 1 for subset in again.subsets), "each class alike, as in the first"
    assert results[0].train_loss is not None


def test_without_dynamics_training_images_are_not_judged(data: TrainingData) -> None:
    with_them, final = run(Training(config(), data, NONE))
    without = Training(config(dynamics=False), data, NONE)
    results, same = run(without)
    assert without.said is None
    assert [(r.train_loss, r.train_accuracy) for r in results] == [(None, None)] * 3
    assert [r.val_loss for r in results] == [r.val_loss for r in with_them]
    assert np.array_equal(final.outcome.losses, same.outcome.losses)


class Narrow(Inputs):
    """Of a machine on which no more than `room` images fit while a network learns."""

    room = 5

    def __init__(self, training: Training) -> None:
        stored = training.inputs.features
        super().__init__(training.data.images, training.device, training.channels, None if stored is None else stored.numpy())
        self.net = training.net

    def __call__(self, batch: NDArray[np.int64]) -> torch.Tensor:
        if self.net.training and len(batch) > self.room:
            torch.empty(1 << 50)  # more than a process can address
        return super().__call__(batch)


class Short(Training):
    """On such a machine."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.inputs: Narrow = Narrow(self)


def test_short_memory_halves_the_batch_and_says_so(data: TrainingData) -> None:
    training = Short(config(epochs=1), data, NONE)
    (result,), final = run(training)
    assert result.samples_seen == 36
    assert training.chunk == 4
    assert any("18 went through 4 images at a time" in note for note in final.notes)
    training.inputs.room = 1
    training.net.train()
    with pytest.raises(RuntimeError, match="allocate memory"):
        training._step(np.arange(18), torch.Generator())


def test_parts_of_a_batch_add_up_to_its_gradient(data: TrainingData, features: NDArray[np.float32]) -> None:
    """On features no batch norm is in the way."""
    gradients = []
    for room in (18, 5):
        training = Short(config(mode="transfer", epochs=1), data, NONE, features=features)
        training.inputs.room = room
        training._step(data.indices("train")[:18], torch.Generator())
        assert (training.chunk < 18) == (room < 18)
        gradient = training.full.get_parameter("fc.weight").grad
        assert gradient is not None
        gradients.append(gradient)
    assert torch.allclose(gradients[0], gradients[1], atol=0.01 * float(gradients[0].abs().max()))


def test_wrong_classes_come_by_at_any_time() -> None:
    """Drawn from a stream of their own: had they shared one with an epoch's order, all would come first in it."""
    labels = np.arange(700) % 7
    wrong = wrong_classes(labels, 7, 0.4, seed=0)
    assert (wrong != labels).sum() == 280
    assert set(wrong) <= set(range(7))
    assert np.array_equal(wrong, wrong_classes(labels, 7, 0.4, seed=0))
    for epoch in range(1, 12):
        order = np.random.default_rng((0, epoch)).permutation(700)
        assert abs(np.flatnonzero(wrong[order] != labels[order]).mean() - 350) < 40, epoch
    assert np.array_equal(wrong_classes(labels, 7, 0.0, seed=0), labels)


# -- rates ----------------------------------------------------------------------------------------


def test_the_accuracy_rule_reaches_the_optimizer(data: TrainingData, features: NDArray[np.float32]) -> None:
    moved: dict[str, list[float]] = {}
    for rule in ("accuracy", "constant"):
        training = Training(
            config(mode="transfer", epochs=8, learning_rate=1e-2, rate_rule=rule, batch_size=36), data, NONE, features=features
        )
        accuracy, moved[rule] = None, []
        before = training.full.get_parameter("fc.weight").detach().clone()
        for result in training.epochs():
            factor = pacing.rate_factor(accuracy) if rule == "accuracy" else 1.0
            assert result.learning_rate == training.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * factor)
            accuracy = result.train_accuracy
            moved[rule].append(float((training.full.get_parameter("fc.weight").detach() - before).abs().max()))
            before = training.full.get_parameter("fc.weight").detach().clone()
        assert accuracy is not None
        assert accuracy >= 0.92
    assert moved["accuracy"][0] == moved["constant"][0] == pytest.approx(1e-2, rel=0.01)
    assert moved["accuracy"][-1] < 2e-5 < moved["constant"][-1] / 10


def test_a_rate_of_zero_is_zero(data: TrainingData) -> None:
    training = Training(config(epochs=1, learning_rate=0.0), data, NONE)
    before = training.full.get_parameter("conv1.weight").detach().clone()
    results, _ = run(training)
    assert results[0].learning_rate == 0.0
    assert torch.equal(training.full.get_parameter("conv1.weight"), before)


def test_the_default_rates_are_those_of_the_reports(data: TrainingData) -> None:
    rates = {
        mode: Training(config(mode=mode, learning_rate=None, epochs=3), data, NONE).base_rate
        for mode in ("staged", "self-paced", "transfer")
    }
    assert rates == {"staged": 1e-4, "self-paced": 1e-4, "transfer": 1e-3}


def test_scratch_warms_up_and_cools_down_and_ignores_pretrained_weights(data: TrainingData) -> None:
    pretrained = Weights("x", build(3, NONE, 77).state_dict(), "x")
    settings = config(mode="scratch", epochs=4, learning_rate=5e-3)
    results, other = list(Training(settings, data, NONE).epochs()), list(Training(settings, data, pretrained).epochs())
    assert [facts(result) for result in results] == [facts(result) for result in other]
    rates = [result.learning_rate for result in results]
    top = int(np.argmax(rates))
    assert 0 < top < 3
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) <= 5e-3


def test_pretrained_weights_are_where_fine_tuning_starts(data: TrainingData) -> None:
    state = build(3, NONE, 77).state_dict()
    training = Training(config(), data, Weights("x", state, "x"))
    assert torch.equal(training.full.get_parameter("conv1.weight"), state["conv1.weight"])
    assert not torch.equal(training.full.get_parameter("fc.weight"), state["fc.weight"])


def test_transfer_moves_only_the_head(data: TrainingData, features: NDArray[np.float32]) -> None:
    training = Training(config(mode="transfer", epochs=4), data, NONE, features=features)
    before = {key: value.clone() for key, value in training.full.state_dict().items()}
    _, final = run(training)
    changed = {key for key, value in training.full.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"fc.weight", "fc.bias"}
    assert np.array_equal(final.outcome.features, features)


# -- small and bad input --------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_part_is_refused(data: TrainingData, split: str) -> None:
    other = "test" if split == "train" else "train"
    with pytest.raises(DatasetError, match=f"the {split} part has no image"):
        Training(config(), replace(data, splits=np.where(data.splits == split, other, data.splits)), NONE)


def test_a_last_batch_of_one_image_joins_the_one_before(data: TrainingData) -> None:
    training = Training(config(epochs=2, batch_size=35), data, NONE)
    assert [len(batch) for batch in training._batches(np.arange(36))] == [36]
    assert [batch.tolist() for batch in training._batches(np.arange(72))[1:]] == [[*range(35, 70)], [70, 71]]
    results, _ = run(training)
    assert [(result.subset_size, result.samples_seen) for result in results] == [(36, 36), (36, 72)]
    assert np.isfinite([result.train_loss or 0.0 for result in results]).all()


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"mode": "self-paced", "start_share": 0.001}])
def test_batches_of_one_image_train(data: TrainingData, changes: dict[str, Any]) -> None:
    few = replace(data, splits=np.where((data.splits == "train") & (np.arange(60) % 10 > 1), "test", data.splits))
    training = Training(config(epochs=1, **changes), few, NONE)
    before = training.full.get_parameter("fc.bias").detach().clone()
    (result,) = training.epochs()
    assert result.samples_seen == result.subset_size
    assert result.train_loss is not None
    assert np.isfinite(result.train_loss)
    assert not torch.equal(training.full.get_parameter("fc.bias"), before)


def test_one_test_image_has_no_knn(data: TrainingData) -> None:
    keep = data.indices("test")[0]
    lonely = replace(data, splits=np.where((data.splits == "test") & (np.arange(60) != keep), "train", data.splits))
    _, final = run(Training(config(epochs=1), lonely, NONE))
    assert np.isnan(final.test_knn)
    assert final.test_accuracy in (0.0, 1.0)


@pytest.mark.parametrize("protocol", ["honest", "report"])
def test_a_loss_that_is_no_number_stops_the_run(data: TrainingData, protocol: str) -> None:
    state = build(3, NONE, 0).state_dict()
    state["conv1.weight"][0, 0, 0, 0] = torch.nan
    training = Training(config(protocol=protocol), data, Weights("broken", state, "broken"))
    with pytest.raises(RunError, match=r"no longer a number.*epoch 1.*--learning-rate"):
        next(training.epochs())
    assert training.epoch == 0


# -- stopping -------------------------------------------------------------------------------------


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter(range(calls))
    return lambda: next(left, None) is None


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5])
def test_asked_to_stop_it_raises_before_the_next_batch(data: TrainingData, calls: int) -> None:
    """An epoch asks before each of its 2 training batches, then before judging train, 32 images at a time, and val."""
    steps: list[str] = []
    training = Training(config(), data, NONE, should_stop=stop_after(calls), progress=lambda phase, done, total: steps.append(phase))
    with pytest.raises(CancelledError, match="cancelled"):
        list(training.epochs())
    assert steps == ["training", "training", "train losses", "train losses", "val"][:calls]
    assert training.epoch == (1 if calls == 5 else 0)


def test_ranking_before_the_first_epoch_can_be_stopped(data: TrainingData) -> None:
    with pytest.raises(CancelledError):
        next(Training(config(mode="self-paced"), data, NONE, should_stop=lambda: True).epochs())


def test_progress_counts_up_to_its_total(data: TrainingData) -> None:
    seen: list[tuple[str, int, int]] = []
    list(Training(config(epochs=1), data, NONE, progress=lambda *each: seen.append(each)).epochs())
    assert seen == [("training", 18, 36), ("training", 36, 36), ("train losses", 32, 36), ("train losses", 36, 36), ("val", 12, 12)]


# -- flips and rotations --------------------------------------------------------------------------


def test_turn_gives_the_eight_positions_of_a_square() -> None:
    image = torch.arange(3 * 4 * 4, dtype=torch.float32).reshape(3, 4, 4)
    batch = image.expand(300, 3, 4, 4).contiguous()
    eight = [turned for k in range(4) for turned in (torch.rot90(image, k, (1, 2)), torch.rot90(image, k, (1, 2)).flip(2))]
    places = [
        next(i for i, each in enumerate(eight) if torch.equal(each, turned)) for turned in turn(batch, torch.Generator().manual_seed(0))
    ]
    counts = np.bincount(places, minlength=8)
    assert len(counts) == 8
    assert counts.min() >= 15


def test_turn_follows_from_its_generator() -> None:
    batch = torch.rand((20, 3, 6, 6), generator=torch.Generator().manual_seed(1))
    first, again, other = (turn(batch, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
