"""Consensus against the database's macro, crowd-kit and an EM written out; annotators and contested images by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curriculum import consensus, labels
from curriculum.agreement import count_votes
from curriculum.consensus import (
    Posterior,
    annotator_reports,
    block_for,
    contested,
    dawid_skene,
    drift,
    glad,
    how_contested,
    majority,
    posterior,
)
from curriculum.errors import ConfigError
from curriculum.metrics import wilson_interval
from curriculum.store import Store
from curriculum.vocabulary import LEVELS

LETTERS = {"e": "easy", "m": "medium", "h": "hard"}
COLUMNS = ["example", "easy", "medium", "hard", "level", "certainty", "expected"]


def judged(**votes: str) -> pd.DataFrame:
    """One string an annotator, one letter an image: e, m, h, or - for none. `judged(Ann="emh", Bob="e-h")`."""
    rows = [(f"image {i}", name, LETTERS[c]) for name, line in votes.items() for i, c in enumerate(line) if c != "-"]
    return pd.DataFrame(rows, columns=["example", "annotator", "level"])


def team(images: int, accuracies: list[float], seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Annotators who hit the true level with a given probability and guess otherwise; with the true levels."""
    random = np.random.default_rng(seed)
    true = random.integers(0, 3, images)
    lines = {
        f"person {i}": "".join("emh"[level] for level in np.where(random.random(images) < accuracy, true, random.integers(0, 3, images)))
        for i, accuracy in enumerate(accuracies)
    }
    return judged(**lines), [LEVELS[level] for level in true]


def right(table: pd.DataFrame, true: list[str]) -> float:
    levels = table.set_index("example")["level"]
    return float(np.mean([levels[f"image {i}"] == level for i, level in enumerate(true)]))


def check_table(found: Posterior) -> None:
    assert not found.reason and list(found.table.columns) == COLUMNS
    shares = found.table[list(LEVELS)].to_numpy(np.float64)
    assert np.isfinite(shares).all() and (shares >= 0).all()
    assert shares.sum(1) == pytest.approx(1.0, abs=1e-12)
    assert found.table["certainty"].to_numpy() == pytest.approx(shares.max(1))
    assert found.table["expected"].to_numpy() == pytest.approx(shares @ [0, 1, 2])
    assert found.table["example"].is_monotonic_increasing


# -- majority --------------------------------------------------------------------------------------


def test_majority_by_hand() -> None:
    found = majority(judged(Ann="eemeh", Bob="ehmm-", Cleo="me-h-"))
    assert found.to_dict("list") == {
        "example": [f"image {i}" for i in range(5)],
        "level": ["easy", "easy", "medium", "hard", "hard"],
        "votes": [2, 2, 2, 1, 1],
        "annotators": [3, 3, 2, 3, 1],
    }


def test_majority_of_nothing_is_empty() -> None:
    assert majority(judged()).empty


@pytest.mark.parametrize("seed", range(3))
def test_majority_is_the_databases_consensus(tiny: Store, seed: int) -> None:
    """Twelve images, four people and two simulated annotators, relabelled five times: with ties of every kind."""
    random = np.random.default_rng(seed)
    examples = [row[0] for row in tiny.rows("SELECT example FROM example ORDER BY example")]
    ties = 0
    for _ in range(5):
        for source, names in (("import", ["Ann", "Bob", "Cléo", "dan"]), ("simulate", ["simulated-1", "simulated-2"])):
            rows = [("tiny", e, a, LEVELS[random.integers(3)]) for e in examples for a in names if random.random() < 0.7]
            labels.append_many(tiny, pd.DataFrame(rows, columns=["dataset", "example", "annotator", "level"]), source)  # type: ignore[arg-type]
        current = tiny.query("SELECT example, annotator, level, simulated FROM current_label WHERE dataset = 'tiny'")
        people = ~current["simulated"].to_numpy(bool)
        for who, chosen in (("people", people), ("simulated", ~people), ("all", people | True), ("Ann", current["annotator"] == "Ann")):
            ours = majority(current[chosen])
            theirs = labels.consensus(tiny, "tiny", who).drop(columns="decided")
            assert ours.to_dict("list") == theirs.to_dict("list")
            ties += int((ours["votes"] * 2 <= ours["annotators"]).sum())
    assert ties > 20


# -- Dawid-Skene -----------------------------------------------------------------------------------


