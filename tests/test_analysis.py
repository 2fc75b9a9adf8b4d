"""People's levels beside a model's ranking: what is read of the database, and which ranking, where there are several."""

from __future__ import annotations

import json
from typing import Any

import pytest

from curriculum import analysis, datasets, labels
from curriculum.errors import UnknownError
from curriculum.store import Store
from tests.test_mistakes import add_run

IMAGES = {f"{name}/{name}{i}.jpg": name for name in "ab" for i in range(4)}


def scored(store: Store, run_id: str, day: int, kind: str = "score", mode: str = "oof_loss", dataset: str = "tiny", **config: Any) -> None:
    """A run of that day, and one score that it gave."""
    with store.write() as cursor:
        cursor.execute(
            """INSERT INTO run (run_id, kind, dataset, mode, seed, config, state, created_at) VALUES (?, ?, ?, ?, 0, ?, 'done', ?)""",
            [
                run_id,
                kind,
                dataset,
                mode,
                json.dumps({"weights": "imagenet", "run": None, "image_size": 64, **config}),
                f"2026-05-{day:02}",
            ],
        )
        cursor.execute("INSERT INTO score VALUES (?, ?, 'a/1.png', ?, 0, 0.5, 0.5, 'a', 0.5, [0.5, 0.5])", [run_id, dataset, mode])


@pytest.fixture
def ranked(store: Store) -> Store:
    """A clean ranking, then four newer ones: by a model of the data set, by its weights, by weights that came from these, by another's."""
    scored(store, "clean", 1)
    scored(store, "own", 2, "train", "fine-tune")
    scored(store, "elsewhere", 2, "train", "fine-tune", dataset="other", weights="run:own")
    scored(store, "apart", 2, "train", "fine-tune", dataset="other")
    scored(store, "judged", 3, mode="loss", run="own")
    scored(store, "from-apart", 4, weights="run:apart")
    scored(store, "from-own", 5, weights="run:own")
    scored(store, "by-detour", 6, weights="run:elsewhere")
    scored(store, "lost", 7, weights="run:deleted")
    return store


def test_a_ranking_by_weights_that_knew_the_images_stands_behind_the_others(ranked: Store) -> None:
    found = analysis.scored_runs(ranked, "tiny")
    assert found["run_id"].tolist() == ["from-apart", "clean", "lost", "by-detour", "from-own", "judged", "own"]
    assert found["seen"].tolist() == [False, False, True, True, True, True, True]
    assert analysis.latest_score(ranked, "tiny") == "from-apart"


def test_where_all_have_seen_the_images_out_of_fold_goes_first(ranked: Store) -> None:
    with ranked.write() as cursor:
        cursor.execute("DELETE FROM score WHERE run_id IN ('clean', 'from-apart', 'lost')")
    assert analysis.latest_score(ranked, "tiny") == "by-detour"
    with ranked.write() as cursor:
        cursor.execute("DELETE FROM score WHERE run_id IN ('by-detour', 'from-own')")
    assert analysis.latest_score(ranked, "tiny") == "judged"
    assert analysis.latest_score(ranked, "nowhere") is None


def test_a_picture_that_has_gone_counts_on_neither_side(tiny: Store) -> None:
    add_run(tiny, "ranking", IMAGES, kind="score")
    for example in IMAGES:
        labels.annotate(tiny, "tiny", example, "Ana", "hard")
    assert len(analysis.ranked(tiny, "tiny", "ranking", "people")) == len(IMAGES)
    (datasets.get_dataset(tiny, "tiny").root / "a" / "a1.jpg").unlink()
    datasets.check_dataset(tiny, "tiny")
    rows = analysis.ranked(tiny, "tiny", "ranking", "people")
    assert set(rows["example"]) == set(IMAGES) - {"a/a1.jpg"}
    assert len(analysis.judged_by_each(tiny, "ranking", "people")) == len(IMAGES) - 1


def test_a_ranking_whose_pictures_have_all_gone_is_empty_and_an_unknown_one_is_refused(tiny: Store) -> None:
    add_run(tiny, "ranking", {"a/a1.jpg": "a"}, kind="score")
    (datasets.get_dataset(tiny, "tiny").root / "a" / "a1.jpg").unlink()
    datasets.check_dataset(tiny, "tiny")
    rows = analysis.ranked(tiny, "tiny", "ranking", "people")
    assert rows.empty and analysis.compared(rows).empty
    with pytest.raises(UnknownError, match="no such scoring run"):
        analysis.ranked(tiny, "tiny", "other", "people")
