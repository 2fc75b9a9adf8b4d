"""Which images entered when, worked out by hand on six training images and two of test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from curriculum import entering
from curriculum.charts.entering import use_map

ORDER = pd.DataFrame({
    "example": [f"{name}.png" for name in "abcdefgh"], "sha256": [name * 64 for name in "abcdefgh"],
    "class": ["x", "y", "x", "y", "x", "y", "x", "y"], "level": ["easy", "hard", None, "easy", "hard", "easy", "easy", "hard"],
    "split": ["train", "train", "train", "test", "train", "train", "train", "test"],
})  # fmt: skip
"""Of train: a (x, easy), b (y, hard), c (x, no level), e (x, hard), f (y, easy), g (x, easy)."""


def lesson(*used: str) -> np.ndarray:
    return np.array([name in used for name in "abcefg"])


LESSONS = {1: lesson("a", "f"), 2: lesson("a", "g", "f"), 3: lesson("a", "b", "c"), 4: lesson("a", "b", "c", "f")}
EPOCHS = pd.DataFrame({"epoch": [1, 2, 3, 4], "samples_seen": [2, 5, 8, 10]})


def test_each_image_has_its_first_epoch_and_in_how_many_it_was_used() -> None:
    entered = entering.entries(ORDER, LESSONS).set_index("example")
    assert entered.index.tolist() == ["a.png", "b.png", "c.png", "e.png", "f.png", "g.png"]
    assert entered["first"].fillna(0).tolist() == [1, 3, 3, 0, 1, 2]
    assert entered["used"].tolist() == [4, 2, 2, 0, 3, 1]
    assert entered.loc["c.png", "level"] == "no level"


def test_the_first_and_the_last_to_enter() -> None:
    entered = entering.entries(ORDER, LESSONS)
    assert entering.first_to_enter(entered, 3)["example"].tolist() == ["a.png", "f.png", "g.png"]
    assert entering.last_to_enter(entered, 3)["example"].tolist() == ["e.png", "b.png", "c.png"]
    assert len(entering.first_to_enter(entered, 99)) == 5, "what never entered was never first"


def test_shares_in_use_by_class_and_level() -> None:
    by_class = entering.shares_in_use(ORDER, LESSONS, EPOCHS, "class").set_index(["row", "epoch"])
    assert by_class["share"].to_dict() == {
        ("x", 1): 1 / 4, ("y", 1): 1 / 2, ("x", 2): 2 / 4, ("y", 2): 1 / 2, ("x", 3): 2 / 4, ("y", 3): 1 / 2, ("x", 4): 2 / 4, ("y", 4): 1.0,
    }  # fmt: skip
    assert list(by_class.loc[("x", 3), ["used", "images", "from_epoch", "to_epoch"]]) == [2, 4, 2.5, 3.5]
    assert list(by_class.loc[("x", 3), ["from_share", "to_share"]]) == [0.5, 0.8]
    assert list(by_class.loc[("x", 1), ["from_share", "to_share"]]) == [0.0, 0.2]
    by_level = entering.shares_in_use(ORDER, LESSONS, EPOCHS, "level")
    assert by_level["row"].unique().tolist() == ["easy", "hard", "no level"]
    assert by_level[by_level["epoch"] == 4]["share"].tolist() == [2 / 3, 1 / 2, 1.0]


def test_many_epochs_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entering, "MOST_CELLS", 4)
    shares = entering.shares_in_use(ORDER, LESSONS, EPOCHS, "class")
    assert shares[["row", "epoch", "last", "used"]].to_numpy().tolist() == [
        ["x", 1, 2, 1.5],
        ["y", 1, 2, 1.0],
        ["x", 3, 4, 2.0],
        ["y", 3, 4, 1.5],
    ]
    assert (
        shares[["from_share", "to_share", "from_epoch", "to_epoch"]].to_numpy().tolist()
        == [[0, 0.5, 0.5, 2.5]] * 2 + [[0.5, 1, 2.5, 4.5]] * 2
    )
    assert shares["share"].tolist() == [1.5 / 4, 1 / 2, 1 / 2, 1.5 / 2]


def test_lessons_of_other_images_or_of_epochs_that_are_not_there_count_for_nothing() -> None:
    assert entering.entries(ORDER, {}).empty
    assert entering.entries(ORDER, {1: np.ones(7, bool)}).empty
    assert entering.shares_in_use(ORDER, {1: np.ones(7, bool)}, EPOCHS, "class").empty
    assert entering.shares_in_use(ORDER, LESSONS, EPOCHS.iloc[:2], "class")["epoch"].unique().tolist() == [1, 2]
    assert entering.shares_in_use(ORDER, LESSONS, EPOCHS.iloc[:0], "class").empty


def test_the_map_has_a_cell_a_row_and_epoch_with_its_number() -> None:
    shares = entering.shares_in_use(ORDER, LESSONS, EPOCHS, "class")
    by_epoch, by_share = (use_map(shares, ["y", "x"], axis).to_dict() for axis in ("epoch", "share"))
    assert [layer["mark"]["type"] for layer in by_epoch["layer"]] == ["rect", "text"]
    assert [layer["mark"]["type"] for layer in by_share["layer"]] == ["rect"]
    cells = by_share["layer"][0]["encoding"]
    assert (cells["x"]["field"], cells["x2"]["field"], cells["y"]["sort"]) == ("from_share", "to_share", ["y", "x"])
    assert cells["color"]["scale"]["domain"] == [0, 1], "the same shade means the same share in every run"
