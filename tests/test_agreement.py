"""Agreement against krippendorff, scikit-learn, published examples and values computed by hand."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from itertools import combinations

import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from curriculum import agreement
from curriculum.agreement import alpha, fleiss_kappa, pairwise_kappa, report, self_consistency
from curriculum.errors import ConfigError
from curriculum.intervals import Coefficient
from curriculum.metrics import wilson_interval
from curriculum.vocabulary import LEVELS

LETTERS = {"e": "easy", "m": "medium", "h": "hard"}

# Krippendorff 2011: four observers, twelve units, five values, "." for none; votes (units, values).
OBSERVERS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
KRIPPENDORFF = np.array([[sum(line[unit] == value for line in OBSERVERS) for value in "12345"] for unit in range(12)], dtype=np.float64)


def judged(**votes: str) -> pd.DataFrame:
    """One string an annotator, one letter an image: e, m, h, or - for none. `judged(Ann="emh", Bob="e-h")`."""
    rows = [(f"image {i}", name, LETTERS[c]) for name, line in votes.items() for i, c in enumerate(line) if c != "-"]
    return pd.DataFrame(rows, columns=["example", "annotator", "level"])


def repeated(*rows: tuple[str, str]) -> pd.DataFrame:
    """One (image, two letters) a row: first and second judgement of it, each row by somebody else."""
    found = [(image, f"person {i}", LETTERS[pair[0]], LETTERS[pair[1]]) for i, (image, pair) in enumerate(rows)]
    return pd.DataFrame(found, columns=["example", "annotator", "first", "second"])


def random_frame(images: int, annotators: int, seed: int, kept: float = 0.8) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    true = random.integers(0, 3, images)
    rows = []
    for a in range(annotators):
        given_level = np.where(random.random(images) < 0.6, true, random.integers(0, 3, images))
        rows += [(f"image {i}", f"person {a}", LEVELS[given_level[i]]) for i in np.flatnonzero(random.random(images) < kept)]
    return pd.DataFrame(rows, columns=["example", "annotator", "level"])


def matrix(frame: pd.DataFrame) -> NDArray[np.float64]:
    """(annotators, images) of 0, 1, 2 or NaN, made without the module under test."""
    wide = frame.assign(value=[float(LEVELS.index(level)) for level in frame["level"]])
    return wide.pivot(index="annotator", columns="example", values="value").to_numpy(np.float64)


def value_of(measure: Coefficient) -> float:
    assert measure.value is not None, measure.reason
    return measure.value


EVERY: dict[str, Callable[[pd.DataFrame], Coefficient]] = {
    "alpha": alpha,
    "fleiss": fleiss_kappa,
    "pair": lambda frame: next(iter(pairwise_kappa(frame).values())),
}


# -- published and hand-computed values ------------------------------------------------------------


def test_krippendorffs_example() -> None:
    shared = KRIPPENDORFF[KRIPPENDORFF.sum(1) >= 2]
    ours = float(agreement.ordinal_alpha(agreement.coincidences(shared).sum(0)))
    assert ours == pytest.approx(0.815, abs=5e-4)
    assert ours == pytest.approx(krippendorff.alpha(value_counts=KRIPPENDORFF, level_of_measurement="ordinal"), abs=1e-12)


def test_fleiss_of_krippendorffs_example_as_gwet_has_it() -> None:
    """irrCAC by Gwet, raw_4raters: Fleiss' kappa 0.76117, agreement 0.81818, chance 0.23872."""
    sums = agreement.fleiss_parts(KRIPPENDORFF).sum(0)
    assert float(agreement.fleiss(sums)) == pytest.approx(0.76117, abs=5e-6)
    assert sums[-2] / sums[-1] == pytest.approx(0.81818, abs=5e-6)
    assert ((sums[:-2] / 12) ** 2).sum() == pytest.approx(0.23872, abs=5e-6)


def test_fleiss_of_the_textbook_example() -> None:
    """Ten subjects, fourteen raters, five categories: 0.210."""
    votes = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ],
        dtype=np.float64,
    )  # fmt: skip
    assert float(agreement.fleiss(agreement.fleiss_parts(votes).sum(0))) == pytest.approx(0.210, abs=5e-4)


FOUR = judged(Ann="emhe", Bob="emhh")