def written_out(votes: NDArray[np.int64], steps: int) -> NDArray[np.float64]:
    """Dawid & Skene's EM for complete votes (images, annotators), begun from the shares of the votes."""
    belief = np.stack([(votes == level).mean(1) for level in range(3)], 1)
    for _ in range(steps):
        prior = belief.mean(0)
        likelihood = np.tile(prior, (len(votes), 1))
        for annotator in votes.T:
            given_true = np.stack([belief[annotator == level].sum(0) for level in range(3)])
            likelihood *= (given_true / given_true.sum(0))[annotator]
        belief = likelihood / likelihood.sum(1, keepdims=True)
    return belief


@pytest.mark.parametrize("steps", [1, 2])
def test_dawid_skene_like_the_em_written_out(steps: int) -> None:
    frame, _ = team(9, [0.8, 0.6, 0.5, 0.7], seed=1)
    votes = frame.assign(v=[LEVELS.index(x) for x in frame["level"]]).pivot(index="example", columns="annotator", values="v")
    found = dawid_skene(frame, iterations=steps)
    check_table(found)
    assert found.table[list(LEVELS)].to_numpy() == pytest.approx(written_out(votes.to_numpy(np.int64), steps), abs=1e-8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("steps", [1, 3, 40])
@pytest.mark.parametrize("unused", ["", "medium"])
def test_dawid_skene_like_crowd_kit_where_labels_are_missing(monkeypatch: pytest.MonkeyPatch, steps: int, unused: str) -> None:
    frame, _ = team(80, [0.9, 0.7, 0.4, 0.2, 0.8], seed=6)
    frame = frame[frame["level"] != unused].sample(frac=0.6, random_state=3)
    frame = frame[(frame["annotator"] != "person 4") | (frame["level"] != "hard")]  # somebody who never says it
    monkeypatch.setattr(consensus, "_expectation_maximisation", partial(consensus._expectation_maximisation, gain=-np.inf))
    ours = dawid_skene(frame, iterations=steps)
    theirs = DawidSkene(n_iter=steps, tol=-np.inf)
    shares = theirs.fit_predict_proba(frame.rename(columns={"example": "task", "annotator": "worker", "level": "label"}))
    assert ours.table[list(LEVELS)].to_numpy() == pytest.approx(
        shares.reindex(columns=list(LEVELS), fill_value=0.0).sort_index().to_numpy(), abs=1e-6
    )
    assert theirs.errors_ is not None
    errors = theirs.errors_.reindex(columns=list(LEVELS), fill_value=0.0)
    for name, found in ours.confusion.items():
        wanted = errors.reindex([(name, level) for level in LEVELS], fill_value=0.0)
        assert found == pytest.approx(wanted.to_numpy().T, abs=1e-6)


def test_dawid_skene_beats_the_majority_where_most_guess() -> None:
    frame, true = team(600, [0.95, 0.9, 0.1, 0.1, 0.1], seed=2)
    found = dawid_skene(frame)
    check_table(found)
    assert right(found.table, true) > right(majority(frame), true) + 0.1
    diagonals = [np.trace(matrix) / 3 for matrix in found.confusion.values()]
    assert list(found.confusion) == [f"person {i}" for i in range(5)]
    assert min(diagonals[:2]) > 0.8 > 0.5 > max(diagonals[2:])


def test_dawid_skene_turns_round_who_swaps_two_levels() -> None:
    frame, true = team(400, [0.9, 0.9, 0.9], seed=3)
    swapped = frame["annotator"] == "person 2"
    frame.loc[swapped, "level"] = frame.loc[swapped, "level"].replace({"easy": "hard", "hard": "easy"})
    found = dawid_skene(frame)
    assert right(found.table, true) > 0.97
    assert found.confusion["person 2"][0, 2] > 0.8 and found.confusion["person 2"][2, 0] > 0.8
    assert found.confusion["person 2"].sum(1) == pytest.approx(1.0)


def test_levels_that_nobody_used() -> None:
    frame = judged(Ann="eehhe", Bob="eehh-", Cleo="ehhh-")
    found = dawid_skene(frame)
    check_table(found)
    assert (found.table["medium"] == 0).all() and (found.confusion["Ann"][1] == 0).all()
    one = judged(Ann="hhh", Bob="hhh")
    assert dawid_skene(one).table["hard"].tolist() == [1.0] * 3
    check_table(glad(one))
    assert glad(one).table["level"].tolist() == ["hard"] * 3
    check_table(glad(frame))


# -- GLAD ------------------------------------------------------------------------------------------


def test_glad_knows_able_annotators_from_guessers() -> None:
    frame, true = team(150, [0.95, 0.9, 0.1, 0.1], seed=4)
    found = glad(frame)
    check_table(found)
    assert list(found.ability) == [f"person {i}" for i in range(4)]
    ability = list(found.ability.values())
    assert min(ability[:2]) > max(ability[2:])
    assert right(found.table, true) > right(majority(frame), true)
    assert found.confusion == {} and dawid_skene(frame).ability == {}


# -- both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [dawid_skene, glad])
def test_missing_labels_and_the_order_of_rows_change_nothing(model: object) -> None:
    assert callable(model)
    frame, _ = team(40, [0.9, 0.8, 0.7], seed=5)
    frame = frame.sample(frac=0.8, random_state=1)
    found = model(frame)
    check_table(found)
    assert len(found.table) == frame["example"].nunique()
    pd.testing.assert_frame_equal(model(frame.sample(frac=1, random_state=2)).table, found.table, check_exact=True)
    blank = pd.DataFrame({"example": ["image 0"], "annotator": ["nobody"], "level": [None]})
    pd.testing.assert_frame_equal(model(pd.concat([frame, blank])).table, found.table, check_exact=True)


@pytest.mark.parametrize("model", [dawid_skene, glad])
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (judged(), "nobody has labelled"),
        (judged(Ann="emh"), "only one annotator"),
        (judged(Ann="em--", Bob="--mh"), "no image has been labelled by two"),
    ],
)
def test_without_a_second_opinion_a_model_says_nothing(model: object, frame: pd.DataFrame, reason: str) -> None:
    assert callable(model)
    found = model(frame)
    assert found.reason.startswith(reason) and found.table.empty and list(found.table.columns) == COLUMNS
    assert found.confusion == {} and found.ability == {}


