"""`python -m curriculum.bench FOLDER`: how fast runs compute on this machine, against a plain loop and the bare model.

Reads `request.json` in FOLDER and writes `result.json` there. What is measured is what a run calls: `Training.epochs`,
`load_images`, `extract_features`, `knn_purity`. All measures take turns, round after round, so that whatever else the
machine does hits them alike; the first round only warms up. It never opens the database, and writes in FOLDER alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from curriculum.cache import CachedRows
from curriculum.config import TrainConfig, config_from_json
from curriculum.errors import CurriculumError
from curriculum.files import write_json
from curriculum.images import load_images
from curriculum.machine import machine
from curriculum.metrics import knn_purity
from curriculum.model import Weights, autocast, build, eval_batch, pick_device
from curriculum.records import EpochResult, TrainingData
from curriculum.score import extract_features
from curriculum.train import Training
from curriculum.yardsticks import RANDOM, BareModel, Files, PlainLoop, knn_by_example

TRANSFER_EPOCHS = 100
KNN_EXAMPLES, KNN_CLASSES, KNN_CALLS = 2800, 7, 5
"""As many as RSSCN7 has; a call takes milliseconds, so several are timed as one."""

RATIOS = {
    "train_speedup": ("train_ours", "train_plain_loop"),
    "train_fraction_of_limit": ("train_ours", "train_bare_model"),
    "score_speedup": ("score_ours", "score_plain_loop"),
    "score_fraction_of_limit": ("score_ours", "score_bare_model"),
    "transfer_speedup": ("transfer_ours", "transfer_plain_loop"),
    "knn_speedup": ("knn_ours", "knn_plain_loop"),
}
NOTES = (
    "train: passes over all images that update all layers, by the clock of a run's own epochs; the plain loop decodes in every epoch, "
    "ours decoded once before.",
    "score: penultimate features of every image from the decoded ones, stored; the plain loop decodes and judges.",
    f"transfer: {TRANSFER_EPOCHS} epochs of the last layer, ours from files to the last epoch's figures, decoding and features included; "
    f"the plain loop's {TRANSFER_EPOCHS} epochs are extrapolated from one epoch over the same images.",
    f"knn: {KNN_EXAMPLES} random features of {RANDOM.plan.features} numbers; the plain loop goes example by example in numpy.",
)

Measure = Callable[[], float]


@dataclass(frozen=True)
class Sample:
    """The files that are measured on: n to train on and a last one to test on, which training wants."""

    root: Path
    examples: list[str]
    sha256: list[str]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def trained(self) -> int:
        return len(self.examples) - 1

    def files(self, size: int) -> Files:
        """The training images for the plain loop."""
        return Files([self.root / name for name in self.examples[: self.trained]], self.labels[: self.trained].tolist(), size)

    def decoded(self, size: int, cache: Path) -> CachedRows:
        return load_images(self.root, self.examples, self.sha256, size, cache)

    def data(self, images: CachedRows) -> TrainingData:
        """The same training images for a run."""
        splits = np.array(["train"] * self.trained + ["test"])
        return TrainingData(images, self.labels, np.full(len(self.labels), -1), splits, self.classes)


def read_sample(request: dict[str, Any]) -> Sample:
    """The sample that a request names."""
    classes = tuple(sorted(set(request["classes"])))
    labels = np.array([classes.index(name) for name in request["classes"]], dtype=np.int64)
    return Sample(Path(request["root"]), request["examples"], request["sha256"], labels, classes)


# -- measuring -----------------------------------------------------------------------------------


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given: only then does a clock tell the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def rate(work: Callable[[], int], device: torch.device) -> float:
    """Images a second of `work`, which returns how many it went through."""
    settle(device)
    started = time.perf_counter()
    count = work()
    settle(device)
    return count / (time.perf_counter() - started)


def take_turns(measures: dict[str, Measure], repeats: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Each measure's value in each of `repeats` rounds, after one round that doesn't count."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(repeats + 1):
        for name, measure in measures.items():
            say(f"round {number} of {repeats}: {name}" if number else f"warming up: {name}")
            value = measure()
            if number:
                found[name].append(value)
    return found


def ratios(found: dict[str, list[float]]) -> dict[str, float]:
    """Each ratio of RATIOS: the median over the rounds of the quotient within a round."""
    return {
        name: median(above / below for above, below in zip(found[ours], found[other], strict=True))
        for name, (ours, other) in RATIOS.items()
    }  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run of this configuration does with the sample, from weights that are read, as pretrained ones are."""

    sample: Sample
    config: TrainConfig
    weights: Weights
    folder: Path

    def epochs(self, images: CachedRows) -> Iterator[EpochResult]:
        """Training of all layers; the device has settled at the end of a pass, when the run reads its clock."""
        device = pick_device(self.config.device)
        return Training(
            self.config, self.sample.data(images), self.weights,
            progress=lambda _phase, done, total: settle(device) if done == total else None,
        ).epochs()  # fmt: skip

    def score(self, images: CachedRows) -> int:
        """Features of all images, into a new cache."""
        with tempfile.TemporaryDirectory(dir=self.folder) as fresh:
            return len(self._extract(images, Path(fresh)))

    def transfer(self) -> int:
        """Mode transfer from the files to the last epoch's figures; returns images times epochs."""
        config = replace(self.config, mode="transfer", epochs=TRANSFER_EPOCHS)
        with tempfile.TemporaryDirectory(dir=self.folder) as fresh:
            images = self.sample.decoded(config.image_size, Path(fresh))
            training = Training(config, self.sample.data(images), self.weights, features=self._extract(images, Path(fresh)))
            return sum(result.subset_size for result in training.epochs())

    def _extract(self, images: CachedRows, cache: Path) -> NDArray[np.float32]:
        return extract_features(
            self.weights, images, self.sample.sha256, pick_device(self.config.device), cache,
            seed=0, progress=lambda *_: None, should_stop=lambda: False,
        )  # fmt: skip


