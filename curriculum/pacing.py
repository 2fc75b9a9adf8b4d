"""Which examples at which epoch: pure functions, no model, no clock.

Three paces. Stages follow levels: easy, then medium too, then all. Self-paced follows the model's own losses: it starts
with a share and earns more whenever it has learnt what it has. A pacing function lets the share grow with the training's
progress alone, along a ranking that was made before. `schedule` applies them to a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curriculum.apportion import apportion
from curriculum.vocabulary import Ordering, Pacing

REPORT_STAGE_EPOCHS = (50, 80, 20)
ACCURACY_STEPS = ((0.92, 0.001), (0.89, 0.05), (0.85, 0.5))
"""Learning rate by train accuracy: at or above the first, the base rate times the second (1e-3, 5e-4, 5e-5, 1e-6 in the reports)."""


@dataclass(frozen=True)
class Stage:
    """`levels`: 0 easy, 1 medium, 2 hard. The last stage takes the unlabelled examples (-1) too."""

    name: str
    levels: tuple[int, ...]
    epochs: int


def plan_stages(epochs: Sequence[int] = REPORT_STAGE_EPOCHS, *, hardest_first: bool = False) -> tuple[Stage, ...]:
    """Easy, easy + medium, all, for so many epochs each; a stage of 0 epochs is left out. Hardest first, hard, medium + hard, all."""
    first = (("hard", (2,)), ("medium+hard", (1, 2))) if hardest_first else (("easy", (0,)), ("easy+medium", (0, 1)))
    names = (*first, ("all", (-1, 0, 1, 2)))
    return tuple(Stage(name, levels, count) for (name, levels), count in zip(names, epochs, strict=True) if count)


def share_epochs(total: int) -> tuple[int, int, int]:
    """A number of epochs shared out over the three stages as the reports' 50:80:20, each at least 1 where there are 3."""
    counts = apportion(total, REPORT_STAGE_EPOCHS)
    while total >= len(REPORT_STAGE_EPOCHS) and counts.min() == 0:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    easy, medium, hard = counts
    return int(easy), int(medium), int(hard)


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

    For a fresh head they come from one class or two, so at first training learns these alone.

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

    Over all classes together the easiest would come from one or two of them, so at first training learns these alone.

    Args:
        losses: (n,), lower = easier; ties fall in their order of arrival.
        classes: (n,) class indices.
        size: 1 to n.

    Returns:
        int64 (size,): indices in ascending order.
    """
    _check_size(size, len(losses))
    names, totals = np.unique(classes, return_counts=True)
    return _first_of_each(losses, classes, dict(zip(names.tolist(), apportion(size, totals.astype(float)).tolist(), strict=True)))


def as_many_of_each(by: NDArray[np.number], classes: NDArray[np.integer], like: NDArray[np.integer]) -> NDArray[np.int64]:
    """As many examples of each class as other ones have: two orders that share these differ in nothing but the order.

    Args:
        by: (n,), lower = taken first; ties fall in their order of arrival.
        classes: (n,) class indices.
        like: (size,) indices of the other ones.

    Returns:
        int64 (size,): indices in ascending order.
    """
    names, quotas = np.unique(classes[like], return_counts=True)
    return _first_of_each(by, classes, dict(zip(names.tolist(), quotas.tolist(), strict=True)))


def _first_of_each(by: NDArray[np.number], classes: NDArray[np.integer], quotas: dict[int, int]) -> NDArray[np.int64]:
    chosen = [np.empty(0, dtype=np.int64)]
    for name, quota in quotas.items():
        members = np.flatnonzero(classes == name)
        chosen.append(members[np.argsort(by[members], kind="stable")[:quota]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def steps_within(seen: int, samples: int, batch_size: int) -> int:
    """Optimizer steps of an epoch of `samples` that follows `seen` others: those whose batch begins in it, if all samples came in one row.

    So subsets of any size take the same number of steps for the same samples, where a batch that ends with each epoch would give small ones
    more. At least 1: only subsets smaller than a batch still take more.
    """
    return max(1, -(-(seen + samples) // batch_size) + (-seen // batch_size))


def joining_order(difficulty: NDArray[np.floating], ordering: Ordering, random: np.random.Generator) -> NDArray[np.int64]:
    """The place, 0 to n - 1, at which each example joins: a permutation.

    Args:
        difficulty: (n,), higher = harder; equal ones fall in an order drawn by chance, not in that of arrival.
        ordering: curriculum: the easiest first; anti_curriculum: just the reverse of it; random and standard: by chance alone.
        random: draws.
    """
    drawn = random.permutation(len(difficulty))
    if ordering in ("random", "standard"):
        return drawn.astype(np.int64)
    place = np.empty(len(difficulty), dtype=np.int64)
    place[np.lexsort((drawn, difficulty))] = np.arange(len(difficulty))
    return len(difficulty) - 1 - place if ordering == "anti_curriculum" else place


# -- pacing functions ----------------------------------------------------------------------------


def _stairs(t: float, start: float, _p: float) -> float:
    steps = math.ceil(round(math.log2(1 / start), 9))
    return start * 2.0 ** math.floor(t * steps)


PACE: dict[Pacing, Callable[[float, float, float], float]] = {
    "step": lambda _t, start, _p: start,
    "linear": lambda t, start, _p: start + (1 - start) * t,
    "root": lambda t, start, p: (t * (1 - start**p) + start**p) ** (1 / p),
    "exponential": lambda t, start, _p: start + (1 - start) * math.expm1(10 * t) / math.expm1(10),
    "logarithmic": lambda t, start, _p: start + (1 - start) * (1 + 0.1 * math.log(t + math.exp(-10))),
    "staircase": _stairs,
}
"""The share in use at t, 0 to 1, of the way from `start` to all; `p` is the root's."""


def paced_share(pacing: Pacing, progress: float, *, start: float, full_at: float, root: float) -> float:
    """Share of the training examples in use, from `start` to 1; it never falls.

    Args:
        pacing: step: `start`, then all at once; linear; root: fast at first; exponential: slowly at first; logarithmic: nearly
            all soon; staircase: doubled again and again, in stretches of equal length.
        progress: how much of the training is done, 0 to 1.
        start: share at the beginning, above 0 and up to 1.
        full_at: progress from which all are in use, above 0 and up to 1.
        root: p of the root; 1 is linear, 2 the square root.

    Source: Wu et al. 2021, table 2, for step, linear, exponential and logarithmic (their a is `full_at`, their b `start`);
    Platanios et al. 2019, equation 7, for root; Hacohen & Weinshall 2019, section 2.2, for the staircase, their fixed
    exponential pacing, with a factor of 2 and the stretch that ends at `full_at`.
    """
    t = progress / full_at
    return 1.0 if t >= 1.0 else min(max(PACE[pacing](t, start, root), start), 1.0)


def rate_factor(train_accuracy: float | None) -> float:
    """What the accuracy rule multiplies the base learning rate with, given the last epoch's train accuracy."""
    for threshold, factor in ACCURACY_STEPS:
        if train_accuracy is not None and train_accuracy >= threshold:
            return factor
    return 1.0
