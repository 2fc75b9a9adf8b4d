"""What a trained network saw: regions of an image that speak for or against a class (LIME), neighbours in its feature
space.

LIME's sampling is ours, a batch of covered images composed at once and one forward pass in the run's precision; its kernel and its
regression are the library's. Five misclassified RSSCN7 images at 128 px, 1,000 samples: docs/results.md has the seconds beside lime's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from curriculum.errors import CancelledError, ConfigError, DatasetError
from curriculum.model import IMAGENET, Channels, autocast, eval_batch, normalise, to_numpy
from curriculum.regions import Deletion, areas, random_regions
from curriculum.vocabulary import Projection, Superpixels

SEGMENTATION: dict[Superpixels, dict[str, float]] = {
    "quickshift": {"kernel_size": 4, "max_dist": 200, "ratio": 0.2},  # lime's own
    "slic": {"n_segments": 60, "compactness": 20, "sigma": 1, "start_label": 0},  # smoothed: else noise leaves one region
    "felzenszwalb": {"scale": 100, "sigma": 0.5, "min_size": 50},
}
PERPLEXITY = 30.0

Progress = Callable[[str, int, int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Weighing:
    """One sampling's local linear models. `weights` (classes, regions): how much a region adds to a class's probability; `intercept`,
    `r2` (classes,): the models' constant and fit, 1 = perfect."""

    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    r2: NDArray[np.float64]


# -- regions -------------------------------------------------------------------------------------


def segment(image: NDArray[np.uint8], method: Superpixels) -> NDArray[np.int64]:
    """Superpixels of an image: (H, W), numbered 0 to regions - 1. The same image gives the same ones.

    Raises:
        DatasetError: the method finds fewer than two regions.
    """
    if method not in get_args(Superpixels):
        raise ConfigError("unknown superpixel method", got=method, allowed=get_args(Superpixels))
    found = SegmentationAlgorithm(method, **SEGMENTATION[method])(image)
    numbers, numbered = np.unique(found, return_inverse=True)
    if len(numbers) < 2:
        raise DatasetError(f"{method} finds only one region in this image", todo="Choose slic, which divides nearly any image")
    return np.asarray(numbered, dtype=np.int64).reshape(found.shape)


def covered(image: NDArray[np.uint8], segments: NDArray[np.int64]) -> NDArray[np.uint8]:
    """What stands in a region's place when it is taken away: its mean colour, cut to whole numbers, as lime does it."""
    sizes = np.bincount(segments.ravel())
    means = [np.bincount(segments.ravel(), image[..., channel].ravel()) / sizes for channel in range(3)]
    return np.stack(means, axis=1).astype(np.uint8)[segments]


def compose(image: Tensor, hidden: Tensor, segments: Tensor, rows: Tensor) -> Tensor:
    """A batch of the image with regions covered, all at once.

    Args:
        image, hidden: uint8 (H, W, 3). segments: int64 (H, W).
        rows: bool (n, regions), which regions are there.

    Returns:
        uint8 (n, H, W, 3), the image where a row has the region, `hidden` elsewhere.
    """
    there = rows.index_select(1, segments.flatten()).view(len(rows), *segments.shape, 1)
    return torch.where(there, image, hidden)


class Looker:
    """One network and one image, cut into regions: what the network says when some of them are covered.

    Args:
        image: uint8 (H, W, 3). segments: (H, W).
        channels: by which the network's images are normalised.
        several: whether an image may have several classes, each probability for itself.
    """

    def __init__(
        self, net: nn.Module, image: NDArray[np.uint8], segments: NDArray[np.int64], device: torch.device,
        channels: Channels = IMAGENET, several: bool = False,
    ) -> None:  # fmt: skip
        self.net, self.device, self.channels, self.several = net.to(device).eval(), device, channels, several
        self.segments = segments
        self._image, self._hidden, self._places = (
            torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (image, covered(image, segments), segments)
        )

    def probabilities(self, rows: NDArray[np.bool_], progress: Progress, should_stop: Stop) -> NDArray[np.float32]:
        """Of all classes, (n, classes), for each row of regions that are there, (n, regions). Rows that are alike are looked at once."""
        size, parts = eval_batch(self.device), []
        rows, place = np.unique(rows, axis=0, return_inverse=True)
        chosen = torch.from_numpy(rows)
        for at in range(0, len(rows), size):
            if should_stop():
                raise CancelledError("the explanation was cancelled")
            with torch.inference_mode(), autocast(self.device):
                batch = compose(self._image, self._hidden, self._places, chosen[at : at + size].to(self.device))
                logits = self.net(normalise(batch, self.channels)).float()
                parts.append(logits.sigmoid() if self.several else logits.softmax(1))
                progress("covered images", min(at + size, len(rows)), len(rows))
        return np.asarray(to_numpy(torch.cat(parts))[place])

    def whole(self) -> NDArray[np.float32]:
        """Of all classes, (classes,), with every region there."""
        there = np.ones((1, int(self.segments.max()) + 1), dtype=bool)
        return self.probabilities(there, lambda *_: None, lambda: False).ravel()