def test_alpha_by_hand() -> None:
    """Eight labels: 3 easy, 2 medium, 3 hard, mean ranks 1.5, 4, 6.5; observed 2 x 25, expected 2 (37.5 + 225 + 37.5)."""
    assert value_of(alpha(FOUR)) == pytest.approx(1 - 7 * 50 / 600)


def test_kappa_by_hand() -> None:
    """Observed 4 / 4; expected, weights times margins: (2 + 16 + 1 + 2 + 4 + 1) / 16."""
    found = pairwise_kappa(FOUR)
    assert list(found) == [("Ann", "Bob")]
    assert value_of(found["Ann", "Bob"]) == pytest.approx(1 - 16 / 26)
    assert found["Ann", "Bob"].n == 4


def test_fleiss_by_hand() -> None:
    """Agreement 3/4, chance (9 + 4 + 9) / 64."""
    assert value_of(fleiss_kappa(FOUR)) == pytest.approx((48 - 22) / (64 - 22))


def test_fleiss_by_hand_with_unequal_numbers() -> None:
    """Images e e h and m m, h doesn't count: agreement (1/3 + 1) / 2; shares 1/3, 1/2, 1/6."""
    frame = judged(Ann="emh", Bob="em-", Cleo="h--")
    chance = (4 + 9 + 1) / 36
    assert value_of(fleiss_kappa(frame)) == pytest.approx((2 / 3 - chance) / (1 - chance))
    assert fleiss_kappa(frame).n == 2


def test_a_far_disagreement_costs_more_than_a_near_one_but_not_for_fleiss() -> None:
    near, far = judged(Ann="eemmhhe", Bob="eemmhhm"), judged(Ann="eemmhhe", Bob="eemmhhh")
    assert value_of(alpha(near)) > value_of(alpha(far))
    assert value_of(EVERY["pair"](near)) > value_of(EVERY["pair"](far))
    assert value_of(fleiss_kappa(near)) == pytest.approx(value_of(fleiss_kappa(far)))


# -- against reference libraries -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_points_like_the_libraries(seed: int) -> None:
    frame = random_frame(images=25 + 20 * seed, annotators=2 + seed % 5, seed=seed, kept=0.5 + seed % 2 / 2)
    values = matrix(frame)
    expected = krippendorff.alpha(reliability_data=values, value_domain=[0, 1, 2], level_of_measurement="ordinal")
    assert value_of(alpha(frame, resamples=20)) == pytest.approx(expected, abs=1e-9)
    names = sorted(frame["annotator"].unique())
    found = pairwise_kappa(frame, resamples=20)
    assert list(found) == list(combinations(names, 2))
    for (a, b), measure in found.items():
        both = values[[names.index(a), names.index(b)]]
        both = both[:, ~np.isnan(both).any(0)].astype(int)
        assert measure.n == both.shape[1]
        if measure.value is not None:
            assert measure.value == pytest.approx(cohen_kappa_score(*both, weights="quadratic", labels=[0, 1, 2]), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_fleiss_like_the_formula_written_out(seed: int) -> None:
    frame = random_frame(images=40, annotators=4, seed=seed, kept=0.6)
    agreed, shares = [], np.zeros(3)
    images = frame.groupby("example")["level"].agg(list)
    for levels in images[images.map(len) >= 2]:
        agreed.append(np.mean([a == b for a, b in combinations(levels, 2)]))
        shares += [levels.count(level) / len(levels) for level in LEVELS]
    chance = ((shares / len(agreed)) ** 2).sum()
    assert value_of(fleiss_kappa(frame, resamples=20)) == pytest.approx((np.mean(agreed) - chance) / (1 - chance), abs=1e-9)


def test_resamples_like_the_libraries() -> None:
    """A resample as a sum over images is the library's coefficient of those images, some of them several times."""
    frame = random_frame(images=60, annotators=4, seed=1)
    votes = agreement.count_votes(frame).to_numpy(np.float64)
    shared = votes[votes.sum(1) >= 2]
    values = matrix(frame)[:2]
    both = values[:, ~np.isnan(values).any(0)].astype(int)
    random = np.random.default_rng(2)
    for _ in range(10):
        rows = random.integers(0, len(shared), len(shared))
        ours = float(agreement.ordinal_alpha(agreement.coincidences(shared)[rows].sum(0)))
        assert ours == pytest.approx(krippendorff.alpha(value_counts=shared[rows], level_of_measurement="ordinal"), abs=1e-9)
        a, b = both[:, random.integers(0, both.shape[1], both.shape[1])]
        cells = np.bincount(a * 3 + b, minlength=9).astype(np.float64)
        assert float(agreement.weighted_kappa(cells)) == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"), abs=1e-9)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    frame = random_frame(images=150, annotators=3, seed=3)
    votes = agreement.count_votes(frame).to_numpy(np.float64)
    shared = votes[votes.sum(1) >= 2]
    random = np.random.default_rng(4)
    plain = [
        krippendorff.alpha(value_counts=shared[random.integers(0, len(shared), len(shared))], level_of_measurement="ordinal")
        for _ in range(1500)
    ]
    ours = alpha(frame, resamples=20_000)
    assert [ours.low, ours.high] == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.015)


