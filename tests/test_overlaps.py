"""Overlaps: crops of one picture are found at every shift, scale and turn; other pictures aren't; splits keep groups together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from curriculum import datasets, overlaps, preparation
from curriculum.config import TrainConfig
from curriculum.errors import DatasetError
from curriculum.images import decode
from curriculum.overlaps import SIZE, Overlap, find_overlaps, group, leak
from curriculum.store import Store

BIG = 3 * SIZE


def ground(seed: int) -> Image.Image:
    """A large picture with edges at every scale, unlike any of another seed."""
    random = np.random.default_rng(seed)
    canvas = np.zeros((BIG, BIG, 3), np.float64)
    for cells in (6, 24, 96, 192):
        layer = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        canvas += np.asarray(layer.resize((BIG, BIG), Image.Resampling.NEAREST if cells < 100 else Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((canvas / 4).astype(np.uint8))


def crop(picture: Image.Image, left: int, top: int, size: int = SIZE, turn: int = 0) -> NDArray[np.uint8]:
    part = picture.crop((left, top, left + size, top + size)).rotate(turn).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(part, dtype=np.uint8)


def only(pair: list[Overlap]) -> Overlap:
    assert [(overlap.a, overlap.b) for overlap in pair] == [(0, 1)]
    return pair[0]


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (100, 0), (-60, 90), (150, 128)])
def test_shifted_crops_overlap_by_what_they_share(dx: int, dy: int) -> None:
    picture = ground(1)
    found = only(find_overlaps(np.stack([crop(picture, 200, 200), crop(picture, 200 + dx, 200 + dy), crop(ground(2), 200, 200)])))
    assert found.area == pytest.approx((SIZE - abs(dx)) * (SIZE - abs(dy)) / SIZE**2, abs=0.02)
    assert found.score > 0.95
    assert found.scale == pytest.approx(1, abs=0.01)
    assert found.rotation == pytest.approx(0, abs=1)


def test_another_scale_is_found() -> None:
    picture = ground(3)
    found = only(find_overlaps(np.stack([crop(picture, 200, 200), crop(picture, 100, 100, 2 * SIZE)])))
    assert found.scale == pytest.approx(0.5, abs=0.02)
    assert found.area == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_image_is_found(turn: int) -> None:
    picture = ground(4)
    found = only(find_overlaps(np.stack([crop(picture, 100, 100), crop(picture, 100, 100, turn=turn)])))
    assert abs(found.rotation) == pytest.approx(180 if turn == 180 else 90, abs=1)
    assert found.area > 0.9


@pytest.mark.parametrize("count", [2, 3, 8])
def test_however_often_an_image_is_there_its_copies_show_the_same_ground(count: int) -> None:
    """Three equal images once hid one another: each had a third that lay as near."""
    pictures = [crop(ground(seed), 100, 100) for seed in range(20, 24)]
    found = find_overlaps(np.stack([picture for picture in pictures for _ in range(count)]))
    within = [(n * count + a, n * count + b) for n in range(len(pictures)) for a in range(count) for b in range(a + 1, count)]
    assert [(overlap.a, overlap.b) for overlap in found] == within
    assert {(overlap.score, overlap.area, overlap.scale, overlap.rotation) for overlap in found} == {(1, 1, 1, 0)}


def test_what_overlaps_an_image_overlaps_its_copies() -> None:
    """The wider picture lies among its part's copies: from before it to after it the scale is the other way round."""
    part, wide = crop(ground(3), 200, 200), crop(ground(3), 100, 100, 2 * SIZE)
    found = {(overlap.a, overlap.b): overlap for overlap in find_overlaps(np.stack([part, wide, part]))}
    assert set(found) == {(0, 1), (0, 2), (1, 2)}
    assert found[0, 1].scale == pytest.approx(0.5, abs=0.02)
    assert found[1, 2].scale == pytest.approx(2, abs=0.08)
    assert found[1, 2].area == pytest.approx(1, abs=0.05)
    assert found[1, 2].rotation == -found[0, 1].rotation


def test_a_patch_that_lies_in_three_images_still_links_them() -> None:
    """Its descriptors are equal: the nearest is no nearer than that of a third image, and yet a match."""
    patches = np.random.default_rng(0).random((40, 128)).astype(np.float32)
    others = np.random.default_rng(1).random((3, 60, 128)).astype(np.float32)
    descriptors = np.concatenate([part for other in others for part in (patches, other)])
    found = overlaps._candidates(descriptors, np.repeat([0, 1, 2], 100), None)
    assert group(list(found), 3) == [1, 1, 1]


def test_a_picture_that_is_there_very_often_gets_no_pair_for_each_two() -> None:
    copies = list(range(100))
    pairs = list(overlaps._within(copies))
    assert len(pairs) < len(copies) * overlaps.MOST_COPIES
    assert group(pairs, len(copies)) == [1] * len(copies)
    assert len(list(overlaps._across(copies, list(range(100, 200))))) == 100**2 - 84**2


def test_different_pictures_and_flat_ones_have_nothing_in_common() -> None:
    flat = np.full((SIZE, SIZE, 3), 128, np.uint8)
    assert find_overlaps(np.stack([*(crop(ground(seed), 50, 50) for seed in range(5, 12)), flat, flat])) == []
    assert find_overlaps(np.stack([flat, flat])) == []
    assert find_overlaps(np.empty((0, SIZE, SIZE, 3), np.uint8)) == []


