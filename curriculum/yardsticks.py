"""What `bench` measures a run against: a plain loop, written as the reports' scripts are, and the bare model.

The plain loop decodes every file each time with Pillow, in one process, and computes in float32, channels first. The bare
model gets tensors that lie in memory: the limit of what this hardware does in a run's precision and memory format. No run
ever comes here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import resnet18

from curriculum.model import IMAGENET, Weights, autocast, build, embed, head_of

RATE = 1e-4
RANDOM = Weights("none", None, "none")


class Files(Dataset[tuple[Tensor, int]]):
    """Image files as torchvision's ImageFolder gives them: opened, decoded and resized whenever one is asked for.

    `opened` lists which were, in order.
    """

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], size: int) -> None:
        self.paths, self.labels = list(paths), list(labels)
        self.transform = transforms.Compose(
            [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(IMAGENET.mean, IMAGENET.sd)]
        )
        self.opened: list[int] = []

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.opened.append(index)
        with self.paths[index].open("rb") as file:
            image: Tensor = self.transform(Image.open(file).convert("RGB"))
        return image, self.labels[index]


class PlainLoop:
    """The scripts' loop over these files; each pass returns how many images it went through."""

    def __init__(self, files: Files, classes: int, batch_size: int, device: torch.device) -> None:
        self.shuffled, self.in_order = DataLoader(files, batch_size, shuffle=True), DataLoader(files, batch_size)
        self.device = device
        self.net: nn.Module = resnet18(num_classes=classes).to(device)
        self.frozen: nn.Module = resnet18(num_classes=classes).to(device)
        for name, parameter in self.frozen.named_parameters():
            parameter.requires_grad = name.startswith("fc.")
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=RATE)
        self.head_optimizer = torch.optim.Adam((p for p in self.frozen.parameters() if p.requires_grad), lr=RATE)

    def train(self) -> int:
        """One epoch, all layers."""
        return self._epoch(self.net, self.optimizer)

    def transfer(self) -> int:
        """One epoch with all but the last layer frozen; the images still go through the whole network."""
        return self._epoch(self.frozen, self.head_optimizer)

    def _epoch(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        net.train()
        seen, running = 0, 0.0
        for images, labels in self.shuffled:
            images, labels = images.to(self.device), labels.to(self.device)
            optimizer.zero_grad()
            loss = cross_entropy(net(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            running += loss.item() * len(images)
            seen += len(images)
        return seen

    def score(self) -> int:
        """Every image's loss, in eval mode."""
        self.net.eval()
        losses: list[float] = []
        with torch.no_grad():
            for images, labels in self.in_order:
                images, labels = images.to(self.device), labels.to(self.device)
                losses += cross_entropy(self.net(images), labels, reduction="none").tolist()
        return len(losses)


class BareModel:
    """A run's network, precision, memory format and optimizer on random tensors, already normalised and in place."""

    def __init__(self, classes: int, size: int, device: torch.device) -> None:
        self.size, self.device, self.classes = size, device, classes
        self.net = build(classes, RANDOM, seed=0).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=RATE, fused=device.type in ("cpu", "cuda"))

    def train(self, images: int, batch_size: int) -> int:
        """Training steps for at least so many images; returns for how many."""
        inputs, labels = self._batch(batch_size), torch.arange(batch_size, device=self.device) % self.classes
        self.net.train()
        steps = math.ceil(images / batch_size)
        for _ in range(steps):
            with autocast(self.device):
                logits = self.net(inputs)
            loss = cross_entropy(logits.float(), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return steps * batch_size

    def score(self, images: int, batch_size: int) -> int:
        """Features of at least so many images; returns of how many."""
        inputs = self._batch(batch_size)
        self.net.eval()
        steps = math.ceil(images / batch_size)
        with torch.inference_mode(), autocast(self.device):
            for _ in range(steps):
                embed(self.net, head_of(self.net, RANDOM), inputs)
        return steps * batch_size

    def _batch(self, batch_size: int) -> Tensor:
        random = torch.Generator().manual_seed(batch_size)
        images = torch.randn((batch_size, 3, self.size, self.size), generator=random)
        return images.to(self.device).contiguous(memory_format=torch.channels_last)


def knn_by_example(features: NDArray[np.float32], labels: NDArray[np.int64], k: int = 5) -> float:
    """`metrics.knn_purity` one example at a time: its distances to all, sorted, the nearest counted. 0 to 1, higher = better.

    Args:
        features: (n, d), no two rows alike.
        labels: (n,).
    """
    shares = []
    for i in range(len(features)):
        distances = np.linalg.norm(features - features[i], axis=1)
        nearest = np.argsort(distances)[1 : k + 1]
        shares.append(np.mean(labels[nearest] == labels[i]))
    return float(np.mean(shares))
