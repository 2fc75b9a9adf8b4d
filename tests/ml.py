"""A tiny data set that a network learns in seconds: plain colours under noise, 32 pixels wide."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curriculum.cache import ArrayCache, CachedRows
from curriculum.records import TrainingData

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
