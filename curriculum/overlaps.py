"""Which images show the same ground: cut from overlapping tiles, at another scale, turned, or copied.

Local features (SIFT) of every image are matched against those of all others; where several agree on one shift, scale and
turn, one image is laid over the other and both must look the same where they overlap. Of images that are the same pixel for
pixel one stands for all. On the whole, two images of which one is in train and the other in test make a test look better than it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from curriculum.cache import CachedRows
from curriculum.errors import DatasetError
from curriculum.splits import assign_parts

SIZE = 256
"""Pixels at which images are compared."""
FEATURES = 150
"""Of an image, at most; the strongest."""
NEIGHBOURS, CHECKS, RATIO = 6, 48, 0.8
"""Nearest features that are looked at, leaves searched for them, and how much nearer than one of a third image a match must be."""
MIN_MATCHES, MIN_AREA, MIN_CORRELATION = 4, 0.04, 0.8
"""What makes a pair: features that agree, overlap as a share of an image, correlation of the two within it."""
MIN_SCALE, TOLERANCE, BLUR = 0.2, 3.0, 1.5
"""Smallest ratio of two images' scales; pixels by which matches may miss; pixels of blur before images are compared."""
MAX_IMAGES = 20_000
MOST_COPIES = 16
"""Of one image, that another's pairs name: enough that chance leaves none of them in train, few enough for a picture that is there 5,000 times."""
DRAWS = 20
"""Random splits that the expected leak is averaged over."""

Progress = Callable[[int, int, str], None]
Images = NDArray[np.uint8] | CachedRows


@dataclass(frozen=True)
class Overlap:
    """Two images, a before b, of the same ground."""

    a: int
    b: int
    score: float  # correlation of the grey values where they overlap, 0.8 to 1; 1: the same
    area: float  # of b, that a covers, 0.04 to 1
    scale: float  # of a in b: 0.5, a shows in half the size what b shows
    rotation: float  # degrees, -180 to 180


def check_count(images: int) -> None:
    """Refuse what takes more memory than a common machine has: DatasetError for more than MAX_IMAGES."""
    if images > MAX_IMAGES:
        raise DatasetError("overlaps are looked for among a limited number of images", got=f"{images:,}", allowed=f"up to {MAX_IMAGES:,}",
                           todo="Split the data set by hand so that images of one place stay together.")  # fmt: skip


def find_overlaps(images: Images, progress: Progress | None = None) -> list[Overlap]:
    """Every pair of images that show the same ground.

    Args:
        images: n of (SIZE, SIZE, 3), RGB.
        progress: called with (done, of how many, what).

    Returns:
        Pairs by a, then b.

    Raises:
        DatasetError: as `check_count` says.

    Source: Lowe 2004 (SIFT, the ratio of distances), Arandjelović & Zisserman 2012 (RootSIFT), Fischler & Bolles 1981 (RANSAC).
    """
    check_count(len(images))
    grey, copies, points, descriptors, owner = _features(images, progress)
    found = []
    candidates = _candidates(descriptors, owner, progress) if len(owner) > NEIGHBOURS else {}
    for done, ((a, b), matches) in enumerate(sorted(candidates.items()), start=1):
        if overlap := _verified(grey, points, a, b, matches):
            found.append(overlap)
        if progress:
            progress(done, len(candidates), "comparing candidates")
    same = [Overlap(a, b, 1.0, 1.0, 1.0, 0.0) for n, each in copies.items() if not _flat(grey[n]) for a, b in _within(each)]
    others = [_between(overlap, a, b) for overlap in found for a, b in _across(copies[overlap.a], copies[overlap.b])]
    return sorted([*same, *others], key=lambda overlap: (overlap.a, overlap.b))


