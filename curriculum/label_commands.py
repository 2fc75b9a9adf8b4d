"""What each command of `python -m curriculum labels` does: call the package, return a JSON document and the same for people."""

from __future__ import annotations

import argparse
import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from curriculum import agreement, analysis, comparisons, datasets, history, labels, scaling, simulate
from curriculum.backup import backup, restore
from curriculum.comparison_log import export_comparisons, import_comparisons
from curriculum.errors import ConfigError
from curriculum.home import Home
from curriculum.label_files import export_labels, import_labels
from curriculum.label_log import export_log, import_log
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from curriculum.words import interval

Result = dict[str, Any]


UNITS = {"": "labels", "log": "events", "comparisons": "comparisons"}
"""What a file is counted in, by the flag that says what it holds."""


# -- files ---------------------------------------------------------------------------------------


def _whole(options: argparse.Namespace) -> str:
    """Which whole log a file holds, if it is one."""
    if options.log and options.comparisons:
        raise ConfigError("--log and --comparisons are two files", todo="Give one of them.")
    return "log" if options.log else "comparisons" if options.comparisons else ""


def labels_import(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    whole = _whole(options)
    if whole and options.annotator:
        raise ConfigError(f"--annotator doesn't fit --{whole}", todo="The file says itself who did what.")
    with Store.open(home, owner="labels import") as store:
        if whole:
            done = {"log": import_log, "comparisons": import_comparisons}[whole](store, options.dataset, Path(options.path), options.format)
        else:
            done = import_labels(store, options.dataset, Path(options.path), options.annotator, options.format)
    what = UNITS[whole]
    text = [f"{done.read} {what} read, {done.appended} were new; annotators: {', '.join(done.annotators) or 'none'}", done.passed_over()]
    return {"dataset": options.dataset, **dataclasses.asdict(done)}, "\n".join(filter(None, text))


def labels_export(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    whole = _whole(options)
    if whole and options.who != "all":
        raise ConfigError(f"--who doesn't fit --{whole}", got=options.who, todo="A log is exported whole.")
    path = Path(options.path)
    with Store.open_or_snapshot(home, owner="labels export") as store:
        if whole:
            write = {"log": export_log, "comparisons": export_comparisons}[whole]
            count = write(store, options.dataset, path, options.format, overwrite=options.overwrite)
        else:
            count = export_labels(store, options.dataset, path, options.who, options.format, overwrite=options.overwrite)
    what = UNITS[whole]
    return {"dataset": options.dataset, "path": str(path.absolute()), what: count}, f"{count} {what} written to {path}"


def labels_backup(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home, owner="labels backup") as store:
        folder = backup(store, Path(options.folder) if options.folder else None)
        live = store.writable
    note = "" if live else "; from the app's latest snapshot, at most a minute old"
    return {"path": str(folder), "from": "database" if live else "snapshot"}, f"The whole database is backed up in {folder}{note}"


def labels_restore(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    done = restore(home, Path(options.folder))
    document = {"path": str(home.database), "kept": str(done.kept) if done.kept else None, "rows": done.rows, "torn": list(done.torn)}
    torn = f"; without {', '.join(done.torn)}, torn there and empty now" if done.torn else ""
    kept = f"; the database that was there is {done.kept}" if done.kept else ""
    return document, f"{done.rows.get('annotation', 0)} annotations and all else of {options.folder} are the database again{torn}{kept}"


# -- looking back --------------------------------------------------------------------------------


def labels_replay(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    until = _time(options.until) if options.until else None
    with Store.open_or_snapshot(home, owner="labels replay") as store:
        labels_then = history.replay(store, options.dataset, until).to_dict("records")
    when = until.isoformat() if until else "now"
    counted = ", ".join(f"{level} {sum(label['level'] == level for label in labels_then)}" for level in LEVELS)
    lines = [f"{label['example']}  {label['annotator']}: {label['level']}" for label in labels_then]
    text = "\n".join([*lines, f"{options.dataset} as of {when}: {len(labels_then)} labels ({counted})"])
    return {"dataset": options.dataset, "until": until and until.isoformat(), "labels": labels_then}, text


def _time(text: str) -> datetime:
    """An ISO time; UTC where it has no zone."""
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError("--until takes an ISO time", got=text, allowed="such as 2026-01-31T12:00:00Z") from error


def labels_history(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home, owner="labels history") as store:
        frame = history.example_log(store, options.dataset, options.example)
    events: list[Result] = [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]
    document = {"dataset": options.dataset, "example": options.example, "events": events}
    return document, "\n".join(map(_line, events)) or f"Nobody has judged {options.example} yet."


def _line(event: Result) -> str:
    words = [event["answered_at"], f"{event['annotator']}:", event["action"], event["level"], event["note"]]
    return (
        " ".join(word for word in words if word)
        + (" (asked a second time)" if event["repeat"] else "")
        + (" (taken back later)" if event["undone"] else "")
    )


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, datetime) else value


# -- how the team sorts ------------------------------------------------------------------------------


def labels_settings(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    changes: Result = {}
    if options.labels_per_image is not None:
        changes["labels_per_image"] = None if options.labels_per_image == "all" else options.labels_per_image
    if options.repeat_share is not None:
        changes["repeat_share"] = options.repeat_share
    with Store.open(home, owner="labels settings") if changes else Store.open_or_snapshot(home, owner="labels settings") as store:
        chosen = dataclasses.replace(datasets.settings(store, options.dataset), **changes)
        if changes:
            datasets.change_settings(store, options.dataset, chosen)
    count = "all" if chosen.labels_per_image is None else chosen.labels_per_image
    text = f"{options.dataset}: labels per image: {count}; asked a second time: {chosen.repeat_share:.1%} of each annotator's images"
    return {"dataset": options.dataset, "labels_per_image": count, "repeat_share": chosen.repeat_share}, text


# -- counting, agreement, simulating ----------------------------------------------------------------


def labels_summary(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home) as store:
        datasets.get_dataset(store, options.dataset)
        counted = labels.summary(store, options.dataset)

    def line(who: str, part: Any) -> str:
        levels = ", ".join(f"{level} {part['levels'][level]}" for level in LEVELS)
        return f"{who}: {part['labelled']} images by {part['annotators']} annotators ({part['annotations']} labels); consensus: {levels}"

    return counted, "\n".join([options.dataset, line("people", counted), line("simulated", counted["simulated"])])


def labels_simulate(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open(home, owner="labels simulate") as store:
        difficulty = analysis.known_difficulty(store, options.dataset, options.basis)
        count = simulate.simulate_annotators(
            store, options.dataset, difficulty, annotators=options.annotators, noise=options.noise, seed=options.seed
        )
        counted = labels.summary(store, options.dataset)["simulated"]
    document = {"dataset": options.dataset, "annotators": options.annotators, "appended": count, "simulated": counted}
    return document, f"{count} simulated labels by simulated-1 to simulated-{options.annotators}; people's labels are untouched"


def labels_agreement(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home, owner="labels agreement") as store:
        datasets.get_dataset(store, options.dataset)
        judged = labels.judgements(store, options.dataset, options.who)
        repeats = labels.repeats(store, options.dataset, options.who)
    document = {"dataset": options.dataset, "who": options.who, **agreement.report(judged, repeats)}
    names = {"alpha": "Krippendorff's alpha (ordinal)", "fleiss_kappa": "Fleiss' kappa", "self_consistency": "same level when judged again"}
    text = [
        _coefficient(what, document[key], document[f"{key}_interval"], document[f"{key}_n"], document["reasons"].get(key))
        for key, what in names.items()
    ]
    for one in document["self_consistency_by_annotator"]:
        within = None if one["low"] is None else (one["low"], one["high"])
        text.append(_coefficient(f"same level when judged again, {one['annotator']}", one["same"], within, one["n"], one["reason"]))
    for pair in document["pairwise_kappa"]:
        within = None if pair["low"] is None else (pair["low"], pair["high"])
        text.append(_coefficient(f"kappa of {pair['a']} and {pair['b']}", pair["kappa"], within, pair["n"], pair["reason"]))
    return document, "\n".join(text)


def _coefficient(what: str, value: float | None, within: tuple[float, float] | None, count: int, reason: str | None) -> str:
    if value is None:
        return f"{what}: undefined: {reason}"
    low, high = within or (None, None)
    return f"{what}: {interval(value, low, high, reason or '', '.3f')}, {count} images"


def labels_scale(options: argparse.Namespace, home: Home) -> tuple[Result, str]:
    with Store.open_or_snapshot(home, owner="labels scale") as store:
        datasets.get_dataset(store, options.dataset)
        done = comparisons.standing(store, options.dataset)
    document = {"dataset": options.dataset, **scaling.report(done), "by_annotator": comparisons.by_annotator(done).to_dict("records")}
    found = document["reliability"]
    lines = [
        f"{row['example']}  {row['latent']:+.3f} ± {row['sd']:.3f}  difficulty {row['difficulty']:.3f}, {row['comparisons']} comparisons"
        + (f", apart from the others ({row['component']})" if row["component"] else "")
        for row in document["examples"]
    ]
    interval = f" [{found['interval'][0]:.3f}, {found['interval'][1]:.3f}]" if found["interval"] else ""
    reliability = f"undefined: {found['reason']}" if found["ssr"] is None else f"{found['ssr']:.3f}{interval}, {found['images']} images"
    lines.append(f"reliability of {len(done)} comparisons, from the {found['random_comparisons']} drawn by chance: {reliability}")
    return document, "\n".join(lines)
