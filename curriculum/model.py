"""A network: its weights, its head, what it computes on. Knows nothing of epochs or files of a run.

Images come as uint8 batches (n, size, size, 3) and are normalised on the device, channels last, in
bfloat16 where the hardware has instructions for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curriculum.architectures import PLANS, Plan, fitted
from curriculum.cache import CachedRows
from curriculum.errors import ConfigError, WeightsError
from curriculum.vocabulary import Architecture

CHOICES = "imagenet, none (random start), the path of a state dict, run:ID"


@dataclass(frozen=True)
class Channels:
    """Mean and standard deviation of red, green and blue, 0 to 1: what images are normalised by."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    sd: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @classmethod
    def of(cls, result: dict[str, Any] | None) -> Channels:
        """Those of a finished run, from its result.json; ImageNet's where it says nothing."""
        said = (result or {}).get("channels")
        return cls(tuple(said["mean"]), tuple(said["sd"])) if said else cls()


IMAGENET = Channels()


@dataclass(frozen=True)
class Weights:
    """Pretrained weights; `state` is None for a random start. `fingerprint` tells two apart, in hex, heads left out."""

    name: str
    state: dict[str, Tensor] | None
    fingerprint: str
    architecture: Architecture = "resnet18"

    @property
    def plan(self) -> Plan:
        return PLANS[self.architecture]

    def without_head(self) -> dict[str, Tensor]:
        """The parameters of all layers but the last."""
        return {name: value for name, value in (self.state or {}).items() if not name.startswith(self.plan.head + ".")}


# -- loading -------------------------------------------------------------------------------------


def load_weights(name: str, runs_folder: Path, architecture: str = "resnet18", image_size: int = 256) -> Weights:
    """Find the weights that `--weights` names, for one network.

    Args:
        name: imagenet | none | path of a state dict | run:ID.
        runs_folder: where run:ID is looked for.
        image_size: for which a transformer's positions are interpolated.

    Raises:
        WeightsError: they can't be had or can't be read. Never a silent random start.
    """
    known: Architecture = architecture  # type: ignore[assignment]  # checked by the configuration
    if name == "none":
        return Weights(name, None, "none", known)
    if name == "imagenet":
        return _fingerprinted(name, fitted(known, _download_imagenet(known), image_size), known)
    try:
        path = runs_folder / name.removeprefix("run:") / "model.pt" if name.startswith("run:") else Path(name).expanduser()
    except RuntimeError:  # ~somebody who isn't there
        path = Path(name)
    return _fingerprinted(name, fitted(known, _read_state(name, path), image_size), known)


def _download_imagenet(architecture: Architecture) -> dict[str, Tensor]:
    plan, others = PLANS[architecture], "none (random start), the path of a state dict, run:ID of an earlier run"
    choose = "Choose one of these with --weights (of a recipe: --change weights=FILE)"
    if plan.published is None:
        raise WeightsError(f"nobody publishes ImageNet weights of {architecture}", allowed=others, todo=choose)
    there = plan.downloaded.is_file()
    try:
        state: dict[str, Tensor] = plan.published.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # on a damaged file torch's reader raises whatever it stumbles over
        if there:
            raise WeightsError(f"the ImageNet weights of {architecture} can't be read ({type(error).__name__}: {error})", got=str(plan.downloaded),
                               todo=f"Delete that file: the next run downloads it anew from {plan.published.url}") from error  # fmt: skip
        raise WeightsError(
            f"the ImageNet weights of {architecture} are not there and can't be downloaded ({error})",
            got=f"nothing at {plan.downloaded}",
            allowed=others,
            todo=f"{choose}, put {plan.published.url} there, or connect to the network once",
        ) from error
    return state