def weigh(looker: Looker, classes: Sequence[int], samples: int, seed: int, progress: Progress, should_stop: Stop) -> Weighing:
    """LIME: weights of every region for some classes, all from one sampling.

    Args:
        classes: whose weights.
        samples: images with about half of the regions covered, the whole image among them.
        seed: of the sampling; the same seed gives the same weights.

    Source: Ribeiro, Singh and Guestrin 2016; sampling and regression as in lime 0.2.
    """
    lime = LimeImageExplainer(random_state=seed)
    regions = int(looker.segments.max()) + 1
    data = lime.random_state.randint(0, 2, samples * regions).reshape(samples, regions)
    data[0] = 1
    said = looker.probabilities(data.astype(bool), progress, should_stop)
    distances = pairwise_distances(data, data[:1], metric="cosine").ravel()
    weights, intercepts, fits = np.zeros((len(classes), regions)), [], []
    with threadpool_limits(1):  # small matrices: more threads cost time
        for place, label in enumerate(classes):
            intercept, found, r2, _ = lime.base.explain_instance_with_data(data, said.astype(np.float64), distances, label, regions + 6,
                                                                           feature_selection="highest_weights")  # fmt: skip
            weights[place, [region for region, _ in found]] = [weight for _, weight in found]
            intercepts.append(float(intercept))
            fits.append(float(r2))
    return Weighing(weights, np.array(intercepts), np.array(fits))


def delete(looker: Looker, regions: list[int], label: int, seed: int, progress: Progress, should_stop: Stop) -> Deletion | None:
    """What a class's probability loses without these regions, beside random ones of about equal area; None for no regions."""
    if not regions:
        return None
    shares = areas(looker.segments)
    drawn = random_regions(shares, regions, seed=seed)
    found = np.isin(np.arange(len(shares)), regions)
    rows = ~np.vstack([np.zeros_like(found), found, drawn])
    said = looker.probabilities(rows, progress, should_stop)[:, label].astype(float)
    return Deletion(
        before=said[0], after=said[1], area=float(shares[found].sum()), random=tuple(float(said[0] - one) for one in said[2:]),
        random_area=float((drawn @ shares).mean()) if len(drawn) else None,
    )  # fmt: skip


# -- the feature space ---------------------------------------------------------------------------


def nearest(features: NDArray[np.float32], query: NDArray[np.float32], count: int, skip: int | None = None) -> list[tuple[int, float]]:
    """The rows nearest to a point, with their Euclidean distance, the nearest first.

    Args:
        features: (n, d). query: (d,). skip: the row that is the point itself, left out.
    """
    distances = np.linalg.norm(features.astype(np.float64) - query.astype(np.float64), axis=1)
    order = [int(i) for i in np.argsort(distances, kind="stable") if i != skip]
    return [(i, float(distances[i])) for i in order[:count]]


def project(features: NDArray[np.float32], method: Projection, seed: int = 0) -> tuple[NDArray[np.float64], float | None]:
    """A map of features in two dimensions, (n, 2), and the share of their variance that it shows (None for t-SNE, whose axes mean nothing).

    Raises:
        DatasetError: too few images for a map.
    """
    if method not in get_args(Projection):
        raise ConfigError("unknown projection", got=method, allowed=get_args(Projection))
    if len(features) < 4:
        raise DatasetError("a map needs four images or more", got=len(features))
    pca = PCA(2 if method == "pca" else min(50, len(features) - 1, features.shape[1]), svd_solver="randomized", random_state=seed)
    with threadpool_limits(1):
        places = np.asarray(pca.fit_transform(features), dtype=np.float64)
        if method == "pca":
            return places, float(pca.explained_variance_ratio_.sum())
        tsne = TSNE(2, perplexity=min(PERPLEXITY, (len(features) - 1) / 3), init="pca", random_state=seed)
        return np.asarray(tsne.fit_transform(places), dtype=np.float64), None
