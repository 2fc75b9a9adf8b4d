"""The process of a comparison: `python -m curriculum.experiment RUN_DIRECTORY`.

Every arm of every seed is a training run of its own, with a directory of its own beside the comparison's; this process
starts them, so many at a time, watches, and concludes from their test answers. Killed at any moment, it goes on from what
is done. It never opens the database and computes nothing with a network itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curriculum import compare, preparation, runs
from curriculum.cluster import Cluster, Task
from curriculum.config import ARMS, CompareConfig, TrainConfig, base_of, control_of
from curriculum.errors import CancelledError, RunError
from curriculum.files import write_json
from curriculum.home import Home
from curriculum.pacing import REPORT_STAGE_EPOCHS
from curriculum.reporter import Reporter, supervise
from curriculum.rundir import RunDir, Status, read_frame
from curriculum.splits import split_examples

Work = subprocess.Popen[bytes] | Task
POLL_SECONDS = 0.3
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Member:
    """One arm of one seed: its run."""

    arm: str
    seed: int
    run: RunDir
    config: TrainConfig


# -- what there is to do -------------------------------------------------------------------------


def plan(run: RunDir, config: CompareConfig, order: pd.DataFrame) -> list[list[Member]]:
    """The chains: runs that one process does one after another, because a later one may replay an earlier one."""
    chains = []
    for seed in range(config.seed, config.seed + config.seeds):
        count = split_examples(order, config.protocol, seed).count("train")
        chains += [[_member(run, config, arm, seed, config.passes * count) for arm in group] for group in config.chains()]
    return chains


def _member(run: RunDir, config: CompareConfig, arm: str, seed: int, budget: int) -> Member:
    options = {"levels": config.levels, **ARMS[arm]}
    mode = options["mode"]
    if mode == "staged":
        options["stage_epochs"] = REPORT_STAGE_EPOCHS
    if mode != "transfer":
        options |= {"learning_rate": config.learning_rate, "rate_rule": "constant", "augment": config.augment}
    if mode == "self-paced" and arm != base_of(arm):
        options["replay"] = runs.member_id(run.run_id, base_of(arm), seed)
    shared = (
        "weights",
        "architecture",
        "image_size",
        "batch_size",
        "device",
        "protocol",
        "noise",
        "start_share",
        "step_share",
        "pacing",
        "full_at",
    )
    options |= {name: getattr(config, name) for name in shared}
    made = TrainConfig(config.dataset, seed=seed, budget=budget, dynamics=False, **options)
    return Member(arm, seed, RunDir(run.path.parent / runs.member_id(run.run_id, arm, seed)), made)


# -- doing it ------------------------------------------------------------------------------------


def conduct(run: RunDir, reporter: Reporter) -> None:
    """Train what isn't trained yet, then write result.json.

    Raises:
        CancelledError: somebody asked to stop. RunError: a member failed; the others were finished.
    """
    config, order = run.config(), run.order()
    assert isinstance(config, CompareConfig)
    chains = plan(run, config, order)
    members = [member for chain in chains for member in chain]
    waiting = [chain for chain in chains if any(member.run.result() is None for member in chain)]
    going: list[tuple[list[Member], Work]] = []
    cluster = Cluster(config.ray, gpus=config.device in ("auto", "cuda")) if config.ray else None
    # processes that share the cores would only wait for one another
    threads = max(1, (os.cpu_count() or 1) // config.workers) if config.workers > 1 else None
    at_a_time = len(chains) if cluster else config.workers
    done_before = sum(member.run.result() is not None for member in members)
    try:
        while waiting or going:
            if reporter.should_stop():
                raise CancelledError("the comparison was cancelled; resume goes on with what is left")
            going = [(chain, work) for chain, work in going if work.poll() is None]
            while waiting and len(going) < at_a_time:
                chain = waiting.pop(0)
                left = _ready(run, chain, order, reporter)
                going.append((chain, cluster.start([each.path for each in left]) if cluster else runs.launch(*left, threads=threads)))
            _report(reporter, members, [chain for chain, _ in going], done_before)
            time.sleep(POLL_SECONDS)
    except BaseException:
        _stop([member.run for chain, _ in going for member in chain], [work for _, work in going])
        raise
    finally:
        if cluster:
            cluster.close()
    lost = [member for member in members if member.run.result() is None]
    if lost:
        first = lost[0].run.status()
        raise RunError(
            f"{len(lost)} of {len(members)} runs didn't finish, {lost[0].arm} of seed {lost[0].seed} first: {first.message or first.state}",
            todo="`runs resume` tries them again; the others are kept",
        )
    _leave_out_models(members, config.seed)
    write_json(run / "result.json", conclude(run, config, members, order, reporter.seconds))


def _ready(run: RunDir, chain: list[Member], order: pd.DataFrame, reporter: Reporter) -> list[RunDir]:
    """The directories of a chain's runs that are left to do, as a worker wants them."""
    request = run.request()
    left = [member for member in chain if member.run.result() is None]
    for member in left:
        if not (member.run / "status.json").exists():
            split = split_examples(order, member.config.protocol, member.seed)
            member.run.write_request(
                member.config, root=Path(request["root"]), home=Home(run.path.parents[2]), classes=tuple(request["classes"]),
                order=order.assign(split=split), notes=tuple(request.get("notes", ())),
            )  # fmt: skip
        member.run.place(Path(request["root"]))
    _stop([member.run for member in left])  # what an earlier process of this comparison left going
    for member in left:
        (member.run / "cancel").unlink(missing_ok=True)
        member.run.write_status(Status("queued", pid=reporter.status.pid, pid_started=reporter.status.pid_started))
    return [member.run for member in left]


