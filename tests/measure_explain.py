"""How long LIME takes, ours beside the library as it comes: `python -m tests.measure_explain RUN [--home DIR] [--images 5] [--samples 1000]`.

Both explain the run's misclassified test images with the highest loss, with the same regions (quickshift), in one process after another
warm-up; the library's own loop composes images one by one and asks a float32 classifier ten at a time. Answers are not stored.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from torchvision.models import ResNet

from curriculum import datasets, explain, mistakes
from curriculum.home import Home
from curriculum.images import load_images
from curriculum.model import load_weights, normalise, pick_device, restore, to_numpy
from curriculum.regions import jaccard, strongest
from curriculum.rundir import open_run
from curriculum.store import Store


def plain(net: ResNet, image: NDArray[np.uint8], segments: NDArray[np.int64], labels: list[int], samples: int) -> NDArray[np.float64]:
    """The library by itself; the weights of every region, (labels, regions)."""

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            return to_numpy(net(normalise(torch.from_numpy(images))).softmax(1))

    found = LimeImageExplainer(random_state=0).explain_instance(
        image,
        classify,
        labels=labels,
        top_labels=None,
        num_samples=samples,
        batch_size=10,
        segmentation_fn=lambda _: segments,
        random_seed=0,
    )
    return np.array([[dict(found.local_exp[label])[region] for region in range(int(segments.max()) + 1)] for label in labels])


def run() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("run_id")
    options.add_argument("--home")
    options.add_argument("--images", type=int, default=5)
    options.add_argument("--samples", type=int, default=1000)
    given = options.parse_args()
    home = Home.find(given.home)
    run = open_run(home, given.run_id)
    with Store.open_or_snapshot(home) as store:
        judged = mistakes.predictions(store, given.run_id)
        root = datasets.get_dataset(store, run.config().dataset).root
    wrong, device = judged[~judged["correct"]].head(given.images), pick_device("auto")
    images = load_images(root, wrong["example"].tolist(), wrong["sha256"].tolist(), run.config().image_size, home.cache)
    classes = run.request()["classes"]
    weights = load_weights(f"run:{given.run_id}", home.runs)
    ours, theirs = restore(len(classes), weights).eval(), restore(len(classes), weights).eval().to(memory_format=torch.contiguous_format)
    taken: list[tuple[float, float, float, float]] = []
    for number, row in enumerate([wrong.iloc[0].to_dict(), *wrong.to_dict("records")]):
        image = np.asarray(images[[max(number - 1, 0)]][0], dtype=np.uint8)
        segments = explain.segment(image, "quickshift")
        labels = [classes.index(row["predicted"]), classes.index(row["class"])]
        started = _now()
        first = plain(theirs, image, segments, labels, given.samples)
        between = _now()
        looker = explain.Looker(ours, image, segments, device)
        second = explain.weigh(looker, labels, given.samples, 0, lambda *_: None, lambda: False).weights
        ended = _now()
        if not number:
            continue  # to warm up
        taken.append((between[0] - started[0], ended[0] - between[0], between[1] - started[1], ended[1] - between[1]))
        same = jaccard(strongest(first[0]), strongest(second[0]))
        apart = np.abs(first - second).max()
        print(f"{row['example']}: {segments.max() + 1} regions, {_said(taken[-1])}, "
              f"weights differ by {apart:.4f} at most, strongest five overlap {same:.2f}, load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    medians = [statistics.median(column) for column in zip(*taken, strict=True)]
    print(f"medians: {_said(medians)}, {medians[0] / medians[1]:.1f} times by the clock, {medians[2] / medians[3]:.1f} in processor time; "
          f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads")  # fmt: skip


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _said(taken: Sequence[float]) -> str:
    return f"lime {taken[0]:.2f} s, ours {taken[1]:.2f} s (processor time {taken[2]:.2f} and {taken[3]:.2f})"


if __name__ == "__main__":
    run()
