"""Runs as tables: a row a run or a configuration over its seeds, epochs of several runs on one axis, what two configurations differ in.

Takes rows as `runs.list_runs` and the database give them; computes, draws nothing.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy

from curriculum.config import DEFAULT_OPTIMIZER, DEFAULT_RATE, DEFAULT_RULE, KINDS, TrainConfig
from curriculum.metrics import wilson_bounds
from curriculum.recipe import figure
from curriculum.store import Store
from curriculum.vocabulary import ARCHITECTURE_TITLE, SPLITS

Axis = Literal["epoch", "samples_seen", "elapsed"]
ACTIVE = ("queued", "running")
MEASURES: dict[str, tuple[str, ...]] = {"accuracy": SPLITS, "loss": SPLITS, "knn": ("val", "test"), "subset_size": (), "learning_rate": ()}
"""What is known of each epoch, and the parts of the data that it is measured on; none: it belongs to the run itself."""

MOST_POINTS = 500
"""Of a line: more than a screen shows, and a file of a chart stays small."""

REPORTED = pd.DataFrame([
    ("transfer", "imagenet", 0.88, 0.38, 0.66), ("staged", "imagenet", 0.94, 0.22, 0.92), ("self-paced", "imagenet", 0.97, 0.13, 0.94),
    ("transfer", "DTD", 0.86, 0.39, 0.59), ("self-paced", "DTD", 0.92, 0.32, 0.84),
], columns=["method", "weights", "accuracy", "loss", "knn"])  # fmt: skip
"""The reports' table 1 on RSSCN7, at 256 px: a random 80/20 split, the best epoch picked on test. `transfer` is frozen but for its last layer."""


# -- one row a run -------------------------------------------------------------------------------


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Training runs, those going on first, then the newest first.

    Args:
        runs: rows of `runs.list_runs`, kind train.

    Returns:
        run_id, state, title (empty: none), method (as arms of comparisons are called), protocol, weights, image_size, seed, rate (learning rate, in
        words), accuracy on test with its 95 % Wilson interval (low, high), loss, knn, peak (protocol report: the best of all epochs
        on test), epoch (the chosen one), samples_seen, seconds, created_at, configuration (the same for runs that differ in nothing
        but their seed). What a run without a result hasn't got is missing.
    """
    rows = [_row(run) for run in runs.to_dict("records")]
    columns = ("run_id", "state", "title", "method", "protocol", "weights", "image_size", "seed", "rate", "accuracy", "low", "high", "loss",
               "knn", "peak", "epoch", "samples_seen", "seconds", "created_at", "configuration")  # fmt: skip
    found = pd.DataFrame(rows, columns=[*columns, "tested"])
    numbers = ["accuracy", "low", "high", "loss", "knn", "peak", "epoch", "samples_seen", "seconds", "tested"]
    found[numbers] = found[numbers].astype(float)
    found["low"], found["high"] = wilson_bounds(found["accuracy"].to_numpy(), found["tested"].to_numpy())
    first = found["state"].isin(ACTIVE)
    return pd.concat([found[first], found[~first]], ignore_index=True)[list(columns)]


def _row(run: dict[Any, Any]) -> dict[str, Any]:
    config, result = run["config"], run["result"] or {}
    figures = {"accuracy": "test_accuracy", "loss": "test_loss", "knn": "test_knn", "peak": "peak_test_accuracy", "epoch": "epoch"}
    return {
        **{name: run[name] for name in ("run_id", "state", "protocol", "seed", "seconds", "created_at")},
        "title": run["title"] if isinstance(run["title"], str) else "",
        "method": method_of(config), "weights": weights_of(config), "image_size": config["image_size"], "rate": rate_of(config),
        **{name: figure(result, key) for name, key in figures.items()}, "samples_seen": figure(result, "samples_seen"),
        "tested": figure(result, "examples.test"), "configuration": configuration_of(run["run_id"], config),
    }  # fmt: skip


def episodes(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of few-shot episodes, the newest first.

    Args:
        runs: rows of `runs.list_runs`, kind episodes.

    Returns:
        run_id, state, title (empty: none), network, weights, image_size, ways, shots, queries, classifier, seed, accuracy (mean over the episodes) with its
        95 % interval (low, high; Student's t over the episodes), sd (over them), episodes, seconds, created_at. What a run without a
        result hasn't got is missing.
    """
    said = ("image_size", "ways", "shots", "queries", "classifier", "seed")
    figures = ("accuracy", "low", "high", "sd", "episodes")
    rows = [
        {**{name: run[name] for name in ("run_id", "state", "seconds", "created_at")},
         "title": run["title"] if isinstance(run["title"], str) else "", "network": run["config"].get("architecture", "resnet18"),
         "weights": weights_of(run["config"]), **{name: _whole(run["config"])[name] for name in said},
         **{name: figure(run["result"] or {}, name) for name in figures}}
        for run in runs.to_dict("records")
    ]  # fmt: skip
    columns = ("run_id", "state", "title", "network", "weights", *said, *figures, "seconds", "created_at")
    return pd.DataFrame(rows, columns=list(columns)).astype(dict.fromkeys(figures, float))