@settings(max_examples=15)
@given(st.lists(st.text("emh-", min_size=4, max_size=4), min_size=2, max_size=3))
def test_any_labels_give_probabilities_or_a_reason(lines: list[str]) -> None:
    frame = judged(**{f"person {i}": line for i, line in enumerate(lines)})
    for model in (dawid_skene, glad):
        found = model(frame)
        if found.reason:
            assert found.table.empty
        else:
            check_table(found)


def test_expected_level_and_certainty_by_hand_and_ties_to_the_harder() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [2.0, 2.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, 0.5 - 1e-12]])
    found = posterior(np.array(["a", "b", "c", "d"]), shares)
    check_table(found)
    assert found.table["level"].tolist() == ["easy", "medium", "hard", "hard"]
    assert found.table["certainty"].tolist() == pytest.approx([0.5, 0.5, 1 / 3, 0.5])
    assert found.table["expected"].tolist() == pytest.approx([0.7, 0.5, 1.0, 1.0])


def test_probabilities_that_are_not_finite_become_a_reason() -> None:
    found = posterior(np.array(["a"]), np.array([[0.5, np.nan, 0.5]]))
    assert found.table.empty and "no finite probabilities" in found.reason


# -- annotators ------------------------------------------------------------------------------------


def test_bias_by_hand() -> None:
    """Ann against Bob and Cleo: image 0: 1 - 0, image 1: 2 - 1/2, image 2: 2 - 2; the last is hers alone."""
    reports = {r.annotator: r for r in annotator_reports(judged(Ann="mhhe", Bob="eeh-", Cleo="emh-"))}
    assert list(reports) == ["Ann", "Bob", "Cleo"]
    assert reports["Ann"].bias.value == pytest.approx(2.5 / 3) and reports["Ann"].bias.n == 3
    assert reports["Bob"].bias.value == pytest.approx((-0.5 - 1.5 + 0) / 3)
    assert [r.labels for r in reports.values()] == [4, 3, 3]


def test_reliability_is_against_the_others_alone() -> None:
    frame, _ = team(300, [0.95, 0.95, 0.95, 0.2], seed=6)
    *good, bad = annotator_reports(frame)
    assert all(r.against == "Dawid-Skene of the others" for r in (*good, bad))
    assert bad.reliability.value is not None and bad.reliability.low is not None and bad.reliability.high is not None
    assert bad.reliability.low < bad.reliability.value < bad.reliability.high < 0.6
    assert all(r.reliability.value is not None and r.reliability.value > 0.85 for r in good)
    alone = dawid_skene(frame[frame["annotator"] != "person 3"]).table.set_index("example")["level"]
    own = frame[frame["annotator"] == "person 3"]
    assert bad.reliability.value == pytest.approx(
        np.mean([alone[e] == level for e, level in zip(own["example"], own["level"], strict=True)])
    )


def test_of_two_each_is_measured_against_the_other() -> None:
    ann, bob = annotator_reports(judged(Ann="emhe", Bob="emhh"))
    assert ann.reliability == bob.reliability and ann.reliability.value == 0.75
    assert ann.against == bob.against == "majority of the others"
    assert (ann.bias.value, bob.bias.value) == (-0.5, 0.5)