def test_too_many_images_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaps, "MAX_IMAGES", 3)
    with pytest.raises(DatasetError, match="limited number of images"):
        find_overlaps(np.zeros((4, SIZE, SIZE, 3), np.uint8))


def test_on_the_real_images_known_pairs_are_found(rsscn7: Path, real_or_drawn: Path) -> None:
    """Beside the checkout: looked at, these show the same ground (at half the scale, and in two classes); elsewhere: no false pair."""
    known = [
        ("cIndustry/c293.jpg", "cIndustry/c295.jpg"),
        ("dRiverLake/d049.jpg", "dRiverLake/d135.jpg"),
        ("dRiverLake/d373.jpg", "gParking/g334.jpg"),
    ]
    others = sorted(path.relative_to(real_or_drawn).as_posix() for path in real_or_drawn.glob("*/*.[jp]*"))[::70]
    real = rsscn7.is_dir()
    names = sorted({*others, *(name for pair in known if real for name in pair)})
    found = find_overlaps(np.stack([decode(real_or_drawn / name, SIZE) for name in names]))
    pairs = {(names[overlap.a], names[overlap.b]): overlap for overlap in found}
    if not real:
        assert len(pairs) <= len(names) // 10
        return
    assert set(known) <= set(pairs)
    assert pairs[known[1]].scale == pytest.approx(0.5, abs=0.02)
    assert len(pairs) <= len(known) + 2


# -- what follows ---------------------------------------------------------------------------------


def test_groups_are_what_pairs_link() -> None:
    assert group([], 3) == [None, None, None]
    assert group([(0, 3), (3, 4), (1, 5)], 6) == [1, 2, None, 1, 1, 2]


@given(st.integers(1, 30), st.data())
def test_every_pair_is_in_one_group_and_nobody_else(count: int, data: st.DataObject) -> None:
    number = st.integers(0, count - 1)
    pairs = [(a, b) for a, b in data.draw(st.lists(st.tuples(number, number), max_size=20)) if a != b]
    found = group(pairs, count)
    assert all(found[a] == found[b] is not None for a, b in pairs)
    assert {n for n in range(count) if found[n] is not None} == {n for pair in pairs for n in pair}


def test_the_leak_by_hand() -> None:
    """Ten pairs of images of one class, split at random: a test image's partner is in train with probability 16 of 19."""
    pairs = [(2 * n, 2 * n + 1) for n in range(10)]
    assert leak(pairs, ["a"] * 20) == pytest.approx(16 / 19, abs=0.1)
    assert leak([], ["a"] * 20) == 0


@pytest.fixture
def twins(store: Store, tmp_path: Path) -> Store:
    """A data set of 3 classes with 8 pictures each, every one cut in two overlapping crops."""
    for n, name in enumerate("abc"):
        (tmp_path / "twins" / name).mkdir(parents=True)
        for k in range(8):
            picture = ground(100 + 10 * n + k)
            for part, left in enumerate((100, 220)):
                Image.fromarray(crop(picture, left, 100)).save(tmp_path / "twins" / name / f"{k}-{part}.png")
    datasets.add_dataset(store, "twins", tmp_path / "twins")
    return store


def test_groups_are_kept_together_where_it_is_honest_and_said_where_not(twins: Store) -> None:
    config = TrainConfig("twins", weights="none", mode="fine-tune", epochs=1, image_size=32)
    assert "Nobody has looked" in preparation.prepare(twins, config).request()["notes"][0]
    datasets.ensure_overlaps(twins, "twins")
    known = datasets.known_overlaps(twins, "twins")
    assert known is not None
    assert len(known) == 24
    honest = preparation.prepare(twins, config)
    order = pd.read_parquet(honest / "order.parquet")
    assert order.assign(picture=order["example"].str.slice(0, 3)).groupby("picture")["split"].nunique().max() == 1
    assert honest.request()["notes"] == []
    report = preparation.prepare(twins, TrainConfig("twins", weights="none", mode="fine-tune", epochs=1, image_size=32, protocol="report"))
    split = pd.read_parquet(report / "order.parquet").set_index("example")["split"]
    leaked = sum(split[name] == "test" and split[f"{name[:4]}{1 - int(name[4])}.png"] == "train" for name in split.index)
    assert leaked > 0
    assert report.request()["notes"] == [f"{leaked} of 9 test images show the same ground as a training image: the split is random."]


def test_two_who_want_them_at_once_look_once(twins: Store) -> None:
    looked: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: datasets.ensure_overlaps(twins, "twins", lambda _done, _total, _what: looked.append(n)), range(2)))
    assert len(set(looked)) == 1
    assert len(twins.rows("SELECT 1 FROM overlap")) == 24


def test_a_new_look_at_the_folder_keeps_what_is_known_and_a_new_file_doesnt(twins: Store, tmp_path: Path) -> None:
    datasets.ensure_overlaps(twins, "twins")
    before = twins.rows("SELECT overlaps_at::TEXT FROM dataset")
    datasets.check_dataset(twins, "twins")
    datasets.ensure_overlaps(twins, "twins")
    assert twins.rows("SELECT overlaps_at::TEXT FROM dataset") == before
    Image.fromarray(crop(ground(999), 0, 0)).save(tmp_path / "twins" / "a" / "new.png")
    datasets.check_dataset(twins, "twins")
    assert datasets.known_overlaps(twins, "twins") is None
    assert len(datasets.look_for_overlaps(twins, "twins")) == 24
