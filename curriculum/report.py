"""A run or a comparison as one HTML file: method, data, split, agreement, results, curves, errors, how to make it again.

Takes what the database and the run directory know, and computes nothing that a page doesn't show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curriculum import agreement, analysis, datasets, hits, labels, mistakes, run_tables, runs
from curriculum.charts.comparison import arm_dots, difference_intervals
from curriculum.charts.runs import MEASURED, MOST_RUNS, of_one, overlay
from curriculum.charts.tables import count_table, error_shares
from curriculum.config import ARM_MEANING, base_of
from curriculum.document import Document, Figure, Part, Picture, Table, figure, picture, render
from curriculum.errors import RunError
from curriculum.images import inside
from curriculum.rundir import RunDir
from curriculum.store import Store
from curriculum.vocabulary import ARCHITECTURE_TITLE, LEVELS, MODE_MEANING
from curriculum.words import P_OF_PAIRS, duration, interval, small

PICTURES = 16
MOST_CLASSES = 30
"""In a confusion matrix that can be read; of more classes a table names the most frequent confusions, so many."""


def build(store: Store, run: RunDir, explained: Sequence[Picture] = ()) -> str:
    """The report of a finished training run or comparison.

    Args:
        explained: pictures of what the model looked at, made elsewhere.

    Returns:
        One HTML document that asks nothing of a network.

    Raises:
        RunError: it isn't finished, or is a ranking.
    """
    found = runs.list_runs(store)
    rows = found[found["run_id"] == run.run_id].to_dict("records")
    row: dict[str, Any] = (
        {str(key): None if value is pd.NA or value != value else value for key, value in rows[0].items()} if rows else {"result": None}
    )
    if row["result"] is None:
        raise RunError("there is no result to report yet", got=run.run_id, todo="Wait for its end, or `runs resume` it")
    if row["kind"] not in ("train", "compare"):
        raise RunError(
            "a report is made of a training run or a comparison", got=f"{run.run_id}, a ranking", todo="`runs list` shows others"
        )
    body = _comparison(store, row) if row["kind"] == "compare" else _run(store, row)
    looked = Part("What the model looked at", pictures=explained)
    title = (
        row.get("title")
        or {"train": f"{row['mode'].capitalize()} on {row['dataset']}", "compare": f"Did the order help? {row['dataset']}"}[row["kind"]]
    )
    verdict = [f"{sentence.rstrip('.')}." for sentence in row["result"].get("verdict", "").split(". ") if sentence]
    made = f"{run.run_id}, started {row['created_at']:%d %B %Y}, reported {datetime.now(UTC):%d %B %Y}"
    note = [Part("Note", [row["note"]])] if row.get("note") else []
    return render(Document(title, made, verdict, [*note, *body, looked, *_again(run, row)]))


# -- what every report has -----------------------------------------------------------------------


def _data(store: Store, row: dict[str, Any]) -> Part:
    """The images, the split and how much of test has its like in train."""
    dataset, config, result = row["dataset"], row["config"], row["result"]
    frame = datasets.examples(store, dataset)
    groups = frame["overlap_group"].dropna()
    known = datasets.known_overlaps(store, dataset) is not None
    facts = [
        ("Data set", f"{dataset}: {len(frame):,} images, {frame['class'].nunique()} classes"),
        ("Protocol", f"{config['protocol']}: {_protocol(config)}"),
        ("Same ground", f"{len(groups):,} images in {groups.nunique():,} groups show ground that another shows" if known
         else "nobody has looked for images of the same ground"),
    ]  # fmt: skip
    if "examples" in result:
        facts.append(
            ("Split", ", ".join(f"{count:,} {split}" for split, count in result["examples"].items()) + f", drawn from seed {row['seed']}")
        )
    if result.get("leak_percent") is not None:
        facts.append(("Leak", f"{result['leak_percent']} % of the test images show the same ground as a training image"))
    counts = frame["class"].value_counts().sort_index()
    table = Table("Images by class", ("class", "images"), tuple((str(name), f"{n:,}") for name, n in counts.items()), frozenset({"images"}))
    return Part("Data", facts=facts, tables=[table])


def _protocol(config: dict[str, Any]) -> str:
    """What became of the images, and what the test figure is worth."""
    test = config.get("test_share", 0.2)
    val = (1 - test) * config.get("val_share", 0.2)
    words = {
        "honest": f"{1 - test - val:.0%} of the images train, {val:.0%} choose the epoch (val), {test:.0%} are test, read once; images of the same "
                  "ground stay on one side",
        "given": "test is what the data set itself calls so, read once; val chooses the epoch",
        "report": f"{1 - test:.0%} train and {test:.0%} test as in the reports, at random: test images may show the same ground as training images, "
                  "and the peak over epochs is picked on test, so it is biased upwards",
    }[config["protocol"]]  # fmt: skip
    if config.get("per_class"):
        return f"{words}; of what isn't test, {config['per_class']} images of each class are used"
    return words + (f"; of what isn't test, {config['train_share']:.0%} is used" if config.get("train_share", 1.0) < 1 else "")


def _agreement(store: Store, dataset: str) -> Part:
    """How far people agree with one another, and with the newest ranking."""
    judged = labels.judgements(store, dataset)
    if judged.empty:
        return Part("Human labels", ["No person has sorted an image of this data set."])
    facts = [("Annotators", f"{judged['annotator'].nunique()}, {len(judged):,} labels on {judged['example'].nunique():,} images")]
    alpha = agreement.alpha(judged)
    facts.append(
        (
            "Krippendorff's alpha",
            interval(alpha.value, alpha.low, alpha.high, alpha.reason) if alpha.value is not None else f"undefined: {alpha.reason}",
        )
    )
    level = labels.consensus(store, dataset)["level"].value_counts()
    facts.append(("Agreed levels", ", ".join(f"{name} {int(level.get(name, 0)):,}" for name in LEVELS)))
    score = analysis.latest_score(store, dataset)
    if score:
        found = analysis.agreement(analysis.compared(analysis.ranked(store, dataset, score, "people")))
        for name, one in (("Spearman's rho", found.spearman), ("Kendall's tau-b", found.tau_b), ("Weighted kappa", found.kappa)):
            if one.defined:
                facts.append((f"{name} with the model", f"{interval(one.value, one.low, one.high, one.reason)}, {one.n:,} images"))
    return Part("Human labels", facts=facts)


def _again(run: RunDir, row: dict[str, Any]) -> list[Part]:
    """What it takes to make it again."""
    config = {**row["config"], "weights": run_tables.weights_of(row["config"])}
    versions = row["result"].get("torch")
    facts = [
        ("Run", run.run_id),
        *([("PyTorch", versions), ("Device", row["result"]["device"])] if versions else []),
        ("Time", duration(row["seconds"])),
    ]
    return [Part("How to make it again", facts=facts, code=json.dumps(config, indent=1))]


def _network(config: dict[str, Any]) -> str:
    title = ARCHITECTURE_TITLE[config.get("architecture", "resnet18")]
    return title[0].upper() + title[1:]


def _root(store: Store, dataset: str) -> Path:
    return datasets.get_dataset(store, dataset).root


# -- one run -------------------------------------------------------------------------------------


def _run(store: Store, row: dict[str, Any]) -> list[Part]:
    config, result, run_id = row["config"], row["result"], row["run_id"]
    method = Part("Method", [
        f"{_network(config)} ({run_tables.weights_of(config)}), {MODE_MEANING[row['mode']]}.",
        f"Images at {config['image_size']} px, batches of {config['batch_size']}, learning rate {run_tables.rate_of(config)}, seed {row['seed']}."
        + (f" Levels of {config['levels']} order the images." if row["mode"] == "staged" else ""),
        *result["notes"],
    ])  # fmt: skip
    return [method, _data(store, row), _agreement(store, row["dataset"]), _results(row), _curves(store, run_id), *_errors(store, row)]


def _results(row: dict[str, Any]) -> Part:
    result = row["result"]
    own = run_tables.table(pd.DataFrame([row])).iloc[0]
    facts = [
        ("Test accuracy", f"{own['accuracy']:.4f}, 95 % interval {own['low']:.4f} to {own['high']:.4f} (Wilson)"),
        ("Test loss", f"{result['test_loss']:.4f} nats"),
        *([("Test KNN", f"{result['test_knn']:.4f} (share of the 5 nearest test images with the same class)")] if result["test_knn"] is not None else []),
        ("Chosen epoch", f"{result['epoch']} of {result['epochs']}"), ("Samples seen", f"{result['samples_seen']:,}"), ("Time", duration(result["seconds"])),
    ]  # fmt: skip
    if peak := run_tables.peak_of(result):
        facts.append(("Peak, biased", f"{peak}: the best epoch picked on test"))
    tables = []
    if result["stages"]:
        columns = ("stage", "epoch", "accuracy", "loss", "accuracy on its own levels")
        tables.append(Table("After each stage, on test", columns, tuple(
            (s["stage"], str(s["epoch"]), f"{s['accuracy']:.4f}", f"{s['loss']:.4f}", "" if s["own_accuracy"] is None else f"{s['own_accuracy']:.4f}")
            for s in result["stages"]), frozenset(columns[1:])))  # fmt: skip
    if row["dataset"] == "rsscn7":
        reported = run_tables.REPORTED
        columns = ("method", "weights", "accuracy", "loss", "KNN")
        tables.append(Table("The reports' figures: 256 px, random 80/20 split, best epoch picked on test", columns, tuple(
            (str(r.method), str(r.weights), f"{r.accuracy:.2f}", f"{r.loss:.2f}", f"{r.knn:.2f}") for r in reported.itertuples()
        ), frozenset(columns[2:])))  # fmt: skip
    return Part("Results", facts=facts, tables=tables)


def _curves(store: Store, run_id: str) -> Part:
    epochs = run_tables.with_time(run_tables.epochs_of(store, [run_id]))
    figures: list[Figure] = []
    for measure in ("accuracy", "loss", "subset_size"):
        there = [part for part in run_tables.MEASURES[measure] if epochs[f"{part}_{measure}"].notna().any()] if not epochs.empty else []
        if epochs.empty or (run_tables.MEASURES[measure] and not there):
            continue
        chart = of_one(run_tables.lines(epochs, measure, there), measure, "epoch", run_tables.stage_starts(epochs))
        figures.append(figure(chart, f"{MEASURED[measure].title.capitalize()} by epoch"))
    return Part("Curves", figures=figures)


def _errors(store: Store, row: dict[str, Any]) -> list[Part]:
    classes = tuple(row["result"]["classes"])
    judged = mistakes.predictions(store, row["run_id"])
    wrong = judged[~judged["correct"]]
    figures, tables = _confusion(judged, classes)
    figures = [
        *figures,
        figure(error_shares(mistakes.errors_by(judged, "class"), "class", "misclassified (95 % interval)"), "Misclassified by class"),
    ]
    if judged["level"].notna().any():
        by_level = mistakes.errors_by(judged, "level")
        figures.append(figure(error_shares(by_level, "level", "misclassified (95 % interval)"), "Misclassified by people's level"))
    said = f"{len(wrong):,} of {len(judged):,} test images are misclassified ({len(wrong) / max(len(judged), 1):.1%})."
    root = _root(store, row["dataset"])
    pictures = [
        picture(
            inside(root, each["example"]),
            each["example"],
            (f"is {each['class']}", f"said {each['predicted']}, {each['probability']:.0%}", each["example"]),
        )
        for each in wrong.sort_values("probability", ascending=False).head(PICTURES).to_dict("records")
    ]
    return [
        Part("Errors", [said, *hits.notes(row["config"])], tables=tables, figures=figures),
        Part("The most certain mistakes", pictures=pictures),
    ]


def _confusion(judged: pd.DataFrame, classes: tuple[str, ...]) -> tuple[list[Figure], list[Table]]:
    """What is taken for what: a matrix, or the most frequent confusions of many classes."""
    if len(classes) <= MOST_CLASSES:
        matrix = count_table(mistakes.confusion(judged, classes), "true class", "predicted class").properties(width=60 * len(classes))
        return [figure(matrix, "Confusion matrix of the test images")], []
    columns = ("true class", "predicted class", "images", "share of the class")
    found = mistakes.confused(judged, MOST_CLASSES)
    rows = tuple((one["class"], one["predicted"], f"{one['images']:,}", f"{one['share']:.1%}") for one in found.to_dict("records"))
    words = f"The {len(rows)} most frequent confusions of the test images, of {len(classes)} classes"
    return [], [Table(words, columns, rows, frozenset(columns[2:]))]


# -- a comparison --------------------------------------------------------------------------------


def _comparison(store: Store, row: dict[str, Any]) -> list[Part]:
    config, result = row["config"], row["result"]
    arms, pairs = pd.DataFrame(result["arms"]), pd.DataFrame(result["pairs"])
    method = Part("Method", [
        f"{_network(config)} ({run_tables.weights_of(config)}), images at {config['image_size']} px, batches of {config['batch_size']}. "
        f"Every arm starts from the same weights and head, is trained on the same split for as many samples as {result['passes']} passes over the training images, "
        f"and judged equally often; {config['seeds']} seeds, each with a split, a head and batches of its own.",
        *([f"{result['noise']:.0%} of the training images had a wrong class."] if result["noise"] else []), *result["notes"],
    ], facts=[(arm, _meaning(arm)) for arm in arms["arm"]])  # fmt: skip
    return [
        method,
        _data(store, row),
        _agreement(store, row["dataset"]),
        _arms(arms, pairs, result),
        _arm_curves(store, result),
        *_arm_errors(store, row),
    ]


def _meaning(arm: str) -> str:
    """What an arm does, in words."""
    if arm == "fine-tune":
        return "all layers, all images from the start, in random order: the control that every order must beat"
    if arm.endswith("-random"):
        return f"the subset sizes of {base_of(arm)}, their images drawn by chance: what its order must beat to have helped"
    return ARM_MEANING[arm]


def _arms(arms: pd.DataFrame, pairs: pd.DataFrame, result: dict[str, Any]) -> Part:
    columns = ("arm", "accuracy", "SD", "by seed", "loss", "KNN", *(("peak (biased)",) if arms["peak"].notna().any() else ()))
    rows = tuple(
        (a["arm"], f"{a['mean']:.4f}", "" if pd.isna(a["sd"]) else f"{a['sd']:.4f}", ", ".join(f"{one:.3f}" for one in a["seeds"]), f"{a['loss']:.3f}",
         "" if pd.isna(a["knn"]) else f"{a['knn']:.3f}", *((f"{a['peak']:.4f}",) if "peak (biased)" in columns else ()))
        for a in arms.to_dict("records")
    )  # fmt: skip
    tables = [Table("Test, mean over the seeds", columns, rows, frozenset(columns) - {"arm", "by seed"})]
    figures = [figure(arm_dots(arms), "Test accuracy: a dot for each seed, a diamond for their mean, with its 95 % interval")]
    if not pairs.empty:
        found = ("arm", "less", "points", "95 % interval", "p", "p, corrected")
        tables.append(Table(f"Within seeds and image by image; p is {P_OF_PAIRS}; corrected by Holm's method", found, tuple(
            (p["a"], p["b"], f"{100 * p['difference']:+.2f}", f"[{100 * p['low']:+.2f}, {100 * p['high']:+.2f}]", small(p["p"]), small(p["p_holm"]))
            for p in pairs.to_dict("records")), frozenset(found[2:])))  # fmt: skip
        figures.append(figure(difference_intervals(pairs), "Differences in percentage points: right of 0 the first arm is better"))
    return Part("Results", tables=tables, figures=figures)


def _arm_curves(store: Store, result: dict[str, Any]) -> Part:
    """Val accuracy and images in use of the first seed's arms, over the samples that they saw."""
    first = min(member["seed"] for member in result["members"])
    names = {member["run_id"]: member["arm"] for member in result["members"] if member["seed"] == first}
    epochs = run_tables.with_time(run_tables.epochs_of(store, list(names)))
    if epochs.empty:
        return Part("Curves")
    figures, charts = [], _evenly(list(dict.fromkeys(names.values())), MOST_RUNS)
    for measure, parts in (("accuracy", ["val"]), ("subset_size", [])):
        lines = run_tables.lines(epochs, measure, parts, "samples_seen")
        lines = lines.assign(line=lines["run_id"].map(names))
        words = f"Val {MEASURED[measure].title}" if parts else MEASURED[measure].title.capitalize()
        for place, arms in enumerate(charts, start=1):
            own = lines[lines["line"].isin(arms)]
            which = f", chart {place} of {len(charts)}: each has a scale of its own" if len(charts) > 1 else ""
            if not own.empty:
                figures.append(figure(overlay(own, arms, measure, "samples_seen"), f"{words} over samples seen, seed {first}{which}"))
    return Part("Curves", figures=figures)


