"""The network and its weights: what loads, what is refused, what it computes."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from curriculum.architectures import PLANS
from curriculum.errors import ConfigError, WeightsError
from curriculum.model import Weights, build, build_backbone, embed, load_weights, normalise, pick_device, restore, to_numpy

NONE = Weights("none", None, "none")


pytestmark = pytest.mark.usefixtures("one_thread")


def some_images(n: int = 3) -> Tensor:
    return normalise(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)))


def trained(seed: int = 1, classes: int = 3) -> dict[str, Tensor]:
    """A state dict whose running statistics have moved too."""
    net = build(classes, NONE, seed)
    net.train()
    net(some_images(4))
    state: dict[str, Tensor] = net.state_dict()
    return state


def save(path: Path, state: object) -> str:
    torch.save(state, path)
    return str(path)


# -- what loads -----------------------------------------------------------------------------------


def test_state_dict_comes_back_whole(tmp_path: Path) -> None:
    state = trained()
    weights = load_weights(save(tmp_path / "a.pt", state), tmp_path)
    net = restore(3, weights)
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    assert state.keys() == net.state_dict().keys()


def test_weights_of_another_task_give_the_backbone_and_a_new_head(tmp_path: Path) -> None:
    state = trained(classes=3)
    net = build(7, load_weights(save(tmp_path / "a.pt", state), tmp_path), seed=5)
    assert net.get_parameter("fc.weight").shape == (7, 512)
    for key, value in net.state_dict().items():
        expected = build(7, NONE, seed=5).state_dict()[key] if key.startswith("fc.") else state[key]
        assert torch.equal(value, expected), key


def test_half_precision_file_loads_as_full_precision(tmp_path: Path) -> None:
    half = {key: value.half() if value.is_floating_point() else value for key, value in trained().items()}
    weights = load_weights(save(tmp_path / "half.pt", half), tmp_path)
    assert weights.state is not None
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights.state.values())
    assert all(torch.equal(weights.state[key], value.to(weights.state[key].dtype)) for key, value in half.items())
    assert torch.isfinite(restore(3, weights).eval()(some_images())).all()


def test_file_of_parameters_that_want_gradients_loads(tmp_path: Path) -> None:
    state = {key: nn.Parameter(value) if value.is_floating_point() else value for key, value in trained().items()}
    weights = load_weights(save(tmp_path / "parameters.pt", state), tmp_path)
    assert weights.state is not None
    assert not any(value.requires_grad for value in weights.state.values())


def test_file_from_before_batch_counts_loads(tmp_path: Path) -> None:
    old = {key: value for key, value in trained().items() if not key.endswith("num_batches_tracked")}
    net = build(3, load_weights(save(tmp_path / "old.pt", old), tmp_path), seed=0)
    assert torch.equal(net.get_parameter("conv1.weight"), old["conv1.weight"])


def test_weights_of_an_earlier_run(tmp_path: Path) -> None:
    state = trained()
    (tmp_path / "20250101-fine-tune-aa").mkdir()
    save(tmp_path / "20250101-fine-tune-aa" / "model.pt", state)
    weights = load_weights("run:20250101-fine-tune-aa", tmp_path)
    assert torch.equal(restore(3, weights).get_parameter("fc.weight"), state["fc.weight"])


def test_fingerprint_tells_backbones_apart_and_not_heads(tmp_path: Path) -> None:
    state = trained()
    other_head = state | {"fc.bias": state["fc.bias"] + 1}
    other_backbone = state | {"bn1.bias": state["bn1.bias"] + 1}
    prints = [
        load_weights(save(tmp_path / f"{i}.pt", each), tmp_path).fingerprint for i, each in enumerate((state, other_head, other_backbone))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_random_start_follows_from_the_seed_alone(tmp_path: Path) -> None:
    weights = load_weights("none", tmp_path)
    assert weights.state is None
    torch.manual_seed(99)
    before = torch.get_rng_state()
    first = build(3, weights, seed=4).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "building must not touch the caller's random state"
    again, other = build(3, weights, seed=4).state_dict(), build(3, weights, seed=5).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


# -- what is refused ------------------------------------------------------------------------------


class Intruder:
    """A pickle that makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.marker), 0o700)


@pytest.mark.parametrize("wrap", ["pickle", "torch"])
def test_pickle_with_code_is_refused_and_does_nothing(tmp_path: Path, wrap: str) -> None:
    marker, path = tmp_path / "intruder-was-here", tmp_path / "evil.pt"
    if wrap == "pickle":
        path.write_bytes(pickle.dumps({"conv1.weight": Intruder(marker)}, protocol=2))
        pickle.loads(path.read_bytes())
        assert marker.exists(), "the code must be live, or this test shows nothing"
        marker.rmdir()
    else:
        save(path, {"conv1.weight": Intruder(marker)})
    with pytest.raises(WeightsError, match="can't be read as weights"):
        load_weights(str(path), tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"conv1.weight, 1, 2, 3\n", b"\x80\x02}.", b"PK\x03\x04nothing", b"\x89PNG\r\n\x1a\n"])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"other\.pt"):
        load_weights(str(path), tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_garbage_is_a_weights_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        load_weights(str(path), tmp_path)


def test_half_a_download_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.pt"
    whole = Path(save(tmp_path / "whole.pt", trained())).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="can't be read as weights"):
        load_weights(str(path), tmp_path)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"state_dict": {"conv1.weight": torch.zeros(3)}}, {0: torch.zeros(3)},
                                     {"\ud800": torch.zeros(3)}])  # fmt: skip
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_weights(save(tmp_path / "a.pt", content), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": torch.zeros(64, 1, 7, 7)}, "don't fit resnet18"),
        ({"layer5.0.conv1.weight": torch.zeros(1)}, "1 unknown"),
        ({"conv1.weight": None}, "1 parameters missing, 0 unknown, such as conv1.weight"),
    ],
)
def test_state_dicts_of_other_networks_are_refused(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    state = {key: value for key, value in (trained() | change).items() if value is not None}
    weights = load_weights(save(tmp_path / "a.pt", state), tmp_path)
    with pytest.raises(WeightsError, match=message):
        build(3, weights, seed=0)


@pytest.mark.filterwarnings("ignore")  # torch's own, of sparse tensors
@pytest.mark.parametrize(
    "value",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.zeros(1).expand(10**12),
        torch.zeros(2, dtype=torch.complex64).conj(),
    ],
)
def test_parameters_that_are_no_plain_tensors_are_refused(tmp_path: Path, value: Tensor) -> None:
    with pytest.raises(WeightsError, match="plain tensors"):
        load_weights(save(tmp_path / "a.pt", {"conv1.weight": value}), tmp_path)