# -- properties ------------------------------------------------------------------------------------

people = st.lists(st.text("emh-", min_size=6, max_size=6), min_size=2, max_size=5).map(
    lambda lines: judged(**{f"person {i}": line for i, line in enumerate(lines)})
)


@given(people)
def test_a_value_lies_in_range_or_there_is_a_reason(frame: pd.DataFrame) -> None:
    measures = [alpha(frame, 100), fleiss_kappa(frame, 100), *pairwise_kappa(frame, 100).values()]
    for measure in measures:
        if measure.value is None:
            assert measure.reason and measure.low is None and measure.high is None
            continue
        assert np.isfinite(measure.value) and measure.value <= 1 + 1e-12 and measure.n >= 2
        if measure.low is None or measure.high is None:
            assert measure.reason.startswith("no interval") and measure.low is measure.high
        else:
            assert not measure.reason and measure.low <= measure.high <= 1 + 1e-12
    assert all(m.value is None or m.value >= -1 - 1e-12 for m in measures[1:])


@given(people, st.randoms(use_true_random=False))
def test_neither_names_nor_the_order_of_rows_matter(frame: pd.DataFrame, random: object) -> None:
    names = sorted(frame["annotator"].unique())
    renamed = frame.assign(annotator=frame["annotator"].map(dict(zip(names, reversed(names), strict=True)))).iloc[::-1]
    assert alpha(renamed, 50).value == alpha(frame, 50).value
    assert fleiss_kappa(renamed, 50) == fleiss_kappa(frame, 50)
    found = pairwise_kappa(renamed, 50)
    for (a, b), measure in pairwise_kappa(frame, 50).items():
        other = found[tuple(sorted((names[-1 - names.index(a)], names[-1 - names.index(b)])))]
        assert (other.n, other.value is None) == (measure.n, measure.value is None)
        assert other.value == pytest.approx(measure.value)


@given(people)
def test_easy_and_hard_may_change_places(frame: pd.DataFrame) -> None:
    mirrored = frame.assign(level=frame["level"].map({"easy": "hard", "medium": "medium", "hard": "easy"}))
    for measure in EVERY.values():
        if frame["annotator"].nunique() > 1:
            assert measure(mirrored).value == pytest.approx(measure(frame).value)


@given(st.text("emh", min_size=2, max_size=8).filter(lambda line: len(set(line)) > 1), st.integers(2, 4))
def test_perfect_agreement_is_one(line: str, annotators: int) -> None:
    frame = judged(**{f"person {i}": line for i in range(annotators)})
    for measure in EVERY.values():
        assert measure(frame).value == pytest.approx(1.0)


def test_guesses_agree_by_chance_alone() -> None:
    random = np.random.default_rng(5)
    frame = judged(**{name: "".join(random.choice(list("emh"), 3000)) for name in ("Ann", "Bob", "Cleo")})
    for measure in EVERY.values():
        found = measure(frame)
        assert found.low is not None and found.high is not None and found.low < 0 < found.high
        assert abs(value_of(found)) < 0.05


def test_the_seed_decides_the_interval() -> None:
    frame = random_frame(images=50, annotators=3, seed=6)
    assert alpha(frame, seed=1) == alpha(frame, seed=1)
    assert alpha(frame, seed=1).low != alpha(frame, seed=2).low
    assert alpha(frame, seed=1).value == alpha(frame, seed=2).value


def test_more_images_narrow_the_interval() -> None:
    few, many = alpha(random_frame(60, 3, seed=7)), alpha(random_frame(2000, 3, seed=7))
    assert few.low and few.high and many.low and many.high
    assert many.high - many.low < (few.high - few.low) / 3


