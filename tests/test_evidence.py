"""All that is known of one image, against the rows that it comes from."""

from __future__ import annotations

import pandas as pd
import pytest

from curriculum import adjudication, evidence, labels
from curriculum.errors import ConfigError, UnknownError
from curriculum.home import Home
from curriculum.store import Store
from tests.test_mistakes import add_run

ONE = "a/a1.jpg"


def test_votes_and_the_agreed_level(tiny: Store) -> None:
    assert evidence.facts(tiny, "tiny", ONE)["level"] is None
    for name, level in (("Ana", "easy"), ("Bo", "hard"), ("Cy", "hard")):
        labels.annotate(tiny, "tiny", ONE, name, level)  # type: ignore[arg-type]
    facts = evidence.facts(tiny, "tiny", ONE)
    assert (facts["level"], facts["votes"], facts["annotators"], facts["decided"]) == ("hard", 2, 3, False)
    assert (facts["width"], facts["height"], facts["present"], facts["overlap_group"]) == (20, 16, True, None)
    votes = evidence.votes(tiny, "tiny", ONE)
    assert dict(zip(votes["annotator"], votes["level"], strict=True)) == {"Ana": "easy", "Bo": "hard", "Cy": "hard"}
    adjudication.decide(tiny, "tiny", "Ana", {ONE: "medium"}, "typical")
    facts = evidence.facts(tiny, "tiny", ONE)
    assert (facts["level"], facts["decided"]) == ("medium", True)
    with pytest.raises(UnknownError, match="no such image"):
        evidence.facts(tiny, "tiny", "a/none.jpg")


def test_what_runs_said_and_how_the_loss_fell(tiny: Store, home: Home) -> None:
    add_run(tiny, "first", {ONE: "b"}, split="train")
    add_run(tiny, "second", {ONE: "a"})
    said = evidence.said_by_runs(tiny, "tiny", ONE)
    assert said[["run_id", "split", "predicted", "correct"]].to_numpy().tolist() == [
        ["second", "test", "a", True],
        ["first", "train", "b", False],
    ]
    assert evidence.losses_over_epochs(tiny, home, "tiny", ONE).empty, "kept by no run"
    (home.runs / "first").mkdir(parents=True)
    rows = pd.DataFrame({"epoch": [1, 1, 2, 2], "example": [ONE, "x", ONE, "x"], "loss": [1.5, 9.0, 0.5, 9.0]})
    rows.to_parquet(home.runs / "first" / "dynamics.parquet")
    losses = evidence.losses_over_epochs(tiny, home, "tiny", ONE)
    assert losses[["epoch", "loss"]].to_numpy().tolist() == [[1, 1.5], [2, 0.5]]
    (home.runs / "first" / "dynamics.parquet").write_bytes(b"torn")
    assert evidence.losses_over_epochs(tiny, home, "tiny", ONE).empty


def test_scores_are_those_of_the_run(tiny: Store) -> None:
    add_run(tiny, "ranking", {ONE: "b"}, kind="score")
    assert evidence.scores(tiny, "tiny", ONE, "ranking").to_numpy().tolist() == [["oof_loss", 2.3, 0.5]]
    assert evidence.scores(tiny, "tiny", ONE, "other").empty


def test_a_lead_flags_once_and_all_or_none(tiny: Store) -> None:
    assert adjudication.flag(tiny, "tiny", "Ana", [ONE, "b/b0.jpg"]) == 2
    assert adjudication.flag(tiny, "tiny", "Ana", [ONE, "c/c0.jpg"]) == 1
    assert tiny.rows("SELECT count(*) FROM standing_annotation WHERE action = 'flag' AND source = 'team'") == [(3,)]
    with pytest.raises(UnknownError, match="no such image"):
        adjudication.flag(tiny, "tiny", "Ana", ["c/c1.jpg", "c/none.jpg"])
    with pytest.raises(ConfigError, match="reason"):
        adjudication.flag(tiny, "tiny", "Ana", [ONE], "dull")
    assert tiny.rows("SELECT count(*) FROM annotation") == [(3,)]