def test_empty_state_dict_is_refused(tmp_path: Path) -> None:
    weights = load_weights(save(tmp_path / "a.pt", {}), tmp_path)
    with pytest.raises(WeightsError, match="parameters missing"):
        build(3, weights, seed=0)


def test_trained_model_needs_its_head_and_its_number_of_classes(tmp_path: Path) -> None:
    state = trained(classes=3)
    with pytest.raises(WeightsError, match="don't fit"):
        restore(4, load_weights(save(tmp_path / "a.pt", state), tmp_path))
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    with pytest.raises(WeightsError, match="missing"):
        restore(3, load_weights(save(tmp_path / "b.pt", headless), tmp_path))
    with pytest.raises(WeightsError, match="no trained model"):
        restore(3, NONE)


@pytest.mark.parametrize("name", ["run:20250101-gone-00", "run:", "nowhere.pt", "~no-such-user-here/a.pt", "Imagenet", ""])
def test_missing_weights_name_the_choices(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=r"imagenet, none .*path.*run:ID"):
        load_weights(name, tmp_path)


def test_imagenet_without_a_network_names_the_three_other_choices(tmp_path: Path) -> None:
    """In a process of its own: an empty cache, and proxies that point at a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), closed)
    code = "import sys, pathlib; from curriculum.model import load_weights; load_weights('imagenet', pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, **proxies, "no_proxy": "", "NO_PROXY": "", "TORCH_HOME": str(tmp_path / "empty")},
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("curriculum.errors.WeightsError: the ImageNet weights")
    for choice in ("none (random start)", "the path of a state dict", "run:ID", "--change weights=FILE"):
        assert choice in last
    published = PLANS["resnet18"].published.url
    assert published in last
    assert str(tmp_path / "empty" / "hub" / "checkpoints" / published.rpartition("/")[2]) in last
    assert not list((tmp_path / "empty").rglob("*.pth"))


def test_imagenet_weights_that_are_damaged_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    there = PLANS["resnet18"].downloaded
    there.parent.mkdir(parents=True)
    there.write_bytes(b"half of it")
    with pytest.raises(WeightsError, match=f"resnet18 can't be read.*{there.name}.*Delete that file"):
        load_weights("imagenet", tmp_path)


# -- what it computes -----------------------------------------------------------------------------


def test_normalised_values_by_hand() -> None:
    images = torch.tensor([[[[0, 255, 128]]]], dtype=torch.uint8)
    result = normalise(images)
    assert result.shape == (1, 3, 1, 1)
    assert result.flatten().tolist() == pytest.approx([(0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225], rel=1e-5)


def test_normalised_images_lie_channels_last_and_keep_their_places() -> None:
    images = torch.zeros((1, 4, 6, 3), dtype=torch.uint8)
    images[0, 1, 5, 2] = 255
    result = normalise(images)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert (result[0, 2] == result.max()).nonzero().tolist() == [[1, 5]]


def test_head_on_embedded_images_is_the_network() -> None:
    net: Any = build(5, NONE, seed=0).eval()
    images = some_images()
    with torch.inference_mode():
        features = embed(net, net.fc, images)
        assert features.shape == (3, 512)
        assert torch.equal(net.fc(features), net(images))


@pytest.mark.parametrize("seed", [0, 3])
def test_a_backbone_alone_gives_the_same_features(seed: int, tmp_path: Path) -> None:
    state = trained()
    for weights in (NONE, load_weights(save(tmp_path / "a.pt", state), tmp_path)):
        images = some_images()
        with torch.inference_mode():
            net: Any = build(2, weights, seed).eval()
            whole = embed(net, net.fc, images)
            assert torch.equal(build_backbone(weights, seed).eval()(images), whole)


def test_a_backbone_of_another_network_is_refused() -> None:
    state = {key: value for key, value in trained().items() if key != "layer3.0.conv1.weight"}
    with pytest.raises(WeightsError, match="1 parameters missing"):
        build_backbone(Weights("odd", state, "odd"), seed=0)


def test_device_that_is_not_there_is_refused_by_name() -> None:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    absent = [device for device, available in there.items() if not available]
    assert absent, "no machine has both"
    for device in absent:
        with pytest.raises(ConfigError, match=rf"no such device.*{device}.*auto.*cpu"):
            pick_device(device)


def test_auto_takes_the_fastest_device_that_is_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == expected


def test_tensors_come_back_as_float32_arrays() -> None:
    array = to_numpy(torch.tensor([1.5, 2.0], dtype=torch.bfloat16, requires_grad=True))
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, 2.0]
