"""What a comparison concludes: intervals and p values against references, verdicts by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from curriculum import compare
from curriculum.compare import Difference


def answered(answers: dict[tuple[str, int], list[int]], clusters: list[str] | None = None) -> pd.DataFrame:
    """One row a test image, arm and seed, from 0 and 1 for each image."""
    return pd.concat([
        pd.DataFrame({
            "arm": arm, "seed": seed, "example": [f"x{i}" for i in range(len(right))],
            "cluster": clusters or [f"x{i}" for i in range(len(right))], "correct": np.array(right, dtype=bool),
        })
        for (arm, seed), right in answers.items()
    ], ignore_index=True)  # fmt: skip


# -- figures --------------------------------------------------------------------------------------


def test_summary_by_hand() -> None:
    found = compare.summary(answered({("b", 0): [1, 1, 1, 0], ("a", 0): [1, 0, 0, 0], ("b", 1): [1, 0, 1, 0], ("a", 1): [1, 1, 0, 0]}))
    assert found["arm"].tolist() == ["b", "a"], "in the order in which they came"
    assert found["seeds"].tolist() == [[0.75, 0.5], [0.25, 0.5]]
    assert found["mean"].tolist() == [0.625, 0.375]
    assert found["sd"].tolist() == pytest.approx([np.std([0.75, 0.5], ddof=1)] * 2)


def test_the_deviation_of_one_seed_is_undefined() -> None:
    assert np.isnan(compare.summary(answered({("a", 0): [1, 0]}))["sd"].iloc[0])


@given(st.integers(0, 60), st.integers(0, 60))
def test_on_single_images_p_is_mcnemars_exact_test(only_a: int, only_b: int) -> None:
    gains = np.array([1] * only_a + [-1] * only_b + [0] * 7)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert compare.sign_flip_p(gains) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(-3, 3), max_size=10))
def test_on_clusters_p_counts_every_way_the_signs_can_fall(gains: list[int]) -> None:
    sizes = np.abs(gains)
    ways = np.array(np.meshgrid(*[[-1, 1]] * len(gains))).reshape(len(gains), -1) if gains else np.zeros((0, 1), int)
    sums = np.abs((ways * sizes[:, None]).sum(0)) if gains else np.zeros(1)
    assert compare.sign_flip_p(np.array(gains, dtype=np.int64)) == pytest.approx((sums >= abs(sum(gains))).mean(), abs=1e-12)


def test_near_copies_of_an_image_don_t_count_as_evidence_for_themselves() -> None:
    """Ten images right in one arm alone; but all ten show the same ground."""
    answers = {("a", 0): [1] * 10 + [1, 0], ("fine-tune", 0): [0] * 10 + [1, 0]}
    alone, together = (
        compare.differences(answered(answers, clusters), [("a", "fine-tune")])[0]
        for clusters in (None, ["ground"] * 10 + ["x", "y"])
    )  # fmt: skip
    assert alone.difference == together.difference == pytest.approx(10 / 12)
    assert alone.p == pytest.approx(2 / 2**10)
    assert together.p == 1.0
    assert together.low == 0.0 < alone.low


def test_holm_by_hand() -> None:
    assert compare.holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert compare.holm(np.array([0.5, 0.9])).tolist() == [1.0, 1.0]
    assert compare.holm(np.array([])).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    values = np.array(p)
    corrected = compare.holm(values)
    assert (corrected >= values).all()
    assert (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(values, kind="stable")]) >= 0).all()


def test_one_seed_of_single_images_has_the_interval_of_scipys_bootstrap() -> None:
    random = np.random.default_rng(3)
    gains = random.choice([-1, 0, 1], p=[0.05, 0.8, 0.15], size=300)
    by_seed = [np.column_stack([gains, np.ones(300, np.int64)])]
    low, high = compare.paired_bootstrap(by_seed, random)
    reference = stats.bootstrap((gains,), np.mean, n_resamples=10_000, method="percentile", rng=random).confidence_interval
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=0.006)


def test_seeds_that_disagree_widen_the_interval() -> None:
    def seed(share: float) -> NDArray[np.int64]:
        return np.column_stack([np.repeat([1, 0], [round(400 * share), 400 - round(400 * share)]), np.ones(400, np.int64)]).astype(np.int64)

    steady, shaky = (
        compare.paired_bootstrap([seed(share) for share in shares], np.random.default_rng(0))
        for shares in ([0.05] * 5, [0.0, 0.0, 0.0, 0.05, 0.20])
    )  # fmt: skip
    assert shaky[1] - shaky[0] > 2 * (steady[1] - steady[0])
    assert shaky[0] < 0.02 < steady[0]


def test_p_speaks_of_other_seeds_too() -> None:
    """Four seeds better by far and one worse: the images leave no doubt of these networks, five seeds leave some of others."""
    answers = {(arm, seed): [1] * right + [0] * (200 - right) for seed, rights in enumerate([(190, 150), (190, 150), (190, 150), (190, 150), (150, 190)])
               for arm, right in zip("ab", rights, strict=True)}  # fmt: skip
    only = compare.differences(answered(answers), [("a", "b")])[0]
    assert only.p == pytest.approx(stats.ttest_1samp([0.2, 0.2, 0.2, 0.2, -0.2], 0.0).pvalue)
    assert not only.detected
    steady = {key: right if key[1] < 4 else answers[key[0], 0] for key, right in answers.items()}
    only = compare.differences(answered(steady), [("a", "b")])[0]
    assert only.p == compare.sign_flip_p(np.full(200, 5) * np.r_[np.zeros(150), np.ones(40), np.zeros(10)].astype(np.int64)) < 1e-9
    assert compare.student_p(np.zeros(5)) == 1.0


def test_the_interval_over_seeds_is_students() -> None:
    means = np.array([0.01, 0.03, -0.01, 0.02, 0.04])
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert compare.student_interval(means) == pytest.approx((expected.low, expected.high))
    assert np.isnan(compare.student_interval(means[:1])).all()
    assert compare.widest((-1.0, 2.0), (0.0, 3.0), (np.nan, np.nan)) == (-1.0, 3.0)


def test_one_seed_detects_nothing() -> None:
    answers = {("a", 0): [1] * 50, ("b", 0): [0] * 50}
    only = compare.differences(answered(answers), [("a", "b")])[0]
    assert only.p_holm < 1e-9
    assert only.low > 0
    assert not only.detected
    said = compare.verdict({"a": None}, [replace(only, b="fine-tune")], seeds=1)
    assert said.startswith("One seed can't tell a from plain fine-tuning: these two networks differ by +100.0 points")


def test_differences_are_means_over_seeds_and_change_sign_with_the_pair() -> None:
    answers = {("a", 0): [1, 1, 0, 0], ("b", 0): [0, 1, 0, 0], ("a", 1): [1, 1, 1, 0], ("b", 1): [0, 0, 1, 0]}
    there, back = compare.differences(answered(answers), [("a", "b"), ("b", "a")])
    assert (there.difference, back.difference) == (0.375, -0.375)
    assert there.p == back.p
    assert there.low == pytest.approx(-back.high, abs=0.13)
    assert there.p_holm == min(2 * there.p, 1.0)


def test_arms_tested_on_other_images_are_refused() -> None:
    frame = answered({("a", 0): [1, 0], ("b", 0): [1, 0, 1]})
    with pytest.raises(ValueError, match="a and b weren't tested on the same images"):
        compare.differences(frame, [("a", "b")])


# -- the verdict ----------------------------------------------------------------------------------


def found(a: str, b: str, difference: float, width: float, p: float) -> Difference:
    return Difference(a, b, difference, difference - width, difference + width, p, p, 5)


@pytest.mark.parametrize(
    ("plain", "chance", "expected"),
    [
        ((0.02, 0.01, 0.001), (0.03, 0.01, 0.001), "x is better than plain fine-tuning (+2.0 points [+1.0, +3.0], p = 0.001), and than "
         "the same sizes in random order (+3.0 points [+2.0, +4.0], p = 0.001): the order helps."),
        ((0.02, 0.01, 0.001), (0.00, 0.01, 0.9), "x is better than plain fine-tuning (+2.0 points [+1.0, +3.0], p = 0.001); from the "
         "same sizes in random order no difference is detectable (+0.0 points [-1.0, +1.0], p = 0.9), so it can't be put down to the order."),
        ((0.01, 0.02, 0.3), (0.01, 0.02, 0.3), "No detectable difference between x and plain fine-tuning (+1.0 points [-1.0, +3.0], p = 0.3)."),
        ((0.01, 0.02, 0.001), (0.01, 0.02, 0.3), "No detectable difference between x and plain fine-tuning (+1.0 points [-1.0, +3.0], p = 0.001, "
         "but the interval has 0 in it)."),
        ((0.03, 0.01, 0.08), (0.01, 0.02, 0.3), "No detectable difference between x and plain fine-tuning (+3.0 points [+2.0, +4.0], p = 0.08, "
         "the interval of this pair alone; among all pairs chance does as much)."),
        ((-0.02, 0.01, 0.01), (-0.03, 0.01, 0.01), "x is worse than plain fine-tuning (-2.0 points [-3.0, -1.0], p = 0.01), and worse than "
         "the same sizes in random order (-3.0 points [-4.0, -2.0], p = 0.01)."),
        ((0.00, 0.01, 0.9), (0.03, 0.01, 0.001), "No detectable difference between x and plain fine-tuning (+0.0 points [-1.0, +1.0], p = 0.9), "
         "though it is better than the same sizes in random order (+3.0 points [+2.0, +4.0], p = 0.001)."),
    ],
)  # fmt: skip
def test_verdicts_by_hand(plain: tuple[float, float, float], chance: tuple[float, float, float], expected: str) -> None:
    differences = [found("x", "fine-tune", *plain), found("x", "x-random", *chance)]
    assert compare.verdict({"x": "x-random"}, differences, seeds=5) == expected


def test_hardest_first_is_told_where_it_is_better() -> None:
    arms, pairs = {"x": None}, [found("x", "fine-tune", 0.02, 0.01, 0.001)]
    better, worse = ([*pairs, found("x", "x-anti", difference, 0.01, 0.001)] for difference in (-0.04, 0.04))
    assert compare.verdict(arms, better, 5).endswith(" x-anti, the hardest first, is better than x (-4.0 points [-5.0, -3.0], p = 0.001).")
    assert "anti" not in compare.verdict(arms, worse, 5)


def test_one_test_alone_detects_nothing() -> None:
    """An interval off 0 with a large p, and a small p with an interval over 0."""
    assert not found("x", "y", 0.02, 0.01, 0.06).detected
    assert not found("x", "y", 0.01, 0.02, 0.01).detected
    assert found("x", "y", 0.02, 0.01, 0.04).detected


def test_whose_levels_they_were_is_said() -> None:
    pairs = [found("staged", "fine-tune", 0.02, 0.01, 0.001)]
    assert compare.verdict({"staged": None}, pairs, 5, levels="simulated").endswith(
        " The levels of staged are simulated annotators': of people's order this says nothing."
    )
    assert "people's order" not in compare.verdict({"staged": None}, pairs, 5)
    assert "people's order" not in compare.verdict({"x": None}, [found("x", "fine-tune", 0.02, 0.01, 0.001)], 5, levels="model")


def test_few_seeds_and_the_reports_protocol_are_said() -> None:
    said = compare.verdict({"x": None}, [found("x", "fine-tune", 0.0, 0.1, 1.0)], seeds=3, biased=True)
    assert "Only 3 seeds: at least 5 are needed" in said
    assert "Protocol report: test images may show the same ground" in said


@pytest.mark.parametrize("spread", [0.01, 0.05])
def test_without_any_difference_hardly_any_comparison_detects_one(spread: float) -> None:
    """Five arms that are equally good, their seeds better or worse by chance: at most one comparison in ten may call any pair different."""
    random, called = np.random.default_rng(5), 0
    for _ in range(20):
        level = random.normal(0.85, spread, (5, 5)).clip(0, 1)
        answers = {
            (arm, seed): (random.random(200) < level[seed, k]).astype(int).tolist() for seed in range(5) for k, arm in enumerate("abcde")
        }
        called += any(each.detected for each in compare.differences(answered(answers), [("a", other) for other in "bcde"], seed=1))
    assert called <= 2
