"""A home as large as wanted, made in minutes: small images, labels, a model's scores, runs; nothing is trained. For `measure_scale`."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from curriculum import datasets
from curriculum.config import ScoreConfig, TrainConfig
from curriculum.difficulty import rank_difficulty
from curriculum.rundir import RunDir, Status
from curriculum.store import Store
from curriculum.vocabulary import LEVELS

DATASET = "large"
CLASSES = 10
PIXELS, PICTURES = 32, 300
FILE_ROWS = 1_000_000
"""Of a file of labels: an import takes no more (label_formats.MAX_ROWS)."""


def draw(folder: Path, images: int) -> None:
    """So many JPEG files of ten classes: each class has 300 pictures, and every file a comment of its own, so that no two files are alike."""
    random = np.random.default_rng(0)
    for number in range(CLASSES):
        where = folder / f"class{number}"
        where.mkdir(parents=True, exist_ok=True)
        colour = np.array([(number * step) % 200 for step in (53, 97, 151)], dtype=np.uint8)
        pictures = [_picture(colour + random.integers(0, 56, (4, 4, 3), dtype=np.uint8)) for _ in range(PICTURES)]
        for each in range(images // CLASSES + (number < images % CLASSES)):
            start, rest = pictures[each % PICTURES][:2], pictures[each % PICTURES][2:]
            comment = f"{number} {each}".encode()
            (where / f"{each:06}.jpg").write_bytes(start + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + rest)


def _picture(blocks: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((PIXELS, PIXELS), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def label_files(folder: Path, examples: list[str], annotators: int, labels: int) -> Iterator[Path]:
    """CSV files of people's labels, at most a million rows each: every image has those of two people or more, as long as labels are left."""
    random = np.random.default_rng(1)
    each = min(annotators, max(2, -(-labels // len(examples))))
    images = random.permutation(len(examples))[: -(-labels // each)]
    place = np.repeat(images, each)[:labels]
    who = (place + np.tile(np.arange(each), len(images))[:labels]) % annotators
    level = np.clip(random.random(len(examples))[place] * 3 + random.normal(0, 0.5, labels), 0, 2).astype(int)
    rows = pd.DataFrame({
        "example": np.array(examples, dtype=object)[place], "annotator": [f"Annotator {one + 1:02}" for one in who],
        "level": np.array(LEVELS, dtype=object)[level], "seconds": random.gamma(2, 1.5, labels).round(2),
    })  # fmt: skip
    for start in range(0, labels, FILE_ROWS):
        path = folder / f"labels{start // FILE_ROWS}.csv"
        rows.iloc[start : start + FILE_ROWS].to_csv(path, index=False)
        yield path


def score_run(store: Store) -> RunDir:
    """A finished ranking of every image with two measures, as a worker leaves it."""
    order = datasets.examples(store, DATASET)
    run = RunDir(store.home.runs / "20260101-000000-oof-loss-0000")
    _request(store, run, ScoreConfig(DATASET, weights="none", image_size=PIXELS), order[["example", "class"]])
    random = np.random.default_rng(2)
    values = random.gamma(1.0, 0.5, len(order))
    said = _said(order, random)[["example", "predicted", "probability_true", "probabilities"]]
    frames = [
        said.assign(method=name, value=v, difficulty=rank_difficulty(v)) for name, v in (("oof_loss", values), ("margin", -values[::-1]))
    ]
    pd.concat(frames, ignore_index=True).to_parquet(run / "scores.parquet", index=False)
    return _finished(run, {"run_id": run.run_id})


def training_runs(store: Store, runs: int, judged: int, epochs: int = 30) -> None:
    """Finished training runs of so many epochs: the first judged every image, the others `judged` each."""
    order = datasets.examples(store, DATASET)
    random = np.random.default_rng(3)
    classes = list(datasets.get_dataset(store, DATASET).classes)
    for number in range(runs):
        mine = order if number == 0 else order.sample(min(judged, len(order)), random_state=number)
        mine = mine.assign(split=np.array(["train", "train", "train", "val", "test"])[np.arange(len(mine)) % 5])
        mode = ("fine-tune", "transfer", "self-paced", "paced")[number % 4]
        run = RunDir(store.home.runs / f"20260102-{number:06}-{mode}-{number:04x}")
        config = TrainConfig(DATASET, mode=mode, weights="none", image_size=(32, 64, 128)[number % 3], epochs=epochs, seed=number // 12)
        _request(store, run, config, mine[["example", "class", "split"]])
        for epoch in range(1, epochs + 1):
            run.append_epoch({
                "epoch": epoch, "stage": mode, "subset_size": int((mine["split"] == "train").sum()), "learning_rate": 1e-4,
                "train_loss": 1 / epoch, "train_accuracy": 1 - 1 / (epoch + 1), "val_loss": 1.2 / epoch, "val_accuracy": 1 - 1.2 / (epoch + 1),
                "val_knn": 0.5, "test_loss": None, "test_accuracy": None, "test_knn": None, "seconds": 1.0, "images_per_second": 100.0,
                "samples_seen": epoch * len(mine),
            })  # fmt: skip
        _said(mine, random).to_parquet(run / "predictions.parquet", index=False)
        _finished(run, {
            "run_id": run.run_id, "mode": mode, "protocol": "honest", "epoch": epochs, "epochs": epochs, "train_accuracy": 0.95,
            "val_accuracy": 0.9, "val_loss": 0.3, "test_accuracy": float(random.uniform(0.8, 0.95)), "test_loss": 0.3, "test_knn": 0.8,
            "peak_test_accuracy": None, "seconds": float(epochs), "samples_seen": epochs * len(mine), "classes": classes, "stages": [],
            "notes": [], "examples": {split: int((mine["split"] == split).sum()) for split in ("train", "val", "test")}, "device": "cpu",
            "torch": "none",
        })  # fmt: skip


def _request(store: Store, run: RunDir, config: ScoreConfig | TrainConfig, order: pd.DataFrame) -> None:
    dataset = datasets.get_dataset(store, DATASET)
    run.write_request(config, root=dataset.root, home=store.home, classes=dataset.classes, order=order)


def _finished(run: RunDir, result: dict[str, object]) -> RunDir:
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    run.write_status(Status("done", seconds=30.0, updated_at=time.time()))
    return run


def _said(order: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """What some model says: right four times of five."""
    classes = np.array(sorted(order["class"].unique()))
    true = np.searchsorted(classes, order["class"].to_numpy(str))
    logits = random.normal(0, 1, (len(order), len(classes))).astype(np.float32)
    logits[np.arange(len(true)), true] += 3.5
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    own = shares[np.arange(len(true)), true].astype(float)
    return order.drop(columns=[c for c in order if c not in ("example", "class", "split")]).assign(
        predicted=classes[shares.argmax(1)], probability=shares.max(1).astype(float), probability_true=own, loss=-np.log(own), probabilities=list(shares)
    )  # fmt: skip
