"""The network: ResNet18, its weights, what it computes on. Knows nothing of epochs or files of a run.

Images come as uint8 batches (n, size, size, 3) and are normalised on the device, channels last, in
bfloat16 where the hardware has instructions for it.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import ResNet, ResNet18_Weights, resnet18

from curriculum.errors import ConfigError, WeightsError

FEATURES = 512
IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHOICES = "imagenet, none (random start), the path of a ResNet18 state dict, run:ID"


@dataclass(frozen=True)
class Weights:
    """Pretrained weights; `state` is None for a random start. `fingerprint` tells two apart, in hex."""

    name: str
    state: dict[str, Tensor] | None
    fingerprint: str


def load_weights(name: str, runs_folder: Path) -> Weights:
    """Find the weights that `--weights` names.

    Args:
        name: imagenet | none | path of a state dict | run:ID.
        runs_folder: where run:ID is looked for.

    Raises:
        WeightsError: they can't be had, can't be read, or aren't a ResNet18's. Never a silent random start.
    """
    if name == "none":
        return Weights(name, None, "none")
    if name == "imagenet":
        return _fingerprinted(name, _download_imagenet())
    try:
        path = runs_folder / name.removeprefix("run:") / "model.pt" if name.startswith("run:") else Path(name).expanduser()
    except RuntimeError:  # ~somebody who isn't there
        path = Path(name)
    return _fingerprinted(name, _read_state(name, path))


def _download_imagenet() -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = ResNet18_Weights.DEFAULT.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the ImageNet weights are not in torch's cache and can't be downloaded ({error})",
            allowed="none (random start), the path of a ResNet18 state dict, run:ID of an earlier run",
            todo="Choose one of these with --weights, or connect to the network once",
        ) from error
    return state


def _read_state(name: str, path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError("no such weights", got=name, allowed=CHOICES, todo=f"There is no file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a damaged file torch's reader raises whatever it stumbles over
        raise WeightsError(f"{path} can't be read as weights ({type(error).__name__}: {error})", allowed=CHOICES) from error
    if not isinstance(state, dict) or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise WeightsError(
            f"{path} holds no state dict", got=type(state).__name__, allowed="tensors by parameter name, as torchvision saves them"
        )
    return {key: value.detach().float() if value.is_floating_point() else value for key, value in state.items()}


def _fingerprinted(name: str, state: dict[str, Tensor]) -> Weights:
    digest = hashlib.sha256()
    for key in sorted(state):
        if not key.startswith("fc."):
            digest.update(key.encode())
            digest.update(state[key].contiguous().numpy().tobytes())
    return Weights(name, state, digest.hexdigest()[:16])


def build(classes: int, weights: Weights, seed: int) -> ResNet:
    """A ResNet18 with these weights and a new head, drawn from the seed.

    Raises:
        WeightsError: the state dict's names or shapes aren't a ResNet18's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: ResNet = resnet18(weights=None, num_classes=classes)
    if weights.state is not None:
        _load(net, {k: v for k, v in weights.state.items() if not k.startswith("fc.")}, weights.name, head=False)
    return net.to(memory_format=torch.channels_last)


def build_backbone(weights: Weights, seed: int) -> ResNet:
    """What `build` makes but for the head, which `embed` doesn't want; no time goes into drawing what the weights replace.

    Raises:
        WeightsError: the state dict's names or shapes aren't a ResNet18's.
    """
    if weights.state is None:
        return build(2, weights, seed)
    with torch.device("meta"):
        net: ResNet = resnet18(weights=None)
    _load(net, {k: v for k, v in weights.state.items() if not k.startswith("fc.")}, weights.name, head=False, assign=True)
    net.fc = torch.nn.Identity()
    return net.to(memory_format=torch.channels_last)


def restore(classes: int, weights: Weights) -> ResNet:
    """A ResNet18 with these weights, head included: a trained model as a run left it."""
    if weights.state is None:
        raise WeightsError("a random start is no trained model", got=weights.name, allowed="run:ID")
    net: ResNet = resnet18(weights=None, num_classes=classes)
    _load(net, weights.state, weights.name, head=True)
    return net.to(memory_format=torch.channels_last)


def _load(net: ResNet, state: dict[str, Tensor], name: str, *, head: bool, assign: bool = False) -> None:
    """Copy the state in; `assign`: take its tensors themselves, which nothing may change afterwards."""
    try:
        missing, unexpected = net.load_state_dict(state, strict=False, assign=assign)
    except RuntimeError as error:
        raise WeightsError(f"the weights {name} don't fit ResNet18", got=str(error).splitlines()[-1].strip(), allowed=CHOICES) from error
    missing = [key for key in missing if head or not key.startswith("fc.")]
    if missing or unexpected:
        raise WeightsError(
            f"the weights {name} aren't a ResNet18's",
            got=f"{len(missing)} parameters missing, {len(unexpected)} unknown, such as {(missing + unexpected)[0]}",
            allowed=CHOICES,
        )


def embed(net: ResNet, images: Tensor) -> Tensor:
    """Penultimate features (n, 512) of normalised images (n, 3, size, size)."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
    return torch.flatten(net.avgpool(x), 1)


def normalise(images: Tensor) -> Tensor:
    """uint8 (n, size, size, 3) -> float (n, 3, size, size), channels last in memory, ImageNet's mean and deviation."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device) * 255
    sd = torch.tensor(IMAGENET_SD, device=images.device) * 255
    return images.float().sub_(mean).div_(sd).permute(0, 3, 1, 2)


def pick_device(name: str) -> torch.device:
    """The device that was asked for; auto: CUDA, else Apple's, else the CPU. One that isn't there raises ConfigError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there[name]:
        raise ConfigError("this machine has no such device", got=name, allowed=["auto", *(d for d, ok in there.items() if ok)])
    return torch.device(name)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where it gains: CUDA with support for it, CPUs with AVX-512 BF16 or AMX; else full precision."""
    if device.type == "cuda":
        gains = torch.cuda.is_bf16_supported()
    else:
        has = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        gains = bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return torch.autocast(device.type, torch.bfloat16) if gains else nullcontext()


def eval_batch(device: torch.device) -> int:
    """Images at a time without gradients: on a CPU few, which its caches hold (128 are 15 % slower), elsewhere enough work."""
    return 32 if device.type == "cpu" else 128


def to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    """A float tensor from any device as a float32 array."""
    return np.asarray(tensor.detach().float().cpu().numpy(), dtype=np.float32)


def turn(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each square image of a batch flipped and rotated by 90 degrees at random: one of its eight positions."""
    count = len(images)
    flip_x, flip_y, swap = (torch.rand((count, 1, 1, 1), generator=generator).lt(0.5).to(images.device) for _ in range(3))
    images = torch.where(flip_x, images.flip(3), images)
    images = torch.where(flip_y, images.flip(2), images)
    return torch.where(swap, images.transpose(2, 3), images).contiguous(memory_format=torch.channels_last)


def shift(images: Tensor, generator: torch.Generator, share: float = 1 / 8) -> Tensor:
    """Each square image of a batch moved by up to `share` of its side, at random, what comes in being its mirror image: a random crop."""
    count, _, size, _ = images.shape
    reach = round(size * share)
    wide = torch.nn.functional.pad(images, (reach,) * 4, mode="reflect")
    down, across = (torch.randint(0, 2 * reach + 1, (count, 1), generator=generator).to(images.device) for _ in range(2))
    along = torch.arange(size, device=images.device)
    rows, columns = (down + along)[:, None, :, None], (across + along)[:, None, None, :]
    item = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return wide[item, channel, rows, columns].contiguous(memory_format=torch.channels_last)
