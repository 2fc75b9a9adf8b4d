"""The tables and figures that a run leaves in its directory, made from what was computed. No network is used here."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from curriculum.config import TrainConfig
from curriculum.difficulty import FROM_DYNAMICS, Dynamics, rank_difficulty
from curriculum.files import write_whole
from curriculum.metrics import cross_entropy
from curriculum.records import Final, Peak
from curriculum.rundir import RunDir
from curriculum.train import Training


def class_indices(request: dict[str, Any], order: pd.DataFrame) -> NDArray[np.int64]:
    place = {name: i for i, name in enumerate(request["classes"])}
    return np.array([place[name] for name in order["class"]], dtype=np.int64)


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    write_whole(path, lambda fresh: frame.to_parquet(fresh, index=False))


def write_tensors(path: Path, record: dict[str, Any]) -> None:
    """What `torch.load(path, weights_only=True)` gives again. Through a file of Python's: torch's own doesn't say that the disk is full."""

    def write(fresh: Path) -> None:
        with fresh.open("wb") as file:
            torch.save(record, file)

    write_whole(path, write)


def dynamics(examples: NDArray[np.object_], dynamics: Dynamics) -> pd.DataFrame:
    """One row an epoch and training example, what the model said of it then: loss (nats), margin (logits), error (el2n)."""
    epochs, count = dynamics.losses.shape
    return pd.DataFrame({
        "epoch": np.repeat(np.arange(1, epochs + 1, dtype=np.int32), count), "example": np.tile(examples, epochs),
        "loss": dynamics.losses.ravel(), "margin": dynamics.margins.ravel(), "error": dynamics.errors.ravel(),
    })  # fmt: skip


def training_scores(predictions: pd.DataFrame, dynamics: Dynamics) -> pd.DataFrame:
    """Every score that training gives, of the training examples, with what the chosen model says of them."""
    said = predictions[["example", "predicted", "probability_true", "probabilities"]]
    return in_rows({name: of(dynamics) for name, of in FROM_DYNAMICS.items()}, said)


def in_rows(scores: dict[str, NDArray[np.float64]], said: pd.DataFrame) -> pd.DataFrame:
    """One row a score and example."""
    return pd.concat([
        said.assign(method=method, value=values, difficulty=rank_difficulty(values)) for method, values in scores.items()
    ], ignore_index=True)  # fmt: skip


def predictions(order: pd.DataFrame, classes: list[str], final: Final, learnt: NDArray[np.int64]) -> pd.DataFrame:
    """By the true classes, also where a wrong one was learnt."""
    probabilities, names = final.outcome.probabilities, np.array(classes)
    true = class_indices({"classes": classes}, order)
    return pd.DataFrame({
        "example": order["example"], "split": order["split"], "class": order["class"], "predicted": names[probabilities.argmax(1)],
        "probability": probabilities.max(1).astype(float), "probability_true": probabilities[np.arange(len(true)), true].astype(float),
        "loss": np.where(learnt == true, final.outcome.losses, cross_entropy(probabilities, true)), "probabilities": list(probabilities),
    })  # fmt: skip


def all_images_epoch(epochs: list[dict[str, Any]], images: int) -> int | None:
    """The first epoch in which all training images were in use; None: there was none.

    Args:
        epochs: records of `epochs.jsonl`.
        images: how many there are to train on.
    """
    return next((epoch["epoch"] for epoch in epochs if epoch["subset_size"] >= images), None)


def train_result(run: RunDir, config: TrainConfig, training: Training, final: Final, seconds: float, notes: list[str]) -> dict[str, Any]:
    return {
        "run_id": run.run_id, "mode": config.mode, "protocol": config.protocol, "epoch": final.epoch, "epochs": training.epoch,
        "train_accuracy": final.train_accuracy, "val_accuracy": final.val_accuracy, "val_loss": final.val_loss,
        "test_accuracy": final.test_accuracy, "test_loss": final.test_loss,
        "test_knn": final.test_knn, **{f"peak_test_{each.name}": getattr(final.peak, each.name, None) for each in fields(Peak)},
        "all_images_epoch": all_images_epoch(run.epochs(), len(training.train)), "seconds": seconds,
        "samples_seen": training.samples_seen, "classes": list(training.data.classes),
        "stages": [asdict(stage) for stage in final.stages], "notes": [*notes, *final.notes],
        "examples": {split: len(rows) for split, rows in (("train", training.train), ("val", training.val), ("test", training.test))},
        "device": str(training.device), "torch": torch.__version__,
        **({"channels": asdict(training.channels)} if config.normalise == "computed" else {}),
    }  # fmt: skip