def measures(sample: Sample, config: TrainConfig, folder: Path) -> dict[str, Measure]:
    """What is measured, by name; every value is in images (for knn: examples) a second.

    Args:
        config: the run that is measured, with an epoch for every round.
        folder: for the caches.
    """
    device, size, batch, count = pick_device(config.device), config.image_size, config.batch_size, sample.trained
    images = sample.decoded(size, folder / "cache")
    plain = PlainLoop(sample.files(size), len(sample.classes), batch, device)
    bare = BareModel(len(sample.classes), size, device)
    run = Run(sample, config, Weights("pretrained", build(len(sample.classes), RANDOM, seed=0).state_dict(), "pretrained"), folder)
    epochs = run.epochs(images)
    random = np.random.default_rng(0)
    features = np.abs(random.normal(size=(KNN_EXAMPLES, RANDOM.plan.features))).astype(np.float32)
    labels = random.integers(0, KNN_CLASSES, KNN_EXAMPLES)
    return {
        "train_plain_loop": lambda: rate(plain.train, device),
        "train_ours": lambda: next(epochs).images_per_second,
        "train_bare_model": lambda: rate(lambda: bare.train(count, batch), device),
        "score_plain_loop": lambda: rate(plain.score, device),
        "score_ours": lambda: rate(lambda: run.score(images), device),
        "score_bare_model": lambda: rate(lambda: bare.score(count, min(count, eval_batch(device))), device),
        "transfer_plain_loop": lambda: rate(plain.transfer, device),
        "transfer_ours": lambda: rate(run.transfer, device),
        "knn_plain_loop": lambda: rate(lambda: _knn(knn_by_example, 1, features, labels), device),
        "knn_ours": lambda: rate(lambda: _knn(knn_purity, KNN_CALLS, features, labels), device),
    }


def _knn(function: Callable[..., float], calls: int, features: NDArray[np.float32], labels: NDArray[np.int64]) -> int:
    for _ in range(calls):
        function(features, labels)
    return calls * len(labels)


# -- saying --------------------------------------------------------------------------------------


def bench(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Do what `folder/request.json` asks for; returns the result's document.

    Raises:
        ConfigError: no such device here. DatasetError: a file is gone or changed.
    """
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    config, sample = config_from_json(request["config"]), read_sample(request)
    assert isinstance(config, TrainConfig)
    device = pick_device(config.device)
    found = take_turns(measures(sample, config, folder), request["repeats"], say)
    with autocast(device):
        on = machine(device)
    return {
        **ratios(found),
        "images_per_second": {name: median(values) for name, values in found.items()},
        "rounds": found,
        "images": sample.trained, "image_size": config.image_size, "batch_size": config.batch_size, "repeats": request["repeats"],
        "machine": on, "notes": list(NOTES),
    }  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure, and leave `result.json`: the document, or {"error", "exit_code"} where something was wrong."""
    folder = Path(arguments[0])
    bar = tqdm(file=sys.stderr, leave=False, dynamic_ncols=True, disable=None)

    def say(text: str) -> None:
        if bar.disable:
            print(f"{text} ...", file=sys.stderr, flush=True)
        bar.set_description(text)

    try:
        document, code = bench(folder, say), 0
    except CurriculumError as error:
        document, code = {"error": str(error)}, error.exit_code
    except KeyboardInterrupt:
        return 1
    finally:
        bar.close()
    write_json(folder / "result.json", document)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
