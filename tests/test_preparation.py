"""What a run is asked to do is written down, or refused before anything starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from curriculum import preparation, runs
from curriculum.config import Config, EpisodesConfig, ScoreConfig, TrainConfig
from curriculum.datasets import add_dataset
from curriculum.errors import DatasetError, UnknownError, WeightsError
from curriculum.home import Home
from curriculum.rundir import RunDir
from curriculum.splits import split_examples
from curriculum.store import Store
from tests.ml import write_folder
from tests.tints import config, scoring


def test_a_run_is_prepared_from_what_the_database_knows(tints: Store, home: Home) -> None:
    run = preparation.prepare(tints, config(seed=7))
    order = pd.read_parquet(run / "order.parquet")
    assert order["split"].value_counts().to_dict() == {"train": 30, "test": 9, "val": 6}
    counts = order.groupby(["class", "split"]).size().unstack()
    assert (counts.max() - counts.min()).max() <= 1
    assert run.request()["classes"] == ["blue", "green", "red"]
    assert Path(run.request()["root"]) == (home.root / "tints").resolve()
    assert run.status().state == "queued"
    again, other = preparation.prepare(tints, config(seed=7)), preparation.prepare(tints, config(seed=8))
    assert pd.read_parquet(again / "order.parquet").equals(order)
    assert not pd.read_parquet(other / "order.parquet")["split"].equals(order["split"])
    assert len({run.run_id, again.run_id, other.run_id}) == 3


@pytest.mark.parametrize("protocol", ["honest", "report"])
def test_overlap_groups_are_split_in_the_reports_protocol_alone(protocol: str) -> None:
    random = np.random.default_rng(0)
    groups = pd.array([int(i) if i < 30 else None for i in random.integers(0, 90, 300)], dtype="Int64")
    order = pd.DataFrame({"class": random.choice(["a", "b", "c"], 300), "overlap_group": groups})
    order["split"] = split_examples(order, protocol, seed=1)
    assert (order.dropna().groupby("overlap_group")["split"].nunique() == 1).all() == (protocol == "honest")
    shares = order["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.03)
    assert shares.get("val", 0.0) == pytest.approx(0.16 if protocol == "honest" else 0.0, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (replace(config(), dataset="nothing"), UnknownError, "no such data set"),
        (config(weights="nowhere.pt"), WeightsError, "no such weights"),
        (config(weights="~no-such-user-here/a.pt"), WeightsError, "no such weights"),
        (config(weights="run:nothing"), UnknownError, "no such run"),
        (scoring(method="loss", run="nothing"), UnknownError, "no such run"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(
    tints: Store, home: Home, settings: TrainConfig | ScoreConfig, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        runs.start(tints, settings)
    assert not home.runs.exists()


def test_a_data_set_without_images_left_is_refused(tints: Store, home: Home) -> None:
    with tints.write() as cursor:
        cursor.execute("UPDATE example SET present = false")
    with pytest.raises(DatasetError, match="no images left"):
        preparation.prepare(tints, config())


def test_a_part_without_images_is_refused_before_it_starts(tints: Store, home: Home) -> None:
    with pytest.raises(DatasetError, match="the train part has no image"):
        preparation.prepare(tints, config(test_share=0.99))
    assert not home.runs.exists()


def test_per_class_at_most(tints: Store) -> None:
    assert preparation.at_most(tints, config(per_class=50)) == config(per_class=12)
    assert preparation.at_most(tints, config(per_class=5)) == config(per_class=5)
    assert preparation.at_most(tints, config(per_class=5, test_share=0.99)).per_class == 2, "which is refused then, as ever"  # type: ignore[union-attr]
    assert preparation.at_most(tints, scoring()) == scoring()


def test_a_relative_path_of_weights_becomes_absolute(tints: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.pt").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert preparation.prepare(tints, config(weights="w.pt")).config().weights == str(tmp_path / "w.pt")


def test_weights_that_know_the_data_set_are_told_of_at_any_remove(tints: Store, tmp_path: Path) -> None:
    add_dataset(tints, "others", write_folder(tmp_path / "others"))

    def prepared(asked: Config) -> RunDir:
        run = preparation.prepare(tints, asked)
        (run / "model.pt").write_bytes(b"x")
        return run

    first = prepared(config())
    second = prepared(replace(config(), dataset="others", weights=f"run:{first.run_id}"))
    assert "notes" in second.request()
    assert not any("weights" in note for note in second.request()["notes"])
    for asked, what in (
        (config(), "some of test may be among them"),
        (scoring(), "nothing here is out of fold"),
        (EpisodesConfig(dataset="tints", image_size=32, ways=3, queries=5), "no learning from few shots"),
    ):
        for source in (first, second):
            (note,) = (n for n in prepared(replace(asked, weights=f"run:{source.run_id}")).request()["notes"] if "weights" in n)
            assert f"come from run:{first.run_id}, which learnt from images of the same data set" in note
            assert what in note
    shutil.rmtree(first.path)
    (note,) = prepared(scoring(weights=f"run:{second.run_id}")).request()["notes"]
    assert "which is gone" in note
