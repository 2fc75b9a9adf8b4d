"""A tiny data set that a network learns in seconds: plain colours under noise, 32 pixels wide."""

from __future__ import annotations

import hashlib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curriculum import assignment, datasets, intake, labels, preparation, simulate, worker
from curriculum.cache import ArrayCache, CachedRows
from curriculum.config import Config, ScoreConfig, TrainConfig
from curriculum.home import Home
from curriculum.records import TrainingData
from curriculum.rundir import RunDir
from curriculum.store import Store
from curriculum.vocabulary import Level

SIZE = 32
CLASSES = ("blue", "green", "red")
COLOURS = np.array([(60, 90, 190), (70, 170, 80), (190, 80, 70)], dtype=float)


def textures(each: int, *, seed: int = 0, noise: float = 25.0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`each` images of each class, class by class, no two alike: uint8 (n, 32, 32, 3) and labels (n,)."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), each)
    base = COLOURS[labels] + random.normal(0, 12, (len(labels), 3))
    pixels = base[:, None, None, :] + random.normal(0, noise, (len(labels), SIZE, SIZE, 3))
    return pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64)


def cached(folder: Path, images: NDArray[np.uint8]) -> tuple[CachedRows, list[str]]:
    """Images as a run sees them, with their keys."""
    keys = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    cache = ArrayCache(folder, f"images-{images.shape[1]}", images.shape[1:], np.uint8)
    cache.append(keys, images)
    return cache.rows(keys), keys


def training_data(folder: Path, each: int = 20, *, seed: int = 0, noise: float = 25.0) -> TrainingData:
    """Of every ten images of a class six train, two validate, two test; levels go round easy, medium, hard."""
    images, labels = textures(each, seed=seed, noise=noise)
    place = np.arange(len(labels)) % each
    splits = np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 2)[place % 10]
    rows, _ = cached(folder, images)
    return TrainingData(rows, labels, (place % 3).astype(np.int64), splits, CLASSES)


def write_folder(root: Path, each: int = 12, *, seed: int = 0, noise: float = 25.0) -> Path:
    """The same images as a folder of class folders with PNG files."""
    images, labels = textures(each, seed=seed, noise=noise)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return root


def made(store: Store, config: Config) -> RunDir:
    """A run, worked on in this process, with what it says in its log, and taken in: whether it is done or has failed."""
    run = preparation.prepare(store, config)
    with (run / "log.txt").open("w") as log, redirect_stdout(log), redirect_stderr(log):
        worker.work(run)
    assert not intake.ingest(store, run).active
    return run


def fill(store: Store, home: Home, people: dict[str, list[Level]]) -> None:
    """A data set `textures`, its ranking, simulated levels, each person's levels, a staged run and a failed one."""
    datasets.add_dataset(store, "textures", write_folder(home.root / "pictures", each=15))
    made(store, ScoreConfig("textures", weights="none", image_size=SIZE))
    simulate.simulate_annotators(store, "textures", dict(store.rows("SELECT example, difficulty FROM score")))
    for person, levels in people.items():
        labels.add_annotator(store, person)
        for level, example in zip(levels, assignment.queue(store, "textures", person, len(levels)), strict=True):
            labels.annotate(store, "textures", example, person, level)
    made(store, TrainConfig("textures", mode="staged", levels="simulated", weights="none", image_size=SIZE, epochs=3))
    made(store, TrainConfig("textures", mode="fine-tune", weights="none", image_size=SIZE, epochs=1, learning_rate=10.0))  # diverges


def trained(home: Home, store: Store, each: int = 12) -> str:
    """A data set `textures` and a run that has learnt it; the run's id."""
    datasets.add_dataset(store, "textures", write_folder(home.root / "pictures", each=each, noise=60.0))
    return made(store, TrainConfig("textures", mode="fine-tune", weights="none", image_size=SIZE, epochs=2, dynamics=False)).run_id
