"""What trained models get wrong, on rows made by hand; label issues found where labels were swapped."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from curriculum import mistakes
from curriculum.errors import UnknownError
from curriculum.store import Store

CLASSES = ("a", "b", "c")


def add_run(store: Store, run_id: str, said: dict[str, str], kind: str = "train", split: str = "test") -> None:
    """A finished run of `tiny` that says a class of each image, with a probability of 0.8."""
    rows = pd.DataFrame([
        {"run_id": run_id, "dataset": "tiny", "example": example, "split": split, "class": example[0], "predicted": predicted,
         "probability": 0.8, "probability_true": 0.8 if predicted == example[0] else 0.1, "loss": 0.2 if predicted == example[0] else 2.3,
         "probabilities": [0.8 if name == predicted else 0.1 for name in CLASSES]}
        for example, predicted in said.items()
    ])  # fmt: skip
    run = pd.DataFrame([{"run_id": run_id, "kind": kind, "dataset": "tiny", "mode": "fine-tune" if kind == "train" else "oof_loss", "seed": 0,
                         "config": "{}", "state": "done", "created_at": datetime.now(UTC)}])  # fmt: skip
    with store.write() as cursor:
        store.insert(cursor, "run", run)
        if kind == "train":
            store.insert(cursor, "prediction", rows)
        else:
            score = rows.drop(columns=["split", "class", "probability"]).rename(columns={"loss": "value"})
            store.insert(cursor, "score", score.assign(method="oof_loss", seed=0, difficulty=0.5))


@pytest.fixture
def two_runs(tiny: Store) -> Store:
    """Six images in two runs: one fixed, one broken, two wrong in both; and a third run that had but one of them in test."""
    right = {example: example[0] for example in ("a/a0.jpg", "b/b0.jpg")}
    add_run(tiny, "old", right | {"a/a1.jpg": "b", "b/b1.jpg": "b", "c/c0.jpg": "a", "c/c1.jpg": "a"})
    add_run(tiny, "new", right | {"a/a1.jpg": "a", "b/b1.jpg": "c", "c/c0.jpg": "b", "c/c1.jpg": "a"})
    add_run(tiny, "third", {"c/c1.jpg": "b"})
    add_run(tiny, "trained", {"a/a1.jpg": "b"}, split="train")
    return tiny


def test_predictions_are_the_stored_ones_with_the_worst_first(two_runs: Store) -> None:
    frame = mistakes.predictions(two_runs, "new")
    assert frame["example"].tolist()[:3] == ["b/b1.jpg", "c/c0.jpg", "c/c1.jpg"]
    assert frame["correct"].sum() == 3
    assert frame["level"].isna().all() and frame["present"].all()
    table = mistakes.confusion(frame, CLASSES)
    assert table.to_numpy().tolist() == [[2, 0, 0], [0, 1, 1], [1, 1, 0]]
    by_class = mistakes.errors_by(frame, "class").set_index("class")
    assert by_class["wrong"].tolist() == [0, 1, 2]
    low, high = stats.binomtest(1, 2).proportion_ci(method="wilson")
    assert list(by_class.loc["b", ["low", "high"]]) == pytest.approx([low, high])
    with pytest.raises(UnknownError, match="no such training run"):
        mistakes.predictions(two_runs, "nobody")


def test_two_runs_on_the_same_images(two_runs: Store) -> None:
    found = mistakes.against(two_runs, "new", "old")
    assert {outcome: found.count(outcome) for outcome in mistakes.OUTCOMES} == {
        "fixed": 1,
        "broken": 1,
        "wrong in both": 2,
        "right in both": 2,
    }
    assert list(found.images.set_index("example").loc["a/a1.jpg", ["outcome", "predicted", "before"]]) == ["fixed", "a", "b"]
    assert found.p == 1.0
    turned = mistakes.against(two_runs, "old", "new").images.set_index("example")["outcome"]
    assert turned["a/a1.jpg"] == "broken" and turned["b/b1.jpg"] == "fixed"
    assert mistakes.against(two_runs, "new", "trained").images.empty, "trained on by one isn't test of both"


def test_images_of_the_same_ground_count_once(tiny: Store) -> None:
    """Six images are right in one run alone: p = 2/64 as six images, 2/2 as one place."""
    examples = [f"{name}/{name}{i}.jpg" for name in "ab" for i in range(3)]
    add_run(tiny, "good", {example: example[0] for example in examples})
    add_run(tiny, "bad", dict.fromkeys(examples, "c"))
    assert mistakes.against(tiny, "good", "bad").p == pytest.approx(2 / 64)
    with tiny.write() as cursor:
        cursor.execute("UPDATE example SET overlap_group = 1")
    assert mistakes.against(tiny, "good", "bad").p == 1.0


def test_what_is_wrong_again_and_again(two_runs: Store) -> None:
    rows = mistakes.stubborn(two_runs, "tiny").set_index("example")
    assert rows.index.tolist() == ["c/c1.jpg", "c/c0.jpg", "a/a1.jpg", "b/b1.jpg"]
    assert list(rows.loc["c/c1.jpg", ["runs", "wrong", "said", "times"]]) == [3, 3, "a", 2]
    assert rows.loc["a/a1.jpg", "share"] == 0.5
    assert mistakes.stubborn(two_runs, "tiny", least=3).shape[0] == 1


def test_swapped_labels_are_doubted_first(tiny: Store) -> None:
    """Out of fold, the models see through two images that lie in the wrong folder."""
    said = {row[0]: row[0][0] for row in tiny.rows("SELECT example FROM example")}
    add_run(tiny, "ranking", said | {"a/a0.jpg": "c", "b/b2.jpg": "a"}, kind="score")
    found = mistakes.label_issues(tiny, "ranking")
    assert sorted(found["example"]) == ["a/a0.jpg", "b/b2.jpg"]
    assert found.set_index("example").loc["a/a0.jpg", "predicted"] == "c"
    assert found["probability_true"].tolist() == pytest.approx([0.1, 0.1])


def test_without_doubt_or_with_other_classes(tiny: Store) -> None:
    add_run(tiny, "sure", {row[0]: row[0][0] for row in tiny.rows("SELECT example FROM example")}, kind="score")
    assert mistakes.label_issues(tiny, "sure").empty
    assert mistakes.label_issues(tiny, "nobody").empty
    with tiny.write() as cursor:
        cursor.execute("UPDATE example SET present = false WHERE class = 'c'")
    with pytest.raises(UnknownError, match="other classes"):
        mistakes.label_issues(tiny, "sure")


def test_top_classes_are_the_most_probable_first() -> None:
    assert mistakes.top_classes(np.array([0.2, 0.5, 0.3]), CLASSES, 2) == [("b", 0.5), ("c", 0.3)]
