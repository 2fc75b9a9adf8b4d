"""The scale of comparisons: by hand, against choix, on a known truth, and what its reliability says of pure noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import choix
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum import fours, scaling
from curriculum.errors import ConfigError
from curriculum.scaling import PAIR_WEIGHT, PRIOR_VARIANCE

NAMES = [f"c/{i:02}.jpg" for i in range(40)]
Row = tuple[str, Sequence[str], str, str, bool]


def frame(*rows: Row) -> pd.DataFrame:
    return pd.DataFrame([list(row) for row in rows], columns=list(scaling.COLUMNS))


def one(examples: str, hardest: str, easiest: str, annotator: str = "Ann", adaptive: bool = False) -> Row:
    """A comparison of images with names of one letter."""
    return annotator, list(examples), hardest, easiest, adaptive


def compare(total: int, spread: float, seed: int, *, adaptive: bool | None, people: int = 4) -> tuple[pd.DataFrame, dict[str, float]]:
    """What people answer about 40 images whose true difficulties have this spread: the loudest and the quietest of four noisy ones.

    Args:
        adaptive: every four chosen, none, or (None) as the program mixes them.
    """
    random = np.random.default_rng(seed)
    truth = dict(zip(NAMES, (random.normal(size=len(NAMES)) * spread).tolist(), strict=True))
    rows: list[Row] = []
    counts: dict[str, int] = {}
    while len(rows) < total:
        scale = scaling.fit(frame(*rows) if adaptive is not False else frame())
        known = fours.Known(NAMES, scale, counts, set())
        for turn in range(len(rows), len(rows) + 12):
            chance = not adaptive if adaptive is not None else fours.by_chance(turn, "Ann")
            four = fours.next_four(known, chance, random)
            assert four is not None
            felt = {name: truth[name] + random.gumbel() for name in four.examples}
            rows.append(
                (
                    f"person {turn // 12 % people}",
                    four.examples,
                    max(felt, key=felt.__getitem__),
                    min(felt, key=felt.__getitem__),
                    not chance,
                )
            )
            for name in four.examples if chance else ():
                counts[name] = counts.get(name, 0) + 1
    return frame(*rows), truth


def as_random(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The same answers, passed off as drawn by chance."""
    return comparisons.assign(adaptive=False)


def truly(comparisons: pd.DataFrame, truth: dict[str, float]) -> float:
    """The squared correlation of scale and truth, which a reliability estimates."""
    rows = scaling.table(scaling.fit(comparisons))
    return float(np.corrcoef(rows["latent"], [truth[name] for name in rows["example"]])[0, 1] ** 2)


# -- the scale -----------------------------------------------------------------------------------


def test_five_of_the_six_pairs() -> None:
    assert scaling.outcomes("abcd", "c", "a") == [("c", "b"), ("c", "d"), ("c", "a"), ("b", "a"), ("d", "a")]


def test_one_comparison_by_hand() -> None:
    """By symmetry the latents are x, 0, 0, -x; where the log posterior is flat, x / 10 = 5/9 (2 (1 - p(x)) + (1 - p(2 x)))."""
    rows = scaling.table(scaling.fit(frame(one("abcd", "c", "a"))))
    assert rows["example"].tolist() == ["a", "b", "d", "c"]
    x = rows["latent"].iloc[-1]
    assert rows["latent"].tolist() == pytest.approx([-x, 0, 0, x], abs=1e-6)

    def p(logit: float) -> float:
        return float(1 / (1 + np.exp(-logit)))

    assert x / PRIOR_VARIANCE == pytest.approx(PAIR_WEIGHT * (2 * (1 - p(x)) + (1 - p(2 * x))), abs=1e-6)
    assert rows["difficulty"].tolist() == pytest.approx([0, 0.5, 0.5, 1], abs=0.2)
    assert rows["difficulty"].tolist()[::3] == [0, 1]
    assert rows[["comparisons", "component"]].to_numpy().tolist() == [[1, 0]] * 4
    near, far = PAIR_WEIGHT * p(x) * (1 - p(x)), PAIR_WEIGHT * p(2 * x) * (1 - p(2 * x))
    curvature = np.array(
        [
            [2 * near + far, -near, -near, -far],
            [-near, 2 * near, 0, -near],
            [-near, 0, 2 * near, -near],
            [-far, -near, -near, 2 * near + far],
        ]
    )
    around = np.linalg.inv(curvature + np.eye(4) / 10) - PRIOR_VARIANCE / 4  # the mean of four varies by a fourth of the prior
    assert rows["sd"].tolist() == pytest.approx(np.sqrt(np.diag(around)).tolist(), rel=1e-5)