def _stop(members: list[RunDir], works: Sequence[Work] = ()) -> None:
    """Ask all that isn't done to stop, started already or about to, and wait until it has."""
    left = [run for run in members if run.result() is None and (run / "status.json").exists()]
    for run in left:
        run.ask_to_cancel()
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and (any(run.status().state == "running" for run in left) or any(w.poll() is None for w in works)):
        time.sleep(POLL_SECONDS)


def _report(reporter: Reporter, members: list[Member], going: list[list[Member]], done_before: int) -> None:
    done = sum(member.run.result() is not None for member in members)
    at = [(member, status) for chain in going for member in chain if (status := member.run.status()).state == "running"]
    part = done + sum(status.epoch / status.epochs for _, status in at if status.epochs)
    phase = "; ".join(f"{member.arm}, seed {member.seed}, epoch {status.epoch} of {status.epochs}" for member, status in at) or "starting"
    fresh = part - done_before  # since this process started
    left = (reporter.seconds - reporter.before) / fresh * (len(members) - part) if fresh > 0.05 else None
    reporter.write(phase=phase, epoch=done, epochs=len(members), done=round(100 * part), total=100 * len(members), seconds_left=left)


def _leave_out_models(members: list[Member], first_seed: int) -> None:
    """The first seed's models stay, to look into; 45 MB for each of the others would only fill the disk."""
    for member in members:
        if member.seed != first_seed:
            (member.run / "model.pt").unlink(missing_ok=True)


# -- concluding ----------------------------------------------------------------------------------