def test_a_thousand_resamples_of_a_whole_data_set_take_less_than_two_seconds() -> None:
    frame = random_frame(images=2800, annotators=5, seed=8, kept=1.0)
    started = time.perf_counter()
    assert alpha(frame, resamples=1000).n == 2800
    assert time.perf_counter() - started < 2


# -- undefined, each with its reason ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "n", "reason"),
    [
        (judged(), 0, "nobody has labelled"),
        (judged(Ann="emh"), 0, r"only one annotator \(Ann\)"),
        (judged(Ann="em--", Bob="--mh"), 0, "no image has been labelled by two"),
        (judged(Ann="emh-", Bob="--hm"), 1, "only one image has two judgements"),
        (judged(Ann="eee", Bob="eee"), 3, "every label is easy"),
        (judged(Ann="hhh", Bob="hhh"), 3, "every label is hard"),
    ],
)
def test_undefined(frame: pd.DataFrame, n: int, reason: str) -> None:
    for measure in (alpha(frame), fleiss_kappa(frame)):
        assert (measure.value, measure.low, measure.high, measure.n) == (None, None, None, n)
        assert re.match(reason, measure.reason)


def test_undefined_for_a_pair_while_others_are_not() -> None:
    found = pairwise_kappa(judged(Ann="emhe----", Bob="emmee---", Cleo="----mhhh", Dan="eeee----", Eve="eeee----"))
    assert found["Ann", "Bob"].value is not None
    assert found["Ann", "Cleo"] == Coefficient(None, None, None, 0, "no image has been labelled by both Ann and Cleo")
    assert found["Bob", "Cleo"].reason.startswith("only one image") and found["Bob", "Cleo"].n == 1
    assert found["Dan", "Eve"].reason.startswith("every label is easy")
    assert len(found) == 10


def test_no_pair_no_kappa() -> None:
    assert pairwise_kappa(judged(Ann="emh")) == pairwise_kappa(judged()) == {}


def test_images_with_one_judgement_do_not_count() -> None:
    for measure in (alpha, fleiss_kappa):
        assert measure(judged(Ann="eeemh", Bob="eee--")).reason.startswith("every label is easy")
        assert measure(judged(Ann="emhehhh", Bob="emhh---")) == measure(FOUR)


def test_two_people_who_never_vary_and_never_agree() -> None:
    frame = judged(Ann="eeee", Bob="hhhh")
    assert value_of(EVERY["pair"](frame)) == 0
    assert value_of(alpha(frame)) < 0 and value_of(fleiss_kappa(frame)) == pytest.approx(-1)


def test_a_value_without_an_interval_says_so() -> None:
    for line, reason in (("eemmh", "of 5 images it would flatter"), ("eemmh" * 8, "all images say the same")):
        for measure in EVERY.values():
            found = measure(judged(Ann=line, Bob=line))
            assert found.value == pytest.approx(1.0)
            assert found.low is None and found.high is None and found.reason.startswith(f"no interval: {reason}")


def test_people_who_always_repeat_themselves_may_yet_err() -> None:
    found = self_consistency(repeated(*[(f"image {i}", pair) for i, pair in enumerate(["ee", "mm", "hh"] * 3)])).same
    assert (found.value, found.low, found.high) == pytest.approx((1.0, *wilson_interval(9, 9)))


# -- self-consistency ------------------------------------------------------------------------------


def test_self_consistency_by_hand() -> None:
    found = self_consistency(repeated(("a", "ee"), ("b", "mm"), ("c", "hh"), ("d", "eh")))
    assert value_of(found.same) == 0.75 and found.same.n == 4
    assert value_of(found.kappa) == pytest.approx(1 - 16 / 26)
    assert found.same.low is not None and found.same.high is not None and found.same.low < 0.75 < found.same.high


def test_repeats_of_one_image_stay_together() -> None:
    """Ten people repeat each of two images: that tells as much as one of two images."""
    found = self_consistency(repeated(*[("a", "ee")] * 10, *[("b", "eh")] * 10))
    assert found.same == self_consistency(repeated(("a", "ee"), ("b", "eh"))).same
    assert (found.same.value, found.same.low, found.same.high, found.same.n) == pytest.approx((0.5, *wilson_interval(1, 2), 2))