def test_a_pair_counts_what_it_informs() -> None:
    """Of four equally hard images, the 12 answers are equally likely; an image's score then varies by 9/8, while five separate
    pairs, each with 1/4, would inform by 5/8 on it."""
    scores, pairs = [], []
    for hardest in "abcd":
        for easiest in set("abcd") - {hardest}:
            told = scaling.outcomes("abcd", hardest, easiest)
            scores.append(sum((harder == "a") - (easier == "a") for harder, easier in told) / 2)
            pairs.append(sum("a" in pair for pair in told) / 4)
    assert [float(np.var(scores)), float(np.mean(pairs))] == [9 / 8, 5 / 8]
    assert np.mean(pairs) / np.var(scores) == pytest.approx(PAIR_WEIGHT)


def test_the_same_estimate_as_choix() -> None:
    """Weights aren't known there, so each pair is given 5 times and the prior made 9 times as strong: the same mode."""
    comparisons, _ = compare(60, 1.5, 0, adaptive=False)
    names = sorted({name for four in comparisons["examples"] for name in four})
    pairs = [
        (names.index(harder), names.index(easier))
        for row in comparisons.to_dict("records")
        for harder, easier in scaling.outcomes(row["examples"], row["hardest"], row["easiest"])
    ]
    expected = choix.opt_pairwise(len(names), pairs * 5, alpha=9 / PRIOR_VARIANCE / 2, tol=1e-10)
    assert scaling.fit(comparisons).latent == pytest.approx(expected, abs=1e-4)


def test_a_known_order_is_found_again() -> None:
    comparisons, truth = compare(480, 2, 1, adaptive=None)
    rows = scaling.table(scaling.fit(comparisons))
    assert rows["difficulty"].is_monotonic_increasing
    assert np.corrcoef(rows["difficulty"], pd.Series([truth[name] for name in rows["example"]]).rank())[0, 1] > 0.95


def test_the_sd_says_how_far_off() -> None:
    squares = []
    for seed in range(4):
        comparisons, truth = compare(240, 1, seed, adaptive=False)
        rows = scaling.table(scaling.fit(comparisons))
        off = rows["latent"].to_numpy() - np.array([truth[name] for name in rows["example"]])
        squares.append([off.var(), (rows["sd"] ** 2).mean()])
    real, said = np.sqrt(np.mean(squares, axis=0))
    assert 0.8 < real / said < 1.2


@given(st.lists(st.tuples(st.permutations(range(7)), st.booleans()), min_size=1, max_size=12))
def test_swapping_hardest_and_easiest_mirrors_the_scale(drawn: list[tuple[list[int], bool]]) -> None:
    rows = [one("".join("abcdefg"[i] for i in four[:4]), "abcdefg"[four[0]], "abcdefg"[four[1]], adaptive=chosen) for four, chosen in drawn]
    there = scaling.fit(frame(*rows))
    back = scaling.fit(frame(*((who, examples, easiest, hardest, adaptive) for who, examples, hardest, easiest, adaptive in rows)))
    assert back.latent == pytest.approx(-there.latent, abs=1e-5)
    assert np.diag(back.covariance) == pytest.approx(np.diag(there.covariance), rel=1e-4)
    assert there.latent.sum() == pytest.approx(0, abs=1e-5)
    assert back.component.tolist() == there.component.tolist()


def test_what_was_never_linked_is_never_compared() -> None:
    links = [one("abcd", "a", "d"), one("defg", "d", "g"), one("wxyz", "w", "z")]
    rows = scaling.table(scaling.fit(frame(*links))).set_index("example")
    assert rows.groupby("component").size().tolist() == [7, 4]
    assert set(rows.index[rows["component"] == 1]) == set("wxyz")
    assert rows.loc[["a", "w"], "difficulty"].tolist() == [1, 1]  # each within its own
    assert rows["comparisons"].to_dict()["d"] == 2
    assert scaling.report(frame(*links))["components"] == 2


def test_nothing_compared_is_an_empty_scale() -> None:
    found = scaling.report(frame())
    assert (found["examples"], found["comparisons"], found["components"]) == ([], 0, 0)
    assert found["reliability"] == {
        "ssr": None, "interval": None, "images": 0, "random_comparisons": 0, "reason": "nobody has compared four images yet",
        "split_half": None, "split_half_reason": "nobody has compared four images yet",
        "split_half_by_annotator": None, "split_half_by_annotator_reason": "nobody has compared four images yet",
    }  # fmt: skip


