"""A run's schedule: stages, budgets, paces and replays, with levels and losses alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curriculum.config import TrainConfig
from curriculum.errors import LabelsMissingError, RunError
from curriculum.schedule import Lesson, Schedule, lessons_of
from curriculum.vocabulary import PACINGS

LEVELS = np.tile([0, 1, 2, -1], 10)  # ten of each
CLASSES = np.arange(40) % 5
RISING = np.arange(40.0)


def schedule(lessons: tuple[tuple[int, int], ...] = (), **options: Any) -> Schedule:
    return Schedule(TrainConfig("tiny", **options), CLASSES, LEVELS, RISING, lessons)


def walk(plan: Schedule, losses: NDArray[np.float64] = RISING, accuracy: float = 1.0) -> list[Lesson]:
    """Every lesson to the end, each epoch with the same train accuracy."""
    lessons: list[Lesson] = []
    seen = 0
    while not plan.over(len(lessons), seen):
        lessons.append(plan.lesson(len(lessons), seen, losses))
        seen += lessons[-1].samples
        plan.learned(accuracy)
    return lessons


def sizes(lessons: list[Lesson]) -> list[tuple[str, int, int]]:
    return [(lesson.stage, len(lesson.rows), lesson.samples) for lesson in lessons]


@given(st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any))
def test_each_epoch_falls_into_its_stage(epochs: list[int]) -> None:
    found = sizes(walk(schedule(mode="staged", stage_epochs=tuple(epochs))))
    assert found == [("easy", 10, 10)] * epochs[0] + [("easy+medium", 20, 20)] * epochs[1] + [("all", 40, 40)] * epochs[2]


def test_a_budget_is_shared_out_as_the_stages_epochs_would_have_been() -> None:
    # 2 epochs of 10, 1 of 20, 1 of 40 would see 20, 20 and 40 samples; the budget gives each half of it
    found = sizes(walk(schedule(mode="staged", stage_epochs=(2, 1, 1), budget=40)))
    assert found == [("easy", 10, 10), ("easy+medium", 20, 10), ("all", 40, 20)]


def test_random_stages_have_the_sizes_of_the_levels_and_each_holds_the_one_before() -> None:
    ordered, drawn = (walk(schedule(mode="staged", stage_epochs=(1, 1, 1), ordering=o)) for o in ("curriculum", "random"))
    assert sizes(drawn) == sizes(ordered)
    assert set(drawn[0].rows) < set(drawn[1].rows) < set(drawn[2].rows)
    assert set(drawn[0].rows) != set(ordered[0].rows)


@given(
    st.sampled_from(["staged", "self-paced", "paced", "fine-tune"]),
    st.integers(1, 400),
    st.integers(1, 30),
    st.sampled_from(PACINGS),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_a_budget_ends_exactly_there_and_the_forecast_is_what_comes(
    mode: str, budget: int, epochs: int, pacing: str, start: float, accuracy: float
) -> None:
    options: dict[str, Any] = {"mode": mode, "budget": budget, "epochs": max(epochs, 3), "pacing": pacing, "start_share": start}
    plan = schedule(**options)
    forecast = list(schedule(**options).coming(0, 0))
    lessons = walk(plan, accuracy=accuracy)
    assert sum(lesson.samples for lesson in lessons) == budget
    assert all(1 <= lesson.samples <= len(lesson.rows) <= 40 for lesson in lessons)
    assert all((np.diff(lesson.rows) > 0).all() for lesson in lessons)
    if mode != "self-paced" or accuracy > 0.85:
        assert [(len(lesson.rows), lesson.samples) for lesson in lessons] == forecast


@given(st.sampled_from(PACINGS), st.integers(1, 60), st.floats(0.01, 1), st.booleans())
def test_paced_grows_by_the_ranking_and_ends_with_all(pacing: str, epochs: int, start: float, balanced: bool) -> None:
    options: dict[str, Any] = {"mode": "paced", "epochs": epochs, "pacing": pacing, "start_share": start, "class_balanced": balanced}
    lessons = walk(schedule(**options, full_at=0.5))
    assert len(lessons) == epochs
    for before, after in pairwise(lessons):
        assert len(before.rows) <= len(after.rows)
    if epochs >= 2:
        assert len(lessons[-1].rows) == 40
    first = lessons[0].rows
    if not balanced:
        assert first.tolist() == list(range(len(first)))
    elif len(first) < 40:
        assert np.ptp(np.bincount(CLASSES[first], minlength=5)) <= 1


def test_a_replay_longer_than_its_record_stays_at_the_last_size() -> None:
    found = sizes(walk(schedule(((5, 5), (10, 10)), mode="self-paced", ordering="random", replay="run", budget=30)))
    assert found == [("self-paced", 5, 5), ("self-paced", 10, 10), ("self-paced", 10, 10), ("self-paced", 10, 5)]
    assert len(walk(schedule(((5, 5), (10, 10)), mode="self-paced", ordering="random", replay="run"))) == 2


def test_a_replay_of_another_data_set_is_refused() -> None:
    with pytest.raises(RunError, match="more images than there are"):
        schedule(((41, 41),), mode="self-paced", ordering="random", replay="run")


def test_a_random_order_never_falls_back_to_the_models_own() -> None:
    options: dict[str, Any] = {"mode": "self-paced", "ordering": "random", "replay": "run"}
    with pytest.raises(RunError, match="has no epochs"):
        schedule((), **options)
    assert not schedule(((5, 5),), **options).needs_losses


def test_the_control_of_as_run_draws_anew_each_epoch_the_others_keep_one_order() -> None:
    for variant, same in (("balanced", True), ("as-run", False)):
        lessons = walk(schedule(((10, 10), (10, 10)), mode="self-paced", ordering="random", replay="run", variant=variant))
        assert [len(lesson.rows) for lesson in lessons] == [10, 10]
        assert (set(lessons[0].rows) == set(lessons[1].rows)) == same


UNEVEN = np.repeat([0, 1, 2, -1], [16, 8, 8, 8])  # sixteen easy ones, of classes 0 and 1 alone
BY_CLASS = np.array([0] * 10 + [1] * 6 + [2] * 4 + [3] * 4 + [4] * 16)


@pytest.mark.parametrize("ordering", ["random", "anti_curriculum"])
def test_staged_in_another_order_has_as_many_of_each_class_at_each_stage(ordering: str) -> None:
    options: dict[str, Any] = {"mode": "staged", "stage_epochs": (2, 1, 1), "budget": 50}
    plain, other = (walk(Schedule(TrainConfig("tiny", **options, ordering=each), BY_CLASS, UNEVEN)) for each in ("curriculum", ordering))
    assert [(len(lesson.rows), lesson.samples) for lesson in other] == [(len(lesson.rows), lesson.samples) for lesson in plain]
    for mine, theirs in zip(plain, other, strict=True):
        assert np.bincount(BY_CLASS[theirs.rows], minlength=5).tolist() == np.bincount(BY_CLASS[mine.rows], minlength=5).tolist()
    assert all(set(before.rows) <= set(after.rows) for before, after in pairwise(other))


def test_anti_staged_takes_the_hardest_of_each_class_and_what_has_no_level_last() -> None:
    classes, levels = np.repeat([0, 1], 8), np.tile([0, 0, 0, 1, 2, 2, -1, -1], 2)
    lessons = walk(Schedule(TrainConfig("tiny", mode="staged", ordering="anti_curriculum", stage_epochs=(1, 1, 1)), classes, levels))
    assert [sorted(levels[lesson.rows].tolist(), reverse=True) for lesson in lessons] == [
        [2, 2, 2, 2, 1, 1],  # three easy ones of each class: its two hard ones and the medium one
        [2, 2, 2, 2, 1, 1, 0, 0],  # with the medium ones four
        sorted(levels.tolist(), reverse=True),
    ]
    assert [lesson.stage for lesson in lessons] == ["hard", "medium+hard", "all"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_anti_self_paced_takes_the_recorded_sizes_whatever_it_learns(accuracies: list[float]) -> None:
    record = ((5, 5), (10, 10), (10, 10), (20, 20))
    plan = schedule(record, mode="self-paced", ordering="anti_curriculum", replay="run")
    assert plan.needs_losses and list(plan.coming(0, 0)) == list(record)
    seen = 0
    for epoch, (size, samples) in enumerate(record):
        lesson = plan.lesson(epoch, seen, RISING)
        assert (len(lesson.rows), lesson.samples) == (size, samples)
        assert lesson.rows.tolist() == list(range(40 - size, 40)), "the hardest by the losses of now"
        seen += samples
        plan.learned(accuracies[epoch % len(accuracies)])


@pytest.mark.parametrize("level", [0, 2])
def test_anti_staged_needs_the_hard_images_and_the_number_of_easy_ones(level: int) -> None:
    options: dict[str, Any] = {"mode": "staged", "ordering": "anti_curriculum"}
    with pytest.raises(LabelsMissingError, match=f"goes by the {'hard' if level == 0 else 'easy'} images first"):
        Schedule(TrainConfig("tiny", **options), CLASSES, np.full(40, level))


def test_lessons_of_a_record_are_its_sizes_and_differences() -> None:
    record = [{"subset_size": 4, "samples_seen": 4}, {"subset_size": 6, "samples_seen": 10}, {"subset_size": 6, "samples_seen": 13}]
    assert lessons_of(record) == [(4, 4), (6, 6), (6, 3)]