def conclude(run: RunDir, config: CompareConfig, members: list[Member], order: pd.DataFrame, seconds: float) -> dict[str, Any]:
    """The comparison's result, from the finished members' predictions on test."""
    clusters = cluster_names(order)
    answers = pd.concat([_answers(member) for member in members], ignore_index=True)
    answers["cluster"] = answers["example"].map(clusters)
    results = {(member.arm, member.seed): member.run.result() or {} for member in members}
    arms = [_arm(row, config, results) for row in compare.summary(answers).to_dict("records")]
    names = [str(arm["arm"]) for arm in arms]
    bases = {arm: control_of(arm) for arm in names if arm == base_of(arm) != "fine-tune"}
    pairs = [(arm, "fine-tune") for arm in bases] + [(arm, f"{arm}-random") for arm in bases if f"{arm}-random" in names]
    backwards = [(arm, f"{arm}-anti") for arm in bases if f"{arm}-anti" in names]  # another question: p are corrected among themselves
    found, notes = compare.differences(answers, pairs) + compare.differences(answers, backwards), _notes(run, members)
    return {
        "run_id": run.run_id, "dataset": config.dataset, "protocol": config.protocol, "passes": config.passes, "noise": config.noise, "levels": config.levels,
        "arms": arms, "pairs": [asdict(pair) for pair in found],
        "verdict": compare.verdict(bases, found, config.seeds, biased=config.protocol == "report", levels=config.levels),
        "leak_percent": None if preparation.NOBODY_LOOKED in notes else leak_percent(order, clusters, config), "seconds": seconds, "notes": notes,
        "members": [{"arm": member.arm, "seed": member.seed, "run_id": member.run.run_id} for member in members],
    }  # fmt: skip


def _notes(run: RunDir, members: list[Member]) -> list[str]:
    """What the comparison was told when it was asked for, what its arms are, and what happened to their runs, each once."""
    found = list(run.request().get("notes", []))
    sizes = {(member.arm, member.seed): [epoch["subset_size"] for epoch in member.run.epochs()] for member in members}
    if apart := dict.fromkeys(arm for arm, seed in sizes if sizes[arm, seed] != sizes[base_of(arm), seed]):
        found.append(f"{', '.join(apart)}: not the order alone differs from the arm's, the pace does too.")
    own: dict[str, list[str]] = {}
    for member in members:
        for note in (member.run.result() or {}).get("notes", []):
            if note not in found:
                own.setdefault(note, []).append(member.arm)
    return found + [f"{', '.join(dict.fromkeys(arms))}: {note}" for note, arms in own.items()]


def _answers(member: Member) -> pd.DataFrame:
    said = read_frame(member.run / "predictions.parquet", ("example", "split", "class", "predicted"))
    test = said[said["split"] == "test"]
    return pd.DataFrame(
        {"arm": member.arm, "seed": member.seed, "example": test["example"], "correct": (test["class"] == test["predicted"]).to_numpy()}
    )


def _arm(row: dict[Any, Any], config: CompareConfig, results: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    """arm, mean, sd, seeds (accuracies by seed), and the means of loss, KNN, samples seen and, in the reports' protocol, the peak."""
    mine = [results[row["arm"], seed] for seed in range(config.seed, config.seed + config.seeds)]
    means = {"loss": "test_loss", "knn": "test_knn", "peak": "peak_test_accuracy", "samples_seen": "samples_seen"}
    found = {name: [result[key] for result in mine if result.get(key) is not None] for name, key in means.items()}
    return {**row, **{name: float(np.mean(values)) if values else None for name, values in found.items()}}


def cluster_names(order: pd.DataFrame) -> dict[str, str]:
    """Of each example: its overlap group, or itself where it stands alone."""
    grouped = order["overlap_group"].notna()
    names = order["example"].where(~grouped, "group " + order["overlap_group"].astype(str))
    return dict(zip(order["example"], names, strict=True))


def leak_percent(order: pd.DataFrame, clusters: dict[str, str], config: CompareConfig) -> float:
    """Share of the test images that show the same ground as a training image, in percent, mean over the seeds."""
    cluster, shares = order["example"].map(clusters), []
    for seed in range(config.seed, config.seed + config.seeds):
        part = pd.Series(split_examples(order, config.protocol, seed), index=order.index)
        shares.append(cluster[part == "test"].isin(set(cluster[part == "train"])).mean())
    return round(100 * float(np.mean(shares)), 1)


def work(run: RunDir) -> int:
    """Conduct a comparison, or go on with it; returns the process's exit code. Whatever fails is said in status.json."""
    return supervise(run, lambda reporter: conduct(run, reporter), before=run.status().seconds)


if __name__ == "__main__":
    raise SystemExit(work(RunDir(Path(sys.argv[1]))))
