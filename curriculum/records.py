"""What training is given and what it says, as plain records: no behaviour, no files, no tensors but a model's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from curriculum.cache import CachedRows


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from: n examples in one order throughout."""

    images: CachedRows  # uint8 (n, size, size, 3)
    labels: NDArray[np.int64]  # (n,) class indices
    levels: NDArray[np.int64]  # (n,) 0 easy, 1 medium, 2 hard, -1 nobody said
    splits: NDArray[np.str_]  # (n,) train, val, test
    classes: tuple[str, ...]
    difficulty: NDArray[np.float64] | None = None  # (n,) higher = harder, for a pace that follows a ranking
    joint: NDArray[np.bool_] | None = None  # (n, classes): every class that an example has, where it may have several

    def indices(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.splits == split).astype(np.int64)


@dataclass(frozen=True)
class EpochResult:
    """One epoch; schema.sql's table `epoch` explains each field. None: this protocol doesn't measure it."""

    epoch: int
    stage: str
    subset_size: int
    learning_rate: float
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    val_knn: float | None
    test_loss: float | None
    test_accuracy: float | None
    test_knn: float | None
    seconds: float
    images_per_second: float
    samples_seen: int


@dataclass(frozen=True)
class Outcome:
    """A model's judgement of m examples: probabilities (m, classes), losses (m,) in nats, margins (m,): the true class's logit
    less the largest other, features (m, d)."""

    indices: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    losses: NDArray[np.float64]
    margins: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class StageResult:
    """The model that a stage ended with, on test: the images of its own levels, and all."""

    stage: str
    epoch: int
    own_accuracy: float | None
    own_loss: float | None
    own_examples: int
    accuracy: float
    loss: float
    knn: float


@dataclass(frozen=True)
class Peak:
    """The epoch that is best on test, the first of equal ones: picked there, and so biased upwards. None: not kept, by an older version."""

    accuracy: float
    epoch: int | None = None
    loss: float | None = None
    knn: float | None = None


@dataclass(frozen=True)
class Final:
    """The chosen model's figures and its judgement of every example."""

    epoch: int
    train_accuracy: float  # of the training examples in eval mode, by the classes that were learnt
    val_accuracy: float | None
    val_loss: float | None
    test_accuracy: float
    test_loss: float
    test_knn: float
    peak: Peak | None  # protocol report only
    stages: tuple[StageResult, ...]
    outcome: Outcome
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Best:
    """The best epoch so far on val and its parameters."""

    epoch: int
    accuracy: float
    loss: float
    state: dict[str, Tensor]

    def beaten_by(self, accuracy: float, loss: float) -> bool:
        return (accuracy, -loss) > (self.accuracy, -self.loss)
