"""The data set `tints`, plain colours, and small runs on it: what the tests of `preparation`, `intake` and `runs` share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from curriculum import preparation, runs, worker
from curriculum.config import ScoreConfig, TrainConfig
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.rundir import RunDir
from curriculum.store import Store
from tests.ml import write_folder

TABLES = ("run", "epoch", "prediction", "score")


@pytest.fixture
def tints(store: Store, home: Home, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with the data set `tints`: three colours, 15 images each. No worker outlives the test."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    add_dataset(store, "tints", write_folder(home.root / "tints", 15))
    yield store
    for child in runs._children:
        child.kill()
        child.wait()
    runs._children.clear()


def config(mode: str = "fine-tune", **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {"weights": "none", "image_size": 32, "batch_size": 16, "device": "cpu", "epochs": 2, "learning_rate": 1e-3}
    return TrainConfig("tints", mode=mode, **(values | changes))


def scoring(**changes: Any) -> ScoreConfig:
    values: dict[str, Any] = {"weights": "none", "image_size": 32, "device": "cpu", "folds": 3, "repeats": 2}
    return ScoreConfig("tints", **(values | changes))


def worked(store: Store, settings: TrainConfig | ScoreConfig) -> RunDir:
    """A run whose worker is this process."""
    run = preparation.prepare(store, settings)
    assert worker.work(run) == 0, run.status().message
    return run


def rows(store: Store, run: RunDir) -> dict[str, list[str]]:
    """All that the database knows of a run, in one order."""
    frames = {table: store.query(f"SELECT * FROM {table} WHERE run_id = ?", [run.run_id]) for table in TABLES}
    return {table: sorted(map(str, frame.to_dict("records"))) for table, frame in frames.items()}