def peak_of(result: dict[str, Any], spec: str = ".4f") -> str:
    """The best of all epochs on test, in words: its accuracy, in the format given, and of the same epoch what is known of loss and KNN. Picked on
    test, and so biased upwards: to be shown marked so, beside the last epoch's. Empty where there is none: the protocol isn't report."""
    accuracy, epoch, loss, knn = (figure(result, f"peak_test_{name}") for name in ("accuracy", "epoch", "loss", "knn"))
    if accuracy is None:
        return ""
    said = f"{accuracy:{spec}}" + ("" if epoch is None else f" at epoch {epoch:.0f}")
    return ", ".join([said, *(f"{name} {value:.4f}" for name, value in (("loss", loss), ("KNN", knn)) if value is not None)])


def method_of(config: dict[str, Any]) -> str:
    """How a run trains, in the words of `ARMS`: staged, staged-model, self-paced-as-run-random, paced-anti; and what, where it isn't ResNet18
    or has several classes an image."""
    name = str(config["mode"])
    name += "-model" if name == "staged" and config.get("levels") == "model" else ""
    name += f"-{config['variant']}" if config.get("variant", "balanced") != "balanced" else ""
    ordering = config.get("ordering", "curriculum")
    name += "" if ordering == "curriculum" else f"-{ordering.removesuffix('_curriculum')}"
    architecture = config.get("architecture", "resnet18")
    name += "" if architecture == "resnet18" else f" {architecture}"
    return name + (" multi-label" if config.get("multi_label") else "")


def weights_of(config: dict[str, Any]) -> str:
    """What a run starts from, in a word: a file by its name."""
    return "none" if config.get("mode") == "scratch" else str(config["weights"]).rsplit("/", 1)[-1].removesuffix(".pth")


def rate_of(config: dict[str, Any]) -> str:
    """The learning rate at the start, and whether it follows the train accuracy."""
    rate = DEFAULT_RATE[config["mode"]] if config["learning_rate"] is None else config["learning_rate"]
    return (
        f"{rate:g}"
        + {"accuracy": " by accuracy", "constant": "", "one-cycle": " one cycle"}[config["rate_rule"] or DEFAULT_RULE[config["mode"]]]
    )


def configuration_of(run_id: str, config: dict[str, Any]) -> str:
    """What is the same for runs that differ in their seed alone. Of a comparison's arm also the runs that it replays, and by an image
    or two its budget, differ from seed to seed: there the arm counts."""
    arm = re.fullmatch(r"(.+-compare-[0-9a-f]+-.+)-s\d+", run_id)
    if arm:
        return arm[1]
    return json.dumps({**_whole(config), "seed": None, "device": None, "replay": None}, sort_keys=True)


