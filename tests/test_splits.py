"""Splits: fair, groups whole, a seed for each; what is left out of a run leaves test as it was."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.errors import DatasetError
from curriculum.splits import assign_parts, split_examples, thin_out
from curriculum.vocabulary import SPLITS

SHARES = st.sampled_from([(0.64, 0.16, 0.20), (0.8, 0.2), (0.2,) * 5, (0.5, 0.25, 0.25), (1.0,)])
CLASSES = st.lists(st.sampled_from("abc"), min_size=1, max_size=60)


def test_rsscn7_is_divided_1792_448_560() -> None:
    classes = [name for name in "abcdefg" for _ in range(400)]
    parts = assign_parts(classes, [None] * 2800, (0.64, 0.16, 0.20), seed=0)
    assert np.bincount(parts).tolist() == [1792, 448, 560]
    for name in "abcdefg":
        assert np.bincount(parts[np.array(classes) == name]).tolist() == [256, 64, 80]
    assert not np.array_equal(parts, assign_parts(classes, [None] * 2800, (0.64, 0.16, 0.20), seed=1))


def test_rsscn7_with_pairs_keeps_its_sizes() -> None:
    classes = [name for name in "abcdefg" for _ in range(400)]
    groups = [i // 2 if i % 400 < 40 else None for i in range(2800)]
    parts = assign_parts(classes, groups, (0.64, 0.16, 0.20), seed=3)
    assert all(parts[i] == parts[i + 1] for i in range(0, 2800, 2) if groups[i] is not None)
    for name in "abcdefg":
        assert np.bincount(parts[np.array(classes) == name]).tolist() == [256, 64, 80]


@given(CLASSES, SHARES, st.integers(0, 2**31 - 1))
def test_without_groups_each_class_is_shared_out_to_the_nearest_whole(classes: list[str], shares: tuple[float, ...], seed: int) -> None:
    parts = assign_parts(classes, [None] * len(classes), shares, seed)
    for name in set(classes):
        mine = parts[np.array(classes) == name]
        counts = np.bincount(mine, minlength=len(shares))
        assert counts.sum() == len(mine) == classes.count(name)
        assert all(abs(count - share * len(mine)) < 1 for count, share in zip(counts, shares, strict=True))


@given(st.data(), CLASSES, SHARES, st.integers(0, 2**31 - 1))
def test_groups_stay_whole_and_everything_has_a_part(data: st.DataObject, classes: list[str], shares: tuple[float, ...], seed: int) -> None:
    member = st.one_of(st.none(), st.integers(0, 12))
    groups = data.draw(st.lists(member, min_size=len(classes), max_size=len(classes)))
    parts = assign_parts(classes, groups, shares, seed)
    assert len(parts) == len(classes)
    assert set(parts.tolist()) <= set(range(len(shares)))
    for group in set(groups) - {None}:
        assert len({int(part) for part, g in zip(parts, groups, strict=True) if g == group}) == 1
    np.testing.assert_array_equal(parts, assign_parts(classes, groups, shares, seed))


# -- splits of runs -------------------------------------------------------------------------------


def listed(classes: list[str], groups: list[int | None] | None = None, own: list[str] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame({"class": classes, "overlap_group": pd.array(groups or [None] * len(classes), dtype="Int64")})
    return frame if own is None else frame.assign(own_split=own)


@given(CLASSES, st.integers(0, 1000))
def test_the_honest_split_is_64_16_20_as_ever(classes: list[str], seed: int) -> None:
    groups = [i // 2 if i % 5 < 2 else None for i in range(len(classes))]
    expected = [SPLITS[part] for part in assign_parts(classes, groups, (0.64, 0.16, 0.20), seed)]
    assert split_examples(listed(classes, groups), "honest", seed) == expected
    expected = [SPLITS[part] for part in assign_parts(classes, [None] * len(classes), (0.80, 0.0, 0.20), seed)]
    assert split_examples(listed(classes, groups), "report", seed) == expected


@pytest.mark.parametrize(
    ("protocol", "expected"), [("honest", {"train": 210, "val": 70, "test": 120}), ("report", {"train": 280, "test": 120})]
)
def test_shares_are_of_all_and_of_what_is_left(protocol: str, expected: dict[str, int]) -> None:
    found = split_examples(listed(["a"] * 400), protocol, 0, test_share=0.3, val_share=0.25)
    assert Counter(found) == expected


def test_the_given_test_part_is_kept_and_val_drawn_from_the_rest() -> None:
    classes = [name for name in "ab" for _ in range(50)]
    own = ["test" if i % 50 < 10 else "train" for i in range(100)]
    groups = [i // 2 if i % 50 >= 30 else None for i in range(100)]
    order = listed(classes, groups, own)
    found = split_examples(order, "given", 3, test_share=0.9, val_share=0.25)
    assert [part == "test" for part in found] == [part == "test" for part in own]
    assert Counter(zip(classes, found, strict=True)) == {
        (name, part): count for name in "ab" for part, count in (("test", 10), ("val", 10), ("train", 30))
    }
    assert all(found[i] == found[i + 1] for i in range(0, 100, 2) if groups[i] is not None and own[i] == own[i + 1])
    assert found == split_examples(order, "given", 3, val_share=0.25)
    assert found != split_examples(order, "given", 4, val_share=0.25)
    assert order["own_split"].tolist() == own, "the caller's table stays as it was"


def test_a_val_part_that_is_given_is_kept() -> None:
    own = ["val", "train", "test", "train", "val", "test"]
    assert split_examples(listed(list("aabbab"), own=own), "given", 0, val_share=0.9) == own


def parted(each: int) -> pd.DataFrame:
    """Classes a, b of `each` images, c of twice as many: half train, a quarter val, a quarter test."""
    classes = ["a"] * each + ["b"] * each + ["c"] * 2 * each
    return pd.DataFrame({"class": classes, "split": np.resize(["train", "val", "train", "test"], len(classes)), "row": range(len(classes))})


def counts(order: pd.DataFrame) -> dict[tuple[str, str], int]:
    return dict(Counter(zip(order["class"], order["split"], strict=True)))


def test_a_share_of_each_class_and_so_many_of_each_keep_the_proportions() -> None:
    order = parted(80)  # of a: 40 train, 20 val, 20 test
    assert thin_out(order, 1.0, None, 0) is order
    expected = {(n, s): k * c for n, k in (("a", 1), ("b", 1), ("c", 2)) for s, c in (("train", 10), ("val", 5), ("test", 20))}
    assert counts(thin_out(order, 0.25, None, 0)) == expected
    found = thin_out(order, 1.0, 12, 0)
    tests = {("a", "test"): 20, ("b", "test"): 20, ("c", "test"): 40}
    assert counts(found) == {(n, s): c for n in "abc" for s, c in (("train", 8), ("val", 4))} | tests
    assert set(found[found["split"] == "test"]["row"]) == set(order[order["split"] == "test"]["row"])
    assert found["row"].is_monotonic_increasing
    assert found.index.tolist() == list(range(len(found)))
    rows = order.set_index("row")
    assert (rows.loc[found["row"], "split"].to_numpy() == found["split"].to_numpy()).all()


def test_what_is_left_out_follows_from_the_seed() -> None:
    first, again, other = (thin_out(parted(80), 1.0, 12, seed)["row"].tolist() for seed in (1, 1, 2))
    assert first == again != other


@given(st.integers(4, 40), st.integers(2, 60), st.integers(0, 9))
def test_each_class_has_exactly_so_many_or_is_refused(each: int, per_class: int, seed: int) -> None:
    order = parted(each)
    available = order[order["split"] != "test"].groupby("class").size()
    if per_class > available.min():
        with pytest.raises(DatasetError, match=r"fewer images than --per-class.*a: .*up to"):
            thin_out(order, 1.0, per_class, seed)
    else:
        found = thin_out(order, 1.0, per_class, seed)
        assert set(found[found["split"] != "test"].groupby("class").size()) == {per_class}


def test_the_smallest_share_leaves_an_image_of_each_class() -> None:
    found = thin_out(parted(8), 0.0001, None, 0)
    assert set(found[found["split"] != "test"].groupby("class").size()) == {1}


@given(st.integers(2, 40), st.integers(2, 8), st.integers(0, 9))
def test_two_images_of_a_class_leave_one_to_choose_by(each: int, per_class: int, seed: int) -> None:
    order = pd.DataFrame({"class": ["a"] * 5 * each, "split": ["train"] * 3 * each + ["val"] * each + ["test"] * each})
    left = thin_out(order, 1.0, per_class, seed)["split"]
    assert {"train", "val", "test"} == set(left)
    assert (left != "test").sum() == per_class
