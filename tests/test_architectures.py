"""Every network: what it is given and says, how wide its features are, which weights fit it. The big ones are built once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from curriculum.architectures import PLANS, POSITIONS, fitted
from curriculum.errors import WeightsError
from curriculum.model import Weights, build, build_backbone, embed, head_of, load_weights, pooled, restore
from curriculum.vocabulary import ARCHITECTURES, Architecture

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES: dict[Architecture, int] = {"squeezenet1_0": 64, "squeezenet1_1": 64}
"""Pixels, where 32 would leave the head a map of a single place."""


def named(architecture: Architecture, state: dict[str, Tensor] | None = None) -> Weights:
    return Weights("none" if state is None else "given", state, "none" if state is None else "given", architecture)


def state_of(architecture: Architecture, classes: int = 3) -> dict[str, Tensor]:
    state: dict[str, Tensor] = build(classes, named(architecture), 0, 32).state_dict()
    return state


def some_images(size: int) -> Tensor:
    return torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))


def test_each_choice_has_a_plan() -> None:
    assert tuple(PLANS) == ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_answers_embeds_and_comes_back(architecture: Architecture) -> None:
    size, weights = SIZES.get(architecture, 32), named(architecture)
    net, images = build(5, weights, 3, size).eval(), some_images(size)
    head = head_of(net, weights)
    with torch.inference_mode():
        said = net(images)
        given = embed(net, head, images)
        assert said.shape == (2, 5)
        assert torch.equal(head(given).flatten(1), said)
        assert pooled(given).shape == (2, PLANS[architecture].features)
        assert not torch.equal(pooled(given)[0], pooled(given)[1]), "two images alike: the test shows nothing"

        drawn = pooled(build_backbone(weights, 3, size).eval()(images))
        assert torch.allclose(drawn, pooled(given), atol=1e-6), "a random start follows from the seed, whatever the classes"

        state = net.state_dict()
        trained = named(architecture, state)
        alone = pooled(build_backbone(trained, 3, size).eval()(images))
        assert alone.shape == (2, PLANS[architecture].features)
        assert torch.allclose(alone, pooled(given), atol=1e-6)

        again = restore(5, trained, size).eval()
        assert again.state_dict().keys() == state.keys()
        assert torch.equal(again(images), said)


@pytest.mark.parametrize("architecture", [name for name, plan in PLANS.items() if plan.published and name != "resnet50_layer2"])
def test_it_has_as_many_parameters_as_torchvision_publishes(architecture: Architecture) -> None:
    with torch.device("meta"):
        net = PLANS[architecture].make(1000, 224)
    assert sum(parameter.numel() for parameter in net.parameters()) == PLANS[architecture].published.meta["num_params"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_alone_depends_on_the_classes(architecture: Architecture) -> None:
    with torch.device("meta"):
        few, many = (PLANS[architecture].make(classes, 64).state_dict() for classes in (2, 9))
    differ = {name for name in few if few[name].shape != many[name].shape}
    assert differ
    assert all(name.startswith(PLANS[architecture].head + ".") for name in differ)


@pytest.mark.parametrize(("size", "flat"), [(32, 400), (64, 2704)])
def test_lenet5_has_the_sizes_of_1998(size: int, flat: int) -> None:
    net = build(10, named("lenet5"), 0, size)
    shapes = {name: tuple(value.shape) for name, value in net.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "features.0.weight": (6, 3, 5, 5), "features.3.weight": (16, 6, 5, 5),
        "hidden.1.weight": (120, flat), "hidden.3.weight": (84, 120), "fc.weight": (10, 84),
    }  # fmt: skip


def test_the_small_cnn_has_as_many_parameters_as_by_hand() -> None:
    convolutions, norms, head = 9 * (3 * 32 + 32 * 64 + 64 * 128), 2 * (32 + 64 + 128), 128 * 7 + 7
    net = build(7, named("small_cnn"), 0)
    assert sum(parameter.numel() for parameter in net.parameters()) == convolutions + norms + head


# -- which weights fit ----------------------------------------------------------------------------


def test_the_cut_resnet50_takes_a_whole_ones_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = models.resnet50(weights=None, num_classes=4).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pt")
    weights = load_weights(str(tmp_path / "whole.pt"), tmp_path, "resnet50_layer2", 32)
    net, images = build(3, weights, 0, 32).eval(), some_images(32)
    with torch.inference_mode():
        at = whole.maxpool(whole.relu(whole.bn1(whole.conv1(images))))
        expected = whole.layer2[:3](whole.layer1(at)).mean((2, 3))
        assert torch.allclose(embed(net, head_of(net, weights), images), expected, atol=1e-5)
    assert not any("layer2.3." in name or "layer3" in name or "layer4" in name for name in net.state_dict())


def test_a_transformers_positions_are_interpolated_to_another_image_size() -> None:
    positions = torch.randn((1, 1 + 14 * 14, 768), generator=torch.Generator().manual_seed(0))
    state = {POSITIONS: positions, "class_token": torch.ones(1, 1, 768)}
    grid = positions[:, 1:].permute(0, 2, 1).reshape(1, 768, 14, 14)
    expected = nn.functional.interpolate(grid, size=(4, 4), mode="bicubic", align_corners=True).reshape(1, 768, 16).permute(0, 2, 1)
    found = fitted("vit_b_16", state, 64)
    assert found[POSITIONS].shape == (1, 17, 768)
    assert torch.equal(found[POSITIONS][:, :1], positions[:, :1]), "the class token has no place"
    assert torch.allclose(found[POSITIONS][:, 1:], expected, atol=1e-6)
    assert torch.equal(found["class_token"], state["class_token"])
    assert fitted("vit_b_16", state, 224)[POSITIONS] is positions
    assert state[POSITIONS] is positions, "what was given stays as it was"


@pytest.mark.parametrize("shape", [(1, 8, 768), (2, 197, 768), (197, 768), (197,), ()])
def test_positions_that_are_no_square_of_patches_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch.save({POSITIONS: torch.zeros(shape)}, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=r"odd\.pt"):
        build_backbone(load_weights(str(tmp_path / "odd.pt"), tmp_path, "vit_b_16", 32), 0, 32)


@pytest.mark.parametrize(
    ("made", "asked", "message"),
    [
        ("resnet18", "resnet34", r"parameters missing, .*--architecture"),
        ("resnet34", "resnet18", r"unknown, such as .*--architecture"),
        ("resnet50", "resnet18", "don't fit resnet18"),
        ("resnet18", "resnet50_layer2", "don't fit resnet50_layer2"),
        ("squeezenet1_0", "squeezenet1_1", "don't fit squeezenet1_1"),
        ("lenet5", "small_cnn", "don't fit small_cnn"),
        ("small_cnn", "vit_b_16", "aren't those of vit_b_16"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, made: Architecture, asked: Architecture, message: str) -> None:
    torch.save(state_of(made), tmp_path / "other.pt")
    weights = load_weights(str(tmp_path / "other.pt"), tmp_path, asked, 32)
    with pytest.raises(WeightsError, match=message):
        build_backbone(weights, 0, 32)


def test_a_lenet5_for_another_image_size_is_refused() -> None:
    with pytest.raises(WeightsError, match="don't fit lenet5"):
        restore(3, named("lenet5", state_of("lenet5")), 64)


@pytest.mark.parametrize("architecture", ["lenet5", "small_cnn"])
def test_nobody_publishes_weights_of_a_network_of_ours(tmp_path: Path, architecture: Architecture) -> None:
    with pytest.raises(WeightsError, match=rf"nobody publishes .* {architecture}.*--weights"):
        load_weights("imagenet", tmp_path, architecture)


def test_the_fingerprint_leaves_out_each_networks_own_head(tmp_path: Path) -> None:
    state = state_of("squeezenet1_1")
    prints = []
    for number, name in enumerate(("classifier.1.bias", "features.0.bias", None)):
        changed = state if name is None else state | {name: state[name] + 1}
        torch.save(changed, tmp_path / f"{number}.pt")
        prints.append(load_weights(str(tmp_path / f"{number}.pt"), tmp_path, "squeezenet1_1").fingerprint)
    assert prints[0] == prints[2] != prints[1]