def labels(rows: pd.DataFrame) -> dict[str, str]:
    """A short name for each run among others: its title, else its method and what tells it from them; no two alike.

    Args:
        rows: of `table`.
    """
    parts = {"image_size": "{} px", "weights": "{}", "rate": "rate {}", "protocol": "{}", "seed": "seed {}"}
    telling = [name for name in parts if rows[name].nunique() > 1 or (name == "seed" and len(rows) == 1)]
    found: dict[str, str] = {}
    for row in rows.to_dict("records"):
        words = row["title"] or ", ".join([row["method"], *(parts[name].format(row[name]) for name in telling)])
        for more in ("", f", {row['created_at']:%d %b %H:%M}", f", {row['created_at']:%H:%M:%S}", f", {row['run_id']}"):
            if f"{words}{more}" not in found.values():
                break
        found[str(row["run_id"])] = f"{words}{more}"
    return found


def in_words(runs: pd.DataFrame) -> dict[str, str]:
    """What stands for each run in a picker: what, when, how good; in the order of `table`.

    Args:
        runs: rows of `runs.list_runs`, kind train.
    """
    return {str(row["run_id"]): _in_words(row) for row in table(runs).to_dict("records")}


def _in_words(row: dict[Any, Any]) -> str:
    how = f"{row['method']}, rate {row['rate']}, {row['image_size']} px, seed {row['seed']}, {row['protocol']}, {row['created_at']:%d %b %H:%M}"
    title = f"{row['title']}: " if row["title"] else ""
    return title + how + (f": {row['accuracy']:.1%}" if pd.notna(row["accuracy"]) else "")


def intervals(rows: pd.DataFrame) -> list[str]:
    """The columns low and high, in words; empty where there is none."""
    return ["" if pd.isna(low) else f"{low:.3f} to {high:.3f}" for low, high in zip(rows["low"], rows["high"], strict=True)]