@pytest.mark.parametrize("row", [one("abcc", "a", "b"), one("abc", "a", "b"), one("abcd", "a", "a"), one("abcd", "a", "x")])
def test_what_is_no_comparison_is_refused(row: Row) -> None:
    with pytest.raises(ConfigError, match="four different images, two of which"):
        scaling.fit(frame(row))


def test_missing_columns_are_named() -> None:
    with pytest.raises(ConfigError, match="hardest"):
        scaling.fit(frame().drop(columns="hardest"))


# -- reliability ---------------------------------------------------------------------------------


def test_separation_by_hand() -> None:
    """Estimates -2, 0, 2 have the variance 4; errors of 1 on average leave 3/4."""
    found = scaling.separated(np.array([-2.0, 0.0, 2.0]), np.array([0.5, 1.0, 1.5]), 100, 0)
    assert (found.value, found.n) == (0.75, 3)
    assert scaling.separated(np.array([-1.0, 1.0]), np.array([9.0, 9.0]), 100, 0).value == 0
    assert "equally hard" in scaling.separated(np.zeros(3), np.ones(3), 100, 0).reason


def averaged(measure: Callable[[pd.DataFrame], Any], total: int, spread: float, adaptive: bool | None, seeds: int = 6) -> float:
    return float(np.mean([measure(compare(total, spread, seed, adaptive=adaptive)[0]) for seed in range(seeds)]))


def test_noise_has_no_reliability_and_adaptive_choice_would_hide_that() -> None:
    """Six teams whose answers are pure chance, 240 comparisons of 40 images: about 0 where chance chose the fours; where they
    were chosen for the answers before, the same formula on the same kind of noise says 0.8 and more (Bramley 2015)."""

    def separated(comparisons: pd.DataFrame) -> float | None:
        return scaling.separation(as_random(comparisons)).value

    def halved(comparisons: pd.DataFrame) -> float | None:
        return scaling.split_half(as_random(comparisons), splits=6).value

    assert averaged(separated, 240, 0, adaptive=False) < 0.15
    assert averaged(halved, 240, 0, adaptive=False) < 0.15
    assert averaged(separated, 240, 0, adaptive=True) > 0.7
    assert averaged(halved, 240, 0, adaptive=True) > 0.7


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_reliability_is_the_scales_share_of_truth(spread: float) -> None:
    found = []
    for seed in range(5):
        comparisons, truth = compare(240, spread, seed, adaptive=False)
        found.append([scaling.separation(comparisons).value, scaling.split_half(comparisons, splits=6).value, truly(comparisons, truth)])
    ssr, half, true = np.mean(np.array(found, dtype=float), axis=0)
    assert ssr == pytest.approx(true, abs=0.1)
    assert half == pytest.approx(true, abs=0.1)


def test_only_what_chance_chose_counts() -> None:
    comparisons, _ = compare(600, 1, 3, adaptive=None)
    random = comparisons[~comparisons["adaptive"]]
    assert len(random) == 120  # one of five
    assert scaling.separation(comparisons) == scaling.separation(random)
    assert scaling.split_half(comparisons) == scaling.split_half(random)
    found = scaling.report(comparisons)["reliability"]
    assert found["random_comparisons"] == 120
    assert 0 <= found["interval"][0] <= found["ssr"] <= found["interval"][1] <= 1
    assert found["reason"] is None


def test_halves_of_people_carry_what_each_sees_alone() -> None:
    """Two people who agree with nobody but themselves: halves by chance agree, halves by person don't."""
    first, _ = compare(240, 3, 0, adaptive=False, people=1)
    second, _ = compare(240, 3, 1, adaptive=False, people=1)
    both = pd.concat([first, second.assign(annotator="another")], ignore_index=True)
    assert (scaling.split_half(both).value or 0) > 0.8
    assert (scaling.split_half(both, by_annotator=True).value or 0) < 0.5
    assert "it takes two" in scaling.split_half(first, by_annotator=True).reason


@pytest.mark.parametrize(
    ("comparisons", "says"),
    [
        (frame(), "nobody has compared four images yet"),
        (frame(one("abcd", "a", "b", adaptive=True)), "link only 0 images; it takes 10"),
        (frame(one("abcd", "a", "b")), "link only 4 images; it takes 10"),
        (frame(*(one(four, four[0], four[1]) for four in ("abcd", "defg", "ghij"))), "each of 10 images was in 1.2 fours drawn by chance"),
    ],
)
def test_too_little_is_undefined_because(comparisons: pd.DataFrame, says: str) -> None:
    for found in (scaling.separation(comparisons), scaling.split_half(comparisons)):
        assert (found.value, found.low, found.high) == (None, None, None)
        assert says in found.reason
