"""The networks that can be trained: how each is made, which layer is its head, what its published weights are called.

torchvision's own, its ResNet50 cut off within layer2, LeNet-5 and a small convolutional network. Nothing here loads weights or computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from curriculum.vocabulary import Architecture

VIT_PATCH = 16
POSITIONS = "encoder.pos_embedding"


@dataclass(frozen=True)
class Plan:
    """How to make a network.

    `make(classes, image_size)` gives it with random weights. `head` names its last layer, the only one that depends on the classes, and
    `features` how many numbers of an image that layer is given. `published` are torchvision's ImageNet weights; parameters whose names
    begin with one of `lacks` are theirs and not this network's.
    """

    make: Callable[[int, int], nn.Module]
    head: str
    features: int
    published: Any = None
    lacks: tuple[str, ...] = ()

    @property
    def downloaded(self) -> Path:
        """Where torch looks for the published weights before it downloads them."""
        return Path(torch.hub.get_dir()) / "checkpoints" / str(self.published.url).rpartition("/")[2]

    @property
    def linear(self) -> bool:
        """Whether the head decides by the features alone, so that it can be trained on stored ones."""
        return self.head != "classifier"


def _torchvision(of: Callable[..., nn.Module]) -> Callable[[int, int], nn.Module]:
    return lambda classes, _: of(weights=None, num_classes=classes)


def _cut_resnet50(classes: int, _: int) -> Any:
    """ResNet50 from conv1 to layer2 without that layer's last block, a pooling and a head."""
    net = models.resnet50(weights=None)
    net.layer2 = net.layer2[:-1]
    net.layer3, net.layer4 = nn.Identity(), nn.Identity()
    net.fc = nn.Linear(512, classes)
    return net


def _vit(classes: int, image_size: int) -> Any:
    return models.vit_b_16(weights=None, num_classes=classes, image_size=image_size)


class LeNet5(nn.Module):
    """LeCun 1998, for colour images of any size: two convolutions with average pooling, three linear layers, tanh between."""

    def __init__(self, classes: int, image_size: int) -> None:
        super().__init__()
        side = ((image_size - 4) // 2 - 4) // 2
        self.features = nn.Sequential(nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2))
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(16 * side * side, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh())
        self.fc = nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.hidden(self.features(images)))  # type: ignore[no-any-return]


class SmallCNN(nn.Module):
    """Three convolutions of 32, 64 and 128 channels, each with batch norm, ReLU and max pooling; the mean over the image; a head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for channels, wider in ((3, 32), (32, 64), (64, 128)):
            blocks += [nn.Conv2d(channels, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks)
        self.fc = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images).mean((2, 3)))  # type: ignore[no-any-return]


PLANS: dict[Architecture, Plan] = {
    "resnet18": Plan(_torchvision(models.resnet18), "fc", 512, models.ResNet18_Weights.DEFAULT),
    "resnet34": Plan(_torchvision(models.resnet34), "fc", 512, models.ResNet34_Weights.DEFAULT),
    "resnet50": Plan(_torchvision(models.resnet50), "fc", 2048, models.ResNet50_Weights.DEFAULT),
    "resnet50_layer2": Plan(_cut_resnet50, "fc", 512, models.ResNet50_Weights.DEFAULT, lacks=("layer2.3.", "layer3.", "layer4.")),
    "vgg16": Plan(_torchvision(models.vgg16), "classifier.6", 4096, models.VGG16_Weights.DEFAULT),
    "squeezenet1_0": Plan(_torchvision(models.squeezenet1_0), "classifier", 512, models.SqueezeNet1_0_Weights.DEFAULT),
    "squeezenet1_1": Plan(_torchvision(models.squeezenet1_1), "classifier", 512, models.SqueezeNet1_1_Weights.DEFAULT),
    "vit_b_16": Plan(_vit, "heads.head", 768, models.ViT_B_16_Weights.DEFAULT),
    "lenet5": Plan(LeNet5, "fc", 84),
    "small_cnn": Plan(lambda classes, _: SmallCNN(classes), "fc", 128),
}


def fitted(architecture: Architecture, state: dict[str, Tensor], image_size: int) -> dict[str, Tensor]:
    """Published or trained weights, made to fit this network: parameters that it lacks left out, a transformer's positions interpolated
    to the image size. What no image size could have is left as it is, for loading to refuse."""
    lacks = PLANS[architecture].lacks
    kept = {name: value for name, value in state.items() if not (lacks and name.startswith(lacks))}
    positions = kept.get(POSITIONS)
    if architecture == "vit_b_16" and positions is not None and positions.ndim == 3 and len(positions) == 1:
        patches = positions.shape[1] - 1
        if patches > 0 and math.isqrt(patches) ** 2 == patches != (image_size // VIT_PATCH) ** 2:
            with torch.no_grad():
                kept = dict(interpolate_embeddings(image_size, VIT_PATCH, kept))
    return kept