# -- one row a configuration ---------------------------------------------------------------------


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Finished runs of one configuration together, over their seeds; of a seed that was run twice the newest counts.

    Args:
        rows: of `table`.

    Returns:
        method, protocol, weights, image_size, rate, seeds (how many), accuracy (mean), sd (NaN for one seed), low and high: a 95 %
        interval, over the seeds by Student's t, cut at 0 and 1; for one seed over its test images by Wilson; loss, knn, peak, samples_seen, seconds
        (means), run_ids (by seed), configuration. The newest configuration first.
    """
    done = rows.dropna(subset=["accuracy"]).sort_values("created_at", ascending=False, kind="stable")
    done = done.drop_duplicates(["configuration", "seed"])
    same = {name: (name, "first") for name in ("method", "protocol", "weights", "image_size", "rate", "low", "high")}
    means = {name: (name, "mean") for name in ("accuracy", "loss", "knn", "peak", "samples_seen", "seconds")}
    found = done.groupby("configuration", sort=False).agg(
        **same, **means, seeds=("accuracy", "size"), sd=("accuracy", "std")
    ).reset_index()  # fmt: skip
    in_order = done.sort_values("seed", kind="stable").groupby("configuration", sort=False)["run_id"].agg(list)
    found["run_ids"] = found["configuration"].map(in_order)
    several, seeds = (found["seeds"] > 1).to_numpy(), found["seeds"].to_numpy()
    reach = scipy.stats.t.ppf(0.975, np.maximum(seeds - 1, 1)) * found["sd"].to_numpy() / np.sqrt(seeds)
    found["low"] = np.where(several, np.maximum(found["accuracy"] - reach, 0.0), found["low"])
    found["high"] = np.where(several, np.minimum(found["accuracy"] + reach, 1.0), found["high"])
    return found[["method", "protocol", "weights", "image_size", "rate", "seeds", "accuracy", "sd", "low", "high", "loss", "knn", "peak",
                  "samples_seen", "seconds", "run_ids", "configuration"]]  # fmt: skip


def beside_the_reports(groups: pd.DataFrame, *, reported: bool) -> pd.DataFrame:
    """The reports' table 1 with ours beside it: method by method the reports' figures first, where they are given, then ours.

    Args:
        groups: of `over_seeds`.
        reported: whether the reports' figures are of these images.

    Returns:
        method, by (the reports | this project), weights, image_size, protocol, accuracy, low, high, seeds, loss, knn, peak.
    """
    theirs = REPORTED.assign(by="the reports", image_size=256, protocol="80/20, best on test (biased)", peak=REPORTED["accuracy"])
    ours = groups.assign(by="this project", protocol=groups["protocol"].map(PROTOCOL_WORDS))
    columns = ["method", "by", "weights", "image_size", "protocol", "accuracy", "low", "high", "seeds", "loss", "knn", "peak"]
    both = pd.concat([theirs, ours]) if reported else ours
    order = {method: place for place, method in enumerate(dict.fromkeys([*REPORTED["method"], "fine-tune", *sorted(groups["method"])]))}
    both = both.reindex(columns=columns)
    place = both["method"].map(order).to_numpy()
    return both.iloc[np.lexsort((both["by"] == "this project", place))].reset_index(drop=True)


PROTOCOL_WORDS = {
    "honest": "64/16/20, chosen on val", "given": "the data set's own test, chosen on val", "report": "80/20, last epoch",
}  # fmt: skip


def cautions(rows: pd.DataFrame) -> list[str]:
    """What a reader of a table of runs must know before comparing its rows."""
    done = rows.dropna(subset=["accuracy"])
    said = []
    if lacking := _without_control(set(done["method"])):
        said.append(
            "**A control is missing**: compare with plain fine-tuning of all layers of the same network (mode fine-tune), not with a frozen one. "
            f"It is missing for {', '.join(lacking)}."
        )
    if len(done) and done.groupby("configuration")["seed"].nunique().min() < 5:
        said.append("Fewer than five seeds in some rows: differences of a few points from these may be chance.")
    if done["peak"].notna().any():
        said.append("Peaks are the best of all epochs on test, and so biased upwards.")
    return said


def _without_control(methods: set[str]) -> list[str]:
    """The networks, in words, that were trained by a curriculum and not by plain fine-tuning."""
    modes: dict[str, set[str]] = {}
    for method in methods:
        mode, _, network = method.partition(" ")
        modes.setdefault(network, set()).add(mode)
    curricula = ("staged", "self-paced", "paced")
    lacking = [network for network, own in modes.items() if "fine-tune" not in own and any(mode.startswith(curricula) for mode in own)]
    return sorted(network if network.startswith(tuple(ARCHITECTURE_TITLE)) else f"resnet18 {network}".strip() for network in lacking)


# -- epochs --------------------------------------------------------------------------------------


def epochs_of(store: Store, run_ids: Sequence[str]) -> pd.DataFrame:
    """Rows of the table `epoch`, in the runs' order and theirs, as `with_time` gives them."""
    found = store.query(
        "SELECT * FROM epoch WHERE list_contains($runs, run_id) ORDER BY list_position($runs, run_id), epoch", {"runs": list(run_ids)}
    )
    return with_time(found)


def with_time(epochs: pd.DataFrame) -> pd.DataFrame:
    """Epochs, each run's in their order, with elapsed: seconds worked until the epoch's end, pauses left out."""
    return epochs.assign(elapsed=epochs.groupby("run_id", sort=False)["seconds"].cumsum())


