"""One pass over a data set: penultimate features, a model's losses, and losses out of fold.

Eval mode, no augmentation, plain cross-entropy throughout.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from curriculum.cache import ArrayCache, CachedRows
from curriculum.difficulty import stability
from curriculum.errors import CancelledError, DatasetError
from curriculum.judging import Judge
from curriculum.metrics import cross_entropy
from curriculum.model import IMAGENET, Channels, Weights, autocast, build_backbone, eval_batch, normalise, to_numpy
from curriculum.ranks import ALONE, Ranks
from curriculum.splits import assign_parts

BLOCK = 128
"""Images between two looks at whether to stop; what was extracted is stored as often."""
HEAD_C = 0.03
"""Inverse strength of the L2 penalty on standardised features: of 0.001 to 0.1 the lowest out-of-fold loss on RSSCN7."""

Progress = Callable[[str, int, int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Scores:
    """Raw scores of n examples. `values` (n,), higher = harder; `probabilities` (n, classes) behind them."""

    values: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    repeats: NDArray[np.float64]  # (repeats, n): the values of each repeat
    stability: float | None  # mean Spearman correlation between repeats; None for one


def extract_features(
    weights: Weights,
    images: CachedRows,
    sha256: Sequence[str],
    device: torch.device,
    cache_folder: Path,
    *,
    seed: int,
    progress: Progress,
    should_stop: Stop,
    ranks: Ranks = ALONE,
    channels: Channels = IMAGENET,
) -> NDArray[np.float32]:
    """Penultimate features (n, features) of a frozen backbone, computed once for weights, size and image.

    Args:
        weights: the backbone's; a random start is drawn from `seed` and cached under it.
        images: uint8 (n, size, size, 3).
        sha256: of the images' files, n of them: keys of the cache.
        progress: called with ("features", done, to do).
        ranks: the processes that share the work; each computes its part and reads all.
    """
    size = images.shape[1]
    cache = ArrayCache(cache_folder, f"features-{_start(weights, seed, channels)}-{size}", (weights.plan.features,), np.float32)
    todo = ranks.share(np.array(cache.missing(sha256), dtype=np.int64))
    if len(todo):
        net, mine = build_backbone(weights, seed, size).to(device).eval(), ranks.mine(todo)
        for at in range(0, math.ceil(len(todo) / ranks.size), BLOCK):
            if ranks.any(should_stop()):
                raise CancelledError("the scoring was cancelled; what was extracted is kept")
            block = mine[at : at + BLOCK]
            if len(block):
                cache.append([sha256[i] for i in block], to_numpy(_features(net, images, block, device, channels)))
            progress("features", min((at + BLOCK) * ranks.size, len(todo)), len(todo))
        ranks.any(False)  # until all are done
    return np.asarray(cache.rows(sha256)[:], dtype=np.float32)


def _start(weights: Weights, seed: int, channels: Channels) -> str:
    """A name for what the features come from."""
    drawn = "" if weights.state is not None else f"-{seed}"
    network = "" if weights.architecture == "resnet18" else f"{weights.architecture}-"
    own = "" if channels == IMAGENET else "-" + hashlib.sha256(repr(channels).encode()).hexdigest()[:8]
    return f"{network}{weights.fingerprint}{drawn}{own}"


def _features(backbone: nn.Module, images: CachedRows, rows: NDArray[np.int64], device: torch.device, channels: Channels) -> torch.Tensor:
    """Penultimate features of these rows, float (len(rows), features), on the device."""
    size = eval_batch(device)
    with torch.inference_mode(), autocast(device):
        parts = [
            backbone(normalise(torch.from_numpy(images[rows[at : at + size]]).to(device), channels)).float()
            for at in range(0, len(rows), size)
        ]
        return torch.cat(parts)


def out_of_fold_losses(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: Sequence[int | None],
    *,
    folds: int,
    repeats: int,
    seed: int,
    progress: Progress,
    should_stop: Stop,
) -> Scores:
    """Cross-entropy of each example under heads that were trained without it.

    A multinomial logistic regression on standardised frozen features, `folds`-fold, the folds drawn anew
    `repeats` times; stratified by class, overlap groups kept together, so that no near-copy of an image
    helps to judge it.

    Args:
        features: (n, 512).
        labels: (n,) class indices 0 to classes - 1.
        groups: overlap group of each, or None.

    Returns:
        Scores: `values` are the means over the repeats, in nats, 0 or more, higher = harder.

    Raises:
        DatasetError: a class has fewer examples than there are folds, or all of it overlaps.
    """
    counts = np.bincount(labels)
    classes, least = len(counts), int(counts.min())
    if least < folds:
        raise DatasetError(f"each class needs at least {folds} images for {folds} folds", got=f"a class with {least}",
                           todo="Add images or lower --folds")  # fmt: skip
    names = [str(label) for label in labels]
    probabilities = np.zeros((repeats, len(labels), classes), dtype=np.float64)
    for repeat in range(repeats):
        parts = assign_parts(names, groups, [1 / folds] * folds, seed=seed * 1000 + repeat)
        for fold in range(folds):
            if should_stop():
                raise CancelledError("the scoring was cancelled")
            held = parts == fold
            if held.any():
                with threadpool_limits(1):  # small matrices: threads cost time, and ten times as much beside another run
                    probabilities[repeat, held] = _head(features[~held], labels[~held], features[held], classes)
            progress("out-of-fold heads", repeat * folds + fold + 1, repeats * folds)
    losses = np.stack([cross_entropy(each, labels) for each in probabilities])
    return Scores(losses.mean(0), probabilities.mean(0).astype(np.float32), losses, stability(losses))


def losses_from_train(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    train: NDArray[np.bool_],
    groups: Sequence[int | None],
    classes: Sequence[str],
    *,
    seed: int,
    progress: Progress,
    should_stop: Stop,
) -> NDArray[np.float64]:
    """Cross-entropy of each example under heads that saw nothing but the training examples: the ranking for one split.

    Args:
        features: (n, 512). labels: (n,). groups: overlap group of each, or None.
        train: (n,), which examples may be learnt from.
        classes: what they are called.

    Returns:
        (n,) nats, higher = harder: of the training examples out of fold (at most 5 folds, 3 repeats), of the others by a head that
        learnt from all of these.

    Raises:
        DatasetError: a class has fewer than two training images, of which one is judged by a head that knows the other.
    """
    rows = np.flatnonzero(train)
    counts = np.bincount(labels[rows], minlength=len(classes))
    if (least := int(counts.min())) < 2:
        raise DatasetError("the model ranks the training images out of fold, which needs at least 2 of each class in train",
                           got=f"{least} of class {classes[int(counts.argmin())]}",
                           todo="Add images of that class, or let another --seed split them")  # fmt: skip
    folds = min(5, least)
    within = out_of_fold_losses(
        features[rows], labels[rows], [groups[int(row)] for row in rows], folds=folds, repeats=3, seed=seed,
        progress=progress, should_stop=should_stop,
    )  # fmt: skip
    losses = np.empty(len(labels), dtype=np.float64)
    losses[rows] = within.values
    if not train.all():
        with threadpool_limits(1):
            losses[~train] = cross_entropy(
                _head(features[rows], labels[rows], features[~train], within.probabilities.shape[1]), labels[~train]
            )
    return losses


def _head(train: NDArray[np.float32], labels: NDArray[np.int64], held: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
    if len(np.unique(labels)) < classes:
        raise DatasetError("all images of a class overlap one another, so none can be judged by a head that knows the class",
                           todo="Add images of other places to that class")  # fmt: skip
    from sklearn.exceptions import ConvergenceWarning  # half a second that a training run doesn't need
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=HEAD_C, max_iter=200, tol=1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged head ranks as well
        return np.asarray(head.fit(train, labels).predict_proba(held))


def model_losses(judge: Judge, count: int) -> Scores:
    """Cross-entropy, in nats, of each of `count` examples under a trained network; higher = harder.

    Examples that the network was trained on score lower than they would unseen: `out_of_fold_losses`
    has no such bias.
    """
    said = judge(np.arange(count), "losses")
    return Scores(said.losses, said.probabilities, said.losses[None], None)
