"""Comparisons with real processes: what takes part, killed and resumed, cancelled, a member that fails; what is concluded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from curriculum import experiment, intake, preparation, runs
from curriculum.cluster import Cluster
from curriculum.config import CompareConfig, TrainConfig, config_from_json
from curriculum.datasets import add_dataset, look_for_overlaps
from curriculum.errors import ConfigError, LabelsMissingError, RunError, UnknownError
from curriculum.home import Home
from curriculum.model import Weights, build
from curriculum.rundir import RunDir
from curriculum.splits import split_examples
from curriculum.store import Store
from tests.conftest import until
from tests.ml import write_folder

SMALL: dict[str, Any] = {"weights": "none", "image_size": 32, "batch_size": 8, "seeds": 2, "epochs": 2}


@pytest.fixture(autouse=True)
def no_process_outlives(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for child in runs._children:
        if child.poll() is None:
            with suppress(psutil.NoSuchProcess):  # it ends by itself at this moment
                for process in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
                    process.kill()
        child.wait(timeout=20)


@pytest.fixture
def tints(store: Store, home: Home) -> Store:
    """Three colours, 20 images each."""
    add_dataset(store, "tints", write_folder(home.root / "tints", 20, noise=60))
    return store


def prepared(store: Store, **changes: Any) -> tuple[RunDir, CompareConfig, pd.DataFrame]:
    run = preparation.prepare(store, CompareConfig("tints", **SMALL | changes))
    config = run.config()
    assert isinstance(config, CompareConfig)
    return run, config, pd.read_parquet(run / "order.parquet")


# -- what takes part ------------------------------------------------------------------------------


def test_fine_tuning_and_random_controls_always_join_and_controls_follow_their_arm() -> None:
    chains = CompareConfig("tints", arms=("self-paced", "staged-anti", "transfer")).chains()
    assert chains == [("fine-tune",), ("self-paced", "self-paced-random"), ("staged", "staged-random", "staged-anti"), ("transfer",)]
    assert CompareConfig("tints", arms=("fine-tune",)).chains() == [("fine-tune",)]


@pytest.mark.parametrize("arms", [(), ("nonsense",), ("staged", "self-paced-as-run-anti")])
def test_unknown_arms_are_refused_by_the_flag(arms: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--arms"):
        CompareConfig("tints", arms=arms)


def test_a_configuration_survives_its_file() -> None:
    config = CompareConfig("tints", arms=("paced", "paced-anti"), short=True, noise=0.4)
    assert config_from_json(config.to_json()) == config
    assert config.passes == 4
    assert CompareConfig("tints", epochs=1, short=True).passes == 1


def test_arms_of_a_seed_share_all_but_the_order(tints: Store) -> None:
    run, config, order = prepared(tints, arms=("self-paced-anti", "paced-anti", "staged-model", "transfer"), noise=0.2, seed=7)
    chains = experiment.plan(run, config, order)
    members = [member for chain in chains for member in chain]
    assert len(members) == 2 * (1 + 3 + 3 + 2 + 1)
    assert {member.seed for member in members} == {7, 8}
    trains = {seed: split_examples(order, "honest", seed).count("train") for seed in (7, 8)}
    for member in members:
        assert (member.config.budget, member.config.seed) == (2 * trains[member.seed], member.seed)
        assert (member.config.noise, member.config.dynamics) == (0.2, False)
        if member.arm != "transfer":
            assert (member.config.learning_rate, member.config.rate_rule) == (1e-4, "constant")
    by_arm = {member.arm: member for member in members if member.seed == 7}
    for control in ("self-paced-random", "self-paced-anti"):
        assert by_arm[control].config.replay == by_arm["self-paced"].run.run_id
    assert by_arm["self-paced"].config.replay is by_arm["paced-anti"].config.replay is None
    assert by_arm["paced-anti"].config.ordering == "anti_curriculum"
    assert by_arm["staged-model-random"].config.levels == "model"


def test_a_note_names_the_arms_whose_recorded_pace_is_their_own(tints: Store) -> None:
    """As those that an earlier version of the program trained."""
    run, config, order = prepared(tints, arms=("self-paced-anti", "staged-model-anti"), seeds=1)
    members = [member for chain in experiment.plan(run, config, order) for member in chain]
    for member in members:
        member.run.path.mkdir()
        for size in (4, 9) if member.arm == "self-paced-anti" else (4, 8):
            member.run.append_epoch({"epoch": 1, "subset_size": size})
    said = [note for note in experiment._notes(run, members) if "the pace does too" in note]
    assert said == ["self-paced-anti: not the order alone differs from the arm's, the pace does too."]


def test_levels_are_asked_for_only_where_an_arm_follows_them(tints: Store) -> None:
    prepared(tints, arms=("self-paced", "staged-model"))
    with pytest.raises(LabelsMissingError, match="staged training needs levels"):
        prepared(tints, arms=("staged-random",))


def test_clusters_are_overlap_groups_or_images_and_leaks_follow_from_them() -> None:
    order = pd.DataFrame(
        {"example": [f"a/{i}" for i in range(40)], "class": "a", "overlap_group": [i // 2 if i < 20 else np.nan for i in range(40)]}
    )
    clusters = experiment.cluster_names(order)
    assert clusters["a/0"] == clusters["a/1"] != clusters["a/2"]
    assert clusters["a/30"] == "a/30"
    config = CompareConfig("tints", **SMALL)
    assert experiment.leak_percent(order, clusters, config) == 0.0
    report = replace(config, protocol="report", seeds=1)
    split = dict(zip(order["example"], split_examples(order, "report", 0), strict=True))
    partner = {f"a/{i}": f"a/{i ^ 1}" for i in range(20)}
    test = [name for name, part in split.items() if part == "test"]
    leaked = sum(split.get(partner.get(name, ""), "") == "train" for name in test)
    assert leaked > 0
    assert experiment.leak_percent(order, clusters, report) == round(100 * leaked / len(test), 1)


# -- with processes -------------------------------------------------------------------------------


def test_killed_and_resumed_a_comparison_ends_with_every_arm_at_one_budget(tints: Store, home: Home) -> None:
    run, config, order = prepared(tints, arms=("self-paced",), workers=2)
    process = runs.launch(run)
    members = [member for chain in experiment.plan(run, config, order) for member in chain]
    until(lambda: members[0].run.result() is not None, of=run)
    process.kill()
    process.wait()
    assert run.status().state == "interrupted"
    assert run.result() is None
    kept = (members[0].run / "result.json").read_bytes()

    again = runs.resume(tints, run)
    until(lambda: not run.status().active, of=run)
    again.wait()
    assert run.status().state == "done", run.status()
    assert (members[0].run / "result.json").read_bytes() == kept, "what was done isn't done again"
    result = run.result()
    assert result is not None

    assert [arm["arm"] for arm in result["arms"]] == ["fine-tune", "self-paced", "self-paced-random"]
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [("self-paced", "fine-tune"), ("self-paced", "self-paced-random")]
    assert "Only 2 seeds" in result["verdict"]
    for member in members:
        own = member.run.result() or {}
        assert own["samples_seen"] == 2 * own["examples"]["train"]
        assert own["stages"] == []
        assert (member.run / "model.pt").exists() == (member.seed == 0)
        assert not (member.run / "scores.parquet").exists()
    sizes = {member.arm: [epoch["subset_size"] for epoch in member.run.epochs()] for member in members if member.seed == 1}
    assert sizes["self-paced-random"] == sizes["self-paced"]
    assert len(set(sizes["self-paced"])) >= 1

    # The figures once more from the predictions, by pandas and scipy alone.
    for arm in result["arms"]:
        shares = []
        for member in members:
            if member.arm == arm["arm"]:
                said = pd.read_parquet(member.run / "predictions.parquet").query("split == 'test'")
                shares.append((said["class"] == said["predicted"]).mean())
        assert arm["seeds"] == pytest.approx(shares)
        assert arm["mean"] == pytest.approx(np.mean(shares))
        assert arm["sd"] == pytest.approx(np.std(shares, ddof=1))
    intake.Ingester(tints).once()
    assert tints.rows("SELECT kind, count(*) FROM run GROUP BY kind ORDER BY kind") == [("compare", 1), ("train", 6)]
    assert {each.run_id for each in runs.members(home, run)} == {member.run.run_id for member in members}
    runs.delete(tints, run)
    assert tints.rows("SELECT count(*) FROM run") == [(0,)]
    assert list(home.runs.iterdir()) == []


@pytest.mark.usefixtures("cold_runs")
def test_a_cancelled_comparison_stops_its_runs(tints: Store) -> None:
    run, config, order = prepared(tints, arms=("transfer",), seeds=1, epochs=5000)
    process = runs.launch(run)
    first = experiment.plan(run, config, order)[0][0]
    until(lambda: len(first.run.epochs()) > 0, of=run)
    status = runs.cancel(run, wait_seconds=60)
    assert status.state == "cancelled"
    assert first.run.status().state == "cancelled"
    process.wait(timeout=20)


def test_a_member_that_fails_is_named_and_resume_tries_it_again(tints: Store, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(build(2, Weights("none", None, "none"), 0).state_dict(), weights)
    run, config, order = prepared(tints, arms=("transfer",), seeds=1, epochs=1, weights=str(weights))
    half_made = experiment.plan(run, config, order)[0][0].run
    half_made.path.mkdir()
    (half_made / "order.parquet").write_bytes(b"PAR1 torn")
    away = weights.rename(tmp_path / "elsewhere.pth")
    runs.launch(run)
    until(lambda: not run.status().active, of=run)
    assert run.status().state == "failed"
    assert "2 of 2 runs didn't finish, fine-tune of seed 0 first: no such weights" in run.status().message
    away.rename(weights)
    runs.resume(tints, run)
    until(lambda: not run.status().active, of=run)
    assert run.status().state == "done", run.status()


def test_two_processes_never_work_on_one_run_at_a_time(tints: Store) -> None:
    """The second waits for the first, finds its result and leaves it alone."""
    run = preparation.prepare(tints, TrainConfig("tints", mode="transfer", epochs=3, weights="none", image_size=32))
    processes = [runs.launch(run) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert [epoch["epoch"] for epoch in run.epochs()] == [1, 2, 3]
    assert run.status().state == "done"


def test_a_comparison_without_a_look_for_overlaps_claims_no_leak(tints: Store) -> None:
    run = prepared(tints, arms=("transfer",))[0]
    assert run.request()["notes"] == [preparation.NOBODY_LOOKED]
    look_for_overlaps(tints, "tints")
    assert prepared(tints, arms=("transfer",))[0].request()["notes"] == []


def test_what_can_t_be_replayed_is_refused(tints: Store) -> None:
    other = preparation.prepare(tints, TrainConfig("tints", mode="fine-tune", weights="none"))
    with pytest.raises(RunError, match="only a finished self-paced run of the same data set"):
        preparation.prepare(tints, TrainConfig("tints", mode="self-paced", ordering="random", replay=other.run_id, weights="none"))
    with pytest.raises(UnknownError, match="no such run"):
        preparation.prepare(tints, TrainConfig("tints", mode="self-paced", ordering="random", replay="nobody", weights="none"))


# -- on a cluster ---------------------------------------------------------------------------------

NODES = """
import sys, time
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


def test_a_ray_cluster_of_two_nodes_trains_the_arms(tints: Store, child: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's word for: stay on loopback
    nodes = child(NODES)
    address = nodes.stdout.readline().strip()
    assert address, "no cluster came up"
    run, _, _ = prepared(tints, arms=("transfer",), ray=address, seeds=1)
    process = runs.launch(run)
    until(lambda: not run.status().active, of=run)
    process.wait(timeout=30)
    assert run.status().state == "done", (run.status(), (run / "log.txt").read_text()[-2000:])
    result = run.result() or {}
    assert [(arm["arm"], len(arm["seeds"])) for arm in result["arms"]] == [("fine-tune", 1), ("transfer", 1)]
    nodes.stdin.write("enough\n")
    nodes.stdin.flush()
    assert nodes.wait(timeout=60) == 0


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_cluster_that_doesn_t_answer_is_said(address: str) -> None:
    with pytest.raises(RunError, match=r"no Ray cluster answers.*leave --ray out"):
        Cluster(address, gpus=False)