def _evenly(names: list[str], most: int) -> list[list[str]]:
    """The names in their order, in as few parts of at most `most` as will do, of nearly one size."""
    parts = -(-len(names) // most)
    return [[str(name) for name in part] for part in np.array_split(names, parts)]


def _arm_errors(store: Store, row: dict[str, Any]) -> list[Part]:
    members = row["result"]["members"]
    arms = list(dict.fromkeys(member["arm"] for member in members))
    judged = pd.concat([
        mistakes.predictions(store, member["run_id"])[["example", "class", "correct"]].assign(arm=member["arm"]) for member in members
    ])  # fmt: skip
    wrong = 1 - judged.pivot_table(index="class", columns="arm", values="correct", aggfunc="mean")
    table = Table("Misclassified test images by class, all seeds together", ("class", *arms), tuple(
        (str(name), *(f"{wrong.loc[name, arm]:.1%}" for arm in arms)) for name in wrong.index), frozenset(arms))  # fmt: skip
    again = mistakes.stubborn(store, row["dataset"], among=[member["run_id"] for member in members])
    root = _root(store, row["dataset"])
    pictures = [
        picture(inside(root, each["example"]), each["example"],
                (f"is {each['class']}", f"wrong in {each['wrong']} of {each['runs']} runs", f"mostly said {each['said']}",
                                                          each["example"])) for each in again.head(PICTURES).to_dict("records")
    ]  # fmt: skip
    always = f"{int((again['share'] == 1).sum()):,} images were misclassified by every run of this comparison that had them in test."
    return [Part("Errors", tables=[table]), Part("Wrong again and again", [always], pictures=pictures)]
