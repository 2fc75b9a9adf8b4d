"""A network's first layer: its filters, and what they answer to an image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curriculum.model import IMAGENET, Channels, normalise, to_numpy


def _first_layer(net: nn.Module) -> tuple[nn.Conv2d, nn.Module, nn.Module | None]:
    """The first convolution, the batch norm that follows it (or nothing) and the activation, None where the network has none there."""
    layers = [layer for layer in net.modules() if not list(layer.children())]
    place = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d))
    convolution, rest = layers[place], layers[place + 1 :]
    assert isinstance(convolution, nn.Conv2d)
    norm = rest.pop(0) if rest and isinstance(rest[0], nn.BatchNorm2d) else nn.Identity()
    return convolution, norm, rest[0] if rest and isinstance(rest[0], nn.ReLU | nn.Tanh) else None


def activation_of(net: nn.Module) -> str | None:
    """What the first layer's answers go through: ReLU | Tanh, or None: they go on as they are, as in a vision transformer."""
    activation = _first_layer(net)[2]
    return None if activation is None else type(activation).__name__


def filters(net: nn.Module) -> NDArray[np.float32]:
    """The first layer's filters, (count, height, width, 3), as learnt: centred on 0. Of ResNets 64 of 7 x 7."""
    return to_numpy(_first_layer(net)[0].weight.permute(0, 2, 3, 1))


def activations(
    net: nn.Module, image: NDArray[np.uint8], device: torch.device, channels: Channels = IMAGENET
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the first layer answers to an image, (filters, height, width), before (convolution and batch norm) and after its activation;
    twice the same where it has none."""
    convolution, norm, activation = _first_layer(net.to(device).eval())
    with torch.inference_mode():
        before = norm(convolution(normalise(torch.from_numpy(image[None]).to(device), channels)))
        after = before if activation is None else activation(before.clone())
    return to_numpy(before[0]), to_numpy(after[0])
