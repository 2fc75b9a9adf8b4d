"""Which training examples each epoch of a run uses, and when the run is over: `pacing`'s rules applied to one configuration.

Knows levels, difficulty and losses as arrays, no network. A run ends after its epochs or, with a budget, after so many
samples seen; then its last epoch, and the last of each stage, is cut to end there exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from curriculum import pacing
from curriculum.apportion import apportion
from curriculum.config import TrainConfig
from curriculum.errors import LabelsMissingError, RunError
from curriculum.vocabulary import ORDERINGS, PACINGS

DEFAULT_EPOCHS = {"staged": 150, "self-paced": 100, "paced": 100, "fine-tune": 20, "transfer": 100, "scratch": 40}


@dataclass(frozen=True)
class Lesson:
    """One epoch: `rows` are positions among the training examples, ascending; `samples` of them, drawn by chance, are seen."""

    stage: str
    rows: NDArray[np.int64]
    samples: int


class Schedule:
    """Where a run stands among its stages and paces.

    Args:
        config: of the run.
        classes: (n,) class indices of the training examples.
        levels: (n,) their levels: 0 easy, 1 medium, 2 hard, -1 nobody said.
        difficulty: (n,), higher = harder; needed by mode paced.
        replay: for self-paced in another order: (size, samples) of each epoch of the run that is replayed.

    Raises:
        LabelsMissingError: staged, and no training example has the level that the first stage goes by.
        RunError: what is replayed doesn't fit these examples.
    """

    def __init__(
        self,
        config: TrainConfig,
        classes: NDArray[np.int64],
        levels: NDArray[np.int64],
        difficulty: NDArray[np.float64] | None = None,
        replay: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.config, self.classes, self.count = config, classes, len(classes)
        self.replay = tuple(replay)
        self.epochs = config.epochs or len(self.replay) or DEFAULT_EPOCHS[config.mode]
        self.budget = config.budget
        self.pace = pacing.Pace()
        # The words that the configuration has checked, as those of their vocabularies.
        self.ordering, self.pacing = ORDERINGS[ORDERINGS.index(config.ordering)], PACINGS[PACINGS.index(config.pacing)]
        random = np.random.default_rng((config.seed, 0, 0, 2))  # apart from every epoch's (seed, epoch)
        if difficulty is None and config.mode == "paced":
            raise ValueError("mode paced needs a difficulty")
        by = levels.astype(float) if config.mode == "staged" else np.zeros(self.count) if difficulty is None else difficulty
        self.place = pacing.joining_order(by, self.ordering, random)
        self.stages = self._plan(levels)
        self.members = self._members(levels)
        self.ends = self._ends()
        if config.replay and not self.replay:
            raise RunError("the run that is replayed has no epochs", got=config.replay, todo="Give a self-paced run that has finished")
        if any(size > self.count for size, _ in self.replay):
            raise RunError(
                "the run that is replayed used more images than there are", got=max(self.replay)[0], allowed=f"up to {self.count}"
            )

    def _plan(self, levels: NDArray[np.int64]) -> tuple[pacing.Stage, ...]:
        config = self.config
        if config.mode != "staged":
            name = config.mode if config.mode in ("self-paced", "paced") else "all"
            return (pacing.Stage(name, (-1, 0, 1, 2), self.epochs),)
        backwards = config.ordering == "anti_curriculum"
        for level, what in ((2, "hard"), (0, "easy")) if backwards else ((0, "easy"),):
            if not (levels == level).any():
                raise LabelsMissingError(
                    f"staged training goes by the {what} images first, and no training image is labelled {what}",
                    todo="Sort some images first, take simulated labels (levels: simulated), or choose self-paced",
                )
        return pacing.plan_stages(self._stage_epochs(), hardest_first=backwards)

    def _stage_epochs(self) -> tuple[int, int, int]:
        return self.config.stage_epochs or pacing.share_epochs(self.epochs)

    def _members(self, levels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The rows of each stage; in another order as many of each class as the levels give, whatever images come first."""
        if self.config.mode != "staged":
            return [np.arange(self.count)]
        easy_first = [np.flatnonzero(np.isin(levels, stage.levels)) for stage in pacing.plan_stages(self._stage_epochs())]
        if self.ordering == "curriculum":
            return easy_first
        return [pacing.as_many_of_each(self.place, self.classes, rows) for rows in easy_first]

    def _ends(self) -> list[int]:
        """Where each stage ends: an epoch, or samples seen where there is a budget, shared out as the epochs would have been."""
        if self.budget is None:
            return [int(end) for end in np.cumsum([stage.epochs for stage in self.stages])]
        weights = [stage.epochs * max(len(rows), 1) for stage, rows in zip(self.stages, self.members, strict=True)]
        return [int(end) for end in np.cumsum(apportion(self.budget, weights))]

    # -- where it stands -------------------------------------------------------------------------

    @property
    def needs_losses(self) -> bool:
        """Whether the current losses decide what comes next."""
        return self.config.mode == "self-paced" and self.config.ordering != "random"

    @property
    def earns(self) -> bool:
        """Whether train accuracy decides how many come next: a replay's sizes are set, whatever it learns."""
        return self.needs_losses and not self.replay

    def over(self, epoch: int, seen: int) -> bool:
        """After so many epochs and samples: is that all?"""
        return (epoch if self.budget is None else seen) >= self.ends[-1]

    def stage(self, epoch: int, seen: int) -> int:
        """The stage of the epoch that follows so many epochs and samples; the last one's where nothing follows."""
        done = epoch if self.budget is None else seen
        return min(int(np.searchsorted(self.ends, done, side="right")), len(self.ends) - 1)

    def learned(self, train_accuracy: float | None) -> None:
        """Take note of an epoch's accuracy on what it used."""
        if self.earns and train_accuracy is not None:
            self.pace = self._next(self.pace, train_accuracy)

    def _next(self, pace: pacing.Pace, accuracy: float) -> pacing.Pace:
        c = self.config
        return pacing.next_pace(pace, accuracy, start=c.start_share, step=c.step_share, gate=c.gate, slow_from=c.slow_from)

    # -- what comes next -------------------------------------------------------------------------

    def lesson(self, epoch: int, seen: int, losses: NDArray[np.float64] | None) -> Lesson:
        """The epoch that follows so many epochs and samples.

        Args:
            losses: (n,) of the training examples, as the model stands; only where `needs_losses`.
        """
        stage = self.stage(epoch, seen)
        name, size, samples = self._size(epoch, seen, self.pace)
        return Lesson(name, self._rows(stage, epoch, size, losses), samples)

    def _size(self, epoch: int, seen: int, pace: pacing.Pace) -> tuple[str, int, int]:
        """Stage, images in use, samples of the epoch that follows."""
        c, stage = self.config, self.stage(epoch, seen)
        if self.replay:
            size, samples = self.replay[min(epoch, len(self.replay) - 1)]
        else:
            if c.mode == "self-paced":
                size = pacing.subset_size(pacing.share(pace, c.start_share, c.step_share), self.count)
            elif c.mode == "paced" and c.ordering != "standard":
                progress = epoch / self.epochs if self.budget is None else seen / self.budget
                part = pacing.paced_share(self.pacing, progress, start=c.start_share, full_at=c.full_at, root=c.root)
                size = pacing.subset_size(part, self.count)
            else:
                size = len(self.members[stage])
            samples = size
        left = samples if self.budget is None else self.ends[stage] - seen
        return self.stages[stage].name, size, min(samples, left)

    def _rows(self, stage: int, epoch: int, size: int, losses: NDArray[np.float64] | None) -> NDArray[np.int64]:
        c = self.config
        if c.mode not in ("self-paced", "paced"):
            return self.members[stage]
        if c.variant == "as-run":  # which draws its batches anew each epoch, and so does its control
            random = np.random.default_rng((c.seed, epoch + 1, 1))
            if not self.needs_losses:
                return np.sort(random.permutation(self.count)[:size]).astype(np.int64)
            assert losses is not None
            return pacing.easiest_batches(losses, size, c.batch_size, random)
        by = self.place.astype(float)
        if self.needs_losses:
            assert losses is not None
            by = -losses if c.ordering == "anti_curriculum" else losses
        return self._first(by, size, c.class_balanced if c.mode == "paced" else c.variant == "balanced")

    def _first(self, by: NDArray[np.float64], size: int, balanced: bool) -> NDArray[np.int64]:
        return pacing.easiest(by, self.classes, size) if balanced else pacing.easiest_of_all(by, size)

    def coming(self, epoch: int, seen: int) -> Iterator[tuple[int, int]]:
        """(images in use, samples) of each epoch still to come; self-paced as if every epoch passed its gate."""
        pace = self.pace
        while not self.over(epoch, seen):
            _, size, samples = self._size(epoch, seen, pace)
            yield size, samples
            epoch, seen = epoch + 1, seen + samples
            if self.earns:
                pace = self._next(pace, 1.0)


def lessons_of(epochs: Sequence[dict[str, int]]) -> list[tuple[int, int]]:
    """(size, samples) of each recorded epoch, for `replay`: from its fields subset_size and samples_seen."""
    seen = [0, *(epoch["samples_seen"] for epoch in epochs)]
    return [(epoch["subset_size"], after - before) for epoch, (before, after) in zip(epochs, pairwise(seen), strict=True)]
