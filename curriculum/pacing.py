"""Which examples at which epoch: pure functions, no model, no clock.

Two paces exist by now. Stages follow people's levels: easy, then medium too, then all. Self-paced
follows the model's own losses: it starts with a share and earns more whenever it has learnt what it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curriculum.apportion import apportion

REPORT_STAGE_EPOCHS = (50, 80, 20)
ACCURACY_STEPS = ((0.92, 0.001), (0.89, 0.05), (0.85, 0.5))
"""Learning rate by train accuracy: at or above the first, the base rate times the second (1e-3, 5e-4, 5e-5, 1e-6 in the reports)."""


@dataclass(frozen=True)
class Stage:
    """`levels`: 0 easy, 1 medium, 2 hard. The last stage takes the unlabelled examples (-1) too."""

    name: str
    levels: tuple[int, ...]
    epochs: int


def plan_stages(epochs: Sequence[int] = REPORT_STAGE_EPOCHS) -> tuple[Stage, ...]:
    """Easy, easy + medium, all, for so many epochs each; a stage of 0 epochs is left out."""
    names = (("easy", (0,)), ("easy+medium", (0, 1)), ("all", (-1, 0, 1, 2)))
    return tuple(Stage(name, levels, count) for (name, levels), count in zip(names, epochs, strict=True) if count)


def share_epochs(total: int) -> tuple[int, int, int]:
    """A number of epochs shared out over the three stages as the reports' 50:80:20, each at least 1 where there are 3."""
    counts = apportion(total, REPORT_STAGE_EPOCHS)
    while total >= len(REPORT_STAGE_EPOCHS) and counts.min() == 0:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    easy, medium, hard = counts
    return int(easy), int(medium), int(hard)


def stage_of(stages: Sequence[Stage], epoch: int) -> int:
    """Index of the stage that epoch 1, 2, ... falls into."""
    last = np.cumsum([stage.epochs for stage in stages])
    if not 1 <= epoch <= last[-1]:
        raise ValueError(f"epoch {epoch} is not within 1 to {last[-1]}")
    return int(np.searchsorted(last, epoch))


@dataclass(frozen=True)
class Pace:
    """Where a self-paced run stands: steps taken, and epochs above the gate since the last one."""

    steps: int = 0
    passes: int = 0


def share(pace: Pace, start: float, step: float) -> float:
    """Share of the training examples in use, up to 1."""
    return min(round(start + step * pace.steps, 9), 1.0)


def next_pace(pace: Pace, train_accuracy: float, *, start: float, step: float, gate: float, slow_from: float) -> Pace:
    """The pace after an epoch.

    An epoch whose train accuracy is above `gate` is a pass. Below the share `slow_from` one pass earns
    a step, from there on two do (they need not follow one another). At the full share nothing changes.

    Source: the reports' self-paced rule: 10 %, +5 % after an epoch above 0.85, two epochs from 60 % on.
    """
    now = share(pace, start, step)
    if now >= 1.0 or train_accuracy <= gate:
        return pace
    passes = pace.passes + 1
    needed = 2 if now >= slow_from else 1
    return Pace(pace.steps + 1, 0) if passes >= needed else Pace(pace.steps, passes)


def subset_size(part: float, count: int) -> int:
    """How many of `count` examples a share is: at least 1, at most all."""
    return max(1, min(count, round(part * count)))


def easiest_of_all(losses: NDArray[np.floating], size: int) -> NDArray[np.int64]:
    """The `size` easiest examples by loss, whatever their class, as the reports describe it; indices in ascending order.

    For a fresh head they come from one class or two, and training collapses into these.

    Args:
        losses: (n,), lower = easier; ties fall in their order of arrival.
        size: 1 to n.
    """
    _check_size(size, len(losses))
    return np.sort(np.argsort(losses, kind="stable")[:size]).astype(np.int64)


def easiest_batches(losses: NDArray[np.floating], size: int, batch_size: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The batches of lowest mean loss among batches drawn by chance, as the reports' script chose; indices in ascending order.

    Every batch holds every class, more or less, which is what kept their training from collapsing; and the order among
    images is nearly lost in the means, so that it is little of a curriculum.

    Args:
        losses: (n,), lower = easier.
        size: 1 to n; as many of the easiest batches as it takes to reach it, the last one cut.
        batch_size: the last batch holds what is left over.
        random: draws the batches.
    """
    _check_size(size, len(losses))
    order = random.permutation(len(losses))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    batches.sort(key=lambda batch: float(losses[batch].mean()))
    return np.sort(np.concatenate(batches)[:size]).astype(np.int64)


def _check_size(size: int, count: int) -> None:
    if not 1 <= size <= count:
        raise ValueError(f"a subset of {size} is not within 1 to {count}")


def easiest(losses: NDArray[np.floating], classes: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """The `size` easiest examples by loss, each class contributing in proportion to its examples.

    Over all classes together the easiest would come from one or two of them, and training collapses.

    Args:
        losses: (n,), lower = easier; ties fall in their order of arrival.
        classes: (n,) class indices.
        size: 1 to n.

    Returns:
        int64 (size,): indices in ascending order.
    """
    _check_size(size, len(losses))
    names, totals = np.unique(classes, return_counts=True)
    chosen = []
    for name, quota in zip(names, apportion(size, totals.astype(float)), strict=True):
        members = np.flatnonzero(classes == name)
        chosen.append(members[np.argsort(losses[members], kind="stable")[:quota]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def rate_factor(train_accuracy: float | None) -> float:
    """What the accuracy rule multiplies the base learning rate with, given the last epoch's train accuracy."""
    for threshold, factor in ACCURACY_STEPS:
        if train_accuracy is not None and train_accuracy >= threshold:
            return factor
    return 1.0