def _features(
    images: Images, progress: Progress | None
) -> tuple[list[NDArray[np.uint8]], dict[int, list[int]], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Grey images; the images that are the same as each, itself the first; and of the features of all that differ their place (x, y),
    descriptor (RootSIFT) and image."""
    first: dict[bytes, int] = {}
    copies: dict[int, list[int]] = {}
    sift = cv2.SIFT.create(nfeatures=FEATURES, contrastThreshold=0.01)
    grey, points, descriptors, owner = [], [np.empty((0, 2), np.float32)], [np.empty((0, 128), np.float32)], [np.empty(0, np.int64)]
    for number in range(len(images)):
        image = np.asarray(images[[number]][0], dtype=np.uint8)
        grey.append(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8))
        alike = first.setdefault(hashlib.sha256(image.tobytes()).digest(), number)
        copies.setdefault(alike, []).append(number)
        keypoints, found = sift.detectAndCompute(grey[-1], None) if alike == number else ((), None)
        if found is not None:
            points.append(np.array([point.pt for point in keypoints], np.float32))
            descriptors.append(np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1e-6)).astype(np.float32))
            owner.append(np.full(len(found), number))
        if progress:
            progress(number + 1, len(images), "looking for features")
    return grey, copies, np.concatenate(points), np.concatenate(descriptors), np.concatenate(owner)


def _candidates(
    descriptors: NDArray[np.float32], owner: NDArray[np.int64], progress: Progress | None
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Pairs of images with enough features that are nearest to each other: the features' numbers, of the first and of the second."""
    if progress:
        progress(0, 1, "matching features")
    cv2.setRNGSeed(0)
    index = cv2.flann.Index(descriptors, {"algorithm": 1, "trees": 4})
    near, distance = index.knnSearch(descriptors, NEIGHBOURS, params={"checks": CHECKS})
    others = np.where(owner[near] != owner[:, None], distance, np.inf)
    best = others.argmin(1)
    rows = np.arange(len(owner))
    nearest, image = near[rows, best], owner[near[rows, best]]
    third = np.where(owner[near] != image[:, None], others, np.inf).min(1)
    third = np.where(np.isfinite(third), third, distance[:, -1])  # all that are near are of the same two images
    nearer = (others[rows, best] < RATIO**2 * third) | (others[rows, best] == 0)  # the same patch may lie in a third image too
    matched = np.isfinite(others[rows, best]) & nearer
    pairs: dict[tuple[int, int], dict[tuple[int, int], None]] = {}
    for here in np.flatnonzero(matched):
        there = int(nearest[here])
        first, second = (int(here), there) if owner[here] < owner[there] else (there, int(here))
        pairs.setdefault((int(owner[first]), int(owner[second])), {})[first, second] = None
    return {pair: list(matches) for pair, matches in pairs.items() if len(matches) >= MIN_MATCHES}


def _verified(grey: list[NDArray[np.uint8]], points: NDArray[np.float32], a: int, b: int, matches: list[tuple[int, int]]) -> Overlap | None:
    """Whether the matches agree on one similarity, and the images on what they show under it."""
    first, second = np.array(matches).T
    fitted, agreeing = cv2.estimateAffinePartial2D(points[first], points[second], method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE)
    if fitted is None or int(agreeing.sum()) < MIN_MATCHES:
        return None
    moved: NDArray[np.float64] = np.array(fitted, dtype=np.float64)
    scale = float(np.hypot(moved[0, 0], moved[0, 1]))
    if not MIN_SCALE < scale < 1 / MIN_SCALE:
        return None
    shape = (SIZE, SIZE)
    laid = cv2.warpAffine(grey[a].astype(np.float32), moved, shape, flags=cv2.INTER_AREA)
    within = cv2.warpAffine(np.ones(shape, np.float32), moved, shape) > 0.99
    area = float(within.mean())
    if area < MIN_AREA:
        return None
    pair = [cv2.GaussianBlur(image.astype(np.float32), (0, 0), BLUR)[within] for image in (laid, grey[b])]
    if any(map(_flat, pair)):
        return None
    score = float(np.asarray(np.corrcoef(pair))[0, 1])
    if score < MIN_CORRELATION:
        return None
    return Overlap(
        a, b, round(min(score, 1.0), 4), round(area, 4), round(scale, 3), round(float(np.degrees(np.arctan2(moved[1, 0], moved[0, 0]))), 1)
    )


def _flat(grey: NDArray[np.generic]) -> bool:
    """Whether a place is so even that it looks like any other."""
    return bool(grey.std() < 1)


def _within(copies: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs of copies of one image, each with the next `MOST_COPIES` at most."""
    return ((a, b) for place, a in enumerate(copies) for b in copies[place + 1 : place + 1 + MOST_COPIES])


def _across(ones: list[int], others: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs of a copy of one image and a copy of another, each copy with `MOST_COPIES` at most."""
    return ((a, b) for m, a in enumerate(ones) for n, b in enumerate(others) if min(m, n) < MOST_COPIES)


def _between(overlap: Overlap, a: int, b: int) -> Overlap:
    """The same overlap for a copy of its first image and one of its second, whichever comes before."""
    if a < b:
        return replace(overlap, a=a, b=b)
    scale = overlap.scale
    return Overlap(b, a, overlap.score, round(min(overlap.area / scale**2, 1.0), 4), round(1 / scale, 3), -overlap.rotation)


# -- what follows from them ----------------------------------------------------------------------


def group(pairs: Sequence[tuple[int, int]], count: int) -> list[int | None]:
    """The group of each of `count` images: all that are linked by pairs share one, numbered from 1; None for an image alone."""
    linked = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    graph = scipy.sparse.coo_array((np.ones(len(linked)), (linked[:, 0], linked[:, 1])), shape=(count, count))
    _, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(labels, minlength=1)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(label), len(numbers) + 1) if sizes[label] > 1 else None for label in labels]


def leak(pairs: Sequence[tuple[int, int]], classes: Sequence[str], shares: Sequence[float] = (0.8, 0.0, 0.2)) -> float:
    """Share of the test images, 0 to 1, that a random split puts beside an overlapping image in train; the mean of `DRAWS` splits.

    Args:
        pairs: of images that overlap.
        classes: of all images; the split keeps their shares.
        shares: of train, val and test.
    """
    linked = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    both = np.concatenate([linked, linked[:, ::-1]])
    found = []
    for seed in range(DRAWS):
        part = assign_parts(classes, [None] * len(classes), shares, seed)
        leaked = np.unique(both[(part[both[:, 0]] == 2) & (part[both[:, 1]] == 0), 0])
        found.append(len(leaked) / max(int((part == 2).sum()), 1))
    return float(np.mean(found))
