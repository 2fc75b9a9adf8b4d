"""Two processes that compute one run, as torchrun starts them: the same subsets, the same head, every example once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curriculum.cli import main
from curriculum.config import Home
from curriculum.ranks import ALONE, Ranks
from curriculum.rundir import RunDir
from tests.conftest import CHECKOUT
from tests.ml import write_folder

COMMON = ["--dataset", "tints", "--weights", "none", "--image-size", "32", "--batch-size", "24", "--json"]
SELF_PACED = [
    "train", *COMMON, "--mode", "self-paced", "--epochs", "5", "--start-share", "0.3", "--step-share", "0.2", "--gate", "0.6",
    "--learning-rate", "0.001",
]  # fmt: skip
TRANSFER = ["train", *COMMON, "--mode", "transfer", "--epochs", "4"]
SCORE = ["score", *COMMON, "--folds", "3", "--repeats", "1"]


@given(st.integers(0, 50), st.integers(1, 7))
def test_shares_are_each_row_once_in_order(count: int, size: int) -> None:
    rows = np.arange(count) * 3
    shares = [Ranks(rank, size).mine(rows) for rank in range(size)]
    assert np.concatenate(shares).tolist() == rows.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_everything_is_ones_own() -> None:
    net, part = torch.nn.Linear(2, 2), torch.ones(3, 2)
    assert ALONE.first
    assert ALONE.wrap(net) is net
    assert ALONE.gather(part, 3) is part
    assert (ALONE.mean(0.3), ALONE.any(True), ALONE.any(False), ALONE.share("mine")) == (0.3, True, False, "mine")


def by_two(home: Home, *arguments: str) -> dict[str, Any]:
    """A command's document, worked out by two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "curriculum"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--home", str(home.root), *arguments], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return document


def by_one(home: Home, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["--home", str(home.root), *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.fixture
def tints(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three colours, 60 images each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main(["--home", str(home.root), "data", "add", str(write_folder(tmp_path / "pictures", 60)), "--name", "tints"]) == 0
    capsys.readouterr()
    return home


def test_two_processes_take_the_subsets_of_one_and_learn_as_well(tints: Home, capsys: pytest.CaptureFixture[str]) -> None:
    two, one = by_two(tints, *SELF_PACED), by_one(tints, capsys, *SELF_PACED)
    traces = [[epoch["subset_size"] for epoch in RunDir(tints.runs / found["run_id"]).epochs()] for found in (two, one)]
    assert traces[0] == traces[1]
    assert len(set(traces[0])) > 2
    assert two["samples_seen"] == one["samples_seen"]
    assert two["test_accuracy"] == pytest.approx(one["test_accuracy"], abs=0.1)
    said = pd.read_parquet(tints.runs / two["run_id"] / "predictions.parquet")
    assert said["example"].is_unique
    assert len(said) == 180
    assert len(list(tints.runs.iterdir())) == 2, "one run each, not one a process"


def test_where_no_batch_norm_is_in_the_way_two_processes_compute_what_one_does(tints: Home, capsys: pytest.CaptureFixture[str]) -> None:
    two, one = by_two(tints, *TRANSFER), by_one(tints, capsys, *TRANSFER)
    losses = [[epoch["train_loss"] for epoch in RunDir(tints.runs / found["run_id"]).epochs()] for found in (two, one)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    two, one = by_two(tints, *SCORE), by_one(tints, capsys, *SCORE)
    assert two["examples"] == one["examples"] == 180
    assert two["mean_loss"] == pytest.approx(one["mean_loss"], rel=0.01)


def test_a_comparison_under_torchrun_is_refused(tints: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert main(["--home", str(tints.root), "compare", *COMMON, "--arms", "self-paced"]) == 2
    assert "torchrun starts one run in several processes" in capsys.readouterr().err
