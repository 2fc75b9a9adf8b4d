"""Two processes that compute one run, as torchrun starts them: the same subsets, the same head, every example once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from curriculum import preparation, runs
from curriculum.cli import main
from curriculum.config import ScoreConfig, TrainConfig
from curriculum.datasets import add_dataset
from curriculum.home import Home
from curriculum.ranks import ALONE, Ranks, leave
from curriculum.rundir import RunDir
from curriculum.store import Store
from tests import forks
from tests.browser import free_port
from tests.conftest import CHECKOUT
from tests.ml import made, write_folder

COMMON: dict[str, Any] = {"weights": "none", "image_size": 32, "batch_size": 24, "device": "cpu"}
SELF_PACED = TrainConfig(
    "tints", mode="self-paced", epochs=5, start_share=0.3, step_share=0.2, gate=0.6, learning_rate=0.001, **COMMON
)  # fmt: skip
TRANSFER = TrainConfig("tints", mode="transfer", epochs=4, **COMMON)
SCORE = ScoreConfig("tints", folds=3, repeats=1, **COMMON)


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


def by_two(home: Home, config: TrainConfig | ScoreConfig) -> RunDir:
    """A run as a command under torchrun makes it, in two processes."""
    said = {name: value for name, value in asdict(config).items() if value != getattr(type(config), name, None) and value is not None}
    options = [word for name, value in said.items() for word in ("--" + name.replace("_", "-"), str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "curriculum"]
    done = subprocess.run(
        [*command, "--home", str(home.root), "train" if isinstance(config, TrainConfig) else "score", *options, "--json"],
        cwd=CHECKOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run = RunDir(home.runs / json.loads(done.stdout.strip().splitlines()[-1])["run_id"])
    assert run.config() == config
    return run


def in_company(home: Home, config: TrainConfig | ScoreConfig) -> RunDir:
    """The same two processes, told of one another as torchrun does it, but forked."""
    with Store.open(home) as store:
        run = preparation.prepare(store, config)
    company = {
        **runs.worker_environment(),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    ranks = [
        forks.spawn("curriculum.worker", [what], home.root / f"rank-{rank}.txt", {**company, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, what in enumerate((run.path, Path("--join")))
    ]
    assert [process.wait(timeout=200) for process in ranks] == [0, 0], run.status()
    return run


def by_one(home: Home, config: TrainConfig | ScoreConfig) -> RunDir:
    with Store.open(home) as store:
        return made(store, config)


def result(run: RunDir) -> dict[str, Any]:
    found = run.result()
    assert found is not None
    return found


@pytest.fixture
def tints(home: Home, tmp_path: Path) -> Home:
    """Three colours, 60 images each."""
    with Store.open(home) as store:
        add_dataset(store, "tints", write_folder(tmp_path / "pictures", 60))
    return home


@pytest.mark.usefixtures("one_thread")
def test_two_processes_take_the_subsets_of_one_and_learn_as_well(tints: Home) -> None:
    two, one = by_two(tints, SELF_PACED), by_one(tints, SELF_PACED)
    traces = [[epoch["subset_size"] for epoch in run.epochs()] for run in (two, one)]
    assert traces[0] == traces[1]
    assert len(set(traces[0])) > 2
    assert result(two)["samples_seen"] == result(one)["samples_seen"]
    assert result(two)["test_accuracy"] == pytest.approx(result(one)["test_accuracy"], abs=0.1)
    said = pd.read_parquet(two / "predictions.parquet")
    assert said["example"].is_unique
    assert len(said) == 180
    assert len(list(tints.runs.iterdir())) == 2, "one run each, not one a process"


@pytest.mark.usefixtures("one_thread")
def test_where_no_batch_norm_is_in_the_way_two_processes_compute_what_one_does(tints: Home) -> None:
    losses = [[epoch["train_loss"] for epoch in run.epochs()] for run in (in_company(tints, TRANSFER), by_one(tints, TRANSFER))]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    two, one = (result(run) for run in (in_company(tints, SCORE), by_one(tints, SCORE)))
    assert two["examples"] == one["examples"] == 180
    assert two["mean_loss"] == pytest.approx(one["mean_loss"], rel=0.01)


def test_who_has_left_has_no_threads_of_the_group_that_could_abort_its_end(tmp_path: Path) -> None:
    """A thread of gloo's that gives back a tensor while Python ends takes the process with it: SIGABRT after the work was done."""

    def threads() -> list[str]:
        names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
        return [name for name in names if "gloo" in name]

    dist.init_process_group("gloo", init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1)
    net = Ranks(0, 2).wrap(torch.nn.Linear(2, 2))
    net(torch.ones(1, 2)).sum().backward()
    circle: list[Any] = [net]
    circle.append(circle)
    assert threads()
    del net, circle
    leave()
    assert not threads()


def test_a_comparison_under_torchrun_is_refused(tints: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert main(["--home", str(tints.root), "compare", "--dataset", "tints", "--weights", "none", "--arms", "self-paced"]) == 2
    assert "torchrun starts one run in several processes" in capsys.readouterr().err