def _read_state(name: str, path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError("no such weights", got=name, allowed=CHOICES, todo=f"There is no file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a damaged file torch's reader raises whatever it stumbles over
        raise WeightsError(f"{path} can't be read as weights ({type(error).__name__}: {error})", allowed=CHOICES) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and key.isprintable() and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError(
            f"{path} holds no state dict", got=type(state).__name__, allowed="tensors by parameter name, as torchvision saves them"
        )
    for key, value in state.items():
        if why := _unusual(value):
            raise WeightsError(f"{path} holds a parameter that is {why}", got=key, allowed="plain tensors, as torchvision saves them")
    return {key: value.detach().float() if value.is_floating_point() else value for key, value in state.items()}


def _unusual(value: Tensor) -> str:
    """What a parameter is that no network of ours has, empty: nothing."""
    if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_complex():
        return "sparse, nested, quantized or complex"
    if value.device.type != "cpu":
        return "without its numbers"
    return "larger than what is stored of it" if value.untyped_storage().nbytes() < value.numel() * value.element_size() else ""


def _fingerprinted(name: str, state: dict[str, Tensor], architecture: Architecture) -> Weights:
    weights, digest = Weights(name, state, "", architecture), hashlib.sha256()
    for key, value in sorted(weights.without_head().items()):
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return replace(weights, fingerprint=digest.hexdigest()[:16])


# -- building ------------------------------------------------------------------------------------


def build(classes: int, weights: Weights, seed: int, image_size: int = 256, head_init: str = "default") -> nn.Module:
    """A network with these weights and a new head, drawn from the seed; of a random start all but the head follow from the seed alone.

    Raises:
        WeightsError: the state dict's names or shapes aren't this network's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = weights.plan.make(classes, image_size)
        if head_init == "xavier-normal":
            for name, parameter in head_of(net, weights).named_parameters():
                nn.init.xavier_normal_(parameter) if name.endswith("weight") else nn.init.zeros_(parameter)
    start = _start(weights, seed, image_size)
    _load(net, start, start.without_head(), head=False)
    return net.to(memory_format=torch.channels_last)


def _start(weights: Weights, seed: int, image_size: int) -> Weights:
    """The weights; of a random start those that the seed gives, whatever the classes. Networks draw their head amid the rest, and a head of
    another size would leave the rest with other numbers."""
    if weights.state is not None:
        return weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return replace(weights, state=weights.plan.make(2, image_size).state_dict())


def build_backbone(weights: Weights, seed: int, image_size: int = 256) -> nn.Module:
    """What `build` makes without its head: it answers with features (n, features). No time goes into drawing what the weights replace.

    Raises:
        WeightsError: the state dict's names or shapes aren't this network's.
    """
    start = _start(weights, seed, image_size)
    with torch.device("meta"):
        net = weights.plan.make(2, image_size)
    _load(net, start, start.without_head(), head=False, assign=True)
    net.set_submodule(weights.plan.head, nn.Identity() if weights.plan.linear else nn.AdaptiveAvgPool2d(1))
    return net.to(memory_format=torch.channels_last)


def restore(classes: int, weights: Weights, image_size: int = 256) -> nn.Module:
    """A network with these weights, head included: a trained model as a run left it."""
    if weights.state is None:
        raise WeightsError("a random start is no trained model", got=weights.name, allowed="run:ID")
    net = weights.plan.make(classes, image_size)
    _load(net, weights, weights.state, head=True)
    return net.to(memory_format=torch.channels_last)


def _load(net: nn.Module, weights: Weights, state: dict[str, Tensor], *, head: bool, assign: bool = False) -> None:
    """Copy the state in; `assign`: take its tensors themselves, which nothing may change afterwards."""
    what = weights.architecture
    try:
        missing, unexpected = net.load_state_dict(state, strict=False, assign=assign)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights {weights.name} don't fit {what}", got=str(error).splitlines()[-1].strip(), allowed=CHOICES
        ) from error
    missing = [key for key in missing if head or not key.startswith(weights.plan.head + ".")]
    if missing or unexpected:
        raise WeightsError(
            f"the weights {weights.name} aren't those of {what}",
            got=f"{len(missing)} parameters missing, {len(unexpected)} unknown, such as {(missing + unexpected)[0]}",
            allowed=CHOICES, todo="Choose the --architecture that they were trained in",
        )  # fmt: skip


def head_of(net: nn.Module, weights: Weights) -> nn.Module:
    """The last layer, the only one that knows the classes."""
    return net.get_submodule(weights.plan.head)


def freeze(net: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Let parameters learn no more, by name with * and ?; returns the layers that are frozen whole, for `train_mode`.

    Raises:
        ConfigError: a pattern that no parameter has, or nothing left that could learn.
    """
    parameters = dict(net.named_parameters())
    for pattern in patterns:
        found = [name for name in parameters if fnmatchcase(name, pattern)]
        if not found:
            raise ConfigError(
                "--freeze names no parameter of this network", got=pattern, allowed=[f"{name}.*" for name, _ in net.named_children()]
            )
        for name in found:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("--freeze leaves nothing that could learn", got=" ".join(patterns), todo="Leave the head out of it.")
    return [layer for layer in net.modules() if (mine := list(layer.parameters())) and not any(p.requires_grad for p in mine)]


# -- computing -----------------------------------------------------------------------------------


def embed(net: nn.Module, head: nn.Module, images: Tensor) -> Tensor:
    """What the head is given for normalised images (n, 3, size, size): (n, features), or of SqueezeNet maps (n, features, h, w)."""
    given: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        net(images)
    finally:
        handle.remove()
    return given[0]


def pooled(given: Tensor) -> Tensor:
    """Features (n, features) from what a head is given: maps by their mean."""
    return given.mean((2, 3)) if given.ndim == 4 else given


def channel_statistics(images: CachedRows, rows: NDArray[np.int64], block: int = 256) -> Channels:
    """Mean and deviation of the channels of some images, taken in blocks, exactly: 64-bit sums of whole numbers.

    Args:
        images: uint8 (n, size, size, 3). rows: which of them.
    """
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    values = np.arange(256, dtype=np.float64)
    for at in range(0, len(rows), block):
        batch = np.asarray(images[rows[at : at + block]])
        counts = np.stack([np.bincount(batch[..., channel].ravel(), minlength=256) for channel in range(3)])
        total, squares, pixels = total + counts @ values, squares + counts @ values**2, pixels + int(counts[0].sum())
    mean = total / pixels
    sd = np.sqrt(np.maximum(squares / pixels - mean**2, 1.0))  # of one colour throughout: not 0
    return Channels(tuple((mean / 255).tolist()), tuple((sd / 255).tolist()))


def normalise(images: Tensor, channels: Channels = IMAGENET) -> Tensor:
    """uint8 (n, size, size, 3) -> float (n, 3, size, size), channels last in memory."""
    mean = torch.tensor(channels.mean, device=images.device) * 255
    sd = torch.tensor(channels.sd, device=images.device) * 255
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
    """bfloat16 where it gains: GPUs that compute with it (not those that only emulate it, as a T4), CPUs with AVX-512 BF16 or AMX; else
    full precision."""
    if device.type == "cuda":
        gains = torch.cuda.is_bf16_supported(including_emulation=False)
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


def mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image of a batch as it is or with left and right swapped, at random."""
    flip = torch.rand((len(images), 1, 1, 1), generator=generator).lt(0.5).to(images.device)
    return torch.where(flip, images.flip(3), images).contiguous(memory_format=torch.channels_last)


AUGMENT: dict[str, tuple[Callable[[Tensor, torch.Generator], Tensor], ...]] = {
    "none": (), "mirror": (mirror,), "mirror-crops": (shift, mirror), "turns": (turn,), "crops": (shift, turn),
}  # fmt: skip
"""What `--augment` does to a batch, one after the other."""
