"""Paces: stages over the epochs, the self-paced steps, the easiest of each class, the rate by accuracy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum import pacing
from curriculum.pacing import Pace, Stage
from curriculum.vocabulary import ORDERINGS, PACINGS, Ordering, Pacing

REPORT = {"start": 0.10, "step": 0.05, "gate": 0.85, "slow_from": 0.60}
N = 2240  # RSSCN7's training images in the reports


def trace(accuracies: list[float], count: int = N, **rule: float) -> list[int]:
    """Subset sizes of the epochs, the first before anything was learnt."""
    rule = REPORT | rule
    pace, sizes = Pace(), []
    for accuracy in [*accuracies, 0.0]:
        sizes.append(pacing.subset_size(pacing.share(pace, rule["start"], rule["step"]), count))
        pace = pacing.next_pace(pace, accuracy, **rule)
    return sizes


# -- self-paced -----------------------------------------------------------------------------------


def test_trace_of_the_reports_rule_by_hand() -> None:
    # passes, a miss, exactly the gate (no pass), a pass
    assert trace([0.9, 0.9, 0.5, 0.85, 0.86]) == [224, 336, 448, 448, 448, 560]


def test_every_epoch_passing_takes_one_step_each_to_60_percent_then_two_epochs_a_step_to_all() -> None:
    sizes = trace([0.99] * 30)
    assert sizes[:11] == [224 + 112 * i for i in range(11)]  # 10 % to 60 %
    assert sizes[10:27] == [1344, 1344, 1456, 1456, 1568, 1568, 1680, 1680, 1792, 1792, 1904, 1904, 2016, 2016, 2128, 2128, 2240]
    assert sizes[27:] == [2240] * 4


def test_the_two_passes_of_a_slow_step_need_not_follow_one_another() -> None:
    slow = [0.9] * 10  # to 60 %
    assert trace([*slow, 0.9, 0.1, 0.2, 0.9, 0.9])[10:] == [1344, 1344, 1344, 1344, 1456, 1456]


def test_a_gate_that_never_opens_stays_at_the_start() -> None:
    assert trace([0.85] * 50) == [224] * 51


def test_at_the_full_share_nothing_changes() -> None:
    full = Pace(steps=18)
    assert pacing.share(full, 0.1, 0.05) == 1.0
    assert pacing.next_pace(full, 1.0, **REPORT) is full


def test_a_start_with_all_images_uses_all() -> None:
    assert trace([1.0, 0.0, 1.0], start=1.0) == [N] * 4


@given(
    st.lists(st.floats(0, 1), max_size=120),
    st.integers(1, 5000),
    st.floats(0.001, 1),
    st.floats(0.001, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_subsets_grow_within_1_and_all(
    accuracies: list[float], count: int, start: float, step: float, gate: float, slow_from: float
) -> None:
    sizes = trace(accuracies, count, start=start, step=step, gate=gate, slow_from=slow_from)
    assert sizes == sorted(sizes)
    assert sizes[0] >= 1
    assert sizes[-1] <= count


@given(st.integers(1, 5000), st.floats(0.001, 1), st.floats(0.01, 1), st.floats(0, 0.99), st.floats(0, 1))
def test_enough_passes_end_with_all(count: int, start: float, step: float, gate: float, slow_from: float) -> None:
    assert trace([1.0] * 201, count, start=start, step=step, gate=gate, slow_from=slow_from)[-1] == count


@pytest.mark.parametrize(("part", "count", "size"), [(0.1, 2240, 224), (0.001, 30, 1), (1.0, 30, 30), (0.15, 10, 2), (0.999, 10, 10)])
def test_subset_sizes_by_hand(part: float, count: int, size: int) -> None:
    assert pacing.subset_size(part, count) == size


# -- the easiest ----------------------------------------------------------------------------------


def test_easiest_by_hand() -> None:
    losses = np.array([0.9, 0.1, 0.2, 0.05, 7.0, 5.0, 6.0, 8.0])
    classes = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert pacing.easiest(losses, classes, 4).tolist() == [1, 3, 5, 6]


def test_tied_losses_fall_in_order_of_arrival() -> None:
    assert pacing.easiest(np.zeros(6), np.array([0, 1, 0, 1, 0, 1]), 4).tolist() == [0, 1, 2, 3]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 4)), min_size=1, max_size=80), st.data())
def test_the_easiest_are_balanced_and_the_easiest_of_their_class(pairs: list[tuple[float, int]], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(pairs)))
    losses, classes = np.array([loss for loss, _ in pairs]), np.array([name for _, name in pairs])
    chosen = pacing.easiest(losses, classes, size)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == size
    for name in np.unique(classes):
        inside, outside = losses[chosen[classes[chosen] == name]], np.delete(losses, chosen)[np.delete(classes, chosen) == name]
        assert abs(len(inside) - size * (classes == name).sum() / len(classes)) < 1 + 1e-6
        assert not len(inside) or not len(outside) or inside.max() <= outside.min()


def test_all_classes_are_there_even_where_one_is_far_easier() -> None:
    classes = np.repeat(np.arange(7), 320)
    losses = classes + np.random.default_rng(0).random(len(classes))
    assert np.bincount(classes[pacing.easiest(losses, classes, 224)]).tolist() == [32] * 7


@pytest.mark.parametrize("size", [0, -1, 4])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="within 1 to 3"):
        pacing.easiest(np.zeros(3), np.zeros(3, dtype=np.int64), size)
    with pytest.raises(ValueError, match="within 1 to 3"):
        pacing.easiest_of_all(np.zeros(3), size)
    with pytest.raises(ValueError, match="within 1 to 3"):
        pacing.easiest_batches(np.zeros(3), size, 2, np.random.default_rng(0))


@given(st.lists(st.floats(0, 30), min_size=1, max_size=80), st.integers(1, 40), st.data())
def test_as_written_and_as_run_choose_as_many_as_asked_and_the_easier_ones(losses: list[float], batch: int, data: st.DataObject) -> None:
    values, size = np.array(losses), data.draw(st.integers(1, len(losses)))
    written = pacing.easiest_of_all(values, size)
    run = pacing.easiest_batches(values, size, batch, np.random.default_rng(0))
    for chosen in (written, run):
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        assert len(chosen) == size
    assert values[written].max() <= np.delete(values, written).min(initial=np.inf)
    assert values[written].sum() <= values[run].sum() + 1e-9
    if batch == 1:
        assert np.sort(values[run]).tolist() == np.sort(values[written]).tolist(), "batches of one are images"


def test_the_three_variants_differ_as_the_reports_found() -> None:
    """Seven classes of which one is far easier: as written takes it alone, balanced all alike, batches nearly all alike."""
    classes = np.repeat(np.arange(7), 320)
    losses = classes + np.random.default_rng(0).random(len(classes))
    assert np.unique(classes[pacing.easiest_of_all(losses, 224)]).tolist() == [0]
    counts = np.bincount(classes[pacing.easiest_batches(losses, 224, 32, np.random.default_rng(1))], minlength=7)
    assert counts.min() > 10
    assert counts.sum() == 224


def test_batches_are_ranked_by_their_mean_by_hand() -> None:
    losses = np.array([0.0, 9.0, 4.0, 4.0, 1.0, 1.0, 7.0])
    order = np.random.default_rng(3).permutation(7)
    batches = sorted((order[0:2], order[2:4], order[4:6], order[6:7]), key=lambda batch: losses[batch].mean())
    chosen = pacing.easiest_batches(losses, 3, 2, np.random.default_rng(3))
    assert chosen.tolist() == sorted([*batches[0], *batches[1]][:3])


# -- stages ---------------------------------------------------------------------------------------


def test_the_reports_stages() -> None:
    assert pacing.plan_stages() == (Stage("easy", (0,), 50), Stage("easy+medium", (0, 1), 80), Stage("all", (-1, 0, 1, 2), 20))


def test_a_stage_of_no_epochs_is_left_out() -> None:
    assert [stage.name for stage in pacing.plan_stages((0, 3, 2))] == ["easy+medium", "all"]


@pytest.mark.parametrize(
    ("total", "shares"),
    [(150, (50, 80, 20)), (15, (5, 8, 2)), (300, (100, 160, 40)), (1, (0, 1, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (1, 2, 1))],
)
def test_epochs_are_shared_out_as_in_the_reports(total: int, shares: tuple[int, int, int]) -> None:
    assert pacing.share_epochs(total) == shares


@given(st.integers(1, 10_000))
def test_shared_epochs_add_up_and_no_stage_is_lost(total: int) -> None:
    shares = pacing.share_epochs(total)
    assert sum(shares) == total
    assert min(shares) >= (1 if total >= 3 else 0)
    assert np.abs(np.array(shares) - total * np.array([50, 80, 20]) / 150).max() < 2


def test_the_hardest_first_are_the_mirror_image() -> None:
    stages = pacing.plan_stages((1, 2, 3), hardest_first=True)
    assert stages == (Stage("hard", (2,), 1), Stage("medium+hard", (1, 2), 2), Stage("all", (-1, 0, 1, 2), 3))


# -- pacing functions -----------------------------------------------------------------------------

SHARES = st.floats(0.001, 1)
PROGRESS = st.floats(0, 1)


def at(name: Pacing, progress: float, start: float = 0.2, full_at: float = 0.5, root: float = 2.0) -> float:
    return pacing.paced_share(name, progress, start=start, full_at=full_at, root=root)


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("step", 0.0, 0.2), ("step", 0.4999, 0.2), ("step", 0.5, 1.0),
        ("linear", 0.25, 0.6),  # half way from 0.2 to 1
        ("root", 0.25, math.sqrt(0.5 * (1 - 0.04) + 0.04)),  # Platanios 2019: sqrt(t (1 - c0^2) / T + c0^2)
        ("exponential", 0.25, 0.2 + 0.8 * (math.exp(5) - 1) / (math.exp(10) - 1)),  # Wu 2021
        ("logarithmic", 0.25, 0.2 + 0.8 * (1 + 0.1 * math.log(0.5 + math.exp(-10)))),  # Wu 2021
        ("staircase", 0.0, 0.2), ("staircase", 0.16, 0.2), ("staircase", 0.17, 0.4), ("staircase", 0.34, 0.8), ("staircase", 0.5, 1.0),
    ],
)  # fmt: skip
def test_pacing_functions_by_hand(name: Pacing, progress: float, expected: float) -> None:
    assert at(name, progress) == pytest.approx(expected)


def test_the_root_keeps_to_its_p() -> None:
    """A root that takes the square root whatever p is asked for would pass with p = 2 alone."""
    assert at("root", 0.25, root=1.0) == pytest.approx(at("linear", 0.25))
    assert at("root", 0.25, root=3.0) == pytest.approx((0.5 * (1 - 0.008) + 0.008) ** (1 / 3))


@given(st.sampled_from(PACINGS), st.lists(PROGRESS, min_size=2, max_size=20), SHARES, st.floats(0.01, 1), st.floats(0.1, 20))
def test_shares_start_where_they_say_never_fall_and_end_with_all(
    name: Pacing, progress: list[float], start: float, full_at: float, root: float
) -> None:
    shares = [at(name, each, start, full_at, root) for each in [0.0, *sorted(progress), 1.0]]
    assert shares[0] == pytest.approx(start)
    assert all(after >= before - 1e-12 for before, after in pairwise(shares))
    assert min(shares) >= start
    assert shares[-1] == 1.0
    assert at(name, full_at, start, full_at, root) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from(ORDERINGS), st.integers(0, 99))
def test_orders_are_permutations_and_anti_is_the_reverse(difficulty: list[float], ordering: Ordering, seed: int) -> None:
    values = np.array(difficulty)
    place = pacing.joining_order(values, ordering, np.random.default_rng(seed))
    assert sorted(place.tolist()) == list(range(len(values)))
    if ordering == "curriculum":
        assert (np.diff(values[np.argsort(place)]) >= 0).all()
        reverse = pacing.joining_order(values, "anti_curriculum", np.random.default_rng(seed))
        assert (place + reverse == len(values) - 1).all()


def test_equal_difficulty_joins_by_chance_not_by_arrival() -> None:
    place = pacing.joining_order(np.zeros(100), "curriculum", np.random.default_rng(0))
    assert abs(np.corrcoef(place, np.arange(100))[0, 1]) < 0.3


# -- the rate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "rate"),
    [(None, 1e-3), (0.0, 1e-3), (0.8499, 1e-3), (0.85, 5e-4), (0.8899, 5e-4), (0.89, 5e-5), (0.9199, 5e-5), (0.92, 1e-6), (1.0, 1e-6)],
)
def test_the_rate_falls_at_the_reports_accuracies(accuracy: float | None, rate: float) -> None:
    assert 1e-3 * pacing.rate_factor(accuracy) == pytest.approx(rate)


@given(st.lists(st.integers(8, 200), min_size=1, max_size=40), st.integers(1, 8))
def test_steps_go_with_the_samples_however_they_are_shared_out(epochs: list[int], batch_size: int) -> None:
    found = [pacing.steps_within(sum(epochs[:number]), samples, batch_size) for number, samples in enumerate(epochs)]
    assert sum(found) == math.ceil(sum(epochs) / batch_size)
    for samples, steps in zip(epochs, found, strict=True):
        assert abs(steps - samples / batch_size) < 1


def test_a_subset_smaller_than_a_batch_takes_a_step() -> None:
    assert [pacing.steps_within(seen, 3, 8) for seen in (0, 3, 6, 9)] == [1, 1, 1, 1]