def test_a_harder_judge_has_a_bias_above_zero() -> None:
    ann, bob, cleo = annotator_reports(judged(Ann="eemm" * 5, Bob="eemm" * 5, Cleo="mmhh" * 5))
    assert cleo.bias.value == 1 and cleo.bias.low is cleo.bias.high is None and "all images say the same" in cleo.bias.reason
    assert ann.bias.value == bob.bias.value == -0.5


def test_who_always_agrees_with_the_others_has_no_certainty_of_it() -> None:
    for images in (3, 30):
        for found in annotator_reports(judged(Ann="emh" * (images // 3), Bob="emh" * (images // 3))):
            agreed = found.reliability
            assert (agreed.value, agreed.low, agreed.high) == pytest.approx((1.0, *wilson_interval(images, images)))


@pytest.mark.parametrize(
    ("frame", "reason"), [(judged(Ann="emh"), "no image is shared"), (judged(Ann="em", Bob="-mh"), "only one image is shared")]
)
def test_annotators_without_company_are_undefined(frame: pd.DataFrame, reason: str) -> None:
    for found in annotator_reports(frame):
        for measure in (found.reliability, found.bias):
            assert measure.value is measure.low is measure.high is None and measure.reason.startswith(reason)
    assert annotator_reports(judged()) == []


def test_pace_is_the_median_of_known_seconds() -> None:
    frame = judged(Ann="emh", Bob="emh").assign(seconds=[1.0, 9.0, 2.0, np.nan, np.nan, np.nan])
    assert [r.pace_seconds for r in annotator_reports(frame)] == [2.0, None]
    assert [r.pace_seconds for r in annotator_reports(frame.drop(columns="seconds"))] == [None, None]


# -- contested images ------------------------------------------------------------------------------


def test_contested_by_hand() -> None:
    found = contested(count_votes(judged(Ann="eeeehe", Bob="emhehh", Cleo="eehmh-", Dan="-mmhh-")))
    assert found["example"].tolist() == ["image 5", "image 2", "image 3", "image 1"]
    assert found["variance"].tolist() == pytest.approx([1.0, 0.6875, 0.6875, 0.25])
    assert found["entropy"].tolist() == pytest.approx([1.0, 1.5, 1.5, 1.0])
    assert found[[*LEVELS, "annotators"]].to_numpy().tolist() == [[1, 0, 1, 2], [1, 1, 2, 4], [2, 1, 1, 4], [2, 2, 0, 4]]
    assert [how_contested(*row) for row in found[list(LEVELS)].to_numpy().tolist()] == [
        "opposite ends, nothing between",
        "all three levels",
        "all three levels",
        "one level apart",
    ]


def test_contested_are_all_with_two_levels_and_may_be_none() -> None:
    frame, _ = team(60, [0.3, 0.3, 0.3], seed=7)
    everything = contested(count_votes(frame))
    assert len(everything) == int((frame.groupby("example")["level"].nunique() > 1).sum())
    assert (everything["variance"].diff().dropna() <= 0).all()
    for calm in (judged(), judged(Ann="emh"), judged(Ann="emh", Bob="emh")):
        assert contested(count_votes(calm)).empty


# -- input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [majority, dawid_skene, glad, annotator_reports, count_votes])
def test_bad_input_is_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(ConfigError, match="unknown level"):
        function(judged(Ann="emh", Bob="emh").replace("medium", "tricky"))
    with pytest.raises(ConfigError, match="lacks columns"):
        function(judged(Ann="emh").drop(columns="annotator"))


def test_a_point_of_drift_stands_for_more_where_there_are_many() -> None:
    for most, block in ((0, 50), (1, 50), (10_000, 50), (10_001, 100), (100_000, 500)):
        log = pd.DataFrame({"annotator": ["Ann"] * most + ["Bob"] * (most // 2)})
        assert block_for(log) == block
        assert most // block <= 200


def test_drift_by_hand() -> None:
    log = pd.DataFrame({
        "annotator": ["Ann", "Bob", "Ann", "Ann", "Ann", "Ann"], "level": ["easy", "hard", "medium", "hard", "hard", "easy"],
        "seconds": [1.0, 9.0, 3.0, 2.0, np.nan, 1.0], "seq": [1, 2, 3, 5, 4, 6],
    })  # fmt: skip
    moved = drift(log, block=2)
    assert moved["annotator"].tolist() == ["Ann", "Ann"]  # Bob's one label, and Ann's fifth, fill no block
    assert moved["labels"].tolist() == [2, 4]
    assert moved["mean_level"].tolist() == [0.5, 2.0]
    assert moved["seconds"].tolist() == [2.0, 2.0]
    assert drift(log.head(0)).empty
