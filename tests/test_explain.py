"""LIME finds what a network goes by, composes as the library does, and repeats itself; filters, answers, neighbours and maps by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import ResNet, resnet18

from curriculum import explain, first_layer
from curriculum.app import why_features
from curriculum.architectures import PLANS
from curriculum.errors import CancelledError, ConfigError, DatasetError
from curriculum.explain import Looker, compose, covered, weigh
from curriculum.model import normalise
from curriculum.regions import areas, leading, strongest
from curriculum.vocabulary import SUPERPIXELS, Architecture, Superpixels

CPU = torch.device("cpu")
SIZE = 96
pytestmark = pytest.mark.usefixtures("one_thread")


class RedPatch(nn.Module):
    """Class 1 as far as the square from row and column 24 to 47 is chequered in red; nothing else counts.

    A region is covered with its mean colour, so a plain red one would stay what it is.
    """

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, 0, 24:48, 24:48].float().diff(dim=2).abs().mean((1, 2))
        return torch.stack([torch.zeros_like(red), 2 * red - 1], 1)


def patched() -> NDArray[np.uint8]:
    """A red chequered square at that place, among dull squares of the same size."""
    random, side = np.random.default_rng(0), 24
    colours = random.integers(40, 200, (SIZE // side, SIZE // side, 3)) // (2, 1, 1)
    image = np.kron(colours, np.ones((side, side, 1), dtype=np.int64)) + random.integers(-5, 5, (SIZE, SIZE, 3))
    chequered = np.add.outer(np.arange(side), np.arange(side)) % 2
    image[24:48, 24:48] = np.where(chequered[..., None], (255, 10, 10), (155, 10, 10))
    return image.astype(np.uint8)


def squares(side: int = 12) -> NDArray[np.int64]:
    """Regions that are squares: 64 of 12 pixels a side, by rows."""
    row = np.arange(SIZE) // side
    return (row[:, None] * (SIZE // side) + row[None, :]).astype(np.int64)


def looker(segments: NDArray[np.int64], net: nn.Module | None = None) -> Looker:
    return Looker(cast(ResNet, net or RedPatch()), patched(), segments, CPU)


def quiet(*_: object) -> None:
    pass


def never() -> bool:
    return False


# -- LIME ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SUPERPIXELS)
def test_the_strongest_region_lies_on_the_patch_that_decides(method: Superpixels) -> None:
    segments = explain.segment(patched(), method)
    found = weigh(looker(segments), [1, 0], 300, 0, quiet, never)
    top = segments == strongest(found.weights[0])[0]
    assert top[24:48, 24:48].sum() / top.sum() > 0.6, "of a region drawn by chance 6 % lie there"
    assert np.allclose(found.weights[0], -found.weights[1], atol=1e-6), (
        "two classes, one sampling: what speaks for one speaks against the other"
    )


def test_regions_beside_the_patch_weigh_nothing() -> None:
    segments = squares()
    found = weigh(looker(segments), [1], 1000, 0, quiet, never)
    on_it = {18, 19, 26, 27}  # the third and fourth square of the third and fourth row
    assert on_it == set(np.unique(segments[24:48, 24:48]).tolist())
    assert set(strongest(found.weights[0], 4)) == on_it
    rest = np.delete(found.weights[0], sorted(on_it))
    assert np.abs(rest).max() < 0.05 * found.weights[0].max()
    assert found.r2[0] > 0.5


def test_the_batch_is_what_lime_composes_one_by_one() -> None:
    image, segments = np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8), squares(24)
    seen: list[NDArray[np.uint8]] = []

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        seen.extend(images.copy())
        return np.zeros((len(images), 2))

    lime = LimeImageExplainer(random_state=5)
    hidden = covered(image, segments)
    rows, _ = lime.data_labels(image, hidden, segments, classify, 40)
    ours = compose(torch.from_numpy(image), torch.from_numpy(hidden), torch.from_numpy(segments), torch.from_numpy(rows.astype(bool)))
    assert np.array_equal(ours.numpy(), np.stack(seen))
    assert np.array_equal(ours[0].numpy(), image)
    assert len({one.tobytes() for one in seen}) > 30  # many different ones were compared


def test_the_weights_are_those_of_the_library_itself() -> None:
    image, segments, net = patched(), explain.segment(patched(), "slic"), RedPatch()

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(net(normalise(torch.from_numpy(images))).softmax(1).numpy())

    theirs = LimeImageExplainer(random_state=7).explain_instance(
        image, classify, labels=(0, 1), top_labels=None, num_samples=200, segmentation_fn=lambda _: segments, random_seed=0
    )
    ours = weigh(looker(segments), [1], 200, 7, quiet, never)
    expected = [dict(theirs.local_exp[1])[region] for region in range(int(segments.max()) + 1)]
    assert ours.weights[0] == pytest.approx(np.array(expected), abs=1e-5)
    assert ours.intercept[0] == pytest.approx(theirs.intercept[1], abs=1e-5)
    assert ours.r2[0] == pytest.approx(theirs.score, abs=1e-4)  # the library keeps the last class's alone


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    segments = squares()
    first, again, other = (weigh(looker(segments), [1], 200, seed, quiet, never).weights for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_that_are_alike_are_looked_at_once() -> None:
    told: list[tuple[int, int]] = []
    segments = squares(48)  # four regions: at most 16 different rows
    weigh(looker(segments), [1], 500, 0, lambda _, done, total: told.append((done, total)), never)
    assert told[-1] == (16, 16)


def test_removing_what_was_found_matters_and_removing_something_else_does_not() -> None:
    segments, look = squares(), looker(squares())
    found = leading(weigh(look, [1], 500, 0, quiet, never).weights[0], areas(segments))
    lost = explain.delete(look, found, 1, 0, quiet, never)
    assert lost is not None and lost.matters and lost.drop > 0.1
    assert lost.before == pytest.approx(float(look.whole()[1]))
    beside = explain.delete(look, [0, 1, 2, 5, 60], 1, 0, quiet, never)
    assert beside is not None and not beside.matters and abs(beside.drop) < 1e-6
    assert explain.delete(look, [], 1, 0, quiet, never) is None


def test_it_stops_between_batches() -> None:
    told: list[int] = []
    with pytest.raises(CancelledError):
        weigh(looker(squares()), [1], 500, 0, lambda _, done, total: told.append(done), lambda: len(told) > 1)
    assert len(told) == 2


@pytest.mark.parametrize("method", SUPERPIXELS)
def test_regions_are_numbered_without_gaps_and_are_the_same_again(method: Superpixels) -> None:
    segments = explain.segment(patched(), method)
    assert np.unique(segments).tolist() == list(range(segments.max() + 1))
    assert np.array_equal(segments, explain.segment(patched(), method))


def test_an_image_of_one_colour_has_no_regions_but_slic_s() -> None:
    plain = np.full((SIZE, SIZE, 3), 77, np.uint8)
    with pytest.raises(DatasetError, match="only one region"):
        explain.segment(plain, "felzenszwalb")
    assert explain.segment(plain, "slic").max() > 5
    with pytest.raises(ConfigError, match="quickshift, slic, felzenszwalb"):
        explain.segment(plain, "watershed")  # type: ignore[arg-type]


# -- layers and features -------------------------------------------------------------------------


def test_the_first_layer_s_answers_before_and_after_relu() -> None:
    torch.manual_seed(0)
    net: ResNet = resnet18(num_classes=3)
    before, after = first_layer.activations(net, patched(), CPU)
    assert before.shape == after.shape == (64, SIZE // 2, SIZE // 2)
    assert (before < 0).any() and np.array_equal(after, np.maximum(before, 0))
    shown = first_layer.filters(net)
    assert shown.shape == (64, 7, 7, 3)
    assert shown[5, 2, 3, 1] == pytest.approx(float(net.conv1.weight[5, 1, 2, 3].detach()))
    # one answer by hand: filter 5 at the place whose window has its centre at row 10, column 20, through a batch norm that is new
    window = normalise(torch.from_numpy(patched()[None]))[0, :, 7:14, 17:24].detach().numpy()
    expected = float((window.transpose(1, 2, 0) * shown[5]).sum()) / np.sqrt(1 + net.bn1.eps)
    assert before[5, 5, 10] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "activation", "after"),
    [("resnet18", "ReLU", lambda x: np.maximum(x, 0)), ("squeezenet1_1", "ReLU", lambda x: np.maximum(x, 0)), ("lenet5", "Tanh", np.tanh),
     ("vit_b_16", None, lambda x: x)],
)  # fmt: skip
def test_a_first_layer_s_activation_is_the_network_s_own(
    name: Architecture, activation: str | None, after: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    """A vision transformer has none there, and no ReLU is made up for it; the page has words for each."""
    torch.manual_seed(0)
    net = PLANS[name].make(3, SIZE)
    assert first_layer.activation_of(net) == activation
    before, found = first_layer.activations(net, patched(), CPU)
    np.testing.assert_allclose(found, after(before), atol=1e-6)
    told = why_features.ACTIVATIONS[activation]
    assert bool(told.after) == (activation is not None)
    assert "40%" in told.figures.format(below=0.4, silent=1, count=6)


def test_the_nearest_by_hand() -> None:
    features = np.array([[0, 0], [3, 4], [1, 0], [0, 0]], np.float32)
    assert explain.nearest(features, features[0], 2, skip=0) == [(3, 0.0), (2, 1.0)]
    assert explain.nearest(features, features[0], 9) == [(0, 0.0), (3, 0.0), (2, 1.0), (1, 5.0)]


def test_maps_keep_groups_apart() -> None:
    random = np.random.default_rng(0)
    features = np.concatenate([random.normal(0, 0.1, (30, 20)), random.normal(3, 0.1, (30, 20))]).astype(np.float32)
    places, shown = explain.project(features, "pca")
    assert places.shape == (60, 2) and shown is not None and shown > 0.9
    assert max(places[:30, 0]) < min(places[30:, 0]) or min(places[:30, 0]) > max(places[30:, 0])
    places, shown = explain.project(features, "t-sne")
    middle = places[:30].mean(0), places[30:].mean(0)
    assert shown is None and np.linalg.norm(middle[0] - middle[1]) > 2 * places[:30].std()
    with pytest.raises(DatasetError, match="four images"):
        explain.project(features[:3], "pca")
    with pytest.raises(ConfigError, match="pca, t-sne"):
        explain.project(features, "umap")  # type: ignore[arg-type]
