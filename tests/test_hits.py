"""Several classes an image: right is any of them, in every table that tells of mistakes, as in the run's accuracy."""

from __future__ import annotations

import pandas as pd
import pytest

from curriculum import evidence, hits, mistakes
from curriculum.home import Home
from curriculum.store import Store
from tests.test_mistakes import CLASSES, add_run

SAID = {"a/a0.jpg": "a", "a/a1.jpg": "b", "b/b0.jpg": "c", "c/c0.jpg": "a"}


@pytest.fixture
def several(tiny: Store, home: Home) -> Store:
    """A run that learnt several classes an image, of which one beside its folder's was said once, and a run that learnt one."""
    for run_id in ("several", "one"):
        add_run(tiny, run_id, SAID)
    with tiny.write() as cursor:
        cursor.execute("""UPDATE run SET config = '{"multi_label": true}' WHERE run_id = 'several'""")
    (home.runs / "several").mkdir(parents=True)
    own = {"a/a0.jpg": ["a", "c"], "a/a1.jpg": ["a", "b"], "b/b0.jpg": ["b"], "c/c0.jpg": ["c", "b"]}
    pd.DataFrame({"example": list(own), "classes": list(own.values())}).to_parquet(home.runs / "several" / "order.parquet")
    return tiny


def test_what_is_one_of_an_images_classes_is_right_in_every_table(several: Store) -> None:
    judged = mistakes.predictions(several, "several")
    assert set(judged[judged["correct"]]["example"]) == {"a/a0.jpg", "a/a1.jpg"}
    assert mistakes.errors_by(judged, "class")["wrong"].tolist() == [0, 1, 1]
    assert mistakes.confusion(judged, CLASSES).loc["a", "b"] == 1, "the matrix goes by the folder"
    assert mistakes.predictions(several, "one")["correct"].sum() == 1
    outcome = mistakes.against(several, "several", "one").images.set_index("example")["outcome"]
    assert outcome["a/a1.jpg"] == "fixed"
    assert mistakes.stubborn(several, "tiny").set_index("example")["wrong"].to_dict() == {"a/a1.jpg": 1, "b/b0.jpg": 2, "c/c0.jpg": 2}
    said = evidence.said_by_runs(several, "tiny", "a/a1.jpg").set_index("run_id")["correct"]
    assert said.to_dict() == {"several": True, "one": False}
    told = evidence.judgement(several, "several", "a/a1.jpg")
    assert told is not None and told["correct"]


def test_a_run_whose_directory_has_gone_is_judged_by_the_folders(several: Store, home: Home) -> None:
    (home.runs / "several" / "order.parquet").unlink()
    assert mistakes.predictions(several, "several")["correct"].sum() == 1


def test_only_such_a_run_says_how_its_mistakes_are_counted() -> None:
    assert hits.notes({"multi_label": False}) == hits.notes({}) == []
    assert "counts as right" in hits.notes({"multi_label": True})[0]
