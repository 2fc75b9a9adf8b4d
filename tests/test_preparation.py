"""What a run is asked to do is written down, or refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from curriculum import preparation, runs
from curriculum.config import ScoreConfig, TrainConfig
from curriculum.errors import DatasetError, UnknownError, WeightsError
from curriculum.home import Home
from curriculum.splits import split_examples
from curriculum.store import Store
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


def test_a_relative_path_of_weights_becomes_absolute(tints: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.pt").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert preparation.prepare(tints, config(weights="w.pt")).config().weights == str(tmp_path / "w.pt")