def lines(epochs: pd.DataFrame, measure: str, parts: Sequence[str], axis: Axis = "epoch") -> pd.DataFrame:
    """One measure as lines to draw: a row a run, part and epoch where it was measured; of a long run evenly chosen epochs.

    Args:
        epochs: of `epochs_of`.
        measure: one of `MEASURES`; one without parts takes no notice of `parts`.
        parts: of train, val, test.

    Returns:
        run_id, part (empty where the measure has none), stage, epoch, x (on the axis, at the epoch's end), value.
    """
    ends = epochs.groupby("run_id", sort=False)["epoch"].transform("max")
    every = np.ceil(ends / MOST_POINTS).clip(lower=1)
    thin = epochs[(epochs["epoch"] % every == 0) | (epochs["epoch"] == 1) | (epochs["epoch"] == ends)]
    shown = [part for part in parts if part in MEASURES[measure]] if MEASURES[measure] else [""]
    columns = [f"{part}_{measure}" if part else measure for part in shown]
    found = [
        pd.DataFrame({"run_id": thin["run_id"], "part": part, "stage": thin["stage"], "epoch": thin["epoch"], "x": thin[axis],
                      "value": thin[column].astype(float)})
        for part, column in zip(shown, columns, strict=True)
    ]  # fmt: skip
    empty = pd.DataFrame(columns=["run_id", "part", "stage", "epoch", "x", "value"])
    return pd.concat(found, ignore_index=True).dropna(subset=["value"]) if found else empty


def stage_starts(epochs: pd.DataFrame, axis: Axis = "epoch") -> pd.DataFrame:
    """Where each stage after a run's first begins: run_id, stage, epoch (its first), x: that epoch, or what was seen or worked before."""
    before = epochs.groupby("run_id", sort=False)[["samples_seen", "elapsed"]].shift()
    x = epochs["epoch"] if axis == "epoch" else before[axis]
    changed = epochs["stage"] != epochs.groupby("run_id", sort=False)["stage"].shift()
    found = epochs.assign(x=x)[changed & (epochs["epoch"] != epochs.groupby("run_id", sort=False)["epoch"].transform("min"))]
    return found[["run_id", "stage", "epoch", "x"]].reset_index(drop=True)


# -- what two configurations differ in -----------------------------------------------------------


@cache
def _defaults(kind: str) -> dict[str, Any]:
    made = next(each for each, name in KINDS.items() if name == kind)
    return {f.name: f.default for f in dataclasses.fields(made) if f.default is not dataclasses.MISSING}


def _whole(config: dict[str, Any]) -> dict[str, Any]:
    """With the default of every option that it doesn't name, such as one that is younger than the run."""
    return {**_defaults(config.get("kind", KINDS[TrainConfig])), **config}


def difference(a: dict[str, Any], b: dict[str, Any]) -> pd.DataFrame:
    """The options in which two runs' configurations differ: option (the flag's name), a, b, in words; empty where they are the same.

    An option that is left to the mode counts as what the mode makes of it: the learning rate, and how it changes.
    """
    one, two = _resolved(a), _resolved(b)
    differing = [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]
    rows = [(name.replace("_", "-"), _said(one, name), _said(two, name)) for name in differing]
    return pd.DataFrame(rows, columns=["option", "a", "b"])


def _resolved(config: dict[str, Any]) -> dict[str, Any]:
    whole = _whole(config)
    if whole.get("mode") in DEFAULT_RATE:
        rate, rule, optimizer = whole["learning_rate"], whole["rate_rule"], whole["optimizer"]
        whole |= {"learning_rate": DEFAULT_RATE[whole["mode"]] if rate is None else rate, "rate_rule": rule or DEFAULT_RULE[whole["mode"]],
                  "optimizer": optimizer or DEFAULT_OPTIMIZER[whole["mode"]]}  # fmt: skip
    return {name: list(value) if isinstance(value, tuple) else value for name, value in whole.items()}


def _said(config: dict[str, Any], name: str) -> str:
    """A value as people type it."""
    if name not in config:
        return "has none"
    value = config[name]
    if isinstance(value, list):
        return " ".join(map(str, value))
    if value is None:
        return "left to the mode"
    return f"{value:g}" if isinstance(value, float) else str(value)
