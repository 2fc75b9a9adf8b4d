"""What a network is given, what it says of examples, and by which loss it learns: images or stored features, one class an image or several.

Judging is in eval mode, unaugmented, without gradients. Nothing here knows epochs or order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from curriculum import metrics
from curriculum.cache import CachedRows
from curriculum.errors import no_memory
from curriculum.model import Channels, autocast, embed, eval_batch, normalise, pooled, to_numpy
from curriculum.ranks import Ranks
from curriculum.records import Outcome

Figures = tuple[float, float, float]


def leaves_room(needed: int, free: int) -> bool:
    """Whether images of so many bytes may lie on a device with so many free: half of it is the network's, for what it computes."""
    return needed <= free // 2


class Inputs:
    """Batches as the network wants them: images, normalised, or features that were stored.

    Args:
        images: uint8 (n, size, size, 3). On a GPU all of them lie on the device, if that leaves room to train; on a CPU the disk's
            cache is as good.
        channels: by which they are normalised.
        features: (n, features) instead, of a frozen backbone.
    """

    def __init__(self, images: CachedRows, device: torch.device, channels: Channels, features: NDArray[np.float32] | None = None) -> None:
        self.images, self.device, self.channels = images, device, channels
        self.features = None if features is None else torch.from_numpy(features).to(device)
        self.pixels = self._pixels()

    def _pixels(self) -> Tensor | None:
        if self.device.type == "cpu" or self.features is not None:
            return None
        if self.device.type == "cuda" and not leaves_room(math.prod(self.images.shape), torch.cuda.mem_get_info(self.device)[0]):
            return None
        try:
            return torch.from_numpy(np.asarray(self.images[:])).to(self.device)
        except Exception as error:
            if not no_memory(error):
                raise
            return None

    @property
    def stored(self) -> bool:
        """Whether they are features."""
        return self.features is not None

    def __call__(self, batch: NDArray[np.int64]) -> Tensor:
        rows = torch.from_numpy(batch)
        if self.features is not None:
            return self.features[rows.to(self.device)]
        if self.pixels is not None:
            return normalise(self.pixels[rows.to(self.device)], self.channels)
        return normalise(torch.from_numpy(self.images[batch]), self.channels)


class Objective:
    """Cross-entropy over one class an image; with several, binary cross-entropy, the mean over the classes. Both in nats."""

    def __init__(self, labels: NDArray[np.int64], joint: NDArray[np.bool_] | None, device: torch.device) -> None:
        self.labels, self.joint = labels, joint
        self._labels = torch.from_numpy(labels).to(device)
        self._joint = None if joint is None else torch.from_numpy(joint).float().to(device)

    def losses(self, logits: Tensor, batch: NDArray[np.int64]) -> Tensor:
        """(m,) of the examples `batch`, for logits (m, classes) in full precision."""
        rows = torch.from_numpy(batch).to(logits.device)
        if self._joint is None:
            return cross_entropy(logits, self._labels[rows], reduction="none")
        return binary_cross_entropy_with_logits(logits, self._joint[rows], reduction="none").mean(1)

    def margins(self, logits: Tensor, batch: NDArray[np.int64]) -> Tensor:
        """(m,): the true class's logit less the largest other."""
        true = self._labels[torch.from_numpy(batch).to(logits.device)][:, None]
        return logits.gather(1, true)[:, 0] - logits.scatter(1, true, -torch.inf).amax(1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(m, classes): of several classes each for itself."""
        return logits.softmax(1) if self.joint is None else logits.sigmoid()

    def accuracy(self, probabilities: NDArray[np.float32], batch: NDArray[np.int64]) -> float:
        """Share whose most probable class is the image's; one of the image's, where it has several."""
        if self.joint is None:
            return metrics.accuracy(probabilities, self.labels[batch])
        return metrics.any_hit(probabilities, self.joint[batch])


class Judge:
    """One network's answers to a data set's examples.

    Args:
        net: the network; None: `inputs` are features, and the head alone answers.
        head: its last layer.
        knn_k: neighbours of the KNN metric.
        each_batch: called with (phase, done, total) after every batch; what it raises ends the judging.
    """

    def __init__(
        self, net: nn.Module | None, head: nn.Module, inputs: Inputs, objective: Objective, ranks: Ranks, knn_k: int,
        each_batch: Callable[[str, int, int], None],
    ) -> None:  # fmt: skip
        self.net, self.head, self.inputs, self.objective, self.ranks, self.knn_k = net, head, inputs, objective, ranks, knn_k
        self.each_batch = each_batch

    def __call__(self, indices: NDArray[np.int64], phase: str) -> Outcome:
        (self.head if self.net is None else self.net).eval()
        device = self.inputs.device
        size, mine = eval_batch(device), self.ranks.mine(indices)
        logits, features = [], []
        with torch.inference_mode():
            for start in range(0, math.ceil(len(indices) / self.ranks.size), size):
                batch = self.inputs(mine[start : start + size])
                with autocast(device):
                    given = batch if self.net is None else embed(self.net, self.head, batch)
                logits.append(self.head(given.float()).flatten(1))
                features.append(pooled(given).float())
                self.each_batch(phase, min((start + size) * self.ranks.size, len(indices)), len(indices))
            if not logits:
                return _nothing_said(indices)
            scores, embeddings = (self.ranks.gather(torch.cat(parts), len(indices)) for parts in (logits, features))
            losses, margins = self.objective.losses(scores, indices), self.objective.margins(scores, indices)
            probabilities = to_numpy(self.objective.probabilities(scores))
        return Outcome(indices, probabilities, to_numpy(losses).astype(np.float64), to_numpy(margins), to_numpy(embeddings))

    def figures(self, outcome: Outcome) -> Figures:
        """Accuracy, mean loss, KNN."""
        knn = metrics.knn_purity(outcome.features, self.objective.labels[outcome.indices], self.knn_k)
        return self.objective.accuracy(outcome.probabilities, outcome.indices), float(outcome.losses.mean()), knn


def _nothing_said(indices: NDArray[np.int64]) -> Outcome:
    none = np.empty((0, 0), np.float32)
    return Outcome(indices, none, none.ravel().astype(float), none.ravel(), none)