@pytest.mark.parametrize(
    ("repeats", "n", "same", "kappa"),
    [
        (repeated(), 0, "no image has been judged a second time", "no image has been judged a second time"),
        (repeated(("a", "eh")), 1, "only one image", "only one image"),
        (repeated(("a", "ee"), ("b", "ee")), 2, "", "every label is easy"),
    ],
)
def test_self_consistency_undefined(repeats: pd.DataFrame, n: int, same: str, kappa: str) -> None:
    found = self_consistency(repeats)
    assert found.same.n == found.kappa.n == n
    assert found.same.reason.startswith(same) and (found.same.value is None) == bool(same)
    assert found.kappa.reason.startswith(kappa) and found.kappa.value is None


def test_a_repeat_without_both_levels_does_not_count() -> None:
    rows = repeated(("a", "ee"), ("b", "mh"), ("c", "hh"))
    assert self_consistency(pd.concat([rows, rows.assign(second=None).tail(1)])) == self_consistency(rows)


# -- input -----------------------------------------------------------------------------------------


def test_a_row_without_level_is_a_missing_judgement() -> None:
    frame = judged(Ann="emh", Bob="e-h", Cleo="mmh")
    blank = pd.DataFrame({"example": ["image 1"], "annotator": ["Bob"], "level": [None]})
    assert report(pd.concat([frame, blank]), repeated()) == report(frame, repeated())


@pytest.mark.parametrize("measure", [alpha, fleiss_kappa, pairwise_kappa])
def test_bad_input_is_refused(measure: object) -> None:
    assert callable(measure)
    frame = judged(Ann="emh", Bob="emm")
    with pytest.raises(ConfigError, match="lacks columns"):
        measure(frame.drop(columns="level"))
    with pytest.raises(ConfigError, match=r"unknown level.*tricky.*easy, medium, hard"):
        measure(frame.assign(level=frame["level"].replace("medium", "tricky")))
    with pytest.raises(ConfigError, match=r"judges an example twice.*Ann: image 0"):
        measure(pd.concat([frame, frame.head(1)]))


def test_bad_repeats_are_refused() -> None:
    with pytest.raises(ConfigError, match="lacks columns"):
        self_consistency(judged(Ann="emh"))
    with pytest.raises(ConfigError, match="unknown level"):
        self_consistency(repeated(("a", "ee")).assign(second="tricky"))


# -- the report ------------------------------------------------------------------------------------


def test_the_report_is_json_and_complete() -> None:
    document = report(random_frame(60, 3, seed=9), repeated(*[(f"image {i}", pair) for i, pair in enumerate(["ee", "mm", "hh", "em"] * 5)]))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["reasons"] == {}
    assert document["alpha_interval"][0] < document["alpha"] < document["alpha_interval"][1]
    assert document["self_consistency"] == 0.75 and document["self_consistency_n"] == 20
    assert [set(pair) for pair in document["pairwise_kappa"]] == [{"a", "b", "kappa", "low", "high", "n", "reason"}] * 3
    assert [(pair["a"], pair["b"]) for pair in document["pairwise_kappa"]] == list(combinations(["person 0", "person 1", "person 2"], 2))


def test_each_annotators_own_consistency_or_the_reason_why_not() -> None:
    again = pd.DataFrame(
        {"example": ["a", "b", "c"], "annotator": ["Ann", "Ann", "Bob"], "first": ["easy"] * 3, "second": ["easy", "hard", "easy"]}
    )
    document = report(judged(Ann="emh", Bob="emh", Cem="emh"), again)
    assert document["self_consistency"] == pytest.approx(2 / 3)
    ann, bob, cem = document["self_consistency_by_annotator"]
    assert (ann["annotator"], ann["same"], ann["n"], ann["reason"]) == ("Ann", 0.5, 2, None)
    assert (ann["low"], ann["high"]) == pytest.approx(wilson_interval(1, 2))
    assert (bob["annotator"], bob["same"], bob["n"]) == ("Bob", None, 1) and "two" in bob["reason"]
    assert (cem["annotator"], cem["same"], cem["n"]) == ("Cem", None, 0) and "second time" in cem["reason"]


def test_the_report_of_nothing_gives_reasons() -> None:
    document = report(judged(), repeated())
    for name in ("alpha", "fleiss_kappa", "self_consistency", "self_consistency_kappa"):
        assert document[name] is document[f"{name}_interval"] is None and document["reasons"][name]
    assert document["pairwise_kappa"] == [] and "nobody" in document["reasons"]["pairwise_kappa"]
    assert json.dumps(document, allow_nan=False)
